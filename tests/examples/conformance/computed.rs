//! Values computed with NumPy, SciPy and scikit-image for this page.

use crate::golden::Images;
use crate::section::{Chapter, Outcome, Row, Section};
use colormamba_metrics::{Image, Measure};
use colormamba_testkit::fixtures_dir;
use serde_json::Value;

const INTRODUCTION: &str = "\
On the same images, by `benches/peers/metrics_reference.py` (`tests/fixtures/metrics_reference.json`): scikit-image's own
functions where it has them, and the definitions written out in NumPy and SciPy where not. FSIM is written out from its paper;
FSIMc above, which is FSIM times a factor of chroma, is piq's.";

pub fn chapter() -> Outcome<Chapter> {
    let entries: Vec<Value> = serde_json::from_slice(&std::fs::read(fixtures_dir().join("metrics_reference.json"))?)?;
    let images = Images::load()?;
    let sections = entries.iter().map(|entry| section(entry, &images)).collect::<Outcome<_>>()?;
    Ok(Chapter { heading: "Computed with scikit-image, SciPy and NumPy", introduction: INTRODUCTION, sections })
}

fn section(entry: &Value, images: &Images) -> Outcome<Section> {
    let spec = entry["measure"].as_str().ok_or("no measure")?;
    let measure: Measure = spec.parse()?;
    let row = |(name, pred): &(String, Image)| {
        let theirs = entry["values"][name].as_f64().ok_or_else(|| format!("{spec}: no {name}"))?;
        Ok(Row { name: name.clone(), ours: measure.compute(pred, &images.target)?, theirs })
    };
    let rows = images.preds.iter().map(row).collect::<Outcome<_>>()?;
    let against = entry["implementation"].as_str().ok_or("no implementation")?.to_string();
    Ok(Section { subject: format!("`{spec}`"), against, tolerance: 1e-8, rows })
}
