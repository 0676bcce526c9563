//! How much the colours of neighbouring tiles differ:
//! `cargo run --release -p colormamba-colorize --example consistency -- WEIGHTS FOLDER`, of NIR photographs.

use candle_core::Device;
use colormamba_colorize::{Colorizer, Options, Picture};
use colormamba_data::Reading;
use colormamba_metrics::ciede2000;
use colormamba_metrics::colour::lab;
use image::imageops::crop_imm;
use image::{GrayImage, RgbImage};
use std::error::Error;
use std::path::PathBuf;

const TILE: u32 = 256;
const OVERLAP: u32 = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [weights, nir] = arguments.as_slice() else { return Err("WEIGHTS FOLDER".into()) };
    let colorizer = Colorizer::load(weights, &Device::Cpu)?;
    let photographs = std::fs::read_dir(nir)?.map(|entry| Ok(Reading::default().gray(&entry?.path())?.image));
    let photographs = photographs.collect::<Result<Vec<GrayImage>, Box<dyn Error>>>()?;
    let wide = photographs.iter().filter(|nir| nir.width() >= 2 * TILE - OVERLAP);
    let seams = wide.map(|nir| seam(&colorizer, nir)).collect::<Result<Vec<f64>, _>>()?;
    println!(
        "tiles of {TILE}, {} photographs: mean ΔE00 of neighbours where they overlap {:.2}",
        seams.len(),
        mean(&seams)
    );
    Ok(())
}

fn picture(colorizer: &Colorizer, nir: &GrayImage) -> Result<RgbImage, Box<dyn Error>> {
    let options = Options { working_side: Some(TILE as usize), ..Options::default() };
    match colorizer.colorize(&nir.clone().into(), &options)? {
        Picture::Bits8(picture) => Ok(picture),
        Picture::Bits16(_) => Err("8 bits have 8 bits".into()),
    }
}

/// The mean colour difference between two neighbouring tiles where they overlap.
fn seam(colorizer: &Colorizer, nir: &GrayImage) -> Result<f64, Box<dyn Error>> {
    let height = TILE.min(nir.height());
    let tile = |left: u32| picture(colorizer, &crop_imm(nir, left, 0, TILE, height).to_image());
    let (left, right) = (tile(0)?, tile(TILE - OVERLAP)?);
    let lab = |image: &RgbImage, x: u32, y: u32| lab(image.get_pixel(x, y).0.map(|level| f64::from(level) / 255.0));
    let pixels = (0..height).flat_map(|y| (0..OVERLAP).map(move |x| (x, y)));
    let differences = pixels.map(|(x, y)| ciede2000(lab(&left, TILE - OVERLAP + x, y), lab(&right, x, y)));
    Ok(mean(&differences.collect::<Vec<f64>>()))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
