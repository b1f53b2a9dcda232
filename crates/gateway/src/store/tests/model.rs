//! The store against a plain list, under any order of appends, commits, crashes and openings.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::fault::{FaultDisk, Survival};
use super::open;
use crate::store::{Sequence, Store, StoreError};

#[derive(Clone, Debug)]
enum Step {
    Append(u8, Vec<u8>),
    Commit,
    Open,
    PowerFailure(u64),
    /// A power failure when this many more bytes and operations have gone to the disk.
    PowerFailureWithin(u64, u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any::<u8>(), prop::collection::vec(any::<u8>(), 0..180)).prop_map(|(kind, content)| Step::Append(kind, content)),
        4 => Just(Step::Commit),
        1 => Just(Step::Open),
        1 => any::<u64>().prop_map(Step::PowerFailure),
        2 => (0..900u64, any::<u64>()).prop_map(|(units, seed)| Step::PowerFailureWithin(units, seed)),
    ]
}

/// The list: what was appended, and how much of it is durable for certain.
#[derive(Default)]
struct Model {
    records: Vec<(u8, Vec<u8>)>,
    durable: usize,
}

impl Model {
    /// Compares everything that can be read.
    fn check(&self, store: &Store, disk: &FaultDisk) -> Result<(), TestCaseError> {
        let oldest = store.oldest().as_u64();
        for (index, (kind, content)) in self.records.iter().enumerate() {
            let sequence = Sequence::from_u64(index as u64);
            match store.read(sequence) {
                Ok(record) => {
                    prop_assert!(index < self.durable && sequence.as_u64() >= oldest);
                    prop_assert_eq!((record.kind, &record.content), (*kind, content));
                }
                Err(StoreError::Gone { .. }) => prop_assert!(sequence.as_u64() < oldest),
                Err(StoreError::NotWritten { .. }) => prop_assert!(index >= self.durable),
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            }
        }
        let image = disk.image();
        // One more than the ring holds may be left by a crash between beginning a segment and removing one.
        prop_assert!(image.len() <= 4 && image.values().all(|bytes| bytes.len() <= 460));
        prop_assert!(oldest == 0 || image.len() >= 3);
        Ok(())
    }

    /// Opens after a crash: the log is a prefix of the list that has at least what was durable.
    fn reopen(&mut self, disk: &FaultDisk) -> Result<Store, TestCaseError> {
        let (store, _) = open(disk).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let found = store.head().map_or(0, |(sequence, _)| sequence.as_u64() as usize + 1);
        prop_assert!(self.durable <= found && found <= self.records.len());
        self.durable = found;
        self.records.truncate(found);
        self.check(&store, disk)?;
        Ok(store)
    }
}

proptest! {
    #![proptest_config(Config { cases: 1000, rng_seed: RngSeed::Fixed(2), failure_persistence: None, ..Config::default() })]

    #[test]
    fn the_store_is_a_list(steps in prop::collection::vec(step(), 0..60)) {
        let mut disk = FaultDisk::default();
        let mut model = Model::default();
        let mut store = model.reopen(&disk)?;
        let mut crash_seed = 0;
        for step in steps {
            match step {
                Step::Append(kind, content) => match store.append(kind, content.clone()) {
                    Ok(sequence) => {
                        prop_assert_eq!(sequence.as_u64() as usize, model.records.len());
                        model.records.push((kind, content));
                    }
                    Err(error) => return Err(TestCaseError::fail(error.to_string())),
                },
                Step::Commit => match store.commit() {
                    Ok(durable) => {
                        model.durable = model.records.len();
                        prop_assert_eq!(durable.map_or(0, |sequence| sequence.as_u64() as usize + 1), model.durable);
                        model.check(&store, &disk)?;
                    }
                    Err(_) => {
                        disk = disk.power_failure(Survival::Some(crash_seed));
                        store = model.reopen(&disk)?;
                    }
                },
                Step::Open => {
                    disk = disk.process_killed();
                    store = model.reopen(&disk)?;
                }
                Step::PowerFailure(seed) => {
                    disk = disk.power_failure(Survival::Some(seed));
                    store = model.reopen(&disk)?;
                }
                Step::PowerFailureWithin(units, seed) => {
                    disk.state().budget = Some(units);
                    crash_seed = seed;
                }
            }
        }
    }
}
