//! The receipts of this run: which answers will have one, and the signed bytes for whoever asks. Must never give out a
//! receipt whose answer is not durable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use protocol::SigningKey;
use protocol::receipt::Receipt;

/// Receipts that can be fetched; older answers are in the log.
const RECEIPTS_MAX: usize = 1 << 16;

/// Whether a receipt is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiptState {
    /// COSE bytes.
    Done(Vec<u8>),
    /// The answer is not durable yet, or still being written.
    Pending,
    /// Never, or too long ago.
    Unknown,
}

/// What there is to fetch.
pub(crate) struct Receipts {
    key: SigningKey,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    pending: BTreeSet<u64>,
    done: BTreeMap<u64, Kept>,
}

/// Most receipts are never fetched, and a signature is a tenth of the work of a short answer; signatures are
/// deterministic, so that a later one is the same.
enum Kept {
    Unsigned(Box<Receipt>),
    Signed(Vec<u8>),
}

impl Receipts {
    pub(crate) fn new(key: SigningKey) -> Self {
        Self { key, book: Mutex::default() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Changed in single steps, so a panic elsewhere leaves it whole.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer is begun.
    pub(crate) fn expect(&self, tag: u64) {
        self.book().pending.insert(tag);
    }

    /// There will be no receipt.
    pub(crate) fn forget(&self, tag: u64) {
        self.book().pending.remove(&tag);
    }

    /// The answer is durable.
    pub(crate) fn issue(&self, receipt: Receipt) {
        let tag = receipt.tag.counter;
        let mut book = self.book();
        book.pending.remove(&tag);
        book.done.insert(tag, Kept::Unsigned(Box::new(receipt)));
        if book.done.len() > RECEIPTS_MAX {
            book.done.pop_first();
        }
    }

    /// The receipt of a tag, now signed.
    pub(crate) fn get(&self, tag: u64) -> ReceiptState {
        let receipt = {
            let book = self.book();
            match book.done.get(&tag) {
                Some(Kept::Signed(bytes)) => return ReceiptState::Done(bytes.clone()),
                Some(Kept::Unsigned(receipt)) => receipt.clone(),
                None if book.pending.contains(&tag) => return ReceiptState::Pending,
                None => return ReceiptState::Unknown,
            }
        };
        match receipt.sign(&self.key) {
            Ok(bytes) => {
                if let Some(kept) = self.book().done.get_mut(&tag) {
                    *kept = Kept::Signed(bytes.clone());
                }
                ReceiptState::Done(bytes)
            }
            Err(error) => {
                tracing::error!(tag, %error, "no receipt");
                ReceiptState::Unknown
            }
        }
    }
}
