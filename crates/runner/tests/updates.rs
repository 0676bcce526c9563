//! How gradients become weights: everything a manifest can ask for, and what a run can start from.

use crate::common::{TINY, fail, says, succeed};
use candle_core::Device;
use colormamba::checkpoint::{self, Checkpoint};
use colormamba_runner::manifest::Manifest;
use std::fs;
use std::path::Path;
use tempfile::{TempDir, tempdir};

const RUN: &str = "runs/tiny/mse/seed-1";

/// [`TINY`] with these keys in `[train]` instead of its optimizer and schedule.
fn folder(train: &str) -> TempDir {
    let optimizer =
        "optimizer = { kind = \"adam\", lr = 1e-3 }\nschedule = { kind = \"step\", every = 1, factor = 0.5 }";
    assert!(TINY.contains(optimizer));
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("m.toml"), TINY.replace(optimizer, train)).unwrap();
    folder
}

const ADAM: &str = "optimizer = { kind = \"adam\", lr = 1e-3 }";

fn checkpoint(folder: &Path, name: &str) -> Checkpoint {
    checkpoint::load(&folder.join(RUN).join("checkpoints").join(name), &Device::Cpu).unwrap()
}

fn values(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    checkpoint.tensors[name].flatten_all().unwrap().to_vec1().unwrap()
}

/// Learning rates of all steps.
fn rates(folder: &Path) -> Vec<f64> {
    let steps = fs::read_to_string(folder.join(RUN).join("steps.jsonl")).unwrap();
    let rate = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["lr"].as_f64().unwrap();
    steps.lines().map(rate).collect()
}

#[test]
fn an_interrupted_run_with_all_of_it_ends_with_the_same_bits() {
    let train = "optimizer = { kind = \"adamw\", lr = 1e-3, weight_decay = 0.1 }\n\
                 schedule = { kind = \"cosine\", warmup_steps = 2 }\n\
                 lr_factors = { \"netG_C.\" = 0.5 }\nfreeze = [\"netG_A.coder_1.\"]\n\
                 clip_norm = 1.0\naccumulate = 2\nema_decay = 0.9";
    let (straight, broken) = (folder(train), folder(train));
    let args = ["run", "m.toml", "--quiet", "--variant", "mse", "--set", "train.batch=1"];
    succeed(straight.path(), &args);
    // In the middle of an epoch and at the end of one.
    for steps in ["1", "1"] {
        fail(broken.path(), 1, &[&args[..], &["--stop-after", steps]].concat());
    }
    succeed(broken.path(), &args);
    for file in ["checkpoints/last.safetensors", "checkpoints/best.safetensors", "epochs.jsonl"] {
        let read = |folder: &TempDir| fs::read(folder.path().join(RUN).join(file)).unwrap();
        assert!(read(&straight) == read(&broken), "{file} differs");
    }
    let rates = rates(straight.path());
    assert_eq!(rates.len(), 4, "two batches a step");
    assert_eq!(rates[..3], [5e-4, 1e-3, 1e-3]);
    assert!(rates[3] < 6e-4, "the cosine falls: {rates:?}");
    let last = checkpoint(straight.path(), "last.safetensors");
    assert!(
        last.tensors.keys().all(|name| !name.starts_with("adam.g.netG_A.coder_1.")),
        "no moments of what is frozen"
    );
}

#[test]
fn averaged_weights_are_validated_and_kept() {
    let folder = folder(&format!("{ADAM}\nema_decay = 0.9"));
    succeed(folder.path(), &["run", "m.toml", "--quiet", "--variant", "mse", "--set", "train.epochs=1"]);
    let (last, best) = (checkpoint(folder.path(), "last.safetensors"), checkpoint(folder.path(), "best.safetensors"));
    let weight = "netG_C.layer6_conv.conv1.weight";
    let average = values(&last, &format!("ema.average.{weight}"));
    assert_ne!(values(&last, &format!("g.{weight}")), average);
    assert_eq!(values(&best, &format!("g.{weight}")), average);
}

#[test]
fn a_run_starts_from_the_weights_of_another() {
    let first = folder(ADAM);
    let short = ["--quiet", "--variant", "mse", "--set", "train.epochs=1"];
    succeed(first.path(), &[&["run", "m.toml"], &short[..]].concat());
    let best = checkpoint(first.path(), "best.safetensors");
    let from = first.path().join(RUN);

    // Frozen as a whole, so that what it started from is still there.
    let second = folder(&format!("{ADAM}\nfreeze = [\"netG_\"]"));
    let set = format!("model.init={from:?}");
    succeed(second.path(), &[&["run", "m.toml", "--set", &set], &short[..]].concat());
    let weight = "g.netG_C.layer6_conv.conv1.weight";
    assert_eq!(values(&checkpoint(second.path(), "last.safetensors"), weight), values(&best, weight));
    let provenance = fs::read_to_string(second.path().join(RUN).join("provenance.toml")).unwrap();
    let digest = blake3::hash(&fs::read(from.join("checkpoints/best.safetensors")).unwrap()).to_hex();
    says(&provenance, &["[init_from]", &format!("blake3 = \"{digest}\"")]);
    // It has weights of its own by now: those it started from need not be there.
    fs::remove_dir_all(&from).unwrap();
    succeed(second.path(), &[&["run", "m.toml", "--set", &set], &short[..3], &["--set", "train.epochs=2"]].concat());
}

#[test]
fn a_run_starts_from_a_part_of_other_weights() {
    let first = folder(ADAM);
    let short = ["--quiet", "--variant", "mse", "--set", "train.epochs=1", "--set", "seeds=[1]"];
    succeed(first.path(), &[&["run", "m.toml"], &short[..]].concat());
    let best = checkpoint(first.path(), "best.safetensors");
    let file = first.path().join(RUN).join("checkpoints/best.safetensors");
    let second = folder(&format!("{ADAM}\nfreeze = [\"netG_\"]"));
    let part = |only: &str| format!("model.init={{ from = {file:?}, only = [{only:?}] }}");
    let set = part("netG_C.");
    succeed(second.path(), &[&["run", "m.toml", "--set", &set], &short[..]].concat());
    let last = checkpoint(second.path(), "last.safetensors");
    let (taken, fresh) = ("g.netG_C.layer6_conv.conv1.weight", "g.netG_A.coder_1.0.weight");
    assert_eq!(values(&last, taken), values(&best, taken));
    assert_ne!(values(&last, fresh), values(&best, fresh));
    let third = folder(ADAM);
    let set = part("netG_X.");
    let text = fail(third.path(), 1, &[&["run", "m.toml", "--set", &set], &short[..]].concat());
    says(&text, &["init: no parameter's name begins with `netG_X.`"]);
}

#[test]
fn settings_that_mean_nothing_are_named_with_their_line() {
    let refuses = |train: &str, wanted: &str| {
        let error = Manifest::parse("m.toml", &TINY.replace("optimizer = { kind = \"adam\", lr = 1e-3 }", train), &[]);
        let error = error.unwrap_err().to_string();
        assert!(error.contains(wanted), "{wanted} in {error}");
    };
    refuses("optimizer = { kind = \"adamw\", lr = 1e-3, weight_decay = -1 }", "m.toml:16: weight_decay is -1");
    refuses("optimizer = { kind = \"adam\", lr = 1e-3, betas = [0.5, 1] }", "m.toml:16: beta2 is 1");
    refuses("optimizer = { kind = \"adma\", lr = 1e-3 }", "m.toml:16: unknown value `adma`, did you mean `adam");
    refuses(&format!("{ADAM}\nema_decay = 1.0"), "m.toml:17: ema_decay is 1");
    refuses(&format!("{ADAM}\nclip_norm = 0.0"), "m.toml:17: clip_norm is 0: it must be above 0");
    refuses(&format!("{ADAM}\naccumulate = 0"), "m.toml:17: accumulate is 0");
    refuses(&format!("{ADAM}\nlr_factors = {{ \"a.\" = 0.0 }}"), "m.toml:17: lr_factors.\"a.\" is 0");
}
