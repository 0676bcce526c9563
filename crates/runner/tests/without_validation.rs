//! A folder that has no validation images is trained on all the same.

mod common;

use common::{TINY, colormamba, fail, says, succeed};
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

#[test]
fn a_part_is_held_out_if_the_description_says_so() {
    let folder = folder();
    let root = folder.path();
    describe(root, "holdout = 0.25");
    let (table, said) = run(root, &[]);
    says(&table, &["validation split", "| mse | 1 |"]);
    says(&said, &["1 of the 4 training pairs are held out for validation"]);
}
