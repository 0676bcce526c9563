//! The graph that gradients flow back through.
//!
//! Candle's own graph keeps every intermediate tensor until the whole of it is dropped, and clears and adds a tensor for
//! every gradient that arrives. Here each step keeps what its gradient needs and no more, gradients that meet nothing are
//! moved, and a step's memory goes as soon as its gradient is computed.
//!
//! Both graphs join: a leaf may be any candle tensor, whose gradient then flows on through candle's graph ([`backward`]);
//! a piece of this graph may stand inside candle's ([`in_candle`]), and a piece of candle's inside this ([`in_nodes`]).

mod bridge;

pub use bridge::{in_candle, in_nodes};

use crate::pointwise::CHUNK;
use crate::profile::{self, Operation};
use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::backprop::GradStore;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, DType, Device, InplaceOp2, Layout, Result, Shape, Tensor, TensorId, Var,
    WithDType, bail,
};
use colormamba_cpu::{Real, dispatch_real, vectorize};
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// A tensor together with how it was made.
///
/// Operations take `impl Into<Node>`: another node, or a candle tensor, which is a leaf if candle tracks it and a constant
/// if not.
#[derive(Clone)]
pub struct Node {
    value: Tensor,
    origin: Option<Origin>,
}

/// Where a gradient goes.
#[derive(Clone)]
enum Origin {
    Leaf(Tensor),
    Step(Arc<Step>),
}

type Backward = Box<dyn FnOnce(&Tensor) -> Result<Vec<Option<Tensor>>> + Send>;

struct Step {
    /// Larger than that of every input's step, so that going by descending depth meets all uses of a step before it.
    depth: usize,
    /// None if it is not worth recording.
    operation: Option<Operation>,
    /// Where gradients go, and on which device.
    inputs: Vec<Option<(Origin, Device)>>,
    /// Taken when it is run.
    backward: Mutex<Option<Backward>>,
}

impl From<&Tensor> for Node {
    fn from(tensor: &Tensor) -> Self {
        let origin = tensor.track_op().then(|| Origin::Leaf(tensor.clone()));
        Self { value: tensor.detach(), origin }
    }
}

impl From<&Var> for Node {
    fn from(var: &Var) -> Self {
        Self::from(var.as_tensor())
    }
}

impl From<&Node> for Node {
    fn from(node: &Node) -> Self {
        node.clone()
    }
}

impl Node {
    /// The result of an operation on `inputs`. `backward` turns the gradient of `value`, contiguous and of its shape, into
    /// those of the inputs, `None` for zero; it should skip inputs that are not [tracked](Self::is_tracked), and hold
    /// nothing that it does not read. What an operation without a CUDA kernel has computed goes to the device of the inputs,
    /// as do such gradients.
    ///
    /// # Errors
    /// If there is no memory for that.
    pub fn new<const N: usize>(
        value: Tensor,
        inputs: [&Node; N],
        backward: impl FnOnce(&Tensor) -> Result<[Option<Tensor>; N]> + Send + 'static,
    ) -> Result<Self> {
        let operation = recorded(&backward, &inputs);
        Self::step(value, Some(operation), &inputs, move |grad| backward(grad).map(Vec::from))
    }

    /// [`Node::new`] for any number of inputs.
    ///
    /// # Errors
    /// As there.
    pub fn of_many(
        value: Tensor,
        inputs: &[&Node],
        backward: impl FnOnce(&Tensor) -> Result<Vec<Option<Tensor>>> + Send + 'static,
    ) -> Result<Self> {
        let operation = recorded(&backward, inputs);
        Self::step(value, Some(operation), inputs, backward)
    }

    fn step(
        value: Tensor,
        operation: Option<Operation>,
        inputs: &[&Node],
        backward: impl FnOnce(&Tensor) -> Result<Vec<Option<Tensor>>> + Send + 'static,
    ) -> Result<Self> {
        // Constants, such as a scalar, may lie elsewhere.
        let value = match inputs.iter().find(|input| input.is_tracked()).or(inputs.first()) {
            Some(input) => value.to_device(input.device())?,
            None => value,
        };
        if !inputs.iter().any(|input| input.is_tracked()) {
            return Ok(Self { value, origin: None });
        }
        let place = |input: &&Node| input.origin.clone().map(|origin| (origin, input.device().clone()));
        let inputs: Vec<_> = inputs.iter().map(place).collect();
        let depth = |place: &Option<(Origin, Device)>| match place {
            Some((Origin::Step(step), _)) => step.depth + 1,
            _ => 0,
        };
        let depth = inputs.iter().map(depth).max().unwrap_or(0);
        let step = Step { depth, operation, inputs, backward: Mutex::new(Some(Box::new(backward))) };
        Ok(Self { value, origin: Some(Origin::Step(Arc::new(step))) })
    }

    /// The tensor, which candle does not track.
    pub fn value(&self) -> &Tensor {
        &self.value
    }

    /// Whether a gradient flows through it.
    pub fn is_tracked(&self) -> bool {
        self.origin.is_some()
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        self.value.shape()
    }

    /// The sizes of all dimensions.
    pub fn dims(&self) -> &[usize] {
        self.value.dims()
    }

    /// The sizes of four dimensions.
    ///
    /// # Errors
    /// If there are not four.
    pub fn dims4(&self) -> Result<(usize, usize, usize, usize)> {
        self.value.dims4()
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.value.dtype()
    }

    /// Where the value lies.
    pub fn device(&self) -> &Device {
        self.value.device()
    }

    /// The same with its elements in order in memory.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn contiguous(&self) -> Result<Self> {
        Ok(Self { value: self.value.contiguous()?, origin: self.origin.clone() })
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// If the number of elements differs.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Result<Self> {
        let (value, before) = (self.value.reshape(shape.into())?, self.shape().clone());
        Self::step(value, None, &[self], move |grad| Ok(vec![Some(grad.reshape(before)?)]))
    }

    /// The same in another type; the gradient comes back in this one.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        let before = self.dtype();
        if before == dtype {
            return Ok(self.clone());
        }
        Self::step(self.value.to_dtype(dtype)?, None, &[self], move |grad| Ok(vec![Some(grad.to_dtype(before)?)]))
    }

    /// The value alone, as a constant.
    pub fn detach(&self) -> Self {
        Self { value: self.value.clone(), origin: None }
    }

    /// A candle variable of the same value, to compute a loss from; its gradient is what [`backward`] takes.
    pub fn variable(&self) -> Result<Var> {
        Var::from_tensor(&self.value)
    }

    /// [`backward`] from this node alone.
    ///
    /// # Errors
    /// As there.
    pub fn backward(self, grad: &Tensor) -> Result<GradStore> {
        backward(vec![(self, grad.clone())])
    }
}

/// Records the operation that has just been computed, under the name of the function that `backward` is written in.
fn recorded<F>(_backward: &F, inputs: &[&Node]) -> Operation {
    let gradients = inputs.iter().filter(|input| input.is_tracked() && input.dims().len() > 1).count();
    profile::forward(std::any::type_name::<F>(), gradients)
}

/// A gradient that is being added up.
struct Sum {
    value: Tensor,
    /// Nothing else holds the memory, so that it may be added to in place.
    owned: bool,
}

impl Sum {
    fn add(sum: Option<Self>, grad: &Tensor) -> Result<Self> {
        match sum {
            None => Ok(Self { value: grad.clone(), owned: false }),
            Some(Self { value, owned }) if !owned || colormamba_cuda::applies(&value) => {
                if value.dtype() != grad.dtype() {
                    bail!("backward: gradients in {:?} and in {:?} meet", value.dtype(), grad.dtype());
                }
                let value = crate::elementwise::sum(&value, grad)?;
                Ok(Self { value, owned: true })
            }
            Some(sum) => {
                sum.value.inplace_op2(grad, &AddAssign)?;
                Ok(sum)
            }
        }
    }
}

/// Where a backward pass stands.
#[derive(Default)]
struct Pass {
    /// Steps to do, by depth and then by arrival; the last is next.
    steps: BTreeMap<(usize, usize), (Arc<Step>, Sum)>,
    /// Where in `steps` a step stands.
    places: HashMap<*const Step, (usize, usize)>,
    arrivals: usize,
    leaves: Vec<(Tensor, Sum)>,
    leaf_places: HashMap<TensorId, usize>,
}

impl Pass {
    /// Goes back from `outputs`, with their gradients, to the leaves.
    fn from_outputs(outputs: Vec<(Node, Tensor)>) -> Result<Self> {
        let mut pass = Self::default();
        for (node, grad) in outputs {
            if node.shape() != grad.shape() {
                bail!("backward: a gradient of shape {:?} for a value of shape {:?}", grad.shape(), node.shape());
            }
            if node.dtype() != grad.dtype() {
                bail!("backward: a gradient in {:?} for a value in {:?}", grad.dtype(), node.dtype());
            }
            if let Some(origin) = &node.origin {
                pass.arrive(origin, &grad.detach().to_device(node.device())?.contiguous()?)?;
            }
        }
        pass.run()?;
        Ok(pass)
    }

    fn arrive(&mut self, origin: &Origin, grad: &Tensor) -> Result<()> {
        match origin {
            Origin::Step(step) => {
                let place = *self.places.entry(Arc::as_ptr(step)).or_insert_with(|| {
                    self.arrivals += 1;
                    (step.depth, self.arrivals)
                });
                let before = self.steps.remove(&place).map(|(_, sum)| sum);
                self.steps.insert(place, (step.clone(), Sum::add(before, grad)?));
            }
            Origin::Leaf(leaf) => match self.leaf_places.get(&leaf.id()) {
                Some(&at) => {
                    let before = std::mem::replace(&mut self.leaves[at].1, Sum { value: grad.clone(), owned: false });
                    self.leaves[at].1 = Sum::add(Some(before), grad)?;
                }
                None => {
                    self.leaf_places.insert(leaf.id(), self.leaves.len());
                    self.leaves.push((leaf.clone(), Sum::add(None, grad)?));
                }
            },
        }
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        profile::outside();
        while let Some((_, (step, sum))) = self.steps.pop_last() {
            let backward = step.backward.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some(backward) = backward else { bail!("a backward pass has gone through this graph before") };
            let grads = backward(&sum.value)?;
            drop(sum);
            if let Some(operation) = step.operation {
                profile::backward(operation);
            }
            for (place, grad) in step.inputs.iter().zip(grads) {
                if let (Some((origin, device)), Some(grad)) = (place, grad) {
                    self.arrive(origin, &grad.to_device(device)?.contiguous()?)?;
                }
            }
            profile::gradient_sums();
        }
        Ok(())
    }

    /// The gradients of candle's variables.
    fn finish(self) -> Result<GradStore> {
        let mut store = GradStore::default();
        let mut outlets = Vec::new();
        for (leaf, Sum { value, .. }) in self.leaves {
            if leaf.is_variable() {
                store.insert(&leaf, value);
            } else {
                outlets.push(leaf.apply_op1(Outlet(value))?);
            }
        }
        if !outlets.is_empty() {
            store.extend(Tensor::stack(&outlets, 0)?.sum_all()?.backward()?)?;
            profile::gradients_of_variables();
        }
        Ok(store)
    }
}

/// Computes the gradients of all leaves, given those of some nodes. Where a leaf is a candle tensor made from variables,
/// they are those of the variables.
///
/// Gives up the graph: what a step keeps is freed when its gradient is done.
///
/// # Errors
/// If a gradient has another shape than its node, and if a backward pass has gone through a part of the graph before.
pub fn backward(outputs: Vec<(Node, Tensor)>) -> Result<GradStore> {
    Pass::from_outputs(outputs)?.finish()
}

/// Zero, with a given gradient: what lets a gradient into candle's graph.
struct Outlet(Tensor);

impl CustomOp1 for Outlet {
    fn name(&self) -> &'static str {
        "outlet"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        dispatch_real!("outlet", storage, T => Ok((T::to_cpu_storage_owned(vec![T::ZERO]), Shape::from(()))))
    }

    fn cuda_fwd(&self, storage: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        let shape = Shape::from(());
        Ok((storage.device().zeros_impl(&shape, storage.dtype())?, shape))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(self.0.clone()))
    }
}

/// `a += b`.
struct AddAssign;

impl InplaceOp2 for AddAssign {
    fn name(&self) -> &'static str {
        "add_assign"
    }

    fn cpu_fwd(&self, s1: &mut CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<()> {
        let (Some((a0, a1)), Some((b0, b1))) = (l1.contiguous_offsets(), l2.contiguous_offsets()) else {
            bail!("add_assign: a non-contiguous gradient")
        };
        match (s1, s2) {
            (CpuStorage::F32(a), CpuStorage::F32(b)) => add_to(&mut a[a0..a1], &b[b0..b1]),
            (CpuStorage::F64(a), CpuStorage::F64(b)) => add_to(&mut a[a0..a1], &b[b0..b1]),
            _ => bail!("add_assign: gradients of different types"),
        }
        Ok(())
    }
}

fn add_to<T: Real>(a: &mut [T], b: &[T]) {
    a.par_chunks_mut(CHUNK).zip(b.par_chunks(CHUNK)).for_each(|(a, b)| {
        vectorize(
            #[inline(always)]
            || {
                for (a, b) in a.iter_mut().zip(b) {
                    *a += *b;
                }
            },
        );
    });
}
