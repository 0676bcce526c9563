//! The VCIP2020 layout, and what is said about folders that do not follow it.

use colormamba_data::{DataError, Dataset, Description, Photographs, Split, Subset, overlaps, twins};
use colormamba_data::{NirHsv, Protocol, read_gray};
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

fn open(root: &Path) -> Result<Photographs, DataError> {
    Photographs::open(&Description::find("vcip2020")?, root, &Subset::published())
}

fn open_error(root: &Path) -> DataError {
    open(root).expect_err("this folder should be refused")
}

fn errors(error: &DataError) -> &[DataError] {
    let DataError::Unusable(errors) = error else { panic!("{error}") };
    errors
}

fn unpaired(error: &DataError) -> &Path {
    let DataError::Unpaired { path } = error else { panic!("{error}") };
    path
}

#[test]
fn splits_and_names() {
    let dir = layout();
    fs::write(dir.path().join("Validation/Thumbs.db"), "stray").unwrap();
    fs::write(dir.path().join("Validation/overview.png"), "stray").unwrap();
    let data = open(dir.path()).unwrap();
    assert_eq!(Split::ALL.map(|split| data.len(split)), [2, 1, 1]);
    assert_eq!(data.pair_name(Split::Train, 0), "country_0000");
    assert_eq!(data.pair_name(Split::Train, 1), "forest_0001");
    assert_eq!(data.pair_name(Split::Test, 0), "testing_0003");
    let pair = data.pair(Split::Test, 0).unwrap();
    assert_eq!(pair.name, "testing_0003");
    assert_eq!((pair.nir.get_pixel(2, 3).0, pair.rgb.get_pixel(2, 3).0), ([35], [2, 3, 7]));
}

#[test]
fn a_number_beyond_the_split() {
    let data = open(layout().path()).unwrap();
    assert_eq!(data.pair_name(Split::Train, 2), "");
    let error = data.pair(Split::Train, 2).unwrap_err();
    assert_eq!(error.to_string(), "no pair 2 in the train split, which has 2");
}

#[test]
fn splits_that_may_be_missing() {
    let dir = layout();
    fs::remove_dir_all(dir.path().join("Testing")).unwrap();
    fs::remove_dir_all(dir.path().join("Validation")).unwrap();
    let data = open(dir.path()).unwrap();
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
    let names: Vec<_> = errors(&error).iter().map(|e| unpaired(e).file_name().unwrap().to_str().unwrap()).collect();
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
        let error = open_error(dir.path());
        let [error] = errors(&error) else { panic!("{error}") };
        assert!(matches!(error, DataError::SameName { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("Forest_0001_nir.png") && text.contains("forest_0001_nir.png"), "{text}");
    }
}

#[test]
fn whatever_is_wrong_is_in_one_list() {
    let dir = layout();
    for file in ["NIR/country_0000_nir.png", "RGB-Registered/country_0000_rgb_reg.png"] {
        let bytes = fs::read(dir.path().join(file)).unwrap();
        fs::write(dir.path().join(file), &bytes[..bytes.len() / 2]).unwrap();
    }
    gray(dir.path(), "NIR/mountain_0001_nir.png", 6);
    colour(dir.path(), "RGB-Registered/mountain_0001_rgb_reg.png", 6);
    colour(dir.path(), "Validation/validation_0000_rgb_reg.png", 6);
    fs::write(dir.path().join("Testing/testing_0009_nir_reg.png"), "not an image").unwrap();
    let error = open_error(dir.path());
    let lines: Vec<String> = errors(&error).iter().map(ToString::to_string).collect();
    let want = [
        ("country_0000_nir.png", "not a readable image"),
        ("country_0000_rgb_reg.png", "not a readable image"),
        ("pair mountain_0001: 6x6 pixels", "the first pair has 8x8"),
        ("pair validation_0000", "NIR is 8x8 but RGB is 6x6; the two must be registered"),
        ("testing_0009_nir_reg.png", "not a readable image"),
        ("testing_0009_nir_reg.png", "no partner"),
    ];
    assert_eq!(lines.len(), want.len(), "{error}");
    for (line, (file, problem)) in lines.iter().zip(want) {
        assert!(line.contains(file) && line.contains(problem), "{line}");
    }
    assert!(error.to_string().starts_with("6 problems with the images:\n"), "{error}");
}

#[test]
fn an_image_that_breaks_later_is_named() {
    let dir = layout();
    let data = open(dir.path()).unwrap();
    let corrupt = dir.path().join("NIR/country_0000_nir.png");
    fs::write(&corrupt, "not an image").unwrap();
    let error = data.pair(Split::Train, 0).unwrap_err();
    assert!(matches!(&error, DataError::Image { path, .. } if *path == corrupt), "{error}");
    colour(dir.path(), "Validation/validation_0000_rgb_reg.png", 6);
    let error = data.pair(Split::Validation, 0).unwrap_err();
    assert_eq!(error.to_string(), "pair validation_0000: NIR is 8x8 but RGB is 6x6; the two must be registered");
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

fn prints(dir: &TempDir) -> [String; 3] {
    let data = open(dir.path()).unwrap();
    Split::ALL.map(|split| data.fingerprint(split))
}

#[test]
fn a_copy_elsewhere_has_the_same_fingerprints() {
    let print = prints(&layout());
    assert_eq!(print, prints(&layout()));
    assert!(print.iter().all(|hex| hex.len() == 64));
    assert!(print[0] != print[1] && print[1] != print[2]);
}

#[test]
fn a_fingerprint_follows_the_names_and_images_of_its_split() {
    let whole = prints(&layout());
    let dir = layout();
    gray(dir.path(), "NIR/field_0000_nir.png", 8);
    colour(dir.path(), "RGB-Registered/field_0000_rgb_reg.png", 8);
    let more = prints(&dir);
    assert_ne!(more[0], whole[0]);
    assert_eq!(more[1..], whole[1..]);
    RgbImage::new(8, 8).save(dir.path().join("Validation/validation_0000_rgb_reg.png")).unwrap();
    let other = prints(&dir);
    assert_ne!(other[1], more[1], "the same names with another image");
    assert_eq!((&other[0], &other[2]), (&more[0], &more[2]));
    fs::remove_dir_all(dir.path().join("Testing")).unwrap();
    let without = prints(&dir);
    assert_ne!(without[2], other[2]);
    assert_eq!(without[..2], other[..2]);
}

/// An image that is nowhere else.
fn own(root: &Path, nir: &str, rgb: &str, value: u8) {
    GrayImage::from_pixel(8, 8, Luma([value])).save(root.join(nir)).unwrap();
    RgbImage::from_pixel(8, 8, Rgb([value; 3])).save(root.join(rgb)).unwrap();
}

#[test]
fn images_of_two_splits_are_told_by_their_pixels() {
    let dir = layout();
    let root = dir.path();
    own(root, "NIR/forest_0001_nir.png", "RGB-Registered/forest_0001_rgb_reg.png", 1);
    own(root, "Validation/validation_0000_nir.png", "Validation/validation_0000_rgb_reg.png", 2);
    own(root, "Testing/testing_0003_nir_reg.png", "Testing/Testing_0003_rgb_reg.png", 3);
    let data = open(root).unwrap();
    assert!(overlaps(&data).is_empty());
    assert_eq!(data.pixels(Split::Train).len(), 2);

    // Other files, the same pixels: with alpha, and as a BMP under another extension.
    let opaque = |path: &str| image::open(root.join(path)).unwrap().into_rgba8();
    opaque("RGB-Registered/forest_0001_rgb_reg.png").save(root.join("Testing/Testing_0003_rgb_reg.png")).unwrap();
    let nir = image::open(root.join("NIR/country_0000_nir.png")).unwrap();
    nir.save_with_format(root.join("Validation/validation_0000_nir.png"), image::ImageFormat::Bmp).unwrap();
    let data = open(root).unwrap();
    let found: Vec<_> = overlaps(&data).into_iter().map(|o| (o.split, o.other, o.pairs)).collect();
    let pair = |a: &str, b: &str| vec![(a.to_string(), b.to_string())];
    let want = [
        (Split::Test, Split::Train, pair("testing_0003", "forest_0001")),
        (Split::Validation, Split::Train, pair("validation_0000", "country_0000")),
    ];
    assert_eq!(found, want);
    assert!(twins((&data, Split::Validation), (&data, Split::Test)).is_empty());
    assert_eq!(twins((&data, Split::Train), (&data, Split::Test)), pair("forest_0001", "testing_0003"));
}

#[test]
fn words() {
    for split in Split::ALL {
        assert_eq!(split.to_string().parse::<Split>().unwrap(), split);
    }
    for protocol in Protocol::ALL {
        assert_eq!(protocol.to_string().parse::<Protocol>().unwrap(), protocol);
    }
    for form in NirHsv::ALL {
        assert_eq!(form.to_string().parse::<NirHsv>().unwrap(), form);
    }
    let error = "tset".parse::<Split>().unwrap_err();
    assert_eq!(error.to_string(), "unknown split `tset`, expected one of: train, validation, test");
    let error = "Raw".parse::<Protocol>().unwrap_err();
    assert_eq!(error.to_string(), "unknown protocol `Raw`, expected one of: raw, minmax");
    let error = "grey".parse::<NirHsv>().unwrap_err();
    assert_eq!(error.to_string(), "unknown nir_hsv `grey`, expected one of: gray, published");
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
    let data = open(Path::new(&root)).unwrap();
    assert_eq!((data.len(Split::Train), data.len(Split::Validation)), (372, 18));
    let described = description();
    for split in [Split::Train, Split::Validation, Split::Test] {
        let pairs = described["split"][&split.to_string()]["pairs"].as_integer().unwrap() as usize;
        assert!(data.len(split) == pairs || (split == Split::Test && data.len(split) == 0), "{split}");
    }
    let splits = [Split::Train, Split::Validation];
    let known = splits.map(|split| described["blake3"][&split.to_string()].as_str().unwrap().to_string());
    assert_eq!(splits.map(|split| data.fingerprint(split)), known);
    assert_eq!(data.pair(Split::Validation, 17).unwrap().rgb.dimensions(), (256, 256));
}
