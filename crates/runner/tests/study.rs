//! A study that grows, is extended and is interrupted.

use crate::common::{TINY, colormamba, fail, says, succeed};
use std::fs;
use std::path::Path;
use tempfile::{TempDir, tempdir};

fn folder() -> TempDir {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("m.toml"), TINY).unwrap();
    folder
}

/// Trains `mse` with epochs of one step.
const ONE_STEP: [&str; 7] = ["run", "m.toml", "--quiet", "--variant", "mse", "--set", "train.steps_per_epoch=1"];

#[test]
fn a_row_averages_the_seeds_of_one_experiment_only() {
    let folder = folder();
    let with = |seeds, epochs| [&ONE_STEP[..], &["--set", seeds, "--set", epochs]].concat();
    says(&succeed(folder.path(), &with("seeds=[1]", "train.epochs=1")), &["| mse | 1 |"]);
    says(&succeed(folder.path(), &with("seeds=[7]", "train.epochs=1")), &["| mse | 2 |"]);
    let text = fail(folder.path(), 1, &with("seeds=[9]", "train.epochs=2"));
    let wanted =
        ["mse/seed-9 and", "mse/seed-1 must not be averaged: `epochs = 2` in the first, `epochs = 1` in the second"];
    says(&text, &wanted);
    let text = fail(folder.path(), 1, &["table", "runs/tiny/mse/seed-1", "runs/../runs/tiny/mse/seed-1"]);
    says(&text, &["runs/tiny/mse/seed-1 and", "runs/../runs/tiny/mse/seed-1", "both are from seed 1"]);
}

#[test]
fn what_a_table_lacks_is_named_with_the_command_that_makes_it() {
    let folder = folder();
    let root = folder.path();
    let text = succeed(root, &[&ONE_STEP[..], &["--set", "train.epochs=1"]].concat());
    let train = "colormamba run runs/tiny/manifest.toml --out runs";
    says(&text, &[&format!("Not in this table: adversarial seed 1: not trained to the end: {train}")]);
    let csv = colormamba(root, &["table", "runs/tiny", "--format", "csv"]);
    says(&String::from_utf8(csv.stderr).unwrap(), &["note: Not in this table: adversarial seed 1", train]);
    let words: Vec<&str> = train.split(' ').skip(1).chain(["--quiet"]).collect();
    assert!(!succeed(root, &words).contains("Not in this table"));

    let score = "colormamba eval runs/tiny --split test";
    says(&fail(root, 1, &["table", "runs/tiny", "--split", "test"]), &["no run in runs/tiny has scores", score]);
    let both = succeed(root, &["eval", "runs/tiny", "--split", "test"]);
    says(&both, &["| mse | 1 |", "| adversarial | 1 |", "test split", "Rows of one seed rank nothing"]);
    assert_eq!(succeed(root, &["table", "runs/tiny", "--split", "test"]), both);
    fs::remove_file(root.join("runs/tiny/mse/seed-1/eval/test.jsonl")).unwrap();
    let text = succeed(root, &["table", "runs/tiny", "--split", "test"]);
    says(&text, &["| adversarial | 1 |", &format!("Not in this table: mse seed 1: not scored: {score}")]);
}

#[test]
fn a_table_has_the_measures_that_are_asked_for() {
    let folder = folder();
    let root = folder.path();
    let asked = ["--set", "measures=['psnr', 'st-lpips[alex]', 'sharpness']", "--set", "train.epochs=1"];
    let text = succeed(root, &[&ONE_STEP[..], &asked].concat());
    says(&text, &["| method | seeds | PSNR [dB] ↑ | ST-LPIPS", "| Sharpness → 1 |"]);
    assert!(!text.contains("SSIM"), "{text}");
    let run = "runs/tiny/mse/seed-1";
    let lacks = "no scores of mae for the rows NIR copied, mean training colour, NIR→RGB lookup, mse; they are made by\n  \
                 colormamba eval runs/tiny/mse/seed-1 --split validation --measure mae";
    says(&fail(root, 1, &["table", run, "--measure", "mae"]), &[lacks]);
    says(&succeed(root, &["eval", run, "--measure", "mae"]), &["PSNR [dB] ↑ | ST-LPIPS", "MAE ↓ |"]);
    says(
        &succeed(root, &["table", run, "--measure", "mae", "--measure", "psnr"]),
        &["| seeds | MAE ↓ | PSNR [dB] ↑ |"],
    );
    // One evaluation keeps what another measured, and the same run goes on under other columns.
    succeed(root, &["eval", run, "--measure", "rmse"]);
    succeed(root, &["table", run, "--measure", "mae", "--measure", "rmse"]);
    let others = ["--set", "train.epochs=1", "--set", "measures=['psnr', 'gmsd']"];
    says(&succeed(root, &[&ONE_STEP[..], &others].concat()), &["| PSNR [dB] ↑ | GMSD ↓ |"]);
    // A run that is refused leaves the study as it was.
    let manifest = || fs::read(root.join("runs/tiny/manifest.toml")).unwrap();
    let before = manifest();
    let text = fail(root, 1, &[&ONE_STEP[..], &["--set", "train.critic_width=16"]].concat());
    says(&text, &["holds a run of another manifest", "colormamba run runs/tiny/manifest.toml --out runs"]);
    assert!(manifest() == before);
    let wrong = |names: &str| fail(root, 2, &["run", "m.toml", "--set", &format!("measures={names}")]);
    says(&wrong("['pnsr']"), &["did you mean `psnr", "short names are psnr, ssim, ae"]);
    says(&wrong("['ms_ssim']"), &["`ms_ssim` needs images of at least 176 pixels, size is 64"]);
}

#[test]
fn better_weights_leave_no_scores_of_worse_ones() {
    let folder = folder();
    let with = |epochs| [&ONE_STEP[..], &["--set", epochs]].concat();
    succeed(folder.path(), &with("train.epochs=1"));
    let run = folder.path().join("runs/tiny/mse/seed-1");
    succeed(folder.path(), &["eval", "runs/tiny/mse/seed-1", "--split", "test"]);
    fail(folder.path(), 1, &[with("train.epochs=4").as_slice(), &["--stop-after", "2"]].concat());
    let epochs = fs::read_to_string(run.join("epochs.jsonl")).unwrap();
    says(epochs.lines().last().unwrap(), &["\"epoch\":2", "\"best\":true"]);
    assert!(!run.join("eval").exists() && !run.join("images").exists());
    says(&fail(folder.path(), 1, &["table", "runs/tiny/mse/seed-1"]), &["finish the run"]);
    succeed(folder.path(), &with("train.epochs=4"));
    assert!(run.join("eval/validation.jsonl").exists());
}

#[test]
fn runs_of_different_training_images_share_a_table_only_if_told() {
    let folder = folder();
    let one_epoch = [&ONE_STEP[..], &["--set", "train.epochs=1"]].concat();
    succeed(folder.path(), &one_epoch);
    let fewer = ["--set", "name=\"fewer\"", "--set", "data.synthetic.train=3"];
    succeed(folder.path(), &[&one_epoch[..], &fewer].concat());
    let tables = ["table", "runs/tiny", "runs/fewer"];
    says(&fail(folder.path(), 1, &tables), &["were trained on different images", "--mixed-data"]);
    let text = succeed(folder.path(), &[&tables[..], &["--mixed-data"]].concat());
    says(&text, &["| tiny/mse | 1 |", "| fewer/mse | 1 |"]);
}

#[test]
fn baselines_are_fitted_again_when_the_training_images_change() {
    use colormamba_data::{NirHsv, Preparation, Protocol, Split, Synthetic, SyntheticConfig};
    use colormamba_runner::scoring::evaluate::Scoring;
    use colormamba_runner::scoring::{baselines, measures};
    let study = tempdir().unwrap();
    let scores = |train| {
        let config = SyntheticConfig { seed: 0, width: 64, height: 64, train, validation: 1, test: 0 };
        let (dataset, split) = (Synthetic::new(config).unwrap(), Split::Validation);
        let preparation = Preparation { size: None, protocol: Protocol::Raw, nir_hsv: NirHsv::Gray };
        let metrics = measures::load(&measures::published(), Path::new("weights")).unwrap();
        let scoring = Scoring::new(&dataset, split, preparation, 64, &metrics);
        baselines::ensure(study.path(), &split.into(), &scoring).unwrap();
        let read = |name: &str| fs::read_to_string(study.path().join(format!("baselines/{name}.validation.jsonl")));
        (read("nir").unwrap(), read("mean-colour").unwrap())
    };
    let (first, again, other) = (scores(2), scores(2), scores(3));
    assert_eq!(first, again);
    assert_eq!(first.0, other.0);
    assert_ne!(first.1, other.1);
}

/// Starts the binary, presses Ctrl-C once `ready` and returns its exit code and standard error.
#[cfg(unix)]
fn interrupted(folder: &TempDir, args: &[&str], ready: impl Fn() -> bool) -> (Option<i32>, String) {
    use std::process::{Command, Stdio};
    let mut command = Command::new(env!("CARGO_BIN_EXE_colormamba"));
    command.args(["--threads", "2"]).args(args).current_dir(folder.path());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    while !ready() && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
#[cfg(unix)]
fn ctrl_c_stops_the_baselines_between_two_images() {
    let folder = folder();
    let args = [&ONE_STEP[..], &["--set", "data.synthetic.train=1000"]].concat();
    let study = folder.path().join("runs/tiny");
    let (code, text) = interrupted(&folder, &args, || study.join("manifest.toml").exists());
    assert_eq!(code, Some(1), "{text}");
    says(&text, &["error: interrupted; the same command goes on from here"]);
    assert_eq!(fs::read_dir(study.join("baselines")).unwrap().count(), 0);
    assert!(!study.join("mse").exists());
}

#[test]
#[cfg(unix)]
fn ctrl_c_stops_a_validation_and_keeps_its_epoch() {
    let folder = folder();
    let args = [&ONE_STEP[..], &["--set", "data.synthetic.validation=100"]].concat();
    let run = folder.path().join("runs/tiny/mse/seed-1");
    let stepped = || fs::read_to_string(run.join("steps.jsonl")).is_ok_and(|text| text.ends_with('\n'));
    let (code, text) = interrupted(&folder, &args, stepped);
    assert_eq!(code, Some(1), "{text}");
    says(&text, &["stopped after step 1 of mse; the same command resumes"]);
    assert_eq!(fs::read_to_string(run.join("epochs.jsonl")).unwrap(), "");
    assert!(run.join("checkpoints/last.safetensors").exists() && !run.join("checkpoints/best.safetensors").exists());
}
