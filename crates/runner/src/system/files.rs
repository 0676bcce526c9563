//! Files that are there whole or not at all, and logs that grow line by line.

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

/// Makes a folder and those above it.
///
/// # Errors
/// Names the folder.
pub fn make_folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("cannot make the folder {}", path.display()))
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
        writer.write_record(record)?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
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
    /// Opens the log with its first `keep` lines and drops the rest: what was written after the state that is resumed.
    ///
    /// # Errors
    /// Names the file; also if it has fewer lines.
    pub fn open(path: &Path, keep: usize) -> Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
        };
        let kept: Vec<&str> = text.split_inclusive('\n').filter(|line| line.ends_with('\n')).take(keep).collect();
        anyhow::ensure!(
            kept.len() == keep,
            "{} has {} lines but the checkpoint beside it was written after {keep}: the run folder is damaged, remove it to start again",
            path.display(),
            kept.len()
        );
        write_whole(path, kept.concat().as_bytes())?;
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
    fn a_log_is_cut_to_what_the_checkpoint_knows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let mut log = Log::open(&path, 0).unwrap();
        (1..=3).for_each(|n| log.add(&n).unwrap());
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"half a li").unwrap();
        let mut log = Log::open(&path, 2).unwrap();
        log.add(&9).unwrap();
        assert_eq!(read_lines::<i32>(&path).unwrap(), [1, 2, 9]);
        assert!(Log::open(&path, 4).is_err());
    }
}
