//! EXIF of a photograph, for the picture that was made of it.

/// Cuts the second directory off, whose thumbnail shows the photograph and not the picture (Exif 2.3, 4.5.5). What is
/// not in the form of TIFF stays as it is.
pub(super) fn without_thumbnail(mut exif: Vec<u8>) -> Vec<u8> {
    if let Some(link) = link(&exif) {
        exif[link..link + 4].fill(0);
    }
    exif
}

/// Where the offset of the second directory stands.
fn link(exif: &[u8]) -> Option<usize> {
    let little = match exif.get(..4)? {
        b"II\x2a\0" => true,
        b"MM\0\x2a" => false,
        _ => return None,
    };
    let number = |at: usize, bytes: usize| {
        let bytes = exif.get(at..at.checked_add(bytes)?)?.iter();
        let fold = |value: usize, byte: &u8| value << 8 | usize::from(*byte);
        Some(if little { bytes.rev().fold(0, fold) } else { bytes.fold(0, fold) })
    };
    let first = number(4, 4)?;
    let link = first.checked_add(2 + 12 * number(first, 2)?)?;
    number(link, 4).map(|_| link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_to_the_second_directory_goes_and_nothing_else() {
        let entry = [7u8; 12];
        let little = [b"II\x2a\0\x08\0\0\0\x01\0".as_slice(), &entry, b"\x1a\0\0\0thumbnail"].concat();
        let big = [b"MM\0\x2a\0\0\0\x08\0\x01".as_slice(), &entry, b"\0\0\0\x1athumbnail"].concat();
        for exif in [little, big] {
            let cut = without_thumbnail(exif.clone());
            assert_eq!((&cut[..22], &cut[22..26], &cut[26..]), (&exif[..22], &[0u8; 4][..], &b"thumbnail"[..]));
        }
    }

    #[test]
    fn what_is_cut_short_or_of_another_form_stays() {
        for exif in
            [&b""[..], b"II", b"II\x2a\0\xff\xff\xff\xff", b"II\x2a\0\x08\0\0\0\xff\xff", b"nothing of that kind"]
        {
            assert_eq!(without_thumbnail(exif.to_vec()), exif);
        }
    }
}
