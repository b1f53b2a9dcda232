//! Conservation, one effect per key, and a journal that gives the same ledger again, for any entries at all.

use proptest::prelude::*;

use super::{
    Account, AgentId, Applied, Asset, Entry, EntryKey, Ledger, LedgerError, MAX_TRANSFERS, Transfer,
};

fn agent(number: u8) -> Account {
    Account::Agent(AgentId([number; 32]))
}

fn entry(key: u8, transfers: Vec<Transfer>) -> Entry {
    Entry { key: EntryKey([key; 32]), transfers }
}

fn pay(from: Account, to: Account, amount: u64) -> Transfer {
    Transfer { asset: Asset::Microcredits, from, to, amount }
}

#[test]
fn amounts_move_and_stay() {
    let mut ledger = Ledger::default();
    assert_eq!(ledger.apply(entry(1, vec![pay(Account::Outside, agent(1), 100)])), Ok(Applied::New(0)));
    let both = vec![pay(agent(1), agent(2), 60), pay(agent(2), Account::Operator, 10)];
    assert_eq!(ledger.apply(entry(2, both)), Ok(Applied::New(1)));
    let balance = |account| ledger.balance(account, Asset::Microcredits);
    assert_eq!([agent(1), agent(2), Account::Operator, Account::Outside].map(balance), [40, 50, 10, 0]);
    assert_eq!(ledger.balance(agent(1), Asset::Microjoules), 0, "assets never mix");
    assert_eq!(ledger.sum(Asset::Microcredits), 0);
    let lines: Vec<_> = ledger.statement(agent(2)).iter().map(|l| (l.entry, l.change, l.balance)).collect();
    assert_eq!(lines, [(1, 50, 50)]);
}

#[test]
fn an_entry_that_can_not_be_changes_nothing() {
    let mut ledger = Ledger::default();
    ledger.apply(entry(1, vec![pay(Account::Outside, agent(1), 100)])).expect("from outside");
    let before = ledger.clone();
    let overdrawn = |has, needs| {
        let account = agent(1);
        Err(LedgerError::Overdrawn { account, asset: Asset::Microcredits, has, needs })
    };
    for (transfers, expected) in [
        (vec![], Err(LedgerError::Transfers)),
        (vec![pay(agent(1), agent(2), 1); MAX_TRANSFERS + 1], Err(LedgerError::Transfers)),
        (vec![pay(agent(1), agent(2), 0)], Err(LedgerError::Zero)),
        (vec![pay(agent(1), agent(1), 1)], Err(LedgerError::SameAccount)),
        (vec![pay(agent(1), agent(2), 101)], overdrawn(100, 101)),
        // The first part alone would be possible.
        (vec![pay(agent(1), agent(2), 60), pay(agent(1), agent(3), 60)], overdrawn(40, 60)),
        (vec![pay(Account::Outside, agent(1), u64::MAX)], Err(LedgerError::Overflow)),
    ] {
        assert_eq!(ledger.apply(entry(9, transfers)), expected);
        assert_eq!(ledger, before);
    }
    // The key that failed is free.
    assert_eq!(ledger.apply(entry(9, vec![pay(agent(1), agent(2), 1)])), Ok(Applied::New(1)));
}

#[test]
fn the_same_entry_twice_is_one() {
    let mut ledger = Ledger::default();
    let first = entry(1, vec![pay(Account::Outside, agent(1), 100)]);
    assert_eq!(ledger.apply(first.clone()), Ok(Applied::New(0)));
    let before = ledger.clone();
    assert_eq!(ledger.apply(first), Ok(Applied::Known(0)));
    assert_eq!(
        ledger.apply(entry(1, vec![pay(Account::Outside, agent(1), 99)])),
        Err(LedgerError::KeyReused)
    );
    assert_eq!(ledger, before);
}

#[test]
fn the_chain_knows_order_and_content() {
    let a = entry(1, vec![pay(Account::Outside, agent(1), 5)]);
    let b = entry(2, vec![pay(Account::Outside, agent(2), 5)]);
    let head = |entries: &[&Entry]| {
        Ledger::replay(entries.iter().map(|entry| (*entry).clone())).expect("possible").head()
    };
    assert_ne!(head(&[&a, &b]), head(&[&b, &a]));
    assert_ne!(head(&[&a]), head(&[&a, &b]));
    assert_eq!(Ledger::replay([a.clone(), a]), Err((1, LedgerError::KeyReused)));
}

fn account() -> impl Strategy<Value = Account> {
    prop_oneof![
        Just(Account::Outside),
        (0..4_u8).prop_map(agent),
        (0..3_u8).prop_map(|key| Account::Locked(EntryKey([key; 32]))),
        Just(Account::Operator),
        Just(Account::Burned),
    ]
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let amount = prop_oneof![0..200_u64, Just(u64::MAX), any::<u64>()];
    let transfer = (0..2_usize, account(), account(), amount)
        .prop_map(|(asset, from, to, amount)| Transfer { asset: Asset::ALL[asset], from, to, amount });
    (0..40_u8, prop::collection::vec(transfer, 0..4)).prop_map(|(key, transfers)| entry(key, transfers))
}

proptest! {
    #[test]
    fn any_entries_conserve_and_replay(entries in prop::collection::vec(any_entry(), 0..80)) {
        let mut ledger = Ledger::default();
        for entry in entries {
            let before = ledger.clone();
            match ledger.apply(entry.clone()) {
                Ok(Applied::New(number)) => prop_assert_eq!(number, before.size()),
                Ok(Applied::Known(_)) | Err(_) => prop_assert_eq!(&ledger, &before),
            }
            for asset in Asset::ALL {
                prop_assert_eq!(ledger.sum(asset), 0);
            }
            prop_assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
        }
        prop_assert_eq!(Ledger::replay(ledger.entries().iter().cloned()), Ok(ledger.clone()));
        for number in 0..4 {
            let last = ledger.statement(agent(number)).into_iter().rfind(|line| line.asset == Asset::Microcredits);
            let balance = last.map_or(0, |line| line.balance);
            prop_assert_eq!(balance, i128::from(ledger.balance(agent(number), Asset::Microcredits)));
        }
    }

    #[test]
    fn no_other_bytes_are_an_entry(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(entry) = Entry::decode(&bytes) {
            prop_assert_eq!(entry.encode(), bytes);
        }
    }

    #[test]
    fn a_changed_byte_is_another_entry_or_none(entry in any_entry(), at in any::<prop::sample::Index>(), by in 1..=255_u8) {
        let mut bytes = entry.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= by;
        prop_assert_ne!(Entry::decode(&bytes), Ok(entry.clone()));
        prop_assert_eq!(Entry::decode(&bytes[..at]), Err(LedgerError::Form));
    }
}
