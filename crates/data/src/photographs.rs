use crate::listing::{Files, choose, list};
use crate::read::{decode, read};
use crate::{DataError, Dataset, Description, Pair, Split, Subset, read_gray, read_rgb};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The image pairs of a folder, as a [`Description`] says and a [`Subset`] chooses.
///
/// Any other images in the same layout and naming serve as well. Files that do not follow the naming are ignored. Pairs are
/// in the order of their names, in lower case.
#[derive(Clone, Debug)]
pub struct Photographs {
    name: String,
    warning: Option<String>,
    splits: BTreeMap<Split, Images>,
}

/// The pairs of a split, and the digest of their names and files.
#[derive(Clone, Debug)]
struct Images {
    pairs: Vec<Files>,
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
        let splits = chosen(description, subset, &listed)?;
        let warning = description.warning(subset).map(str::to_string);
        let name = match *subset == Subset::published() {
            true => description.name.clone(),
            false => format!("{}/{subset}", description.name),
        };
        Ok(Self { name, warning, splits })
    }

    fn files(&self, split: Split) -> &[Files] {
        self.splits.get(&split).map(|images| images.pairs.as_slice()).unwrap_or_default()
    }
}

impl Dataset for Photographs {
    fn name(&self) -> &str {
        &self.name
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
        self.splits.get(&split).map(|images| images.fingerprint.clone()).unwrap_or_default()
    }

    fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }
}

impl Files {
    pub(crate) fn read(&self) -> Result<Pair, DataError> {
        let (nir, rgb) = (read_gray(&self.nir)?, read_rgb(&self.rgb)?);
        if nir.dimensions() != rgb.dimensions() {
            let (nir, rgb) = (nir.dimensions(), rgb.dimensions());
            return Err(DataError::SizeMismatch { name: self.name.clone(), nir, rgb });
        }
        Ok(Pair { name: self.name.clone(), nir, rgb })
    }
}

/// A pair and its line in a fingerprint.
type Line = (Files, String);

fn chosen(
    description: &Description,
    subset: &Subset,
    listed: &BTreeMap<Split, Vec<Line>>,
) -> Result<BTreeMap<Split, Images>, DataError> {
    let name = |(files, _): &Line| files.name.clone();
    let names = listed.iter().map(|(split, lines)| (*split, lines.iter().map(name).collect())).collect();
    let images = |split| {
        let (from, places) = choose(description, subset, split, &names)?;
        let lines: Vec<&Line> = listed.get(&from).into_iter().flat_map(|all| places.iter().map(|i| &all[*i])).collect();
        let mut hasher = blake3::Hasher::new();
        lines.iter().for_each(|(_, line)| _ = hasher.update(line.as_bytes()));
        let pairs = lines.into_iter().map(|(files, _)| files.clone()).collect();
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
        let read: Vec<_> = pairs.into_par_iter().map(|files| (image(&files.nir), image(&files.rgb), files)).collect();
        read.into_iter().filter_map(|(nir, rgb, files)| self.pair(nir, rgb, files)).collect()
    }

    fn pair(&mut self, nir: Result<Image, DataError>, rgb: Result<Image, DataError>, files: Files) -> Option<Line> {
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
        let line = format!("{name} {} {}\n", nir.digest, rgb.digest);
        Some((files, line))
    }

    fn alone(&mut self, path: PathBuf) {
        self.sound(image(&path));
        self.errors.push(DataError::Unpaired { path });
    }

    fn sound(&mut self, image: Result<Image, DataError>) -> Option<Image> {
        image.map_err(|error| self.errors.push(error)).ok()
    }
}

/// What the checks need of an image file.
struct Image {
    size: (u32, u32),
    digest: blake3::Hash,
}

fn image(path: &Path) -> Result<Image, DataError> {
    let bytes = read(path)?;
    let image = decode(path, &bytes)?;
    Ok(Image { size: (image.width(), image.height()), digest: blake3::hash(&bytes) })
}
