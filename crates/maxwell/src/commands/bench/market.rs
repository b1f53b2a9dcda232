//! `maxwell bench market`: what clearing an epoch and booking an entry take. Never a figure without its limit.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use clap::Args;
use market::auction::{Bid, BidId, Class, Epoch, Tier, clear};
use market::economics::{Stakes, WHOLE_PPB};
use market::heat_price::HeatPrice;
use market::ledger::{Account, AgentId, Asset, Entry, EntryKey, Ledger, Transfer};
use model::synthetic::SplitMix64;
use serde_json::json;

use super::limits::{Figure, Limit, Runs};
use crate::commands::Shell;
use crate::output::{Exit, Finished};

/// Agents who bid.
const AGENTS: u64 = 64;

/// Arguments of `maxwell bench market`.
#[derive(Debug, Args)]
pub(crate) struct MarketArguments {
    /// Measure so often; the median counts
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u8).range(1..=100))]
    runs: u8,
    /// Entries that are booked
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    entries: u32,
}

/// Runs the bench.
pub(crate) fn run(arguments: &MarketArguments, _: &Shell) -> anyhow::Result<Finished> {
    let timed = |bids: u64| {
        let (epoch, bids, funds) = auction(bids);
        let runs = (0..arguments.runs).map(|_| {
            let began = Instant::now();
            black_box(clear(&epoch, &bids, &funds));
            began.elapsed().as_secs_f64() * 1e3
        });
        Runs::new(runs.collect())
    };
    let (small, large) = (timed(10_000), timed(100_000));
    let rates: Vec<f64> =
        (0..arguments.runs).map(|_| booked_per_second(arguments.entries)).collect::<anyhow::Result<_>>()?;
    let rates = Runs::new(rates);
    let figure = |name, value, limit| Figure { name, value, places: 2, limit };
    let durable: Vec<f64> =
        (0..arguments.runs).map(|_| durable_per_second(arguments.entries)).collect::<anyhow::Result<_>>()?;
    let durable = Runs::new(durable);
    let figures = [
        figure("auction of 10,000 bids, ms", small.median(), Limit::AtMost(2.0)),
        figure("auction of 100,000 bids, ms", large.median(), Limit::AtMost(25.0)),
        figure("ledger entries per second, in memory", rates.median(), Limit::AtLeast(20_000.0)),
        figure("ledger entries per second, on disk", durable.median(), Limit::AtLeast(20_000.0)),
    ];
    let lines: Vec<String> = figures.iter().map(Figure::line).collect();
    let text = format!("market, median of {} runs, {AGENTS} agents\n{}", arguments.runs, lines.join("\n"));
    let json = json!({
        "runs": arguments.runs,
        "figures": figures.iter().map(Figure::json).collect::<Vec<_>>(),
    });
    Ok(Finished { exit: Exit::Ok, json, text })
}

/// Random bundles, more than fit.
fn auction(count: u64) -> (Epoch, Vec<(BidId, Bid)>, BTreeMap<AgentId, u64>) {
    let mut random = SplitMix64::new(count);
    let agent = |number: u64| AgentId(name(number));
    let supply = [count * 10, count * 10, count << 20];
    let stakes = Stakes {
        gain: 600,
        reward: 1000,
        margin: 200,
        power_ppb: WHOLE_PPB,
        false_alarm_ppb: 0,
        audit_cost: 100,
    };
    let epoch = Epoch {
        supply,
        reserve: [1000; 3],
        heat: HeatPrice { target_mk: 70_000, tau_mk: 5000 },
        temperature_mk: 71_000,
        headroom_ppm: 300_000,
        stakes,
        interest_ppb: 1000,
        proof_discount: 50,
    };
    let bids = (0..count).map(|number| {
        let bid = Bid {
            agent: agent(random.below(AGENTS)),
            class: if random.below(4) == 0 { Class::Background } else { Class::Inference },
            bundle: [random.below(40), random.below(40), random.below(1 << 22)],
            value: 1 + random.below(1_000_000),
            tier: [Tier::Audited, Tier::Replayed, Tier::Proved][random.below(3) as usize],
            stake: 100_000,
            feeds: (number > 0 && random.below(8) == 0).then(|| BidId(name(random.below(number)))),
        };
        (BidId(name(number)), bid)
    });
    let bids = bids.collect();
    (epoch, bids, (0..AGENTS).map(|number| (agent(number), u64::MAX)).collect())
}

fn name(number: u64) -> [u8; 32] {
    let mut name = [0; 32];
    for (byte, value) in name.iter_mut().zip(number.to_le_bytes()) {
        *byte = value;
    }
    name
}

fn booked_per_second(entries: u32) -> anyhow::Result<f64> {
    let (mut ledger, mut random) = (Ledger::default(), SplitMix64::new(3));
    let account = |number| Account::Agent(AgentId(name(number)));
    let transfer = |from, to, amount| Transfer { asset: Asset::Microjoules, from, to, amount };
    let purses = (0..AGENTS).map(|number| transfer(Account::Outside, account(number), 1 << 40)).collect();
    ledger.apply(Entry { key: EntryKey(name(u64::MAX)), transfers: purses })?;
    let began = Instant::now();
    for number in 0..u64::from(entries) {
        let from = random.below(AGENTS);
        let to = (from + 1 + random.below(AGENTS - 1)) % AGENTS;
        let transfers = vec![transfer(account(from), account(to), 1 + random.below(1000))];
        ledger.apply(Entry { key: EntryKey(name(number)), transfers })?;
    }
    Ok(f64::from(entries) / began.elapsed().as_secs_f64())
}

/// Entries of one group commit.
const COMMIT: usize = 1024;

/// Through the durable ledger, in the folder for temporary files, taken away again.
fn durable_per_second(entries: u32) -> anyhow::Result<f64> {
    let path = std::env::temp_dir().join(format!("maxwell-bench-{}.ledger", std::process::id()));
    let rate = book_durably(&path, entries);
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.clone().into_os_string();
        file.push(suffix);
        let _ = std::fs::remove_file(file);
    }
    rate
}

fn book_durably(path: &std::path::Path, entries: u32) -> anyhow::Result<f64> {
    let mut store = hypervisor::store::Store::open(path)?;
    let entry = |number: u32| {
        let to = Account::Agent(AgentId(name(u64::from(number) % AGENTS)));
        let transfers = vec![Transfer { asset: Asset::Microjoules, from: Account::Outside, to, amount: 1 }];
        Entry { key: EntryKey(name(u64::from(number))), transfers }
    };
    let numbers: Vec<u32> = (0..entries).collect();
    let began = Instant::now();
    for batch in numbers.chunks(COMMIT) {
        for result in store.book(batch.iter().copied().map(entry).collect())? {
            result?;
        }
    }
    Ok(f64::from(entries) / began.elapsed().as_secs_f64())
}
