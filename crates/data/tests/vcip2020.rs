//! The VCIP2020 layout, and what is said about folders that do not follow it.

use colormamba_data::{DataError, Dataset, Protocol, Split, Vcip2020, read_gray};
use image::{GrayImage, Luma, Rgb, RgbImage};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn gray(root: &Path, file: &str, side: u32) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    GrayImage::from_fn(side, side, |x, y| Luma([(16 * x + y) as u8])).save(path).unwrap();
}

fn colour(root: &Path, file: &str, side: u32) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::from_fn(side, side, |x, y| Rgb([x as u8, y as u8, 7])).save(path).unwrap();
}

fn layout() -> TempDir {
    let dir = TempDir::new().unwrap();
    for name in ["forest_0001", "country_0000"] {
        gray(dir.path(), &format!("NIR/{name}_nir.png"), 8);
        colour(dir.path(), &format!("RGB-Registered/{name}_rgb_reg.png"), 8);
    }
    gray(dir.path(), "Validation/validation_0000_nir.png", 8);
    colour(dir.path(), "Validation/validation_0000_rgb_reg.png", 8);
    gray(dir.path(), "Testing/testing_0003_nir_reg.png", 8);
    colour(dir.path(), "Testing/Testing_0003_rgb_reg.png", 8);
    dir
}

fn open_error(root: &Path) -> DataError {
    Vcip2020::open(root).expect_err("this folder should be refused")
}

#[test]
fn splits_and_names() {
    let dir = layout();
    fs::write(dir.path().join("Validation/Thumbs.db"), "stray").unwrap();
    fs::write(dir.path().join("Validation/overview.png"), "stray").unwrap();
    let data = Vcip2020::open(dir.path()).unwrap();
    assert_eq!(Split::ALL.map(|split| data.len(split)), [2, 1, 1]);
    assert_eq!(data.pair_name(Split::Train, 0), "country_0000");
    assert_eq!(data.pair_name(Split::Train, 1), "forest_0001");
    assert_eq!(data.pair_name(Split::Test, 0), "testing_0003");
    let pair = data.pair(Split::Test, 0).unwrap();
    assert_eq!(pair.name, "testing_0003");
    assert_eq!((pair.nir.get_pixel(2, 3).0, pair.rgb.get_pixel(2, 3).0), ([35], [2, 3, 7]));
    data.verify().unwrap();
}

#[test]
fn a_number_beyond_the_split() {
    let data = Vcip2020::open(layout().path()).unwrap();
    assert_eq!(data.pair_name(Split::Train, 2), "");
    let error = data.pair(Split::Train, 2).unwrap_err();
    assert_eq!(error.to_string(), "no pair 2 in the train split, which has 2");
}

#[test]
fn splits_that_may_be_missing() {
    let dir = layout();
    fs::remove_dir_all(dir.path().join("Testing")).unwrap();
    fs::remove_dir_all(dir.path().join("Validation")).unwrap();
    let data = Vcip2020::open(dir.path()).unwrap();
    assert_eq!(Split::ALL.map(|split| data.len(split)), [2, 0, 0]);
}

#[test]
fn missing_and_empty_folders() {
    let dir = layout();
    fs::remove_dir_all(dir.path().join("RGB-Registered")).unwrap();
    let error = open_error(dir.path());
    assert!(matches!(&error, DataError::MissingFolder { path, .. } if path.ends_with("RGB-Registered")), "{error}");
    let message = error.to_string();
    assert!(message.contains("NIR/*_nir.png") && message.contains("datasets/vcip2020.toml"), "{message}");
    let empty = TempDir::new().unwrap();
    fs::create_dir(empty.path().join("NIR")).unwrap();
    fs::create_dir(empty.path().join("RGB-Registered")).unwrap();
    assert!(matches!(open_error(empty.path()), DataError::NoPairs { .. }));
}

#[test]
fn every_unpaired_image_is_listed() {
    let dir = layout();
    gray(dir.path(), "NIR/field_0005_nir.png", 8);
    gray(dir.path(), "NIR/field_0006_nir.png", 8);
    colour(dir.path(), "RGB-Registered/mountain_0002_rgb_reg.png", 8);
    fs::remove_file(dir.path().join("Validation/validation_0000_nir.png")).unwrap();
    gray(dir.path(), "Testing/testing_0009_nir_reg.png", 8);
    let error = open_error(dir.path());
    let DataError::Unpaired(paths) = &error else { panic!("{error}") };
    let names: Vec<_> = paths.iter().map(|p| p.file_name().unwrap().to_str().unwrap()).collect();
    let want = [
        "field_0005_nir.png",
        "field_0006_nir.png",
        "mountain_0002_rgb_reg.png",
        "validation_0000_rgb_reg.png",
        "testing_0009_nir_reg.png",
    ];
    assert_eq!(names, want);
    assert!(want.iter().all(|name| error.to_string().contains(name)), "{error}");
}

#[test]
fn names_that_differ_in_case_alone() {
    let dir = layout();
    gray(dir.path(), "NIR/Forest_0001_nir.png", 8);
    // A file system that ignores case holds one file here, and the set is whole.
    if fs::read_dir(dir.path().join("NIR")).unwrap().count() == 3 {
        assert!(matches!(open_error(dir.path()), DataError::Unpaired(paths) if paths.len() == 1));
    }
}

#[test]
fn corrupt_and_misfit_images_are_all_named() {
    let dir = layout();
    let corrupt = dir.path().join("NIR/country_0000_nir.png");
    let bytes = fs::read(&corrupt).unwrap();
    fs::write(&corrupt, &bytes[..bytes.len() / 2]).unwrap();
    fs::write(dir.path().join("Testing/Testing_0003_rgb_reg.png"), "not an image").unwrap();
    colour(dir.path(), "Validation/validation_0000_rgb_reg.png", 6);
    let data = Vcip2020::open(dir.path()).unwrap();

    let error = data.pair(Split::Train, 0).unwrap_err();
    assert!(matches!(&error, DataError::Decode { path, .. } if *path == corrupt), "{error}");
    assert!(error.to_string().contains("country_0000_nir.png"), "{error}");
    let error = data.pair(Split::Validation, 0).unwrap_err();
    assert_eq!(error.to_string(), "pair validation_0000: NIR is 8x8 but RGB is 6x6; the two must be registered");

    let error = data.verify().unwrap_err();
    let DataError::Unusable(errors) = &error else { panic!("{error}") };
    assert!(
        matches!(errors[..], [DataError::Decode { .. }, DataError::SizeMismatch { .. }, DataError::Decode { .. }]),
        "{error}"
    );
    assert!(error.to_string().starts_with("3 image pairs cannot be used:\n"), "{error}");
}

#[test]
fn verify_wants_one_size() {
    let dir = layout();
    gray(dir.path(), "NIR/forest_0001_nir.png", 6);
    colour(dir.path(), "RGB-Registered/forest_0001_rgb_reg.png", 6);
    let error = Vcip2020::open(dir.path()).unwrap().verify().unwrap_err();
    assert!(error.to_string().contains("pair forest_0001: 6x6 pixels, but the first pair has 8x8"), "{error}");
}

#[test]
fn a_missing_file_is_named() {
    let error = read_gray("no/such/file.png").unwrap_err();
    assert!(matches!(error, DataError::Io { .. }) && error.to_string().contains("no/such/file.png"), "{error}");
}

#[test]
fn colour_read_as_gray_is_pillows_luma() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("green.png");
    RgbImage::from_pixel(2, 2, Rgb([0, 255, 0])).save(&path).unwrap();
    // Rec. 601: .587 * 255 = 149.7; by Rec. 709 it would be 182.
    assert_eq!(read_gray(&path).unwrap().get_pixel(0, 0).0, [150]);
}

#[test]
fn fingerprint_follows_the_names() {
    let (a, b) = (layout(), layout());
    let print = |dir: &TempDir| Vcip2020::open(dir.path()).unwrap().fingerprint();
    assert_eq!(print(&a), print(&b));
    assert_eq!(print(&a).len(), 64);
    gray(b.path(), "NIR/field_0000_nir.png", 8);
    colour(b.path(), "RGB-Registered/field_0000_rgb_reg.png", 8);
    assert_ne!(print(&a), print(&b));
}

#[test]
fn words() {
    for split in Split::ALL {
        assert_eq!(split.to_string().parse::<Split>().unwrap(), split);
    }
    for protocol in [Protocol::Raw, Protocol::Minmax] {
        assert_eq!(protocol.to_string().parse::<Protocol>().unwrap(), protocol);
    }
    let error = "tset".parse::<Split>().unwrap_err();
    assert_eq!(error.to_string(), "unknown split `tset`, expected one of: train, validation, test");
    let error = "Raw".parse::<Protocol>().unwrap_err();
    assert_eq!(error.to_string(), "unknown protocol `Raw`, expected one of: raw, minmax");
}

/// `datasets/vcip2020.toml`.
fn description() -> toml::Table {
    include_str!("../../../datasets/vcip2020.toml").parse().unwrap()
}

#[test]
fn the_description_says_what_is_needed() {
    let described = description();
    for key in ["terms", "origin", "citation", "split", "blake3"] {
        assert!(described[key].as_table().is_some_and(|table| !table.is_empty()), "{key}");
    }
    let pairs = Split::ALL.map(|split| described["split"][&split.to_string()]["pairs"].as_integer());
    assert_eq!(pairs, [Some(372), Some(18), Some(28)]);
}

/// The real set; its terms do not allow to ship it.
#[test]
fn the_real_set() {
    let Some(root) = std::env::var_os("VCIP2020_DIR") else {
        println!("skipped: VCIP2020_DIR is not set");
        return;
    };
    let data = Vcip2020::open(Path::new(&root)).unwrap();
    assert_eq!((data.len(Split::Train), data.len(Split::Validation)), (372, 18));
    let described = description();
    for split in [Split::Train, Split::Validation, Split::Test] {
        let pairs = described["split"][&split.to_string()]["pairs"].as_integer().unwrap() as usize;
        assert!(data.len(split) == pairs || (split == Split::Test && data.len(split) == 0), "{split}");
    }
    if data.len(Split::Test) == 0 {
        assert_eq!(Some(data.fingerprint().as_str()), described["blake3"]["names_without_testing"].as_str());
    }
    data.verify().unwrap();
    assert_eq!(data.pair(Split::Validation, 17).unwrap().rgb.dimensions(), (256, 256));
}
