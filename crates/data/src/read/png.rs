//! What the PNG decoder does not look at.

/// The eXIf chunk of a PNG. It may follow the pixels, where the decoder does not look before it has read them.
pub(super) fn exif(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n")?;
    loop {
        let (length, after) = rest.split_first_chunk()?;
        let (kind, after) = after.split_first_chunk::<4>()?;
        let (content, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        if kind == b"eXIf" {
            return Some(content);
        }
        rest = after.get(4..)?;
    }
}
