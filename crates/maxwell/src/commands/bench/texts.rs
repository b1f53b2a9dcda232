//! The text that quality is measured on: licence and package texts of the machine. Never the calibration text.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use model::Model;
use tokenizer::Special;

/// Read first.
const LICENCES: [&str; 2] = ["/usr/share/common-licenses/GPL-3", "/usr/share/common-licenses/Apache-2.0"];
/// Each of its folders may have a file `copyright`.
const PACKAGES: &str = "/usr/share/doc";
/// Most bytes of one file; longer ones are cut.
const MAX_BYTES: u64 = 1 << 20;

/// Tokens and where they came from.
#[derive(Debug)]
pub(super) struct Sample {
    /// Exactly as many as were asked for.
    pub(super) ids: Vec<u32>,
    /// The files, in order.
    pub(super) files: Vec<PathBuf>,
}

/// Reads `count` tokens from `file`, or from the machine's own texts, at most half of them from any one.
pub(super) fn sample(model: &Model, file: Option<&Path>, count: usize) -> anyhow::Result<Sample> {
    let (candidates, share) = match file {
        Some(file) => (vec![file.to_path_buf()], count),
        None => (machine_texts(), count.div_ceil(2)),
    };
    let mut sample = Sample { ids: Vec::new(), files: Vec::new() };
    for path in candidates {
        let missing = count - sample.ids.len();
        if missing == 0 {
            break;
        }
        let text = match read(&path) {
            Ok(text) => text,
            Err(error) if file.is_some() => {
                return Err(error).with_context(|| format!("can't read {}", path.display()));
            }
            Err(_) => continue,
        };
        let ids = model.tokenizer.encode(&text, Special::AsText)?;
        let taken = ids.len().min(missing).min(share);
        sample.ids.extend(ids.into_iter().take(taken));
        sample.files.push(path);
    }
    if sample.ids.len() < count {
        let found = sample.ids.len();
        bail!("only {found} of {count} tokens of text were found; give --text FILE, or fewer --tokens");
    }
    Ok(sample)
}

fn machine_texts() -> Vec<PathBuf> {
    let packages = fs::read_dir(PACKAGES).into_iter().flatten().flatten();
    let mut notices: Vec<PathBuf> = packages.map(|entry| entry.path().join("copyright")).collect();
    notices.sort();
    LICENCES.iter().map(PathBuf::from).chain(notices).filter(|path| path.is_file()).collect()
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
