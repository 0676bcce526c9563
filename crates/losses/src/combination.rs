//! How the terms of an objective are added up.

use crate::About;
use serde::{Deserialize, Serialize};

/// How the terms of an objective are added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Combination {
    /// By their weights.
    Fixed,
    /// By weights that are learned; see [`crate::ImageObjective::with_log_weights`].
    Dynamic,
}

const FIXED: About = About {
    name: "fixed",
    formula: "Σ_i w_i L_i, L_i the terms and w_i their weights",
    range: "0 upwards",
    source: "a weighted sum; each weight may follow a schedule over the epochs",
    options: "",
};

const DYNAMIC: About = About {
    name: "dynamic",
    formula: "Σ_i (e^−s_i w_i L_i + s_i), s_i learned with the network, 0 at first",
    range: "any number",
    source: "Kendall, Gal, Cipolla, Multi-task learning using uncertainty to weigh losses, CVPR 2018, arXiv 1705.07115, with s the \
             log variance and without the factors ½",
    options: "",
};

impl Combination {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Fixed, Self::Dynamic];

    /// What it is; L_i are the terms, w_i their weights.
    pub fn about(self) -> &'static About {
        match self {
            Self::Fixed => &FIXED,
            Self::Dynamic => &DYNAMIC,
        }
    }
}
