//! AdamW, groups of parameters, clipping and accumulation against their definitions.

use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor, Var};
use colormamba_layers::optim::{
    GradientAccumulator, OptimError, OptimizerConfig, ParameterGroups, clip_by_global_norm, decays,
};
use colormamba_layers::{Adam, AdamConfig, Init, Params, ParamsError};
use colormamba_testkit::{device, fixtures_dir};
use std::collections::{BTreeMap, BTreeSet};

const ADAMW: OptimizerConfig = OptimizerConfig::AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1 };

/// A weight that decays and a bias that does not, on numbers that are exact in f32 too.
fn params(dtype: DType) -> Params {
    let params = Params::new(0, dtype, &device());
    params.root().pp("a").weight("weight", (2, 2), Init::With(|_, _| vec![1.0, -2.0, 0.5, 3.0])).unwrap();
    params.root().pp("a").weight("bias", 2, Init::With(|_, _| vec![0.25, -0.75])).unwrap();
    params
}

/// Element i of each gradient of step t, counted from 1, is ((7 i + 3 t) mod 11 − 5) / 4.
fn grads(parameters: &[(String, Var)], t: usize) -> GradStore {
    let mut store = GradStore::default();
    for (_, var) in parameters {
        let values = (0..var.elem_count()).map(|i| ((7 * i + 3 * t) % 11) as f64 / 4.0 - 1.25).collect::<Vec<_>>();
        let grad = Tensor::from_vec(values, var.shape(), &device()).unwrap().to_dtype(var.dtype()).unwrap();
        store.insert(var, grad);
    }
    store
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn values(params: &Params, name: &str) -> Vec<f64> {
    flat(&params.tensors()[name])
}

fn all(params: &Params) -> BTreeMap<String, Vec<f64>> {
    params.tensors().iter().map(|(name, tensor)| (name.clone(), flat(tensor))).collect()
}

fn assert_near(got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() <= tolerance, "{got} {want}");
    }
}

fn train(params: &Params, adam: &mut Adam, steps: std::ops::RangeInclusive<usize>, lr: f64) {
    steps.for_each(|t| adam.step(&grads(&params.trainable(), t), lr).unwrap());
}

// torch.optim.AdamW's formulas in Python:
//
//     start = {"a.weight": [1.0, -2.0, 0.5, 3.0], "a.bias": [0.25, -0.75]}
//     lr, b1, b2, eps, wd = 0.01, 0.9, 0.999, 1e-8, 0.1
//     for name, p in start.items():
//         for i in range(len(p)):
//             m = v = 0.0
//             for t in range(1, 11):
//                 g = ((7 * i + 3 * t) % 11 - 5) / 4
//                 if name == "a.weight": p[i] *= 1 - lr * wd
//                 m = b1 * m + (1 - b1) * g
//                 v = b2 * v + (1 - b2) * g * g
//                 p[i] -= lr * (m / (1 - b1**t)) / ((v / (1 - b2**t)) ** 0.5 + eps)
//         print(name, p)
const WEIGHT: [f64; 4] = [0.9932008552906822, -1.9924761504856774, 0.4655096460372458, 3.0037371980206102];
const BIAS: [f64; 2] = [0.2532362047231967, -0.7625109121811924];
// The same without the line of the decay: torch.optim.Adam.
const WEIGHT_OF_ADAM: [f64; 4] = [1.0032362047231966, -2.012510912181192, 0.47029440672827194, 3.0338077033086535];

#[test]
fn ten_steps_of_adamw_are_pytorchs() {
    for (dtype, tolerance) in [(DType::F64, 1e-14), (DType::F32, 2e-6)] {
        let params = params(dtype);
        train(&params, &mut Adam::new(&params, ADAMW).unwrap(), 1..=10, 0.01);
        assert_near(&values(&params, "a.weight"), &WEIGHT, tolerance);
        assert_near(&values(&params, "a.bias"), &BIAS, tolerance);
    }
}

#[test]
fn ten_steps_of_adam_are_pytorchs_and_adamw_without_decay_has_their_bits() {
    for (dtype, tolerance) in [(DType::F64, 1e-14), (DType::F32, 2e-6)] {
        let (adam, adamw) = (params(dtype), params(dtype));
        let betas = AdamConfig { beta1: 0.9, ..AdamConfig::default() };
        let without = OptimizerConfig::AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 };
        train(&adam, &mut Adam::new(&adam, betas).unwrap(), 1..=10, 0.01);
        train(&adamw, &mut Adam::new(&adamw, without).unwrap(), 1..=10, 0.01);
        assert_near(&values(&adam, "a.weight"), &WEIGHT_OF_ADAM, tolerance);
        assert_eq!(all(&adam), all(&adamw));
    }
}

#[test]
fn a_parameter_without_a_gradient_does_not_decay() {
    let params = params(DType::F32);
    Adam::new(&params, ADAMW).unwrap().step(&GradStore::default(), 0.01).unwrap();
    assert_eq!(values(&params, "a.weight"), [1.0, -2.0, 0.5, 3.0]);
}

#[test]
fn a_resumed_adamw_goes_on_bit_for_bit() {
    let groups = ParameterGroups { lr_factors: BTreeMap::from([("a.w".into(), 0.3)]), freeze: Vec::new() };
    let (a, b) = (params(DType::F32), params(DType::F32));
    let mut first = Adam::with_groups(&a, ADAMW, &groups).unwrap();
    train(&a, &mut first, 1..=4, 0.01);
    b.load(&a.tensors()).unwrap();
    let mut second = Adam::with_groups(&b, ADAMW, &groups).unwrap();
    second.load_state(&first.state().unwrap()).unwrap();
    train(&a, &mut first, 5..=9, 0.01);
    train(&b, &mut second, 5..=9, 0.01);
    assert_eq!(all(&a), all(&b));
}

#[test]
fn a_states_names_are_those_of_every_checkpoint_so_far() {
    let params = params(DType::F32);
    let state = Adam::new(&params, ADAMW).unwrap().state().unwrap();
    let names: Vec<&str> = state.keys().map(String::as_str).collect();
    assert_eq!(names, ["a.bias.m", "a.bias.v", "a.weight.m", "a.weight.v", "step"]);
}

#[test]
fn optimizers_refuse_numbers_out_of_their_ranges() {
    let with = |beta1, beta2, eps, weight_decay| OptimizerConfig::AdamW { beta1, beta2, eps, weight_decay }.check();
    assert!(with(0.0, 0.999, 1e-8, 0.0).is_ok());
    let key = |result: Result<(), OptimError>| match result {
        Err(OptimError::Range { key, .. }) => key,
        other => panic!("{other:?}"),
    };
    assert_eq!(key(with(1.0, 0.999, 1e-8, 0.1)), "beta1");
    assert_eq!(key(with(0.9, f64::NAN, 1e-8, 0.1)), "beta2");
    assert_eq!(key(with(0.9, 0.999, 0.0, 0.1)), "eps");
    assert_eq!(key(with(0.9, 0.999, 1e-8, -0.1)), "weight_decay");
    let message = with(0.9, 0.999, 1e-8, -0.1).unwrap_err().to_string();
    assert_eq!(message, "weight_decay is -0.1; it must be 0 or above");
}

/// All names and shapes of the published generator, buffers included.
fn generator() -> BTreeMap<String, Vec<usize>> {
    let text = std::fs::read_to_string(fixtures_dir().join("state_dict_w64.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn of_the_generator_weights_decay_but_no_biases_norms_and_scan_parameters() {
    let last = |name: &str| name.rsplit('.').next().unwrap().to_string();
    let (decaying, others): (Vec<_>, Vec<_>) = generator().into_iter().partition(|(name, dims)| decays(name, dims));
    let kinds = |tensors: &[(String, Vec<usize>)]| tensors.iter().map(|(name, _)| last(name)).collect::<BTreeSet<_>>();
    let set = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<BTreeSet<_>>();
    assert_eq!(kinds(&decaying), set(&["weight", "weight_orig", "x_proj_weight", "dt_projs_weight"]));
    let buffers = ["num_batches_tracked", "running_mean", "running_var", "weight_u", "weight_v"];
    let scan = ["A_logs", "Ds", "dt_projs_bias"];
    let biases = ["bias", "an_bias", "na_bias", "ah_bias", "aw_bias", "ha_bias", "wa_bias"];
    // What is left of `weight` are the scales of norms.
    let scales = ["weight", "skip_scale", "skip_scale2", "gamma"];
    assert_eq!(kinds(&others), set(&[&buffers[..], &scan, &biases, &scales].concat()));
    let norms = others.iter().filter(|(name, _)| last(name) == "weight");
    assert!(norms.clone().count() > 20);
    for (name, dims) in norms {
        assert_eq!(dims.len(), 1, "{name}");
    }
}

#[test]
fn the_longest_prefix_decides_on_the_learning_rate() {
    let factors = [("", 0.5), ("a.", 0.25), ("a.b.", 2.0)].map(|(prefix, factor)| (prefix.to_string(), factor));
    let groups = ParameterGroups { lr_factors: BTreeMap::from(factors), freeze: vec![] };
    assert_eq!(["b.a.", "a.c", "a.b.c"].map(|name| groups.lr_factor(name)), [0.5, 0.25, 2.0]);
    assert_eq!(ParameterGroups::default().lr_factor("a"), 1.0);
}

#[test]
fn a_groups_factor_is_one_of_the_learning_rate_in_update_and_decay() {
    let (grouped, alone) = (params(DType::F32), params(DType::F32));
    let groups = ParameterGroups { lr_factors: BTreeMap::from([("a.weight".into(), 0.125)]), freeze: vec![] };
    train(&grouped, &mut Adam::with_groups(&grouped, ADAMW, &groups).unwrap(), 1..=3, 0.01);
    train(&alone, &mut Adam::new(&alone, ADAMW).unwrap(), 1..=3, 0.01 * 0.125);
    assert_eq!(values(&grouped, "a.weight"), values(&alone, "a.weight"));
    assert_ne!(values(&grouped, "a.bias"), values(&alone, "a.bias"));
}

#[test]
fn frozen_parameters_have_no_moments_and_stay() {
    let params = params(DType::F32);
    let groups = ParameterGroups { lr_factors: BTreeMap::new(), freeze: vec!["a.w".into()] };
    let mut adam = Adam::with_groups(&params, ADAMW, &groups).unwrap();
    assert_eq!(adam.parameters().iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a.bias"]);
    assert_eq!(adam.state().unwrap().keys().collect::<Vec<_>>(), ["a.bias.m", "a.bias.v", "step"]);
    train(&params, &mut adam, 1..=10, 0.01);
    assert_eq!(values(&params, "a.weight"), [1.0, -2.0, 0.5, 3.0]);
    assert_near(&values(&params, "a.bias"), &BIAS, 2e-6);
}

#[test]
fn layers_of_a_freezing_scope_give_no_gradients_under_its_prefixes() {
    let params = params(DType::F32);
    let scope = params.root().freezing(&["a.w".into()]).pp("a");
    let weight = scope.weight("weight", (2, 2), Init::Constant(0.0)).unwrap();
    let bias = scope.weight("bias", 2, Init::Constant(0.0)).unwrap();
    let grads = weight.broadcast_add(&bias).unwrap().sum_all().unwrap().backward().unwrap();
    let with_gradient = params.trainable().into_iter().filter(|(_, var)| grads.get(var).is_some());
    assert_eq!(with_gradient.map(|(name, _)| name).collect::<Vec<_>>(), ["a.bias"]);
}

#[test]
fn groups_refuse_misspelt_prefixes_and_wrong_factors() {
    let params = params(DType::F32);
    let with = |factors: &[(&str, f64)], freeze: &[&str]| {
        let lr_factors = factors.iter().map(|(prefix, factor)| (prefix.to_string(), *factor)).collect();
        let groups = ParameterGroups { lr_factors, freeze: freeze.iter().map(|prefix| prefix.to_string()).collect() };
        Adam::with_groups(&params, ADAMW, &groups).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(with(&[("a.", 0.1)], &["a.bias"]), Ok(()));
    assert_eq!(with(&[("b.", 0.1)], &[]).unwrap_err(), "lr_factors: no parameter's name begins with `b.`");
    assert_eq!(with(&[], &["a.", "bias"]).unwrap_err(), "freeze: no parameter's name begins with `bias`");
    let zero = "lr_factors.\"a.\" is 0; it must be above 0; `freeze` is for parameters that stay";
    assert_eq!(with(&[("a.", 0.0)], &[]).unwrap_err(), zero);
}

fn store(parameters: &[(String, Var)], values: &[Vec<f64>]) -> GradStore {
    let mut store = GradStore::default();
    for ((_, var), values) in parameters.iter().zip(values) {
        let grad = Tensor::from_vec(values.clone(), var.shape(), &device()).unwrap();
        store.insert(var, grad.to_dtype(var.dtype()).unwrap());
    }
    store
}

// torch.nn.utils.clip_grad_norm_'s formulas in Python:
//
//     g = [3.0, -4.0, 12.0, 0.0, 84.0, 0.0]
//     norm = sum(x * x for x in g) ** 0.5                     # 85
//     print([x * min(2.0 / (norm + 1e-6), 1.0) for x in g])
const CLIPPED: [f64; 6] = [0.07058823446366783, -0.09411764595155711, 0.2823529378546713, 0.0, 1.9764705649826992, 0.0];

#[test]
fn clipping_is_pytorchs_and_leaves_small_gradients_their_bits() {
    for (dtype, tolerance) in [(DType::F64, 1e-15), (DType::F32, 2e-7)] {
        let params = params(dtype);
        let parameters = params.trainable();
        let mut grads = store(&parameters, &[vec![3.0, -4.0], vec![12.0, 0.0, 84.0, 0.0]]);
        let of = |grads: &GradStore| {
            parameters.iter().flat_map(|(_, var)| flat(grads.get(var).unwrap())).collect::<Vec<_>>()
        };
        assert_eq!(clip_by_global_norm(&mut grads, &parameters, 85.1).unwrap(), 85.0);
        assert_eq!(of(&grads), [3.0, -4.0, 12.0, 0.0, 84.0, 0.0]);
        assert_eq!(clip_by_global_norm(&mut grads, &parameters, 2.0).unwrap(), 85.0);
        assert_near(&of(&grads), &CLIPPED, tolerance);
    }
}

#[test]
fn clipping_looks_at_the_given_parameters_alone() {
    let params = params(DType::F32);
    let parameters = params.trainable();
    let mut grads = store(&parameters, &[vec![3.0, -4.0], vec![12.0, 0.0, 84.0, 0.0]]);
    assert_eq!(clip_by_global_norm(&mut grads, &parameters[..1], 1.0).unwrap(), 5.0);
    assert_eq!(flat(grads.get(&parameters[1].1).unwrap()), [12.0, 0.0, 84.0, 0.0]);
    assert_eq!(clip_by_global_norm(&mut GradStore::default(), &parameters, 1.0).unwrap(), 0.0);
}

#[test]
fn clipping_names_a_gradient_that_is_not_finite() {
    let params = params(DType::F32);
    let parameters = params.trainable();
    let mut grads = store(&parameters, &[vec![3.0, -4.0], vec![f64::NAN, 0.0, 1.0, 0.0]]);
    let error = clip_by_global_norm(&mut grads, &parameters, 1.0).unwrap_err();
    assert!(error.to_string().contains("`a.weight`"), "{error}");
    assert_eq!(flat(grads.get(&parameters[0].1).unwrap()), [3.0, -4.0]);
    assert!(matches!(clip_by_global_norm(&mut grads, &parameters, 0.0), Err(OptimError::Range { .. })));
}

#[test]
fn accumulated_gradients_are_the_mean_of_the_batches() {
    let params = params(DType::F64);
    let parameters = params.trainable();
    let mut accumulator = GradientAccumulator::new(parameters.clone(), 3).unwrap();
    let (bias, weight) = (&parameters[0].1, &parameters[1].1);
    // A second round shows that the sums start anew.
    for _ in 0..2 {
        for t in 1..=3 {
            let mut grads = grads(&parameters, t);
            if t == 2 {
                grads.remove(bias);
            }
            let mean = accumulator.add(&grads).unwrap();
            assert_eq!(mean.is_some(), t == 3);
            let Some(mean) = mean else { continue };
            let grad = |i: usize, t: usize| ((7 * i + 3 * t) % 11) as f64 / 4.0 - 1.25;
            let of_weight = [0, 1, 2, 3].map(|i| (grad(i, 1) + grad(i, 2) + grad(i, 3)) / 3.0);
            assert_near(&flat(mean.get(weight).unwrap()), &of_weight, 1e-15);
            assert_near(&flat(mean.get(bias).unwrap()), &[0, 1].map(|i| (grad(i, 1) + grad(i, 3)) / 3.0), 1e-15);
        }
    }
}

#[test]
fn over_one_batch_gradients_keep_their_bits() {
    let params = params(DType::F32);
    let parameters = params.trainable();
    let grads = grads(&parameters, 1);
    let mut accumulator = GradientAccumulator::new(parameters.clone(), 1).unwrap();
    let mean = accumulator.add(&grads).unwrap().unwrap();
    for (_, var) in &parameters {
        assert_eq!(flat(mean.get(var).unwrap()), flat(grads.get(var).unwrap()));
    }
    assert!(GradientAccumulator::new(parameters, 0).is_err());
}

#[test]
fn a_resume_within_an_accumulation_goes_on_bit_for_bit() {
    let params = params(DType::F32);
    let parameters = params.trainable();
    let mut first = GradientAccumulator::new(parameters.clone(), 3).unwrap();
    for t in 1..=2 {
        assert!(first.add(&grads(&parameters, t)).unwrap().is_none());
    }
    let state = first.state().unwrap();
    assert_eq!(state.keys().collect::<Vec<_>>(), ["a.bias.sum", "a.weight.sum", "batches"]);
    let mut second = GradientAccumulator::new(parameters.clone(), 3).unwrap();
    second.load_state(&state).unwrap();
    assert_eq!(second.added(), 2);
    let [a, b] = [first, second].map(|mut of| of.add(&grads(&parameters, 3)).unwrap().unwrap());
    for (_, var) in &parameters {
        assert_eq!(flat(a.get(var).unwrap()), flat(b.get(var).unwrap()));
    }
}

#[test]
fn sums_that_do_not_fit_are_an_error() {
    let params = params(DType::F32);
    let mut accumulator = GradientAccumulator::new(params.trainable(), 2).unwrap();
    let state = |entries: &[(&str, Tensor)]| {
        entries.iter().map(|(name, tensor)| (name.to_string(), tensor.clone())).collect::<BTreeMap<_, _>>()
    };
    let number = |n: i64| ("batches", Tensor::new(n, &device()).unwrap());
    let sum = |n: usize| Tensor::zeros(n, DType::F32, &device()).unwrap();
    assert!(matches!(accumulator.load_state(&state(&[])), Err(ParamsError::Missing(_))));
    let wrong = state(&[number(1), ("a.bias.sum", sum(3))]);
    assert!(matches!(accumulator.load_state(&wrong), Err(ParamsError::Shape { .. })));
    let unknown = state(&[number(1), ("b.sum", sum(2))]);
    assert!(matches!(accumulator.load_state(&unknown), Err(ParamsError::Unknown(_))));
    assert!(matches!(accumulator.load_state(&state(&[number(2)])), Err(ParamsError::Candle(_))));
    accumulator.load_state(&state(&[number(1), ("a.bias.sum", sum(2))])).unwrap();
}
