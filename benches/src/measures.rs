//! Image quality measures, of images in memory and of folders.

use crate::subject::Subject;
use anyhow::{Result, bail};
use colormamba_data::Protocol;
use colormamba_metrics::{Image, Measure, Pair};
use colormamba_runner::commands::compare::{Compare, measure};
use colormamba_runner::system::terminal::Verbosity;
use image::{Rgb, RgbImage};

/// The uniform SSIM of a pair.
pub fn ssim(side: usize) -> Result<Subject> {
    let (pred, target) = (planar(&photograph(side, 0))?, planar(&photograph(side, 1))?);
    Ok(Subject::Whole { run: Box::new(move || Ok(Measure::SSIM_UNIFORM7.compute(&pred, &target).map(drop)?)) })
}

/// Every measure of a pair; LPIPS is none.
pub fn all(side: usize) -> Result<Subject> {
    let (pred, target) = (planar(&photograph(side, 0))?, planar(&photograph(side, 1))?);
    let run = move || {
        let pair = Pair::new(&pred, &target)?;
        Ok(Measure::ALL.iter().try_for_each(|measure| measure.of(&pair).map(drop))?)
    };
    Ok(Subject::Whole { run: Box::new(run) })
}

/// What `colormamba compare` does of two folders of images before it prints, reading included.
pub fn folders(side: usize, pairs: usize) -> Result<Subject> {
    let folder = tempfile::tempdir()?;
    for (name, first) in [("pred", 0), ("target", 1)] {
        let images = folder.path().join(name);
        std::fs::create_dir(&images)?;
        (0..pairs).try_for_each(|i| photograph(side, first + i).save(images.join(format!("{i}.png"))))?;
    }
    let evaluate = move || {
        let args = Compare {
            pred: folder.path().join("pred"),
            target: folder.path().join("target"),
            names: None,
            measures: Vec::new(),
            protocol: Protocol::Raw,
            weights: folder.path().join("weights"),
            out: None,
            force: false,
            worst: 0,
            verbosity: Verbosity::Quiet,
        };
        measure(&args).map(drop)
    };
    Ok(Subject::Model { evaluate: Box::new(evaluate), train: Box::new(|| bail!("measures have no backward pass")) })
}

/// Waves of three colours with grain, of 8 bits.
fn photograph(side: usize, seed: usize) -> RgbImage {
    RgbImage::from_fn(side as u32, side as u32, |x, y| {
        let wave = |c: usize| {
            let (x, y) = (x as f32 * 0.05 + (seed + c) as f32, y as f32 * 0.07);
            (100.0 + 80.0 * x.sin() * y.cos()) as u8
        };
        let grain = ((x as usize * 7919 + y as usize * 104_729 + seed * 13) % 31) as u8;
        Rgb([0, 1, 2].map(|c| wave(c) + grain))
    })
}

fn planar(image: &RgbImage) -> Result<Image> {
    let channel = |c: usize| image.as_raw().iter().skip(c).step_by(3);
    let values: Vec<f64> = (0..3).flat_map(channel).map(|v| f64::from(*v) / 255.0).collect();
    Ok(Image::new(&values, image.height() as usize, image.width() as usize)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pass;
    use candle_core::Device;

    #[test]
    fn every_case_of_measures_runs() {
        for subject in [ssim(16), all(176), folders(48, 2)] {
            assert!(subject.unwrap().time(Pass::Forward, &Device::Cpu).unwrap().as_nanos() > 0);
        }
    }
}
