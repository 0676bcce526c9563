//! Where the bytes of a file of weights are.

use crate::error::{ReadError, Result};
use std::borrow::Cow;
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A file, or the content of one.
pub(crate) enum Bytes {
    File { path: PathBuf, length: u64 },
    Memory(Cow<'static, [u8]>),
}

/// What can be read from any place.
pub(crate) trait Source: Read + Seek {}

impl<T: Read + Seek> Source for T {}

impl Bytes {
    pub(crate) fn of_file(path: &Path) -> Result<Self> {
        // Opening a pipe would wait for a writer, so that its kind is looked at first.
        let about = std::fs::metadata(path)?;
        if !about.is_file() {
            return Err(ReadError::NoFile);
        }
        Ok(Self::File { path: path.to_path_buf(), length: about.len() })
    }

    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::File { length, .. } => *length,
            Self::Memory(bytes) => bytes.len() as u64,
        }
    }

    /// From the beginning.
    pub(crate) fn source(&self) -> Result<BufReader<Box<dyn Source + '_>>> {
        let source: Box<dyn Source> = match self {
            Self::File { path, .. } => Box::new(File::open(path)?),
            Self::Memory(bytes) => Box::new(Cursor::new(&**bytes)),
        };
        Ok(BufReader::new(source))
    }

    /// The `count` bytes from `start` on; `None` if the file ends before. No memory is taken for what is not there.
    pub(crate) fn part(&self, start: u64, count: u64) -> Result<Option<Vec<u8>>> {
        let whole = start.checked_add(count).is_some_and(|end| end <= self.length());
        let (true, Ok(count)) = (whole, usize::try_from(count)) else { return Ok(None) };
        let mut source = self.source()?;
        source.seek(SeekFrom::Start(start))?;
        let mut bytes = vec![0; count];
        source.read_exact(&mut bytes)?;
        Ok(Some(bytes))
    }
}
