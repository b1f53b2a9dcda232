//! RAPL through powercap: energy counters of packages, cores and memory, in microjoules, that wrap. Since 2020 only root
//! may read them (CVE-2020-8694), and guests have none.

use std::path::Path;

use super::{Quantity, Sensor, SensorError, names_in, read_text};

/// Folder below the root of sysfs.
pub const FOLDER: &str = "class/powercap";

/// Every zone that there is, in the order of their names. Zones that can't be read are there as well: reading says why.
///
/// # Errors
/// [`SensorError::Absent`] if there is no zone.
pub fn find(sysfs: &Path) -> Result<Vec<Sensor>, SensorError> {
    let folder = sysfs.join(FOLDER);
    let sensors: Vec<Sensor> = names_in(&folder, "")
        .into_iter()
        .filter_map(|zone| {
            let zone_folder = folder.join(&zone);
            let path = zone_folder.join("energy_uj");
            path.exists().then(|| Sensor {
                name: read_text(&zone_folder.join("name"))
                    .map_or_else(|_| zone.clone(), |name| format!("{zone} {}", name.trim_ascii())),
                quantity: Quantity::Energy,
                range: read_text(&zone_folder.join("max_energy_range_uj"))
                    .ok()
                    .and_then(|text| text.trim_ascii().parse().ok()),
                path,
            })
        })
        .collect();
    if sensors.is_empty() { Err(SensorError::Absent) } else { Ok(sensors) }
}
