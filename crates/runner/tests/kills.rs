//! Trainings that are ended at any moment go on to the bits of one that never was.

use crate::common::{TINY, fail, says, succeed};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use tempfile::{TempDir, tempdir};

/// One variant for twenty steps, with a checkpoint after each.
const LONG: [&str; 8] = ["run", "m.toml", "--variant", "mse", "--set", "train.epochs=10", "--checkpoint-minutes", "0"];
const RUN: &str = "runs/tiny/mse/seed-1";

fn folder() -> TempDir {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("m.toml"), TINY).unwrap();
    folder
}

/// Files, and the log of steps.
type Results = (Vec<Vec<u8>>, Vec<Value>);

/// Those of a run that nothing happened to.
fn straight() -> &'static Results {
    static RESULTS: OnceLock<Results> = OnceLock::new();
    RESULTS.get_or_init(|| {
        let folder = folder();
        succeed(folder.path(), &LONG);
        results(folder.path())
    })
}

/// What a run leaves that has to be the same, whatever happened to it.
fn results(root: &Path) -> Results {
    let files = [
        "mse/seed-1/checkpoints/last.safetensors",
        "mse/seed-1/checkpoints/best.safetensors",
        "mse/seed-1/epochs.jsonl",
        "mse/seed-1/eval/validation.jsonl",
        "table.md",
        "table.csv",
    ];
    let files = files.map(|file| fs::read(root.join("runs/tiny").join(file)).unwrap()).to_vec();
    let steps = fs::read_to_string(root.join(RUN).join("steps.jsonl")).unwrap();
    let step = |line: &str| {
        let mut step: Value = serde_json::from_str(line).unwrap();
        step.as_object_mut().unwrap().remove("seconds");
        step
    };
    (files, steps.lines().map(step).collect())
}

fn begin(root: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_colormamba"));
    command.args(["--threads", "2"]).args(LONG).arg("--json").current_dir(root);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits for this many lines of progress, or the end. What comes after is to be kept: the program stops where nobody
/// listens.
fn wait_for_lines(child: &mut Child, count: usize) -> BufReader<ChildStdout> {
    let mut progress = BufReader::new(child.stdout.take().unwrap());
    for _ in 0..count {
        progress.read_line(&mut String::new()).unwrap();
    }
    progress
}

/// Files in a folder that are not whole.
fn half_written(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(".writing-")).map(|entry| entry.path())
}

/// Waits until a checkpoint is half written, or the end.
fn wait_for_writing(child: &mut Child, checkpoints: &Path) {
    while half_written(checkpoints).next().is_none() && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
}

#[test]
fn a_run_that_is_killed_at_twenty_moments_ends_with_the_same_bits() {
    let killed = folder();
    let mut chance = ChaCha8Rng::seed_from_u64(18);
    let mut in_writing = 0;
    let checkpoints = killed.path().join(RUN).join("checkpoints");
    for moment in 0..20 {
        // The next half is to be that of the next process.
        half_written(&checkpoints).for_each(|path| fs::remove_file(path).unwrap());
        let mut child = begin(killed.path());
        let _progress = if moment % 2 == 0 {
            Some(wait_for_lines(&mut child, chance.random_range(1..4)))
        } else {
            wait_for_writing(&mut child, &checkpoints);
            None
        };
        child.kill().unwrap();
        let ended = child.wait().unwrap();
        in_writing += usize::from(moment % 2 == 1 && ended.code().is_none());
    }
    assert!(in_writing >= 5, "only {in_writing} were killed while they wrote");
    succeed(killed.path(), &LONG);
    assert!(*straight() == results(killed.path()), "the results differ");
}

#[test]
fn a_damaged_checkpoint_is_refused_by_name_and_the_one_before_it_is_gone_on_from() {
    let broken = folder();
    let last = broken.path().join(RUN).join("checkpoints/last.safetensors");
    let stop = |steps| fail(broken.path(), 1, &[&LONG[..], &["--stop-after", steps]].concat());
    stop("5");
    let mut bytes = fs::read(&last).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&last, &bytes).unwrap();
    let text = stop("3");
    says(&text, &["last.safetensors: damaged", "refused-last.safetensors now", "the checkpoint before it, of step 4"]);
    assert!(fs::read(last.with_file_name("refused-last.safetensors")).unwrap() == bytes);
    fs::write(&last, &bytes[..bytes.len() / 3]).unwrap();
    says(&stop("1"), &["last.safetensors: cut short", "of step 6"]);
    // That of another run, with the right name.
    fail(broken.path(), 1, &[&LONG[..], &["--out", "other", "--set", "seeds=[2]", "--stop-after", "1"]].concat());
    fs::copy(broken.path().join("other/tiny/mse/seed-2/checkpoints/last.safetensors"), &last).unwrap();
    says(&stop("1"), &["last.safetensors: the checkpoint's seed is 2, the manifest's is 1", "of step 6"]);
    // The process was killed between the two names that a new checkpoint has.
    fs::rename(&last, last.with_file_name("next.safetensors")).unwrap();
    succeed(broken.path(), &LONG);
    assert!(*straight() == results(broken.path()), "the results differ");
}

#[test]
#[cfg(unix)]
fn a_system_that_takes_the_machine_away_is_told_to_try_again() {
    let root = folder();
    for signal in ["TERM", "HUP", "USR1", "USR2"] {
        let mut child = begin(root.path());
        let _progress = wait_for_lines(&mut child, 1);
        assert!(
            Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap().success()
        );
        assert_eq!(child.wait().unwrap().code(), Some(75), "{signal}");
    }
    succeed(root.path(), &LONG);
    assert!(*straight() == results(root.path()), "the results differ");
}
