//! The generated scenes: reproducible, of any size, plausible, and no mere function of the near-infrared level.

use std::path::Path;

use colormamba_data::synthetic::write_vcip_layout;
use colormamba_data::{DataError, Dataset, ImagePair, Split, Synthetic, SyntheticConfig};

fn dataset(seed: u64, width: u32, height: u32) -> Synthetic {
    Synthetic::new(SyntheticConfig { seed, width, height, train: 64, validation: 3, test: 32 }).unwrap()
}

fn pairs(data: &Synthetic, split: Split, count: usize) -> Vec<ImagePair> {
    (0..count).map(|index| data.pair(split, index).unwrap()).collect()
}

/// NIR level and colour of each pixel.
fn pixels(pair: &ImagePair) -> impl Iterator<Item = (u8, [f64; 3])> {
    pair.nir.pixels().zip(pair.rgb.pixels()).map(|(nir, rgb)| (nir.0[0], rgb.0.map(f64::from)))
}

fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / values.len() as f64;
    (mean, variance.sqrt())
}

#[test]
fn scenes_are_the_same_bytes_everywhere_and_always() {
    let mut hasher = blake3::Hasher::new();
    for pair in pairs(&dataset(1, 48, 40), Split::Train, 10) {
        hasher.update(pair.nir.as_raw()).update(pair.rgb.as_raw());
    }
    // A change here changes every result on synthetic data: raise the version in the fingerprint with it.
    assert_eq!(hasher.finalize().to_hex().as_str(), "66f7014a7c0ed3eac14934a135a7a7bafb7b7e434808d504db77ce0c435d9e8b");
}

#[test]
fn a_scene_depends_on_seed_split_and_number_alone() {
    let (data, other) = (dataset(1, 32, 32), dataset(2, 32, 32));
    let more = Synthetic::new(SyntheticConfig { seed: 1, width: 32, height: 32, train: 900, validation: 0, test: 32 });
    assert_eq!(data.pair(Split::Train, 5).unwrap(), more.unwrap().pair(Split::Train, 5).unwrap());
    let scene = data.pair(Split::Train, 1).unwrap();
    for different in [data.pair(Split::Train, 2), data.pair(Split::Test, 1), other.pair(Split::Train, 1)] {
        let different = different.unwrap();
        assert_ne!(scene.nir, different.nir);
        assert_ne!(scene.rgb, different.rgb);
    }
}

#[test]
fn a_fingerprint_is_of_what_makes_its_split() {
    let print = |data: &Synthetic| Split::ALL.map(|split| data.fingerprint(split));
    let data = print(&dataset(1, 32, 32));
    assert_eq!(data, print(&dataset(1, 32, 32)));
    assert!(data[0] != data[2]);
    for other in [dataset(2, 32, 32), dataset(1, 32, 40)] {
        assert!(data.iter().zip(print(&other)).all(|(a, b)| *a != b));
    }
    let config = SyntheticConfig { seed: 1, width: 32, height: 32, train: 65, validation: 3, test: 32 };
    let more = print(&Synthetic::new(config).unwrap());
    assert_ne!(data[0], more[0]);
    assert_eq!(data[1..], more[1..]);
}

#[test]
fn any_size_from_eight_on_works() {
    for (width, height) in [(8, 8), (9, 31), (33, 17), (8, 200), (200, 8), (64, 63)] {
        let data = dataset(3, width, height);
        for pair in pairs(&data, Split::Train, 12) {
            assert_eq!((pair.nir.dimensions(), pair.rgb.dimensions()), ((width, height), (width, height)));
        }
    }
    let small = SyntheticConfig { seed: 0, width: 64, height: 7, train: 1, validation: 1, test: 1 };
    assert!(matches!(Synthetic::new(small), Err(DataError::WrongSize { size: (64, 7), .. })));
}

#[test]
fn names_and_lengths_follow_the_configuration() {
    let data = dataset(0, 8, 8);
    assert_eq!(Split::ALL.map(|split| data.len(split)), [64, 3, 32]);
    assert_eq!(data.pair_name(Split::Train, 7), "synthetic_0007");
    assert_eq!(data.pair(Split::Train, 7).unwrap().name, "synthetic_0007");
    assert_eq!(data.pair_name(Split::Validation, 2), "validation_0002");
    assert_eq!(data.pair_name(Split::Test, 31), "testing_0031");
    assert_eq!(data.pair_name(Split::Validation, 3), "");
    let missing = data.pair(Split::Validation, 3);
    assert!(matches!(missing, Err(DataError::Index { split: Split::Validation, index: 3, len: 3 })));
}

#[test]
fn brightness_and_contrast_are_those_of_photographs() {
    let mut means = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    for pair in pairs(&dataset(4, 64, 64), Split::Train, 50) {
        for (band, means) in means.iter_mut().enumerate() {
            let values: Vec<f64> =
                pixels(&pair).map(|(nir, rgb)| if band < 3 { rgb[band] } else { f64::from(nir) }).collect();
            let (mean, deviation) = mean_and_deviation(&values);
            assert!((45.0..190.0).contains(&mean), "{} band {band}: mean {mean}", pair.name);
            assert!(deviation > 10.0, "{} band {band}: deviation {deviation}", pair.name);
            means.push(mean);
        }
    }
    for means in means {
        let (mean, deviation) = mean_and_deviation(&means);
        assert!((85.0..135.0).contains(&mean) && deviation > 5.0, "{mean} ± {deviation}");
    }
}

#[test]
fn green_is_bright_and_clear_sky_dark_in_the_near_infrared() {
    let (mut green, mut blue) = (Vec::new(), Vec::new());
    for pair in pairs(&dataset(5, 64, 64), Split::Train, 50) {
        for (nir, [r, g, b]) in pixels(&pair) {
            if g > 1.15 * r && g > 1.3 * b {
                green.push(f64::from(nir) - r);
            } else if b > 1.3 * g && b > 120.0 {
                blue.push(f64::from(nir) - b);
            }
        }
    }
    assert!(green.len() > 5_000 && blue.len() > 5_000, "{} {}", green.len(), blue.len());
    let (green, blue) = (mean_and_deviation(&green).0, mean_and_deviation(&blue).0);
    assert!(green > 40.0, "vegetation: NIR - R = {green}");
    assert!(blue < -60.0, "sky and water: NIR - B = {blue}");
}

#[test]
fn colour_is_no_function_of_the_near_infrared_level() {
    let data = dataset(6, 64, 64);
    let train = pairs(&data, Split::Train, 64);
    let (mut table, mut total) = (vec![([0.0; 3], 0.0); 256], ([0.0; 3], 0.0));
    for (nir, rgb) in train.iter().flat_map(pixels) {
        for (sum, count) in [&mut table[usize::from(nir)], &mut total] {
            (0..3).for_each(|band| sum[band] += rgb[band]);
            *count += 1.0;
        }
    }
    let mean = total.0.map(|sum| sum / total.1);
    let looked_up = |nir: u8| {
        let (sum, count) = table[usize::from(nir)];
        if count > 0.0 { sum.map(|sum| sum / count) } else { mean }
    };
    let test = pairs(&data, Split::Test, 32);
    let error = |predict: &dyn Fn(u8) -> [f64; 3]| {
        let squares = test.iter().flat_map(pixels).map(|(nir, rgb)| {
            let guess = predict(nir);
            (0..3).map(|band| (guess[band] - rgb[band]).powi(2)).sum::<f64>() / 3.0
        });
        (squares.sum::<f64>() / (32.0 * 64.0 * 64.0)).sqrt() / 255.0
    };
    let (copy, flat, lookup) = (error(&|nir| [f64::from(nir); 3]), error(&|_| mean), error(&looked_up));
    println!("RMSE: NIR copied {copy:.3}, mean colour {flat:.3}, lookup table {lookup:.3}");
    assert!(copy > 0.15, "NIR copied: {copy}");
    assert!(lookup < 0.97 * flat && lookup < 0.9 * copy, "lookup {lookup}, mean colour {flat}, NIR copied {copy}");
    assert!(lookup > 0.1, "lookup table: {lookup}");
}

#[test]
fn the_written_layout_reads_back_the_same_pixels() {
    let data = Synthetic::new(SyntheticConfig { seed: 9, width: 20, height: 12, train: 3, validation: 2, test: 1 });
    let (data, dir) = (data.unwrap(), tempfile::tempdir().unwrap());
    // Twice: files that are there already are replaced.
    for _ in 0..2 {
        assert_eq!(write_vcip_layout(&data, dir.path()).unwrap(), 6);
    }
    let check = |split, index, nir: &str, rgb: &str| {
        let pair = data.pair(split, index).unwrap();
        let read = |name: &str| image::open(dir.path().join(name)).unwrap();
        assert_eq!(read(nir).as_luma8(), Some(&pair.nir));
        assert_eq!(read(rgb).as_rgb8(), Some(&pair.rgb));
    };
    check(Split::Train, 2, "NIR/synthetic_0002_nir.png", "RGB-Registered/synthetic_0002_rgb_reg.png");
    check(Split::Validation, 1, "Validation/validation_0001_nir.png", "Validation/validation_0001_rgb_reg.png");
    check(Split::Test, 0, "Testing/testing_0000_nir_reg.png", "Testing/Testing_0000_rgb_reg.png");
    let files = |folder: &str| std::fs::read_dir(dir.path().join(folder)).unwrap().count();
    assert_eq!(["NIR", "RGB-Registered", "Validation", "Testing"].map(files), [3, 3, 4, 2]);
}

#[test]
fn writing_where_it_cannot_be_done_is_an_error_with_the_path() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = write_vcip_layout(&dataset(0, 8, 8), file.path()).unwrap_err();
    let inside = |path: &Path| path.starts_with(file.path());
    assert!(matches!(&error, DataError::Io { path, .. } if inside(path)), "{error}");
}
