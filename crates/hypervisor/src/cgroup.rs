//! Control groups of version 2: limits and accounting of agents by the kernel, where we may make them. In a group that it
//! did not make it changes one thing: the CPU controller is passed on to the groups below.

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
/// How often a group is tried to be removed while its last members end.
const REMOVALS: u32 = 600;
const BETWEEN_REMOVALS: std::time::Duration = std::time::Duration::from_millis(5);

/// Which group a process is in.
const OWN_GROUP: &str = "/proc/self/cgroup";
/// Which controllers a group may pass on, which it passes on, and its processes: the kernel's names.
const CONTROLLERS: &str = "cgroup.controllers";
const PASSED_ON: &str = "cgroup.subtree_control";
const PROCESSES: &str = "cgroup.procs";
/// As a process writes it: itself.
const SELF: &str = "0";

/// Whether groups can be made here.
#[must_use]
pub fn is_available() -> bool {
    Groups::of_machine("maxwell-probe").and_then(|groups| groups.add("probe").map(drop)).is_ok()
}

/// The folder below which our groups are; taken away again at the end.
#[derive(Debug)]
pub struct Groups {
    folder: PathBuf,
    _left: Option<Left>,
}

/// A group that was handed over to us, which our own process left: a group with processes passes no controller on.
#[derive(Debug)]
struct Left {
    group: PathBuf,
    leaf: PathBuf,
}

/// One agent's group; taken away again when it is dropped, if its processes are gone.
#[derive(Debug)]
pub struct Group(PathBuf);

impl Groups {
    /// Below the mount of version 2, or a tree of files that stands for it.
    ///
    /// # Errors
    /// [`Error::Absent`] if version 2 with the CPU controller is not there, [`Error::Denied`] if we may not.
    pub fn open(mount: &Path, name: &str) -> Result<Self, Error> {
        if !has_cpu(&mount.join(CONTROLLERS))? {
            return Err(Error::Absent("the CPU controller of control groups".to_owned()));
        }
        let folder = mount.join(name);
        make(&folder)?;
        let groups = Self { folder, _left: None };
        // The kernel passes nothing on by itself.
        if !has_cpu(&mount.join(PASSED_ON)).unwrap_or(false) {
            write(&mount.join(PASSED_ON), "+cpu")?;
        }
        write(&groups.folder.join(PASSED_ON), "+cpu")?;
        Ok(groups)
    }

    /// Below the machine's own mount, or below our own group where only that was handed over to us.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn of_machine(name: &str) -> Result<Self, Error> {
        let mount = Path::new(MOUNT);
        Self::open(mount, name).or_else(|_| Self::delegated(mount, &sysfs::text(Path::new(OWN_GROUP))?, name))
    }

    /// Below the group that a process is in, after the process has left it for one below. `own`: as the kernel tells it.
    fn delegated(mount: &Path, own: &str, name: &str) -> Result<Self, Error> {
        let path = own.lines().find_map(|line| line.strip_prefix("0::/"));
        // Outside of our namespace the kernel tells it by `..`.
        let path = path.filter(|path| !path.is_empty() && !path.split('/').any(|part| part == ".."));
        let path = path.ok_or_else(|| Error::Absent("a control group of our own".to_owned()))?;
        let group = mount.join(path);
        let leaf = group.join(format!("{name}-self"));
        make(&leaf)?;
        let left = Left { group, leaf };
        write(&left.leaf.join(PROCESSES), SELF)?;
        let mut groups = Self::open(&left.group, name)?;
        groups._left = Some(left);
        Ok(groups)
    }

    /// A group for an agent.
    ///
    /// # Errors
    /// [`Error`].
    pub fn add(&self, agent: &str) -> Result<Group, Error> {
        let group = Group(self.folder.join(agent));
        make(&group.0)?;
        Ok(group)
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        // A group that still has members stays: the kernel refuses, and nothing is lost.
        let _ = fs::remove_dir(&self.folder);
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        // A group that others still use below keeps passing the controller on, and its processes stay out of it.
        let is_back = write(&self.group.join(PASSED_ON), "-cpu")
            .and_then(|()| write(&self.group.join(PROCESSES), SELF));
        if is_back.is_ok() {
            let _ = fs::remove_dir(&self.leaf);
        }
    }
}

impl Group {
    /// Puts a process, and all that it will start, into it.
    ///
    /// # Errors
    /// [`Error`].
    pub fn admit(&self, process: u32) -> Result<(), Error> {
        write(&self.0.join(PROCESSES), &process.to_string())
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
        // Those that were killed are members until they are gone, which takes a moment.
        for _ in 0..REMOVALS {
            match fs::remove_dir(&self.0) {
                Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                    std::thread::sleep(BETWEEN_REMOVALS);
                }
                _ => return,
            }
        }
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

/// Whether a list of controllers has that of the processors.
fn has_cpu(list: &Path) -> Result<bool, Error> {
    Ok(sysfs::text(list)?.split_whitespace().any(|controller| controller == "cpu"))
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|error| sysfs::of_io(&error, path.display().to_string()))
}
