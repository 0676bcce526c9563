//! Spec strings and their parser.

use colormamba_metrics::{Measure, MetricError};
use proptest::prelude::*;

#[test]
fn every_spec_parses_to_its_measure() {
    for measure in Measure::ALL {
        assert_eq!(measure.spec().parse::<Measure>(), Ok(measure));
        assert!(!measure.label().is_empty());
    }
}

#[test]
fn specs_and_labels_differ() {
    for text in [Measure::spec, |measure: Measure| measure.label().to_string()] {
        let mut texts: Vec<String> = Measure::ALL.into_iter().map(text).collect();
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), Measure::ALL.len());
    }
}

#[test]
fn the_tables_columns_come_first() {
    assert_eq!(Measure::ALL[..3], Measure::TABLE);
}

#[test]
fn an_unknown_spec_names_the_nearest() {
    let error = "ms_ssim[gauss11]".parse::<Measure>().unwrap_err();
    let message = "no measure is called `ms_ssim[gauss11]`, did you mean `ms_ssim[gauss11,sigma1.5,rgb,L=1]`?";
    assert_eq!(error.to_string(), message);
    let error = "???".parse::<Measure>().unwrap_err();
    assert_eq!(error.to_string(), "no measure is called `???`");
}

proptest! {
    #[test]
    fn any_text_is_a_measure_or_an_error(text in ".{0,80}") {
        match text.parse::<Measure>() {
            Ok(measure) => prop_assert_eq!(measure.spec(), text),
            Err(MetricError::Unknown { name, .. }) => prop_assert_eq!(name, text),
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}
