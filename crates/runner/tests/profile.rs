//! `run --profile`.

use crate::common::{TINY, fail, says, succeed};
use serde_json::Value;
use std::fs;
use tempfile::{TempDir, tempdir};

fn folder() -> TempDir {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("m.toml"), TINY).unwrap();
    folder
}

fn number(line: &Value, key: &str) -> f64 {
    line[key].as_f64().unwrap_or_else(|| panic!("no {key} in {line}"))
}

/// The cells of a table's rows.
fn cells(table: &str) -> Vec<Vec<&str>> {
    let rows = table.lines().filter(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

#[test]
fn a_table_of_one_iteration_and_nothing_else() {
    let folder = folder();
    let text = succeed(folder.path(), &["run", "m.toml", "--profile", "--variant", "adversarial"]);
    says(&text, &["One iteration of adversarial seed 1", "peak memory"]);
    let cells = cells(&text);
    let (head, rows) = (&cells[0], &cells[2..]);
    assert_eq!(head[..2], ["operation", "calls"]);
    assert!(rows.iter().all(|row| row.len() == head.len()), "{text}");
    let row = |name: &str| rows.iter().find(|row| row[0] == name).unwrap_or_else(|| panic!("no {name} in {text}"));
    for name in ["conv2d", "selective scan in 4 directions", "linear", "total"] {
        assert!(row(name)[5].parse::<f64>().unwrap() > 0.0, "GFLOP/s of {name}: {text}");
    }
    for name in ["GELU", "mean distance", "Adam", "data"] {
        assert_eq!(row(name)[5], "–", "{text}");
    }
    assert_eq!(rows.last().unwrap()[0], "total");
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["m.toml"]);
}

#[test]
fn lines_of_json() {
    let text = succeed(folder().path(), &["run", "m.toml", "--profile", "--json"]);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (total, operations) = lines.split_last().unwrap();
    assert_eq!((&total["event"], &total["run"]), (&"profile".into(), &"mse seed 1".into()));
    assert!(number(total, "peak_live_bytes") > number(&operations[0], "memory_kept_bytes"));
    assert!(operations.iter().all(|line| line["event"] == "operation"), "{text}");
    let times = |line: &Value| number(line, "forward_seconds") + number(line, "backward_seconds");
    assert!(operations.is_sorted_by(|a, b| times(a) >= times(b)), "{text}");
    let (sum, whole) = (operations.iter().map(times).sum::<f64>(), number(total, "seconds"));
    assert!((sum - whole).abs() < 1e-6 * whole, "{sum} of {whole} seconds");
    let conv = operations.iter().find(|line| line["operation"] == "conv2d").unwrap();
    assert!(number(conv, "flops") > 0.0 && number(conv, "flops") < number(total, "flops"));
}

#[test]
fn options_that_only_a_training_has() {
    let folder = folder();
    for option in [["--stop-after", "1"], ["--out", "elsewhere"]] {
        let args = [&["run", "m.toml", "--profile"][..], &option].concat();
        says(&fail(folder.path(), 2, &args), &["--profile", option[0]]);
    }
}
