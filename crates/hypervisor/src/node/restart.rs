//! What a ledger's history says about a node that ended without a word: its agents, and what is still locked.

use super::*;

/// Everybody who was ever funded.
pub(super) fn agents(ledger: &Ledger) -> BTreeMap<AgentId, Agent> {
    let moved = ledger.entries().iter().flat_map(|entry| &entry.transfers);
    let agents =
        moved.flat_map(|transfer| [transfer.from, transfer.to]).filter_map(|account| match account {
            Account::Agent(agent) => Some((agent, Agent::default())),
            Account::Outside | Account::Locked(_) | Account::Operator | Account::Burned => None,
        });
    agents.collect()
}

/// Gives back what is locked to whoever locked it: nobody can say any more what became of the job.
pub(super) fn releases(ledger: &Ledger) -> Vec<Entry> {
    let mut owners: BTreeMap<Account, Account> = BTreeMap::new();
    for transfer in ledger.entries().iter().flat_map(|entry| &entry.transfers) {
        if matches!((transfer.from, transfer.to), (Account::Agent(_), Account::Locked(_))) {
            owners.entry(transfer.to).or_insert(transfer.from);
        }
    }
    owners
        .into_iter()
        .filter_map(|(lock, owner)| {
            let Account::Locked(EntryKey(name)) = lock else { return None };
            let transfers: Vec<Transfer> = Asset::ALL
                .into_iter()
                .map(|asset| Transfer { asset, from: lock, to: owner, amount: ledger.balance(lock, asset) })
                .filter(|transfer| transfer.amount > 0)
                .collect();
            let key = EntryKey::of(ENTRY_CONTEXT, &[b"release", &name]);
            (!transfers.is_empty()).then_some(Entry { key, transfers })
        })
        .collect()
}
