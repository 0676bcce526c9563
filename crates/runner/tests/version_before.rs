//! A run folder that an earlier version left behind.
//!
//! `fixtures/before` is a run that version 0.1.0 stopped after 3 of its 4 steps, with what that version logged when it went
//! on. Everything that a checkpoint holds is in it: two discriminators, learned weights of terms, all optimizers. (To keep it
//! small, most of the generator's weights were set to constants after the first step.)

use crate::common;
use crate::common::{fail, succeed};
use flate2::read::GzDecoder;
use serde_json::Value;
use std::fs::{self, File};
use std::path::Path;

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/before");

/// Puts the run where the program looks for it.
fn unpack(root: &Path) {
    let run = root.join("runs/before/everything/seed-1");
    fs::create_dir_all(run.join("checkpoints")).unwrap();
    for name in ["manifest.toml", "provenance.toml", "steps.jsonl", "epochs.jsonl"] {
        fs::copy(Path::new(FIXTURE).join(name), run.join(name)).unwrap();
    }
    let mut packed = GzDecoder::new(File::open(Path::new(FIXTURE).join("last.safetensors.gz")).unwrap());
    std::io::copy(&mut packed, &mut File::create(run.join("checkpoints/last.safetensors")).unwrap()).unwrap();
    fs::copy(run.join("manifest.toml"), root.join("m.toml")).unwrap();
}

/// Every number within rounding of that of the other processor that the fixture was made on, all else equal.
fn assert_near(at: &str, got: &Value, want: &Value) {
    match (got, want) {
        (Value::Object(got), Value::Object(want)) => {
            let keys = |map: &serde_json::Map<String, Value>| map.keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(got), keys(want), "{at}");
            got.iter()
                .filter(|(key, _)| *key != "seconds")
                .for_each(|(k, v)| assert_near(&format!("{at}.{k}"), v, &want[k]));
        }
        (Value::Array(got), Value::Array(want)) => {
            assert_eq!(got.len(), want.len(), "{at}");
            got.iter().zip(want).for_each(|(got, want)| assert_near(at, got, want));
        }
        (Value::Number(got), Value::Number(want)) => {
            let (got, want) = (got.as_f64().unwrap(), want.as_f64().unwrap());
            assert!((got - want).abs() <= 1e-4 * want.abs() + 1e-9, "{at}: {got}, not {want}");
        }
        (got, want) => assert_eq!(got, want, "{at}"),
    }
}

#[test]
fn it_goes_on_as_it_would_have() {
    let folder = tempfile::tempdir().unwrap();
    unpack(folder.path());
    succeed(folder.path(), &["run", "m.toml", "--quiet"]);
    let run = folder.path().join("runs/before/everything/seed-1");
    for (log, next) in [("steps.jsonl", "next-step.jsonl"), ("epochs.jsonl", "next-epoch.jsonl")] {
        let fixture = |name| fs::read_to_string(Path::new(FIXTURE).join(name)).unwrap();
        let text = fs::read_to_string(run.join(log)).unwrap();
        let (before, last) = text.trim_end().rsplit_once('\n').unwrap();
        assert_eq!(before, fixture(log).trim_end(), "{log}");
        let [got, want] = [last, &fixture(next)].map(|line| serde_json::from_str::<Value>(line).unwrap());
        assert_near(log, &got, &want);
    }
    assert_eq!(fs::read(run.join("manifest.toml")).unwrap(), fs::read(folder.path().join("m.toml")).unwrap());
}

/// What it was made of is still checked.
#[test]
fn it_is_not_continued_as_another_run() {
    let folder = tempfile::tempdir().unwrap();
    unpack(folder.path());
    let text = fail(folder.path(), 1, &["run", "m.toml", "--quiet", "--set", "model.edge_map=\"legacy\""]);
    common::says(&text, &["holds a run of another manifest: `edge_map = \"spatial\"` there"]);
}
