//! What operations with a weight have in common.

use crate::{Node, OpError};
use candle_core::{Result, Tensor};
use colormamba_cuda::{applies, wide};

/// Checks that a parameter has the type that it must have beside `x`: the same, but f32 beside bf16, in which kernels take
/// activations.
pub(crate) fn check_type(op: &'static str, x: &Tensor, name: &str, parameter: &Tensor) -> Result<()> {
    let wanted = if applies(x) { wide(x.dtype()) } else { x.dtype() };
    if parameter.dtype() == wanted {
        return Ok(());
    }
    Err(OpError::argument(op, format!("the {name} is {:?}, the input {:?}", parameter.dtype(), x.dtype())))
}

/// Checks that all have one type.
pub(crate) fn check_types(op: &'static str, nodes: &[&Node]) -> Result<()> {
    let first = nodes.first().map(|node| node.dtype());
    match nodes.iter().map(|node| node.dtype()).find(|&dtype| Some(dtype) != first) {
        Some(other) => {
            Err(OpError::argument(op, format!("an argument is {other:?}, the first {:?}", nodes[0].dtype())))
        }
        None => Ok(()),
    }
}

/// An input, a weight and perhaps a bias, contiguous.
pub(crate) struct Operands {
    pub x: Node,
    pub w: Node,
    pub bias: Option<Node>,
}

impl Operands {
    /// Checks that weight and bias have the [right type](check_type), and the bias one value per output.
    pub fn new(op: &'static str, x: &Node, w: &Tensor, bias: Option<&Tensor>, outputs: usize) -> Result<Self> {
        for (name, other) in [("weight", Some(w)), ("bias", bias)] {
            other.map(|other| check_type(op, x.value(), name, other)).transpose()?;
        }
        if let Some(bias) = bias.filter(|b| b.dims() != [outputs]) {
            return Err(OpError::shape(op, format!("a bias of {outputs} values"), bias.shape()));
        }
        let bias = bias.map(|b| Node::from(b).contiguous()).transpose()?;
        Ok(Self { x: x.contiguous()?, w: Node::from(w).contiguous()?, bias })
    }

    /// The values of the bias.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref().map(Node::value)
    }

    /// Whether a gradient flows through the bias.
    pub fn bias_is_tracked(&self) -> bool {
        self.bias.as_ref().is_some_and(Node::is_tracked)
    }

    /// The result `y`, with a function that gives the gradients of input, weight and bias.
    pub fn node(
        &self,
        y: Tensor,
        backward: impl FnOnce(&Tensor) -> Result<[Option<Tensor>; 3]> + Send + 'static,
    ) -> Result<Node> {
        match &self.bias {
            Some(bias) => Node::new(y, [&self.x, &self.w, bias], backward),
            None => Node::new(y, [&self.x, &self.w], move |grad| backward(grad).map(|[dx, dw, _]| [dx, dw])),
        }
    }
}
