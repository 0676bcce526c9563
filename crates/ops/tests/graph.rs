//! The graph: where gradients meet, what they reach, and what is freed on the way.

use candle_core::{DType, Result, Tensor, Var};
use colormamba_ops::{Node, add, backward, in_candle, in_nodes, linear, silu, tanh};
use colormamba_testkit::{assert_close, assert_gradients, device, noise_tensor};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

fn variable(name: &str) -> Result<Var> {
    Var::from_tensor(&noise_tensor(name, (3, 5))?.to_dtype(DType::F64)?)
}

fn ones() -> Result<Tensor> {
    Tensor::ones((3, 5), DType::F64, &device())
}

/// 1 - tanh².
fn tanh_slope(x: &Tensor) -> Result<Tensor> {
    x.tanh()?.sqr()?.affine(-1.0, 1.0)
}

fn message<T>(result: Result<T>) -> String {
    result.err().expect("an error").to_string()
}

#[test]
fn the_gradients_of_all_uses_are_added() -> Result<()> {
    let x = [noise_tensor("x", (3, 5))?];
    assert_gradients("two uses", &x, 1e-8, |x| add(&x[0], tanh(&x[0])?))?;
    assert_gradients("three uses", &x, 1e-8, |x| add(add(&x[0], &x[0])?, silu(&x[0])?))?;
    assert_gradients("three uses of a result", &x, 1e-8, |x| {
        let z = tanh(&x[0])?;
        add(add(&z, &z)?, silu(z)?)
    })?;
    assert_gradients("uses at different depths", &x, 1e-8, |x| {
        let z = tanh(&x[0])?;
        add(silu(tanh(silu(&z)?)?)?, add(&z, tanh(&z)?)?)
    })
}

/// A sum hands one and the same gradient to both of its terms; adding to one must not change the other.
#[test]
fn gradients_that_share_memory_are_added_apart() -> Result<()> {
    let (a, b) = (variable("a")?, variable("b")?);
    let g = noise_tensor("g", (3, 5))?.to_dtype(DType::F64)?;
    let before = g.copy()?;
    let (through_a, through_b) = (tanh(&a)?, tanh(&b)?);
    let mut y = add(&through_a, &through_b)?;
    for _ in 0..3 {
        y = add(add(y, &through_a)?, &a)?;
    }
    let grads = y.backward(&g)?;
    let slope = tanh_slope(&a)?;
    assert_close("a", grads.get(&a).unwrap(), &(&g * slope.affine(4.0, 3.0)?)?, 1e-12)?;
    assert_close("b", grads.get(&b).unwrap(), &(&g * tanh_slope(&b)?)?, 1e-12)?;
    assert_close("the given gradient", &g, &before, 0.0)
}

#[test]
fn several_outputs_go_back_in_one_pass() -> Result<()> {
    let x = variable("x")?;
    let z = tanh(&x)?;
    let y = add(&z, &z)?;
    // One output was made from another, and one is given twice.
    let grads = backward(vec![(z.clone(), ones()?), (y, ones()?), (z, ones()?)])?;
    assert_close("x", grads.get(&x).unwrap(), &(tanh_slope(&x)? * 4.0)?, 1e-12)
}

#[test]
fn the_gradient_of_a_computed_leaf_goes_on_to_its_variables() -> Result<()> {
    let (u, v) = (variable("u")?, variable("v")?);
    let weight = (u.affine(2.0, 0.0)? + v.sqr()?)?;
    let other = v.narrow(0, 1, 2)?;
    // v is a leaf itself, too.
    let y = add(add(&weight, &v)?, &weight)?;
    let z = tanh(&other)?;
    let grads = backward(vec![(y, ones()?), (z, ones()?.narrow(0, 1, 2)?)])?;
    let slope = tanh_slope(&v)?.narrow(0, 1, 2)?.pad_with_zeros(0, 1, 0)?;
    assert_close("u", grads.get(&u).unwrap(), &(ones()? * 4.0)?, 1e-12)?;
    assert_close("v", grads.get(&v).unwrap(), &(v.affine(4.0, 1.0)? + slope)?, 1e-12)
}

#[test]
fn a_leaf_in_another_layout_gets_its_gradient_in_its_own() -> Result<()> {
    let x = variable("x")?;
    let g = noise_tensor("g", (5, 3))?.to_dtype(DType::F64)?;
    let grads = tanh(&x.t()?)?.reshape(15)?.backward(&g.reshape(15)?)?;
    assert_close("x", grads.get(&x).unwrap(), &(g.t()? * tanh_slope(&x)?)?, 1e-12)
}

#[test]
fn a_piece_of_the_graph_stands_in_candles() -> Result<()> {
    let x = variable("x")?;
    let loss = |inside: &dyn Fn(&Tensor) -> Result<Tensor>| -> Result<_> {
        let scaled = x.affine(2.0, 0.5)?;
        let loss = (inside(&scaled)?.sqr()? + &scaled)?.sum_all()?;
        Ok((loss.backward()?.get(&x).unwrap().clone(), loss))
    };
    let (got, got_loss) = loss(&|x| in_candle(x, |x| add(tanh(x)?, x)))?;
    let (want, want_loss) = loss(&|x| x.tanh()? + x)?;
    assert_close("loss", &got_loss, &want_loss, 1e-14)?;
    assert_close("gradient", &got, &want, 1e-12)
}

#[test]
fn in_candle_leaves_constants_alone() -> Result<()> {
    let x = variable("x")?.as_detached_tensor();
    let y = in_candle(&x, |x| {
        assert!(!x.is_tracked());
        tanh(x)
    })?;
    assert!(!y.track_op());
    assert_close("value", &y, &x.tanh()?, 1e-14)
}

/// An input, a weight and a bias.
fn layer() -> Result<[Tensor; 3]> {
    Ok([noise_tensor("x", (3, 5))?, noise_tensor("w", (4, 5))?, noise_tensor("b", 4)?])
}

#[test]
fn weights_inside_a_piece_get_their_gradients_through_candle() -> Result<()> {
    assert_gradients("variables", &layer()?, 1e-8, |a| {
        let y = in_candle(&a[0], |x| tanh(linear(x, &a[1], Some(&a[2]))?))?;
        Ok(Node::from(&y.sqr()?))
    })?;
    assert_gradients("computed, and used outside as well", &layer()?, 1e-8, |a| {
        let (x, w) = (a[0].sqr()?, (&a[1] * 2.0)?);
        let y = in_candle(&x, |x| linear(tanh(x)?, &w, Some(&a[2])))?;
        Ok(Node::from(&(y + x.matmul(&w.t()?)?.broadcast_mul(&a[2])?)?))
    })?;
    assert_gradients("two pieces with one weight", &layer()?, 1e-8, |a| {
        let piece = |x: &Tensor| in_candle(x, |x| silu(linear(x, &a[1], Some(&a[2]))?));
        Ok(Node::from(&(piece(&a[0])? * piece(&a[0].sin()?)?)?))
    })
}

#[test]
fn weights_get_their_gradients_where_the_input_is_a_constant() -> Result<()> {
    let [x, w, b] = layer()?;
    let x = x.to_dtype(DType::F64)?;
    assert_gradients("weights alone", &[w, b], 1e-8, |a| {
        Ok(Node::from(&in_candle(&x, |x| tanh(linear(x, &a[0], Some(&a[1]))?))?))
    })
}

#[test]
fn a_computed_weight_that_no_gradient_enters_gets_zeros_in_candle() -> Result<()> {
    let (x, u, v) = (variable("x")?, variable("u")?, variable("v")?);
    let idle = u.sqr()?;
    let y = in_candle(&x, |x| {
        let (x, idle) = (tanh(x)?, Node::from(&idle));
        let unused = Node::from(&v);
        Node::new(x.value().clone(), [&x, &idle, &unused], |grad| Ok([Some(grad.clone()), None, None]))
    })?;
    let grads = y.sum_all()?.backward()?;
    assert_close("x", grads.get(&x).unwrap(), &tanh_slope(&x)?, 1e-12)?;
    assert_close("u", grads.get(&u).unwrap(), &ones()?.zeros_like()?, 0.0)?;
    assert!(grads.get(&v).is_none());
    Ok(())
}

#[test]
fn a_piece_of_candles_graph_stands_in_this() -> Result<()> {
    let candle = |x: &Tensor, w: &Tensor, b: &Tensor| x.matmul(&w.t()?)?.broadcast_add(b)?.tanh();
    assert_gradients("input and variables", &layer()?, 1e-8, |a| {
        silu(in_nodes(&[&tanh(&a[0])?], |x| candle(&x[0], &a[1], &a[2]))?)
    })?;
    assert_gradients("computed weights", &layer()?, 1e-8, |a| {
        let w = (&a[1] * 2.0)?;
        let y = in_nodes(&[&silu(&a[0])?], |x| candle(&x[0], &w, &a[2]))?;
        add(y, in_nodes(&[], |_| a[0].matmul(&w.t()?))?)
    })?;
    assert_gradients("several inputs, one of them twice", &layer()?, 1e-8, |a| {
        let (x, w, b) = (tanh(&a[0])?, silu(&a[1])?, Node::from(&a[2]));
        in_nodes(&[&x, &w, &b, &x], |x| candle(&(&x[0] * &x[3])?, &x[1], &x[2]))
    })
}

#[test]
fn pieces_stand_in_pieces() -> Result<()> {
    assert_gradients("candle in nodes in candle", &layer()?, 1e-8, |a| {
        let inner = |x: &Tensor| (x * 3.0)?.sin()?.matmul(&a[1].t()?);
        let y = in_candle(&a[0].sqr()?, |x| add(in_nodes(&[&tanh(x)?], |x| inner(&x[0]))?, linear(x, &a[1], None)?))?;
        Ok(Node::from(&y.broadcast_mul(&a[2])?))
    })?;
    assert_gradients("nodes in candle in nodes", &layer()?, 1e-8, |a| {
        let inner = |x: &Tensor| in_candle(x, |x| tanh(linear(x, &a[1], Some(&a[2]))?));
        silu(in_nodes(&[&silu(&a[0])?], |x| inner(&x[0].sqr()?)?.exp())?)
    })
}

#[test]
fn a_piece_without_gradients_is_a_constant() -> Result<()> {
    let (x, constant) = (variable("x")?, noise_tensor("c", (3, 5))?.to_dtype(DType::F64)?);
    let y = in_nodes(&[&Node::from(&constant)], |c| c[0].sin())?;
    assert!(!y.is_tracked());
    assert_close("value", y.value(), &constant.sin()?, 0.0)?;
    let cut = in_nodes(&[&tanh(&x)?], |x| x[0].detach().exp())?;
    assert!(!cut.is_tracked());
    // An input that the function leaves alone.
    let (a, b) = (tanh(&x)?, silu(&x)?);
    let grads = in_nodes(&[&a, &b], |x| x[1].sqr())?.backward(&ones()?)?;
    let want = silu(&x)?.variable()?.affine(2.0, 0.0)?;
    let slope = silu(&x)?.backward(&want)?;
    assert_close("x", grads.get(&x).unwrap(), slope.get(&x).unwrap(), 1e-12)
}

#[test]
fn what_goes_wrong_inside_a_piece_is_its_error() -> Result<()> {
    let x = variable("x")?;
    assert!(message(in_nodes(&[&tanh(&x)?], |x| x[0].matmul(&x[0]))).contains("matmul"));
    assert!(message(in_candle(&x, |x| linear(x, &ones()?, Some(&ones()?)))).contains("linear"));
    Ok(())
}

#[test]
fn a_graph_serves_once() -> Result<()> {
    const BEFORE: &str = "a backward pass has gone through this graph before";
    let x = variable("x")?;
    let y = tanh(&x)?;
    let again = y.clone();
    y.backward(&ones()?)?;
    assert!(message(again.backward(&ones()?)).contains(BEFORE));

    let shared = tanh(&x)?;
    let (one, other) = (silu(&shared)?, tanh(&shared)?);
    one.backward(&ones()?)?;
    assert!(message(other.backward(&ones()?)).contains(BEFORE));

    let loss = in_candle(&x, |x| tanh(x))?.sum_all()?;
    loss.backward()?;
    assert!(message(loss.backward()).contains(BEFORE));
    Ok(())
}

#[test]
fn constants_get_nothing_and_keep_nothing() -> Result<()> {
    let (x, constant) = (variable("x")?, noise_tensor("c", (3, 5))?.to_dtype(DType::F64)?);
    let kept = Arc::new(());
    let held = kept.clone();
    let node = Node::new(constant.clone(), [&Node::from(&constant)], move |_| {
        drop(held);
        Ok([None])
    })?;
    assert!(!node.is_tracked());
    assert_eq!(Arc::strong_count(&kept), 1);

    let cut = tanh(&x)?.detach();
    assert!(!cut.is_tracked() && !cut.value().track_op());
    let grads = add(add(&node, cut)?, &x)?.backward(&ones()?)?;
    assert_eq!(grads.get_ids().count(), 1);
    assert_close("x", grads.get(&x).unwrap(), &ones()?, 0.0)?;
    // Nothing to go back to is no error.
    assert_eq!(node.backward(&ones()?)?.get_ids().count(), 0);
    Ok(())
}

#[test]
fn branches_that_no_gradient_enters_are_not_run() -> Result<()> {
    let (x, y) = (variable("x")?, variable("y")?);
    let never = |y: &Node| Node::new(y.value().clone(), [y], |_| panic!("no gradient comes here"));
    let idle = never(&y.as_tensor().into())?;
    // A step that has no gradient for one of its inputs.
    let (a, b) = (tanh(&x)?, idle.clone());
    let first = Node::new(a.value().clone(), [&a, &b], |grad| Ok([Some(grad.clone()), None]))?;
    let unused = add(&first, idle)?;
    let grads = first.backward(&ones()?)?;
    drop(unused);
    assert!(grads.get(&y).is_none());
    assert_close("x", grads.get(&x).unwrap(), &tanh_slope(&x)?, 1e-12)
}

/// The identity; its gradient keeps `held` and runs `check`.
fn keeping(x: &Node, held: Arc<()>, check: impl FnOnce() + Send + 'static) -> Result<Node> {
    Node::new(x.value().clone(), [x], move |grad| {
        let _held = held;
        check();
        Ok([Some(grad.clone())])
    })
}

#[test]
fn what_a_step_keeps_is_freed_before_the_next_step_back() -> Result<()> {
    let x = variable("x")?;
    let steps: Vec<Arc<()>> = (0..4).map(|_| Arc::new(())).collect();
    let watched: Arc<Vec<Weak<()>>> = Arc::new(steps.iter().map(Arc::downgrade).collect());
    let run = Arc::new(AtomicUsize::new(0));
    let mut node = Node::from(&x);
    for (index, held) in steps.into_iter().enumerate() {
        let (watched, run) = (watched.clone(), run.clone());
        node = keeping(&node, held, move || {
            run.fetch_add(1, Ordering::Relaxed);
            let alive: Vec<bool> = watched.iter().map(|step| step.strong_count() > 0).collect();
            assert_eq!(alive, (0..4).map(|i| i <= index).collect::<Vec<_>>());
        })?;
    }
    // Another owner of the graph does not keep its memory.
    let owner = node.clone();
    node.backward(&ones()?)?;
    assert_eq!(run.load(Ordering::Relaxed), 4);
    assert!(watched.iter().all(|step| step.strong_count() == 0));
    assert!(owner.is_tracked());
    Ok(())
}

#[test]
fn a_graph_that_is_dropped_keeps_nothing() -> Result<()> {
    let x = variable("x")?;
    let held = Arc::new(());
    let node = tanh(keeping(&x.as_tensor().into(), held.clone(), || ())?)?;
    assert_eq!(Arc::strong_count(&held), 2);
    drop(node);
    assert_eq!(Arc::strong_count(&held), 1);
    Ok(())
}

#[test]
fn a_gradient_of_another_shape_is_an_error() -> Result<()> {
    let y = tanh(variable("x")?.as_tensor())?;
    let message = message(y.backward(&ones()?.t()?));
    assert!(message.contains("a gradient of shape [5, 3] for a value of shape [3, 5]"), "{message}");
    Ok(())
}

#[test]
fn a_variable_of_a_value_is_a_leaf_of_its_own() -> Result<()> {
    let x = variable("x")?;
    let y = tanh(&x)?;
    let image = y.variable()?;
    let mut grads = image.sqr()?.sum_all()?.backward()?;
    assert!(grads.get(&x).is_none());
    let gradient = grads.remove(&image).unwrap();
    let grads = y.backward(&gradient)?;
    assert_close("x", grads.get(&x).unwrap(), &((x.tanh()? * 2.0)? * tanh_slope(&x)?)?, 1e-12)
}
