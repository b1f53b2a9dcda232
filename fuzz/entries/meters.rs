//! Of the node: logs and exporters of power, profiles, what agents say, entries of the ledger. A module of its own, since the
//! serving path's tests must not link the node.

use hypervisor::energy::{Bounds, Energy, of_samples};
use hypervisor::features::of_window;
use hypervisor::phases::Phases;
use hypervisor::sensors::{Limits, Quantity, prometheus, read_log};
use hypervisor::thermo::{Calibration, ClaimedWork, Outcome, Profile, ProfileKey};
use hypervisor::wire::{Event, Hex32, Offer, Sampling, Saying, WireTier, event, greeting, line, saying};
use market::ledger::{Account, AgentId, Asset, Entry, EntryKey, Ledger, Transfer};

/// A log of power: no joules that are not numbers, none below 0, none above what the meter's limits allow.
pub fn power_log(bytes: &[u8]) -> bool {
    let Ok(trace) = read_log("fuzz", bytes, Limits::SERVER) else { return false };
    let Some((from, until)) = trace.span() else { return false };
    let bounds = Bounds { idle_watts: 0.0, most_watts: Limits::SERVER.watts_max };
    let energy = of_samples(&trace.samples, from, until, Limits::SERVER, bounds);
    let seconds = until.saturating_sub(from) as f64 / 1e9;
    let most = Limits::SERVER.watts_max * seconds * 1.000_001 + 1.0;
    assert!((0.0..=most).contains(&energy.joules), "{} J in {seconds} s", energy.joules);
    assert!(energy.sigma >= 0.0 && energy.gap_ns <= energy.window_ns);
    let _ = (Phases::find(&trace), of_window(&trace.samples, from, until.saturating_sub(from), 0.0));
    true
}

/// Small logs of each form.
pub fn power_logs() -> Vec<Vec<u8>> {
    let csv: String = (0..40).map(|s| format!("2026-11-01 10:00:{s:02}.000,{}.5\n", 60 + s)).collect();
    let pt: String = (0..40)
        .map(|s| format!("Time,11-01-2026 10:00:{s:02}.000,Watts,{}.000000,Volts,230.0,Amps,1.2\n", 300 + s))
        .collect();
    let ml: String = (0..40)
        .map(|s| {
            let ms = 1_700_000_000_000_u64 + s * 1000;
            format!(":::MLLOG {{\"namespace\": \"\", \"time_ms\": {ms}, \"event_type\": \"POINT_IN_TIME\", \"key\": \"power_reading\", \"value\": {}, \"metadata\": {{}}}}\n", 5000 + s)
        })
        .collect();
    [format!("timestamp,power.draw [W]\n{csv}"), pt, ml].map(String::into_bytes).into()
}

/// What an exporter answers.
pub fn exporter(bytes: &[u8]) -> bool {
    let readings = prometheus::parse(bytes, 1, Limits::ACCELERATOR);
    for reading in &readings {
        let is_number = reading.value.is_finite() && reading.uncertainty.is_finite();
        assert!(is_number || !reading.quality.is_usable(), "{reading:?}");
    }
    !readings.is_empty()
}

/// Answers of two of them.
pub fn exporters() -> Vec<Vec<u8>> {
    let dcgm = "# HELP DCGM_FI_DEV_POWER_USAGE Power draw (in W).\n# TYPE DCGM_FI_DEV_POWER_USAGE gauge\n\
                DCGM_FI_DEV_POWER_USAGE{gpu=\"0\",UUID=\"GPU-1\",modelName=\"NVIDIA A100\"} 57.2\n\
                DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{gpu=\"0\",UUID=\"GPU-1\"} 123456789\n\
                DCGM_FI_DEV_GPU_TEMP{gpu=\"0\",UUID=\"GPU-1\"} 41\n";
    let all_smi = "all_smi_gpu_power_consumption_watts{gpu=\"RTX\",index=\"0\"} 101.5\nall_smi_gpu_temperature_celsius{gpu=\"RTX\",index=\"0\"} 60\n";
    vec![dcgm.as_bytes().to_vec(), all_smi.as_bytes().to_vec()]
}

/// A profile: its judgement of any energy is a number, within its bounds.
pub fn profile(bytes: &[u8]) -> bool {
    let Ok(profile) = serde_json::from_slice::<Profile>(bytes) else { return false };
    for joules in [0.0, 1.0, 1e12] {
        let energy =
            Energy { joules, sigma: 0.01 * joules, window_ns: 60_000_000_000, gap_ns: 0, updates: 600 };
        match profile.judge(ClaimedWork { batch: 1.0, tokens: 1000.0 }, &energy) {
            Outcome::Evidence(evidence) => assert!(evidence.nats.abs() <= 100.0, "{evidence:?}"),
            Outcome::Undecided(_) => {}
        }
    }
    true
}

/// One that was measured.
pub fn profiles() -> Vec<Vec<u8>> {
    let key = ProfileKey { model: "m".to_owned(), device: "d".to_owned(), count: 1, engine: "e".to_owned() };
    let window = |batch: f64| {
        let energy =
            Energy { joules: 6000.0, sigma: 60.0, window_ns: 60_000_000_000, gap_ns: 0, updates: 600 };
        Calibration { batch, tokens: 1000.0 * batch, energy }
    };
    let windows: Vec<Calibration> = [1.0, 1.0, 8.0, 8.0].map(window).into();
    let profile =
        Profile::calibrate(key, Quantity::Energy, 50.0, 1.0, &windows).expect("four windows are enough");
    // As nobody measures them: a file may say anything.
    let odd = [-1.0, 0.0, 1e-300, 1e308].map(|number| {
        let mut odd = profile.clone();
        for point in &mut odd.points {
            (point.joules_per_token, point.relative_sigma) = (number, number);
        }
        (odd.idle_watts, odd.idle_sigma_watts, odd.most_watts) = (number, number, -number);
        odd
    });
    let profiles = odd.iter().chain([&profile]);
    profiles.map(|profile| serde_json::to_vec(profile).expect("a profile can be written")).collect()
}

/// What agent and node say: whatever is taken is written and read again as the same.
pub fn node_line(bytes: &[u8]) -> bool {
    let _ = greeting(bytes);
    if let Ok(message) = saying(bytes) {
        assert_eq!(saying(&line(&message)), Ok(message));
        return true;
    }
    let Ok(message) = event(bytes) else { return false };
    assert_eq!(event(&line(&message)), Ok(message));
    true
}

/// One of each kind.
pub fn node_lines() -> Vec<Vec<u8>> {
    let offer = Offer {
        background: false,
        bundle: [1870, 0, 1],
        value: 38_000,
        tier: WireTier::Audited,
        stake: 300_000,
        feeds: None,
    };
    let sampling = Sampling { temperature_milli: 800, max_tokens: 32 };
    let sayings = [
        Saying::Hello,
        Saying::Seal { id: Hex32([1; 32]), epoch: 7 },
        Saying::Open { offer, blind: Hex32([2; 32]) },
        Saying::Answer { job: Hex32([3; 32]), claim: "4d58434c41494d31".to_owned() },
    ];
    let events = [
        Event::Request {
            job: Hex32([3; 32]),
            number: 1,
            prompt_ids: vec![1, 2],
            sampling,
            nonce: Hex32([9; 32]),
        },
        Event::Checked { job: Hex32([3; 32]), holds: None },
    ];
    sayings.iter().map(line).chain(events.iter().map(line)).collect()
}

/// An entry of the ledger: one byte form, and a ledger that takes it still sums to 0.
pub fn entry(bytes: &[u8]) -> bool {
    let Ok(entry) = Entry::decode(bytes) else { return false };
    assert_eq!(entry.encode(), bytes);
    let mut ledger = Ledger::default();
    let _ = ledger.apply(entry);
    assert!(Asset::ALL.into_iter().all(|asset| ledger.sum(asset) == 0));
    true
}

/// Entries with one and with two transfers.
pub fn entries() -> Vec<Vec<u8>> {
    let agent = Account::Agent(AgentId([1; 32]));
    let paid = Transfer { asset: Asset::Microcredits, from: Account::Outside, to: agent, amount: 1 << 40 };
    let locked = Transfer {
        asset: Asset::Microjoules,
        from: agent,
        to: Account::Locked(EntryKey([2; 32])),
        amount: 5,
    };
    [vec![paid], vec![paid, locked]]
        .map(|transfers| Entry { key: EntryKey([3; 32]), transfers }.encode())
        .into()
}
