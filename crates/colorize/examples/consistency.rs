//! How far the colour of a thing depends on what is around it, on the size that it is stored at, and on the frame of a
//! film: `cargo run --release -p colormamba-colorize --example consistency -- FOLDER [WEIGHTS]`, of NIR photographs.
//! Differences are ΔE00, of colours in sRGB.

use candle_core::Device;
use colormamba_colorize::{Colorizer, Options, Picture, Tiles};
use colormamba_data::{Dataset, Reading, Split, Synthetic, SyntheticConfig};
use colormamba_metrics::ciede2000;
use colormamba_metrics::colour::lab;
use image::imageops::{FilterType, crop_imm, resize};
use image::{DynamicImage, GrayImage, RgbImage};
use std::error::Error;
use std::path::PathBuf;

const TILE: u32 = 256;
const OVERLAP: u32 = 64;
/// Pixels from frame to frame of a pan, and frames.
const PAN: u32 = 8;
const FRAMES: u32 = 24;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let (folder, weights) = match arguments.as_slice() {
        [folder] => (folder, None),
        [folder, weights] => (folder, Some(weights)),
        _ => return Err("FOLDER [WEIGHTS]".into()),
    };
    let colorizer = match weights {
        Some(weights) => Colorizer::load(weights, &Device::Cpu)?,
        None => Colorizer::built_in(&Device::Cpu)?,
    };
    let photographs = std::fs::read_dir(folder)?.map(|entry| Ok(Reading::default().gray(&entry?.path())?.image));
    let photographs = photographs.collect::<Result<Vec<GrayImage>>>()?;
    let whole = |nir: &GrayImage| picture(&colorizer, nir, Options::default());

    let wide = photographs.iter().filter(|nir| nir.width() >= 2 * TILE - OVERLAP);
    let neighbours = wide.map(|nir| neighbours(&colorizer, nir)).collect::<Result<Vec<f64>>>()?;
    if !neighbours.is_empty() {
        println!(
            "neighbouring tiles of {TILE}, each for itself, where they overlap by {OVERLAP}, {} photographs: {:.2}",
            neighbours.len(),
            mean(&neighbours)
        );
    }
    if !colorizer.is_local() {
        let tiled =
            Options { tiles: Some(Tiles { side: TILE as usize, overlap: OVERLAP as usize }), ..Options::default() };
        let differences = photographs
            .iter()
            .map(|nir| Ok(difference(&picture(&colorizer, nir, tiled)?, &whole(nir)?)))
            .collect::<Result<Vec<f64>>>()?;
        println!("blended tiles of {TILE} and the whole photograph: {:.2}", mean(&differences));
    }
    for (name, scale) in [("half", 0.5), ("twice", 2.0)] {
        let differences = photographs.iter().map(|nir| {
            let (width, height) = nir.dimensions();
            let scaled = |side: u32| (f64::from(side) * scale).max(1.0) as u32;
            let stored = resize(nir, scaled(width), scaled(height), FilterType::CatmullRom);
            let back =
                |colour: &RgbImage| resize(colour, (width / 2).max(1), (height / 2).max(1), FilterType::Triangle);
            Ok(difference(&back(&whole(&stored)?), &back(&whole(nir)?)))
        });
        let differences = differences.collect::<Result<Vec<f64>>>()?;
        println!("stored at {name} the size, seen at half of it: {:.2}", mean(&differences));
    }
    pan(&colorizer)
}

/// A film of one drawn scene, which moves by [`PAN`] pixels a frame.
fn pan(colorizer: &Colorizer) -> Result<()> {
    let side = TILE + PAN * FRAMES;
    let config = SyntheticConfig { seed: 0, width: side, height: TILE, train: 1, validation: 0, test: 0 };
    let scene = Synthetic::new(config)?.pair(Split::Train, 0)?.nir;
    let frame = |n: u32| crop_imm(&scene, n * PAN, 0, TILE, TILE).to_image();
    let gray = |frame: &GrayImage| DynamicImage::from(frame.clone()).into_rgb8();
    let (mut film, mut own, mut moved) = (Vec::new(), Vec::new(), Vec::new());
    let mut before: Option<(GrayImage, RgbImage)> = None;
    for n in 0..FRAMES {
        let nir = frame(n);
        let colour = picture(colorizer, &nir, Options::default())?;
        if let Some((nir_before, colour_before)) = before {
            film.push(difference(&colour_before, &colour));
            own.push(difference(&gray(&nir_before), &gray(&nir)));
            let seen = |colour: &RgbImage, left: u32| crop_imm(colour, left, 0, TILE - PAN, TILE).to_image();
            moved.push(difference(&seen(&colour_before, PAN), &seen(&colour, 0)));
        }
        before = Some((nir, colour));
    }
    println!(
        "frames of a pan by {PAN} pixels: {:.2} (the NIR film itself {:.2}); the same things of the scene: {:.2}",
        mean(&film),
        mean(&own),
        mean(&moved)
    );
    Ok(())
}

fn picture(colorizer: &Colorizer, nir: &GrayImage, options: Options) -> Result<RgbImage> {
    match colorizer.colorize(&nir.clone().into(), &options)? {
        Picture::Bits8(picture) => Ok(picture),
        Picture::Bits16(_) => Err("8 bits have 8 bits".into()),
    }
}

/// Of two tiles, each seen for itself, where they overlap.
fn neighbours(colorizer: &Colorizer, nir: &GrayImage) -> Result<f64> {
    let height = TILE.min(nir.height());
    let tile = |left: u32| picture(colorizer, &crop_imm(nir, left, 0, TILE, height).to_image(), Options::default());
    let (left, right) = (tile(0)?, tile(TILE - OVERLAP)?);
    let part = |tile: &RgbImage, left: u32| crop_imm(tile, left, 0, OVERLAP, height).to_image();
    Ok(difference(&part(&left, TILE - OVERLAP), &part(&right, 0)))
}

/// The mean over pixels of two images of one size.
fn difference(a: &RgbImage, b: &RgbImage) -> f64 {
    assert_eq!(a.dimensions(), b.dimensions(), "images of one size");
    let lab = |levels: [u8; 3]| lab(levels.map(|level| f64::from(level) / 255.0));
    mean(&a.pixels().zip(b.pixels()).map(|(a, b)| ciede2000(lab(a.0), lab(b.0))).collect::<Vec<f64>>())
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
