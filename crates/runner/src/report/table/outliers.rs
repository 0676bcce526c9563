//! Images that a mean alone would hide or flatter.

use super::Group;
use crate::study::record::ImageScore;
use crate::system::words::{count, first_of};
use colormamba_features::Metric;
use colormamba_metrics::Measure;

/// What a reader must know of the means of a row: which images have infinite values, and which predictions are black,
/// where that is the best there is.
pub(super) fn notes(group: &Group, metrics: &[Metric]) -> Vec<String> {
    metrics.iter().flat_map(|metric| [infinite(group, *metric), black(group, *metric)]).flatten().collect()
}

fn infinite(group: &Group, metric: Metric) -> Option<String> {
    let images = named(group, |score| score.value(metric).is_some_and(f64::is_infinite))?;
    let (label, name) = (metric.label(), &group.label);
    Some(format!("{label} of {images} of {name} is infinite: the mean is that of the others."))
}

fn black(group: &Group, metric: Metric) -> Option<String> {
    if metric != Metric::Plain(Measure::ANGULAR_EXACT) {
        return None;
    }
    let images = named(group, |score| score.black)?;
    let (label, name) = (metric.label(), &group.label);
    Some(format!(
        "{images} of {name} were predicted all black, which has no angle: {label} counts them as 0, its best."
    ))
}

/// The images of all seeds that are so: `2 of 18 images (a, b)`.
fn named(group: &Group, so: impl Fn(&ImageScore) -> bool) -> Option<String> {
    let all: usize = group.seeds.iter().map(Vec::len).sum();
    let names: Vec<&str> = group.seeds.iter().flatten().filter(|score| so(score)).map(|s| s.image.as_str()).collect();
    (!names.is_empty()).then(|| format!("{} of {} ({})", names.len(), count(all, "image"), first_of(names.iter())))
}
