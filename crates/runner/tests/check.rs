//! `colormamba data check`, and subsets of a dataset.

mod common;

use common::{TINY, fail, says, succeed};
use serde_json::Value;
use std::fs;
use tempfile::{TempDir, tempdir};

/// Eight training pairs and one for validation, in the layout of VCIP2020.
fn folder() -> TempDir {
    let folder = tempdir().unwrap();
    succeed(folder.path(), &["data", "synth", "--out", "images", "--count", "8", "--size", "256"]);
    folder
}

#[test]
fn a_copy_in_another_split_is_a_leak() {
    let folder = folder();
    let images = folder.path().join("images");
    let text = succeed(folder.path(), &["data", "check", "vcip2020", "--data", "images"]);
    says(&text, &["vcip2020", "train", "8"]);
    let name = |dir: &str| fs::read_dir(images.join(dir)).unwrap().next().unwrap().unwrap().path();
    let nir = name("NIR");
    let rgb = images
        .join("RGB-Registered")
        .join(nir.file_name().unwrap().to_str().unwrap().replace("_nir.png", "_rgb_reg.png"));
    fs::copy(nir, images.join("Validation/validation_0009_nir.png")).unwrap();
    fs::copy(rgb, images.join("Validation/validation_0009_rgb_reg.png")).unwrap();
    let args = ["data", "check", "vcip2020", "--data", "images", "--json", "--sheet", "sheet.png"];
    says(&fail(folder.path(), 1, &args), &["vcip2020, subset published: pairs or scenes are in more than one split"]);
    let output = common::colormamba(folder.path(), &args);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["duplicates"].as_array().unwrap().len(), 1, "{report}");
    assert!(folder.path().join("sheet.png").exists());
}

#[test]
fn what_cannot_be_checked() {
    let folder = tempdir().unwrap();
    let text = fail(folder.path(), 2, &["data", "check", "vcip2021", "--data", "."]);
    says(&text, &["vcip2021", "vcip2020"]);
    let text = fail(folder.path(), 2, &["data", "check", "vcip2020", "--data", ".", "--subset", "clear"]);
    says(&text, &["clear", "clean", "no-train-duplicates", "published"]);
    let text = fail(folder.path(), 1, &["data", "check", "vcip2020", "--data", "nowhere"]);
    says(&text, &["nowhere"]);
}

/// A subset that the folder cannot serve is refused, and a misspelt one before anything is read.
#[test]
fn a_manifest_names_its_subset() {
    let folder = folder();
    let photographs = TINY
        .replace("dataset = \"synthetic\"", "dataset = \"vcip2020\"\nsubset = \"clean\"")
        .replace("synthetic = { seed = 0, train = 4, validation = 2, test = 1 }\n", "");
    fs::write(folder.path().join("m.toml"), &photographs).unwrap();
    let text = fail(folder.path(), 1, &["run", "m.toml", "--data", "images"]);
    says(&text, &["clean"]);
    fs::write(folder.path().join("m.toml"), photographs.replace("\"clean\"", "\"clear\"")).unwrap();
    says(
        &fail(folder.path(), 2, &["run", "m.toml", "--data", "images"]),
        &["unknown subset `clear`, did you mean `clean`?"],
    );
    let text = fail(folder.path(), 2, &["eval", "w.pth", "--data", "images", "--subset", "clear"]);
    says(&text, &["clear", "clean"]);
}

/// The published splits overlap, and whoever uses them is told.
#[test]
fn the_published_splits_come_with_a_warning() {
    let folder = folder();
    let photographs = TINY
        .replace("dataset = \"synthetic\"", "dataset = \"vcip2020\"")
        .replace("synthetic = { seed = 0, train = 4, validation = 2, test = 1 }\n", "");
    fs::write(folder.path().join("m.toml"), photographs).unwrap();
    let args = ["run", "m.toml", "--data", "images", "--variant", "mse", "--quiet", "--stop-after", "1"];
    says(&fail(folder.path(), 1, &args), &["warning: vcip2020, published: "]);
}
