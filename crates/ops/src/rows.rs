//! What kernels over the rows of a matrix share.

pub(crate) mod cuda {
    use crate::kernels::ROWS;
    use candle_core::{Result, Tensor};
    use colormamba_cuda::{Buffer, Launch};

    const THREADS: u32 = 128;
    /// Chunks of rows that a column's sum is made of: enough to fill a card where there are few columns.
    const CHUNKS: usize = 256;
    const LEAST_ROWS: usize = 32;

    /// The sums over rows of x · grad and, if wanted, of grad, `(row)` each, of the type that statistics have. With
    /// `stats` `(rows, 2)`, means and 1/std, x is normalised first.
    pub(crate) fn column_sums(
        x: &Tensor,
        grad: &Tensor,
        stats: Option<&Tensor>,
        row: usize,
        with_sums: bool,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let rows = x.elem_count() / row.max(1);
        let each = rows.div_ceil(CHUNKS).max(LEAST_ROWS);
        let chunks = rows.div_ceil(each).max(1);
        let mut products = Buffer::statistics(x, chunks * row)?;
        let mut sums = with_sums.then(|| Buffer::statistics(x, chunks * row)).transpose()?;
        let launch = Launch::new(&ROWS, "column_sums", x);
        let launch = launch.blocks([row.div_ceil(THREADS as usize), chunks, 1], THREADS);
        let launch = launch.input(x).input(grad).maybe(stats).output(&mut products).maybe_output(sums.as_mut());
        launch.sizes([rows, row, each]).run()?;
        let total = |partial: Buffer| partial.tensor((chunks, row))?.sum(0);
        Ok((total(products)?, sums.map(total).transpose()?))
    }
}
