//! Photographs of every size and depth through small networks.

use candle_core::{DType, Device, Tensor};
use colormamba::{EdgeMap, GENERATOR, Generator, GeneratorConfig, checkpoint};
use colormamba_colorize::{ColorizeError, Colorizer, Depth, NirImage, Options, Picture, Tiles};
use colormamba_layers::Params;
use colormamba_lite::{DARKEST, Lite};
use colormamba_ops::reflect_pad2d;
use colormamba_testkit::noise_tensor;
use colormamba_training::TrainingError;
use image::{GrayImage, ImageBuffer, Luma, RgbImage};
use std::collections::BTreeMap;
use std::path::Path;
use tempfile::tempdir;

type Tensors = BTreeMap<String, Tensor>;

/// Seeded, but for the last layer, which starts without colours.
fn lite() -> (Params, Tensors) {
    let params = Params::new(3, DType::F32, &Device::Cpu);
    Lite::new(&params.root(), 4).unwrap();
    let mut tensors: Tensors = params.tensors().into_iter().collect();
    for (name, size) in [("out.weight", 0.3), ("out.bias", 0.5)] {
        let tensor = tensors.get_mut(name).unwrap();
        *tensor = (&*tensor + (noise_tensor(name, tensor.shape().clone()).unwrap() * size).unwrap()).unwrap();
    }
    params.load(&tensors).unwrap();
    (params, tensors)
}

fn bytes(tensors: Tensors, header: &[(&str, &str)]) -> Vec<u8> {
    let folder = tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let tensors = tensors.into_iter().map(|(name, tensor)| (format!("{GENERATOR}{name}"), tensor)).collect();
    let header = header.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    checkpoint::save(&path, &tensors, &header).unwrap();
    std::fs::read(path).unwrap()
}

const LITE: [(&str, &str); 5] =
    [("kind", "lite"), ("options", r#"{"width":4}"#), ("protocol", "raw"), ("nir_hsv", "gray"), ("size", "256")];

fn loaded(tensors: Tensors, header: &[(&str, &str)]) -> Result<Colorizer, Box<ColorizeError>> {
    Colorizer::from_bytes(Path::new("built in"), bytes(tensors, header), &Device::Cpu).map_err(Box::new)
}

fn colorizer() -> Colorizer {
    loaded(lite().1, &LITE).unwrap()
}

fn mamba(protocol: &str, nir_hsv: &str) -> (Params, Colorizer) {
    let params = Params::new(0, DType::F32, &Device::Cpu);
    Generator::new(&params.root(), &GeneratorConfig::new(8, 6, EdgeMap::Spatial).unwrap()).unwrap();
    let header =
        [("width", "8"), ("edge_map", "spatial"), ("protocol", protocol), ("nir_hsv", nir_hsv), ("size", "64")];
    let colorizer = loaded(params.tensors().into_iter().collect(), &header).unwrap();
    (params, colorizer)
}

/// Smooth, with an edge.
fn level(x: u32, y: u32) -> u8 {
    let wave = 90.0 + 60.0 * (f64::from(x) / 9.0).sin() + 40.0 * (f64::from(y) / 13.0).cos();
    wave as u8 + if x > y { 40 } else { 0 }
}

fn photograph(width: u32, height: u32) -> GrayImage {
    GrayImage::from_fn(width, height, |x, y| Luma([level(x, y)]))
}

fn deep(image: &GrayImage) -> ImageBuffer<Luma<u16>, Vec<u16>> {
    ImageBuffer::from_fn(image.width(), image.height(), |x, y| Luma([u16::from(image.get_pixel(x, y)[0]) * 257]))
}

fn colours(colorizer: &Colorizer, image: impl Into<NirImage>, options: Options) -> RgbImage {
    let options = Options { depth: Some(Depth::Eight), ..options };
    match colorizer.colorize(&image.into(), &options).unwrap() {
        Picture::Bits8(image) => image,
        Picture::Bits16(_) => panic!("8 bits were asked for"),
    }
}

fn within(side: usize) -> Options {
    Options { working_side: Some(side), ..Options::default() }
}

fn input(image: &GrayImage) -> Tensor {
    let values: Vec<f32> = image.iter().map(|&level| (f64::from(level) / 255.0) as f32).collect();
    Tensor::from_vec(values, (1, 1, image.height() as usize, image.width() as usize), &Device::Cpu).unwrap()
}

/// `(1, 3, H, W)` as levels.
fn levels(rgb: &Tensor, most: f32) -> Vec<u16> {
    let values = rgb.squeeze(0).unwrap().permute((1, 2, 0)).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    values.into_iter().map(|value| (value * most + 0.5) as u16).collect()
}

/// Of the photograph continued at its borders.
#[test]
fn a_photograph_within_the_working_side_gets_the_networks_own_output() {
    let (params, _) = lite();
    let image = photograph(70, 45);
    let continued = reflect_pad2d(&input(&image), 32).unwrap();
    let rgb = Lite::new(&params.root().frozen(), 4).unwrap().forward(continued.value(), None).unwrap();
    let rgb = rgb.value().narrow(2, 32, 45).unwrap().narrow(3, 32, 70).unwrap();
    let got = colours(&colorizer(), image.clone(), within(70));
    assert_eq!(got.iter().map(|&level| u16::from(level)).collect::<Vec<_>>(), levels(&rgb, 255.0));
    let Picture::Bits16(got) = colorizer().colorize(&deep(&image).into(), &within(70)).unwrap() else {
        panic!("a photograph of 16 bits gives a picture of 16 bits")
    };
    let close = |(a, b): (&u16, u16)| a.abs_diff(b) <= 1;
    assert!(got.iter().zip(levels(&rgb, 65535.0)).all(close));
    assert!(got.pixels().any(|pixel| pixel[0].abs_diff(pixel[2]) > 2000), "it is colourful");
}

/// A flat photograph is one colour up to its borders, whatever the network makes of the zeros it pads with.
#[test]
fn a_photograph_has_no_frame() {
    for size in [(70, 45), (200, 130)] {
        let picture = colours(&colorizer(), GrayImage::from_pixel(size.0, size.1, Luma([140])), within(70));
        let middle = *picture.get_pixel(size.0 / 2, size.1 / 2);
        let apart = picture.pixels().flat_map(|pixel| [0, 1, 2].map(|c| pixel[c].abs_diff(middle[c]))).max();
        assert!(apart <= Some(1), "{size:?}: {apart:?}");
    }
}

/// A network without local coefficients, on its grid and beside it.
#[test]
fn another_network_gives_its_own_output_too() {
    let (params, colorizer) = mamba("raw", "gray");
    let image = photograph(128, 64);
    let nir = input(&image);
    let net = Generator::new(&params.root().frozen(), &GeneratorConfig::new(8, 6, EdgeMap::Spatial).unwrap()).unwrap();
    let rgb = net.forward(&nir, &nir.pad_with_zeros(1, 2, 0).unwrap(), false).unwrap().rgb;
    let got = colours(&colorizer, image, within(128));
    let wanted = levels(&rgb.value().clamp(0.0, 1.0).unwrap(), 255.0);
    assert_eq!(got.iter().map(|&level| u16::from(level)).collect::<Vec<_>>(), wanted);
    for (width, height) in [(1, 1), (70, 33)] {
        for tiles in [None, Some(Tiles { side: 64, overlap: 16 })] {
            let got = colours(&colorizer, photograph(width, height), Options { tiles, ..within(64) });
            assert_eq!(got.dimensions(), (width, height));
        }
    }
}

/// Where offsets and gains are the same everywhere, their picture is known at every size.
#[test]
fn constant_coefficients_give_their_picture_at_full_size() {
    let (_, mut tensors) = lite();
    tensors.insert("out.weight".into(), tensors["out.weight"].zeros_like().unwrap());
    let bias = [0.4_f32, -0.2, -0.7, 1.2, 0.9, 0.6];
    tensors.insert("out.bias".into(), Tensor::new(&bias, &Device::Cpu).unwrap());
    let colorizer = loaded(tensors, &LITE).unwrap();
    let image = photograph(130, 61);
    let got = colours(&colorizer, image.clone(), within(32));
    for (x, y, pixel) in image.enumerate_pixels() {
        let v = (f64::from(pixel[0]) / 255.0).clamp(DARKEST, 1.0 - DARKEST);
        let logit = (v / (1.0 - v)).ln();
        for colour in 0..3 {
            let wanted = 255.0 / (1.0 + (-(f64::from(bias[colour]) + f64::from(bias[3 + colour]) * logit)).exp());
            let level = f64::from(got.get_pixel(x, y)[colour]);
            assert!((level - wanted).abs() < 0.51, "{x} {y} {colour}: {level} for {wanted}");
        }
    }
}

#[test]
fn every_size_is_taken_and_both_depths_agree() {
    let colorizer = colorizer();
    for (width, height) in [(1, 1), (2, 300), (37, 200), (101, 64)] {
        let image = photograph(width, height);
        let shallow = colours(&colorizer, image.clone(), within(48));
        let of_deep = colours(&colorizer, deep(&image), within(48));
        assert_eq!(shallow.dimensions(), (width, height));
        assert!(shallow.iter().zip(of_deep.iter()).all(|(a, b)| a.abs_diff(*b) <= 1), "{width}x{height}");
    }
}

#[test]
fn the_working_side_is_that_of_the_training() {
    let colorizer = colorizer();
    let [image, side] = [photograph(300, 50), photograph(256, 50)];
    assert_eq!(colours(&colorizer, image.clone(), Options::default()), colours(&colorizer, image.clone(), within(256)));
    assert_ne!(colours(&colorizer, image.clone(), Options::default()), colours(&colorizer, image, within(300)));
    assert_eq!(colours(&colorizer, side.clone(), Options::default()), colours(&colorizer, side, within(300)));
}

#[test]
fn the_mean_over_the_mirror_image_is_that_of_the_mirror_image_mirrored() {
    let (_, mamba) = mamba("minmax", "published");
    for (colorizer, side) in [(colorizer(), 32), (colorizer(), 96), (mamba, 96)] {
        let options = Options { mirror: true, ..within(side) };
        let image = photograph(64, 96);
        let mut mirrored = colours(&colorizer, image::imageops::flip_horizontal(&image), options);
        image::imageops::flip_horizontal_in_place(&mut mirrored);
        let plain = colours(&colorizer, image.clone(), options);
        assert!(plain.iter().zip(mirrored.iter()).all(|(a, b)| a.abs_diff(*b) <= 1), "{side}");
        assert_ne!(plain, colours(&colorizer, image, within(side)), "{side}");
    }
}

/// Stretched over its own range, a photograph is the same at half its contrast.
#[test]
fn the_protocol_of_the_weights_holds() {
    let mut header = LITE;
    header[2].1 = "minmax";
    let [raw, minmax] = [LITE, header].map(|header| loaded(lite().1, &header).unwrap());
    let image = photograph(90, 40);
    let dim = GrayImage::from_fn(90, 40, |x, y| Luma([image.get_pixel(x, y)[0] / 2]));
    let difference = |colorizer: &Colorizer| {
        let [a, b] = [&image, &dim].map(|image| colours(colorizer, image.clone(), within(40)));
        a.iter().zip(b.iter()).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
    };
    assert!(difference(&minmax) < 8 && difference(&raw) > 30, "{} {}", difference(&minmax), difference(&raw));
}

#[test]
fn neither_threads_nor_what_came_before_matter() {
    let colorizer = colorizer();
    let image = photograph(150, 90);
    let wanted = colours(&colorizer, image.clone(), within(48));
    colours(&colorizer, photograph(33, 20), within(16));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    // A network stays where it was built.
    let alone = |image: GrayImage| colours(&self::colorizer(), image, within(48));
    assert_eq!(pool.install(|| alone(image.clone())), wanted);
    assert_eq!(colours(&colorizer, image, within(48)), wanted);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let colorizer = colorizer();
    let image = NirImage::from(photograph(20, 20));
    let refused = |image: &NirImage, options: Options| colorizer.colorize(image, &options).unwrap_err().to_string();
    let tiles = |side, overlap| Options { tiles: Some(Tiles { side, overlap }), ..Options::default() };
    assert!(refused(&image, within(0)).contains("from 1 to 4096"));
    assert!(refused(&image, within(5000)).contains("from 1 to 4096"));
    assert!(refused(&image, tiles(usize::MAX, 1)).contains("side of tiles"));
    assert!(refused(&image, tiles(8, 8)).contains("the overlap must be smaller"));
    assert!(refused(&image, tiles(8, 0)).contains("it takes no tiles"));
    assert!(refused(&GrayImage::new(0, 3).into(), within(8)).contains("no pixels"));
    let lacks = loaded(lite().1, &LITE[..3]).err().unwrap();
    assert_eq!(lacks.to_string(), "built in: its header lacks `size`");
    let mut wrong = LITE;
    wrong[2].1 = "polar";
    let wrong = loaded(lite().1, &wrong).err().unwrap();
    assert!(matches!(*wrong, ColorizeError::Header { .. }) && wrong.to_string().contains("protocol"), "{wrong}");
}

#[test]
fn one_grid_is_asked_for() {
    let (_, colorizer) = mamba("raw", "gray");
    // Tiles of 1 are tiles of the grid.
    let one = Options { tiles: Some(Tiles { side: 1, overlap: 0 }), ..Options::default() };
    let result = colorizer.colorize(&photograph(65, 2).into(), &one);
    assert!(!matches!(result, Err(ColorizeError::Network(TrainingError::Size { .. }))));
    assert_eq!(result.unwrap().dimensions(), (65, 2));
}
