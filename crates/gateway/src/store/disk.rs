//! The files below the store. A disk must never report a sync that the system has not confirmed, and never try a
//! failed one again: after a failed fsync Linux may drop what it could not write and confirm the next one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::store::error::StoreError;

/// Name of the file whose lock keeps a second opener out.
const LOCK_NAME: &str = "lock";

/// A flat folder of files. The tests have a second implementation, which fails and crashes.
pub trait Disk: Send {
    /// Names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Length of a file in bytes.
    fn length(&self, name: &str) -> io::Result<u64>;
    /// Fills `buffer` from a file; running out of file is an error.
    fn read(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Makes an empty file, which must not exist. Durable after [`Disk::sync_folder`].
    fn create(&mut self, name: &str) -> io::Result<()>;
    /// Writes some of `bytes` to the end of a file and says how many. Durable after [`Disk::sync`].
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<usize>;
    /// Overwrites bytes within a file. Durable after [`Disk::sync`].
    fn rewrite(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes the content and length of a file durable.
    fn sync(&mut self, name: &str) -> io::Result<()>;
    /// Cuts a file to `length`, durably.
    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()>;
    /// Removes a file. Durable after [`Disk::sync_folder`].
    fn remove(&mut self, name: &str) -> io::Result<()>;
    /// Makes the creation and removal of files durable.
    fn sync_folder(&mut self) -> io::Result<()>;
}

/// A folder of the file system, locked for as long as this lives.
#[derive(Debug)]
pub struct FolderDisk {
    path: PathBuf,
    folder: File,
    /// The lock ends when this is dropped.
    _lock: File,
    /// The file that is written. It stays open because a failed write-back is reported to the descriptor that was
    /// open when it failed, and may not be to one that is opened later.
    written: Option<(String, File)>,
}

impl FolderDisk {
    /// Opens or makes the folder and locks it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let shown = path.display().to_string();
        let error = |operation| {
            let shown = shown.clone();
            move |source| StoreError::io(operation, &shown, source)
        };
        make_folder(path).map_err(error("make"))?;
        let folder = File::open(path).map_err(error("open"))?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join(LOCK_NAME))
            .map_err(error("open the lock of"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), folder, _lock: lock, written: None }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked { folder: shown }),
            Err(TryLockError::Error(source)) => Err(error("lock")(source)),
        }
    }

    /// The handle through which a file is written.
    fn written(&mut self, name: &str) -> io::Result<&mut File> {
        if self.written.as_ref().is_none_or(|(open, _)| open != name) {
            let file = OpenOptions::new().read(true).write(true).open(self.path.join(name))?;
            self.written = Some((name.to_owned(), file));
        }
        let (_, file) = self.written.as_mut().expect("set just above");
        Ok(file)
    }
}

impl Disk for FolderDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        fs::read_dir(&self.path)?
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        fs::metadata(self.path.join(name)).map(|metadata| metadata.len())
    }

    fn read(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut file = File::open(self.path.join(name))?;
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(buffer)
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(self.path.join(name))?;
        self.written = Some((name.to_owned(), file));
        Ok(())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<usize> {
        let file = self.written(name)?;
        file.seek(SeekFrom::End(0))?;
        file.write(bytes)
    }

    fn rewrite(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file = self.written(name)?;
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(bytes)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.written(name)?.sync_data()
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        let file = self.written(name)?;
        file.set_len(length)?;
        file.sync_all()
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.written.take_if(|(open, _)| open == name);
        fs::remove_file(self.path.join(name))
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        self.folder.sync_all()
    }
}

/// Makes a folder and those above it and syncs the one above each, so that a crash cannot take the whole store.
fn make_folder(path: &Path) -> io::Result<()> {
    let above = match path.parent() {
        None => return Ok(()),
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
    };
    if path.is_dir() {
        return Ok(());
    }
    make_folder(above)?;
    fs::create_dir(path)?;
    File::open(above)?.sync_all()
}
