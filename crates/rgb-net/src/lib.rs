//! G_A, the RGB network of ColorMamba.
