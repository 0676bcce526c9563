//! Weights on Hugging Face's hub.

use crate::system::usage::UsageError;
use anyhow::{Context, Result};
use hf_hub::Cache;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// What the name of such a file begins with.
const SCHEME: &str = "hf://";

/// The hub that `HF_ENDPOINT` names, else the public one, with its files in `cache`. A bar shows progress on a
/// terminal, unless `quiet`.
pub fn api(cache: &Path, quiet: bool) -> Result<Api, ApiError> {
    let progress = !quiet && std::io::stderr().is_terminal();
    let builder = ApiBuilder::from_cache(Cache::new(cache.to_path_buf())).with_progress(progress);
    match std::env::var("HF_ENDPOINT") {
        Ok(endpoint) => builder.with_endpoint(endpoint).build(),
        Err(_) => builder.build(),
    }
}

/// Weights as they are given: a path as it is; of `hf://OWNER/REPOSITORY/FILE` the file, fetched into the hub's own
/// folder unless it is there from an earlier time.
///
/// # Errors
/// [`UsageError`] for a name of another form, or without a folder for it; a file that cannot be fetched.
pub fn located(from: &Path, quiet: bool) -> Result<PathBuf> {
    let Some(name) = from.to_str().filter(|name| name.starts_with(SCHEME)) else { return Ok(from.to_path_buf()) };
    let wrong = || UsageError(format!("{name} is no file on a hub: those are named {SCHEME}OWNER/REPOSITORY/FILE"));
    let (repository, file) = parts(&name[SCHEME.len()..]).ok_or_else(wrong)?;
    let fetched = api(&own_folder()?, quiet).and_then(|api| api.model(repository).get(file));
    fetched.with_context(|| format!("cannot fetch {name}; without a network, name a file that was fetched elsewhere"))
}

/// The repository with its owner, and the file within it.
fn parts(name: &str) -> Option<(String, &str)> {
    let mut parts = name.splitn(3, '/');
    let (owner, repository, file) = (parts.next()?, parts.next()?, parts.next()?);
    let named = name.split('/').all(|part| !["", ".", ".."].contains(&part));
    named.then(|| (format!("{owner}/{repository}"), file))
}

/// Where the hub's own programs keep files.
fn own_folder() -> Result<PathBuf> {
    let home = std::env::var_os("HF_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(std::env::home_dir()?.join(".cache/huggingface")));
    let unknown = || UsageError("no folder for fetched files is known: name one with HF_HOME".into());
    Ok(home.ok_or_else(unknown)?.join("hub"))
}
