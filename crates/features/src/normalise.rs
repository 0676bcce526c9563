//! The input of ImageNet's classifiers.

use candle_core::{Result, Tensor};
use colormamba_cpu::{Real, tensor, vectorize, with_slices};
use colormamba_cuda::applies;
use colormamba_ops::{Node, OpError};
use rayon::prelude::*;

const OP: &str = "normalise";
/// Mean and standard deviation of ImageNet's red, green and blue.
const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const STD: [f64; 3] = [0.229, 0.224, 0.225];

/// (x − mean) / std of each channel of `x` `(B, 3, H, W)`, an image in [0, 1].
pub(crate) fn normalise(x: &Node) -> Result<Node> {
    let x = x.contiguous()?;
    if !matches!(x.dims(), &[b, 3, h, w] if b * h * w > 0) {
        return Err(OpError::shape(OP, "(B, 3, H, W) with at least one pixel", x.shape()));
    }
    let y = planes(x.value(), MEAN)?;
    Node::new(y, [&x], |grad| Ok([Some(planes(grad, [0.0; 3])?)]))
}

/// (x − shift) / std of each channel.
fn planes(x: &Tensor, shift: [f64; 3]) -> Result<Tensor> {
    if applies(x) {
        return cuda::planes(x, shift);
    }
    let (b, c, h, w) = x.dims4()?;
    with_slices!(OP, [x], T => {
        let mut y = vec![T::ZERO; x.len()];
        y.par_chunks_mut(h * w).zip(x.par_chunks(h * w)).enumerate().for_each(|(plane, (y, x))| {
            let (shift, std) = (T::of(shift[plane % 3]), T::of(STD[plane % 3]));
            vectorize(
                #[inline(always)]
                || {
                    for (y, x) in y.iter_mut().zip(x) {
                        *y = (*x - shift) / std;
                    }
                },
            );
        });
        Ok(tensor(y, (b, c, h, w)))
    })
}

mod cuda {
    use super::STD;
    use crate::kernels::FEATURES;
    use candle_core::{Result, Tensor};
    use colormamba_cuda::{DeviceMemory, Launch};

    const THREADS: u32 = 256;
    /// Elements for each thread.
    const EACH: usize = 4;

    pub(super) fn planes(x: &Tensor, shift: [f64; 3]) -> Result<Tensor> {
        let (n, (_, _, h, w)) = (x.elem_count(), x.dims4()?);
        let mut y = DeviceMemory::like(x)?;
        let launch = Launch::new(&FEATURES, "normalise", x).over(n.div_ceil(EACH), THREADS);
        let launch = launch.input(x).output(&mut y).sizes([n, h * w]);
        shift.into_iter().chain(STD).fold(launch, Launch::number).run()?;
        y.tensor(x.shape())
    }
}
