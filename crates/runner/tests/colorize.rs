//! What of a photograph's file `colormamba colorize` takes.

mod common;

use common::{colormamba, fail, says, write_weights};
use image::{GrayImage, ImageBuffer, Luma, Rgb, RgbImage};
use std::fs;
use std::path::Path;
use tempfile::tempdir;

/// The result, and what was said.
fn result(root: &Path, options: &[&str]) -> (RgbImage, String) {
    let args = ["colorize", "photo.png", "--weights", "w.safetensors", "--out", "out", "--force"];
    let output = colormamba(root, &[&args[..], options].concat());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    (image::open(root.join("out/photo.png")).unwrap().into_rgb8(), text)
}

fn level(x: u32, y: u32) -> u8 {
    (3 * x + y) as u8
}

#[test]
fn values_of_12_bits_in_16_are_not_nearly_black() {
    let folder = tempdir().unwrap();
    let root = folder.path();
    write_weights(&root.join("w.safetensors"), 8);
    GrayImage::from_fn(64, 64, |x, y| Luma([level(x, y)])).save(root.join("photo.png")).unwrap();
    let (wanted, _) = result(root, &[]);
    let twelve: ImageBuffer<Luma<u16>, Vec<u16>> =
        ImageBuffer::from_fn(64, 64, |x, y| Luma([(f64::from(level(x, y)) * 4095.0 / 255.0).round() as u16]));
    twelve.save(root.join("photo.png")).unwrap();
    assert_eq!(result(root, &["--bits", "12"]).0, wanted);
    let (dark, text) = result(root, &[]);
    assert_ne!(dark, wanted);
    says(&text, &["note: photo.png: values of 16 bits stay below 4096: if the camera has 12 bits, say bits = 12"]);
    // The largest value here, 252 of 255, is 98.8 % of what 12 bits hold.
    let (found, text) = result(root, &["--bits", "auto"]);
    assert_eq!(found, wanted);
    says(&text, &["read as 12-bit: their largest value is 4047"]);
}

#[test]
fn the_channel_and_the_size_are_choices() {
    let folder = tempdir().unwrap();
    let root = folder.path();
    write_weights(&root.join("w.safetensors"), 8);
    GrayImage::from_fn(64, 64, |x, y| Luma([level(x, y)])).save(root.join("photo.png")).unwrap();
    let (wanted, _) = result(root, &[]);
    RgbImage::from_fn(64, 64, |x, y| Rgb([level(x, y), 200, 7])).save(root.join("photo.png")).unwrap();
    assert_eq!(result(root, &["--channel", "red"]).0, wanted);
    assert_eq!(result(root, &["--channel", "1"]).0, wanted);
    assert_ne!(result(root, &[]).0, wanted);
    let args = ["colorize", "photo.png", "--weights", "w.safetensors", "--out", "other"];
    let refused = |code, options: &[&str], text: &str| says(&fail(root, code, &[&args[..], options].concat()), &[text]);
    refused(1, &["--channel", "4"], "photo.png: there is no band 4: the image has 3; choose another channel");
    refused(1, &["--max-pixels", "4000"], "photo.png: 64x64 pixels");
    refused(2, &["--channel", "ultraviolet"], "no channel: luma, red, mean, max, or a band's number from 1");
    refused(2, &["--bits", "13"], "10, 12, 14, 16, auto or tags");
    assert!(!fs::exists(root.join("other/photo.png")).unwrap());
}
