//! Files that are there whole or not at all.

use std::io::{Result, Write};
use std::path::Path;

/// Writes a temporary file beside `path`, flushes it to disk and renames it. It gets the mode of any new file: the umask
/// decides who may read it.
///
/// # Errors
/// Those of the file system; an existing file is left as it was, and no temporary one stays.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".writing-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
