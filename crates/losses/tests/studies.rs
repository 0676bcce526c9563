//! Whole losses of the literature against their golden values.

use crate::common::{Outcome, check_golden, check_golden_samples};
use colormamba_losses::{Preset, Term};

/// A preset's terms on RGB without its mean squared error, in units of what they are scaled with.
fn reconstruction(preset: &str) -> Result<Vec<(Term, f64)>, Box<dyn std::error::Error>> {
    let terms = Preset::named(preset)?.rgb.into_iter().filter(|(term, _)| *term != Term::Mse {});
    Ok(terms.map(|(term, weight)| (term, weight / 2000.0)).collect())
}

#[test]
fn published_reconstruction_loss() -> Outcome {
    check_golden("reconstruction_original", &reconstruction("colormamba")?, 2e-5, 2e-5)
}

#[test]
fn combined_loss_of_the_thesis() -> Outcome {
    check_golden_samples("combined_thesis", &reconstruction("thesis-combined")?, 1e-5, 1e-4)?;
    Ok(())
}
