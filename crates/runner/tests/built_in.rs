//! What the weights of the program make of the scenes that it draws: the README's picture of their best and worst.

use candle_core::Device;
use colormamba_colorize::{Colorizer, NirImage, Options, Picture};
use colormamba_data::{Dataset, Split, Synthetic, SyntheticConfig};
use colormamba_runner::report::images::{sheet, write_png};
use image::{DynamicImage, RgbImage};
use std::path::Path;

/// As `colormamba data synth --count 16` draws them.
const SCENES: SyntheticConfig = SyntheticConfig { seed: 0, width: 256, height: 256, train: 16, validation: 0, test: 0 };

/// How far the picture may be from the one in the repository on another processor, as a mean in grey levels.
const TOLERANCE: f64 = 0.5;

fn squared_error(a: &RgbImage, b: &RgbImage) -> f64 {
    a.iter().zip(b.iter()).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum()
}

/// `UPDATE_PAGES=1` writes it.
#[test]
fn the_picture_of_the_best_and_the_worst_is_what_the_program_makes() {
    let colorizer = Colorizer::built_in(&Device::Cpu).unwrap();
    let scenes = Synthetic::new(SCENES).unwrap();
    let row = |index| {
        let pair = scenes.pair(Split::Train, index).unwrap();
        let colours = colorizer.colorize(&NirImage::from(pair.nir.clone()), &Options::default()).unwrap();
        let Picture::Bits8(colours) = colours else { panic!("a photograph of 8 bits gives a picture of 8 bits") };
        (squared_error(&colours, &pair.rgb), [DynamicImage::from(pair.nir).into_rgb8(), colours, pair.rgb])
    };
    let mut rows: Vec<_> = (0..SCENES.train).map(row).collect();
    rows.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let shown = [&rows[0], &rows[rows.len() - 1]].map(|(_, row)| row.to_vec());
    let labels = ["NIR", "colorize", "truth"].map(String::from);
    let made = sheet(&labels, &shown);
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/built-in.png"));
    if std::env::var_os("UPDATE_PAGES").is_some() {
        write_png(path, &made).unwrap();
    }
    let kept = image::open(path).unwrap().into_rgb8();
    assert_eq!(kept.dimensions(), made.dimensions());
    let difference: f64 = kept.iter().zip(made.iter()).map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
    let difference = difference / made.len() as f64;
    assert!(difference <= TOLERANCE, "docs/built-in.png is {difference:.2} grey levels from what the program makes");
}
