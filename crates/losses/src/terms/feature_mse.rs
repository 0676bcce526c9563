//! The term `feature_mse`.

use crate::definition::{Definition, Family, Features};
use crate::mean::{Squared, mean_distance};
use crate::view::{Comparison, View};
use crate::{About, Channels, LossError};

const ABOUT: About = About {
    name: "feature_mse",
    formula: "⟨(φ(p) − φ(t))²⟩, φ the first four blocks of a fixed auto-encoder",
    range: "0 upwards, by the auto-encoder's scale",
    source: "ColorMamba, arXiv 2408.08087, with the auto-encoder of GAN-STFM, doi:10.1109/TGRS.2021.3050551",
    options: "",
};

pub(crate) struct FeatureMse;

impl Definition for FeatureMse {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn family(&self) -> Family {
        Family::Feature
    }

    fn channels(&self) -> Channels {
        Channels::OneOrThree
    }

    fn smallest_side(&self) -> usize {
        1
    }

    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    fn features(&self) -> Option<Features> {
        Some(Features::Autoencoder)
    }

    fn against(&self, target: &View) -> Result<Comparison, LossError> {
        let target = target.autoencoder()?.value().clone();
        Ok(Box::new(move |pred| Ok(mean_distance(pred.autoencoder()?, &target, Squared)?)))
    }
}
