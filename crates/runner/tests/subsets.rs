//! Runs that are scored on another subset than their own, and images that are in two splits.

use crate::common::{TINY, colormamba, fail, says, succeed};
use colormamba_data::Description;
use std::fs;
use std::path::Path;
use tempfile::{TempDir, tempdir};

const RUN: &str = "runs/tiny/mse/seed-1";

/// Trains for one step, on `images/`.
const TRAIN: [&str; 11] = [
    "run",
    "m.toml",
    "--quiet",
    "--data",
    "images",
    "--variant",
    "mse",
    "--set",
    "train.epochs=1",
    "--set",
    "train.steps_per_epoch=1",
];

/// The faults of VCIP2020's test pairs: those that are training pairs, and those in no other split.
const TRAINED: [usize; 8] = [3, 6, 15, 16, 17, 19, 24, 28];
const ALONE: [usize; 5] = [5, 7, 9, 13, 21];

/// Copies a pair; `{}` in the names stands for `nir` or `rgb_reg`.
fn copy(folder: &Path, from: (&str, &str), to: (String, String)) {
    for (from, to) in [(from.0, to.0), (from.1, to.1)] {
        let to = folder.join("images").join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(folder.join("drawn").join(from), to).unwrap();
    }
}

/// [`TINY`] on a folder with the layout, the names that the subsets need and the leaks of VCIP2020, of drawn scenes.
fn leaky() -> TempDir {
    let folder = tempdir().unwrap();
    let root = folder.path();
    succeed(root, &["data", "synth", "--out", "drawn", "--count", "64", "--size", "64"]);
    let mut files: Vec<String> = fs::read_dir(root.join("drawn/NIR"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let mut drawn = files.iter().map(|nir| {
        let rgb = nir.replace("_nir.png", "_rgb_reg.png");
        (format!("NIR/{nir}"), format!("RGB-Registered/{rgb}"))
    });
    let held_out = Description::find("vcip2020").unwrap().subset["clean"].validation.only.clone().unwrap();
    let trained: Vec<String> = (0..8).map(|i| format!("extra_{i:04}")).collect();
    let mut places = [TRAINED.to_vec(), (1..=28).filter(|i| !TRAINED.contains(i) && !ALONE.contains(i)).collect()];
    for name in &held_out {
        let (nir, rgb) = drawn.next().unwrap();
        copy(root, (&nir, &rgb), (format!("NIR/{name}_nir.png"), format!("RGB-Registered/{name}_rgb_reg.png")));
    }
    let test =
        |i: usize| (format!("Testing/testing_{i:04}_nir_reg.png"), format!("Testing/Testing_{i:04}_rgb_reg.png"));
    for (name, i) in trained.iter().zip(places[0].drain(..)) {
        let (nir, rgb) = drawn.next().unwrap();
        copy(root, (&nir, &rgb), (format!("NIR/{name}_nir.png"), format!("RGB-Registered/{name}_rgb_reg.png")));
        copy(root, (&nir, &rgb), test(i));
    }
    let validation = |k: usize| {
        let stem = format!("Validation/validation_{k:04}");
        (format!("{stem}_nir.png"), format!("{stem}_rgb_reg.png"))
    };
    for (k, i) in places[1].drain(..).enumerate() {
        let (nir, rgb) = drawn.next().unwrap();
        copy(root, (&nir, &rgb), validation(k));
        copy(root, (&nir, &rgb), test(i));
    }
    for i in ALONE {
        let (nir, rgb) = drawn.next().unwrap();
        copy(root, (&nir, &rgb), test(i));
    }
    for k in 15..18 {
        let (nir, rgb) = validation(k - 15);
        copy(root, (&nir, &rgb), validation(k));
    }
    write_manifest(root);
    folder
}

fn write_manifest(folder: &Path) {
    let synthetic = "synthetic = { seed = 0, train = 4, validation = 2, test = 1 }";
    fs::write(folder.join("m.toml"), TINY.replace("\"synthetic\"", "\"vcip2020\"").replace(synthetic, "")).unwrap();
}

/// Expects success; returns standard output and standard error.
fn both(folder: &Path, args: &[&str]) -> (String, String) {
    let output = colormamba(folder, args);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    assert!(output.status.success(), "{args:?}: {}", text(output.stderr));
    (text(output.stdout), text(output.stderr))
}

#[test]
fn a_run_is_scored_and_tabulated_on_any_subset() {
    let folder = leaky();
    let root = folder.path();
    let (_, warnings) = both(root, &TRAIN);
    let wanted = [
        "vcip2020: 8 of the 28 test pairs are train pairs too (testing_0003 = extra_0000, testing_0006 = extra_0001, \
         testing_0015 = extra_0002 and 5 more): scores on them",
        "vcip2020: 15 of the 18 validation pairs are test pairs too (validation_0000 = testing_0001, ",
        "chooses from: published, clean, clean-registered, no-train-duplicates, registered",
    ];
    says(&warnings, &wanted);
    assert_eq!(warnings.matches("warning:").count(), 1, "{warnings}");

    let run = root.join(RUN);
    let study = root.join("runs/tiny");
    let kept =
        ["mse/seed-1/eval/validation.jsonl", "baselines/nir.validation.jsonl", "baselines/lookup.validation.jsonl"];
    let read = || kept.map(|file| fs::read(study.join(file)).unwrap());
    let published = read();
    let command = "colormamba eval runs/tiny/mse/seed-1 --split validation --subset clean";
    says(&fail(root, 1, &["table", RUN, "--subset", "clean"]), &["eval/clean.validation.jsonl is missing", command]);
    says(
        &fail(root, 1, &["table", "runs/tiny", "--subset", "clean"]),
        &["not every finished run", "mse seed 1", "colormamba eval runs/tiny --split validation --subset clean"],
    );

    // All of its validation pairs are training pairs of the published splits.
    let (table, warnings) = both(root, &["eval", RUN, "--data", "images", "--subset", "clean"]);
    let row = "| mse (LEAK: trained on 36 of these 36 images) | 1 |";
    let note = "LEAK: mse was trained on 36 of these 36 images (country_0023 = country_0023, ";
    says(&table, &["vcip2020/clean (", "validation split", "36 images", row, note, "| NIR copied |"]);
    assert!(!warnings.contains("LEAK"), "once, below the table: {warnings}");
    says(&warnings, &["mse seed 1: scoring the validation split"]);
    assert!(!warnings.contains("pairs are"), "clean splits share no image: {warnings}");
    assert_eq!(fs::read_dir(run.join("images/clean.validation")).unwrap().count(), 36);
    assert_eq!(fs::read_dir(run.join("images/validation")).unwrap().count(), 18);
    assert!(study.join("baselines/lookup.clean.validation.jsonl").exists());
    let of_study = succeed(root, &["table", "runs/tiny", "--subset", "clean"]);
    let rest = of_study.strip_prefix(&table).unwrap_or_else(|| panic!("{of_study}\nis not\n{table}"));
    assert_eq!(rest.trim().lines().count(), 1, "{of_study}");
    says(&of_study, &["Not in this table: adversarial seed 1: not trained to the end"]);
    assert!(read() == published, "scores of the run's own subset stay as they are");
    let own = succeed(root, &["table", "runs/tiny", "--subset", "published"]);
    assert_eq!(own, succeed(root, &["table", "runs/tiny"]));
    says(&own, &["vcip2020 (", "18 images", "| mse | 1 |"]);

    let test = |subset: &str| both(root, &["eval", RUN, "--data", "images", "--split", "test", "--subset", subset]).0;
    says(
        &test("published"),
        &["28 images", "| mse (LEAK: trained on 8 of these 28 images) |", "testing_0003 = extra_0000"],
    );
    for (subset, count) in [("no-train-duplicates", "20 images"), ("clean", "5 images")] {
        let table = test(subset);
        says(&table, &[&format!("vcip2020/{subset} ("), count, "| mse | 1 |"]);
        assert!(!table.contains("LEAK"), "{table}");
    }
    says(&fail(root, 2, &["eval", RUN, "--data", "images", "--subset", "clear"]), &["no subset `clear`", "clean"]);

    // The weights alone tell what they were trained on.
    let weights = format!("{RUN}/checkpoints/best.safetensors");
    let (table, warnings) = both(root, &["eval", &weights, "--data", "images", "--subset", "clean"]);
    says(&table, &["| best (LEAK: trained on 36 of these 36 images) |"]);
    assert_eq!(table.matches("LEAK: best was trained on 36 of these 36 images").count(), 1);
    assert!(!warnings.contains("LEAK"), "{warnings}");
}

#[test]
fn every_finished_run_of_a_study_is_asked_for() {
    let folder = leaky();
    let root = folder.path();
    let seeds = [&TRAIN[..], &["--set", "seeds=[1, 2]"]].concat();
    succeed(root, &seeds);
    succeed(root, &["eval", RUN, "--data", "images", "--split", "test", "--subset", "clean"]);
    let text = fail(root, 1, &["table", "runs/tiny", "--split", "test", "--subset", "clean"]);
    says(&text, &["mse seed 2; colormamba eval runs/tiny --split test --subset clean"]);
    assert!(!text.contains("seed 1"), "{text}");
    succeed(root, &["eval", "runs/tiny/mse/seed-2", "--data", "images", "--split", "test", "--subset", "clean"]);
    let table = ["table", "runs/tiny", "--split", "test", "--subset", "clean", "--format", "csv"];
    says(&succeed(root, &table), &["\nmse,2,5,", "vcip2020/clean"]);
}

#[test]
fn splits_without_a_common_image_need_no_warning() {
    let folder = tempdir().unwrap();
    let root = folder.path();
    write_manifest(root);
    succeed(root, &["data", "synth", "--out", "images", "--count", "4", "--size", "64"]);
    let (_, warnings) = both(root, &TRAIN);
    assert_eq!(warnings, "");
    for (from, to) in [("Testing/testing_0000_nir_reg.png", "nir"), ("Testing/Testing_0000_rgb_reg.png", "rgb_reg")] {
        let images = root.join("images");
        fs::copy(images.join(from), images.join(format!("Validation/validation_0009_{to}.png"))).unwrap();
    }
    // The images are no longer those of the run.
    let weights = format!("{RUN}/checkpoints/best.safetensors");
    let (_, warnings) = both(root, &["eval", &weights, "--data", "images"]);
    says(
        &warnings,
        &["1 of the 2 validation pairs is a test pair too (validation_0009 = testing_0000): weights chosen by"],
    );
    assert_eq!(warnings.matches("warning:").count(), 1, "{warnings}");
}

#[test]
fn drawn_scenes_have_no_subsets() {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("m.toml"), TINY).unwrap();
    fail(folder.path(), 1, &["run", "m.toml", "--variant", "mse", "--stop-after", "1"]);
    says(
        &fail(folder.path(), 2, &["eval", RUN, "--subset", "clean"]),
        &["--subset is not for dataset = \"synthetic\""],
    );
}
