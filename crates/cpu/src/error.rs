//! What a caller can get wrong.

use candle_core::{DType, Shape};

/// Wrong arguments to an operation.
#[derive(Debug, thiserror::Error)]
pub enum OpError {
    /// A shape does not fit.
    #[error("{op}: expected {expected}, got shape {got:?}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// What it takes, in words.
        expected: String,
        /// What it was given.
        got: Shape,
    },
    /// The operation works on `f32` and `f64` only; all arguments of an operation are of one of them.
    #[error("{op}: {dtype:?} tensors are not supported, only f32 and f64")]
    DType {
        /// The operation.
        op: &'static str,
        /// What it was given.
        dtype: DType,
    },
    /// A parameter has an impossible value.
    #[error("{op}: {message}")]
    Argument {
        /// The operation.
        op: &'static str,
        /// What is wrong with which parameter.
        message: String,
    },
}

impl OpError {
    /// A [`OpError::Shape`] as candle's error.
    pub fn shape(op: &'static str, expected: impl Into<String>, got: &Shape) -> candle_core::Error {
        candle_core::Error::wrap(Self::Shape { op, expected: expected.into(), got: got.clone() })
    }

    /// An [`OpError::Argument`] as candle's error.
    pub fn argument(op: &'static str, message: impl Into<String>) -> candle_core::Error {
        candle_core::Error::wrap(Self::Argument { op, message: message.into() })
    }
}
