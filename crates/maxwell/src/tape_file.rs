//! A tape on disk: secret points with their values, each of which is burned before it is used. Must never give the same entry twice, not
//! after a crash and not to two programs.
//!
//! Bytes: the magic, the model's commitment, coordinates of a point and entries (u32, little-endian), then the entries: coordinates and value, 16
//! bytes each. A burned entry is zeros.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use proof_system::field::Ext;
use proof_system::field::extension::EXT_BYTES;
use protocol::id::ModelCommitment;
use verifier::tape::Entry;

const MAGIC: &[u8; 16] = b"maxwell tape v1\n";
/// Magic, commitment, two numbers.
const HEADER: usize = 16 + 32 + 4 + 4;
/// More than any model's points have.
const MAX_COORDINATES: u32 = 64;
/// Most entries of a tape.
pub(crate) const MAX_ENTRIES: u32 = 1 << 20;

/// The bytes of a tape.
pub(crate) fn encode(commitment: &ModelCommitment, entries: &[Entry]) -> Vec<u8> {
    let coordinates = entries.first().map_or(0, |entry| entry.point.len());
    let mut out = MAGIC.to_vec();
    out.extend(commitment.as_bytes());
    out.extend((coordinates as u32).to_le_bytes());
    out.extend((entries.len() as u32).to_le_bytes());
    for entry in entries {
        entry.point.iter().chain([&entry.value]).for_each(|element| out.extend(element.to_bytes()));
    }
    out
}

/// A tape that nobody else uses while it is open.
pub(crate) struct TapeFile {
    file: File,
    coordinates: usize,
    entries: u32,
}

impl TapeFile {
    /// Opens a tape of this model.
    pub(crate) fn open(path: &Path, commitment: &ModelCommitment) -> anyhow::Result<Self> {
        let mut file = File::options()
            .read(true)
            .write(true)
            .open(path)
            .with_context(|| format!("can't open the tape {}", path.display()))?;
        file.lock().with_context(|| format!("can't lock the tape {}", path.display()))?;
        let mut header = [0; HEADER];
        file.read_exact(&mut header).with_context(|| format!("{} is no tape", path.display()))?;
        ensure!(header.starts_with(MAGIC), "{} is no tape", path.display());
        if header[16..48] != commitment.as_bytes()[..] {
            bail!("{} is the tape of another model", path.display());
        }
        let number =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (coordinates, entries) = (number(48), number(52));
        ensure!(coordinates <= MAX_COORDINATES && entries <= MAX_ENTRIES, "{} is no tape", path.display());
        let length = HEADER as u64 + u64::from(entries) * u64::from(coordinates + 1) * EXT_BYTES as u64;
        ensure!(file.metadata()?.len() == length, "{} was cut or extended", path.display());
        Ok(Self { file, coordinates: coordinates as usize, entries })
    }

    /// The next entry, and how many are left. It is gone from the disk before it is given.
    pub(crate) fn burn(&mut self) -> anyhow::Result<(Entry, u32)> {
        let size = (self.coordinates + 1) * EXT_BYTES;
        let mut bytes = vec![0; size];
        for index in 0..self.entries {
            let at = SeekFrom::Start(HEADER as u64 + u64::from(index) * size as u64);
            self.file.seek(at)?;
            self.file.read_exact(&mut bytes)?;
            if bytes.iter().all(|byte| *byte == 0) {
                continue;
            }
            self.file.seek(at)?;
            self.file.write_all(&vec![0; size])?;
            self.file.sync_all().context("the tape can't be burned, so nothing of it may be used")?;
            let element = |bytes: &[u8]| bytes.try_into().ok().and_then(Ext::from_bytes);
            let elements: Option<Vec<Ext>> = bytes.chunks(EXT_BYTES).map(element).collect();
            let mut point = elements.context("the tape is damaged; this entry is burned")?;
            let value = point.pop().unwrap_or_default();
            return Ok((Entry { point, value }, self.entries - index - 1));
        }
        bail!("the tape is used up; make another one with `maxwell tape`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(count: u64) -> Vec<Entry> {
        let element = Ext::from_u64;
        (1..=count).map(|n| Entry { point: vec![element(n), element(7)], value: element(n + 100) }).collect()
    }

    #[test]
    fn every_entry_is_given_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tape");
        let model = ModelCommitment::from_bytes([3; 32]);
        let all = entries(3);
        std::fs::write(&path, encode(&model, &all)).expect("written");
        for (index, entry) in all.iter().enumerate() {
            // Each time as another program would.
            let mut tape = TapeFile::open(&path, &model).expect("a tape");
            let (burned, left) = tape.burn().expect("an entry");
            assert_eq!((&burned, left), (entry, 2 - index as u32));
        }
        let bytes = std::fs::read(&path).expect("read");
        assert!(bytes[HEADER..].iter().all(|byte| *byte == 0), "nothing secret is left");
        let empty = TapeFile::open(&path, &model).expect("a tape").burn();
        assert!(empty.expect_err("used up").to_string().contains("used up"));
    }

    #[test]
    fn other_files_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tape");
        let model = ModelCommitment::from_bytes([3; 32]);
        let bytes = encode(&model, &entries(2));
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).expect("written");
            assert!(TapeFile::open(&path, &model).is_err(), "{length} bytes");
        }
        std::fs::write(&path, &bytes).expect("written");
        assert!(TapeFile::open(&path, &ModelCommitment::from_bytes([4; 32])).is_err(), "another model");
        let mut many = bytes;
        many[52..56].fill(0xff);
        std::fs::write(&path, &many).expect("written");
        assert!(TapeFile::open(&path, &model).is_err());
    }
}
