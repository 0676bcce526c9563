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
    /// If a gradient's type or shape differs from its parameter's.
    pub fn step(&mut self, grads: &GradStore, lr: f64) -> Result<()> {
        self.steps += 1;
        let AdamConfig { beta1, beta2, eps } = self.config;
        let power = |beta: f64| 1.0 - beta.powf(self.steps as f64);
        let update = Update { rate: lr / power(beta1), scale: 1.0 / power(beta2).sqrt(), eps };
        let mut on_card = Vec::new();
        for slot in &self.slots {
            let Some(grad) = grads.get(&slot.var) else { continue };
            let grad = grad.contiguous()?;
            if colormamba_cuda::applies(&grad) {
                on_card.push((slot, grad));
            } else {
                slot.moments.inplace_op2(&grad, &Moments { beta1, beta2 })?;
                slot.var.inplace_op2(&slot.moments, &update)?;
            }
        }
        cuda::step(&on_card, [beta1, beta2, update.rate, update.scale, eps])
    }

    /// Steps done so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// What a resume needs: `NAME.m` and `NAME.v` for every parameter, and `step`. The next step overwrites these tensors.
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

/// `p -= rate · m / (√v · scale + eps)`: `n` and `(2, n)` elements.
struct Update {
    rate: f64,
    scale: f64,
    eps: f64,
}

impl Update {
    fn apply<T: Real>(&self, param: &mut [T], moments: &[T]) {
        let (m, v) = moments.split_at(param.len());
        let (rate, scale, eps) = (T::of(self.rate), T::of(self.scale), T::of(self.eps));
        let chunks = param.par_chunks_mut(CHUNK).zip(m.par_chunks(CHUNK)).zip(v.par_chunks(CHUNK));
        chunks.for_each(|((p, m), v)| {
            vectorize(
                #[inline(always)]
                || {
                    for ((p, &m), &v) in p.iter_mut().zip(m).zip(v) {
                        *p -= rate * m / (Real::sqrt(v) * scale + eps);
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
    use colormamba_cuda::Launch;
    use colormamba_ops::OpError;

    /// Parameters that a launch takes.
    const MOST: usize = 64;
    /// Elements that a block takes.
    const CHUNK: usize = 4096;
    const THREADS: u32 = 256;

    /// Updates parameters and moments by the gradients, in place.
    pub(super) fn step(slots: &[(&Slot, Tensor)], numbers: [f64; 5]) -> Result<()> {
        slots.chunks(MOST).try_for_each(|slots| update(slots, numbers))
    }

    fn update(slots: &[(&Slot, Tensor)], numbers: [f64; 5]) -> Result<()> {
        let like = slots[0].0.var.as_tensor();
        if slots.iter().any(|(slot, grad)| [slot.var.dtype(), grad.dtype()] != [like.dtype(); 2]) {
            return Err(OpError::argument("adam", "parameters, gradients and moments must all be of one type"));
        }
        if let Some((slot, grad)) = slots.iter().find(|(slot, grad)| slot.var.shape() != grad.shape()) {
            return Err(OpError::shape("adam", format!("{:?}, as the parameter", slot.var.shape()), grad.shape()));
        }
        let count = |i: usize| slots.get(i).map_or(0, |(_, grad)| grad.elem_count());
        let mut firsts = [0; MOST];
        let mut blocks = 0;
        for (i, first) in firsts.iter_mut().enumerate() {
            *first = blocks;
            blocks += count(i).div_ceil(CHUNK);
        }
        let launch = Launch::new(&ADAM, "adam", like).blocks([blocks, 1, 1], THREADS);
        let launch =
            each(launch, |launch, i| launch.maybe_in_place(slots.get(i).map(|(slot, _)| slot.var.as_tensor())));
        let launch = each(launch, |launch, i| launch.maybe_in_place(slots.get(i).map(|(slot, _)| &slot.moments)));
        let launch = each(launch, |launch, i| launch.maybe(slots.get(i).map(|(_, grad)| grad)));
        let launch = each(launch, |launch, i| launch.size(count(i))).sizes(firsts);
        numbers.into_iter().fold(launch, Launch::number).run()
    }

    /// Adds an array of arguments.
    fn each<'a>(launch: Launch<'a>, add: impl Fn(Launch<'a>, usize) -> Launch<'a>) -> Launch<'a> {
        (0..MOST).fold(launch, add)
    }
}
