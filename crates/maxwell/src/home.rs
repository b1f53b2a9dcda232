//! The one folder that Maxwell writes to, and how: every file appears whole or not at all. Never touches
//! anything outside of it but the files that the user names.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, bail};
use protocol::ModelCommitment;

#[cfg(test)]
mod tests;

/// Names the folder.
pub(crate) const HOME_VARIABLE: &str = "MAXWELL_HOME";
/// Its name below the user's home if the variable is not set.
const DEFAULT_NAME: &str = ".maxwell";
/// What names of temporary folders begin with.
const TEMPORARY: &str = "pull-";

/// Layout of the folder:
///
/// | path | what it is |
/// |---|---|
/// | `models/NAME/model.gguf`, `model.json` | a pulled model |
/// | `formats/KEY.cbor` | calibrated formats of a file |
/// | `commitments/HEX.json` | where the model with this commitment is |
/// | `audit/key`, `audit/HEX.vectors` | secret vectors for audits of a model, sealed; nobody else may read them |
/// | `downloads/` | a package between download and import |
/// | `temporary/` | work in progress, removed by the next pull |
/// | `demo/` | the demo's claim |
/// | `oracle/`, `oracle-venv/` | programs that the benches compare with |
#[derive(Clone, Debug)]
pub(crate) struct Home {
    root: PathBuf,
}

impl Home {
    /// `$MAXWELL_HOME`, or `~/.maxwell`. Creates nothing.
    pub(crate) fn locate() -> anyhow::Result<Self> {
        let named = std::env::var_os(HOME_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = match named.or_else(|| std::env::home_dir().map(|home| home.join(DEFAULT_NAME))) {
            Some(root) => root,
            None => bail!("no home folder is known; set {HOME_VARIABLE} to a folder for models and caches"),
        };
        // Absolute, so that the paths in the registry hold wherever the next command runs.
        let root =
            std::path::absolute(&root).with_context(|| format!("{HOME_VARIABLE} is {}", root.display()))?;
        Ok(Self { root })
    }

    /// A home in a given folder.
    #[cfg(test)]
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    /// The folder of all pulled models.
    pub(crate) fn models(&self) -> PathBuf {
        self.root.join("models")
    }

    /// The folder of one pulled model. The name must have passed `models::check_name`.
    pub(crate) fn model(&self, name: &str) -> PathBuf {
        self.models().join(name)
    }

    /// Calibrated formats by their cache key.
    pub(crate) fn formats(&self, key: &[u8; 32]) -> PathBuf {
        self.root.join("formats").join(format!("{}.cbor", hex::encode(key)))
    }

    /// Where the model with this commitment is.
    pub(crate) fn commitment(&self, commitment: &ModelCommitment) -> PathBuf {
        self.root.join("commitments").join(format!("{commitment}.json"))
    }

    /// Packages between download and import.
    pub(crate) fn downloads(&self) -> PathBuf {
        self.root.join("downloads")
    }

    /// The key that seals audit vectors.
    pub(crate) fn audit_key(&self) -> PathBuf {
        self.root.join("audit").join("key")
    }

    /// Sealed audit vectors for a model.
    pub(crate) fn audit_vectors(&self, commitment: &ModelCommitment) -> PathBuf {
        self.root.join("audit").join(format!("{commitment}.vectors"))
    }

    /// A folder for one purpose that keeps nothing of worth.
    pub(crate) fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.root.join(name);
        create_folder(&folder)?;
        Ok(folder)
    }

    /// Waits until no other process pulls; held until dropped.
    pub(crate) fn lock(&self) -> anyhow::Result<File> {
        create_folder(&self.root)?;
        let path = self.root.join("pull.lock");
        let file = File::create(&path).with_context(|| format!("can't create {}", path.display()))?;
        file.lock().with_context(|| format!("can't lock {}", path.display()))?;
        Ok(file)
    }

    /// A new temporary folder. Whatever an earlier pull left behind is removed first, so hold the lock.
    pub(crate) fn temporary(&self, _lock: &File) -> anyhow::Result<TemporaryFolder> {
        let parent = self.folder("temporary")?;
        let entries = fs::read_dir(&parent).with_context(|| format!("can't list {}", parent.display()))?;
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                let path = entry.path();
                fs::remove_dir_all(&path).with_context(|| format!("can't remove {}", path.display()))?;
            }
        }
        let path = parent.join(format!("{TEMPORARY}{}", process::id()));
        create_folder(&path)?;
        Ok(TemporaryFolder { path })
    }
}

/// A folder that is removed with all it holds when dropped.
#[derive(Debug)]
pub(crate) struct TemporaryFolder {
    path: PathBuf,
}

impl TemporaryFolder {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // The next pull removes it if this fails.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Creates a folder and those above it.
pub(crate) fn create_folder(path: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(path).with_context(|| format!("can't create the folder {}", path.display()))
}

/// Writes a file so that it has the old content or the new one, whole, whatever happens: a temporary file
/// beside it, flushed to the disk, then renamed.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let Some(name) = path.file_name() else { bail!("{} is not the name of a file", path.display()) };
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}-{}", process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)));
    let temporary = path.with_file_name(temporary);
    let written = (|| {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.with_context(|| format!("can't write {}", path.display()))?;
    sync_folder(path);
    Ok(())
}

/// Makes a rename last through a power failure, where the system can.
fn sync_folder(path: &Path) {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Ok(folder) = File::open(parent) {
        let _ = folder.sync_all();
    }
}

/// Reads a file of at most `limit` bytes.
pub(crate) fn read_bounded(path: &Path, limit: usize) -> anyhow::Result<Vec<u8>> {
    let open = || -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        let mut bytes = Vec::new();
        file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = open().with_context(|| format!("can't read {}", path.display()))?;
    if bytes.len() > limit {
        bail!("{} has more than {limit} bytes, the limit for such a file", path.display());
    }
    Ok(bytes)
}
