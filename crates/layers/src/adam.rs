//! Adam (Kingma & Ba, arXiv 1412.6980) with state that can be saved.

use crate::{Params, ParamsError};
use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, DType, Device, InplaceOp2, Layout, Result, Tensor, Var};
use colormamba_ops::OpError;
use colormamba_ops::cpu::{Real, vectorize};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Elements that one task updates.
const CHUNK: usize = 1 << 14;
const STEP: &str = "step";

/// Hyperparameters beside the learning rate, which each step is given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamConfig {
    /// Decay of the first moment, in `[0, 1)`.
    pub beta1: f64,
    /// Decay of the second moment, in `[0, 1)`.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
}

impl Default for AdamConfig {
    /// As published for ColorMamba: β = (0.5, 0.999), ε = 1e-8.
    fn default() -> Self {
        Self { beta1: 0.5, beta2: 0.999, eps: 1e-8 }
    }
}

struct Slot {
    name: String,
    var: Var,
    /// `(2, n)`: first and second moments.
    moments: Tensor,
}

/// The optimizer of one [`Params`].
pub struct Adam {
    config: AdamConfig,
    slots: Vec<Slot>,
    steps: u64,
    device: Device,
}

impl Adam {
    /// Over all trainable parameters that exist by now, with moments of zero.
    ///
    /// # Errors
    /// If memory for the moments cannot be had.
    pub fn new(params: &Params, config: AdamConfig) -> Result<Self> {
        let slot = |(name, var): (String, Var)| -> Result<Slot> {
            let moments = Tensor::zeros((2, var.elem_count()), var.dtype(), var.device())?;
            Ok(Slot { name, var, moments })
        };
        let slots = params.trainable().into_iter().map(slot).collect::<Result<_>>()?;
        Ok(Self { config, slots, steps: 0, device: params.device().clone() })
    }

    /// One step with learning rate `lr`. Parameters without a gradient stay as they are.
    ///
    /// # Errors
    /// If a gradient's type differs from its parameter's.
    pub fn step(&mut self, grads: &GradStore, lr: f64) -> Result<()> {
        self.steps += 1;
        let AdamConfig { beta1, beta2, eps } = self.config;
        let power = |beta: f64| 1.0 - beta.powf(self.steps as f64);
        let update = Update { rate: lr / power(beta1), root: power(beta2).sqrt(), eps };
        for slot in &mut self.slots {
            let Some(grad) = grads.get(&slot.var) else { continue };
            if colormamba_cuda::applies(grad) {
                cuda::step(slot, &grad.contiguous()?, [beta1, beta2, update.rate, update.root, eps])?;
            } else {
                slot.moments.inplace_op2(&grad.contiguous()?, &Moments { beta1, beta2 })?;
                slot.var.inplace_op2(&slot.moments, &update)?;
            }
        }
        Ok(())
    }

    /// Steps done so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// What a resume needs: `NAME.m` and `NAME.v` for every parameter, and `step`.
    ///
    /// # Errors
    /// If a tensor cannot be viewed.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut state = BTreeMap::new();
        for slot in &self.slots {
            for (row, kind) in ["m", "v"].into_iter().enumerate() {
                let moment = slot.moments.get(row)?.reshape(slot.var.shape())?;
                state.insert(format!("{}.{kind}", slot.name), moment);
            }
        }
        state.insert(STEP.into(), Tensor::new(self.steps as i64, &self.device)?);
        Ok(state)
    }

    /// Takes up a [`Adam::state`].
    ///
    /// # Errors
    /// Names what is missing or of another shape.
    pub fn load_state(&mut self, state: &BTreeMap<String, Tensor>) -> std::result::Result<(), ParamsError> {
        let get = |name: String| state.get(&name).ok_or_else(|| ParamsError::Missing(vec![name.clone()]));
        let steps = get(STEP.into())?.to_dtype(DType::I64)?.to_scalar::<i64>()?;
        let mut loaded = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            let rows = ["m", "v"].map(|kind| -> std::result::Result<Tensor, ParamsError> {
                let name = format!("{}.{kind}", slot.name);
                let moment = get(name.clone())?;
                if moment.shape() != slot.var.shape() {
                    return Err(ParamsError::Shape {
                        name,
                        want: slot.var.shape().clone(),
                        got: moment.shape().clone(),
                    });
                }
                Ok(moment.to_device(&self.device)?.to_dtype(slot.var.dtype())?.flatten_all()?)
            });
            let [m, v] = rows;
            loaded.push(Tensor::stack(&[m?, v?], 0)?);
        }
        for (slot, moments) in self.slots.iter_mut().zip(loaded) {
            slot.moments = moments;
        }
        self.steps = steps.max(0) as u64;
        Ok(())
    }
}

/// Moves both moments towards a gradient: `(2, n)` and `n` elements.
struct Moments {
    beta1: f64,
    beta2: f64,
}

impl Moments {
    fn apply<T: Real>(&self, moments: &mut [T], grad: &[T]) {
        let (m, v) = moments.split_at_mut(grad.len());
        let (b1, b2) = (T::of(self.beta1), T::of(self.beta2));
        let (a1, a2) = (T::of(1.0 - self.beta1), T::of(1.0 - self.beta2));
        let chunks = m.par_chunks_mut(CHUNK).zip(v.par_chunks_mut(CHUNK)).zip(grad.par_chunks(CHUNK));
        chunks.for_each(|((m, v), g)| {
            vectorize(
                #[inline(always)]
                || {
                    for ((m, v), &g) in m.iter_mut().zip(v).zip(g) {
                        *m = b1 * *m + a1 * g;
                        *v = b2 * *v + a2 * g * g;
                    }
                },
            )
        });
    }
}

impl InplaceOp2 for Moments {
    fn name(&self) -> &'static str {
        "adam moments"
    }

    fn cpu_fwd(&self, s1: &mut CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<()> {
        on_slices(self.name(), (s1, l1), (s2, l2), |m, g| self.apply(m, g), |m, g| self.apply(m, g))
    }
}

/// `p -= rate · m / (√v / root + eps)`: `n` and `(2, n)` elements.
struct Update {
    rate: f64,
    root: f64,
    eps: f64,
}

impl Update {
    fn apply<T: Real>(&self, param: &mut [T], moments: &[T]) {
        let (m, v) = moments.split_at(param.len());
        let (rate, root, eps) = (T::of(self.rate), T::of(1.0 / self.root), T::of(self.eps));
        let chunks = param.par_chunks_mut(CHUNK).zip(m.par_chunks(CHUNK)).zip(v.par_chunks(CHUNK));
        chunks.for_each(|((p, m), v)| {
            vectorize(
                #[inline(always)]
                || {
                    for ((p, &m), &v) in p.iter_mut().zip(m).zip(v) {
                        *p -= rate * m / (Real::sqrt(v) * root + eps);
                    }
                },
            )
        });
    }
}

impl InplaceOp2 for Update {
    fn name(&self) -> &'static str {
        "adam update"
    }

    fn cpu_fwd(&self, s1: &mut CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<()> {
        on_slices(self.name(), (s1, l1), (s2, l2), |p, m| self.apply(p, m), |p, m| self.apply(p, m))
    }
}

/// Runs the kernel for the tensors' common type on their elements.
fn on_slices(
    op: &'static str,
    (target, target_layout): (&mut CpuStorage, &Layout),
    (source, source_layout): (&CpuStorage, &Layout),
    narrow: impl FnOnce(&mut [f32], &[f32]),
    wide: impl FnOnce(&mut [f64], &[f64]),
) -> Result<()> {
    let range = |layout: &Layout| match layout.contiguous_offsets() {
        Some((start, end)) => Ok(start..end),
        None => Err(OpError::argument(op, "the tensor is not contiguous")),
    };
    let (t, s) = (range(target_layout)?, range(source_layout)?);
    match (target, source) {
        (CpuStorage::F32(target), CpuStorage::F32(source)) => narrow(&mut target[t], &source[s]),
        (CpuStorage::F64(target), CpuStorage::F64(source)) => wide(&mut target[t], &source[s]),
        _ => return Err(OpError::argument(op, "parameter, gradient and moments must all be f32 or all f64")),
    }
    Ok(())
}

mod cuda {
    use super::Slot;
    use crate::kernels::ADAM;
    use candle_core::{Result, Tensor};
    use colormamba_cuda::{Buffer, Launch};
    use colormamba_ops::OpError;

    const THREADS: u32 = 256;

    pub(super) fn step(slot: &mut Slot, grad: &Tensor, numbers: [f64; 5]) -> Result<()> {
        let (parameter, n) = (slot.var.as_tensor(), grad.elem_count());
        if grad.dtype() != parameter.dtype() {
            return Err(OpError::argument("adam", "parameter, gradient and moments must all be f32 or all f64"));
        }
        let (mut moved, mut moments) = (Buffer::like(parameter)?, Buffer::like(&slot.moments)?);
        let launch = Launch::new(&ADAM, "adam", parameter).over(n, THREADS).input(parameter).input(&slot.moments);
        let launch = launch.input(grad).output(&mut moved).output(&mut moments).size(n);
        numbers.into_iter().fold(launch, Launch::number).run()?;
        slot.moments = moments.tensor((2, n))?;
        slot.var.set(&moved.tensor(parameter.shape())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Init;

    /// Three steps on p = (1, 2) with gradients (0.5, -3), then (0.1, 0.2), lr 0.01, as torch.optim.Adam defines them.
    fn reference(steps: &[[f64; 2]]) -> [f64; 2] {
        let (mut p, mut m, mut v) = ([1.0, 2.0], [0.0; 2], [0.0; 2]);
        for (t, g) in steps.iter().enumerate() {
            for i in 0..2 {
                m[i] = 0.5 * m[i] + 0.5 * g[i];
                v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i];
                let (mh, vh) = (m[i] / (1.0 - 0.5f64.powi(t as i32 + 1)), v[i] / (1.0 - 0.999f64.powi(t as i32 + 1)));
                p[i] -= 0.01 * mh / (vh.sqrt() + 1e-8);
            }
        }
        p
    }

    fn params() -> Params {
        let params = Params::new(0, DType::F64, &Device::Cpu);
        params.root().weight("p", 2, Init::With(|_, _| vec![1.0, 2.0])).unwrap();
        params
    }

    fn step(params: &Params, adam: &mut Adam, grad: [f64; 2]) {
        let var = params.trainable()[0].1.clone();
        let grads = (var.as_tensor() * Tensor::new(&grad, &Device::Cpu).unwrap()).unwrap().sum_all().unwrap();
        adam.step(&grads.backward().unwrap(), 0.01).unwrap();
    }

    fn values(params: &Params) -> Vec<f64> {
        params.tensors()["p"].to_vec1().unwrap()
    }

    const GRADS: [[f64; 2]; 3] = [[0.5, -3.0], [0.1, 0.2], [0.0, 1.0]];

    #[test]
    fn follows_the_definition() {
        let params = params();
        let mut adam = Adam::new(&params, AdamConfig::default()).unwrap();
        GRADS.iter().for_each(|&g| step(&params, &mut adam, g));
        for (got, want) in values(&params).iter().zip(reference(&GRADS)) {
            assert!((got - want).abs() < 1e-14, "{got} {want}");
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
        state.insert("p.m".into(), Tensor::zeros(3, DType::F64, &Device::Cpu).unwrap());
        assert!(matches!(adam.load_state(&state), Err(ParamsError::Shape { .. })));
        state.remove("p.v");
        state.insert("p.m".into(), Tensor::zeros(2, DType::F64, &Device::Cpu).unwrap());
        assert!(matches!(adam.load_state(&state), Err(ParamsError::Missing(_))));
    }
}
