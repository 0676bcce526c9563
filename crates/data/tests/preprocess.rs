//! Bit-equality with Pillow, on every entry of `tests/fixtures/preprocess.safetensors`, made with Pillow 13 by
//! ```python
//! rgb.convert("HSV"); rgb.convert("L"); rgb.resize((w, h), Image.BICUBIC); ImageEnhance.Contrast(rgb).enhance(x)
//! crop = rgb.crop((17, 31, 217, 231)).resize((256, 256), Image.BICUBIC)
//! chain = the same crop of ImageEnhance.Contrast(ImageOps.mirror(rgb)).enhance(0.6)
//! minmax = (a - a.min()) / (a.max() - a.min() + 1e-3)  # f64, of the upper left 64 x 64, then f32
//! ```

use candle_core::{DType, Device, Tensor};
use colormamba_data::pillow::{self, Image};
use colormamba_data::{ImagePair, NirHsv, Preparation, Protocol};
use colormamba_testkit::Fixture;
use image::imageops::{crop_imm, flip_horizontal};
use image::{GrayImage, Pixel, RgbImage};

fn load() -> Fixture {
    Fixture::load("preprocess").unwrap()
}

fn bytes(fixture: &Fixture, key: &str) -> (u32, u32, Vec<u8>) {
    let tensor = fixture.get(key).unwrap();
    assert_eq!(tensor.dtype(), DType::U8, "{key}");
    let dims = tensor.dims();
    (dims[1] as u32, dims[0] as u32, tensor.flatten_all().unwrap().to_vec1().unwrap())
}

fn rgb(fixture: &Fixture, key: &str) -> RgbImage {
    let (width, height, values) = bytes(fixture, key);
    RgbImage::from_raw(width, height, values).unwrap()
}

fn assert_same<P: Pixel<Subpixel = u8>>(fixture: &Fixture, key: &str, got: &Image<P>) {
    let (width, height, want) = bytes(fixture, key);
    assert_eq!(got.dimensions(), (width, height), "{key}");
    let wrong = got.as_raw().iter().zip(&want).filter(|(a, b)| a != b).count();
    assert_eq!((got.as_raw().len(), wrong), (want.len(), 0), "{key}: values that differ");
}

#[test]
fn luma_and_hsv() {
    let f = load();
    for name in ["rgb", "cube"] {
        let source = rgb(&f, if name == "rgb" { "in.rgb" } else { "cube.rgb" });
        assert_same(&f, &format!("{name}.luma"), &pillow::luma(&source));
        assert_same(&f, &format!("{name}.hsv"), &pillow::hsv(&source));
    }
}

#[test]
fn bicubic() {
    let f = load();
    let source = rgb(&f, "in.rgb");
    for (w, h) in [(100, 60), (128, 128), (300, 333)] {
        assert_same(&f, &format!("rgb.bicubic_w{w}_h{h}"), &pillow::resize(&source, w, h));
    }
    assert_same(&f, "luma.bicubic_w128_h128", &pillow::resize(&pillow::luma(&source), 128, 128));
}

#[test]
fn contrast() {
    let f = load();
    let source = rgb(&f, "in.rgb");
    assert_same(&f, "rgb.contrast_0.6", &pillow::contrast(&source, 0.6));
    assert_same(&f, "rgb.contrast_1.4", &pillow::contrast(&source, 1.4));
}

#[test]
fn contrast_of_gray_is_that_of_its_rgb() {
    let gray = pillow::luma(&rgb(&load(), "in.rgb"));
    let wide = RgbImage::from_fn(gray.width(), gray.height(), |x, y| gray.get_pixel(x, y).to_rgb());
    let (a, b) = (pillow::contrast(&gray, 1.3), pillow::contrast(&wide, 1.3));
    assert!(a.pixels().zip(b.pixels()).all(|(a, b)| a.to_rgb() == *b));
}

#[test]
fn crop_and_chain() {
    let f = load();
    let source = rgb(&f, "in.rgb");
    let crop = |image: &RgbImage| pillow::resize(&crop_imm(image, 17, 31, 200, 200).to_image(), 256, 256);
    assert_same(&f, "rgb.crop_17_31_217_231_bicubic_256", &crop(&source));
    let chain = crop(&pillow::contrast(&flip_horizontal(&source), 0.6));
    assert_same(&f, "chain.mirror_contrast_0.6_crop_bicubic_256.rgb", &chain);
    assert_same(&f, "chain.mirror_contrast_0.6_crop_bicubic_256.hsv", &pillow::hsv(&chain));
}

fn assert_same_tensor(what: &str, got: &Tensor, channels_last: &Tensor) {
    let want = channels_last.permute((2, 0, 1)).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let got = got.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!(got.iter().map(|v| v.to_bits()).eq(want.iter().map(|v| v.to_bits())), "{what}");
}

#[test]
fn stretch() {
    let f = load();
    let rgb = crop_imm(&rgb(&f, "in.rgb"), 0, 0, 64, 64).to_image();
    let pair = ImagePair { name: "corner".into(), nir: GrayImage::new(64, 64), rgb };
    let preparation = Preparation { size: None, protocol: Protocol::Minmax, nir_hsv: NirHsv::Gray };
    let sample = preparation.evaluation(&pair).unwrap();
    assert_same_tensor("rgb.minmax", &sample.rgb, f.get("rgb.minmax").unwrap());
    assert_same_tensor("hsv.minmax", &sample.hsv, f.get("hsv.minmax").unwrap());
    let zero = Tensor::zeros((3, 64, 64), DType::F32, &Device::Cpu).unwrap().flatten_all().unwrap();
    assert_eq!(sample.nir_hsv.flatten_all().unwrap().to_vec1::<f32>().unwrap(), zero.to_vec1::<f32>().unwrap());
}
