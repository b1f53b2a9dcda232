//! Atomic writes and bounded reads, on a temporary folder. Never on a real home.

use std::fs;

use super::{Home, read_bounded, write_atomic};

#[test]
fn a_write_replaces_the_whole_file_and_leaves_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    write_atomic(&path, b"first and long").unwrap();
    write_atomic(&path, b"second").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"second");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_failed_write_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("occupied");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("inside"), b"x").unwrap();
    assert!(write_atomic(&path, b"new").is_err());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(write_atomic(&folder.path().join("missing/file"), b"new").is_err());
}

#[test]
fn a_read_stops_at_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, b"12345").unwrap();
    assert_eq!(read_bounded(&path, 5).unwrap(), b"12345");
    assert!(read_bounded(&path, 4).unwrap_err().to_string().contains("more than 4 bytes"));
}

#[test]
fn stale_temporary_folders_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::at(folder.path());
    let stale = folder.path().join("temporary/pull-0");
    fs::create_dir_all(&stale).unwrap();
    fs::write(stale.join("half"), b"x").unwrap();
    let lock = home.lock().unwrap();
    let fresh = home.temporary(&lock).unwrap();
    assert!(!stale.exists());
    let path = fresh.path().to_path_buf();
    assert!(path.is_dir());
    drop(fresh);
    assert!(!path.exists());
}
