//! The types of a tensor's elements, and tensors of bytes.

use crate::bytes::Bytes;
use crate::error::{self, ReadError};
use candle_core::{DType, Device, Shape, Tensor};

/// More sides than any tensor has.
const MOST_SIDES: usize = 16;
const IMPOSSIBLE: &str = "has an impossible shape";

/// Type of the elements in a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// As candle has it.
    As(DType),
    /// Whole numbers of one byte with a sign.
    I8,
    /// Whole numbers of two bytes without a sign.
    U16,
}

impl Kind {
    /// Bytes of an element.
    pub(crate) fn width(self) -> u64 {
        match self {
            Self::As(dtype) => dtype.size_in_bytes() as u64,
            Self::I8 => 1,
            Self::U16 => 2,
        }
    }

    /// A tensor of these bytes. Types that candle lacks become the next wider one.
    fn tensor(self, bytes: &[u8], shape: &[usize]) -> candle_core::Result<Tensor> {
        match self {
            Self::As(dtype) => Tensor::from_raw_buffer(bytes, dtype, shape, &Device::Cpu),
            Self::I8 => {
                let values = bytes.iter().map(|byte| i16::from(*byte as i8)).collect();
                Tensor::from_vec::<_, i16>(values, shape, &Device::Cpu)
            }
            Self::U16 => {
                let pairs = bytes.as_chunks::<2>().0;
                let values = pairs.iter().map(|pair| u32::from(u16::from_le_bytes(*pair))).collect();
                Tensor::from_vec::<_, u32>(values, shape, &Device::Cpu)
            }
        }
    }
}

/// A tensor whose elements lie in the file.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    kind: Kind,
    /// Where in the file its first element begins.
    start: u64,
    shape: Vec<usize>,
    /// Steps in elements from one index to the next; `None` if each element follows the one before.
    strides: Option<Vec<usize>>,
    /// Elements from the first to the last, with those between that are others'.
    span: u64,
}

impl Stored {
    /// A tensor in the `room` bytes from `start` on. `offset`: elements before the first. The error says what is wrong.
    pub(crate) fn new(
        kind: Kind,
        place: (u64, u64),
        offset: u64,
        shape: Vec<usize>,
        strides: Vec<usize>,
    ) -> Result<Self, String> {
        let count = count(&shape).filter(|_| shape.len() == strides.len()).ok_or(IMPOSSIBLE)?;
        if count == 0 || Shape::from(shape.as_slice()).is_contiguous(&strides) {
            return Self::placed(kind, place, offset, count, shape, None);
        }
        let span = span(&shape, &strides).ok_or("has impossible strides")?;
        // One element stands for many after `expand`: a few bytes could claim any memory.
        if count > span {
            return Err("has elements that lie over one another".into());
        }
        Self::placed(kind, place, offset, span, shape, Some(strides))
    }

    /// One whose elements follow one another from the beginning of the place on.
    pub(crate) fn contiguous(kind: Kind, place: (u64, u64), shape: Vec<usize>) -> Result<Self, String> {
        let count = count(&shape).ok_or(IMPOSSIBLE)?;
        Self::placed(kind, place, 0, count, shape, None)
    }

    fn placed(
        kind: Kind,
        (start, room): (u64, u64),
        offset: u64,
        span: u64,
        shape: Vec<usize>,
        strides: Option<Vec<usize>>,
    ) -> Result<Self, String> {
        let width = kind.width();
        let end = offset.checked_add(span).and_then(|elements| elements.checked_mul(width));
        if end.is_none_or(|end| end > room) {
            return Err("reaches beyond its storage".into());
        }
        Ok(Self { kind, start: start + offset * width, shape, strides, span })
    }

    /// Bytes of memory that it takes as f32.
    pub(crate) fn memory(&self) -> u64 {
        self.shape.iter().product::<usize>() as u64 * self.kind.width().max(4)
    }

    /// The tensor, with elements of the type in the file.
    pub(crate) fn read(&self, name: &str, bytes: &Bytes) -> error::Result<Tensor> {
        let Some(raw) = bytes.part(self.start, self.span * self.kind.width())? else {
            let what = "lies beyond the file's end, which is cut".to_string();
            return Err(ReadError::Tensor { name: name.to_string(), what });
        };
        Ok(match &self.strides {
            None => self.kind.tensor(&raw, &self.shape)?,
            Some(strides) => self.kind.tensor(&gather(&raw, self.kind, &self.shape, strides), &self.shape)?,
        })
    }
}

/// The number of elements. Sides of 0 count as 1 in the check, as strides are products of all the others.
fn count(shape: &[usize]) -> Option<u64> {
    if shape.len() > MOST_SIDES {
        return None;
    }
    let most = shape.iter().try_fold(1usize, |count, side| count.checked_mul((*side).max(1)))?;
    (most <= isize::MAX as usize / 8).then(|| shape.iter().product::<usize>() as u64)
}

/// Elements from the first to the last.
fn span(shape: &[usize], strides: &[usize]) -> Option<u64> {
    let steps = shape.iter().zip(strides).map(|(side, stride)| (side - 1).checked_mul(*stride));
    steps.into_iter().try_fold(1usize, |span, steps| span.checked_add(steps?)).map(|span| span as u64)
}

/// The elements in the order of their indices.
fn gather(raw: &[u8], kind: Kind, shape: &[usize], strides: &[usize]) -> Vec<u8> {
    let width = kind.width() as usize;
    let mut out = Vec::with_capacity(shape.iter().product::<usize>() * width);
    let mut index = vec![0; shape.len()];
    loop {
        let at: usize = index.iter().zip(strides).map(|(i, stride)| i * stride * width).sum();
        out.extend_from_slice(&raw[at..at + width]);
        let Some(side) = (0..shape.len()).rev().find(|side| index[*side] + 1 < shape[*side]) else { return out };
        index[side] += 1;
        index[side + 1..].fill(0);
    }
}
