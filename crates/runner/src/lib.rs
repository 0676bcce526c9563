//! The colormamba binary: manifests, training, evaluation, tables.
