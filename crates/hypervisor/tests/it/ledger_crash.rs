//! The ledger's process is killed again and again while it books: what it acknowledged is there, and the sums are 0.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use hypervisor::store::Store;
use market::ledger::{Account, AgentId, Asset, Entry, EntryKey, Ledger, Transfer};

/// Set in the process that books and is killed.
const PATH_VARIABLE: &str = "MAXWELL_TEST_LEDGER";
const CRASHES: u32 = 200;
/// Entries of one commit.
const BATCH: u64 = 7;

/// Money comes in and goes round.
fn entry(number: u64) -> Entry {
    let agent = |number: u64| Account::Agent(AgentId([(number % 5) as u8; 32]));
    let transfer = |asset, from, to, amount| Transfer { asset, from, to, amount };
    let mut transfers =
        vec![transfer(Asset::Microcredits, Account::Outside, agent(number), 100 + number % 9)];
    transfers.push(transfer(Asset::Microjoules, Account::Outside, agent(number), 10));
    transfers.push(transfer(Asset::Microcredits, agent(number), agent(number + 1), 3));
    let key = EntryKey::of("maxwell 2026-11 test crash v1", &[&number.to_le_bytes()]);
    Entry { key, transfers }
}

/// Books until it is killed; prints a number when all up to it are acknowledged. Does nothing in a normal run.
#[test]
fn child_that_books() {
    let Some(path) = std::env::var_os(PATH_VARIABLE) else { return };
    let mut store = Store::open(Path::new(&path)).unwrap();
    let mut out = std::io::stdout().lock();
    loop {
        let next = store.ledger().size();
        let results = store.book((next..next + BATCH).map(entry).collect()).unwrap();
        assert!(results.iter().all(Result::is_ok));
        writeln!(out, "booked {}", next + BATCH).and_then(|()| out.flush()).unwrap();
    }
}

#[test]
fn nothing_acknowledged_is_lost_in_200_crashes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger");
    let mut acknowledged = 0;
    for crash in 0..CRASHES {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "ledger_crash::child_that_books", "--nocapture"])
            .env(PATH_VARIABLE, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Killed after 0 to 6 commits, wherever it then is; what it said before it died counts too.
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = |line: std::io::Result<String>| line.ok()?.strip_prefix("booked ")?.parse::<u64>().ok();
        let mut booked: Vec<u64> = lines.by_ref().filter_map(said).take(crash as usize % 7).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        booked.extend(lines.filter_map(said));
        acknowledged = booked.last().copied().unwrap_or(acknowledged).max(acknowledged);

        let store = Store::open(&path).unwrap();
        let ledger = store.ledger();
        assert!(ledger.size() >= acknowledged, "crash {crash}: {} of {acknowledged}", ledger.size());
        assert_eq!(ledger.size() % BATCH, 0, "a commit is whole or not there");
        assert!(Asset::ALL.into_iter().all(|asset| ledger.sum(asset) == 0));
        let replayed = Ledger::replay((0..ledger.size()).map(entry)).unwrap();
        assert_eq!(*ledger, replayed);
    }
    assert!(acknowledged >= u64::from(CRASHES), "too few commits to say anything: {acknowledged}");
}
