//! What a file of weights holds, and a copy of it that stands for itself.

use crate::inputs::hub::located;
use crate::manifest::weights_file;
use crate::scoring::weights;
use crate::system::files::make_folder;
use crate::system::output::ensure_writable;
use crate::system::terminal::print;
use crate::system::words::count;
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use colormamba::checkpoint;
use colormamba::eight_bits::to_eight_bits;
use colormamba_training::WeightFile;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What to export.
pub struct Export {
    /// A checkpoint of a run, the folder of one, or weights of others.
    pub weights: PathBuf,
    /// The file to write.
    pub out: PathBuf,
    /// How exactly.
    pub numbers: Numbers,
    /// Whether the file may be replaced.
    pub force: bool,
}

/// How exactly weights are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// As they are.
    Stored,
    /// Rounded to f16, in half the space of f32.
    F16,
    /// The kernels in 8 bits, in a quarter of their space, see [`colormamba::eight_bits`].
    Eight,
}

/// Writes the network's weights alone as safetensors, under the names of the network (those of the published PyTorch
/// code for ColorMamba), with what their header says of them and of where they come from.
///
/// # Errors
/// Weights that cannot be used, a file that is there, a number that f16 cannot hold.
pub fn export(args: &Export) -> Result<()> {
    ensure_writable(&args.out, args.force, [weights_file(&args.weights).as_path()])?;
    let file = usable(&located(&args.weights, false)?)?;
    let from = file.path().to_path_buf();
    args.out.parent().map_or(Ok(()), make_folder)?;
    let tensors = match args.numbers {
        Numbers::Stored => file.tensors().clone(),
        Numbers::F16 => halved(file.tensors(), &from)?,
        Numbers::Eight => to_eight_bits(file.tensors())?,
    };
    let mut metadata = file.metadata;
    if args.numbers == Numbers::Eight {
        metadata.insert("kernels".to_string(), "8 bits".to_string());
    }
    if let Some(checksum) = file.checksum {
        metadata.insert("exported_from".to_string(), checksum);
    }
    checkpoint::save(&args.out, &tensors, &metadata)?;
    print(&format!("{}\n", args.out.display()))
}

/// Prints what a file of weights is: network, header, tensors, and whether its checksum holds.
///
/// # Errors
/// Weights that cannot be used.
pub fn inspect(from: &Path, as_json: bool) -> Result<()> {
    let file = usable(&located(from, as_json)?)?;
    let from = file.path().to_path_buf();
    let (network, types) = (file.architecture.to_string(), types(file.tensors()));
    let (tensors, numbers) = (file.tensors().len(), file.tensors().values().map(Tensor::elem_count).sum::<usize>());
    let digest = weights::digest(&file)?;
    let WeightFile { metadata, checksum, .. } = file;
    if as_json {
        let verified = checksum.is_some();
        let all = json!({
            "file": from.display().to_string(), "network": network, "header": metadata, "tensors": tensors,
            "numbers": numbers, "types": types, "digest": digest, "verified": verified,
        });
        return print(&format!("{all}\n"));
    }
    let header: String = metadata.iter().map(|(key, value)| format!("  {key} = {value}\n")).collect();
    let checked = match checksum {
        Some(checksum) => format!("checksum {checksum} holds"),
        None => "no checksum: damage would not be seen".to_string(),
    };
    let (file, tensors) = (from.display(), count(tensors, "tensor"));
    print(&format!("{file}: {network}\n{tensors}, {numbers} numbers of {}; {checked}\n{header}", types.join(", ")))
}

/// The file, if a network can be made of it.
fn usable(path: &Path) -> Result<WeightFile> {
    let file = weights::open(path, &Device::Cpu)?;
    file.network(None)?;
    Ok(file)
}

/// The types of the tensors, each once.
fn types(tensors: &BTreeMap<String, Tensor>) -> Vec<&'static str> {
    let mut types: Vec<&str> = tensors.values().map(|tensor| tensor.dtype().as_str()).collect();
    types.sort_unstable();
    types.dedup();
    types
}

/// In f16; counters stay as they are, and so do statistics, which divide and may be small.
fn halved(tensors: &BTreeMap<String, Tensor>, path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let half = |name: &str, tensor: &Tensor| match tensor.dtype().is_float() && !name.contains(".running_") {
        true => tensor.to_dtype(DType::F16),
        false => Ok(tensor.clone()),
    };
    let halved = tensors.iter().map(|(name, tensor)| Ok((name.clone(), half(name, tensor)?)));
    let halved = halved.collect::<candle_core::Result<_>>().context("f16")?;
    let large = checkpoint::not_finite(&halved)?;
    ensure!(
        large.is_none(),
        "{}: the tensor `{}` holds numbers beyond the largest of f16: export it without --f16",
        path.display(),
        large.map_or("", String::as_str)
    );
    Ok(halved)
}
