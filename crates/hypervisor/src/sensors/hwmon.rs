//! hwmon: power in microwatts, energy in microjoules, temperature in thousandths of a degree, by the names of the kernel's
//! interface (`power1_input`, `power1_average`, `energy1_input`, `temp1_input`).

use std::path::Path;

use super::{Quantity, Sensor, SensorError, names_in, read_text};

/// Folder below the root of sysfs.
pub const FOLDER: &str = "class/hwmon";

const KINDS: [(&str, &str, Quantity); 4] = [
    ("power", "_input", Quantity::Power),
    ("power", "_average", Quantity::Power),
    ("energy", "_input", Quantity::Energy),
    ("temp", "_input", Quantity::Temperature),
];

/// Every sensor of every chip, in the order of their names.
///
/// # Errors
/// [`SensorError::Absent`] if there is none.
pub fn find(sysfs: &Path) -> Result<Vec<Sensor>, SensorError> {
    let folder = sysfs.join(FOLDER);
    let mut sensors = Vec::new();
    for chip in names_in(&folder, "hwmon") {
        let chip_folder = folder.join(&chip);
        let name = read_text(&chip_folder.join("name")).map_or(chip, |name| name.trim_ascii().to_owned());
        for (prefix, suffix, quantity) in KINDS {
            for file in names_in(&chip_folder, prefix) {
                let Some(channel) = file.strip_suffix(suffix) else { continue };
                let label = read_text(&chip_folder.join(format!("{channel}_label")));
                let label = label.map_or_else(|_| channel.to_owned(), |label| label.trim_ascii().to_owned());
                sensors.push(Sensor {
                    name: format!("{name} {label}"),
                    quantity,
                    range: None,
                    path: chip_folder.join(&file),
                });
            }
        }
    }
    if sensors.is_empty() { Err(SensorError::Absent) } else { Ok(sensors) }
}
