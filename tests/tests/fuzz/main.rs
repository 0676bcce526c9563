//! Files that were changed at random: whatever stands in one, it is read or refused, without a panic, soon, and with
//! less than 1 GiB of memory for a file of less than 1 MiB. `COLORMAMBA_FUZZ_ITERATIONS=1000000` tries longer; `fuzz/`
//! tries the same functions guided by coverage.

mod changes;
mod memory;
#[path = "../../../fuzz/src/lib.rs"]
mod targets;

use changes::{LONGEST, Random};
use colormamba_data::Reading;
use colormamba_testkit::fixtures_dir;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const GIB: isize = 1 << 30;
/// What takes so long is tried again.
const SLOW: Duration = Duration::from_millis(500);
/// Far more than a sound file takes; a hang is longer.
const SLOWEST: Duration = Duration::from_secs(20);

fn iterations() -> usize {
    std::env::var("COLORMAMBA_FUZZ_ITERATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000)
}

/// Tries changed files; says how many were read, and the most time and memory that one took.
fn tried(
    what: &str,
    corpus: &[Vec<u8>],
    changed: fn(&[Vec<u8>], &mut Random) -> Vec<u8>,
    read: impl Fn(&[u8]) -> bool,
) {
    assert!(!corpus.is_empty());
    let mut random = Random(7);
    let (mut sound, mut slowest, mut most) = (0, Duration::ZERO, 0);
    for number in 0..iterations() {
        let bytes = changed(corpus, &mut random);
        let timed = || {
            let start = Instant::now();
            (memory::most(|| read(&bytes)), start.elapsed())
        };
        let ((was_read, memory), mut took) = timed();
        // A machine that is busy makes any file slow, a second time hardly the same one.
        if took >= SLOW {
            took = took.min(timed().1);
        }
        sound += usize::from(was_read);
        (slowest, most) = (slowest.max(took), most.max(memory));
        if memory >= GIB || took >= SLOWEST {
            let kept = std::env::temp_dir().join(format!("colormamba-fuzz-{number}-{what}"));
            fs::write(&kept, &bytes).unwrap();
            panic!("{what} {number}, kept as {}: {memory} bytes of memory, {took:?}", kept.display());
        }
    }
    println!("{what}: {} tried, {sound} read; the slowest {slowest:?}, the largest {most} bytes", iterations());
    assert!(sound > iterations() / 100 && sound < iterations(), "{what}: {sound}");
}

fn repository() -> PathBuf {
    fixtures_dir().join("../..")
}

/// The files of a folder with one of these extensions, in the order of their names.
fn files(folder: &str, extensions: &[&str]) -> Vec<Vec<u8>> {
    let wanted = |path: &PathBuf| extensions.iter().any(|wanted| path.extension().is_some_and(|end| end == *wanted));
    let entries = fs::read_dir(repository().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = entries.filter(wanted).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Tries each of the smaller files in ways of its own.
fn images(what: &str, mut corpus: Vec<Vec<u8>>) {
    corpus.retain(|bytes| bytes.len() < 35_000);
    let changed = |corpus: &[Vec<u8>], random: &mut Random| {
        let mut bytes = changes::bytes(corpus, random);
        bytes.push(random.below(256) as u8);
        bytes
    };
    tried(what, &corpus, changed, targets::image);
}

/// The fixtures of one kind.
fn fixtures(extension: &str) -> Vec<Vec<u8>> {
    let folders = ["jpeg", "png", "tiff", "ycck"];
    folders.iter().flat_map(|folder| files(&format!("tests/fixtures/images/{folder}"), &[extension])).collect()
}

#[test]
fn png() {
    images("png", fixtures("png"));
}

#[test]
fn jpeg() {
    images("jpeg", fixtures("jpg"));
}

#[test]
fn tiff() {
    images("tiff", fixtures("tif"));
}

#[test]
fn bmp() {
    images("bmp", files("fuzz/seeds/bmp", &["bmp"]));
}

#[test]
fn descriptions() {
    tried("description", &files("datasets", &["toml"]), changes::text, targets::description);
}

/// What lies beside a manifest has none.
fn has_variants(text: &[u8]) -> bool {
    text.windows(11).any(|part| part == b"[[variant]]")
}

#[test]
fn manifests() {
    let folders = ["experiments", "fuzz/seeds/manifest", "crates/runner/tests/fixtures/before"];
    let corpus: Vec<_> =
        folders.iter().flat_map(|folder| files(folder, &["toml"])).filter(|text| has_variants(text)).collect();
    tried("manifest", &corpus, changes::text, targets::manifest);
}

#[test]
fn pickles() {
    tried("pickle", &files("crates/weights/tests/fixtures", &["pt"]), changes::bytes, targets::pickle);
}

#[test]
fn safetensors() {
    let mut corpus = files("weights/lpips", &["safetensors"]);
    let header = br#"{"__metadata__":{"a":"b"},"x":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}"#;
    corpus.push([&(header.len() as u64).to_le_bytes()[..], header, &[0; 16]].concat());
    tried("safetensors", &corpus, changes::bytes, targets::safetensors);
}

/// Files that claim what they do not hold, one of each kind of claim.
#[test]
fn bombs() {
    let path = Path::new("photo");
    let sealed = |png: Vec<u8>| targets::sealed::png(&png).into_owned();
    let chunk = |kind: &[u8], content: &[u8]| {
        let length = (content.len() as u32).to_be_bytes();
        [&length[..], kind, content, &[0; 4]].concat()
    };
    let png = |side: u32, depth: u8, colour: u8, chunks: &[Vec<u8>]| {
        let size = [side.to_be_bytes(), side.to_be_bytes()].concat();
        let header = chunk(b"IHDR", &[&size[..], &[depth, colour, 0, 0, 0]].concat());
        let data = chunk(b"IDAT", b"\x78\x9c\x63\0\0\0\x01\0\x01");
        sealed([&b"\x89PNG\r\n\x1a\n"[..], &header, &chunks.concat(), &data, &chunk(b"IEND", b"")].concat())
    };
    let packed = {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        let zeros = vec![0u8; 1 << 20];
        (0..250).for_each(|_| std::io::Write::write_all(&mut encoder, &zeros).unwrap());
        encoder.finish().unwrap()
    };
    let profile = chunk(b"iCCP", &[&b"p\0\0"[..], &packed].concat());
    let text = chunk(b"zTXt", &[&b"t\0\0"[..], &packed].concat());
    let whole = {
        // All of its pixels are there, and all are black.
        let rows = chunk(b"IDAT", &packed);
        let size = [16_000u32.to_be_bytes(), 16_000u32.to_be_bytes()].concat();
        let header = chunk(b"IHDR", &[&size[..], &[8, 0, 0, 0, 0]].concat());
        sealed([&b"\x89PNG\r\n\x1a\n"[..], &header, &rows, &chunk(b"IEND", b"")].concat())
    };
    let bombs = [
        ("16 bits", png(16_384, 16, 6, &[])),
        ("gray", png(16_384, 8, 0, &[])),
        ("profile", png(16, 8, 2, &[profile])),
        ("text", png(16, 8, 2, &[text])),
        ("black", whole),
    ];
    let mut said = String::new();
    for (what, bytes) in bombs {
        assert!(bytes.len() < LONGEST, "{what}: {}", bytes.len());
        for gray in [true, false] {
            let read = || match gray {
                true => Reading::default().gray_of(path, &bytes).map(drop),
                false => Reading::default().rgb_of(path, &bytes).map(drop),
            };
            let (read, most) = memory::most(read);
            assert!(most < GIB, "{what}: {most} bytes of memory, {read:?}");
            said = read.expect_err(what).to_string();
        }
    }
    assert!(said.contains("16000x16000 pixels"), "{said}");
}
