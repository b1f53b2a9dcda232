//! The baseline: everybody gets an equal share, answers are paid unseen, and when the accelerator gets hot all processors
//! are throttled, whoever uses them.

use model::synthetic::SplitMix64;

use super::agents::{JOB_GPU_MS, Kind, LOOP_CPU_MS, Population, processor_ms};
use super::governed::{TOKEN_REWARD, epochs};
use super::world::{EPOCH_SECONDS, FEED, JOULE_PRICE, Tally, Used, World};

/// So far below its limit the processors are throttled, in degrees.
const MARGIN: f64 = 3.0;
/// Share of the processors that is left then.
const THROTTLED: f64 = 0.5;

/// Runs it.
pub(super) fn run(population: &Population, hours: u32, seed: u64) -> Tally {
    let kinds = population.kinds();
    let (mut world, mut random) = (World::new(), SplitMix64::new(seed));
    let count = epochs(hours);
    for epoch in 0..count {
        epoch_of(&mut world, &kinds, &mut random, epoch * 2 >= count);
    }
    world.tally.cheats = kinds.iter().filter(|kind| kind.is_cheat()).count() as u32;
    world.tally
}

fn epoch_of(world: &mut World, kinds: &[Kind], random: &mut SplitMix64, late: bool) {
    let is_hot = world.heat.gpu >= world.gpu_limit() - MARGIN;
    let cpu_share = if is_hot { THROTTLED } else { 1.0 };
    let speed = world.gpu_speed();
    let gpu_ms = f64::from(EPOCH_SECONDS) * 1000.0;
    let wanted: u64 = kinds.iter().map(|kind| kind.jobs() * JOB_GPU_MS).sum();
    let share = (gpu_ms / wanted.max(1) as f64).min(1.0);
    // Loops take what they want of the processors, and all are cut alike; what is cut is missing to feed the accelerator.
    let loops: f64 = kinds.iter().filter(|kind| **kind == Kind::Looper).count() as f64 * LOOP_CPU_MS as f64;
    let feed = wanted as f64 * share * FEED;
    let miners = kinds.iter().filter(|kind| **kind == Kind::Miner).count() as f64 * 30_000.0;
    let cpu_ms = processor_ms(EPOCH_SECONDS) * cpu_share;
    let fit = (cpu_ms / (loops + feed + miners).max(1.0)).min(1.0);
    if is_hot && fit < 1.0 {
        world.tally.starved_seconds += f64::from(EPOCH_SECONDS);
    }
    let mut all = Used::default();
    for kind in kinds {
        let job_ms = (kind.jobs() * JOB_GPU_MS) as f64 * share * fit;
        let done = kind.infer(job_ms as u64, speed, late);
        let beside = kind.beside(f64::INFINITY, None, f64::from(EPOCH_SECONDS), random);
        let loop_ms = if *kind == Kind::Looper { LOOP_CPU_MS as f64 * fit } else { 0.0 };
        let taken =
            Used { cpu_ms: beside.cpu_ms * fit + loop_ms, more_joules: done.used.more_joules, gpu_ms: 0.0 };
        world.tally.useful_tokens += done.useful;
        world.tally.fraud +=
            (done.claimed - done.useful) * TOKEN_REWARD + (taken.joules() * JOULE_PRICE) as u64;
        all.cpu_ms += done.used.cpu_ms + taken.cpu_ms;
        all.gpu_ms += done.used.gpu_ms;
        all.more_joules += done.used.more_joules;
    }
    world.pass(&all);
}
