//! What is left of a study, and studies of which a run fails.

use crate::common::{TINY, colormamba, fail, says, succeed};
use serde_json::Value;
use std::fs;
use tempfile::{TempDir, tempdir};

fn folder(manifest: &str) -> TempDir {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("m.toml"), manifest).unwrap();
    folder
}

#[test]
fn a_plan_lists_what_is_left_and_writes_nothing() {
    let folder = folder(TINY);
    let root = folder.path();
    let plan = ["plan", "m.toml", "--set", "seeds=[1,2]"];
    let table = succeed(root, &plan);
    says(&table, &["| mse/seed-1 | 4 | 0 | ", "| adversarial/seed-2 | 4 | 0 | ", "4 of 4 runs left: "]);
    assert!(!root.join("runs").exists());
    fail(root, 1, &["run", "m.toml", "--quiet", "--stop-after", "5"]);
    let lines = succeed(root, &[&plan[..], &["--json"]].concat());
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |key: &str| lines.iter().map(|line| line[key].clone()).collect::<Vec<_>>();
    assert_eq!(of("id"), ["mse/seed-1", "mse/seed-2", "adversarial/seed-1", "adversarial/seed-2"]);
    assert_eq!(of("done"), [4, 0, 1, 0]);
    let measured: Vec<bool> =
        of("seconds_per_step").iter().map(|seconds| seconds.as_f64().is_some_and(|s| s > 0.0)).collect();
    assert_eq!(measured, [false, true, true, true]);
    says(&fail(root, 2, &["plan", "m.toml", "--seed", "7"]), &["no seed 7"]);
    says(&fail(root, 1, &["plan", "m.toml", "--set", "train.batch=1"]), &["holds a run of another manifest"]);
}

#[test]
fn a_run_that_fails_is_recorded_and_the_others_are_trained() {
    // Its loss overflows in the first step.
    let folder = folder(&TINY.replacen("loss.rgb = { mse = 100 }", "loss.rgb = { mse = 1e39 }", 1));
    let root = folder.path();
    let output = colormamba(root, &["run", "m.toml", "--quiet"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    says(&text, &["error: mse seed 1: ", "error: 1 of 2 runs failed: mse seed 1"]);
    let table = String::from_utf8(output.stdout).unwrap();
    says(&table, &["| adversarial | 1 |", "Not in this table: mse seed 1: it failed: "]);
    let failed = root.join("runs/tiny/mse/seed-1/failed.txt");
    says(&text, &[&fs::read_to_string(&failed).unwrap()]);
    fs::write(&failed, "the machine was ill").unwrap();
    says(&succeed(root, &["plan", "m.toml"]), &["mse/seed-1 failed: the machine was ill"]);
    says(
        &succeed(root, &["table", "runs/tiny"]),
        &["it failed: the machine was ill; this tries it again: colormamba run"],
    );
    // It is forgotten when the run goes on.
    fs::write(root.join("m.toml"), TINY).unwrap();
    fail(root, 1, &["run", "m.toml", "--quiet", "--variant", "mse", "--stop-after", "1"]);
    assert!(!failed.exists());
}
