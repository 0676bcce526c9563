//! Datasets, their splits and checks, Pillow-exact preprocessing, augmentation, prefetching loader.
