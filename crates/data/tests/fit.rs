//! Photographs that are not square.

use colormamba_data::{Dataset, Description, Fit, Photographs, Split, Subset};
use image::{GrayImage, Luma, RgbImage};
use std::fs;
use std::path::Path;

fn levels(image: &GrayImage) -> Vec<Vec<u8>> {
    image.rows().map(|row| row.map(|pixel| pixel.0[0]).collect()).collect()
}

#[test]
fn squares_of_both_orientations() {
    let wide = GrayImage::from_fn(5, 2, |x, y| Luma([(10 * y + x) as u8]));
    assert_eq!(levels(&Fit::Crop.square(&wide)), [[1, 2], [11, 12]]);
    assert_eq!(Fit::Squeeze.square(&wide), wide);
    let rows = [[0, 1, 2, 3, 4], [10, 11, 12, 13, 14]];
    assert_eq!(levels(&Fit::Pad.square(&wide)), [rows[0], rows[0], rows[1], rows[1], rows[0]]);
    let tall = image::imageops::rotate90(&wide);
    assert_eq!(Fit::Crop.square(&tall).dimensions(), (2, 2));
    assert_eq!(Fit::Pad.square(&tall).dimensions(), (5, 5));
    let square = GrayImage::from_pixel(3, 3, Luma([7]));
    assert!([Fit::Crop, Fit::Squeeze, Fit::Pad].iter().all(|fit| fit.square(&square) == square));
}

fn photographs(root: &Path, fit: &str) -> Photographs {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../datasets/pairs.toml")).unwrap();
    let text = match fit {
        "" => text,
        fit => text.replacen("[terms]", &format!("fit = \"{fit}\"\n[terms]"), 1),
    };
    Photographs::open(&Description::parse(&text, "pairs.toml").unwrap(), root, &Subset::published()).unwrap()
}

/// In training and scoring alike, with a word, and with another fingerprint: a run does not go on with another fit.
#[test]
fn a_folder_of_wide_photographs() {
    let root = tempfile::tempdir().unwrap();
    for (folder, name) in [("train/nir", "a"), ("train/nir", "b"), ("validation/nir", "c")] {
        let nir = root.path().join(folder);
        let rgb = root.path().join(folder.replace("nir", "rgb"));
        fs::create_dir_all(&nir).unwrap();
        fs::create_dir_all(&rgb).unwrap();
        let level = name.as_bytes()[0];
        GrayImage::from_fn(12, 8, |x, _| Luma([x as u8 + level])).save(nir.join(format!("{name}.png"))).unwrap();
        let colour = RgbImage::from_fn(12, 8, |x, y| image::Rgb([x as u8, y as u8, level]));
        colour.save(rgb.join(format!("{name}.png"))).unwrap();
    }
    let cropped = photographs(root.path(), "");
    for split in [Split::Train, Split::Validation] {
        let pair = cropped.pair(split, 0).unwrap();
        assert_eq!((pair.nir.dimensions(), pair.rgb.dimensions()), ((8, 8), (8, 8)));
        assert_eq!(pair.rgb.get_pixel(0, 3).0[..2], [2, 3], "the centre");
    }
    let warnings = cropped.warnings().join("\n");
    assert!(warnings.contains("a.png and 2 others: not square: its centre is taken (fit = crop"), "{warnings}");
    let squeezed = photographs(root.path(), "squeeze");
    assert_eq!(squeezed.pair(Split::Train, 0).unwrap().rgb.dimensions(), (12, 8));
    let padded = photographs(root.path(), "pad");
    assert_eq!(padded.pair(Split::Train, 0).unwrap().rgb.dimensions(), (12, 12));
    let prints = [&cropped, &squeezed, &padded].map(|photographs| photographs.fingerprint(Split::Train));
    assert!(prints[0] != prints[1] && prints[1] != prints[2] && prints[0] != prints[2]);
}
