//! The figures that follow from the given arguments. Never prints a figure that `--json` does not have.

use recomputer::coverage::{self, Lottery, Probability};
use serde_json::{Value, json};

use super::CoverageArguments;
use super::numbers::{chance, count, duration, few_digits, share};
use crate::output::grouped;

/// Everything that is shown but the tables.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    arguments: &'a CoverageArguments,
    /// Cheated answers until a catch is as likely as wanted; real, then whole.
    cheated_needed: f64,
    whole_cheated_needed: Option<u64>,
    mean_seconds: f64,
    seconds_to_confidence: f64,
    /// The chance to catch one of `--cheated` answers, and the eps for the wanted chance.
    detection: f64,
    eps_for_cheated: Option<Probability>,
    eps_for_time: Option<Probability>,
    checks_needed: f64,
    server_floor: Option<Probability>,
    recompute_units: f64,
    lottery_detection: f64,
    draws_needed: Option<u64>,
    checks: u64,
    deviating_share_max: f64,
    covert_budget: Option<u64>,
}

impl<'a> Plan<'a> {
    /// Computes all of it.
    pub(super) fn new(arguments: &'a CoverageArguments) -> Result<Self, recomputer::Error> {
        let (sampling, traffic, confidence) =
            (arguments.sampling(), arguments.traffic(), arguments.confidence);
        let lottery = Lottery::new(arguments.requests(), arguments.cheated)?;
        // A sum that is too large is refused as any that is.
        let checks = arguments.clean.saturating_add(arguments.failed);
        Ok(Self {
            arguments,
            cheated_needed: coverage::cheated_needed(sampling, confidence),
            whole_cheated_needed: coverage::whole_cheated_needed(sampling, confidence),
            mean_seconds: coverage::mean_seconds(sampling, traffic),
            seconds_to_confidence: coverage::seconds_to(sampling, traffic, confidence),
            detection: coverage::detection(sampling, arguments.cheated),
            eps_for_cheated: coverage::share_for_cheated(confidence, sampling.power, arguments.cheated),
            eps_for_time: coverage::share_for_time(confidence, sampling.power, traffic, arguments.time),
            checks_needed: coverage::checks_needed(confidence, traffic.cheated_share),
            server_floor: coverage::server_floor(sampling, traffic, confidence, arguments.time),
            recompute_units: coverage::recompute_budget(
                arguments.eps,
                arguments.replay_share,
                arguments.fleet,
            ),
            lottery_detection: lottery.detection(arguments.sample)?,
            draws_needed: lottery.draws_needed(confidence),
            checks,
            deviating_share_max: coverage::deviating_share_bound(checks, arguments.failed, confidence)?,
            covert_budget: coverage::covert_budget(sampling, arguments.risk),
        })
    }

    /// Null where nothing is enough.
    pub(super) fn json(&self) -> Value {
        let arguments = self.arguments;
        let eps = |share: Option<Probability>| json!(share.map(Probability::get));
        json!({
            "eps": arguments.eps.get(),
            "power": arguments.power.get(),
            "confidence": arguments.confidence.get(),
            "cheated_share": arguments.share.get(),
            "answers_per_second": arguments.rate.get(),
            "cheated_needed": self.whole_cheated_needed,
            "cheated_needed_real": self.cheated_needed,
            "mean_seconds": self.mean_seconds,
            "seconds_to_confidence": self.seconds_to_confidence,
            "cheated": {
                "answers": arguments.cheated,
                "detection": self.detection,
                "eps_needed": eps(self.eps_for_cheated),
            },
            "server": {
                "seconds": arguments.time.get(),
                "checks_needed": self.checks_needed,
                "eps_needed": eps(self.eps_for_time),
                "eps_floor": eps(self.server_floor),
            },
            "recompute": {
                "fleet_units": arguments.fleet.get(),
                "replay_share": arguments.replay_share.get(),
                "units": self.recompute_units,
            },
            "lottery": {
                "requests": arguments.requests(),
                "cheated": arguments.cheated,
                "sample": arguments.sample,
                "detection": self.lottery_detection,
                "sample_needed": self.draws_needed,
            },
            "checks": {
                "clean": arguments.clean,
                "failed": arguments.failed,
                "total": self.checks,
                "deviating_share_max": self.deviating_share_max,
            },
            "covert": { "risk": arguments.risk.get(), "answers_max": self.covert_budget },
        })
    }

    /// One figure per line.
    pub(super) fn text(&self) -> String {
        let arguments = self.arguments;
        let wanted = share(arguments.confidence);
        let eps = |needed: Option<Probability>| {
            needed.map_or_else(|| "not even 1".to_owned(), |needed| few_digits(needed.get()))
        };
        let cheated = grouped(arguments.cheated);
        let server = format!("{} cheated at {}/s", share(arguments.share), arguments.rate);
        let within = duration(arguments.time.get());
        let lines = [
            (format!("cheated answers until P = {wanted}"), count(self.whole_cheated_needed)),
            (format!("P to catch one of {cheated} cheated answers"), chance(self.detection)),
            (format!("eps for P = {wanted} at {cheated} cheated answers"), eps(self.eps_for_cheated)),
            (format!("mean time to the first catch, {server}"), duration(self.mean_seconds)),
            (format!("time until P = {wanted}, {server}"), duration(self.seconds_to_confidence)),
            (format!("eps for P = {wanted} within {within}, {server}"), eps(self.eps_for_time)),
            (
                format!("checks of that server (of power 1) for P = {wanted}"),
                if self.checks_needed == f64::INFINITY {
                    count(None)
                } else {
                    few_digits(self.checks_needed.ceil())
                },
            ),
            ("eps of that server: the larger of both".to_owned(), eps(self.server_floor)),
            (
                format!(
                    "units that recompute, fleet of {} units, a replay costs {}",
                    few_digits(arguments.fleet.get()),
                    arguments.replay_share
                ),
                few_digits(self.recompute_units),
            ),
            (
                format!(
                    "P of a lottery: {} of {} requests, {cheated} cheated",
                    grouped(arguments.sample),
                    grouped(arguments.requests())
                ),
                chance(self.lottery_detection),
            ),
            (format!("requests to draw for P = {wanted}"), count(self.draws_needed)),
            (
                format!(
                    "deviating share at most (P = {wanted}), {} checks, {} failed",
                    grouped(self.checks),
                    grouped(arguments.failed)
                ),
                few_digits(self.deviating_share_max),
            ),
            (
                format!("cheated answers, ever, at a risk of at most {}", share(arguments.risk)),
                self.covert_budget.map_or_else(|| "any number".to_owned(), grouped),
            ),
        ];
        let mut text = format!(
            "eps = {} of the answers are checked, a check shows a cheat with q = {}\n",
            share(arguments.eps),
            share(arguments.power)
        );
        for (what, value) in lines {
            text.push_str(&format!("  {what:<66} {value:>12}\n"));
        }
        text
    }
}
