//! The difference between a wrong command and a command that failed.

use crate::manifest::ManifestError;

/// A command line that makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// 2 for a wrong command line or manifest, 1 for anything else.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    let wrong = error.chain().any(|cause| cause.is::<Usage>() || cause.is::<ManifestError>());
    if wrong { 2 } else { 1 }
}
