//! Error of the hue.

use crate::{Best, Definition, Measure, Pair};

impl Measure {
    /// Angle between the hues in CIELAB, averaged over pixels with the target's chroma as weight. Against a grey prediction
    /// (chroma below 0.1) a pixel counts as 90°, the mean angle to a hue by chance; grey pixels of the target have no hue
    /// to miss and do not count; a wholly grey target gives 0.
    ///
    /// In degrees, `[0, 180]`, lower is better. Not symmetric.
    ///
    /// Source: hue angle of CIE 15:2018, doi:10.25039/TR.015.2018, section 8.2.1; weights and grey are defined here.
    pub const HUE: Self = Self {
        definition: &Definition {
            spec: "hue[cielab,chroma-weighted,deg]",
            name: "hue",
            label: "Hue error",
            unit: "°",
            best: Best::Lowest,
            smallest_side: 1,
        },
        value: mean,
    };
}

/// Below this chroma a colour counts as grey: well under one step of 8 bits in one channel, well above the rounding of
/// a grey's own chroma.
const GREY: f64 = 0.1;

/// What the angle between a hue and a random one is on average, in radians.
const RANDOM: f64 = std::f64::consts::FRAC_PI_2;

fn mean(pair: &Pair) -> f64 {
    let [pred, target] = pair.lab();
    let (mut angles, mut weights) = (0.0, 0.0);
    for (&[_, ap, bp], &[_, at, bt]) in pred.iter().zip(target) {
        let (chroma_p, chroma_t) = ((ap * ap + bp * bp).sqrt(), (at * at + bt * bt).sqrt());
        if chroma_t >= GREY {
            let angle = if chroma_p < GREY { RANDOM } else { (at * bp - bt * ap).abs().atan2(at * ap + bt * bp) };
            angles += chroma_t * angle;
            weights += chroma_t;
        }
    }
    if weights > 0.0 { (angles / weights).to_degrees() } else { 0.0 }
}
