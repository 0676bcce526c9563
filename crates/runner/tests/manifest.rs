//! Manifests that nobody would write.

use crate::common::TINY;
use colormamba_runner::manifest::Manifest;
use proptest::prelude::*;

proptest! {
    #[test]
    fn no_override_panics(key in "(data|model|train|augmentation|variant|name|seeds)(\\.[a-z_]{1,12})?", value in "\\PC{0,20}") {
        let _ = Manifest::parse("m.toml", TINY, &[format!("{key}={value}")]);
    }

    #[test]
    fn no_damage_panics(at in 0..TINY.len(), length in 0_usize..30, put in "\\PC{0,12}") {
        let end = (at + length).min(TINY.len());
        let _ = Manifest::parse("m.toml", &format!("{}{put}{}", &TINY[..at], &TINY[end..]), &[]);
    }

    #[test]
    fn no_number_panics(key in "(data\\.size|model\\.(width|depth)|train\\.(epochs|batch|critic_width)|augmentation\\.crop)", n: i64) {
        if let Ok(manifest) = Manifest::parse("m.toml", TINY, &[format!("{key}={n}")]) {
            prop_assert!(manifest.model.architecture.options().check().is_ok());
            prop_assert!(manifest.model.architecture.options().check_size(manifest.data.size as usize).is_ok());
        }
    }
}
