//! The layers of the classifiers, up to their last feature map.

use crate::Network;

/// A layer, and the name of the feature map that it ends in.
pub(crate) struct Layer {
    pub step: Step,
    pub tap: Option<&'static str>,
}

/// What a layer computes. `index`: its number in torchvision's `features`.
pub(crate) enum Step {
    /// A convolution and a ReLU.
    Conv { index: usize, inputs: usize, outputs: usize, kernel: usize, stride: usize, padding: usize },
    /// The maximum of windows.
    Pool(Pool),
    /// SqueezeNet's fire module: a 1x1 convolution to `squeeze` channels; of these a 1x1 and a 3x3 convolution to
    /// `expand` channels each, side by side. All with ReLU.
    Fire { index: usize, inputs: usize, squeeze: usize, expand: usize },
}

/// Windows of a pooling, 2 pixels apart.
#[derive(Clone, Copy)]
pub(crate) enum Pool {
    /// 2x2; an odd last row or column is left out.
    Two,
    /// 3x3; what no whole window covers is left out.
    Three,
    /// 3x3; a last window may reach beyond the image.
    ThreeUp,
}

pub(crate) fn plan(network: Network) -> Vec<Layer> {
    match network {
        Network::Vgg16 => vgg(network, [2, 2, 3, 3, 3]),
        Network::Vgg19 => vgg(network, [2, 2, 4, 4, 4]),
        Network::AlexNet => alexnet(network),
        Network::SqueezeNet => squeezenet(network),
    }
}

fn pool(pool: Pool) -> Layer {
    Layer { step: Step::Pool(pool), tap: None }
}

/// Blocks of 3x3 convolutions with a pooling between blocks; every ReLU is a feature map.
fn vgg(network: Network, blocks: [usize; 5]) -> Vec<Layer> {
    let mut taps = network.taps().iter().copied();
    let (mut index, mut inputs) = (0, 3);
    let mut layers = Vec::new();
    for (block, (convolutions, outputs)) in blocks.into_iter().zip([64, 128, 256, 512, 512]).enumerate() {
        if block > 0 {
            layers.push(pool(Pool::Two));
            index += 1;
        }
        for _ in 0..convolutions {
            let step = Step::Conv { index, inputs, outputs, kernel: 3, stride: 1, padding: 1 };
            layers.push(Layer { step, tap: taps.next() });
            (index, inputs) = (index + 2, outputs);
        }
    }
    layers
}

fn alexnet(network: Network) -> Vec<Layer> {
    let mut taps = network.taps().iter().copied();
    let mut conv = |index, inputs, outputs, kernel, stride, padding| Layer {
        step: Step::Conv { index, inputs, outputs, kernel, stride, padding },
        tap: taps.next(),
    };
    vec![
        conv(0, 3, 64, 11, 4, 2),
        pool(Pool::Three),
        conv(3, 64, 192, 5, 1, 2),
        pool(Pool::Three),
        conv(6, 192, 384, 3, 1, 1),
        conv(8, 384, 256, 3, 1, 1),
        conv(10, 256, 256, 3, 1, 1),
    ]
}

fn squeezenet(network: Network) -> Vec<Layer> {
    let mut taps = network.taps().iter().copied();
    let conv = Step::Conv { index: 0, inputs: 3, outputs: 64, kernel: 3, stride: 2, padding: 0 };
    let mut layers = vec![Layer { step: conv, tap: taps.next() }];
    let mut inputs = 64;
    // LPIPS takes no feature map of the first fire module of a pair that a pooling follows.
    let fires = [(3, 16, 64, false), (4, 16, 64, true), (6, 32, 128, false), (7, 32, 128, true)];
    let rest = [(9, 48, 192, true), (10, 48, 192, true), (11, 64, 256, true), (12, 64, 256, true)];
    for (index, squeeze, expand, is_tap) in fires.into_iter().chain(rest) {
        if [3, 6, 9].contains(&index) {
            layers.push(pool(Pool::ThreeUp));
        }
        let tap = if is_tap { taps.next() } else { None };
        layers.push(Layer { step: Step::Fire { index, inputs, squeeze, expand }, tap });
        inputs = 2 * expand;
    }
    layers
}
