//! The images of one dataset that are in another: copies, scenes, and crops at any scale.

use colormamba_data::check::{Against, Equal, Kind, Source, against, check};
use colormamba_data::{Dataset, Description, ImagePair, Split, Subset, Synthetic, SyntheticConfig, pillow};
use image::imageops::{crop_imm, flip_horizontal};
use image::{GrayImage, Luma};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const PAIRS: &str = include_str!("../../../datasets/pairs.toml");

fn scenes(count: usize) -> Vec<ImagePair> {
    let config = SyntheticConfig { seed: 11, width: 480, height: 320, train: count, validation: 0, test: 0 };
    let data = Synthetic::new(config).unwrap();
    (0..count).map(|i| data.pair(Split::Train, i).unwrap()).collect()
}

/// A square of a pair, brought to 96 x 96.
fn window(pair: &ImagePair, left: u32, top: u32, side: u32) -> ImagePair {
    let nir = crop_imm(&pair.nir, left, top, side, side).to_image();
    let rgb = crop_imm(&pair.rgb, left, top, side, side).to_image();
    ImagePair { name: String::new(), nir: pillow::resize(&nir, 96, 96), rgb: pillow::resize(&rgb, 96, 96) }
}

fn write(root: &Path, name: &str, pair: &ImagePair) {
    for folder in ["train/nir", "train/rgb"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    pair.nir.save(root.join(format!("train/nir/{name}.png"))).unwrap();
    pair.rgb.save(root.join(format!("train/rgb/{name}.png"))).unwrap();
}

fn found(ours: &Path, theirs: &Path) -> Against {
    let (description, subset) = (Description::parse(PAIRS, "pairs.toml").unwrap(), Subset::published());
    let source = |root| Source { description: &description, root, subset: &subset };
    let mut steps = Vec::new();
    let found = against(&source(ours), &source(theirs), &mut |done, of| steps.push((done, of))).unwrap();
    assert!(steps.is_sorted() && steps.last().unwrap().0 == steps[0].1, "{steps:?}");
    found
}

#[test]
fn copies_scenes_and_crops_are_found_and_other_images_are_not() {
    let all = scenes(12);
    let (theirs, others) = all.split_at(8);
    let (big, small) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for (i, pair) in theirs.iter().enumerate() {
        write(big.path(), &format!("photo{i}"), pair);
    }
    let crops = [(2, 40, 30, 250), (3, 250, 60, 160), (4, 100, 120, 110), (5, 17, 190, 75)];
    write(small.path(), "copy", &theirs[0]);
    write(small.path(), "nir-only", &ImagePair { nir: theirs[1].nir.clone(), ..others[0].clone() });
    for (i, left, top, side) in crops {
        write(small.path(), &format!("crop{i}"), &window(&theirs[i], left, top, side));
    }
    let mirrored = window(&theirs[6], 200, 100, 170);
    let mirrored = ImagePair { nir: flip_horizontal(&mirrored.nir), rgb: flip_horizontal(&mirrored.rgb), ..mirrored };
    write(small.path(), "mirrored", &mirrored);
    for (i, pair) in others.iter().enumerate().skip(1) {
        write(small.path(), &format!("other{i}"), &window(pair, 90, 50, 200));
    }
    let report = found(small.path(), big.path());
    println!("{report}");
    let names: Vec<_> = report.found.iter().map(|f| (f.pair.name.as_str(), f.other.name.as_str())).collect();
    let wanted = [
        ("copy", "photo0"),
        ("crop2", "photo2"),
        ("crop3", "photo3"),
        ("crop4", "photo4"),
        ("crop5", "photo5"),
        ("mirrored", "photo6"),
        ("nir-only", "photo1"),
    ];
    assert_eq!(names, wanted);
    assert_eq!((report.pairs, report.other_pairs, report.pairs_found()), (10, 8, 7));
    let kind = |name: &str| report.found.iter().find(|found| found.pair.name == name).unwrap().kind;
    assert_eq!((kind("copy"), kind("nir-only")), (Kind::Equal(Equal::Pair), Kind::Equal(Equal::Nir)));
    for (i, left, top, side) in crops {
        let (Kind::Crop(at) | Kind::Scene(at)) = kind(&format!("crop{i}")) else { panic!("crop{i}") };
        if matches!(kind(&format!("crop{i}")), Kind::Crop(_)) {
            let near = |found: f64, pixels: u32, of: f64| (found - f64::from(pixels) / of).abs() < 0.04;
            assert!(
                near(at.right, left, 480.0) && near(at.down, top, 320.0) && near(at.zoom, side, 480.0),
                "{i} {at:?}"
            );
        }
    }
    let text = report.to_string();
    for line in
        ["train/copy = train/photo0\n", "train/nir-only = train/photo1 (NIR only)", "7 of the 10 pairs were found"]
    {
        assert!(text.contains(line), "{line} in {text}");
    }
    // The other way round, a photograph is no crop of its crop; the copies are found all the same.
    let back = found(big.path(), small.path());
    assert!(back.found.iter().any(|found| found.pair.name == "photo0" && found.other.name == "copy"));
}

#[test]
fn what_cannot_be_looked_at_is_said() {
    let (ours, theirs) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let all = scenes(2);
    write(ours.path(), "a", &all[0]);
    write(theirs.path(), "b", &all[1]);
    write(theirs.path(), "c", &all[0]);
    fs::write(theirs.path().join("train/rgb/b.png"), "no image").unwrap();
    let report = found(ours.path(), theirs.path());
    assert_eq!((report.found.len(), report.flaws.len()), (1, 1));
    assert!(report.flaws[0].problem.contains("b.png: not a readable image"), "{:?}", report.flaws);
}

/// Any paired set: what the first image is the description says, and messages repeat it.
#[test]
fn pairs_of_haze_are_no_false_infrared() {
    let root = TempDir::new().unwrap();
    let pair = scenes(1).remove(0);
    let luma = pillow::luma(&pair.rgb);
    write(root.path(), "thin", &ImagePair { nir: luma, ..pair.clone() });
    write(root.path(), "none", &ImagePair { nir: GrayImage::from_pixel(480, 320, Luma([9])), ..pair.clone() });
    write(root.path(), "small", &ImagePair { nir: GrayImage::new(64, 64), ..pair });
    let report = |more: &str| {
        let description =
            Description::parse(&PAIRS.replacen("[terms]", &format!("{more}\n[terms]"), 1), "p.toml").unwrap();
        check(&description, root.path(), &Subset::published(), &mut |_, _| ()).unwrap().to_string()
    };
    let (nir, haze) = (report(""), report("input = \"hazy\""));
    assert!(
        nir.contains("NIR images that are the luma of their RGB image: 1") && nir.contains("the NIR image is flat")
    );
    assert!(haze.contains("train/none: the hazy image is flat") && haze.contains("hazy is 64x64 but RGB is 480x320"));
    assert!(!haze.contains("luma") && !haze.contains("NIR"), "{haze}");
}

/// 45 photographs that VCIP2020 was not cut from, if they and VCIP2020's are at hand.
#[test]
fn photographs_that_have_nothing_in_common() {
    let folders = [std::env::var_os("VCIP2020_DIR"), std::env::var_os("EPFL_DISJOINT_DIR")];
    let [Some(vcip2020), Some(disjoint)] = folders else {
        println!("skipped: VCIP2020_DIR or EPFL_DISJOINT_DIR is not set");
        return;
    };
    let text = PAIRS.replace("train/nir/*.png", "nir/*.jpg").replace("train/rgb/*.png", "rgb/*.jpg");
    let (own, known) = (Description::parse(&text, "p.toml").unwrap(), Description::find("vcip2020").unwrap());
    let subset = Subset::published();
    let ours = Source { description: &known, root: Path::new(&vcip2020), subset: &subset };
    let theirs = Source { description: &own, root: Path::new(&disjoint), subset: &subset };
    let report = against(&ours, &theirs, &mut |_, _| ()).unwrap();
    assert!(report.found.is_empty(), "{report}");
}
