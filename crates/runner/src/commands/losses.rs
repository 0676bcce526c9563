//! Lists what can stand in a loss, or explains one of them.

use crate::manifest::LossTerm;
use crate::system::terminal::print;
use crate::system::usage::UsageError;
use anyhow::Result;
use colormamba_losses::{About, Adversarial, Channels, Combination, Preset, Term};
use colormamba_support::names::nearest;
use serde::Serialize;
use std::fmt::Write;

/// A term as a program reads it.
#[derive(Serialize)]
struct TermLine {
    kind: &'static str,
    name: &'static str,
    formula: &'static str,
    range: &'static str,
    source: &'static str,
    options: &'static str,
    /// The network that it looks through.
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<String>,
    smallest_side: usize,
    channels: String,
}

/// An adversarial loss, or a way to combine terms, as a program reads it.
#[derive(Serialize)]
struct AboutLine {
    kind: &'static str,
    #[serde(flatten)]
    about: About,
    manifest: String,
}

/// A preset as a program reads it.
#[derive(Serialize)]
struct PresetLine {
    kind: &'static str,
    name: &'static str,
    formula: String,
    source: &'static str,
}

/// All that stands in a loss beside terms and presets, with its line in a manifest.
fn others() -> Vec<AboutLine> {
    let adversarial = Adversarial::ALL.into_iter().map(|kind| {
        let about = *kind.about();
        let manifest = format!("loss.adversarial = {{ kind = \"{}\", weight = 0.1 }}", about.name);
        AboutLine { kind: "adversarial", about, manifest }
    });
    let combinations = Combination::ALL.into_iter().map(|combination| {
        let about = *combination.about();
        let manifest = format!("loss.combination = \"{}\"", about.name);
        AboutLine { kind: "combination", about, manifest }
    });
    adversarial.chain(combinations).collect()
}

/// Prints all terms, presets, adversarial losses and combinations, or those called `name`; as JSON, one object a line.
///
/// # Errors
/// [`UsageError`] if there is nothing of that name, with the nearest that there is.
pub fn losses(name: Option<&str>, json: bool) -> Result<()> {
    let chosen = |candidate: &str| name.is_none_or(|name| name == candidate);
    let terms: Vec<Term> = Term::all().into_iter().filter(|term| chosen(term.name())).collect();
    let presets: Vec<Preset> = Preset::all().into_iter().filter(|preset| chosen(preset.name)).collect();
    let others: Vec<AboutLine> = others().into_iter().filter(|other| chosen(other.about.name)).collect();
    if terms.is_empty() && presets.is_empty() && others.is_empty() {
        return Err(UsageError(unknown(name.unwrap_or_default())).into());
    }
    match (json, name) {
        (true, _) => print(&lines(&terms, &presets, &others)?),
        (false, None) => print(&overview(&terms, &presets, &others)?),
        (false, Some(_)) => print(&explained(&terms, &presets, &others)?),
    }
}

fn unknown(name: &str) -> String {
    let (terms, presets) = (Term::all(), Preset::all());
    let names = terms.iter().map(Term::name).chain(presets.iter().map(|preset| preset.name));
    let names = names.chain(others().into_iter().map(|other| other.about.name));
    let hint = nearest(name, names).map(|near| format!(", did you mean `{near}`?"));
    format!("no loss is called `{name}`{}", hint.unwrap_or_else(|| ": `colormamba losses` lists them".into()))
}

fn lines(terms: &[Term], presets: &[Preset], others: &[AboutLine]) -> Result<String> {
    let mut text = String::new();
    for term in terms {
        let About { name, formula, range, source, options } = *term.about();
        let network = term.extractor().map(|extractor| extractor.to_string());
        let (smallest_side, channels) = (term.smallest_side(), term.channels().to_string());
        let line = TermLine { kind: "term", name, formula, range, source, options, network, smallest_side, channels };
        writeln!(text, "{}", serde_json::to_string(&line)?)?;
    }
    for preset in presets {
        let line = PresetLine { kind: "preset", name: preset.name, formula: formula(preset)?, source: preset.source };
        writeln!(text, "{}", serde_json::to_string(&line)?)?;
    }
    for other in others {
        writeln!(text, "{}", serde_json::to_string(other)?)?;
    }
    Ok(text)
}

fn overview(terms: &[Term], presets: &[Preset], others: &[AboutLine]) -> Result<String> {
    let mut text = "Terms (⟨·⟩: mean over batch, channels and pixels; p: prediction, t: target)\n".to_string();
    terms.iter().try_for_each(|term| summarise(&mut text, term.about()))?;
    text += "\nPresets (loss.preset = \"NAME\")\n";
    for preset in presets {
        writeln!(text, "  {:<18} {}\n{:21}{}", preset.name, formula(preset)?, "", preset.source)?;
    }
    for (kind, heading) in [
        ("adversarial", "Adversarial losses (loss.adversarial = { kind = \"NAME\", weight = .. })"),
        ("combination", "Combinations (loss.combination = \"NAME\")"),
    ] {
        writeln!(text, "\n{heading}")?;
        let mut of_kind = others.iter().filter(|other| other.kind == kind);
        of_kind.try_for_each(|other| summarise(&mut text, &other.about))?;
    }
    Ok(text)
}

fn explained(terms: &[Term], presets: &[Preset], others: &[AboutLine]) -> Result<String> {
    let mut text = String::new();
    for term in terms {
        let name = term.name();
        describe(&mut text, term.about())?;
        if let Some(extractor) = term.extractor() {
            writeln!(text, "  network  {extractor}; features = \"pretrained\" or \"random\"")?;
        }
        if term.smallest_side() > 1 {
            writeln!(text, "  images   of at least {0}x{0} pixels", term.smallest_side())?;
        }
        let example = inline(&LossTerm::from((term.clone(), 1.0)))?;
        match term.channels() {
            // There is no name that every network has for such a head.
            Channels::Classes => {
                writeln!(text, "  takes    class scores (B, n)\n  manifest loss.HEAD = {{ {name} = {example} }}")?
            }
            _ => writeln!(text, "  manifest loss.rgb = {{ {name} = {example} }}")?,
        }
    }
    for preset in presets {
        writeln!(text, "{}\n  formula  {}\n  source   {}", preset.name, formula(preset)?, preset.source)?;
        writeln!(text, "  manifest loss = {{ preset = \"{}\" }}", preset.name)?;
    }
    for AboutLine { about, manifest, .. } in others {
        describe(&mut text, about)?;
        writeln!(text, "  manifest {manifest}")?;
    }
    Ok(text)
}

/// Name with formula, range and source, in the columns of the overview.
fn summarise(text: &mut String, about: &About) -> std::fmt::Result {
    let About { name, formula, range, source, .. } = about;
    writeln!(text, "  {name:<18} {formula}\n{:21}range {range}\n{:21}{source}", "", "")
}

/// Name, formula, range, source and options, a line each.
fn describe(text: &mut String, about: &About) -> std::fmt::Result {
    let About { name, formula, range, source, options } = about;
    writeln!(text, "{name}\n  formula  {formula}\n  range    {range}\n  source   {source}")?;
    if !options.is_empty() {
        writeln!(text, "  options  {}", options.replace("; ", "\n           "))?;
    }
    Ok(())
}

/// A term as it stands in a manifest.
fn inline(term: &LossTerm) -> Result<String> {
    Ok(toml::Value::try_from(term)?.to_string())
}

/// A preset as a sum.
fn formula(preset: &Preset) -> Result<String> {
    let mut parts = Vec::new();
    for (image, terms) in [("rgb", &preset.rgb), ("hsv", &preset.hsv)] {
        let sum: Vec<String> = terms.iter().map(|(term, weight)| format!("{weight} {term}")).collect();
        if !sum.is_empty() {
            parts.push(format!("{image}: {}", sum.join(" + ")));
        }
    }
    if let Some((kind, weight)) = preset.adversarial {
        parts.push(format!("adversarial: {weight} {}", kind.about().name));
    }
    Ok(parts.join("; "))
}
