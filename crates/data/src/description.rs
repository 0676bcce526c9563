//! What a dataset consists of and where it comes from, as `datasets/*.toml` say.

use crate::pattern::{Pattern, wildcard};
use crate::subset::PUBLISHED;
use crate::{Bits, Channel, DataError, Fit, Reading, Split, Subset};
use colormamba_support::text::read_text;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

const KNOWN: [(&str, &str); 7] = [
    ("vcip2020", include_str!("../../../datasets/vcip2020.toml")),
    ("vcip2020-with-scenes", include_str!("../../../datasets/vcip2020-with-scenes.toml")),
    ("rgb-nir-scene", include_str!("../../../datasets/rgb-nir-scene.toml")),
    ("omsiv", include_str!("../../../datasets/omsiv.toml")),
    ("fanvid", include_str!("../../../datasets/fanvid.toml")),
    ("fanvid-nir2", include_str!("../../../datasets/fanvid-nir2.toml")),
    ("pairs", include_str!("../../../datasets/pairs.toml")),
];

/// A dataset: where its images lie, how their names pair, its subsets, terms and origin. It holds no image and fetches none.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// Short name, e.g. `vcip2020`.
    pub name: String,
    /// Full name.
    pub title: String,
    /// Width and height of every image in pixels as distributed; with it, all pairs must have one size, without it only
    /// the two images of a pair.
    pub size: Option<(u32, u32)>,
    /// File format, in words.
    pub format: String,
    /// What the first image of a pair is, for messages: `NIR`, or e.g. `hazy`, `rainy`, `thermal`.
    #[serde(default = "near_infrared")]
    pub input: String,
    /// What the largest value of 16 bits stands for, in both images; by default the file's tags say.
    #[serde(default)]
    pub bits: Bits,
    /// What of a colour image is the near infrared.
    #[serde(default)]
    pub channel: Channel,
    /// The page of a NIR file with several, from 1.
    pub page: Option<usize>,
    /// How photographs that are not square become so.
    #[serde(default)]
    pub fit: Fit,
    /// The most pixels of an image; [`Reading::MAX_PIXELS`] by default.
    pub max_pixels: Option<u64>,
    /// The part of the training pairs, between 0 and 1, that validates where the folder has no validation pairs.
    pub holdout: Option<f64>,
    /// Decides, with the pairs' names, on which they are.
    #[serde(default)]
    pub holdout_seed: u64,
    /// What a user has to change before the patterns fit, if they are not known to.
    pub adapt: Option<String>,
    /// What the images may be used for.
    pub terms: Terms,
    /// Where the images come from.
    pub origin: Origin,
    /// What to cite, by what it is for.
    pub citation: BTreeMap<String, String>,
    /// The splits.
    pub split: Splits,
    /// What may be chosen from the splits, beside `published`.
    #[serde(default)]
    pub subset: BTreeMap<String, SubsetDescription>,
    /// Digests of known copies, by split or pattern.
    #[serde(default)]
    pub blake3: BTreeMap<String, String>,
}

const NEAR_INFRARED: &str = "NIR";

fn near_infrared() -> String {
    NEAR_INFRARED.to_string()
}

/// What the images may be used for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// The owner's words, or that none are known.
    pub text: String,
    /// What follows from them.
    pub note: Option<String>,
}

/// Where the images come from.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The page of the dataset.
    pub page: Option<String>,
    /// A file to download by hand.
    pub archive: Option<String>,
    /// The data it was made from.
    pub derived_from: Option<String>,
    /// What to do to get the folder.
    pub steps: String,
}

/// The splits that a dataset has.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Splits {
    /// Must be there.
    pub train: SplitDescription,
    /// Empty where its folder is missing.
    pub validation: Option<SplitDescription>,
    /// Empty where its folder is missing.
    pub test: Option<SplitDescription>,
}

impl Splits {
    /// A split's description, if it has one.
    pub fn get(&self, split: Split) -> Option<&SplitDescription> {
        match split {
            Split::Train => Some(&self.train),
            Split::Validation => self.validation.as_ref(),
            Split::Test => self.test.as_ref(),
        }
    }
}

/// Two patterns. Two files are a pair, named by what the stars stand for (in lower case, joined by `_`), if that is the same.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitDescription {
    /// Number of pairs as distributed.
    pub pairs: Option<usize>,
    /// NIR files: parts joined by `/`, `*` for any run of characters in a part.
    pub nir: String,
    /// RGB files, with as many stars.
    pub rgb: String,
    /// What is known of the split.
    pub note: Option<String>,
}

impl SplitDescription {
    pub(crate) fn patterns(&self) -> Option<(Pattern, Pattern)> {
        let (nir, rgb) = (Pattern::new(&self.nir)?, Pattern::new(&self.rgb)?);
        (nir.stars() == rgb.stars()).then_some((nir, rgb))
    }
}

/// A choice of pairs for every split.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubsetDescription {
    /// How it was made, and what it is for.
    pub note: String,
    /// What a user should be told whenever it is used.
    pub warning: Option<String>,
    /// Of the training pairs.
    #[serde(default)]
    pub train: Selection,
    /// Of the validation pairs.
    #[serde(default)]
    pub validation: Selection,
    /// Of the test pairs.
    #[serde(default)]
    pub test: Selection,
}

impl SubsetDescription {
    /// The choice for a split.
    pub fn get(&self, split: Split) -> &Selection {
        match split {
            Split::Train => &self.train,
            Split::Validation => &self.validation,
            Split::Test => &self.test,
        }
    }
}

/// Pairs of a split; all of them by default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// The split whose pairs are chosen from; the same by default.
    pub from: Option<Split>,
    /// The names to take, `*` for any run of characters.
    pub only: Option<Vec<String>>,
    /// The names to leave out, `*` for any run of characters.
    #[serde(default)]
    pub without: Vec<String>,
    /// The places to take in the order of the names, from 1.
    pub only_places: Option<Vec<usize>>,
    /// The places to leave out in the order of the names, from 1.
    #[serde(default)]
    pub without_places: Vec<usize>,
}

impl Description {
    /// The names of the descriptions that come with this library.
    pub fn known() -> [&'static str; KNOWN.len()] {
        KNOWN.map(|(name, _)| name)
    }

    /// By a known name, or from a file, which a word with `.toml` at its end names.
    ///
    /// # Errors
    /// [`DataError::Dataset`] for a name that is not known, [`DataError::Io`] for a file that cannot be read,
    /// [`DataError::Description`] for one that is no description.
    pub fn find(name_or_file: &str) -> Result<Self, DataError> {
        if let Some((name, text)) = KNOWN.iter().find(|(name, _)| *name == name_or_file) {
            return Self::parse(text, &format!("datasets/{name}.toml"));
        }
        if !name_or_file.ends_with(".toml") {
            let known = Self::known().join(", ");
            return Err(DataError::Dataset { given: name_or_file.to_string(), known });
        }
        let path = Path::new(name_or_file);
        let text = read_text(path);
        let text = text.map_err(|source| DataError::Io { path: path.to_path_buf(), source })?;
        Self::parse(&text, name_or_file)
    }

    /// From the text of a TOML file; `file` is for errors.
    ///
    /// # Errors
    /// [`DataError::Description`] if it is no TOML, has unknown or missing entries, patterns that pair nothing, or subsets
    /// that choose from no split.
    pub fn parse(text: &str, file: &str) -> Result<Self, DataError> {
        let wrong = |problem: String| DataError::Description { file: file.to_string(), problem };
        let description: Self = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        description.problem().map_or(Ok(()), |problem| Err(wrong(problem)))?;
        Ok(description)
    }

    /// Whether a folder holds NIR files where the training split has them; not of a layout that is to be adapted first.
    pub fn fits(&self, folder: &Path) -> bool {
        if self.adapt.is_some() {
            return false;
        }
        let patterns = self.split.train.patterns();
        patterns.is_some_and(|(nir, _)| nir.files(folder).is_ok_and(|files| files.iter().any(|file| !file.other_kind)))
    }

    /// Whether the first image of a pair is near infrared.
    pub fn is_near_infrared(&self) -> bool {
        self.input == NEAR_INFRARED
    }

    /// How its NIR images are read.
    pub fn nir(&self) -> Reading {
        Reading { channel: self.channel, page: self.page, ..self.rgb() }
    }

    /// How its RGB images are read.
    pub fn rgb(&self) -> Reading {
        let max_pixels = self.max_pixels.unwrap_or(Reading::MAX_PIXELS);
        Reading { bits: self.bits, max_pixels, ..Reading::default() }
    }

    /// The subsets that can be asked for.
    pub fn subsets(&self) -> Vec<Subset> {
        let others = self.subset.keys().filter(|name| *name != PUBLISHED);
        let words = std::iter::once(PUBLISHED).chain(others.map(String::as_str));
        words.filter_map(|word| word.parse().ok()).collect()
    }

    /// The choices that a subset makes; `None` for `published` where it is not described, which takes everything.
    ///
    /// # Errors
    /// [`DataError::Subset`] if the dataset has no subset of that name.
    pub fn choices(&self, subset: &Subset) -> Result<Option<&SubsetDescription>, DataError> {
        let found = self.subset.get(subset.as_str());
        if found.is_none() && *subset != Subset::published() {
            let known: Vec<String> = self.subsets().iter().map(ToString::to_string).collect();
            let given = subset.to_string();
            return Err(DataError::Subset { dataset: self.name.clone(), given, known: known.join(", ") });
        }
        Ok(found)
    }

    /// What is known against a subset, e.g. that its validation and test splits overlap.
    pub fn warning(&self, subset: &Subset) -> Option<&str> {
        self.subset.get(subset.as_str()).and_then(|subset| subset.warning.as_deref())
    }

    /// The layout, and where to get it: for errors.
    pub(crate) fn expected(&self) -> String {
        let layout = |split: &SplitDescription| format!("{} with {}", split.nir, split.rgb);
        let optional = [&self.split.validation, &self.split.test].into_iter().flatten().map(layout);
        let optional: Vec<String> = optional.collect();
        let optional = match optional.is_empty() {
            true => String::new(),
            false => format!(", and optionally {}", optional.join(", ")),
        };
        let adapt = self.adapt.as_ref().map(|adapt| format!(" ({adapt})")).unwrap_or_default();
        let from = format!("datasets/{}.toml says where to get them", self.name);
        format!("{}{optional}; {from}{adapt}", layout(&self.split.train))
    }

    fn problem(&self) -> Option<String> {
        if let Some(part) = self.holdout.filter(|part| !(*part > 0.0 && *part < 1.0)) {
            return Some(format!(
                "holdout: {part} is no part of the training pairs: say one between 0 and 1, e.g. 0.1"
            ));
        }
        if self.input.is_empty() || self.input.chars().count() > 20 || self.input.chars().any(char::is_control) {
            return Some("input: say in a word or two what the first image of a pair is, e.g. thermal".to_string());
        }
        for split in Split::ALL {
            let described = self.split.get(split);
            if described.is_some_and(|split| split.patterns().is_none()) {
                return Some(format!(
                    "split.{split}: nir and rgb must be paths with as many `*`, one in the last part"
                ));
            }
        }
        for (name, subset) in &self.subset {
            if name.parse::<Subset>().is_err() {
                return Some(format!("subset.{name}: a subset is named by lower-case letters, digits and hyphens"));
            }
            for split in Split::ALL {
                let selection = subset.get(split);
                if selection.from.is_some_and(|from| self.split.get(from).is_none()) {
                    return Some(format!("subset.{name}.{split}: chooses from a split that is not described"));
                }
                let names = selection.only.iter().flatten().chain(&selection.without);
                // Others are compared as they are, and there are many.
                let mut wildcards = names.filter(|name| name.contains('*'));
                if wildcards.any(|name| wildcard(name).is_none()) {
                    return Some(format!("subset.{name}.{split}: a name is too long"));
                }
            }
        }
        None
    }
}
