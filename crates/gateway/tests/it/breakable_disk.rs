//! A disk that works until a test breaks it. It must not invent data: a broken one fails, and says so.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gateway::store::{Disk, FolderDisk, StoreError};

/// A folder whose writes can be made to fail.
pub(crate) struct BreakableDisk {
    folder: FolderDisk,
    is_broken: Arc<AtomicBool>,
    is_full: Arc<AtomicBool>,
    /// The last room was given to half a write.
    has_last_half: bool,
}

impl BreakableDisk {
    pub(crate) fn open(
        path: &Path,
        is_broken: Arc<AtomicBool>,
        is_full: Arc<AtomicBool>,
    ) -> Result<Self, StoreError> {
        Ok(Self { folder: FolderDisk::open(path)?, is_broken, is_full, has_last_half: false })
    }

    fn check(&self) -> io::Result<()> {
        let is_broken = self.is_broken.load(Ordering::SeqCst);
        if is_broken { Err(io::Error::other("broken by a test")) } else { Ok(()) }
    }
}

impl Disk for BreakableDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.folder.list()
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        self.folder.length(name)
    }

    fn read(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.folder.read(name, offset, buffer)
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        self.check()?;
        if self.is_full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.folder.create(name)
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<usize> {
        self.check()?;
        if !self.is_full.load(Ordering::SeqCst) {
            return self.folder.append(name, bytes);
        }
        // As a disk gets full: what still fits is written, and then nothing is.
        if std::mem::replace(&mut self.has_last_half, true) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.folder.append(name, &bytes[..bytes.len().div_ceil(2)])
    }

    fn rewrite(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check()?;
        self.folder.rewrite(name, offset, bytes)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.check()?;
        self.folder.sync(name)
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.check()?;
        self.folder.truncate(name, length)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.check()?;
        self.folder.remove(name)
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        self.check()?;
        self.folder.sync_folder()
    }
}
