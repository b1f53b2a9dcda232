//! The processes of an agent and their processor time, where there are no control groups. All of them descend from one
//! keeper that adopts orphans, so that none gets away. A child whose parent ignores its end takes its last unread time with
//! it; only control groups see that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::Error;
use crate::sensors::sysfs;

#[cfg(test)]
mod tests;

/// Most processes of a machine that are looked at.
const PROCESSES_MAX: usize = 1 << 17;
/// The kernel's ticks a second, which Linux fixes for what it shows to programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// One process.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Process {
    parent: u32,
    /// Its own time, and that of children that it waited for.
    seconds: f64,
}

/// All processes at one moment.
#[derive(Clone, Debug, Default)]
pub struct Processes(BTreeMap<u32, Process>);

impl Processes {
    /// Reads them.
    ///
    /// # Errors
    /// [`Error`] if procfs can't be read; processes that end meanwhile are left out.
    pub fn read(procfs: &Path) -> Result<Self, Error> {
        let name = || procfs.display().to_string();
        let entries = std::fs::read_dir(procfs).map_err(|error| sysfs::of_io(&error, name()))?;
        let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        let read = |number: u32| Some((number, read(procfs, number).ok()?));
        Ok(Self(numbers.take(PROCESSES_MAX).filter_map(read).collect()))
    }

    /// A process and all its descendants.
    #[must_use]
    pub fn below(&self, head: u32) -> BTreeSet<u32> {
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (number, process) in &self.0 {
            children.entry(process.parent).or_default().push(*number);
        }
        let (mut found, mut open) = (BTreeSet::new(), vec![head]);
        while let Some(number) = open.pop() {
            // Numbers come again, so a circle is possible in a torn reading.
            if self.0.contains_key(&number) && found.insert(number) {
                open.extend(children.get(&number).into_iter().flatten());
            }
        }
        found
    }
}

/// The time of one family.
#[derive(Clone, Debug)]
pub struct Family {
    head: u32,
    members: BTreeSet<u32>,
    seconds: f64,
}

impl Family {
    /// Of a keeper.
    #[must_use]
    pub fn of(head: u32) -> Self {
        Self { head, members: BTreeSet::from([head]), seconds: 0.0 }
    }

    /// The keeper.
    #[must_use]
    pub const fn head(&self) -> u32 {
        self.head
    }

    /// Who was there at the last look.
    #[must_use]
    pub const fn members(&self) -> &BTreeSet<u32> {
        &self.members
    }

    /// Learns who is in it now.
    pub fn look(&mut self, processes: &Processes) {
        self.members = processes.below(self.head);
    }

    /// Seconds of processor time that its members, and those of them that ended, used until now. Never falls: a child
    /// that ends between two of our looks is in neither for a moment.
    pub fn seconds(&mut self, procfs: &Path) -> f64 {
        let times = self.members.iter().filter_map(|number| read(procfs, *number).ok());
        self.seconds = times.map(|process| process.seconds).sum::<f64>().max(self.seconds);
        self.seconds
    }
}

fn read(procfs: &Path, number: u32) -> Result<Process, Error> {
    let path = procfs.join(number.to_string()).join("stat");
    let text = sysfs::text(&path)?;
    parse(&text).ok_or_else(|| Error::Unreadable(path.display().to_string()))
}

/// From the line of `/proc/PID/stat`. The name in brackets may hold blanks and brackets, so fields count from its end.
fn parse(stat: &str) -> Option<Process> {
    let (_, behind) = stat.rsplit_once(')')?;
    let mut fields = behind.split_whitespace().skip(1);
    let parent = fields.next()?.parse().ok()?;
    // utime, stime, cutime, cstime; the last two are signed, and may be off below 0.
    let times: Vec<i64> = fields.skip(9).take(4).map_while(|field| field.parse().ok()).collect();
    let [user, system, waited_user, waited_system] = times.try_into().ok()?;
    let mut ticks = 0_u64;
    for time in [user, system, waited_user, waited_system] {
        ticks = ticks.checked_add(u64::try_from(time).unwrap_or(0))?;
    }
    Some(Process { parent, seconds: ticks as f64 / TICKS_PER_SECOND })
}
