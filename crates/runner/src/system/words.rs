//! Lists in messages.

use std::fmt::Display;

/// Names that a message shows; the rest is counted.
const SHOWN: usize = 3;

/// The first names as `a, b, c and 5 more`.
pub fn first_of(names: impl ExactSizeIterator<Item = impl Display>) -> String {
    let more = names.len().saturating_sub(SHOWN);
    let shown: Vec<String> = names.take(SHOWN).map(|name| name.to_string()).collect();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    shown.join(", ") + &more
}
