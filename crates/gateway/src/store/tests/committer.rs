//! Group commit: who shares a sync, who is told, and what nobody is told after a failure.

use std::sync::mpsc;
use std::time::Duration;

use super::fault::{FaultDisk, NextSync, Survival};
use super::{OPTIONS, check_all, expected, key, open};
use crate::store::{Committer, Sequence, Store, StoreError, StoreOptions, Ticket};

/// Longer than anything here takes; a wait that lasts so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

fn start(disk: &FaultDisk) -> Committer {
    Committer::start(open(disk).unwrap().0).unwrap()
}

fn append(committer: &Committer, sequence: u64) -> Ticket {
    let (kind, content) = expected(sequence);
    let ticket = committer.append(kind, content).unwrap();
    assert_eq!(ticket.sequence().as_u64(), sequence);
    ticket
}

/// Makes the next sync wait; gives what says that it has begun and what lets it go on.
fn hold(disk: &FaultDisk) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (begun, has_begun) = mpsc::channel();
    let (proceed, may_proceed) = mpsc::channel();
    disk.state().next_sync = Some(NextSync::Wait(begun, may_proceed));
    (has_begun, proceed)
}

#[test]
fn what_comes_during_a_sync_shares_the_next() {
    let disk = FaultDisk::default();
    let committer = start(&disk);
    let syncs = disk.state().syncs;
    let (begun, proceed) = hold(&disk);
    let first = append(&committer, 0);
    begun.recv_timeout(PATIENCE).unwrap();
    let others: Vec<Ticket> = (1..4).map(|sequence| append(&committer, sequence)).collect();
    // Nothing is acknowledged while its sync is under way.
    for ticket in others.iter().chain([&first]) {
        assert!(matches!(ticket.wait(Duration::ZERO), Err(StoreError::Timeout { .. })));
    }
    assert_eq!(committer.durable(), None);
    proceed.send(()).unwrap();
    for ticket in others.iter().chain([&first]) {
        assert_eq!(ticket.wait(PATIENCE).unwrap(), ticket.sequence());
    }
    assert_eq!(disk.state().syncs, syncs + 2);
    assert_eq!(committer.durable(), Some(Sequence::from_u64(3)));
    assert_eq!(committer.head().unwrap().0, Sequence::from_u64(3));
    assert_eq!(committer.read(Sequence::from_u64(2)).unwrap().content, expected(2).1);
    assert_eq!(committer.close().unwrap(), Some(Sequence::from_u64(3)));
    // A ticket outlives its committer.
    assert_eq!(first.wait(Duration::ZERO).unwrap(), Sequence::FIRST);
    let survivor = disk.power_failure(Survival::Nothing);
    assert_eq!(check_all(&open(&survivor).unwrap().0, "group commit"), 4);
}

#[test]
fn nothing_is_acknowledged_after_a_failed_sync() {
    let disk = FaultDisk::default();
    let committer = start(&disk);
    let durable = append(&committer, 0);
    durable.wait(PATIENCE).unwrap();

    let syncs = disk.state().syncs;
    disk.state().failing_sync = Some(syncs);
    let (begun, proceed) = hold(&disk);
    let failing = append(&committer, 1);
    begun.recv_timeout(PATIENCE).unwrap();
    let waiting = append(&committer, 2);
    proceed.send(()).unwrap();
    for ticket in [&failing, &waiting, &durable] {
        let error = ticket.wait(PATIENCE);
        let is_cause = |cause: &StoreError| matches!(cause, StoreError::Io { operation: "sync", .. });
        assert!(matches!(&error, Err(StoreError::Poisoned { cause }) if is_cause(cause)), "{error:?}");
    }
    assert!(matches!(committer.append(1, vec![]), Err(StoreError::Poisoned { .. })));
    assert_eq!(committer.durable(), Some(Sequence::FIRST));
    assert_eq!(committer.read(Sequence::FIRST).unwrap().content, expected(0).1);
    assert!(matches!(committer.read(Sequence::from_u64(1)), Err(StoreError::NotWritten { .. })));
    assert!(matches!(committer.close(), Err(StoreError::Poisoned { .. })));
    assert!(check_all(&open(&disk.process_killed()).unwrap().0, "opened again") >= 1);
}

#[test]
fn a_full_disk_reaches_the_tickets() {
    let disk = FaultDisk::default();
    let committer = start(&disk);
    append(&committer, 0).wait(PATIENCE).unwrap();
    disk.state().capacity = Some(150);
    let error = append(&committer, 1).wait(PATIENCE);
    let is_full = |cause: &StoreError| matches!(cause, StoreError::DiskFull { operation: "write", .. });
    assert!(matches!(&error, Err(StoreError::Poisoned { cause }) if is_full(cause)), "{error:?}");
}

#[test]
fn what_waits_is_bounded_until_it_is_durable() {
    let disk = FaultDisk::default();
    let options = StoreOptions { pending_bytes_max: 2 * 45, ..OPTIONS };
    let (store, _) = Store::open_on(disk.boxed(), &key(), options).unwrap();
    let committer = Committer::start(store).unwrap();
    let (begun, proceed) = hold(&disk);
    committer.append(0, vec![]).unwrap();
    begun.recv_timeout(PATIENCE).unwrap();
    // The first is being written and still counts.
    let second = committer.append(0, vec![]).unwrap();
    assert!(matches!(committer.append(0, vec![]), Err(StoreError::Full { pending_bytes: 90, limit: 90 })));
    proceed.send(()).unwrap();
    second.wait(PATIENCE).unwrap();
    committer.append(0, vec![]).unwrap().wait(PATIENCE).unwrap();
}

#[test]
fn closing_commits_what_is_pending() {
    let disk = FaultDisk::default();
    for (round, is_dropped) in [true, false].into_iter().enumerate() {
        let committer = start(&disk);
        let first = round as u64 * 5;
        let tickets: Vec<Ticket> = (first..first + 5).map(|sequence| append(&committer, sequence)).collect();
        match is_dropped {
            true => drop(committer),
            false => assert_eq!(committer.close().unwrap(), Some(Sequence::from_u64(first + 4))),
        }
        assert!(tickets.iter().all(|ticket| ticket.wait(Duration::ZERO).is_ok()));
    }
    // What was pending before the thread started is committed as well.
    let (mut store, _) = open(&disk).unwrap();
    let (kind, content) = expected(10);
    store.append(kind, content).unwrap();
    Committer::start(store).unwrap().close().unwrap();
    assert_eq!(check_all(&open(&disk).unwrap().0, "closed"), 11);
}

#[test]
fn a_panic_of_the_thread_leaves_nobody_waiting() {
    let disk = FaultDisk::default();
    let committer = start(&disk);
    disk.state().next_sync = Some(NextSync::Panic);
    let ticket = append(&committer, 0);
    assert!(matches!(ticket.wait(PATIENCE), Err(StoreError::Closed)));
    assert!(matches!(committer.append(0, vec![]), Err(StoreError::Closed)));
    assert!(matches!(committer.close(), Err(StoreError::Closed)));
}

#[tokio::test]
async fn promises_are_kept_with_the_chain_or_broken_with_the_cause() {
    let disk = FaultDisk::default();
    let committer = start(&disk);
    let promise = |sequence: u64| {
        let (kind, content) = expected(sequence);
        let promise = committer.append_promised(kind, content).unwrap();
        assert_eq!(promise.sequence().as_u64(), sequence);
        promise
    };
    let (begun, proceed) = hold(&disk);
    let first = promise(0);
    begun.recv_timeout(PATIENCE).unwrap();
    let second = promise(1);
    proceed.send(()).unwrap();
    for kept in [first, second] {
        let sequence = kept.sequence();
        let chain = kept.durable(PATIENCE).await.unwrap();
        assert!(chain == committer.read(sequence).unwrap().chain, "{sequence}");
    }
    let syncs = disk.state().syncs;
    disk.state().failing_sync = Some(syncs);
    let error = promise(2).durable(PATIENCE).await;
    let is_cause = |cause: &StoreError| matches!(cause, StoreError::Io { operation: "sync", .. });
    assert!(matches!(&error, Err(StoreError::Poisoned { cause }) if is_cause(cause)));
}
