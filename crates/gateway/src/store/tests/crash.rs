//! Crashes at every byte, failed syncs, full disks and short writes: nothing acknowledged is ever lost.

use super::fault::{FaultDisk, Survival};
use super::{OPTIONS, check_all, commit, key, open};
use crate::store::{Sequence, Store, StoreError, StoreOptions};

/// Records of each commit; with [`super::OPTIONS`] they fill five segments, of which the ring keeps three.
const COMMITS: [u64; 9] = [1, 3, 1, 7, 2, 1, 5, 1, 3];

/// Opens and commits until something fails; gives the number of records that were acknowledged.
fn run(disk: &FaultDisk) -> (u64, Option<StoreError>) {
    let mut acknowledged = 0;
    let outcome = open(disk).and_then(|(mut store, _)| {
        for count in COMMITS {
            let durable = commit(&mut store, acknowledged, count)?;
            acknowledged += count;
            assert_eq!(durable, Some(acknowledged - 1));
        }
        Ok(())
    });
    (acknowledged, outcome.err())
}

/// Opens, compares everything, and makes sure that the store can go on.
fn check_opens(disk: &FaultDisk, acknowledged: u64, context: &str) -> u64 {
    let (mut store, _) = open(disk).unwrap_or_else(|error| panic!("{context}: {error}"));
    let next = check_all(&store, context);
    assert!(next >= acknowledged, "{context}: {acknowledged} acknowledged, {next} found");
    commit(&mut store, next, 2).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert_eq!(check_all(&store, context), next + 2);
    next
}

#[test]
fn a_power_failure_at_any_byte_loses_nothing_acknowledged() {
    let whole = FaultDisk::default();
    let (total, error) = run(&whole);
    assert!(error.is_none() && total == COMMITS.iter().sum::<u64>());
    let spent = whole.state().spent;
    let mut opened = 0;
    for budget in 0..spent {
        let disk = FaultDisk::default();
        disk.state().budget = Some(budget);
        let (acknowledged, error) = run(&disk);
        assert!(error.is_some());
        let survivals =
            [Survival::Nothing, Survival::Everything, Survival::Some(budget), Survival::Some(!budget)];
        for survival in survivals {
            let context = format!("power failure after {budget} units, {survival:?} survives");
            let survivor = disk.power_failure(survival);
            let found = check_opens(&survivor, acknowledged, &context);
            assert!(found <= total, "{context}");
            check_opens(&survivor.power_failure(Survival::Nothing), found + 2, &context);
            opened += 2;
        }
    }
    println!("{spent} crash points, {opened} recoveries");
}

#[test]
fn what_a_store_shows_after_a_kill_outlives_a_power_failure() {
    let whole = FaultDisk::default();
    run(&whole);
    let spent = whole.state().spent;
    for budget in 0..spent {
        let disk = FaultDisk::default();
        disk.state().budget = Some(budget);
        let (acknowledged, _) = run(&disk);
        let context = format!("kill after {budget} units");
        let disk = disk.process_killed();
        let (store, _) = open(&disk).unwrap_or_else(|error| panic!("{context}: {error}"));
        let shown = check_all(&store, &context);
        assert!(shown >= acknowledged, "{context}");
        drop(store);
        let found = check_opens(&disk.power_failure(Survival::Nothing), shown, &context);
        assert_eq!(found, shown, "{context}");
    }
}

#[test]
fn a_crash_during_recovery_loses_nothing_acknowledged() {
    let whole = FaultDisk::default();
    run(&whole);
    let spent = whole.state().spent;
    let mut recoveries = 0;
    for budget in (0..spent).step_by(17) {
        let disk = FaultDisk::default();
        disk.state().budget = Some(budget);
        let (acknowledged, _) = run(&disk);
        let torn = disk.power_failure(Survival::Some(budget));
        for second in 0.. {
            let context = format!("power failure after {budget} units, again after {second} of recovery");
            let again = torn.process_killed();
            again.state().budget = Some(second);
            let is_opened = open(&again).is_ok();
            check_opens(&again.power_failure(Survival::Some(second)), acknowledged, &context);
            recoveries += 1;
            if is_opened {
                break;
            }
        }
    }
    println!("{recoveries} interrupted recoveries");
}

#[test]
fn a_failed_sync_poisons_the_store() {
    let whole = FaultDisk::default();
    run(&whole);
    let syncs = whole.state().syncs;
    for failing in 0..syncs {
        let context = format!("sync {failing} fails");
        let disk = FaultDisk::default();
        disk.state().failing_sync = Some(failing);
        let (acknowledged, error) = run(&disk);
        assert!(matches!(error, Some(StoreError::Io { operation: "sync", .. })), "{context}: {error:?}");

        // The failed bytes can still be read, but a sync does not bring them to the disk.
        let restarted = disk.process_killed();
        let found = check_opens(&restarted, acknowledged, &context);
        check_opens(&restarted.power_failure(Survival::Nothing), found + 2, &context);
        check_opens(&disk.power_failure(Survival::Some(failing)), acknowledged, &context);
    }
}

#[test]
fn a_poisoned_store_acknowledges_nothing_but_reads() {
    let disk = FaultDisk::default();
    let (mut store, _) = open(&disk).unwrap();
    commit(&mut store, 0, 2).unwrap();
    let syncs = disk.state().syncs;
    disk.state().failing_sync = Some(syncs);
    assert!(matches!(commit(&mut store, 2, 2), Err(StoreError::Io { .. })));
    for _ in 0..2 {
        assert!(matches!(store.append(1, vec![]), Err(StoreError::Poisoned { .. })));
        assert!(matches!(store.commit(), Err(StoreError::Poisoned { .. })));
    }
    assert_eq!(check_all(&store, "poisoned"), 2);
}

#[test]
fn a_full_disk_is_a_typed_error_and_opening_again_goes_on() {
    let whole = FaultDisk::default();
    run(&whole);
    let most: usize = 4 * 460;
    for capacity in 0..most {
        let context = format!("disk of {capacity} bytes");
        let disk = FaultDisk::default();
        disk.state().capacity = Some(capacity);
        let (acknowledged, error) = run(&disk);
        let Some(error) = error else { continue };
        assert!(matches!(error, StoreError::DiskFull { .. }), "{context}: {error}");

        // Still full: what was acknowledged can be read, if there is room for a header at all.
        let full = disk.process_killed();
        full.state().capacity = Some(capacity);
        match open(&full) {
            Ok((store, _)) => assert!(check_all(&store, &context) >= acknowledged),
            Err(StoreError::DiskFull { .. }) => assert_eq!(acknowledged, 0, "{context}"),
            Err(error) => panic!("{context}: {error}"),
        }
        check_opens(&disk.process_killed(), acknowledged, &context);
        check_opens(&disk.power_failure(Survival::Nothing), acknowledged, &context);
    }
}

#[test]
fn short_writes_are_continued() {
    for write_max in [1, 2, 3, 50] {
        let disk = FaultDisk::default();
        disk.state().write_max = Some(write_max);
        let (acknowledged, error) = run(&disk);
        assert!(error.is_none());
        check_opens(&disk.power_failure(Survival::Nothing), acknowledged, "short writes");
    }
}

#[test]
fn the_ring_removes_the_oldest() {
    let disk = FaultDisk::default();
    let (mut store, _) = open(&disk).unwrap();
    let mut next = 0;
    for count in COMMITS.iter().cycle().take(40) {
        commit(&mut store, next, *count).unwrap();
        next += count;
        let image = disk.image();
        assert!(image.len() <= 3 && image.values().all(|bytes| bytes.len() <= 460));
        assert_eq!(image.keys().next(), Some(&format!("{:020}.seg", store.oldest().as_u64())));
        check_all(&store, "ring");
    }
    let oldest = store.oldest();
    assert!(oldest.as_u64() > 0);
    let gone = store.read(Sequence::FIRST);
    assert!(matches!(gone, Err(StoreError::Gone { oldest: found, .. }) if found == oldest));
    let mut records = store.iter_from(Sequence::FIRST);
    assert!(matches!(records.next(), Some(Err(StoreError::Gone { .. }))) && records.next().is_none());
    drop(store);

    // A smaller ring takes effect when the next segment is begun.
    let options = StoreOptions { segments_max: 2, ..OPTIONS };
    let (mut store, _) = Store::open_on(disk.boxed(), &key(), options).unwrap();
    commit(&mut store, next, 9).unwrap();
    assert_eq!(disk.image().len(), 2);
    assert_eq!(check_all(&store, "smaller ring"), next + 9);
}

#[test]
fn a_power_failure_while_the_ring_shrinks_leaves_no_gap() {
    let large = StoreOptions { segments_max: 6, ..OPTIONS };
    let before = FaultDisk::default();
    let (mut store, _) = Store::open_on(before.boxed(), &key(), large).unwrap();
    commit(&mut store, 0, 24).unwrap();
    drop(store);
    assert_eq!(before.image().len(), 5);
    let small = StoreOptions { segments_max: 2, ..OPTIONS };
    for budget in 0.. {
        let disk = before.process_killed();
        disk.state().budget = Some(budget);
        let opened = Store::open_on(disk.boxed(), &key(), small);
        let committed = opened.and_then(|(mut store, _)| commit(&mut store, 24, 9));
        for seed in 0..8 {
            let context = format!("power failure after {budget} units, seed {seed}");
            check_opens(&disk.power_failure(Survival::Some(seed)), 24, &context);
        }
        if committed.is_ok() {
            assert_eq!(disk.image().len(), 2);
            break;
        }
    }
}

#[test]
fn what_is_not_committed_is_not_there() {
    let disk = FaultDisk::default();
    let (mut store, _) = open(&disk).unwrap();
    assert_eq!(store.head(), None);
    assert_eq!(store.commit().unwrap(), None);
    let sequence = store.append(1, vec![1]).unwrap();
    assert!(matches!(store.read(sequence), Err(StoreError::NotWritten { .. })));
    assert_eq!(store.iter_from(sequence).count(), 0);
    drop(store);
    let (store, _) = open(&disk).unwrap();
    assert_eq!(store.head(), None);
}
