//! Files that are there whole or not at all.

use colormamba_support::files::write_whole;
use std::fs;
use std::io::{Error, Write};

#[test]
fn a_file_is_replaced_and_nothing_else_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.txt");
    fs::write(&path, "the old content, which is longer").unwrap();
    write_whole(&path, |file| file.write_all(b"new")).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_failure_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    // A folder that is not empty cannot be replaced by a file, not even by the superuser.
    fs::create_dir_all(dir.path().join("a/b")).unwrap();
    let error = write_whole(&dir.path().join("a"), |file| file.write_all(b"new")).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot write {}", dir.path().join("a").display()));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_content_that_fails_leaves_the_old_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.txt");
    fs::write(&path, "old").unwrap();
    let half = write_whole(&path, |file| file.write_all(b"half").and(Err(Error::other("no more"))));
    assert_eq!(half.unwrap_err().source.to_string(), "no more");
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[cfg(unix)]
#[test]
fn the_umask_decides_on_the_mode() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
    fs::write(dir.path().join("usual"), "x").unwrap();
    write_whole(&dir.path().join("whole"), |file| file.write_all(b"x")).unwrap();
    assert_eq!(mode("whole"), mode("usual"));
}
