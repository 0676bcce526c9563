//! Published weights in the weights folder.

use crate::inputs::hub;
use crate::system::files::{exists, make_folder};
use crate::system::terminal::{note, print};
use crate::system::usage::UsageError;
use anyhow::{Context, Result, bail};
use colormamba_features::{Network, Published, PublishedFile, fetchable};
use colormamba_support::files::write_whole;
use colormamba_support::names::nearest;
use serde::Deserialize;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Weights that are not fetched.
const AUTOENCODER: &str = "autoencoder";

/// Fetches the weights of these names into `folder`, each checked before it is kept, if its checksum is known; those
/// that are there are checked alone.
///
/// # Errors
/// [`UsageError`] for an unknown name; no network: what to fetch elsewhere and where to put it; a file that is not the
/// published one.
pub fn fetch(names: &[String], folder: &Path) -> Result<()> {
    let all = names.iter().map(|name| find(name, folder)).collect::<Result<Vec<_>>>()?;
    for (name, published) in all {
        let path = fetch_one(name, published, folder)?;
        print(&format!("{}\n", path.display()))?;
    }
    Ok(())
}

/// Prints every name that [`fetch`] knows, whether its file is in `folder`, and what it is.
///
/// # Errors
/// A folder that cannot be looked into.
pub fn list(folder: &Path) -> Result<()> {
    for (name, published) in fetchable() {
        let files = published.files.iter().map(|file| exists(&folder.join(&file.name)));
        let there = files.collect::<Result<Vec<_>>>()?.contains(&true);
        let state = if there { "there" } else { "not there" };
        print(&format!("{name:<20} {state:<10} {}\n", published.what))?;
    }
    print(&format!("{AUTOENCODER:<20} {:<10} `weights fetch {AUTOENCODER}` says where it is\n", "by hand"))
}

fn find(name: &str, folder: &Path) -> Result<(&'static str, &'static Published)> {
    if let Some(found) = fetchable().find(|(known, _)| *known == name) {
        return Ok(found);
    }
    if Network::named(name).is_some() {
        bail!(UsageError(format!("the weights of {name} are part of the program")));
    }
    if name == AUTOENCODER {
        bail!(UsageError(by_hand(folder)?));
    }
    let hint = nearest(name, names()).map(|near| format!(", did you mean `{near}`?"));
    bail!(UsageError(format!("no weights are called `{name}`{}; there are {}", hint.unwrap_or_default(), listed())));
}

/// Those that are fetched, and [`AUTOENCODER`], of which it is said where it is.
fn names() -> impl Iterator<Item = &'static str> {
    fetchable().map(|(name, _)| name).chain([AUTOENCODER])
}

/// All names, with a word on the one that is not fetched.
pub fn listed() -> String {
    format!("{} (not fetched: where it is)", names().collect::<Vec<_>>().join(", "))
}

/// Where the auto-encoder is, which is not fetched, and where it goes.
fn by_hand(folder: &Path) -> Result<String> {
    #[derive(Deserialize)]
    struct Description {
        file: String,
        bytes: u64,
        blake3: String,
        origin: Origin,
    }
    #[derive(Deserialize)]
    struct Origin {
        repository: String,
        path: String,
    }
    let text = include_str!("../../../../weights/autoencoder.toml");
    let Description { file, bytes, blake3, origin } = toml::from_str(text).context("weights/autoencoder.toml")?;
    Ok(format!(
        "the auto-encoder is not fetched, as its terms are unknown (no licence was found): get {} of {} and put it at {} \
         ({bytes} bytes, BLAKE3 {blake3}); features = \"random\" needs no file",
        origin.path,
        origin.repository,
        folder.join(file).display()
    ))
}

fn fetch_one(name: &'static str, published: &Published, folder: &Path) -> Result<PathBuf> {
    let files = &published.files;
    let file = files.iter().find(|file| file.hub.is_some()).or(files.first());
    let file = file.with_context(|| format!("weights/{name}.toml names no file"))?;
    let path = folder.join(&file.name);
    if file.sha256.is_none() {
        note(&format!("note: no checksum of {} is known, so that it is not checked", file.url));
    }
    if exists(&path)? {
        file.verify(name, &path)?;
        return Ok(path);
    }
    make_folder(folder)?;
    // Beside its place, where there is as much room as it needs.
    let cache = tempfile::tempdir_in(folder).with_context(|| format!("cannot write to {}", folder.display()))?;
    let fetched = download(file, cache.path()).with_context(|| {
        format!("cannot fetch {}; fetch it on a machine with a network and put it at {}", file.url, path.display())
    })?;
    file.verify(name, &fetched)?;
    write_whole(&path, |file| std::io::copy(&mut File::open(&fetched)?, file).map(drop))?;
    Ok(path)
}

/// The file somewhere below the folder `cache`: from Hugging Face's hub, or else from its page.
fn download(file: &PublishedFile, cache: &Path) -> Result<PathBuf> {
    let Some(published) = &file.hub else {
        let path = cache.join(&file.name);
        let mut body = ureq::get(&file.url).call()?.into_body().into_reader();
        std::io::copy(&mut body, &mut File::create(&path)?)?;
        return Ok(path);
    };
    Ok(hub::api(cache, false)?.model(published.repository.clone()).get(&published.file)?)
}
