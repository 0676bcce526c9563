//! The measures beside other implementations and published values, as `docs/conformance.md` lists them.

#[path = "../examples/conformance/computed.rs"]
mod computed;
#[path = "../examples/conformance/constants.rs"]
mod constants;
#[path = "../examples/conformance/golden.rs"]
mod golden;
#[path = "../examples/conformance/numpy_random.rs"]
mod numpy_random;
#[path = "../examples/conformance/page.rs"]
mod page;
#[path = "../examples/conformance/published.rs"]
mod published;
#[path = "../examples/conformance/section.rs"]
mod section;
#[path = "../examples/conformance/sharma.rs"]
mod sharma;

use colormamba_metrics::{Image, Measure, Pair, ciede2000, ssim_windowed};
use section::{Chapter, Outcome, Row};
use std::sync::LazyLock;

/// Computed once: LPIPS takes seconds.
static CHAPTERS: LazyLock<Vec<Chapter>> = LazyLock::new(|| page::chapters().expect("the fixtures are there"));

#[test]
fn every_value_is_within_its_tolerance() {
    let mut values = 0;
    for section in CHAPTERS.iter().flat_map(|chapter| &chapter.sections) {
        for Row { name, ours, theirs } in &section.rows {
            let (subject, against) = (&section.subject, &section.against);
            println!("{:.1e} {subject} of {name}", (ours - theirs).abs());
            assert!(
                (ours - theirs).abs() <= section.tolerance,
                "{subject} of {name}: {ours}, but {theirs} by {against}"
            );
            values += 1;
        }
    }
    assert_eq!(values, 14 * 5 + 2 * 5 + 2 * 5 + 9 * 5 + 5 + 3 + 34);
}

#[test]
fn only_the_sliced_distance_stands_beside_no_value_of_others() {
    assert_eq!(page::alone(&CHAPTERS), [Measure::MS_SWD]);
}

#[test]
fn the_committed_page_is_what_the_example_prints() -> Outcome<()> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/conformance.md");
    assert!(
        std::fs::read_to_string(path)? == page::page(&CHAPTERS)?,
        "docs/conformance.md is not what the example prints"
    );
    Ok(())
}

#[test]
fn colour_differences_are_symmetric() {
    for [l1, a1, b1, l2, a2, b2, _] in sharma::PAIRS {
        assert_eq!(ciede2000([l1, a1, b1], [l2, a2, b2]), ciede2000([l2, a2, b2], [l1, a1, b1]));
    }
}

/// Why the rounded window is not the measure's.
#[test]
fn under_the_rounded_window_constants_miss_their_value() -> Outcome<()> {
    let (a, b) = (Image::new(&[0.25; 3 * 256], 16, 16)?, Image::new(&[0.75; 3 * 256], 16, 16)?);
    let value = ssim_windowed(&Pair::new(&a, &b)?, &golden::rounded_taps())?;
    assert!((value - 0.600064).abs() > 5e-6 && (value - 0.600064).abs() < 2e-5, "{value}");
    Ok(())
}
