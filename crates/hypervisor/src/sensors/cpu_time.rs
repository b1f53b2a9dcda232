//! Processor time of processes from `/proc`: a weak substitute where no meter is. It bounds work, it must never be called
//! energy: a process that waits for an accelerator uses almost none.

use std::path::Path;

use super::sysfs;
use crate::Error;

/// The kernel's ticks a second, which Linux fixes for what it shows to programs.
pub(crate) const TICKS_PER_SECOND: f64 = 100.0;

/// One of them, in nanoseconds.
pub const TICK_NS: u64 = 10_000_000;

/// Seconds of processor time that a process used until now, its waited-for children not counted.
pub fn of_process(root: &Path, process: u32) -> Result<f64, Error> {
    of_stat(root, process, seconds)
}

/// What a parser finds in `/proc/PID/stat`.
pub(crate) fn of_stat<T>(root: &Path, process: u32, parse: impl Fn(&str) -> Option<T>) -> Result<T, Error> {
    let path = root.join(process.to_string()).join("stat");
    let text = sysfs::text(&path)?;
    parse(&text).ok_or_else(|| Error::Unreadable(path.display().to_string()))
}

/// The fields of `/proc/PID/stat` behind the name, its state first. The name in brackets may hold blanks and brackets, so
/// fields count from its end.
pub(crate) fn behind_name(stat: &str) -> Option<std::str::SplitWhitespace<'_>> {
    Some(stat.rsplit_once(')')?.1.split_whitespace())
}

/// Seconds of processor time that the whole machine used until now; idle and waiting do not count.
pub fn of_machine(root: &Path) -> Result<f64, Error> {
    let path = root.join("stat");
    let text = sysfs::text(&path)?;
    machine_seconds(&text).ok_or_else(|| Error::Unreadable(path.display().to_string()))
}

/// From the line of `/proc/PID/stat`.
#[must_use]
pub fn seconds(stat: &str) -> Option<f64> {
    let mut fields = behind_name(stat)?.skip(11);
    let (user, system) = (fields.next()?.parse::<u64>().ok()?, fields.next()?.parse::<u64>().ok()?);
    Some(user.checked_add(system)? as f64 / TICKS_PER_SECOND)
}

fn machine_seconds(stat: &str) -> Option<f64> {
    let numbers: Option<Vec<u64>> = stat
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_whitespace()
        .take(8)
        .map(|n| n.parse().ok())
        .collect();
    // user, nice, system, idle, iowait, irq, softirq, steal
    let mut ticks = 0_u64;
    for (field, number) in numbers?.into_iter().enumerate() {
        if !matches!(field, 3 | 4) {
            ticks = ticks.checked_add(number)?;
        }
    }
    Some(ticks as f64 / TICKS_PER_SECOND)
}
