//! Files that are there whole or not at all, and logs that grow line by line.

use crate::system::terminal::note;
use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

/// Whether something lies at `path`. What cannot be looked at is not taken for what is not there: a lost network drive or a
/// missing permission must not let a run begin anew.
///
/// # Errors
/// Names the path; also if it is a link to nothing.
pub fn exists(path: &Path) -> Result<bool> {
    let there = match path.try_exists() {
        // A file in the place of the folder above.
        Err(e) if e.kind() == ErrorKind::NotADirectory => false,
        there => there.with_context(|| format!("cannot tell whether {} is there", path.display()))?,
    };
    if !there && path.is_symlink() {
        bail!("{} is a link to something that is not there: restore that, or remove the link", path.display());
    }
    Ok(there)
}

/// Whether a folder lies at `path`.
///
/// # Errors
/// As [`exists`].
pub fn is_folder(path: &Path) -> Result<bool> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(metadata.is_dir()),
        Err(e) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&e.kind()) => exists(path),
        Err(e) => Err(e).with_context(|| format!("cannot tell whether {} is a folder", path.display())),
    }
}

/// The content of a file; none if there is no such file.
///
/// # Errors
/// Names a file that is there and cannot be read.
pub fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    if !exists(path)? {
        return Ok(None);
    }
    Ok(Some(std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?))
}

/// Makes a folder and those above it.
///
/// # Errors
/// Names the folder.
pub fn make_folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("cannot make the folder {}", path.display()))
}

/// Gives a file another name, in the place of what has it.
///
/// # Errors
/// Names both.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))
}

/// Writes a file, whole or not at all.
///
/// # Errors
/// Names the file; an existing one is left as it was.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    Ok(colormamba_support::files::write_whole(path, |file| file.write_all(content))?)
}

/// Writes one JSON line per record, as [`write_whole`] does.
///
/// # Errors
/// Names the file.
pub fn write_lines<T: Serialize>(path: &Path, records: &[T]) -> Result<()> {
    let mut content = Vec::new();
    for record in records {
        serde_json::to_writer(&mut content, record)?;
        content.push(b'\n');
    }
    write_whole(path, &content)
}

/// Comma-separated values of records of one length, the first of which holds the heads.
///
/// # Errors
/// If the lengths differ.
pub fn csv(records: impl IntoIterator<Item = Vec<String>>) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for record in records {
        writer.write_record(record.iter().map(|field| harmless(field)))?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// A field that no spreadsheet takes for a formula, and no reader for several lines.
fn harmless(field: &str) -> String {
    let field = field.replace(['\r', '\n'], " ");
    let is_formula = field.starts_with(['=', '+', '-', '@', '\t']) && field.parse::<f64>().is_err();
    if is_formula { format!("'{field}") } else { field }
}

/// Reads one JSON record per line.
///
/// # Errors
/// Names the file and the line.
pub fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let parse = |(i, line)| serde_json::from_str(line).with_context(|| format!("{}:{}", path.display(), i + 1));
    text.lines().enumerate().map(parse).collect()
}

/// A log that grows by one JSON line per record.
pub struct Log(File);

impl Log {
    /// Opens the log with the lines whose number `key` is at most `done`, and drops the rest: what was written after the
    /// state that is resumed. That state is whole without its log, so lines that are lost are a note and no error.
    ///
    /// # Errors
    /// Names a file that cannot be read or written.
    pub fn open(path: &Path, key: &str, done: usize) -> Result<Self> {
        let content = read_if_there(path)?.unwrap_or_default();
        let number = |line: &[u8]| serde_json::from_slice::<Value>(line).ok()?.get(key)?.as_u64();
        let is_kept = |line: &&[u8]| line.ends_with(b"\n") && number(line).is_some_and(|number| number <= done as u64);
        let kept: Vec<&[u8]> = content.split_inclusive(|byte| *byte == b'\n').filter(is_kept).collect();
        if kept.len() < done {
            note(&format!(
                "warning: {} has lost {} of its {done} lines; the run goes on from its checkpoint, which is whole",
                path.display(),
                done - kept.len()
            ));
        }
        write_whole(path, &kept.concat())?;
        let file = OpenOptions::new().append(true).open(path);
        Ok(Self(file.with_context(|| format!("cannot write {}", path.display()))?))
    }

    /// Waits until every line is on disk: a checkpoint counts on them.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn sync(&self) -> Result<()> {
        self.0.sync_all().context("cannot write a log to disk")
    }

    /// Adds a line.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add<T: Serialize>(&mut self, record: &T) -> Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        self.0.write_all(&line).context("cannot write a log line")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_formula_and_no_second_line() {
        let fields = ["=1+1", "-1.5", "-x", "a\rb", "@sum", "1e-3"].map(String::from).to_vec();
        assert_eq!(csv([fields]).unwrap(), "'=1+1,-1.5,'-x,a b,'@sum,1e-3\n");
    }

    #[test]
    fn a_log_is_cut_to_what_the_checkpoint_knows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let line = |step: u32| serde_json::json!({ "step": step });
        let mut log = Log::open(&path, "step", 0).unwrap();
        (1..=3).for_each(|step| log.add(&line(step)).unwrap());
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"half a li").unwrap();
        let mut log = Log::open(&path, "step", 2).unwrap();
        log.add(&line(9)).unwrap();
        assert_eq!(read_lines::<Value>(&path).unwrap(), [line(1), line(2), line(9)]);
    }

    #[test]
    fn a_log_that_lost_lines_keeps_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        std::fs::write(&path, b"{\"step\":1}\n\xff\xfe garbage\n{\"step\":3}\n{\"step\":5}\n").unwrap();
        Log::open(&path, "step", 4).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"step\":1}\n{\"step\":3}\n");
    }

    #[test]
    #[cfg(unix)]
    fn what_cannot_be_looked_at_is_not_absent() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::os::unix::fs::symlink(at("loop"), at("loop")).unwrap();
        std::os::unix::fs::symlink(at("nothing"), at("dangling")).unwrap();
        assert!(!exists(&at("nothing")).unwrap() && !is_folder(&at("nothing")).unwrap());
        for name in ["loop", "loop/file", "dangling"] {
            assert!(exists(&at(name)).is_err() && is_folder(&at(name)).is_err(), "{name}");
        }
    }
}
