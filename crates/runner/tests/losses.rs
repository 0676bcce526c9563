//! Losses by name: the list of them, and short trainings with each kind.

use crate::common::{TINY, fail, says, succeed};
use colormamba_losses::{Channels, Preset, Term};
use colormamba_runner::manifest::Manifest;
use serde_json::Value;
use std::fs;
use std::path::Path;
use tempfile::{TempDir, tempdir};

fn json(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_loss_is_listed_with_formula_range_and_source() {
    let folder = tempdir().unwrap();
    let lines = json(&succeed(folder.path(), &["losses", "--json"]));
    let of = |kind: &str| lines.iter().filter(|line| line["kind"] == kind).map(|line| line["name"].clone()).collect();
    let (terms, presets): (Vec<Value>, Vec<Value>) = (of("term"), of("preset"));
    assert_eq!(terms, Term::all().iter().map(Term::name).collect::<Vec<_>>());
    assert_eq!(presets, Preset::all().iter().map(|preset| preset.name).collect::<Vec<_>>());
    for line in &lines {
        for key in ["formula", "source"] {
            assert!(line[key].as_str().is_some_and(|text| !text.is_empty()), "{key} of {line}");
        }
        assert!(line["kind"] == "preset" || line["range"].as_str().is_some_and(|text| !text.is_empty()), "{line}");
    }
    let text = succeed(folder.path(), &["losses"]);
    says(&text, &["smooth_l1", "Fast R-CNN", "thesis-combined", "1.5"]);
    let text = succeed(folder.path(), &["losses", "smooth_l1"]);
    says(
        &text,
        &["formula", "range", "source", "beta = 1.0", "loss.rgb = { smooth_l1 = { beta = 1.0, weight = 1.0 } }"],
    );
    let text = succeed(folder.path(), &["losses", "wgan_gp"]);
    says(
        &text,
        &["1704.00028", "scales = 1", "penalty = 10", "loss.adversarial = { kind = \"wgan_gp\", weight = 0.1 }"],
    );
    says(&succeed(folder.path(), &["losses", "dynamic"]), &["formula", "loss.combination = \"dynamic\""]);
    says(&fail(folder.path(), 2, &["losses", "wgan"]), &["did you mean `wgan_gp`?"]);
    says(&succeed(folder.path(), &["losses", "fusion1"]), &["rgb: 0.3 mse + 0.7 ssim", "arXiv 2304.02633"]);
}

/// What the tool says of a term can stand in a manifest, and a resolved manifest means the same.
#[test]
fn every_term_and_preset_is_read_back() {
    let features = "name = \"tiny\"\nfeatures = \"random\"";
    let text = TINY.replace("name = \"tiny\"", features).replace("size = 64", "size = 192");
    let check = |text: &str| {
        let manifest = Manifest::parse("m.toml", text, &[]).unwrap_or_else(|e| panic!("{e} in {text}"));
        let resolved = manifest.to_toml().unwrap();
        assert_eq!(Manifest::parse("resolved", &resolved, &[]).unwrap(), manifest, "{resolved}");
    };
    let folder = tempdir().unwrap();
    for term in Term::all() {
        let explained = succeed(folder.path(), &["losses", term.name()]);
        if term.channels() == Channels::Classes {
            says(&explained, &["class scores (B, n)", &format!("manifest loss.HEAD = {{ {term} = 1.0 }}")]);
            continue;
        }
        check(&text.replace("mse = 100, l1 = 1", &format!("{term} = 1")));
        let (_, line) = explained.split_once("manifest loss.rgb = ").unwrap();
        check(&text.replace("{ mse = 10 }", line.trim()));
    }
    for preset in Preset::all() {
        check(&text.replace("loss.hsv = { mse = 10 }", &format!("loss.preset = {:?}", preset.name)));
    }
}

fn folder(from: &str, to: &str) -> TempDir {
    let folder = tempdir().unwrap();
    assert!(TINY.contains(from));
    fs::write(folder.path().join("m.toml"), TINY.replace(from, to)).unwrap();
    folder
}

/// Trains the variant `adversarial` and returns its steps.
fn steps(folder: &Path, more: &[&str]) -> Vec<Value> {
    let args = [&["run", "m.toml", "--quiet", "--variant", "adversarial"], more].concat();
    succeed(folder, &args);
    json(&fs::read_to_string(folder.join("runs/tiny/adversarial/seed-1/steps.jsonl")).unwrap())
}

#[test]
fn what_a_manifest_names_replaces_what_its_preset_gives() {
    let text = TINY.replace("loss.hsv = { mse = 10 }", "loss.preset = \"mse-ssim\"");
    let manifest = Manifest::parse("m.toml", &text, &[]).unwrap();
    let loss = &manifest.variants.last().unwrap().loss;
    let weight = |name: &str| loss.on("rgb").unwrap()[name].weight.value;
    assert_eq!(weight("ssim"), 0.84);
    assert_ne!(weight("mse"), 0.16, "the manifest has one of its own");
    assert!(loss.on("hsv").unwrap().is_empty() && loss.adversarial.is_some());
}

#[test]
fn a_scheduled_weight_changes_with_the_epoch() {
    let folder = folder("l1 = 1", "l1 = { weight = 1, schedule = { kind = \"switch\", from = 0, at = 1 } }");
    for line in steps(folder.path(), &[]) {
        let l1 = &line["g_loss"][0]["rgb"]["l1"];
        let (raw, weighted) = (l1["raw"].as_f64().unwrap(), l1["weighted"].as_f64().unwrap());
        assert!(raw > 0.0);
        assert_eq!(weighted, if line["epoch"] == 1 { 0.0 } else { raw });
    }
}

/// Learned weights start where fixed ones stay, and are part of the checkpoint.
#[test]
fn learned_weights_move_and_survive_an_interruption() {
    let dynamic = "loss.combination = \"dynamic\"\nloss.hsv = { mse = 10 }";
    let (straight, broken) = (folder("loss.hsv = { mse = 10 }", dynamic), folder("loss.hsv = { mse = 10 }", dynamic));
    let lines = steps(straight.path(), &[]);
    let share = |line: &Value, name: &str| {
        let term = &line["g_loss"][0]["rgb"][name];
        (term["raw"].as_f64().unwrap(), term["weighted"].as_f64().unwrap())
    };
    let (raw, weighted) = share(&lines[0], "l1");
    assert_eq!(raw, weighted);
    let (raw, weighted) = share(lines.last().unwrap(), "l1");
    assert_ne!(raw, weighted);
    let stop = ["run", "m.toml", "--quiet", "--variant", "adversarial", "--stop-after", "1"];
    fail(broken.path(), 1, &stop);
    steps(broken.path(), &[]);
    let last = |folder: &TempDir| folder.path().join("runs/tiny/adversarial/seed-1/checkpoints/last.safetensors");
    let (a, b) = (fs::read(last(&straight)).unwrap(), fs::read(last(&broken)).unwrap());
    assert!(a == b, "the checkpoints differ");
    assert!(String::from_utf8_lossy(&a).contains("loss.rgb.l1"));
}

#[test]
fn every_adversarial_loss_trains() {
    for kind in ["vanilla", "hinge", "wgan_gp"] {
        let folder = folder("kind = \"lsgan\"", &format!("kind = {kind:?}, scales = 2"));
        for line in steps(folder.path(), &["--set", "train.epochs=1"]) {
            assert!(line["d_loss"][0].as_f64().unwrap().is_finite(), "{kind}: {line}");
        }
    }
}

/// Norms and cosines of all terms, the adversarial loss among them; watching changes nothing.
#[test]
fn gradients_are_reported_and_leave_no_trace() {
    let (plain, watched) = (folder("", ""), folder("", ""));
    let watch = ["--set", "train.diagnostics=\"gradients\"", "--set", "train.diagnostics_every=2"];
    let without = steps(plain.path(), &[]);
    let lines = steps(watched.path(), &watch);
    for (i, (line, other)) in lines.iter().zip(&without).enumerate() {
        assert_eq!(line["g_loss"], other["g_loss"]);
        assert_eq!(line["gradients"].is_object(), i % 2 == 0, "{line}");
    }
    let rgb = &lines[0]["gradients"]["rgb"];
    let names: Vec<&String> = rgb["norms"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["adversarial", "l1", "mse"]);
    assert!(rgb["norms"].as_object().unwrap().values().all(|norm| norm.as_f64().unwrap() > 0.0));
    let cosine = rgb["cosines"]["l1"]["mse"].as_f64().unwrap();
    assert!(cosine > 0.5 && cosine <= 1.0, "both pull towards the truth: {cosine}");
    assert!(rgb["cosines"]["mse"]["adversarial"].is_number());
}

/// Whatever the network is like: an address that nothing listens at.
/// All weights, wherever they are listed.
const LISTED: &str =
    "vgg16, vgg19, alexnet, squeezenet, st-vgg16, dinov2-vitl14, efficientnet-lite0, autoencoder (not fetched";

#[test]
fn without_a_network_the_tool_says_what_to_fetch_and_where_to_put_it() {
    let folder = tempdir().unwrap();
    let fetch = |name: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_colormamba"));
        command.args(["weights", "fetch", name]).env("HF_ENDPOINT", "http://127.0.0.1:9").current_dir(folder.path());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let text = fetch("vgg19");
    says(&text, &["cannot fetch https://huggingface.co/timm/vgg19.tv_in1k", "put it at weights/vgg19.safetensors"]);
    assert!(!text.contains("no checksum"), "{text}");
    says(
        &fetch("dinov2-vitl14"),
        &[
            "note: no checksum of https://huggingface.co/facebook/dinov2-large/resolve/main/model.safetensors is known",
            "put it at weights/dinov2-vitl14.safetensors",
        ],
    );
    assert_eq!(fs::read_dir(folder.path().join("weights")).unwrap().count(), 0, "nothing half is left");
    let help = succeed(folder.path(), &["weights", "fetch", "--help"]);
    says(&help.split_whitespace().collect::<Vec<_>>().join(" "), &[LISTED]);
    says(
        &fail(folder.path(), 2, &["weights", "fetch", "vgg18"]),
        &["no weights are called `vgg18`, did you mean `vgg1", LISTED],
    );
    says(
        &fail(folder.path(), 2, &["weights", "fetch", "autoencoder", "--weights", "w"]),
        &[
            "terms are unknown",
            "assets/autoencoder.pth of https://github.com/theonegis/ganstfm",
            "put it at w/autoencoder.pth",
        ],
    );
}
