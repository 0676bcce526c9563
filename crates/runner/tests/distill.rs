//! `[distill]`: what is learned of other networks.

use crate::common::{TINY, fail, says, succeed, write_gray_lite_weights, write_lite_weights, write_weights};
use candle_core::{DType, Device, Tensor};
use std::fs;
use tempfile::{TempDir, tempdir};

/// [`TINY`] for one epoch without changes of the images, with two teachers of different kinds beside it.
fn folder(distill: &str) -> TempDir {
    let folder = tempdir().unwrap();
    write_weights(&folder.path().join("colormamba.safetensors"), 8);
    write_lite_weights(&folder.path().join("lite.safetensors"));
    let unchanged = TINY.replace("mirror = 0.5\ncontrast = 0.5\ncrop = 48\n", "").replace("epochs = 2", "epochs = 1");
    fs::write(folder.path().join("m.toml"), format!("{unchanged}[distill]\n{distill}\n")).unwrap();
    folder
}

const RUN: [&str; 5] = ["run", "m.toml", "--quiet", "--variant", "mse"];

fn taught(folder: &TempDir, set: &[&str]) -> f64 {
    let _ = fs::remove_dir_all(folder.path().join("runs"));
    succeed(folder.path(), &[&RUN[..], set].concat());
    let steps = fs::read_to_string(folder.path().join("runs/tiny/mse/seed-1/steps.jsonl")).unwrap();
    let first: serde_json::Value = serde_json::from_str(steps.lines().next().unwrap()).unwrap();
    first["g_loss"][0]["rgb"]["teacher.mse"]["raw"].as_f64().unwrap()
}

/// The mean of two pictures is nearer to a third than they are in the mean.
#[test]
fn the_pictures_of_teachers_are_averaged() {
    let folder = folder("teachers = [\"colormamba.safetensors\"]\nloss.mse = 5.0");
    let one = taught(&folder, &[]);
    let other = taught(&folder, &["--set", "distill.teachers=[\"lite.safetensors\"]"]);
    let both = taught(&folder, &["--set", "distill.teachers=[\"colormamba.safetensors\", \"lite.safetensors\"]"]);
    assert!(both > 0.0 && both < 0.5 * (one + other) - 1e-4, "{one}, {other}: {both}");
    let provenance = fs::read_to_string(folder.path().join("runs/tiny/mse/seed-1/provenance.toml")).unwrap();
    let digest = blake3::hash(&fs::read(folder.path().join("colormamba.safetensors")).unwrap()).to_hex();
    says(&provenance, &["[[teachers]]", &format!("blake3 = \"{digest}\"")]);
    // The program's own weights are one as well.
    taught(&folder, &["--set", "distill.teachers=[\"built-in\"]"]);
}

/// Two networks that copy the NIR image agree on it, whatever its changes: a teacher sees what the network sees.
#[test]
fn a_teacher_sees_the_same_images() {
    let folder = tempdir().unwrap();
    write_gray_lite_weights(&folder.path().join("gray.safetensors"));
    let one = TINY.split("[[variant]]\nname = \"adversarial\"").next().unwrap();
    let lite = one.replace("width = 8\ndepth = 6\nedge_map = \"spatial\"", "kind = \"lite\"\nwidth = 4");
    let changed = lite.replace("[augmentation]", "[augmentation]\ntone = 0.5");
    let distill = "[distill]\nteachers = [\"gray.safetensors\"]\nloss.mse = 5.0\n";
    fs::write(folder.path().join("m.toml"), format!("{changed}{distill}")).unwrap();
    let apart = taught(&folder, &[]);
    assert!(apart < 1e-10, "{apart}");
}

/// A study of one `lite`.
fn lite_folder(distill: &str) -> TempDir {
    let folder = folder(distill);
    let text = fs::read_to_string(folder.path().join("m.toml")).unwrap();
    let (one, _) = text.split_once("[[variant]]\nname = \"adversarial\"").unwrap();
    let lite = one.replace("width = 8\ndepth = 6\nedge_map = \"spatial\"", "kind = \"lite\"\nwidth = 8");
    fs::write(folder.path().join("m.toml"), format!("{lite}[distill]\n{distill}\n")).unwrap();
    folder
}

/// Without a loss between pictures.
#[test]
fn features_alone_can_be_learned_from() {
    let folder = lite_folder("teachers = [\"lite.safetensors\"]\nfeatures = 2.0");
    succeed(folder.path(), &["run", "m.toml", "--quiet"]);
    let steps = fs::read_to_string(folder.path().join("runs/tiny/mse/seed-1/steps.jsonl")).unwrap();
    assert!(steps.contains("teacher.features") && !steps.contains("teacher.mse"), "{steps}");
}

/// Features are learned from too; a run that was stopped has the same weights in the end, without the projections.
#[test]
fn features_are_learned_from_through_projections() {
    let folder = lite_folder("teachers = [\"lite.safetensors\"]\nfeatures = 2.0\nloss.mse = 5.0");
    let run = |set: &[&str], code| {
        let args = [&["run", "m.toml", "--quiet"], set].concat();
        if code == 0 {
            drop(succeed(folder.path(), &args))
        } else {
            drop(fail(folder.path(), code, &args))
        }
        let run = folder.path().join("runs/tiny/mse/seed-1");
        fs::read_to_string(run.join("steps.jsonl")).unwrap()
    };
    let steps = run(&[], 0);
    let first: serde_json::Value = serde_json::from_str(steps.lines().next().unwrap()).unwrap();
    let term = &first["g_loss"][0]["rgb"]["teacher.features"];
    let (raw, weighted) = (term["raw"].as_f64().unwrap(), term["weighted"].as_f64().unwrap());
    assert!(raw > 0.0 && weighted == 2.0 * raw, "{term}");
    let best = folder.path().join("runs/tiny/mse/seed-1/checkpoints/best.safetensors");
    let whole = candle_core::safetensors::load(&best, &Device::Cpu).unwrap();
    assert!(whole.keys().all(|name| !name.contains("hints")));
    fs::remove_dir_all(folder.path().join("runs")).unwrap();
    run(&["--stop-after", "1"], 1);
    run(&[], 0);
    let resumed = candle_core::safetensors::load(&best, &Device::Cpu).unwrap();
    let values = |t: &Tensor| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    whole.iter().for_each(|(name, tensor)| assert_eq!(values(tensor), values(&resumed[name]), "{name}"));
    // A finished run needs no teachers, and one that gives no features is refused.
    fs::remove_file(folder.path().join("lite.safetensors")).unwrap();
    run(&[], 0);
    let other = ["run", "m.toml", "--set", "distill.teachers=[\"colormamba.safetensors\"]", "--out", "other"];
    says(&fail(folder.path(), 1, &other), &["colormamba.safetensors is of a network that gives no feature map"]);
    assert!(!folder.path().join("other").exists());
}

#[test]
fn a_run_goes_on_with_its_own_teachers_alone() {
    let folder = folder("teachers = [\"colormamba.safetensors\"]\nloss.mse = 5.0");
    fail(folder.path(), 1, &[&RUN[..], &["--stop-after", "1"]].concat());
    let path = folder.path().join("colormamba.safetensors");
    let own = fs::read(&path).unwrap();
    write_lite_weights(&path);
    says(
        &fail(folder.path(), 1, &RUN),
        &["colormamba.safetensors is not what the run was started with: put the file back"],
    );
    fs::write(&path, own).unwrap();
    succeed(folder.path(), &RUN);
    // A finished run needs none.
    fs::remove_file(&path).unwrap();
    succeed(folder.path(), &RUN);
}

#[test]
fn what_is_wrong_is_said_before_anything_is_written() {
    let cases = [
        ("teachers = []\nloss.mse = 1.0", 2, "`teachers` is empty"),
        ("teachers = [\"lite.safetensors\"]\nloss = {}", 2, "`distill.loss` has no term, nor is there `features`"),
        ("teachers = [\"lite.safetensors\"]\nloss.mes = 1.0", 2, "unknown loss term `mes`"),
        ("teachers = [\"lite.safetensors\"]\nloss.feature_mse = 1.0", 2, "are for the truth alone"),
        ("teachers = [\"lite.safetensors\"]\nloss.mse = 1.0\ntemperature = 2", 2, "unknown key `temperature`"),
        ("teachers = [\"other.safetensors\"]\nloss.mse = 1.0", 1, "other.safetensors"),
        (
            "teachers = [\"lite.safetensors\"]\nloss.mse = 1.0\nfeatures = 0",
            2,
            "features is 0: it must be a number above 0",
        ),
        ("teachers = [\"lite.safetensors\"]\nloss.mse = 1.0\nfeatures = 1", 2, "`colormamba` gives no feature map"),
    ];
    for (distill, code, wanted) in cases {
        let folder = folder(distill);
        says(&fail(folder.path(), code, &RUN), &[wanted]);
        assert!(!folder.path().join("runs").exists(), "{distill}");
    }
    let folder = folder("teachers = [\"lite.safetensors\"]\nloss.mse = 1.0");
    let minmax = fail(folder.path(), 1, &[&RUN[..], &["--set", "data.protocol=\"minmax\""]].concat());
    says(&minmax, &["lite.safetensors was trained with protocol = \"raw\"", "this manifest has \"minmax\""]);
    assert!(!folder.path().join("runs").exists());
}
