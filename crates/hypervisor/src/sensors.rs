//! Typed readings, and the judgement of raw ones. A counter that wraps, resets, freezes or jumps, and a sensor that says
//! 0 W or NaN, give a typed quality and must never give joules.

pub mod cpu_time;
pub mod csv;
pub mod hwmon;
pub mod log_time;
pub mod mllog;
pub mod nvml;
pub mod powercap;
pub mod prometheus;
pub mod ptdaemon;
pub mod replayed;
pub(crate) mod sysfs;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::Error;

/// Nanoseconds in a second.
pub const SECOND_NS: u64 = 1_000_000_000;

/// Longest log that is read: a day of lines at 10 Hz is 300 MB; more is cut by whoever records it.
pub const LOG_BYTES_MAX: u64 = 512 << 20;

/// Most samples that one trace holds.
pub const SAMPLES_MAX: usize = 4_000_000;

/// What is measured; the unit follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Quantity {
    /// Joules, counted up.
    Energy,
    /// Watts.
    Power,
    /// Degrees Celsius.
    Temperature,
    /// Turns a minute.
    FanSpeed,
    /// Share of time, 0 to 1.
    Utilization,
    /// Hertz.
    Clock,
    /// Bytes a second over the bus.
    BusRate,
    /// Seconds of processor time, counted up: the weak substitute where no meter is.
    CpuTime,
}

impl Quantity {
    /// Its unit.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Energy => "J",
            Self::Power => "W",
            Self::Temperature => "C",
            Self::FanSpeed => "rpm",
            Self::Utilization => "share",
            Self::Clock => "Hz",
            Self::BusRate => "B/s",
            Self::CpuTime => "cpu s",
        }
    }
}

/// What a reading is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Quality {
    /// As it should be.
    Good,
    /// The counter passed its end; the step over the end is known.
    Wrapped,
    /// The counter began anew: what was used before is unknown.
    Reset,
    /// The counter or its clock went back.
    JumpedBack,
    /// The same number for longer than the sensor takes to update.
    Frozen,
    /// 0 W of a device that is on: usually a lacking permission.
    Zero,
    /// Not a number, or endless.
    NotANumber,
    /// Below nothing, or more than the device can draw.
    Implausible,
    /// The sensor gave no answer.
    Vanished,
}

impl Quality {
    /// Whether joules may be made of it.
    #[must_use]
    pub const fn is_usable(self) -> bool {
        matches!(self, Self::Good | Self::Wrapped)
    }
}

/// One number of one sensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Which sensor.
    pub source: String,
    /// What it measures.
    pub quantity: Quantity,
    /// The number, in the quantity's unit.
    pub value: f64,
    /// Over how long the sensor averages or between two of its updates.
    pub window_ns: u64,
    /// One standard deviation, in the same unit.
    pub uncertainty: f64,
    /// What it is worth.
    pub quality: Quality,
    /// When, on a clock that never goes back.
    pub at_ns: u64,
}

/// What is known of a sensor beforehand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// More than this the device can't draw.
    pub watts_max: f64,
    /// The sensor's own update.
    pub update_ns: u64,
    /// The same number for longer than this is frozen.
    pub frozen_ns: u64,
    /// Relative uncertainty of its numbers, one standard deviation.
    pub relative_sigma: f64,
}

impl Limits {
    /// An accelerator: updates each 100 ms, 5 % off (the makers' figure).
    pub const ACCELERATOR: Self = Self {
        watts_max: 2_000.0,
        update_ns: SECOND_NS / 10,
        frozen_ns: 30 * SECOND_NS,
        relative_sigma: 0.05,
    };
    /// A processor package by its energy counter.
    pub const PACKAGE: Self = Self {
        watts_max: 1_500.0,
        update_ns: SECOND_NS / 1_000,
        frozen_ns: 5 * SECOND_NS,
        relative_sigma: 0.03,
    };
    /// A whole server at the wall, once a second.
    pub const SERVER: Self =
        Self { watts_max: 20_000.0, update_ns: SECOND_NS, frozen_ns: 120 * SECOND_NS, relative_sigma: 0.01 };
}

/// What a counter did between two readings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// From when.
    pub from_ns: u64,
    /// Until when.
    pub until_ns: u64,
    /// Joules; `None` where nobody can say.
    pub joules: Option<f64>,
    /// Why.
    pub quality: Quality,
}

/// Follows one counter. `range` is where it wraps, in joules; `None` if it is too wide to ever do so.
#[derive(Clone, Copy, Debug)]
pub struct Counter {
    limits: Limits,
    range: Option<f64>,
    last: Option<(f64, u64)>,
    changed_ns: u64,
}

impl Counter {
    /// A counter not yet read.
    #[must_use]
    pub const fn new(limits: Limits, range: Option<f64>) -> Self {
        Self { limits, range, last: None, changed_ns: 0 }
    }

    /// Takes the next reading; `None` is a sensor that gave no answer. The first reading has no step.
    pub fn step(&mut self, joules: Option<f64>, at_ns: u64) -> Option<Step> {
        let Some((before, from_ns)) = self.last else {
            let joules = joules.filter(|j| j.is_finite() && *j >= 0.0)?;
            self.last = Some((joules, at_ns));
            self.changed_ns = at_ns;
            return None;
        };
        let step = |joules, quality| Some(Step { from_ns, until_ns: at_ns, joules, quality });
        let Some(now) = joules else { return step(None, Quality::Vanished) };
        if !now.is_finite() {
            return step(None, Quality::NotANumber);
        }
        if now < 0.0 {
            return step(None, Quality::Implausible);
        }
        // A clock that goes back says nothing about the counter: the old pair stays.
        let Some(elapsed_ns) = at_ns.checked_sub(from_ns).filter(|ns| *ns > 0) else {
            return Some(Step {
                from_ns: at_ns,
                until_ns: at_ns,
                joules: None,
                quality: Quality::JumpedBack,
            });
        };
        self.last = Some((now, at_ns));
        let most = self.limits.watts_max * (elapsed_ns.max(self.limits.update_ns)) as f64 / SECOND_NS as f64;
        let result = self.judge(before, now, most, at_ns);
        if result.1 != Quality::Frozen && now != before {
            self.changed_ns = at_ns;
        }
        step(result.0, result.1)
    }

    fn judge(&self, before: f64, now: f64, most: f64, at_ns: u64) -> (Option<f64>, Quality) {
        if now == before {
            let is_frozen = at_ns.saturating_sub(self.changed_ns) > self.limits.frozen_ns;
            return if is_frozen { (None, Quality::Frozen) } else { (Some(0.0), Quality::Good) };
        }
        if now > before {
            let used = now - before;
            return if used <= most { (Some(used), Quality::Good) } else { (None, Quality::Implausible) };
        }
        let over_the_end = self.range.map(|range| range - before + now).filter(|j| *j >= 0.0 && *j <= most);
        if let Some(used) = over_the_end {
            return (Some(used), Quality::Wrapped);
        }
        // From zero anew it holds at most what could be used since; a counter that merely went back holds more.
        if now <= most { (None, Quality::Reset) } else { (None, Quality::JumpedBack) }
    }
}

/// Power over time from one source, in order of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PowerTrace {
    /// Where it comes from.
    pub source: String,
    /// The samples; times never go back.
    pub samples: Vec<PowerSample>,
    /// Lines that were not understood.
    pub refused_lines: u64,
}

/// One sample of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PowerSample {
    /// When.
    pub at_ns: u64,
    /// Watts; means something only if the quality is usable.
    pub watts: f64,
    /// Degrees Celsius, where the log has them.
    pub celsius: Option<f64>,
    /// What it is worth.
    pub quality: Quality,
}

impl PowerTrace {
    /// Judges raw samples in the order they were written.
    #[must_use]
    pub fn judge(source: &str, raw: impl IntoIterator<Item = RawSample>, limits: Limits) -> Self {
        let mut trace = Self { source: source.to_owned(), ..Self::default() };
        let mut newest = None;
        let mut same: Option<(f64, u64)> = None;
        for sample in raw.into_iter().take(SAMPLES_MAX) {
            let mut quality = judge_watts(sample.watts, limits);
            if newest.is_some_and(|newest| sample.at_ns < newest) {
                quality = Quality::JumpedBack;
            }
            let at_ns = newest.unwrap_or(0).max(sample.at_ns);
            match same {
                Some((watts, since)) if watts == sample.watts => {
                    if quality == Quality::Good && at_ns.saturating_sub(since) > limits.frozen_ns {
                        quality = Quality::Frozen;
                    }
                }
                Some(_) | None => same = Some((sample.watts, at_ns)),
            }
            newest = Some(at_ns);
            trace.samples.push(PowerSample { at_ns, watts: sample.watts, celsius: sample.celsius, quality });
        }
        trace
    }

    /// Same, but an error where nothing was understood.
    pub(crate) fn of_lines(
        source: &str,
        lines: impl Iterator<Item = Option<RawSample>>,
        limits: Limits,
    ) -> Result<Self, Error> {
        let mut refused = 0_u64;
        let kept: Vec<RawSample> = lines
            .filter_map(|line| {
                refused = refused.saturating_add(u64::from(line.is_none()));
                line
            })
            .take(SAMPLES_MAX)
            .collect();
        if kept.is_empty() {
            return Err(Error::NoReadings(source.to_owned()));
        }
        Ok(Self { refused_lines: refused, ..Self::judge(source, kept, limits) })
    }

    /// Samples from `from_ns` on, before `until_ns`.
    #[must_use]
    pub fn between(&self, from_ns: u64, until_ns: u64) -> &[PowerSample] {
        let first = self.samples.partition_point(|sample| sample.at_ns < from_ns);
        let last = self.samples.partition_point(|sample| sample.at_ns < until_ns);
        self.samples.get(first..last).unwrap_or_default()
    }

    /// First and last time.
    #[must_use]
    pub fn span(&self) -> Option<(u64, u64)> {
        Some((self.samples.first()?.at_ns, self.samples.last()?.at_ns))
    }
}

/// A sample as a log has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RawSample {
    /// When, on the log's own clock.
    pub at_ns: u64,
    /// Watts as written.
    pub watts: f64,
    /// Degrees Celsius, where the log has them.
    pub celsius: Option<f64>,
}

/// What a number of watts is worth.
#[must_use]
pub fn judge_watts(watts: f64, limits: Limits) -> Quality {
    if !watts.is_finite() {
        Quality::NotANumber
    } else if watts == 0.0 {
        Quality::Zero
    } else if watts < 0.0 || watts > limits.watts_max {
        Quality::Implausible
    } else {
        Quality::Good
    }
}

/// Form of a log of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogForm {
    /// SPEC PTDaemon.
    PtDaemon,
    /// MLPerf training log.
    Mllog,
    /// Comma separated with a header.
    Csv,
}

/// Reads a log of any known form, told by its first line.
pub fn read_log(source: &str, bytes: &[u8], limits: Limits) -> Result<PowerTrace, Error> {
    let text = String::from_utf8_lossy(bytes);
    match log_form(&text) {
        LogForm::PtDaemon => ptdaemon::parse(source, &text, limits),
        LogForm::Mllog => mllog::parse(source, &text, limits),
        LogForm::Csv => csv::parse(source, &text, limits),
    }
}

/// The form of a log by its first line.
#[must_use]
pub fn log_form(text: &str) -> LogForm {
    let first = text.lines().next().unwrap_or_default();
    if first.starts_with("Time,") && first.contains(",Watts,") {
        LogForm::PtDaemon
    } else if first.starts_with(":::MLLOG") {
        LogForm::Mllog
    } else {
        LogForm::Csv
    }
}

/// Reads the file of a log, not longer than [`LOG_BYTES_MAX`].
pub fn read_log_file(path: &std::path::Path, limits: Limits) -> Result<PowerTrace, Error> {
    let bytes = sysfs::read_bounded(path, LOG_BYTES_MAX)?;
    read_log(&path.display().to_string(), &bytes, limits)
}
