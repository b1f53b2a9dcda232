//! The chassis, its power, and what is counted. Made up, in the range of a server with one accelerator; both ways of
//! governing it run in the same world.

use hypervisor::heat::{Chassis, Heat, Load};

/// Seconds of an epoch.
pub(super) const EPOCH_SECONDS: u32 = 10;
/// Processors.
pub(super) const PROCESSORS: u64 = 16;
/// Watts of a busy processor, above idle.
pub(super) const PROCESSOR_WATTS: f64 = 8.0;
/// Watts of the busy accelerator, above idle.
pub(super) const GPU_WATTS: f64 = 300.0;
/// Watts of the idle machine: processors and accelerator.
const IDLE_WATTS: (f64, f64) = (20.0, 30.0);
/// Tokens of a millisecond of the accelerator with the model that is sold.
pub(super) const TOKENS_PER_MS: f64 = 1.0;
/// Milliseconds of a processor that feed a millisecond of the accelerator.
pub(super) const FEED: f64 = 0.4;
/// Share of its speed, and of its power above idle, that a throttled accelerator keeps.
const THROTTLED: f64 = 0.5;
/// Price of a joule that somebody takes without paying, in microcredits: power, cooling and wear.
pub(super) const JOULE_PRICE: f64 = 1.0;

/// What the accelerator and the processors did in an epoch, as shares of all of their time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Used {
    /// Milliseconds of processors.
    pub(super) cpu_ms: f64,
    /// Milliseconds of the accelerator.
    pub(super) gpu_ms: f64,
    /// Joules beyond what this time takes.
    pub(super) more_joules: f64,
}

impl Used {
    /// Joules above idle.
    pub(super) fn joules(&self) -> f64 {
        self.cpu_ms / 1e3 * PROCESSOR_WATTS + self.gpu_ms / 1e3 * GPU_WATTS + self.more_joules
    }
}

/// Joules above idle of a token of honest work.
pub(super) fn joules_per_token() -> f64 {
    (GPU_WATTS + FEED * PROCESSOR_WATTS) / 1e3 / TOKENS_PER_MS
}

/// What came out of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Tokens of the model that was sold, computed and delivered.
    pub(super) useful_tokens: u64,
    /// All energy, idle included.
    pub(super) joules: f64,
    /// Time that the accelerator throttled itself.
    pub(super) throttled_seconds: f64,
    /// Time that it had to wait for throttled processors.
    pub(super) starved_seconds: f64,
    /// The hottest that it was.
    pub(super) hottest: f64,
    /// Microcredits paid for answers that were not computed, and joules taken without paying.
    pub(super) fraud: u64,
    /// Microcredits for checks.
    pub(super) verification: u64,
    /// Cheats, and those of them that were stopped or throttled.
    pub(super) cheats: u32,
    pub(super) caught: u32,
    /// Honest agents that were stopped or throttled.
    pub(super) honest_hurt: u32,
    /// The accelerator, epoch by epoch.
    pub(super) gpu_celsius: Vec<f64>,
}

impl Tally {
    pub(super) fn tokens_per_joule(&self) -> f64 {
        self.useful_tokens as f64 / self.joules.max(1.0)
    }

    pub(super) fn caught_share(&self) -> f64 {
        if self.cheats == 0 { 1.0 } else { f64::from(self.caught) / f64::from(self.cheats) }
    }
}

/// The chassis over time.
#[derive(Debug)]
pub(super) struct World {
    chassis: Chassis,
    pub(super) heat: Heat,
    pub(super) tally: Tally,
}

impl World {
    /// Everything at rest.
    pub(super) fn new() -> Self {
        let chassis = Chassis::SMALL;
        Self { heat: Heat::at_rest(&chassis), chassis, tally: Tally::default() }
    }

    /// Speed of the accelerator in the epoch that begins: it throttles itself when it is too hot.
    pub(super) fn gpu_speed(&self) -> f64 {
        if self.heat.gpu >= self.chassis.gpu_limit { THROTTLED } else { 1.0 }
    }

    pub(super) fn gpu_limit(&self) -> f64 {
        self.chassis.gpu_limit
    }

    pub(super) fn headroom_ppm(&self) -> u32 {
        self.heat.headroom_ppm(&self.chassis)
    }

    /// An epoch passes; everything that was used becomes heat.
    pub(super) fn pass(&mut self, used: &Used) {
        if self.gpu_speed() < 1.0 {
            self.tally.throttled_seconds += f64::from(EPOCH_SECONDS);
        }
        let seconds = f64::from(EPOCH_SECONDS);
        let cpu = IDLE_WATTS.0 + used.cpu_ms / 1e3 * PROCESSOR_WATTS / seconds;
        let gpu = IDLE_WATTS.1 + (used.gpu_ms / 1e3 * GPU_WATTS + used.more_joules) / seconds;
        self.heat = self.heat.after(&self.chassis, Load { cpu, gpu }, seconds);
        let fan = self.heat.fan(&self.chassis) * self.chassis.fan_watts;
        self.tally.joules += (cpu + gpu + fan) * seconds;
        self.tally.hottest = self.tally.hottest.max(self.heat.gpu);
        self.tally.gpu_celsius.push(self.heat.gpu);
    }
}
