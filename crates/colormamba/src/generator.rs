//! The whole generator.

use candle_core::{DType, Result, Tensor};
use colormamba_hsv_net::{HsvNet, HsvOutput};
use colormamba_layers::Scope;
use colormamba_ops::Node;
use colormamba_rgb_net::{EdgeMap, RgbNet};

/// A generator that cannot be built, or an image it cannot take.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Agent attention and criss-cross attention split the channels by eight.
    #[error("width {0} is not a positive multiple of 8")]
    Width(usize),
    /// G_A has between 6 and 8 halvings.
    #[error("depth {0} is not 6, 7 or 8")]
    Depth(usize),
    /// The image does not halve `depth` times.
    #[error("an image of {width}x{height} does not fit the model: both sides must be positive multiples of {grid}")]
    Grid {
        /// Image width in pixels.
        width: usize,
        /// Image height in pixels.
        height: usize,
        /// 2^depth.
        grid: usize,
    },
    /// Making the parameters failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// Size and form of a generator, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneratorConfig {
    width: usize,
    depth: usize,
    edge_map: EdgeMap,
}

impl GeneratorConfig {
    /// `width`: base width, a multiple of 8 (published: 64). `depth`: halvings in G_A, 6 to 8 (published: 8).
    ///
    /// # Errors
    /// [`ModelError::Width`] and [`ModelError::Depth`].
    pub fn new(width: usize, depth: usize, edge_map: EdgeMap) -> std::result::Result<Self, ModelError> {
        if width == 0 || !width.is_multiple_of(8) {
            return Err(ModelError::Width(width));
        }
        if !(6..=8).contains(&depth) {
            return Err(ModelError::Depth(depth));
        }
        Ok(Self { width, depth, edge_map })
    }

    /// As published: width 64, depth 8, legacy edge map.
    pub fn published() -> Self {
        Self { width: 64, depth: 8, edge_map: EdgeMap::Legacy }
    }

    /// Base width.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Halvings in G_A.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// The edge map's form.
    pub fn edge_map(&self) -> EdgeMap {
        self.edge_map
    }

    /// Both sides of an image must be multiples of this: 2^depth.
    pub fn grid(&self) -> usize {
        1 << self.depth
    }

    /// Whether an image of this size fits.
    ///
    /// # Errors
    /// [`ModelError::Grid`].
    pub fn check_size(&self, width: usize, height: usize) -> std::result::Result<(), ModelError> {
        let grid = self.grid();
        let fits = |side: usize| side > 0 && side.is_multiple_of(grid);
        if fits(width) && fits(height) { Ok(()) } else { Err(ModelError::Grid { width, height, grid }) }
    }
}

/// What the generator makes of a NIR image.
pub struct Output {
    /// `(B, 3, H, W)` in `[0, 1]`.
    pub rgb: Node,
    /// `(B, 3, H, W)` in `[-1, 1]`.
    pub hsv: Node,
}

/// G_B into G_A.
pub struct Generator {
    config: GeneratorConfig,
    activations: Option<DType>,
    rgb_net: RgbNet,
    hsv_net: HsvNet,
}

impl Generator {
    /// Takes its parameters from `scope`, under the names of the published checkpoint: `netG_A`, `netG_C`.
    ///
    /// # Errors
    /// If the tensors exist with other shapes.
    pub fn new(scope: &Scope, config: &GeneratorConfig) -> std::result::Result<Self, ModelError> {
        Ok(Self {
            config: *config,
            activations: None,
            rgb_net: RgbNet::new(&scope.pp("netG_A"), config.width, config.depth, config.edge_map)?,
            hsv_net: HsvNet::new(&scope.pp("netG_C"), config.width / 2)?,
        })
    }

    /// The same with activations of this type instead of the image's. bf16 is for kernels: it halves the bytes of what
    /// memory bounds, and matrix units multiply it at twice the rate of TF32. Weights, sums and statistics stay f32.
    pub fn with_activations(self, activations: DType) -> Self {
        Self { activations: Some(activations), ..self }
    }

    /// The size and form it was built with.
    pub fn config(&self) -> &GeneratorConfig {
        &self.config
    }

    /// `nir` `(B, 1, H, W)` in `[0, 1]`; `nir_hsv` `(B, 3, H, W)`, the HSV of the NIR image. With `train`, spectral norms
    /// and running statistics move. The images have the type of `nir`.
    ///
    /// # Errors
    /// If the shapes do not fit the model ([`ModelError::Grid`] inside candle's error) or each other.
    pub fn forward(&self, nir: &Tensor, nir_hsv: &Tensor, train: bool) -> Result<Output> {
        let (_, _, h, w) = nir.dims4()?;
        self.config.check_size(w, h).map_err(candle_core::Error::wrap)?;
        let activations = self.activations.unwrap_or(nir_hsv.dtype());
        let HsvOutput { hsv, features } = self.hsv_net.forward(nir, &nir_hsv.to_dtype(activations)?)?;
        Ok(Output { rgb: self.rgb_net.forward(nir, &hsv, features, train)?, hsv })
    }
}
