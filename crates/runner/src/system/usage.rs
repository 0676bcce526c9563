//! The difference between a wrong command and a command that failed.

/// A command line that makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// An error with its causes, each said once: many a cause is part of what it caused already.
pub fn in_words(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |text, cause| match cause.to_string() {
        cause if text.is_empty() => cause,
        cause if text.contains(&cause) => text,
        cause => format!("{text}: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn a_cause_is_said_once() {
        let inner = anyhow!("no such file").context("a.png: no such file").context("pair a");
        assert_eq!(in_words(&inner), "pair a: a.png: no such file");
    }
}
