//! Studies of several networks.

use crate::common::{TINY, colormamba, fail, says, succeed};
use std::fs;
use std::path::Path;
use tempfile::{TempDir, tempdir};

const LITE: &str = "\n[[variant]]\nname = \"lite\"\nloss.rgb = { mse = 100 }\n\
                    model = { kind = \"lite\", width = 4, dropout = 0.3, stochastic_depth = 0.3 }\n";

/// [`TINY`]'s first variant, and the small network beside it.
fn folder(lite: &str) -> TempDir {
    let folder = tempdir().unwrap();
    let one = TINY.split("[[variant]]\nname = \"adversarial\"").next().unwrap();
    fs::write(folder.path().join("m.toml"), format!("{one}{lite}")).unwrap();
    folder
}

const RUN: [&str; 3] = ["run", "m.toml", "--quiet"];

#[test]
fn each_variant_trains_its_own_network_and_all_are_in_one_table() {
    let folder = folder(LITE);
    let root = folder.path();
    succeed(root, &RUN);
    let kind = |variant: &str| {
        let path = format!("runs/tiny/{variant}/seed-1");
        succeed(root, &["weights", "inspect", &path])
    };
    says(&kind("mse"), &["colormamba with"]);
    says(&kind("lite"), &["lite with dropout 0.3, stochastic_depth 0.3, width 4"]);
    says(&succeed(root, &["table", "runs/tiny"]), &["| mse |", "| lite |"]);
    succeed(root, &["eval", "runs/tiny", "--split", "test"]);
    says(&succeed(root, &["table", "runs/tiny", "--split", "test"]), &["| mse |", "| lite |"]);
    // All is there: nothing is trained again.
    let last = root.join("runs/tiny/lite/seed-1/checkpoints/last.safetensors");
    let written = fs::metadata(&last).unwrap().modified().unwrap();
    succeed(root, &RUN);
    assert_eq!(fs::metadata(&last).unwrap().modified().unwrap(), written);
}

/// An option of the manifest's network is none of a variant's own.
#[test]
fn an_override_that_leaves_a_variant_as_it_is_is_told() {
    let folder = folder(LITE);
    let said = |set: &str| {
        let args = ["run", "m.toml", "--profile", "--device", "cpu", "--set", set];
        String::from_utf8(colormamba(folder.path(), &args).stderr).unwrap()
    };
    says(&said("model.width=16"), &["note: --set model.width=16 does not change lite, which has a network of its own"]);
    assert!(!said("train.batch=1").contains("a network of its own"));
}

/// What is left out in a step is of the seed and the step alone.
#[test]
fn an_interrupted_run_that_leaves_parts_out_ends_with_the_same_bits() {
    let (straight, broken) = (folder(LITE), folder(LITE));
    let args = ["--variant", "lite", "--set", "train.batch=1", "--set", "train.accumulate=2"];
    let args = [&RUN[..], &args].concat();
    succeed(straight.path(), &args);
    for steps in ["1", "2"] {
        fail(broken.path(), 1, &[&args[..], &["--stop-after", steps]].concat());
    }
    succeed(broken.path(), &args);
    for file in ["checkpoints/last.safetensors", "checkpoints/best.safetensors", "epochs.jsonl"] {
        let read = |root: &Path| fs::read(root.join("runs/tiny/lite/seed-1").join(file)).unwrap();
        assert!(read(straight.path()) == read(broken.path()), "{file} differs");
    }
}

#[test]
fn a_network_starts_from_the_weights_of_the_program() {
    let whole = "\n[[variant]]\nname = \"lite\"\nloss.rgb = { mse = 100 }\n\
                 model = { kind = \"lite\", width = 32, init = { from = \"built-in\", only = [\"encoder.\"] } }\n";
    let folder = folder(whole);
    let root = folder.path();
    succeed(root, &[&RUN[..], &["--variant", "lite", "--set", "train.epochs=1"]].concat());
    let provenance = fs::read_to_string(root.join("runs/tiny/lite/seed-1/provenance.toml")).unwrap();
    let digest = blake3::hash(colormamba_colorize::BUILT_IN).to_hex();
    says(&provenance, &["path = \"built-in\"", &format!("blake3 = \"{digest}\"")]);
}

#[test]
fn what_a_network_cannot_take_is_said_before_anything_is_written() {
    let cases = [
        (LITE.replace("width = 4", "width = 2"), 2, "width is 2: it must be between 4 and 256"),
        (LITE.replace("0.3, st", "1.0, st"), 2, "dropout is 1: it must be at least 0 and below 1"),
        (LITE.replace("rgb =", "hsv ="), 2, "unknown key `hsv`"),
        (LITE.replace("kind = \"lite\", width = 4", "width = 8, depth = 8, edge_map = \"spatial\""), 2, "dropout"),
        (LITE.replace("width = 4", "width = 4, init = \"none.safetensors\""), 1, "none.safetensors"),
    ];
    for (lite, code, wanted) in cases {
        let folder = folder(&lite);
        says(&fail(folder.path(), code, &RUN), &[wanted]);
        assert!(!folder.path().join("runs").exists(), "{wanted}");
    }
    let deep = "\n[[variant]]\nname = \"deep\"\nloss.rgb = { mse = 1 }\n\
                model = { width = 8, depth = 8, edge_map = \"spatial\" }\n";
    says(&fail(folder(deep).path(), 2, &RUN), &["size 64 is not a multiple of 256, the grid of depth 8"]);
}
