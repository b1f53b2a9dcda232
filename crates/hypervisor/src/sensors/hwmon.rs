//! Sensors below `class/hwmon`: power, energy, temperature, fans, each in its kernel unit. Never reads a file that names a
//! limit or an alarm as a measurement.

use std::path::Path;

use super::{Limits, Quality, Quantity, Reading, judge_watts, sysfs};
use crate::Error;

/// Reads everything that is below a root that is `/sys` on a real machine. A sensor that can't be read is there with its
/// quality, `Vanished`.
pub fn read(root: &Path, at_ns: u64, limits: Limits) -> Result<Vec<Reading>, Error> {
    let folder = root.join("class/hwmon");
    let mut readings = Vec::new();
    for chip in sysfs::entries(&folder)? {
        let name = sysfs::text(&chip.join("name")).unwrap_or_else(|_| "unnamed".to_owned());
        for path in sysfs::entries(&chip)? {
            let file = path.file_name().map(|file| file.to_string_lossy().into_owned()).unwrap_or_default();
            let Some((quantity, per_unit)) = kind(&file) else { continue };
            let value = sysfs::text(&path).and_then(|text| {
                text.parse::<f64>().map_err(|_| Error::Unreadable(path.display().to_string()))
            });
            readings.push(reading(format!("hwmon/{name}/{file}"), quantity, per_unit, value, at_ns, limits));
        }
    }
    if readings.is_empty() { Err(Error::Absent(folder.display().to_string())) } else { Ok(readings) }
}

fn reading(
    source: String,
    quantity: Quantity,
    per_unit: f64,
    value: Result<f64, Error>,
    at_ns: u64,
    limits: Limits,
) -> Reading {
    let (value, quality) = match value {
        Ok(raw) if quantity == Quantity::Power => (raw * per_unit, judge_watts(raw * per_unit, limits)),
        Ok(raw) if !raw.is_finite() => (raw, Quality::NotANumber),
        Ok(raw) => (raw * per_unit, Quality::Good),
        Err(_) => (0.0, Quality::Vanished),
    };
    let uncertainty = limits.relative_sigma * value.abs();
    Reading { source, quantity, value, window_ns: limits.update_ns, uncertainty, quality, at_ns }
}

/// What a file measures, and its unit in ours.
fn kind(file: &str) -> Option<(Quantity, f64)> {
    let (stem, kind) = file.split_once('_')?;
    let letters = stem.trim_end_matches(|c: char| c.is_ascii_digit());
    match (letters, kind) {
        ("power", "input" | "average") => Some((Quantity::Power, 1e-6)),
        ("energy", "input") => Some((Quantity::Energy, 1e-6)),
        ("temp", "input") => Some((Quantity::Temperature, 1e-3)),
        ("fan", "input") => Some((Quantity::FanSpeed, 1.0)),
        _ => None,
    }
}
