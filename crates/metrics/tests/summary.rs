//! Summaries of a data set.

use colormamba_metrics::Summary;

#[test]
fn numbers_of_a_small_sample() {
    let summary = Summary::of(&[4.0, 1.0, 3.0, 2.0]).unwrap();
    assert_eq!((summary.mean, summary.median, summary.n), (2.5, 2.5, 4));
    assert!((summary.sd.unwrap() - (5.0f64 / 3.0).sqrt()).abs() < 1e-15);
    assert_eq!(Summary::of(&[5.0, 1.0, 2.0]).unwrap().median, 2.0);
    assert_eq!(Summary::of(&[]), None);
}

#[test]
fn the_interval_is_that_of_the_normal_law_for_many_values() {
    let values: Vec<f64> = (0..400).map(|i| (i * 7919 % 400) as f64).collect();
    let summary = Summary::of(&values).unwrap();
    let [low, high] = summary.interval.unwrap();
    let half = 1.96 * summary.sd.unwrap() / 20.0;
    assert!((low - (summary.mean - half)).abs() < 0.05 * half, "{low}");
    assert!((high - (summary.mean + half)).abs() < 0.05 * half, "{high}");
    assert_eq!(Summary::of(&values).unwrap(), summary);
}

#[test]
fn equal_values_have_no_spread() {
    let summary = Summary::of(&[0.5; 7]).unwrap();
    assert_eq!((summary.sd, summary.interval), (Some(0.0), Some([0.5, 0.5])));
}

#[test]
fn one_value_has_no_spread_to_speak_of() {
    let summary = Summary::of(&[3.0]).unwrap();
    assert_eq!((summary.mean, summary.median, summary.interval), (3.0, 3.0, None));
    assert_eq!(summary.sd, None);
}

#[test]
fn an_infinite_value_is_counted_and_left_out() {
    let summary = Summary::of(&[20.0, f64::INFINITY, 30.0]).unwrap();
    assert_eq!((summary.mean, summary.median, summary.n, summary.infinite), (25.0, 25.0, 3, 1));
    assert_eq!(summary.sd, Summary::of(&[20.0, 30.0]).unwrap().sd);
    assert!(summary.interval.is_some_and(|interval| interval.iter().all(|bound| bound.is_finite())));
    let equal = Summary::of(&[f64::INFINITY; 2]).unwrap();
    assert_eq!((equal.mean, equal.median, equal.sd, equal.infinite), (f64::INFINITY, f64::INFINITY, None, 2));
}

#[test]
fn a_nan_is_not_hidden() {
    let summary = Summary::of(&[1.0, f64::NAN, 3.0]).unwrap();
    assert!(summary.mean.is_nan() && summary.median.is_nan() && summary.sd.is_some_and(f64::is_nan));
    assert_eq!(summary.interval, None);
}
