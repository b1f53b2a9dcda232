//! What was booked is there again; what was changed, lost or never booked is told; a full disk loses nothing.

use market::ledger::{Account, AgentId, EntryKey, Transfer};

use super::*;

fn entry(number: u32, from: Account, to: Account, amount: u64) -> Entry {
    let key = EntryKey::of("maxwell 2026-11 test entry v1", &[&number.to_le_bytes()]);
    Entry { key, transfers: vec![Transfer { asset: Asset::Microcredits, from, to, amount }] }
}

fn agent(number: u8) -> Account {
    Account::Agent(AgentId([number; 32]))
}

fn filled(path: &Path) -> Store {
    let mut store = Store::open(path).unwrap();
    let entries =
        (0..20).map(|n| entry(n, Account::Outside, agent(n as u8 % 3), 10 + u64::from(n))).collect();
    assert!(store.book(entries).unwrap().iter().all(Result::is_ok));
    store
}

#[test]
fn what_was_booked_is_there_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger");
    let before = filled(&path).ledger().clone();
    let mut store = Store::open(&path).unwrap();
    assert_eq!(*store.ledger(), before);
    // The same entry is known, another one under its key is not taken, and nobody overdraws.
    let results = store
        .book(vec![
            entry(3, Account::Outside, agent(0), 13),
            entry(3, Account::Outside, agent(0), 14),
            entry(90, agent(1), agent(2), u64::MAX),
            entry(91, agent(1), agent(2), 1),
        ])
        .unwrap();
    assert!(matches!(
        results[..],
        [
            Ok(Applied::Known(3)),
            Err(LedgerError::KeyReused),
            Err(LedgerError::Overdrawn { .. }),
            Ok(Applied::New(20))
        ]
    ));
    drop(store);
    assert_eq!(Store::open(&path).unwrap().ledger().size(), 21);
}

#[test]
fn one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger");
    let _held = filled(&path);
    assert!(matches!(Store::open(&path), Err(StoreError::Busy)));
}

#[test]
fn a_changed_journal_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let changes = [
        "UPDATE journal SET entry = (SELECT entry FROM journal WHERE number = 4) WHERE number = 5",
        "UPDATE journal SET entry = zeroblob(40) WHERE number = 5",
        "UPDATE journal SET head = zeroblob(32) WHERE number = 5",
        "DELETE FROM journal WHERE number = 5",
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let path = folder.path().join(at.to_string());
        drop(filled(&path));
        Connection::open(&path).unwrap().execute_batch(change).unwrap();
        assert!(matches!(Store::open(&path), Err(StoreError::Broken(5))), "{change}");
    }
    let path = folder.path().join("long");
    drop(filled(&path));
    let change = "UPDATE journal SET entry = zeroblob(100000) WHERE number = 5";
    Connection::open(&path).unwrap().execute_batch(change).unwrap();
    assert!(matches!(Store::open(&path), Err(StoreError::Broken(_))));
}

#[test]
fn other_files_are_no_ledgers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text");
    std::fs::write(&path, "this is no database at all, and long enough to be looked at".repeat(40)).unwrap();
    assert!(matches!(Store::open(&path), Err(StoreError::Foreign)));
    let path = folder.path().join("other");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE other (x)").unwrap();
    assert!(matches!(Store::open(&path), Err(StoreError::Foreign)));
}

#[test]
fn a_full_disk_loses_nothing_and_books_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger");
    let mut store = filled(&path);
    let before = store.ledger().clone();
    store.connection.pragma_update(None, "max_page_count", 4).unwrap();
    let many = |from: u32| (from..from + 2000).map(|n| entry(n, Account::Outside, agent(1), 1)).collect();
    assert!(matches!(store.book(many(1000)), Err(StoreError::Full)));
    assert_eq!(*store.ledger(), before);
    // With space again the same entries are taken.
    store.connection.pragma_update(None, "max_page_count", 100_000).unwrap();
    assert!(store.book(many(1000)).unwrap().iter().all(Result::is_ok));
    let after = store.ledger().clone();
    drop(store);
    assert_eq!(*Store::open(&path).unwrap().ledger(), after);
}

#[test]
fn too_many_entries_at_once_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(&folder.path().join("ledger")).unwrap();
    let many = (0..=BATCH_MAX as u32).map(|n| entry(n, Account::Outside, agent(1), 1)).collect();
    assert!(matches!(store.book(many), Err(StoreError::Batch)));
}
