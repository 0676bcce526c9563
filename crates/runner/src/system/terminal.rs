//! What is written to the terminal, and in which form.

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::io::{IsTerminal, Write};

/// How much is said, and in which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// A bar on a terminal, lines elsewhere.
    Normal,
    /// Results and errors only.
    Quiet,
    /// A JSON object a line on standard output.
    Json,
}

/// Standard output takes nothing more, as after `| head`.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output: {0}")]
pub struct OutputClosed(#[from] std::io::Error);

/// Writes to standard output.
///
/// # Errors
/// [`OutputClosed`].
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    Ok(out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(OutputClosed)?)
}

/// Writes a line to standard error. That may be closed, or the terminal gone: nothing that runs ends for that.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A bar over `length` things for work that is no training; hidden where there is no terminal and where little is to be said.
///
/// # Errors
/// If the template is not one of indicatif's.
pub fn bar(verbosity: Verbosity, length: usize, template: &str) -> Result<ProgressBar> {
    if verbosity != Verbosity::Normal || !std::io::stderr().is_terminal() {
        return Ok(ProgressBar::hidden());
    }
    Ok(ProgressBar::new(length as u64).with_style(ProgressStyle::with_template(template)?))
}

#[derive(Serialize)]
struct Event<'a, T: Serialize> {
    event: &'a str,
    run: &'a str,
    #[serde(flatten)]
    content: &'a T,
}

/// A line of JSON about a run.
///
/// # Errors
/// If the content has no form in JSON.
pub fn event<T: Serialize>(event: &str, run: &str, content: &T) -> Result<String> {
    Ok(serde_json::to_string(&Event { event, run, content })? + "\n")
}
