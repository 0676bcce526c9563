//! What can be wrong with a file of weights.

/// What can be wrong with a file of weights. Whoever opens the file knows what it was to be: the messages are parts of
/// theirs, which name it.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system refuses.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A folder, a device or a pipe.
    #[error("it is no regular file")]
    NoFile,
    /// Of no kind that is read.
    #[error("it is neither a safetensors file nor one of PyTorch: it begins with {0}")]
    Kind(String),
    /// The file ends too early, or its parts contradict one another.
    #[error("{0}")]
    Damaged(String),
    /// A sound file without tensors by name.
    #[error("{0}")]
    NoTensors(String),
    /// A tensor that cannot be read.
    #[error("the tensor `{name}` {what}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// The elements cannot be made a tensor.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

pub(crate) type Result<T> = std::result::Result<T, ReadError>;

/// That the file is damaged.
pub(crate) fn damaged<T>(what: impl Into<String>) -> Result<T> {
    Err(ReadError::Damaged(what.into()))
}
