//! Images that are in two splits.

use crate::system::words::{count, first_of};
use colormamba_data::{Dataset, Overlap, Photographs, Split, overlaps};

/// What is wrong with the splits, if anything is: pairs that two of them share, and what is known beside.
pub fn warnings(photographs: &Photographs) -> Vec<String> {
    let texts = overlap_warning(photographs).into_iter().chain(photographs.warnings());
    texts.map(|text| format!("warning: {text}")).collect()
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
    let (name, shared) = (dataset.name(), pairs.len());
    let all = count(dataset.len(*split), &format!("{split} pair"));
    let are = if shared == 1 { format!("is a {other} pair") } else { format!("are {other} pairs") };
    let names = first_names(pairs.iter().map(|(a, b)| (a.as_str(), b.as_str())));
    format!("{name}: {shared} of the {all} {are} too ({names}): {so}")
}

/// The first pairs of names as `a = b, c = d, e = f and 5 more`.
pub fn first_names<'a>(pairs: impl ExactSizeIterator<Item = (&'a str, &'a str)>) -> String {
    first_of(pairs.map(|(a, b)| format!("{a} = {b}")))
}
