//! A term is one file and one line: what `CONTRIBUTING.md` says of adding one.

use colormamba_losses::{Adversarial, Combination, Term};
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

type Outcome = Result<(), Box<dyn std::error::Error>>;

const CRATE: &str = env!("CARGO_MANIFEST_DIR");

/// All Rust files of the library.
fn sources() -> std::io::Result<Vec<PathBuf>> {
    let (mut folders, mut files) = (vec![Path::new(CRATE).join("src")], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    Ok(files)
}

/// The files of the terms.
fn files() -> std::io::Result<Vec<PathBuf>> {
    let terms = Path::new(CRATE).join("src/terms");
    let list = terms.join("mod.rs");
    Ok(sources()?.into_iter().filter(|file| file.starts_with(&terms) && *file != list).collect())
}

fn name_of_variant(term: &Term) -> String {
    format!("{term:?}").chars().take_while(|c| c.is_alphanumeric()).collect()
}

#[test]
fn every_term_is_a_file_of_its_name_and_a_line_of_the_list() -> Outcome {
    let names: BTreeSet<String> = Term::all().iter().map(Term::to_string).collect();
    let stem = |file: &PathBuf| file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    assert_eq!(files()?.iter().filter_map(stem).collect::<BTreeSet<_>>(), names);

    let text = fs::read_to_string(Path::new(CRATE).join("src/terms/mod.rs"))?;
    let (_, list) = text.split_once("\nterms! {\n").ok_or("no list")?;
    let listed: Vec<&str> = list.lines().filter_map(|line| Some(line.split_once(':')?.0.trim())).collect();
    assert_eq!(listed, Term::all().iter().map(Term::name).collect::<Vec<_>>());
    for term in Term::all() {
        let lines = text.lines().filter(|line| line.trim_start().starts_with(&format!("{term}: ")));
        assert_eq!(lines.count(), 1, "{term}");
    }
    Ok(())
}

/// Only the losses of the literature, which are sums of terms, name terms; those that build on another do so in their file.
#[test]
fn nothing_else_knows_a_term() -> Outcome {
    let terms = Path::new(CRATE).join("src/terms");
    let elsewhere = sources()?.into_iter().filter(|file| !file.starts_with(&terms) && !file.ends_with("preset.rs"));
    for file in elsewhere {
        let text = fs::read_to_string(&file)?;
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for (line, term) in code.flat_map(|line| Term::all().into_iter().map(move |term| (line, term))) {
            let variant = format!("::{}", name_of_variant(&term));
            let named = line.match_indices(&variant).any(|(at, _)| {
                let after = line[at + variant.len()..].chars().next();
                line[..at].ends_with("Term") && !after.is_some_and(char::is_alphanumeric)
            });
            let module = line.contains(&format!("terms::{term}::"));
            assert!(!named && !module, "{} names {term}: {line}", file.display());
        }
    }
    Ok(())
}

/// `cargo fmt` does not follow modules that a macro names.
#[test]
fn the_files_of_the_terms_are_formatted() -> Outcome {
    let mut command = Command::new("rustfmt");
    command.args(["--check", "--edition", "2024", "--config-path"]).arg(Path::new(CRATE).join("../../rustfmt.toml"));
    match command.args(files()?).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => println!("skipped: rustfmt is not here"),
        Err(error) => return Err(error.into()),
        Ok(output) => assert!(
            output.status.success(),
            "run `rustfmt crates/losses/src/terms/*.rs`:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
    }
    Ok(())
}

#[test]
fn adversarial_losses_and_combinations_are_described_by_the_names_that_manifests_use() -> Outcome {
    let kinds = Adversarial::ALL.map(|kind| (serde_json::to_value(kind), *kind.about()));
    let combinations = Combination::ALL.map(|kind| (serde_json::to_value(kind), *kind.about()));
    for (written, about) in kinds.into_iter().chain(combinations) {
        assert_eq!(written?, about.name);
        assert!([about.formula, about.range, about.source].iter().all(|text| !text.is_empty()), "{about:?}");
    }
    let with_penalty = Adversarial::ALL.into_iter().filter(|kind| kind.about().options.contains("penalty"));
    assert_eq!(with_penalty.collect::<Vec<_>>(), [Adversarial::WganGp]);
    assert!(Adversarial::ALL.iter().all(|kind| kind.about().options.contains("scales = 1: ")));
    Ok(())
}
