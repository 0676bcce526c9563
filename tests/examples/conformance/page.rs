//! The page of conformance.

use crate::golden::{Comparison, REFERENCES, Reference, comparisons};
use crate::sharma::PAIRS;
use colormamba_metrics::ciede2000;
use std::error::Error;
use std::fmt::Write;

const INTRODUCTION: &str = "# Conformance of the measures\n
The measures of `crates/metrics` that another implementation has too, beside it, on five distortions of one photograph-like image of 192x256 \
pixels (`tests/fixtures/metrics.safetensors`). Written by `cargo run -p colormamba-metrics --example conformance > \
docs/conformance.md`; a test holds this page to what that prints, another each difference to its tolerance.\n
The differences of the Gaussian SSIM come from the reference's window: with weights that sum to 1 − 6e-8, as rounding to \
f32 leaves them, instead of 1, the definition gives the reference's values to 1e-7, because a variance is a difference of two \
means (`tests/golden.rs`).\n";

const SHARMA: &str = "\n## `ciede2000`, the 34 pairs of colours of Sharma, Wu and Dalal (2005), doi:10.1002/col.20070\n
Tolerance 1e-4: the table has four decimals.\n
| pair | ours | theirs | difference |\n|---|---|---|---|\n";

/// All of it.
pub fn page() -> Result<String, Box<dyn Error>> {
    let mut page = INTRODUCTION.to_string();
    for (reference, comparisons) in REFERENCES.iter().zip(comparisons()?) {
        write_section(&mut page, reference, &comparisons)?;
    }
    page.push_str(SHARMA);
    for (i, [l1, a1, b1, l2, a2, b2, theirs]) in PAIRS.into_iter().enumerate() {
        let ours = ciede2000([l1, a1, b1], [l2, a2, b2]);
        writeln!(page, "| {} | {ours:.4} | {theirs:.4} | {} |", i + 1, bound(ours - theirs))?;
    }
    Ok(page)
}

fn write_section(page: &mut String, reference: &Reference, comparisons: &[Comparison]) -> std::fmt::Result {
    let Reference { measure, implementation, tolerance, .. } = reference;
    writeln!(page, "\n## `{}`\n\nAgainst {implementation}, tolerance {tolerance:.0e}.\n", measure.spec())?;
    writeln!(page, "| pair | ours | theirs | difference |\n|---|---|---|---|")?;
    for Comparison { pair, ours, theirs } in comparisons {
        writeln!(page, "| {pair} | {ours:.7} | {theirs:.7} | {} |", bound(ours - theirs))?;
    }
    Ok(())
}

/// The power of ten that a difference stays below: the digits beyond depend on the machine's mathematical library.
fn bound(difference: f64) -> String {
    let power = (difference.abs().log10().floor() + 1.0).max(-9.0);
    format!("< 1e{power}")
}
