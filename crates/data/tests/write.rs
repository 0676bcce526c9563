//! Files that are there whole or not at all.

use colormamba_data::write_whole;
use std::fs;

#[test]
fn a_file_is_replaced_and_nothing_else_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.txt");
    fs::write(&path, "the old content, which is longer").unwrap();
    write_whole(&path, b"new").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_failure_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    // A folder that is not empty cannot be replaced by a file, not even by the superuser.
    fs::create_dir_all(dir.path().join("a/b")).unwrap();
    assert!(write_whole(&dir.path().join("a"), b"new").is_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[cfg(unix)]
#[test]
fn the_umask_decides_on_the_mode() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
    fs::write(dir.path().join("usual"), "x").unwrap();
    write_whole(&dir.path().join("whole"), b"x").unwrap();
    assert_eq!(mode("whole"), mode("usual"));
}
