//! Images that are where they should not be: in two splits, or in a training and in what it is scored on.

use crate::record::ImageScore;
use colormamba_data::{Dataset, Overlap, Photographs, Split, overlaps, twins};
use std::collections::BTreeMap;

/// Pairs that a warning names; the rest is counted.
const NAMED: usize = 3;

/// Prints what is wrong with the splits, if anything is: pairs that two of them share, and what is known beside.
pub fn warn(photographs: &Photographs) {
    for text in overlap_warning(photographs).iter().map(String::as_str).chain(photographs.warning()) {
        eprintln!("warning: {text}");
    }
}

/// A line for every two splits that share images, and how to choose others.
fn overlap_warning(photographs: &Photographs) -> Option<String> {
    let lines: Vec<String> = overlaps(photographs).iter().map(|overlap| line(photographs, overlap)).collect();
    let subsets: Vec<String> = photographs.description().subsets().iter().map(ToString::to_string).collect();
    let choice = match subsets.len() {
        1 => "a [subset.NAME] in the dataset's description can leave them out".to_string(),
        _ => format!("`subset` in a manifest's [data], or --subset of eval, chooses from: {}", subsets.join(", ")),
    };
    (!lines.is_empty()).then(|| format!("{}\n  {choice}", lines.join("\n  ")))
}

fn line(dataset: &dyn Dataset, Overlap { split, other, pairs }: &Overlap) -> String {
    let so = match (split, other) {
        (Split::Validation, Split::Test) => "weights chosen by validation are chosen on test images",
        _ => "scores on them are not of unseen images",
    };
    let (name, count, all) = (dataset.name(), pairs.len(), dataset.len(*split));
    let names = first_names(pairs.iter().map(|(a, b)| (a.as_str(), b.as_str())));
    format!("{name}: {count} of the {all} {split} pairs are {other} pairs too ({names}): {so}")
}

/// `a = b, c = d, e = f and 5 more`.
fn first_names<'a>(pairs: impl ExactSizeIterator<Item = (&'a str, &'a str)>) -> String {
    let more = pairs.len().saturating_sub(NAMED);
    let shown: Vec<String> = pairs.take(NAMED).map(|(a, b)| format!("{a} = {b}")).collect();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    shown.join(", ") + &more
}

/// Says of each score whether the training knew its image, told by its pixels. Scores on training images are spared:
/// that is what they are for.
pub fn mark(scores: &mut [ImageScore], trained: &dyn Dataset, scored: &dyn Dataset, split: Split) {
    if split == Split::Train {
        return;
    }
    let known: BTreeMap<String, String> = twins((scored, split), (trained, Split::Train)).into_iter().collect();
    for score in scores {
        score.seen_in_training = known.get(&score.image).cloned();
    }
}

/// How many of the scored images the training knew, and which; `None` if none.
pub fn note(who: &str, scores: &[ImageScore]) -> Option<String> {
    let seen = scores.iter().filter_map(|score| Some((score.image.as_str(), score.seen_in_training.as_deref()?)));
    let seen: Vec<(&str, &str)> = seen.collect();
    let (count, all) = (seen.len(), scores.len());
    let names = first_names(seen.into_iter());
    (count > 0).then(|| format!("LEAK: {who} was trained on {count} of these {all} images ({names})"))
}
