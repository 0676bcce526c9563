//! Checksums and lengths that are right whatever was changed, so that what is behind them is looked at.

use std::borrow::Cow;

/// The two or four bytes of a number, the lowest first.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes: [u8; N] = bytes.get(at..)?.first_chunk().copied()?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// With the checksum of every chunk of a PNG file; other files as they are.
pub fn png(bytes: &[u8]) -> Cow<'_, [u8]> {
    if !bytes.starts_with(b"\x89PNG") {
        return Cow::Borrowed(bytes);
    }
    let (mut png, mut at) = (bytes.to_vec(), 8);
    while let Some(length) = png.get(at..at + 4).map(|n| u32::from_be_bytes([n[0], n[1], n[2], n[3]]) as usize) {
        let end = at.saturating_add(8).saturating_add(length);
        if end.saturating_add(4) > png.len() {
            break;
        }
        let sum = crc(&png[at + 4..end]);
        png[end..end + 4].copy_from_slice(&sum.to_be_bytes());
        at = end + 4;
    }
    Cow::Owned(png)
}

/// With the checksum of every entry of a zip archive, as far as its directory can be followed; other files as they are.
pub fn zip(bytes: &[u8]) -> Vec<u8> {
    let mut zip = bytes.to_vec();
    let Some(end) = zip.windows(4).rposition(|window| window == b"PK\x05\x06") else { return zip };
    let mut at = number::<4>(&zip, end + 16);
    while let Some((entry, next)) = at.and_then(|at| entry(&zip, at)) {
        zip.splice(entry.0..entry.0 + 4, entry.1.to_le_bytes());
        at = Some(next);
    }
    zip
}

/// Of the directory's line at `at`: where its checksum stands and what it is; where the next line begins.
fn entry(zip: &[u8], at: usize) -> Option<((usize, u32), usize)> {
    zip.get(at..)?.starts_with(b"PK\x01\x02").then_some(())?;
    let (length, local) = (number::<4>(zip, at + 20)?, number::<4>(zip, at + 42)?);
    let start = local + 30 + number::<2>(zip, local + 26)? + number::<2>(zip, local + 28)?;
    let sum = zip.get(start..start + length).map_or(0, crc);
    let next = at + 46 + number::<2>(zip, at + 28)? + number::<2>(zip, at + 30)? + number::<2>(zip, at + 32)?;
    Some(((at + 16, sum), next))
}

/// With the length of a safetensors file's header, which ends where its brackets do; without such an end as it is.
pub fn safetensors(bytes: &[u8]) -> Vec<u8> {
    let Some(rest) = bytes.get(8..) else { return bytes.to_vec() };
    let mut depth = 0;
    let end = rest.iter().position(|byte| {
        depth += i32::from(*byte == b'{') - i32::from(*byte == b'}');
        depth <= 0 && *byte == b'}'
    });
    let Some(end) = end else { return bytes.to_vec() };
    let spaces = rest[end + 1..].iter().take_while(|byte| **byte == b' ').count();
    let length = end + 1 + spaces;
    [&(length as u64).to_le_bytes()[..], rest].concat()
}
