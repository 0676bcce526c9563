//! The page of conformance.

use crate::section::{Chapter, Outcome, Row, Section};
use crate::{computed, constants, golden, published, sharma};
use colormamba_metrics::Measure;
use std::fmt::Write;

const INTRODUCTION: &str = "# Conformance of the measures\n
The measures of `crates/metrics`, and LPIPS of `crates/features`, beside other implementations and published values. Written by
`cargo run -p colormamba-testkit --example conformance > docs/conformance.md`; `tests/tests/conformance.rs` holds this page to
what that prints, and each difference to its tolerance. A difference is given as the power of ten that it stays below.\n";

/// Everything that is compared.
pub fn chapters() -> Outcome<Vec<Chapter>> {
    Ok(vec![golden::chapter()?, computed::chapter()?, published::chapter()?, constants::chapter()?, sharma::chapter()])
}

/// The measures that stand beside no value of others.
pub fn alone(chapters: &[Chapter]) -> Vec<Measure> {
    let sections = || chapters.iter().flat_map(|chapter| &chapter.sections);
    let compared = |measure: &Measure| sections().any(|section| section.subject == format!("`{}`", measure.spec()));
    Measure::ALL.iter().copied().filter(|measure| !compared(measure)).collect()
}

/// All of it.
pub fn page(chapters: &[Chapter]) -> Result<String, std::fmt::Error> {
    let mut page = INTRODUCTION.to_string();
    let alone: Vec<String> = alone(chapters).iter().map(|measure| format!("`{}`", measure.spec())).collect();
    writeln!(page, "\nWithout a value of others: {}.", alone.join(", "))?;
    for Chapter { heading, introduction, sections } in chapters {
        writeln!(page, "\n## {heading}\n\n{introduction}")?;
        sections.iter().try_for_each(|section| write_section(&mut page, section))?;
    }
    Ok(page)
}

fn write_section(page: &mut String, section: &Section) -> std::fmt::Result {
    let Section { subject, against, tolerance, rows } = section;
    writeln!(page, "\n### {subject}\n\nAgainst {against}; tolerance {tolerance:.0e}.\n")?;
    writeln!(page, "| of | ours | theirs | difference |\n|---|---|---|---|")?;
    for Row { name, ours, theirs } in rows {
        writeln!(page, "| {name} | {} | {} | {} |", shown(*ours), shown(*theirs), bound(ours - theirs))?;
    }
    Ok(())
}

/// Without the sign of a zero.
fn shown(value: f64) -> String {
    format!("{:.7}", if value.abs() < 5e-8 { 0.0 } else { value })
}

/// The power of ten that a difference stays below: the digits beyond depend on the machine's mathematical library.
fn bound(difference: f64) -> String {
    let power = (difference.abs().log10().floor() + 1.0).max(-9.0);
    format!("< 1e{power}")
}
