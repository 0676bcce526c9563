//! G_B, the HSV sub-network of ColorMamba.
