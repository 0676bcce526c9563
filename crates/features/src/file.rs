//! Files of weights of the networks here.

use crate::FeatureError;
use candle_core::{Shape, Tensor};
use colormamba_weights::{ReadError, WeightFile as Content};
use std::path::{Path, PathBuf};

/// A file of weights, whose tensors are read one at a time.
pub(crate) struct WeightFile {
    weights: &'static str,
    path: PathBuf,
    content: Content,
}

impl WeightFile {
    /// A file of any kind that is read. `weights`: which they are to be.
    pub(crate) fn open(weights: &'static str, path: &Path) -> Result<Self, FeatureError> {
        Self::of(weights, path, Content::open(path))
    }

    /// The content of a file that is part of the program.
    pub(crate) fn built_in(weights: &'static str, content: &'static [u8]) -> Result<Self, FeatureError> {
        Self::of(weights, Path::new("the file in the program"), Content::of_bytes(content))
    }

    fn of(weights: &'static str, path: &Path, content: Result<Content, ReadError>) -> Result<Self, FeatureError> {
        let content = content.map_err(|error| FeatureError::unreadable(weights, path, error))?;
        Ok(Self { weights, path: path.to_path_buf(), content })
    }

    /// The tensor of that name, which must have the shape `want`.
    pub(crate) fn tensor(&self, name: &str, want: &Shape) -> Result<Tensor, FeatureError> {
        let (weights, path) = (self.weights, self.path.clone());
        let found = self.content.tensor(name).map_err(|error| FeatureError::unreadable(weights, &path, error))?;
        let name = name.to_string();
        match found {
            None => {
                let found = self.content.found(&name);
                Err(FeatureError::FileTensor { weights, path, name, found })
            }
            Some(value) if value.shape() != want => {
                let (want, got) = (want.clone(), value.shape().clone());
                let mismatch = Box::new(FeatureError::FeatureShape { weights, name, want, got });
                Err(FeatureError::FileShape { weights, path, mismatch })
            }
            Some(value) => Ok(value),
        }
    }
}
