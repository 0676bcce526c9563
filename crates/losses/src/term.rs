//! What can be asked of a term.

use crate::definition::{Family, Features};
use crate::view::{Comparison, View};
use crate::{About, Channels, Extractor, LossError, Term};
use candle_core::Shape;
use colormamba_support::names::nearest;
use std::fmt;
use std::str::FromStr;

impl Term {
    /// The name in manifests and logs.
    pub fn name(&self) -> &'static str {
        self.about().name
    }

    /// What it is.
    pub fn about(&self) -> &'static About {
        self.definition().about()
    }

    /// How many channels its images have, or that it takes class scores.
    pub fn channels(&self) -> Channels {
        self.definition().channels()
    }

    /// The smallest height and width in pixels that the term is defined for.
    pub fn smallest_side(&self) -> usize {
        let features = self.features().map_or(1, |features| features.smallest_side());
        self.definition().smallest_side().max(features)
    }

    /// The fixed network that it looks through, if it does.
    pub fn extractor(&self) -> Option<Extractor> {
        self.features().map(|features| features.extractor())
    }

    /// Fails if an option has a value that means nothing.
    ///
    /// # Errors
    /// [`LossError::Option`].
    pub fn check(&self) -> Result<(), LossError> {
        self.definition().check().map_err(|message| LossError::Option { term: self.name(), message })
    }

    /// Fails if it takes no tensors of this shape: `(B, C, H, W)` of images, `(B, n)` of class scores.
    ///
    /// # Errors
    /// [`LossError::Form`], [`LossError::Channels`], [`LossError::TooSmall`].
    pub fn check_shape(&self, shape: &Shape) -> Result<(), LossError> {
        match (self.channels(), shape.dims()) {
            (Channels::Classes, &[_, _]) => Ok(()),
            (Channels::Classes, _) => self.fail_form("class scores (B, n)", shape),
            (_, &[_, channels, height, width]) => self.check_image(channels, height, width),
            _ => self.fail_form("images (B, C, H, W)", shape),
        }
    }

    fn fail_form(&self, takes: &'static str, got: &Shape) -> Result<(), LossError> {
        Err(LossError::Form { term: self.name(), takes, got: got.clone() })
    }

    fn check_image(&self, channels: usize, height: usize, width: usize) -> Result<(), LossError> {
        if !self.channels().takes(channels) {
            return Err(LossError::Channels { term: self.name(), takes: self.channels(), got: channels });
        }
        let smallest = self.smallest_side();
        if height.min(width) < smallest {
            return Err(LossError::TooSmall { term: self.name(), smallest, height, width });
        }
        Ok(())
    }

    /// What it compares.
    pub(crate) fn family(&self) -> Family {
        self.definition().family()
    }

    /// What it sees of an image beside its pixels.
    pub(crate) fn features(&self) -> Option<Features> {
        self.definition().features()
    }

    /// The term as a function of the prediction.
    pub(crate) fn against(&self, target: &View) -> Result<Comparison, LossError> {
        self.definition().against(target)
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The term of this name with the defaults of its options.
impl FromStr for Term {
    type Err = LossError;

    fn from_str(name: &str) -> Result<Self, LossError> {
        let known = Self::all().into_iter().find(|term| term.name() == name);
        known.ok_or_else(|| LossError::UnknownTerm {
            name: name.to_string(),
            nearest: nearest(name, Self::all().iter().map(Self::name)),
        })
    }
}
