//! Files that are there whole or not at all.

use std::fs::File;
use std::io::{BufWriter, Result as IoResult, Write};
use std::path::{Path, PathBuf};

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
    let mut builder = tempfile::Builder::new();
    builder.prefix(".writing-");
    // Without this, nobody but the owner could read it.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    let mut writer = BufWriter::new(file.as_file_mut());
    content(&mut writer)?;
    writer.flush()?;
    drop(writer);
    file.as_file().sync_all()?;
    file.persist(path)?;
    flush(folder);
    Ok(())
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
