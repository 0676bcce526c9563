//! Which image of one folder belongs to which of another.

use crate::inputs::folder::{self, stem};
use crate::system::files::exists;
use crate::system::usage::UsageError;
use crate::system::words::{count, first_of};
use anyhow::{Result, bail, ensure};
use colormamba_data::{Description, Split, folded};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// How names of predictions and truths correspond: two names without extension, each with one `*` for what they share,
/// whatever the case of its letters and however its accents are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameMatch {
    pred: Name,
    target: Name,
}

/// A name with one star.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    before: String,
    after: String,
}

impl FromStr for NameMatch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not PRED=TARGET, names without extension with one * in each, such as *_fake_B=*_real_B"
            )
        };
        let (pred, target) = text.split_once('=').ok_or_else(wrong)?;
        Ok(Self { pred: Name::new(pred).ok_or_else(wrong)?, target: Name::new(target).ok_or_else(wrong)? })
    }
}

impl Name {
    fn new(text: &str) -> Option<Self> {
        let (before, after) = text.split_once('*')?;
        (!after.contains('*')).then(|| Self { before: folded(before), after: folded(after) })
    }

    /// What the star stands for in a folded name.
    fn star(&self, name: &str) -> Option<String> {
        let star = name.strip_prefix(&self.before)?.strip_suffix(&self.after)?;
        (!star.is_empty()).then(|| star.to_string())
    }
}

/// A pair of files under the name that they share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePair {
    /// The prediction's name without extension.
    pub name: String,
    /// The prediction.
    pub pred: PathBuf,
    /// Its truth.
    pub target: PathBuf,
}

/// An image of a folder.
#[derive(Clone)]
struct Image {
    /// Without extension.
    name: String,
    path: PathBuf,
}

/// By folded name.
type Images = BTreeMap<String, Image>;

/// Pairs, and what a user should know of how they were found.
pub struct Pairing {
    /// By name.
    pub pairs: Vec<FilePair>,
    /// Which names were taken for the same, and which files have no partner.
    pub note: Option<String>,
}

/// Pairs the images of two folders, or two images.
///
/// Without `names`, folders are matched by equal names; where these are not equal, by those that the description of a
/// known dataset gives its RGB images, so that predictions of a run lie beside the dataset's own folder.
///
/// # Errors
/// [`UsageError`] if there is nothing to pair; without `names`, if a prediction has no partner.
pub fn pair(pred: &Path, target: &Path, names: Option<&NameMatch>) -> Result<Pairing> {
    for path in [pred, target] {
        ensure!(exists(path)?, "{}: no such file or folder", path.display());
    }
    if !pred.is_dir() && !target.is_dir() {
        ensure!(names.is_none(), UsageError("--match is for two folders: two images need no names".into()));
        let only = FilePair { name: stem(pred), pred: pred.to_path_buf(), target: target.to_path_buf() };
        return Ok(Pairing { pairs: vec![only], note: None });
    }
    ensure!(pred.is_dir() && target.is_dir(), UsageError("compare two images or two folders, not one of each".into()));
    match by_name(pred, target, names)? {
        Partners::Found(pairing) => Ok(pairing),
        Partners::Lacking(error) => Err(error.into()),
    }
}

/// Two sets of files, and what a user should know of how they were found.
pub struct Sets {
    /// Predictions.
    pub preds: Vec<PathBuf>,
    /// Truths.
    pub targets: Vec<PathBuf>,
    /// Which names were taken for the same, which files are left out, or that none is.
    pub note: Option<String>,
}

/// The images of two folders as sets: those that [`pair`] pairs, or all of them if it would find images without
/// partner.
///
/// # Errors
/// [`UsageError`] unless both are folders with images; with `names`, as [`pair`].
pub fn sets(pred: &Path, target: &Path, names: Option<&NameMatch>) -> Result<Sets> {
    for path in [pred, target] {
        ensure!(exists(path)?, "{}: no such file or folder", path.display());
        let text = || UsageError(format!("{} is no folder, and measures of sets are of two folders", path.display()));
        ensure!(path.is_dir(), text());
    }
    if let Partners::Found(pairing) = by_name(pred, target, names)? {
        return Ok(pairing.into());
    }
    let note =
        "the names of the two folders' images do not correspond: all images of both are taken, as sets may be".into();
    let all = |folder: &Path| Ok::<_, anyhow::Error>(images(folder)?.into_values().map(|image| image.path).collect());
    Ok(Sets { preds: all(pred)?, targets: all(target)?, note: Some(note) })
}

impl From<Pairing> for Sets {
    fn from(Pairing { pairs, note }: Pairing) -> Self {
        let (preds, targets) = pairs.into_iter().map(|pair| (pair.pred, pair.target)).unzip();
        Self { preds, targets, note }
    }
}

/// Whether images have partners.
enum Partners {
    Found(Pairing),
    /// Some of them none, without a word on how names correspond.
    Lacking(UsageError),
}

fn by_name(pred: &Path, target: &Path, names: Option<&NameMatch>) -> Result<Partners> {
    let (preds, targets) = (images(pred)?, images(target)?);
    ensure!(!preds.is_empty(), UsageError(format!("{} holds no image", pred.display())));
    if let Some(names) = names {
        let pairs = matched(&preds, &targets, names)?;
        ensure!(!pairs.is_empty(), UsageError(no_match(&preds, &targets)));
        let note = left_out(&pairs, (pred, preds.len()), (target, targets.len()));
        return Ok(Partners::Found(Pairing { pairs, note }));
    }
    let alone = |ours: &Images, theirs: &Images| -> Vec<String> {
        let alone = ours.iter().filter(|(folded, _)| !theirs.contains_key(*folded));
        alone.map(|(_, image)| image.name.clone()).collect()
    };
    let sides = [(pred, alone(&preds, &targets)), (target, alone(&targets, &preds))];
    if let Some((folder, names)) = sides.into_iter().find(|(_, names)| !names.is_empty()) {
        if let Some(pairing) = by_description((pred, &preds), (target, &targets))? {
            return Ok(Partners::Found(pairing));
        }
        return Ok(Partners::Lacking(UsageError(format!(
            "images of {} without a partner of their name in the other folder: {} ({}); --match PRED=TARGET, such as \
             *_fake_B=*_real_B, says which names, without extension, belong together",
            folder.display(),
            names.len(),
            first_of(names.iter())
        ))));
    }
    let partner = |(folded, target): (String, Image)| {
        let Image { name, path: pred } = preds.get(&folded)?.clone();
        Some(FilePair { name, pred, target: target.path })
    };
    Ok(Partners::Found(Pairing { pairs: targets.into_iter().filter_map(partner).collect(), note: None }))
}

/// A folder with its images by name.
type Folder<'a> = (&'a Path, &'a Images);

/// By the names of a known dataset's RGB images, if they give every prediction a partner.
fn by_description((pred, preds): Folder<'_>, (target, targets): Folder<'_>) -> Result<Option<Pairing>> {
    for dataset in Description::known() {
        let description = Description::find(dataset)?;
        for split in Split::ALL.into_iter().filter_map(|split| description.split.get(split)) {
            let last = split.rgb.rsplit('/').next().unwrap_or_default();
            let name = last.rsplit_once('.').map_or(last, |(stem, _)| stem);
            let Some(name) = Name::new(name).filter(|name| !name.before.is_empty() || !name.after.is_empty()) else {
                continue;
            };
            let shown = format!("*={}*{}", name.before, name.after);
            let names = NameMatch { pred: Name { before: String::new(), after: String::new() }, target: name };
            let pairs = matched(preds, targets, &names)?;
            if pairs.len() == preds.len() {
                let left_out = left_out(&pairs, (pred, preds.len()), (target, targets.len()));
                let left_out = left_out.map(|note| format!("; {note}")).unwrap_or_default();
                let note = Some(format!("matched by the names of {dataset}, --match '{shown}'{left_out}"));
                return Ok(Some(Pairing { pairs, note }));
            }
        }
    }
    Ok(None)
}

fn matched(preds: &Images, targets: &Images, names: &NameMatch) -> Result<Vec<FilePair>> {
    let (preds, mut targets) = (stars(preds, &names.pred)?, stars(targets, &names.target)?);
    let pair = |(star, Image { name, path: pred }): (String, Image)| {
        let Image { path: target, .. } = targets.remove(&star)?;
        Some(FilePair { name, pred, target })
    };
    Ok(preds.into_iter().filter_map(pair).collect())
}

/// The images whose names have that form, by what the star stands for.
fn stars(images: &Images, form: &Name) -> Result<Images> {
    let mut found = Images::new();
    for (folded, image) in images {
        let Some(star) = form.star(folded) else { continue };
        if let Some(other) = found.insert(star, image.clone()) {
            bail!(same_name(&other.path, &image.path));
        }
    }
    Ok(found)
}

/// That a match fits no two names, with the first of either folder as a match sees them.
fn no_match(preds: &Images, targets: &Images) -> String {
    let first = |images: &Images| images.values().next().map_or("none", |image| &image.name).to_string();
    format!(
        "no two images have names of that form and the same * in them: names without extension count, of which the first \
         are {} and {}",
        first(preds),
        first(targets)
    )
}

/// How many images of each folder have no partner.
fn left_out(pairs: &[FilePair], pred: (&Path, usize), target: (&Path, usize)) -> Option<String> {
    let sides = [pred, target].map(|(folder, all)| (folder, all, all - pairs.len()));
    let parts: Vec<String> = sides
        .iter()
        .filter(|(.., alone)| *alone > 0)
        .map(|(folder, all, alone)| {
            let have = if *alone == 1 { "has" } else { "have" };
            format!("{alone} of the {} of {} {have} no partner", count(*all, "image"), folder.display())
        })
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// The images of a folder by name without extension, as [`folded`] has it.
fn images(folder: &Path) -> Result<Images> {
    let mut images = Images::new();
    for path in folder::images(folder)? {
        let name = stem(&path);
        if let Some(other) = images.insert(folded(&name), Image { name, path: path.clone() }) {
            bail!(same_name(&other.path, &path));
        }
    }
    Ok(images)
}

fn same_name(first: &Path, second: &Path) -> UsageError {
    UsageError(format!("{} and {} have the same name", first.display(), second.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn folders(preds: &[&str], targets: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (side, names) in [("pred", preds), ("target", targets)] {
            fs::create_dir(folder.path().join(side)).unwrap();
            for name in names {
                fs::write(folder.path().join(side).join(name), "").unwrap();
            }
        }
        folder
    }

    fn paired(folder: &tempfile::TempDir, names: Option<&str>) -> Result<Pairing> {
        let names = names.map(|names| names.parse().unwrap());
        pair(&folder.path().join("pred"), &folder.path().join("target"), names.as_ref())
    }

    fn files(pairing: &Pairing) -> Vec<(&str, &str)> {
        pairing
            .pairs
            .iter()
            .map(|pair| (pair.name.as_str(), pair.target.file_name().unwrap().to_str().unwrap()))
            .collect()
    }

    #[test]
    fn names_of_a_known_dataset_find_their_partners() {
        let folder = folders(&["a_1.png"], &["A_1_nir.png", "A_1_rgb_reg.png", "a_2_rgb_reg.png"]);
        let pairing = paired(&folder, None).unwrap();
        assert_eq!(files(&pairing), [("a_1", "A_1_rgb_reg.png")]);
        let note = pairing.note.unwrap();
        assert!(note.contains("the names of vcip2020, --match '*=*_rgb_reg'; 2 of the 3 images of"), "{note}");
    }

    #[test]
    fn names_are_alike_whatever_their_case_and_accents() {
        let folder = folders(&["Caf\u{e9}.png", "B.TIFF"], &["cafe\u{301}.PNG", "b.jfif", "notes.txt", "._b.png"]);
        let pairing = paired(&folder, None).unwrap();
        assert_eq!(files(&pairing), [("B", "b.jfif"), ("Caf\u{e9}", "cafe\u{301}.PNG")]);
        let folder = folders(&["x_Caf\u{e9}.png"], &["cafe\u{301}_Y.png"]);
        assert_eq!(paired(&folder, Some("X_*=*_y")).unwrap().pairs.len(), 1);
        let folder = folders(&["a.png", "A.jpg"], &["a.png"]);
        assert!(paired(&folder, None).err().unwrap().to_string().contains("have the same name"));
    }

    #[test]
    fn a_match_says_which_names_belong_together() {
        let folder = folders(&["x_fake_B.png", "y_fake_B.png"], &["x_real_B.png", "y_real_B.png", "y_real_A.png"]);
        assert!(paired(&folder, None).is_err());
        let pairing = paired(&folder, Some("*_fake_B=*_real_B")).unwrap();
        assert_eq!(files(&pairing), [("x_fake_B", "x_real_B.png"), ("y_fake_B", "y_real_B.png")]);
        assert!(pairing.note.unwrap().starts_with("1 of the 3 images of"));
        assert!(paired(&folder, Some("*_fake_C=*_real_B")).is_err());
    }

    #[test]
    fn sets_need_no_partners_but_leave_out_what_has_none() {
        let taken = |folder: &tempfile::TempDir, names: Option<&str>| {
            let names = names.map(|names| names.parse().unwrap());
            let root = folder.path();
            let sets = sets(&root.join("pred"), &root.join("target"), names.as_ref());
            sets.map(|sets| (sets.preds.len(), sets.targets.len(), sets.note.unwrap_or_default()))
        };
        let folder = folders(&["a.png", "b.png"], &["a.png", "b.png"]);
        assert_eq!(taken(&folder, None).unwrap(), (2, 2, String::new()));
        let folder = folders(&["a.png", "b.png"], &["x.png", "y.png", "z.png"]);
        let (preds, targets, note) = taken(&folder, None).unwrap();
        assert!((preds, targets) == (2, 3) && note.contains("all images of both"), "{preds} {targets} {note}");
        assert!(taken(&folder, Some("*_a=*_b")).is_err());
        let folder = folders(&["a_1.png"], &["a_1_nir.png", "a_1_rgb_reg.png", "a_2_rgb_reg.png"]);
        let (preds, targets, note) = taken(&folder, None).unwrap();
        assert!((preds, targets) == (1, 1) && note.contains("have no partner"), "{preds} {targets} {note}");
        assert!(sets(&folder.path().join("pred/a_1.png"), &folder.path().join("target"), None).is_err());
    }

    #[test]
    fn a_match_has_one_star_on_each_side() {
        for wrong in ["*", "*=a", "a=*", "**=*", "*=*a*", ""] {
            assert!(wrong.parse::<NameMatch>().is_err(), "{wrong}");
        }
    }
}
