//! `maxwell economics`: the audit rate and the stake at which cheating does not pay, solved and not guessed. Never rounds
//! in favour of a cheat.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;
use market::economics::{Infeasible, Stakes, Terms, WHOLE_PPB};
use plotters::prelude::*;
use recomputer::coverage::{Probability, Sampling, detection};
use serde_json::{Value, json};

use super::Shell;
use crate::decimal;
use crate::home::write_atomic;
use crate::output::{Exit, Finished, Misuse};

/// Rates of the table, in billionths.
const RATES: [u64; 7] = [100_000, 1_000_000, 5_000_000, 10_000_000, 50_000_000, 100_000_000, WHOLE_PPB];
const SIZE: (u32, u32) = (900, 480);
const POINTS: u32 = 160;

/// Arguments of `maxwell economics`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct EconomicsArguments {
    /// What cheating on one request saves, in credits
    #[arg(long, value_name = "CREDITS", default_value = "0.006", value_parser = decimal::micro)]
    gain: u64,
    /// What is paid for one request, and forfeited by a cheat
    #[arg(long, value_name = "CREDITS", default_value = "0.01", value_parser = decimal::micro)]
    reward: u64,
    /// What an honest agent earns with one request after its costs
    #[arg(long, value_name = "CREDITS", default_value = "0.002", value_parser = decimal::micro)]
    margin: u64,
    /// Chance that an audit of a cheated answer shows it; 1 for exact checks
    #[arg(long, value_name = "CHANCE", default_value = "1", value_parser = decimal::ppb)]
    power: u32,
    /// Chance that an audit of an honest answer accuses; 0 for exact checks
    #[arg(long, value_name = "CHANCE", default_value = "0", value_parser = decimal::ppb)]
    false_alarm: u32,
    /// What an audit of one request costs, in credits
    #[arg(long, value_name = "CREDITS", default_value = "0.001", value_parser = decimal::micro)]
    audit_cost: u64,
    /// The stake that agents have: solves for the rate
    #[arg(long, value_name = "CREDITS", value_parser = decimal::micro, conflicts_with = "rate")]
    stake: Option<u64>,
    /// Share of answers that are audited: solves for the stake
    #[arg(long, value_name = "SHARE", value_parser = decimal::ppb)]
    rate: Option<u32>,
    /// Cheated requests, for the chance that none of them is seen
    #[arg(long, value_name = "N", default_value_t = 1000)]
    cheated: u64,
    /// Draw stake over audit rate to this file
    #[arg(long, value_name = "SVG")]
    plot: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  maxwell economics --stake 5
  maxwell economics --rate 0.001 --gain 0.006 --reward 0.01
  maxwell economics --power 0.95 --false-alarm 0.0001 --rate 0.01
  maxwell economics --json | jq .solution
  maxwell economics --plot stake.svg

Cheating on a request does not pay if eps d (S + R) >= g: audits with chance eps find it with chance d, and it loses the
stake S and the reward R. Honest agents bear false alarms if eps phi S <= m. Without --stake and --rate the table alone is
printed.

Exit codes: 0 solved, 3 nothing solves it (the inequality that fails is named), 2 wrong usage.";

/// Runs the command.
pub(crate) fn run(arguments: &EconomicsArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let stakes = Stakes {
        gain: arguments.gain,
        reward: arguments.reward,
        margin: arguments.margin,
        power_ppb: arguments.power.into(),
        false_alarm_ppb: arguments.false_alarm.into(),
        audit_cost: arguments.audit_cost,
    };
    if [stakes.false_alarm_ppb, stakes.power_ppb].iter().any(|chance| *chance > WHOLE_PPB) {
        return Err(Misuse(Infeasible::Chance.to_string()).into());
    }
    let asked = match (arguments.stake, arguments.rate) {
        (Some(stake), _) => Some(stakes.least_rate(stake).map(|audit_ppb| Terms { audit_ppb, stake })),
        (None, Some(rate)) => {
            let audit_ppb = u64::from(rate);
            Some(stakes.least_stake(audit_ppb).map(|stake| Terms { audit_ppb, stake }))
        }
        (None, None) => None,
    };
    if let Some(path) = &arguments.plot {
        plot(path, &stakes)?;
        shell.terminal.note(format_args!("drawn to {}", path.display()));
    }
    let mut text = String::new();
    match &asked {
        Some(Ok(terms)) => text.push_str(&solved(&stakes, *terms, arguments.cheated)?),
        Some(Err(error)) => {
            let _ = write!(text, "Nothing solves it: {error} (amounts in millionths of a credit).\n\n");
        }
        None => {}
    }
    text.push_str(&table(&stakes));
    let json = json!({
        "solution": asked.as_ref().and_then(|asked| asked.as_ref().ok()).map(|terms| terms_json(&stakes, *terms)),
        "infeasible": asked.as_ref().and_then(|asked| asked.as_ref().err()).map(ToString::to_string),
        "table": RATES.map(|rate| row_json(&stakes, rate)),
        "plot": arguments.plot,
    });
    let exit = if matches!(asked, Some(Err(_))) { Exit::Reject } else { Exit::Ok };
    Ok(Finished { exit, json, text })
}

fn solved(stakes: &Stakes, terms: Terms, cheated: u64) -> anyhow::Result<String> {
    let chance = |ppb: u64| Probability::new(ppb as f64 / WHOLE_PPB as f64);
    let sampling = Sampling { checked_share: chance(terms.audit_ppb)?, power: chance(stakes.power_ppb)? };
    let mut text = String::new();
    let _ = write!(
        text,
        "Audit {} of the answers, with a stake of {} credits.\n  a cheated request brings {} credits in the mean, never \
         more than 0\n  audits cost {} credits per request\n  of {cheated} cheated requests at least one is seen with \
         chance {:.6}\n\n",
        share(terms.audit_ppb),
        credits(terms.stake),
        signed_credits(stakes.cheating_brings(terms)),
        credits(stakes.audits_cost(terms.audit_ppb)),
        detection(sampling, cheated),
    );
    Ok(text)
}

fn table(stakes: &Stakes) -> String {
    let mut text = format!(
        "{:>12}  {:>16}  {:>18}  {:>20}",
        "audited", "least stake", "audits per request", "a cheat brings"
    );
    for rate in RATES {
        let _ = match stakes.least_stake(rate) {
            Ok(stake) => write!(
                text,
                "\n{:>12}  {:>16}  {:>18}  {:>20}",
                share(rate),
                credits(stake),
                credits(stakes.audits_cost(rate)),
                signed_credits(stakes.cheating_brings(Terms { audit_ppb: rate, stake })),
            ),
            Err(error) => write!(text, "\n{:>12}  {error}", share(rate)),
        };
    }
    text
}

fn terms_json(stakes: &Stakes, terms: Terms) -> Value {
    json!({
        "audit_ppb": terms.audit_ppb,
        "stake_microcredits": terms.stake,
        "audits_cost_microcredits": stakes.audits_cost(terms.audit_ppb),
        "cheating_brings_microcredits": stakes.cheating_brings(terms).to_string(),
    })
}

fn row_json(stakes: &Stakes, rate: u64) -> Value {
    match stakes.least_stake(rate) {
        Ok(stake) => terms_json(stakes, Terms { audit_ppb: rate, stake }),
        Err(error) => json!({"audit_ppb": rate, "infeasible": error.to_string()}),
    }
}

fn share(ppb: u64) -> String {
    format!("{}%", ppb as f64 / WHOLE_PPB as f64 * 100.0)
}

fn credits(micro: u64) -> String {
    format!("{}", micro as f64 / 1e6)
}

fn signed_credits(micro: i128) -> String {
    format!("{}", micro as f64 / 1e6)
}

fn plot(path: &Path, stakes: &Stakes) -> anyhow::Result<()> {
    let mut picture = String::new();
    draw(&mut picture, stakes).map_err(|error| anyhow!("can't draw the plot: {error}"))?;
    write_atomic(path, picture.as_bytes()).context("can't write the plot")
}

/// Least stake over the audit rate, both in decades.
fn draw(picture: &mut String, stakes: &Stakes) -> Result<(), Box<dyn std::error::Error>> {
    let rate = |point: u32| 10.0_f64.powf(5.0 + 4.0 * f64::from(point) / f64::from(POINTS)).round() as u64;
    let points: Vec<(f64, f64)> = (0..=POINTS)
        .map(rate)
        .filter_map(|rate| {
            Some((rate as f64 / 1e9, stakes.least_stake(rate.min(WHOLE_PPB)).ok()? as f64 / 1e6))
        })
        .filter(|(_, stake)| *stake > 0.0)
        .collect();
    let stakes = points.iter().map(|(_, stake)| *stake);
    let (low, high) = (stakes.clone().fold(f64::MAX, f64::min), stakes.fold(1e-6, f64::max));
    let root = SVGBackend::with_string(picture, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("Stake at which cheating does not pay", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(80)
        .build_cartesian_2d((1e-4..1.0).log_scale(), (low.min(high) / 2.0..high * 2.0).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("share of answers that are audited")
        .y_desc("credits")
        .x_label_formatter(&|value| format!("{value:e}"))
        .y_label_formatter(&|value| format!("{value:e}"))
        .draw()?;
    chart.draw_series(LineSeries::new(points, RGBColor(200, 90, 20).stroke_width(3)))?;
    root.present()?;
    Ok(())
}
