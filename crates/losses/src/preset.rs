//! Loss configurations of the literature by name.

use crate::{Adversarial, LossError, Term};
use colormamba_support::names::nearest;

/// A loss configuration of the literature.
#[derive(Clone, Debug, PartialEq)]
pub struct Preset {
    /// The name in manifests.
    pub name: &'static str,
    /// Weighted terms on the RGB image.
    pub rgb: Vec<(Term, f64)>,
    /// Weighted terms on the HSV image; the literature's losses of one image have none.
    pub hsv: Vec<(Term, f64)>,
    /// The adversarial loss with its weight.
    pub adversarial: Option<(Adversarial, f64)>,
    /// Where it comes from.
    pub source: &'static str,
}

const COLORMAMBA: &str = "ColorMamba, arXiv 2408.08087, and its published code";
const THESIS: &str = "loss study of a thesis on ColorMamba: the published loss with another reconstruction part";
const HNERV: &str = "loss study of HNeRV, Chen et al., CVPR 2023, arXiv 2304.02633, and its published code";

impl Preset {
    /// Every preset.
    pub fn all() -> Vec<Self> {
        let mut all = vec![
            Self::adversarial("colormamba", &reconstruction(), COLORMAMBA),
            Self::adversarial("thesis-vgg", &[(Term::Vgg(Default::default()), 1.0)], THESIS),
            Self::adversarial("thesis-histogram", &[(histogram(), 1.0)], THESIS),
            Self::adversarial("thesis-combined", &combined(), THESIS),
        ];
        all.extend(fusions());
        let mse_ssim = vec![(Term::Mse {}, 0.16), (ssim(), 0.84)];
        all.push(Self::plain(
            "mse-ssim",
            mse_ssim,
            "weights of Zhao et al., IEEE TCI 2017, arXiv 1511.08861, with MSE",
        ));
        let sar = vec![(Term::Mse {}, 0.5), (ssim(), 0.5), (Term::Sobel {}, 0.1)];
        all.push(Self::plain("sar", sar, "notes on SAR colorization in the literature of this study"));
        all
    }

    /// The preset of this name.
    ///
    /// # Errors
    /// [`LossError::UnknownPreset`] with the nearest name.
    pub fn named(name: &str) -> Result<Self, LossError> {
        let all = Self::all();
        let nearest = nearest(name, all.iter().map(|preset| preset.name));
        let found = all.into_iter().find(|preset| preset.name == name);
        found.ok_or_else(|| LossError::UnknownPreset { name: name.to_string(), nearest })
    }

    /// As published: 100 · (20 · (MSE + part) on RGB + (MSE + part) on HSV) + LSGAN on both.
    fn adversarial(name: &'static str, part: &[(Term, f64)], source: &'static str) -> Self {
        let scaled = |scale: f64| {
            let terms = [(Term::Mse {}, 1.0)].into_iter().chain(part.iter().cloned());
            terms.map(|(term, weight)| (term, weight * scale)).collect()
        };
        let (rgb, hsv) = (scaled(2000.0), scaled(100.0));
        Self { name, rgb, hsv, adversarial: Some((Adversarial::Lsgan, 1.0)), source }
    }

    fn plain(name: &'static str, rgb: Vec<(Term, f64)>, source: &'static str) -> Self {
        Self { name, rgb, hsv: Vec::new(), adversarial: None, source }
    }
}

fn reconstruction() -> [(Term, f64); 3] {
    [(Term::FeatureMse {}, 1.0), (Term::FeatureCosine {}, 1.0), (Term::MsSsimPublished {}, 1.0)]
}

fn combined() -> [(Term, f64); 4] {
    let vgg = Term::Vgg(Default::default());
    [(Term::FeatureMse {}, 1.0), (histogram(), 1.5), (Term::FeatureCosine {}, 1.0), (vgg, 0.1)]
}

fn histogram() -> Term {
    Term::Histogram(Default::default())
}

fn ssim() -> Term {
    Term::Ssim(Default::default())
}

fn fusions() -> impl Iterator<Item = Preset> {
    let (l1, l2) = (|| Term::L1 {}, || Term::Mse {});
    let ms_ssim = || Term::MsSsim {};
    [
        ("fusion1", [(l2(), 0.3), (ssim(), 0.7)]),
        ("fusion2", [(l1(), 0.3), (ssim(), 0.7)]),
        ("fusion3", [(l2(), 0.5), (ssim(), 0.5)]),
        ("fusion4", [(l1(), 0.5), (ssim(), 0.5)]),
        ("fusion5", [(l2(), 0.7), (ssim(), 0.3)]),
        ("fusion6", [(l1(), 0.7), (ssim(), 0.3)]),
        ("fusion7", [(l2(), 0.7), (l1(), 0.3)]),
        ("fusion8", [(l2(), 0.5), (l1(), 0.5)]),
        ("fusion9", [(l1(), 0.9), (ssim(), 0.1)]),
        ("fusion10", [(l1(), 0.7), (ms_ssim(), 0.3)]),
        ("fusion11", [(l1(), 0.9), (ms_ssim(), 0.1)]),
        ("fusion12", [(l1(), 0.8), (ms_ssim(), 0.2)]),
    ]
    .into_iter()
    .map(|(name, terms)| Preset::plain(name, terms.to_vec(), HNERV))
}
