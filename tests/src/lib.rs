//! Support for the workspace's tests: golden fixtures, weights made by formula, relative errors, finite differences.
//!
//! The golden files under `tests/fixtures` hold inputs, outputs and gradients of the published PyTorch model; the weights
//! they were made with are not stored but follow from each tensor's name and shape ([`formula`]).

mod device;
mod fixture;
mod formula;
mod gradient;
mod threads;

pub use device::device;
pub use fixture::{
    Fixture, Map, Tolerance, Value, activations, assert_close, assert_maps_close, fixtures_dir, relative_l2,
    relative_l2_map, takes_bf16,
};
pub use formula::{formula, noise, noise_tensor, unit_image};
pub use gradient::{assert_gradients, cotangent, gradients};
pub use threads::assert_same_on_threads;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// The tests of a crate are modules of one program, `tests/main.rs`; a file that it does not name would never run.
    #[test]
    fn every_file_of_tests_is_part_of_its_crates_program() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
        for entry in fs::read_dir(crates).unwrap() {
            let tests = entry.unwrap().path().join("tests");
            let Ok(program) = fs::read_to_string(tests.join("main.rs")) else { continue };
            for file in fs::read_dir(&tests).unwrap() {
                let path = file.unwrap().path();
                let Some(name) = path.file_name().unwrap().to_str().unwrap().strip_suffix(".rs") else { continue };
                assert!(name == "main" || program.contains(&format!("\nmod {name};\n")), "{}", path.display());
            }
        }
    }
}
