//! Images that are in a training and in what it is scored on.

use crate::inputs::overlap::first_names;
use crate::study::record::ImageScore;
use crate::system::words::these;
use colormamba_data::{Dataset, Split, twins};
use std::collections::BTreeMap;

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
    (count > 0).then(|| format!("LEAK: {who} was trained on {count} of {} ({names})", these(all)))
}
