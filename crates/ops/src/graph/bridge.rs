//! The ways between this graph and candle's.

use super::{Node, Origin, Outlet, Pass};
use crate::profile;
use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, DType, Error, Layout, Result, Shape, Storage, Tensor, TensorId, WithDType, bail,
};
use colormamba_cpu::{dispatch_real, slice};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

/// Runs a function of nodes inside candle's graph: `f` of `x`, through which candle's `backward` passes to `x` and to all
/// other tensors of candle's graph that `f` uses, such as weights. It does so once.
///
/// # Errors
/// Those of `f`.
pub fn in_candle<E: From<Error>>(
    x: &Tensor,
    f: impl FnOnce(&Node) -> std::result::Result<Node, E>,
) -> std::result::Result<Tensor, E> {
    profile::outside();
    Ok(f(&Node::from(x))?.into_candle()?)
}

/// Runs a function of candle's tensors inside this graph: `f` of `inputs`, through which [`backward`](super::backward)
/// passes to `inputs` and to all variables of candle's that `f` uses, such as the weights of a model written with candle-nn.
///
/// Some of candle-nn's layers cut candle's graph without an error (layer norm with a bias, `softmax_last_dim`; the test
/// `candle_nn` of `colormamba-layers` lists them): nothing before them gets a gradient, here as there.
///
/// # Errors
/// Those of `f`.
pub fn in_nodes<E: From<Error>>(
    inputs: &[&Node],
    f: impl FnOnce(&[Tensor]) -> std::result::Result<Tensor, E>,
) -> std::result::Result<Node, E> {
    // A tracked input becomes a variable, at which candle's pass ends.
    let argument =
        |node: &&Node| if node.is_tracked() { Ok(node.variable()?.into_inner()) } else { Ok(node.value().clone()) };
    let arguments = inputs.iter().map(argument).collect::<Result<Vec<_>>>()?;
    let y = f(&arguments)?;
    if !y.track_op() {
        return Ok(Node::from(&y));
    }
    let is_argument = |x: &Tensor| arguments.iter().any(|argument| argument.id() == x.id());
    let nodes = y.sorted_nodes().into_iter();
    let variables: Vec<Tensor> = nodes.filter(|x| x.is_variable() && !is_argument(x)).cloned().collect();
    let leaves: Vec<Node> = variables.iter().map(Node::from).collect();
    let inputs: Vec<&Node> = inputs.iter().copied().chain(&leaves).collect();
    Ok(Node::of_many(y.detach(), &inputs, move |grad| {
        let mut grads = y.apply_op1(Outlet(grad.clone()))?.backward()?;
        Ok(arguments.iter().chain(&variables).map(|x| grads.remove(x)).collect())
    })?)
}

impl Node {
    /// The value as a tensor of candle's graph. Candle's operations have three arguments at most, so the leaves do not
    /// enter as they are: an [`Inlet`] stands for each, and the backward pass of [`Piece`] leaves their gradients there.
    fn into_candle(self) -> Result<Tensor> {
        let leaves = self.leaves();
        if leaves.is_empty() {
            return Ok(self.value);
        }
        let gradients = Gradients::default();
        let inlet = |leaf: &Tensor| leaf.apply_op1(Inlet(gradients.clone()))?.to_device(self.device());
        let inlets = leaves.iter().map(inlet).collect::<Result<Vec<_>>>()?;
        Tensor::stack(&inlets, 0)?.apply_op1(Piece { out: Mutex::new(Some(self.contiguous()?)), gradients })
    }

    /// The tensors of candle's graph that it was made from, each once.
    fn leaves(&self) -> Vec<Tensor> {
        let (mut leaves, mut steps, mut known) = (Vec::new(), HashSet::new(), HashSet::new());
        let mut open: Vec<&Origin> = self.origin.iter().collect();
        while let Some(origin) = open.pop() {
            match origin {
                Origin::Leaf(leaf) if known.insert(leaf.id()) => leaves.push(leaf.clone()),
                Origin::Step(step) if steps.insert(Arc::as_ptr(step)) => {
                    open.extend(step.inputs.iter().flatten().map(|(origin, _)| origin));
                }
                _ => {}
            }
        }
        leaves
    }
}

/// The gradients of leaves on their way into candle's graph.
type Gradients = Arc<Mutex<HashMap<TensorId, Tensor>>>;

/// A piece of this graph, made from the inlets of its leaves.
struct Piece {
    out: Mutex<Option<Node>>,
    gradients: Gradients,
}

impl CustomOp1 for Piece {
    fn name(&self) -> &'static str {
        "in_candle"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(out) = out.as_ref() else { bail!("in_candle has been run before") };
        let (storage, layout) = out.value.storage_and_layout();
        let storage = dispatch_real!("in_candle", out.value, T => {
            let Storage::Cpu(storage) = &*storage else { bail!("in_candle is for tensors on the CPU") };
            Ok(T::to_cpu_storage_owned(slice::<T>("in_candle", storage, layout)?.to_vec()))
        })?;
        Ok((storage, out.shape().clone()))
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        let out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(out) = out.as_ref() else { bail!("in_candle has been run before") };
        // A copy of memory, whole: no view of it.
        let value = out.value.force_contiguous()?;
        let (storage, layout) = value.storage_and_layout();
        let Storage::Cuda(storage) = &*storage else { bail!("in_candle has left the GPU") };
        Ok((storage.try_clone(layout)?, out.shape().clone()))
    }

    fn bwd(&self, inlets: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let out = self.out.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(out) = out else { bail!("a backward pass has gone through this graph before") };
        let leaves = Pass::from_outputs(vec![(out, grad.clone())])?.leaves.into_iter();
        let mut gradients = self.gradients.lock().unwrap_or_else(PoisonError::into_inner);
        gradients.extend(leaves.map(|(leaf, sum)| (leaf.id(), sum.value)));
        inlets.zeros_like().map(Some)
    }
}

/// Zero in place of a leaf, which gets the gradient that a [`Piece`] has computed for it.
struct Inlet(Gradients);

impl CustomOp1 for Inlet {
    fn name(&self) -> &'static str {
        "inlet"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), Shape::from(())))
    }

    fn cuda_fwd(&self, leaf: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        let shape = Shape::from(());
        Ok((leaf.device().zeros_impl(&shape, DType::F32)?, shape))
    }

    fn bwd(&self, leaf: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&leaf.id()) {
            // Candle's pass goes on through whatever is no variable, and must find a gradient there.
            None if !leaf.is_variable() => leaf.zeros_like().map(Some),
            gradient => Ok(gradient),
        }
    }
}
