//! Results on several threads.

use candle_core::Result;
use rayon::ThreadPoolBuilder;
use std::fmt::Debug;

/// Panics unless `run` gives the same on one, two and five threads.
pub fn assert_same_on_threads<T: PartialEq + Debug + Send>(run: impl Fn() -> Result<T> + Sync) -> Result<()> {
    let with_threads = |n: usize| ThreadPoolBuilder::new().num_threads(n).build().unwrap().install(&run);
    let one = with_threads(1)?;
    assert_eq!(one, with_threads(2)?);
    assert_eq!(one, with_threads(5)?);
    Ok(())
}
