//! The average of weights against its definition.

use candle_core::{DType, Tensor};
use colormamba_layers::optim::{Ema, EmaConfig, OptimError};
use colormamba_layers::{BatchNorm2d, Init, Params, ParamsError};
use colormamba_testkit::device;

fn params(dtype: DType) -> Params {
    let params = Params::new(0, dtype, &device());
    params.root().weight("w", 4, Init::With(|_, _| vec![1.0, -2.0, 0.5, 3.0])).unwrap();
    params
}

/// Element i of the weight after step t, counted from 1, is ((7 i + 3 t) mod 11 − 5) / 4.
fn train(params: &Params, t: usize) {
    let weight = (0..4).map(|i| ((7 * i + 3 * t) % 11) as f64 / 4.0 - 1.25).collect::<Vec<_>>();
    params.trainable()[0].1.set(&like(params, weight)).unwrap();
}

fn like(params: &Params, values: Vec<f64>) -> Tensor {
    let dtype = params.trainable()[0].1.dtype();
    Tensor::new(values, &device()).unwrap().to_dtype(dtype).unwrap()
}

fn values(params: &Params, name: &str) -> Vec<f64> {
    params.tensors()[name].to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn assert_near(got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() <= tolerance, "{got} {want}");
    }
}

// In Python:
//
//     for decay in (0.9, 0.15):
//         for i, a in enumerate([1.0, -2.0, 0.5, 3.0]):
//             for t in range(10):
//                 d = min(decay, (1 + t) / (10 + t))
//                 a = d * a + (1 - d) * ((7 * i + 3 * (t + 1)) % 11 - 5) / 4
//             print(decay, a)
const OF_09: [f64; 4] = [0.3471308103661045, -0.25476033254671027, -0.4019896512156575, 0.09715516681460953];
const OF_015: [f64; 4] = [0.6269330183109375, -0.3204465186444824, -0.9684600428323731, 0.37693302696069336];

#[test]
fn ten_updates_follow_the_definition() {
    for (dtype, tolerance) in [(DType::F64, 1e-14), (DType::F32, 1e-6)] {
        for (decay, want) in [(0.9, OF_09), (0.15, OF_015)] {
            let params = params(dtype);
            let mut ema = Ema::new(&params, EmaConfig { decay }).unwrap();
            assert_eq!(values(ema.params(), "w"), [1.0, -2.0, 0.5, 3.0]);
            for t in 1..=10 {
                train(&params, t);
                ema.update(&params).unwrap();
            }
            assert_near(&values(ema.params(), "w"), &want, tolerance);
            assert_eq!(ema.updates(), 10);
        }
    }
}

#[test]
fn the_decay_warms_up() {
    let config = EmaConfig { decay: 0.999 };
    assert_eq!([0, 1, 10].map(|updates| config.decay_at(updates)), [0.1, 2.0 / 11.0, 0.55]);
    assert_eq!(config.decay_at(1_000_000), 0.999);
}

#[test]
fn a_weight_that_stays_is_its_own_average() {
    let params = Params::new(3, DType::F32, &device());
    params.root().weight("w", 100, Init::Uniform { bound: 1.0 }).unwrap();
    let mut ema = Ema::new(&params, EmaConfig { decay: 0.999 }).unwrap();
    (0..50).for_each(|_| ema.update(&params).unwrap());
    assert_eq!(values(ema.params(), "w"), values(&params, "w"));
}

#[test]
fn buffers_are_copied() {
    let params = Params::new(0, DType::F32, &device());
    let norm = BatchNorm2d::new(&params.root(), 2).unwrap();
    let mut ema = Ema::new(&params, EmaConfig { decay: 0.999 }).unwrap();
    let image = Tensor::new(&[1f32, 2.0, -3.0, 4.0], &device()).unwrap().reshape((1, 2, 1, 2)).unwrap();
    norm.forward(&image, true).unwrap();
    assert_ne!(values(ema.params(), "running_mean"), values(&params, "running_mean"));
    ema.update(&params).unwrap();
    for name in ["running_mean", "running_var", "num_batches_tracked"] {
        assert_eq!(values(ema.params(), name), values(&params, name));
    }
    assert_eq!(values(&params, "num_batches_tracked"), [1.0]);
}

#[test]
fn a_network_over_the_average_sees_every_update() {
    let params = params(DType::F32);
    let mut ema = Ema::new(&params, EmaConfig { decay: 0.0 }).unwrap();
    let weight = ema.params().root().frozen().weight("w", 4, Init::Constant(0.0)).unwrap();
    assert!(!weight.track_op());
    train(&params, 1);
    ema.update(&params).unwrap();
    assert_eq!(weight.to_vec1::<f32>().unwrap(), [-0.5, 1.25, 0.25, -0.75]);
}

#[test]
fn a_resumed_average_goes_on_bit_for_bit() {
    let (a, b) = (params(DType::F32), params(DType::F32));
    let config = EmaConfig { decay: 0.9 };
    let (mut first, mut second) = (Ema::new(&a, config).unwrap(), Ema::new(&b, config).unwrap());
    (1..=4).for_each(|t| {
        train(&a, t);
        first.update(&a).unwrap();
    });
    let state = first.state().unwrap();
    assert_eq!(state.keys().collect::<Vec<_>>(), ["average.w", "updates"]);
    second.load_state(&state).unwrap();
    for t in 5..=9 {
        for (params, ema) in [(&a, &mut first), (&b, &mut second)] {
            train(params, t);
            ema.update(params).unwrap();
        }
    }
    assert_eq!(values(first.params(), "w"), values(second.params(), "w"));
    assert_eq!(second.updates(), 9);
}

#[test]
fn what_does_not_fit_is_an_error() {
    let params = params(DType::F32);
    assert!(matches!(Ema::new(&params, EmaConfig { decay: 1.0 }), Err(OptimError::Range { .. })));
    let mut ema = Ema::new(&params, EmaConfig { decay: 0.9 }).unwrap();
    let mut state = ema.state().unwrap();
    state.insert("average.w".into(), like(&params, vec![0.0; 3]));
    assert!(matches!(ema.load_state(&state), Err(ParamsError::Shape { .. })));
    state.remove("average.w");
    assert!(matches!(ema.load_state(&state), Err(ParamsError::Missing(_))));
    assert!(matches!(ema.load_state(&Default::default()), Err(ParamsError::Missing(_))));
    params.root().weight("late", 1, Init::Constant(0.0)).unwrap();
    assert!(matches!(ema.update(&params), Err(ParamsError::Unknown(_))));
}
