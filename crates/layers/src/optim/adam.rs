//! Adam (Kingma & Ba, arXiv 1412.6980) and AdamW (Loshchilov & Hutter, arXiv 1711.05101) with state that can be saved.

use super::{AdamConfig, OptimError, OptimizerConfig, ParameterGroups, decays};
use crate::{Params, ParamsError};
use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, Device, InplaceOp2, Layout, Result, Tensor, Var};
use colormamba_cpu::{Real, vectorize};
use colormamba_ops::OpError;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Elements that one task updates.
const CHUNK: usize = 1 << 14;
const STEP: &str = "step";

struct Slot {
    name: String,
    var: Var,
    /// `(2, n)`: first and second moments.
    moments: Tensor,
    lr_factor: f64,
    /// Zero for a parameter that does not decay.
    weight_decay: f64,
}

/// Adam, or AdamW if its configuration says so, over the parameters of one [`Params`].
pub struct Adam {
    config: OptimizerConfig,
    slots: Vec<Slot>,
    steps: u64,
    device: Device,
}

impl Adam {
    /// Over all trainable parameters that exist by now, with moments of zero.
    ///
    /// # Errors
    /// If memory for the moments cannot be had.
    pub fn new(params: &Params, config: impl Into<OptimizerConfig>) -> Result<Self> {
        Self::over(params, config.into(), &ParameterGroups::default())
    }

    /// [`Adam::new`] by groups: a frozen parameter has no moments and never moves, the learning rate of the others is
    /// multiplied by their factor.
    ///
    /// # Errors
    /// If a number of `config` or `groups` is out of its range, and if a prefix of `groups` begins no parameter's name.
    pub fn with_groups(
        params: &Params,
        config: impl Into<OptimizerConfig>,
        groups: &ParameterGroups,
    ) -> std::result::Result<Self, OptimError> {
        let config = config.into();
        config.check()?;
        groups.check()?;
        let trainable = params.trainable();
        groups.check_names(trainable.iter().map(|(name, _)| name.as_str()))?;
        Ok(Self::over(params, config, groups)?)
    }

    fn over(params: &Params, config: OptimizerConfig, groups: &ParameterGroups) -> Result<Self> {
        let slot = |(name, var): (String, Var)| -> Result<Slot> {
            let moments = Tensor::zeros((2, var.elem_count()), var.dtype(), var.device())?;
            let lr_factor = groups.lr_factor(&name);
            let weight_decay = if decays(&name, var.dims()) { config.weight_decay() } else { 0.0 };
            Ok(Slot { name, var, moments, lr_factor, weight_decay })
        };
        let trained = params.trainable().into_iter().filter(|(name, _)| !groups.is_frozen(name));
        let slots = trained.map(slot).collect::<Result<_>>()?;
        Ok(Self { config, slots, steps: 0, device: params.device().clone() })
    }

    /// One step with learning rate `lr`. Parameters without a gradient stay as they are, without decay too.
    ///
    /// # Errors
    /// If a gradient's type or shape differs from its parameter's.
    pub fn step(&mut self, grads: &GradStore, lr: f64) -> Result<()> {
        self.steps += 1;
        let AdamConfig { beta1, beta2, eps } = self.config.moments();
        let power = |beta: f64| 1.0 - beta.powf(self.steps as f64);
        let (correction, scale) = (power(beta1), 1.0 / power(beta2).sqrt());
        let mut on_gpu = Vec::new();
        for slot in &self.slots {
            let Some(grad) = grads.get(&slot.var) else { continue };
            let grad = grad.contiguous()?;
            let lr = lr * slot.lr_factor;
            let (rate, keep) = (lr / correction, 1.0 - lr * slot.weight_decay);
            if colormamba_cuda::applies(&grad) {
                on_gpu.push(cuda::Parameter { slot, grad, rate, keep });
            } else {
                slot.moments.inplace_op2(&grad, &Moments { beta1, beta2 })?;
                slot.var.inplace_op2(&slot.moments, &Update { rate, keep, scale, eps })?;
            }
        }
        cuda::step(&on_gpu, [beta1, beta2, scale, eps])
    }

    /// The parameters that it trains, by name: all trainable ones but the frozen.
    pub fn parameters(&self) -> Vec<(String, Var)> {
        self.slots.iter().map(|slot| (slot.name.clone(), slot.var.clone())).collect()
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
        let steps = super::count(get(STEP.into())?)?;
        let mut loaded = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            let moment = |kind: &str| -> std::result::Result<Tensor, ParamsError> {
                let name = format!("{}.{kind}", slot.name);
                Ok(super::fitting(&name, get(name.clone())?, &slot.var)?.flatten_all()?)
            };
            loaded.push(Tensor::stack(&[moment("m")?, moment("v")?], 0)?);
        }
        for (slot, moments) in self.slots.iter_mut().zip(loaded) {
            slot.moments = moments;
        }
        self.steps = steps as u64;
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

/// `p = keep · p − rate · m / (√v · scale + eps)`: `n` and `(2, n)` elements.
///
/// A `keep` of 1, which is Adam, gives the bits of the subtraction alone.
struct Update {
    rate: f64,
    keep: f64,
    scale: f64,
    eps: f64,
}

impl Update {
    fn apply<T: Real>(&self, param: &mut [T], moments: &[T]) {
        let (m, v) = moments.split_at(param.len());
        let (rate, keep) = (T::of(self.rate), T::of(self.keep));
        let (scale, eps) = (T::of(self.scale), T::of(self.eps));
        let chunks = param.par_chunks_mut(CHUNK).zip(m.par_chunks(CHUNK)).zip(v.par_chunks(CHUNK));
        chunks.for_each(|((p, m), v)| {
            vectorize(
                #[inline(always)]
                || {
                    for ((p, &m), &v) in p.iter_mut().zip(m).zip(v) {
                        *p = *p * keep - rate * m / (Real::sqrt(v) * scale + eps);
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

    /// A parameter, its gradient, and the numbers that are its own.
    pub(super) struct Parameter<'a> {
        pub(super) slot: &'a Slot,
        pub(super) grad: Tensor,
        pub(super) rate: f64,
        pub(super) keep: f64,
    }

    /// Updates parameters and moments by the gradients, in place.
    pub(super) fn step(parameters: &[Parameter], numbers: [f64; 4]) -> Result<()> {
        parameters.chunks(MOST).try_for_each(|parameters| update(parameters, numbers))
    }

    fn update(parameters: &[Parameter], numbers: [f64; 4]) -> Result<()> {
        let like = parameters[0].slot.var.as_tensor();
        if parameters.iter().any(|p| [p.slot.var.dtype(), p.grad.dtype()] != [like.dtype(); 2]) {
            return Err(OpError::argument("adam", "parameters, gradients and moments must all be of one type"));
        }
        if let Some(Parameter { slot, grad, .. }) = parameters.iter().find(|p| p.slot.var.shape() != p.grad.shape()) {
            return Err(OpError::shape("adam", format!("{:?}, as the parameter", slot.var.shape()), grad.shape()));
        }
        let count = |i: usize| parameters.get(i).map_or(0, |p| p.grad.elem_count());
        let mut firsts = [0; MOST];
        let mut blocks = 0;
        for (i, first) in firsts.iter_mut().enumerate() {
            *first = blocks;
            blocks += count(i).div_ceil(CHUNK);
        }
        let launch = Launch::new(&ADAM, "adam", like).blocks([blocks, 1, 1], THREADS);
        let launch = each(launch, |launch, i| launch.maybe_in_place(parameters.get(i).map(|p| p.slot.var.as_tensor())));
        let launch = each(launch, |launch, i| launch.maybe_in_place(parameters.get(i).map(|p| &p.slot.moments)));
        let launch = each(launch, |launch, i| launch.maybe(parameters.get(i).map(|p| &p.grad)));
        let launch = each(launch, |launch, i| launch.size(count(i))).sizes(firsts);
        let launch = each(launch, |launch, i| launch.number(parameters.get(i).map_or(0.0, |p| p.rate)));
        let launch = each(launch, |launch, i| launch.number(parameters.get(i).map_or(1.0, |p| p.keep)));
        numbers.into_iter().fold(launch, Launch::number).run()
    }

    /// Adds an array of arguments.
    fn each<'a>(launch: Launch<'a>, add: impl Fn(Launch<'a>, usize) -> Launch<'a>) -> Launch<'a> {
        (0..MOST).fold(launch, add)
    }
}
