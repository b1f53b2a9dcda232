//! What the machine offers to measure. Readers take the root of the file tree as an argument, so that a tree of files can
//! stand for a machine that is not here. All of them are bounded: no file is read further than a number is long, and no
//! folder has more entries than are looked at.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

pub mod cpu_time;
pub mod hwmon;
pub mod powercap;
#[cfg(test)]
mod tests;

/// Longest file with a value.
const MAX_FILE_BYTES: u64 = 4096;
/// Most entries of a folder that are looked at.
const MAX_ENTRIES: usize = 1024;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quantity {
    /// Microjoules since some moment.
    Energy,
    /// Microwatts now, or on average over the sensor's own window.
    Power,
    /// Thousandths of a degree Celsius.
    Temperature,
}

impl Quantity {
    /// Stable machine name.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Energy => "energy_uj",
            Self::Power => "power_uw",
            Self::Temperature => "temperature_mc",
        }
    }
}

/// Why a sensor gives no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SensorError {
    /// There is none.
    #[error("it is not there")]
    Absent,
    /// It may not be read.
    #[error("it may not be read: it needs root, or a rule that gives read access")]
    Permission,
    /// What stands there is no number of this quantity.
    #[error("what it shows is no value")]
    Value,
    /// Reading failed.
    #[error("it can't be read")]
    Io,
}

impl From<std::io::Error> for SensorError {
    fn from(error: std::io::Error) -> Self {
        let known = [
            (ErrorKind::NotFound, Self::Absent),
            (ErrorKind::PermissionDenied, Self::Permission),
            (ErrorKind::InvalidData, Self::Value),
        ];
        known.into_iter().find(|(kind, _)| *kind == error.kind()).map_or(Self::Io, |(_, known)| known)
    }
}

/// One thing that can be read again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sensor {
    /// For people and logs: driver and label.
    pub name: String,
    /// What it measures.
    pub quantity: Quantity,
    /// Behind this value it starts again at 0.
    pub range: Option<u64>,
    path: PathBuf,
}

impl Sensor {
    /// The value now; temperatures may be below zero.
    ///
    /// # Errors
    /// [`SensorError`].
    pub fn read(&self) -> Result<i64, SensorError> {
        let value: i64 = read_text(&self.path)?.trim_ascii().parse().map_err(|_| SensorError::Value)?;
        let is_possible = value >= 0 || self.quantity == Quantity::Temperature;
        if is_possible { Ok(value) } else { Err(SensorError::Value) }
    }
}

/// A file's text, if it is short.
pub(crate) fn read_text(path: &Path) -> Result<String, SensorError> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES { Err(SensorError::Value) } else { Ok(text) }
}

/// Names in a folder that begin so, sorted.
pub(crate) fn names_in(folder: &Path, prefix: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let names = entries.take(MAX_ENTRIES).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
    names.sort();
    names
}
