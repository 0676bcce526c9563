//! Files that were changed at random: whatever stands in one, it is read or refused, without a panic, soon, and with less
//! than 1 GiB of memory for a file of less than 1 MiB. `COLORMAMBA_FUZZ_ITERATIONS=1000000` tries longer.

use colormamba_data::{Bits, Channel, DataError, Description, Reading};
use colormamba_testkit::fixtures_dir;
use image::{GrayImage, Luma, RgbImage};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const GIB: isize = 1 << 30;
/// The longest file that is tried.
const LONGEST: usize = 1 << 20;
/// Far more than a sound file takes; a hang is longer.
const SLOWEST: Duration = Duration::from_secs(20);

thread_local! {
    static TAKEN: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// Counts the memory that a thread takes.
struct Counting;

fn count(bytes: isize) {
    TAKEN.set(TAKEN.get() + bytes);
    MOST.set(MOST.get().max(TAKEN.get()));
}

// SAFETY: the system's allocator does the work; what is counted beside touches no memory but two cells.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as asked for.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as asked for.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both may be there for a moment.
        count(size as isize);
        count(-(layout.size() as isize));
        // SAFETY: as asked for.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// A linear congruence, so that every run tries the same.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n.max(1)
    }
}

/// Numbers at which programs break.
const EDGES: [u32; 12] = [0, 1, 2, 7, 8, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0x8000_0000, u32::MAX];

/// The file with some changes: single bytes, numbers of two and four bytes, parts lost, doubled, or of another file.
fn changed(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = corpus[random.below(corpus.len())].clone();
    for _ in 0..1 + random.below(5) {
        // Headers are at the start, directories of TIFF and markers often at the end.
        let at = match random.below(4) {
            0 => random.below(bytes.len().min(256)),
            1 => bytes.len() - 1 - random.below(bytes.len().min(512)),
            _ => random.below(bytes.len()),
        };
        let length = (1 + random.below(64)).min(bytes.len() - at);
        match random.below(8) {
            0 | 1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes[at] = random.below(256) as u8,
            3 => {
                let edge = EDGES[random.below(EDGES.len())].to_be_bytes();
                let edge = if random.below(2) == 0 { edge } else { [edge[3], edge[2], edge[1], edge[0]] };
                let width = if random.below(2) == 0 { 2 } else { 4 };
                bytes.iter_mut().skip(at).zip(edge.iter().take(width)).for_each(|(byte, edge)| *byte = *edge);
            }
            4 if bytes.len() > length + 1 => _ = bytes.drain(at..at + length),
            5 => {
                let part = bytes[at..at + length].to_vec();
                bytes.splice(at..at, part);
            }
            6 => {
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len());
                let part = &other[from..other.len().min(from + length)];
                bytes.iter_mut().skip(at).zip(part).for_each(|(byte, other)| *byte = *other);
            }
            _ if at > 0 && random.below(4) == 0 => bytes.truncate(at),
            _ => {}
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

/// With the right checksum on every chunk of a PNG, without which nothing behind it is looked at.
fn resealed(mut png: Vec<u8>) -> Vec<u8> {
    let mut at = 8;
    while let Some(length) = png.get(at..at + 4).map(|n| u32::from_be_bytes([n[0], n[1], n[2], n[3]]) as usize) {
        let end = at.saturating_add(8).saturating_add(length);
        if end.saturating_add(4) > png.len() {
            break;
        }
        let mut crc = flate2::Crc::new();
        crc.update(&png[at + 4..end]);
        png[end..end + 4].copy_from_slice(&crc.sum().to_be_bytes());
        at = end + 4;
    }
    png
}

fn iterations() -> usize {
    std::env::var("COLORMAMBA_FUZZ_ITERATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000)
}

/// Tries changed files; says how many were read.
fn tried(what: &str, corpus: &[Vec<u8>], finish: fn(Vec<u8>) -> Vec<u8>, read: impl Fn(&[u8], &mut Random) -> bool) {
    assert!(!corpus.is_empty());
    let mut random = Random(7);
    let mut sound = 0;
    for number in 0..iterations() {
        let mut bytes = changed(corpus, &mut random);
        if random.below(4) > 0 {
            bytes = finish(bytes);
        }
        let (before, start) = (TAKEN.get(), Instant::now());
        MOST.set(before);
        sound += usize::from(read(&bytes, &mut random));
        let (most, took) = (MOST.get() - before, start.elapsed());
        if most >= GIB || took >= SLOWEST {
            let kept = std::env::temp_dir().join(format!("colormamba-fuzz-{number}-{what}"));
            fs::write(&kept, &bytes).unwrap();
            panic!("{what} {number}, kept as {}: {most} bytes of memory, {took:?}", kept.display());
        }
    }
    println!("{what}: {} tried, {sound} read", iterations());
    assert!(sound > 0 && sound < iterations(), "{what}: {sound}");
}

/// The fixtures of one kind, the smaller ones.
fn corpus(kinds: &[&str]) -> Vec<Vec<u8>> {
    let mut files: Vec<_> = ["jpeg", "png", "tiff", "ycck"]
        .iter()
        .flat_map(|folder| fs::read_dir(fixtures_dir().join("images").join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| kinds.iter().any(|kind| path.extension().is_some_and(|extension| extension == *kind)))
        .collect();
    files.sort();
    files.iter().map(|path| fs::read(path).unwrap()).filter(|bytes| bytes.len() < 35_000).collect()
}

/// Reads the bytes as one of the two images of a pair, in some way that a description can ask for.
fn as_image(bytes: &[u8], random: &mut Random) -> bool {
    let path = Path::new("photo");
    let channel = [Channel::Luma, Channel::Red, Channel::Max, Channel::Band(1 + random.below(5))][random.below(4)];
    let bits = [Bits::Tags, Bits::Exactly(12), Bits::Exactly(16)][random.below(3)];
    let page = [None, Some(1), Some(2)][random.below(3)];
    let reading = Reading { channel, bits, page, ..Reading::default() };
    let result = match random.below(2) {
        0 => reading.gray_of(path, bytes).map(|read| read.image.dimensions()),
        _ => reading.rgb_of(path, bytes).map(|read| read.image.dimensions()),
    };
    match result {
        Ok((width, height)) => width > 0 && height > 0,
        Err(DataError::Image { fault, .. }) => {
            assert!(fault.to_string().chars().count() < 400, "{fault}");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

fn images(what: &str, corpus: &[Vec<u8>], finish: fn(Vec<u8>) -> Vec<u8>) {
    tried(what, corpus, finish, as_image);
}

#[test]
fn png() {
    images("png", &corpus(&["png"]), resealed);
}

#[test]
fn jpeg() {
    images("jpeg", &corpus(&["jpg"]), |bytes| bytes);
}

#[test]
fn tiff() {
    images("tiff", &corpus(&["tif"]), |bytes| bytes);
}

#[test]
fn bmp() {
    let folder = tempfile::tempdir().unwrap();
    let saved = |name: &str, image: image::DynamicImage| {
        let path = folder.path().join(name);
        image.save(&path).unwrap();
        fs::read(path).unwrap()
    };
    let gray = GrayImage::from_fn(31, 17, |x, y| Luma([(x * y) as u8]));
    let rgb = RgbImage::from_fn(31, 17, |x, y| image::Rgb([x as u8, y as u8, 9]));
    let mut corpus = vec![saved("gray.bmp", gray.into()), saved("rgb.bmp", rgb.into())];
    // A header of 40 bytes: 8 x 2 pixels of 8 bits in runs, with a palette of two colours.
    let mut runs = b"BM\0\0\0\0\0\0\0\0\x3e\0\0\0\x28\0\0\0\x08\0\0\0\x02\0\0\0\x01\0\x08\0\x01\0\0\0".to_vec();
    runs.extend([0; 12]);
    runs.extend(b"\x02\0\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\0\x08\0\0\0\x03\x01\x05\0\0\0\0\x01");
    corpus.push(runs);
    images("bmp", &corpus, |bytes| bytes);
}

#[test]
fn descriptions() {
    let folder = fixtures_dir().join("../../datasets");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect();
    files.sort();
    let corpus: Vec<Vec<u8>> = files.iter().map(|path| fs::read(path).unwrap()).collect();
    tried(
        "description",
        &corpus,
        |bytes| bytes,
        |bytes, _| {
            let text = String::from_utf8_lossy(bytes);
            match Description::parse(&text, "own.toml") {
                Ok(description) => !description.subsets().is_empty(),
                Err(error) => {
                    assert!(error.to_string().starts_with("own.toml: "), "{error}");
                    false
                }
            }
        },
    );
}

/// Files that claim what they do not hold, one of each kind of claim.
#[test]
fn bombs() {
    let path = Path::new("photo");
    let chunk = |kind: &[u8], content: &[u8]| {
        let length = (content.len() as u32).to_be_bytes();
        [&length[..], kind, content, &[0; 4]].concat()
    };
    let png = |side: u32, depth: u8, colour: u8, chunks: &[Vec<u8>]| {
        let size = [side.to_be_bytes(), side.to_be_bytes()].concat();
        let header = chunk(b"IHDR", &[&size[..], &[depth, colour, 0, 0, 0]].concat());
        let data = chunk(b"IDAT", b"\x78\x9c\x63\0\0\0\x01\0\x01");
        resealed([&b"\x89PNG\r\n\x1a\n"[..], &header, &chunks.concat(), &data, &chunk(b"IEND", b"")].concat())
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
        resealed([&b"\x89PNG\r\n\x1a\n"[..], &header, &rows, &chunk(b"IEND", b"")].concat())
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
            let before = TAKEN.get();
            MOST.set(before);
            let read = match gray {
                true => Reading::default().gray_of(path, &bytes).map(drop),
                false => Reading::default().rgb_of(path, &bytes).map(drop),
            };
            let most = MOST.get() - before;
            assert!(most < GIB, "{what}: {most} bytes of memory, {read:?}");
            said = read.expect_err(what).to_string();
        }
    }
    assert!(said.contains("16000x16000 pixels"), "{said}");
}
