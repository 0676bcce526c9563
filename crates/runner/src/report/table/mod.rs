//! Tables: rows are baselines and loss configurations, columns are measures.

mod format;
mod outliers;

pub use format::Format;

use crate::inputs::dataset::random_features;
use crate::manifest::Manifest;
use crate::scoring::baselines::{self, Baseline};
use crate::scoring::leak;
use crate::scoring::mean::{mean, mean_of};
use crate::study::folder::RunFolder;
use crate::study::provenance::{Provenance, program};
use crate::study::record::{ImageScore, Setting, read_scores};
use crate::study::scored::Scored;
use crate::system::files::exists;
use crate::system::words::these;
use anyhow::{Result, bail, ensure};
use colormamba_features::Metric;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Mean and spread of one measure in one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// Mean over images, then over seeds.
    pub mean: f64,
    /// Sample standard deviation over seeds, if there are several.
    pub sd: Option<f64>,
}

/// One baseline or loss configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What the row is about.
    pub label: String,
    /// Whether it is a baseline.
    pub baseline: bool,
    /// Number of trained models behind it.
    pub seeds: usize,
    /// One per measure, in the order of the table's.
    pub cells: Vec<Cell>,
}

/// Numbers that were all measured in the same way.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// What they were measured on.
    pub setting: Setting,
    /// The columns.
    pub metrics: Vec<Metric>,
    /// Number of images behind each mean.
    pub images: usize,
    /// Baselines, then loss configurations.
    pub rows: Vec<Row>,
    /// The versions of the program that made it, if there are several.
    pub versions: Option<String>,
    /// What a reader must know beside.
    pub notes: Vec<String>,
}

/// The scores behind one row: a set of image scores for each seed.
pub struct Group {
    /// What the row is about.
    pub label: String,
    /// Whether it is a baseline.
    pub baseline: bool,
    /// Where the scores were read, for errors.
    pub origin: String,
    /// One set for each seed.
    pub seeds: Vec<Vec<ImageScore>>,
    /// The versions of the program that trained it.
    pub trained_by: BTreeSet<String>,
}

impl Table {
    /// Reads the scores of run folders, or of whole studies, with the baselines beside them. `metrics` are the columns,
    /// those of the first run's manifest if there are none. `mixed`: even if they were trained on different images.
    ///
    /// # Errors
    /// A path that holds no run, a run without such scores, and numbers that must not stand in one table.
    pub fn collect(paths: &[impl AsRef<Path>], scored: &Scored, metrics: &[Metric], mixed: bool) -> Result<Self> {
        let (mut runs, mut missing) = (Vec::new(), Vec::new());
        for path in paths {
            let found = RunFolder::discover(path.as_ref(), scored)?;
            for run in found.runs {
                if !runs.contains(&run) {
                    runs.push(run);
                }
            }
            missing.extend(found.missing);
        }
        same_experiments(&runs)?;
        if !mixed {
            same_training_images(&runs)?;
        }
        let own = runs.first().map(|(_, manifest)| manifest.measures.as_slice()).unwrap_or_default();
        let metrics = if metrics.is_empty() { own } else { metrics };
        let (groups, stale) = groups(&runs, scored)?;
        missing.extend(stale);
        ensure_measured(&groups, metrics, paths, scored)?;
        let mut table = Self::from_groups(&groups, metrics)?;
        table.notes.extend(missing);
        Ok(table)
    }

    /// Averages scores into a table with a column for each of `metrics`.
    ///
    /// # Errors
    /// No scores, or scores of different settings, measures or images.
    pub fn from_groups(groups: &[Group], metrics: &[Metric]) -> Result<Self> {
        let first = groups.iter().find_map(|g| g.seeds.first().map(|s| (g, s)));
        let Some((reference, scores)) = first else { bail!("nothing to tabulate") };
        let Some(ImageScore { setting, .. }) = scores.first() else { bail!("{} holds no scores", reference.origin) };
        for group in groups {
            for other in &group.seeds {
                same_images((reference, scores), (group, other), metrics)?;
            }
        }
        let rows = groups.iter().map(|group| row(group, metrics)).collect::<Result<_>>()?;
        let outliers = groups.iter().flat_map(|group| outliers::notes(group, metrics));
        let notes = groups.iter().filter_map(note).chain(outliers).chain(seeds_note(groups)).collect();
        let (metrics, images, versions) = (metrics.to_vec(), scores.len(), versions(groups));
        Ok(Self { setting: setting.clone(), metrics, images, rows, versions, notes })
    }

    /// The means of a column from the best to the worst, each once; none if no value is better than another.
    fn ranking(&self, column: usize) -> Vec<f64> {
        let badness = |mean: &f64| self.metrics[column].badness(*mean);
        let means = self.rows.iter().map(|row| row.cells[column].mean).filter(|mean| !mean.is_nan());
        let mut ranked: Vec<(f64, f64)> = means.filter_map(|mean| Some((badness(&mean)?, mean))).collect();
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
        ranked.into_iter().map(|(_, mean)| mean).collect()
    }
}

/// Names the rows that lack a measure, and the commands that make them.
fn ensure_measured(groups: &[Group], metrics: &[Metric], paths: &[impl AsRef<Path>], scored: &Scored) -> Result<()> {
    let lacks = |group: &Group, metric: Metric| group.seeds.iter().flatten().any(|s| s.value(metric).is_none());
    let lacking = metrics.iter().filter(|metric| groups.iter().any(|group| lacks(group, **metric)));
    let lacking: Vec<Metric> = lacking.copied().collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let rows = groups.iter().filter(|group| lacking.iter().any(|metric| lacks(group, *metric)));
    let rows: Vec<&str> = rows.map(|group| group.label.as_str()).collect();
    let names: Vec<&str> = lacking.iter().map(|metric| metric.name()).collect();
    let options = names.iter().map(|name| format!(" --measure {name}")).collect::<String>();
    let command = |path: &_| {
        format!("\n  colormamba eval {} {}{options}", AsRef::<Path>::as_ref(path).display(), scored.options())
    };
    let commands: String = paths.iter().map(command).collect();
    bail!("no scores of {} for the rows {}; they are made by{commands}", names.join(", "), rows.join(", "))
}

/// The runs of a row are averaged: they must be one experiment from several seeds.
fn same_experiments(runs: &[(RunFolder, Manifest)]) -> Result<()> {
    for (i, (b, second)) in runs.iter().enumerate() {
        for (a, first) in runs[..i].iter().filter(|(a, _)| (&a.study, &a.variant) == (&b.study, &b.variant)) {
            let pair = format!("{} and {} must not be averaged", a.path.display(), b.path.display());
            ensure!(a.seed != b.seed, "{pair}: both are from seed {}", a.seed);
            if let Some((x, y)) = first.difference(second)? {
                bail!("{pair}: `{x}` in the first, `{y}` in the second");
            }
        }
    }
    Ok(())
}

/// Losses are compared on equal terms: all trained on the same images.
fn same_training_images(runs: &[(RunFolder, Manifest)]) -> Result<()> {
    let mut first: Option<(&RunFolder, String)> = None;
    for (run, _) in runs {
        let fingerprint = Provenance::read(&run.provenance())?.fingerprint.remove("train").unwrap_or_default();
        match &first {
            None => first = Some((run, fingerprint)),
            Some((other, theirs)) => ensure!(
                *theirs == fingerprint,
                "{} and {} were trained on different images; --mixed-data tabulates them nevertheless",
                other.path.display(),
                run.path.display()
            ),
        }
    }
    Ok(())
}

/// Baselines of the studies that the runs belong to, then the runs by variant; and what to say of baselines that were
/// fitted on other training images, which are left out.
fn groups(runs: &[(RunFolder, Manifest)], scored: &Scored) -> Result<(Vec<Group>, Vec<String>)> {
    let several = runs.iter().any(|(run, _)| run.study != runs[0].0.study);
    let mut baselines: BTreeMap<usize, Group> = BTreeMap::new();
    let (mut models, mut stale): (Vec<Group>, BTreeSet<String>) = (Vec::new(), BTreeSet::new());
    for (run, manifest) in runs {
        let label = if several { format!("{}/{}", run.study, run.variant) } else { run.variant.clone() };
        let label = with_random_features(label, random_features(manifest).as_deref());
        let path = run.scores(scored);
        let (scores, provenance) = (read_scores(&path)?, Provenance::read(&run.provenance())?);
        let at = models.iter().position(|group| group.label == label).unwrap_or_else(|| {
            let (origin, seeds) = (path.display().to_string(), Vec::new());
            models.push(Group { label, baseline: false, origin, seeds, trained_by: BTreeSet::new() });
            models.len() - 1
        });
        models[at].seeds.push(scores);
        models[at].trained_by.extend(provenance.programs());
        let training = provenance.fingerprint.get("train").map(String::as_str).unwrap_or_default();
        for (order, baseline) in Baseline::ALL.into_iter().enumerate() {
            if baselines.contains_key(&order) {
                continue;
            }
            match baseline_of(run, baseline, scored, training)? {
                Fitted::Here(group) => {
                    baselines.insert(order, group);
                }
                Fitted::Elsewhere(note) => {
                    stale.insert(note);
                }
                Fitted::Nowhere => {}
            }
        }
    }
    Ok((baselines.into_values().chain(models).collect(), stale.into_iter().collect()))
}

/// Where a baseline was fitted.
enum Fitted {
    /// On the training images of the run.
    Here(Group),
    /// On others.
    Elsewhere(String),
    /// It was not scored.
    Nowhere,
}

/// The scores of a baseline of the study that a run belongs to, if it was fitted on these training images: the run's.
/// On another subset it was fitted on the training images of that, so that it has not seen what it is scored on.
fn baseline_of(run: &RunFolder, baseline: Baseline, scored: &Scored, training: &str) -> Result<Fitted> {
    let scored_here = run.scored(scored);
    let path = baseline.scores(run.study_folder(), &scored_here);
    if !exists(&path)? {
        return Ok(Fitted::Nowhere);
    }
    let (label, origin, scores) = (baseline.label().to_string(), path.display().to_string(), read_scores(&path)?);
    let source = match scored_here.subset {
        None => baseline.source(training),
        Some(_) => baseline.source(&baselines::fitted_on(run.study_folder(), &scored_here)?),
    };
    // An earlier version did not tell.
    if scores.iter().filter_map(|score| score.made.as_ref()).any(|made| made.source != source) {
        let eval = format!("colormamba eval {} {}", run.path.display(), scored.options());
        return Ok(Fitted::Elsewhere(format!(
            "Not in this table: {label}: {origin} is not of the training images of {}: {eval}",
            run.label()
        )));
    }
    Ok(Fitted::Here(Group { label, baseline: true, origin, seeds: vec![scores], trained_by: BTreeSet::new() }))
}

/// Which versions of the program made which rows, if not all are this one.
fn versions(groups: &[Group]) -> Option<String> {
    let mut rows: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for group in groups {
        let scored_by = group.seeds.iter().flatten().filter_map(|score| Some(score.made.as_ref()?.program.as_str()));
        for version in scored_by.chain(group.trained_by.iter().map(String::as_str)) {
            rows.entry(version).or_default().insert(&group.label);
        }
    }
    let this = program();
    let made = rows.iter().filter(|(version, _)| ***version != this);
    let made =
        made.map(|(version, rows)| format!("{version} ({})", rows.iter().copied().collect::<Vec<_>>().join(", ")));
    let made: Vec<String> = made.collect();
    (!made.is_empty())
        .then(|| format!("Made in part by other versions of the program than this one, {this}: {}", made.join("; ")))
}

/// What a row says of a loss that looked through networks of random weights instead of published ones.
pub(crate) fn with_random_features(label: String, networks: Option<&str>) -> String {
    networks.map_or(label.clone(), |networks| format!("{label} (random-weight {networks})"))
}

/// What one seed a row allows to say.
fn seeds_note(groups: &[Group]) -> Option<String> {
    let trained: Vec<usize> = groups.iter().filter(|group| !group.baseline).map(|group| group.seeds.len()).collect();
    let text = "Rows of one seed rank nothing: another seed moves them as well.";
    (trained.len() > 1 && trained.contains(&1)).then(|| text.to_string())
}

/// Of the seed that knew the most of the images.
fn note(group: &Group) -> Option<String> {
    leak::note(&group.label, group.seeds.iter().max_by_key(|scores| seen(scores))?)
}

/// Number of images that the training knew.
fn seen(scores: &[ImageScore]) -> usize {
    scores.iter().filter(|score| score.seen_in_training.is_some()).count()
}

fn same_images(a: (&Group, &[ImageScore]), b: (&Group, &[ImageScore]), metrics: &[Metric]) -> Result<()> {
    let refuse = |what: &str, x: &str, y: &str| -> Result<()> {
        bail!("these numbers must not stand in one table: {what} of {} is {x}, of {} it is {y}", a.0.origin, b.0.origin)
    };
    let setting = &a.1[0].setting;
    let names = |scores: &[ImageScore]| scores.iter().map(|s| s.image.clone()).collect::<Vec<_>>();
    for score in b.1 {
        let other = &score.setting;
        for (what, x, y) in [
            ("the dataset", &setting.dataset, &other.dataset),
            ("the dataset's fingerprint", &setting.fingerprint, &other.fingerprint),
            ("the split", &setting.split, &other.split),
            ("the protocol", &setting.protocol, &other.protocol),
        ] {
            if x != y {
                return refuse(what, x, y);
            }
        }
        if setting.size != other.size {
            return refuse("the size", &setting.size.to_string(), &other.size.to_string());
        }
        if let Some(metric) = score.lacking(metrics) {
            let (origin, spec, name, split) = (&b.0.origin, other.spec(metric), metric.name(), &other.split);
            bail!(
                "a run of {origin} lacks the measure {spec}: evaluate it again with `colormamba eval RUN --split {split} \
                 --measure {name}`"
            );
        }
    }
    if names(a.1) != names(b.1) {
        return refuse(
            "the list of images",
            &format!("{} long", a.1.len()),
            &format!("another one, {} long", b.1.len()),
        );
    }
    Ok(())
}

fn row(group: &Group, metrics: &[Metric]) -> Result<Row> {
    let cell = |metric: &Metric| -> Result<Cell> {
        let means = group.seeds.iter().map(|scores| mean_of(scores, *metric)).collect::<Result<Vec<f64>>>()?;
        Ok(Cell { mean: mean(&means), sd: (means.len() > 1).then(|| sample_sd(&means)) })
    };
    let cells = metrics.iter().map(cell).collect::<Result<_>>()?;
    let label = match group.seeds.iter().map(|scores| (seen(scores), scores.len())).max() {
        Some((seen @ 1.., all)) => format!("{} (LEAK: trained on {seen} of {})", group.label, these(all)),
        _ => group.label.clone(),
    };
    Ok(Row { label, baseline: group.baseline, seeds: group.seeds.len(), cells })
}

fn sample_sd(values: &[f64]) -> f64 {
    let centre = mean(values);
    (values.iter().map(|v| (v - centre).powi(2)).sum::<f64>() / (values.len() - 1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scoring::measures::published;
    use crate::study::record::JsonNumber;

    fn scores(protocol: &str, values: &[f64]) -> Vec<ImageScore> {
        let setting = Setting {
            dataset: "d".into(),
            fingerprint: "0123456789abcdef".into(),
            split: "validation".into(),
            protocol: protocol.into(),
            size: 64,
        };
        let metrics = |value: f64| published().iter().map(|m| (setting.spec(*m), JsonNumber(value))).collect();
        let score = |(i, value): (usize, &f64)| ImageScore {
            setting: setting.clone(),
            image: format!("image-{i}"),
            metrics: metrics(*value),
            black: false,
            seen_in_training: None,
            prediction: None,
            made: None,
        };
        values.iter().enumerate().map(score).collect()
    }

    fn group(label: &str, baseline: bool, seeds: Vec<Vec<ImageScore>>) -> Group {
        let (origin, trained_by) = (format!("runs/{label}"), BTreeSet::new());
        Group { label: label.into(), baseline, origin, seeds, trained_by }
    }

    fn table() -> Table {
        let nir = group("NIR copied", true, vec![scores("raw", &[10.0, 12.0])]);
        let mse = group("plain_mse", false, vec![scores("raw", &[20.0, 22.0]), scores("raw", &[22.0, 24.0])]);
        Table::from_groups(&[nir, mse], &published()).unwrap()
    }

    #[test]
    fn means_go_over_images_then_seeds() {
        let table = table();
        assert_eq!(table.rows[0].cells[0], Cell { mean: 11.0, sd: None });
        assert_eq!(table.rows[1].cells[0], Cell { mean: 22.0, sd: Some(2.0_f64.sqrt()) });
        assert_eq!((table.ranking(0), table.ranking(2)), (vec![22.0, 11.0], vec![11.0, 22.0]));
    }

    #[test]
    fn an_infinite_value_and_a_black_prediction_are_told_beside_the_mean() {
        let mut seed = scores("raw", &[20.0, f64::INFINITY, 24.0]);
        seed[2].black = true;
        let exact = Metric::Plain(colormamba_metrics::Measure::ANGULAR_EXACT);
        for (score, value) in seed.iter_mut().zip([5.0, 4.0, 0.0]) {
            score.metrics.insert(score.setting.spec(exact), JsonNumber(value));
        }
        let table = Table::from_groups(&[group("mse", false, vec![seed])], &[published()[0], exact]).unwrap();
        assert_eq!((table.rows[0].cells[0].mean, table.rows[0].cells[1].mean), (22.0, 3.0));
        let notes = table.notes.join(" ");
        assert!(notes.contains("PSNR of 1 of 3 images (image-1) of mse is infinite"), "{notes}");
        assert!(notes.contains("1 of 3 images (image-2) of mse were predicted all black"), "{notes}");
    }

    #[test]
    fn numbers_of_different_protocols_or_images_are_not_mixed() {
        let raw = group("a", false, vec![scores("raw", &[1.0])]);
        let stretched = group("b", false, vec![scores("minmax", &[1.0])]);
        let error = Table::from_groups(&[raw, stretched], &published()).unwrap_err().to_string();
        assert!(error.contains("the protocol of runs/a is raw, of runs/b it is minmax"), "{error}");
        let raw = group("a", false, vec![scores("raw", &[1.0])]);
        let longer = group("b", false, vec![scores("raw", &[1.0, 2.0])]);
        assert!(Table::from_groups(&[raw, longer], &published()).is_err());
        let mut lacking = scores("raw", &[1.0]);
        lacking[0].metrics.pop_first();
        let raw = group("a", false, vec![scores("raw", &[1.0])]);
        let error = Table::from_groups(&[raw, group("b", false, vec![lacking])], &published()).unwrap_err().to_string();
        assert!(error.contains("runs/b lacks the measure"), "{error}");
    }

    #[test]
    fn images_that_a_training_knew_are_told_in_every_format() {
        let mut known = scores("raw", &[20.0, 22.0]);
        known[1].seen_in_training = Some("forest_0001".into());
        let table =
            Table::from_groups(&[group("mse", false, vec![scores("raw", &[1.0, 2.0]), known])], &published()).unwrap();
        let note = "LEAK: mse was trained on 1 of these 2 images (image-1 = forest_0001)";
        assert_eq!(table.notes, [note]);
        for format in [Format::Md, Format::Tex, Format::Csv] {
            let text = format.render(&table).unwrap();
            assert!(text.contains("mse (LEAK: trained on 1 of these 2 images)"), "{text}");
            assert_eq!(text.contains(note), format != Format::Csv, "{text}");
        }
        assert!(super::tests::table().notes.is_empty());
    }

    #[test]
    fn numbers_whose_spec_lacks_their_protocol_are_refused() {
        let stretched = group("a", false, vec![scores("minmax", &[1.0])]);
        let table = Table::from_groups(&[stretched], &published()).unwrap();
        assert_eq!(table.rows[0].cells[0].mean, 1.0);
        for format in [Format::Md, Format::Tex, Format::Csv] {
            assert!(
                format.render(&table).unwrap().contains("psnr[rgb,L=1,minmax]"),
                "{}",
                format.render(&table).unwrap()
            );
        }
        // As scores were written before their specs said so.
        let mut plain = scores("minmax", &[1.0]);
        plain[0].metrics = scores("raw", &[1.0]).remove(0).metrics;
        let stretched = group("a", false, vec![scores("minmax", &[1.0])]);
        let error =
            Table::from_groups(&[stretched, group("b", false, vec![plain])], &published()).unwrap_err().to_string();
        assert!(error.contains("runs/b lacks the measure psnr[rgb,L=1,minmax]: evaluate it again"), "{error}");
    }

    #[test]
    fn a_line_break_in_a_name_ends_no_comment_and_no_row() {
        let mut seed = scores("raw", &[1.0, 2.0]);
        seed.iter_mut().for_each(|score| score.setting.dataset = "one\ntwo".into());
        seed[0].seen_in_training = Some("a\nb".into());
        let table = Table::from_groups(&[group("x\ny", false, vec![seed])], &published()).unwrap();
        let tex = Format::Tex.render(&table).unwrap();
        assert!(tex.starts_with("% one two") && tex.contains("\nx y (LEAK"), "{tex}");
        let odd = |line: &&str| !(line.starts_with('%') || line.starts_with('\\') || line.ends_with("\\\\"));
        assert_eq!(tex.lines().find(odd), None, "{tex}");
    }

    #[test]
    fn every_format_says_how_the_numbers_were_measured() {
        let table = table();
        for format in [Format::Md, Format::Tex, Format::Csv] {
            let text = format.render(&table).unwrap();
            for wanted in ["raw", "validation", "64x64"] {
                assert!(text.contains(wanted), "{wanted} in {text}");
            }
        }
        let md = Format::Md.render(&table).unwrap();
        assert!(
            md.contains("| plain_mse | 2 | **22.00 ± 1.41** | **22.000 ± 1.414** | <ins>22.00 ± 1.41</ins> |"),
            "{md}"
        );
        assert!(md.contains("| NIR copied |  | <ins>11.00</ins> | <ins>11.000</ins> | **11.00** |"), "{md}");
        let tex = Format::Tex.render(&table).unwrap();
        assert!(tex.contains(r"plain\_mse & 2 & \textbf{22.00 $\pm$ 1.41} &"), "{tex}");
        let csv = Format::Csv.render(&table).unwrap();
        assert!(csv.contains("plain_mse,2,2,22,1.4142135623730951,"), "{csv}");
    }
}
