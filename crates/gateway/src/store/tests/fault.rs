//! A disk in memory that fails and crashes on demand. It must never be kinder than a real one: what was not synced
//! may be lost or torn in any pattern, and a failed sync leaves bytes that can be read but are not on the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::store::disk::Disk;

/// Bytes that survive a crash or are lost together; real ones are larger and tear in fewer ways.
const SECTOR_BYTES: usize = 8;

/// What survives of everything that was not synced.
#[derive(Clone, Copy, Debug)]
pub(super) enum Survival {
    Nothing,
    Everything,
    /// Each sector and each name by a coin of this seed.
    Some(u64),
}

/// What the next sync does.
pub(super) enum NextSync {
    /// Tells the first channel that it has begun and waits for the second.
    Wait(Sender<()>, Receiver<()>),
    Panic,
}

/// A handle of the disk; clones are handles of the same one.
#[derive(Clone, Default)]
pub(super) struct FaultDisk(Arc<Mutex<State>>);

#[derive(Default)]
pub(super) struct State {
    nodes: Vec<Node>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Bytes and operations until the crash.
    pub(super) budget: Option<u64>,
    /// Bytes and operations so far.
    pub(super) spent: u64,
    /// Most bytes that all files may have together.
    pub(super) capacity: Option<usize>,
    /// Most bytes of one write.
    pub(super) write_max: Option<usize>,
    /// The sync that fails, counted from 0.
    pub(super) failing_sync: Option<u64>,
    /// Syncs so far, those of the folder not counted.
    pub(super) syncs: u64,
    pub(super) next_sync: Option<NextSync>,
}

#[derive(Clone, Default)]
struct Node {
    /// What a reader sees.
    cache: Vec<u8>,
    /// What is on the disk.
    disk: Vec<u8>,
    /// Which bytes of the cache are to be written; those of a failed sync are not.
    dirty: Vec<bool>,
}

impl FaultDisk {
    pub(super) fn from_image(image: &BTreeMap<String, Vec<u8>>) -> Self {
        let mut state = State::default();
        for (name, bytes) in image {
            state.names.insert(name.clone(), state.nodes.len());
            let dirty = vec![false; bytes.len()];
            state.nodes.push(Node { cache: bytes.clone(), disk: bytes.clone(), dirty });
        }
        state.durable_names = state.names.clone();
        Self(Arc::new(Mutex::new(state)))
    }

    /// All files as a reader sees them.
    pub(super) fn image(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state();
        state.names.iter().map(|(name, &node)| (name.clone(), state.nodes[node].cache.clone())).collect()
    }

    pub(super) fn boxed(&self) -> Box<dyn Disk> {
        Box::new(self.clone())
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Flips one bit of a file.
    pub(super) fn flip(&self, name: &str, bit: usize) {
        self.state().node(name).unwrap().cache[bit / 8] ^= 1 << (bit % 8);
    }

    /// Replaces what a reader sees of a file.
    pub(super) fn replace(&self, name: &str, bytes: &[u8]) {
        bytes.clone_into(&mut self.state().node(name).unwrap().cache);
    }

    /// The disk after a power failure.
    pub(super) fn power_failure(&self, survival: Survival) -> Self {
        let state = self.state();
        let mut coins = Coins::new(survival);
        let mut nodes = state.nodes.clone();
        for node in &mut nodes {
            for start in (0..node.cache.len()).step_by(SECTOR_BYTES) {
                let end = node.cache.len().min(start + SECTOR_BYTES);
                if node.dirty[start..end].contains(&true) && coins.flip() {
                    node.write_back(start, end);
                }
            }
            node.cache.clone_from(&node.disk);
            node.dirty = vec![false; node.cache.len()];
        }
        let mut names = BTreeMap::new();
        let all: BTreeSet<&String> = state.names.keys().chain(state.durable_names.keys()).collect();
        for name in all {
            let (new, old) = (state.names.get(name), state.durable_names.get(name));
            let survivor = if new == old || coins.flip() { new } else { old };
            names.extend(survivor.map(|&node| (name.clone(), node)));
        }
        Self(Arc::new(Mutex::new(State { nodes, durable_names: names.clone(), names, ..State::default() })))
    }

    /// The disk after the process was killed: what was written can be read, synced or not.
    pub(super) fn process_killed(&self) -> Self {
        let state = self.state();
        let (nodes, names) = (state.nodes.clone(), state.names.clone());
        let durable_names = state.durable_names.clone();
        Self(Arc::new(Mutex::new(State { nodes, names, durable_names, ..State::default() })))
    }
}

impl Node {
    fn write_back(&mut self, start: usize, end: usize) {
        for at in start..end {
            if self.dirty[at] {
                self.disk.resize(self.disk.len().max(at + 1), 0);
                self.disk[at] = self.cache[at];
            }
        }
    }
}

impl State {
    fn node(&mut self, name: &str) -> io::Result<&mut Node> {
        let node = *self.names.get(name).ok_or(ErrorKind::NotFound)?;
        Ok(&mut self.nodes[node])
    }

    /// Spends up to `units`; gives how many were left before the crash.
    fn spend(&mut self, units: u64) -> io::Result<u64> {
        let granted = self.budget.map_or(units, |budget| budget.min(units));
        self.budget = self.budget.map(|budget| budget - granted);
        self.spent += granted;
        if granted == 0 { Err(io::Error::other("crashed")) } else { Ok(granted) }
    }
}

impl Disk for FaultDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        Ok(self.state().node(name)?.cache.len() as u64)
    }

    fn read(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = offset as usize;
        let mut state = self.state();
        let bytes = state.node(name)?.cache.get(start..start + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.spend(1)?;
        if state.names.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let node = state.nodes.len();
        state.nodes.push(Node::default());
        state.names.insert(name.to_owned(), node);
        Ok(())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state();
        let used: usize = state.names.values().map(|&node| state.nodes[node].cache.len()).sum();
        let room = state.capacity.map_or(usize::MAX, |capacity| capacity.saturating_sub(used));
        if room == 0 {
            return Err(ErrorKind::StorageFull.into());
        }
        let length = bytes.len().min(room).min(state.write_max.unwrap_or(usize::MAX));
        let written = state.spend(length as u64)? as usize;
        let node = state.node(name)?;
        node.cache.extend_from_slice(&bytes[..written]);
        node.dirty.resize(node.cache.len(), true);
        Ok(written)
    }

    fn rewrite(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let written = state.spend(bytes.len() as u64)? as usize;
        let start = offset as usize;
        let node = state.node(name)?;
        node.cache[start..start + written].copy_from_slice(&bytes[..written]);
        node.dirty[start..start + written].fill(true);
        if written < bytes.len() { Err(io::Error::other("crashed")) } else { Ok(()) }
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let next = self.state().next_sync.take();
        match next {
            Some(NextSync::Wait(begun, proceed)) => {
                begun.send(()).expect("the test waits for it");
                proceed.recv().expect("the test lets it proceed");
            }
            Some(NextSync::Panic) => panic!("a disk that panics, as the test wants"),
            None => {}
        }
        let mut state = self.state();
        state.spend(1)?;
        let fails = state.failing_sync == Some(state.syncs);
        state.syncs += 1;
        let node = state.node(name)?;
        if !fails {
            node.write_back(0, node.cache.len());
        }
        node.dirty.fill(false);
        if fails { Err(io::Error::other("sync failed")) } else { Ok(()) }
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        let mut state = self.state();
        state.spend(1)?;
        let node = state.node(name)?;
        node.cache.truncate(length as usize);
        node.dirty.truncate(length as usize);
        node.disk.truncate(length as usize);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.spend(1)?;
        state.names.remove(name).map(|_| ()).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        let mut state = self.state();
        state.spend(1)?;
        state.durable_names = state.names.clone();
        Ok(())
    }
}

/// Seeded coins (splitmix64).
struct Coins {
    survival: Survival,
    state: u64,
}

impl Coins {
    fn new(survival: Survival) -> Self {
        let state = if let Survival::Some(seed) = survival { seed } else { 0 };
        Self { survival, state }
    }

    fn flip(&mut self) -> bool {
        match self.survival {
            Survival::Nothing => false,
            Survival::Everything => true,
            Survival::Some(_) => {
                self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                (mixed ^ (mixed >> 31)) & 1 == 1
            }
        }
    }
}
