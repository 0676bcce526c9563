//! Distances of two sets of feature vectors: of the images' distributions, not of pairs of images.

use nalgebra::{DMatrix, DVector, RowDVector, SymmetricEigen};

/// What can be wrong with sets of feature vectors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// The values do not make vectors of the claimed width.
    #[error("{values} values are not feature vectors of width {width}")]
    Shape {
        /// Number of values given.
        values: usize,
        /// Claimed width.
        width: usize,
    },
    /// A covariance, or a mean over pairs, needs two images.
    #[error("a set needs at least two images, this one has {images}")]
    TooFew {
        /// How many there are.
        images: usize,
    },
    /// The sets are of different features.
    #[error("the sets have feature vectors of width {pred} and {target}")]
    Mismatch {
        /// Width of the one set.
        pred: usize,
        /// Width of the other.
        target: usize,
    },
    /// The eigenvalues were not found; no input is known to lead here.
    #[error("the eigenvalues of a covariance do not converge")]
    Eigenvalues,
}

/// Feature vectors of a set of images, one an image.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureSet {
    /// `(images, width)`.
    rows: DMatrix<f64>,
}

impl FeatureSet {
    /// From the vectors one after another, each of `width` values.
    ///
    /// # Errors
    /// [`SetError::Shape`] if the values are no whole vectors, [`SetError::TooFew`] below two of them.
    pub fn new<T: Copy + Into<f64>>(values: &[T], width: usize) -> Result<Self, SetError> {
        if width == 0 || !values.len().is_multiple_of(width) {
            return Err(SetError::Shape { values: values.len(), width });
        }
        let images = values.len() / width;
        if images < 2 {
            return Err(SetError::TooFew { images });
        }
        Ok(Self { rows: DMatrix::from_row_iterator(images, width, values.iter().map(|&value| value.into())) })
    }

    /// How many images there are.
    pub fn images(&self) -> usize {
        self.rows.nrows()
    }

    /// How many features each has.
    pub fn width(&self) -> usize {
        self.rows.ncols()
    }

    /// Whether the images are too few for a covariance of full rank, which [`frechet_distance`] would need to tell two
    /// distributions apart: of n images it has rank n − 1 at most.
    pub fn is_rank_deficient(&self) -> bool {
        self.images() <= self.width()
    }

    fn is_finite(&self) -> bool {
        self.rows.iter().all(|value| value.is_finite())
    }
}

/// ‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁Σ₂)^½) of the sets' means and unbiased covariances: the squared Fréchet distance of
/// two normal distributions. From 0; NaN if a feature is not finite.
///
/// It is biased upwards, the more so the fewer the images are: only values of equally many images compare.
///
/// Sources: Dowson and Landau, Journal of Multivariate Analysis 12, 1982; for images Heusel et al., NeurIPS 2017,
/// arXiv 1706.08500.
///
/// # Errors
/// [`SetError::Mismatch`] of sets of different features, [`SetError::Eigenvalues`].
pub fn frechet_distance(pred: &FeatureSet, target: &FeatureSet) -> Result<f64, SetError> {
    if !comparable(pred, target)? {
        return Ok(f64::NAN);
    }
    let (pred, target) = (Gaussian::of(pred)?, Gaussian::of(target)?);
    let traces = pred.root.norm_squared() + target.root.norm_squared();
    let distance = (&pred.mean - &target.mean).norm_squared() + traces - 2.0 * trace_of_root(&pred, &target)?;
    // Rounding may leave a negative number of two equal sets.
    Ok(distance.max(0.0))
}

/// The unbiased estimate of the squared maximum mean discrepancy under the kernel (⟨x, y⟩ / width + 1)³, over all pairs
/// of images; 0 is expected of sets from one distribution, so that it may be negative. NaN if a feature is not finite.
///
/// Published values are means over random subsets of 1000 images. Their expectation is this one; all pairs at once need
/// no draw and scatter less.
///
/// Sources: Gretton et al., Journal of Machine Learning Research 13, 2012, lemma 6; the kernel: Bińkowski et al., ICLR
/// 2018, arXiv 1801.01401.
///
/// # Errors
/// [`SetError::Mismatch`] of sets of different features.
pub fn kernel_distance(pred: &FeatureSet, target: &FeatureSet) -> Result<f64, SetError> {
    if !comparable(pred, target)? {
        return Ok(f64::NAN);
    }
    let within = |set: &FeatureSet| {
        let (n, width) = (set.images() as f64, set.width());
        let diagonal: f64 = set.rows.row_iter().map(|row| kernel(row.norm_squared(), width)).sum();
        (kernel_sum(set, set) - diagonal) / (n * (n - 1.0))
    };
    let across = kernel_sum(pred, target) / (pred.images() as f64 * target.images() as f64);
    Ok(within(pred) + within(target) - 2.0 * across)
}

/// Whether the two have a distance that is a number.
fn comparable(pred: &FeatureSet, target: &FeatureSet) -> Result<bool, SetError> {
    if pred.width() != target.width() {
        return Err(SetError::Mismatch { pred: pred.width(), target: target.width() });
    }
    // An iteration for eigenvalues would not end on a NaN.
    Ok(pred.is_finite() && target.is_finite())
}

fn kernel(product: f64, width: usize) -> f64 {
    (product / width as f64 + 1.0).powi(3)
}

/// The kernel's sum over all pairs of an image of each set.
fn kernel_sum(first: &FeatureSet, second: &FeatureSet) -> f64 {
    // All products at once would need a matrix of images times images.
    const ROWS: usize = 256;
    let (columns, width) = (second.rows.transpose(), second.width());
    let block = |start: usize| {
        let rows = first.rows.rows(start, ROWS.min(first.images() - start));
        (rows * &columns).iter().map(|product| kernel(*product, width)).sum::<f64>()
    };
    (0..first.images()).step_by(ROWS).map(block).sum()
}

/// Mean and covariance of a set.
struct Gaussian {
    mean: RowDVector<f64>,
    /// R with RᵀR the covariance: a row for each image, or for each feature where these are fewer.
    root: DMatrix<f64>,
}

impl Gaussian {
    fn of(set: &FeatureSet) -> Result<Self, SetError> {
        let mean = set.rows.row_mean();
        let mut root = set.rows.clone();
        root.row_iter_mut().for_each(|mut row| row -= &mean);
        root /= ((set.images() - 1) as f64).sqrt();
        if set.images() > set.width() {
            let SymmetricEigen { eigenvectors, eigenvalues } = eigen(root.tr_mul(&root))?;
            root = DMatrix::from_diagonal(&roots(&eigenvalues)) * eigenvectors.transpose();
        }
        Ok(Self { mean, root })
    }
}

/// tr (Σ₁Σ₂)^½ = tr (R₁ Σ₂ R₁ᵀ)^½, as both products have the same eigenvalues but for zeros; the second is symmetric.
fn trace_of_root(first: &Gaussian, second: &Gaussian) -> Result<f64, SetError> {
    // The product with the fewer rows of the two.
    let (less, more) = if first.root.nrows() <= second.root.nrows() { (first, second) } else { (second, first) };
    let across = &less.root * more.root.transpose();
    Ok(roots(&eigen(&across * across.transpose())?.eigenvalues).sum())
}

fn eigen(symmetric: DMatrix<f64>) -> Result<SymmetricEigen<f64, nalgebra::Dyn>, SetError> {
    // A few steps an eigenvalue are usual.
    let steps = 100 * symmetric.nrows();
    SymmetricEigen::try_new(symmetric, f64::EPSILON, steps).ok_or(SetError::Eigenvalues)
}

/// Square roots of eigenvalues of which none but for rounding is negative.
fn roots(eigenvalues: &DVector<f64>) -> DVector<f64> {
    eigenvalues.map(|value| value.max(0.0).sqrt())
}
