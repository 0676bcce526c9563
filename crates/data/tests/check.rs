//! What a check of a folder finds, on drawn scenes with known faults and, if they are at hand, on the photographs.

use colormamba_data::check::{Equal, PairId, Report, check, files, scenes};
use colormamba_data::{Dataset, Description, ImagePair, Photographs, Split, Subset, Synthetic, SyntheticConfig};
use image::imageops::{crop_imm, flip_horizontal};
use image::{GrayImage, Luma, RgbImage};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Scenes that have nothing in common.
fn scenes(count: usize, width: u32) -> Vec<ImagePair> {
    let config = SyntheticConfig { seed: 3, width, height: 128, train: count, validation: 0, test: 0 };
    let data = Synthetic::new(config).unwrap();
    (0..count).map(|i| data.pair(Split::Train, i).unwrap()).collect()
}

/// A window of a pair, resized to 128 x 128.
fn window(pair: &ImagePair, left: u32, top: u32, side: u32) -> ImagePair {
    let nir = crop_imm(&pair.nir, left, top, side, side).to_image();
    let rgb = crop_imm(&pair.rgb, left, top, side, side).to_image();
    let resized = |rgb: &RgbImage| colormamba_data::pillow::resize(rgb, 128, 128);
    ImagePair { name: String::new(), nir: colormamba_data::pillow::resize(&nir, 128, 128), rgb: resized(&rgb) }
}

/// The same with the NIR image's content moved.
fn moved(pair: &ImagePair, right: i64, down: i64) -> ImagePair {
    let (width, height) = pair.nir.dimensions();
    let from = |at: u32, by: i64, end: u32| (i64::from(at) - by).clamp(0, i64::from(end) - 1) as u32;
    let at = |x, y| *pair.nir.get_pixel(from(x, right, width), from(y, down, height));
    ImagePair { nir: GrayImage::from_fn(width, height, at), ..pair.clone() }
}

fn save(path: PathBuf, write: impl Fn(&Path)) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    write(&path);
}

fn write_pair(root: &Path, nir: &str, rgb: &str, pair: &ImagePair) {
    save(root.join(nir), |path| pair.nir.save(path).unwrap());
    save(root.join(rgb), |path| pair.rgb.save(path).unwrap());
}

/// In the layout of `datasets/pairs.toml`.
fn pairs_folder(pairs: &[(&str, &str, &ImagePair)]) -> TempDir {
    let dir = TempDir::new().unwrap();
    for (split, name, pair) in pairs {
        write_pair(dir.path(), &format!("{split}/nir/{name}.png"), &format!("{split}/rgb/{name}.png"), pair);
    }
    dir
}

fn checked(dataset: &str, root: &Path, subset: &str) -> Report {
    let subset = subset.parse::<Subset>().unwrap();
    check(&Description::find(dataset).unwrap(), root, &subset, &mut |_, _| ()).unwrap()
}

fn write_train(root: &Path, name: &str, pair: &ImagePair) {
    write_pair(root, &format!("NIR/{name}_nir.png"), &format!("RGB-Registered/{name}_rgb_reg.png"), pair);
}

fn write_validation(root: &Path, i: usize, pair: &ImagePair) {
    let name = format!("Validation/validation_{i:04}");
    write_pair(root, &format!("{name}_nir.png"), &format!("{name}_rgb_reg.png"), pair);
}

fn write_test(root: &Path, i: usize, pair: &ImagePair) {
    let (nir, rgb) = (format!("Testing/testing_{i:04}_nir_reg.png"), format!("Testing/Testing_{i:04}_rgb_reg.png"));
    write_pair(root, &nir, &rgb, pair);
}

/// The test pairs of VCIP2020 that are training pairs, and those in no other split.
const TRAINED: [usize; 8] = [3, 6, 15, 16, 17, 19, 24, 28];
const ALONE: [usize; 5] = [5, 7, 9, 13, 21];

/// A test folder with the faults of the challenge's: `train` 8 pairs, `validation` 15, `own` 5.
fn write_leaky_test(root: &Path, train: &[ImagePair], validation: &[ImagePair], own: &[ImagePair]) {
    let (mut train, mut validation, mut own) = (train.iter(), validation.iter(), own.iter());
    for i in 1..=28 {
        let source = match i {
            _ if TRAINED.contains(&i) => train.next(),
            _ if ALONE.contains(&i) => own.next(),
            _ => validation.next(),
        };
        write_test(root, i, source.unwrap());
    }
}

fn assert_leaks(report: &Report) {
    let names = |a, b| -> BTreeSet<String> {
        let whole = report.duplicates_between(a, b).filter(|d| d.equal == Equal::Pair);
        whole.map(|d| d.second.name.clone()).collect()
    };
    let test = |places: &[usize]| -> BTreeSet<String> { places.iter().map(|i| format!("testing_{i:04}")).collect() };
    assert_eq!(names(Split::Train, Split::Test), test(&TRAINED));
    assert_eq!(names(Split::Validation, Split::Test).len(), 15);
    assert_eq!(names(Split::Train, Split::Validation).len(), 0);
    let alone: BTreeSet<String> = report.splits[2].alone.iter().cloned().collect();
    assert_eq!(alone, test(&ALONE));
    assert!(report.has_leaks());
}

/// The i-th of these validation pairs are, in order, the test pairs that are neither training pairs nor alone.
fn assert_validation_in_test(report: &Report) {
    let whole = report.duplicates_between(Split::Validation, Split::Test);
    let found: BTreeSet<_> = whole.map(|d| (d.first.name.clone(), d.second.name.clone())).collect();
    let places = (1..=28).filter(|i| !TRAINED.contains(i) && !ALONE.contains(i));
    let want = (0..15).zip(places).map(|(i, k)| (format!("validation_{i:04}"), format!("testing_{k:04}")));
    assert_eq!(found, want.collect());
}

/// The names of training pairs that are these test pairs, in their order.
fn assert_train_in_test(report: &Report, train: &[String]) {
    let whole = report.duplicates_between(Split::Train, Split::Test);
    let found: BTreeSet<_> = whole.map(|d| (d.first.name.clone(), d.second.name.clone())).collect();
    let want = train.iter().zip(TRAINED).map(|(name, i)| (name.clone(), format!("testing_{i:04}")));
    assert_eq!(found, want.collect());
}

#[test]
fn the_leaks_of_the_published_splits_are_found_and_the_subsets_end_them() {
    let all = scenes(34, 128);
    let (train, rest) = all.split_at(11);
    let (validation, own) = rest.split_at(18);
    let dir = TempDir::new().unwrap();
    let shifts = [(5, 0), (-4, 3), (0, -8)];
    for (i, pair) in train.iter().enumerate() {
        write_train(dir.path(), &format!("forest_{i:04}"), pair);
    }
    for (i, (right, down)) in shifts.iter().enumerate() {
        write_train(dir.path(), &format!("forest_{:04}", 8 + i), &moved(&all[8 + i], *right, *down));
    }
    for (i, pair) in validation.iter().enumerate() {
        write_validation(dir.path(), i, pair);
    }
    write_leaky_test(dir.path(), &train[..8], &validation[..15], own);
    let mut steps = Vec::new();
    let description = Description::find("vcip2020").unwrap();
    let report = check(&description, dir.path(), &Subset::published(), &mut |done, of| steps.push((done, of))).unwrap();
    assert_leaks(&report);
    assert_validation_in_test(&report);
    assert_train_in_test(&report, &(0..8).map(|i| format!("forest_{i:04}")).collect::<Vec<_>>());
    assert!(steps.windows(2).all(|two| two[0].0 <= two[1].0) && steps.last() == Some(&(114, 114)), "{steps:?}");
    let off: BTreeSet<_> =
        report.misregistered.iter().map(|m| (m.pair.to_string(), m.offset.right, m.offset.down)).collect();
    let want = (0..3).map(|i| (format!("train/forest_{:04}", 8 + i), shifts[i].0 as i32, shifts[i].1 as i32));
    assert_eq!(off, want.collect());
    assert!(report.gray_nir.is_empty(), "{:?}", report.gray_nir);
    let text = report.to_string();
    for line in
        ["train/forest_0008: 5.0 pixels (+5 right, +0 down)", "equal images, validation and test: 15", "overlap."]
    {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!((&json["splits"][2]["split"], &json["splits"][2]["expected"]), (&"test".into(), &28.into()));

    let shown = |id| files(&description, dir.path(), &Subset::published(), id);
    let name = &report.misregistered[0].pair.name;
    let (nir, rgb) = shown(&report.misregistered[0].pair).unwrap();
    assert!(nir.ends_with(format!("{name}_nir.png")) && rgb.ends_with(format!("{name}_rgb_reg.png")));
    let absent = PairId { split: Split::Test, name: "testing_0099".into() };
    assert!(shown(&absent).unwrap_err().to_string().contains("no pair testing_0099"));

    let report = checked("vcip2020", dir.path(), "no-train-duplicates");
    assert_eq!(report.splits[2].chosen, 20);
    assert_eq!(report.duplicates_between(Split::Train, Split::Test).count(), 0);
    assert_eq!(report.duplicates_between(Split::Validation, Split::Test).count(), 15);
}

#[test]
fn crops_shifts_and_mirrored_copies_share_a_scene_and_other_scenes_do_not() {
    let wide = scenes(12, 220);
    let whole: Vec<ImagePair> = wide.iter().map(|pair| window(pair, 0, 0, 128)).collect();
    // 100 of 128 pixels; 20 of 128, as 40 of 256; both as they are and mirrored.
    let crop = window(&wide[0], 14, 20, 100);
    let shifted = window(&wide[1], 20, 0, 128);
    let half = window(&wide[2], 64, 0, 128);
    let mirrored =
        ImagePair { rgb: flip_horizontal(&whole[3].rgb), nir: flip_horizontal(&whole[3].nir), ..whole[3].clone() };
    let both = window(&wide[4], 20, 0, 100);
    let both = ImagePair { rgb: flip_horizontal(&both.rgb), nir: flip_horizontal(&both.nir), ..both };
    let made = [&crop, &shifted, &half, &mirrored, &both];
    let names: Vec<String> = (0..12).map(|i| format!("scene_{i:02}")).collect();
    let mut listed: Vec<_> = names.iter().zip(&whole).map(|(name, pair)| ("train", name.as_str(), pair)).collect();
    listed.extend(names.iter().zip(made).map(|(name, pair)| ("test", name.as_str(), pair)));
    let report = checked("pairs", pairs_folder(&listed).path(), "published");
    for shared in &report.shared_scenes {
        println!("{} {} {:?}", shared.first, shared.second, shared.found);
    }
    let found: BTreeSet<_> = report.shared_scenes.iter().map(|s| (s.first.to_string(), s.second.to_string())).collect();
    let want: BTreeSet<_> = (0..5).map(|i| (format!("train/{}", names[i]), format!("test/{}", names[i]))).collect();
    assert_eq!(found, want);
    let of = |i: usize| report.shared_scenes.iter().find(|s| s.first.name == names[i]).unwrap().found;
    assert!((of(0).zoom - 100.0 / 128.0).abs() < 0.05 && (of(0).down - 20.0 / 128.0).abs() < 0.05, "{:?}", of(0));
    assert!((of(1).right - 20.0 / 128.0).abs() < 0.03 && of(1).zoom == 1.0, "{:?}", of(1));
    assert!((of(2).right - 0.5).abs() < 0.03, "{:?}", of(2));
    assert!([0, 1, 2].iter().all(|i| !of(*i).mirrored) && of(3).mirrored && of(4).mirrored);
    assert!(of(3).score > 0.98 && of(3).score <= 1.0, "{:?}", of(3));
    assert!(report.has_leaks() && report.duplicates.is_empty());
    assert!(report.shared_scenes.iter().all(|s| s.found.score >= scenes::SHARED));
}

#[test]
fn images_that_are_no_good() {
    let good = scenes(7, 128);
    let dir = pairs_folder(&[("train", "a", &good[0]), ("train", "b", &good[1]), ("train", "c", &good[2])]);
    let add = |name: &str, pair: &ImagePair| {
        write_pair(dir.path(), &format!("train/nir/{name}.png"), &format!("train/rgb/{name}.png"), pair);
    };
    add("gray", &ImagePair { nir: colormamba_data::pillow::luma(&good[3].rgb), ..good[3].clone() });
    add("flat", &ImagePair { nir: GrayImage::from_pixel(128, 128, Luma([7])), ..good[4].clone() });
    add("small", &ImagePair { nir: GrayImage::new(64, 64), ..good[5].clone() });
    add("nir-only", &ImagePair { nir: good[0].nir.clone(), ..good[6].clone() });
    let broken = dir.path().join("train/nir/b.png");
    let bytes = fs::read(&broken).unwrap();
    fs::write(&broken, &bytes[..bytes.len() / 2]).unwrap();
    fs::write(dir.path().join("train/rgb/c.png"), "").unwrap();
    good[0].rgb.save(dir.path().join("train/rgb/lonely.png")).unwrap();
    let report = checked("pairs", dir.path(), "published");
    let text: Vec<String> = report.flaws.iter().map(|flaw| flaw.problem.clone()).collect();
    let has = |part: &str| text.iter().any(|problem| problem.contains(part));
    for part in
        ["b.png: not a readable", "c.png: the file is empty", "lonely.png: has no partner", "NIR is 64x64", "flat"]
    {
        assert!(has(part), "{part} in {text:?}");
    }
    assert_eq!(report.gray_nir.iter().map(|pair| pair.name.as_str()).collect::<Vec<_>>(), ["gray"]);
    let equal: Vec<_> = report.duplicates.iter().map(|d| (d.second.name.as_str(), d.equal)).collect();
    assert_eq!(equal, [("nir-only", Equal::Nir)]);
    assert!(!report.has_leaks());
}

#[test]
fn pairs_are_counted_where_a_subset_takes_them_from() {
    let all = scenes(5, 128);
    let names = ["a", "b", "c", "d"];
    let mut listed: Vec<_> = names.iter().zip(&all).map(|(name, pair)| ("train", *name, pair)).collect();
    listed.push(("validation", "e", &all[4]));
    let dir = pairs_folder(&listed);
    let held_out = "[subset.held-out]\nnote = \"n\"\ntrain.without = [\"d\"]\n\
        validation = { from = \"train\", only = [\"d\"] }\n";
    let text = include_str!("../../../datasets/pairs.toml").replace("[split.train]\n", "[split.train]\npairs = 6\n");
    let description = Description::parse(&(text + held_out), "own.toml").unwrap();
    let counts = |subset: &str| -> Vec<_> {
        let subset = subset.parse::<Subset>().unwrap();
        let report = check(&description, dir.path(), &subset, &mut |_, _| ()).unwrap();
        println!("{report}");
        report.splits.iter().map(|s| (s.from, s.found, s.expected, s.chosen)).collect()
    };
    let (train, validation, test) = (Split::Train, Split::Validation, Split::Test);
    assert_eq!(counts("published"), [(train, 4, Some(6), 4), (validation, 1, None, 1), (test, 0, None, 0)]);
    assert_eq!(counts("held-out"), [(train, 4, Some(6), 3), (train, 4, Some(6), 1), (test, 0, None, 0)]);
}

#[test]
fn the_same_report_twice() {
    let all = scenes(6, 128);
    let listed: Vec<_> =
        ["a", "b", "c", "d", "e", "f"].iter().zip(&all).map(|(name, pair)| ("train", *name, pair)).collect();
    let dir = pairs_folder(&listed);
    assert_eq!(checked("pairs", dir.path(), "published"), checked("pairs", dir.path(), "published"));
}

/// The photographs, which are not part of this repository, and a test folder made of them.
#[test]
fn the_real_set() {
    let Some(root) = std::env::var_os("VCIP2020_DIR").map(PathBuf::from) else {
        println!("skipped: VCIP2020_DIR is not set");
        return;
    };
    let data = Photographs::open(&Description::find("vcip2020").unwrap(), &root, &Subset::published()).unwrap();
    let pair = |split, i| data.pair(split, i).unwrap();
    let dir = TempDir::new().unwrap();
    for i in (0..372).step_by(4) {
        write_train(dir.path(), &data.pair_name(Split::Train, i), &pair(Split::Train, i));
    }
    // Fourteen are moved, by 3 to 8 pixels; which others are off is the photographs' own.
    let moves = |i: usize| [(4, 0), (-3, 1), (0, 5), (6, -2), (-8, 0), (2, 3), (-1, -4)][i / 4 % 7];
    let off = (200..256).step_by(4);
    for i in off.clone() {
        let (right, down) = moves(i);
        write_train(dir.path(), &data.pair_name(Split::Train, i), &moved(&pair(Split::Train, i), right, down));
    }
    let validation: Vec<ImagePair> = (0..18).map(|i| pair(Split::Validation, i)).collect();
    for (i, pair) in validation.iter().enumerate() {
        write_validation(dir.path(), i, pair);
    }
    // Two are crops of training pairs: no equal pixels, the same scene.
    let mut own: Vec<ImagePair> = [10, 102, 201].map(|i| pair(Split::Train, i + 1 - i % 2)).into();
    let cropped = |i| {
        let pair = pair(Split::Train, i);
        let cut = |left: u32, top: u32| crop_imm(&pair.rgb, left, top, 200, 200).to_image();
        let rgb = colormamba_data::pillow::resize(&cut(30, 20), 256, 256);
        ImagePair { rgb, ..moved(&pair, 5, -3) }
    };
    own.extend([cropped(40), cropped(300)]);
    let train: Vec<ImagePair> = (0..8).map(|i| pair(Split::Train, 4 * i + 160)).collect();
    write_leaky_test(dir.path(), &train, &validation[..15], &own);
    let report = checked("vcip2020", dir.path(), "published");
    assert_leaks(&report);
    assert_validation_in_test(&report);
    assert_train_in_test(&report, &train.iter().map(|pair| pair.name.clone()).collect::<Vec<_>>());
    for i in off {
        let (name, (right, down)) = (data.pair_name(Split::Train, i), moves(i));
        let found = report.misregistered.iter().find(|m| m.pair.split == Split::Train && m.pair.name == name);
        let found = found.unwrap_or_else(|| panic!("{name}, moved by {right} and {down}, is not found"));
        // Pairs that count as registered are off by up to two pixels themselves.
        let near = |found: i32, moved: i64| (i64::from(found) - moved).abs() <= 2;
        assert!(near(found.offset.right, right) && near(found.offset.down, down), "{name}: {:?}", found.offset);
    }
    let scenes = report.scenes_between(Split::Train, Split::Test);
    let crops: BTreeSet<_> = scenes.map(|s| (s.first.name.clone(), s.second.name.clone())).collect();
    for (i, k) in [(40, ALONE[3]), (300, ALONE[4])] {
        let crop = (data.pair_name(Split::Train, i), format!("testing_{k:04}"));
        assert!(crops.contains(&crop), "{crop:?} in {crops:?}");
    }

    let clean = checked("vcip2020", &root, "clean");
    let leaks: Vec<_> = clean.scenes_between(Split::Train, Split::Validation).collect();
    assert!(leaks.is_empty() && clean.duplicates.is_empty(), "{leaks:?}");
    assert_eq!((clean.splits[0].chosen, clean.splits[1].chosen), (336, 36));
    assert!((25..=35).contains(&clean.misregistered.len()), "{}", clean.misregistered.len());
}
