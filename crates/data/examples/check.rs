//! `check DATASET DIR [SUBSET]`: prints what [`colormamba_data::check`] finds, as text or, with `--json`, as JSON.

use colormamba_data::check::check;
use colormamba_data::{Description, Subset};
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (flags, words): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|word| word.starts_with("--"));
    let [dataset, folder, subset @ ..] = words.as_slice() else {
        return Err("usage: check DATASET DIR [SUBSET] [--json]".into());
    };
    let subset = subset.first().map_or(Ok(Subset::published()), |word| word.parse())?;
    let report = check(&Description::find(dataset)?, Path::new(folder), &subset, &mut |_, _| ())?;
    if flags.iter().any(|flag| flag == "--json") {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}
