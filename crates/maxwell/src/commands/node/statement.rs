//! `maxwell node statement`: an agent's account, line by line, from the ledger.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use hypervisor::store::Store;
use market::ledger::{Account, Asset, Entry, Line};
use serde_json::json;

use super::{LEDGER_FILE, account};
use crate::commands::Shell;
use crate::output::{Exit, Finished};

/// Arguments of `maxwell node statement`.
#[derive(Debug, Args)]
pub(super) struct StatementArguments {
    /// The agent
    #[arg(value_name = "NAME")]
    agent: String,
    /// The node's folder [default: $MAXWELL_HOME/node]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Show the last so many lines; all of them are in --json
    #[arg(long, value_name = "N", default_value_t = 40)]
    last: usize,
}

/// Runs the command.
pub(super) fn run(arguments: &StatementArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let path = super::folder(shell, arguments.data.as_deref())?.join(LEDGER_FILE);
    if !path.exists() {
        bail!("there is no ledger at {}: no node ran there yet", path.display());
    }
    let store = Store::open(&path)?;
    let own = Account::Agent(account(&arguments.agent));
    let lines = store.ledger().statement(own);
    if lines.is_empty() {
        bail!("the ledger knows nobody called {}", arguments.agent);
    }
    let what = |line: &Line| {
        let number = usize::try_from(line.entry).unwrap_or(usize::MAX);
        store.ledger().entries().get(number).map_or("", |entry| purpose(entry, own, line.asset))
    };
    let mut text = format!("{:>6}  {:<28} {:>16} {:>16}\n", "entry", "what", "change", "balance");
    for line in lines.iter().skip(lines.len().saturating_sub(arguments.last)) {
        let unit = unit(line.asset);
        let _ = writeln!(
            text,
            "{:>6}  {:<28} {:>16.6} {:>16.6} {unit}",
            line.entry,
            what(line),
            line.change as f64 / 1e6,
            line.balance as f64 / 1e6
        );
    }
    text.pop();
    let json = json!({
        "agent": arguments.agent,
        "lines": lines.iter().map(|line| json!({
            "entry": line.entry,
            "what": what(line),
            "asset": unit(line.asset),
            "change_millionths": line.change as i64,
            "balance_millionths": line.balance as i64,
        })).collect::<Vec<_>>(),
    });
    Ok(Finished { exit: Exit::Ok, json, text })
}

const fn unit(asset: Asset) -> &'static str {
    match asset {
        Asset::Microcredits => "credits",
        // Seconds of processor time where these stand in.
        Asset::Microjoules => "joules",
    }
}

/// What an entry was for, from where the amount went.
fn purpose(entry: &Entry, own: Account, asset: Asset) -> &'static str {
    let mut parts = entry.transfers.iter().filter(|transfer| transfer.asset == asset);
    let part = parts.find(|transfer| transfer.from == own || transfer.to == own);
    let Some(part) = part else { return "" };
    let other = if part.from == own { part.to } else { part.from };
    match (other, part.to == own) {
        (Account::Outside, true) => "paid in, or earned",
        (Account::Outside, false) => "paid out",
        (Account::Locked(_), true) => "given back from a job",
        (Account::Locked(_), false) => "locked for a job",
        (Account::Operator, true) => "from the operator",
        (Account::Operator, false) => "charged",
        (Account::Burned, _) => "burned",
        (Account::Agent(_), true) => "from another agent",
        (Account::Agent(_), false) => "to another agent",
    }
}
