//! `colormamba colorize` on anyone's photographs: sizes, depths, names, formats, frames.

use crate::common::{colormamba, fail, says, succeed, write_lite_weights, write_weights};
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, GrayImage, ImageBuffer, ImageDecoder, ImageReader, Luma};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::{TempDir, tempdir};

fn level(x: u32, y: u32) -> u8 {
    (40.0 + 90.0 * (1.0 + (f64::from(x) / 11.0).sin()) + f64::from(y % 20)) as u8
}

fn photograph(width: u32, height: u32) -> GrayImage {
    GrayImage::from_fn(width, height, |x, y| Luma([level(x, y)]))
}

fn deep(width: u32, height: u32) -> ImageBuffer<Luma<u16>, Vec<u16>> {
    ImageBuffer::from_fn(width, height, |x, y| Luma([u16::from(level(x, y)) * 257]))
}

/// A folder with small weights.
fn room() -> TempDir {
    let folder = tempdir().unwrap();
    write_lite_weights(&folder.path().join("w.safetensors"));
    folder
}

fn colorize<'a>(images: &[&'a str], options: &[&'a str]) -> Vec<&'a str> {
    [&["colorize", "--weights", "w.safetensors"], images, options].concat()
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn photographs_of_any_size_get_colours_beside_them() {
    let room = room();
    let root = room.path();
    fs::create_dir(root.join("photos")).unwrap();
    let sizes = [("one", 1, 1), ("tall", 37, 1000), ("plain", 700, 450)];
    for (name, width, height) in sizes {
        photograph(width, height).save(root.join(format!("photos/{name}.png"))).unwrap();
    }
    let stdout = succeed(root, &colorize(&["photos"], &["--json", "--working-size", "200"]));
    for (name, width, height) in sizes {
        let picture = image::open(root.join(format!("photos/{name}-rgb.png"))).unwrap();
        assert_eq!((picture.width(), picture.height(), picture.color()), (width, height, ColorType::Rgb8));
        let rgb = picture.into_rgb8();
        assert!(rgb.pixels().all(|pixel| pixel[0] > pixel[2]), "more red than blue, by the weights");
    }
    let lines: Vec<serde_json::Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!((&lines[2]["input"], &lines[2]["output"]), (&"photos/tall.png".into(), &"photos/tall-rgb.png".into()));
    assert_eq!((&lines[2]["width"], &lines[2]["height"]), (&37.into(), &1000.into()));
    assert!(lines[2]["seconds"].as_f64().unwrap() > 0.0);
    // Results are no photographs, and are not replaced unawares.
    let text = fail(root, 2, &colorize(&["photos"], &[]));
    says(&text, &["passed over in photos, being results: 3, first photos/one-rgb.png", "3 files are there already"]);
    succeed(root, &colorize(&["photos"], &["--force", "--quiet"]));
    assert_eq!(files(&root.join("photos")).len(), 6);
}

/// `--out` names a folder, or the file of the only result, whose name tells its kind; where results lie is printed.
#[test]
fn results_are_named_and_said() {
    let room = room();
    let root = room.path();
    for name in ["a.png", "b.png"] {
        photograph(20, 10).save(root.join(name)).unwrap();
    }
    assert_eq!(succeed(root, &colorize(&["a.png", "b.png"], &[])), "a-rgb.png\nb-rgb.png\n");
    assert_eq!(succeed(root, &colorize(&["a.png"], &["--out", "some/of.JPG"])), "some/of.JPG\n");
    assert_eq!(image::guess_format(&fs::read(root.join("some/of.JPG")).unwrap()).unwrap(), image::ImageFormat::Jpeg);
    says(&fail(root, 2, &colorize(&["a.png"], &["--out", "some/of.JPG"])), &["some/of.JPG is there already"]);
    let text = fail(root, 2, &colorize(&["a.png", "b.png"], &["--out", "c.png"]));
    says(&text, &["--out c.png is a file's name, and there are 2 photographs: name a folder"]);
    let text = fail(root, 2, &colorize(&["a.png"], &["--out", "c.png", "--format", "jpeg"]));
    says(&text, &["--out c.png is no jpg by its name: leave --format out, or name another file"]);
    says(&fail(root, 2, &colorize(&["a.png"], &["--out", "c.jpg", "--bits-out", "16"])), &["a JPEG has 8 bits"]);
    says(&fail(root, 2, &colorize(&["a.png"], &["--out", "c.bmp"])), &["--out c.bmp: results are PNG, JPEG or TIFF"]);
    assert_eq!(succeed(root, &colorize(&["a.png"], &["--out", "e.png/"])), "e.png/a.png\n");
    assert!(!root.join("c.png").exists() && !root.join("c.jpg").exists());
    fs::remove_file(root.join("a-rgb.png")).unwrap();
    let output = colormamba(root, &colorize(&["a.png", "b.png"], &["--skip-existing"]));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "a-rgb.png\n");
    says(&String::from_utf8(output.stderr).unwrap(), &["note: 1 of 2 results are there already"]);
    fs::create_dir(root.join("d.png")).unwrap();
    assert_eq!(succeed(root, &colorize(&["a.png"], &["--out", "d.png"])), "d.png/a.png\n");
    assert_eq!(succeed(root, &colorize(&["a.png"], &["--out", "more", "--quiet"])), "");
}

#[test]
fn the_bits_of_a_photograph_are_those_of_its_result() {
    let room = room();
    let root = room.path();
    deep(90, 60).save(root.join("deep.png")).unwrap();
    photograph(90, 60).save(root.join("flat.png")).unwrap();
    let color = |name: &str| image::open(root.join(name)).unwrap().color();
    succeed(root, &colorize(&["deep.png", "flat.png"], &[]));
    assert_eq!([color("deep-rgb.png"), color("flat-rgb.png")], [ColorType::Rgb16, ColorType::Rgb8]);
    let result = |name: &str| image::open(root.join(name)).unwrap().into_rgb8();
    let close = |a: &str, b: &str, most: u8| {
        let (a, b) = (result(a), result(b));
        assert!(a.iter().zip(b.iter()).all(|(a, b)| a.abs_diff(*b) <= most));
    };
    close("deep-rgb.png", "flat-rgb.png", 1);
    for (format, name) in [("tiff", "deep-rgb.tif"), ("jpeg", "deep-rgb.jpg")] {
        succeed(root, &colorize(&["deep.png"], &["--format", format]));
        let wanted = if format == "jpeg" { ColorType::Rgb8 } else { ColorType::Rgb16 };
        assert_eq!(color(name), wanted);
        close(name, "deep-rgb.png", if format == "jpeg" { 24 } else { 0 });
    }
    succeed(root, &colorize(&["deep.png"], &["--out", "out", "--bits-out", "8"]));
    assert_eq!(color("out/deep.png"), ColorType::Rgb8);
    let text = fail(root, 2, &colorize(&["deep.png"], &["--format", "jpeg", "--bits-out", "16", "--out", "other"]));
    says(&text, &["a JPEG has 8 bits"]);
    assert!(!root.join("other").exists());
}

/// Values beside each other in one file: red in one, gray in the other.
#[test]
fn options_change_the_picture_as_they_say() {
    let room = room();
    let root = room.path();
    photograph(64, 48).save(root.join("a.png")).unwrap();
    let result = |options: &[&str]| {
        succeed(root, &colorize(&["a.png"], &[&["--out", "out", "--force"], options].concat()));
        image::open(root.join("out/a.png")).unwrap().into_rgb8()
    };
    let plain = result(&[]);
    let both = result(&["--side-by-side"]);
    assert_eq!(both.dimensions(), (128, 48));
    for (x, y, pixel) in both.enumerate_pixels() {
        let wanted = if x < 64 { [level(x, y); 3] } else { plain.get_pixel(x - 64, y).0 };
        assert_eq!(pixel.0, wanted);
    }
    assert_ne!(result(&["--keep-luma"]), plain);
    assert_ne!(result(&["--working-size", "16"]), plain);
    assert_eq!(result(&["--mirror"]).dimensions(), (64, 48));
    let text = fail(root, 2, &colorize(&["a.png"], &["--tile", "64"]));
    says(&text, &["--tile is for networks that colour by tiles"]);
    write_weights(&root.join("w.safetensors"), 8);
    assert_eq!(result(&["--tile", "64", "--overlap", "8"]).dimensions(), (64, 48));
    says(&fail(root, 2, &colorize(&["a.png"], &["--tile", "64", "--overlap", "64"])), &["must be smaller"]);
    fail(root, 2, &colorize(&["a.png"], &["--overlap", "8"]));
}

#[test]
fn a_bad_file_is_told_and_the_others_are_done() {
    let room = room();
    let root = room.path();
    photograph(20, 10).save(root.join("a.png")).unwrap();
    photograph(20, 10).save(root.join("c.png")).unwrap();
    fs::write(root.join("b.png"), "no image").unwrap();
    let output = colormamba(root, &colorize(&["[a-z].png"], &["--json"]));
    assert_eq!(output.status.code(), Some(1));
    says(&String::from_utf8(output.stderr).unwrap(), &["1 of 3 photographs could not be colorized", "\n  b.png: "]);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<serde_json::Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    says(lines[1]["error"].as_str().unwrap(), &["b.png", "not a readable image"]);
    assert!(lines[0]["error"].is_null() && lines[2]["error"].is_null());
    assert_eq!(files(root), ["a-rgb.png", "a.png", "b.png", "c-rgb.png", "c.png", "w.safetensors"]);
    says(&fail(root, 2, &colorize(&["*.bmp"], &[])), &["*.bmp matches no image"]);
}

/// A tag of its own and the orientation, in TIFF's form: `Make` "colour" and a turn to the right; then a second
/// directory, as of a thumbnail, without entries.
fn exif() -> Vec<u8> {
    let mut exif = b"MM\0\x2a\0\0\0\x08\0\x02".to_vec();
    exif.extend(b"\x01\x0f\0\x02\0\0\0\x07\0\0\0\x26");
    exif.extend(b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0");
    exif.extend(b"\0\0\0\x2ecolour\0\0\0\0\0\0\0\0");
    exif
}

#[test]
fn exif_is_kept_and_the_turn_is_done() {
    use image::ImageEncoder;
    let room = room();
    let root = room.path();
    let mut file = fs::File::create(root.join("a.png")).unwrap();
    let mut encoder = image::codecs::png::PngEncoder::new(&mut file);
    encoder.set_exif_metadata(exif()).unwrap();
    encoder.set_icc_profile(b"gray".to_vec()).unwrap();
    DynamicImage::ImageLuma8(photograph(30, 20)).write_with_encoder(encoder).unwrap();
    for (format, name) in [("png", "a-rgb.png"), ("jpeg", "a-rgb.jpg")] {
        succeed(root, &colorize(&["a.png"], &["--format", format]));
        let mut decoder = ImageReader::open(root.join(name)).unwrap().into_decoder().unwrap();
        assert_eq!(decoder.dimensions(), (20, 30), "{format}");
        let kept = decoder.exif_metadata().unwrap().unwrap();
        assert!(kept.windows(6).any(|part| part == b"colour"), "{format}");
        assert_eq!(kept[34..38], [0; 4], "{format}: no link to the thumbnail");
        assert_eq!(Orientation::from_exif_chunk(&kept), Some(Orientation::NoTransforms), "{format}");
        assert_eq!(decoder.icc_profile().unwrap(), None, "{format}");
    }
    let output = colormamba(root, &colorize(&["a.png"], &["--format", "tiff"]));
    says(
        &String::from_utf8(output.stderr).unwrap(),
        &["note: a.png: its EXIF is not kept, a tif takes none or less: --format png keeps it"],
    );
}

fn of_stream(root: &Path, stream: &[u8], options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_colormamba"));
    command.args(["--threads", "2"]).args(colorize(&["-"], options)).current_dir(root);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that refuses its options reads nothing.
    let _ = child.stdin.take().unwrap().write_all(stream);
    child.wait_with_output().unwrap()
}

/// Frames of one level, whose colours are those of a photograph of it.
#[test]
fn frames_are_colorized_as_photographs_are() {
    let room = room();
    let root = room.path();
    GrayImage::from_pixel(6, 5, Luma([128])).save(root.join("a.png")).unwrap();
    succeed(root, &colorize(&["a.png"], &[]));
    let rgb = image::open(root.join("a-rgb.png")).unwrap().into_rgb8();
    for (form, chroma, range) in
        [("C420jpeg XYSCSS=420JPEG ", 18, ""), ("C422 ", 30, ""), ("", 18, "FULL"), ("Cmono ", 0, "")]
    {
        let full = range == "FULL";
        let color_range = if full { "XCOLORRANGE=FULL " } else { "" };
        let mut stream = format!("YUV4MPEG2 W6 H5 F25:1 Ip {form}{color_range}A1:1\n").into_bytes();
        for _ in 0..2 {
            stream.extend(b"FRAME\n");
            stream.extend([if full { 128 } else { 126 }; 30]);
            stream.extend(vec![77; chroma]);
        }
        let output = of_stream(root, &stream, &[]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let header = format!("YUV4MPEG2 W6 H5 F25:1 Ip {color_range}A1:1 C444\n");
        let frames = output.stdout.strip_prefix(header.as_bytes()).expect("the same header but for the form");
        assert_eq!(frames.len(), 2 * (6 + 90));
        assert_eq!(frames[..96], frames[96..]);
        let planes = frames.strip_prefix(b"FRAME\n").unwrap();
        let (black, white, chroma) = if full { (0.0, 255.0, 255.0) } else { (16.0, 219.0, 224.0) };
        for (i, pixel) in rgb.pixels().enumerate() {
            let y = (f32::from(planes[i]) - black) / white;
            let [b, r] = [30, 60].map(|plane| (f32::from(planes[plane + i]) - 128.0) / chroma);
            let seen = [y + 1.402 * r, y - 0.344_136 * b - 0.714_136 * r, y + 1.772 * b].map(|value| 255.0 * value);
            for (seen, wanted) in seen.iter().zip(pixel.0) {
                assert!((seen - f32::from(wanted)).abs() < 4.0, "{form}: {seen} for {wanted}");
            }
        }
    }
    let refused = |stream: &[u8], options: &[&str], code, wanted: &str| {
        let output = of_stream(root, stream, options);
        assert_eq!(output.status.code(), Some(code));
        says(&String::from_utf8(output.stderr).unwrap(), &[wanted]);
    };
    refused(b"YUV4MPEG2 W6 H5 Cmono\nFRAME\nabc", &[], 1, "frame 1: the stream was cut");
    refused(b"YUV4MPEG2 W6 H5 C420p10\n", &[], 1, "frames of form C420p10: 8 bits in C420");
    refused(b"RIFF", &[], 1, "standard input: the stream was cut, or is no YUV4MPEG2 stream");
    refused(b"YUV4MPEG2 W60000 H50000\n", &[], 1, "need --max-pixels");
    refused(b"", &["--out", "out"], 2, "--out is for photographs, not for frames");
}
