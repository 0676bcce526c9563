//! What the tests of single terms share.

use candle_core::{DType, Shape, Tensor, Var};
use colormamba_features::{AutoencoderFeatures, FeatureError, FeatureNetwork, Network};
use colormamba_losses::{
    Channels, Evaluation, Extractor, FeatureDistance, HistogramDistance, HistogramOptions, ImageObjective, LossError,
    Networks, Padding, Part, Space, SsimOptions, Term, VggOptions, Weight,
};
use colormamba_ops::Node;
use colormamba_testkit::{Fixture, assert_close, device, formula};

pub type Outcome = Result<(), Box<dyn std::error::Error>>;

/// The networks with the golden files' weights.
pub fn golden_networks(dtype: DType) -> Result<Networks, FeatureError> {
    let weights = |name: &str, shape: &Shape| Ok(formula(&format!("ae.{name}"), shape.clone())?);
    let autoencoder = AutoencoderFeatures::from_fn(dtype, &device(), weights)?;
    let weights = |name: &str, shape: &Shape| Ok(formula(&format!("vgg19.{name}"), shape.clone())?);
    let vgg19 = FeatureNetwork::from_fn(Network::Vgg19, dtype, &device(), weights)?;
    Ok(Networks::default().with_autoencoder(autoencoder).with_classifier(vgg19))
}

/// An objective of weighted terms on `networks`.
pub fn objective(terms: &[(Term, f64)], networks: Networks) -> Result<ImageObjective, LossError> {
    ImageObjective::new(terms.iter().map(|(term, weight)| (term.clone(), Weight::from(*weight))).collect(), networks)
}

/// Every term on images with its default options, and further options of those that have more than one form. Those on
/// class scores have tests of their own.
pub fn terms() -> Vec<Term> {
    let mut terms = Term::all();
    terms.retain(|term| term.channels() != Channels::Classes);
    for part in [Part::Luminance, Part::Contrast, Part::Structure, Part::ContrastStructure] {
        terms.push(Term::Ssim(SsimOptions { part, ..Default::default() }));
    }
    for padding in [Padding::Zero, Padding::Reflect] {
        terms.push(Term::Ssim(SsimOptions { padding, ..Default::default() }));
    }
    for (space, distance) in [
        (Space::Hsv, HistogramDistance::CdfL1),
        (Space::Lab, HistogramDistance::CdfL1),
        (Space::Rgb, HistogramDistance::Kl),
        (Space::Hsv, HistogramDistance::Chi2),
        (Space::Hsv, HistogramDistance::Wasserstein),
    ] {
        terms.push(Term::Histogram(HistogramOptions { space, distance, bins: 32 }));
    }
    terms.push(Term::Vgg(VggOptions { distance: FeatureDistance::L1, ..Default::default() }));
    terms
}

/// Random weights for whatever the term looks through.
pub fn networks(term: &Term, dtype: DType) -> Result<Networks, LossError> {
    let none = Networks::default();
    Ok(match term.extractor() {
        None => none,
        Some(Extractor::Autoencoder) => none.with_autoencoder(AutoencoderFeatures::random(7, dtype, &device())?),
        Some(Extractor::Classifier(network)) => {
            none.with_classifier(FeatureNetwork::random(network, 7, dtype, &device())?)
        }
    })
}

/// An objective of this term alone, with random weights of its networks.
pub fn alone(term: &Term, dtype: DType) -> Result<ImageObjective, LossError> {
    objective(&[(term.clone(), 1.0)], networks(term, dtype)?)
}

/// The value of one term.
pub fn value(term: &Term, networks: Networks, pred: &Tensor, target: &Tensor) -> Result<f64, LossError> {
    let objective = objective(&[(term.clone(), 1.0)], networks)?;
    Ok(objective.evaluate(pred, &objective.target(target)?, 0)?.raw[0])
}

/// The value of an objective and its gradient by the prediction.
pub fn gradient(objective: &ImageObjective, pred: &Tensor, target: &Tensor) -> Result<(f64, Tensor), LossError> {
    let pred = Var::from_tensor(pred)?;
    let Evaluation { total, .. } = objective.evaluate(Node::from(&pred), &objective.target(target)?, 0)?;
    let value = total.value().to_scalar::<f64>()?;
    let grad = total.backward(&Tensor::ones((), DType::F64, &device())?)?.remove(&pred);
    Ok((value, grad.expect("a gradient")))
}

/// Every `step`th row and column.
pub fn sampled(x: &Tensor, step: usize) -> candle_core::Result<Tensor> {
    let indices = |n: usize| Tensor::from_iter((0..n as u32).step_by(step), x.device());
    let (_, _, h, w) = x.dims4()?;
    x.index_select(&indices(h)?, 2)?.index_select(&indices(w)?, 3)
}

/// Compares value and gradient of a sum of weighted terms with the golden file's, from PyTorch. `value`, `grad`: tolerances.
pub fn check_golden(name: &str, terms: &[(Term, f64)], value: f64, grad: f64) -> Outcome {
    let gradient = check_golden_samples(name, terms, value, grad)?;
    let norm = gradient.to_dtype(DType::F64)?.sqr()?.sum_all()?.sqrt()?.to_scalar::<f64>()?;
    Ok(near(name, "grad_l2", norm, grad)?)
}

/// [`check_golden`] without the gradient's norm, which is ill-conditioned where a histogram is a part; returns the gradient.
pub fn check_golden_samples(
    name: &str,
    terms: &[(Term, f64)],
    value: f64,
    grad: f64,
) -> Result<Tensor, Box<dyn std::error::Error>> {
    let golden = Fixture::load("losses")?;
    let objective = objective(terms, golden_networks(DType::F32)?)?;
    let (total, gradient) = gradient(&objective, golden.get("in.pred")?, golden.get("in.target")?)?;
    near(name, "value", total, value)?;
    let samples = format!("{name}.grad_every_7th");
    assert_close(&samples, &sampled(&gradient, 7)?, golden.get(&samples)?, grad)?;
    Ok(gradient)
}

fn near(name: &str, what: &str, got: f64, tolerance: f64) -> candle_core::Result<()> {
    let what = format!("{name}.{what}");
    assert_close(&what, &Tensor::new(&[got as f32], &device())?, Fixture::load("losses")?.get(&what)?, tolerance)
}
