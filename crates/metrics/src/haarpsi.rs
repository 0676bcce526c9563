//! Haar wavelet-based perceptual similarity.

use crate::filter::{halved, similarity, valid};
use crate::plane::{Plane, Planes};
use crate::{Best, Definition, Measure, Pair};

impl Measure {
    /// Haar wavelet-based perceptual similarity of luma and chroma at half size.
    ///
    /// In `[0, 1]`, higher is better, 1 for equal images. Symmetric. From 16x16 pixels.
    ///
    /// Source: Reisenhofer, Bosse, Kutyniok, Wiegand, Signal Processing: Image Communication 61 (2018),
    /// doi:10.1016/j.image.2017.11.001, arXiv:1607.06140.
    pub const HAARPSI: Self = Self {
        definition: &Definition {
            spec: "haarpsi[yiq,half-size,c=30,alpha=4.2,L=255]",
            name: "haarpsi",
            label: "HaarPSI",
            unit: "",
            best: Best::Highest,
            smallest_side: 16,
        },
        value: similarity_index,
    };
}

const C: f64 = 30.0;
const ALPHA: f64 = 4.2;

fn similarity_index(pair: &Pair) -> f64 {
    let [pred, target] = pair.yiq().each_ref().map(Features::of);
    let (mut weighted, mut weights) = (0.0, 0.0);
    for i in 0..pred.chroma[0].values.len() {
        let at = |plane: &Plane| plane.values[i];
        let alike = |p: &[Plane; 2], t: &[Plane; 2]| {
            (similarity(at(&p[0]), at(&t[0]), C) + similarity(at(&p[1]), at(&t[1]), C)) / 2.0
        };
        let weight = [0, 1].map(|way| at(&pred.coarse[way]).max(at(&target.coarse[way])));
        for way in [0, 1] {
            weighted += weight[way] * logistic(alike(&pred.fine[way], &target.fine[way]));
            weights += weight[way];
        }
        let weight = (weight[0] + weight[1]) / 2.0;
        weighted += weight * logistic(alike(&pred.chroma, &target.chroma));
        weights += weight;
    }
    if weights == 0.0 {
        // Neither image has any structure.
        return 1.0;
    }
    let score = weighted / weights;
    ((score / (1.0 - score)).ln() / ALPHA).powi(2)
}

fn logistic(v: f64) -> f64 {
    1.0 / (1.0 + (-ALPHA * v).exp())
}

/// Magnitudes of what is compared in one image, at half its size.
struct Features {
    /// By direction: the responses of the luma at the two finer scales.
    fine: [[Plane; 2]; 2],
    /// By direction: the response of the luma at the coarsest scale.
    coarse: [Plane; 2],
    /// I and Q, averaged over 2x2 pixels.
    chroma: [Plane; 2],
}

impl Features {
    fn of(image: &Planes) -> Self {
        let [y, i, q] = image.each_ref().map(|plane| halved(plane).map(|v| 255.0 * v));
        let [across_2, down_2] = haar(&y, 2);
        let [across_4, down_4] = haar(&y, 4);
        let chroma = [i, q].map(|plane| valid(&plane.padded(0, 1), &[0.5; 2], &[0.5; 2]).map(f64::abs));
        Self { fine: [[across_2, across_4], [down_2, down_4]], coarse: haar(&y, 8), chroma }
    }
}

/// Responses to the two Haar wavelets of this side, beyond the border zeros: steps from row to row, from column to column.
fn haar(luma: &Plane, side: usize) -> [Plane; 2] {
    let padded = luma.padded(side / 2 - 1, side / 2);
    let sum = vec![1.0; side];
    let step: Vec<f64> = (0..side).map(|i| if i < side / 2 { 1.0 } else { -1.0 } / side as f64).collect();
    [valid(&padded, &step, &sum).map(f64::abs), valid(&padded, &sum, &step).map(f64::abs)]
}
