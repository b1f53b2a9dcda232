//! MODEL on the command line: finds the file, imports it, keeps its formats and remembers which commitment it
//! has. Never decides what a model means, and never trusts a cached file that it can't check.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use engine::accumulate::KernelAccumulate;
use engine::kernels::Isa;
use engine::{Engine, EngineOptions};
use model::commitment::calibrate_file;
use model::formats::Formats;
use model::import::{ImportedFile, read_gguf};
use model::{Model, NUMERICS, calibration};
use protocol::ModelCommitment;
use protocol::encoding::{Decoder, Encoder};
use serde::{Deserialize, Serialize};

use crate::home::{Home, create_folder, read_bounded, write_atomic};
use crate::machine;
use crate::output::{Misuse, Terminal};
use crate::progress::{Count, Progress};

#[cfg(test)]
mod tests;

/// The weights' file in a pulled model's folder.
pub(crate) const MODEL_FILE: &str = "model.gguf";
/// What is known about it, beside it.
pub(crate) const RECORD_FILE: &str = "model.json";
/// Longest name of a pulled model.
const MAX_NAME: usize = 64;
/// Largest GGUF file: 64 GiB.
const MAX_FILE_BYTES: u64 = 64 << 30;
/// Largest file of cached formats: 1 MiB.
const MAX_FORMATS_BYTES: usize = 1 << 20;
/// Largest record of a model or a commitment.
const MAX_RECORD_BYTES: usize = 1 << 16;
/// blake3 `derive_key` contexts of the cache.
const KEY_CONTEXT: &str = "maxwell 2026-11 formats cache key v1";
const CHECK_CONTEXT: &str = "maxwell 2026-11 formats cache check v1";
/// Length of the check behind cached formats.
const CHECK_BYTES: usize = 32;

/// A pulled model's `model.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ModelRecord {
    /// The name it was pulled under.
    pub(crate) name: String,
    /// Size of the file in bytes.
    pub(crate) bytes: u64,
    /// SHA-256 of the file.
    pub(crate) sha256: String,
    /// Its commitment at the time of the pull; a newer build may compute another one.
    pub(crate) commitment: String,
    /// Where it came from.
    pub(crate) source: String,
}

/// An entry of the registry of commitments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Whereabouts {
    /// The pulled model's name, if it is one; its path may change with the home folder.
    name: Option<String>,
    /// The file otherwise, absolute.
    path: Option<PathBuf>,
}

/// A model's file, found but not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelFile {
    /// The pulled model's name, if it is one.
    pub(crate) name: Option<String>,
    /// Where the file is.
    pub(crate) path: PathBuf,
}

/// A model, imported and ready to be packed.
#[derive(Debug)]
pub(crate) struct OpenModel {
    /// The model.
    pub(crate) model: Arc<Model>,
    /// Where it came from.
    pub(crate) file: ModelFile,
    /// Size of the file.
    pub(crate) file_bytes: u64,
    /// Since when it was being read.
    pub(crate) began: Instant,
}

/// Instructions by name, of those that this machine has.
pub(crate) fn parse_kernels(name: &str) -> Result<Isa, String> {
    Isa::named(name).ok_or_else(|| {
        let names: Vec<&str> = Isa::available().into_iter().map(Isa::name).collect();
        format!("this machine has {}", names.join(", "))
    })
}

/// How to run.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct RunOptions {
    /// Threads; one per CPU if not given. The result does not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Instructions to use: portable, avx2, avx512 or amx; the fastest if not given. The result does not
    /// depend on it
    #[arg(long, value_name = "NAME", value_parser = parse_kernels)]
    pub(crate) kernels: Option<Isa>,
}

impl RunOptions {
    /// For the engine.
    pub(crate) fn engine(self) -> EngineOptions {
        EngineOptions {
            isa: self.kernels.unwrap_or_else(Isa::best),
            threads: self.threads.map_or(0, usize::from),
        }
    }
}

impl OpenModel {
    /// Packs the weights.
    pub(crate) fn engine(&self, options: RunOptions) -> anyhow::Result<Engine> {
        let engine = Engine::new(Arc::clone(&self.model), options.engine())?;
        tracing::debug!(elapsed = ?self.began.elapsed(), "packed");
        Ok(engine)
    }

    /// How long it took until now, from before the file was read.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The name, or the path.
    pub(crate) fn display_name(&self) -> String {
        self.file.name.clone().unwrap_or_else(|| self.file.path.display().to_string())
    }
}

/// Finds, reads and imports MODEL, and notes its commitment.
pub(crate) fn open(home: &Home, terminal: Terminal, reference: &str) -> anyhow::Result<OpenModel> {
    open_file(home, terminal, find(home, reference)?)
}

/// The same for a file that was found.
pub(crate) fn open_file(home: &Home, terminal: Terminal, file: ModelFile) -> anyhow::Result<OpenModel> {
    let began = Instant::now();
    let bytes = Arc::new(read_model_file(&file.path)?);
    let file_bytes = bytes.len() as u64;
    tracing::debug!(elapsed = ?began.elapsed(), "read");
    let model = import(home, terminal, bytes).with_context(|| file.path.display().to_string())?;
    remember(home, &model.commitment, &file)?;
    tracing::debug!(elapsed = ?began.elapsed(), "imported");
    Ok(OpenModel { model: Arc::new(model), file, file_bytes, began })
}

/// MODEL as a file: a pulled name first, else a path.
pub(crate) fn find(home: &Home, reference: &str) -> anyhow::Result<ModelFile> {
    if check_name(reference).is_ok() {
        let path = home.model(reference).join(MODEL_FILE);
        if path.is_file() {
            return Ok(ModelFile { name: Some(reference.to_owned()), path });
        }
    }
    let path = Path::new(reference);
    if path.is_file() {
        let path = std::path::absolute(path).with_context(|| format!("can't resolve {reference}"))?;
        return Ok(ModelFile { name: None, path });
    }
    let pulled = pulled_names(home);
    let known = if pulled.is_empty() { "none yet".to_owned() } else { pulled.join(", ") };
    bail!(
        "no model {reference:?}: neither a pulled name ({known}) nor a file; \
         `maxwell pull smollm2-135m` fetches a small one"
    )
}

/// The file of the model with this commitment, if it was opened here before and is still there.
pub(crate) fn find_commitment(home: &Home, commitment: &ModelCommitment) -> Option<ModelFile> {
    let record = read_bounded(&home.commitment(commitment), MAX_RECORD_BYTES).ok()?;
    let whereabouts: Whereabouts = serde_json::from_slice(&record).ok()?;
    let file = match whereabouts {
        Whereabouts { name: Some(name), .. } => {
            check_name(&name).ok()?;
            ModelFile { path: home.model(&name).join(MODEL_FILE), name: Some(name) }
        }
        Whereabouts { name: None, path } => ModelFile { name: None, path: path? },
    };
    file.path.is_file().then_some(file)
}

/// Names of pulled models are plain, so that they never leave the folder of models.
pub(crate) fn check_name(name: &str) -> Result<(), Misuse> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    let fits = (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('.');
    if fits {
        return Ok(());
    }
    Err(Misuse(format!(
        "{name:?} is no name for a model: 1 to {MAX_NAME} of a-z, 0-9, '-', '_' and '.', not beginning with '.'"
    )))
}

fn pulled_names(home: &Home) -> Vec<String> {
    let entries = fs::read_dir(home.models()).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().join(MODEL_FILE).is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// Reads a GGUF file whole, if it can fit into memory.
pub(crate) fn read_model_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let failed = || format!("can't read {}", path.display());
    let file = File::open(path).with_context(failed)?;
    let metadata = file.metadata().with_context(failed)?;
    if !metadata.is_file() {
        bail!("{} is not a file; give the path of a GGUF file", path.display());
    }
    let length = metadata.len();
    let limit = machine::memory_bytes().map_or(MAX_FILE_BYTES, |memory| memory.min(MAX_FILE_BYTES));
    if length > limit {
        bail!(
            "{} has {length} bytes, but a model must fit into memory ({limit} bytes here); take a smaller model \
             or quantization",
            path.display()
        );
    }
    let capacity = usize::try_from(length).with_context(failed)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(capacity).with_context(failed)?;
    // A file that grows meanwhile is read to the length that was checked, and then refused by the import.
    file.take(length).read_to_end(&mut bytes).with_context(failed)?;
    Ok(bytes)
}

/// From the bytes of a file to a model with its identity. Takes the formats from the cache where they are.
pub(crate) fn import(home: &Home, terminal: Terminal, bytes: Arc<Vec<u8>>) -> anyhow::Result<Model> {
    let began = Instant::now();
    let key = formats_key(&bytes);
    let file = read_gguf(bytes)?;
    tracing::debug!(elapsed = ?began.elapsed(), "parsed");
    let cached = load_formats(home, &key).filter(|formats| formats.blocks.len() == file.tensors.blocks.len());
    let fresh = cached.is_none();
    let formats = match cached {
        Some(formats) => formats,
        None => calibrate(terminal, &file)?,
    };
    let model = Model::assemble(file, formats)?;
    if fresh {
        store_formats(home, &key, &model.formats)?;
    }
    Ok(model)
}

fn calibrate(terminal: Terminal, file: &ImportedFile) -> anyhow::Result<Formats> {
    let progress = Progress::new(terminal, "calibrating (once per model)", Count::Steps(1000));
    let pool = rayon::ThreadPoolBuilder::new().build().context("can't start threads")?;
    let formats = pool.install(move || {
        calibrate_file(file, &KernelAccumulate::new(Isa::best()), &mut |done| progress.set(u64::from(done)))
    })?;
    Ok(formats)
}

/// What cached formats depend on: the file, the numerics and the calibration text.
fn formats_key(file: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(KEY_CONTEXT);
    hasher.update(blake3::hash(file).as_bytes());
    hasher.update(blake3::hash(calibration::TEXT.as_bytes()).as_bytes());
    hasher.update(NUMERICS.as_bytes());
    *hasher.finalize().as_bytes()
}

fn formats_check(key: &[u8; 32], encoded: &[u8]) -> [u8; CHECK_BYTES] {
    let mut hasher = blake3::Hasher::new_derive_key(CHECK_CONTEXT);
    hasher.update(key);
    hasher.update(encoded);
    *hasher.finalize().as_bytes()
}

/// `None` if there are none or they are damaged: they are made again then.
fn load_formats(home: &Home, key: &[u8; 32]) -> Option<Formats> {
    let bytes = read_bounded(&home.formats(key), MAX_FORMATS_BYTES).ok()?;
    let (encoded, check) = bytes.split_last_chunk::<CHECK_BYTES>()?;
    if *check != formats_check(key, encoded) {
        return None;
    }
    let mut decoder = Decoder::new(encoded);
    let formats = Formats::decode(&mut decoder).ok()?;
    decoder.finish().ok()?;
    Some(formats)
}

fn store_formats(home: &Home, key: &[u8; 32], formats: &Formats) -> anyhow::Result<()> {
    let mut encoder = Encoder::new();
    formats.encode(&mut encoder);
    let mut bytes = encoder.into_bytes();
    let check = formats_check(key, &bytes);
    bytes.extend_from_slice(&check);
    store(&home.formats(key), &bytes)
}

/// Notes where the model with this commitment is, so that `check` finds it.
pub(crate) fn remember(home: &Home, commitment: &ModelCommitment, file: &ModelFile) -> anyhow::Result<()> {
    let path = file.name.is_none().then(|| file.path.clone());
    let record = Whereabouts { name: file.name.clone(), path };
    let target = home.commitment(commitment);
    // JSON can't hold a path that is not UTF-8; `check -m` still finds such a model.
    let Ok(text) = serde_json::to_vec(&record) else { return Ok(()) };
    // Most runs find the same record there; a write costs a flush to the disk.
    if read_bounded(&target, MAX_RECORD_BYTES).is_ok_and(|present| present == text) {
        return Ok(());
    }
    store(&target, &text)
}

/// Keeps a model under a name: the folder appears whole or not at all.
pub(crate) fn keep(home: &Home, bytes: &[u8], record: &ModelRecord) -> anyhow::Result<()> {
    let folder = home.model(&record.name);
    let path = folder.join(MODEL_FILE);
    // The file last, since its presence is what makes the model exist.
    if let Err(error) = write_record(home, record).and_then(|()| write_atomic(&path, bytes)) {
        let _ = fs::remove_dir_all(&folder);
        return Err(error);
    }
    Ok(())
}

/// Writes the record of a pulled model.
pub(crate) fn write_record(home: &Home, record: &ModelRecord) -> anyhow::Result<()> {
    let text = serde_json::to_vec_pretty(record).context("a record is plain data")?;
    store(&home.model(&record.name).join(RECORD_FILE), &text)
}

/// The record of a pulled model.
pub(crate) fn record(home: &Home, name: &str) -> anyhow::Result<ModelRecord> {
    let path = home.model(name).join(RECORD_FILE);
    let bytes = read_bounded(&path, MAX_RECORD_BYTES)?;
    serde_json::from_slice(&bytes)
        .with_context(|| format!("{} is damaged; pull the model again", path.display()))
}

fn store(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if let Some(parent) = path.parent() {
        create_folder(parent)?;
    }
    write_atomic(path, bytes)
}
