//! Text for people and from them.

use std::io::{Error, ErrorKind, Result as IoResult};
use std::path::Path;

/// The text of a file in UTF-8.
///
/// # Errors
/// If it cannot be read, or is in another encoding: how to convert it.
pub fn read_text(path: &Path) -> IoResult<String> {
    let bytes = std::fs::read(path)?;
    // What PowerShell writes by `>` begins so; of a letter that is no UTF-8 most come from Windows.
    let is_wide = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
    let from = if is_wide { "UTF-16" } else { "WINDOWS-1252" };
    String::from_utf8(bytes).map_err(|_| {
        let advice = format!(
            "it is not text in UTF-8: save it in that encoding, or convert it by `iconv -f {from} -t UTF-8` if it is {from}"
        );
        Error::new(ErrorKind::InvalidData, advice)
    })
}

/// `1 image`, `2 images`.
pub fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular() {
        assert_eq!([0, 1, 2].map(|n| count(n, "image")), ["0 images", "1 image", "2 images"]);
    }

    #[test]
    fn another_encoding_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            read_text(&path).map_err(|error| error.to_string())
        };
        assert_eq!(read("é".as_bytes()).unwrap(), "é");
        assert!(read(b"\xff\xfea\0").unwrap_err().contains("iconv -f UTF-16"));
        assert!(read(b"caf\xe9").unwrap_err().contains("iconv -f WINDOWS-1252"));
    }
}
