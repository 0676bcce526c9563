use crate::{DataError, Dataset, Pair, Split, read_gray, read_rgb};
use std::collections::BTreeMap;
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
    train: Vec<Files>,
    validation: Vec<Files>,
    test: Vec<Files>,
}

#[derive(Clone, Debug)]
struct Files {
    name: String,
    nir: PathBuf,
    rgb: PathBuf,
}

impl Vcip2020 {
    /// Lists the folder and checks that every image has its partner. Reads no image: see [`Self::verify`].
    ///
    /// A missing `Validation` or `Testing` folder makes that split empty.
    ///
    /// # Errors
    /// [`DataError::MissingFolder`] or [`DataError::NoPairs`] without training images, [`DataError::Unpaired`] with
    /// every image of any split whose partner is missing, [`DataError::Io`] if a folder cannot be listed.
    pub fn open(root: &Path) -> Result<Self, DataError> {
        let mut unpaired = Vec::new();
        let mut list = |layout| list_split(root, layout, &mut unpaired);
        let dataset = Self { train: list(TRAIN)?, validation: list(VALIDATION)?, test: list(TEST)? };
        if !unpaired.is_empty() {
            return Err(DataError::Unpaired(unpaired));
        }
        if dataset.train.is_empty() {
            return Err(DataError::NoPairs { path: root.to_path_buf(), expected: EXPECTED.to_string() });
        }
        Ok(dataset)
    }

    /// Reads every image of every split, and checks that all have the size of the first pair.
    ///
    /// # Errors
    /// [`DataError::Unusable`] with everything that is wrong.
    pub fn verify(&self) -> Result<(), DataError> {
        let mut errors = Vec::new();
        let mut size = None;
        for pair in Split::ALL.iter().flat_map(|&split| self.files(split)).map(Files::read) {
            match pair {
                Ok(pair) => errors.extend(other_size(&pair, *size.get_or_insert(pair.rgb.dimensions()))),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(DataError::Unusable(errors)) }
    }

    fn files(&self, split: Split) -> &[Files] {
        match split {
            Split::Train => &self.train,
            Split::Validation => &self.validation,
            Split::Test => &self.test,
        }
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

    /// Of the names, not of the images: a copy elsewhere has the same fingerprint.
    fn fingerprint(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for split in Split::ALL {
            hasher.update(format!("[{split}]\n").as_bytes());
            for files in self.files(split) {
                hasher.update(format!("{}\n", files.name).as_bytes());
            }
        }
        hasher.finalize().to_hex().to_string()
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

fn other_size(pair: &Pair, first: (u32, u32)) -> Option<DataError> {
    let size = pair.rgb.dimensions();
    let needed = format!("the first pair has {}x{}; bring all to one size", first.0, first.1);
    (size != first).then(|| DataError::WrongSize { name: format!("pair {}", pair.name), size, needed })
}

/// The pairs of a split, sorted by name; images without a partner go to `unpaired`.
fn list_split(root: &Path, layout: Layout, unpaired: &mut Vec<PathBuf>) -> Result<Vec<Files>, DataError> {
    let nir = list_images(root, layout.nir, layout.required, unpaired)?;
    let mut rgb = list_images(root, layout.rgb, layout.required, unpaired)?;
    let mut pairs = Vec::new();
    for (name, nir) in nir {
        match rgb.remove(&name) {
            Some(rgb) => pairs.push(Files { name, nir, rgb }),
            None => unpaired.push(nir),
        }
    }
    unpaired.extend(rgb.into_values());
    Ok(pairs)
}

/// The images of `folder` whose names end in `suffix`, by the rest of their names in lower case.
fn list_images(
    root: &Path,
    (folder, suffix): (&str, &str),
    required: bool,
    unpaired: &mut Vec<PathBuf>,
) -> Result<BTreeMap<String, PathBuf>, DataError> {
    let path = root.join(folder);
    if !path.is_dir() {
        let missing = DataError::MissingFolder { path, expected: EXPECTED.to_string() };
        return if required { Err(missing) } else { Ok(BTreeMap::new()) };
    }
    let io = |source| DataError::Io { path: path.clone(), source };
    let mut images = BTreeMap::new();
    for entry in std::fs::read_dir(&path).map_err(io)? {
        let file = entry.map_err(io)?.path();
        let name = file.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        if let Some(stem) = name.strip_suffix(suffix) {
            // Two names that differ in case alone cannot both have the partner.
            unpaired.extend(images.insert(stem.to_string(), file));
        }
    }
    Ok(images)
}
