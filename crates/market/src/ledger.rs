//! A double-entry ledger: every entry moves amounts from accounts to accounts, all of it or nothing, and is bound into a
//! hash chain. The same entry twice is one entry. No account but the outside may owe.

use std::collections::BTreeMap;

use protocol::encoding::{Decoder, Encoder};

mod account;
#[cfg(test)]
mod tests;

pub use self::account::{Account, AgentId, Asset, EntryKey};

/// blake3 `derive_key` context of the chain.
const CHAIN_CONTEXT: &str = "maxwell 2026-11 ledger chain v1";
/// Most transfers of one entry.
pub const MAX_TRANSFERS: usize = 256;
/// Longest encoded entry.
pub const MAX_ENTRY_BYTES: usize = 64 << 10;
const TAG: &str = "maxwell.ledger.entry";
const VERSION: u32 = 1;

/// One amount from one account to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Of what.
    pub asset: Asset,
    /// Who has less afterwards.
    pub from: Account,
    /// Who has more.
    pub to: Account,
    /// In the asset's unit; never 0.
    pub amount: u64,
}

/// Transfers that happen together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whoever sends the same entry again sends the same key.
    pub key: EntryKey,
    /// In order; each sees what those before it did.
    pub transfers: Vec<Transfer>,
}

/// Why an entry is not taken. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// No transfer, or too many.
    #[error("an entry has 1 to {MAX_TRANSFERS} transfers")]
    Transfers,
    /// A transfer of nothing.
    #[error("a transfer of nothing")]
    Zero,
    /// From an account to itself.
    #[error("a transfer from an account to itself")]
    SameAccount,
    /// The account has less.
    #[error("{account} has {has} {asset}, and {needs} were to be taken")]
    Overdrawn {
        /// Whose.
        account: Account,
        /// Of what.
        asset: Asset,
        /// What is there.
        has: u64,
        /// What was asked.
        needs: u64,
    },
    /// The key was used for another entry.
    #[error("the key of this entry was used for another one")]
    KeyReused,
    /// More than can be counted.
    #[error("the amount is more than the ledger can count")]
    Overflow,
    /// Bytes that are no entry.
    #[error("these bytes are no ledger entry")]
    Form,
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is the entry with this number.
    New(u64),
    /// It was there already, with this number.
    Known(u64),
}

/// One line of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Number of the entry.
    pub entry: u64,
    /// Its key.
    pub key: EntryKey,
    /// Of what.
    pub asset: Asset,
    /// What it added, or took.
    pub change: i128,
    /// What was there afterwards.
    pub balance: i128,
}

/// Balances and the entries that made them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    balances: BTreeMap<(Account, Asset), i128>,
    entries: Vec<Entry>,
    keys: BTreeMap<EntryKey, u64>,
    head: [u8; 32],
}

impl Ledger {
    /// A ledger of these entries, in order.
    ///
    /// # Errors
    /// The number of the first entry that can't be, and why.
    pub fn replay(entries: impl IntoIterator<Item = Entry>) -> Result<Self, (u64, LedgerError)> {
        let mut ledger = Self::default();
        for entry in entries {
            let number = ledger.size();
            match ledger.apply(entry) {
                Ok(Applied::New(_)) => {}
                // A journal holds each entry once.
                Ok(Applied::Known(_)) => return Err((number, LedgerError::KeyReused)),
                Err(error) => return Err((number, error)),
            }
        }
        Ok(ledger)
    }

    /// Takes an entry, or leaves everything as it was.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn apply(&mut self, entry: Entry) -> Result<Applied, LedgerError> {
        if let Some(known) = self.keys.get(&entry.key) {
            let same = usize::try_from(*known).ok().and_then(|known| self.entries.get(known));
            return if same == Some(&entry) {
                Ok(Applied::Known(*known))
            } else {
                Err(LedgerError::KeyReused)
            };
        }
        let changed = self.changed(&entry)?;
        let number = self.size();
        for (account, balance) in changed {
            // An account without anything is as if it had never been.
            if balance == 0 {
                self.balances.remove(&account);
            } else {
                self.balances.insert(account, balance);
            }
        }
        self.head = link(&self.head, &entry);
        self.keys.insert(entry.key, number);
        self.entries.push(entry);
        Ok(Applied::New(number))
    }

    /// The balances that an entry changes.
    fn changed(&self, entry: &Entry) -> Result<BTreeMap<(Account, Asset), i128>, LedgerError> {
        if entry.transfers.is_empty() || entry.transfers.len() > MAX_TRANSFERS {
            return Err(LedgerError::Transfers);
        }
        let mut changed = BTreeMap::new();
        for Transfer { asset, from, to, amount } in &entry.transfers {
            if *amount == 0 {
                return Err(LedgerError::Zero);
            }
            if from == to {
                return Err(LedgerError::SameAccount);
            }
            let mut balance = |account: Account, change: i128| {
                let before = || self.signed(account, *asset);
                let balance = changed.entry((account, *asset)).or_insert_with(before);
                let after = balance.checked_add(change).ok_or(LedgerError::Overflow)?;
                if after < 0 && account != Account::Outside {
                    let has = u64::try_from(*balance).unwrap_or(0);
                    return Err(LedgerError::Overdrawn { account, asset: *asset, has, needs: *amount });
                }
                if after.unsigned_abs() > u128::from(u64::MAX) {
                    return Err(LedgerError::Overflow);
                }
                *balance = after;
                Ok(())
            };
            balance(*from, -i128::from(*amount))?;
            balance(*to, i128::from(*amount))?;
        }
        Ok(changed)
    }

    /// What an account has; 0 for the outside, which owes what all others have.
    #[must_use]
    pub fn balance(&self, account: Account, asset: Asset) -> u64 {
        u64::try_from(self.signed(account, asset)).unwrap_or(0)
    }

    fn signed(&self, account: Account, asset: Asset) -> i128 {
        self.balances.get(&(account, asset)).copied().unwrap_or(0)
    }

    /// Sum over all accounts: 0, or the ledger is broken.
    #[must_use]
    pub fn sum(&self, asset: Asset) -> i128 {
        self.balances.iter().filter(|((_, of), _)| *of == asset).map(|(_, balance)| balance).sum()
    }

    /// Entries.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The entries, in order: the journal.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The hash over all entries in their order.
    #[must_use]
    pub fn head(&self) -> [u8; 32] {
        self.head
    }

    /// Everything that happened to an account, with what it had after each entry.
    #[must_use]
    pub fn statement(&self, account: Account) -> Vec<Line> {
        let (mut lines, mut balances) = (Vec::new(), BTreeMap::new());
        for (entry, number) in self.entries.iter().zip(0..) {
            let mut changes: BTreeMap<Asset, i128> = BTreeMap::new();
            for Transfer { asset, from, to, amount } in &entry.transfers {
                let sign = i128::from(*to == account) - i128::from(*from == account);
                *changes.entry(*asset).or_default() += sign * i128::from(*amount);
            }
            for (asset, change) in changes.into_iter().filter(|(_, change)| *change != 0) {
                let balance: &mut i128 = balances.entry(asset).or_default();
                *balance += change;
                lines.push(Line { entry: number, key: entry.key, asset, change, balance: *balance });
            }
        }
        lines
    }
}

impl Entry {
    /// Canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.structure(TAG, VERSION, 2);
        out.bytes(&self.key.0);
        out.array_header(self.transfers.len());
        for transfer in &self.transfers {
            out.array_header(4);
            out.unsigned(transfer.asset as u64);
            transfer.from.encode(&mut out);
            transfer.to.encode(&mut out);
            out.unsigned(transfer.amount);
        }
        out.into_bytes()
    }

    /// Reads the bytes of [`Self::encode`], and no others.
    ///
    /// # Errors
    /// [`LedgerError::Form`].
    pub fn decode(bytes: &[u8]) -> Result<Self, LedgerError> {
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(LedgerError::Form);
        }
        let mut decoder = Decoder::new(bytes);
        let entry = decode(&mut decoder).ok_or(LedgerError::Form)?;
        decoder.finish().map_err(|_| LedgerError::Form)?;
        if entry.encode() == bytes { Ok(entry) } else { Err(LedgerError::Form) }
    }
}

fn decode(decoder: &mut Decoder<'_>) -> Option<Entry> {
    decoder.structure(TAG, VERSION, 2).ok()?;
    let key = EntryKey(decoder.bytes_exact("the key").ok()?);
    let count = decoder.array_header(MAX_TRANSFERS as u64, "the transfers").ok()?;
    let mut transfers = Vec::with_capacity(count);
    for _ in 0..count {
        decoder.array_exact(4, "a transfer").ok()?;
        transfers.push(Transfer {
            asset: Asset::of(decoder.unsigned("the asset").ok()?)?,
            from: Account::decode(decoder)?,
            to: Account::decode(decoder)?,
            amount: decoder.unsigned("the amount").ok()?,
        });
    }
    Some(Entry { key, transfers })
}

/// The chain's next head.
fn link(head: &[u8; 32], entry: &Entry) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(CHAIN_CONTEXT);
    *hasher.update(head).update(&entry.encode()).finalize().as_bytes()
}
