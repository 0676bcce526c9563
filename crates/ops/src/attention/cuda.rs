//! Attention on a GPU.

use crate::kernels::ATTENTION;
use crate::sums::cuda::row_sums;
use candle_core::{DType, Result, Tensor};
use colormamba_cuda::{DeviceMemory, Launch};

// As the kernels have them.
const WARP: usize = 32;
const TILE: usize = 16;
const ROWS: usize = 16;
const THREADS: u32 = 256;

/// So many blocks keep a GPU busy; where lanes make fewer, the other side is cut into parts.
const BLOCKS: usize = if cfg!(feature = "emulation") { 128 } else { 2048 };
/// Few warps under emulation, where they are dear, so that results are of several blocks.
const WARPS: usize = if cfg!(feature = "emulation") { 2 } else { 5 };
/// A grid's limit along y.
const PLANES: usize = 65535;

/// Groups of queries and keys that attend to each other: arrays are `(groups / lines, rows, lines, places)`.
#[derive(Clone, Copy)]
pub(crate) struct Groups {
    pub groups: usize,
    pub lines: usize,
    /// Rows of the queries; of the keys, one more with a bias; of the values.
    pub d: usize,
    pub key_rows: usize,
    pub e: usize,
    /// Queries and keys of a group.
    pub nq: usize,
    pub nk: usize,
    /// Whether a query does not attend to the key of its own place.
    pub is_apart: bool,
}

/// How a launch is cut: blocks of lanes, parts of the other side, blocks of rows.
struct Cut {
    blocks: [usize; 3],
    warps: usize,
    /// Places of a part.
    part: usize,
}

impl Groups {
    fn sizes(self) -> [usize; 7] {
        [self.groups, self.lines, self.d, self.key_rows, self.e, self.nq, self.nk]
    }

    /// For lanes of `n` places, results of `row_blocks` times `ROWS` rows, and work for `warps` in each tile.
    fn cut(self, dtype: DType, (n, others): (usize, usize), row_blocks: usize, warps: usize) -> Cut {
        let lanes = WARP * if dtype == DType::F64 { 2 } else { 4 };
        let warps = warps.clamp(1, WARPS);
        let (x, z) = (self.groups * n.div_ceil(lanes), row_blocks.div_ceil(warps));
        let tiles = others.div_ceil(TILE);
        let parts = BLOCKS.div_ceil((x * z).max(1)).clamp(1, tiles.div_ceil(4));
        let part = tiles.div_ceil(parts) * TILE;
        Cut { blocks: [x, others.div_ceil(part), z], warps, part }
    }

    /// The attention, and of each query the largest energy and one over the sum of exponentials.
    pub fn attend(self, [q, k, v]: [&Tensor; 3]) -> Result<(Tensor, Tensor)> {
        let cut = self.cut_forward(q.dtype());
        let parts = cut.blocks[1];
        let [mut y, mut stats] = self.part_buffers(q, parts)?;
        self.attend_cut([q, k, v], [&mut y, &mut stats], cut, [0, usize::from(parts == 1)])?;
        if parts > 1 {
            return self.merge(q.dtype(), &self.tensor(y, parts)?, &self.tensor(stats, parts)?, parts);
        }
        Ok((self.tensor(y, 1)?.to_dtype(q.dtype())?, self.tensor(stats, 1)?))
    }

    fn tensor(self, buffer: DeviceMemory, parts: usize) -> Result<Tensor> {
        let n = buffer.elements();
        buffer.tensor((parts, n / parts))
    }

    /// Results and statistics of `parts`.
    pub fn part_buffers(self, like: &Tensor, parts: usize) -> Result<[DeviceMemory; 2]> {
        let queries = parts * self.groups * self.nq;
        Ok([DeviceMemory::statistics(like, queries * self.e)?, DeviceMemory::statistics(like, queries * 2)?])
    }

    fn cut_forward(self, dtype: DType) -> Cut {
        let row_blocks = self.e.div_ceil(ROWS);
        self.cut(dtype, (self.nq, self.nk), row_blocks, row_blocks)
    }

    /// Sums with unscaled weights, the largest energies and the weights' sums, of all keys in one part: the one of this index.
    pub fn attend_part(self, arguments: [&Tensor; 3], out: [&mut DeviceMemory; 2], part: usize) -> Result<()> {
        let mut cut = self.cut_forward(arguments[0].dtype());
        cut.part = self.nk.next_multiple_of(TILE);
        cut.blocks[1] = 1;
        self.attend_cut(arguments, out, cut, [part, 0])
    }

    /// `last` is the index of the first part, and whether a single part is the whole.
    fn attend_cut(
        self,
        arguments: [&Tensor; 3],
        out: [&mut DeviceMemory; 2],
        cut: Cut,
        last: [usize; 2],
    ) -> Result<()> {
        let q = arguments[0];
        let width = WARP * if q.dtype() == DType::F64 { 2 } else { 4 };
        let shared = (self.key_rows + cut.warps * ROWS + width) * TILE;
        let launch = Launch::new(&ATTENTION, "attend", q).blocks(cut.blocks, (WARP * cut.warps) as u32);
        let launch = arguments.into_iter().fold(launch.shared(shared * bytes_of_wide(q)), Launch::input);
        let launch = out.into_iter().fold(launch, Launch::output);
        launch.sizes(self.sizes()).size(cut.part).sizes(last).size(usize::from(self.is_apart)).run()
    }

    /// One softmax of all parts.
    pub fn merge(self, dtype: DType, parts: &Tensor, stats: &Tensor, count: usize) -> Result<(Tensor, Tensor)> {
        let (images, plane) = (self.groups / self.lines, self.lines * self.nq);
        let mut y = DeviceMemory::new(parts, dtype, images * self.e * plane)?;
        let mut merged = DeviceMemory::statistics(parts, images * 2 * plane)?;
        let blocks = [(images * plane).div_ceil(THREADS as usize), self.e.min(PLANES), 1];
        let launch = Launch::of_type(&ATTENTION, "merge_attention", parts, dtype).blocks(blocks, THREADS);
        let launch = launch.input(parts).input(stats).output(&mut y).output(&mut merged);
        launch.sizes([count, images, self.e, plane]).run()?;
        Ok((self.tensor(y, 1)?, self.tensor(merged, 1)?))
    }

    /// For each query the product of the result and its gradient.
    pub fn delta(self, y: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let (images, plane) = (self.groups / self.lines, self.lines * self.nq);
        let mut delta = DeviceMemory::statistics(y, images * plane)?;
        let launch = Launch::new(&ATTENTION, "attention_delta", y).over(images * plane, THREADS);
        launch.input(y).input(grad).output(&mut delta).sizes([images, self.e, plane]).run()?;
        delta.tensor((images, plane))
    }

    /// The gradient of the queries, from queries, keys, values, the result's gradient, statistics and delta; of the type of
    /// statistics and of no particular shape.
    pub fn query_gradient(self, arguments: [&Tensor; 6]) -> Result<Tensor> {
        let row_blocks = self.d.div_ceil(ROWS);
        let cut = self.cut(arguments[0].dtype(), (self.nq, self.nk), row_blocks, self.warps(row_blocks));
        let mut out = DeviceMemory::statistics(arguments[0], cut.blocks[1] * self.groups * self.d * self.nq)?;
        self.gradient("query_gradient", arguments, &cut, [Some(&mut out), None])?;
        self.sum_of_parts(out, &cut)
    }

    /// The gradients of keys and values.
    pub fn key_gradients(self, arguments: [&Tensor; 6]) -> Result<[Tensor; 2]> {
        let row_blocks = self.key_rows.div_ceil(ROWS) + self.e.div_ceil(ROWS);
        let cut = self.cut(arguments[0].dtype(), (self.nk, self.nq), row_blocks, self.warps(row_blocks));
        let places = cut.blocks[1] * self.groups * self.nk;
        let mut of_keys = DeviceMemory::statistics(arguments[0], places * self.key_rows)?;
        let mut of_values = DeviceMemory::statistics(arguments[0], places * self.e)?;
        self.gradient("key_gradient", arguments, &cut, [Some(&mut of_keys), Some(&mut of_values)])?;
        Ok([self.sum_of_parts(of_keys, &cut)?, self.sum_of_parts(of_values, &cut)?])
    }

    /// Warps that help with energies and slopes even where there are fewer rows to add up.
    fn warps(self, row_blocks: usize) -> usize {
        row_blocks.max(((self.d + self.e) / ROWS).min(TILE / 4))
    }

    fn gradient(
        self,
        kernel: &'static str,
        arguments: [&Tensor; 6],
        cut: &Cut,
        [of_energies, of_values]: [Option<&mut DeviceMemory>; 2],
    ) -> Result<()> {
        let width = WARP * if arguments[0].dtype() == DType::F64 { 2 } else { 4 };
        let rows = self.key_rows.next_multiple_of(ROWS) + self.e.next_multiple_of(ROWS);
        // Weights and slopes, of queries in the same place.
        let held = width * if of_values.is_some() { 2 } else { 1 };
        let shared = (rows + 2 + held) * TILE * bytes_of_wide(arguments[0]);
        let launch = Launch::new(&ATTENTION, kernel, arguments[0]).blocks(cut.blocks, (WARP * cut.warps) as u32);
        let launch = arguments.into_iter().fold(launch.shared(shared), Launch::input);
        let launch = launch.maybe_output(of_energies).maybe_output(of_values);
        launch.sizes(self.sizes()).sizes([cut.part, usize::from(self.is_apart)]).run()
    }

    fn sum_of_parts(self, parts: DeviceMemory, cut: &Cut) -> Result<Tensor> {
        let parts = self.tensor(parts, cut.blocks[1])?;
        if cut.blocks[1] == 1 { Ok(parts) } else { row_sums(&parts, parts.dims()[1]) }
    }
}

fn bytes_of_wide(x: &Tensor) -> usize {
    if x.dtype() == DType::F64 { 8 } else { 4 }
}
