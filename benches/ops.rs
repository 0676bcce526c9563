//! Every operation alone: `cargo bench -p colormamba-bench`.
fn main() {}
