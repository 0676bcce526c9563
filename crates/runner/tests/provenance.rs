//! What a run records about itself.

use crate::common::{TINY, fail, says, succeed};
use colormamba_runner::manifest::Manifest;
use colormamba_runner::study::provenance::{FeatureWeights, Provenance};
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

/// [`TINY`] on `images/`, which `own.toml` describes.
fn own_dataset() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    succeed(folder.path(), &["data", "synth", "--out", "images", "--count", "4", "--size", "64"]);
    let text = include_str!("../../../datasets/vcip2020.toml").replace("name = \"vcip2020\"", "name = \"own\"");
    fs::write(folder.path().join("own.toml"), text).unwrap();
    let synthetic = "synthetic = { seed = 0, train = 4, validation = 2, test = 1 }";
    let manifest = TINY.replace("\"synthetic\"", "\"own.toml\"").replace(synthetic, "");
    fs::write(folder.path().join("m.toml"), manifest).unwrap();
    folder
}

#[test]
fn a_description_is_told_by_its_content_wherever_it_lies() {
    let folder = own_dataset();
    let (before, root) = (folder.path().to_path_buf(), folder.path().with_extension("moved"));
    let start = ["run", "m.toml", "--quiet", "--variant", "mse", "--data", "images"];
    fail(&before, 1, &[&start[..], &["--stop-after", "1"]].concat());
    let first = recorded(&before);
    let description = first.description.clone().unwrap();
    let digest = blake3::hash(&fs::read(before.join("own.toml")).unwrap()).to_hex().to_string();
    assert_eq!((description.path.as_str(), description.blake3), ("own.toml", digest));
    let text = fs::read_to_string(before.join("runs/tiny/mse/seed-1/provenance.toml")).unwrap();
    assert!(!text.contains(before.to_str().unwrap()), "{text}");

    // The whole folder moves, then the description in it.
    fs::rename(&before, &root).unwrap();
    fail(&root, 1, &[&start[..], &["--stop-after", "1"]].concat());
    fs::create_dir(root.join("sub")).unwrap();
    fs::rename(root.join("own.toml"), root.join("sub/own.toml")).unwrap();
    let moved = ["--set", "data.dataset=\"sub/own.toml\""];
    succeed(&root, &[&start[..], &moved].concat());
    assert_eq!(recorded(&root).resumed.iter().map(|resumed| resumed.step).collect::<Vec<_>>(), [1, 2]);

    // The run has a copy: it is scored from anywhere, without the file.
    let described = fs::read_to_string(root.join("sub/own.toml")).unwrap();
    fs::remove_file(root.join("sub/own.toml")).unwrap();
    says(
        &succeed(&root.join("images"), &["eval", "../runs/tiny/mse/seed-1", "--data", "."]),
        &["own (", "| mse | 1 |"],
    );
    fs::remove_file(root.join("runs/tiny/mse/seed-1/dataset.toml")).unwrap();
    let text = fail(&root, 1, &["eval", "runs/tiny/mse/seed-1", "--data", "images"]);
    says(&text, &["own.toml: missing, or no longer the description", "restore it"]);

    // Another content is another dataset.
    fs::write(root.join("own.toml"), described.replace("8 bits", "8 bit")).unwrap();
    let text = fail(&root, 1, &[&start[..], &["--set", "train.epochs=3"]].concat());
    says(&text, &["holds a run of another manifest: `description_blake3 = "]);
    let manifest = root.join("runs/tiny/mse/seed-1/manifest.toml");
    let text = fs::read_to_string(&manifest).unwrap().replace("sub/own.toml", "vcip2020");
    fs::write(root.join("known.toml"), text).unwrap();
    says(
        &fail(&root, 2, &["run", "known.toml"]),
        &["known.toml:", "`description_blake3` is for a dataset that a file"],
    );
    fs::remove_dir_all(root).unwrap();
}

/// [`TINY`] with a term that looks through a random network.
fn random_features() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = TINY.replace("{ mse = 100 }", "{ mse = 100, feature_mse = 1 }");
    fs::write(folder.path().join("m.toml"), format!("features = \"random\"\n{text}")).unwrap();
    folder
}

#[test]
fn the_best_weights_tell_what_they_come_from() {
    let folder = random_features();
    run(folder.path(), "2", &["--set", "train.steps_per_epoch=1", "--set", "train.epochs=1"]);
    let best = folder.path().join("runs/tiny/mse/seed-1/checkpoints/best.safetensors");
    let metadata = colormamba::checkpoint::load(&best, &candle_core::Device::Cpu).unwrap().metadata;
    let fingerprint = recorded(folder.path()).fingerprint;
    assert_eq!(metadata["fingerprint"], fingerprint["train"]);
    assert_eq!(metadata["validation_fingerprint"], fingerprint["validation"]);
    assert_eq!(metadata["random_features"], "autoencoder");
    succeed(folder.path(), &["data", "synth", "--out", "images", "--count", "1", "--size", "64"]);
    let text = succeed(folder.path(), &["eval", best.to_str().unwrap(), "--data", "images"]);
    says(&text, &["| best (random-weight autoencoder) | 1 |"]);
    says(&succeed(folder.path(), &["eval", "runs/tiny/mse/seed-1"]), &["| mse (random-weight autoencoder) | 1 |"]);
}

#[test]
fn a_run_goes_on_with_the_feature_weights_that_it_was_started_with() {
    let folder = random_features();
    run(folder.path(), "2", &["--stop-after", "1"]);
    let path = folder.path().join("runs/tiny/mse/seed-1/provenance.toml");
    let text = fs::read_to_string(&path).unwrap();
    let other = "kind = \"pretrained\"\nblake3 = \"0123\"\n";
    let changed = text.replace("kind = \"random\"\nseed = 0\n", other);
    assert_ne!(changed, text);
    fs::write(&path, &changed).unwrap();
    let wanted =
        ["the weights of autoencoder are not those", "then BLAKE3 0123, now random from seed 0", "back into weights"];
    says(&run(folder.path(), "2", &[]), &wanted);
    assert_eq!(fs::read_to_string(&path).unwrap(), changed);
    fs::write(&path, text).unwrap();
    assert_eq!(run(folder.path(), "2", &[]), "");
}

#[test]
fn another_validation_split_is_another_run() {
    let folder = own_dataset();
    let start = ["run", "m.toml", "--quiet", "--variant", "mse", "--data", "images"];
    fail(folder.path(), 1, &[&start[..], &["--stop-after", "1"]].concat());
    for part in ["nir", "rgb_reg"] {
        let image = |i: u32| folder.path().join(format!("images/Validation/validation_{i:04}_{part}.png"));
        fs::copy(image(0), image(1)).unwrap();
    }
    let text = fail(folder.path(), 1, &start);
    says(
        &text,
        &["the validation images are not those that ", "seed-1 was started with: new: validation_0001; put them back"],
    );
    assert!(!text.contains("fingerprint"), "{text}");
    // A run of an earlier version did not write them down.
    fs::remove_file(folder.path().join("runs/tiny/mse/seed-1/dataset.jsonl")).unwrap();
    says(&fail(folder.path(), 1, &start), &["last.safetensors: the checkpoint's validation_fingerprint is "]);
}

#[test]
fn images_that_changed_are_named() {
    let folder = own_dataset();
    let images = folder.path().join("images");
    let start = ["run", "m.toml", "--quiet", "--variant", "mse", "--data", "images"];
    fail(folder.path(), 1, &[&start[..], &["--stop-after", "1"]].concat());
    let run = folder.path().join("runs/tiny/mse/seed-1");
    let lines = fs::read_to_string(run.join("dataset.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 6);
    says(&lines, &["{\"split\":\"train\",\"name\":\"", "\"nir\":\""]);
    let mut names: Vec<String> = fs::read_dir(images.join("NIR"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap().replace("_nir.png", ""))
        .collect();
    names.sort();
    let file = |name: &str, part: &str| match part {
        "nir" => images.join(format!("NIR/{name}_nir.png")),
        _ => images.join(format!("RGB-Registered/{name}_rgb_reg.png")),
    };
    fs::copy(file(&names[0], "nir"), file(&names[1], "nir")).unwrap();
    fs::copy(file(&names[0], "rgb"), file(&names[2], "rgb")).unwrap();
    for part in ["nir", "rgb"] {
        fs::rename(file(&names[3], part), file("zz_0099", part)).unwrap();
    }
    let wanted = [
        "the train images are not those that ",
        &format!(
            "changed: {} (the NIR image), {} (the RGB image); gone: {}; new: zz_0099",
            names[1], names[2], names[3]
        ),
    ];
    let text = fail(folder.path(), 1, &start);
    says(&text, &wanted);
    assert!(!text.contains(&recorded(folder.path()).fingerprint["train"]), "no digest of 64 digits: {text}");
    // `eval` keeps scores on the run's own images alone, and says which are not.
    fs::write(run.join("checkpoints/best.safetensors"), "").unwrap();
    says(&fail(folder.path(), 1, &["eval", "runs/tiny/mse/seed-1", "--data", "images"]), &wanted);
}

#[test]
fn a_file_of_feature_weights_that_changed_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let weights = format!("weights={:?}", folder.path());
    let text = TINY.replace("l1 = 1", "feature_mse = 1");
    let manifest = Manifest::parse("m", &text, &["features=\"pretrained\"".to_string(), weights]).unwrap();
    let tiny = tempfile::tempdir().unwrap();
    fs::write(tiny.path().join("m.toml"), TINY).unwrap();
    run(tiny.path(), "2", &["--stop-after", "1"]);
    let write = |content: &str| fs::write(folder.path().join("autoencoder.pth"), content).unwrap();
    write("one");
    let provenance = Provenance { features: FeatureWeights::of(&manifest).unwrap(), ..recorded(tiny.path()) };
    provenance.ensure_same_features(&manifest).unwrap();
    write("two");
    let error = provenance.ensure_same_features(&manifest).unwrap_err().to_string();
    let digest = |content: &[u8]| format!("BLAKE3 {}", blake3::hash(content).to_hex());
    says(&error, &["autoencoder", &digest(b"one"), &digest(b"two"), folder.path().to_str().unwrap()]);
}
