//! The configuration of `maxwell gateway`: what a TOML file may say, what holds if it does not, and what can change
//! while it runs. Pure: reads no file. Must never take a field that it does not know, nor let a frozen one change.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use gateway::access::Timeouts;
use gateway::governor::GovernorPolicy;
use gateway::limits::Rates;
use gateway::panel::{PanelPolicy, SEATS_MAX};
use gateway::sampling::{AuditPolicy, PPB, RATE_MIN_PPB};
use gateway::service::EpochSettings;
use gateway::unverifiable::BudgetPolicy;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::stack::{BACKLOG_MAX, CONNECTIONS_MAX, IN_FLIGHT_MAX, LEASE_MS, ServerTimes};

#[cfg(test)]
mod tests;

/// Largest configuration.
pub(super) const MAX_CONFIG_BYTES: usize = 1 << 20;
/// Sections and fields that may change while the gateway runs.
const CHANGEABLE: [&str; 3] = ["api_keys", "limits", "timeouts"];
const PPM: u32 = 1_000_000;
/// The least that any gateway recomputes.
const RATE_MIN_PPM: u32 = (RATE_MIN_PPB / (PPB / PPM as u64)) as u32;
/// Most answers of an epoch: a proof hashes all of them.
const EPOCH_ANSWERS_MAX: usize = 1 << 16;
/// Two picks a second are what 20 answers a second have at the usual rate; a recomputer that has none replays a dummy.
const SLOT_MS: u64 = 500;
/// An answer in flight keeps its tokens and its claim in memory, and so many are more than a server takes.
const CAPACITY_MAX: usize = 1 << 16;

/// All of it. `maxwell gateway --help` shows it to people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// Where clients connect.
    #[serde(default = "default_address")]
    pub(super) address: SocketAddr,
    /// The model's name in the whitelist.
    pub(super) model: String,
    /// Its file.
    pub(super) weights: PathBuf,
    /// Signs receipts.
    pub(super) receipt_key: PathBuf,
    /// Who may ask.
    pub(super) api_keys: Option<PathBuf>,
    pub(super) whitelist: WhitelistSection,
    pub(super) log: LogSection,
    #[serde(default)]
    pub(super) sockets: SocketsSection,
    pub(super) audit: AuditSection,
    #[serde(default)]
    pub(super) recomputers: RecomputersSection,
    #[serde(default)]
    pub(super) egress: EgressSection,
    #[serde(default)]
    pub(super) server: ServerSection,
    #[serde(default)]
    pub(super) limits: Rates,
    #[serde(default)]
    pub(super) timeouts: TimeoutsSection,
    #[serde(default)]
    pub(super) capacity: CapacitySection,
}

/// What may be served, and who says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WhitelistSection {
    pub(super) file: PathBuf,
    /// Two public keys, or their files. A list, since the parser would drop a third entry of an array silently.
    pub(super) parties: Vec<String>,
    #[serde(default)]
    pub(super) lowest_version: u64,
    /// Beside the list if not given.
    pub(super) tokenizer: Option<PathBuf>,
    /// Beside the list if not given.
    pub(super) outboard: Option<PathBuf>,
}

/// What is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogSection {
    pub(super) folder: PathBuf,
    /// `log.key` in the folder if not given.
    pub(super) key: Option<PathBuf>,
}

/// Unix sockets; in the log's folder if not given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SocketsSection {
    pub(super) link: Option<PathBuf>,
    pub(super) recomputers: Option<PathBuf>,
}

/// How much is recomputed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditSection {
    pub(super) rate_ppm: NonZeroU32,
    /// The rate if not given.
    pub(super) floor_ppm: Option<u32>,
    #[serde(default = "default_lease_ms")]
    pub(super) lease_ms: NonZeroU64,
    /// Floors of single models by their names; a higher one counts.
    #[serde(default)]
    pub(super) model_floors_ppm: BTreeMap<String, u32>,
    /// Answers of one epoch.
    #[serde(default = "default_epoch_answers")]
    pub(super) epoch_answers: usize,
    /// The other party: a public key, or its file.
    pub(super) beacon_party: Option<String>,
}

/// Who recomputes, and how they are watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RecomputersSection {
    /// One to three. The first has the socket for recomputers, the next ones have it with -2 and -3 behind it.
    pub(super) names: Vec<String>,
    /// Share of the picks that the second gets in any case.
    pub(super) second_ppm: u32,
    /// Canaries per job.
    pub(super) canary_ppm: u32,
    /// One job per slot, or a dummy; 0: as they come.
    pub(super) slot_ms: u64,
    /// More answers without a verdict over a day are an alarm.
    pub(super) unverifiable_ppm: u32,
}

impl Default for RecomputersSection {
    fn default() -> Self {
        Self {
            names: vec!["first".to_owned()],
            second_ppm: 100_000,
            canary_ppm: 50_000,
            slot_ms: SLOT_MS,
            unverifiable_ppm: 1000,
        }
    }
}

/// How much text may leave without a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EgressSection {
    pub(super) unverified_bytes_max: NonZeroU64,
    pub(super) cap_bytes_per_s: NonZeroU64,
    pub(super) tau_ms: NonZeroU64,
}

impl Default for EgressSection {
    fn default() -> Self {
        let GovernorPolicy { unverified_bytes_max, cap_bytes_per_s, tau_ms } = GovernorPolicy::default();
        let number = |value| NonZeroU64::new(value).expect("the defaults are not 0");
        Self {
            unverified_bytes_max: number(unverified_bytes_max),
            cap_bytes_per_s: number(cap_bytes_per_s),
            tau_ms: number(tau_ms),
        }
    }
}

/// How the server is obtained, and how long it may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ServerSection {
    /// Program and arguments; `{link}` stands for the socket. If not given, a server has to connect.
    pub(super) command: Option<Vec<String>>,
    pub(super) load_ms: u64,
    pub(super) readback_ms: u64,
    pub(super) silence_ms: u64,
}

impl Default for ServerSection {
    fn default() -> Self {
        let ServerTimes { load_ms, readback_ms, silence_ms } = ServerTimes::default();
        Self { command: None, load_ms, readback_ms, silence_ms }
    }
}

/// How long clients may take, and the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TimeoutsSection {
    pub(super) head_ms: NonZeroU64,
    pub(super) body_idle_ms: NonZeroU64,
    pub(super) body_total_ms: NonZeroU64,
    pub(super) drain_ms: u64,
}

impl Default for TimeoutsSection {
    fn default() -> Self {
        let ms = |duration: Duration| {
            let ms = u64::try_from(duration.as_millis()).ok().and_then(NonZeroU64::new);
            ms.expect("the defaults are milliseconds, not 0 and not ages")
        };
        let Timeouts { head, body_idle, body_total } = Timeouts::default();
        Self {
            head_ms: ms(head),
            body_idle_ms: ms(body_idle),
            body_total_ms: ms(body_total),
            drain_ms: 60_000,
        }
    }
}

/// How much at the same time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CapacitySection {
    pub(super) connections_max: usize,
    pub(super) in_flight_max: usize,
    pub(super) backlog_max: usize,
}

impl Default for CapacitySection {
    fn default() -> Self {
        Self { connections_max: CONNECTIONS_MAX, in_flight_max: IN_FLIGHT_MAX, backlog_max: BACKLOG_MAX }
    }
}

fn default_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8080))
}

fn default_epoch_answers() -> usize {
    EpochSettings::default().answers_max
}

fn default_lease_ms() -> NonZeroU64 {
    NonZeroU64::new(LEASE_MS).expect("the default is not 0")
}

impl Config {
    /// Reads the text of a file, and checks what can be checked without other files.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        // The error shows the line, and what was expected there.
        let config: Self = toml::from_str(text)
            .map_err(|error| anyhow::anyhow!("{}", error.to_string().trim_end()))
            .context("the configuration is refused; `maxwell gateway --help` shows a whole one")?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> anyhow::Result<()> {
        if !self.address.ip().is_loopback() && self.api_keys.is_none() {
            bail!(
                "address {} is open to other machines: give api_keys (see `maxwell gateway keys add`), or listen at \
                 127.0.0.1",
                self.address
            );
        }
        if self.whitelist.parties.len() != 2 {
            bail!("whitelist.parties: give exactly two public keys, those whose holders signed the list");
        }
        self.check_recomputers()?;
        self.audit.check()?;
        if self.server.command.as_ref().is_some_and(Vec::is_empty) {
            bail!("server.command names no program; leave it out to wait for a server that connects");
        }
        let ServerSection { load_ms, readback_ms, silence_ms, .. } = self.server;
        if [load_ms, readback_ms, silence_ms].contains(&0) {
            bail!("server: a time of 0 ms kills every server");
        }
        let CapacitySection { connections_max, in_flight_max, backlog_max } = self.capacity;
        for (name, value) in [
            ("connections_max", connections_max),
            ("in_flight_max", in_flight_max),
            ("backlog_max", backlog_max),
        ] {
            if !(1..=CAPACITY_MAX).contains(&value) {
                bail!("capacity.{name} is {value}; 1 to {CAPACITY_MAX} can be");
            }
        }
        if backlog_max < in_flight_max {
            bail!(
                "capacity.backlog_max is below in_flight_max: each answer in flight may need a place in the backlog"
            );
        }
        Ok(())
    }

    fn check_recomputers(&self) -> anyhow::Result<()> {
        let RecomputersSection { names, second_ppm, canary_ppm, unverifiable_ppm, .. } = &self.recomputers;
        let is_name = |name: &String| (1..=64).contains(&name.len());
        let is_twice = |name: &String| names.iter().filter(|other| *other == name).count() > 1;
        if !(1..=SEATS_MAX).contains(&names.len()) || !names.iter().all(is_name) || names.iter().any(is_twice)
        {
            bail!("recomputers.names: give one to {SEATS_MAX} different names of 1 to 64 bytes");
        }
        if [second_ppm, canary_ppm, unverifiable_ppm].into_iter().any(|share| *share > PPM) {
            bail!("recomputers: shares are at most {PPM} parts per million");
        }
        Ok(())
    }

    /// Who recomputes. The key is drawn for this run.
    pub(super) fn panel(&self, key: [u8; 32]) -> PanelPolicy {
        let RecomputersSection { names, second_ppm, canary_ppm, slot_ms, .. } = &self.recomputers;
        PanelPolicy {
            names: names.clone(),
            second_ppb: parts_per_billion(*second_ppm),
            canary_ppb: parts_per_billion(*canary_ppm),
            slot_ms: *slot_ms,
            lease_ms: self.audit.lease_ms.get(),
            jobs_max: self.capacity.backlog_max,
            key,
        }
    }

    /// How much may leave without a check.
    pub(super) fn governor(&self) -> GovernorPolicy {
        let EgressSection { unverified_bytes_max, cap_bytes_per_s, tau_ms } = &self.egress;
        GovernorPolicy {
            unverified_bytes_max: unverified_bytes_max.get(),
            cap_bytes_per_s: cap_bytes_per_s.get(),
            tau_ms: tau_ms.get(),
        }
    }

    /// How many answers may stay without a verdict.
    pub(super) fn unverifiable(&self) -> BudgetPolicy {
        let share_ppb = parts_per_billion(self.recomputers.unverifiable_ppm);
        BudgetPolicy { share_ppb, ..BudgetPolicy::default() }
    }

    /// How much is recomputed.
    pub(super) fn policy(&self) -> AuditPolicy {
        let ppb = parts_per_billion;
        let rate_ppm = self.audit.rate_ppm.get();
        let floor_ppm = self.audit.floor_ppm.unwrap_or(rate_ppm);
        let of_model = self.audit.model_floors_ppm.get(&self.model).copied().unwrap_or(floor_ppm);
        AuditPolicy { rate_ppb: ppb(rate_ppm), floor_ppb: ppb(floor_ppm.max(of_model)) }
    }

    /// How long clients may take.
    pub(super) fn timeouts(&self) -> Timeouts {
        let TimeoutsSection { head_ms, body_idle_ms, body_total_ms, .. } = self.timeouts;
        let duration = |ms: NonZeroU64| Duration::from_millis(ms.get());
        Timeouts {
            head: duration(head_ms),
            body_idle: duration(body_idle_ms),
            body_total: duration(body_total_ms),
        }
    }

    /// How long the server may take.
    pub(super) fn server_times(&self) -> ServerTimes {
        let ServerSection { load_ms, readback_ms, silence_ms, .. } = self.server;
        ServerTimes { load_ms, readback_ms, silence_ms }
    }

    /// Refuses a new configuration that differs in what can't change while the gateway runs. A field is frozen unless
    /// it is named in [`CHANGEABLE`].
    pub(super) fn check_change(&self, new: &Self) -> anyhow::Result<()> {
        let (old, new) = (serde_json::to_value(self)?, serde_json::to_value(new)?);
        let mut changed = Vec::new();
        differences("", &old, &new, &mut changed);
        changed.retain(|name| !CHANGEABLE.contains(&name.split('.').next().unwrap_or(name)));
        if changed.is_empty() {
            return Ok(());
        }
        let audit = if changed.iter().any(|name| name.starts_with("audit.")) {
            "; the log has committed to the audit until its end"
        } else {
            ""
        };
        bail!("{} can't change while the gateway runs{audit}: start it again", changed.join(", "));
    }
}

fn parts_per_billion(ppm: u32) -> u64 {
    u64::from(ppm) * (PPB / u64::from(PPM))
}

impl AuditSection {
    fn check(&self) -> anyhow::Result<()> {
        let (rate_ppm, least) = (self.rate_ppm.get(), RATE_MIN_PPM);
        if !(least..=PPM).contains(&rate_ppm)
            || self.floor_ppm.is_some_and(|floor| !(least..=rate_ppm).contains(&floor))
        {
            bail!("audit: rate_ppm is {least} to {PPM} parts per million, and floor_ppm {least} to rate_ppm");
        }
        if let Some((name, _)) = self.model_floors_ppm.iter().find(|(_, floor)| **floor > PPM) {
            bail!("audit.model_floors_ppm: {name} has more than {PPM} parts per million");
        }
        if !(1..=EPOCH_ANSWERS_MAX).contains(&self.epoch_answers) {
            bail!("audit.epoch_answers is {}; 1 to {EPOCH_ANSWERS_MAX} can be", self.epoch_answers);
        }
        Ok(())
    }
}

/// Names of the fields in which two values differ.
fn differences(name: &str, old: &Value, new: &Value, out: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) if old.keys().eq(new.keys()) => {
            for (field, old) in old {
                let name = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
                differences(&name, old, new.get(field).unwrap_or(&Value::Null), out);
            }
        }
        _ if old != new => out.push(name.to_owned()),
        _ => {}
    }
}
