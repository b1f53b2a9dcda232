//! Control groups of version 2: limits and accounting of agents by the kernel, where we may make them. Never touches a
//! group that it did not make.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::sensors::sysfs;

#[cfg(test)]
mod tests;

/// Where version 2 is mounted.
const MOUNT: &str = "/sys/fs/cgroup";
/// Length of the kernel's period for `cpu.max`, in microseconds.
const PERIOD_US: u64 = 100_000;

/// Whether groups can be made here.
#[must_use]
pub fn is_available() -> bool {
    Groups::open(Path::new(MOUNT), "maxwell-probe").and_then(|groups| groups.add("probe")).is_ok()
}

/// The folder below which our groups are; taken away again at the end.
#[derive(Debug)]
pub struct Groups(PathBuf);

/// One agent's group; taken away again when it is dropped, if its processes are gone.
#[derive(Debug)]
pub struct Group(PathBuf);

impl Groups {
    /// Below the mount of version 2, or a tree of files that stands for it.
    ///
    /// # Errors
    /// [`Error::Absent`] if version 2 with the CPU controller is not there, [`Error::Denied`] if we may not.
    pub fn open(mount: &Path, name: &str) -> Result<Self, Error> {
        let controllers = sysfs::text(&mount.join("cgroup.controllers"))?;
        if !controllers.split_whitespace().any(|controller| controller == "cpu") {
            return Err(Error::Absent("the CPU controller of control groups".to_owned()));
        }
        let folder = mount.join(name);
        make(&folder)?;
        let groups = Self(folder);
        write(&groups.0.join("cgroup.subtree_control"), "+cpu")?;
        Ok(groups)
    }

    /// Below the machine's own mount.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn of_machine(name: &str) -> Result<Self, Error> {
        Self::open(Path::new(MOUNT), name)
    }

    /// A group for an agent.
    ///
    /// # Errors
    /// [`Error`].
    pub fn add(&self, agent: &str) -> Result<Group, Error> {
        let group = Group(self.0.join(agent));
        make(&group.0)?;
        Ok(group)
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        // A group that still has members stays: the kernel refuses, and nothing is lost.
        let _ = fs::remove_dir(&self.0);
    }
}

impl Group {
    /// Puts a process, and all that it will start, into it.
    ///
    /// # Errors
    /// [`Error`].
    pub fn admit(&self, process: u32) -> Result<(), Error> {
        write(&self.0.join("cgroup.procs"), &process.to_string())
    }

    /// Lets it have so many thousandths of one processor.
    ///
    /// # Errors
    /// [`Error`].
    pub fn limit(&self, milli_processors: u64) -> Result<(), Error> {
        let quota = (milli_processors.saturating_mul(PERIOD_US) / 1000).max(1000);
        write(&self.0.join("cpu.max"), &format!("{quota} {PERIOD_US}"))
    }

    /// Takes the limit away.
    ///
    /// # Errors
    /// [`Error`].
    pub fn unlimit(&self) -> Result<(), Error> {
        write(&self.0.join("cpu.max"), &format!("max {PERIOD_US}"))
    }

    /// Seconds of processor time of all that ever ran in it.
    ///
    /// # Errors
    /// [`Error`].
    pub fn processor_seconds(&self) -> Result<f64, Error> {
        let path = self.0.join("cpu.stat");
        let text = sysfs::text(&path)?;
        let usage =
            text.lines().find_map(|line| line.strip_prefix("usage_usec ")?.trim().parse::<u64>().ok());
        usage.map(|us| us as f64 * 1e-6).ok_or_else(|| Error::Unreadable(path.display().to_string()))
    }

    /// Ends everything in it.
    ///
    /// # Errors
    /// [`Error`].
    pub fn kill(&self) -> Result<(), Error> {
        write(&self.0.join("cgroup.kill"), "1")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

fn make(folder: &Path) -> Result<(), Error> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(sysfs::of_io(&error, folder.display().to_string()))
        }
        _ => Ok(()),
    }
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|error| sysfs::of_io(&error, path.display().to_string()))
}
