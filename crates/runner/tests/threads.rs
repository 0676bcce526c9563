//! Training with 1, 2 and 8 threads: the same losses, and the same bits for the same number.

use crate::common::TINY;
use std::fs;
use std::process::Command;
use tempfile::tempdir;

/// Every number that two steps log, times left out, and the weights after them.
fn train(threads: &str) -> (Vec<f64>, Vec<u8>) {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("m.toml"), TINY).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_colormamba"));
    command.args(["--threads", threads, "run", "m.toml", "--quiet", "--variant", "mse", "--stop-after", "2"]);
    let output = command.current_dir(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let run = folder.path().join("runs/tiny/mse/seed-1");
    let mut losses = Vec::new();
    for line in fs::read_to_string(run.join("steps.jsonl")).unwrap().lines() {
        let step: serde_json::Value = serde_json::from_str(line).unwrap();
        losses.push(step["g_loss"][0]["total"].as_f64().unwrap());
    }
    assert_eq!(losses.len(), 2);
    (losses, fs::read(run.join("checkpoints/last.safetensors")).unwrap())
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let (two, weights) = train("2");
    assert_eq!((two.clone(), weights), train("2"), "two runs on two threads differ");
    for threads in ["1", "8"] {
        let (other, _) = train(threads);
        for (a, b) in two.iter().zip(&other) {
            assert!((a - b).abs() <= 1e-6 * a.abs(), "{threads} threads: {b}, two threads: {a}");
        }
    }
}
