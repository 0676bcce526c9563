//! Ranges and frequencies of random changes, and what they leave alone.

use candle_core::Tensor;
use colormamba_data::pillow;
use colormamba_data::{Augmentation, Crop, DataError, ImagePair, NirHsv, Preparation, Protocol, Sample};
use image::imageops::flip_horizontal;
use image::{GrayImage, Luma, Rgb, RgbImage};
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

const RAW: Preparation = Preparation { size: None, protocol: Protocol::Raw, nir_hsv: NirHsv::Gray };

/// Every pixel tells where it comes from: NIR the column, RGB column and row.
fn coordinates(width: u32, height: u32) -> ImagePair {
    ImagePair {
        name: "coordinates".into(),
        nir: GrayImage::from_fn(width, height, |x, _| Luma([x as u8])),
        rgb: RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, 0])),
    }
}

fn train(preparation: &Preparation, pair: &ImagePair, augmentation: &Augmentation, seed: u64) -> Sample {
    preparation.training(pair, augmentation, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap()
}

/// A plane of a `(C, H, W)` tensor in 0..=255.
fn plane(tensor: &Tensor, channel: usize) -> Vec<Vec<f64>> {
    let rows = tensor.get(channel).unwrap().to_vec2::<f32>().unwrap();
    rows.iter().map(|row| row.iter().map(|v| f64::from(*v) * 255.0).collect()).collect()
}

#[test]
fn crops_reach_every_place_and_mirror_half_the_time() {
    let augmentation = Augmentation { mirror: 0.5, contrast: 0.0, crop: Some(Crop::Side(20)), tone: 0.0, size: None };
    let pair = coordinates(24, 26);
    let (mut mirrored, mut places) = (0, std::collections::BTreeSet::new());
    for seed in 0..2000 {
        let sample = train(&RAW, &pair, &augmentation, seed);
        let (nir, x, y) = (plane(&sample.nir, 0), plane(&sample.rgb, 0), plane(&sample.rgb, 1));
        assert_eq!(nir, x, "both images change alike");
        let step = (x[0][1] - x[0][0]).round();
        mirrored += usize::from(step == -1.0);
        let (left, top) = (x[0][0].min(x[0][19]).round(), y[0][0].round());
        for (r, row) in x.iter().enumerate() {
            for (c, value) in row.iter().enumerate() {
                let column = if step > 0.0 { c } else { 19 - c };
                assert_eq!((value.round(), y[r][c].round()), (left + column as f64, top + r as f64));
            }
        }
        places.insert((left as u32, top as u32));
    }
    // 5 columns by 7 rows; binomial(2000, .5) has a standard deviation of 22.
    assert_eq!((places.len(), places.first(), places.last()), (35, Some(&(0, 0)), Some(&(4, 6))));
    assert!((890..=1110).contains(&mirrored), "{mirrored}");
}

#[test]
fn contrast_factor_is_from_a_half_to_three_halves() {
    // Two levels, 25 above and below their mean of 125: the factor is read off the spread.
    let level = |x: u32| 100 + 50 * (x % 2) as u8;
    let pair = ImagePair {
        name: "levels".into(),
        nir: GrayImage::from_fn(8, 8, |x, _| Luma([level(x)])),
        rgb: RgbImage::from_fn(8, 8, |x, _| Rgb([level(x); 3])),
    };
    let augmentation = Augmentation { mirror: 0.0, contrast: 0.5, crop: None, tone: 0.0, size: None };
    let preparation = Preparation { nir_hsv: NirHsv::Published, ..RAW };
    let (mut unchanged, mut low, mut high) = (0, f64::MAX, f64::MIN);
    for seed in 0..2000 {
        let sample = train(&preparation, &pair, &augmentation, seed);
        let nir = plane(&sample.nir, 0);
        assert_eq!((nir[0][0].round(), nir[0][1].round()), (100.0, 150.0), "the gray input keeps its contrast");
        let rgb = plane(&sample.rgb, 0);
        let spread = rgb[0][1].round() - rgb[0][0].round();
        unchanged += usize::from(spread == 50.0);
        (low, high) = (low.min(spread), high.max(spread));
        let value = plane(&sample.nir_hsv, 2);
        let want = rgb[0][0].round() / (rgb[0][1].round() + 1e-3);
        assert!((value[0][0] / 255.0 - want).abs() < 1e-6, "the NIR's HSV has the RGB's contrast, over its maximum");
        assert!(plane(&sample.nir_hsv, 0).iter().chain(&plane(&sample.nir_hsv, 1)).flatten().all(|v| *v == 0.0));
    }
    // Truncation moves the spread by at most one level.
    assert!((25.0..=26.0).contains(&low) && (74.0..=75.0).contains(&high), "{low} {high}");
    assert!((900..=1150).contains(&unchanged), "{unchanged}");
}

#[test]
fn switching_one_change_off_leaves_the_others() {
    let pair = coordinates(24, 26);
    let all = Augmentation { mirror: 0.5, contrast: 0.5, crop: Some(Crop::Side(20)), tone: 0.2, size: None };
    let plain = Augmentation { contrast: 0.0, ..all };
    for seed in 0..20 {
        let (a, b) = (train(&RAW, &pair, &all, seed), train(&RAW, &pair, &plain, seed));
        assert_eq!(plane(&a.nir, 0), plane(&b.nir, 0));
    }
}

#[test]
fn crops_by_share_have_every_side_between_the_two() {
    let augmentation = Augmentation { crop: Some(Crop::Share(0.5, 1.0)), ..Augmentation::none() };
    let pair = coordinates(30, 24);
    let side = |seed| train(&RAW, &pair, &augmentation, seed).rgb.dims()[1];
    let sides: std::collections::BTreeSet<usize> = (0..500).map(side).collect();
    assert_eq!(sides.into_iter().collect::<Vec<_>>(), (12..=24).collect::<Vec<_>>());
    let whole = Augmentation { crop: Some(Crop::Share(1.0, 1.0)), ..Augmentation::none() };
    assert_eq!(train(&RAW, &pair, &whole, 1).nir.dims(), [1, 24, 24]);
    let sized = Augmentation { size: Some(16), ..whole };
    for preparation in [RAW, Preparation { size: Some(20), ..RAW }] {
        assert_eq!(train(&preparation, &pair, &sized, 1).hsv.dims(), [3, 16, 16]);
    }
}

#[test]
fn a_tone_changes_the_nir_image_alone() {
    let augmentation = Augmentation { tone: 0.25, ..Augmentation::none() };
    let pair = coordinates(24, 26);
    let plain = train(&RAW, &pair, &Augmentation::none(), 0);
    let (mut darkest, mut brightest) = (f64::MAX, f64::MIN);
    for seed in 0..500 {
        let sample = train(&RAW, &pair, &augmentation, seed);
        assert_eq!(plane(&sample.rgb, 0), plane(&plain.rgb, 0));
        // ln γ from the one level.
        let (before, after) = (plane(&plain.nir, 0)[0][20], plane(&sample.nir, 0)[0][20]);
        let exponent = ((after / 255.0).ln() / (before / 255.0).ln()).ln();
        (darkest, brightest) = (darkest.min(exponent), brightest.max(exponent));
        assert_eq!(plane(&sample.nir_hsv, 2), plane(&sample.nir, 0), "the NIR's HSV has its tone");
    }
    // A level is rounded, which moves the exponent by some hundredths.
    assert!((-0.28..=-0.22).contains(&darkest) && (0.22..=0.28).contains(&brightest), "{darkest} {brightest}");
}

#[test]
fn no_augmentation_is_the_evaluation() {
    let pair = coordinates(24, 26);
    let preparation = Preparation { size: Some(16), protocol: Protocol::Minmax, nir_hsv: NirHsv::Gray };
    let (a, b) = (train(&preparation, &pair, &Augmentation::none(), 5), preparation.evaluation(&pair).unwrap());
    for (a, b) in [(&a.nir, &b.nir), (&a.nir_hsv, &b.nir_hsv), (&a.rgb, &b.rgb), (&a.hsv, &b.hsv)] {
        assert_eq!(a.dims(), b.dims());
        let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values(a), values(b));
    }
}

#[test]
fn a_nir_image_alone_is_prepared_as_in_a_pair() {
    let pair = coordinates(24, 26);
    for nir_hsv in [NirHsv::Gray, NirHsv::Published] {
        for protocol in [Protocol::Raw, Protocol::Minmax] {
            let preparation = Preparation { size: Some(16), protocol, nir_hsv };
            let sample = preparation.evaluation(&pair).unwrap();
            let (nir, hsv) = preparation.nir(&pair.nir).unwrap();
            assert_eq!((plane(&nir, 0), plane(&hsv, 2)), (plane(&sample.nir, 0), plane(&sample.nir_hsv, 2)));
        }
    }
}

#[test]
fn gray_nir_hsv_carries_the_gray_input() {
    let sample = RAW.evaluation(&coordinates(4, 4)).unwrap();
    assert_eq!(plane(&sample.nir_hsv, 2), plane(&sample.nir, 0));
    assert_eq!(sample.nir.get(0).unwrap().to_vec2::<f32>().unwrap()[0][3], 3.0 / 255.0);
}

#[test]
fn pairs_that_cannot_be_prepared() {
    let mut pair = coordinates(8, 8);
    pair.rgb = RgbImage::new(8, 9);
    let error = RAW.evaluation(&pair).unwrap_err();
    assert!(matches!(error, DataError::SizeMismatch { nir: (8, 8), rgb: (8, 9), .. }), "{error}");
    let error = RAW.nir(&GrayImage::new(0, 4)).unwrap_err();
    assert!(matches!(error, DataError::WrongSize { size: (0, 4), .. }), "{error}");
}

fn any_rgb() -> impl Strategy<Value = RgbImage> {
    (1u32..20, 1u32..20).prop_flat_map(|(w, h)| {
        let values = proptest::collection::vec(any::<u8>(), (w * h * 3) as usize);
        values.prop_map(move |values| RgbImage::from_raw(w, h, values).unwrap())
    })
}

proptest! {
    #[test]
    fn mirroring_twice_changes_nothing(image in any_rgb()) {
        prop_assert_eq!(&flip_horizontal(&flip_horizontal(&image)), &image);
    }

    #[test]
    fn resizing_to_the_same_size_changes_nothing(image in any_rgb()) {
        prop_assert_eq!(&pillow::resize(&image, image.width(), image.height()), &image);
    }

    #[test]
    fn resizing_gives_the_size_and_keeps_a_flat_colour(
        (w, h, to_w, to_h) in (1u32..40, 1u32..40, 1u32..40, 1u32..40),
        colour in any::<[u8; 3]>(),
    ) {
        let flat = pillow::resize(&RgbImage::from_pixel(w, h, Rgb(colour)), to_w, to_h);
        prop_assert_eq!(flat, RgbImage::from_pixel(to_w, to_h, Rgb(colour)));
    }

    #[test]
    fn contrast_one_changes_nothing_and_zero_is_flat(image in any_rgb()) {
        prop_assert_eq!(&pillow::contrast(&image, 1.0), &image);
        let flat = pillow::contrast(&image, 0.0);
        prop_assert!(flat.iter().all(|value| value == flat.iter().next().unwrap()));
    }

    #[test]
    fn crops_fit_or_are_refused((w, h, side) in (1u32..30, 1u32..30, 0u32..35), seed in any::<u64>()) {
        let augmentation = Augmentation { crop: Some(Crop::Side(side)), ..Augmentation::published() };
        let result = RAW.training(&coordinates(w, h), &augmentation, &mut ChaCha8Rng::seed_from_u64(seed));
        match result {
            Ok(sample) => {
                prop_assert!((1..=w.min(h)).contains(&side));
                prop_assert_eq!(sample.rgb.dims(), [3, side as usize, side as usize]);
            }
            Err(error) => {
                let refused = matches!(error, DataError::WrongSize { .. });
                prop_assert!(refused && (side == 0 || side > w.min(h)), "{}", error);
            }
        }
    }
}
