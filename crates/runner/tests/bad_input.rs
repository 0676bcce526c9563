//! What a user can get wrong: each says what to do, and which kind of failure it is.

use crate::common::{TINY, colormamba, fail, says, succeed, write_weights};
use colormamba::checkpoint;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tempfile::{TempDir, tempdir};

/// A folder with [`TINY`] as `m.toml`, `from` replaced by `to`.
fn with_manifest(from: &str, to: &str) -> TempDir {
    assert!(TINY.contains(from));
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("m.toml"), TINY.replace(from, to)).unwrap();
    folder
}

/// Exit code 2 and these words.
fn refuses_manifest(from: &str, to: &str, wanted: &[&str]) {
    let folder = with_manifest(from, to);
    says(&fail(folder.path(), 2, &["run", "m.toml"]), wanted);
    assert!(!folder.path().join("runs").exists(), "a refused manifest leaves nothing behind");
}

#[test]
fn unknown_manifest_key() {
    refuses_manifest("epochs = 2", "epochs = 2\nbach = 3", &["m.toml:14: unknown key `bach`, did you mean `batch`?"]);
    refuses_manifest("[model]", "[modle]", &["m.toml:8: unknown key `modle`, did you mean `model`?"]);
}

#[test]
fn unknown_choice() {
    let wanted = ["m.toml:5: unknown protocol `minmaxed`, did you mean `minmax`?"];
    refuses_manifest("protocol = \"raw\"", "protocol = \"minmaxed\"", &wanted);
}

#[test]
fn unknown_loss_term() {
    refuses_manifest(
        "{ mse = 10 }",
        "{ feature_msw = 10 }",
        &["m.toml:28: ", "feature_msw", "did you mean `feature_mse`?"],
    );
}

#[test]
fn feature_term_without_features() {
    refuses_manifest("{ mse = 10 }", "{ feature_mse = 10 }", &["m.toml:28: ", "features = \"pretrained\""]);
}

#[test]
fn loss_on_a_head_that_the_network_lacks() {
    let wanted = ["m.toml:28: unknown key `hsb`, did you mean `hsv`? The network's heads are `rgb`, `hsv`"];
    refuses_manifest("loss.hsv = { mse = 10 }", "loss.hsb = { mse = 10 }", &wanted);
    let wanted =
        ["m.toml:28: unknown key `depth`, known are `preset`, `combination`, `adversarial` and the network's \
                   heads, `rgb`, `hsv`"];
    refuses_manifest("loss.hsv = { mse = 10 }", "loss.depth = { mse = 10 }", &wanted);
    refuses_manifest("loss.hsv = { mse = 10 }", "loss.hsv = 10", &["m.toml:28: `hsv` is a table of terms"]);
    let wanted = ["m.toml:28: `cross_entropy` takes class scores (B, n), the head `hsv` holds an image of 3 channels"];
    refuses_manifest("loss.hsv = { mse = 10 }", "loss.hsv = { cross_entropy = 10 }", &wanted);
}

#[test]
fn negative_weight() {
    refuses_manifest("l1 = 1", "l1 = -1", &["m.toml:27: loss term `l1` has weight -1; a weight is a finite number"]);
}

#[test]
fn options_that_a_term_lacks_or_cannot_have() {
    let wanted = ["m.toml:27: `smooth_l1`: unknown key `bta`, did you mean `beta`?"];
    refuses_manifest("l1 = 1", "smooth_l1 = { weight = 1, bta = 2 }", &wanted);
    let wanted = ["m.toml:27: loss term `smooth_l1`: beta is -2, it must be above 0"];
    refuses_manifest("l1 = 1", "smooth_l1 = { weight = 1, beta = -2 }", &wanted);
    refuses_manifest("l1 = 1", "smooth_l1 = { beta = 2 }", &["m.toml:27: `smooth_l1` needs a `weight`"]);
    refuses_manifest("l1 = 1", "l1 = \"much\"", &["m.toml:27: a weight is a number, not string"]);
    let wanted = ["m.toml:27: `histogram`: unknown value `cdf`, did you mean `cdf_l1`?"];
    refuses_manifest("l1 = 1", "histogram = { weight = 1, distance = \"cdf\" }", &wanted);
    let ramp = "l1 = { weight = 1, schedule = { kind = \"ramp\", from = 0, start = 3, end = 3 } }";
    refuses_manifest("l1 = 1", ramp, &["m.toml:27: loss term `l1`: its ramp starts in epoch 3 and ends in epoch 3"]);
}

#[test]
fn presets_and_adversarial_losses_that_do_not_exist() {
    let wanted = ["m.toml:28: unknown preset `fusion13`, did you mean `fusion"];
    refuses_manifest("loss.hsv = { mse = 10 }", "loss.preset = \"fusion13\"", &wanted);
    let wanted = ["m.toml:28: unknown combination `dynamics`, did you mean `dynamic`?"];
    refuses_manifest("loss.hsv = { mse = 10 }", "loss.combination = \"dynamics\"", &wanted);
    let lsgan = "kind = \"lsgan\"";
    refuses_manifest(lsgan, "kind = \"wgan\"", &["unknown adversarial loss `wgan`, did you mean `wgan_gp`?"]);
    refuses_manifest(lsgan, "kind = \"hinge\", scales = 4", &["scales is 4: it must be between 1 and 3"]);
    refuses_manifest(
        lsgan,
        "kind = \"hinge\", scales = 3",
        &["3 scales need images of at least 96 pixels, size is 64"],
    );
    refuses_manifest(lsgan, "kind = \"hinge\", penalty = 3", &["`penalty` is for kind = \"wgan_gp\""]);
}

#[test]
fn unknown_loss() {
    let folder = tempdir().unwrap();
    says(
        &fail(folder.path(), 2, &["losses", "histogramm"]),
        &["no loss is called `histogramm`, did you mean `histogram`?"],
    );
}

#[test]
fn width_not_divisible_by_eight() {
    refuses_manifest("width = 8\nd", "width = 12\nd", &["m.toml:9: width 12 is not a multiple of 8"]);
}

#[test]
fn size_not_a_multiple_of_the_grid() {
    let wanted = ["m.toml:6: size 100 is not a multiple of 64, the grid of depth 6"];
    refuses_manifest("size = 64", "size = 100", &wanted);
}

#[test]
fn term_that_needs_larger_images() {
    refuses_manifest("l1 = 1", "ms_ssim_published = 1", &["m.toml:27: `ms_ssim_published` needs images of at least"]);
}

#[test]
fn impossible_values() {
    refuses_manifest("epochs = 2", "epochs = 0", &["m.toml:13: epochs is 0"]);
    refuses_manifest("lr = 1e-3", "lr = nan", &["m.toml:16: lr is NaN"]);
    refuses_manifest("name = \"tiny\"", "name = \"../tiny\"", &["m.toml:2: `../tiny` names a folder"]);
    refuses_manifest("name = \"adversarial\"", "name = \"mse\"", &["m.toml:26: the variant name `mse` is taken"]);
    refuses_manifest("name = \"tiny\"", "name = \"tiny\"\nseeds = []", &["m.toml:3: `seeds` is empty"]);
    refuses_manifest("mirror = 0.5", "mirror = 2", &["m.toml:19: mirror is a probability"]);
}

#[test]
fn absurd_values() {
    refuses_manifest("width = 8\nd", "width = 8192\nd", &["m.toml:9: width is 8192: it must be between 1 and 1024"]);
    refuses_manifest("critic_width = 8", "critic_width = 1000000", &["m.toml:15: critic_width is 1000000"]);
    refuses_manifest("batch = 2", "batch = 4097", &["m.toml:14: batch is 4097: it must be between 1 and 4096"]);
    refuses_manifest("size = 64", "size = 16448", &["m.toml:6: size is 16448: it must be between 1 and 16384"]);
    refuses_manifest("crop = 48", "crop = 16385", &["m.toml:21: crop is 16385"]);
    refuses_manifest("train = 4", "train = 1000001", &["m.toml:7: train is 1000001"]);
    refuses_manifest("validation = 2", "validation = 1000001", &["m.toml:7: validation is 1000001"]);
    refuses_manifest("test = 1 ", "test = 1000001 ", &["m.toml:7: test is 1000001"]);
    let folder = tempdir().unwrap();
    let synth = |what, value| fail(folder.path(), 2, &["data", "synth", "--out", "images", what, value]);
    for side in ["16385", "63", "0"] {
        let wanted = format!("--size {side} is not from 64, the least that a network takes, to 16384");
        says(&synth("--size", side), &[&wanted]);
    }
    for count in ["1000001", "0"] {
        says(&synth("--count", count), &[&format!("--count {count} is not from 1 to 1000000 training pairs")]);
    }
}

#[test]
fn variant_named_like_a_file_of_the_study() {
    for name in ["baselines", "contact-sheet.png", "manifest.toml", "table.csv", "table.md", "table.tex"] {
        let wanted = format!("m.toml:23: the variant name `{name}` is taken");
        refuses_manifest("name = \"mse\"", &format!("name = \"{name}\""), &[&wanted]);
    }
}

#[test]
fn no_variant() {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("m.toml"), &TINY[..TINY.find("[[variant]]").unwrap()]).unwrap();
    says(&fail(folder.path(), 2, &["run", "m.toml"]), &["no [[variant]]"]);
}

#[test]
fn wrong_override() {
    let folder = with_manifest("", "");
    let run = |set: &str| fail(folder.path(), 2, &["run", "m.toml", "--set", set]);
    says(&run("train.epoks=2"), &["--set train.epoks=2: unknown key `epoks`, did you mean `epochs`?"]);
    says(&run("train.epochs=-2"), &["--set train.epochs=-2: epochs is -2"]);
    says(&run("data.protocol=raw or"), &["--set data.protocol=raw or: ", "text that is more than a word needs quotes"]);
}

#[test]
fn missing_manifest_variant_or_seed() {
    let folder = with_manifest("", "");
    says(&fail(folder.path(), 2, &["run", "none.toml"]), &["none.toml: cannot be read"]);
    says(&fail(folder.path(), 2, &["run", "m.toml", "--variant", "mso"]), &["no variant `mso`, did you mean `mse`?"]);
    says(&fail(folder.path(), 2, &["run", "m.toml", "--seed", "7"]), &["no seed 7"]);
}

#[test]
fn device_that_this_build_lacks() {
    let folder = with_manifest("", "");
    if cfg!(not(feature = "cuda")) {
        says(&fail(folder.path(), 2, &["run", "m.toml", "--device", "cuda"]), &["no CUDA"]);
    }
    says(&fail(folder.path(), 2, &["run", "m.toml", "--device", "gpu"]), &["gpu is no device", "cuda:N"]);
}

#[test]
fn precision_of_a_card_on_the_processor() {
    refuses_manifest(
        "critic_width = 8",
        "critic_width = 8\nprecision = \"int4\"",
        &["precision", "f32", "tf32", "bf16"],
    );
    for precision in ["tf32", "bf16"] {
        let folder = with_manifest("critic_width = 8", &format!("critic_width = 8\nprecision = \"{precision}\""));
        says(&fail(folder.path(), 2, &["run", "m.toml", "--device", "cpu"]), &[precision, "--device cuda"]);
    }
}

#[test]
fn missing_feature_weights() {
    let text = TINY.replace("name = \"tiny\"", "name = \"tiny\"\nfeatures = \"pretrained\"");
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("m.toml"), text.replace("l1 = 1", "feature_mse = 1")).unwrap();
    let text = fail(folder.path(), 1, &["run", "m.toml"]);
    says(&text, &["weights/autoencoder.pth", "weights/autoencoder.toml", "features = \"random\" in the manifest"]);
}

#[test]
fn text_in_another_encoding() {
    let folder = with_images();
    let root = folder.path();
    let text = fs::read_to_string(root.join("m.toml")).unwrap();
    let wide: Vec<u8> = std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    fs::write(root.join("wide.toml"), wide).unwrap();
    says(&fail(root, 2, &["run", "wide.toml"]), &["wide.toml: cannot be read", "`iconv -f UTF-16 -t UTF-8`"]);
    fs::write(root.join("own.toml"), b"name = \"for\xeat\"\n").unwrap();
    let text = fail(root, 2, &["data", "check", "own.toml", "--data", "images"]);
    says(&text, &["own.toml: it is not text in UTF-8", "`iconv -f WINDOWS-1252 -t UTF-8`"]);
    let text = fail(root, 2, &["run", "m.toml", "--data", "images", "--set", "train.epochs=two"]);
    says(&text, &["--set train.epochs=two: a whole number is expected, not the text \"two\""]);
}

#[test]
fn output_folder_not_writable() {
    let folder = with_manifest("", "");
    // A file in the place of a folder stops even the superuser.
    fs::write(folder.path().join("taken"), "").unwrap();
    let text = fail(folder.path(), 1, &["run", "m.toml", "--out", "taken"]);
    says(&text, &["cannot make the folder taken/tiny"]);
}

/// A file beyond `ulimit -f` ended the program by a signal, without a word.
#[test]
#[cfg(unix)]
fn a_file_that_may_not_grow_is_named() {
    let folder = with_manifest("", "");
    let script = format!("ulimit -f 64; exec {} --threads 2 run m.toml --quiet", env!("CARGO_BIN_EXE_colormamba"));
    let output = std::process::Command::new("sh").args(["-c", &script]).current_dir(folder.path()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    says(&text, &["best.safetensors", "File too large"]);
    succeed(folder.path(), &["run", "m.toml", "--quiet"]);
}

/// A folder with [`TINY`] on the photographs in `images/`, four training pairs.
fn with_images() -> TempDir {
    let folder = tempdir().unwrap();
    succeed(folder.path(), &["data", "synth", "--out", "images", "--count", "4", "--size", "64"]);
    let synthetic = "synthetic = { seed = 0, train = 4, validation = 2, test = 1 }";
    let text = TINY.replace("\"synthetic\"", "\"vcip2020\"").replace(synthetic, "");
    fs::write(folder.path().join("m.toml"), text).unwrap();
    folder
}

fn some_file(folder: &Path) -> std::path::PathBuf {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.remove(1)
}

#[test]
fn missing_data_folder() {
    let folder = with_images();
    says(&fail(folder.path(), 2, &["run", "m.toml"]), &["--data DIR"]);
    let text = fail(folder.path(), 1, &["run", "m.toml", "--data", "elsewhere"]);
    says(&text, &["elsewhere/NIR", "no such folder", "datasets/vcip2020.toml"]);
}

#[test]
fn corrupt_png() {
    let folder = with_images();
    let file = some_file(&folder.path().join("images/RGB-Registered"));
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let text = fail(folder.path(), 1, &["run", "m.toml", "--data", "images"]);
    says(&text, &[file.file_name().unwrap().to_str().unwrap(), "not a readable image"]);
}

#[test]
fn nir_without_its_rgb() {
    let folder = with_images();
    let file = some_file(&folder.path().join("images/RGB-Registered"));
    let nir = file.file_name().unwrap().to_str().unwrap().replace("_rgb_reg", "_nir");
    fs::remove_file(&file).unwrap();
    let text = fail(folder.path(), 1, &["run", "m.toml", "--data", "images"]);
    says(&text, &["1 problem with the images", &nir, "has no partner"]);
}

#[test]
fn every_wrong_image_is_named_at_once() {
    let folder = with_images();
    let rgb = some_file(&folder.path().join("images/RGB-Registered"));
    let nir = rgb.file_name().unwrap().to_str().unwrap().replace("_rgb_reg", "_nir");
    fs::remove_file(&rgb).unwrap();
    fs::write(folder.path().join("images/Validation/validation_0000_nir.png"), "not an image").unwrap();
    image::RgbImage::new(8, 8).save(folder.path().join("images/Testing/Testing_0000_rgb_reg.png")).unwrap();
    write_weights(&folder.path().join("w.safetensors"), 8);
    for args in [["run", "m.toml", "--data", "images"], ["eval", "w.safetensors", "--data", "images"]] {
        let text = fail(folder.path(), 1, &args);
        says(
            &text,
            &["3 problems with the images", &nir, "validation_0000_nir.png: not a readable", "testing_0000: NIR"],
        );
    }
}

/// Fewer scenes than lie there would leave old ones among the new.
#[test]
fn drawn_scenes_do_not_mix_with_others() {
    let folder = tempdir().unwrap();
    let synth = |count: &'static str| ["data", "synth", "--out", "images", "--count", count, "--size", "64", "--force"];
    succeed(folder.path(), &synth("3"));
    let before = std::fs::read(folder.path().join("images/NIR/synthetic_0000_nir.png")).unwrap();
    let text = fail(folder.path(), 2, &[&synth("1")[..], &["--seed", "7"]].concat());
    says(
        &text,
        &["synthetic_0001_nir.png would stay among the new images, of 4 such images in all", "name an empty folder"],
    );
    assert_eq!(std::fs::read(folder.path().join("images/NIR/synthetic_0000_nir.png")).unwrap(), before);
    succeed(folder.path(), &[&synth("3")[..], &["--seed", "7"]].concat());
    assert_ne!(std::fs::read(folder.path().join("images/NIR/synthetic_0000_nir.png")).unwrap(), before);
}

/// As a later version, which knows more networks, might have written it.
#[test]
fn weights_of_a_network_that_is_not_known() {
    let folder = tempdir().unwrap();
    succeed(folder.path(), &["data", "synth", "--out", "images", "--count", "2", "--size", "64"]);
    image::GrayImage::new(64, 64).save(folder.path().join("nir.png")).unwrap();
    let header = [("kind", "unet"), ("options", "{}"), ("protocol", "raw"), ("nir_hsv", "gray"), ("size", "64")];
    let header: BTreeMap<_, _> = header.into_iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    checkpoint::save(&folder.path().join("w.safetensors"), &BTreeMap::new(), &header).unwrap();
    let wanted = "w.safetensors: weights of a network of kind `unet`, which is not known; known are `colormamba`";
    for args in [
        &["eval", "w.safetensors", "--data", "images"][..],
        &["colorize", "nir.png", "--weights", "w.safetensors", "--out", "out"],
    ] {
        says(&fail(folder.path(), 1, args), &[wanted]);
    }
}

#[test]
fn photographs_whose_results_have_no_place() {
    let folder = tempdir().unwrap();
    write_weights(&folder.path().join("w.safetensors"), 8);
    image::GrayImage::new(64, 128).save(folder.path().join("fine.png")).unwrap();
    let text =
        fail(folder.path(), 2, &["colorize", "fine.png", "x/fine.png", "--weights", "w.safetensors", "--out", "out"]);
    says(&text, &["two images are called fine"]);
    let text = fail(folder.path(), 2, &["colorize", "fine.png", "--weights", "w.safetensors", "--out", "."]);
    says(&text, &["fine.png would be overwritten"]);
    let on_processor = ["--out", "out", "--device", "cpu", "--precision", "bf16"];
    let text =
        fail(folder.path(), 2, &[&["colorize", "fine.png", "--weights", "w.safetensors"], &on_processor[..]].concat());
    says(&text, &["precision bf16 is for a GPU", "--device cuda"]);
}

/// A run that was stopped after its first step.
fn stopped_run() -> TempDir {
    let folder = with_manifest("", "");
    let text = fail(folder.path(), 1, &["run", "m.toml", "--variant", "mse", "--stop-after", "1"]);
    says(&text, &["stopped after step 1 of mse; the same command resumes"]);
    folder
}

#[test]
fn truncated_checkpoint() {
    let folder = stopped_run();
    let last = folder.path().join("runs/tiny/mse/seed-1/checkpoints/last.safetensors");
    let bytes = fs::read(&last).unwrap();
    fs::write(&last, &bytes[..bytes.len() / 2]).unwrap();
    let text = fail(folder.path(), 1, &["run", "m.toml", "--variant", "mse"]);
    says(&text, &["last.safetensors", "cut short", "to start over"]);
}

#[test]
fn checkpoint_of_another_width() {
    let folder = stopped_run();
    let last = Path::new("tiny/mse/seed-1/checkpoints/last.safetensors");
    let wide = ["--set", "model.width=16", "--out", "wide", "--variant", "mse", "--stop-after", "1"];
    fail(folder.path(), 1, &[&["run", "m.toml"], wide.as_slice()].concat());
    fs::copy(folder.path().join("wide").join(last), folder.path().join("runs").join(last)).unwrap();
    let text = fail(folder.path(), 1, &["run", "m.toml", "--variant", "mse"]);
    says(&text, &["last.safetensors", "width is 16, the manifest's is 8"]);
    write_weights(&folder.path().join("runs").join(last).with_file_name("best.safetensors"), 16);
    let text = fail(folder.path(), 1, &["eval", "runs/tiny/mse/seed-1"]);
    says(&text, &["best.safetensors", "width 16", "width 8"]);
}

#[test]
fn folder_of_another_run() {
    let folder = stopped_run();
    let text = fail(folder.path(), 1, &["run", "m.toml", "--variant", "mse", "--set", "train.batch=4"]);
    says(&text, &["holds a run of another manifest: `batch = 2` there, `batch = 4` here"]);
}

#[test]
fn fewer_epochs_than_are_done() {
    let folder = stopped_run();
    fail(folder.path(), 1, &["run", "m.toml", "--variant", "mse", "--stop-after", "2"]);
    let text = fail(folder.path(), 1, &["run", "m.toml", "--variant", "mse", "--set", "train.epochs=1"]);
    says(&text, &["runs/tiny/mse/seed-1 is in its epoch 2, but train.epochs is 1"]);
    says(&fs::read_to_string(folder.path().join("runs/tiny/mse/seed-1/manifest.toml")).unwrap(), &["epochs = 2"]);
}

#[test]
fn folder_in_use() {
    let folder = stopped_run();
    let lock = fs::File::create(folder.path().join("runs/tiny/mse/seed-1/.lock")).unwrap();
    lock.lock().unwrap();
    let text = fail(folder.path(), 1, &["run", "m.toml", "--variant", "mse", "--stop-after", "1"]);
    says(&text, &["runs/tiny/mse/seed-1 is being trained by another process"]);
    drop(lock);
    let text = fail(folder.path(), 1, &["run", "m.toml", "--variant", "mse", "--stop-after", "1"]);
    says(&text, &["stopped after step 2"]);
}

#[test]
fn weights_that_are_no_longer_numbers() {
    let folder = with_manifest("batch = 2", "batch = 2\nsteps_per_epoch = 1\ngenerator_steps = 1");
    let args = ["run", "m.toml", "--variant", "mse", "--set", "train.optimizer.lr=1e30"];
    let text = fail(folder.path(), 1, &args);
    says(
        &text,
        &["the predictions after epoch 1 are not numbers", "lower learning rate", "removing runs/tiny/mse/seed-1"],
    );
    assert_eq!(fs::read_dir(folder.path().join("runs/tiny/mse/seed-1/checkpoints")).unwrap().count(), 0);
}

#[test]
fn scores_on_other_images() {
    let folder = with_images();
    let short = ["--variant", "mse", "--set", "train.epochs=1", "--set", "train.steps_per_epoch=1"];
    succeed(folder.path(), &[&["run", "m.toml", "--data", "images"], short.as_slice()].concat());
    let scores = || fs::read(folder.path().join("runs/tiny/mse/seed-1/eval/validation.jsonl")).unwrap();
    let first = scores();
    succeed(folder.path(), &["data", "synth", "--out", "other", "--count", "9", "--size", "64", "--seed", "5"]);
    let text = fail(folder.path(), 1, &["eval", "runs/tiny/mse/seed-1", "--data", "other"]);
    says(&text, &["seed-1/checkpoints/best.safetensors --data DIR --out FILE"]);
    assert!(scores() == first);
}

#[test]
fn table_of_nothing() {
    let folder = stopped_run();
    let go_on = "colormamba run runs/tiny/manifest.toml --out runs";
    says(&fail(folder.path(), 1, &["table", "runs/tiny"]), &["runs/tiny has scores for the validation split", go_on]);
    let text = fail(folder.path(), 1, &["eval", "runs/tiny/mse/seed-1"]);
    says(&text, &["has no usable weights: train it to the end: colormamba run", "tiny/manifest.toml"]);
    assert!(!text.contains("scoring"), "{text}");
    says(&fail(folder.path(), 1, &["table", "runs/tiny/mse/seed-1"]), &["finish the run"]);
    says(&fail(folder.path(), 1, &["table", "."]), &["holds neither a run nor a study"]);
    assert_eq!(colormamba(folder.path(), &["table"]).status.code(), Some(2));
}
