//! `colormamba compare` on images of any origin.

use crate::common::{colormamba, fail, says, succeed};
use image::{ImageBuffer, Rgb, RgbImage, Rgba, RgbaImage};
use serde_json::Value;
use std::fs;
use std::path::Path;
use tempfile::{TempDir, tempdir};

/// A pattern of 48x48 pixels, moved by `shift` and brightened by `add`.
fn pattern(shift: u32, add: u8) -> RgbImage {
    RgbImage::from_fn(48, 48, |x, y| {
        let v = |k: u32| (((x + shift) * (7 + k) + y * 5) % 200) as u8 + add;
        Rgb([v(0), v(3), v(11)])
    })
}

fn save(image: &RgbImage, path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    image.save(path).unwrap();
}

/// Three predictions: equal, brighter by 10, moved.
fn folders() -> TempDir {
    let folder = tempdir().unwrap();
    for (name, shift, add) in [("equal", 0, 0), ("bright", 0, 10), ("moved", 9, 0)] {
        save(&pattern(0, 0), &folder.path().join(format!("truth/{name}.png")));
        save(&pattern(shift, add), &folder.path().join(format!("pred/{name}.bmp")));
    }
    folder
}

#[test]
fn folders_are_matched_by_name_and_the_worst_comes_first() {
    let folder = folders();
    let args =
        ["compare", "pred", "truth", "--measure", "mae[rgb,L=1]", "--measure", "psnr[rgb,L=1]", "--out", "scores"];
    let text = succeed(folder.path(), &args);
    says(&text, &["3 images", "protocol raw", "| mae[rgb,L=1] |", "worst by mae[rgb,L=1]:"]);
    assert!(text.find("moved").unwrap() < text.find("bright").unwrap(), "{text}");
    let lines = fs::read_to_string(folder.path().join("scores/scores.jsonl")).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = lines.iter().map(|line| line["image"].as_str().unwrap()).collect();
    assert_eq!(names, ["moved", "bright", "equal"]);
    let bright = lines[1]["metrics"]["mae[rgb,L=1]"].as_f64().unwrap();
    assert!((bright - 10.0 / 255.0).abs() < 1e-12, "{bright}");
    assert_eq!(lines[2]["metrics"]["psnr[rgb,L=1]"], "inf");
    let csv = fs::read_to_string(folder.path().join("scores/scores.csv")).unwrap();
    assert!(csv.starts_with("image,\"mae[rgb,L=1]\",\"psnr[rgb,L=1]\"\nmoved,"), "{csv}");
    let summary = fs::read_to_string(folder.path().join("scores/summary.csv")).unwrap();
    assert_eq!(summary.lines().count(), 3, "{summary}");
}

/// One equal image made a mean infinite and a deviation NaN; a black prediction has the best exact angular error.
#[test]
fn equal_images_and_black_predictions_are_told_beside_the_mean() {
    let folder = folders();
    let root = folder.path();
    save(&pattern(3, 0), &root.join("truth/night.png"));
    save(&RgbImage::new(48, 48), &root.join("pred/night.bmp"));
    let args = ["compare", "pred", "truth", "--measure", "psnr", "--measure", "ae[exact]", "--out", "scores"];
    let text = succeed(root, &args);
    assert!(!text.contains("NaN") && !text.contains("| inf"), "{text}");
    says(&text, &["psnr[rgb,L=1]: infinite for 1 image (equal); the numbers are of the others"]);
    says(&text, &["ae[exact,deg]: all black, which has no angle and counts as 0, the best: 1 image (night)"]);
    let summary = fs::read_to_string(root.join("scores/summary.csv")).unwrap();
    assert!(
        summary.lines().nth(1).is_some_and(|line| line.starts_with("\"psnr[rgb,L=1]\",4,") && line.ends_with(",1"))
    );
    let one = succeed(root, &["compare", "pred/moved.bmp", "truth/moved.png", "--measure", "psnr"]);
    assert!(!one.contains("NaN"), "{one}");
    let equal = succeed(root, &["compare", "pred/equal.bmp", "truth/equal.png", "--measure", "psnr"]);
    assert!(equal.contains("| inf |") && !equal.contains("of the others"), "{equal}");
}

#[test]
fn two_images_get_every_measure_that_they_are_large_enough_for() {
    let folder = folders();
    let text = succeed(folder.path(), &["compare", "pred/moved.bmp", "truth/moved.png", "--json"]);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let measures: Vec<&str> = lines.iter().map(|line| line["measure"].as_str().unwrap()).collect();
    assert!(measures.contains(&"ae[exact,deg]") && measures.contains(&"ciede2000[srgb,D65,p95]"), "{measures:?}");
    assert!(!measures.iter().any(|spec| spec.starts_with("ms_ssim")), "48 pixels hold no five scales");
    assert!(measures.len() >= 20, "{measures:?}");
}

/// What `compare` says beside its table.
fn said(root: &Path, args: &[&str]) -> (String, String) {
    let output = colormamba(root, &[&["compare", "pred", "truth"], args].concat());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    assert!(output.status.success(), "{}", text(output.stderr));
    (text(output.stdout), text(output.stderr))
}

/// Images that differ in their low bytes, or in what is behind them, had perfect scores without a word.
#[test]
fn what_no_measure_sees_is_told() {
    let folder = tempdir().unwrap();
    let root = folder.path();
    for side in ["pred", "truth"] {
        fs::create_dir(root.join(side)).unwrap();
        for name in ["a", "b"] {
            let low = u16::from(side == "pred");
            let wide: ImageBuffer<Rgb<u16>, Vec<u16>> =
                ImageBuffer::from_fn(16, 16, |x, y| Rgb([257 * (x + 9 * y) as u16 + low; 3]));
            wide.save(root.join(side).join(format!("{name}.png"))).unwrap();
        }
        let alpha = if side == "pred" { 9 } else { 255 };
        let clear = RgbaImage::from_fn(16, 16, |x, y| Rgba([(x + 9 * y) as u8, 7, 7, alpha]));
        clear.save(root.join(side).join("c.png")).unwrap();
    }
    let (table, notes) = said(root, &["--measure", "mae"]);
    says(&table, &["3 images", "| mae[rgb,L=1] | 0.0000 | 0.0000 |"]);
    says(&notes, &["note: pred/a.png and 3 others: more than 8 bits a value are reduced to 8"]);
    says(&notes, &["note: pred/c.png: transparency is dropped"]);
    let (_, notes) = said(root, &[]);
    says(
        &notes,
        &["4 measures left out, as the smallest image has a side of 16 pixels: ", "ms_ssim (from 176 pixels)"],
    );
}

#[test]
fn one_is_singular_and_nothing_is_minus_zero() {
    let folder = tempdir().unwrap();
    let root = folder.path();
    for side in ["pred", "truth"] {
        save(&pattern(0, 0), &root.join(side).join("Caf\u{e9}.PNG"));
    }
    fs::rename(root.join("truth/Caf\u{e9}.PNG"), root.join("truth/cafe\u{301}.png")).unwrap();
    let (table, notes) = said(root, &[]);
    says(&table, &["1 image, 8-bit"]);
    assert!(!table.contains("-0.0000 "), "{table}");
    assert!(!notes.contains("1 images"), "{notes}");
    let text = fail(root, 2, &["compare", "pred", "truth", "--match", "*.png=*.png"]);
    says(&text, &["names without extension count, of which the first are Caf\u{e9} and cafe\u{301}"]);
}

#[test]
fn under_minmax_the_truth_is_stretched_and_every_spec_says_so() {
    let folder = folders();
    let root = folder.path();
    let args = ["compare", "pred", "truth", "--protocol", "minmax", "--out", "scores", "--force"];
    let text = succeed(root, &[&args[..], &["--measure", "mae[rgb,L=1]", "--worst", "0"]].concat());
    says(&text, &["stretched over its own range (protocol minmax)", "| mae[rgb,L=1,minmax] |"]);
    let line = fs::read_to_string(root.join("scores/scores.jsonl")).unwrap();
    let equal = line.lines().find(|line| line.contains("equal")).unwrap();
    let equal: Value = serde_json::from_str(equal).unwrap();
    let image = pattern(0, 0);
    let (low, high) = image.iter().fold((255u8, 0u8), |(low, high), v| (low.min(*v), high.max(*v)));
    let (low, span) = (f64::from(low), f64::from(high) - f64::from(low) + 1e-3);
    let error = |v: &u8| (f64::from(*v) / 255.0 - (f64::from(*v) - low) / span).abs();
    let wanted = image.iter().map(error).sum::<f64>() / image.len() as f64;
    let got = equal["metrics"]["mae[rgb,L=1,minmax]"].as_f64().unwrap();
    assert!(wanted > 0.01 && (got - wanted).abs() < 1e-12, "{got}, not {wanted}");
    succeed(root, &[&args[..], &["--measure", "psnr[rgb,L=1,minmax]"]].concat());
    let text = fail(root, 2, &["compare", "pred", "truth", "--measure", "psnr[rgb,L=1,minmax]"]);
    says(&text, &["`psnr[rgb,L=1,minmax]` needs --protocol minmax"]);
    let csv = fs::read_to_string(root.join("scores/summary.csv")).unwrap();
    assert!(csv.contains("\"psnr[rgb,L=1,minmax]\""), "{csv}");
}

#[test]
fn short_names_stand_for_specs_and_a_network_in_the_program_needs_no_file() {
    let folder = folders();
    let args = ["compare", "pred", "truth", "--json", "--measure", "ssim", "--measure", "st-lpips[alex]"];
    let text = succeed(folder.path(), &args);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["measure"], "ssim[uniform7,sample-covariance,rgb,L=1]");
    assert_eq!(lines[1]["measure"], "st-lpips[alex]");
    let mean = lines[1]["mean"].as_f64().unwrap();
    assert!((0.001..1.0).contains(&mean), "{mean}");
    let args = ["compare", "pred", "truth", "--measure", "st-lpips[alex,minmax]", "--protocol", "minmax"];
    says(&succeed(folder.path(), &args), &["| st-lpips[alex,minmax] |"]);
}

#[test]
fn what_cannot_be_compared() {
    let folder = folders();
    let root = folder.path();
    says(&fail(root, 2, &["compare", "pred", "truth/equal.png"]), &["two images or two folders"]);
    let text = fail(root, 2, &["compare", "pred", "truth", "--measure", "pnsr[rgb,L=1]"]);
    says(&text, &["pnsr[rgb,L=1]", "psnr[rgb,L=1]", "lpips[vgg]"]);
    let text = fail(root, 2, &["compare", "pred", "truth", "--measure", "pnsr"]);
    says(&text, &["did you mean `psnr`?", "st-lpips[alex]"]);
    let text = fail(root, 1, &["compare", "pred", "truth", "--measure", "lpips[alex]"]);
    says(&text, &["alexnet", "colormamba weights fetch alexnet", "name it by --weights DIR"]);
    assert!(!text.contains("features ="), "{text}");
    let text = fail(root, 1, &["compare", "pred", "truth", "--measure", "fd_dinov2"]);
    says(&text, &["dinov2-vitl14", "colormamba weights fetch dinov2-vitl14"]);
    let text = fail(root, 2, &["compare", "pred", "truth", "--measure", "fd_dinov3"]);
    says(&text, &["did you mean `fd_dinov2`?", "st-lpips[alex], fd_dinov2, kd_dinov2"]);
    let text = fail(root, 2, &["compare", "pred", "truth", "--measure", "kd_dinov2", "--protocol", "minmax"]);
    says(&text, &["`kd_dinov2` is of images as they are: --protocol raw"]);
    let text = fail(root, 2, &["table", "runs", "--measure", "fd_dinov2"]);
    says(&text, &["`fd_dinov2` is of two sets of images", "`colormamba compare` takes it"]);
    save(&pattern(0, 0), &root.join("pred/alone.png"));
    says(
        &fail(root, 2, &["compare", "pred", "truth"]),
        &["of pred without a partner", ": 1 (alone)", "without extension"],
    );
    fs::remove_file(root.join("pred/alone.png")).unwrap();
    save(&RgbImage::new(20, 20), &root.join("pred/equal.bmp"));
    says(&fail(root, 1, &["compare", "pred", "truth"]), &["equal", "20x20", "48x48"]);
    fs::write(root.join("pred/equal.bmp"), "no image").unwrap();
    says(&fail(root, 1, &["compare", "pred", "truth"]), &["equal.bmp", "not a readable image"]);
}
