//! Whether a JPEG file holds all of its image.
//!
//! Decoders make up what a file has lost: of a file that was cut, or filled with zeros, they give an image and no error. So
//! before one is decoded, its scans are read here as a decoder reads them, every Huffman code of every block, without the
//! arithmetic: it costs about a third of decoding. What comes through has as many blocks as its size asks for, every scan
//! ends where its last block does, and, if the file is progressive, every coefficient came in full precision.
//!
//! Source: ITU-T T.81 (ISO/IEC 10918-1): markers in annex B, Huffman codes in annexes C and F, progressive scans in annex G.

mod bits;
mod frame;
mod huffman;
mod scan;

use bits::BitReader;
use frame::Frame;
use huffman::Tables;
use std::borrow::Cow;

/// Why a JPEG file is not decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JpegError {
    /// The data end before the image does.
    #[error("the file was cut: its data end at byte {at}, in row {row} of {rows}")]
    Cut {
        /// Where, in bytes.
        at: usize,
        /// The row of pixels that would come next, from 0.
        row: usize,
        /// How many the image has.
        rows: usize,
    },
    /// The file ends, or its image does, before everything that belongs to it has come.
    #[error("the file was cut: {0}")]
    Incomplete(&'static str),
    /// What stands there cannot follow from what stands before.
    #[error("the file is damaged at byte {at}: {what}")]
    Damaged {
        /// Where, in bytes.
        at: usize,
        /// What stands there.
        what: &'static str,
    },
    /// A sound file of a kind that is not read.
    #[error("{0} JPEG is not read")]
    Unsupported(&'static str),
}

/// A file that holds all of its image.
pub(crate) struct Whole<'a> {
    /// It, from its start to its end marker, whatever followed.
    pub bytes: Cow<'a, [u8]>,
    /// Whether each component has a scan of its own, at once in full precision.
    pub separate: bool,
}

/// Width and height, from the header.
pub(crate) fn size(bytes: &[u8]) -> Result<(u32, u32), JpegError> {
    let mut reader = Reader::new(bytes);
    while let Some(marker) = reader.marker()? {
        match marker {
            0xda | END => break,
            0x01 | 0xd0..=0xd8 => {}
            _ => reader.segment(marker)?,
        }
        if let Some(frame) = &reader.frame {
            return Ok(frame.size());
        }
    }
    Err(JpegError::Incomplete("it has no image"))
}

/// Reads the file through.
pub(crate) fn check(bytes: &[u8]) -> Result<Whole<'_>, JpegError> {
    let mut reader = Reader::new(bytes);
    loop {
        let Some(marker) = reader.marker()? else {
            // Everything but the end marker may be there.
            reader.finished()?;
            return Ok(reader.whole([bytes.strip_suffix(b"\xff").unwrap_or(bytes), b"\xff\xd9"].concat().into()));
        };
        match marker {
            END => {
                reader.finished()?;
                return Ok(reader.whole(bytes[..reader.at].into()));
            }
            // Without a segment: temporary, start, or a restart that belongs to no scan.
            0x01 | 0xd0..=0xd8 => {}
            _ => reader.segment(marker)?,
        }
    }
}

const END: u8 = 0xd9;

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    tables: Tables,
    frame: Option<Frame>,
    /// Blocks of components (MCU) between restarts; 0 without any.
    restart: usize,
}

impl<'a> Reader<'a> {
    /// Of a file that begins with a start marker.
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 2, tables: Tables::default(), frame: None, restart: 0 }
    }

    /// The next marker; none at the end of the file.
    fn marker(&mut self) -> Result<Option<u8>, JpegError> {
        let at = self.at;
        let rest = &self.bytes[at.min(self.bytes.len())..];
        let filled = rest.iter().take_while(|&&byte| byte == 0xff).count();
        match rest.get(filled) {
            None => Ok(None),
            Some(_) if filled == 0 => Err(JpegError::Damaged { at, what: "no marker where the next part begins" }),
            Some(&marker) => {
                self.at += filled + 1;
                Ok(Some(marker))
            }
        }
    }

    fn segment(&mut self, marker: u8) -> Result<(), JpegError> {
        let (bytes, at) = (self.bytes, self.at);
        let cut = JpegError::Incomplete("it ends within its header");
        let length = bytes.get(at..at + 2).map(|length| usize::from(u16::from_be_bytes([length[0], length[1]])));
        let length = length.ok_or(cut.clone())?;
        if length < 2 {
            return Err(JpegError::Damaged { at, what: "a part of impossible length" });
        }
        let content = bytes.get(at + 2..at + length).ok_or(cut)?;
        self.at += length;
        let wrong = |what| JpegError::Damaged { at, what };
        match marker {
            0xc4 => self.tables.define(content).ok_or_else(|| wrong("Huffman codes that are none"))?,
            0xc0..=0xc2 => {
                let frame = Frame::parse(content, marker == 0xc2)?.ok_or_else(|| wrong("a header that is none"))?;
                if self.frame.replace(frame).is_some() {
                    return Err(wrong("a second header"));
                }
            }
            0xc3 | 0xc7 | 0xcb | 0xcf => return Err(JpegError::Unsupported("lossless")),
            0xc9 | 0xca | 0xcc => return Err(JpegError::Unsupported("arithmetically coded")),
            0xc5 | 0xc6 | 0xcd | 0xce | 0xde => return Err(JpegError::Unsupported("hierarchical")),
            0xdd => {
                let &[a, b] = content else { return Err(wrong("a restart interval that is none")) };
                self.restart = usize::from(u16::from_be_bytes([a, b]));
            }
            0xda => self.scan(content).map_err(|error| error.unwrap_or_else(|| wrong("a scan that fits no header")))?,
            _ => {}
        }
        Ok(())
    }

    /// Goes through a scan; `Err(None)` if its own header fits nothing.
    fn scan(&mut self, header: &[u8]) -> Result<(), Option<JpegError>> {
        let frame = self.frame.as_mut().ok_or(None)?;
        let scan = frame.scan(header).ok_or(None)?;
        let mut bits = BitReader::new(self.bytes, self.at);
        scan.walk(frame, &self.tables, self.restart, &mut bits)?;
        self.at = bits.end().map_err(|at| {
            Some(JpegError::Damaged { at, what: "data behind the last of the image's blocks, where its end should be" })
        })?;
        Ok(())
    }

    fn finished(&self) -> Result<(), JpegError> {
        let frame = self.frame.as_ref().ok_or(JpegError::Incomplete("it has no image"))?;
        frame.finished()
    }

    fn whole(&self, bytes: Cow<'a, [u8]>) -> Whole<'a> {
        Whole { bytes, separate: self.frame.as_ref().is_some_and(Frame::separate) }
    }
}
