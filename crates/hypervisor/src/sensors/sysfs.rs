//! Files of the kernel and logs, read with a cap. Never more than the cap is read, whatever the file says its length is.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::Error;

/// Longest file of sysfs or procfs that is read.
pub(crate) const SYSFS_BYTES_MAX: u64 = 64 << 10;

/// Most entries of a folder that are looked at.
const ENTRIES_MAX: usize = 4_096;

pub(crate) fn read_bounded(path: &Path, cap: u64) -> Result<Vec<u8>, Error> {
    let name = || path.display().to_string();
    let file = File::open(path).map_err(|error| of_io(&error, name()))?;
    // Room for most files of the kernel, so that one is read in one go.
    let mut bytes = Vec::with_capacity(1024);
    let read = file.take(cap.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| of_io(&error, name()))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > cap {
        return Err(Error::TooLong { what: name(), cap });
    }
    Ok(bytes)
}

pub(crate) fn text(path: &Path) -> Result<String, Error> {
    let bytes = read_bounded(path, SYSFS_BYTES_MAX)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// One whole number of a file.
pub(crate) fn number(path: &Path) -> Result<u64, Error> {
    text(path)?.parse().map_err(|_| Error::Unreadable(path.display().to_string()))
}

/// Names in a folder, sorted; an absent folder is an error of its own.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let name = || folder.display().to_string();
    let found = std::fs::read_dir(folder).map_err(|error| of_io(&error, name()))?;
    let mut paths: Vec<PathBuf> =
        found.take(ENTRIES_MAX).filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.sort();
    Ok(paths)
}

pub(crate) fn of_io(error: &std::io::Error, name: String) -> Error {
    if error.kind() == ErrorKind::NotFound {
        Error::Absent(name)
    } else if error.kind() == ErrorKind::PermissionDenied {
        Error::Denied(name)
    } else {
        Error::Unreadable(name)
    }
}
