//! CPU time of a process and of the machine, from procfs: the weak substitute where no meter is. It says that something
//! ran, not what it burned.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::{MAX_FILE_BYTES, SensorError, read_text};

/// Of one process with all of its threads, in ticks of the kernel's clock (100 per second on Linux for user space).
///
/// # Errors
/// [`SensorError`]; [`SensorError::Absent`] if there is no such process.
pub fn of_process(procfs: &Path, pid: u32) -> Result<u64, SensorError> {
    let text = read_text(&procfs.join(pid.to_string()).join("stat"))?;
    // The name stands in brackets and may hold anything, brackets and spaces as well.
    let (_, behind) = text.rsplit_once(')').ok_or(SensorError::Value)?;
    let mut fields = behind.split_ascii_whitespace().skip(11);
    let mut next = || fields.next().and_then(|field| field.parse::<u64>().ok()).ok_or(SensorError::Value);
    let (user, system) = (next()?, next()?);
    user.checked_add(system).ok_or(SensorError::Value)
}

/// Of the whole machine: busy and all ticks of all CPUs.
///
/// # Errors
/// [`SensorError`].
pub fn of_machine(procfs: &Path) -> Result<(u64, u64), SensorError> {
    let path = procfs.join("stat");
    let text = read_first_line(&path)?;
    let fields = text.strip_prefix("cpu ").ok_or(SensorError::Value)?;
    let ticks: Vec<u64> = fields
        .split_ascii_whitespace()
        .take(8)
        .map(str::parse)
        .collect::<Result<_, _>>()
        .map_err(|_| SensorError::Value)?;
    let [user, nice, system, idle, wait, interrupt, soft, stolen] = ticks[..] else {
        return Err(SensorError::Value);
    };
    let sum = |parts: &[u64]| parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(*part));
    let busy = sum(&[user, nice, system, interrupt, soft, stolen]).ok_or(SensorError::Value)?;
    let all = sum(&[busy, idle, wait]).ok_or(SensorError::Value)?;
    Ok((busy, all))
}

/// The first line of a file of any length.
fn read_first_line(path: &Path) -> Result<String, SensorError> {
    let mut line = String::new();
    BufReader::new(File::open(path)?.take(MAX_FILE_BYTES)).read_line(&mut line)?;
    Ok(line)
}
