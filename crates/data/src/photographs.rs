use crate::fit::Fit;
use crate::listing::{Chosen, Files, choose, list};
use crate::notes::Notes;
use crate::overlap::digest;
use crate::read::read;
use crate::{
    Bits, DataError, Dataset, Description, ImagePair, PairFiles, PixelDigests, Read, ReadNote, Reading, Split, Subset,
    pillow,
};
use image::Pixel;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The image pairs of a folder, as a [`Description`] says and a [`Subset`] chooses.
///
/// Any other images in the same layout and naming serve as well. Files that do not follow the naming are ignored. Pairs are
/// in the order of their names, in lower case.
#[derive(Clone, Debug)]
pub struct Photographs {
    name: String,
    subset: Subset,
    description: Description,
    /// What is known against the subset.
    warning: Option<String>,
    readings: Readings,
    /// What a user should be told of how the images are read.
    notes: Arc<Vec<String>>,
    /// All pairs of the folder, whatever the subset.
    listed: Arc<BTreeMap<Split, Vec<Line>>>,
    splits: BTreeMap<Split, Images>,
}

/// How the two images of a pair are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readings {
    pub nir: Reading,
    pub rgb: Reading,
}

/// The pairs of a split, and the digest of their names and files.
#[derive(Clone, Debug)]
struct Images {
    pairs: Vec<Line>,
    fingerprint: String,
    /// Whether they are training pairs that were held out.
    held_out: bool,
}

impl Photographs {
    /// Lists the folder, reads every image of every split once, and checks that each has its partner and the partner's size;
    /// and that all have the size of the first pair, if the description gives one.
    ///
    /// A missing folder of validation or test images makes that split empty. If the description has a `holdout`, a part of
    /// the training pairs stands in for validation pairs that are not there.
    ///
    /// # Errors
    /// [`DataError::MissingFolder`] or [`DataError::NoPairs`] without training images, [`DataError::Io`] if a folder cannot
    /// be listed, [`DataError::Unusable`] with everything that is wrong with the images of any split,
    /// [`DataError::Subset`] for a subset the dataset does not have, [`DataError::Incomplete`] if the subset's pairs are not
    /// there.
    pub fn open(description: &Description, root: &Path, subset: &Subset) -> Result<Self, DataError> {
        description.choices(subset)?;
        let mut files = BTreeMap::new();
        let (mut alone, mut errors) = (Vec::new(), Vec::new());
        let mut notes = Notes::default();
        for split in Split::ALL {
            let listing = list(description, split, root)?;
            files.insert(split, listing.pairs);
            alone.extend(listing.alone);
            errors.extend(listing.ambiguous);
            listing.left_out.into_iter().for_each(|(path, why)| notes.add(&path, why.to_string()));
        }
        let readings = Readings::of(description, files.values().flatten(), &mut notes)?;
        let mut check = Check {
            errors,
            notes,
            readings,
            input: description.input.clone(),
            fit: description.fit,
            size: None,
            one_size: description.size.is_some(),
        };
        let listed: BTreeMap<_, _> = files.into_iter().map(|(split, files)| (split, check.pairs(files))).collect();
        alone.into_iter().for_each(|path| check.alone(path));
        if !check.errors.is_empty() {
            return Err(DataError::Unusable(check.errors));
        }
        if listed.get(&Split::Train).is_none_or(Vec::is_empty) {
            return Err(DataError::NoPairs { path: root.to_path_buf(), expected: description.expected() });
        }
        let notes = Arc::new(check.notes.lines());
        Self::choose(description.clone(), (readings, notes), Arc::new(listed), subset)
    }

    /// Other splits of the same images, which are not read again.
    ///
    /// # Errors
    /// [`DataError::Subset`] for a subset the dataset does not have, [`DataError::Incomplete`] if its pairs are not
    /// there.
    pub fn with_subset(&self, subset: &Subset) -> Result<Self, DataError> {
        let read = (self.readings, self.notes.clone());
        Self::choose(self.description.clone(), read, self.listed.clone(), subset)
    }

    /// What describes the folder.
    pub fn description(&self) -> &Description {
        &self.description
    }

    fn choose(
        description: Description,
        (readings, notes): (Readings, Arc<Vec<String>>),
        listed: Arc<BTreeMap<Split, Vec<Line>>>,
        subset: &Subset,
    ) -> Result<Self, DataError> {
        let splits = chosen(&description, subset, &listed)?;
        let warning = description.warning(subset).map(str::to_string);
        let name = subset.of(&description.name);
        let subset = subset.clone();
        Ok(Self { name, subset, description, warning, readings, notes, listed, splits })
    }

    /// What was held out, if anything was.
    fn held_out(&self) -> Option<String> {
        self.splits.get(&Split::Validation).filter(|images| images.held_out)?;
        let (count, part) = (self.len(Split::Validation), self.description.holdout?);
        let all = count + self.len(Split::Train);
        Some(format!(
            "{}: there are no validation pairs: {count} of the {all} training pairs are held out for validation, chosen by \
             their names (holdout = {part})",
            self.name
        ))
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
        let files = &lines.get(index).ok_or(DataError::Index { split, index, len: lines.len() })?.files;
        let pair = files.read(self.readings, &self.description.input)?;
        let (nir, rgb) = (self.description.fit.square(&pair.nir), self.description.fit.square(&pair.rgb));
        Ok(ImagePair { nir, rgb, ..pair })
    }

    /// Of the names and of the files' content: a copy elsewhere has the same fingerprint. It is the digest of a line a pair,
    /// `NAME NIR RGB`, with the digests of the two files.
    fn fingerprint(&self, split: Split) -> String {
        self.splits.get(&split).map(|images| images.fingerprint.clone()).unwrap_or_default()
    }

    fn files(&self, split: Split) -> Vec<PairFiles> {
        self.lines(split).iter().map(|line| line.recorded.clone()).collect()
    }

    fn pixels(&self, split: Split) -> Vec<PixelDigests> {
        self.lines(split).iter().map(|line| line.pixels).collect()
    }

    fn about(&self) -> BTreeMap<&'static str, String> {
        let Reading { bits, channel, page, .. } = self.readings.nir;
        let mut about = BTreeMap::from([
            ("dataset", self.description.name.clone()),
            ("subset", self.subset.to_string()),
            // What `auto` has found out.
            ("bits", bits.to_string()),
            ("channel", channel.to_string()),
            ("fit", self.description.fit.to_string()),
        ]);
        about.extend(page.map(|page| ("page", page.to_string())));
        about
    }

    fn warnings(&self) -> Vec<String> {
        self.warning.iter().chain(self.notes.iter()).cloned().chain(self.held_out()).collect()
    }
}

impl Files {
    fn read(&self, readings: Readings, input: &str) -> Result<ImagePair, DataError> {
        let (nir, rgb) = (readings.nir.gray(&self.nir)?.image, readings.rgb.rgb(&self.rgb)?.image);
        if nir.dimensions() != rgb.dimensions() {
            let (nir, rgb) = (nir.dimensions(), rgb.dimensions());
            return Err(DataError::SizeMismatch { name: self.name.clone(), input: input.to_string(), nir, rgb });
        }
        Ok(ImagePair { name: self.name.clone(), nir, rgb })
    }
}

/// A pair, its line in a fingerprint, and the digests of its pixels.
#[derive(Clone, Debug)]
struct Line {
    files: Files,
    text: String,
    recorded: PairFiles,
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
        let Chosen { from, places, held_out } = choose(description, subset, split, &names)?;
        let all = listed.get(&from).map(Vec::as_slice).unwrap_or_default();
        let pairs: Vec<Line> = places.iter().map(|i| all[*i].clone()).collect();
        let mut hasher = blake3::Hasher::new();
        pairs.iter().for_each(|line| _ = hasher.update(line.text.as_bytes()));
        Ok((split, Images { pairs, fingerprint: hasher.finalize().to_hex().to_string(), held_out }))
    };
    Split::ALL.into_iter().map(images).collect()
}

impl Readings {
    /// As the description says. Where it says `auto`, the largest value of all images decides, of NIR and RGB apart, and a
    /// note says on what.
    pub(crate) fn of<'a>(
        description: &Description,
        files: impl Iterator<Item = &'a Files>,
        notes: &mut Notes,
    ) -> Result<Self, DataError> {
        let mut readings = Self { nir: description.nir(), rgb: description.rgb() };
        if description.bits != Bits::Auto {
            return Ok(readings);
        }
        let files: Vec<&Files> = files.collect();
        // What cannot be read is told where all is read.
        let nir = files.par_iter().filter_map(|files| readings.nir.gray(&files.nir).ok()?.largest).max();
        let rgb = files.par_iter().filter_map(|files| readings.rgb.rgb(&files.rgb).ok()?.largest).max();
        for (reading, largest, which) in
            [(&mut readings.nir, nir, description.input.as_str()), (&mut readings.rgb, rgb, "RGB")]
        {
            let bits = largest.map_or(16, Bits::of_largest);
            reading.bits = Bits::Exactly(bits);
            if let Some(largest) = largest {
                notes.all(format!(
                    "{which} images are read as {bits}-bit: their largest value is {largest} (bits = auto)"
                ));
            }
        }
        Ok(readings)
    }
}

/// Goes through all images, whatever is wrong with them, so that everything can be mended at once.
struct Check {
    errors: Vec<DataError>,
    notes: Notes,
    readings: Readings,
    /// What the first image of a pair is.
    input: String,
    fit: Fit,
    /// Width and height of the first pair.
    size: Option<(u32, u32)>,
    /// Whether all pairs must have that size.
    one_size: bool,
}

impl Check {
    /// The pairs whose images could be read.
    fn pairs(&mut self, pairs: Vec<Files>) -> Vec<Line> {
        let Readings { nir, rgb } = self.readings;
        let gray = |files: &Files| looked(&files.nir, |path, bytes| nir.gray_of(path, bytes));
        let colour = |files: &Files| looked(&files.rgb, |path, bytes| rgb.rgb_of(path, bytes));
        let read: Vec<_> = pairs.into_par_iter().map(|files| (gray(&files), colour(&files), files)).collect();
        read.into_iter().filter_map(|(nir, rgb, files)| self.pair(nir, rgb, files)).collect()
    }

    fn pair(&mut self, nir: Result<Looked, DataError>, rgb: Result<Looked, DataError>, files: Files) -> Option<Line> {
        let (nir, rgb) = (self.sound(nir, &files.nir), self.sound(rgb, &files.rgb));
        let (nir, rgb) = (nir?, rgb?);
        let name = &files.name;
        let first = *self.size.get_or_insert(rgb.size);
        if nir.size != rgb.size {
            let (name, input) = (name.clone(), self.input.clone());
            self.errors.push(DataError::SizeMismatch { name, input, nir: nir.size, rgb: rgb.size });
        } else if self.one_size && rgb.size != first {
            let needed = format!("the first pair has {}x{}; bring all to one size", first.0, first.1);
            self.errors.push(DataError::WrongSize { name: format!("pair {name}"), size: rgb.size, needed });
        }
        let short = |digest: blake3::Hash| digest.to_hex()[..16].to_string();
        let (mut text, name) = (format!("{name} {} {}\n", nir.file, rgb.file), name.clone());
        let mut recorded = PairFiles { name, nir: short(nir.file), rgb: short(rgb.file), fit: None };
        if let Some(note) = self.fit.note(rgb.size) {
            text += &format!("{}\n", self.fit);
            recorded.fit = Some(self.fit.to_string());
            self.notes.add(&files.rgb, note);
        }
        Some(Line { files, text, recorded, pixels: PixelDigests { nir: nir.pixels, rgb: rgb.pixels } })
    }

    fn alone(&mut self, path: PathBuf) {
        let rgb = self.readings.rgb;
        self.sound(looked(&path, |path, bytes| rgb.rgb_of(path, bytes)), &path);
        self.errors.push(DataError::Unpaired { path });
    }

    /// Keeps what was read, with its notes, or the error.
    fn sound(&mut self, looked: Result<Looked, DataError>, path: &Path) -> Option<Looked> {
        match looked {
            Ok(looked) => {
                looked.notes.iter().for_each(|note| self.notes.add(path, note.to_string()));
                Some(looked)
            }
            Err(error) => {
                self.errors.push(error);
                None
            }
        }
    }
}

/// What is kept of an image file.
struct Looked {
    size: (u32, u32),
    file: blake3::Hash,
    pixels: blake3::Hash,
    notes: BTreeSet<ReadNote>,
}

fn looked<P: Pixel<Subpixel = u8>>(
    path: &Path,
    image: impl Fn(&Path, &[u8]) -> Result<Read<pillow::Image<P>>, DataError>,
) -> Result<Looked, DataError> {
    let bytes = read(path)?;
    let Read { image, notes, .. } = image(path, &bytes)?;
    let size = image.dimensions();
    Ok(Looked { size, file: blake3::hash(&bytes), pixels: digest(size, &image), notes })
}
