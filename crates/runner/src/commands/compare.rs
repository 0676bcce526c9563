//! Measures images of any origin against the truth.

use super::pairing::{FilePair, NameMatch, Pairing, pair};
use crate::scoring::measures;
use crate::study::record::{JsonNumber, spec_under};
use crate::system::files::{csv, make_folder, write_lines, write_whole};
use crate::system::terminal::{Verbosity, bar, print};
use crate::system::usage::UsageError;
use anyhow::{Context, Result, ensure};
use colormamba_data::{Protocol, read_rgb};
use colormamba_features::{LoadedMetric, Metric};
use colormamba_metrics::{Image, Pair, Summary};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// What to compare.
pub struct Compare {
    /// An image, or a folder of images.
    pub pred: PathBuf,
    /// Its truth, or a folder with the truths under the same names.
    pub target: PathBuf,
    /// How their names correspond; without, see [`pair`].
    pub names: Option<NameMatch>,
    /// Specs or short names of measures, with or without the protocol; every one that needs no network and that the images
    /// are large enough for if there are none.
    pub measures: Vec<String>,
    /// How the truth is scaled; a prediction is its 8-bit values / 255 under any.
    pub protocol: Protocol,
    /// Where the weights of LPIPS's networks lie.
    pub weights: PathBuf,
    /// Where `scores.jsonl`, `scores.csv` and `summary.csv` go.
    pub out: Option<PathBuf>,
    /// How many of the worst images are listed.
    pub worst: usize,
    /// How much to say.
    pub verbosity: Verbosity,
}

/// A measure as a column.
struct Column {
    /// Under the protocol.
    spec: String,
    metric: LoadedMetric,
}

/// The values of one image.
#[derive(Serialize)]
struct Score {
    image: String,
    metrics: BTreeMap<String, JsonNumber>,
    /// Whether all of it is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    black: bool,
}

/// The values of a measure over all images.
#[derive(Serialize)]
struct Line {
    measure: String,
    images: usize,
    mean: JsonNumber,
    median: JsonNumber,
    /// Of several images.
    sd: Option<JsonNumber>,
    interval: Option<[f64; 2]>,
    /// Images whose value is infinite; the numbers are of the others.
    infinite: usize,
}

/// Prints mean, median, standard deviation and bootstrap interval of each measure, and the worst images by the first.
///
/// # Errors
/// As [`measure`]; a folder that cannot be written.
pub fn compare(args: &Compare) -> Result<()> {
    let Measured { columns, scores, lines } = measure(args)?;
    if let Some(out) = &args.out {
        make_folder(out)?;
        write_lines(&out.join("scores.jsonl"), &scores)?;
        write_whole(&out.join("scores.csv"), scores_csv(&columns, &scores)?.as_bytes())?;
        write_whole(&out.join("summary.csv"), summary_csv(&lines)?.as_bytes())?;
    }
    match args.verbosity {
        Verbosity::Json => lines.iter().try_for_each(|line| print(&(serde_json::to_string(line)? + "\n"))),
        Verbosity::Normal | Verbosity::Quiet => print(&text(args, &columns[0], &lines, &scores)?),
    }
}

/// The values of each pair, worst first by the first measure, and over all of them.
pub struct Measured {
    columns: Vec<Column>,
    scores: Vec<Score>,
    lines: Vec<Line>,
}

/// Reads and measures all pairs.
///
/// # Errors
/// [`UsageError`] for an unknown measure or images without partner, an image that cannot be read, two of different sizes, and
/// images too small for a measure that is asked for by name.
pub fn measure(args: &Compare) -> Result<Measured> {
    let Pairing { pairs, note } = pair(&args.pred, &args.target, args.names.as_ref())?;
    if let Some(note) = note {
        eprintln!("note: {note}");
    }
    let columns = columns(args, &pairs)?;
    let bar = bar(args.verbosity, pairs.len(), "{wide_bar} {pos}/{len} {per_sec} {eta} left")?;
    let score = |FilePair { name, pred, target }: &FilePair| {
        let score = score(&columns, (name, pred, target), args.protocol)
            .with_context(|| format!("{name}: {} and {}", pred.display(), target.display()));
        bar.inc(1);
        score
    };
    let mut scores = pairs.par_iter().map(score).collect::<Result<Vec<_>>>()?;
    bar.finish_and_clear();
    sort_worst_first(&mut scores, &columns[0]);
    let lines = columns.iter().map(|column| line(column, &scores)).collect::<Result<Vec<_>>>()?;
    Ok(Measured { columns, scores, lines })
}

fn columns(args: &Compare, pairs: &[FilePair]) -> Result<Vec<Column>> {
    if args.measures.is_empty() {
        let side = |path: &PathBuf| -> Result<usize> {
            let (width, height) =
                image::image_dimensions(path).with_context(|| format!("{}: not a readable image", path.display()))?;
            Ok(width.min(height) as usize)
        };
        let sides = pairs.iter().map(|pair| side(&pair.target)).collect::<Result<Vec<_>>>()?;
        let side = sides.into_iter().min().unwrap_or(0);
        let fits = |metric: &Metric| metric.network().is_none() && metric.smallest_side() <= side;
        return Metric::all().filter(fits).map(|metric| column(metric, args)).collect();
    }
    args.measures.iter().map(|spec| column(metric(spec, args.protocol)?, args)).collect()
}

fn column(metric: Metric, args: &Compare) -> Result<Column> {
    let spec = spec_under(metric.spec(), &args.protocol.to_string());
    Ok(Column { spec, metric: metric.load(&args.weights)? })
}

fn metric(spec: &str, protocol: Protocol) -> Result<Metric> {
    measures::one(&plain_spec(spec, protocol)?)
}

/// The spec without its protocol, which must be the one that is asked for.
fn plain_spec(spec: &str, protocol: Protocol) -> Result<String> {
    for named in Protocol::ALL {
        if let Some(plain) = spec.strip_suffix(&format!(",{named}]")) {
            ensure!(named == protocol, UsageError(format!("`{spec}` needs --protocol {named}")));
            return Ok(format!("{plain}]"));
        }
    }
    Ok(spec.to_string())
}

fn read(path: &Path, protocol: Protocol) -> Result<Image> {
    let rgb = read_rgb(path)?;
    let (width, height) = (rgb.width() as usize, rgb.height() as usize);
    let (levels, pixels) = (protocol.levels(&rgb), rgb.as_raw());
    let planar: Vec<f64> =
        (0..3).flat_map(|c| pixels.iter().skip(c).step_by(3)).map(|v| levels[usize::from(*v)]).collect();
    Ok(Image::new(&planar, height, width)?)
}

fn score(columns: &[Column], (name, pred, target): (&str, &Path, &Path), protocol: Protocol) -> Result<Score> {
    let (pred, target) = (read(pred, Protocol::Raw)?, read(target, protocol)?);
    let pair = Pair::new(&pred, &target)?;
    let value = |column: &Column| Ok((column.spec.clone(), JsonNumber(column.metric.value(&pair)?)));
    let metrics = columns.iter().map(value).collect::<Result<_>>()?;
    Ok(Score { image: name.to_string(), metrics, black: pred.is_black() })
}

fn sort_worst_first(scores: &mut [Score], column: &Column) {
    // Where no value is better than another the images keep their order.
    let badness = |score: &Score| column.metric.metric().badness(score.metrics[&column.spec].0).unwrap_or(0.0);
    scores.sort_by(|a, b| badness(b).total_cmp(&badness(a)));
}

fn line(column: &Column, scores: &[Score]) -> Result<Line> {
    let measure = column.spec.clone();
    let values: Vec<f64> = scores.iter().map(|score| score.metrics[&measure].0).collect();
    let Summary { mean, median, sd, interval, n, infinite } = Summary::of(&values).context("no image")?;
    let (mean, median, sd) = (JsonNumber(mean), JsonNumber(median), sd.map(JsonNumber));
    Ok(Line { measure, images: n, mean, median, sd, interval, infinite })
}

fn text(args: &Compare, first: &Column, lines: &[Line], scores: &[Score]) -> Result<String> {
    let truth = match args.protocol {
        Protocol::Raw => "",
        Protocol::Minmax => ", truth stretched over its own range",
    };
    let mut text = format!("{} images, 8-bit values / 255{truth} (protocol {})\n\n", scores.len(), args.protocol);
    text += "| measure | mean | median | sd | 95 % interval of the mean |\n|---|--:|--:|--:|--:|\n";
    for Line { measure, mean, median, sd, interval, .. } in lines {
        let interval = interval.map(|[low, high]| format!("{low:.4} to {high:.4}")).unwrap_or_default();
        let sd = sd.map(|sd| format!("{:.4}", sd.0)).unwrap_or_default();
        writeln!(text, "| {measure} | {:.4} | {:.4} | {sd} | {interval} |", mean.0, median.0)?;
    }
    for line in lines.iter().filter(|line| line.infinite > 0) {
        let infinite = |score: &&Score| score.metrics[&line.measure].0.is_infinite();
        let images = listed(scores.iter().filter(infinite));
        writeln!(
            text,
            "\n{}: infinite, as of equal images, for {images}; the numbers are of the others",
            line.measure
        )?;
    }
    let exact = lines.iter().find(|line| line.measure.starts_with("ae[exact"));
    if let Some(line) = exact.filter(|_| scores.iter().any(|score| score.black)) {
        let images = listed(scores.iter().filter(|score| score.black));
        writeln!(text, "\n{}: all black, which has no angle and counts as 0, the best: {images}", line.measure)?;
    }
    if scores.len() > 1 && args.worst > 0 {
        writeln!(text, "\nworst by {}:", first.spec)?;
        for score in scores.iter().take(args.worst) {
            writeln!(text, "  {:<30} {:.4}", score.image, score.metrics[&first.spec].0)?;
        }
    }
    Ok(text)
}

/// `2 images (a, b)`, the first of them by name.
fn listed<'a>(scores: impl Iterator<Item = &'a Score>) -> String {
    let names: Vec<&str> = scores.map(|score| score.image.as_str()).collect();
    let more = if names.len() > 3 { format!(" and {} more", names.len() - 3) } else { String::new() };
    let images = if names.len() == 1 { "image" } else { "images" };
    format!("{} {images} ({}{more})", names.len(), names[..names.len().min(3)].join(", "))
}

fn scores_csv(columns: &[Column], scores: &[Score]) -> Result<String> {
    let heads = std::iter::once("image".to_string()).chain(columns.iter().map(|column| column.spec.clone())).collect();
    let record = |score: &Score| {
        let values = columns.iter().map(|column| score.metrics[&column.spec].0.to_string());
        std::iter::once(score.image.clone()).chain(values).collect()
    };
    csv(std::iter::once(heads).chain(scores.iter().map(record)))
}

fn summary_csv(lines: &[Line]) -> Result<String> {
    let heads = ["measure", "images", "mean", "median", "sd", "lower", "upper", "infinite"].map(String::from).to_vec();
    let record = |Line { measure, images, mean, median, sd, interval, infinite }: &Line| {
        let bounds = interval.map_or([String::new(), String::new()], |bounds| bounds.map(|bound| bound.to_string()));
        let mut fields = vec![measure.clone(), images.to_string()];
        fields.extend([mean.0.to_string(), median.0.to_string()]);
        fields.push(sd.map(|sd| sd.0.to_string()).unwrap_or_default());
        fields.extend(bounds);
        fields.push(infinite.to_string());
        fields
    };
    csv(std::iter::once(heads).chain(lines.iter().map(record)))
}
