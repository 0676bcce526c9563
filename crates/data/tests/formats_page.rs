//! `docs/formats.md`: what is read, how values become [0, 1], and what is refused. Every row reads its file, so the page says
//! what the reader does. `UPDATE_PAGES=1 cargo test -p colormamba-data --test data formats_page` writes it.

use colormamba_data::{Bits, Channel, ReadNote, Reading};
use colormamba_testkit::fixtures_dir;
use image::{DynamicImage, GrayImage, ImageBuffer, Luma, RgbImage};
use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/formats.md");

const INTRODUCTION: &str = "\
# What is read, and how its values become [0, 1]

PNG, JPEG, TIFF and BMP, told by a file's content; its extension decides nothing. An image becomes 8 bits a channel, gray
for the first image of a pair and RGB for the second, and a level `v` of them the number `v / 255` (`protocol = \"raw\"`; or
stretched over the image's own range, `\"minmax\"`). It is turned as its EXIF orientation or TIFF tag says; transparency is
dropped. Colour becomes gray as Rec. 601 luma, or by `channel`; a dataset's description has the keys that are named here
([`datasets/pairs.toml`](../datasets/pairs.toml)).

This page is written by `crates/data/tests/formats_page.rs`, which reads a file for every row.
";

const LIMITS: &str = "
## Sizes

Images of more than 268 million pixels are refused before memory is taken (`max_pixels`), and so is a file that claims far
more pixels than a photograph of its length has: reading a file of less than 1 MiB takes less than 1 GiB, whatever stands in
it. `tests/tests/fuzz/` holds the reader to that, with ten thousand changed files of each kind in every test run;
`COLORMAMBA_FUZZ_ITERATIONS=1000000` tries more.
";

/// What reading a file comes to.
enum Outcome {
    /// Equal to that image, as gray or as RGB.
    Is(&'static str),
    /// The same within what lossy compression costs, in dB.
    Near(&'static str, f64),
    /// Refused; the message has this.
    Refused(&'static str),
    /// Read, with this said of it.
    Noted(&'static str),
}

use Outcome::{Is, Near, Noted, Refused};

struct Row {
    form: &'static str,
    /// Below `tests/fixtures/images`, or drawn by this test.
    file: &'static str,
    values: &'static str,
    reading: Reading,
    colour: bool,
    outcome: Outcome,
}

fn row(form: &'static str, file: &'static str, values: &'static str, outcome: Outcome) -> Row {
    Row { form, file, values, reading: Reading::default(), colour: false, outcome }
}

fn colour(form: &'static str, file: &'static str, values: &'static str, outcome: Outcome) -> Row {
    Row { colour: true, ..row(form, file, values, outcome) }
}

const SIXTEEN: &str = "65535 is 1; 8 bits are the nearest level; `bits = 10`, `12` or `14` for a sensor's values";
const AS_THEY_ARE: &str = "255 is 1";

fn sections() -> Vec<(&'static str, Vec<Row>)> {
    vec![("PNG", png()), ("JPEG", jpeg()), ("TIFF", tiff()), ("BMP", bmp()), ("Other files", others())]
}

fn png() -> Vec<Row> {
    let gray = "png/ref_gray8.png";
    let twelve = Reading { bits: Bits::Exactly(12), ..Reading::default() };
    vec![
        row("gray, 8 bits", "png/ref_gray8.png", AS_THEY_ARE, Is(gray)),
        row("gray, 16 bits", "png/gray16.png", SIXTEEN, Is(gray)),
        row("gray, 16 bits, interlaced", "png/gray16_adam7.png", SIXTEEN, Is(gray)),
        row("gray with transparency", "png/la.png", "transparency is dropped", Is(gray)),
        row("1 bit", "png/onebit.png", "0 and 1", Is("tiff/bilevel_g4.tif")),
        colour("palette", "png/palette.png", "its colours, 255 is 1", Noted("")),
        Row {
            reading: twelve,
            ..row("12 bits in 16, `bits = 12`", "drawn/twelve.png", "4095 is 1", Is("drawn/eight.png"))
        },
        row(
            "12 bits in 16, no `bits`",
            "drawn/twelve.png",
            "65535 is 1: nearly black, with a note",
            Noted("say bits = 12"),
        ),
    ]
}

fn jpeg() -> Vec<Row> {
    let rgb = |form, file, truth| colour(form, file, AS_THEY_ARE, Near(truth, 40.0));
    vec![
        rgb("baseline", "jpeg/baseline.jpg", "jpeg/baseline.png"),
        rgb("optimized codes", "jpeg/optimized.jpg", "jpeg/optimized.png"),
        rgb("restart markers", "jpeg/restart.jpg", "jpeg/restart.png"),
        rgb("progressive", "jpeg/progressive.jpg", "jpeg/progressive.png"),
        rgb("progressive, restart markers", "jpeg/progressive-restart.jpg", "jpeg/progressive-restart.png"),
        rgb("a scan a component, 4:2:0", "jpeg/separate-420.jpg", "jpeg/separate-420.png"),
        rgb("a scan a component, 4:2:2", "jpeg/separate-422.jpg", "jpeg/separate-422.png"),
        rgb("a scan a component, 4:4:4", "jpeg/separate-444.jpg", "jpeg/separate-444.png"),
        row("gray", "jpeg/gray.jpg", AS_THEY_ARE, Near("jpeg/gray.png", 40.0)),
        row("gray, progressive", "jpeg/gray-progressive.jpg", AS_THEY_ARE, Near("jpeg/gray-progressive.png", 40.0)),
        rgb("CMYK of Adobe's kind", "ycck/cmyk_pillow.jpg", "ycck/truth.png"),
        rgb("YCCK", "ycck/ycck.jpg", "ycck/truth.png"),
        rgb("without its end marker", "drawn/no-end.jpg", "jpeg/baseline.png"),
        rgb("with bytes behind its end", "drawn/bytes-behind.jpg", "jpeg/baseline.png"),
        colour("cut, or filled up with zeros", "drawn/cut.jpg", "", Refused("the file was cut")),
        colour("arithmetic coding", "jpeg/arithmetic.jpg", "", Refused("arithmetically coded JPEG is not read")),
    ]
}

fn tiff() -> Vec<Row> {
    let (gray, rgb) = ("tiff/ref_gray8.png", "tiff/ref_rgb8.png");
    let band = |number| Reading { channel: Channel::Band(number), ..Reading::default() };
    let fraction = "from 0 to 1, as they are";
    vec![
        row("gray, 16 bits, big-endian, LZW, predictor", "tiff/gray16_be_lzw_pred.tif", SIXTEEN, Is(gray)),
        row("gray, 16 bits, tiles, deflate", "tiff/gray16_deflate_tiled.tif", SIXTEEN, Is(gray)),
        row("BigTIFF", "tiff/gray16_big.tif", SIXTEEN, Is(gray)),
        row("white is zero, 8 bits", "tiff/gray8_miniswhite.tif", "0 is 1", Is(gray)),
        row("white is zero, 16 bits", "tiff/gray16_miniswhite.tif", "0 is 1", Is(gray)),
        row("1 bit, fax (group 4)", "tiff/bilevel_g4.tif", "0 and 1", Is("png/onebit.png")),
        row("signed, 16 bits", "tiff/gray_int16.tif", "32767 is 1; a negative value is refused", Noted("")),
        row("floating point, gray", "tiff/gray_float01.tif", fraction, Is(gray)),
        colour("floating point, RGB", "tiff/rgb_float01.tif", fraction, Is(rgb)),
        row("floating point beyond 1", "tiff/gray_float255.tif", "", Refused("read from 0 to 1; divide by")),
        row("palette", "tiff/palette.tif", "its colours, 255 is 1", Is(gray)),
        colour("RGB, planes apart", "tiff/rgb_planar.tif", AS_THEY_ARE, Is(rgb)),
        colour("RGB, turned by its tag", "tiff/rgb_orient6.tif", AS_THEY_ARE, Is(rgb)),
        row("gray, JPEG inside", "tiff/gray_jpeg.tif", AS_THEY_ARE, Near(gray, 35.0)),
        colour("RGB, JPEG inside", "tiff/rgb_jpeg.tif", AS_THEY_ARE, Near(rgb, 35.0)),
        colour("YCbCr, with JPEG inside or not", "tiff/rgb_jpegtiff.tif", "", Refused("YCbCr in a TIFF is not read")),
        row(
            "RGB and a fourth band",
            "tiff/gray_nir_as_rgba_extrasample.tif",
            "luma of three, and a note",
            Noted("3 of 4 bands are taken"),
        ),
        Row {
            reading: band(4),
            ..row("the same, `channel = 4`", "tiff/gray_nir_as_rgba_extrasample.tif", "that band", Noted(""))
        },
        row("five bands", "tiff/ms5band.tif", "", Refused("say which by channel = 1 to 5")),
        Row { reading: band(5), ..row("the same, `channel = 5`", "tiff/ms5band.tif", "that band", Noted("")) },
        row("several pages", "tiff/nir_2page_rgb_first.tif", "the first, and a note", Noted("page 1 of 2 is taken")),
        Row {
            reading: Reading { page: Some(2), ..Reading::default() },
            ..row("the same, `page = 2`", "tiff/nir_2page_rgb_first.tif", "that page", Noted(""))
        },
    ]
}

fn bmp() -> Vec<Row> {
    vec![
        row("gray palette, 8 bits", "drawn/gray.bmp", AS_THEY_ARE, Is("drawn/eight.png")),
        colour("RGB, 24 bits", "drawn/rgb.bmp", AS_THEY_ARE, Is("drawn/rgb.png")),
    ]
}

fn others() -> Vec<Row> {
    vec![
        row("PNG content, another extension", "drawn/really-png.jpg", AS_THEY_ARE, Is("drawn/eight.png")),
        row("GIF", "drawn/a.gif", "", Refused("a file of another kind, GIF: convert it")),
        row("WebP", "drawn/a.webp", "", Refused("a file of another kind, WEBP: convert it")),
        row("JPEG 2000", "drawn/a.jp2", "", Refused("a file of another kind, JPEG 2000: convert it")),
        row("an empty file", "drawn/empty.png", "", Refused("the file is empty")),
        row("a folder", "drawn", "", Refused("a folder, not an image file")),
    ]
}

/// What the fixtures lack.
fn draw(folder: &Path) {
    let eight = GrayImage::from_fn(16, 8, |x, y| Luma([(16 * x + y) as u8]));
    let twelve =
        ImageBuffer::from_fn(16, 8, |x, y| Luma([(u32::from(eight.get_pixel(x, y).0[0]) * 4095 / 255) as u16]));
    let rgb = RgbImage::from_fn(16, 8, |x, y| image::Rgb([x as u8, y as u8, 200]));
    let save = |name: &str, image: DynamicImage| image.save(folder.join(name)).unwrap();
    save("eight.png", eight.clone().into());
    save("twelve.png", DynamicImage::ImageLuma16(twelve));
    save("gray.bmp", eight.into());
    save("rgb.bmp", rgb.clone().into());
    save("rgb.png", rgb.into());
    fs::copy(folder.join("eight.png"), folder.join("really-png.jpg")).unwrap();
    let baseline = fs::read(fixtures_dir().join("images/jpeg/baseline.jpg")).unwrap();
    let end = baseline.len();
    for (name, content) in [
        ("no-end.jpg", baseline[..end - 2].to_vec()),
        ("bytes-behind.jpg", [&baseline[..], b"made by a camera"].concat()),
        ("cut.jpg", [&baseline[..end / 2], &vec![0; end / 2]].concat()),
        ("a.gif", b"GIF89a\x01\0\x01\0".to_vec()),
        ("a.webp", b"RIFF\x04\0\0\0WEBPVP8 ".to_vec()),
        ("a.jp2", b"\0\0\0\x0cjP  \r\n\x87\n".to_vec()),
        ("empty.png", Vec::new()),
    ] {
        fs::write(folder.join(name), content).unwrap();
    }
}

/// The pixels as levels, and what is said of them; or the message.
fn read(reading: Reading, path: &Path, colour: bool) -> Result<(Vec<u8>, String), String> {
    let said = |notes: std::collections::BTreeSet<ReadNote>| {
        notes.iter().map(ReadNote::to_string).collect::<Vec<_>>().join("; ")
    };
    match colour {
        true => reading.rgb(path).map(|read| (read.image.into_raw(), said(read.notes))),
        false => reading.gray(path).map(|read| (read.image.into_raw(), said(read.notes))),
    }
    .map_err(|error| error.to_string())
}

fn psnr(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let squares = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>();
    10.0 * (255.0f64.powi(2) * a.len() as f64 / squares.max(1e-10)).log10()
}

/// Reads the row's file, and says in words what came of it.
fn outcome(row: &Row, at: &dyn Fn(&str) -> PathBuf) -> String {
    let result = read(row.reading, &at(row.file), row.colour);
    let truth = |name: &str| read(Reading::default(), &at(name), row.colour).unwrap().0;
    let (form, file) = (row.form, row.file);
    match (&row.outcome, result) {
        (Is(name), Ok((levels, _))) => assert!(levels == truth(name), "{form}: {file} differs from {name}"),
        (Near(name, least), Ok((levels, _))) => {
            let psnr = psnr(&levels, &truth(name));
            assert!(psnr > *least, "{form}: {file} is {psnr:.1} dB from {name}");
        }
        (Noted(words), Ok((levels, said))) => {
            assert!(said.contains(words) && words.is_empty() == said.is_empty(), "{form}: {file}: {said}");
            assert!(levels.iter().any(|level| *level != levels[0]), "{form}: {file} is flat");
        }
        (Refused(words), Err(message)) => {
            assert!(message.contains(words), "{form}: {file}: {message}");
            return format!("refused: “{words}”");
        }
        (_, Ok(_)) => panic!("{form}: {file} is read"),
        (_, Err(message)) => panic!("{form}: {message}"),
    }
    row.values.to_string()
}

#[test]
fn the_page_says_what_the_reader_does() {
    let folder = tempfile::tempdir().unwrap();
    draw(folder.path());
    let at = |name: &str| match name.strip_prefix("drawn") {
        Some(drawn) => folder.path().join(drawn.trim_start_matches('/')),
        None => fixtures_dir().join("images").join(name),
    };
    let mut page = INTRODUCTION.to_string();
    for (kind, rows) in sections() {
        page += &format!("\n## {kind}\n\n| form | values |\n|---|---|\n");
        for row in rows {
            page += &format!("| {} | {} |\n", row.form, outcome(&row, &at));
        }
    }
    page += LIMITS;
    if std::env::var_os("UPDATE_PAGES").is_some() {
        fs::write(PAGE, &page).unwrap();
    }
    let written = fs::read_to_string(PAGE).unwrap_or_default();
    assert_eq!(written, page, "UPDATE_PAGES=1 cargo test -p colormamba-data --test data formats_page writes it anew");
}

/// A fixture that no row reads would be a kind that the page does not tell of.
#[test]
fn every_fixture_is_on_the_page() {
    let listed: Vec<&str> = sections().into_iter().flat_map(|(_, rows)| rows).map(|row| row.file).collect();
    for folder in ["jpeg", "png", "tiff", "ycck"] {
        for entry in fs::read_dir(fixtures_dir().join("images").join(folder)).unwrap() {
            let name = format!("{folder}/{}", entry.unwrap().file_name().into_string().unwrap());
            // Truths, and second files of a form that has a row.
            let truth = name.ends_with(".png") && folder != "png" || name.contains("ref_") || name.contains("nir_");
            let second =
                ["tiff/rgb_float255.tif", "tiff/multipage.tif", "ycck/cmyk_noadobe.jpg"].contains(&name.as_str());
            assert!(truth || second || listed.contains(&name.as_str()), "{name}");
        }
    }
}
