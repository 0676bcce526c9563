//! Where the time and the memory of a computation go, operation by operation.
//!
//! [`start`] records what its own thread does until [`finish`]; otherwise nothing is recorded. Every operation counts the
//! time since the one before it, as all kernels end before their operation returns; [`mark`] names what lies between them.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// What no [`mark`] has named.
const OTHER: &str = "other";
/// Adding up the gradients of what several operations read.
const GRADIENT_SUMS: &str = "gradient_sums";
/// From gradients of weights to those of the variables that candle makes them from.
const VARIABLES: &str = "gradients_of_variables";

thread_local! {
    static RECORDER: RefCell<Option<Recorder>> = const { RefCell::new(None) };
}

/// What [`finish`] returns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// From [`start`] to [`finish`]: the sum of all parts.
    pub wall: Duration,
    /// The longest first.
    pub parts: Vec<Part>,
}

/// All calls of an operation, or all that was [marked](mark) with a name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part {
    /// The operation's function.
    pub name: String,
    /// How often it was computed forwards.
    pub calls: usize,
    /// Time of the forward passes.
    pub forward: Duration,
    /// Time of the backward passes.
    pub backward: Duration,
    /// Floating-point operations of both, of operations that are bound by them (see [`work`]).
    pub flops: Option<u64>,
    /// Bytes that the forward passes of an operation left allocated, less what they freed.
    pub kept: Option<i64>,
}

impl Part {
    /// Time of both passes.
    pub fn time(&self) -> Duration {
        self.forward + self.backward
    }

    fn merge(&mut self, other: &Self) {
        self.calls += other.calls;
        self.forward += other.forward;
        self.backward += other.backward;
        self.flops = self.flops.map_or(other.flops, |flops| Some(flops + other.flops.unwrap_or(0)));
        self.kept = self.kept.map_or(other.kept, |kept| Some(kept + other.kept.unwrap_or(0)));
    }
}

/// Records this thread from now on; `memory` gives the bytes that are allocated at the time.
pub fn start(memory: fn() -> u64) {
    let now = Instant::now();
    let recorder = Recorder {
        memory,
        begun: now,
        last: now,
        live: memory(),
        outside: Duration::ZERO,
        work: None,
        parts: HashMap::new(),
    };
    RECORDER.set(Some(recorder));
}

/// Ends what [`start`] began; empty if nothing did.
pub fn finish() -> Profile {
    mark(OTHER);
    RECORDER.take().map(Recorder::finish).unwrap_or_default()
}

/// Names what this thread has done since the last operation or mark.
pub fn mark(name: &'static str) {
    record(|recorder| {
        let time = recorder.lap().0 + std::mem::take(&mut recorder.outside);
        let part = recorder.part(name);
        part.calls += 1;
        part.forward += time;
    });
}

/// Names the operation whose node this thread makes next, and its floating-point operations; a multiply-add is two.
///
/// The backward pass counts twice as many, or as many if one argument alone has a gradient; vectors, such as biases, do not
/// count as arguments.
pub fn work(name: &'static str, flops: usize) {
    record(|recorder| recorder.work = Some(Operation { name, flops: Some(flops as u64) }));
}

/// An operation as its node remembers it.
#[derive(Clone, Copy)]
pub(crate) struct Operation {
    /// A name, or that of the type of its backward closure.
    name: &'static str,
    flops: Option<u64>,
}

/// A node has been made whose backward pass is a closure of this type name, with gradients for so many arguments.
pub(crate) fn forward(closure: &'static str, gradients: usize) -> Operation {
    let plain = Operation { name: closure, flops: None };
    record(|recorder| {
        let operation = recorder.work.take().unwrap_or(plain);
        let (time, kept) = recorder.lap();
        let part = Part { calls: 1, forward: time, flops: operation.flops, kept: Some(kept), ..Part::default() };
        recorder.part(operation.name).merge(&part);
        let flops = operation.flops.map(|flops| flops * gradients.min(2) as u64);
        Operation { flops, ..operation }
    })
    .unwrap_or(plain)
}

/// The gradient of an operation has been computed.
pub(crate) fn backward(operation: Operation) {
    record(|recorder| {
        let part = Part { backward: recorder.lap().0, flops: operation.flops, ..Part::default() };
        recorder.part(operation.name).merge(&part);
    });
}

/// Gradients have been added up.
pub(crate) fn gradient_sums() {
    backward(Operation { name: GRADIENT_SUMS, flops: None });
}

/// Gradients have gone through candle's graph.
pub(crate) fn gradients_of_variables() {
    backward(Operation { name: VARIABLES, flops: None });
}

/// An operation begins amid others' work, for the next [`mark`] to name.
pub(crate) fn outside() {
    record(|recorder| {
        let time = recorder.lap().0;
        recorder.outside += time;
    });
}

fn record<R>(event: impl FnOnce(&mut Recorder) -> R) -> Option<R> {
    RECORDER.with_borrow_mut(|recorder| recorder.as_mut().map(event))
}

struct Recorder {
    memory: fn() -> u64,
    begun: Instant,
    /// When the last event was.
    last: Instant,
    /// What was allocated then.
    live: u64,
    /// For the next mark.
    outside: Duration,
    /// For the next node.
    work: Option<Operation>,
    /// By names as they come; functions that are generic have several.
    parts: HashMap<&'static str, Part>,
}

impl Recorder {
    /// Time since the last event, and bytes allocated since less those freed.
    fn lap(&mut self) -> (Duration, i64) {
        let (now, live) = (Instant::now(), (self.memory)());
        let lap = (now - self.last, live.wrapping_sub(self.live).cast_signed());
        (self.last, self.live) = (now, live);
        lap
    }

    fn part(&mut self, name: &'static str) -> &mut Part {
        self.parts.entry(name).or_default()
    }

    fn finish(self) -> Profile {
        let mut parts: BTreeMap<String, Part> = BTreeMap::new();
        for (name, part) in self.parts {
            parts.entry(function(name)).or_default().merge(&part);
        }
        let mut parts: Vec<_> = parts.into_iter().map(|(name, part)| Part { name, ..part }).collect();
        parts.sort_by_key(|part| std::cmp::Reverse(part.time()));
        Profile { wall: self.last - self.begun, parts }
    }
}

/// The function around a closure of this type name, `path::function<arguments>::{{closure}}`; of a closure that wraps
/// another, the function around that. What is called `apply` is named by what it applies, a type argument or else its own
/// type: `apply<path::LeakyRelu, ..>` and `path::LeakyRelu::apply` are both `leaky_relu`. Other names stay as they are.
fn function(closure: &str) -> String {
    let Some((path, _)) = closure.split_once("::{{closure}}") else { return closure.to_string() };
    let (path, arguments) = without_arguments(path);
    let (owner, name) = path.rsplit_once("::").unwrap_or(("", path));
    let argument = arguments.split(',').next().filter(|argument| !argument.is_empty());
    match name {
        "apply" => snake_case(last_segment(argument.unwrap_or(owner))),
        _ => last_segment(name).to_string(),
    }
}

/// `path<arguments>` as `path` and `arguments`.
fn without_arguments(path: &str) -> (&str, &str) {
    let Some(inner) = path.strip_suffix('>') else { return (path, "") };
    let mut depth = 1;
    for (at, c) in inner.char_indices().rev() {
        match c {
            '>' => depth += 1,
            '<' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (&inner[..at], &inner[at + 1..]);
        }
    }
    (path, "")
}

fn last_segment(path: &str) -> &str {
    path.rsplit([':', '<', ' ']).next().unwrap_or(path)
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate as ops;
    use crate::{Activation, Conv2dConfig, Node};
    use candle_core::{Device, Result, Tensor, Var};

    fn variable(shape: &[usize]) -> Var {
        Var::randn(0f32, 1.0, shape, &Device::Cpu).unwrap()
    }

    fn part<'a>(profile: &'a Profile, name: &str) -> &'a Part {
        let find = profile.parts.iter().find(|part| part.name == name);
        find.unwrap_or_else(|| panic!("no `{name}` in {:?}", names(profile)))
    }

    fn names(profile: &Profile) -> Vec<&str> {
        let mut names: Vec<_> = profile.parts.iter().map(|part| part.name.as_str()).collect();
        names.sort_unstable();
        names
    }

    fn backward(y: Node) -> Result<()> {
        let grad = y.value().ones_like()?;
        y.backward(&grad).map(|_| ())
    }

    #[test]
    fn operations_are_named_by_their_functions() -> Result<()> {
        let (x, w) = (variable(&[1, 2, 8, 8]), variable(&[2, 2, 3, 3]));
        let cfg = Conv2dConfig { stride: 1, padding: 1 };
        start(|| 0);
        let y = ops::conv2d(&x, &w, None, cfg)?;
        let y = ops::conv_transpose2d(&y, &w, None, cfg)?;
        let y = ops::instance_norm(y, 1e-5, Activation::Relu)?;
        let y = ops::leaky_relu(&ops::gelu(y)?, 0.2)?;
        let y = ops::depthwise_conv3x3(&ops::tokens_from_image(y)?, &variable(&[2, 1, 3, 3]), None)?;
        backward(ops::linear(y, &variable(&[3, 2]), Some(&variable(&[3])))?)?;
        let expected = [
            "conv2d",
            "conv_transpose2d",
            "depthwise_conv3x3",
            "gelu",
            "gradient_sums",
            "instance_norm",
            "leaky_relu",
            "linear",
            "other",
            "transpose",
        ];
        assert_eq!(names(&finish()), expected);
        Ok(())
    }

    #[test]
    fn parts_add_up_and_the_longest_comes_first() -> Result<()> {
        let x = variable(&[4, 1000]);
        start(|| 0);
        backward(ops::tanh(&ops::gelu(&x)?)?)?;
        mark("candle");
        let profile = finish();
        assert_eq!(profile.parts.iter().map(Part::time).sum::<Duration>(), profile.wall);
        assert!(profile.parts.is_sorted_by(|a, b| a.time() >= b.time()));
        assert!(part(&profile, "gelu").backward > Duration::ZERO);
        assert_eq!(part(&profile, "candle").calls, 1);
        Ok(())
    }

    #[test]
    fn instances_of_a_generic_function_are_one() -> Result<()> {
        let x = variable(&[4, 4]);
        start(|| 0);
        let y = ops::gelu(&x)?;
        ops::gelu(x.as_tensor())?;
        ops::gelu(y)?;
        assert_eq!(part(&finish(), "gelu").calls, 3);
        Ok(())
    }

    #[test]
    fn backward_work_is_that_of_the_arguments_with_a_gradient() -> Result<()> {
        let (x, w, bias) = (variable(&[5, 3]), variable(&[7, 3]), variable(&[7]));
        let of = |x: &Tensor, w: &Tensor| -> Result<Option<u64>> {
            start(|| 0);
            backward(ops::linear(x, w, Some(&bias))?)?;
            Ok(part(&finish(), "linear").flops)
        };
        let forward = 2 * 5 * 3 * 7;
        assert_eq!(of(&x, &w)?, Some(3 * forward));
        assert_eq!(of(&x, &w.detach())?, Some(2 * forward));
        assert_eq!(of(&x.detach(), &w.detach())?, Some(forward));
        Ok(())
    }

    #[test]
    fn what_is_in_candle_counts_once() -> Result<()> {
        let x = variable(&[4, 4]);
        start(|| 0);
        let y = ops::in_candle(&x, |x| ops::gelu(x))?;
        y.sqr()?.sum_all()?.backward()?;
        mark("candle");
        let profile = finish();
        assert_eq!(names(&profile), ["candle", "gelu", "gradient_sums", "other"]);
        let gelu = part(&profile, "gelu");
        assert_eq!(gelu.calls, 1);
        assert!(gelu.backward > Duration::ZERO);
        assert_eq!(profile.parts.iter().map(Part::time).sum::<Duration>(), profile.wall);
        Ok(())
    }

    #[test]
    fn memory_is_what_stays_between_forward_operations() -> Result<()> {
        thread_local! {
            static LIVE: std::cell::Cell<u64> = const { std::cell::Cell::new(1000) };
        }
        let allocate = |bytes: i64| LIVE.set(LIVE.get().wrapping_add_signed(bytes));
        let x = variable(&[4]);
        start(|| LIVE.get());
        allocate(64);
        let y = ops::gelu(&x)?;
        allocate(-16);
        let y = ops::tanh(y)?;
        allocate(-32);
        backward(y)?;
        let profile = finish();
        assert_eq!((part(&profile, "gelu").kept, part(&profile, "tanh").kept), (Some(64), Some(-16)));
        assert_eq!(part(&profile, OTHER).kept, None);
        Ok(())
    }

    #[test]
    fn nothing_is_recorded_unless_asked_for() -> Result<()> {
        ops::gelu(&variable(&[4]))?;
        mark("candle");
        assert_eq!(finish(), Profile::default());
        Ok(())
    }

    #[test]
    fn names_are_found_in_type_names() {
        for (closure, name) in [
            ("a::m::f::{{closure}}", "f"),
            ("a::m::f<&a::T, alloc::vec::Vec<u8>>::{{closure}}", "f"),
            ("a::Operands::node<a::linear<&a::Node>::{{closure}}>::{{closure}}", "linear"),
            ("a::apply<a::LeakyRelu, &a::Node>::{{closure}}", "leaky_relu"),
            ("a::BatchNorm::apply::{{closure}}", "batch_norm"),
            ("losses", "losses"),
        ] {
            assert_eq!(function(closure), name, "{closure}");
        }
    }
}
