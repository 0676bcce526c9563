//! Networks that the trainer knows nothing of: one convolution, from a noisy image to a clean one; and a colorizer that
//! also tells the class of its scene.

use candle_core::{DType, Device, Tensor};
use colormamba_layers::optim::{EmaConfig, OptimizerConfig, ParameterGroups};
use colormamba_layers::{Conv2d, Params, Scope};
use colormamba_losses::{Adversarial, ImageObjective, Networks, Term};
use colormamba_ops::{Conv2dConfig, Node, resize_bilinear2d};
use colormamba_testkit::{noise_tensor, unit_image};
use colormamba_training::{
    Adversary, AdversaryConfig, Builder, FEATURES, Head, HeadShape, Hints, InitialWeights, NamedNodes, NamedTensors,
    Network, NetworkOptions, OptionError, Pass, StepContext, StepReport, TrainedNetwork, Trainer, TrainerSetup,
    TrainingError, Updates, tensor,
};

struct OneConv(Conv2d);

impl OneConv {
    fn new(scope: &Scope) -> Result<Self, TrainingError> {
        let config = Conv2dConfig { stride: 1, padding: 1 };
        Ok(Self(Conv2d::new(&scope.pp("conv"), 3, 3, 3, config)?))
    }
}

impl Network for OneConv {
    fn heads(&self) -> Vec<HeadShape> {
        vec![HeadShape::image("clean", 3)]
    }

    fn forward(&self, batch: &NamedTensors, _: Pass) -> Result<NamedNodes, TrainingError> {
        Ok(NamedNodes::from([("clean".to_string(), self.0.forward(tensor(batch, "noisy")?)?)]))
    }

    fn check_size(&self, _: usize, _: usize) -> Result<(), TrainingError> {
        Ok(())
    }
}

fn head(name: &str, adversary: Option<Adversary>) -> Head {
    let objective = ImageObjective::new(vec![(Term::Mse {}, 10.0.into())], Networks::default()).unwrap();
    Head { name: name.to_string(), objective, adversary, teacher: None, hints: None }
}

fn adversary() -> Adversary {
    let config = AdversaryConfig { width: 4, scales: 1, kind: Adversarial::WganGp, penalty: 10.0, weight: 0.1 };
    let params = Params::new(2, DType::F32, &Device::Cpu);
    Adversary::new(params, config, DType::F32, OptimizerConfig::default()).unwrap()
}

fn trainer(heads: Vec<Head>, dynamic: bool) -> Result<Trainer, TrainingError> {
    Trainer::new(setup(heads, dynamic, Updates::default()))
}

fn setup(heads: Vec<Head>, dynamic: bool, updates: Updates) -> TrainerSetup {
    TrainerSetup {
        params: Params::new(1, DType::F32, &Device::Cpu),
        network: Box::new(|scope, _| Ok(Box::new(OneConv::new(scope)?))),
        activations: DType::F32,
        heads,
        dynamic,
        seed: 3,
        initial: None,
        updates,
        discriminator_steps: 1,
        network_steps: 1,
    }
}

/// A batch of `count` images, different ones for each `name`.
fn batch(name: &str, count: usize) -> NamedTensors {
    let clean = unit_image(name, (count, 3, 24, 24)).unwrap();
    let noise = noise_tensor(name, clean.shape()).unwrap().to_dtype(DType::F32).unwrap();
    let noisy = (&clean + noise.affine(0.05, 0.0).unwrap()).unwrap();
    NamedTensors::from([("noisy".to_string(), noisy), ("clean".to_string(), clean)])
}

fn step(trainer: &mut Trainer, batches: &[NamedTensors], step: usize) -> StepReport {
    trainer.step(batches, &StepContext { step, epoch: 0, lr: 0.02, gradients: false }).unwrap()
}

fn assert_same_state(a: &Trainer, b: &Trainer) {
    let (a, b) = (a.state().unwrap(), b.state().unwrap());
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    let values = |t: &Tensor| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    a.iter().for_each(|(name, tensor)| assert_eq!(values(tensor), values(&b[name]), "{name}"));
}

#[test]
fn it_learns() {
    let mut trainer = trainer(vec![head("clean", None)], false).unwrap();
    let batch = batch("a", 2);
    let losses: Vec<f64> = (0..100)
        .map(|i| {
            let report = step(&mut trainer, std::slice::from_ref(&batch), i);
            assert!(report.d_loss.is_empty() && report.g_loss[0].heads["clean"].adversarial.is_none());
            report.g_loss[0].total
        })
        .collect();
    assert!(losses[99] < 0.1 * losses[0], "{losses:?}");
    let image = trainer.evaluation().forward(&batch, Pass::Evaluation).unwrap().remove("clean").unwrap();
    let error = (image.value() - &batch["clean"]).unwrap().sqr().unwrap().mean_all().unwrap();
    let error = 10.0 * f64::from(error.to_scalar::<f32>().unwrap());
    assert!(error <= losses[99], "the evaluated network has the trained weights: {error}");
}

/// A teacher's image is one more target: what is learned of both lies between them.
#[test]
fn it_learns_of_a_teacher_beside_the_truth() {
    let taught = || {
        let teacher = ImageObjective::new(vec![(Term::Mse {}, 30.0.into())], Networks::default()).unwrap();
        Head { teacher: Some(teacher), ..head("clean", None) }
    };
    let mut trainer = trainer(vec![taught()], false).unwrap();
    let mut batch = batch("a", 2);
    let context = StepContext { step: 0, epoch: 0, lr: 0.02, gradients: true };
    let error = trainer.step(std::slice::from_ref(&batch), &context).unwrap_err();
    assert!(error.to_string().contains("teacher.clean"), "{error}");

    let darker = batch["clean"].affine(0.5, 0.0).unwrap();
    batch.insert(Head::taught("clean"), darker);
    let report = trainer.step(std::slice::from_ref(&batch), &context).unwrap();
    let losses = &report.g_loss[0];
    let terms = &losses.heads["clean"].terms;
    assert_eq!(terms.keys().collect::<Vec<_>>(), ["mse", "teacher.mse"]);
    assert_eq!(losses.total, terms["mse"].weighted + terms["teacher.mse"].weighted);
    assert!(report.gradients.unwrap()["clean"].norms.contains_key("teacher.mse"));

    (1..300).for_each(|i| drop(step(&mut trainer, std::slice::from_ref(&batch), i)));
    let image = trainer.evaluation().forward(&batch, Pass::Evaluation).unwrap().remove("clean").unwrap();
    let mean = |t: &Tensor| t.mean_all().unwrap().to_scalar::<f32>().unwrap();
    // Squared errors with weights 10 and 30 are least at the mean with these weights.
    let (truth, got) = (mean(&batch["clean"]), mean(image.value()));
    assert!((got / truth - 0.625).abs() < 0.01, "{got} of {truth}");
}

/// A network whose picture stands on a map of 4 channels, which it gives as its features.
struct Deep([Conv2d; 2]);

impl Deep {
    fn new(scope: &Scope) -> Result<Self, TrainingError> {
        let conv = |name, i, o| Conv2d::new(&scope.pp(name), i, o, 3, Conv2dConfig { stride: 1, padding: 1 });
        Ok(Self([conv("first", 3, 4)?, conv("second", 4, 3)?]))
    }
}

impl Network for Deep {
    fn heads(&self) -> Vec<HeadShape> {
        vec![HeadShape::image("clean", 3)]
    }

    fn forward(&self, batch: &NamedTensors, _: Pass) -> Result<NamedNodes, TrainingError> {
        let features = self.0[0].forward(tensor(batch, "noisy")?)?;
        let clean = self.0[1].forward(&features)?;
        Ok([("clean".to_string(), clean), (FEATURES.to_string(), features)].into())
    }

    fn check_size(&self, _: usize, _: usize) -> Result<(), TrainingError> {
        Ok(())
    }
}

fn taught_by_features() -> Trainer {
    let params = Params::new(5, DType::F32, &Device::Cpu);
    let hints = Hints::new(params, 4, &[2, 5], 3.0, OptimizerConfig::default()).unwrap();
    let head = Head { hints: Some(hints), ..head("clean", None) };
    let network: Builder = Box::new(|scope, _| Ok(Box::new(Deep::new(scope)?)));
    Trainer::new(TrainerSetup { network, ..setup(vec![head], false, Updates::default()) }).unwrap()
}

/// Two maps of other networks: edges of the images at their own size, and small ones without a pattern.
fn with_maps(mut batch: NamedTensors) -> NamedTensors {
    let clean = &batch["clean"];
    let [left, right] = [0, 2].map(|from| clean.pad_with_same(3, 1, 1).unwrap().narrow(3, from, 24).unwrap());
    let edges = (right - left).unwrap().narrow(1, 0, 2).unwrap();
    let small = noise_tensor("maps", (clean.dim(0).unwrap(), 5, 6, 6)).unwrap().to_dtype(DType::F32).unwrap();
    batch.extend([(Hints::taught(0), edges), (Hints::taught(1), small)]);
    batch
}

/// The loss is that of its definition, falls, and reaches every weight that it depends on; nothing else changes.
#[test]
fn it_learns_of_feature_maps() {
    let mut trainer = taught_by_features();
    let without = trainer.step(&[batch("a", 2)], &StepContext { step: 0, epoch: 0, lr: 0.02, gradients: false });
    assert!(without.unwrap_err().to_string().contains("teacher.features.0"));

    let batch = with_maps(batch("a", 2));
    let own = trainer.evaluation().forward(&batch, Pass::Evaluation).unwrap()[FEATURES].value().clone();
    // Of another with the same weights: a step changes those of this one in their place.
    let before = taught_by_features().state().unwrap();
    let wanted: f64 = (0..2)
        .map(|index| {
            let (weight, bias) =
                (&before[&format!("hints_clean.{index}.weight")], &before[&format!("hints_clean.{index}.bias")]);
            let met = own.conv2d(weight, 0, 1, 1, 1).unwrap();
            let met = met.broadcast_add(&bias.reshape((1, (), 1, 1)).unwrap()).unwrap();
            // Larger by linear interpolation, as everywhere in the program.
            let map = resize_bilinear2d(&batch[&Hints::taught(index)], 24, 24).unwrap().value().clone();
            let mean = |t: Tensor| f64::from(t.sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap());
            0.5 * mean((met - &map).unwrap()) / mean(map)
        })
        .sum();
    let first = step(&mut trainer, std::slice::from_ref(&batch), 0).g_loss.remove(0);
    let value = first.heads["clean"].terms["teacher.features"];
    assert!((value.raw / wanted - 1.0).abs() < 1e-5, "{} {wanted}", value.raw);
    assert_eq!(value.weighted, 3.0 * value.raw);
    assert!((first.total / (value.weighted + first.heads["clean"].terms["mse"].weighted) - 1.0).abs() < 1e-6);
    let after = trainer.state().unwrap();
    for name in before.keys().filter(|name| !name.starts_with("adam.")) {
        assert_ne!(values(&before, name), values(&after, name), "{name} moves");
    }
    let last = (1..200).map(|i| step(&mut trainer, std::slice::from_ref(&batch), i)).last().unwrap();
    let last = last.g_loss[0].heads["clean"].terms["teacher.features"].raw;
    // The edges are found, one half of the loss; noise is not.
    assert!(last < 0.62 * value.raw.max(1.0), "{} to {last}", value.raw);
    assert!(trainer.weights().keys().all(|name| name.starts_with("g.")), "projections are no part of the weights");
}

/// Learned projections and their moments are part of the state.
#[test]
fn a_resumed_training_on_features_has_the_same_bits() {
    let batches = [with_maps(batch("a", 2))];
    let (mut whole, mut first, mut second) = (taught_by_features(), taught_by_features(), taught_by_features());
    (0..6).for_each(|i| drop(step(&mut whole, &batches, i)));
    (0..3).for_each(|i| drop(step(&mut first, &batches, i)));
    second.load_state(&first.state().unwrap()).unwrap();
    (3..6).for_each(|i| drop(step(&mut second, &batches, i)));
    assert_same_state(&whole, &second);
}

/// Every part of the updates on its own.
fn all_updates() -> Vec<Updates> {
    let default = Updates::default();
    let groups = ParameterGroups {
        lr_factors: [("conv.weight".to_string(), 0.1)].into(),
        freeze: vec!["conv.bias".to_string()],
    };
    let adamw = OptimizerConfig::AdamW { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.1 };
    vec![
        default.clone(),
        Updates { optimizer: adamw, ..default.clone() },
        Updates { groups, ..default.clone() },
        Updates { clip_norm: Some(0.01), ..default.clone() },
        Updates { ema: Some(EmaConfig { decay: 0.9 }), ..default },
    ]
}

#[test]
fn a_resumed_training_has_the_same_bits() {
    let batches = [batch("a", 2), batch("b", 2)];
    for (updates, batches) in
        all_updates().into_iter().map(|u| (u, &batches[..1])).chain([(Updates::default(), &batches[..])])
    {
        let fresh = || Trainer::new(setup(vec![head("clean", Some(adversary()))], true, updates.clone())).unwrap();
        let mut straight = fresh();
        let first: Vec<StepReport> = (0..4).map(|i| step(&mut straight, batches, i)).collect();
        let (mut before, mut after) = (fresh(), fresh());
        (0..2).for_each(|i| assert_eq!(step(&mut before, batches, i), first[i], "{updates:?}"));
        let state = before.state().unwrap();
        for name in ["g.conv.weight", "d_clean.model.0.weight", "loss.clean.mse", "adam.g.step", "adam.d_clean.step"] {
            assert!(state.contains_key(name), "{name} in {:?}", state.keys());
        }
        after.load_state(&state).unwrap();
        (2..4).for_each(|i| assert_eq!(step(&mut after, batches, i), first[i], "{updates:?}"));
        assert_same_state(&after, &straight);
    }
}

/// The network's weights after two steps.
fn trained(updates: Updates) -> (NamedTensors, Trainer) {
    let mut trainer = Trainer::new(setup(vec![head("clean", None)], false, updates)).unwrap();
    (0..2).for_each(|i| drop(step(&mut trainer, &[batch("a", 2)], i)));
    (trainer.state().unwrap(), trainer)
}

fn values(tensors: &NamedTensors, name: &str) -> Vec<f32> {
    tensors[name].flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn every_part_of_the_updates_does_its_work() {
    let start = trainer(vec![head("clean", None)], false).unwrap().weights();
    let (weight, bias) = ("g.conv.weight", "g.conv.bias");
    let [plain, decayed, grouped, clipped, averaged]: [_; 5] =
        all_updates().into_iter().map(trained).collect::<Vec<_>>().try_into().ok().unwrap();
    let moved = |state: &NamedTensors, name: &str| {
        values(state, name).iter().zip(values(&start, name)).map(|(a, b)| f64::from((a - b).abs())).sum::<f64>()
    };
    assert_ne!(values(&plain.0, weight), values(&decayed.0, weight));
    assert_eq!(values(&grouped.0, bias), values(&start, bias));
    assert!(!grouped.0.contains_key("adam.g.conv.bias.m"));
    assert!(moved(&grouped.0, weight) < 0.2 * moved(&plain.0, weight), "a tenth of the learning rate");
    let gradient =
        |state: &NamedTensors| values(state, "adam.g.conv.weight.m").iter().map(|m| m * m).sum::<f32>().sqrt();
    assert!(
        gradient(&clipped.0) < 0.0101 && gradient(&plain.0) > 0.02,
        "{} {}",
        gradient(&clipped.0),
        gradient(&plain.0)
    );
    assert_eq!(values(&averaged.0, weight), values(&plain.0, weight), "the average does not change what is trained");
    let average = averaged.1.weights();
    assert_eq!(values(&average, weight), values(&averaged.0, "ema.average.conv.weight"));
    assert_ne!(values(&average, weight), values(&plain.0, weight));
    // What is evaluated has the averaged weights.
    let image = |trainer: &Trainer| {
        let mut images = trainer.evaluation().forward(&batch("a", 1), Pass::Evaluation).unwrap();
        values(&[("image".to_string(), images.remove("clean").unwrap().value().clone())].into(), "image")
    };
    assert_ne!(image(&averaged.1), image(&plain.1));
}

#[test]
fn a_training_starts_from_given_weights() {
    let given: NamedTensors = [("conv.weight", (3, 3, 3, 3).into()), ("conv.bias", candle_core::Shape::from(3))]
        .map(|(name, shape)| (name.to_string(), Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap()))
        .into();
    let start = |tensors: &NamedTensors, prefixes: &[&str]| {
        let prefixes = prefixes.iter().map(|prefix| prefix.to_string()).collect();
        let initial = Some(InitialWeights { tensors: tensors.clone(), prefixes });
        let updates = Updates { ema: Some(EmaConfig { decay: 0.9 }), ..Updates::default() };
        Trainer::new(TrainerSetup { initial, ..setup(vec![head("clean", None)], false, updates) })
    };
    let fresh = trainer(vec![head("clean", None)], false).unwrap().weights();
    let all = start(&given, &[]).unwrap().weights();
    assert_eq!((values(&all, "g.conv.weight"), values(&all, "g.conv.bias")), (vec![1.0; 81], vec![1.0; 3]));
    let part = start(&given, &["conv.b"]).unwrap().weights();
    assert_eq!(values(&part, "g.conv.bias"), [1.0; 3]);
    assert_eq!(values(&part, "g.conv.weight"), values(&fresh, "g.conv.weight"));
    let says = |result: Result<Trainer, TrainingError>, wanted: &str| {
        let error = result.err().expect("an error");
        let text =
            format!("{error}: {}", std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default());
        assert!(text.contains(wanted), "{wanted} in {text}");
    };
    says(start(&given, &["encoder."]), "init: no parameter's name begins with `encoder.`");
    let mut short = given.clone();
    short.remove("conv.bias");
    says(start(&short, &[]), "the first is `conv.bias`");
    assert!(start(&short, &["conv.w"]).is_ok());
}

/// Where no statistics of a batch are taken, two batches are one batch of all their images.
#[test]
fn gradients_of_several_batches_are_averaged() {
    let fresh = || trainer(vec![head("clean", None)], false).unwrap();
    let halves = [batch("a", 2), batch("b", 2)];
    let both = |name: &str| Tensor::cat(&[&halves[0][name], &halves[1][name]], 0).unwrap();
    let whole = [["noisy", "clean"].map(|name| (name.to_string(), both(name))).into_iter().collect()];
    let (mut a, mut b) = (fresh(), fresh());
    let (one, two) = (step(&mut a, &whole, 0), step(&mut b, &halves, 0));
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-5 * a.abs(), "{a} {b}");
    near(one.g_loss[0].heads["clean"].terms["mse"].weighted, two.g_loss[0].heads["clean"].terms["mse"].weighted);
    // The first step of Adam is one of lr in the direction of the gradient's sign, which so is the same.
    let (a, b) = (a.weights(), b.weights());
    let difference = (&a["g.conv.weight"] - &b["g.conv.weight"]).unwrap().abs().unwrap().max_all().unwrap();
    assert!(difference.to_scalar::<f32>().unwrap() < 1e-4, "{difference}");
}

#[test]
fn what_does_not_fit_is_named() {
    let says = |result: Result<Trainer, TrainingError>, wanted: &str| {
        let text = result.err().expect("an error").to_string();
        assert!(text.contains(wanted), "{wanted} in {text}");
    };
    says(trainer(vec![head("rgb", None)], false), "the head `rgb`: the network has no such output, it has clean");
    says(trainer(vec![head("clean", None), head("clean", None)], false), "the head `clean`: it is given twice");
    let mut trainer = trainer(vec![head("clean", None)], false).unwrap();
    let context = StepContext { step: 0, epoch: 0, lr: 0.1, gradients: false };
    let mut without = batch("a", 1);
    without.remove("noisy");
    assert!(matches!(trainer.step(&[without], &context), Err(TrainingError::Missing { name }) if name == "noisy"));
    assert!(matches!(trainer.step(&[], &context), Err(TrainingError::NoBatch)));
    let mut broken = batch("a", 1);
    broken.insert("noisy".into(), broken["noisy"].affine(f64::INFINITY, 0.0).unwrap());
    assert!(matches!(trainer.step(&[broken], &context), Err(TrainingError::NotFinite { .. })));
    assert!(matches!(trainer.load_state(&NamedTensors::new()), Err(TrainingError::State { .. })));
}

/// Classes of scenes that the colorizer tells apart.
const SCENES: usize = 3;

/// A network as a manifest would name it: a picture, which it calls `colour`, and scores of the classes of scenes.
struct Scenic {
    picture: &'static str,
}

struct ScenicNetwork {
    colour: Conv2d,
    scene: Conv2d,
}

impl NetworkOptions for Scenic {
    fn check(&self) -> Result<(), OptionError> {
        Ok(())
    }

    fn check_size(&self, size: usize) -> Result<(), OptionError> {
        if size.is_multiple_of(4) { Ok(()) } else { Err(OptionError::new("size", "no multiple of 4")) }
    }

    fn heads(&self) -> Vec<HeadShape> {
        vec![HeadShape::image("colour", 3), HeadShape::classes("scene", SCENES)]
    }

    fn rgb(&self) -> &'static str {
        self.picture
    }

    fn build(&self, scope: &Scope, _: Option<DType>) -> Result<Box<dyn Network>, TrainingError> {
        let conv =
            |name, channels| Conv2d::new(&scope.pp(name), 1, channels, 3, Conv2dConfig { stride: 1, padding: 1 });
        Ok(Box::new(ScenicNetwork { colour: conv("colour", 3)?, scene: conv("scene", SCENES)? }))
    }
}

impl Network for ScenicNetwork {
    fn heads(&self) -> Vec<HeadShape> {
        Scenic { picture: "colour" }.heads()
    }

    fn forward(&self, batch: &NamedTensors, _: Pass) -> Result<NamedNodes, TrainingError> {
        let nir = tensor(batch, "nir")?;
        let scene = mean_of_planes(&self.scene.forward(nir)?)?;
        Ok([("colour", self.colour.forward(nir)?), ("scene", scene)].map(|(k, v)| (k.to_string(), v)).into())
    }

    fn check_size(&self, width: usize, height: usize) -> Result<(), TrainingError> {
        let fits = width.is_multiple_of(4) && height.is_multiple_of(4);
        let wanted = "both sides must be multiples of 4".to_string();
        if fits { Ok(()) } else { Err(TrainingError::Size { width, height, wanted }) }
    }
}

/// `(B, n, H, W)` to `(B, n)`.
fn mean_of_planes(x: &Node) -> candle_core::Result<Node> {
    let (shape, (_, _, height, width)) = (x.shape().clone(), x.dims4()?);
    Node::new(x.value().mean((2, 3))?, [x], move |grad| {
        let (batch, classes) = grad.dims2()?;
        let each = grad.affine(1.0 / (height * width) as f64, 0.0)?.reshape((batch, classes, 1, 1))?;
        Ok([Some(each.broadcast_as(&shape)?.contiguous()?)])
    })
}

/// Scenes that differ in brightness, each with its class and its colours.
fn scenes() -> NamedTensors {
    let grey = |brightness: f64| Tensor::full(brightness as f32, (1, 1, 24, 24), &Device::Cpu).unwrap();
    let nir = Tensor::cat(&[grey(0.1), grey(0.5), grey(0.9)], 0).unwrap();
    let colour = Tensor::cat(&[&nir, &nir.affine(-1.0, 1.0).unwrap(), &nir], 1).unwrap();
    let scene = Tensor::eye(SCENES, DType::F32, &Device::Cpu).unwrap();
    [("nir", nir), ("colour", colour), ("scene", scene)].map(|(name, tensor)| (name.to_string(), tensor)).into()
}

fn scenic_trainer(adversary_of_scene: Option<Adversary>) -> Result<Trainer, TrainingError> {
    let head = |name: &str, term: Term, adversary| {
        let objective = ImageObjective::new(vec![(term, 1.0.into())], Networks::default()).unwrap();
        Head { name: name.to_string(), objective, adversary, teacher: None, hints: None }
    };
    let heads =
        vec![head("colour", Term::Mse {}, Some(adversary())), head("scene", Term::CrossEntropy {}, adversary_of_scene)];
    let network = Box::new(|scope: &Scope, activations| Scenic { picture: "colour" }.build(scope, activations));
    Trainer::new(TrainerSetup { network, ..setup(heads, true, Updates::default()) })
}

/// Pictures and class scores at once, with a discriminator of the picture and learned weights of both terms.
#[test]
fn class_scores_are_learned_beside_a_picture() {
    let mut trainer = scenic_trainer(None).unwrap();
    let batches = [scenes()];
    let context = |step| StepContext { step, epoch: 0, lr: 0.05, gradients: true };
    let first = trainer.step(&batches, &context(0)).unwrap();
    let cross_entropy = |report: &StepReport| report.g_loss[0].heads["scene"].terms["cross_entropy"].raw;
    assert!(first.gradients.as_ref().unwrap()["scene"].norms["cross_entropy"] > 0.0);
    assert!(first.g_loss[0].heads["scene"].adversarial.is_none());
    let mut last = first.clone();
    for step in 1..200 {
        last = trainer.step(&batches, &context(step)).unwrap();
    }
    assert!(
        cross_entropy(&last) < 0.7 * cross_entropy(&first),
        "{} of {}",
        cross_entropy(&last),
        cross_entropy(&first)
    );
    assert!(trainer.state().unwrap().contains_key("loss.scene.cross_entropy"));
    let scores = trainer.evaluation().forward(&batches[0], Pass::Evaluation).unwrap().remove("scene").unwrap();
    let told = scores.value().argmax(1).unwrap().to_vec1::<u32>().unwrap();
    assert_eq!((told[0], told[2]), (0, 2), "the darkest and the brightest");
}

/// From its trained weights, by the names that the network itself states.
#[test]
fn any_network_colorizes() {
    let mut trainer = scenic_trainer(None).unwrap();
    step(&mut trainer, &[scenes()], 0);
    let weights = trainer.weights().into_iter().map(|(name, tensor)| (name.replacen("g.", "", 1), tensor)).collect();
    let of = |picture, weights: &NamedTensors| TrainedNetwork::new(&Scenic { picture }, weights, &Device::Cpu, None);
    let nir = unit_image("nir", (1, 1, 8, 12)).unwrap();
    let hsv = Tensor::cat(&[&nir, &nir, &nir], 1).unwrap();
    let picture = of("colour", &weights).unwrap().picture(&nir, &hsv).unwrap();
    let direct = trainer.evaluation().forward(&[("nir".to_string(), nir.clone())].into(), Pass::Evaluation).unwrap();
    let flat = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!((picture.dims(), flat(&picture)), (&[1, 3, 8, 12][..], flat(direct["colour"].value())));
    let odd = of("colour", &weights).unwrap().picture(&nir.narrow(3, 0, 10).unwrap(), &hsv).unwrap_err();
    assert!(matches!(odd, TrainingError::Size { width: 10, height: 8, .. }), "{odd}");
    for picture in ["scene", "rgb"] {
        let error = of(picture, &weights).err().expect("an error");
        assert!(matches!(&error, TrainingError::Head { head, .. } if head == picture), "{error}");
    }
    let mut short = weights.clone();
    short.remove("scene.bias");
    assert!(matches!(of("colour", &short), Err(TrainingError::State { .. })));
}

#[test]
fn a_discriminator_of_class_scores_is_refused() {
    let text = scenic_trainer(Some(adversary())).err().expect("an error").to_string();
    assert_eq!(text, "the head `scene`: discriminators see images of 3 channels, it is scores of 3 classes");
}
