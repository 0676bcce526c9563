//! Laplacian pyramids, Burt and Adelson 1983.

use crate::filter::{every_second, valid};
use crate::plane::{Plane, Planes};

/// No level has a side below it.
pub(crate) const COARSEST: usize = 16;

const BINOMIAL: [f64; 5] = [1.0 / 16.0, 4.0 / 16.0, 6.0 / 16.0, 4.0 / 16.0, 1.0 / 16.0];

/// Levels from the finest: what each size has beyond the next coarser one, last the coarsest image itself.
pub(crate) fn laplacian(image: Planes) -> Vec<Planes> {
    let mut levels = vec![image];
    while let Some(finest) = levels.last()
        && finest[0].height.min(finest[0].width).div_ceil(2) >= COARSEST
    {
        let coarser = finest.each_ref().map(reduced);
        levels.push(coarser);
    }
    for i in 1..levels.len() {
        let (finer, coarser) = levels.split_at_mut(i);
        for (fine, coarse) in finer[i - 1].iter_mut().zip(&coarser[0]) {
            *fine = fine.zip(&expanded(coarse, fine.height, fine.width), |f, c| f - c);
        }
    }
    levels
}

/// Smoothed, then every second pixel.
fn reduced(plane: &Plane) -> Plane {
    every_second(&smoothed(plane))
}

/// Zeros between the pixels, then smoothed.
fn expanded(plane: &Plane, height: usize, width: usize) -> Plane {
    let mut values = vec![0.0; height * width];
    for (row, out) in plane.rows().zip(values.chunks_mut(2 * width)) {
        out[..width].iter_mut().step_by(2).zip(row).for_each(|(out, v)| *out = 4.0 * v);
    }
    smoothed(&Plane::new(values, height, width))
}

/// By the binomial filter; beyond the border the image is mirrored at its last pixel.
fn smoothed(plane: &Plane) -> Plane {
    let mirror = |i: usize, n: usize| {
        let i = i.abs_diff(2);
        if i < n { i } else { 2 * (n - 1) - i }
    };
    let (height, width) = (plane.height + 4, plane.width + 4);
    let mut values = Vec::with_capacity(height * width);
    for row in (0..height).map(|y| plane.row(mirror(y, plane.height))) {
        values.extend([0, 1].map(|x| row[mirror(x, plane.width)]));
        values.extend_from_slice(row);
        values.extend([width - 2, width - 1].map(|x| row[mirror(x, plane.width)]));
    }
    valid(&Plane::new(values, height, width), &BINOMIAL, &BINOMIAL)
}
