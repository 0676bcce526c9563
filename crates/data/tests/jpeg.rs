//! JPEG files that hold all of their image are read right, all others are refused.
//!
//! `tests/fixtures/images/jpeg` holds a drawn scene as cjpeg (libjpeg-turbo 2.1) writes it, beside each file its pixels by
//! Pillow 12.

use colormamba_data::{DataError, ImageFault, read_rgb};
use colormamba_testkit::fixtures_dir;
use image::RgbImage;
use std::fs;
use std::path::{Path, PathBuf};

const FORMS: [&str; 10] = [
    "baseline",
    "optimized",
    "progressive",
    "progressive-restart",
    "restart",
    "separate-420",
    "separate-422",
    "separate-444",
    "gray",
    "gray-progressive",
];

fn folder() -> PathBuf {
    fixtures_dir().join("images/jpeg")
}

fn bytes(form: &str) -> Vec<u8> {
    fs::read(folder().join(format!("{form}.jpg"))).unwrap()
}

/// What the reader makes of these bytes.
fn reading(bytes: &[u8]) -> Result<RgbImage, DataError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photo.jpg");
    fs::write(&path, bytes).unwrap();
    read_rgb(&path)
}

fn psnr(a: &RgbImage, b: &RgbImage) -> f64 {
    assert_eq!(a.dimensions(), b.dimensions());
    let squares = a.iter().zip(b.iter()).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
    10.0 * (255.0f64.powi(2) / (squares.sum::<f64>() / a.len() as f64).max(1e-10)).log10()
}

fn is_right(what: &str, bytes: &[u8], truth: &Path) {
    let image = reading(bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
    let psnr = psnr(&image, &read_rgb(truth).unwrap());
    // Decoders differ in how they enlarge chroma; a wrong one gives 4 to 20 dB.
    assert!(psnr > 40.0, "{what}: {psnr:.1} dB");
}

fn refused(what: &str, bytes: &[u8]) -> String {
    match reading(bytes) {
        Err(error @ DataError::Image { fault: ImageFault::Jpeg(_) | ImageFault::Damaged(_), .. }) => error.to_string(),
        other => panic!("{what}: {:?}", other.map(|image| image.dimensions())),
    }
}

#[test]
fn every_form_is_read_right() {
    for form in FORMS {
        is_right(form, &bytes(form), &folder().join(format!("{form}.png")));
    }
}

#[test]
fn what_lacks_its_end_marker_or_has_bytes_behind_it_is_read() {
    for form in FORMS {
        let (whole, truth) = (bytes(form), folder().join(format!("{form}.png")));
        let n = whole.len();
        for (what, bytes) in [
            ("without end marker", whole[..n - 2].to_vec()),
            ("with half an end marker", whole[..n - 1].to_vec()),
            ("with text behind", [&whole[..], b"made by a camera"].concat()),
            ("with zeros behind", [&whole[..], &[0; 5000]].concat()),
            ("with another image behind", [&whole[..], &whole[..]].concat()),
        ] {
            is_right(&format!("{form} {what}"), &bytes, &truth);
        }
    }
}

#[test]
fn what_was_cut_is_refused() {
    for form in FORMS {
        let whole = bytes(form);
        let n = whole.len();
        for percent in [10, 30, 50, 70, 90, 97, 99] {
            let cut = &whole[..n * percent / 100];
            refused(&format!("{form} cut at {percent} %"), cut);
            let padded = [cut, &vec![0; n - cut.len()]].concat();
            refused(&format!("{form} filled with zeros from {percent} %"), &padded);
            let ended = [cut, b"\xff\xd9"].concat();
            refused(&format!("{form} ended at {percent} %"), &ended);
            let both = [&padded[..n - 2], b"\xff\xd9"].concat();
            refused(&format!("{form} filled with zeros from {percent} % and ended"), &both);
        }
        for lost in [3, 4, 8, 20] {
            refused(&format!("{form} without its last {lost} bytes"), &whole[..n - lost]);
        }
    }
}

#[test]
fn messages_say_what_is_wrong() {
    let whole = bytes("baseline");
    let cut = refused("cut", &whole[..whole.len() / 2]);
    assert!(cut.contains("photo.jpg: the file was cut: its data end at byte"), "{cut}");
    assert!(cut.contains("of 93: get it again from where it came"), "{cut}");
    let arithmetic = refused("arithmetic", &bytes("arithmetic"));
    assert!(arithmetic.contains("arithmetically coded JPEG is not read: save it as"), "{arithmetic}");
    let coarse = refused("coarse", &[&bytes("progressive")[..2000], b"\xff\xd9"].concat());
    assert!(coarse.contains("the file"), "{coarse}");
}

/// Whatever stands in a file: an image or an error, never a panic or a hang, and memory in proportion.
#[test]
fn damaged_files_never_panic() {
    for form in FORMS {
        let whole = bytes(form);
        // A linear congruence, so that every run tries the same.
        let mut state = 1u64;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        for _ in 0..300 {
            let mut bytes = whole.clone();
            for _ in 0..1 + next() % 4 {
                let at = next() % bytes.len();
                bytes[at] = next() as u8;
            }
            _ = reading(&bytes).map(|image| image.dimensions());
        }
    }
}
