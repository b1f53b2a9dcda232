//! Every meter of one machine, read together, and what they are worth as evidence. Never hides a meter that is there and
//! may not be read: that is the most common fault, and it has a remedy.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::Error;
use crate::sensors::powercap::Zone;
use crate::sensors::{
    Counter, Limits, Quality, Quantity, Reading, SECOND_NS, Step, cpu_time, hwmon, nvml, powercap,
};

#[cfg(test)]
mod tests;

/// What a machine's meters can show about a claim, from the best to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvidenceLevel {
    /// Energy counters: joules over a window, nothing between two readings is lost.
    EnergyCounter,
    /// Power samples: joules by integration, short peaks are missed.
    PowerSamples,
    /// Processor time alone: the weak substitute, says that something ran and not what it burned.
    ProcessorTime,
    /// Nothing.
    Nothing,
}

impl EvidenceLevel {
    /// In words, with what it can't do.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::EnergyCounter => "energy counters: joules of a claim's window can refute it",
            Self::PowerSamples => "power samples: joules by integration, weaker than a counter",
            Self::ProcessorTime => {
                "processor time only: a weak substitute, no joules; never enough to punish"
            }
            Self::Nothing => "nothing: every energy check is undecided",
        }
    }
}

/// One kind of meter: what of it is there, or why nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// Readings now, or why there are none.
    pub state: Result<Vec<Reading>, Error>,
    /// What would mend it.
    pub remedy: Option<&'static str>,
}

/// Where the kernel shows its meters: `/sys` and `/proc` on a real machine, or a tree of files.
#[derive(Clone, Debug)]
pub struct Roots {
    /// Root of sysfs.
    pub sysfs: PathBuf,
    /// Root of procfs.
    pub procfs: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self { sysfs: PathBuf::from("/sys"), procfs: PathBuf::from("/proc") }
    }
}

/// The meters of this machine, found once and read again and again.
#[derive(Debug)]
pub struct Meters {
    roots: Roots,
    nvml: Result<nvml::Library, Error>,
    zones: Result<Vec<(Zone, Counter)>, Error>,
    /// Counters of what is not a zone, by the name of their source.
    others: std::collections::BTreeMap<String, Counter>,
}

/// What a counter did, and whose it is.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceStep {
    /// Name of the counter's source.
    pub source: String,
    /// Whether another source counts the same joules as well.
    pub is_part: bool,
    /// What it did.
    pub step: Step,
}

/// One look at all meters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    /// What they show.
    pub readings: Vec<Reading>,
    /// What their counters did since the look before.
    pub steps: Vec<SourceStep>,
}

impl Look {
    /// Usable readings of a quantity.
    pub fn of(&self, quantity: Quantity) -> impl Iterator<Item = f64> {
        let usable = self.readings.iter().filter(|reading| reading.quality.is_usable());
        usable.filter(move |reading| reading.quantity == quantity).map(|reading| reading.value)
    }

    /// Watts from counters where there are some, else from power; never both, and nothing twice.
    #[must_use]
    pub fn watts(&self) -> Option<f64> {
        let whole = self.steps.iter().filter(|step| !step.is_part && step.step.until_ns > step.step.from_ns);
        let counted: Vec<f64> = whole
            .filter_map(|step| {
                let seconds = (step.step.until_ns - step.step.from_ns) as f64 / SECOND_NS as f64;
                Some(step.step.joules? / seconds)
            })
            .collect();
        let watts = if counted.is_empty() { self.of(Quantity::Power).collect() } else { counted };
        (!watts.is_empty()).then(|| watts.iter().sum())
    }

    /// What the hottest thermometer shows, in degrees Celsius.
    #[must_use]
    pub fn hottest(&self) -> Option<f64> {
        self.of(Quantity::Temperature).reduce(f64::max)
    }
}

impl Meters {
    /// Finds them.
    #[must_use]
    pub fn open(roots: Roots) -> Self {
        let zones = powercap::zones(&roots.sysfs).map(|zones| {
            let counter = |zone: Zone| {
                let counter = Counter::new(Limits::PACKAGE, Some(zone.range_joules));
                (zone, counter)
            };
            zones.into_iter().map(counter).collect()
        });
        Self { nvml: nvml::Library::open(), zones, others: std::collections::BTreeMap::new(), roots }
    }

    /// Reads all of them once. Sensors that fail are there as [`Quality::Vanished`].
    pub fn look(&mut self, at_ns: u64) -> Look {
        let mut look = Look::default();
        if let Ok(zones) = &mut self.zones {
            for (zone, counter) in zones {
                let joules = zone.joules();
                let reading = zone_reading(zone, joules.as_ref().ok().copied(), at_ns);
                if let Some(step) = counter.step(joules.ok(), at_ns) {
                    let source = reading.source.clone();
                    look.steps.push(SourceStep { source, is_part: zone.is_part, step });
                }
                look.readings.push(reading);
            }
        }
        let nvml = self.nvml.as_ref().ok().and_then(|library| library.read(at_ns).ok());
        let hwmon = hwmon::read(&self.roots.sysfs, at_ns, Limits::SERVER).ok();
        for reading in nvml.into_iter().flatten().chain(hwmon.into_iter().flatten()) {
            if reading.quantity == Quantity::Energy {
                let counter = self.others.entry(reading.source.clone());
                let counter = counter.or_insert_with(|| Counter::new(Limits::ACCELERATOR, None));
                let joules = Some(reading.value).filter(|_| reading.quality == Quality::Good);
                if let Some(step) = counter.step(joules, at_ns) {
                    // An hwmon chip may count a package that powercap counts too.
                    let is_part = reading.source.starts_with("hwmon/") && self.zones.is_ok();
                    look.steps.push(SourceStep { source: reading.source.clone(), is_part, step });
                }
            }
            look.readings.push(reading);
        }
        if let Ok(seconds) = cpu_time::of_machine(&self.roots.procfs) {
            look.readings.push(processor_reading(seconds, at_ns));
        }
        look
    }

    /// What there is, kind by kind, with remedies: for `maxwell doctor`.
    #[must_use]
    pub fn examine(&self, at_ns: u64) -> Vec<Kind> {
        let nvml = match &self.nvml {
            Ok(library) => library.read(at_ns),
            Err(error) => Err(error.clone()),
        };
        let powercap = match &self.zones {
            Ok(zones) => readable(zones, at_ns),
            Err(error) => Err(error.clone()),
        };
        let hwmon = hwmon::read(&self.roots.sysfs, at_ns, Limits::SERVER);
        let processor =
            cpu_time::of_machine(&self.roots.procfs).map(|seconds| vec![processor_reading(seconds, at_ns)]);
        [("NVML", nvml), ("RAPL", powercap), ("hwmon", hwmon), ("processor time", processor)]
            .map(|(name, state)| Kind { name, remedy: remedy(name, &state), state })
            .into()
    }
}

/// The best that these kinds allow.
#[must_use]
pub fn evidence_level(kinds: &[Kind]) -> EvidenceLevel {
    let usable = kinds.iter().filter_map(|kind| kind.state.as_ref().ok()).flatten();
    let levels =
        usable.filter(|reading| reading.quality.is_usable()).filter_map(|reading| match reading.quantity {
            Quantity::Energy => Some(EvidenceLevel::EnergyCounter),
            Quantity::Power => Some(EvidenceLevel::PowerSamples),
            Quantity::CpuTime => Some(EvidenceLevel::ProcessorTime),
            Quantity::Temperature
            | Quantity::FanSpeed
            | Quantity::Utilization
            | Quantity::Clock
            | Quantity::BusRate => None,
        });
    levels.min().unwrap_or(EvidenceLevel::Nothing)
}

fn readable(zones: &[(Zone, Counter)], at_ns: u64) -> Result<Vec<Reading>, Error> {
    // If none can be read, why is worth more than a list of the vanished.
    let first = zones.first().map(|(zone, _)| zone.joules());
    if let Some(Err(error)) = first
        && zones.iter().all(|(zone, _)| zone.joules().is_err())
    {
        return Err(error);
    }
    Ok(zones.iter().map(|(zone, _)| zone_reading(zone, zone.joules().ok(), at_ns)).collect())
}

fn zone_reading(zone: &Zone, joules: Option<f64>, at_ns: u64) -> Reading {
    let value = joules.unwrap_or(0.0);
    Reading {
        source: format!("powercap/{}/{}", zone.id, zone.name),
        quantity: Quantity::Energy,
        value,
        window_ns: Limits::PACKAGE.update_ns,
        uncertainty: Limits::PACKAGE.relative_sigma * value,
        quality: if joules.is_some() { Quality::Good } else { Quality::Vanished },
        at_ns,
    }
}

fn processor_reading(seconds: f64, at_ns: u64) -> Reading {
    Reading {
        source: "proc/stat".to_owned(),
        quantity: Quantity::CpuTime,
        value: seconds,
        window_ns: cpu_time::TICK_NS,
        uncertainty: cpu_time::TICK_NS as f64 / 1e9,
        quality: Quality::Good,
        at_ns,
    }
}

fn remedy(name: &str, state: &Result<Vec<Reading>, Error>) -> Option<&'static str> {
    match (name, state) {
        ("NVML", Err(Error::Absent(_))) => Some(
            "install the NVIDIA driver if this machine has such a device; in a container pass the device in",
        ),
        ("NVML", Err(_)) => Some("the driver does not answer: see the kernel log"),
        ("RAPL", Err(Error::Denied(_))) => Some(
            "give read access to energy_uj by a udev rule, or run as root (closed to others since CVE-2020-8694)",
        ),
        ("RAPL", Err(_)) => {
            Some("guests have none: read the host's meter through an exporter (monitor --scrape)")
        }
        ("hwmon", Err(_)) => Some("load the board's sensor modules; guests have none"),
        (_, Err(_)) => Some("mount /proc"),
        (_, Ok(readings)) if readings.iter().any(|reading| reading.quality == Quality::Zero) => {
            Some("a sensor says 0 W: it lacks a permission or does not measure")
        }
        (_, Ok(_)) => None,
    }
}

/// Roots below one folder, for trees of files: `FOLDER/sys` and `FOLDER/proc`.
#[must_use]
pub fn roots_below(folder: &Path) -> Roots {
    Roots { sysfs: folder.join("sys"), procfs: folder.join("proc") }
}
