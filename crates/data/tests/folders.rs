//! Folders as people have them: what systems leave in them, names written otherwise, formats mixed, splits missing.

use colormamba_data::check::check;
use colormamba_data::{DataError, Dataset, Description, Photographs, Split, Subset};
use image::{GrayImage, Luma, Rgb, RgbImage};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Six training and two validation pairs of 12 x 12 pixels, in the layout of `datasets/pairs.toml`.
fn clean() -> TempDir {
    let root = TempDir::new().unwrap();
    for i in 0..8 {
        let split = if i < 6 { "train" } else { "validation" };
        add(root.path(), &format!("{split}/nir/img{i}.png"), &format!("{split}/rgb/img{i}.png"), i);
    }
    root
}

fn add(root: &Path, nir: &str, rgb: &str, level: u8) {
    for path in [nir, rgb] {
        fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
    }
    GrayImage::from_fn(12, 12, |x, y| Luma([(x * y) as u8 + level])).save(root.join(nir)).unwrap();
    RgbImage::from_fn(12, 12, |x, y| Rgb([x as u8, y as u8, level])).save(root.join(rgb)).unwrap();
}

fn described(more: &str) -> Description {
    let text = include_str!("../../../datasets/pairs.toml").replacen("[terms]", &format!("{more}\n[terms]"), 1);
    Description::parse(&text, "pairs.toml").unwrap()
}

fn open(root: &Path, more: &str) -> Result<Photographs, DataError> {
    Photographs::open(&described(more), root, &Subset::published())
}

fn lens(data: &Photographs) -> [usize; 3] {
    Split::ALL.map(|split| data.len(split))
}

fn names(data: &Photographs, split: Split) -> Vec<String> {
    (0..data.len(split)).map(|i| data.pair_name(split, i)).collect()
}

fn flaws(root: &Path) -> Vec<String> {
    let report = check(&described(""), root, &Subset::published(), &mut |_, _| ()).unwrap();
    report.flaws.into_iter().map(|flaw| flaw.problem).filter(|problem| !problem.contains("is flat")).collect()
}

#[test]
fn what_systems_leave_in_folders_is_passed_over() {
    let root = clean();
    for folder in ["train/nir", "train/rgb", "validation/nir"] {
        let folder = root.path().join(folder);
        fs::write(folder.join("._img0.png"), b"\0\x05\x16\x07\0\x02\0\0Mac OS X").unwrap();
        fs::write(folder.join(".DS_Store"), b"\0\0\0\x01Bud1").unwrap();
        fs::write(folder.join("Thumbs.db"), b"\xd0\xcf\x11\xe0").unwrap();
        fs::create_dir(folder.join("old.png")).unwrap();
        fs::create_dir(folder.join(".AppleDouble")).unwrap();
        fs::write(folder.join(".AppleDouble/img1.png"), b"\0\x05\x16\x07").unwrap();
    }
    let data = open(root.path(), "").unwrap();
    assert_eq!((lens(&data), data.warnings()), ([6, 2, 0], vec![]));
    assert_eq!(flaws(root.path()), [""; 0]);
    // In a pattern of several parts too.
    let wide = described("").split.train.nir.replace("train/nir", "*/nir");
    let text = include_str!("../../../datasets/pairs.toml").replace("train/nir/*.png", &wide);
    let text = text.replace("train/rgb/*.png", "*/rgb/*.png");
    fs::create_dir_all(root.path().join(".Trashes/nir")).unwrap();
    fs::write(root.path().join(".Trashes/nir/img9.png"), "deleted").unwrap();
    let all = Photographs::open(&Description::parse(&text, "p.toml").unwrap(), root.path(), &Subset::published());
    assert_eq!(all.unwrap().len(Split::Train), 8);
}

#[cfg(unix)]
#[test]
fn links_that_lead_nowhere_or_round_in_a_circle() {
    use std::os::unix::fs::symlink;
    let root = clean();
    let at = |path: &str| root.path().join(path);
    // Beside the images, without a partner, and in place of an image of a pair.
    symlink("/nowhere/at/all", at("train/nir/notes.txt")).unwrap();
    symlink("/nowhere/at/all.png", at("train/nir/gone.png")).unwrap();
    fs::remove_file(at("train/rgb/img2.png")).unwrap();
    symlink("img2-moved.png", at("train/rgb/img2.png")).unwrap();
    symlink("loop-b.png", at("train/nir/loop-a.png")).unwrap();
    symlink("loop-a.png", at("train/nir/loop-b.png")).unwrap();
    // What a link leads to counts as if it were here.
    fs::rename(at("train/nir/img3.png"), at("elsewhere.png")).unwrap();
    symlink("../../elsewhere.png", at("train/nir/img3.png")).unwrap();
    let data = open(root.path(), "").unwrap();
    assert_eq!(names(&data, Split::Train), ["img0", "img1", "img3", "img4", "img5"]);
    let warnings = data.warnings().join("\n");
    assert!(warnings.contains("gone.png and 3 others: a link that leads nowhere"), "{warnings}");
    assert_eq!(flaws(root.path()), [""; 0]);

    // A link to a folder above itself, where folders are gone through.
    let tree = TempDir::new().unwrap();
    add(tree.path(), "a/x/ir_1.png", "b/x/vis_1.png", 1);
    symlink("..", tree.path().join("a/above")).unwrap();
    symlink(".", tree.path().join("a/same")).unwrap();
    let text = include_str!("../../../datasets/pairs.toml");
    let text = text.replace("train/nir/*.png", "a/*/ir_*.png").replace("train/rgb/*.png", "b/*/vis_*.png");
    let data = Photographs::open(&Description::parse(&text, "p.toml").unwrap(), tree.path(), &Subset::published());
    assert_eq!(names(&data.unwrap(), Split::Train), ["x_1"]);
}

/// A split is empty where its folder is missing, not where it cannot be read: the weights would be chosen by nothing.
#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_read_is_not_missing() {
    use std::os::unix::fs::symlink;
    let root = clean();
    let validation = root.path().join("validation/nir");
    let refused = |wanted: &str| {
        let error = open(root.path(), "").unwrap_err();
        assert!(matches!(error, DataError::Io { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("validation/nir: ") && text.contains(wanted), "{text}");
        let error = check(&described(""), root.path(), &Subset::published(), &mut |_, _| {}).unwrap_err();
        assert_eq!(error.to_string(), text);
        fs::remove_file(&validation).unwrap();
    };
    fs::remove_dir_all(&validation).unwrap();
    // No system follows it, as it does not follow a path to a disk that has failed.
    symlink("nir", &validation).unwrap();
    refused("symbolic link");
    symlink("/nowhere/at/all", &validation).unwrap();
    refused("a link to a folder that is not there: restore that, or remove the link");
    fs::write(&validation, "").unwrap();
    refused("a file in the place of a folder of images");
    // Gone altogether, with its images.
    fs::remove_dir_all(root.path().join("validation")).unwrap();
    assert_eq!(lens(&open(root.path(), "").unwrap()), [6, 0, 0]);
}

/// macOS writes an accent as a character of its own, most others as one with its letter.
#[test]
fn names_pair_however_their_accents_and_capitals_are_written() {
    let root = TempDir::new().unwrap();
    add(root.path(), "train/nir/for\u{ea}t.png", "train/rgb/fore\u{302}t.png", 1);
    add(root.path(), "train/nir/HALDE.PNG", "train/rgb/Halde.png", 2);
    let data = open(root.path(), "").unwrap();
    assert_eq!(names(&data, Split::Train), ["for\u{ea}t", "halde"]);
    // So do a subset's names.
    let subset = "[subset.one]\nnote = \"n\"\ntrain.only = [\"FORE\u{302}T\"]\n";
    let text = format!("{}{subset}", include_str!("../../../datasets/pairs.toml"));
    let one =
        Photographs::open(&Description::parse(&text, "p.toml").unwrap(), root.path(), &"one".parse().unwrap()).unwrap();
    assert_eq!(names(&one, Split::Train), ["for\u{ea}t"]);
    // And the folders before the first star.
    let capitals = TempDir::new().unwrap();
    add(capitals.path(), "Train/NIR/a.png", "Train/RGB/a.png", 1);
    assert_eq!(names(&open(capitals.path(), "").unwrap(), Split::Train), ["a"]);
    // Two files of one name have one partner between them.
    add(root.path(), "train/nir/halde.png", "train/rgb/halde.png", 3);
    let error = open(root.path(), "").unwrap_err().to_string();
    assert!(error.contains("HALDE.PNG and ") && error.contains("one name, as case, accents"), "{error}");
    assert_eq!(flaws(root.path()).len(), 2);
}

#[test]
fn png_beside_jpeg_in_one_split() {
    let root = clean();
    let at = |path: &str| root.path().join(path);
    fs::rename(at("train/nir/img0.png"), at("train/nir/img0.PNG")).unwrap();
    let rgb = image::open(at("train/rgb/img1.png")).unwrap();
    rgb.save(at("train/rgb/img1.jpg")).unwrap();
    fs::remove_file(at("train/rgb/img1.png")).unwrap();
    // Of two formats of one photograph the pattern's own is taken.
    rgb.save(at("train/rgb/img2.jpeg")).unwrap();
    // Without a partner it is none of the set's, and that is said.
    rgb.save(at("train/rgb/overview.bmp")).unwrap();
    let data = open(root.path(), "").unwrap();
    assert_eq!(names(&data, Split::Train), (0..6).map(|i| format!("img{i}")).collect::<Vec<_>>());
    assert_eq!(data.pair(Split::Train, 2).unwrap().rgb.get_pixel(3, 4).0, [3, 4, 2]);
    let warnings = data.warnings().join("\n");
    assert!(warnings.contains("overview.bmp: has no partner, and another extension"), "{warnings}");
    // Where all are of another format than the pattern's, they are the set.
    let bmp = TempDir::new().unwrap();
    add(bmp.path(), "train/nir/a.bmp", "train/rgb/a.tif", 1);
    assert_eq!(names(&open(bmp.path(), "").unwrap(), Split::Train), ["a"]);
    // A folder is known by its own extension: other data sets have the same names.
    let known = Description::find("rgb-nir-scene").unwrap();
    add(bmp.path(), "x/1_nir.png", "x/1_rgb.png", 1);
    assert!(!known.fits(bmp.path()) && known.split.train.nir.ends_with(".tiff"));
}

#[test]
fn a_part_is_held_out_where_there_is_no_validation() {
    for empty_folders in [false, true] {
        let root = clean();
        fs::remove_dir_all(root.path().join("validation")).unwrap();
        if empty_folders {
            fs::create_dir_all(root.path().join("validation/nir")).unwrap();
            fs::create_dir_all(root.path().join("validation/rgb")).unwrap();
        }
        assert_eq!(lens(&open(root.path(), "").unwrap()), [6, 0, 0]);
        let held = open(root.path(), "holdout = 0.3").unwrap();
        assert_eq!(lens(&held), [4, 2, 0]);
        let said = held.warnings().join("\n");
        assert!(
            said.contains("2 of the 6 training pairs are held out for validation") && said.contains("holdout = 0.3")
        );
        let all: BTreeSet<String> = [Split::Train, Split::Validation].iter().flat_map(|s| names(&held, *s)).collect();
        assert_eq!(all.len(), 6, "every pair is in one part");
        let again = open(root.path(), "holdout = 0.3").unwrap();
        assert_eq!(names(&again, Split::Validation), names(&held, Split::Validation));
        let seeds: BTreeSet<_> = (0..20)
            .map(|seed| {
                names(&open(root.path(), &format!("holdout = 0.3\nholdout_seed = {seed}")).unwrap(), Split::Validation)
            })
            .collect();
        assert!(seeds.len() > 5, "{seeds:?}");
        // However small the part: one pair validates, and one trains.
        assert_eq!(lens(&open(root.path(), "holdout = 0.001").unwrap()), [5, 1, 0]);
        assert_eq!(lens(&open(root.path(), "holdout = 0.999").unwrap()), [1, 5, 0]);
        let report = check(&described("holdout = 0.3"), root.path(), &Subset::published(), &mut |_, _| ()).unwrap();
        let counts: Vec<_> = report.splits.iter().map(|split| (split.from, split.chosen)).collect();
        assert_eq!(counts[..2], [(Split::Train, 4), (Split::Train, 2)]);
    }
    // Pairs that are there validate.
    let whole = open(clean().path(), "holdout = 0.3").unwrap();
    assert_eq!((lens(&whole), whole.warnings()), ([6, 2, 0], vec![]));
    // A subset that has its own keeps it.
    let root = clean();
    fs::remove_dir_all(root.path().join("validation")).unwrap();
    let own = "[subset.own]\nnote = \"n\"\ntrain.without = [\"img5\"]\nvalidation = { from = \"train\", only = [\"img5\"] }\n";
    let text = include_str!("../../../datasets/pairs.toml").replacen("[terms]", "holdout = 0.5\n[terms]", 1) + own;
    let own = Photographs::open(&Description::parse(&text, "p.toml").unwrap(), root.path(), &"own".parse().unwrap());
    let own = own.unwrap();
    assert_eq!((lens(&own), names(&own, Split::Validation)), ([5, 1, 0], vec!["img5".to_string()]));
    for wrong in ["0.0", "1.0", "-0.1", "nan"] {
        let text =
            include_str!("../../../datasets/pairs.toml").replacen("[terms]", &format!("holdout = {wrong}\n[terms]"), 1);
        let error = Description::parse(&text, "p.toml").unwrap_err().to_string();
        assert!(error.contains("holdout: ") && error.contains("between 0 and 1"), "{error}");
    }
}
