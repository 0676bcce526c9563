//! Every command that README.md and docs/*.md print runs, on small drawn data and for a few steps.
//!
//! A block of commands is marked `sh`. One that cannot run here has a line `<!-- not run: REASON -->` before it, and
//! one that another test or `.ci/run` runs has `<!-- run by WHAT -->`; `.ci/run` lists both.

#![cfg(unix)]

use crate::common::{TINY, succeed};
use colormamba_runner::manifest::Manifest;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes any training short; the last `--set` of a key counts.
const SHORT: &str = "--seed 1 --set train.epochs=1 --set train.steps_per_epoch=1 --set train.batch=1 --set model.width=8 \
                     --set features=random --set augmentation={} --set train.critic_width=8";

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn pages() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<PathBuf> = docs.filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    pages.sort();
    pages.insert(0, root().join("README.md"));
    pages
}

/// A fenced block of a page.
struct Block {
    place: String,
    language: String,
    /// The line before it, if that says why this test does not run it.
    elsewhere: bool,
    text: String,
}

fn blocks(page: &Path) -> Vec<Block> {
    let name = page.strip_prefix(root()).unwrap().display().to_string();
    let text = fs::read_to_string(page).unwrap();
    let (mut blocks, mut before, mut open) = (Vec::new(), "", None::<Block>);
    for (number, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(language), None) => {
                let elsewhere = run_elsewhere(before);
                let place = format!("{name}:{}", number + 1);
                open = Some(Block { place, language: language.to_string(), elsewhere, text: String::new() });
            }
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some(mut block)) => {
                block.text += &format!("{line}\n");
                open = Some(block);
            }
            (None, None) => before = if line.is_empty() { before } else { line },
        }
    }
    assert!(open.is_none(), "{name} has a block without an end");
    blocks
}

/// Whether the line before a block says why this test does not run it: a reason, or a file that runs it.
fn run_elsewhere(line: &str) -> bool {
    let after = |mark| line.strip_prefix(mark).and_then(|rest: &str| rest.strip_suffix(" -->"));
    let reason = after("<!-- not run: ").is_some_and(|reason| !reason.is_empty());
    let file = after("<!-- run by ").and_then(|rest| rest.split([',', ' ']).next());
    reason || file.is_some_and(|file| root().join(file).is_file())
}

fn write_script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A folder of programs of the names that the pages call: the real binary, with short trainings.
fn programs(folder: &Path) -> PathBuf {
    let programs = folder.join("programs");
    fs::create_dir(&programs).unwrap();
    let binary = env!("CARGO_BIN_EXE_colormamba");
    let run = format!("case \" $* \" in *\" run \"*) exec {binary} \"$@\" {SHORT} ;; esac\nexec {binary} \"$@\"");
    write_script(&programs.join("colormamba"), &run);
    // An array task as SLURM starts one.
    let task = "SLURM_ARRAY_TASK_ID=1 SLURM_CPUS_PER_TASK=2 exec sh \"$@\"";
    write_script(&programs.join("sbatch"), task);
    programs
}

/// What the pages say is at hand: photographs, manifests, other images.
fn prepare(folder: &Path) {
    succeed(folder, &["data", "synth", "--out", "data/vcip2020", "--count", "2", "--size", "256"]);
    fs::create_dir_all(folder.join("photos")).unwrap();
    let nir = folder.join("data/vcip2020/Validation/validation_0000_nir.png");
    for name in ["a", "b"] {
        fs::copy(&nir, folder.join(format!("photos/{name}.png"))).unwrap();
    }
    image::open(nir).unwrap().save(folder.join("photo.jpg")).unwrap();
    fs::create_dir_all(folder.join("experiments")).unwrap();
    for entry in fs::read_dir(root().join("experiments")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.join("experiments").join(entry.file_name())).unwrap();
    }
}

fn run(folder: &Path, programs: &Path, block: &Block) {
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.args(["-e", "-c", &block.text]).env("PATH", path).current_dir(folder);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}: {}", block.place, String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_link_leads_somewhere() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let targets = text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
        for target in targets.filter(|target| !target.starts_with("http")) {
            let file = target.split('#').next().unwrap();
            assert!(page.parent().unwrap().join(file).exists(), "{}: {target}", page.display());
        }
    }
}

#[test]
fn every_variant_can_stand_in_a_manifest() {
    let (head, _) = TINY.split_once("[[variant]]").unwrap();
    let head =
        head.replace("size = 64", "size = 256").replace("name = \"tiny\"", "name = \"tiny\"\nfeatures = \"random\"");
    let mut read = 0;
    for block in pages().iter().flat_map(|page| blocks(page)).filter(|block| block.language == "toml") {
        let manifest = Manifest::parse(&block.place, &format!("{head}{}", block.text), &[]);
        read += manifest.unwrap_or_else(|error| panic!("{}: {error}", block.place)).variants.len();
    }
    assert!(read >= 3, "{read} variants");
}

#[test]
fn every_block_is_run_or_says_why_not() {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let programs = programs(folder.path());
    let mut ran = 0;
    for block in pages().iter().flat_map(|page| blocks(page)) {
        match (block.language.as_str(), block.elsewhere) {
            ("sh", false) => {
                println!("{}\n{}", block.place, block.text);
                run(folder.path(), &programs, &block);
                ran += 1;
            }
            ("sh", true) | ("toml" | "rust", false) => {}
            ("text", false) => {
                let command = |line: &str| line.starts_with("colormamba ") || line.starts_with("cargo ");
                assert!(!block.text.lines().any(command), "{}: commands are marked sh", block.place);
            }
            (language, _) => panic!("{}: is this block of `{language}` a command? Then mark it as sh", block.place),
        }
    }
    assert!(ran >= 8, "{ran} blocks of commands");
}
