//! A scan, block by block.

use super::JpegError;
use super::bits::{BitReader, Ended};
use super::frame::Frame;
use super::huffman::{Code, Tables};

/// The coefficients that a scan brings, from `first` to `last` in zigzag order, and the bits of them that were missing before
/// (0 if all were) and are missing after.
#[derive(Clone, Copy)]
pub(super) struct Band {
    pub first: u8,
    pub last: u8,
    pub high: u8,
    pub low: u8,
}

/// A component, by its place in the header, with the numbers of its codes.
#[derive(Clone, Copy)]
pub(super) struct ScanComponent {
    pub index: usize,
    pub dc: usize,
    pub ac: usize,
}

/// What a scan brings.
pub(super) struct Scan {
    pub components: Vec<ScanComponent>,
    pub band: Band,
}

/// Why a block cannot be read.
enum Fault {
    Ended,
    NoCode,
}

impl From<Ended> for Fault {
    fn from(_: Ended) -> Self {
        Self::Ended
    }
}

impl Scan {
    /// Reads all blocks.
    pub fn walk(
        &self,
        frame: &mut Frame,
        tables: &Tables,
        restart: usize,
        bits: &mut BitReader,
    ) -> Result<(), JpegError> {
        let (across, down) = match self.components[..] {
            [only] => frame.blocks(&frame.components[only.index]),
            _ => frame.units(),
        };
        let mut run = 0;
        for unit in 0..across * down {
            let row = unit / across;
            if restart > 0 && unit > 0 && unit % restart == 0 {
                let number = ((unit / restart - 1) % 8) as u8;
                bits.restart(number).map_err(|at| self.broken(frame, at, row, down, bits))?;
                run = 0;
            }
            let fault = self.unit(frame, tables, (unit % across, row), &mut run, bits);
            fault.map_err(|fault| match fault {
                Fault::Ended => cut(frame, bits.place(), row, down),
                Fault::NoCode => JpegError::Damaged { at: bits.place(), what: "data that are no code" },
            })?;
        }
        Ok(())
    }

    /// What is wrong where a restart marker should be.
    fn broken(&self, frame: &Frame, at: usize, row: usize, down: usize, bits: &BitReader) -> JpegError {
        match bits.place() > at {
            true => JpegError::Damaged { at, what: "data where a restart marker should be" },
            false => cut(frame, at, row, down),
        }
    }

    /// The blocks of one unit: of a single component one block, of several as many of each as its factors say.
    fn unit(
        &self,
        frame: &mut Frame,
        tables: &Tables,
        (x, y): (usize, usize),
        run: &mut u32,
        bits: &mut BitReader,
    ) -> Result<(), Fault> {
        let progressive = frame.progressive;
        for of in &self.components {
            let component = &mut frame.components[of.index];
            let (h, v) = if self.components.len() == 1 { (1, 1) } else { component.factors };
            for block in 0..h * v {
                let codes = Codes { dc: code(&tables.dc, of.dc), ac: code(&tables.ac, of.ac) };
                if progressive {
                    let place = (y * v + block / h) * component.stride + x * h + block % h;
                    let nonzero = component.nonzero.get_mut(place).ok_or(Fault::NoCode)?;
                    codes.progressive(self.band, nonzero, run, bits)?;
                } else {
                    codes.sequential(bits)?;
                }
            }
        }
        Ok(())
    }
}

fn cut(frame: &Frame, at: usize, row: usize, down: usize) -> JpegError {
    JpegError::Cut { at, row: row * frame.height / down, rows: frame.height }
}

fn code(codes: &[Option<Code>; 4], number: usize) -> Option<&Code> {
    codes.get(number).and_then(Option::as_ref)
}

/// The codes of a component.
struct Codes<'a> {
    dc: Option<&'a Code>,
    ac: Option<&'a Code>,
}

fn symbol(code: Option<&Code>, bits: &mut BitReader) -> Result<u8, Fault> {
    code.ok_or(Fault::NoCode)?.symbol(bits)?.ok_or(Fault::NoCode)
}

impl Codes<'_> {
    /// A block with all of its coefficients (T.81, F.2.2).
    fn sequential(&self, bits: &mut BitReader) -> Result<(), Fault> {
        self.first(bits)?;
        let mut k = 1;
        while k < 64 {
            let (zeros, size) = split(symbol(self.ac, bits)?);
            match (zeros, size) {
                (15, 0) => k += 16,
                (_, 0) => return Ok(()),
                _ => {
                    k += zeros + 1;
                    bits.skip(size)?;
                }
            }
        }
        if k > 64 { Err(Fault::NoCode) } else { Ok(()) }
    }

    /// The difference of the first coefficient.
    fn first(&self, bits: &mut BitReader) -> Result<(), Fault> {
        match symbol(self.dc, bits)? {
            size @ 0..=15 => Ok(bits.skip(u32::from(size))?),
            _ => Err(Fault::NoCode),
        }
    }

    /// What a scan of a progressive image brings to a block (T.81, G.1.2 and G.2). `run` counts the blocks without anything
    /// more that are still to come.
    fn progressive(&self, band: Band, nonzero: &mut u64, run: &mut u32, bits: &mut BitReader) -> Result<(), Fault> {
        match (band.first, band.high) {
            (0, 0) => self.first(bits),
            (0, _) => Ok(bits.skip(1)?),
            (_, 0) => self.coarse(band, nonzero, run, bits),
            _ => self.refined(band, nonzero, run, bits),
        }
    }

    /// The first bits of some coefficients.
    fn coarse(&self, band: Band, nonzero: &mut u64, run: &mut u32, bits: &mut BitReader) -> Result<(), Fault> {
        if *run > 0 {
            *run -= 1;
            return Ok(());
        }
        let (mut k, last) = (u32::from(band.first), u32::from(band.last));
        while k <= last {
            let (zeros, size) = split(symbol(self.ac, bits)?);
            match (zeros, size) {
                (15, 0) => k += 16,
                (_, 0) => {
                    *run = (1 << zeros) - 1 + bits.take(zeros)?;
                    return Ok(());
                }
                _ => {
                    k += zeros;
                    if k > last {
                        return Err(Fault::NoCode);
                    }
                    *nonzero |= 1 << k;
                    k += 1;
                    bits.skip(size)?;
                }
            }
        }
        if k > last + 1 { Err(Fault::NoCode) } else { Ok(()) }
    }

    /// One bit more of some coefficients: those that are not zero have it among the codes of those that become so.
    fn refined(&self, band: Band, nonzero: &mut u64, run: &mut u32, bits: &mut BitReader) -> Result<(), Fault> {
        let (mut k, last) = (u32::from(band.first), u32::from(band.last));
        while *run == 0 && k <= last {
            let (mut zeros, size) = split(symbol(self.ac, bits)?);
            if size > 1 {
                return Err(Fault::NoCode);
            }
            if size == 0 && zeros < 15 {
                *run = (1 << zeros) + bits.take(zeros)?;
                break;
            }
            bits.skip(size)?;
            while k <= last {
                if *nonzero >> k & 1 == 1 {
                    bits.skip(1)?;
                } else if zeros == 0 {
                    break;
                } else {
                    zeros -= 1;
                }
                k += 1;
            }
            if size == 1 {
                if k > last {
                    return Err(Fault::NoCode);
                }
                *nonzero |= 1 << k;
            }
            k += 1;
        }
        if *run > 0 {
            for k in k..=last {
                bits.skip((*nonzero >> k & 1) as u32)?;
            }
            *run -= 1;
        }
        Ok(())
    }
}

/// A run of zeros, and the bits of the coefficient behind it.
fn split(symbol: u8) -> (u32, u32) {
    (u32::from(symbol >> 4), u32::from(symbol & 15))
}
