//! Values as they lie in the file.

/// The tag of what values mean (PhotometricInterpretation), and its value for gray, of which any number may stand in a pixel.
const MEANING: u16 = 262;
const GRAY: u8 = 1;

/// A copy in which the values of a page, from 1, mean nothing: the decoder refuses places in a palette, and drops what
/// follows red, green and blue. None if the page's directory cannot be followed.
pub(super) fn plain(bytes: &[u8], page: usize) -> Option<Vec<u8>> {
    let file = Directories { bytes, little: bytes.starts_with(b"II"), big: bytes.get(2..4)?.contains(&43) };
    let mut directory = file.number(if file.big { 8 } else { 4 }, file.pointer())?;
    for _ in 1..page {
        directory = file.number(file.entries(directory)?.end, file.pointer())?;
    }
    let entry =
        file.entries(directory)?.step_by(file.entry()).find(|&at| file.number(at, 2) == Some(MEANING.into()))?;
    let value = entry + if file.big { 12 } else { 8 };
    let mut copy = bytes.to_vec();
    copy.get_mut(value..value + 2)?.copy_from_slice(&if file.little { [GRAY, 0] } else { [0, GRAY] });
    Some(copy)
}

/// A file of directories, each a count, entries and where the next one is (TIFF 6.0, section 2; BigTIFF has longer numbers).
struct Directories<'a> {
    bytes: &'a [u8],
    little: bool,
    big: bool,
}

impl Directories<'_> {
    /// Bytes of a place in the file.
    fn pointer(&self) -> usize {
        if self.big { 8 } else { 4 }
    }

    /// Bytes of an entry.
    fn entry(&self) -> usize {
        if self.big { 20 } else { 12 }
    }

    fn number(&self, at: usize, length: usize) -> Option<usize> {
        let digits = self.bytes.get(at..at.checked_add(length)?)?;
        let join = |number: u64, digit: &u8| number << 8 | u64::from(*digit);
        let number = if self.little { digits.iter().rev().fold(0, join) } else { digits.iter().fold(0, join) };
        usize::try_from(number).ok()
    }

    /// Where the entries of a directory are.
    fn entries(&self, directory: usize) -> Option<std::ops::Range<usize>> {
        let length = if self.big { 8 } else { 2 };
        let first = directory.checked_add(length)?;
        let end = self.number(directory, length)?.checked_mul(self.entry())?.checked_add(first)?;
        (end <= self.bytes.len()).then_some(first..end)
    }
}
