//! Feature similarity, FSIM and FSIMc.

mod bank;
mod phase;

use crate::filter::{block_means, gradient_magnitude, similarity};
use crate::pair::FeatureSimilarity;
use crate::plane::{Plane, Planes};
use crate::{Best, Definition, Measure, Pair};
use bank::Bank;

impl Measure {
    /// Feature similarity of the luma: phase congruency and gradients, weighted by phase congruency.
    ///
    /// In `[0, 1]`, higher is better, 1 for equal images. Symmetric. From 48x48 pixels.
    ///
    /// Source: Zhang, Zhang, Mou, Zhang, IEEE TIP 20 (2011), doi:10.1109/TIP.2011.2109730; phase congruency by Kovesi,
    /// Videre 1 (1999), with its measure of energy "PC2".
    pub const FSIM: Self = Self {
        definition: &definition("fsim[yiq-luma,log-gabor4x4,scharr,L=255]", "fsim", "FSIM"),
        value: |pair| of(pair).luma,
    };

    /// [`Self::FSIM`] with the similarity of the chroma channels I and Q to the power 0.03.
    pub const FSIMC: Self = Self {
        definition: &definition("fsimc[yiq,log-gabor4x4,scharr,L=255]", "fsimc", "FSIMc"),
        value: |pair| of(pair).colour,
    };
}

const fn definition(spec: &'static str, name: &'static str, label: &'static str) -> Definition {
    // The coarsest wavelet is as long as that.
    let smallest_side = bank::LONGEST_WAVE;
    Definition { spec, name, label, unit: "", best: Best::Highest, smallest_side }
}

/// The paper's constants of phase congruency, gradient and chroma, and the exponent of the chroma.
const C_PHASE: f64 = 0.85;
const C_GRADIENT: f64 = 160.0;
const C_CHROMA: f64 = 200.0;
const CHROMA_EXPONENT: f64 = 0.03;

fn of(pair: &Pair) -> FeatureSimilarity {
    *pair.features.get_or_init(|| of_images(pair.yiq()))
}

/// Both indices of a prediction and its target in YIQ, of range 1.
fn of_images(images: &[Planes; 2]) -> FeatureSimilarity {
    let [pred, target] = images.each_ref().map(|image| image.each_ref().map(at_viewing_distance));
    let bank = Bank::of_size(pred[0].height, pred[0].width);
    let phases = [&pred[0], &target[0]].map(|luma| phase::congruency(luma, &bank));
    let gradients =
        [&pred[0], &target[0]].map(|luma| gradient_magnitude(&luma.padded(1, 1), 3.0 / 16.0, 10.0 / 16.0).values);
    let (mut luma, mut colour, mut weights) = (0.0, 0.0, 0.0);
    for i in 0..phases[0].len() {
        let weight = phases[0][i].max(phases[1][i]);
        let alike =
            similarity(phases[0][i], phases[1][i], C_PHASE) * similarity(gradients[0][i], gradients[1][i], C_GRADIENT);
        let chroma = |c: usize| similarity(pred[c].values[i], target[c].values[i], C_CHROMA);
        luma += weight * alike;
        colour += weight * alike * (chroma(1) * chroma(2)).abs().powf(CHROMA_EXPONENT);
        weights += weight;
    }
    FeatureSimilarity { luma: luma / weights, colour: colour / weights }
}

/// In the range 255, averaged so that the shorter side has about 256 pixels.
fn at_viewing_distance(plane: &Plane) -> Plane {
    let side = plane.height.min(plane.width) as f64;
    let block = (side / 256.0).round_ties_even().max(1.0) as usize;
    block_means(plane, block, plane.height / block, plane.width / block).map(|v| 255.0 * v)
}
