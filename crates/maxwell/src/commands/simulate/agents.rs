//! Who takes part, and what each does with what it gets. Their behaviour does not depend on who governs.

use model::synthetic::SplitMix64;

use super::world::{FEED, PROCESSORS, TOKENS_PER_MS, Used};

/// Milliseconds of the accelerator that one job wants.
pub(super) const JOB_GPU_MS: u64 = 1_250;
/// Jobs that an honest agent wants in an epoch; the others want one.
const HONEST_JOBS: u64 = 2;
/// Milliseconds of processors that a looper wants in an epoch.
pub(super) const LOOP_CPU_MS: u64 = 40_000;
/// Milliseconds of processors that a miner takes beside its inference, if nothing holds it.
const MINER_CPU_MS: f64 = 30_000.0;
/// What mining adds to the power of its accelerator's time.
const MINER_GPU: f64 = 0.2;
/// Share of the work that the swapped model takes.
const SWAPPED: f64 = 0.5;

/// What an agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Does what it claims.
    Honest,
    /// Does what it claims, and mines beside it.
    Miner,
    /// Burns processors in the background.
    Looper,
    /// Honest for half of the time, then a swapper.
    Sleeper,
    /// Runs a smaller model than it claims.
    Swapper,
    /// Gives answers of before, and computes nothing.
    Replayer,
}

/// Kinds and how many of each.
#[derive(Clone, Debug)]
pub(super) struct Population(pub(super) Vec<(Kind, u8)>);

impl Population {
    /// One of each, in order.
    pub(super) fn kinds(&self) -> Vec<Kind> {
        self.0.iter().flat_map(|(kind, count)| (0..*count).map(|_| *kind)).collect()
    }
}

/// What an agent did with the time of a job, or of none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Done {
    /// What it used.
    pub(super) used: Used,
    /// Tokens that it claims.
    pub(super) claimed: u64,
    /// Tokens of the model that was sold.
    pub(super) useful: u64,
}

impl Kind {
    /// Whether it deserves to be stopped, or throttled.
    pub(super) const fn is_cheat(self) -> bool {
        match self {
            // A looper that pays for what it burns does no wrong.
            Self::Honest | Self::Looper => false,
            Self::Miner | Self::Sleeper | Self::Swapper | Self::Replayer => true,
        }
    }

    /// Inference jobs that it wants in an epoch.
    pub(super) const fn jobs(self) -> u64 {
        match self {
            Self::Honest => HONEST_JOBS,
            Self::Looper => 0,
            Self::Miner | Self::Sleeper | Self::Swapper | Self::Replayer => 1,
        }
    }

    /// What becomes of a job's time. `speed` is that of the accelerator, `late` whether half of the run is over.
    pub(super) fn infer(self, gpu_ms: u64, speed: f64, late: bool) -> Done {
        let gpu_ms = gpu_ms as f64 * speed;
        let tokens = (gpu_ms * TOKENS_PER_MS) as u64;
        let part = match self {
            Self::Honest | Self::Miner => 1.0,
            Self::Sleeper if !late => 1.0,
            Self::Sleeper | Self::Swapper => SWAPPED,
            Self::Looper | Self::Replayer => 0.0,
        };
        let more_joules =
            if self == Self::Miner { gpu_ms / 1e3 * super::world::GPU_WATTS * MINER_GPU } else { 0.0 };
        let used = Used { cpu_ms: gpu_ms * part * FEED, gpu_ms: gpu_ms * part, more_joules };
        Done { used, claimed: tokens, useful: if part < 1.0 { 0 } else { tokens } }
    }

    /// What it takes of the processors beside its jobs, of `free_ms` that nobody else uses, at most `limit` of one second
    /// in thousandths if it is throttled.
    pub(super) fn beside(
        self,
        free_ms: f64,
        limit_milli: Option<u64>,
        seconds: f64,
        random: &mut SplitMix64,
    ) -> Used {
        if self != Self::Miner {
            return Used::default();
        }
        let wanted = MINER_CPU_MS * (0.8 + 0.4 * unit(random));
        let limit = limit_milli.map_or(f64::INFINITY, |milli| milli as f64 * seconds);
        Used { cpu_ms: wanted.min(free_ms.max(0.0)).min(limit), ..Used::default() }
    }
}

/// Milliseconds of processors in an epoch.
pub(super) fn processor_ms(seconds: u32) -> f64 {
    (PROCESSORS * u64::from(seconds) * 1000) as f64
}

/// 0 to 1.
pub(super) fn unit(random: &mut SplitMix64) -> f64 {
    (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}
