//! The fixed networks that terms look through.

use crate::{Extractor, LossError};
use colormamba_features::{AutoencoderFeatures, FeatureNetwork, Network};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The fixed networks that terms look through; cloning shares them.
#[derive(Clone, Default)]
pub struct Networks {
    autoencoder: Option<Arc<AutoencoderFeatures>>,
    classifiers: BTreeMap<Network, Arc<FeatureNetwork>>,
}

impl Networks {
    /// These with the auto-encoder.
    #[must_use]
    pub fn with_autoencoder(mut self, features: AutoencoderFeatures) -> Self {
        self.autoencoder = Some(Arc::new(features));
        self
    }

    /// These with a classifier.
    #[must_use]
    pub fn with_classifier(mut self, classifier: FeatureNetwork) -> Self {
        self.classifiers.insert(classifier.network(), Arc::new(classifier));
        self
    }

    /// Whether a term that looks through `extractor` can.
    pub fn has(&self, extractor: Extractor) -> bool {
        match extractor {
            Extractor::Autoencoder => self.autoencoder.is_some(),
            Extractor::Classifier(network) => self.classifiers.contains_key(&network),
        }
    }

    pub(crate) fn autoencoder(&self) -> Result<&AutoencoderFeatures, LossError> {
        self.autoencoder.as_deref().ok_or_else(|| LossError::Unseen { what: Extractor::Autoencoder.to_string() })
    }

    pub(crate) fn classifier(&self, network: Network) -> Result<&FeatureNetwork, LossError> {
        let found = self.classifiers.get(&network).map(Arc::as_ref);
        found.ok_or_else(|| LossError::Unseen { what: network.to_string() })
    }
}
