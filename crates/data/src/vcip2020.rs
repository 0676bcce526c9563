use crate::read::{decode, read};
use crate::{DataError, Dataset, Pair, Split, read_gray, read_rgb};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Where a split's images lie, and how their names end.
struct Layout {
    nir: (&'static str, &'static str),
    rgb: (&'static str, &'static str),
    required: bool,
}

const TRAIN: Layout = Layout { nir: ("NIR", "_nir.png"), rgb: ("RGB-Registered", "_rgb_reg.png"), required: true };
const VALIDATION: Layout =
    Layout { nir: ("Validation", "_nir.png"), rgb: ("Validation", "_rgb_reg.png"), required: false };
// As distributed, these NIR names start with `testing_` and the RGB names with `Testing_`: hence names in lower case.
const TEST: Layout = Layout { nir: ("Testing", "_nir_reg.png"), rgb: ("Testing", "_rgb_reg.png"), required: false };

const EXPECTED: &str = "NIR/*_nir.png with RGB-Registered/*_rgb_reg.png, and optionally \
     Validation/*_{nir,rgb_reg}.png and Testing/*_{nir_reg,rgb_reg}.png; datasets/vcip2020.toml says where to get them";

/// The images of the IEEE VCIP 2020 grand challenge on NIR image colorization, from a folder in their layout.
///
/// 372 pairs to train, 18 to validate, 28 to test, 256 × 256 pixels, from the EPFL RGB-NIR Scene dataset (Brown and
/// Süsstrunk, CVPR 2011, DOI 10.1109/CVPR.2011.5995637). Any other images in the same layout and naming serve as well,
/// of any size. Files that do not follow the naming are ignored. Pairs are in the order of their names, in lower case.
#[derive(Clone, Debug)]
pub struct Vcip2020 {
    train: Images,
    validation: Images,
    test: Images,
}

/// The pairs of a split, and the digest of their names and files.
#[derive(Clone, Debug)]
struct Images {
    pairs: Vec<Files>,
    fingerprint: String,
}

#[derive(Clone, Debug)]
struct Files {
    name: String,
    nir: PathBuf,
    rgb: PathBuf,
}

impl Vcip2020 {
    /// Lists the folder, reads every image once, and checks that each has its partner and all have the size of the first
    /// pair.
    ///
    /// A missing `Validation` or `Testing` folder makes that split empty.
    ///
    /// # Errors
    /// [`DataError::MissingFolder`] or [`DataError::NoPairs`] without training images, [`DataError::Io`] if a folder cannot
    /// be listed, [`DataError::Unusable`] with everything that is wrong with the images of any split.
    pub fn open(root: &Path) -> Result<Self, DataError> {
        let mut check = Check::default();
        let mut images = |layout| check.split(root, layout);
        let dataset = Self { train: images(TRAIN)?, validation: images(VALIDATION)?, test: images(TEST)? };
        if !check.errors.is_empty() {
            return Err(DataError::Unusable(check.errors));
        }
        if dataset.train.pairs.is_empty() {
            return Err(DataError::NoPairs { path: root.to_path_buf(), expected: EXPECTED.to_string() });
        }
        Ok(dataset)
    }

    fn images(&self, split: Split) -> &Images {
        match split {
            Split::Train => &self.train,
            Split::Validation => &self.validation,
            Split::Test => &self.test,
        }
    }

    fn files(&self, split: Split) -> &[Files] {
        &self.images(split).pairs
    }
}

impl Dataset for Vcip2020 {
    fn name(&self) -> &str {
        "vcip2020"
    }

    fn len(&self, split: Split) -> usize {
        self.files(split).len()
    }

    fn pair_name(&self, split: Split, index: usize) -> String {
        self.files(split).get(index).map(|files| files.name.clone()).unwrap_or_default()
    }

    fn pair(&self, split: Split, index: usize) -> Result<Pair, DataError> {
        let files = self.files(split);
        files.get(index).ok_or(DataError::Index { split, index, len: files.len() })?.read()
    }

    /// Of the names and of the files' content: a copy elsewhere has the same fingerprint. It is the digest of a line a pair,
    /// `NAME NIR RGB`, with the digests of the two files.
    fn fingerprint(&self, split: Split) -> String {
        self.images(split).fingerprint.clone()
    }
}

impl Files {
    fn read(&self) -> Result<Pair, DataError> {
        let (nir, rgb) = (read_gray(&self.nir)?, read_rgb(&self.rgb)?);
        if nir.dimensions() != rgb.dimensions() {
            let (nir, rgb) = (nir.dimensions(), rgb.dimensions());
            return Err(DataError::SizeMismatch { name: self.name.clone(), nir, rgb });
        }
        Ok(Pair { name: self.name.clone(), nir, rgb })
    }
}

/// Goes through all images, whatever is wrong with them, so that everything can be mended at once.
#[derive(Default)]
struct Check {
    errors: Vec<DataError>,
    /// Width and height of the first pair.
    size: Option<(u32, u32)>,
}

impl Check {
    /// The pairs of a split, sorted by name.
    fn split(&mut self, root: &Path, layout: Layout) -> Result<Images, DataError> {
        let nir = self.list(root, layout.nir, layout.required)?;
        let mut rgb = self.list(root, layout.rgb, layout.required)?;
        let mut pairs = Vec::new();
        let mut hasher = blake3::Hasher::new();
        for (name, nir) in nir {
            match rgb.remove(&name) {
                Some(rgb) => {
                    let files = Files { name, nir, rgb };
                    self.pair(&files, &mut hasher);
                    pairs.push(files);
                }
                None => self.alone(nir),
            }
        }
        rgb.into_values().for_each(|path| self.alone(path));
        Ok(Images { pairs, fingerprint: hasher.finalize().to_hex().to_string() })
    }

    fn pair(&mut self, Files { name, nir, rgb }: &Files, hasher: &mut blake3::Hasher) {
        let (Some(nir), Some(rgb)) = (self.image(nir), self.image(rgb)) else { return };
        hasher.update(format!("{name} {} {}\n", nir.digest, rgb.digest).as_bytes());
        let first = *self.size.get_or_insert(rgb.size);
        if nir.size != rgb.size {
            self.errors.push(DataError::SizeMismatch { name: name.clone(), nir: nir.size, rgb: rgb.size });
        } else if rgb.size != first {
            let needed = format!("the first pair has {}x{}; bring all to one size", first.0, first.1);
            self.errors.push(DataError::WrongSize { name: format!("pair {name}"), size: rgb.size, needed });
        }
    }

    fn alone(&mut self, path: PathBuf) {
        self.image(&path);
        self.errors.push(DataError::Unpaired { path });
    }

    fn image(&mut self, path: &Path) -> Option<Image> {
        let image = read(path).and_then(|bytes| {
            let image = decode(path, &bytes)?;
            Ok(Image { size: (image.width(), image.height()), digest: blake3::hash(&bytes) })
        });
        image.map_err(|error| self.errors.push(error)).ok()
    }

    /// The images of `folder` whose names end in `suffix`, by the rest of their names in lower case.
    fn list(
        &mut self,
        root: &Path,
        (folder, suffix): (&str, &str),
        required: bool,
    ) -> Result<BTreeMap<String, PathBuf>, DataError> {
        let path = root.join(folder);
        if !path.is_dir() {
            let missing = DataError::MissingFolder { path, expected: EXPECTED.to_string() };
            return if required { Err(missing) } else { Ok(BTreeMap::new()) };
        }
        let io = |source| DataError::Io { path: path.clone(), source };
        let files = std::fs::read_dir(&path).map_err(io)?.map(|entry| Ok(entry?.path()));
        // Sorted, so that errors come in the same order everywhere.
        let files = files.collect::<std::io::Result<BTreeSet<PathBuf>>>().map_err(io)?;
        let mut images = BTreeMap::new();
        for file in files {
            let name = file.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
            let Some(stem) = name.strip_suffix(suffix) else { continue };
            // Two names that differ in case alone cannot both have the partner.
            if let Some(other) = images.insert(stem.to_string(), file) {
                self.alone(other);
            }
        }
        Ok(images)
    }
}

/// What the checks need of an image file.
struct Image {
    size: (u32, u32),
    digest: blake3::Hash,
}
