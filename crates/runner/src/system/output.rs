//! Where commands write: nothing that lies there already is lost unawares.

use crate::system::files::{exists, is_folder};
use crate::system::usage::UsageError;
use anyhow::{Result, ensure};
use std::path::Path;

/// Fails unless a command may write the file `path`: a new one, or with `force` one that is there; never one of its
/// `inputs`, files or folders, nor one within these. Called before the work, so that a refused command has done and written nothing.
///
/// # Errors
/// [`UsageError`] that names the file.
pub fn ensure_writable<'a>(path: &Path, force: bool, inputs: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    let name = path.display();
    ensure!(!is_folder(path)?, UsageError(format!("{name} is a folder: name a file in it")));
    if !exists(path)? {
        return Ok(());
    }
    let is_input = inputs.into_iter().any(|input| is_within(path, input));
    ensure!(
        !is_input,
        UsageError(format!("{name} would be overwritten, and it is what is read: write to another place"))
    );
    ensure!(force, UsageError(format!("{name} is there already: write to another place, or replace it with --force")));
    Ok(())
}

fn is_within(path: &Path, input: &Path) -> bool {
    path.canonicalize().is_ok_and(|path| input.canonicalize().is_ok_and(|input| path.starts_with(input)))
}
