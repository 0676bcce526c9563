//! Gram matrices of feature maps.

use candle_core::Result;
use colormamba_ops::Node;

/// F Fᵀ/(C H W) of each feature map F `(C, H W)` of `x` `(B, C, H, W)`: `(B, C, C)`.
pub(super) fn gram(x: &Node) -> Result<Node> {
    let x = x.contiguous()?;
    let (b, c, h, w) = x.dims4()?;
    let features = x.value().reshape((b, c, h * w))?;
    let scale = 1.0 / (c * h * w) as f64;
    let gram = (features.matmul(&features.t()?)? * scale)?;
    Node::new(gram, [&x], move |grad| {
        let both = ((grad + grad.t()?)? * scale)?;
        Ok([Some(both.matmul(&features)?.reshape((b, c, h, w))?)])
    })
}
