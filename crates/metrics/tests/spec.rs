//! Specs, short names and their parser.

use colormamba_metrics::{Measure, MetricError};
use proptest::prelude::*;

#[test]
fn every_spec_and_every_name_parses_to_its_measure() {
    for &measure in Measure::ALL {
        assert_eq!(measure.spec().parse(), Ok(measure));
        assert_eq!(measure.definition().name.parse(), Ok(measure));
        assert!(!measure.label().is_empty());
    }
    assert_eq!("ssim".parse(), Ok(Measure::SSIM_UNIFORM7));
    assert_eq!("ae".parse(), Ok(Measure::ANGULAR_PUBLISHED));
    assert_eq!("ciede2000".parse(), Ok(Measure::CIEDE2000_MEAN));
}

#[test]
fn specs_names_and_labels_differ() {
    for text in [Measure::spec, Measure::label, |measure: Measure| measure.definition().name] {
        let mut texts: Vec<&str> = Measure::ALL.iter().copied().map(text).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), Measure::ALL.len());
    }
}

#[test]
fn specs_are_those_of_recorded_scores() {
    // Files of scores hold them: a changed one is another measure.
    let specs = [
        "psnr[rgb,L=1]",
        "ssim[uniform7,sample-covariance,rgb,L=1]",
        "ae[published,deg]",
        "mae[rgb,L=1]",
        "rmse[rgb,L=1]",
        "ssim[gauss11,sigma1.5,valid,rgb,L=1]",
        "ssim[mcfnet]",
        "ms_ssim[gauss11,sigma1.5,rgb,L=1]",
        "ae[exact,deg]",
        "ciede2000[srgb,D65,mean]",
        "ciede2000[srgb,D65,p95]",
        "hue[cielab,chroma-weighted,deg]",
        "colourfulness[hasler-susstrunk,rgb,L=1]",
        "colourfulness-difference[hasler-susstrunk,rgb,L=1]",
        "gmsd[yiq-luma,half-size,prewitt,c=170/255²]",
        "fsim[yiq-luma,log-gabor4x4,scharr,L=255]",
        "fsimc[yiq,log-gabor4x4,scharr,L=255]",
        "vifp[bt601-luma,scales4,noise2,L=255]",
        "haarpsi[yiq,half-size,c=30,alpha=4.2,L=255]",
        "ms-swd[laplacian,patch7,rgb,seed=0,patches=128,projections=128]",
        "sharpness[gradient-ratio,bt601-luma,sobel]",
        "spectral-slope[difference,bt601-luma,hann]",
    ];
    assert_eq!(Measure::ALL.iter().map(|measure| measure.spec()).collect::<Vec<_>>(), specs);
}

#[test]
fn the_tables_columns_come_first() {
    assert_eq!(Measure::ALL[..3], Measure::TABLE);
}

#[test]
fn an_unknown_name_is_told_the_nearest() {
    let error = |name: &str| name.parse::<Measure>().unwrap_err().to_string();
    let message = "no measure is called `ms_ssim[gauss11]`, did you mean `ms_ssim[gauss11,sigma1.5,rgb,L=1]`?";
    assert_eq!(error("ms_ssim[gauss11]"), message);
    assert_eq!(error("pnsr"), "no measure is called `pnsr`, did you mean `psnr`?");
    assert_eq!(error("???"), "no measure is called `???`");
}

proptest! {
    #[test]
    fn any_text_is_a_measure_or_an_error(text in ".{0,80}") {
        match text.parse::<Measure>() {
            Ok(measure) => prop_assert!(measure.spec() == text || measure.definition().name == text),
            Err(MetricError::Unknown { name, .. }) => prop_assert_eq!(name, text),
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}
