//! The store on real files: two openers, many appenders, and processes that are killed while they write.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use gateway::store::{Committer, Sequence, Store, StoreError, StoreKey, StoreOptions, Ticket};

/// Small segments, so that the kills also hit the beginning and the removal of segments.
const OPTIONS: StoreOptions =
    StoreOptions { segment_bytes: 1024, segments_max: 24, pending_bytes_max: 1 << 16 };
/// Longer than anything here takes; a wait that lasts so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Tells the test binary that it is the child of [`a_killed_process_loses_nothing_that_it_reported`].
const CHILD_FOLDER: &str = "MAXWELL_TEST_STORE_CHILD";
/// What the child prints before a durable sequence, to tell it from what the test harness prints.
const DURABLE: &str = "durable ";
const KILLS: u64 = 200;

fn key() -> StoreKey {
    StoreKey::from_bytes([7; 32])
}

/// What record number `sequence` holds.
fn expected(sequence: Sequence) -> (u8, Vec<u8>) {
    let number = sequence.as_u64();
    let length = usize::try_from(number * 37 % 211).unwrap();
    (number.to_le_bytes()[0], number.to_be_bytes().into_iter().cycle().take(length).collect())
}

/// Compares every record that is kept; opening has verified the chain.
fn check_all(store: &Store) -> Option<Sequence> {
    let mut last = None;
    for record in store.iter_from(store.oldest()) {
        let record = record.unwrap();
        assert_eq!((record.kind, record.content), expected(record.sequence));
        last = Some((record.sequence, record.chain));
    }
    assert_eq!(last, store.head().filter(|_| last.is_some()));
    store.head().map(|(sequence, _)| sequence)
}

#[test]
fn a_second_opener_is_kept_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("of/the/store");
    let (store, _) = Store::open(&path, &key(), OPTIONS).unwrap();
    assert!(matches!(Store::open(&path, &key(), OPTIONS), Err(StoreError::Locked { .. })));
    let committer = Committer::start(store).unwrap();
    assert!(matches!(Store::open(&path, &key(), OPTIONS), Err(StoreError::Locked { .. })));
    let ticket = committer.append(1, vec![2]).unwrap();
    drop(committer);
    // A ticket does not keep the store open.
    let (store, recovered) = Store::open(&path, &key(), OPTIONS).unwrap();
    assert_eq!(recovered.truncated_bytes, 0);
    assert_eq!(store.read(ticket.sequence()).unwrap().content, [2]);
}

#[test]
fn a_torn_file_is_cut_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let (mut store, recovered) = Store::open(folder.path(), &key(), OPTIONS).unwrap();
        assert_eq!(recovered.truncated_bytes, if round == 0 { 0 } else { 10 });
        for number in round * 10..round * 10 + 10 {
            let (kind, content) = expected(Sequence::from_u64(number));
            store.append(kind, content).unwrap();
        }
        store.commit().unwrap();
        assert_eq!(check_all(&store), Some(Sequence::from_u64(round * 10 + 9)));
        drop(store);
        let newest = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
            .max()
            .unwrap();
        std::fs::OpenOptions::new().append(true).open(newest).unwrap().write_all(&[0xff; 10]).unwrap();
    }
}

#[test]
fn many_threads_append_to_one_committer() {
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions { segments_max: 1000, ..OPTIONS };
    let committer = Committer::start(Store::open(folder.path(), &key(), options).unwrap().0).unwrap();
    let append_all = |kind: u8| -> Vec<Sequence> {
        let append = |number: u8| committer.append(kind, vec![number; 20]).unwrap();
        let tickets: Vec<Ticket> = (0..50).map(append).collect();
        tickets.iter().map(|ticket| ticket.wait(PATIENCE).unwrap()).collect()
    };
    let sequences: Vec<Vec<Sequence>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|kind| scope.spawn(move || append_all(kind))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(committer.close().unwrap(), Some(Sequence::from_u64(199)));
    let (store, _) = Store::open(folder.path(), &key(), options).unwrap();
    for (kind, sequences) in (0..4).zip(sequences) {
        assert!(sequences.is_sorted());
        for (number, sequence) in (0..50).zip(sequences) {
            let record = store.read(sequence).unwrap();
            assert_eq!((record.kind, record.content), (kind, vec![number; 20]));
        }
    }
}

/// Does nothing by itself; as the child it appends until it is killed.
#[test]
fn child_of_the_kill_test() {
    let Some(folder) = env::var_os(CHILD_FOLDER) else { return };
    let (store, _) = Store::open(Path::new(&folder), &key(), OPTIONS).unwrap();
    let mut next = store.head().map_or(Sequence::FIRST, |(sequence, _)| sequence.checked_add(1).unwrap());
    let committer = Committer::start(store).unwrap();
    // Ends by itself if the parent died.
    for burst in 0..100_000 {
        let tickets: Vec<Ticket> = (0..burst % 5)
            .map(|_| {
                let (kind, content) = expected(next);
                next = next.checked_add(1).unwrap();
                committer.append(kind, content).unwrap()
            })
            .collect();
        for ticket in tickets {
            println!("{DURABLE}{}", ticket.wait(PATIENCE).unwrap());
        }
    }
}

#[test]
fn a_killed_process_loses_nothing_that_it_reported() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = 1;
    let (mut reported_all, mut torn) = (0, 0);
    let mut found = None;
    for kill in 0..KILLS {
        let lines = splitmix(&mut random) % 12;
        let spins = splitmix(&mut random) % 40_000;
        let reported = run_and_kill(spawn_child(folder.path()), lines, spins);
        reported_all += reported.len();
        let (store, recovered) = Store::open(folder.path(), &key(), OPTIONS)
            .unwrap_or_else(|error| panic!("kill {kill} after {lines} lines: {error}"));
        torn += u32::from(recovered.truncated_bytes > 0);
        let head = check_all(&store);
        assert!(head >= found, "kill {kill}: what was there before is gone");
        found = head;
        for sequence in reported {
            let read = store.read(sequence);
            assert!(read.is_ok(), "kill {kill} after {lines} lines: record {sequence}: {read:?}");
        }
    }
    println!(
        "{KILLS} kills, {reported_all} records reported durable, {torn} torn ends cut off, head {found:?}"
    );
    assert!(reported_all > 0);
}

fn spawn_child(folder: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "store::child_of_the_kill_test", "--nocapture"])
        .env(CHILD_FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// Reads so many reports, spins a little so that the kill hits any point, kills with SIGKILL, and gives every
/// sequence that the child had reported by then.
fn run_and_kill(mut child: Child, lines: u64, spins: u64) -> Vec<Sequence> {
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut reported = Vec::new();
    let mut read_one = || match output.next() {
        // The last line may be cut off by the kill; such a report did not reach anybody.
        Some(line) => {
            let line = line.unwrap();
            let sequence = line.strip_prefix(DURABLE).and_then(|number| number.parse().ok());
            reported.extend(sequence.map(Sequence::from_u64));
            true
        }
        None => false,
    };
    for _ in 0..lines {
        assert!(read_one(), "the child ended by itself");
    }
    for _ in 0..spins {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    while read_one() {}
    assert!(!child.wait().unwrap().success());
    reported
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
