//! What the node sells and for how much, in proportion to what a request of the model costs here.

use anyhow::Context;
use hypervisor::climate::Climate;
use hypervisor::desk::Plan;
use hypervisor::thermo::Profile;
use hypervisor::wire::Sampling;
use market::economics::{Stakes, WHOLE_PPB};
use market::heat_price::HeatPrice;
use model::Model;

use super::Settings;
use crate::commands::generate::encode_prompt;
use crate::output::Misuse;

/// What agents are asked, in turn.
const PROMPTS: [&str; 4] = [
    "Why is the sky blue?",
    "Name three rivers in Europe.",
    "What does a heat pump do?",
    "Write one sentence about the moon.",
];
/// Temperature, so that the nonce's draws make every answer a new one.
const TEMPERATURE_MILLI: u32 = 800;
/// What a token earns, in microcredits.
const TOKEN_REWARD: u64 = 100;
/// A job takes about this share of an epoch.
const JOB_SHARE: f64 = 0.5;
/// Most requests of a job.
const REQUESTS_MAX: f64 = 32.0;
/// More milliseconds than expected that a bundle has, as a factor.
const SPARE: f64 = 1.25;
/// What a job pays at least, as a share of what it earns.
const RESERVE_SHARE: u64 = 10;
/// A stake that is enough, in jobs' earnings.
const STAKE_JOBS: u64 = 4;
/// A second that no claim explains costs so many times what it would have earned.
const UNEXPLAINED_FACTOR: f64 = 2.0;
/// Bytes of the bus in an epoch: there is none to share here.
const BUS_BYTES: u64 = 1 << 40;
/// Where heat is at its base price: also what is assumed where there is no thermometer.
const TARGET_MK: i64 = 70_000;
const TAU_MK: u32 = 8_000;
/// Degrees Celsius at which a processor throttles that does not say where it does.
const LIMIT: f64 = 95.0;

/// What a request is.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) prompts: Vec<Vec<u32>>,
    pub(super) sampling: Sampling,
    pub(super) model: protocol::ModelCommitment,
}

impl Work {
    /// Of a model.
    pub(super) fn of(model: &Model, settings: &Settings) -> anyhow::Result<Self> {
        let raw = model.tokenizer.encode_chat(&[], true).is_err();
        let prompts: anyhow::Result<Vec<Vec<u32>>> =
            PROMPTS.iter().map(|prompt| encode_prompt(model, prompt, None, raw)).collect();
        let prompts = prompts.context("can't encode the prompts for this model")?;
        let sampling = Sampling { temperature_milli: TEMPERATURE_MILLI, max_tokens: settings.tokens };
        let work = Self { prompts, sampling, model: model.commitment };
        let tokens = work.tokens();
        if tokens > u64::from(model.config.context) {
            let words = format!("prompt and answer have {tokens} tokens, the model {}", model.config.context);
            return Err(Misuse(words).into());
        }
        Ok(work)
    }

    /// Tokens of the longest request at full length.
    pub(super) fn tokens(&self) -> u64 {
        let longest = self.prompts.iter().map(Vec::len).max().unwrap_or(0);
        longest as u64 + u64::from(self.sampling.max_tokens)
    }
}

/// All of it.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) node: hypervisor::node::Terms,
    pub(super) plan: Plan,
    /// Microcredits and microjoules that each agent begins with.
    pub(super) payment: (u64, u64),
}

impl Terms {
    /// `replay_share`: what a replay takes of what the answer took.
    pub(super) fn of(
        profile: &Profile,
        work: &Work,
        settings: &Settings,
        replay_share: f64,
    ) -> anyhow::Result<Self> {
        let (per_token, _) =
            profile.joules_per_token(1.0).context("the profile has no figure for one request at a time")?;
        let request_ms = (per_token * work.tokens() as f64 * 1e3 * SPARE).ceil().max(1.0);
        let epoch_ms = settings.epoch_seconds * 1e3;
        let requests = (epoch_ms * JOB_SHARE / request_ms).floor().clamp(1.0, REQUESTS_MAX) as u32;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let supply = [(epoch_ms * processors as f64) as u64, 0, BUS_BYTES];
        let request_reward = work.tokens() * TOKEN_REWARD;
        let job = request_reward * u64::from(requests);
        let job_ms = request_ms as u64 * u64::from(requests);
        let stake = job.saturating_mul(STAKE_JOBS);
        let node = hypervisor::node::Terms {
            supply,
            reserve: [u128_div(supply[0], job / RESERVE_SHARE, job_ms), 0, 0],
            heat: HeatPrice { target_mk: TARGET_MK, tau_mk: TAU_MK },
            stakes: Stakes {
                gain: job,
                reward: job,
                margin: job / 2,
                power_ppb: WHOLE_PPB,
                false_alarm_ppb: 0,
                audit_cost: (job as f64 * replay_share.clamp(0.0, 1.0)) as u64,
            },
            interest_ppb: 1_000,
            // No agent of a node proves yet.
            proof_discount: 0,
            token_reward: TOKEN_REWARD,
            // A millisecond of CPU in microjoules, or in millionths of a second where these stand in.
            expected_uj: [1_000, 0, 0],
            unexplained_joule: (TOKEN_REWARD as f64 / per_token * UNEXPLAINED_FACTOR) as u64,
            throttled_milli: settings.throttle,
        };
        let epoch_ns = (settings.epoch_seconds * 1e9) as u64;
        let plan = Plan {
            epoch_ns,
            opening_ns: epoch_ns / 4,
            greeting_ns: epoch_ns.saturating_mul(5),
            supply,
            requests,
            request_cpu_ms: request_ms as u64,
            request_reward,
            stake,
            sampling: work.sampling,
            prompts: work.prompts.clone(),
            model: work.model,
        };
        let uj = (settings.cpu_seconds.max(0.0) * 1e6) as u64;
        Ok(Self { node, plan, payment: (job.saturating_mul(settings.credits), uj) })
    }

    /// The heat that its prices follow.
    pub(super) fn climate(&self) -> Climate {
        Climate::new(LIMIT, self.plan.epoch_ns as f64 / 1e9, TARGET_MK)
    }

    /// For people.
    pub(super) fn line(&self, profile: &Profile, has_groups: bool) -> String {
        let how = if has_groups {
            "by control groups"
        } else {
            "by process, since no control group can be made here"
        };
        let (per_token, relative) = profile.joules_per_token(1.0).unwrap_or_default();
        let (per_token, percent) = (per_token * 1e3, relative * 100.0);
        format!(
            "no meter counts each process here: processor time stands in for joules ({per_token:.2} ms a token, +- {percent:.0}%), accounted \
             {how}\na job: {} requests of at most {} tokens, {} ms of CPU; it earns {:.3} credits at most",
            self.plan.requests,
            self.plan.sampling.max_tokens,
            self.plan.request_cpu_ms * u64::from(self.plan.requests),
            (self.plan.request_reward * u64::from(self.plan.requests)) as f64 / 1e6
        )
    }
}

/// `a * b / c`, without loss in between.
fn u128_div(a: u64, b: u64, c: u64) -> u64 {
    u64::try_from(u128::from(a) * u128::from(b) / u128::from(c.max(1))).unwrap_or(u64::MAX)
}
