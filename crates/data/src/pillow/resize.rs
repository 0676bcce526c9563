//! Bicubic resampling.

use super::Image;
use image::Pixel;

/// Fractional bits of a weight: 32, less 8 for the pixel and 2 for weights and sums beyond 1.
const FRACTION: u32 = 32 - 8 - 2;

/// Half the width of the bicubic kernel, in pixels of the coarser of the two images.
const RADIUS: f64 = 2.0;

/// Bicubic resampling (Keys 1981, a = −0.5) with antialiasing (`resize((width, height), BICUBIC)`).
///
/// Columns first, then rows, with 8 bits between the passes; weights are integers of 22 fractional bits. A direction
/// whose size does not change is left alone, so the same size gives the same image. `image`'s `CatmullRom` has the
/// same kernel but floating-point sums and other roundings.
pub fn resize<P: Pixel<Subpixel = u8>>(image: &Image<P>, width: u32, height: u32) -> Image<P> {
    let channels = usize::from(P::CHANNEL_COUNT);
    let columns = resize_columns(image.as_raw(), image.width(), width, channels);
    let rows = resize_rows(columns, image.height(), height, width as usize * channels);
    // The buffer has exactly width * height pixels by construction.
    Image::from_raw(width, height, rows).unwrap_or_else(|| Image::new(width, height))
}

/// What one output pixel takes: consecutive input pixels from `first` on, each by its weight.
pub struct Window<T = f64> {
    /// The first pixel.
    pub first: usize,
    /// The weights of it and those that follow; their sum is 1.
    pub weights: Vec<T>,
}

/// The windows of the `to` pixels of a line that are made of `from`, bicubic with antialiasing, as [`resize`] takes them.
pub fn windows(from: u32, to: u32) -> Vec<Window> {
    let scale = f64::from(from) / f64::from(to);
    let stretch = scale.max(1.0);
    (0..to).map(|i| window((f64::from(i) + 0.5) * scale, stretch, from)).collect()
}

fn window(center: f64, stretch: f64, from: u32) -> Window {
    let support = RADIUS * stretch;
    let first = (center - support + 0.5).max(0.0) as u32;
    let end = ((center + support + 0.5) as u32).min(from);
    let weight = |i: u32| bicubic((f64::from(i) - center + 0.5) * (1.0 / stretch));
    let weights: Vec<f64> = (first..end).map(weight).collect();
    let sum: f64 = weights.iter().sum();
    Window { first: first as usize, weights: weights.iter().map(|w| w / sum).collect() }
}

/// With weights in integers.
fn fixed_windows(from: u32, to: u32) -> Vec<Window<i32>> {
    let fixed = |Window { first, weights }: Window| Window { first, weights: weights.into_iter().map(fixed).collect() };
    windows(from, to).into_iter().map(fixed).collect()
}

fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn fixed(weight: f64) -> i32 {
    let scaled = weight * f64::from(1 << FRACTION);
    (scaled + 0.5_f64.copysign(scaled)) as i32
}

fn narrow(sum: i32) -> u8 {
    (sum >> FRACTION).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (FRACTION - 1);

fn resize_columns(image: &[u8], from: u32, to: u32, channels: usize) -> Vec<u8> {
    if from == to || from == 0 {
        return image.to_vec();
    }
    let windows = fixed_windows(from, to);
    let mut out = Vec::with_capacity(image.len() / from as usize * to as usize);
    for row in image.chunks_exact(from as usize * channels) {
        for Window { first, weights } in &windows {
            for channel in 0..channels {
                let values = row[first * channels + channel..].iter().step_by(channels);
                let products = values.zip(weights).map(|(&value, &weight)| i32::from(value) * weight);
                out.push(narrow(HALF + products.sum::<i32>()));
            }
        }
    }
    out
}

fn resize_rows(image: Vec<u8>, from: u32, to: u32, row: usize) -> Vec<u8> {
    if from == to || from == 0 {
        return image;
    }
    let mut out = Vec::with_capacity(row * to as usize);
    let mut sums = vec![0i32; row];
    for Window { first, weights } in fixed_windows(from, to) {
        sums.fill(HALF);
        for (values, weight) in image[first * row..].chunks_exact(row.max(1)).zip(weights) {
            sums.iter_mut().zip(values).for_each(|(sum, &value)| *sum += i32::from(value) * weight);
        }
        out.extend(sums.iter().map(|&sum| narrow(sum)));
    }
    out
}
