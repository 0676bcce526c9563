//! What happens to runs that live long: damage, kills, neighbours, and files of somebody else.

use crate::common;
use crate::common::{TINY, fail, says, succeed, write_weights};
use candle_core::{Device, Tensor};
use colormamba::checkpoint;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tempfile::{TempDir, tempdir};

/// One epoch of one step.
const SHORT: [&str; 7] = ["run", "m.toml", "--quiet", "--set", "train.steps_per_epoch=1", "--set", "train.epochs=1"];
/// Of the first variant alone, with so many epochs.
const MSE: [&str; 7] = ["run", "m.toml", "--quiet", "--variant", "mse", "--set", "train.steps_per_epoch=1"];
/// Of the first variant alone, as the manifest has it: two epochs of two steps.
const FULL: [&str; 5] = ["run", "m.toml", "--quiet", "--variant", "mse"];
const RUN: &str = "runs/tiny/mse/seed-1";
const OTHER: &str = "runs/tiny/adversarial/seed-1";

fn folder() -> TempDir {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("m.toml"), TINY).unwrap();
    folder
}

/// A copy of the study of [`SHORT`], which is trained once.
fn trained() -> TempDir {
    static STUDY: OnceLock<TempDir> = OnceLock::new();
    let study = STUDY.get_or_init(|| {
        let folder = folder();
        succeed(folder.path(), &SHORT);
        folder
    });
    let copy = tempdir().unwrap();
    for (path, content) in tree(study.path()) {
        fs::create_dir_all(copy.path().join(&path).parent().unwrap()).unwrap();
        fs::write(copy.path().join(path), content).unwrap();
    }
    copy
}

/// A run that was stopped in its first epoch.
fn stopped() -> TempDir {
    let folder = folder();
    fail(folder.path(), 1, &[&FULL[..], &["--stop-after", "1"]].concat());
    folder
}

/// Every file below a folder with its content.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for path in fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(path.strip_prefix(folder).unwrap().to_path_buf(), fs::read(path).unwrap());
            }
        }
    }
    files
}

fn copy(folder: &Path, from: &str, to: &str) {
    fs::copy(folder.join(from), folder.join(to)).unwrap();
}

fn flip_last_bit(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
#[cfg(unix)]
fn a_checkpoint_that_cannot_be_looked_at_is_not_absent() {
    let folder = stopped();
    let run = folder.path().join(RUN);
    fs::rename(run.join("checkpoints"), run.join("away")).unwrap();
    std::os::unix::fs::symlink("checkpoints", run.join("checkpoints")).unwrap();
    let steps = fs::read(run.join("steps.jsonl")).unwrap();
    says(&fail(folder.path(), 1, &FULL), &["cannot tell whether", "checkpoints/last.safetensors is there"]);
    says(&fail(folder.path(), 1, &["table", RUN]), &["finish the run"]);
    fs::remove_file(run.join("checkpoints")).unwrap();
    std::os::unix::fs::symlink("nowhere", run.join("checkpoints")).unwrap();
    fail(folder.path(), 1, &FULL);
    assert_eq!(fs::read(run.join("steps.jsonl")).unwrap(), steps);
    fs::remove_file(run.join("checkpoints")).unwrap();
    fs::rename(run.join("away"), run.join("checkpoints")).unwrap();
    says(&fail(folder.path(), 1, &[&FULL[..], &["--stop-after", "1"]].concat()), &["stopped after step 2"]);
}

#[test]
fn a_checkpoint_outlives_its_logs() {
    let folder = trained();
    let run = folder.path().join(RUN);
    fs::write(run.join("epochs.jsonl"), "").unwrap();
    fs::write(run.join("steps.jsonl"), b"\xff garbage\n").unwrap();
    let table = succeed(folder.path(), &["table", "runs/tiny"]);
    assert!(table.contains("| mse | 1 |") && !table.contains("Not in this table"), "{table}");
    let output = common::colormamba(folder.path(), &[&MSE[..], &["--set", "train.epochs=2"]].concat());
    let text = String::from_utf8(output.stderr).unwrap();
    // Its table is refused: the other variant has one epoch less.
    says(&text, &["steps.jsonl has lost 1 of its 1 lines", "epochs.jsonl has lost 1 of its 1 lines"]);
    let epochs = fs::read_to_string(run.join("epochs.jsonl")).unwrap();
    assert!(epochs.starts_with("{\"epoch\":2,") && epochs.lines().count() == 1, "{epochs}");
}

#[test]
fn scores_of_other_weights_are_named_and_made_anew() {
    let folder = trained();
    let root = folder.path();
    let before = tree(root);
    copy(root, &format!("{OTHER}/eval/validation.jsonl"), &format!("{RUN}/eval/validation.jsonl"));
    let table = succeed(root, &["table", "runs/tiny"]);
    let wanted = "Not in this table: mse seed 1: its scores are not of its present best weights: \
                  colormamba eval runs/tiny --split validation";
    says(&table, &["| adversarial | 1 |", wanted]);
    assert!(!table.contains("| mse |"), "{table}");
    says(&fail(root, 1, &["table", RUN]), &["eval/validation.jsonl", "not of its present best weights"]);
    succeed(root, &SHORT);
    assert!(tree(root) == before);
}

#[test]
fn predictions_and_baselines_that_are_others_are_made_anew() {
    let folder = trained();
    let root = folder.path();
    let before = tree(root);
    let images: Vec<PathBuf> =
        before.keys().filter(|path| path.starts_with(format!("{RUN}/images"))).cloned().collect();
    fs::copy(
        root.join(format!("{OTHER}/images/validation")).join(images[0].file_name().unwrap()),
        root.join(&images[0]),
    )
    .unwrap();
    let baselines = "runs/tiny/baselines";
    copy(root, &format!("{baselines}/nir.validation.jsonl"), &format!("{baselines}/lookup.validation.jsonl"));
    says(
        &succeed(root, &["table", "runs/tiny"]),
        &["Not in this table: NIR→RGB lookup: ", "not of the training images"],
    );
    succeed(root, &SHORT);
    assert!(tree(root) == before);
}

#[test]
fn best_weights_of_another_variant_are_refused() {
    let folder = trained();
    let root = folder.path();
    copy(root, &format!("{OTHER}/checkpoints/best.safetensors"), &format!("{RUN}/checkpoints/best.safetensors"));
    let wanted = ["mse/seed-1/checkpoints/best.safetensors is not of this run: its variant is adversarial"];
    says(&fail(root, 1, &["eval", RUN]), &wanted);
    says(&succeed(root, &["table", "runs/tiny"]), &wanted);
    says(&fail(root, 1, &SHORT), &wanted);
}

#[test]
fn another_version_of_the_program_is_told_above_the_table() {
    let folder = trained();
    let path = folder.path().join(RUN).join("provenance.toml");
    let text = fs::read_to_string(&path).unwrap();
    let version = format!("version = {:?}", env!("CARGO_PKG_VERSION"));
    assert!(!succeed(folder.path(), &["table", "runs/tiny"]).contains("other versions"));
    fs::write(&path, text.replacen(&version, "version = \"0.0.9\"", 1)).unwrap();
    let table = succeed(folder.path(), &["table", "runs/tiny"]);
    let above = table.split("| method").next().unwrap();
    says(above, &["Made in part by other versions of the program than this one", "0.0.9", "(mse)"]);
    says(&succeed(folder.path(), &["table", "runs/tiny", "--format", "tex"]), &["% Made in part by other versions"]);
}

#[test]
fn a_run_that_is_refused_has_written_nothing() {
    let folder = stopped();
    let root = folder.path();
    fail(root, 1, &[&FULL[..], &["--stop-after", "2"]].concat());
    let refused = |args: &[&str], wanted: &str| {
        let before = tree(root);
        let other = ["--set", "measures=['psnr']"];
        says(&fail(root, 1, &[&["run", "m.toml", "--quiet"], &other[..], args].concat()), &[wanted]);
        assert!(tree(root) == before, "{wanted}");
    };
    refused(&["--set", "train.epochs=1"], "is in its epoch 2, but train.epochs is 1");
    refused(&["--set", "train.batch=4"], "holds a run of another manifest");
    let lock = fs::File::options().write(true).open(root.join(RUN).join(".lock")).unwrap();
    lock.lock().unwrap();
    refused(&[], "is being trained by another process");
    drop(lock);
    let freeze = ["--variant", "adversarial", "--set", "train.freeze=['netG_X.']"];
    refused(&freeze, "no parameter's name begins with `netG_X.`");
    for name in ["last", "before-last"] {
        flip_last_bit(&root.join(RUN).join(format!("checkpoints/{name}.safetensors")));
    }
    refused(&[], "last.safetensors: damaged");
}

#[test]
fn a_study_takes_the_place_of_nobody_elses_files() {
    let folder = folder();
    fs::create_dir_all(folder.path().join("runs/tiny")).unwrap();
    let own = folder.path().join("runs/tiny/manifest.toml");
    fs::write(&own, format!("# written with love\n{TINY}")).unwrap();
    let before = tree(folder.path());
    for manifest in ["m.toml", "runs/tiny/manifest.toml"] {
        says(&fail(folder.path(), 2, &["run", manifest]), &["runs/tiny/manifest.toml is there already"]);
    }
    assert!(tree(folder.path()) == before);
}

#[test]
fn no_output_takes_the_place_of_a_file() {
    let folder = tempdir().unwrap();
    let root = folder.path();
    write_weights(&root.join("w.safetensors"), 8);
    succeed(root, &["data", "synth", "--out", "images", "--count", "1", "--size", "64"]);
    let photo = "images/Validation/validation_0000_nir.png";
    copy(root, photo, "b.png");
    image::open(root.join(photo)).unwrap().save(root.join("b.bmp")).unwrap();
    fs::write(root.join("notes"), "mine").unwrap();
    let before = tree(root);
    let check = ["data", "check", "vcip2020", "--data", "images", "--sheet"];
    let eval = ["eval", "w.safetensors", "--data", "images", "--out"];
    let colorize = ["colorize", "b.bmp", "--weights", "w.safetensors", "--out", "."];
    let compare = ["compare", "b.png", "b.png", "--out"];
    let there = "there already";
    fs::create_dir(root.join("scores")).unwrap();
    fs::write(root.join("scores/summary.csv"), "mine").unwrap();
    let read = "is what is read";
    let forced = |args: &[&'static str]| [args, &["--force"]].concat();
    for (args, wanted) in [
        ([&eval[..], &["w.safetensors"]].concat(), read),
        (forced(&[&eval[..], &["w.safetensors"]].concat()), read),
        ([&eval[..], &["notes"]].concat(), there),
        ([&check[..], &["notes"]].concat(), there),
        (forced(&[&check[..], &[photo]].concat()), read),
        (colorize.to_vec(), there),
        ([&compare[..], &["scores"]].concat(), there),
        (vec!["data", "synth", "--out", "images", "--count", "1", "--size", "64", "--seed", "1"], there),
    ] {
        says(&fail(root, 2, &args), &[wanted]);
    }
    fs::remove_dir_all(root.join("scores")).unwrap();
    assert!(tree(root) == before);
    succeed(root, &forced(&colorize));
    assert!(fs::read(root.join("b.png")).unwrap() != before[Path::new("b.png")]);
}

#[test]
fn a_folder_is_colorized_and_its_bad_files_are_listed_at_the_end() {
    let folder = tempdir().unwrap();
    let root = folder.path();
    write_weights(&root.join("w.safetensors"), 8);
    fs::create_dir(root.join("photos")).unwrap();
    for (name, width) in [("a.png", 64), ("m.png", 100), ("z.png", 64)] {
        image::GrayImage::new(width, 64).save(root.join("photos").join(name)).unwrap();
    }
    for (name, content) in [("c.png", "no image"), ("._a.png", "of a Mac"), ("readme.txt", "text")] {
        fs::write(root.join("photos").join(name), content).unwrap();
    }
    let text = fail(root, 1, &["colorize", "photos", "--weights", "w.safetensors", "--out", "colour"]);
    says(&text, &["1 of 4 photographs could not be colorized", "\n  photos/c.png: "]);
    let results: Vec<PathBuf> = tree(&root.join("colour")).into_keys().collect();
    assert_eq!(results, ["a.png", "m.png", "z.png"].map(Path::new));
    // Told by content, each with its reason; two that differ in their extensions alone are both made.
    fs::write(root.join("photos/anim.webp"), "RIFF\x04\0\0\0WEBPVP8 ").unwrap();
    fs::copy(root.join("photos/a.png"), root.join("photos/noext")).unwrap();
    image::GrayImage::new(64, 64).save(root.join("photos/a.bmp")).unwrap();
    let text = fail(root, 1, &["colorize", "photos", "--weights", "w.safetensors", "--out", "more"]);
    says(
        &text,
        &[
            "2 of 7 photographs",
            "anim.webp: a file of another kind, WEBP",
            "being folders or no images: 1, first photos/readme.txt",
        ],
    );
    let results: Vec<PathBuf> = tree(&root.join("more")).into_keys().collect();
    assert_eq!(results, ["a.bmp.png", "a.png.png", "m.png", "noext.png", "z.png"].map(Path::new));
}

#[test]
fn a_flipped_bit_is_not_gone_on_from() {
    let folder = stopped();
    let last = folder.path().join(RUN).join("checkpoints/last.safetensors");
    flip_last_bit(&last);
    let text = fail(folder.path(), 1, &FULL);
    says(&text, &["the run cannot be resumed", "last.safetensors: damaged", "checksum"]);
}

#[test]
fn weights_that_are_no_numbers_make_no_image() {
    let folder = tempdir().unwrap();
    let root = folder.path();
    let path = root.join("w.safetensors");
    write_weights(&path, 8);
    image::GrayImage::new(64, 64).save(root.join("nir.png")).unwrap();
    let colorize = ["colorize", "nir.png", "--weights", "w.safetensors", "--out", "out"];
    let mut weights = checkpoint::load(&path, &Device::Cpu).unwrap();
    let name = "g.netG_C.layer10_conv.bias";
    let with = |value: f32, weights: &mut checkpoint::Checkpoint| {
        let shape = weights.tensors[name].shape().clone();
        weights.tensors.insert(name.into(), Tensor::full(value, shape, &Device::Cpu).unwrap());
        checkpoint::save(&path, &weights.tensors, &weights.metadata).unwrap();
    };
    with(f32::NAN, &mut weights);
    says(&fail(root, 1, &colorize), &["w.safetensors: the tensor `netG_C.layer10_conv.bias`"]);
    succeed(root, &["data", "synth", "--out", "images", "--count", "1", "--size", "64"]);
    let text = fail(root, 1, &["eval", "w.safetensors", "--data", "images"]);
    says(&text, &["w.safetensors: the tensor `netG_C.layer10_conv.bias`"]);
    assert!(!root.join("out").exists());
}

#[test]
fn a_loss_that_overflows_ends_the_run_and_names_its_term() {
    let folder = folder();
    let text = TINY.replace("loss.rgb = { mse = 100 }", "loss.rgb = { l1 = 1, mse = 1e38 }");
    fs::write(folder.path().join("m.toml"), text).unwrap();
    let text = fail(folder.path(), 1, &MSE);
    says(&text, &["not finite after step", "`rgb.mse`", "lower weights of the loss"]);
    assert_eq!(fs::read_dir(folder.path().join(RUN).join("checkpoints")).unwrap().count(), 0);
}

#[test]
fn what_killed_processes_left_is_removed() {
    let folder = stopped();
    let study = folder.path().join("runs/tiny");
    let left = ["", "baselines", "mse/seed-1", "mse/seed-1/checkpoints"].map(|at| study.join(at).join(".writing-Ab1"));
    left.iter().for_each(|path| fs::write(path, "half").unwrap());
    fail(folder.path(), 1, &[&FULL[..], &["--stop-after", "1"]].concat());
    assert!(left.iter().all(|path| !path.exists()));
}

#[test]
fn neighbours_that_cannot_be_shown_are_named() {
    let folder = trained();
    let root = folder.path();
    let at = |name: &str| root.join("runs/tiny").join(name);
    fs::create_dir_all(at("mse/seed-2/checkpoints")).unwrap();
    fs::create_dir_all(at("adversarial/seed-3")).unwrap();
    copy(root, &format!("{RUN}/provenance.toml"), "runs/tiny/adversarial/seed-3/provenance.toml");
    for (seed, broken) in [(4, "manifest.toml"), (5, "provenance.toml"), (6, "checkpoints/last.safetensors")] {
        let run = format!("runs/tiny/mse/seed-{seed}");
        fs::create_dir_all(root.join(&run).join("checkpoints")).unwrap();
        for file in ["manifest.toml", "provenance.toml", "checkpoints/last.safetensors"] {
            copy(root, &format!("{RUN}/{file}"), &format!("{run}/{file}"));
        }
        fs::write(root.join(&run).join(broken), "half a li").unwrap();
    }
    for args in [&["table", "runs/tiny"][..], &SHORT] {
        let table = succeed(root, args);
        let wanted =
            ["| mse | 1 |", "| adversarial | 1 |", "mse seed 2", "adversarial seed 3", "not trained to the end"];
        says(&table, &wanted);
        let broken = ["mse seed 4: it cannot be shown", "mse seed 5: it cannot be shown", "seed-6/checkpoints/last"];
        says(&table, &broken);
    }
}

#[test]
#[cfg(unix)]
fn a_lock_is_not_written_through_a_link() {
    let folder = stopped();
    let (lock, notes) = (folder.path().join(RUN).join(".lock"), folder.path().join("notes"));
    fs::write(&notes, "mine").unwrap();
    fs::remove_file(&lock).unwrap();
    std::os::unix::fs::symlink(&notes, &lock).unwrap();
    says(&fail(folder.path(), 1, &FULL), &[".lock is a link", "remove it"]);
    assert_eq!(fs::read(&notes).unwrap(), b"mine");
}

#[test]
#[cfg(unix)]
fn standard_error_that_is_closed_ends_nothing() {
    let folder = folder();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_colormamba"));
    let args = [&SHORT[..2], &SHORT[3..]].concat();
    command.args(["--threads", "2"]).args(args).args(["--variant", "mse"]).current_dir(folder.path());
    let mut child = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(folder.path().join("runs/tiny/table.md").exists());
}

#[test]
#[cfg(unix)]
fn a_manifest_is_a_file() {
    let folder = tempdir().unwrap();
    assert!(std::process::Command::new("mkfifo").arg(folder.path().join("pipe")).status().unwrap().success());
    for name in ["pipe", "/dev/zero"] {
        says(&fail(folder.path(), 2, &["run", name]), &[name, "is a pipe or a device; a manifest is a file"]);
    }
    says(&fail(folder.path(), 2, &["run", "."]), &["is a folder; a manifest is a file"]);
}

#[test]
fn what_has_no_room_in_memory_is_refused() {
    let folder = folder();
    let run = |set: &str| fail(folder.path(), 2, &["run", "m.toml", "--device", "cpu", "--set", set]);
    let wanted =
        "images of 16384 pixels a side take at least 1600.0 GiB of memory with train.batch = 2 and model.width = 8";
    says(&run("data.size=16384"), &[wanted, "there are"]);
    assert!(!folder.path().join("runs").exists());
}

#[test]
fn values_that_only_look_like_some_are_refused() {
    let folder = folder();
    let run = |set: &str| fail(folder.path(), 2, &["run", "m.toml", "--set", set]);
    says(&run("train.optimizer.betas=[0.5, 0.9, 0.9]"), &["betas are two numbers, not 3"]);
    says(&run("train.optimizer=['adam', 1e-3]"), &["`optimizer` is a table, not an array"]);
    says(&run("augmentation=[0.5, 0.5, 48]"), &["`augmentation` is a table, not an array"]);
    says(&run("variant=[['mse', {}]]"), &["`variant` is a table, not an array"]);
    says(&run("train.generator_steps=4294967296"), &["generator_steps is 4294967296: it must be between 1 and 1000"]);
    says(&fail(folder.path(), 2, &["losses", "--threads", "1000000"]), &["between 1 and 1024"]);
    assert!(!folder.path().join("runs").exists());
}
