//! An image, or class scores, with what the terms of an objective see of it.

use crate::definition::Features;
use crate::{Extractor, LossError, Networks, Term};
use candle_core::{Result as CandleResult, Tensor};
use colormamba_features::Network;
use colormamba_ops::Node;
use std::collections::{BTreeMap, BTreeSet};

/// A term as a function of the prediction, with all it needs of the target; its result is an f64 scalar.
pub(crate) type Comparison = Box<dyn Fn(&View) -> Result<Node, LossError> + Send + Sync>;

/// An image `(B, C, H, W)` and its features: every network has run over it once, whatever the number of terms. Or class
/// scores `(B, n)`, which have no features.
pub(crate) struct View {
    image: Node,
    autoencoder: Option<Node>,
    taps: BTreeMap<Network, BTreeMap<String, Node>>,
}

impl View {
    /// The image through the networks that `terms` need; grey is repeated to three channels for them.
    pub(crate) fn new<'a>(
        image: &Node,
        terms: impl Iterator<Item = &'a Term>,
        networks: &Networks,
    ) -> Result<Self, LossError> {
        let mut view = Self::plain(image.clone());
        let mut taps: BTreeMap<Network, BTreeSet<String>> = BTreeMap::new();
        let mut autoencoder = false;
        for features in terms.filter_map(Term::features) {
            match features {
                Features::Autoencoder => autoencoder = true,
                Features::Classifier { network, taps: more } => taps.entry(network).or_default().extend(more),
            }
        }
        if !autoencoder && taps.is_empty() {
            return Ok(view);
        }
        let image = in_three_channels(image)?;
        if autoencoder {
            view.autoencoder = Some(networks.autoencoder()?.forward(&image)?);
        }
        for (network, taps) in taps {
            let taps: Vec<String> = taps.into_iter().collect();
            view.taps.insert(network, networks.classifier(network)?.forward(&image, &taps)?);
        }
        Ok(view)
    }

    /// The image alone.
    pub(crate) fn plain(image: Node) -> Self {
        Self { image, autoencoder: None, taps: BTreeMap::new() }
    }

    pub(crate) fn image(&self) -> &Node {
        &self.image
    }

    /// Its features by the auto-encoder, `(B, 128, H/8, W/8)`.
    pub(crate) fn autoencoder(&self) -> Result<&Node, LossError> {
        self.autoencoder.as_ref().ok_or_else(|| LossError::Unseen { what: Extractor::Autoencoder.to_string() })
    }

    /// A feature map of a classifier.
    pub(crate) fn tap(&self, network: Network, tap: &str) -> Result<&Node, LossError> {
        let found = self.taps.get(&network).and_then(|taps| taps.get(tap));
        found.ok_or_else(|| LossError::Unseen { what: format!("{network} {tap}") })
    }
}

/// An image of one channel as one of three that are alike; any other as it is.
fn in_three_channels(image: &Node) -> CandleResult<Node> {
    let (_, channels, _, _) = image.dims4()?;
    if channels != 1 {
        return Ok(image.clone());
    }
    let grey = image.value();
    let colours = Tensor::cat(&[grey, grey, grey], 1)?;
    Node::new(colours, [image], |grad| Ok([Some(grad.sum_keepdim(1)?)]))
}
