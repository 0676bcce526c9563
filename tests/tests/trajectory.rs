//! Six published iterations at width 8 (one discriminator step, two generator steps each) against the golden losses.

use candle_core::{DType, Device, Result, Tensor};
use colormamba::EdgeMap;
use colormamba_features::AutoencoderFeatures;
use colormamba_layers::Params;
use colormamba_layers::optim::OptimizerConfig;
use colormamba_losses::{Adversarial, ImageObjective, Networks, Term, Weight};
use colormamba_testkit::{Fixture, device, formula, relative_l2, relative_l2_map, unit_image};
use colormamba_training::{
    Adversary, AdversaryConfig, ColorMambaOptions, Head, NamedTensors, NetworkOptions, Pass, StepContext, Trainer,
    TrainerSetup, Updates,
};

fn published_terms(weight: f64) -> Vec<(Term, Weight)> {
    let terms = [Term::Mse {}, Term::FeatureMse {}, Term::FeatureCosine {}, Term::MsSsimPublished {}];
    terms.map(|term| (term, weight.into())).to_vec()
}

/// Stored spectral-norm vectors where the file has them, formula weights elsewhere.
fn fill(params: &Params, fixture: &Fixture, prefix: &str) -> Result<()> {
    params.fill(|name, shape| {
        let stored = fixture.tensors.get(&format!("{prefix}state.{name}"));
        let value = stored.map_or_else(|| formula(&format!("{prefix}{name}"), shape), |stored| Ok(stored.clone()));
        value?.to_device(params.device())
    })
}

fn trainer(fixture: &Fixture, device: &Device) -> Result<(Trainer, Params)> {
    let fresh = || Params::new(0, DType::F32, device);
    let (g, d_rgb, d_hsv) = (fresh(), fresh(), fresh());
    let features = AutoencoderFeatures::from_fn(DType::F32, device, |name, shape| {
        Ok(formula(&format!("ae.{name}"), shape.clone())?.to_device(device)?)
    });
    let networks = Networks::default().with_autoencoder(features.expect("formula weights"));
    let head = |name: &str, weight: f64, params: &Params| {
        let config = AdversaryConfig { width: 8, scales: 1, kind: Adversarial::Lsgan, penalty: 0.0, weight: 1.0 };
        let adversary = Adversary::new(params.clone(), config, DType::F32, OptimizerConfig::default());
        let objective = ImageObjective::new(published_terms(weight), networks.clone());
        let (adversary, objective) = (adversary.expect("fresh parameters"), objective.expect("valid terms"));
        Head { name: name.to_string(), objective, adversary: Some(adversary), teacher: None, hints: None }
    };
    let options = ColorMambaOptions { width: 8, depth: 8, edge_map: EdgeMap::Legacy };
    let trainer = Trainer::new(TrainerSetup {
        params: g.clone(),
        network: Box::new(move |scope, activations| options.build(scope, activations)),
        activations: DType::F32,
        heads: vec![head("rgb", 2000.0, &d_rgb), head("hsv", 100.0, &d_hsv)],
        dynamic: false,
        seed: 0,
        initial: None,
        updates: Updates::default(),
        discriminator_steps: 1,
        network_steps: 2,
    })
    .expect("fresh parameters");
    fill(&g, fixture, "g.")?;
    fill(&d_rgb, fixture, "d_rgb.")?;
    fill(&d_hsv, fixture, "d_hsv.")?;
    Ok((trainer, g))
}

fn batch(fixture: &Fixture) -> Result<NamedTensors> {
    let nir = unit_image("g.nir_gray", (2, 1, 256, 256))?;
    let zero = nir.zeros_like()?;
    let tensors = [
        ("nir_hsv", Tensor::cat(&[&zero, &zero, &nir], 1)?),
        ("nir", nir),
        ("rgb", unit_image("g.rgb", (2, 3, 256, 256))?),
        ("hsv", fixture.get("in.rgb_hsv")?.clone()),
    ];
    Ok(tensors.into_iter().map(|(name, tensor)| (name.to_string(), tensor)).collect())
}

fn assert_near(what: &str, got: f64, want: f64, tolerance: f64) {
    let error = (got - want).abs() / want.abs();
    println!("{what}: {got:.7} golden {want:.7}, error {error:.1e}");
    assert!(error <= tolerance, "{what}: {got} differs from {want} by {error:.1e} > {tolerance:.0e}");
}

#[test]
fn six_published_iterations() -> Result<()> {
    let fixture = Fixture::load("trajectory_w8")?;
    let (mut trainer, params) = trainer(&fixture, &device())?;
    let batch = batch(&fixture)?;
    let d_loss = fixture.get("d_loss")?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    let g_loss = fixture.get("g_loss")?.to_dtype(DType::F64)?.to_vec2::<f64>()?;
    for i in 0..6 {
        let context = StepContext { step: i, epoch: 0, lr: 1e-4, gradients: false };
        let report = trainer.step(std::slice::from_ref(&batch), &context).expect("finite losses");
        assert_near(&format!("iteration {i} D"), report.d_loss[0], d_loss[i], 2e-4);
        // Adversarial training amplifies rounding: an f64 run of the original differs as much.
        let tolerance = [2e-4, 3e-3, 3e-2][i.min(2)];
        for (k, want) in g_loss[i].iter().enumerate() {
            assert_near(&format!("iteration {i} G {k}"), report.g_loss[k].total, *want, tolerance);
        }
    }
    let want = fixture.under("final.norm.");
    let norm = |x: &Tensor| x.to_dtype(DType::F64)?.sqr()?.sum_all()?.sqrt();
    let got = params.tensors().iter().map(|(k, v)| Ok((k.clone(), norm(v)?))).collect::<Result<_>>()?;
    let want = want.into_iter().map(|(k, v)| Ok((k, v.reshape(())?))).collect::<Result<_>>()?;
    let worst = relative_l2_map(&got, &want)?.into_values().fold(0.0, f64::max);
    println!("final weight norms: worst {worst:.1e}");
    assert!(worst <= 3e-2, "{worst:e}");
    let first =
        batch.iter().map(|(name, tensor)| Ok((name.clone(), tensor.narrow(0, 0, 1)?))).collect::<Result<_>>()?;
    let eval = trainer.evaluation().forward(&first, Pass::Evaluation).expect("a batch that fits");
    let error = relative_l2(&eval["rgb"], fixture.get("final.eval.rgb")?)?;
    println!("final eval.rgb: {error:.1e}");
    // The amplified rounding of twelve steps ends up in this image. Seen: 3.1e-2; other rounding gives other values of that
    // size, while a wrong gradient anywhere gives a value near 1.
    assert!(error <= 1e-1, "{error:e}");
    Ok(())
}

/// All losses of so many iterations.
fn losses(fixture: &Fixture, device: &Device, iterations: usize) -> Result<Vec<f64>> {
    let (mut trainer, _) = trainer(fixture, device)?;
    let on_device = |(name, tensor): (String, Tensor)| Ok((name, tensor.to_device(device)?));
    let batch = batch(fixture)?.into_iter().map(on_device).collect::<Result<NamedTensors>>()?;
    let step = |step| {
        let context = StepContext { step, epoch: 0, lr: 1e-4, gradients: false };
        let report = trainer.step(std::slice::from_ref(&batch), &context).expect("finite losses");
        report.d_loss.into_iter().chain(report.g_loss.into_iter().map(|g| g.total)).collect::<Vec<_>>()
    };
    Ok((0..iterations).flat_map(step).collect())
}

/// On the processor alone, losses differ by 2.2 % at most where the NIR image is moved by 3e-7 of itself.
#[test]
#[cfg_attr(not(feature = "cuda"), ignore = "skipped: built without CUDA")]
fn losses_on_a_card_follow_those_of_the_processor() -> Result<()> {
    let fixture = Fixture::load("trajectory_w8")?;
    // The one of the fixtures: copies between two openings of a GPU do not wait for each other.
    let gpu = device();
    assert!(gpu.is_cuda(), "COLORMAMBA_TEST_DEVICE names no GPU");
    let (ours, theirs) = (losses(&fixture, &gpu, 20)?, losses(&fixture, &Device::Cpu, 20)?);
    for (i, (gpu, processor)) in ours.iter().zip(&theirs).enumerate() {
        assert_near(&format!("loss {i}, GPU and processor"), *gpu, *processor, 3e-2);
    }
    Ok(())
}
