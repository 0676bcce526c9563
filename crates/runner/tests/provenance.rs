//! What a run records about itself.

mod common;

use colormamba_runner::manifest::Manifest;
use colormamba_runner::provenance::{FeatureWeights, Provenance};
use common::{TINY, says};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Runs the first variant with so many threads; returns standard error.
fn run(folder: &Path, threads: &str, more: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_colormamba"));
    command.args(["--threads", threads, "run", "m.toml", "--quiet", "--variant", "mse"]).args(more);
    String::from_utf8(command.current_dir(folder).output().unwrap().stderr).unwrap()
}

fn recorded(folder: &Path) -> Provenance {
    toml::from_str(&fs::read_to_string(folder.join("runs/tiny/mse/seed-1/provenance.toml")).unwrap()).unwrap()
}

#[test]
fn every_start_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("m.toml"), TINY).unwrap();
    assert!(!run(folder.path(), "2", &["--stop-after", "1"]).contains("warning"));
    let first = recorded(folder.path());
    assert!(first.resumed.is_empty() && first.features.is_empty());
    assert_eq!(first.preprocessing.len(), 64);
    assert_eq!(first.fingerprint.keys().collect::<Vec<_>>(), ["test", "train", "validation"]);
    says(&run(folder.path(), "1", &["--stop-after", "2"]), &["warning", "seed-1", "--threads 2 and goes on with 1"]);
    assert!(!run(folder.path(), "2", &[]).contains("warning"));
    // All is done: this start adds nothing.
    run(folder.path(), "2", &[]);
    let last = recorded(folder.path());
    let resumed: Vec<_> = last.resumed.iter().map(|r| (r.step, r.start.threads)).collect();
    assert_eq!(resumed, [(1, 1), (3, 2)]);
    assert!(last.resumed.iter().all(|r| r.start.started >= first.start.started));
    assert_eq!(Provenance { resumed: Vec::new(), ..last }, first);
}

#[test]
fn the_commit_is_recorded() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let git = Command::new("git").args(["-C", root, "rev-parse", "HEAD"]).output();
    if !git.is_ok_and(|output| output.status.success()) {
        println!("skipped: not in a git repository");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("m.toml"), TINY).unwrap();
    run(folder.path(), "2", &["--stop-after", "1"]);
    let commit = recorded(folder.path()).start.commit.expect("a commit");
    let digits = commit.strip_suffix("-dirty").unwrap_or(&commit);
    assert!(digits.len() == 12 && digits.chars().all(|c| c.is_ascii_hexdigit()), "{commit}");
}

#[test]
fn the_weights_of_the_features_are_recorded() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("autoencoder.pth"), "weights").unwrap();
    let weights = format!("weights={:?}", folder.path());
    let origin = |terms: &str, features: &[&str]| {
        let text = TINY.replace("l1 = 1", terms);
        let set: Vec<String> = features.iter().copied().chain([weights.as_str()]).map(String::from).collect();
        FeatureWeights::of(&Manifest::parse("m", &text, &set).unwrap())
    };
    let pretrained = origin("feature_mse = 1", &["features=\"pretrained\""]).unwrap();
    let blake3 = blake3::hash(b"weights").to_hex().to_string();
    assert_eq!(pretrained["autoencoder"], FeatureWeights::Pretrained { blake3 });
    let random = origin("feature_mse = 1, style = 1", &["features=\"random\"", "feature_seed=7"]).unwrap();
    assert_eq!(random.keys().collect::<Vec<_>>(), ["autoencoder", "vgg19"]);
    assert_eq!(random["autoencoder"], FeatureWeights::Random { seed: 7 });
    assert!(origin("l1 = 1", &["features=\"pretrained\""]).unwrap().is_empty());
    fs::remove_file(folder.path().join("autoencoder.pth")).unwrap();
    assert!(origin("feature_mse = 1", &["features=\"pretrained\""]).is_err());
}
