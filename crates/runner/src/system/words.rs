//! Names and numbers in messages.

pub use colormamba_support::text::count;

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

/// `this image`, `these 2 images`.
pub fn these(images: usize) -> String {
    if images == 1 { "this image".into() } else { format!("these {images} images") }
}

/// A number of so many decimals; what is rounded to zero has no sign.
pub fn fixed(number: f64, digits: usize) -> String {
    let text = format!("{number:.digits$}");
    match text.strip_prefix('-') {
        Some(zero) if zero.chars().all(|c| "0.".contains(c)) => zero.to_string(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_has_no_sign() {
        assert_eq!([-0.00004, -0.00005001, -0.0].map(|n| fixed(n, 4)), ["0.0000", "-0.0001", "0.0000"]);
        assert_eq!([fixed(-0.4, 0), fixed(f64::NEG_INFINITY, 2), fixed(12.345, 1)], ["0", "-inf", "12.3"]);
    }
}
