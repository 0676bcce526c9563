//! Colours every photograph of a folder by the weights in the library:
//! `cargo run --release -p colormamba-colorize --example folder -- PHOTOGRAPHS COLOUR`, which makes the folder COLOUR.

use candle_core::Device;
use colormamba_colorize::{Colorizer, Options, Picture};
use colormamba_data::Reading;
use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [photographs, colour] = arguments.as_slice() else { return Err("PHOTOGRAPHS COLOUR".into()) };
    let colorizer = Colorizer::built_in(&Device::Cpu)?;
    std::fs::create_dir(colour)?;
    for entry in std::fs::read_dir(photographs)? {
        let entry = entry?;
        let nir = Reading::default().nir(&entry.path())?.image;
        let to = colour.join(format!("{}.png", entry.file_name().to_string_lossy()));
        match colorizer.colorize(&nir, &Options::default())? {
            Picture::Bits8(picture) => picture.save(&to)?,
            Picture::Bits16(picture) => picture.save(&to)?,
        }
        println!("{}", to.display());
    }
    Ok(())
}
