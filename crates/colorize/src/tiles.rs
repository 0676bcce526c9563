//! An image in pieces that overlap.

use crate::options::Tiles;
use crate::plane::Plane;

/// A piece of an axis: its first pixel, and the share of each of its pixels in the result. The shares of all pieces sum
/// to 1 at every pixel of the axis.
#[derive(Debug)]
struct Piece {
    start: usize,
    shares: Vec<f32>,
}

/// `n` pixels as pieces of `side`, of which neighbours share `overlap` at least; as one piece if they are no more.
fn pieces(n: usize, side: usize, overlap: usize) -> Vec<Piece> {
    let length = side.min(n);
    let mut starts: Vec<usize> = (0..n.saturating_sub(side)).step_by(side - overlap).collect();
    starts.push(n - length);
    // A ramp as long as the overlap at each end, and never 0.
    let ramp = |i: usize| (i + 1).min(length - i).min(overlap + 1) as f32;
    let mut sums = vec![0.0; n];
    for start in &starts {
        (0..length).for_each(|i| sums[start + i] += ramp(i));
    }
    let piece = |start: usize| Piece { start, shares: (0..length).map(|i| ramp(i) / sums[start + i]).collect() };
    starts.into_iter().map(piece).collect()
}

/// What `f` makes of an image, three planes of its size, piece by piece. `f` gets images whose sides are multiples of
/// `grid`: pieces that are not are continued to the right and below by reflection, and the result is cut.
pub(crate) fn tiled<E>(
    image: &Plane,
    tiles: Tiles,
    grid: usize,
    mut f: impl FnMut(&Plane) -> Result<Vec<f32>, E>,
) -> Result<Vec<f32>, E> {
    let side = tiles.side.next_multiple_of(grid);
    let (columns, rows) = (pieces(image.width, side, tiles.overlap), pieces(image.height, side, tiles.overlap));
    let area = image.width * image.height;
    let mut out = vec![0.0; 3 * area];
    for row in &rows {
        for column in &columns {
            let piece = cut(image, (column, row), grid);
            let colours = f(&piece)?;
            for (out, colours) in out.chunks_exact_mut(area).zip(colours.chunks_exact(piece.width * piece.height)) {
                add(out, image.width, (column, row), colours, piece.width);
            }
        }
    }
    Ok(out)
}

/// A piece, continued by reflection to multiples of `grid`.
fn cut(image: &Plane, (column, row): (&Piece, &Piece), grid: usize) -> Plane {
    let [width, height] = [column, row].map(|piece| piece.shares.len().next_multiple_of(grid));
    let line = |y: usize| {
        let y = row.start + reflected(y, row.shares.len());
        let line = &image.levels[y * image.width + column.start..][..column.shares.len()];
        (0..width).map(|x| line[reflected(x, line.len())])
    };
    Plane { width, height, levels: (0..height).flat_map(line).collect() }
}

/// Adds a piece's colours, by its shares, to the result.
fn add(out: &mut [f32], width: usize, (column, row): (&Piece, &Piece), colours: &[f32], of_piece: usize) {
    for ((y, share), colours) in row.shares.iter().enumerate().zip(colours.chunks_exact(of_piece)) {
        let out = &mut out[(row.start + y) * width + column.start..];
        for ((out, colour), part) in out.iter_mut().zip(colours).zip(&column.shares) {
            *out += share * part * colour;
        }
    }
}

/// Where pixel `i` of an axis of `n` lies that is continued by reflection, the pixel at the end counting once.
pub(crate) fn reflected(i: usize, n: usize) -> usize {
    if n == 1 {
        return 0;
    }
    let turn = 2 * (n - 1);
    let i = i % turn;
    i.min(turn - i)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

    #[test]
    fn reflection_counts_the_end_once() {
        assert_eq!((0..9).map(|i| reflected(i, 3)).collect::<Vec<_>>(), [0, 1, 2, 1, 0, 1, 2, 1, 0]);
        assert_eq!([reflected(5, 1), reflected(1, 2), reflected(2, 2)], [0, 1, 0]);
    }

    proptest! {
        /// The image itself, whatever its size and the tiles', and every piece fits the network.
        #[test]
        fn a_network_that_changes_nothing_changes_nothing(
            width in 1_usize..70,
            height in 1_usize..70,
            side in 1_usize..40,
            overlap in 0_usize..40,
            grid in prop::sample::select(vec![1_usize, 4, 8, 16]),
        ) {
            let overlap = overlap.min(side - 1);
            let levels = (0..width * height).map(|i| ((i * 7919) % 256) as f32).collect();
            let image = Plane { width, height, levels };
            let three = tiled(&image, Tiles { side, overlap }, grid, |piece| {
                assert!(piece.width % grid == 0 && piece.height % grid == 0);
                assert!(piece.width <= side.next_multiple_of(grid) && piece.height <= side.next_multiple_of(grid));
                Ok::<_, Infallible>(piece.levels.repeat(3))
            });
            for (i, level) in three.unwrap().iter().enumerate() {
                prop_assert!((level - image.levels[i % (width * height)]).abs() < 1e-3);
            }
        }
    }
}
