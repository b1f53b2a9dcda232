//! What every agent came to, at the end of a node.

use std::fmt::Write;

use hypervisor::node::{Order, Stopped};
use hypervisor::thermo::Profile;
use market::ledger::{Account, AgentId, Asset};
use serde_json::{Value, json};

use super::daemon::Daemon;
use crate::output::{Exit, Finished};

/// One agent's line.
struct Row {
    name: String,
    state: &'static str,
    paid_tokens: u64,
    used: f64,
    unexplained: f64,
    checks: u64,
    false_claims: u64,
    surcharges: u64,
    credits: u64,
    left: u64,
}

/// As text and as JSON.
pub(super) fn finished(daemon: &Daemon, profile: &Profile, has_groups: bool) -> Finished {
    let rows: Vec<Row> = daemon.desk.node().agents().keys().filter_map(|id| row(daemon, *id)).collect();
    let counts = daemon.counts;
    let mut text = format!(
        "{:<12} {:>10} {:>10} {:>12} {:>7} {:>6} {:>10} {:>10} {:>8}  state\n",
        "agent", "tokens", "used, s", "unexpl., s", "checks", "false", "surcharge", "credits", "left, s"
    );
    for row in &rows {
        let _ = writeln!(
            text,
            "{:<12} {:>10} {:>10.2} {:>12.2} {:>7} {:>6} {:>10.4} {:>10.4} {:>8.1}  {}",
            row.name,
            row.paid_tokens,
            row.used,
            row.unexplained.max(0.0),
            row.checks,
            row.false_claims,
            row.surcharges as f64 / 1e6,
            row.credits as f64 / 1e6,
            row.left as f64 / 1e6,
            row.state
        );
    }
    let _ = write!(
        text,
        "{} epochs in {:.0} s; {} checks took {:.2} s; seconds are processor time, which stands in for joules here",
        counts.epochs, counts.seconds, counts.checks, counts.check_seconds
    );
    let json = json!({
        "agents": rows.iter().map(row_json).collect::<Vec<_>>(),
        "epochs": counts.epochs,
        "seconds": counts.seconds,
        "own_cpu_seconds": counts.own_seconds,
        "checks": counts.checks,
        "check_seconds": counts.check_seconds,
        "metered_by": if has_groups { "control groups" } else { "processes" },
        "quantity": profile.quantity.unit(),
        "priced_celsius": daemon.climate.air().temperature_mk as f64 / 1e3,
        "headroom": f64::from(daemon.climate.air().headroom_ppm) / 1e6,
        "settles_at_celsius": daemon.climate.forecast().map(|forecast| forecast.settles_at),
        "profile": profile,
    });
    Finished { exit: Exit::Ok, json, text }
}

fn row(daemon: &Daemon, id: AgentId) -> Option<Row> {
    let node = daemon.desk.node();
    let agent = node.agents().get(&id)?;
    let name = daemon.desk.name(id);
    // The ledger also knows agents of earlier runs.
    if !daemon.desk.has_member(id) {
        return None;
    }
    let state = match node.order(id) {
        Order::Run => "runs",
        Order::Throttle(_) => "throttled",
        Order::Stop(Stopped::WalletEmpty) => "stopped: wallet empty",
        Order::Stop(Stopped::FalseClaim) => "stopped: false claim",
    };
    Some(Row {
        name: name.to_owned(),
        state,
        paid_tokens: daemon.desk.paid_tokens(id),
        used: agent.measured_uj as f64 / 1e6,
        unexplained: agent.unexplained.joules,
        checks: agent.checks,
        false_claims: agent.false_claims,
        surcharges: agent.surcharges,
        credits: node.ledger().balance(Account::Agent(id), Asset::Microcredits),
        left: node.ledger().balance(Account::Agent(id), Asset::Microjoules),
    })
}

fn row_json(row: &Row) -> Value {
    json!({
        "agent": row.name,
        "state": row.state,
        "paid_tokens": row.paid_tokens,
        "used_seconds": row.used,
        "unexplained_seconds": row.unexplained,
        "checks": row.checks,
        "false_claims": row.false_claims,
        "surcharge_microcredits": row.surcharges,
        "microcredits": row.credits,
        "left_micro_seconds": row.left,
    })
}
