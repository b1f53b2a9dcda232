//! How hot a chassis gets: processors, accelerator and case as lumps of heat that pass it on, and a fan that turns faster
//! with the heat. Pure: power and time are arguments. Never below the room's temperature without cooling.

mod fit;
#[cfg(test)]
mod tests;

pub use self::fit::{Forecast, Observed, fit, forecast};

/// Longest step of the integration, in seconds: short against every lump's own time.
const STEP_SECONDS: f64 = 1.0;
/// Furthest that is looked ahead.
const HORIZON_SECONDS: f64 = 3600.0;

/// One lump.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lump {
    /// Joules that warm it by a degree.
    pub joules_per_degree: f64,
    /// Watts that it passes on per degree of difference.
    pub watts_per_degree: f64,
}

/// What the chassis is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chassis {
    /// The processors, towards the case.
    pub cpu: Lump,
    /// The accelerator, towards the case.
    pub gpu: Lump,
    /// The case, towards the room, with the fan at rest.
    pub case: Lump,
    /// What the fan adds at full speed to what the case passes on, in watts per degree.
    pub fan_watts_per_degree: f64,
    /// Of the case, where the fan starts and where it is at full speed, in degrees Celsius.
    pub fan_span: (f64, f64),
    /// What the fan itself draws at full speed, in watts.
    pub fan_watts: f64,
    /// The room, in degrees Celsius.
    pub room: f64,
    /// Where the accelerator throttles, in degrees Celsius.
    pub gpu_limit: f64,
}

impl Chassis {
    /// A small server: made up, in the range of what was fitted to recorded accelerators.
    pub const SMALL: Self = Self {
        cpu: Lump { joules_per_degree: 400.0, watts_per_degree: 5.0 },
        gpu: Lump { joules_per_degree: 700.0, watts_per_degree: 10.0 },
        case: Lump { joules_per_degree: 4000.0, watts_per_degree: 4.0 },
        fan_watts_per_degree: 14.0,
        fan_span: (30.0, 50.0),
        fan_watts: 30.0,
        room: 24.0,
        gpu_limit: 83.0,
    };
}

/// Temperatures now, in degrees Celsius.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heat {
    /// Of the processors.
    pub cpu: f64,
    /// Of the accelerator.
    pub gpu: f64,
    /// Of the case.
    pub case: f64,
}

/// Power that becomes heat, in watts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Of the processors.
    pub cpu: f64,
    /// Of the accelerator.
    pub gpu: f64,
}

impl Heat {
    /// Everything as warm as the room.
    #[must_use]
    pub const fn at_rest(chassis: &Chassis) -> Self {
        Self { cpu: chassis.room, gpu: chassis.room, case: chassis.room }
    }

    /// Share of the fan's full speed.
    #[must_use]
    pub fn fan(&self, chassis: &Chassis) -> f64 {
        let (starts, full) = chassis.fan_span;
        ((self.case - starts) / (full - starts).max(1e-9)).clamp(0.0, 1.0)
    }

    /// After some time under a load. Implicit steps: stable whatever the lumps are.
    #[must_use]
    pub fn after(self, chassis: &Chassis, load: Load, seconds: f64) -> Self {
        let steps = (seconds / STEP_SECONDS).ceil().clamp(1.0, HORIZON_SECONDS / STEP_SECONDS);
        let step = seconds / steps;
        (0..steps as u32).fold(self, |heat, _| heat.step(chassis, load, step))
    }

    fn step(self, chassis: &Chassis, load: Load, seconds: f64) -> Self {
        let fan = self.fan(chassis);
        let out = chassis.case.watts_per_degree + fan * chassis.fan_watts_per_degree;
        // Backward Euler: each lump settles between where it was and what it is joined to.
        let settle = |was: f64, lump: &Lump, watts: f64, other: f64| {
            let kept = lump.joules_per_degree / seconds;
            (kept * was + lump.watts_per_degree * other + watts) / (kept + lump.watts_per_degree)
        };
        let cpu = settle(self.cpu, &chassis.cpu, load.cpu, self.case);
        let gpu = settle(self.gpu, &chassis.gpu, load.gpu, self.case);
        let passed = chassis.cpu.watts_per_degree * (cpu - self.case)
            + chassis.gpu.watts_per_degree * (gpu - self.case)
            + fan * chassis.fan_watts;
        let case = Lump { watts_per_degree: out, ..chassis.case };
        Self { cpu, gpu, case: settle(self.case, &case, passed, chassis.room) }
    }

    /// Seconds until the accelerator throttles under a load; `None` if it does not within an hour.
    #[must_use]
    pub fn seconds_to_limit(self, chassis: &Chassis, load: Load) -> Option<f64> {
        let (mut heat, mut seconds) = (self, 0.0);
        while seconds <= HORIZON_SECONDS {
            if heat.gpu >= chassis.gpu_limit {
                return Some(seconds);
            }
            heat = heat.step(chassis, load, STEP_SECONDS);
            seconds += STEP_SECONDS;
        }
        None
    }

    /// What is left of the way from the room to the limit, in parts per million.
    #[must_use]
    pub fn headroom_ppm(&self, chassis: &Chassis) -> u32 {
        let left = (chassis.gpu_limit - self.gpu) / (chassis.gpu_limit - chassis.room).max(1e-9);
        (left.clamp(0.0, 1.0) * 1e6) as u32
    }

    /// Thousandths of a degree of the accelerator: what prices are made from.
    #[must_use]
    pub fn gpu_mk(&self) -> i64 {
        (self.gpu * 1e3) as i64
    }
}
