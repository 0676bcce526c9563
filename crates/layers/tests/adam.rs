//! The optimizer against its definition.

use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor};
use colormamba_layers::{Adam, AdamConfig, Init, Params, ParamsError};
use colormamba_testkit::device;

/// `start` after a step by each of `grads` with learning rate 0.01, as torch.optim.Adam defines it.
fn reference(start: &[f64], grads: &[Vec<f64>]) -> Vec<f64> {
    let one = |i: usize| {
        let (mut p, mut m, mut v) = (start[i], 0.0, 0.0);
        for (grad, t) in grads.iter().zip(1..) {
            m = 0.5 * m + 0.5 * grad[i];
            v = 0.999 * v + 0.001 * grad[i] * grad[i];
            let (mh, vh) = (m / (1.0 - 0.5f64.powi(t)), v / (1.0 - 0.999f64.powi(t)));
            p -= 0.01 * mh / (vh.sqrt() + 1e-8);
        }
        p
    };
    (0..start.len()).map(one).collect()
}

fn params() -> Params {
    let params = Params::new(0, DType::F64, &device());
    params.root().weight("p", 2, Init::With(|_, _| vec![1.0, 2.0])).unwrap();
    params
}

fn step(params: &Params, adam: &mut Adam, grad: [f64; 2]) {
    let var = params.trainable()[0].1.clone();
    let grads = (var.as_tensor() * Tensor::new(&grad, &device()).unwrap()).unwrap().sum_all().unwrap();
    adam.step(&grads.backward().unwrap(), 0.01).unwrap();
}

fn values(params: &Params) -> Vec<f64> {
    params.tensors()["p"].to_vec1().unwrap()
}

fn flat(var: &Tensor) -> Vec<f64> {
    var.to_vec1().unwrap()
}

fn assert_near(got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() < 1e-14, "{got} {want}");
    }
}

const GRADS: [[f64; 2]; 3] = [[0.5, -3.0], [0.1, 0.2], [0.0, 1.0]];

#[test]
fn follows_the_definition() {
    let params = params();
    let mut adam = Adam::new(&params, AdamConfig::default()).unwrap();
    GRADS.iter().for_each(|&g| step(&params, &mut adam, g));
    assert_near(&values(&params), &reference(&[1.0, 2.0], &GRADS.map(Vec::from)));
}

#[test]
fn in_f32_the_bits_are_those_of_the_formulas_as_written() {
    // In a kernel, emulated too, the compiler fuses multiplications and additions.
    if colormamba_cuda::applies(&Tensor::zeros(1, DType::F32, &device()).unwrap()) {
        println!("skipped: these bits are those of the processor's own code");
        return;
    }
    let start: Vec<f32> = (0..100).map(|i| (i as f32 * 0.37).sin()).collect();
    let grad = |t: i32| (0..100).map(|i| ((i + 7 * t) as f32 * 0.61).cos()).collect::<Vec<f32>>();
    let var = |params: &Params| params.trainable()[0].1.clone();
    let params = Params::new(0, DType::F32, &device());
    params.root().weight("p", start.len(), Init::Constant(0.0)).unwrap();
    var(&params).set(&Tensor::new(start.clone(), &device()).unwrap()).unwrap();
    let mut adam = Adam::new(&params, AdamConfig::default()).unwrap();
    let (mut want, mut m, mut v) = (start, [0f32; 100], [0f32; 100]);
    for t in 1..=10 {
        let mut grads = GradStore::default();
        grads.insert(&var(&params), Tensor::new(grad(t), &device()).unwrap());
        adam.step(&grads, 0.01).unwrap();
        let rate = (0.01 / (1.0 - 0.5f64.powf(f64::from(t)))) as f32;
        let scale = (1.0 / (1.0 - 0.999f64.powf(f64::from(t))).sqrt()) as f32;
        for (i, g) in grad(t).into_iter().enumerate() {
            m[i] = 0.5 * m[i] + 0.5 * g;
            v[i] = 0.999 * v[i] + (1.0 - 0.999f64) as f32 * g * g;
            want[i] -= rate * m[i] / (v[i].sqrt() * scale + 1e-8);
        }
    }
    assert_eq!(var(&params).to_vec1::<f32>().unwrap(), want);
}

#[test]
fn many_parameters_of_many_sizes_are_updated_each_by_its_own_gradient() {
    const COUNT: usize = 150;
    const WITHOUT_GRADIENT: usize = 70;
    let params = Params::new(3, DType::F64, &device());
    let size = |i: usize| if i % 50 == 7 { 9000 + i } else { 1 + i * 37 % 90 };
    for i in 0..COUNT {
        params.root().weight(&format!("p{i:03}"), size(i), Init::Uniform { bound: 1.0 }).unwrap();
    }
    let start = params.trainable().into_iter().map(|(_, var)| flat(&var)).collect::<Vec<_>>();
    let grad = |i: usize, t: usize| (0..size(i)).map(|j| ((i + 3 * j + 5 * t) as f64).sin()).collect::<Vec<_>>();
    let mut adam = Adam::new(&params, AdamConfig::default()).unwrap();
    for t in 0..2 {
        let products = params.trainable().into_iter().enumerate().filter(|&(i, _)| i != WITHOUT_GRADIENT);
        let products = products.map(|(i, (_, var))| {
            let grad = Tensor::new(grad(i, t), &device()).unwrap();
            (var.as_tensor() * grad).unwrap().sum_all().unwrap()
        });
        let loss = Tensor::stack(&products.collect::<Vec<_>>(), 0).unwrap().sum_all().unwrap();
        adam.step(&loss.backward().unwrap(), 0.01).unwrap();
    }
    for (i, (_, var)) in params.trainable().into_iter().enumerate() {
        let grads = if i == WITHOUT_GRADIENT { vec![] } else { vec![grad(i, 0), grad(i, 1)] };
        assert_near(&flat(&var), &reference(&start[i], &grads));
    }
}

#[test]
fn a_resumed_optimizer_goes_on_bit_for_bit() {
    let (a, b) = (params(), params());
    let mut first = Adam::new(&a, AdamConfig::default()).unwrap();
    step(&a, &mut first, GRADS[0]);
    b.load(&a.tensors()).unwrap();
    let mut second = Adam::new(&b, AdamConfig::default()).unwrap();
    second.load_state(&first.state().unwrap()).unwrap();
    for g in &GRADS[1..] {
        step(&a, &mut first, *g);
        step(&b, &mut second, *g);
    }
    assert_eq!(values(&a), values(&b));
    assert_eq!(second.steps(), 3);
}

#[test]
fn a_state_that_does_not_fit_is_an_error() {
    let params = params();
    let mut adam = Adam::new(&params, AdamConfig::default()).unwrap();
    let mut state = adam.state().unwrap();
    state.insert("p.m".into(), Tensor::zeros(3, DType::F64, &device()).unwrap());
    assert!(matches!(adam.load_state(&state), Err(ParamsError::Shape { .. })));
    state.remove("p.v");
    state.insert("p.m".into(), Tensor::zeros(2, DType::F64, &device()).unwrap());
    assert!(matches!(adam.load_state(&state), Err(ParamsError::Missing(_))));
}
