//! Where commands write: nothing that lies there already is lost unawares.

use crate::system::files::{exists, is_folder};
use crate::system::usage::UsageError;
use crate::system::words::first_of;
use anyhow::{Result, ensure};
use std::path::Path;

/// As [`ensure_all_writable`], of one file.
///
/// # Errors
/// [`UsageError`] that names the file.
pub fn ensure_writable<'a>(path: &Path, force: bool, inputs: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    ensure_all_writable(&[path], force, inputs)
}

/// Fails unless a command may write the files `paths`: new ones, or with `force` those that are there; never one of its
/// `inputs`, files or folders, nor one within these. Called before the work, so that a refused command has done and
/// written nothing.
///
/// # Errors
/// [`UsageError`] that names the file, or of several that are there how many and the first.
pub fn ensure_all_writable<'a>(
    paths: &[impl AsRef<Path>],
    force: bool,
    inputs: impl IntoIterator<Item = &'a Path>,
) -> Result<()> {
    let inputs: Vec<&Path> = inputs.into_iter().collect();
    let mut there = Vec::new();
    for path in paths.iter().map(AsRef::as_ref) {
        let name = path.display();
        ensure!(!is_folder(path)?, UsageError(format!("{name} is a folder: name a file in it")));
        if !exists(path)? {
            continue;
        }
        ensure!(
            !inputs.iter().any(|input| is_within(path, input)),
            UsageError(format!("{name} would be overwritten, and it is what is read: write to another place"))
        );
        there.push(name);
    }
    ensure!(force || there.is_empty(), UsageError(already(&there)));
    Ok(())
}

fn already(there: &[std::path::Display<'_>]) -> String {
    match there {
        [name] => format!("{name} is there already: write to another place, or replace it with --force"),
        names => format!(
            "{} files are there already ({}): write to another place, or replace them with --force",
            names.len(),
            first_of(names.iter())
        ),
    }
}

fn is_within(path: &Path, input: &Path) -> bool {
    path.canonicalize().is_ok_and(|path| input.canonicalize().is_ok_and(|input| path.starts_with(input)))
}
