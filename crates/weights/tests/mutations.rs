//! Files of weights with bytes changed at random: no panic, no hang, and no memory beyond what a file can mean.

use colormamba_weights::WeightFile;
use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Counts what is held, to know the most.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
        MOST.fetch_max(held, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound.max(1)
    }
}

/// Bytes that mean something to a reader: lengths, ends, instructions.
const TELLING: &[u8] = b"\x00\x01\x7f\x80\xff()]}tRQ.hqjrXKMeaus{\"[,:9";

fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).expect("fixtures").map(|entry| entry.expect("a file").path()).collect();
    // Folders have no order, and a failure must come again.
    paths.sort();
    let mut files: Vec<_> = paths.iter().map(|path| std::fs::read(path).expect("a file")).collect();
    files.push(include_bytes!("../../../weights/lpips/alex.safetensors").to_vec());
    let header = br#"{"__metadata__":{"a":"b"},"x":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}"#;
    files.push([&(header.len() as u64).to_le_bytes()[..], header, &[0; 16]].concat());
    files
}

/// One to eight changes: a byte, a part cut out, a part put in twice, a part of another file.
fn mutated(files: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut file = files[random.below(files.len())].clone();
    for _ in 0..=random.below(8) {
        let at = random.below(file.len());
        let length = 1 + random.below(12);
        let end = (at + length).min(file.len());
        match random.below(8) {
            0 => drop(file.drain(at..end)),
            1 => {
                let part = file[at..end].to_vec();
                drop(file.splice(at..at, part));
            }
            2 => {
                let other = &files[random.below(files.len())];
                let from = random.below(other.len());
                let part = other[from..(from + length).min(other.len())].to_vec();
                drop(file.splice(at..end, part));
            }
            3..=5 if !file.is_empty() => file[at] = TELLING[random.below(TELLING.len())],
            _ if !file.is_empty() => file[at] ^= 1 << random.below(8),
            _ => {}
        }
    }
    file
}

/// All that a program asks of a file.
fn use_all(file: Vec<u8>) -> bool {
    let Ok(file) = WeightFile::of_bytes(file) else { return false };
    let _ = file.as_stored();
    let _ = file.tensors("conv.weight");
    let _ = file.tensor("conv.bias");
    !file.found("conv.weight").is_empty()
}

#[test]
fn changed_files_are_read_or_refused() {
    let asked = std::env::var("COLORMAMBA_FUZZ_ITERATIONS").ok().and_then(|count| count.parse().ok());
    let count: usize = asked.unwrap_or(20_000);
    let (files, mut random) = (corpus(), Random(0x9E37_79B9_7F4A_7C15));
    let (mut read, mut slowest) = (0usize, Duration::ZERO);
    for _ in 0..count {
        let file = mutated(&files, &mut random);
        let start = Instant::now();
        read += usize::from(use_all(file));
        slowest = slowest.max(start.elapsed());
    }
    println!("{count} files, {read} of them read; slowest {slowest:?}, most memory {} bytes", MOST.load(Relaxed));
    assert!(read > count / 100 && read < count, "{read} of {count} were read");
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
    assert!(MOST.load(Relaxed) < 1 << 30, "{} bytes", MOST.load(Relaxed));
}
