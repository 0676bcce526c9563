use crate::listing::{Files, choose, list};
use crate::overlap::digest;
use crate::read::{decode, gray, read};
use crate::{DataError, Dataset, Description, ImagePair, PixelDigests, Split, Subset, read_gray, read_rgb};
use image::DynamicImage;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The image pairs of a folder, as a [`Description`] says and a [`Subset`] chooses.
///
/// Any other images in the same layout and naming serve as well. Files that do not follow the naming are ignored. Pairs are
/// in the order of their names, in lower case.
#[derive(Clone, Debug)]
pub struct Photographs {
    name: String,
    description: Description,
    warning: Option<String>,
    /// All pairs of the folder, whatever the subset.
    listed: Arc<BTreeMap<Split, Vec<Line>>>,
    splits: BTreeMap<Split, Images>,
}

/// The pairs of a split, and the digest of their names and files.
#[derive(Clone, Debug)]
struct Images {
    pairs: Vec<Line>,
    fingerprint: String,
}

impl Photographs {
    /// Lists the folder, reads every image of every split once, and checks that each has its partner and the partner's size;
    /// and that all have the size of the first pair, if the description gives one.
    ///
    /// A missing folder of validation or test images makes that split empty.
    ///
    /// # Errors
    /// [`DataError::MissingFolder`] or [`DataError::NoPairs`] without training images, [`DataError::Io`] if a folder cannot
    /// be listed, [`DataError::Unusable`] with everything that is wrong with the images of any split,
    /// [`DataError::Subset`] for a subset the dataset does not have, [`DataError::Incomplete`] if the subset's pairs are not
    /// there.
    pub fn open(description: &Description, root: &Path, subset: &Subset) -> Result<Self, DataError> {
        description.choices(subset)?;
        let mut check = Check { errors: Vec::new(), size: None, one_size: description.size.is_some() };
        let mut listed = BTreeMap::new();
        for split in Split::ALL {
            let listing = list(description, split, root)?;
            listed.insert(split, check.pairs(listing.pairs));
            listing.alone.into_iter().for_each(|path| check.alone(path));
        }
        if !check.errors.is_empty() {
            return Err(DataError::Unusable(check.errors));
        }
        if listed.get(&Split::Train).is_none_or(Vec::is_empty) {
            return Err(DataError::NoPairs { path: root.to_path_buf(), expected: description.expected() });
        }
        Self::choose(description.clone(), Arc::new(listed), subset)
    }

    /// Other splits of the same images, which are not read again.
    ///
    /// # Errors
    /// [`DataError::Subset`] for a subset the dataset does not have, [`DataError::Incomplete`] if its pairs are not
    /// there.
    pub fn with_subset(&self, subset: &Subset) -> Result<Self, DataError> {
        Self::choose(self.description.clone(), self.listed.clone(), subset)
    }

    /// What describes the folder.
    pub fn description(&self) -> &Description {
        &self.description
    }

    fn choose(
        description: Description,
        listed: Arc<BTreeMap<Split, Vec<Line>>>,
        subset: &Subset,
    ) -> Result<Self, DataError> {
        let splits = chosen(&description, subset, &listed)?;
        let warning = description.warning(subset).map(str::to_string);
        let name = match *subset == Subset::published() {
            true => description.name.clone(),
            false => format!("{}/{subset}", description.name),
        };
        Ok(Self { name, description, warning, listed, splits })
    }

    fn lines(&self, split: Split) -> &[Line] {
        self.splits.get(&split).map(|images| images.pairs.as_slice()).unwrap_or_default()
    }
}

impl Dataset for Photographs {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self, split: Split) -> usize {
        self.lines(split).len()
    }

    fn pair_name(&self, split: Split, index: usize) -> String {
        self.lines(split).get(index).map(|line| line.files.name.clone()).unwrap_or_default()
    }

    fn pair(&self, split: Split, index: usize) -> Result<ImagePair, DataError> {
        let lines = self.lines(split);
        lines.get(index).ok_or(DataError::Index { split, index, len: lines.len() })?.files.read()
    }

    /// Of the names and of the files' content: a copy elsewhere has the same fingerprint. It is the digest of a line a pair,
    /// `NAME NIR RGB`, with the digests of the two files.
    fn fingerprint(&self, split: Split) -> String {
        self.splits.get(&split).map(|images| images.fingerprint.clone()).unwrap_or_default()
    }

    fn pixels(&self, split: Split) -> Vec<PixelDigests> {
        self.lines(split).iter().map(|line| line.pixels).collect()
    }

    fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }
}

impl Files {
    pub(crate) fn read(&self) -> Result<ImagePair, DataError> {
        let (nir, rgb) = (read_gray(&self.nir)?, read_rgb(&self.rgb)?);
        if nir.dimensions() != rgb.dimensions() {
            let (nir, rgb) = (nir.dimensions(), rgb.dimensions());
            return Err(DataError::SizeMismatch { name: self.name.clone(), nir, rgb });
        }
        Ok(ImagePair { name: self.name.clone(), nir, rgb })
    }
}

/// A pair, its line in a fingerprint, and the digests of its pixels.
#[derive(Clone, Debug)]
struct Line {
    files: Files,
    text: String,
    pixels: PixelDigests,
}

fn chosen(
    description: &Description,
    subset: &Subset,
    listed: &BTreeMap<Split, Vec<Line>>,
) -> Result<BTreeMap<Split, Images>, DataError> {
    let name = |line: &Line| line.files.name.clone();
    let names = listed.iter().map(|(split, lines)| (*split, lines.iter().map(name).collect())).collect();
    let images = |split| {
        let (from, places) = choose(description, subset, split, &names)?;
        let all = listed.get(&from).map(Vec::as_slice).unwrap_or_default();
        let pairs: Vec<Line> = places.iter().map(|i| all[*i].clone()).collect();
        let mut hasher = blake3::Hasher::new();
        pairs.iter().for_each(|line| _ = hasher.update(line.text.as_bytes()));
        Ok((split, Images { pairs, fingerprint: hasher.finalize().to_hex().to_string() }))
    };
    Split::ALL.into_iter().map(images).collect()
}

/// Goes through all images, whatever is wrong with them, so that everything can be mended at once.
struct Check {
    errors: Vec<DataError>,
    /// Width and height of the first pair.
    size: Option<(u32, u32)>,
    /// Whether all pairs must have that size.
    one_size: bool,
}

impl Check {
    /// The pairs whose images could be read.
    fn pairs(&mut self, pairs: Vec<Files>) -> Vec<Line> {
        let nir = |files: &Files| image(&files.nir, |nir| digest((nir.width(), nir.height()), &gray(nir)));
        let rgb = |files: &Files| image(&files.rgb, |rgb| digest((rgb.width(), rgb.height()), &rgb.into_rgb8()));
        let read: Vec<_> = pairs.into_par_iter().map(|files| (nir(&files), rgb(&files), files)).collect();
        read.into_iter().filter_map(|(nir, rgb, files)| self.pair(nir, rgb, files)).collect()
    }

    fn pair(&mut self, nir: Result<Hashed, DataError>, rgb: Result<Hashed, DataError>, files: Files) -> Option<Line> {
        let (nir, rgb) = (self.sound(nir), self.sound(rgb));
        let (nir, rgb) = (nir?, rgb?);
        let name = &files.name;
        let first = *self.size.get_or_insert(rgb.size);
        if nir.size != rgb.size {
            self.errors.push(DataError::SizeMismatch { name: name.clone(), nir: nir.size, rgb: rgb.size });
        } else if self.one_size && rgb.size != first {
            let needed = format!("the first pair has {}x{}; bring all to one size", first.0, first.1);
            self.errors.push(DataError::WrongSize { name: format!("pair {name}"), size: rgb.size, needed });
        }
        let text = format!("{name} {} {}\n", nir.file, rgb.file);
        Some(Line { files, text, pixels: PixelDigests { nir: nir.pixels, rgb: rgb.pixels } })
    }

    fn alone(&mut self, path: PathBuf) {
        self.sound(image(&path, |_| ()));
        self.errors.push(DataError::Unpaired { path });
    }

    fn sound<P>(&mut self, image: Result<Image<P>, DataError>) -> Option<Image<P>> {
        image.map_err(|error| self.errors.push(error)).ok()
    }
}

/// What is kept of an image file, its pixels as `P`.
struct Image<P> {
    size: (u32, u32),
    file: blake3::Hash,
    pixels: P,
}

type Hashed = Image<blake3::Hash>;

fn image<P>(path: &Path, pixels: impl Fn(DynamicImage) -> P) -> Result<Image<P>, DataError> {
    let bytes = read(path)?;
    let image = decode(path, &bytes)?;
    Ok(Image { size: (image.width(), image.height()), file: blake3::hash(&bytes), pixels: pixels(image) })
}
