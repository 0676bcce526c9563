//! What weights tell of the images that they were trained on.

use crate::common;
use crate::common::{TINY, colormamba, says, succeed};
use colormamba::checkpoint;
use image::{Rgb, RgbImage};
use std::fs;
use std::path::Path;
use tempfile::{TempDir, tempdir};

const BEST: &str = "runs/tiny/mse/seed-1/checkpoints/best.safetensors";

/// Standard error of what must succeed.
fn said(root: &Path, args: &[&str]) -> String {
    let output = colormamba(root, args);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{args:?}: {text}");
    text
}

/// Trained for a step on photographs of a camera of 12 bits, whose red channel is the near infrared.
fn trained() -> TempDir {
    let folder = tempdir().unwrap();
    let root = folder.path();
    succeed(root, &["data", "synth", "--out", "images", "--count", "4", "--size", "64"]);
    let description = include_str!("../../../datasets/vcip2020.toml");
    let description = description.replacen("name = \"vcip2020\"", "name = \"own\"", 1);
    let described = description.replacen("[terms]", "bits = 12\nchannel = \"red\"\n[terms]", 1);
    fs::write(root.join("own.toml"), described).unwrap();
    let synthetic = "synthetic = { seed = 0, train = 4, validation = 2, test = 1 }\n";
    let manifest = TINY.replace("\"synthetic\"", "\"own.toml\"").replace(synthetic, "root = \"images\"\n");
    fs::write(root.join("m.toml"), manifest).unwrap();
    said(root, &["run", "m.toml", "--quiet", "--variant", "mse", "--set", "train.epochs=1"]);
    folder
}

#[test]
fn photographs_are_read_as_those_of_the_training() {
    let folder = trained();
    let root = folder.path();
    let header = checkpoint::metadata(&root.join(BEST)).unwrap();
    let told = ["dataset", "subset", "bits", "channel", "fit"].map(|key| header[key].as_str());
    assert_eq!(told, ["own", "published", "12", "red", "squeeze"]);
    image::ImageBuffer::from_fn(64, 64, |x, y| Rgb([(60 * x) as u16, (50 * y) as u16, 900]))
        .save(root.join("photo.png"))
        .unwrap();
    let result = |weights: &str, options: &[&str]| -> (RgbImage, String) {
        let args = ["colorize", "photo.png", "--weights", weights, "--out", "out", "--force"];
        let said = said(root, &[&args[..], options].concat());
        (image::open(root.join("out/photo.png")).unwrap().into_rgb8(), said)
    };
    let note = "note: the photographs are read as those of the weights' training: ";
    let (taken, text) = result(BEST, &[]);
    assert_eq!(text, format!("{note}bits = 12, channel = red\n"));
    let (asked, text) = result(BEST, &["--bits", "12", "--channel", "red"]);
    assert_eq!((text.as_str(), &asked), ("", &taken));
    let (other, text) = result(BEST, &["--bits", "16"]);
    assert_eq!(text, format!("{note}channel = red\n"));
    assert_ne!(other, taken);

    // A checkpoint of an earlier version does not tell.
    let mut before = checkpoint::load(&root.join(BEST), &candle_core::Device::Cpu).unwrap();
    ["dataset", "subset", "bits", "channel", "fit"].iter().for_each(|key| _ = before.metadata.remove(*key));
    checkpoint::save(&root.join("before.safetensors"), &before.tensors, &before.metadata).unwrap();
    let (_, text) = result("before.safetensors", &["--bits", "12"]);
    assert_eq!(
        text,
        "note: photo.png: of its channels the luma is taken for the near infrared (--channel takes another)\n"
    );
    assert_eq!(result("before.safetensors", &["--bits", "12", "--channel", "red"]).0, taken);

    // One that was changed by hand.
    before.metadata.insert("bits".into(), "13".into());
    checkpoint::save(&root.join("wrong.safetensors"), &before.tensors, &before.metadata).unwrap();
    let text = common::fail(root, 1, &["colorize", "photo.png", "--weights", "wrong.safetensors", "--out", "none"]);
    says(&text, &["wrong.safetensors: the header says bits = 13, which is not known"]);
}

#[test]
fn weights_of_another_dataset_are_told_by_name() {
    let folder = trained();
    let root = folder.path();
    let eval = |weights: &str, more: &[&str]| {
        said(root, &[&["eval", weights, "--data", "images", "--split", "test"], more].concat())
    };
    let words = "was trained on own, these images are of vcip2020";
    let text = eval(BEST, &[]);
    assert_eq!(text.matches(&format!("{BEST} {words}\n")).count(), 1, "{text}");
    assert!(!eval(BEST, &["--dataset", "own.toml"]).contains("was trained on"));
    // Other images, of which it cannot be told whether it knows them.
    let mut other = checkpoint::load(&root.join(BEST), &candle_core::Device::Cpu).unwrap();
    other.metadata.insert("fingerprint".into(), "0".into());
    other.metadata.insert("subset".into(), "clean".into());
    checkpoint::save(&root.join("other.safetensors"), &other.tensors, &other.metadata).unwrap();
    let words = "other.safetensors was trained on own/clean, these images are of own; whether it knows some of them";
    says(&eval("other.safetensors", &["--dataset", "own.toml"]), &[words]);

    let fresh = format!("model.init=\"{BEST}\"");
    let run = |name: &str, more: &[&str]| {
        let name = format!("name=\"{name}\"");
        let args = ["run", "m.toml", "--quiet", "--variant", "mse", "--set", &name, "--set", &fresh];
        said(root, &[&args[..], &["--set", "train.epochs=1"], more].concat())
    };
    let text = run("elsewhere", &["--set", "data.dataset=\"vcip2020\""]);
    let wanted = format!("warning: model.init: {BEST} was trained on own, these images are of vcip2020\n");
    assert_eq!(text.matches(&wanted).count(), 1, "{text}");
    assert!(!run("again", &[]).contains("model.init"));
}
