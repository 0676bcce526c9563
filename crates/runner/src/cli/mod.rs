//! The command line.

mod colorize;
mod weights;

use self::colorize::ColorizeArgs;
use self::weights::WeightsCommand;
use crate::commands::DeviceChoice;
use crate::commands::check::{Check, Other, check};
use crate::commands::colorize::colorize;
use crate::commands::compare::{Compare, compare};
use crate::commands::eval::{Eval, eval};
use crate::commands::init::{Init, init};
use crate::commands::losses::losses;
use crate::commands::pairing::NameMatch;
use crate::commands::plan::plan;
use crate::commands::run::{Run, run};
use crate::commands::synth::{Synth, synth};
use crate::manifest::ManifestError;
use crate::report::table::{Format, Table};
use crate::scoring::measures;
use crate::study::scored::Scored;
use crate::system::interrupt::{self, Interrupted, REQUEUE};
use crate::system::terminal::{OutputClosed, Verbosity, note, print};
use crate::system::usage::{UsageError, in_words};
use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use colormamba_data::{Protocol, Split, Subset};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Trains, evaluates and applies ColorMamba: colour for near-infrared photographs.
///
/// Exits with 0 if all was done, 1 if something failed or was interrupted, 2 for a wrong command or manifest, 75 if a
/// training stopped because the system takes the machine away (SIGTERM, SIGHUP, SIGUSR1, SIGUSR2): the same command
/// goes on.
#[derive(Parser)]
#[command(name = "colormamba", version)]
pub struct Cli {
    /// Worker threads; the same number gives the same bits. Default: one for each physical core
    #[arg(long, global = true, value_name = "N", value_parser = threads)]
    threads: Option<NonZeroUsize>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train the variants of a manifest, or resume them; then score and tabulate
    Run(RunArgs),
    /// List the runs of a manifest, what is left of each, and the time that takes here; trains nothing
    Plan(PlanArgs),
    /// Write a manifest to start from, for a folder of images
    Init(InitArgs),
    /// Score a run, all runs of a study, or a file of weights on a split
    Eval(EvalArgs),
    /// Colorize NIR photographs
    Colorize(ColorizeArgs),
    /// Tabulate runs or studies, with the baselines
    Table(TableArgs),
    /// Measure images of any origin against the truth: two images, or two folders matched by name
    Compare(CompareArgs),
    /// List loss terms, presets, adversarial losses and combinations, or explain one
    Losses(LossesArgs),
    /// Make data
    #[command(subcommand)]
    Data(DataCommand),
    /// Get published weights of feature networks
    #[command(subcommand)]
    Weights(WeightsCommand),
}

#[derive(Args)]
struct PlanArgs {
    /// Manifest file [default: the built-in quickstart]
    manifest: Option<PathBuf>,
    /// Folder of the images, instead of the manifest's data.root
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// What to compute on: auto (a CUDA GPU if there is one), cpu, cuda, or cuda:N for one of several GPUs
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Where the study's folder goes
    #[arg(long, value_name = "DIR", default_value = "runs")]
    out: PathBuf,
    /// Override a manifest key; the value is TOML, or a word without quotes, for example train.epochs=2
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Only this variant; repeat for several
    #[arg(long, value_name = "NAME")]
    variant: Vec<String>,
    /// Only this one of the manifest's seeds; repeat for several
    #[arg(long, value_name = "N")]
    seed: Vec<u64>,
    /// Print results and errors only
    #[arg(long, conflicts_with = "json")]
    quiet: bool,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct RunArgs {
    #[command(flatten)]
    planned: PlanArgs,
    /// Stop after this many steps with a checkpoint, as Ctrl-C does
    #[arg(long, value_name = "STEPS")]
    stop_after: Option<NonZeroUsize>,
    /// Write a checkpoint at least so often, beside the one after each epoch; 0 for one after each step
    #[arg(long, value_name = "MINUTES", default_value_t = 10)]
    checkpoint_minutes: u32,
    /// Only print where the time and memory of one training step go, for the first variant and seed
    #[arg(long, conflicts_with_all = ["stop_after", "out"])]
    profile: bool,
}

#[derive(Args)]
struct InitArgs {
    /// The manifest's file; its name names the study
    manifest: PathBuf,
    /// Folder of the images
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// A dataset's name, or a TOML file like those in datasets/ [default: the known one whose layout the folder has]
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
}

#[derive(Args)]
struct EvalArgs {
    /// Folder of a run or of a whole study, or a file of weights, on a hub as hf://OWNER/REPOSITORY/FILE too
    #[arg(value_name = "RUN|STUDY|WEIGHTS")]
    target: PathBuf,
    /// Folder of the images
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// train, validation or test
    #[arg(long, default_value = "validation")]
    split: Split,
    /// A dataset's name, or a TOML file like those in datasets/, for a file of weights [default: vcip2020]
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// published, no-train-duplicates or clean [default: published, or for a run that of its manifest]
    #[arg(long, value_name = "NAME")]
    subset: Option<String>,
    /// Score with this measure too, by its spec or short name; repeat for several [default: those of the run's
    /// manifest]
    #[arg(long, value_name = "NAME")]
    measure: Vec<String>,
    /// Keep the scores of a file of weights here, a JSON line per image
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the file of --out
    #[arg(long, requires = "out")]
    force: bool,
    /// What to compute on: auto (a CUDA GPU if there is one), cpu, cuda, or cuda:N for one of several GPUs
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
}

#[derive(Args)]
struct TableArgs {
    /// Folders of runs or of whole studies
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Tabulate runs even if they were trained on different images
    #[arg(long)]
    mixed_data: bool,
    /// Markdown, LaTeX or comma-separated values
    #[arg(long, value_enum, default_value = "md")]
    format: Format,
    /// train, validation or test
    #[arg(long, default_value = "validation")]
    split: Split,
    /// Tabulate the scores of `eval RUN --subset NAME` [default: those of each run's own subset]
    #[arg(long, value_name = "NAME")]
    subset: Option<Subset>,
    /// A column for this measure, by its spec or short name; repeat for several [default: those of the first manifest]
    #[arg(long, value_name = "NAME")]
    measure: Vec<String>,
}

#[derive(Args)]
struct CompareArgs {
    /// An image, or a folder of images
    pred: PathBuf,
    /// Its truth, or a folder with the truths under the same names
    target: PathBuf,
    /// Which names, without extension, belong together, each with a * for what they share, e.g. *_fake_B=*_real_B; case
    /// does not count [default: equal names, or those of a known dataset's RGB images]
    #[arg(long = "match", value_name = "PRED=TARGET")]
    names: Option<NameMatch>,
    /// A measure by its spec, for example ssim[gauss11,sigma1.5,valid,rgb,L=1]; fd_dinov2 and kd_dinov2
    /// compare the two folders as a whole; repeat for several [default: all but those that look through a network]
    #[arg(long, value_name = "SPEC")]
    measure: Vec<String>,
    /// raw: truth / 255; minmax: truth stretched over its own range, and `minmax` in every spec. Predictions / 255
    /// under both
    #[arg(long, value_name = "NAME", default_value = "raw")]
    protocol: Protocol,
    /// Where the networks of LPIPS and DINOv2 lie
    #[arg(long, value_name = "DIR", default_value = "weights")]
    weights: PathBuf,
    /// Keep the scores here: scores.jsonl, scores.csv (worst first), summary.csv; sets.csv for measures of sets
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace the files of --out
    #[arg(long, requires = "out")]
    force: bool,
    /// List so many of the worst images
    #[arg(long, value_name = "N", default_value_t = 5)]
    worst: usize,
    /// Print results and errors only
    #[arg(long, conflicts_with = "json")]
    quiet: bool,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct LossesArgs {
    /// A term, preset, adversarial loss or combination
    name: Option<String>,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum DataCommand {
    /// Look for what is wrong in a folder of photographs: flaws, misregistration, duplicates, shared scenes. Exits with
    /// 1 on leaks between splits
    Check(CheckArgs),
    /// Write procedural scenes in the layout of VCIP2020
    Synth(SynthArgs),
}

#[derive(Args)]
struct CheckArgs {
    /// vcip2020, rgb-nir-scene, omsiv, fanvid, fanvid-nir2, pairs, or a TOML file like those in datasets/
    dataset: String,
    /// Folder of the images
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Which of the dataset's splits
    #[arg(long, value_name = "NAME", default_value = "published")]
    subset: Subset,
    /// Instead, look for the images, their scenes and crops in another dataset, named as the first; exits with 1 if any
    /// is found there
    #[arg(long, value_name = "DATASET", requires = "against_data")]
    against: Option<String>,
    /// Folder of the other dataset's images
    #[arg(long, value_name = "DIR", requires = "against")]
    against_data: Option<PathBuf>,
    /// Which of the other dataset's splits
    #[arg(long, value_name = "NAME", default_value = "published", requires = "against")]
    against_subset: Subset,
    /// Show the worst pairs in this PNG
    #[arg(long, value_name = "FILE", conflicts_with = "against")]
    sheet: Option<PathBuf>,
    /// Replace the file of --sheet
    #[arg(long, requires = "sheet")]
    force: bool,
    /// Print results and errors only
    #[arg(long, conflicts_with = "json")]
    quiet: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct SynthArgs {
    /// Where the folders go
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Replace images that are there
    #[arg(long)]
    force: bool,
    /// Training pairs; validation and test get an eighth each, at least one
    #[arg(long, default_value_t = 64)]
    count: usize,
    /// Width and height in pixels
    #[arg(long, default_value_t = 256)]
    size: u32,
    /// Decides on every scene
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl Cli {
    /// The number of worker threads asked for.
    pub fn threads(&self) -> Option<NonZeroUsize> {
        self.threads
    }

    /// Does what was asked for, and reports an error on standard error.
    pub fn execute(self) -> ExitCode {
        match self.command.execute() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                note(&format!("error: {}", in_words(&error)));
                ExitCode::from(exit_code(&error))
            }
        }
    }
}

impl Command {
    fn execute(self) -> Result<()> {
        match self {
            Self::Run(args) => run(&args.into()),
            Self::Plan(args) => plan(&args.into()),
            Self::Init(InitArgs { manifest, data, dataset }) => init(&Init { manifest, data, dataset }),
            Self::Eval(EvalArgs { target, data, split, dataset, subset, measure: measures, out, force, device }) => {
                eval(&Eval { target, data, split, dataset, subset, measures, out, force, device })
            }
            Self::Colorize(args) => colorize(&args.into()),
            Self::Table(TableArgs { runs, format, split, subset, measure, mixed_data }) => {
                let table = Table::collect(&runs, &Scored { split, subset }, &measures::named(&measure)?, mixed_data)?;
                if format == Format::Csv {
                    // Comma-separated values have no place for them.
                    table.versions.iter().chain(&table.notes).for_each(|text| note(&format!("note: {text}")));
                }
                print(&format.render(&table)?)
            }
            Self::Weights(command) => command.execute(),
            Self::Compare(CompareArgs {
                pred,
                target,
                names,
                measure: measures,
                protocol,
                weights,
                out,
                force,
                worst,
                quiet,
                json,
            }) => {
                let verbosity = verbosity(quiet, json);
                compare(&Compare { pred, target, names, measures, protocol, weights, out, force, worst, verbosity })
            }
            Self::Losses(LossesArgs { name, json }) => losses(name.as_deref(), json),
            Self::Data(DataCommand::Check(args)) => {
                let CheckArgs {
                    dataset,
                    data,
                    subset,
                    against,
                    against_data,
                    against_subset,
                    sheet,
                    force,
                    quiet,
                    json,
                } = args;
                let against =
                    against.zip(against_data).map(|(dataset, data)| Other { dataset, data, subset: against_subset });
                check(&Check { dataset, data, subset, against, sheet, force, verbosity: verbosity(quiet, json) })
            }
            Self::Data(DataCommand::Synth(SynthArgs { out, force, count, size, seed })) => {
                synth(&Synth { out, force, count, size, seed })
            }
        }
    }
}

impl From<PlanArgs> for Run {
    fn from(args: PlanArgs) -> Self {
        let verbosity = verbosity(args.quiet, args.json);
        let PlanArgs { manifest, data, device, out, set, variant: variants, seed: seeds, .. } = args;
        Self {
            manifest,
            set,
            data,
            out,
            variants,
            seeds,
            stop_after: None,
            profile: false,
            device,
            verbosity,
            checkpoint_every: Duration::ZERO,
        }
    }
}

impl From<RunArgs> for Run {
    fn from(args: RunArgs) -> Self {
        Self {
            stop_after: args.stop_after.map(NonZeroUsize::get),
            profile: args.profile,
            checkpoint_every: Duration::from_secs(60 * u64::from(args.checkpoint_minutes)),
            ..args.planned.into()
        }
    }
}

/// More threads than this no machine has any use for, and many refuse to start.
const MOST_THREADS: usize = 1024;

fn threads(text: &str) -> Result<NonZeroUsize, String> {
    match text.parse::<NonZeroUsize>() {
        Ok(threads) if threads.get() <= MOST_THREADS => Ok(threads),
        _ => Err(format!("a number of threads is between 1 and {MOST_THREADS}")),
    }
}

fn verbosity(quiet: bool, json: bool) -> Verbosity {
    match (quiet, json) {
        (true, _) => Verbosity::Quiet,
        (_, true) => Verbosity::Json,
        _ => Verbosity::Normal,
    }
}

/// 2 for a wrong command line or manifest, [`REQUEUE`] for what the system stopped, 1 for anything else.
fn exit_code(error: &anyhow::Error) -> u8 {
    let wrong = error.chain().any(|cause| cause.is::<UsageError>() || cause.is::<ManifestError>());
    let stopped = error.is::<Interrupted>() || error.is::<OutputClosed>();
    if wrong {
        2
    } else if stopped && interrupt::taken_away() {
        REQUEUE
    } else {
        1
    }
}
