//! Energy counters of processor packages below `class/powercap`. Never adds up a package and its own parts: zones of
//! the second level are read but named as parts.

use std::path::{Path, PathBuf};

use super::sysfs;
use crate::Error;

/// One zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    /// Folder name, for example `intel-rapl:0`.
    pub id: String,
    /// What the kernel calls it, for example `package-0`.
    pub name: String,
    /// A part of another zone.
    pub is_part: bool,
    /// Where it wraps, in joules.
    pub range_joules: f64,
    path: PathBuf,
}

impl Zone {
    /// The counter now, in joules.
    pub fn joules(&self) -> Result<f64, Error> {
        Ok(sysfs::number(&self.path.join("energy_uj"))? as f64 * 1e-6)
    }
}

/// The zones below a root that is `/sys` on a real machine.
pub fn zones(root: &Path) -> Result<Vec<Zone>, Error> {
    let folder = root.join("class/powercap");
    let mut zones = Vec::new();
    for path in sysfs::entries(&folder)? {
        let id = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // `intel-rapl` alone is the control type, not a zone; `mmio` counts the same joules a second time.
        if !id.contains(':') || id.contains("mmio") {
            continue;
        }
        let range = sysfs::number(&path.join("max_energy_range_uj")).unwrap_or(u64::from(u32::MAX));
        zones.push(Zone {
            name: sysfs::text(&path.join("name")).unwrap_or_else(|_| id.clone()),
            is_part: id.matches(':').count() > 1,
            range_joules: range as f64 * 1e-6,
            id,
            path,
        });
    }
    if zones.is_empty() { Err(Error::Absent(folder.display().to_string())) } else { Ok(zones) }
}
