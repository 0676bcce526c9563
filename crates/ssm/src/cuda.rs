//! Scans by CUDA kernels.

use crate::kernels::SCAN;
use crate::layout::Groups;
use candle_core::{DType, Result, Tensor};
use colormamba_cuda::{DeviceMemory, Launch};
use colormamba_ops::{Node, OpError};

/// States of a thread.
const STATES: usize = 4;

/// Blocks that fill a GPU: two for each multiprocessor of the largest.
const FILLING: usize = 264;

/// Shared memory that a block may use, so that one of every GPU has room for at least one, and most for two.
const MOST_SHARED: usize = 96 << 10;

/// The most states and ranks.
const LIMITS: (usize, usize) = (64, 128);

/// The sequences: K directions over a map of this size, or K rows of `width` steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sequences {
    pub op: &'static str,
    pub batch: usize,
    pub height: usize,
    pub width: usize,
    pub groups: Groups,
    pub map: bool,
}

/// How the kernels go through the sequences.
#[derive(Clone, Copy, Debug)]
struct Plan {
    sequences: Sequences,
    /// Bytes of an element, and of what it is computed as.
    bytes: [usize; 2],
    /// Threads of a block, and of a channel in it.
    threads: usize,
    of_channel: usize,
    /// Steps of a chunk.
    steps: usize,
}

/// Scans nodes: x, projections and parameters of a map, or u, delta, b, c and parameters of rows.
pub(crate) fn scan<const N: usize>(sequences: Sequences, nodes: [Node; N]) -> Result<Node> {
    let plan = Plan::new(sequences, nodes.each_ref().map(Node::value))?;
    let tracked = nodes.each_ref().map(Node::is_tracked);
    let args = nodes.each_ref().map(|node| node.value().clone());
    let (y, kept) = plan.forward(&args, tracked.contains(&true))?;
    Node::new(y, nodes.each_ref(), move |dy| {
        let Some(kept) = kept else { candle_core::bail!("{}: a gradient that nothing asked for", plan.sequences.op) };
        let mut grads = plan.backward(&args, &kept, dy)?.into_iter().zip(tracked);
        Ok(std::array::from_fn(|_| grads.next().and_then(|(grad, tracked)| tracked.then_some(grad))))
    })
}

/// The pointers of a kernel's inputs.
fn inputs<'a>(launch: Launch<'a>, args: &'a [Tensor]) -> Launch<'a> {
    match args {
        [x, projected, parameters] => {
            launch.input(x).input(projected).maybe(None).maybe(None).maybe(None).input(parameters)
        }
        [u, delta, b, c, parameters] => launch.input(u).maybe(None).input(delta).input(b).input(c).input(parameters),
        _ => launch,
    }
}

impl Plan {
    fn new<const N: usize>(sequences: Sequences, args: [&Tensor; N]) -> Result<Self> {
        let Sequences { op, groups, .. } = sequences;
        if groups.states > LIMITS.0 || groups.rank > LIMITS.1 {
            let (states, ranks) = LIMITS;
            let message = format!("CUDA kernels take up to {states} states and {ranks} low-rank step sizes");
            return Err(OpError::argument(op, format!("{message}, not {} and {}", groups.states, groups.rank)));
        }
        let (x, last) = (args[0], args[N - 1]);
        let dtype = if x.dtype() == DType::BF16 { DType::F32 } else { x.dtype() };
        let wrong = args[..N - 1].iter().find(|arg| arg.dtype() != x.dtype()).copied();
        if let Some(wrong) = wrong.or((last.dtype() != dtype).then_some(last)) {
            return Err(OpError::argument(op, format!("{:?} beside {:?}", wrong.dtype(), x.dtype())));
        }
        let emulated = x.device().is_cpu();
        let mut plan = Self {
            sequences,
            bytes: [x.dtype(), dtype].map(|dtype| dtype.size_in_bytes()),
            threads: if emulated { 64 } else { 128 },
            of_channel: if groups.states <= 16 { 4 } else { 16 },
            // More chunks in less time where steps are dear.
            steps: if emulated { 16 } else { 32 },
        };
        while plan.steps > 8 && plan.shared(true) > MOST_SHARED {
            plan.steps /= 2;
        }
        Ok(plan)
    }

    fn length(&self) -> usize {
        self.sequences.height * self.sequences.width
    }

    fn chunks(&self) -> usize {
        self.length().div_ceil(self.steps)
    }

    /// Channels of a block.
    fn channels(&self) -> usize {
        self.threads / self.of_channel
    }

    fn tiles(&self) -> usize {
        self.sequences.groups.channels.div_ceil(self.channels())
    }

    /// Sequences of all images.
    fn count(&self) -> usize {
        self.sequences.batch * self.sequences.groups.count
    }

    fn blocks(&self) -> usize {
        self.count() * self.tiles()
    }

    /// Chunks of a part of a sequence: all, unless there are too few blocks by far.
    fn chunks_of_part(&self) -> usize {
        let parts = (self.chunks() / 2).min(FILLING / self.blocks());
        // Two parts take as long as one, as they compute twice as much.
        if parts < 4 { self.chunks() } else { self.chunks().div_ceil(parts) }
    }

    /// What the kernels take of shared memory, in their order.
    fn shared(&self, backward: bool) -> usize {
        let Self { bytes: [narrow, wide], threads, steps, .. } = *self;
        let Groups { rank, states, .. } = self.sequences.groups;
        let (channels, padded) = (self.channels(), STATES * self.of_channel);
        let mapped = if self.sequences.map { steps } else { 0 };
        let columns = (rank + 2 * states).next_multiple_of(16 / narrow);
        let dy = if backward { mapped * channels } else { 0 };
        let weights = channels * (rank | 1) * wide;
        let raw = [mapped * channels * narrow, dy * narrow, mapped * columns * narrow, mapped * size_of::<u32>()];
        let both = [weights, channels * wide, channels * wide, steps * padded * wide, steps * padded * wide];
        let own = 32 / wide;
        let rest = if backward {
            let weight_shares = own * (threads / 32) * 2 * padded;
            let [inputs, checkpoints, shares] =
                [4 * steps * (channels + 1), 4 * steps / own * threads, 2 * own * threads];
            let [draws, skips] = [steps * channels; 2];
            vec![
                inputs * wide,
                checkpoints * wide,
                shares * wide,
                weight_shares * wide,
                draws * wide,
                skips * wide,
                weights,
            ]
        } else {
            vec![2 * steps * (channels + 1) * wide, steps * threads * wide]
        };
        raw.iter().chain(&raw).chain(&both).chain(&rest).map(|bytes| bytes.next_multiple_of(16)).sum()
    }

    fn sizes<'a>(&self, launch: Launch<'a>, chunks_of_part: usize, shared: usize) -> Launch<'a> {
        let Sequences { batch, height, width, map, .. } = self.sequences;
        let Groups { count, channels, rank, states } = self.sequences.groups;
        launch
            .sizes([batch, count, channels, rank, states, height, width])
            .sizes([usize::from(map), self.steps, chunks_of_part, shared])
            .shared(shared)
    }

    fn kernel(&self, names: [&'static str; 2]) -> &'static str {
        names[usize::from(self.of_channel > 4)]
    }

    /// The output, and if wanted the states before each chunk.
    fn forward(&self, args: &[Tensor], keep: bool) -> Result<(Tensor, Option<Tensor>)> {
        let x = &args[0];
        let Groups { channels, states, .. } = self.sequences.groups;
        let starts = self.starts(args)?;
        let mut y = DeviceMemory::statistics(x, self.parts() * x.elem_count())?;
        let room = self.count() * self.chunks() * channels * states;
        let mut kept = if keep { Some(DeviceMemory::statistics(x, room)?) } else { None };
        let chunks_of_part = self.chunks_of_part();
        let blocks = [self.blocks(), self.chunks().div_ceil(chunks_of_part), 1];
        let launch = Launch::new(&SCAN, self.kernel(["scan_forward", "scan_forward_wide"]), x);
        let launch = inputs(launch.blocks(blocks, self.threads as u32), args).maybe(starts.as_ref());
        let launch = launch.output(&mut y).maybe_output(kept.as_mut()).maybe_output(None).maybe_output(None);
        self.sizes(launch, chunks_of_part, self.shared(false)).run()?;
        let kept = kept.map(|kept| kept.tensor(room)).transpose()?;
        Ok((added(x, y, self.parts(), x)?, kept))
    }

    /// Parts of the output: the directions of a map.
    fn parts(&self) -> usize {
        if self.sequences.map { self.sequences.groups.count } else { 1 }
    }

    /// The states before each part, if there are several.
    fn starts(&self, args: &[Tensor]) -> Result<Option<Tensor>> {
        let (x, chunks_of_part) = (&args[0], self.chunks_of_part());
        let parts = self.chunks().div_ceil(chunks_of_part);
        if parts == 1 {
            return Ok(None);
        }
        let Groups { count, channels, rank, states } = self.sequences.groups;
        let rows = self.count() * parts * channels;
        let (mut ends, mut sums) = (DeviceMemory::statistics(x, rows * states)?, DeviceMemory::statistics(x, rows)?);
        // Nothing follows the last part.
        let blocks = [self.blocks(), parts - 1, 1];
        let launch = Launch::new(&SCAN, self.kernel(["scan_ends", "scan_ends_wide"]), x);
        let launch = inputs(launch.blocks(blocks, self.threads as u32), args).maybe(None);
        let launch = launch.maybe_output(None).maybe_output(None).output(&mut ends).output(&mut sums);
        self.sizes(launch, chunks_of_part, self.shared(false)).run()?;
        let (ends, sums) = (ends.tensor(rows * states)?, sums.tensor(rows)?);
        let mut starts = DeviceMemory::statistics(x, rows * states)?;
        Launch::new(&SCAN, "scan_chain", x)
            .over(self.count() * channels * states, 256)
            .input(&args[args.len() - 1])
            .input(&ends)
            .input(&sums)
            .output(&mut starts)
            .sizes([self.count(), count, channels, rank, states, parts])
            .run()?;
        Ok(Some(starts.tensor(rows * states)?))
    }

    /// The gradients of the arguments.
    fn backward(&self, args: &[Tensor], kept: &Tensor, dy: &Tensor) -> Result<Vec<Tensor>> {
        let (x, parameters, dy) = (&args[0], &args[args.len() - 1], dy.contiguous()?);
        let (map, tiles, batch) = (self.sequences.map, self.tiles(), self.sequences.batch);
        let buffer = |elements: usize| DeviceMemory::statistics(x, elements);
        let mut dx = buffer(self.parts() * x.elem_count())?;
        let mut dparameters = buffer(batch * parameters.elem_count())?;
        // Of the projections; or of delta, b and c.
        let weights = &args[args.len() - 2];
        let mut dweights = buffer(tiles * weights.elem_count())?;
        let (mut ddelta, mut db) = (None, None);
        if !map {
            ddelta = Some(buffer(x.elem_count())?);
            db = Some(buffer(tiles * weights.elem_count())?);
        }
        let launch = Launch::new(&SCAN, self.kernel(["scan_backward", "scan_backward_wide"]), x);
        let launch = inputs(launch.blocks([self.blocks(), 1, 1], self.threads as u32), args).input(kept).input(&dy);
        let launch = launch.output(&mut dx);
        let launch = if map {
            launch.output(&mut dweights).maybe_output(None).maybe_output(None).maybe_output(None)
        } else {
            launch.maybe_output(None).maybe_output(ddelta.as_mut()).maybe_output(db.as_mut()).output(&mut dweights)
        };
        self.sizes(launch.output(&mut dparameters), self.chunks(), self.shared(true)).run()?;
        let mut grads = vec![added(x, dx, self.parts(), x)?];
        if let Some(ddelta) = ddelta {
            grads.push(added(x, ddelta, 1, x)?);
        }
        if let Some(db) = db {
            grads.push(added(x, db, tiles, weights)?);
        }
        grads.push(added(x, dweights, tiles, weights)?);
        grads.push(added(parameters, dparameters, batch, parameters)?);
        Ok(grads)
    }
}

/// The sum of `count` parts, of the type of `like` and the shape of `shape`.
fn added(like: &Tensor, parts: DeviceMemory, count: usize, shape: &Tensor) -> Result<Tensor> {
    let elements = shape.elem_count();
    let parts = parts.tensor(count * elements)?;
    if count == 1 && parts.dtype() == like.dtype() {
        return parts.reshape(shape.shape());
    }
    let mut sum = DeviceMemory::new(like, like.dtype(), elements)?;
    let launch = Launch::new(&SCAN, "add_parts", like).over(elements.div_ceil(4), 256);
    launch.input(&parts).output(&mut sum).size(count).size(elements).run()?;
    sum.tensor(shape.shape())
}
