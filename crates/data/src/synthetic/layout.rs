//! Writing any dataset to disk in the folders and names of VCIP2020.

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use image::{DynamicImage, ImageFormat};

use crate::{DataError, Dataset, Split};
use colormamba_support::files::write_whole;

/// Writes all pairs of a dataset as PNG files in the layout of the VCIP 2020 challenge on NIR image colorization:
/// `NIR/NAME_nir.png` and `RGB-Registered/NAME_rgb_reg.png` for training, `Validation/validation_NNNN_{nir,rgb_reg}.png`,
/// `Testing/testing_NNNN_nir_reg.png` and `Testing/Testing_NNNN_rgb_reg.png`. Folders are made as needed, files of the
/// same names replaced; each file appears whole or not at all. Returns the number of pairs.
///
/// # Errors
/// What the dataset says of a pair it cannot give; [`DataError::Io`] if a folder or file cannot be written;
/// [`DataError::Encode`] if an image cannot be encoded.
pub fn write_vcip_layout(dataset: &dyn Dataset, dir: &Path) -> Result<usize, DataError> {
    let mut written = 0;
    for split in Split::ALL {
        for index in 0..dataset.len(split) {
            let pair = dataset.pair(split, index)?;
            let [nir, rgb] = file_names(split, index, &pair.name);
            write_png(&dir.join(nir), &DynamicImage::ImageLuma8(pair.nir))?;
            write_png(&dir.join(rgb), &DynamicImage::ImageRgb8(pair.rgb))?;
            written += 1;
        }
    }
    Ok(written)
}

/// Paths of all images that [`write_vcip_layout`] writes, within its folder.
pub fn vcip_layout(dataset: &dyn Dataset) -> impl Iterator<Item = String> {
    let of_split = move |split| (0..dataset.len(split)).map(move |index| (split, index));
    let names = move |(split, index)| file_names(split, index, &dataset.pair_name(split, index));
    Split::ALL.into_iter().flat_map(of_split).flat_map(names)
}

/// Paths of the two images of a pair within the dataset's folder.
fn file_names(split: Split, index: usize, name: &str) -> [String; 2] {
    match split {
        Split::Train => [format!("NIR/{name}_nir.png"), format!("RGB-Registered/{name}_rgb_reg.png")],
        Split::Validation => {
            let stem = format!("Validation/validation_{index:04}");
            [format!("{stem}_nir.png"), format!("{stem}_rgb_reg.png")]
        }
        Split::Test => {
            [format!("Testing/testing_{index:04}_nir_reg.png"), format!("Testing/Testing_{index:04}_rgb_reg.png")]
        }
    }
}

fn write_png(path: &Path, image: &DynamicImage) -> Result<(), DataError> {
    let failed = |source| DataError::Io { path: path.to_path_buf(), source };
    let mut bytes = Cursor::new(Vec::new());
    image
        .write_to(&mut bytes, ImageFormat::Png)
        .map_err(|source| DataError::Encode { path: path.to_path_buf(), source })?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    Ok(write_whole(path, |file| file.write_all(bytes.get_ref()))?)
}
