//! The weights that a network starts from: of a file, of a run, or those of the program.

use crate::inputs::hub::located;
use crate::manifest::{Init, weights_file};
use crate::system::files::exists;
use anyhow::{Context, Result, bail};
use candle_core::Device;
use colormamba::checkpoint;
use colormamba_colorize::{BUILT_IN, built_in};
use colormamba_features::fetchable;
use colormamba_training::{InitialWeights, NetworkOptions};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the weights of the program are called wherever weights are named.
pub const OF_THE_PROGRAM: &str = "built-in";

/// The weights by the names of a network with these options.
///
/// # Errors
/// A file that cannot be read or holds no network.
pub fn weights(init: &Init, options: &dyn NetworkOptions, device: &Device) -> Result<InitialWeights> {
    let tensors = if is_built_in(&init.from) {
        built_in(device)?.tensors().clone()
    } else {
        let path = path(init)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if let (false, Some((name, _))) = (exists(&path)?, fetchable().find(|(known, _)| *known == name)) {
            bail!("model.init: {} is not there: `colormamba weights fetch {name}` gets it", path.display());
        }
        checkpoint::load(&path, device).and_then(|checkpoint| checkpoint.network(&path)).context("model.init")?
    };
    let tensors = tensors.into_iter().map(|(name, tensor)| (options.own_name(&name), tensor)).collect();
    Ok(InitialWeights { tensors, prefixes: init.only.clone() })
}

/// What weights are called, and the content of their file: of the program's own, of one on a hub, of the best ones of a
/// run's folder.
///
/// # Errors
/// A file that cannot be read.
pub fn content(from: &Path) -> Result<(String, Cow<'static, [u8]>)> {
    if is_built_in(from) {
        return Ok((OF_THE_PROGRAM.to_string(), BUILT_IN.into()));
    }
    let path = weights_file(&located(from, true)?);
    let content = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok((weights_file(from).display().to_string(), content.into()))
}

/// What a file says of itself, and which tensors were taken of one that holds others of the same names.
///
/// # Errors
/// A file that cannot be read.
pub fn about(init: &Init) -> Result<(BTreeMap<String, String>, Option<String>)> {
    if is_built_in(&init.from) {
        return Ok((built_in(&Device::Cpu)?.metadata, None));
    }
    Ok(checkpoint::about(&path(init)?)?)
}

fn path(init: &Init) -> Result<PathBuf> {
    Ok(weights_file(&located(&init.from, true).context("model.init")?))
}

/// Whether weights are those of the program, by what they are called.
pub fn is_built_in(from: &Path) -> bool {
    from.as_os_str() == OF_THE_PROGRAM
}
