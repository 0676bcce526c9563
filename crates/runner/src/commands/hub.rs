//! Weights on Hugging Face's hub.

use crate::system::usage::UsageError;
use anyhow::{Context, Result};
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// What the name of such a file begins with.
const SCHEME: &str = "hf://";

/// The hub that `HF_ENDPOINT` names, else the public one. Files go to `cache`, or to the hub's own folder (`HF_HOME`).
pub fn api(cache: Option<&Path>) -> Result<Api, ApiError> {
    let builder = ApiBuilder::from_env().with_progress(std::io::stderr().is_terminal());
    match cache {
        Some(cache) => builder.with_cache_dir(cache.to_path_buf()),
        None => builder,
    }
    .build()
}

/// Weights as they are given: a path as it is; of `hf://OWNER/REPOSITORY/FILE` the file, fetched unless it is there from
/// an earlier time.
///
/// # Errors
/// [`UsageError`] for a name of another form; a file that cannot be fetched.
pub fn located(from: PathBuf) -> Result<PathBuf> {
    let Some(name) = from.to_str().filter(|name| name.starts_with(SCHEME)) else { return Ok(from) };
    let wrong = || UsageError(format!("{name} is no file on a hub: those are named {SCHEME}OWNER/REPOSITORY/FILE"));
    let (repository, file) = parts(&name[SCHEME.len()..]).ok_or_else(wrong)?;
    let fetched = api(None).and_then(|api| api.model(repository).get(file));
    fetched.with_context(|| format!("cannot fetch {name}; fetch it on a machine with a network and name the file"))
}

/// The repository with its owner, and the file within it.
fn parts(name: &str) -> Option<(String, &str)> {
    let (owner, rest) = name.split_once('/')?;
    let (repository, file) = rest.split_once('/')?;
    let named = [owner, repository, file].iter().all(|part| !part.is_empty());
    named.then(|| (format!("{owner}/{repository}"), file))
}
