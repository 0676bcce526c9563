//! Files of weights.

use crate::FeatureError;
use crate::legacy::LegacyFile;
use candle_core::pickle::PthTensors;
use candle_core::safetensors::{BufferedSafetensors, SliceSafetensors};
use candle_core::{Device, Result, Shape, Tensor};
use std::path::{Path, PathBuf};

/// A function from a tensor's name to its value.
type Find = Box<dyn Fn(&str) -> Result<Option<Tensor>>>;

/// A file of weights, whose tensors are read one at a time.
pub(crate) struct WeightFile {
    weights: &'static str,
    path: PathBuf,
    find: Find,
}

impl WeightFile {
    /// A `.safetensors` file, or else one of PyTorch. `weights`: which they are to be. `key`: under which key of a
    /// PyTorch file's object the tensors lie; the object itself without.
    pub(crate) fn open(
        weights: &'static str,
        path: &Path,
        key: Option<&str>,
    ) -> std::result::Result<Self, FeatureError> {
        let path = path.to_path_buf();
        match finder(&path, key) {
            Ok(find) => Ok(Self { weights, path, find }),
            Err(error) => Err(FeatureError::FileUnreadable { weights, path, source: Box::new(error) }),
        }
    }

    /// The content of a `.safetensors` file that is part of the program.
    pub(crate) fn built_in(weights: &'static str, content: &'static [u8]) -> std::result::Result<Self, FeatureError> {
        let file = SliceSafetensors::new(content)?;
        let find: Find = Box::new(move |name| match file.get(name) {
            Ok(_) => file.load(name, &Device::Cpu).map(Some),
            Err(_) => Ok(None),
        });
        Ok(Self { weights, path: PathBuf::from("the file in the program"), find })
    }

    /// The tensor of that name, which must have the shape `want`.
    pub(crate) fn tensor(&self, name: &str, want: &Shape) -> std::result::Result<Tensor, FeatureError> {
        let (weights, path) = (self.weights, self.path.clone());
        let found = match (self.find)(name) {
            Ok(found) => found,
            Err(error) => return Err(FeatureError::FileUnreadable { weights, path, source: Box::new(error) }),
        };
        let name = name.to_string();
        match found {
            None => Err(FeatureError::FileTensor { weights, path, name }),
            Some(value) if value.shape() != want => {
                let (want, got) = (want.clone(), value.shape().clone());
                let mismatch = Box::new(FeatureError::FeatureShape { weights, name, want, got });
                Err(FeatureError::FileShape { weights, path, mismatch })
            }
            Some(value) => Ok(value),
        }
    }
}

fn finder(path: &Path, key: Option<&str>) -> Result<Find> {
    if path.extension().is_some_and(|e| e == "safetensors") {
        let file = BufferedSafetensors::new(std::fs::read(path)?)?;
        return Ok(Box::new(move |name| match file.get(name) {
            Ok(_) => file.load(name, &Device::Cpu).map(Some),
            Err(_) => Ok(None),
        }));
    }
    if let Some(file) = LegacyFile::open(path, key)? {
        return Ok(Box::new(move |name| file.get(name)));
    }
    let file = PthTensors::new(path, key)?;
    Ok(Box::new(move |name| file.get(name)))
}
