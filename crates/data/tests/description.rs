//! Descriptions of datasets: those that come with the library, a user's own, and what is said about wrong ones.

use colormamba_data::{DataError, Dataset, Description, Photographs, Split, Subset, read_gray, read_rgb};
use image::{DynamicImage, GrayImage, ImageBuffer, Luma, Rgb, RgbImage};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const SMALL: &str = r#"
name = "own"
title = "t"
format = "f"
[terms]
text = "t"
[origin]
steps = "s"
[citation]
[split.train]
nir = "a/*/ir_*.png"
rgb = "b/*/vis_*.jpg"
"#;

fn save(root: &Path, file: &str, image: &DynamicImage) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    image.save(path).unwrap();
}

fn gray(width: u32, height: u32) -> DynamicImage {
    GrayImage::from_fn(width, height, |x, y| Luma([(10 * x + y) as u8])).into()
}

fn colour(width: u32, height: u32) -> DynamicImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, 9])).into()
}

fn open(text: &str, root: &Path, subset: &str) -> Result<Photographs, DataError> {
    Photographs::open(&Description::parse(text, "own.toml")?, root, &subset.parse()?)
}

fn names(data: &dyn Dataset, split: Split) -> Vec<String> {
    (0..data.len(split)).map(|i| data.pair_name(split, i)).collect()
}

#[test]
fn every_known_description_is_sound() {
    for name in Description::known() {
        let description = Description::find(name).unwrap();
        assert_eq!(description.name, name);
        assert_eq!(description.subsets()[0], Subset::published());
        assert!(!description.terms.text.is_empty() && !description.origin.steps.is_empty());
        assert!(name == "pairs" || !description.citation.is_empty(), "{name}");
    }
    let error = Description::find("vicp2020").unwrap_err().to_string();
    assert!(
        error.contains("vcip2020, vcip2020-with-scenes, rgb-nir-scene, omsiv, fanvid, fanvid-nir2, pairs")
            && error.contains(".toml"),
        "{error}"
    );
    assert!(matches!(Description::find("no/such.toml").unwrap_err(), DataError::Io { .. }));
}

#[test]
fn stars_pair_files_of_two_trees() {
    let dir = TempDir::new().unwrap();
    for (nir, rgb) in [("a/X/ir_1.png", "b/x/vis_1.jpg"), ("a/y/ir_1.png", "b/y/vis_1.jpg")] {
        save(dir.path(), nir, &gray(9, 8));
        save(dir.path(), rgb, &colour(9, 8));
    }
    fs::write(dir.path().join("a/stray.png"), "stray").unwrap();
    let file = dir.path().join("own.toml");
    fs::write(&file, SMALL).unwrap();
    let description = Description::find(file.to_str().unwrap()).unwrap();
    let data = Photographs::open(&description, dir.path(), &Subset::published()).unwrap();
    assert_eq!((data.name(), names(&data, Split::Train)), ("own", vec!["x_1".to_string(), "y_1".to_string()]));
    assert_eq!(data.len(Split::Test), 0);
    assert!(data.warnings()[0].contains("not square"), "{:?}", data.warnings());
    // Without `size` pairs may differ, the images of a pair may not.
    save(dir.path(), "a/z/ir_1.png", &gray(5, 8));
    save(dir.path(), "b/z/vis_1.jpg", &colour(5, 8));
    assert_eq!(open(SMALL, dir.path(), "published").unwrap().len(Split::Train), 3);
    save(dir.path(), "b/z/vis_1.jpg", &colour(5, 7));
    let error = open(SMALL, dir.path(), "published").unwrap_err().to_string();
    assert!(error.contains("pair z_1: NIR is 5x8 but RGB is 5x7"), "{error}");
}

#[test]
fn rgb_nir_scene_of_8_and_16_bits() {
    let dir = TempDir::new().unwrap();
    let deep = ImageBuffer::from_fn(6, 5, |x, y| Rgb([x as u16 * 257, y as u16 * 257, 65535]));
    save(dir.path(), "country/0001_nir.tiff", &gray(6, 5));
    save(dir.path(), "country/0001_rgb.tiff", &DynamicImage::ImageRgb16(deep));
    let deep = ImageBuffer::from_fn(4, 7, |x, _| Luma([x as u16 * 2570]));
    save(dir.path(), "water/0010_nir.tiff", &DynamicImage::ImageLuma16(deep));
    save(dir.path(), "water/0010_rgb.tiff", &colour(4, 7));
    let description = Description::find("rgb-nir-scene").unwrap();
    let data = Photographs::open(&description, dir.path(), &Subset::published()).unwrap();
    assert_eq!(names(&data, Split::Train), ["country_0001", "water_0010"]);
    let (first, second) = (data.pair(Split::Train, 0).unwrap(), data.pair(Split::Train, 1).unwrap());
    assert_eq!((first.nir.get_pixel(3, 2).0, first.rgb.get_pixel(3, 2).0), ([32], [3, 2, 255]));
    assert_eq!((second.nir.get_pixel(3, 2).0, second.rgb.dimensions()), ([30], (4, 4)), "the centre square");
    // Numbers that end in 9 are not there.
    let error = Photographs::open(&description, dir.path(), &"tenths".parse().unwrap()).unwrap_err();
    assert!(matches!(error, DataError::Incomplete { .. }) && error.to_string().contains("no pair *9"), "{error}");
}

/// Which photographs VCIP2020 was cut from, and a word wherever they are taken.
#[test]
fn rgb_nir_scene_and_vcip2020() {
    let dir = TempDir::new().unwrap();
    let categories = ["country", "field", "forest", "indoor", "mountain", "oldbuilding", "street", "urban", "water"];
    for category in categories {
        save(dir.path(), &format!("{category}/0001_nir.tiff"), &gray(6, 6));
        save(dir.path(), &format!("{category}/0001_rgb.tiff"), &colour(6, 6));
    }
    let description = Description::find("rgb-nir-scene").unwrap();
    let open = |subset: &str| Photographs::open(&description, dir.path(), &subset.parse().unwrap()).unwrap();
    let (sources, disjoint) = (open("vcip2020-sources"), open("vcip2020-disjoint"));
    assert_eq!(names(&sources, Split::Train), ["country_0001", "field_0001", "forest_0001", "mountain_0001"]);
    let others = ["indoor_0001", "oldbuilding_0001", "street_0001", "urban_0001", "water_0001"];
    assert_eq!(names(&disjoint, Split::Train), others);
    for data in [&sources, &open("published")] {
        assert!(data.warnings().join("").contains("VCIP2020"), "{:?}", data.warnings());
    }
    assert_eq!(disjoint.warnings(), [""; 0]);
    let origin = Description::find("vcip2020").unwrap().origin.derived_from.unwrap();
    assert!(origin.contains("24 of the 28 test images") && origin.contains("vcip2020-disjoint"), "{origin}");
}

#[test]
fn fanvid_has_two_bands_of_near_infrared() {
    let dir = TempDir::new().unwrap();
    for (folder, number) in [("Train", 1), ("Train", 2), ("Test", 1)] {
        for (part, level) in [("paired_NIR1", 10), ("paired_NIR2", 20)] {
            let name = format!("{folder}/{part}/{folder}_0000{number}.bmp");
            save(dir.path(), &name, &GrayImage::from_pixel(4, 4, Luma([level])).into());
        }
        save(dir.path(), &format!("{folder}/paired_RGB/{folder}_0000{number}.bmp"), &colour(4, 4));
    }
    for (name, level) in [("fanvid", 10), ("fanvid-nir2", 20)] {
        let description = Description::find(name).unwrap();
        assert!(description.fits(dir.path()) && description.title.contains("Fully Aligned NIR-Visible"));
        let data = Photographs::open(&description, dir.path(), &Subset::published()).unwrap();
        assert_eq!(names(&data, Split::Train), ["train_00001", "train_00002"]);
        assert_eq!(names(&data, Split::Test), ["test_00001"]);
        assert_eq!(data.pair(Split::Train, 0).unwrap().nir.get_pixel(0, 0).0, [level], "{name}");
    }
}

#[test]
fn images_are_turned_as_their_exif_says() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("turned.jpg");
    save(dir.path(), "turned.jpg", &gray(24, 16));
    let bytes = fs::read(&path).unwrap();
    // An APP1 segment with a TIFF directory of one entry: orientation 6, a quarter turn clockwise.
    let entry = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let length = (2 + 6 + entry.len()) as u16;
    let segment = [&[0xff, 0xe1][..], &length.to_be_bytes(), b"Exif\0\0", entry].concat();
    fs::write(&path, [&bytes[..2], &segment, &bytes[2..]].concat()).unwrap();
    let (plain, turned) = (gray(24, 16).into_luma8(), read_gray(&path).unwrap());
    assert_eq!(turned.dimensions(), (16, 24));
    let near = |a: u8, b: u8| a.abs_diff(b) < 12;
    assert!(near(turned.get_pixel(15, 0).0[0], plain.get_pixel(0, 0).0[0]));
    assert!(near(turned.get_pixel(15, 20).0[0], plain.get_pixel(20, 0).0[0]));
    assert_eq!(read_rgb(&path).unwrap().dimensions(), (16, 24));
}

/// A TIFF directory of one entry: orientation 6, a quarter turn clockwise.
const QUARTER_TURN: &[u8] = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";

/// The image is [`gray`] of 24 x 16, turned clockwise: its upper left corner is the upper right one now.
fn is_turned(path: &Path) {
    let (plain, turned) = (gray(24, 16).into_luma8(), read_gray(path).unwrap());
    assert_eq!(turned.dimensions(), (16, 24), "{}", path.display());
    let from = |x, y| plain.get_pixel(y, 15 - x);
    assert!(turned.enumerate_pixels().all(|(x, y, value)| value == from(x, y)), "{}", path.display());
    assert_eq!(read_rgb(path).unwrap().get_pixel(3, 20).0, [from(3, 20).0[0]; 3]);
}

/// With a chunk of metadata before the chunk of that type.
fn with_exif(png: &[u8], before: &[u8]) -> Vec<u8> {
    let at = png.windows(4).position(|window| window == before).unwrap() - 4;
    let content = [b"eXIf", QUARTER_TURN].concat();
    let chunk = [&(QUARTER_TURN.len() as u32).to_be_bytes(), &content[..], &crc(&content).to_be_bytes()].concat();
    [&png[..at], &chunk, &png[at..]].concat()
}

/// The checksum of a PNG chunk: CRC-32, reflected, polynomial 0xedb88320.
fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

#[test]
fn png_is_turned_as_its_exif_says() {
    let dir = TempDir::new().unwrap();
    save(dir.path(), "plain.png", &gray(24, 16));
    let png = fs::read(dir.path().join("plain.png")).unwrap();
    for (name, before) in [("early.png", b"IDAT"), ("late.png", b"IEND")] {
        fs::write(dir.path().join(name), with_exif(&png, before)).unwrap();
        is_turned(&dir.path().join(name));
    }
}

#[test]
fn tiff_is_turned_as_its_tag_says() {
    // Header, the pixels, then a directory of gray 8-bit pixels in one strip, its entries by number.
    let pixels = gray(24, 16).into_luma8().into_raw();
    let entries: [(u16, u16); 9] =
        [(256, 24), (257, 16), (258, 8), (259, 1), (262, 1), (273, 8), (274, 6), (278, 16), (279, 384)];
    let mut tiff = [b"II*\0", &(8 + pixels.len() as u32).to_le_bytes()[..], &pixels].concat();
    tiff.extend((entries.len() as u16).to_le_bytes());
    for (tag, value) in entries {
        tiff.extend([tag.to_le_bytes(), [3, 0]].concat());
        tiff.extend([1u32.to_le_bytes(), u32::from(value).to_le_bytes()].concat());
    }
    tiff.extend([0; 4]);
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("turned.tiff");
    fs::write(&path, tiff).unwrap();
    is_turned(&path);
}

/// 65535 is 255, and every 257th value is exact; between, the nearest is taken.
#[test]
fn sixteen_bits_become_eight() {
    let dir = TempDir::new().unwrap();
    let deep = |x: u32| (x * 257) as u16;
    let values = ImageBuffer::from_fn(256, 2, |x, y| Luma([deep(x).saturating_add(if y == 0 { 0 } else { 128 })]));
    let colours = ImageBuffer::from_fn(256, 1, |x, _| Rgb([deep(x), deep(255 - x), 129]));
    for extension in ["png", "tiff"] {
        let (nir, rgb) = (format!("nir.{extension}"), format!("rgb.{extension}"));
        save(dir.path(), &nir, &DynamicImage::ImageLuma16(values.clone()));
        save(dir.path(), &rgb, &DynamicImage::ImageRgb16(colours.clone()));
        let (nir, rgb) = (read_gray(dir.path().join(nir)).unwrap(), read_rgb(dir.path().join(rgb)).unwrap());
        assert!(nir.enumerate_pixels().all(|(x, _, value)| u32::from(value.0[0]) == x), "{extension}");
        assert!(rgb.enumerate_pixels().all(|(x, _, value)| value.0 == [x as u8, 255 - x as u8, 1]), "{extension}");
    }
}

#[test]
fn what_is_wrong_with_a_description_is_named() {
    let wrong = [
        (SMALL.replace("title", "titel"), "titel"),
        (SMALL.replace("vis_*.jpg", "vis.jpg"), "split.train"),
        (SMALL.replace("b/*/vis_*.jpg", "b/vis_*.jpg"), "split.train"),
        (SMALL.replace("a/*/ir_*", "../*/ir_*"), "split.train"),
        (format!("{SMALL}[subset.Own]\nnote = \"n\"\n"), "subset.Own"),
        (format!("{SMALL}[subset.own]\nnote = \"n\"\ntest.from = \"test\"\n"), "subset.own.test"),
        (format!("{SMALL}[subset.own]\nnote = \"n\"\ntest.form = \"train\"\n"), "form"),
    ];
    for (text, part) in wrong {
        let error = Description::parse(&text, "own.toml").unwrap_err().to_string();
        assert!(error.starts_with("own.toml: not a dataset's description") && error.contains(part), "{error}");
    }
}

#[test]
fn subsets_are_words() {
    for word in ["published", "no-train-duplicates", "clean"] {
        assert_eq!(word.parse::<Subset>().unwrap().to_string(), word);
    }
    assert_eq!(Subset::default(), Subset::published());
    assert!(matches!("Clean".parse::<Subset>().unwrap_err(), DataError::Word { .. }));
    let description = Description::find("vcip2020").unwrap();
    let error = description.choices(&"dirty".parse().unwrap()).unwrap_err().to_string();
    assert_eq!(
        error,
        "vcip2020 has no subset `dirty`, expected one of: published, clean, \
                clean-registered, no-train-duplicates, registered"
    );
    // What the images tell needs no words of the description's.
    let warned = description.subsets().into_iter().filter(|subset| description.warning(subset).is_some());
    assert_eq!(warned.map(|subset| subset.to_string()).collect::<Vec<_>>(), ["clean", "clean-registered"]);
}

/// What may be added to VCIP2020 are training pairs alone: its own are chosen as there.
#[test]
fn scenes_are_added_to_the_same_subsets() {
    for subset in ["clean-registered", "registered"] {
        let of = |name: &str, split| {
            let description = Description::find(name).unwrap();
            format!("{:?}", description.choices(&subset.parse().unwrap()).unwrap().unwrap().get(split))
        };
        for split in [Split::Train, Split::Validation] {
            assert_eq!(of("vcip2020-with-scenes", split), of("vcip2020", split), "{subset}");
        }
    }
}

/// All names of the layout, each image of 1 x 1 pixel with a value of its own.
fn named_as_vcip2020() -> TempDir {
    let dir = TempDir::new().unwrap();
    let mut value = 0u32;
    let mut pair = |nir: String, rgb: String| {
        value += 1;
        let [_, _, b, c] = value.to_be_bytes();
        save(dir.path(), &nir, &GrayImage::from_pixel(1, 1, Luma([c])).into());
        save(dir.path(), &rgb, &RgbImage::from_pixel(1, 1, Rgb([b, c, 0])).into());
    };
    for (category, count) in [("country", 84), ("field", 94), ("forest", 100), ("mountain", 94)] {
        for i in 0..count {
            let name = format!("{category}_{i:04}");
            pair(format!("NIR/{name}_nir.png"), format!("RGB-Registered/{name}_rgb_reg.png"));
        }
    }
    for i in 0..18 {
        let name = format!("Validation/validation_{i:04}");
        pair(format!("{name}_nir.png"), format!("{name}_rgb_reg.png"));
    }
    for i in 1..=28 {
        let (nir, rgb) = (format!("Testing/testing_{i:04}_nir_reg.png"), format!("Testing/Testing_{i:04}_rgb_reg.png"));
        pair(nir, rgb);
    }
    dir
}

#[test]
fn the_subsets_of_vcip2020() {
    let dir = named_as_vcip2020();
    let vcip2020 = Description::find("vcip2020").unwrap();
    let open = |subset: &str| Photographs::open(&vcip2020, dir.path(), &subset.parse().unwrap());
    let (all, twenty, clean) =
        (open("published").unwrap(), open("no-train-duplicates").unwrap(), open("clean").unwrap());
    let lens = |data: &Photographs| Split::ALL.map(|split| data.len(split));
    assert_eq!((lens(&all), lens(&twenty), lens(&clean)), ([372, 18, 28], [372, 18, 20], [336, 36, 5]));
    let prints = |data: &Photographs| Split::ALL.map(|split| data.fingerprint(split));
    assert_eq!(prints(&all)[..2], prints(&twenty)[..2]);
    let distinct: BTreeSet<String> = [&all, &twenty, &clean].iter().flat_map(|data| prints(data)).collect();
    assert_eq!(distinct.len(), 7);
    assert_eq!(names(&clean, Split::Test), [5, 7, 9, 13, 21].map(|i| format!("testing_{i:04}")));
    let duplicates = [3, 6, 15, 16, 17, 19, 24, 28].map(|i| format!("testing_{i:04}"));
    assert!(names(&twenty, Split::Test).iter().all(|name| !duplicates.contains(name)));
    let (train, validation) = (names(&clean, Split::Train), names(&clean, Split::Validation));
    assert!(validation.iter().all(|name| !train.contains(name)));
    for category in ["country", "field", "forest", "mountain"] {
        assert!(validation.iter().filter(|name| name.starts_with(category)).count() >= 8, "{category}");
    }
    assert_eq!(clean.pair(Split::Validation, 0).unwrap().name, validation[0]);

    // A place means a certain pair only where all are there.
    fs::remove_file(dir.path().join("Testing/testing_0028_nir_reg.png")).unwrap();
    fs::remove_file(dir.path().join("Testing/Testing_0028_rgb_reg.png")).unwrap();
    let error = open("clean").unwrap_err().to_string();
    assert!(error.contains("subset clean: there are 27 pairs instead of 28 in the test split"), "{error}");
    fs::remove_dir_all(dir.path().join("Testing")).unwrap();
    assert_eq!(lens(&open("clean").unwrap()), [336, 36, 0]);
}

proptest! {
    #[test]
    fn any_text_is_a_description_or_an_error(text in ".{0,200}", pattern in "[a-z*/.]{0,12}") {
        let _ = Description::parse(&text, "x.toml");
        let quoted = SMALL.replace("a/*/ir_*.png", &pattern);
        if let Ok(description) = Description::parse(&quoted, "x.toml") {
            prop_assert!(description.split.train.nir.rsplit('/').next().unwrap().contains('*'));
        }
    }

    #[test]
    fn any_word_is_a_subset_or_an_error(word in "\\PC{0,12}") {
        if let Ok(subset) = word.parse::<Subset>() {
            prop_assert_eq!(subset.to_string(), word);
        }
    }
}
