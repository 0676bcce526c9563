//! A photograph of 12 megapixels, without its decoding and encoding: `cargo bench -p colormamba-colorize`.

use candle_core::{DType, Device};
use colormamba::checkpoint;
use colormamba_colorize::{Colorizer, NirImage, Options};
use colormamba_layers::Params;
use colormamba_lite::Lite;
use divan::Bencher;
use image::{GrayImage, ImageBuffer, Luma};

fn main() {
    divan::main();
}

const SIZE: (u32, u32) = (4000, 3000);

/// Of the width that is shipped, untrained: its time is the same.
fn colorizer() -> Colorizer {
    let params = Params::new(0, DType::F32, &Device::Cpu);
    Lite::new(&params.root(), 32).expect("a network");
    let header =
        [("kind", "lite"), ("options", r#"{"width":32}"#), ("protocol", "raw"), ("nir_hsv", "gray"), ("size", "256")];
    let header = header.map(|(key, value)| (key.to_string(), value.to_string())).into();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lite.safetensors");
    checkpoint::save(&path, &params.tensors().into_iter().collect(), &header).expect("a file");
    Colorizer::load(&path, &Device::Cpu).expect("weights")
}

fn level(x: u32, y: u32) -> u32 {
    (x * x / 977 + y * 31 / 7 + (x ^ y)) % 256
}

fn run(bencher: Bencher, image: NirImage, options: Options) {
    let colorizer = colorizer();
    bencher.bench_local(|| colorizer.colorize(&image, &options).expect("a picture"));
}

#[divan::bench(sample_count = 5)]
fn bits_8(bencher: Bencher) {
    run(bencher, GrayImage::from_fn(SIZE.0, SIZE.1, |x, y| Luma([level(x, y) as u8])).into(), Options::default());
}

#[divan::bench(sample_count = 5)]
fn bits_16(bencher: Bencher) {
    let image = ImageBuffer::from_fn(SIZE.0, SIZE.1, |x, y| Luma([(level(x, y) * 257) as u16]));
    run(bencher, image.into(), Options::default());
}

#[divan::bench(sample_count = 5)]
fn keep_luma(bencher: Bencher) {
    let image = GrayImage::from_fn(SIZE.0, SIZE.1, |x, y| Luma([level(x, y) as u8]));
    run(bencher, image.into(), Options { keep_luma: true, ..Options::default() });
}

/// The network and the fit alone: what a photograph of any size takes.
#[divan::bench(sample_count = 5)]
fn small_image(bencher: Bencher) {
    let image = GrayImage::from_fn(257, 193, |x, y| Luma([level(x, y) as u8]));
    run(bencher, image.into(), Options::default());
}
