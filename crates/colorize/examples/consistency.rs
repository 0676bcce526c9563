//! How much the colours of neighbouring tiles differ, and how near the whole at a working side comes to the truth:
//! `cargo run --release -p colormamba-colorize --example consistency -- WEIGHTS NIR RGB`, two folders of equal names.

use candle_core::Device;
use colormamba_colorize::{Colorizer, Depth, Options, Picture};
use colormamba_data::{Channel, Reading};
use colormamba_metrics::ciede2000;
use colormamba_metrics::colour::lab;
use image::imageops::crop_imm;
use image::{GrayImage, RgbImage};
use std::error::Error;
use std::path::{Path, PathBuf};

const TILE: u32 = 256;
const OVERLAP: u32 = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [weights, nir, rgb] = arguments.as_slice() else { return Err("WEIGHTS NIR RGB".into()) };
    let colorizer = Colorizer::load(weights, &Device::Cpu)?;
    let mut names: Vec<_> =
        std::fs::read_dir(nir)?.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<_>>()?;
    names.sort();
    let pairs = names.iter().map(|name| {
        let reading = Reading { channel: Channel::Luma, ..Reading::default() };
        Ok((reading.gray(&nir.join(name))?.image, truth(rgb, Path::new(name))?))
    });
    let pairs: Vec<(GrayImage, RgbImage)> = pairs.collect::<Result<_, Box<dyn Error>>>()?;
    for side in [256, 384, 512] {
        let options = Options { working_side: Some(side), ..Options::default() };
        let psnr = |keep_luma: bool| -> Result<f64, Box<dyn Error>> {
            let options = Options { keep_luma, ..options };
            let one = |(nir, rgb): &(GrayImage, RgbImage)| Ok(psnr(&picture(&colorizer, nir, options)?, rgb));
            mean(pairs.iter().map(one))
        };
        println!("working side {side}: PSNR {:.2} dB, with its own lightness {:.2} dB", psnr(false)?, psnr(true)?);
    }
    let seams = pairs.iter().filter(|(nir, _)| nir.width() >= 2 * TILE - OVERLAP).map(|(nir, _)| seam(&colorizer, nir));
    println!("tiles of {TILE}: mean ΔE00 of neighbours where they overlap {:.2}", mean(seams)?);
    Ok(())
}

fn truth(folder: &Path, name: &Path) -> Result<RgbImage, Box<dyn Error>> {
    let path = ["png", "jpg", "tif"].map(|extension| folder.join(name).with_extension(extension));
    let path = path.iter().find(|path| path.exists()).ok_or("a photograph without its truth")?;
    Ok(Reading::default().rgb(path)?.image)
}

fn picture(colorizer: &Colorizer, nir: &GrayImage, options: Options) -> Result<RgbImage, Box<dyn Error>> {
    match colorizer.colorize(&nir.clone().into(), &Options { depth: Some(Depth::Eight), ..options })? {
        Picture::Bits8(picture) => Ok(picture),
        Picture::Bits16(_) => Err("8 bits were asked for".into()),
    }
}

fn psnr(a: &RgbImage, b: &RgbImage) -> f64 {
    let squares: f64 = a.iter().zip(b.iter()).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    10.0 * (255.0 * 255.0 * a.len() as f64 / squares).log10()
}

/// The mean colour difference between two neighbouring tiles where they overlap.
fn seam(colorizer: &Colorizer, nir: &GrayImage) -> Result<f64, Box<dyn Error>> {
    let height = TILE.min(nir.height());
    let whole = Options { working_side: Some(TILE as usize), ..Options::default() };
    let tile = |left: u32| picture(colorizer, &crop_imm(nir, left, 0, TILE, height).to_image(), whole);
    let (left, right) = (tile(0)?, tile(TILE - OVERLAP)?);
    let lab = |image: &RgbImage, x: u32, y: u32| lab(image.get_pixel(x, y).0.map(|level| f64::from(level) / 255.0));
    let pixels = (0..height).flat_map(|y| (0..OVERLAP).map(move |x| (x, y)));
    let differences = pixels.map(|(x, y)| Ok(ciede2000(lab(&left, TILE - OVERLAP + x, y), lab(&right, x, y))));
    mean(differences)
}

fn mean(values: impl Iterator<Item = Result<f64, Box<dyn Error>>>) -> Result<f64, Box<dyn Error>> {
    let values = values.collect::<Result<Vec<f64>, _>>()?;
    Ok(values.iter().sum::<f64>() / values.len() as f64)
}
