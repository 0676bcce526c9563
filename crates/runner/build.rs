//! Tells the program which commit it is built from, where there is a repository and git.

use std::path::Path;
use std::process::Command;

fn main() {
    // A commit changes the log of HEAD, or the branch that HEAD names.
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file]).filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let sources = sources();
    sources.iter().for_each(|path| println!("cargo::rerun-if-changed={path}"));
    if let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) {
        let paths: Vec<&str> = sources.iter().map(String::as_str).collect();
        let changes = git(&[&["status", "--porcelain", "--"], paths.as_slice()].concat());
        let dirty = if changes.is_none_or(|changes| !changes.is_empty()) { "-dirty" } else { "" };
        println!("cargo::rustc-env=COLORMAMBA_COMMIT={commit}{dirty}");
    }
}

/// What the program is made of.
fn sources() -> Vec<String> {
    let crates = std::fs::read_dir("..").into_iter().flatten().flatten().map(|entry| entry.path().join("src"));
    let crates = crates.filter(|path| path.exists()).map(|path| path.display().to_string());
    ["../../Cargo.toml", "../../Cargo.lock"].map(String::from).into_iter().chain(crates).collect()
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_string())
}
