//! A folder that has no validation images is trained on all the same.

use crate::common::{TINY, colormamba, fail, says, succeed};
use std::fs;
use std::path::Path;
use tempfile::{TempDir, tempdir};

const RUN: &str = "runs/tiny/mse/seed-1";

/// [`TINY`] on four pairs in the layout of VCIP2020, without its folder of validation images.
fn folder() -> TempDir {
    let folder = tempdir().unwrap();
    let root = folder.path();
    succeed(root, &["data", "synth", "--out", "images", "--count", "4", "--size", "64"]);
    fs::remove_dir_all(root.join("images/Validation")).unwrap();
    let manifest = TINY
        .replace("dataset = \"synthetic\"", "dataset = \"own.toml\"")
        .replace("synthetic = { seed = 0, train = 4, validation = 2, test = 1 }\n", "");
    fs::write(root.join("m.toml"), manifest).unwrap();
    describe(root, "");
    folder
}

fn describe(root: &Path, more: &str) {
    let text = include_str!("../../../datasets/vcip2020.toml").replacen("[terms]", &format!("{more}\n[terms]"), 1);
    fs::write(root.join("own.toml"), text).unwrap();
}

fn run(root: &Path, more: &[&str]) -> (String, String) {
    let output =
        colormamba(root, &[&["run", "m.toml", "--variant", "mse", "--data", "images", "--quiet"], more].concat());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    assert!(output.status.success(), "{}", text(output.stderr));
    (text(output.stdout), text(output.stderr))
}

#[test]
fn the_last_weights_are_kept() {
    let folder = folder();
    let root = folder.path();
    let best = || fs::read(root.join(RUN).join("checkpoints/best.safetensors")).unwrap();
    let (table, said) = run(root, &["--set", "train.epochs=1"]);
    says(&said, &["there are no validation pairs: the last weights are kept", "`holdout = 0.1`"]);
    assert_eq!(table, "");
    let first = best();
    run(root, &[]);
    assert_ne!(best(), first, "those of the second epoch");
    let epochs = fs::read_to_string(root.join(RUN).join("epochs.jsonl")).unwrap();
    assert_eq!(epochs.matches("\"validation\":{},\"best\":true").count(), 2, "{epochs}");
    let instead =
        |path: &str| format!("colormamba eval {path} --split test, then colormamba table {path} --split test");
    says(&fail(root, 1, &["table", RUN]), &["there are no validation images", &instead(RUN)]);
    says(
        &fail(root, 1, &["table", "runs/tiny"]),
        &["not scored: there are no validation images", &instead("runs/tiny")],
    );
    let text = fail(root, 1, &["eval", RUN, "--data", "images"]);
    says(&text, &["the validation split of vcip2020 is empty: score --split train or --split test"]);
    assert!(!text.contains("scoring"), "nothing is scored: {text}");
    let table = succeed(root, &["eval", RUN, "--data", "images", "--split", "test"]);
    says(&table, &["test split", "| mse | 1 |"]);
    succeed(root, &["table", RUN, "--split", "test"]);
}

/// Before a run is begun.
#[test]
fn init_and_check_say_it_too() {
    let folder = folder();
    let root = folder.path();
    let said = |args: &[&str]| {
        let output = colormamba(root, &[args, &["--data", "images"]].concat());
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{text}");
        text
    };
    let missing = "vcip2020: there are no validation pairs: the last weights are kept";
    let init = ["init", "new.toml", "--dataset", "vcip2020"];
    says(&said(&init), &[missing]);
    let check = ["data", "check", "vcip2020"];
    says(&said(&check), &[missing]);
    describe(root, "holdout = 0.25");
    let held_out = said(&["data", "check", "own.toml"]);
    assert!(!held_out.contains("no validation pairs"), "{held_out}");
    // The second of the training pairs becomes wider than it is high.
    for (dir, end) in [("NIR", "nir"), ("RGB-Registered", "rgb_reg")] {
        let path = root.join(format!("images/{dir}/synthetic_0001_{end}.png"));
        let wide = image::open(&path).unwrap().resize_exact(96, 64, image::imageops::FilterType::Nearest);
        wide.save(&path).unwrap();
    }
    // The sizes of VCIP2020's images are all one.
    let text = fs::read_to_string(root.join("own.toml")).unwrap();
    let size = text.lines().find(|line| line.starts_with("size = ")).unwrap();
    assert!(text.contains("fit = \"squeeze\""));
    fs::write(root.join("own.toml"), text.replacen(size, "", 1).replace("\"squeeze\"", "\"crop\"")).unwrap();
    let cropped = "synthetic_0001_rgb_reg.png: not square: its centre is taken (fit = crop in the description)";
    says(&said(&["data", "check", "own.toml"]), &[cropped]);
    says(&said(&["init", "wide.toml", "--dataset", "own.toml"]), &[cropped]);
    assert!(run(root, &[]).1.contains(cropped));
}

#[test]
fn a_part_is_held_out_if_the_description_says_so() {
    let folder = folder();
    let root = folder.path();
    describe(root, "holdout = 0.25");
    let (table, said) = run(root, &[]);
    says(&table, &["validation split", "| mse | 1 |"]);
    says(&said, &["1 of the 4 training pairs are held out for validation"]);
}
