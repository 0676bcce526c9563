//! Whole runs of the real binary.

use crate::common::{TINY, fail, says, succeed};
use serde_json::Value;
use std::fs;
use std::path::Path;
use tempfile::{TempDir, tempdir};

fn folder() -> TempDir {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("m.toml"), TINY).unwrap();
    folder
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// `steps.jsonl` without the time that each step took.
fn steps(run: &Path) -> Vec<Value> {
    let mut lines = lines(&run.join("steps.jsonl"));
    for line in &mut lines {
        line.as_object_mut().unwrap().remove("seconds").unwrap();
    }
    lines
}

#[test]
fn an_interrupted_run_ends_with_the_same_bits() {
    let (straight, broken) = (folder(), folder());
    let table = succeed(straight.path(), &["run", "m.toml", "--quiet"]);
    // In the middle of an epoch, exactly at the end of one before it is validated, and in the other variant.
    for steps in ["1", "3", "3"] {
        fail(broken.path(), 1, &["run", "m.toml", "--quiet", "--stop-after", steps]);
    }
    assert_eq!(succeed(broken.path(), &["run", "m.toml", "--quiet"]), table);
    for variant in ["mse", "adversarial"] {
        let run = |root: &TempDir| root.path().join("runs/tiny").join(variant).join("seed-1");
        let (a, b) = (run(&straight), run(&broken));
        for file in
            ["checkpoints/last.safetensors", "checkpoints/best.safetensors", "epochs.jsonl", "eval/validation.jsonl"]
        {
            assert!(fs::read(a.join(file)).unwrap() == fs::read(b.join(file)).unwrap(), "{variant}/{file} differs");
        }
        assert_eq!(steps(&a), steps(&b), "{variant}");
    }
    check_study(&straight.path().join("runs/tiny"), &table);
    check_eval(straight.path());
}

fn check_study(study: &Path, table: &str) {
    says(table, &["protocol raw", "validation split", "psnr[rgb,L=1]"]);
    for row in ["NIR copied", "mean training colour", "NIR→RGB lookup", "mse", "adversarial"] {
        assert!(table.lines().any(|line| line.starts_with(&format!("| {row} |"))), "{row} in {table}");
    }
    assert_eq!(fs::read_to_string(study.join("table.md")).unwrap(), table);
    says(&fs::read_to_string(study.join("table.tex")).unwrap(), &["\\begin{tabular}"]);
    let sheet = image::open(study.join("contact-sheet.png")).unwrap();
    assert_eq!((sheet.width(), sheet.height()), (4 * 132, 16 + 2 * 132));
    let run = study.join("adversarial/seed-1");
    let provenance = fs::read_to_string(run.join("provenance.toml")).unwrap();
    says(&provenance, &["version = ", "dataset = \"synthetic\"", "init = ", "threads = 2", "started = \"2"]);
    assert_eq!(lines(&run.join("eval/validation.jsonl")).len(), 2);
    assert_eq!(fs::read_dir(run.join("images/validation")).unwrap().count(), 2);
    let steps = lines(&run.join("steps.jsonl"));
    assert_eq!(steps.len(), 4);
    let last = &steps[3];
    assert_eq!((last["step"].as_u64(), last["epoch"].as_u64(), last["lr"].as_f64()), (Some(4), Some(2), Some(5e-4)));
    assert_eq!((last["d_loss"].as_array().unwrap().len(), last["g_loss"].as_array().unwrap().len()), (1, 2));
    let g = &last["g_loss"][1];
    let shares = [&g["adversarial"], &g["rgb"]["mse"], &g["rgb"]["l1"], &g["hsv"]["mse"]];
    let sum: f64 = shares.iter().map(|share| share["weighted"].as_f64().unwrap()).sum();
    let total = g["total"].as_f64().unwrap();
    assert!((sum - total).abs() < 1e-5 * total, "{sum} is not {total}");
    assert!(steps[0]["g_loss"][0]["total"].as_f64() > g["total"].as_f64(), "four steps lower the loss");
}

fn check_eval(folder: &Path) {
    let run = "runs/tiny/mse/seed-1";
    let first = fs::read(folder.join(run).join("eval/validation.jsonl")).unwrap();
    succeed(folder, &["eval", run]);
    assert!(
        first == fs::read(folder.join(run).join("eval/validation.jsonl")).unwrap(),
        "scoring again changes nothing"
    );
    says(
        &succeed(folder, &["eval", run, "--split", "test"]),
        &["test split", "1 image;", "| NIR copied |", "| mse | 1 |"],
    );
    says(&succeed(folder, &["table", run, "--split", "test", "--format", "csv"]), &["\nmse,1,1,"]);
    // The run's own manifest is complete: it says that all is done.
    let resolved = folder.join(run).join("manifest.toml");
    says(&succeed(folder, &["run", resolved.to_str().unwrap(), "--quiet"]), &["| mse |", "| adversarial |"]);
    says(&fs::read_to_string(folder.join("runs/tiny/table.md")).unwrap(), &["| adversarial |"]);
    succeed(folder, &["data", "synth", "--out", "images", "--count", "2", "--size", "64"]);
    let weights = format!("{run}/checkpoints/best.safetensors");
    let text = succeed(folder, &["eval", &weights, "--data", "images", "--out", "new/scores.jsonl"]);
    says(&text, &["vcip2020", "| NIR copied |", "| best | 1 |"]);
    assert_eq!(lines(&folder.join("new/scores.jsonl")).len(), 1);
}

#[test]
fn events_are_json_lines() {
    let folder = folder();
    let text =
        succeed(folder.path(), &["run", "m.toml", "--json", "--variant", "mse", "--set", "train.steps_per_epoch=1"]);
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["step", "epoch", "step", "epoch", "table"]);
    assert_eq!(events[0]["run"], "mse seed 1");
}

#[test]
fn every_manifest_of_the_repository_is_right() {
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../experiments")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "toml") {
            let manifest = colormamba_runner::manifest::Manifest::load(&path, &[]).unwrap_or_else(|e| panic!("{e}"));
            let text = manifest.to_toml().unwrap();
            let again = colormamba_runner::manifest::Manifest::parse("again", &text, &[]);
            assert_eq!(again.unwrap_or_else(|e| panic!("{e}\n{text}")), manifest);
        }
    }
}
