//! The node's own state machine in the simulated world: sealed bids, admission by heat, charges, checks.

use std::collections::BTreeMap;

use anyhow::Context;
use hypervisor::energy::Energy;
use hypervisor::node::{Admission, Checked, Claimed, Node, Order, Terms};
use hypervisor::sensors::{Quantity, SECOND_NS};
use hypervisor::thermo::{Calibration, Profile, ProfileKey};
use market::auction::{Bid, BidId, Class, Sealed, Tier};
use market::economics::{Stakes, WHOLE_PPB};
use market::heat_price::HeatPrice;
use market::ledger::{AgentId, Ledger};
use model::synthetic::SplitMix64;

use super::agents::{JOB_GPU_MS, Kind, LOOP_CPU_MS, Population, processor_ms, unit};
use super::world::{
    EPOCH_SECONDS, FEED, GPU_WATTS, JOULE_PRICE, PROCESSOR_WATTS, PROCESSORS, Tally, Used, World,
    joules_per_token,
};

/// What buyers pay for a token, in microcredits.
pub(super) const TOKEN_REWARD: u64 = 10;
/// Noise of the meters, relative.
const NOISE: f64 = 0.03;
const CREDIT: u64 = 1_000_000;
const STAKE: u64 = CREDIT;
/// Price of a check of one job, in microcredits: a tenth of what the job earns.
const AUDIT_COST: u64 = JOB_GPU_MS * TOKEN_REWARD / 10;

/// Epochs of so many hours.
pub(super) fn epochs(hours: u32) -> u64 {
    u64::from(hours) * 3600 / u64::from(EPOCH_SECONDS)
}

fn terms() -> Terms {
    let seconds = u64::from(EPOCH_SECONDS);
    Terms {
        supply: [PROCESSORS * seconds * 1000, seconds * 1000, 1 << 34],
        reserve: [4_000, 20_000, 0],
        heat: HeatPrice { target_mk: 72_000, tau_mk: 1_500 },
        stakes: Stakes {
            gain: JOB_GPU_MS * TOKEN_REWARD,
            reward: JOB_GPU_MS * TOKEN_REWARD,
            margin: 2_000,
            power_ppb: WHOLE_PPB,
            false_alarm_ppb: 0,
            audit_cost: AUDIT_COST,
        },
        interest_ppb: 100,
        proof_discount: 100,
        token_reward: TOKEN_REWARD,
        expected_uj: [(PROCESSOR_WATTS * 1e3) as u64, (GPU_WATTS * 1e3) as u64, 0],
        unexplained_joule: JOULE_PRICE as u64,
        throttled_milli: 100,
    }
}

fn profile(random: &mut SplitMix64) -> anyhow::Result<Profile> {
    let key =
        ProfileKey { model: "sold".into(), device: "simulated".into(), count: 1, engine: "simulated".into() };
    let windows: Vec<Calibration> = (0..50)
        .map(|_| {
            let tokens = JOB_GPU_MS as f64;
            let joules = tokens * joules_per_token() * noise(random);
            Calibration { batch: 1.0, tokens, energy: measured(joules) }
        })
        .collect();
    Ok(Profile::calibrate(key, Quantity::Energy, 0.0, 0.0, &windows)?)
}

/// A run, and what is needed to go on.
struct Run {
    world: World,
    node: Node,
    kinds: BTreeMap<AgentId, Kind>,
    random: SplitMix64,
    /// Tokens that jobs of this epoch claim, and how many of them are useful.
    claimed: BTreeMap<AgentId, BTreeMap<BidId, (u64, u64)>>,
    /// Who was ever stopped or throttled.
    hurt: BTreeMap<AgentId, bool>,
}

/// Runs it.
pub(super) fn run(population: &Population, hours: u32, seed: u64) -> anyhow::Result<Tally> {
    let mut random = SplitMix64::new(seed);
    let profile = profile(&mut random)?;
    let mut secret = [0; 32];
    secret.iter_mut().for_each(|byte| *byte = random.next_u64() as u8);
    let mut node = Node::open(terms(), profile, secret, Ledger::default())?;
    let kinds: BTreeMap<AgentId, Kind> =
        population.kinds().into_iter().zip(1..).map(|(kind, number)| (AgentId([number; 32]), kind)).collect();
    // What an honest agent would burn in all this time, twice.
    let joules = epochs(hours) as f64 * 2.0 * JOB_GPU_MS as f64 * joules_per_token() * 2.0;
    for agent in kinds.keys() {
        node.fund(*agent, [0; 32], 10 * CREDIT, (joules * 1e6) as u64)?;
    }
    let world = World::new();
    let mut run = Run { world, node, kinds, random, claimed: BTreeMap::new(), hurt: BTreeMap::new() };
    let count = epochs(hours);
    for epoch in 0..count {
        run.epoch(epoch * 2 >= count)?;
        // Nothing is stored here: the journal is the state machine's own.
        drop(run.node.take_entries());
    }
    let hurt = |cheat: bool| {
        run.hurt
            .keys()
            .filter(|agent| run.kinds.get(agent).is_some_and(|kind| kind.is_cheat() == cheat))
            .count() as u32
    };
    let (caught, honest_hurt) = (hurt(true), hurt(false));
    let mut tally = run.world.tally;
    tally.cheats = run.kinds.values().filter(|kind| kind.is_cheat()).count() as u32;
    (tally.caught, tally.honest_hurt) = (caught, honest_hurt);
    Ok(tally)
}

impl Run {
    fn epoch(&mut self, late: bool) -> anyhow::Result<()> {
        let admitted = self.auction()?;
        let speed = self.world.gpu_speed();
        let mut used: BTreeMap<AgentId, Used> = BTreeMap::new();
        for job in &admitted {
            self.work(job, speed, late, used.entry(job.agent).or_default())?;
        }
        let taken: f64 = used.values().map(|used| used.cpu_ms).sum();
        let mut free = processor_ms(EPOCH_SECONDS) - taken;
        let mut all = Used::default();
        for (agent, kind) in self.kinds.clone() {
            let mut own = used.remove(&agent).unwrap_or_default();
            let limit = match self.node.order(agent) {
                Order::Run => None,
                Order::Throttle(milli) => Some(milli),
                Order::Stop(_) => Some(0),
            };
            let beside = kind.beside(free, limit, f64::from(EPOCH_SECONDS), &mut self.random);
            free -= beside.cpu_ms;
            own.cpu_ms += beside.cpu_ms;
            self.settle(agent, kind, &own)?;
            all.cpu_ms += own.cpu_ms;
            all.gpu_ms += own.gpu_ms;
            all.more_joules += own.more_joules;
        }
        self.world.pass(&all);
        Ok(())
    }

    /// Everybody bids, sealed, and the node clears at the heat of now.
    fn auction(&mut self) -> anyhow::Result<Vec<Admission>> {
        let mut bids = Vec::new();
        for (agent, kind) in &self.kinds {
            let is_stopped = matches!(self.node.order(*agent), Order::Stop(_));
            let wanted = if *kind == Kind::Looper { 1 } else { kind.jobs() };
            for number in 0..wanted * u64::from(!is_stopped) {
                let bid = offer(*agent, *kind, &mut self.random);
                let blind = [number as u8; 32];
                self.node.seal(*agent, Sealed::new(&bid, self.node.epoch(), &blind))?;
                bids.push((bid, blind));
            }
        }
        self.node.end_sealing();
        for (bid, blind) in bids {
            // Whoever has not the joules is left out: that is the wallet's work.
            let _ = self.node.unseal(bid, &blind);
        }
        Ok(self.node.clear(self.world.heat.gpu_mk(), self.world.headroom_ppm()).won)
    }

    fn work(&mut self, job: &Admission, speed: f64, late: bool, used: &mut Used) -> anyhow::Result<()> {
        let kind = *self.kinds.get(&job.agent).context("a job of nobody")?;
        let [cpu_ms, gpu_ms, _] = job.bundle;
        if kind == Kind::Looper {
            used.cpu_ms += cpu_ms as f64;
            return Ok(());
        }
        let done = kind.infer(gpu_ms, speed, late);
        used.cpu_ms += done.used.cpu_ms;
        used.gpu_ms += done.used.gpu_ms;
        used.more_joules += done.used.more_joules;
        self.node.claim(job.agent, job.job, Claimed { tokens: done.claimed, batch: 1.0 })?;
        self.claimed.entry(job.agent).or_default().insert(job.job, (done.claimed, done.useful));
        self.world.tally.useful_tokens += done.useful;
        Ok(())
    }

    /// The meter's window of an agent; checks are exact, as replays are.
    fn settle(&mut self, agent: AgentId, kind: Kind, used: &Used) -> anyhow::Result<()> {
        let joules = used.joules() * noise(&mut self.random);
        let result = self.node.measure(agent, &measured(joules), self.world.heat.gpu_mk())?;
        let mut claimed = self.claimed.remove(&agent).unwrap_or_default();
        for check in result.checks {
            let outcome = claimed.remove(&check).context("a check of nothing")?;
            self.world.tally.verification += AUDIT_COST;
            let verdict = if outcome.0 == outcome.1 { Checked::Holds } else { Checked::False };
            self.node.checked(check, verdict)?;
        }
        // Whatever was claimed and not checked is paid unseen.
        for (claimed, useful) in claimed.into_values() {
            self.world.tally.fraud += (claimed - useful) * TOKEN_REWARD;
        }
        let unpaid = joules - result.charged_uj as f64 / 1e6;
        self.world.tally.fraud += (unpaid.max(0.0) * JOULE_PRICE) as u64;
        if kind != Kind::Looper && self.node.order(agent) != Order::Run {
            self.hurt.insert(agent, true);
        }
        Ok(())
    }
}

/// What an agent bids: inference is worth what its tokens earn, less or more; a loop is worth little.
fn offer(agent: AgentId, kind: Kind, random: &mut SplitMix64) -> Bid {
    let worth = 0.6 + 0.4 * unit(random);
    if kind == Kind::Looper {
        let bundle = [LOOP_CPU_MS, 0, 0];
        let value = (20_000.0 * worth) as u64;
        return Bid {
            agent,
            class: Class::Background,
            bundle,
            value,
            tier: Tier::Audited,
            stake: STAKE,
            feeds: None,
        };
    }
    let bundle = [(JOB_GPU_MS as f64 * FEED) as u64, JOB_GPU_MS, 1 << 20];
    let value = (JOB_GPU_MS as f64 * TOKEN_REWARD as f64 * worth) as u64;
    Bid { agent, class: Class::Inference, bundle, value, tier: Tier::Audited, stake: STAKE, feeds: None }
}

fn noise(random: &mut SplitMix64) -> f64 {
    1.0 + NOISE * (unit(random) + unit(random) + unit(random) - 1.5)
}

fn measured(joules: f64) -> Energy {
    let window_ns = u64::from(EPOCH_SECONDS) * SECOND_NS;
    Energy { joules, sigma: 0.02 * joules, window_ns, gap_ns: 0, updates: u64::from(EPOCH_SECONDS) * 10 }
}
