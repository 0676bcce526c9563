//! Networks whose pictures another one learns from.

use crate::manifest::{Distill, Manifest, weights_file};
use crate::study::provenance::HashedFile;
use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use colormamba_training::{TrainedNetwork, WeightFile};

/// Trained networks, of any kinds.
pub struct Teachers {
    networks: Vec<TrainedNetwork>,
    /// Their files.
    pub files: Vec<HashedFile>,
}

impl Teachers {
    /// Those that the manifest names; none if it names none.
    ///
    /// # Errors
    /// A file that cannot be read or is of no network, and a network that was trained on images prepared in another way,
    /// or does not take images of the training's size.
    pub fn load(manifest: &Manifest, device: &Device) -> Result<Option<Self>> {
        let Some(Distill { teachers, .. }) = &manifest.distill else { return Ok(None) };
        let (mut networks, mut files) = (Vec::new(), Vec::new());
        for from in teachers {
            let path = weights_file(from);
            let file = WeightFile::load(&path, device)?;
            ensure_prepared_alike(manifest, &file)?;
            let network = file.network(None)?;
            let side = manifest.augmentation.size.unwrap_or(manifest.data.size) as usize;
            ensure!(
                side.is_multiple_of(network.grid()),
                "distill.teachers: {} takes images whose sides are multiples of {}, those of the training have {side} pixels",
                path.display(),
                network.grid()
            );
            networks.push(network);
            files.push(HashedFile::of(&path)?);
        }
        Ok(Some(Self { networks, files }))
    }

    /// The mean of their pictures `(B, 3, H, W)`, see [`TrainedNetwork::picture`].
    ///
    /// # Errors
    /// Those of the tensor operations.
    pub fn picture(&self, nir: &Tensor, nir_hsv: &Tensor) -> Result<Tensor> {
        let pictures = self.networks.iter().map(|network| network.picture(nir, nir_hsv));
        let pictures = pictures.collect::<Result<Vec<_>, _>>()?;
        Ok(Tensor::stack(&pictures, 0)?.mean(0)?)
    }

    /// Tells whether they are the same.
    pub fn digest(&self) -> String {
        self.files.iter().map(|file| file.blake3.as_str()).collect::<Vec<_>>().join(" ")
    }
}

/// A network sees what it was trained to see, or its pictures mean nothing. Weights of others do not say.
fn ensure_prepared_alike(manifest: &Manifest, file: &WeightFile) -> Result<()> {
    for (key, ours) in
        [("protocol", manifest.data.protocol.to_string()), ("nir_hsv", manifest.data.nir_hsv.to_string())]
    {
        let theirs = file.metadata.get(key).unwrap_or(&ours);
        ensure!(
            *theirs == ours,
            "distill.teachers: {} was trained with {key} = \"{theirs}\", this manifest has \"{ours}\"",
            file.path().display()
        );
    }
    Ok(())
}
