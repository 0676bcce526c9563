//! Every kind of image that people have is read right or refused in plain words (`tests/fixtures/images`).

use colormamba_data::{Bits, Channel, DataError, Read, Reading, read_gray, read_rgb};
use colormamba_testkit::fixtures_dir;
use image::{GrayImage, ImageBuffer, Luma, RgbImage};
use std::path::{Path, PathBuf};

fn file(name: &str) -> PathBuf {
    fixtures_dir().join("images").join(name)
}

fn refused<T: std::fmt::Debug>(result: Result<T, DataError>, expected: &[&str]) {
    let text = result.unwrap_err().to_string();
    for part in expected {
        assert!(text.contains(part), "`{text}` lacks `{part}`");
    }
}

/// The NIR image with one note, which says that.
fn noted(reading: Reading, name: &str, note: &str) -> GrayImage {
    let Read { image, notes, .. } = reading.gray(&file(name)).unwrap();
    assert!(notes.iter().any(|said| said.to_string().contains(note)), "{notes:?}");
    image
}

fn gray(name: &str) -> GrayImage {
    read_gray(file(name)).unwrap()
}

fn rgb(name: &str) -> RgbImage {
    read_rgb(file(name)).unwrap()
}

#[test]
fn gray_tiff() {
    let reference = gray("tiff/ref_gray8.png");
    for name in [
        "gray16_be_lzw_pred.tif",
        "gray16_big.tif",
        "gray16_deflate_tiled.tif",
        "gray16_miniswhite.tif",
        "gray8_miniswhite.tif",
        "gray_float01.tif",
        "palette.tif",
    ] {
        assert!(gray(&format!("tiff/{name}")) == reference, "{name}");
    }
    assert!(gray("tiff/bilevel_g4.tif") == gray("png/onebit.png"));
    let lossy = gray("tiff/gray_jpeg.tif");
    let squares = lossy.iter().zip(reference.iter()).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
    assert!(squares.sum::<f64>() / (reference.len() as f64) < 10.0);
    // Whatever is read of a JPEG is whole, in a TIFF too.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.tif");
    let mut bytes = std::fs::read(file("tiff/gray_jpeg.tif")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 200].fill(0);
    std::fs::write(&path, bytes).unwrap();
    refused(read_gray(&path), &["cut.tif", "the file"]);
}

#[test]
fn signed_values_are_scaled_as_they_stand_in_the_file() {
    let read = |bits| Reading { bits, ..Reading::default() }.gray(&file("tiff/gray_int16.tif")).unwrap();
    let plain = read(Bits::Tags);
    let largest = plain.largest.unwrap();
    let level = |value: u16| (u32::from(value) * 255 + 16383) / 32767;
    assert_eq!(u32::from(*plain.image.iter().max().unwrap()), level(largest), "{largest}");
    // The same values as those of a sensor of 15 bits.
    assert!(read(Bits::Exactly(15)).image == plain.image);
}

#[test]
fn a_palette_has_no_bands_but_its_colours() {
    let band = |number| Reading { channel: Channel::Band(number), ..Reading::default() };
    assert!(band(3).gray(&file("tiff/palette.tif")).unwrap().image == gray("tiff/ref_gray8.png"));
    refused(band(9).gray(&file("tiff/palette.tif")), &["no band 9", "has 3"]);
}

#[test]
fn colour_tiff() {
    let reference = rgb("tiff/ref_rgb8.png");
    for name in ["rgb_float01.tif", "rgb_planar.tif", "rgb_orient6.tif"] {
        assert!(rgb(&format!("tiff/{name}")) == reference, "{name}");
    }
    // Lossy.
    let squares = |(a, b): (&u8, &u8)| (f64::from(*a) - f64::from(*b)).powi(2);
    let error: f64 = rgb("tiff/rgb_jpeg.tif").iter().zip(reference.iter()).map(squares).sum();
    assert!(error / (reference.len() as f64) < 20.0, "{error}");
    // Its tags say YCbCr, its values are RGB.
    refused(read_rgb(file("tiff/rgb_jpegtiff.tif")), &["rgb_jpegtiff.tif", "YCbCr in a TIFF is not read"]);
}

#[test]
fn png() {
    for name in ["gray16.png", "gray16_adam7.png", "la.png"] {
        assert!(gray(&format!("png/{name}")) == gray("png/ref_gray8.png"), "{name}");
    }
}

#[test]
fn floating_point_beyond_one_is_refused() {
    refused(read_gray(file("tiff/gray_float255.tif")), &["gray_float255.tif", "read from 0 to 1"]);
    refused(read_rgb(file("tiff/rgb_float255.tif")), &["read from 0 to 1", "divide by"]);
}

#[test]
fn bands_and_pages_are_a_choice_and_never_dropped_in_silence() {
    let band = |number| Reading { channel: Channel::Band(number), ..Reading::default() };
    let with_nir = noted(Reading::default(), "tiff/gray_nir_as_rgba_extrasample.tif", "3 of 4 bands are taken");
    let nir = band(4).gray(&file("tiff/gray_nir_as_rgba_extrasample.tif")).unwrap();
    assert!(nir.notes.is_empty() && nir.image != with_nir);

    refused(Reading::default().gray(&file("tiff/ms5band.tif")), &["5 bands", "channel = 1 to 5"]);
    assert!(
        band(5).gray(&file("tiff/ms5band.tif")).unwrap().image
            != band(1).gray(&file("tiff/ms5band.tif")).unwrap().image
    );
    refused(band(6).gray(&file("tiff/ms5band.tif")), &["no band 6", "has 5"]);

    let first = noted(Reading::default(), "tiff/nir_2page_rgb_first.tif", "page 1 of 2 is taken");
    let second = Reading { page: Some(2), ..Reading::default() }.gray(&file("tiff/nir_2page_rgb_first.tif")).unwrap();
    assert!(second.notes.is_empty() && second.image != first);
    let third = Reading { page: Some(3), ..Reading::default() };
    refused(third.gray(&file("tiff/nir_2page_rgb_first.tif")), &["no page 3", "has 2"]);
    refused(third.gray(&file("png/ref_gray8.png")), &["there is no page 3: the file has 1"]);
}

#[test]
fn the_channel_of_a_colour_photograph() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photo.png");
    RgbImage::from_fn(3, 2, |x, y| image::Rgb([10 + x as u8, 100 + y as u8, 201])).save(&path).unwrap();
    let level = |channel| Reading { channel, ..Reading::default() }.gray(&path).unwrap().image.get_pixel(2, 1).0[0];
    assert_eq!(level(Channel::Red), 12);
    assert_eq!(level(Channel::Band(2)), 101);
    assert_eq!(level(Channel::Max), 201);
    assert_eq!(level(Channel::Mean), 105);
    assert_eq!(level(Channel::Luma), ((12 * 19595 + 101 * 38470 + 201 * 7471 + 0x8000) >> 16) as u8);
    let fourth = Reading { channel: Channel::Band(4), ..Reading::default() };
    refused(fourth.gray(&path), &["no band 4", "has 3"]);
}

fn of_bits(folder: &Path, name: &str, values: [u16; 4]) -> PathBuf {
    let path = folder.join(name);
    let image: ImageBuffer<Luma<u16>, _> = ImageBuffer::from_raw(2, 2, values.to_vec()).unwrap();
    image.save(&path).unwrap();
    path
}

#[test]
fn bits_of_a_sensor() {
    let folder = tempfile::tempdir().unwrap();
    let path = of_bits(folder.path(), "twelve.png", [0, 4095, 2048, 16]);
    let read = |bits| Reading { bits, ..Reading::default() }.gray(&path);
    assert_eq!(read(Bits::Exactly(12)).unwrap().image.into_raw(), [0, 255, 128, 1]);
    assert_eq!(read(Bits::Exactly(16)).unwrap().image.into_raw(), [0, 16, 8, 0]);
    assert_eq!(read(Bits::Tags).unwrap().largest, Some(4095));
    refused(read(Bits::Exactly(10)), &["twelve.png", "a value of 4095", "1023", "bits"]);
    // What comes close to the largest of some bits has so many; a dark scene of 16 has not.
    assert_eq!([1023, 1000, 900, 4095, 3000, 16383, 65535].map(Bits::of_largest), [10, 10, 16, 12, 16, 14, 16]);
}

#[test]
fn other_kinds_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photo.png");
    for (content, expected) in [
        (&b"GIF89a\x01\0\x01\0"[..], "another kind, GIF"),
        (b"RIFF\x04\0\0\0WEBPVP8 ", "another kind, WEBP"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "another kind, JPEG 2000"),
        (b"", "the file is empty"),
        (b"hello", "not a readable image"),
    ] {
        std::fs::write(&path, content).unwrap();
        refused(read_gray(&path), &["photo.png", expected]);
    }
    refused(read_gray(folder.path()), &["a folder, not an image"]);
}

/// A PNG header that claims the size, and nothing else.
fn claims(width: u32, height: u32, depth: u8) -> Vec<u8> {
    let mut header = b"IHDR".to_vec();
    header.extend([width.to_be_bytes(), height.to_be_bytes()].concat());
    header.extend([depth, 0, 0, 0, 0]);
    let mut crc = flate2::Crc::new();
    crc.update(&header);
    [
        &b"\x89PNG\r\n\x1a\n\0\0\0\x0d"[..],
        &header,
        &crc.sum().to_be_bytes(),
        b"\0\0\0\0IDAT\x35\xaf\x06\x1e",
        b"\0\0\0\0IEND\xaeB`\x82",
    ]
    .concat()
}

#[test]
fn sizes_are_refused_before_memory_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photo.png");
    for (width, height, depth) in [(65535, 65535, 16), (50000, 50000, 1)] {
        std::fs::write(&path, claims(width, height, depth)).unwrap();
        refused(read_gray(&path), &["megapixels", "at most 268", "--max-pixels"]);
    }
    let few = Reading { max_pixels: 3, ..Reading::default() };
    refused(few.gray(&of_bits(folder.path(), "four.png", [0; 4])), &["2x2 pixels"]);
}
