//! How the memory-bound kernels run: fixed chunks over rayon, each vectorised, and functions element by element.

use crate::memory::buffer;
use candle_core::{Result, Tensor};
use colormamba_cpu::{Real, tensor, vectorize, with_slices};
use colormamba_cuda::applies;
use rayon::prelude::*;
use std::ops::Range;

/// Elements per task: large beside a task's cost, small enough that its operands stay in the first-level caches.
pub(crate) const CHUNK: usize = 1 << 14;

/// A vector of `n` elements, filled in parallel by `f(offset, chunk)` in chunks of `chunk` elements.
pub(crate) fn fill_chunks<T: Real>(n: usize, chunk: usize, f: impl Fn(usize, &mut [T]) + Sync) -> Vec<T> {
    let mut out = buffer(n);
    write_chunks(&mut out, chunk, f);
    out
}

/// [`fill_chunks`] of memory that is there.
pub(crate) fn write_chunks<T: Real>(out: &mut [T], chunk: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    let run = |(i, part): (usize, &mut [T])| {
        vectorize(
            #[inline(always)]
            || f(i * chunk, part),
        )
    };
    if out.len() > chunk && chunk > 0 {
        out.par_chunks_mut(chunk).enumerate().for_each(run);
    } else if !out.is_empty() {
        run((0, out));
    }
}

/// How many rows of `row` elements make a task.
pub(crate) fn rows_per_chunk(row: usize) -> usize {
    (CHUNK / row.max(1)).max(1)
}

/// A vector of `n` elements in rows of `row`, filled in parallel by `f(offset, row)`.
pub(crate) fn fill_rows<T: Real>(n: usize, row: usize, f: impl Fn(usize, &mut [T]) + Sync) -> Vec<T> {
    fill_chunks(
        n,
        rows_per_chunk(row) * row,
        #[inline(always)]
        |start, part| {
            for (i, out) in part.chunks_exact_mut(row).enumerate() {
                f(start + i * row, out);
            }
        },
    )
}

/// `f(step, range)` for all `rows` and, for each, all `steps` in order. Parts of [`BLOCK`] elements take turns, each a step
/// behind the one before it: the processor has another part to go on with while one waits for memory, or for a sum.
#[inline(always)]
pub(crate) fn staggered(rows: usize, row: usize, steps: usize, mut f: impl FnMut(usize, Range<usize>)) {
    let size = (BLOCK / row.max(1)).max(1);
    let parts = rows.div_ceil(size);
    for turn in 0..parts + steps - 1 {
        for step in 0..steps {
            let part = turn.wrapping_sub(step);
            if part < parts {
                f(step, part * size..((part + 1) * size).min(rows));
            }
        }
    }
}

/// A vector of `n` elements in rows of `row`, filled in parallel by `f(offset, row)`, and what that returns for each row.
pub(crate) fn fill_rows_with<T: Real, S: Copy + Default + Send>(
    n: usize,
    row: usize,
    f: impl Fn(usize, &mut [T]) -> S + Sync,
) -> (Vec<T>, Vec<S>) {
    let mut out = buffer(n);
    if n == 0 {
        return (out, Vec::new());
    }
    let mut notes = vec![S::default(); n / row];
    let rows = rows_per_chunk(row);
    let run = |(i, (out, notes)): (usize, (&mut [T], &mut [S]))| {
        vectorize(
            #[inline(always)]
            || {
                for (j, (out, note)) in out.chunks_exact_mut(row).zip(notes).enumerate() {
                    *note = f((i * rows + j) * row, out);
                }
            },
        )
    };
    out.par_chunks_mut(rows * row).zip(notes.par_chunks_mut(rows)).enumerate().for_each(run);
    (out, notes)
}

/// Joins what `f` makes of the pieces of `0..n`, which are [`CHUNK`] long, in their order; in parallel if there are
/// several.
pub(crate) fn over_pieces<R: Default + Send>(
    n: usize,
    f: impl Fn(Range<usize>) -> R + Sync,
    join: impl Fn(R, R) -> R,
) -> R {
    let run = |start: usize| {
        vectorize(
            #[inline(always)]
            || f(start..(start + CHUNK).min(n)),
        )
    };
    if n <= CHUNK {
        return if n > 0 { run(0) } else { R::default() };
    }
    let pieces: Vec<R> = (0..n.div_ceil(CHUNK)).into_par_iter().map(|i| run(i * CHUNK)).collect();
    pieces.into_iter().reduce(join).unwrap_or_default()
}

/// Elements that are summed in `T`: their rounding does not grow with the length of the whole.
const BLOCK: usize = 512;

/// The sum of `f` over pairs of elements: in blocks, whose sums are added in f64; fixed order.
#[inline(always)]
pub(crate) fn sum<T: Real>(a: &[T], b: &[T], f: impl Fn(T, T) -> T) -> f64 {
    let mut sum = 0.0;
    for (a, b) in a.chunks(BLOCK).zip(b.chunks(BLOCK)) {
        sum += sum_block(a, b, &f);
    }
    sum
}

/// Both sums of `f`, as [`sum`]; one after the other in each block, since loops with two sums are not vectorised.
#[inline(always)]
pub(crate) fn sum_pairs<T: Real>(a: &[T], b: &[T], f: impl Fn(T, T) -> (T, T)) -> (f64, f64) {
    let (mut p, mut q) = (0.0, 0.0);
    for (a, b) in a.chunks(BLOCK).zip(b.chunks(BLOCK)) {
        p += sum_block(
            a,
            b,
            #[inline(always)]
            |a, b| f(a, b).0,
        );
        q += sum_block(
            a,
            b,
            #[inline(always)]
            |a, b| f(a, b).1,
        );
    }
    (p, q)
}

#[inline(always)]
fn sum_block<T: Real>(a: &[T], b: &[T], f: impl Fn(T, T) -> T) -> f64 {
    let ((a_blocks, a_rest), (b_blocks, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let rest = sum_short(a_rest, b_rest, &f);
    if a_blocks.is_empty() {
        return rest.wide();
    }
    let mut lanes = [T::ZERO; LANES];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            lanes[lane] += f(a[lane], b[lane]);
        }
    }
    (join_lanes(lanes, T::add) + rest).wide()
}

/// The sum over less than [`LANES`] pairs.
#[inline(always)]
fn sum_short<T: Real>(a: &[T], b: &[T], f: &impl Fn(T, T) -> T) -> T {
    let mut lanes = [T::ZERO; 8];
    let ((a_blocks, a_rest), (b_blocks, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..8 {
            lanes[lane] += f(a[lane], b[lane]);
        }
    }
    let mut rest = T::ZERO;
    for (&a, &b) in a_rest.iter().zip(b_rest) {
        rest += f(a, b);
    }
    for lane in 0..4 {
        lanes[lane] += lanes[lane + 4];
    }
    (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]) + rest
}

/// How many results a reduction gathers side by side: two of the widest registers.
pub(crate) const LANES: usize = 32;

/// All lanes joined by `f`, by halves: five steps rather than 31.
///
/// Behind a black box the lanes lie side by side in memory. That makes the compiler choose vectors as wide as can be for what
/// comes before it; it would choose them for the last halves here, of two elements.
#[inline(always)]
pub(crate) fn join_lanes<T: Real>(lanes: [T; LANES], f: impl Fn(T, T) -> T) -> T {
    let lanes = std::hint::black_box(lanes);
    let (mut eight, mut four) = ([T::ZERO; 8], [T::ZERO; 4]);
    for i in 0..8 {
        eight[i] = f(f(lanes[i], lanes[i + 16]), f(lanes[i + 8], lanes[i + 24]));
    }
    let eight = std::hint::black_box(eight);
    for i in 0..4 {
        four[i] = f(eight[i], eight[i + 4]);
    }
    f(f(four[0], four[2]), f(four[1], four[3]))
}

/// Adds `partials` (each as long as `total`) in order, in f64.
pub(crate) fn add_up<T: Real>(partials: &[Vec<T>], total: &mut [T]) {
    vectorize(
        #[inline(always)]
        || {
            let mut sums = vec![0.0; total.len()];
            for partial in partials {
                for (sum, x) in sums.iter_mut().zip(partial) {
                    *sum += x.wide();
                }
            }
            for (total, sum) in total.iter_mut().zip(sums) {
                *total = T::of(sum);
            }
        },
    );
}

/// A function of two elements, with a kernel of its name; implementations are `#[inline(always)]`.
pub(crate) trait Binary {
    const NAME: &'static str;
    fn eval<T: Real>(a: T, b: T) -> T;
}

/// `K` element by element, on contiguous tensors of the same shape.
pub(crate) fn zip2<K: Binary>(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if applies(a) {
        return cuda::zip(K::NAME, &[a, b]);
    }
    let shape = a.shape();
    with_slices!(K::NAME, [a, b], T => {
        let out = fill_chunks(a.len(), CHUNK, #[inline(always)] |start, out| {
            let n = out.len();
            let (a, b) = (&a[start..start + n], &b[start..start + n]);
            for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
                *out = K::eval::<T>(a, b);
            }
        });
        Ok(tensor(out, shape))
    })
}

/// A function of three elements, with a kernel of its name; implementations are `#[inline(always)]`.
pub(crate) trait Ternary {
    const NAME: &'static str;
    fn eval<T: Real>(a: T, b: T, c: T) -> T;
}

/// `K` element by element, on contiguous tensors of the same shape.
pub(crate) fn zip3<K: Ternary>(a: &Tensor, b: &Tensor, c: &Tensor) -> Result<Tensor> {
    if applies(a) {
        return cuda::zip(K::NAME, &[a, b, c]);
    }
    let shape = a.shape();
    with_slices!(K::NAME, [a, b, c], T => {
        let out = fill_chunks(a.len(), CHUNK, #[inline(always)] |start, out| {
            let n = out.len();
            let (a, b, c) = (&a[start..start + n], &b[start..start + n], &c[start..start + n]);
            for (((out, &a), &b), &c) in out.iter_mut().zip(a).zip(b).zip(c) {
                *out = K::eval::<T>(a, b, c);
            }
        });
        Ok(tensor(out, shape))
    })
}

pub(crate) mod cuda {
    use crate::kernels::POINTWISE;
    use candle_core::{Result, Tensor};
    use colormamba_cuda::{DeviceMemory, Kernels, Launch};

    const THREADS: u32 = 256;
    /// Elements for each thread: several loads are under way at once.
    const EACH: usize = 4;

    /// A kernel of `pointwise.cu` over all elements of `x`.
    pub(crate) fn over<'a>(kernel: &'static str, x: &Tensor) -> Launch<'a> {
        over_elements(&POINTWISE, kernel, x, x.elem_count())
    }

    /// A kernel over `n` elements, of the type of `x`.
    pub(crate) fn over_elements<'a>(
        kernels: &'static Kernels,
        kernel: &'static str,
        x: &Tensor,
        n: usize,
    ) -> Launch<'a> {
        Launch::new(kernels, kernel, x).over(n.div_ceil(EACH), THREADS)
    }

    pub(super) fn zip(kernel: &'static str, operands: &[&Tensor]) -> Result<Tensor> {
        let first = operands[0];
        let mut y = DeviceMemory::like(first)?;
        let launch = operands.iter().fold(over(kernel, first), |launch, operand| launch.input(operand));
        launch.output(&mut y).size(first.elem_count()).run()?;
        y.tensor(first.shape())
    }
}
