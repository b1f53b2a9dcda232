//! The processes of an agent and their processor time, where there are no control groups. All of them descend from one
//! keeper that adopts orphans, so that none gets away. Time is added up by what each process used since it was read last, so
//! that nothing is forgotten when one ends and nobody asks for it. Not seen: a child that lives between two looks and whose
//! parent ignores its end; only control groups see that.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::Error;
use crate::sensors::cpu_time::{TICKS_PER_SECOND, behind_name, of_stat};
use crate::sensors::sysfs;

#[cfg(test)]
mod tests;

/// Most processes of a machine that are looked at.
const PROCESSES_MAX: usize = 1 << 17;
/// Most files that a [`Looker`] keeps open: half of what a process may by default.
const OPEN_MAX: usize = 512;
/// Longest line of `/proc/PID/stat`: a name of 64 bytes and 52 numbers.
const STAT_BYTES_MAX: usize = 2048;
/// Generations between a process and one that survived it.
const GENERATIONS_MAX: u32 = 1024;

/// One process; times in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    parent: u32,
    /// When it began: numbers come again.
    began: u64,
    /// Its own time.
    own: u64,
    /// That of children that it waited for, and of theirs.
    waited: u64,
}

/// All processes at one moment.
#[derive(Clone, Debug, Default)]
pub struct Processes {
    table: BTreeMap<u32, Process>,
    children: BTreeMap<u32, Vec<u32>>,
}

impl Processes {
    /// Reads them.
    ///
    /// # Errors
    /// [`Error`] if procfs can't be read; processes that end meanwhile are left out.
    pub fn read(procfs: &Path) -> Result<Self, Error> {
        Ok(Self::of(
            numbers(procfs)?.filter_map(|number| Some((number, read(procfs, number).ok()?))).collect(),
        ))
    }

    fn of(table: BTreeMap<u32, Process>) -> Self {
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (number, process) in &table {
            children.entry(process.parent).or_default().push(*number);
        }
        Self { table, children }
    }

    /// A process and all its descendants.
    #[must_use]
    pub fn below(&self, head: u32) -> BTreeSet<u32> {
        let (mut found, mut open) = (BTreeSet::new(), vec![head]);
        while let Some(number) = open.pop() {
            // Numbers come again, so a circle is possible in a torn reading.
            if self.table.contains_key(&number) && found.insert(number) {
                open.extend(self.children.get(&number).into_iter().flatten());
            }
        }
        found
    }
}

/// Looks at all processes again and again: what it opened stays open, which halves the price of a look.
#[derive(Debug, Default)]
pub struct Looker(BTreeMap<u32, File>);

impl Looker {
    /// As [`Processes::read`].
    ///
    /// # Errors
    /// As [`Processes::read`].
    pub fn look(&mut self, procfs: &Path) -> Result<Processes, Error> {
        let mut before = std::mem::take(&mut self.0);
        let mut table = BTreeMap::new();
        for number in numbers(procfs)? {
            // An open file stays that of the process it was opened for, and can't be read when that is gone.
            let known = before.remove(&number).and_then(|file| Some((at_once(&file)?, file)));
            let opened = || {
                let file = File::open(procfs.join(number.to_string()).join("stat")).ok()?;
                Some((at_once(&file)?, file))
            };
            let Some((process, file)) = known.or_else(opened) else { continue };
            table.insert(number, process);
            if self.0.len() < OPEN_MAX {
                self.0.insert(number, file);
            }
        }
        Ok(Processes::of(table))
    }
}

/// The numbers of all processes.
fn numbers(procfs: &Path) -> Result<impl Iterator<Item = u32>, Error> {
    let entries =
        std::fs::read_dir(procfs).map_err(|error| sysfs::of_io(&error, procfs.display().to_string()))?;
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    Ok(numbers.take(PROCESSES_MAX))
}

/// What an open `/proc/PID/stat` says now.
fn at_once(file: &File) -> Option<Process> {
    let mut bytes = [0; STAT_BYTES_MAX];
    let length = file.read_at(&mut bytes, 0).ok()?;
    parse(&String::from_utf8_lossy(bytes.get(..length)?))
}

/// The time of one family.
#[derive(Clone, Debug)]
pub struct Family {
    head: u32,
    members: BTreeSet<u32>,
    read: BTreeMap<u32, Process>,
    ticks: u64,
}

impl Family {
    /// Of a keeper.
    #[must_use]
    pub fn of(head: u32) -> Self {
        Self { head, members: BTreeSet::from([head]), read: BTreeMap::new(), ticks: 0 }
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

    /// Seconds of processor time that all of it used until now.
    ///
    /// What a process used since it was read last counts. What it waited for counts as far as it is more than what was read
    /// of those that ended below it: that part is of processes, or of moments, that nobody had read.
    pub fn seconds(&mut self, procfs: &Path) -> f64 {
        self.count(|number| read(procfs, number).ok())
    }

    /// As [`Self::seconds`], from what was read of all processes just now.
    pub fn seconds_in(&mut self, processes: &Processes) -> f64 {
        self.count(|number| processes.table.get(&number).copied())
    }

    fn count(&mut self, read: impl Fn(u32) -> Option<Process>) -> f64 {
        let numbers: BTreeSet<u32> = self.members.iter().chain(self.read.keys()).copied().collect();
        let now: BTreeMap<u32, Process> =
            numbers.into_iter().filter_map(|number| Some((number, read(number)?))).collect();
        let is_same = |number: &u32, was: &Process| now.get(number).is_some_and(|is| is.began == was.began);
        // What was read of those that ended, at the nearest of their ancestors that lives.
        let mut ended: BTreeMap<u32, u64> = BTreeMap::new();
        for was in self.read.iter().filter(|(number, was)| !is_same(number, was)).map(|(_, was)| was) {
            let mut ancestor = was.parent;
            for _ in 0..GENERATIONS_MAX {
                match self.read.get(&ancestor) {
                    Some(process) if !is_same(&ancestor, process) => ancestor = process.parent,
                    _ => break,
                }
            }
            let read = ended.entry(ancestor).or_default();
            *read = read.saturating_add(was.own).saturating_add(was.waited);
        }
        for (number, is) in &now {
            let was = self.read.get(number).filter(|was| was.began == is.began);
            let (own, waited) = was.map_or((0, 0), |was| (was.own, was.waited));
            let more =
                is.waited.saturating_sub(waited).saturating_sub(ended.get(number).copied().unwrap_or(0));
            self.ticks = self.ticks.saturating_add(is.own.saturating_sub(own)).saturating_add(more);
        }
        self.read = now;
        self.ticks as f64 / TICKS_PER_SECOND
    }
}

fn read(procfs: &Path, number: u32) -> Result<Process, Error> {
    of_stat(procfs, number, parse)
}

/// From the line of `/proc/PID/stat`.
fn parse(stat: &str) -> Option<Process> {
    let fields: Vec<&str> = behind_name(stat)?.take(20).collect();
    // Those of children are signed, and may be off below 0.
    let number =
        |at: usize| fields.get(at)?.parse::<i64>().ok().map(|number| u64::try_from(number).unwrap_or(0));
    Some(Process {
        parent: fields.get(1)?.parse().ok()?,
        began: number(19)?,
        own: number(11)?.checked_add(number(12)?)?,
        waited: number(13)?.checked_add(number(14)?)?,
    })
}
