//! The terms, a file each.
//!
//! A term is its file, which implements [`Definition`] for its options, and its line in the list at the end of this one: all
//! else that knows the terms follows from that. `cargo fmt` does not see files that a macro names: format them by
//! `rustfmt crates/losses/src/terms/*.rs`, as `tests/terms.rs` demands.

use crate::definition::Definition;
use serde::{Deserialize, Serialize};

/// What differs between a term without options, `Name {}`, and one with some, `Name(Options)`: what its file exports, its
/// default, the pattern that it matches, and where its definition is.
macro_rules! form {
    (export $file:ident {}) => {};
    (export $file:ident ($options:ident)) => {
        pub use $file::*;
    };
    (default $term:ident {}) => {
        Term::$term {}
    };
    (default $term:ident ($options:ident)) => {
        Term::$term($options::default())
    };
    (pattern $term:ident {} $bound:ident) => {
        Term::$term {}
    };
    (pattern $term:ident ($options:ident) $bound:ident) => {
        Term::$term($bound)
    };
    (definition $file:ident $term:ident {} $bound:ident) => {
        &$file::$term
    };
    (definition $file:ident $term:ident ($options:ident) $bound:ident) => {
        $bound
    };
}

/// Makes modules, exports, the enum, the list and the dispatch from lines `file: Name {}` or `file: Name(Options)`.
macro_rules! terms {
    ($($file:ident: $term:ident $options:tt,)*) => {
        $(mod $file;)*
        $(form!(export $file $options);)*

        /// One way to compare a prediction p with its target t, both `(B, C, H, W)`; [`Term::channels`] says which C it
        /// takes, or that it takes class scores `(B, n)`. All are scalars, at least 0, and smaller is better.
        /// [`Term::about`] gives each one's formula, range and source.
        ///
        /// Serialises as a table with one key, the term's name, whose value is the table of its options.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case", deny_unknown_fields)]
        #[allow(missing_docs, reason = "`Term::about` says what each is")]
        pub enum Term {
            $($term $options,)*
        }

        impl Term {
            /// Every term with the defaults of its options.
            pub fn all() -> Vec<Self> {
                vec![$(form!(default $term $options)),*]
            }

            /// What its file says.
            pub(crate) fn definition(&self) -> &dyn Definition {
                match self {
                    $(form!(pattern $term $options options) => form!(definition $file $term $options options),)*
                }
            }
        }
    };
}

terms! {
    mse: Mse {},
    l1: L1 {},
    smooth_l1: SmoothL1(SmoothL1),
    charbonnier: Charbonnier(Charbonnier),
    cosine: Cosine {},
    psnr: Psnr(Psnr),
    ssim: Ssim(SsimOptions),
    d_ssim: DSsim(WindowOptions),
    ms_ssim: MsSsim {},
    ms_ssim_published: MsSsimPublished {},
    sobel: Sobel {},
    laplacian: Laplacian {},
    total_variation: TotalVariation {},
    feature_mse: FeatureMse {},
    feature_cosine: FeatureCosine {},
    vgg: Vgg(VggOptions),
    style: Style(StyleOptions),
    lpips: Lpips(LpipsOptions),
    histogram: Histogram(HistogramOptions),
    hue: Hue {},
    ciede2000: Ciede2000 {},
    log_domain: LogDomain(LogDomainOptions),
    enl: Enl(EnlOptions),
    cross_entropy: CrossEntropy {},
}
