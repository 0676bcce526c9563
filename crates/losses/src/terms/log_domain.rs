//! The term `log_domain`.

use crate::definition::{Definition, Family};
use crate::mean::CHUNK;
use crate::options::above_zero;
use crate::view::{Comparison, View};
use crate::{About, Channels, LossError, Term};
use candle_core::{Result as CandleResult, Tensor};
use colormamba_cpu::{Real, tensor, with_slices};
use colormamba_ops::Node;
use rayon::prelude::*;
use serde::{Deserialize, Deserializer, Serialize};

const ABOUT: About = About {
    name: "log_domain",
    formula: "another term on (ln(max(x, 0) + ε) − ln ε)/(ln(1 + ε) − ln ε) of both images, which maps [0, 1] to [0, 1]",
    range: "that of the other term",
    source: "the logarithm that makes multiplicative speckle additive: Arsenault & April, J. Opt. Soc. Am. 66 (1976), \
             doi:10.1364/JOSA.66.001160; scaled to [0, 1]",
    options: "eps = 1e-3: ε; term = l1: a pixel, structure or edge term, by name or as a table with its options",
};

/// Options of `log_domain`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogDomainOptions {
    /// Added to intensities before the logarithm; above 0.
    pub eps: f64,
    /// What compares the logarithms: a pixel, structure or edge term, as a name or as a table with options.
    #[serde(deserialize_with = "name_or_table")]
    pub term: Box<Term>,
}

impl Default for LogDomainOptions {
    fn default() -> Self {
        Self { eps: 1e-3, term: Box::new(Term::L1 {}) }
    }
}

fn name_or_table<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<Term>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "term is the name of a loss term, or a table such as { ssim = { window = 7 } }")]
    enum Form {
        Name(String),
        Table(Term),
    }
    match Form::deserialize(deserializer)? {
        Form::Name(name) => name.parse().map(Box::new).map_err(serde::de::Error::custom),
        Form::Table(term) => Ok(Box::new(term)),
    }
}

impl Definition for LogDomainOptions {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn family(&self) -> Family {
        Family::Speckle
    }

    fn channels(&self) -> Channels {
        self.term.channels()
    }

    fn smallest_side(&self) -> usize {
        self.term.smallest_side()
    }

    fn check(&self) -> Result<(), String> {
        above_zero("eps", self.eps)?;
        match self.term.family() {
            Family::Pixel | Family::Structure | Family::Edge => self.term.check().map_err(|error| error.to_string()),
            Family::Colour | Family::Feature | Family::Speckle | Family::Classes => {
                Err(format!("term is `{}`, it must be a pixel, structure or edge term", self.term))
            }
        }
    }

    fn against(&self, target: &View) -> Result<Comparison, LossError> {
        let eps = self.eps;
        let compare = self.term.against(&View::plain(logarithm(target.image(), eps)?))?;
        Ok(Box::new(move |pred| compare(&View::plain(logarithm(pred.image(), eps)?))))
    }
}

/// (ln(max(x, 0) + ε) − ln ε)/(ln(1 + ε) − ln ε). Below 0 its derivative is 0, at 0 that from above.
fn logarithm(x: &Node, eps: f64) -> CandleResult<Node> {
    let x = x.contiguous()?;
    let xv = x.value().clone();
    let scale = 1.0 / (1.0 / eps).ln_1p();
    let y = zip(&xv, &xv, move |x, _| if x < 0.0 { 0.0 } else { scale * (x / eps).ln_1p() })?;
    Node::new(y, [&x], move |grad| {
        Ok([Some(zip(&xv, grad, move |x, grad| if x < 0.0 { 0.0 } else { grad * scale / (x + eps) })?)])
    })
}

/// `f` element by element.
fn zip(a: &Tensor, b: &Tensor, f: impl Fn(f64, f64) -> f64 + Sync) -> CandleResult<Tensor> {
    let shape = a.shape();
    with_slices!("log_domain", [a, b], T => {
        let mut out = vec![T::ZERO; a.len()];
        let chunks = out.par_chunks_mut(CHUNK).zip(a.par_chunks(CHUNK)).zip(b.par_chunks(CHUNK));
        chunks.for_each(|((out, a), b)| {
            out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = T::of(f(a.wide(), b.wide())));
        });
        Ok(tensor(out, shape))
    })
}
