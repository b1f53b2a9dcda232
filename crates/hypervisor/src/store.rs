//! The durable ledger: the journal of entries in SQLite, replayed and checked when it is opened. An entry is acknowledged
//! only when it is on disk, and what is on disk is never changed.

use std::path::Path;

use market::ledger::{Applied, Asset, Entry, Ledger, LedgerError, MAX_ENTRY_BYTES};
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

#[cfg(test)]
mod tests;

/// Written into the file, so that no other database is taken for a ledger: "MxLd".
const APPLICATION: i32 = 0x4d78_4c64;
const VERSION: i32 = 1;
/// Entries of one commit.
pub const BATCH_MAX: usize = 4096;

/// What can go wrong with a store. Nothing is acknowledged then.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full.
    #[error("the disk is full: the ledger takes nothing until there is space")]
    Full,
    /// Another process holds it.
    #[error("another process has the ledger open")]
    Busy,
    /// Another database, or a ledger of another version.
    #[error("this file is no ledger of this version")]
    Foreign,
    /// What is on disk is no journal: somebody changed it, or the disk lost it.
    #[error("the journal is broken at entry {0}: restore it from a copy; nothing was changed")]
    Broken(u64),
    /// An amount appeared or vanished. Never on disk.
    #[error("the sum of all {0} is not 0")]
    Sum(Asset),
    /// More entries than one commit takes.
    #[error("at most {BATCH_MAX} entries are booked at once")]
    Batch,
    /// Anything else that SQLite says.
    #[error("the ledger's file: {0}")]
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            Some(ErrorCode::NotADatabase) => Self::Foreign,
            _ => Self::Sqlite(error),
        }
    }
}

/// An open ledger.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    ledger: Ledger,
}

impl Store {
    /// Opens a ledger, or makes an empty one. One process at a time.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = Connection::open(path)?;
        // Whoever holds it holds it as long as it runs: waiting helps nobody.
        connection.busy_timeout(std::time::Duration::ZERO)?;
        // Exclusive, so that nobody else books beside us; a commit is on disk when it returns.
        connection.pragma_update(None, "locking_mode", "exclusive")?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if tables == 0 {
            connection.execute_batch(&format!(
                "BEGIN IMMEDIATE;
                 PRAGMA application_id = {APPLICATION};
                 PRAGMA user_version = {VERSION};
                 CREATE TABLE journal (number INTEGER PRIMARY KEY, entry BLOB NOT NULL, head BLOB NOT NULL) STRICT;
                 COMMIT;"
            ))?;
        } else if (pragma("application_id")?, pragma("user_version")?) != (APPLICATION, VERSION) {
            return Err(StoreError::Foreign);
        }
        let ledger = replay(&connection)?;
        Ok(Self { connection, ledger })
    }

    /// What was booked.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Books entries, all on disk when this returns. Each is taken or refused for itself; a refused one changes nothing.
    ///
    /// # Errors
    /// [`StoreError`]: then none of them is booked.
    pub fn book(&mut self, entries: Vec<Entry>) -> Result<Vec<Result<Applied, LedgerError>>, StoreError> {
        if entries.len() > BATCH_MAX {
            return Err(StoreError::Batch);
        }
        let before = self.ledger.size();
        match self.try_book(entries) {
            Ok(results) => Ok(results),
            Err(error) => {
                // What memory has beyond the disk never happened.
                if self.ledger.size() != before {
                    self.ledger = replay(&self.connection)?;
                }
                Err(error)
            }
        }
    }

    fn try_book(&mut self, entries: Vec<Entry>) -> Result<Vec<Result<Applied, LedgerError>>, StoreError> {
        let transaction = self.connection.transaction()?;
        let mut results = Vec::with_capacity(entries.len());
        {
            let mut insert = transaction
                .prepare_cached("INSERT INTO journal (number, entry, head) VALUES (?1, ?2, ?3)")?;
            for entry in entries {
                let bytes = entry.encode();
                if bytes.len() > MAX_ENTRY_BYTES {
                    results.push(Err(LedgerError::Transfers));
                    continue;
                }
                let applied = self.ledger.apply(entry);
                if let Ok(Applied::New(number)) = applied {
                    let number = i64::try_from(number).map_err(|_| StoreError::Batch)?;
                    insert.execute(params![number, bytes, self.ledger.head().as_slice()])?;
                }
                results.push(applied);
            }
        }
        sums(&self.ledger)?;
        transaction.commit()?;
        Ok(results)
    }
}

/// Every invariant that is checked at each commit.
fn sums(ledger: &Ledger) -> Result<(), StoreError> {
    match Asset::ALL.into_iter().find(|asset| ledger.sum(*asset) != 0) {
        Some(asset) => Err(StoreError::Sum(asset)),
        None => Ok(()),
    }
}

/// The ledger that the journal makes; each entry must be the next one and give the head beside it.
fn replay(connection: &Connection) -> Result<Ledger, StoreError> {
    let longest: Option<i64> = connection
        .query_row("SELECT max(length(entry)) FROM journal", [], |row| row.get(0))
        .optional()?
        .flatten();
    if longest.is_some_and(|longest| longest > MAX_ENTRY_BYTES as i64) {
        return Err(StoreError::Broken(0));
    }
    let mut ledger = Ledger::default();
    let mut rows = connection.prepare("SELECT number, entry, head FROM journal ORDER BY number")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let number = ledger.size();
        let broken = |_| StoreError::Broken(number);
        let (stored, bytes, head): (i64, Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let entry = Entry::decode(&bytes).map_err(broken)?;
        let applied = ledger.apply(entry).map_err(broken)?;
        if u64::try_from(stored) != Ok(number) || applied != Applied::New(number) || head != ledger.head() {
            return Err(StoreError::Broken(number));
        }
    }
    sums(&ledger)?;
    Ok(ledger)
}
