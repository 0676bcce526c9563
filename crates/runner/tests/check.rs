//! `colormamba data check`, and subsets of a dataset.

use crate::common;
use crate::common::{TINY, fail, says, succeed};
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
    let args = ["data", "check", "vcip2020", "--data", "images", "--json", "--sheet", "sheet.png", "--force"];
    says(&fail(folder.path(), 1, &args), &["vcip2020, subset published: pairs or scenes are in more than one split"]);
    let output = common::colormamba(folder.path(), &args);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["duplicates"].as_array().unwrap().len(), 1, "{report}");
    assert!(folder.path().join("sheet.png").exists());
}

#[test]
fn a_sheet_that_is_asked_for_is_written() {
    let folder = folder();
    let args = ["data", "check", "vcip2020", "--data", "images", "--sheet", "sheet.png", "--force"];
    let sheet = || image::open(folder.path().join("sheet.png")).unwrap().into_rgb8();
    succeed(folder.path(), &args);
    let black = |sheet: &image::RgbImage| sheet.pixels().filter(|pixel| pixel.0 == [0; 3]).count();
    assert_eq!(sheet().dimensions(), (132, 16));
    assert!(black(&sheet()) > 100, "it says that there is nothing to show");

    // A pair with a NIR image that cannot be read has the RGB image of another: both are shown, as far as they can be.
    let images = folder.path().join("images");
    fs::copy(images.join("Testing/Testing_0000_rgb_reg.png"), images.join("Validation/validation_0009_rgb_reg.png"))
        .unwrap();
    fs::write(images.join("Validation/validation_0009_nir.png"), "not an image").unwrap();
    let text = fail(folder.path(), 1, &args);
    says(&text, &["pairs or scenes are in more than one split"]);
    let sheet = sheet();
    assert_eq!(sheet.dimensions(), (4 * 260, 16 + 2 * 260));
    // The flawed pair alone, then beside its duplicate.
    let tile = |row: u32, column: u32| sheet.get_pixel(column * 260, 16 + row * 260).0;
    assert_eq!([tile(0, 0), tile(1, 0)], [[200; 3]; 2]);
    assert!(tile(0, 1) != [200; 3] && tile(1, 2) != [200; 3]);
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

#[test]
fn images_of_one_data_set_in_another() {
    let folder = tempdir().unwrap();
    let root = folder.path();
    for (out, seed) in [("images", "0"), ("other", "1")] {
        succeed(root, &["data", "synth", "--out", out, "--count", "2", "--size", "128", "--seed", seed]);
    }
    let args = ["data", "check", "vcip2020", "--data", "images", "--against", "vcip2020"];
    let against = [&args[..], &["--against-data", "other"]].concat();
    says(&succeed(root, &against), &["4 pairs of vcip2020, subset published", "0 of the 4 pairs were found there."]);
    for (from, to) in [("Testing/testing_0000_nir_reg.png", "nir"), ("Testing/Testing_0000_rgb_reg.png", "rgb_reg")] {
        let to = root.join(format!("other/Validation/validation_0009_{to}.png"));
        fs::copy(root.join("images").join(from), to).unwrap();
    }
    says(
        &fail(root, 1, &against),
        &["1 of the 4 pairs of vcip2020, subset published are in vcip2020, subset published"],
    );
    let output = common::colormamba(root, &[&against[..], &["--json"]].concat());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["found"][0]["pair"]["name"], "testing_0000");
    assert_eq!(report["found"][0]["other"]["name"], "validation_0009");
    assert_eq!(report["found"][0]["kind"]["equal"], "pair");
    // Another folder that holds nothing of the names is no proof.
    fs::create_dir_all(root.join("empty/NIR")).unwrap();
    fs::create_dir_all(root.join("empty/RGB-Registered")).unwrap();
    let empty = [&args[..], &["--against-data", "empty"]].concat();
    says(&fail(root, 1, &empty), &["empty: no image follows the names of vcip2020"]);
    says(&fail(root, 2, &args), &["--against-data"]);
}
