//! Measures of two sets of images.

use crate::inputs::image::{Unseen, measured};
use crate::study::record::JsonNumber;
use crate::system::terminal::{Verbosity, bar, note};
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use colormamba_data::pillow;
use colormamba_features::{Dinov2, SetMetric};
use colormamba_metrics::{FeatureSet, SetError};
use indicatif::ProgressBar;
use rayon::prelude::*;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The value of a measure of two sets.
#[derive(Clone, Debug, Serialize)]
pub struct SetLine {
    /// Its spec.
    pub measure: &'static str,
    /// Images of the one set.
    pub images: usize,
    /// Images of the other.
    pub targets: usize,
    /// The value.
    pub value: JsonNumber,
}

/// The values of `metrics` for the images of two sets seen through `network`, whatever the images' sizes. Warns of sets
/// too small for a measure. What is not seen of the images goes to `unseen`.
///
/// # Errors
/// An image that cannot be read; fewer than two images in a set.
pub fn measure(
    metrics: &[SetMetric],
    network: &Dinov2,
    sets: [&[PathBuf]; 2],
    verbosity: Verbosity,
    unseen: &mut Unseen,
) -> Result<Vec<SetLine>> {
    // Before the work, not behind it.
    for images in sets.map(<[PathBuf]>::len) {
        ensure!(images >= 2, SetError::TooFew { images });
    }
    let all = sets.iter().map(|set| set.len()).sum();
    let bar = bar(verbosity, all, "features {wide_bar} {pos}/{len} {per_sec} {eta} left")?;
    let [pred, target] = sets.map(|set| features(network, set, &bar, unseen));
    let (pred, target) = (pred?, target?);
    bar.finish_and_clear();
    if let Some(warning) = warning(metrics, &pred, &target) {
        note(&format!("warning: {warning}"));
    }
    let line = |metric: &SetMetric| {
        let value = JsonNumber(metric.value(&pred, &target)?);
        Ok(SetLine { measure: metric.definition().spec, images: pred.images(), targets: target.images(), value })
    };
    metrics.iter().map(line).collect()
}

/// That a value is of too few images, if it is.
fn warning(metrics: &[SetMetric], pred: &FeatureSet, target: &FeatureSet) -> Option<String> {
    let metric = metrics.iter().find(|metric| metric.needs_full_rank())?;
    let few = [pred, target].into_iter().filter(|set| set.is_rank_deficient()).min_by_key(|set| set.images())?;
    Some(format!(
        "{} images are too few for the covariance of {} features: {} depends on how many there are; compare only sets of \
         equally many images, or use {}",
        few.images(),
        few.width(),
        metric.definition().name,
        SetMetric::KernelDinov2.definition().name
    ))
}

fn features(network: &Dinov2, set: &[PathBuf], bar: &ProgressBar, unseen: &mut Unseen) -> Result<FeatureSet> {
    let one = |path: &PathBuf| {
        let features = of_image(network, path).with_context(|| path.display().to_string());
        bar.inc(1);
        features
    };
    let seen = set.par_iter().map(one).collect::<Result<Vec<_>>>()?;
    let (rows, others): (Vec<_>, Vec<_>) = seen.into_iter().unzip();
    unseen.extend(others.into_iter().flatten());
    Ok(FeatureSet::new(&rows.concat(), network.config().width)?)
}

/// An image at a time: products within it and images beside each other share the threads.
fn of_image(network: &Dinov2, path: &Path) -> Result<(Vec<f64>, Unseen)> {
    let side = network.config().side;
    let (image, unseen) = measured(path)?;
    let image = pillow::resize(&image, side as u32, side as u32);
    let image = Tensor::from_vec(image.into_raw(), (1, side, side, 3), &Device::Cpu)?;
    let image = (image.permute((0, 3, 1, 2))?.to_dtype(DType::F32)? / 255.0)?;
    Ok((network.features(&image)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?, unseen))
}

#[cfg(test)]
mod tests {
    use super::*;
    use colormamba_features::Dinov2Config;
    use image::{Rgb, RgbImage};

    const SMALL: Dinov2Config = Dinov2Config { width: 16, depth: 2, heads: 2, ..Dinov2Config::VIT_L14 };

    /// Images of two colours, of sizes of their own.
    fn folder(count: u32, red: u8) -> (tempfile::TempDir, Vec<PathBuf>) {
        let folder = tempfile::tempdir().unwrap();
        let save = |i: u32| {
            let image =
                RgbImage::from_fn(30 + i, 40, |x, y| Rgb([red, (x * (3 + i) % 200) as u8, (y * 5 % 250) as u8]));
            let path = folder.path().join(format!("{i}.png"));
            image.save(&path).unwrap();
            path
        };
        let paths = (0..count).map(save).collect();
        (folder, paths)
    }

    #[test]
    fn sets_are_measured_whole() {
        let network = Dinov2::random(SMALL, 5, &Device::Cpu).unwrap();
        let ((_one, dark), (_other, red)) = (folder(5, 10), folder(3, 240));
        let of = |sets: [&[PathBuf]; 2]| {
            measure(&SetMetric::ALL, &network, sets, Verbosity::Quiet, &mut Unseen::new()).unwrap()
        };
        let lines = of([&dark, &red]);
        assert_eq!(lines.iter().map(|line| (line.images, line.targets)).collect::<Vec<_>>(), [(5, 3), (5, 3)]);
        assert_eq!(lines[0].measure, SetMetric::FrechetDinov2.definition().spec);
        let same = of([&dark, &dark]);
        println!(
            "{} and {}, of a set and itself {} and {}",
            lines[0].value.0, lines[1].value.0, same[0].value.0, same[1].value.0
        );
        assert!(lines[0].value.0 > 0.01 && same[0].value.0 < 1e-6 * lines[0].value.0);
        assert!(lines[1].value.0 > same[1].value.0);
        let refused = |sets: [&[PathBuf]; 2]| {
            measure(&SetMetric::ALL, &network, sets, Verbosity::Quiet, &mut Unseen::new()).unwrap_err()
        };
        let error = refused([&dark, &red[..1]]);
        assert!(error.to_string().contains("at least two images, this one has 1"), "{error}");
        std::fs::write(&dark[1], "no image").unwrap();
        let error = refused([&dark, &red]);
        assert!(format!("{error:#}").contains("1.png"), "{error:#}");
    }

    #[test]
    fn a_warning_is_of_the_smaller_set_and_of_the_covariance_alone() {
        let set = |images: usize| FeatureSet::new(&vec![0.5; 4 * images], 4).unwrap();
        let text = warning(&SetMetric::ALL, &set(9), &set(4)).unwrap();
        assert!(text.contains("4 images are too few for the covariance of 4 features"), "{text}");
        assert!(text.contains("or use kd_dinov2"), "{text}");
        assert!(warning(&SetMetric::ALL, &set(5), &set(9)).is_none());
        assert!(warning(&[SetMetric::KernelDinov2], &set(2), &set(2)).is_none());
    }
}
