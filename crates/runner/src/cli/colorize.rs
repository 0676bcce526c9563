//! The options of `colormamba colorize`.

use super::verbosity;
use crate::commands::DeviceChoice;
use crate::commands::colorize::{Colorize, Format};
use crate::manifest::precision::Precision;
use crate::scoring::weights::Asked;
use clap::Args;
use colormamba_colorize::{Depth, Options, Tiles};
use colormamba_data::{Bits, Channel, Reading};
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct ColorizeArgs {
    /// NIR photographs, folders of them, or patterns like 'photos/*.tif'; - for YUV4MPEG2 frames from standard input to
    /// output
    #[arg(required = true, value_name = "PHOTO")]
    images: Vec<PathBuf>,
    /// Folder of a run, whose best weights are taken, a checkpoint, published weights, or a file on Hugging Face's hub
    /// as hf://OWNER/REPOSITORY/FILE [default: those of the program]
    #[arg(long, value_name = "RUN|FILE")]
    weights: Option<PathBuf>,
    /// Bits of the camera whose values stand in 16: 10, 12, 14, 16, or auto, which takes 10, 12 or 14 if the largest
    /// value comes within 3 % of what so many bits hold, else 16 [default: as in the weights' training, else the file's
    /// tags]
    #[arg(long, value_name = "N")]
    bits: Option<Bits>,
    /// What of a colour photograph is the near infrared: luma, red, mean, max, or a band's number from 1
    /// [default: as in the weights' training, else luma]
    #[arg(long, value_name = "NAME")]
    channel: Option<Channel>,
    /// The page of a TIFF with several, from 1 [default: as in the weights' training, else the first, with a note]
    #[arg(long, value_name = "N")]
    page: Option<usize>,
    /// Refuse larger photographs, before memory is taken for them
    #[arg(long, value_name = "N", default_value_t = Reading::MAX_PIXELS)]
    max_pixels: u64,
    /// A folder for the results, as NAME.png, or for one photograph its file [default: beside the photographs, as
    /// NAME-rgb.png]
    #[arg(long, value_name = "DIR|FILE")]
    out: Option<PathBuf>,
    /// Replace results that are there
    #[arg(long)]
    force: bool,
    /// Pass over photographs whose results are there, as after an interruption
    #[arg(long, conflicts_with = "force")]
    skip_existing: bool,
    /// The kind of the results' files [default: that of --out if it is a file, else png]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Bits of a result's values, 8 or 16 [default: those of the photograph; a JPEG has 8]
    #[arg(long, value_name = "N", value_parser = depth)]
    bits_out: Option<Depth>,
    /// Show the photograph on the left and the result on the right
    #[arg(long)]
    side_by_side: bool,
    /// Take the mean of the colours of the photograph and of its mirror image; takes twice the time
    #[arg(long)]
    mirror: bool,
    /// Keep the photograph's lightness L*: the network gives a* and b* alone
    #[arg(long)]
    keep_luma: bool,
    /// The long side at which the network sees a larger photograph, in pixels [default: that of its training's images]
    #[arg(long, value_name = "PIXELS", conflicts_with = "tile")]
    working_size: Option<usize>,
    /// Colour by tiles of this side at full size, instead of by the whole at the working size; not for every network
    #[arg(long, value_name = "PIXELS")]
    tile: Option<usize>,
    /// Pixels that neighbouring tiles share [default: a quarter of the tile]
    #[arg(long, value_name = "PIXELS", requires = "tile")]
    overlap: Option<usize>,
    /// Print notes and errors only
    #[arg(long, conflicts_with = "json")]
    quiet: bool,
    /// Print a JSON object a photograph
    #[arg(long)]
    json: bool,
    /// What to compute on: auto (a CUDA GPU if there is one), cpu, cuda, or cuda:N for one of several GPUs
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// How exactly a GPU computes: f32, or faster tf32 or bf16
    #[arg(long, value_name = "PRECISION", default_value = "f32")]
    precision: Precision,
}

impl From<ColorizeArgs> for Colorize {
    fn from(args: ColorizeArgs) -> Self {
        let ColorizeArgs { bits, channel, page, max_pixels, mirror, keep_luma, .. } = args;
        let tiles = args.tile.map(|side| Tiles { side, overlap: args.overlap.unwrap_or(side / 4) });
        Self {
            images: args.images,
            weights: args.weights,
            reading: Asked { bits, channel, page, max_pixels },
            options: Options { working_side: args.working_size, mirror, keep_luma, tiles, depth: args.bits_out },
            format: args.format,
            side_by_side: args.side_by_side,
            out: args.out,
            force: args.force,
            skip_existing: args.skip_existing,
            device: args.device,
            precision: args.precision,
            verbosity: verbosity(args.quiet, args.json),
        }
    }
}

fn depth(text: &str) -> Result<Depth, String> {
    match text {
        "8" => Ok(Depth::Eight),
        "16" => Ok(Depth::Sixteen),
        _ => Err("a value has 8 or 16 bits".into()),
    }
}
