//! Summaries of a data set.

use colormamba_metrics::Summary;

#[test]
fn numbers_of_a_small_sample() {
    let summary = Summary::of(&[4.0, 1.0, 3.0, 2.0]).unwrap();
    assert_eq!((summary.mean, summary.median, summary.n), (2.5, 2.5, 4));
    assert!((summary.sd - (5.0f64 / 3.0).sqrt()).abs() < 1e-15);
    assert_eq!(Summary::of(&[5.0, 1.0, 2.0]).unwrap().median, 2.0);
    assert_eq!(Summary::of(&[]), None);
}

#[test]
fn the_interval_is_that_of_the_normal_law_for_many_values() {
    let values: Vec<f64> = (0..400).map(|i| (i * 7919 % 400) as f64).collect();
    let summary = Summary::of(&values).unwrap();
    let [low, high] = summary.interval.unwrap();
    let half = 1.96 * summary.sd / 20.0;
    assert!((low - (summary.mean - half)).abs() < 0.05 * half, "{low}");
    assert!((high - (summary.mean + half)).abs() < 0.05 * half, "{high}");
    assert_eq!(Summary::of(&values).unwrap(), summary);
}

#[test]
fn equal_values_have_no_spread() {
    let summary = Summary::of(&[0.5; 7]).unwrap();
    assert_eq!((summary.sd, summary.interval), (0.0, Some([0.5, 0.5])));
}

#[test]
fn one_value_has_no_spread_to_speak_of() {
    let summary = Summary::of(&[3.0]).unwrap();
    assert_eq!((summary.mean, summary.median, summary.interval), (3.0, 3.0, None));
    assert!(summary.sd.is_nan());
}

#[test]
fn an_infinite_value_stays() {
    let summary = Summary::of(&[20.0, f64::INFINITY, 30.0]).unwrap();
    assert_eq!((summary.mean, summary.median, summary.interval), (f64::INFINITY, 30.0, None));
    assert!(summary.sd.is_nan());
    assert_eq!(Summary::of(&[f64::INFINITY; 2]).unwrap().median, f64::INFINITY);
}

#[test]
fn a_nan_is_not_hidden() {
    let summary = Summary::of(&[1.0, f64::NAN, 3.0]).unwrap();
    assert!(summary.mean.is_nan() && summary.median.is_nan() && summary.sd.is_nan());
    assert_eq!(summary.interval, None);
}
