//! ColorMamba: the generator, the critics, checkpoints, and colorize().
