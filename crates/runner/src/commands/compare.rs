//! Measures images of any origin against the truth.

use super::pairing::{FilePair, NameMatch, Pairing, Sets, pair, sets};
use crate::inputs::image::{Unseen, lines, measured};
use crate::scoring::measures::Asked;
use crate::scoring::sets::{self as scored_sets, SetLine};
use crate::study::record::{JsonNumber, spec_under};
use crate::system::files::{csv, make_folder, write_lines, write_whole};
use crate::system::output::ensure_all_writable;
use crate::system::terminal::{self, Verbosity, bar, print};
use crate::system::usage::UsageError;
use crate::system::words::{count, first_of, fixed};
use anyhow::{Context, Result, anyhow, ensure};
use candle_core::Device;
use colormamba_data::Protocol;
use colormamba_features::{Dinov2, FeatureError, LoadedMetric, Metric, SetMetric};
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
    /// Specs or short names of measures, with or without the protocol; every one that needs no network and that the
    /// images are large enough for if there are none.
    pub measures: Vec<String>,
    /// How the truth is scaled; a prediction is its 8-bit values / 255 under any.
    pub protocol: Protocol,
    /// Where the weights of LPIPS's networks and of DINOv2 lie.
    pub weights: PathBuf,
    /// Where `scores.jsonl`, `scores.csv` and `summary.csv` go, and `sets.csv`.
    pub out: Option<PathBuf>,
    /// Whether files there may be replaced.
    pub force: bool,
    /// How many of the worst images are listed.
    pub worst: usize,
    /// How much to say.
    pub verbosity: Verbosity,
}

/// What is written.
const FILES: [&str; 4] = ["scores.jsonl", "scores.csv", "summary.csv", "sets.csv"];

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

/// Prints mean, median, standard deviation and bootstrap interval of each measure, and the worst images by the first;
/// of a measure of sets its value.
///
/// # Errors
/// As [`measure`]; a folder that cannot be written.
pub fn compare(args: &Compare) -> Result<()> {
    let files: Vec<PathBuf> = args.out.iter().flat_map(|out| FILES.map(|name| out.join(name))).collect();
    ensure_all_writable(&files, args.force, [])?;
    let measured = measure(args)?;
    if let Some(out) = &args.out {
        measured.save(out)?;
    }
    match args.verbosity {
        Verbosity::Json => measured.lines().try_for_each(|line| print(&(line? + "\n"))),
        Verbosity::Normal | Verbosity::Quiet => print(&text(args, &measured)?),
    }
}

/// The values of each pair, worst first by the first measure, and over all of them; none of pairs where only measures
/// of sets are asked for.
#[derive(Default)]
pub struct Measured {
    columns: Vec<Column>,
    scores: Vec<Score>,
    lines: Vec<Line>,
    sets: Vec<SetLine>,
}

impl Measured {
    fn save(&self, out: &Path) -> Result<()> {
        make_folder(out)?;
        let [scores_lines, scores_table, summary, sets] = FILES.map(|name| out.join(name));
        if !self.columns.is_empty() {
            write_lines(&scores_lines, &self.scores)?;
            write_whole(&scores_table, scores_csv(&self.columns, &self.scores)?.as_bytes())?;
            write_whole(&summary, summary_csv(&self.lines)?.as_bytes())?;
        }
        if !self.sets.is_empty() {
            write_whole(&sets, sets_csv(&self.sets)?.as_bytes())?;
        }
        Ok(())
    }

    /// As JSON.
    fn lines(&self) -> impl Iterator<Item = serde_json::Result<String>> {
        self.lines.iter().map(serde_json::to_string).chain(self.sets.iter().map(serde_json::to_string))
    }
}

/// Reads and measures all pairs, and the two sets if a measure of sets is asked for; says what of the images no measure
/// sees.
///
/// # Errors
/// [`UsageError`] for an unknown measure or images without partner, an image that cannot be read, two of different
/// sizes, and images too small for a measure that is asked for by name. Sets need no partners, but two images each.
pub fn measure(args: &Compare) -> Result<Measured> {
    let mut unseen = Unseen::new();
    let measured = measure_all(args, &mut unseen)?;
    lines(&unseen).iter().for_each(|text| tell(Some(text)));
    Ok(measured)
}

fn measure_all(args: &Compare, unseen: &mut Unseen) -> Result<Measured> {
    let (metrics, of_sets) = asked(args)?;
    let Some(first) = of_sets.first() else { return measure_pairs(args, &metrics, &paired(args)?, unseen) };
    // Before the pairs are measured: its file may be missing.
    let network = network(args, *first)?;
    let (files, measured) = if metrics.is_empty() {
        let files = sets(&args.pred, &args.target, args.names.as_ref())?;
        tell(files.note.as_deref());
        (files, Measured::default())
    } else {
        let pairs = paired(args)?;
        let measured = measure_pairs(args, &metrics, &pairs, unseen)?;
        (Sets::from(Pairing { pairs, note: None }), measured)
    };
    let sets = scored_sets::measure(&of_sets, &network, [&files.preds, &files.targets], args.verbosity, unseen)?;
    Ok(Measured { sets, ..measured })
}

/// The measures of pairs and those of sets that are asked for.
fn asked(args: &Compare) -> Result<(Vec<Metric>, Vec<SetMetric>)> {
    let (mut pairs, mut sets) = (Vec::new(), Vec::new());
    for spec in &args.measures {
        match Asked::one(&plain_spec(spec, args.protocol)?)? {
            Asked::Pair(metric) if !pairs.contains(&metric) => pairs.push(metric),
            Asked::Sets(metric) if !sets.contains(&metric) => sets.push(metric),
            Asked::Pair(_) | Asked::Sets(_) => {}
        }
    }
    Ok((pairs, sets))
}

/// What measures of sets look through, of images as they are.
fn network(args: &Compare, metric: SetMetric) -> Result<Dinov2> {
    let text = || UsageError(format!("`{}` is of images as they are: --protocol raw", metric.definition().name));
    ensure!(args.protocol == Protocol::Raw, text());
    Dinov2::pretrained(&args.weights, &Device::Cpu).map_err(lying_elsewhere)
}

fn paired(args: &Compare) -> Result<Vec<FilePair>> {
    let Pairing { pairs, note } = pair(&args.pred, &args.target, args.names.as_ref())?;
    tell(note.as_deref());
    Ok(pairs)
}

fn tell(note: Option<&str>) {
    if let Some(note) = note {
        terminal::note(&format!("note: {note}"));
    }
}

fn measure_pairs(args: &Compare, metrics: &[Metric], pairs: &[FilePair], unseen: &mut Unseen) -> Result<Measured> {
    let columns = columns(args, metrics, pairs)?;
    let bar = bar(args.verbosity, pairs.len(), "{wide_bar} {pos}/{len} {per_sec} {eta} left")?;
    let score = |FilePair { name, pred, target }: &FilePair| {
        let score = score(&columns, (name, pred, target), args.protocol)
            .with_context(|| format!("{name}: {} and {}", pred.display(), target.display()));
        bar.inc(1);
        score
    };
    let scored = pairs.par_iter().map(score).collect::<Result<Vec<_>>>()?;
    bar.finish_and_clear();
    let (mut scores, others): (Vec<_>, Vec<_>) = scored.into_iter().unzip();
    unseen.extend(others.into_iter().flatten());
    sort_worst_first(&mut scores, &columns[0]);
    let lines = columns.iter().map(|column| line(column, &scores)).collect::<Result<Vec<_>>>()?;
    Ok(Measured { columns, scores, lines, sets: Vec::new() })
}

/// `metrics`, or if there are none, those that need no network and that the images are large enough for; says which are
/// left out.
fn columns(args: &Compare, metrics: &[Metric], pairs: &[FilePair]) -> Result<Vec<Column>> {
    if !metrics.is_empty() {
        return metrics.iter().map(|metric| column(*metric, args)).collect();
    }
    let side = |path: &PathBuf| -> Result<usize> {
        let (width, height) = colormamba_data::image_size(path)?;
        Ok(width.min(height) as usize)
    };
    let sides = pairs.iter().map(|pair| side(&pair.target)).collect::<Result<Vec<_>>>()?;
    let side = sides.into_iter().min().unwrap_or(0);
    let plain = Metric::all().filter(|metric| metric.network().is_none());
    let (fitting, others): (Vec<Metric>, Vec<Metric>) = plain.partition(|metric| metric.smallest_side() <= side);
    let needs = |metric: &Metric| format!("{} (from {} pixels)", metric.name(), metric.smallest_side());
    if !others.is_empty() {
        let (names, left_out) =
            (others.iter().map(needs).collect::<Vec<_>>().join(", "), count(others.len(), "measure"));
        tell(Some(&format!(
            "{left_out} left out, as the smallest image has a side of {}: {names}",
            count(side, "pixel")
        )));
    }
    fitting.into_iter().map(|metric| column(metric, args)).collect()
}

fn column(metric: Metric, args: &Compare) -> Result<Column> {
    let spec = spec_under(metric.spec(), &args.protocol.to_string());
    Ok(Column { spec, metric: metric.load(&args.weights).map_err(lying_elsewhere)? })
}

/// With the option that says where weights lie, if they are missing.
fn lying_elsewhere(error: FeatureError) -> anyhow::Error {
    match error {
        FeatureError::FileMissing { .. } => anyhow!("{error}; if they lie in another folder, name it by --weights DIR"),
        error => error.into(),
    }
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

fn read(path: &Path, protocol: Protocol, unseen: &mut Unseen) -> Result<Image> {
    let (rgb, of_this) = measured(path)?;
    unseen.extend(of_this);
    let (width, height) = (rgb.width() as usize, rgb.height() as usize);
    let (levels, pixels) = (protocol.levels(&rgb), rgb.as_raw());
    let planar: Vec<f64> =
        (0..3).flat_map(|c| pixels.iter().skip(c).step_by(3)).map(|v| levels[usize::from(*v)]).collect();
    Ok(Image::new(&planar, height, width)?)
}

fn score(
    columns: &[Column],
    (name, pred, target): (&str, &Path, &Path),
    protocol: Protocol,
) -> Result<(Score, Unseen)> {
    let mut unseen = Unseen::new();
    let (pred, target) = (read(pred, Protocol::Raw, &mut unseen)?, read(target, protocol, &mut unseen)?);
    let pair = Pair::new(&pred, &target)?;
    let value = |column: &Column| Ok((column.spec.clone(), JsonNumber(column.metric.value(&pair)?)));
    let metrics = columns.iter().map(value).collect::<Result<_>>()?;
    Ok((Score { image: name.to_string(), metrics, black: pred.is_black() }, unseen))
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

fn text(args: &Compare, measured: &Measured) -> Result<String> {
    let of_pairs = match measured.columns.first() {
        Some(first) => text_of_pairs(args, first, &measured.lines, &measured.scores)?,
        None => String::new(),
    };
    let parts = [of_pairs, text_of_sets(&measured.sets)?];
    Ok(parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n"))
}

fn text_of_sets(sets: &[SetLine]) -> Result<String> {
    let Some(SetLine { images, targets, .. }) = sets.first() else { return Ok(String::new()) };
    let mut text = format!("{} beside {targets}, as sets\n\n| measure | value |\n|---|--:|\n", count(*images, "image"));
    for SetLine { measure, value, .. } in sets {
        writeln!(text, "| {measure} | {} |", fixed(value.0, 4))?;
    }
    Ok(text)
}

fn text_of_pairs(args: &Compare, first: &Column, lines: &[Line], scores: &[Score]) -> Result<String> {
    let truth = match args.protocol {
        Protocol::Raw => "",
        Protocol::Minmax => ", truth stretched over its own range",
    };
    let images = count(scores.len(), "image");
    let mut text = format!("{images}, 8-bit values / 255{truth} (protocol {})\n\n", args.protocol);
    text += "| measure | mean | median | sd | 95 % interval of the mean |\n|---|--:|--:|--:|--:|\n";
    for Line { measure, mean, median, sd, interval, .. } in lines {
        let interval = interval.map(|bounds| bounds.map(|bound| fixed(bound, 4)).join(" to ")).unwrap_or_default();
        let sd = sd.map(|sd| fixed(sd.0, 4)).unwrap_or_default();
        writeln!(text, "| {measure} | {} | {} | {sd} | {interval} |", fixed(mean.0, 4), fixed(median.0, 4))?;
    }
    for line in lines.iter().filter(|line| (1..line.images).contains(&line.infinite)) {
        let infinite = |score: &&Score| score.metrics[&line.measure].0.is_infinite();
        let images = listed(scores.iter().filter(infinite));
        writeln!(text, "\n{}: infinite for {images}; the numbers are of the others", line.measure)?;
    }
    let exact = lines.iter().find(|line| line.measure.starts_with("ae[exact"));
    if let Some(line) = exact.filter(|_| scores.iter().any(|score| score.black)) {
        let images = listed(scores.iter().filter(|score| score.black));
        writeln!(text, "\n{}: all black, which has no angle and counts as 0, the best: {images}", line.measure)?;
    }
    if scores.len() > 1 && args.worst > 0 {
        writeln!(text, "\nworst by {}:", first.spec)?;
        for score in scores.iter().take(args.worst) {
            writeln!(text, "  {:<30} {}", score.image, fixed(score.metrics[&first.spec].0, 4))?;
        }
    }
    Ok(text)
}

/// `2 images (a, b)`, the first of them by name.
fn listed<'a>(scores: impl Iterator<Item = &'a Score>) -> String {
    let names: Vec<&str> = scores.map(|score| score.image.as_str()).collect();
    format!("{} ({})", count(names.len(), "image"), first_of(names.iter()))
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

fn sets_csv(sets: &[SetLine]) -> Result<String> {
    let heads = ["measure", "images", "targets", "value"].map(String::from).to_vec();
    let record = |SetLine { measure, images, targets, value }: &SetLine| {
        vec![measure.to_string(), images.to_string(), targets.to_string(), value.0.to_string()]
    };
    csv(std::iter::once(heads).chain(sets.iter().map(record)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_of_sets_are_tables_of_their_own() {
        let line = |measure, value| SetLine { measure, images: 3, targets: 5, value: JsonNumber(value) };
        let sets = vec![line("fd[a,b]", 12.5), line("kd[a]", -0.25)];
        let text = text_of_sets(&sets).unwrap();
        assert!(text.starts_with("3 images beside 5, as sets\n") && text.contains("| fd[a,b] | 12.5000 |"), "{text}");
        assert_eq!(text_of_sets(&[]).unwrap(), "");
        assert_eq!(sets_csv(&sets).unwrap(), "measure,images,targets,value\n\"fd[a,b]\",3,5,12.5\nkd[a],3,5,-0.25\n");
        let measured = Measured { sets, ..Measured::default() };
        let json: Vec<String> = measured.lines().map(Result::unwrap).collect();
        assert_eq!(json[1], r#"{"measure":"kd[a]","images":3,"targets":5,"value":-0.25}"#);
        let folder = tempfile::tempdir().unwrap();
        measured.save(folder.path()).unwrap();
        assert!(folder.path().join("sets.csv").exists() && !folder.path().join("scores.csv").exists());
    }
}
