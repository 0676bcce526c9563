//! The layers of the classifiers, up to their last feature map.

use crate::Network;

/// A layer, and the name of the feature map that it ends in.
pub(crate) struct Layer {
    pub step: Step,
    pub tap: Option<&'static str>,
}

/// What a layer computes. `path`: where its tensors lie in the published file.
pub(crate) enum Step {
    /// A convolution and a ReLU. `blur`: blur pooling between the two, in place of most of the stride.
    Conv { path: String, inputs: usize, outputs: usize, kernel: usize, stride: usize, padding: usize, blur: bool },
    /// The maximum of windows.
    Pool(Pool),
    /// SqueezeNet's fire module: a 1x1 convolution to `squeeze` channels; of these a 1x1 and a 3x3 convolution to
    /// `expand` channels each, side by side. All with ReLU.
    Fire { path: String, inputs: usize, squeeze: usize, expand: usize },
}

/// Windows of a pooling, 2 pixels apart unless blurred.
#[derive(Clone, Copy)]
pub(crate) enum Pool {
    /// 2x2; an odd last row or column is left out.
    Two,
    /// 3x3; what no whole window covers is left out.
    Three,
    /// 3x3; a last window may reach beyond the image.
    ThreeUp,
    /// All windows of this side, then blur pooling.
    Blurred(usize),
}

/// How a network makes its feature maps smaller.
#[derive(Clone, Copy, PartialEq)]
enum Pooling {
    /// By the maximum, as published first; the tensors' names are torchvision's.
    Max,
    /// By the maximum and a blur, which tolerates shifts; the tensors' names are those of ST-LPIPS.
    Blur,
}

impl Pooling {
    /// Where the tensors of the convolution with number `index` lie; `block`: which of LPIPS's feature maps it leads to,
    /// from 1.
    fn path(self, block: usize, index: usize) -> String {
        match self {
            Self::Max => format!("features.{index}"),
            Self::Blur => format!("net.slice{block}.{index}"),
        }
    }

    /// The pooling over windows of `side`, `max` without the blur, and how many layers it counts as in an index.
    fn layer(self, max: Pool, side: usize) -> (Layer, usize) {
        let (pool, layers) = match self {
            Self::Max => (max, 1),
            Self::Blur => (Pool::Blurred(side), 2),
        };
        (Layer { step: Step::Pool(pool), tap: None }, layers)
    }
}

pub(crate) fn plan(network: Network) -> Vec<Layer> {
    match network {
        Network::Vgg16 => vgg(network, [2, 2, 3, 3, 3], Pooling::Max),
        Network::Vgg19 => vgg(network, [2, 2, 4, 4, 4], Pooling::Max),
        Network::AlexNet => alexnet(network, Pooling::Max),
        Network::SqueezeNet => squeezenet(network),
        Network::StVgg16 => vgg(network, [2, 2, 3, 3, 3], Pooling::Blur),
        Network::StAlexNet => alexnet(network, Pooling::Blur),
    }
}

/// Blocks of 3x3 convolutions with a pooling between blocks; every ReLU is a feature map.
fn vgg(network: Network, blocks: [usize; 5], pooling: Pooling) -> Vec<Layer> {
    let mut taps = network.taps().iter().copied();
    let (mut index, mut inputs) = (0, 3);
    let mut layers = Vec::new();
    for (block, (convolutions, outputs)) in (1..).zip(blocks.into_iter().zip([64, 128, 256, 512, 512])) {
        if block > 1 {
            let (pool, count) = pooling.layer(Pool::Two, 2);
            layers.push(pool);
            index += count;
        }
        for _ in 0..convolutions {
            let path = pooling.path(block, index);
            let step = Step::Conv { path, inputs, outputs, kernel: 3, stride: 1, padding: 1, blur: false };
            layers.push(Layer { step, tap: taps.next() });
            (index, inputs) = (index + 2, outputs);
        }
    }
    layers
}

/// Five convolutions, each with a feature map; the first two are followed by a pooling.
fn alexnet(network: Network, pooling: Pooling) -> Vec<Layer> {
    let mut index = 0;
    let mut layers = Vec::new();
    let sizes = [(3, 64, 11, 2), (64, 192, 5, 2), (192, 384, 3, 1), (384, 256, 3, 1), (256, 256, 3, 1)];
    for (block, ((inputs, outputs, kernel, padding), tap)) in (1..).zip(sizes.into_iter().zip(network.taps())) {
        // With a blur the first convolution looks at every pixel and leaves half the size to the blur.
        let blur = pooling == Pooling::Blur && block == 1;
        let stride = if pooling == Pooling::Max && block == 1 { 4 } else { 1 };
        let path = pooling.path(block, index);
        let step = Step::Conv { path, inputs, outputs, kernel, stride, padding, blur };
        layers.push(Layer { step, tap: Some(tap) });
        index += if blur { 3 } else { 2 };
        if block <= 2 {
            let (pool, count) = pooling.layer(Pool::Three, 3);
            layers.push(pool);
            index += count;
        }
    }
    layers
}

fn squeezenet(network: Network) -> Vec<Layer> {
    let mut taps = network.taps().iter().copied();
    let path = |index: usize| Pooling::Max.path(1, index);
    let conv = Step::Conv { path: path(0), inputs: 3, outputs: 64, kernel: 3, stride: 2, padding: 0, blur: false };
    let mut layers = vec![Layer { step: conv, tap: taps.next() }];
    let mut inputs = 64;
    // LPIPS takes no feature map of the first fire module of a pair that a pooling follows.
    let fires = [(3, 16, 64, false), (4, 16, 64, true), (6, 32, 128, false), (7, 32, 128, true)];
    let rest = [(9, 48, 192, true), (10, 48, 192, true), (11, 64, 256, true), (12, 64, 256, true)];
    for (index, squeeze, expand, is_tap) in fires.into_iter().chain(rest) {
        if [3, 6, 9].contains(&index) {
            layers.push(Layer { step: Step::Pool(Pool::ThreeUp), tap: None });
        }
        let tap = if is_tap { taps.next() } else { None };
        layers.push(Layer { step: Step::Fire { path: path(index), inputs, squeeze, expand }, tap });
        inputs = 2 * expand;
    }
    layers
}
