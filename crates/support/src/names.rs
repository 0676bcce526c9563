//! Names that were misspelt.

/// Below this similarity (Jaro and Winkler's, from 0 to 1) a suggestion is a guess.
const ALIKE: f64 = 0.75;

/// The name among `known` that `given` was probably meant to be, if any is near; capitals make no difference.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_lowercase();
    let scored = known.into_iter().map(|name| (strsim::jaro_winkler(&given, &name.to_lowercase()), name));
    scored.filter(|(score, _)| *score >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_that_is_near_is_suggested() {
        let near = |given| nearest(given, ["psnr", "ssim", "ms_ssim"]);
        assert_eq!(near("pnsr"), Some("psnr"));
        assert_eq!(near("MS-SSIM"), Some("ms_ssim"));
        assert_eq!(near("width"), None);
        assert_eq!(near(""), None);
        assert_eq!(nearest("psnr", []), None);
    }
}
