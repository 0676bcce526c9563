//! What of a photograph's file `colormamba colorize` takes.

use crate::common::{TINY, colormamba, fail, says, succeed, write_lite_weights, write_weights};
use candle_core::Device;
use colormamba::checkpoint;
use image::{GrayImage, ImageBuffer, Luma, Rgb, RgbImage};
use std::fs;
use std::path::Path;
use std::process::Command;
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

/// Whether the colours differ by the rounding to 8 bits alone.
fn alike(a: &RgbImage, b: &RgbImage) -> bool {
    a.iter().zip(b.iter()).all(|(a, b)| a.abs_diff(*b) <= 1)
}

#[test]
fn values_of_12_bits_in_16_are_not_nearly_black() {
    let folder = tempdir().unwrap();
    let root = folder.path();
    write_lite_weights(&root.join("w.safetensors"));
    GrayImage::from_fn(64, 64, |x, y| Luma([level(x, y)])).save(root.join("photo.png")).unwrap();
    let (wanted, _) = result(root, &[]);
    let twelve: ImageBuffer<Luma<u16>, Vec<u16>> =
        ImageBuffer::from_fn(64, 64, |x, y| Luma([(f64::from(level(x, y)) * 4095.0 / 255.0).round() as u16]));
    twelve.save(root.join("photo.png")).unwrap();
    assert!(alike(&result(root, &["--bits", "12"]).0, &wanted));
    let (dark, text) = result(root, &[]);
    assert!(!alike(&dark, &wanted));
    says(&text, &["note: photo.png: values of 16 bits stay below 4096: if the camera has 12 bits, say --bits 12"]);
    // The largest value here, 252 of 255, is 98.8 % of what 12 bits hold.
    let (found, text) = result(root, &["--bits", "auto"]);
    assert!(alike(&found, &wanted));
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
    refused(1, &["--max-pixels", "4000"], "photo.png: 64x64 pixels, 4096 pixels in all, ");
    refused(1, &["--max-pixels", "4000"], "at most 4000 pixels in all are read");
    refused(1, &["--page", "2"], "photo.png: there is no page 2: the file has 1");
    refused(2, &["--channel", "ultraviolet"], "no channel: luma, red, mean, max, or a band's number from 1");
    refused(2, &["--bits", "13"], "10, 12, 14, 16, auto or tags");
    assert!(!fs::exists(root.join("other/photo.png")).unwrap());
}

/// An option that says nothing of a photograph was ignored without a word.
#[test]
fn options_that_change_nothing_are_told_once() {
    let folder = tempdir().unwrap();
    let root = folder.path();
    write_weights(&root.join("w.safetensors"), 8);
    fs::create_dir(root.join("photos")).unwrap();
    for name in ["a.png", "b.png"] {
        GrayImage::from_fn(64, 64, |x, y| Luma([level(x, y)])).save(root.join("photos").join(name)).unwrap();
    }
    RgbImage::from_fn(64, 64, |x, y| Rgb([level(x, y), 200, 7])).save(root.join("photos/c.png")).unwrap();
    let said = |options: &[&str]| {
        let args = ["colorize", "photos", "--weights", "w.safetensors", "--out", "out", "--force"];
        let output = colormamba(root, &[&args[..], options].concat());
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(said(&["--channel", "1"]), "", "gray is the first band");
    assert_eq!(
        said(&["--channel", "red"]),
        "note: photos/a.png and 1 other: --channel red changes nothing: the photograph is gray\n"
    );
    for bits in ["12", "auto"] {
        assert_eq!(
            said(&["--bits", bits, "--channel", "luma"]),
            format!("note: photos/a.png and 2 others: --bits {bits} changes nothing: the values are of 8 bits\n")
        );
    }
    let luma =
        "note: photos/c.png: of its channels the luma is taken for the near infrared (--channel takes another)\n";
    assert_eq!(said(&[]), luma);
}

#[test]
fn the_folder_of_a_run_stands_for_its_best_weights() {
    let folder = tempdir().unwrap();
    let root = folder.path();
    fs::write(root.join("m.toml"), TINY).unwrap();
    let short = ["--set", "train.epochs=1", "--set", "train.steps_per_epoch=1"];
    succeed(root, &[&["run", "m.toml", "--quiet", "--variant", "mse"], &short[..]].concat());
    GrayImage::from_fn(64, 64, |x, y| Luma([level(x, y)])).save(root.join("photo.png")).unwrap();
    let result = |weights: &str| {
        succeed(root, &["colorize", "photo.png", "--weights", weights, "--out", "out", "--force"]);
        fs::read(root.join("out/photo.png")).unwrap()
    };
    let best = result("runs/tiny/mse/seed-1/checkpoints/best.safetensors");
    assert!(result("runs/tiny/mse/seed-1") == best);
    let named = succeed(root, &["weights", "inspect", "built-in"]);
    says(&named, &["the weights of the program: lite with"]);
    let text = fail(root, 2, &["colorize", "photo.png", "--weights", "runs/tiny", "--out", "other"]);
    says(
        &text,
        &["runs/tiny holds no checkpoints/best.safetensors: name the folder of a run, runs/tiny/mse/seed-1, or"],
    );
}

/// Weights so large that a prediction overflows: no image may come of it.
#[test]
fn a_prediction_that_is_no_image_is_named() {
    let folder = tempdir().unwrap();
    let root = folder.path();
    let path = root.join("w.safetensors");
    write_weights(&path, 8);
    let mut weights = checkpoint::load(&path, &Device::Cpu).unwrap();
    weights.tensors.values_mut().for_each(|tensor| *tensor = tensor.affine(1e30, 0.0).unwrap());
    checkpoint::save(&path, &weights.tensors, &weights.metadata).unwrap();
    GrayImage::from_fn(64, 64, |x, y| Luma([level(x, y)])).save(root.join("photo.png")).unwrap();
    let text = fail(root, 1, &["colorize", "photo.png", "--weights", "w.safetensors", "--out", "out"]);
    says(
        &text,
        &["1 of 1 photograph could not", "photo.png: the prediction holds infinite values or values that are no"],
    );
    assert!(!root.join("out/photo.png").exists());
    succeed(root, &["data", "synth", "--out", "images", "--count", "1", "--size", "64"]);
    let text = fail(root, 1, &["eval", "w.safetensors", "--data", "images", "--out", "scores.jsonl"]);
    says(&text, &["validation image validation_0000: the prediction holds infinite values"]);
    assert!(!root.join("scores.jsonl").exists());
}

#[test]
fn results_that_are_there_are_counted() {
    let folder = tempdir().unwrap();
    let root = folder.path();
    write_weights(&root.join("w.safetensors"), 8);
    fs::create_dir_all(root.join("out")).unwrap();
    for name in ["a", "b", "c", "d", "e"] {
        GrayImage::new(64, 64).save(root.join(format!("{name}.png"))).unwrap();
        fs::write(root.join(format!("out/{name}.png")), "kept").unwrap();
    }
    let args = ["a.png", "b.png", "c.png", "d.png", "e.png", "--weights", "w.safetensors", "--out", "out"];
    let text = fail(root, 2, &[&["colorize"], &args[..]].concat());
    says(&text, &["5 files are there already (out/a.png, out/b.png, out/c.png and 2 more)", "--force"]);
    let text = fail(root, 2, &[&["colorize"], &args[4..]].concat());
    says(&text, &["out/e.png is there already: write to another place, or replace it with --force"]);
    assert_eq!(fs::read(root.join("out/a.png")).unwrap(), b"kept");
}

/// The hub's own folder, as it is after a file was fetched; there is no network here.
#[test]
fn weights_may_be_on_a_hub() {
    let folder = tempdir().unwrap();
    let root = folder.path();
    GrayImage::from_fn(40, 30, |x, y| Luma([level(x, y)])).save(root.join("photo.png")).unwrap();
    let cache = root.join("hub/hub/models--lab--colour");
    fs::create_dir_all(cache.join("refs")).unwrap();
    fs::create_dir_all(cache.join("snapshots/abc/small")).unwrap();
    fs::write(cache.join("refs/main"), "abc").unwrap();
    write_lite_weights(&cache.join("snapshots/abc/small/w.safetensors"));
    let colormamba = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_colormamba"));
        command.args(args).current_dir(root);
        command.env("HF_HOME", root.join("hub")).env("HF_ENDPOINT", "http://127.0.0.1:9").output().unwrap()
    };
    let colorize = |weights: &str| colormamba(&["colorize", "photo.png", "--force", "--weights", weights]);
    assert!(colorize("hf://lab/colour/small/w.safetensors").status.success());
    let refused = |weights: &str, code: i32, wanted: &str| {
        let output = colorize(weights);
        assert_eq!(output.status.code(), Some(code));
        says(&String::from_utf8(output.stderr).unwrap(), &[wanted]);
    };
    refused("hf://lab/colour", 2, "hf://lab/colour is no file on a hub: those are named hf://OWNER/REPOSITORY/FILE");
    refused("hf://lab/colour/w.pth", 1, "cannot fetch hf://lab/colour/w.pth; without a network, name a file");
    // Wherever weights are named.
    let there = "hf://lab/colour/small/w.safetensors";
    succeed(root, &["data", "synth", "--out", "images", "--count", "1", "--size", "64"]);
    assert!(colormamba(&["eval", there, "--data", "images"]).status.success());
    let lite = TINY.replace("width = 8\ndepth = 6\nedge_map = \"spatial\"", "kind = \"lite\"\nwidth = 4");
    let distill = format!("[distill]\nteachers = [\"{there}\"]\nloss.mse = 1.0\n");
    fs::write(
        root.join("m.toml"),
        lite.split("[[variant]]\nname = \"adversarial\"").next().unwrap().to_string() + &distill,
    )
    .unwrap();
    let init = format!("model.init=\"{there}\"");
    let output = colormamba(&["run", "m.toml", "--quiet", "--set", "train.epochs=1", "--set", &init]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let provenance = fs::read_to_string(root.join("runs/tiny/mse/seed-1/provenance.toml")).unwrap();
    assert_eq!(provenance.matches(&format!("path = \"{there}\"")).count(), 2, "{provenance}");
}

/// A step of a byte is 1/127 of a kernel's largest weight: the colours are nearly the same.
#[test]
fn weights_of_8_bits_give_nearly_the_same_colours() {
    let folder = tempdir().unwrap();
    let root = folder.path();
    write_lite_weights(&root.join("w.safetensors"));
    GrayImage::from_fn(64, 48, |x, y| Luma([level(x, y)])).save(root.join("photo.png")).unwrap();
    let (exact, _) = result(root, &[]);
    succeed(root, &["weights", "export", "w.safetensors", "--int8", "--out", "bytes.safetensors"]);
    fs::rename(root.join("bytes.safetensors"), root.join("w.safetensors")).unwrap();
    let (rounded, _) = result(root, &[]);
    let apart: f64 = exact.iter().zip(rounded.iter()).map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
    let apart = apart / exact.len() as f64;
    assert!(apart > 0.0 && apart < 2.0, "{apart} grey levels");
}
