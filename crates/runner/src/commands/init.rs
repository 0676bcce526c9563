//! Writes a manifest to start from.

use crate::inputs::{dataset, overlap};
use crate::manifest::{Manifest, reference};
use crate::system::files::{exists, is_folder, make_folder, write_whole};
use crate::system::terminal::{note, print};
use crate::system::usage::UsageError;
use crate::system::words;
use anyhow::{Context, Result, ensure};
use colormamba_data::{Dataset, Description, Photographs, Split, Subset};
use std::fmt::Write;
use std::path::PathBuf;

/// What to write a manifest for.
pub struct Init {
    /// The manifest's file, which must not be there yet; its name without extension names the study.
    pub manifest: PathBuf,
    /// Folder of the images.
    pub data: PathBuf,
    /// A dataset's name, or a TOML file like those in `datasets/`; without, the known one whose layout the folder has.
    pub dataset: Option<String>,
}

/// Reads the images, writes a manifest with a comment for each key, and says how to run it.
///
/// # Errors
/// [`UsageError`] for a file that is there already and a folder that no description fits; images that cannot be read.
pub fn init(args: &Init) -> Result<()> {
    let (file, folder) = (args.manifest.display(), args.data.display());
    ensure!(is_folder(&args.data)?, UsageError(format!("{folder} is no folder: --data names that of the images")));
    ensure!(!exists(&args.manifest)?, UsageError(format!("{file} is there already: choose another name")));
    let name = args.manifest.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let (described, photographs) = open(args)?;
    let text = text(&name, &described, &photographs)?;
    Manifest::parse(&file.to_string(), &text, &[])?;
    args.manifest.parent().map_or(Ok(()), make_folder)?;
    write_whole(&args.manifest, text.as_bytes())?;
    overlap::warnings(&photographs).iter().for_each(|text| note(text));
    dataset::warn_without_validation(&photographs);
    print(&format!(
        "{file} is for {}; next, to see how long it takes and to train:\n  colormamba plan {file} --data {folder}\n  \
         colormamba run {file} --data {folder}\n",
        pairs(&photographs)
    ))
}

fn open(args: &Init) -> Result<(String, Photographs)> {
    let open = |name: &str| -> Result<Photographs> {
        Ok(Photographs::open(&Description::find(name)?, &args.data, &Subset::published())?)
    };
    if let Some(name) = &args.dataset {
        Description::find(name).map_err(|e| UsageError(e.to_string()))?;
        return Ok((name.clone(), open(name)?));
    }
    let fits = |name: &str| -> Option<Result<(String, Photographs)>> {
        let description = Description::find(name).ok()?;
        description.fits(&args.data).then(|| Ok((name.to_string(), open(name)?)))
    };
    Description::known().into_iter().find_map(fits).unwrap_or_else(|| {
        let known = Description::known().join(", ");
        Err(UsageError(format!(
            "{} has the layout of no known dataset ({known}): describe yours in a file as datasets/pairs.toml shows, and name \
             it with --dataset FILE.toml",
            args.data.display()
        ))
        .into())
    })
}

fn pairs(photographs: &Photographs) -> String {
    let count = |split| photographs.len(split);
    let [train, validation, test] = Split::ALL.map(count);
    format!("{train} training, {validation} validation and {}", words::count(test, "test pair"))
}

/// Both sides of the images that are trained on, and the depth of the network that takes them.
fn size(photographs: &Photographs) -> Result<(u32, u32)> {
    let (width, height) = photographs.pair(Split::Train, 0).context("the training split is empty")?.nir.dimensions();
    // The grids of depth 8 and depth 6.
    match width.min(height) {
        256.. => Ok((256, 8)),
        side => Ok(((side / 64).max(1) * 64, 6)),
    }
}

/// Loss configurations, the last with a network of its own.
const VARIANTS: &str = r#"
# A loss configuration each; `colormamba losses` lists what can stand in one.
[[variant]]
name = "mse"
loss.rgb = { mse = 100 }
loss.hsv = { mse = 5 }

[[variant]]
name = "mse-ssim"
loss.rgb = { mse = 100, ssim = 10 }
loss.hsv = { mse = 5 }

# The small network, from the encoder of the program's own weights: for few pairs the better start.
[[variant]]
name = "lite"
loss.rgb = { mse = 100 }
model = { kind = "lite", width = 32, init = { from = "built-in", only = ["encoder."] } }
"#;

fn text(name: &str, dataset: &str, photographs: &Photographs) -> Result<String> {
    let (size, depth) = size(photographs)?;
    let quoted = |text: &str| format!("{text:?}");
    let keys = [
        ("", vec![("name", quoted(name)), ("seeds", "[1]".into())]),
        ("data", vec![("dataset", quoted(dataset)), ("protocol", quoted("raw")), ("size", size.to_string())]),
        ("model", vec![("width", "8".into()), ("depth", depth.to_string()), ("edge_map", quoted("spatial"))]),
        (
            "train",
            vec![
                ("epochs", "7".into()),
                ("batch", "2".into()),
                ("generator_steps", "1".into()),
                ("optimizer", "{ kind = \"adam\", lr = 1e-3 }".into()),
                ("schedule", "{ kind = \"step\", every = 2, factor = 0.5 }".into()),
            ],
        ),
        ("augmentation", vec![("mirror", "0.5".into())]),
    ];
    let mut text = format!("# {}. docs/manifest.md has every key.\n", pairs(photographs));
    for (table, keys) in keys {
        if !table.is_empty() {
            write!(text, "\n[{table}]\n")?;
        }
        for (key, value) in keys {
            let meaning =
                reference::meaning(table, key).with_context(|| format!("{table}.{key} is not in the reference"))?;
            writeln!(text, "{:<40} # {meaning}", format!("{key} = {value}"))?;
        }
    }
    Ok(text + VARIANTS)
}
