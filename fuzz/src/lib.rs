//! What is done with every changed file, by libFuzzer (`fuzz_targets/`) and by the bounded loops of `cargo test`
//! (`tests/tests/fuzz/`): each function reads the bytes as a file of one kind, says whether it was read, and panics
//! where the program would do what it never may.

pub mod sealed;

use colormamba_data::{Bits, Channel, DataError, Description, Reading};
use colormamba_runner::manifest::Manifest;
use colormamba_weights::WeightFile;
use std::path::Path;

/// More than any error says beside what it quotes of a file.
const LONGEST_MESSAGE: usize = 400;

/// A manifest, checked. One that is sound, written out with its defaults, is the same manifest.
pub fn manifest(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let manifest = match Manifest::parse("m.toml", &text, &[]) {
        Ok(manifest) => manifest,
        Err(error) => {
            ensure_message(&error.to_string(), "m.toml:", text.chars().count());
            return false;
        }
    };
    let written = manifest.to_toml().expect("a manifest that was read can be written");
    let again = Manifest::parse("m.toml", &written, &[]);
    assert_eq!(again.as_ref().map_err(ToString::to_string), Ok(&manifest), "{written}");
    true
}

/// The description of a dataset.
pub fn description(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    match Description::parse(&text, "own.toml") {
        Ok(description) => !description.subsets().is_empty(),
        Err(error) => {
            ensure_message(&error.to_string(), "own.toml: ", text.chars().count());
            false
        }
    }
}

/// One of the two images of a pair. The last byte, behind what the decoders look at, chooses among the ways to read it
/// that a description can ask for.
pub fn image(bytes: &[u8]) -> bool {
    let mut choice = usize::from(bytes.last().copied().unwrap_or(0));
    let mut below = |n: usize| {
        let chosen = choice % n;
        choice /= n;
        chosen
    };
    let gray = below(2) == 0;
    let bytes = if below(4) > 0 { &sealed::png(bytes) } else { bytes };
    let channel = [Channel::Luma, Channel::Red, Channel::Max, Channel::Band(1), Channel::Band(4)][below(5)];
    let bits = [Bits::Tags, Bits::Exactly(12), Bits::Exactly(16)][below(3)];
    let page = [None, Some(2)][below(2)];
    let reading = Reading { channel, bits, page, ..Reading::default() };
    let path = Path::new("photo");
    let size = match gray {
        true => reading.gray_of(path, bytes).map(|read| read.image.dimensions()),
        false => reading.rgb_of(path, bytes).map(|read| read.image.dimensions()),
    };
    match size {
        Ok((width, height)) => width > 0 && height > 0,
        Err(DataError::Image { fault, .. }) => {
            ensure_message(&fault.to_string(), "", 0);
            false
        }
        Err(error) => panic!("{error}"),
    }
}

/// A file of PyTorch, of today's form or of that before version 1.6. The checksums of the zip archive are put right,
/// without which nothing in it is looked at.
pub fn pickle(bytes: &[u8]) -> bool {
    weights(sealed::zip(bytes))
}

/// A safetensors file. The length of its header is put right.
pub fn safetensors(bytes: &[u8]) -> bool {
    weights(sealed::safetensors(bytes))
}

/// All that a program asks of a file of weights.
fn weights(bytes: Vec<u8>) -> bool {
    let file = match WeightFile::of_bytes(bytes) {
        Ok(file) => file,
        Err(error) => {
            // A few names of the file may be quoted.
            ensure_message(&error.to_string(), "", 800);
            return false;
        }
    };
    let _ = file.as_stored();
    let _ = file.tensors("conv.weight");
    let _ = file.tensor("conv.bias");
    !file.found("conv.weight").is_empty()
}

/// An error is one message that names its place. It may quote the file.
fn ensure_message(message: &str, place: &str, quoted: usize) {
    let length = message.chars().count();
    assert!(message.starts_with(place) && length > place.len(), "{message}");
    assert!(length < LONGEST_MESSAGE + 2 * quoted, "{message}");
}
