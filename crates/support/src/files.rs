//! Files that are there whole or not at all.

use std::fs::{File, TryLockError};
use std::io::{BufWriter, Result as IoResult, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// What the names of files begin with that are not whole yet.
const UNFINISHED: &str = ".writing-";

/// A file that could not be written; what was there before is still there.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", path.display())]
pub struct WriteError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: std::io::Error,
}

/// Makes `path` hold what `content` writes: into a temporary file beside it, which is flushed to disk and renamed, and the
/// folder is flushed too, so that a loss of power takes neither. The file gets the mode of any new one: the umask decides
/// who may read it.
///
/// # Errors
/// Those of `content` and of the file system; an existing file is left as it was, and no temporary one stays.
pub fn write_whole(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<&mut File>) -> IoResult<()>,
) -> Result<(), WriteError> {
    replace(path, content).map_err(|source| WriteError { path: path.to_path_buf(), source })
}

fn replace(path: &Path, content: impl FnOnce(&mut BufWriter<&mut File>) -> IoResult<()>) -> IoResult<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = unfinished(folder)?;
    let mut writer = BufWriter::new(file.as_file_mut());
    content(&mut writer)?;
    writer.flush()?;
    drop(writer);
    file.as_file().sync_all()?;
    file.persist(path)?;
    flush(folder);
    Ok(())
}

/// A temporary file that is locked as long as its process lives, so that [`remove_abandoned`] can tell.
fn unfinished(folder: &Path) -> IoResult<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(UNFINISHED);
    // Without this, nobody but the owner could read it.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    loop {
        let file = builder.tempfile_in(folder)?;
        let taken = matches!(file.as_file().try_lock(), Err(TryLockError::WouldBlock));
        // Before it was locked another process may have taken it for an abandoned one.
        if !taken && file.path().try_exists()? {
            return Ok(file);
        }
    }
}

/// Removes what killed processes left half written in a folder; the files of processes that live are locked and stay.
///
/// What cannot be told or removed stays too: it is in nobody's way.
pub fn remove_abandoned(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let unfinished = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(UNFINISHED));
    // A link or a pipe of that name is none of ours.
    for entry in unfinished.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file())) {
        let Ok(file) = File::options().write(true).open(entry.path()) else { continue };
        if file.try_lock().is_ok() {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Brings a folder's entries to disk. The file is in its place already, so what the system refuses is no failure of the
/// writing: folders that may be written to and not read, and file systems that flush no folders.
#[cfg(unix)]
fn flush(folder: &Path) {
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}

/// A folder cannot be opened as a file here.
#[cfg(not(unix))]
fn flush(_: &Path) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_is_being_written_stays() {
        let folder = tempfile::tempdir().unwrap();
        let [left, other] = [".writing-1a2b3c", "notes.txt"].map(|name| folder.path().join(name));
        std::fs::write(&left, "half a fi").unwrap();
        std::fs::write(&other, "mine").unwrap();
        write_whole(&folder.path().join("whole"), |file| {
            remove_abandoned(folder.path());
            file.write_all(b"all of it")
        })
        .unwrap();
        assert!(!left.exists() && other.exists());
        assert_eq!(std::fs::read(folder.path().join("whole")).unwrap(), b"all of it");
    }
}
