//! `docs/manifest.md`: its keys and defaults are those of the program. `UPDATE_PAGES=1 cargo test` writes it.

use crate::common::{fail, says, succeed};
use colormamba_runner::manifest::{Manifest, reference};
use colormamba_training::Architecture;
use std::collections::BTreeSet;
use std::fs;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/manifest.md");

#[test]
fn the_page_is_what_the_program_writes() {
    let page = reference::page();
    if std::env::var_os("UPDATE_PAGES").is_some() {
        fs::write(PAGE, &page).unwrap();
    }
    assert_eq!(
        fs::read_to_string(PAGE).unwrap(),
        page,
        "UPDATE_PAGES=1 cargo test --workspace --test runner manifest_page writes it anew"
    );
}

/// A manifest with every table, in which `0 = 0` can stand anywhere.
fn manifest(section: &str) -> String {
    let (path, kind) = section.split_once(", kind = ").map_or((section, None), |(path, kind)| (path, Some(kind)));
    let there = |table: &str| if path == table { "0 = 0\n" } else { "" };
    let optimizer = match (path, kind) {
        ("train.optimizer", Some(kind)) => format!("{{ 0 = 0, kind = {kind}, lr = 1e-3, weight_decay = 0 }}"),
        _ => "{ kind = \"adam\", lr = 1e-3 }".to_string(),
    };
    let schedule = match (path, kind) {
        ("train.schedule", Some(kind)) => format!("{{ 0 = 0, kind = {kind} }}"),
        _ => "{ kind = \"constant\" }".to_string(),
    };
    let network = match (path, kind) {
        ("model", Some(kind)) => format!("0 = 0\nkind = {kind}\n"),
        _ => "width = 8\ndepth = 6\nedge_map = \"spatial\"\n".to_string(),
    };
    let inline = |table: &str| if path == table { ", 0 = 0" } else { "" };
    format!(
        "{}name = \"tiny\"\n[data]\n{}dataset = \"synthetic\"\nprotocol = \"raw\"\nsize = 64\n[data.synthetic]\n{}seed = 0\n\
         train = 2\nvalidation = 1\ntest = 1\n[model]\n{network}[train]\n{}epochs = 1\n\
         batch = 1\noptimizer = {optimizer}\nschedule = {schedule}\n[augmentation]\n{}\
         [distill]\n{}teachers = [\"t\"]\nloss = {{ mse = 1 }}\n\
         [[variant]]\n{}name = \"a\"\n\
         loss = {{ rgb = {{ mse = {{ weight = 1{} }} }}, adversarial = {{ kind = \"lsgan\", weight = 1{} }}{} }}\n",
        there(""),
        there("data"),
        there("data.synthetic"),
        there("train"),
        there("augmentation"),
        there("distill"),
        there("variant"),
        inline("variant.loss.rgb.TERM"),
        inline("variant.loss.adversarial"),
        inline("variant.loss"),
    )
}

/// The keys that a table may have, as the complaint about one that it may not have lists them.
fn known(section: &str) -> BTreeSet<String> {
    let error = Manifest::parse("m.toml", &manifest(section), &[]).unwrap_err().to_string();
    let list = error.split("known are ").nth(1).unwrap_or_else(|| panic!("{section}: {error}"));
    list.split('`').skip(1).step_by(2).map(str::to_string).collect()
}

#[test]
fn every_key_is_on_the_page() {
    let listed = |keys: &[reference::Key]| keys.iter().map(|key| key.name.to_string()).collect::<BTreeSet<_>>();
    for section in reference::SECTIONS {
        match section.path {
            // A term's options are its own.
            "variant.loss.rgb.TERM" => {}
            // Read apart from the options of the network: `kind` chooses their type, `init` is taken out.
            "model" => assert_eq!(listed(section.keys), ["kind", "init"].map(String::from).into()),
            path => assert_eq!(listed(section.keys), known(path), "{path}"),
        }
    }
    for network in Architecture::KINDS {
        assert_eq!(listed(network.options), known(&format!("model, kind = {:?}", network.kind)), "{}", network.kind);
    }
}

#[test]
fn defaults_are_those_of_the_page() {
    let resolved = Manifest::parse("m.toml", &manifest("none of them"), &[]).unwrap().to_toml().unwrap();
    let resolved: toml::Table = resolved.parse().unwrap();
    let mut compared = 0;
    for section in reference::SECTIONS.iter().filter(|section| !section.path.contains(['=', 'T'])) {
        let mut table = Some(&resolved);
        for part in section.path.split('.').filter(|part| !part.is_empty()) {
            table = table.and_then(|table| match table.get(part)? {
                toml::Value::Array(list) => list.first()?.as_table(),
                value => value.as_table(),
            });
        }
        for key in section.keys {
            let (Some(default), Some(value)) = (key.default, table.and_then(|table| table.get(key.name))) else {
                continue;
            };
            if value.is_table() || ["size", "kind", "subset"].contains(&key.name) {
                continue;
            }
            let parsed: toml::Table = format!("x = {default}").parse().unwrap_or_else(|e| panic!("{}: {e}", key.name));
            assert_eq!(parsed["x"], *value, "{}.{}", section.path, key.name);
            compared += 1;
        }
    }
    assert!(compared >= 9, "{compared} defaults");
}

#[test]
fn a_starter_manifest_runs() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    succeed(root, &["data", "synth", "--out", "images", "--count", "2", "--size", "64"]);
    let said = succeed(root, &["init", "mine.toml", "--data", "images"]);
    says(
        &said,
        &["mine.toml is for 2 training, 1 validation and 1 test pair", "colormamba run mine.toml --data images"],
    );
    let text = fs::read_to_string(root.join("mine.toml")).unwrap();
    says(&text, &["name = \"mine\"", "dataset = \"vcip2020\"", "size = 64", "# passes over the training split"]);
    let short =
        ["--quiet", "--set", "train.epochs=1", "--set", "train.steps_per_epoch=1", "--set", "train.critic_width=8"];
    let table = succeed(root, &[&["run", "mine.toml", "--data", "images"], &short[..]].concat());
    says(&table, &["| mse | 1 |", "| mse-ssim | 1 |", "| lite | 1 |"]);
    says(&fail(root, 2, &["init", "mine.toml", "--data", "images"]), &["mine.toml is there already"]);
    succeed(root, &["init", "new/folder/mine.toml", "--data", "images"]);
    says(
        &fail(root, 2, &["init", "other.toml", "--data", "."]),
        &["the layout of no known dataset", "datasets/pairs.toml"],
    );
    says(&fail(root, 2, &["init", "other.toml", "--data", "none"]), &["none is no folder"]);
    assert!(!root.join("other.toml").exists());
    // A folder of one's own pairs is taken for no dataset that has other terms.
    for (from, to) in [("NIR", "nir"), ("RGB-Registered", "rgb")] {
        fs::create_dir_all(root.join("own/train").join(to)).unwrap();
        let image = fs::read_dir(root.join("images").join(from)).unwrap().next().unwrap().unwrap().path();
        fs::copy(image, root.join("own/train").join(to).join("a.png")).unwrap();
    }
    succeed(root, &["init", "own.toml", "--data", "own"]);
    says(&fs::read_to_string(root.join("own.toml")).unwrap(), &["dataset = \"pairs\""]);
}
