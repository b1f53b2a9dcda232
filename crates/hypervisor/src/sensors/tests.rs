//! Tests of the counters, logs and sysfs readers: broken sensors give a typed quality and no joules.

use std::fs;

use proptest::prelude::*;

use super::*;

fn steps(limits: Limits, range: Option<f64>, readings: &[(Option<f64>, u64)]) -> Vec<(Option<f64>, Quality)> {
    let mut counter = Counter::new(limits, range);
    readings
        .iter()
        .filter_map(|(joules, seconds)| counter.step(*joules, seconds * SECOND_NS))
        .map(|step| (step.joules, step.quality))
        .collect()
}

#[test]
fn broken_counter_gives_no_joules() {
    let all = |readings: &[(Option<f64>, u64)]| steps(Limits::PACKAGE, Some(1_000.0), readings);
    let j = Some;
    assert_eq!(all(&[(j(10.0), 1), (j(30.0), 2)]), [(j(20.0), Quality::Good)]);
    assert_eq!(all(&[(j(990.0), 1), (j(15.0), 2)]), [(j(25.0), Quality::Wrapped)]);
    assert_eq!(all(&[(j(10.0), 1), (j(f64::NAN), 2)]), [(None, Quality::NotANumber)]);
    assert_eq!(all(&[(j(10.0), 1), (j(-1.0), 2)]), [(None, Quality::Implausible)]);
    assert_eq!(all(&[(j(10.0), 1), (j(9_999.0), 2)]), [(None, Quality::Implausible)]);
    assert_eq!(all(&[(j(10.0), 2), (j(20.0), 1)]), [(None, Quality::JumpedBack)]);
    assert_eq!(all(&[(j(10.0), 1), (None, 2)]), [(None, Quality::Vanished)]);
    // Without a wrap nearby: small is a new start, large is a jump.
    let wide = |readings: &[(Option<f64>, u64)]| steps(Limits::PACKAGE, None, readings);
    assert_eq!(wide(&[(j(90_000.0), 1), (j(3.0), 2)]), [(None, Quality::Reset)]);
    assert_eq!(wide(&[(j(90_000.0), 1), (j(80_000.0), 2)]), [(None, Quality::JumpedBack)]);
}

#[test]
fn frozen_counter_is_told_from_a_slow_one() {
    let mut counter = Counter::new(Limits::PACKAGE, None);
    counter.step(Some(5.0), 0);
    let at =
        |counter: &mut Counter, seconds: u64| counter.step(Some(5.0), seconds * SECOND_NS).unwrap().quality;
    assert_eq!(at(&mut counter, 3), Quality::Good);
    assert_eq!(at(&mut counter, 5), Quality::Good);
    assert_eq!(at(&mut counter, 6), Quality::Frozen);
}

#[test]
fn power_samples_get_their_quality() {
    let limits = Limits::ACCELERATOR;
    let raw =
        [(1, 80.0), (2, 0.0), (3, f64::NAN), (4, -3.0), (5, 99_999.0), (4, 90.0), (6, 91.0), (40, 91.0)];
    let raw = raw.map(|(s, watts)| RawSample { at_ns: s * SECOND_NS, watts, celsius: None });
    let found: Vec<Quality> =
        PowerTrace::judge("test", raw, limits).samples.iter().map(|sample| sample.quality).collect();
    let expected = [
        Quality::Good,
        Quality::Zero,
        Quality::NotANumber,
        Quality::Implausible,
        Quality::Implausible,
        Quality::JumpedBack,
        Quality::Good,
        Quality::Frozen,
    ];
    assert_eq!(found, expected);
}

#[test]
fn times_of_logs() {
    // Expected values are those of `date -u +%s -d ...`.
    assert_eq!(log_time::parse("07-17-2024 09:44:23.305"), Some(1_721_209_463_305_000_000));
    assert_eq!(log_time::parse("2023/07/30 17:28:02.589"), Some(1_690_738_082_589_000_000));
    assert_eq!(log_time::parse("2024-02-29T00:00:00Z"), Some(1_709_164_800_000_000_000));
    for wrong in
        ["", "13-40-2024 09:00:00", "2024-01-01", "2024-01-01 1:2", "x/y/z a:b:c", "1969-01-01 00:00:00"]
    {
        assert_eq!(log_time::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn logs_of_three_forms_and_other_units() {
    let read = |text: &str| read_log("log", text.as_bytes(), Limits::SERVER);
    let trace =
        read("Time,07-17-2024 09:44:23.305,Watts,2406.5,Volts,239.1,Ch1,Watts,826.7\nTime,broken\n").unwrap();
    assert_eq!((trace.samples[0].watts, trace.refused_lines), (2406.5, 1));
    let trace = read(
        ":::MLLOG {\"key\":\"x\",\"time_ms\":1,\"value\":\"null\"}\n\
         :::MLLOG {\"time_ms\": 1715341419163, \"key\": \"power_reading\", \"value\": 2119}\n",
    )
    .unwrap();
    assert_eq!((trace.samples.len(), trace.samples[0].watts, trace.refused_lines), (1, 2119.0, 0));
    let watts =
        |header: &str, row: &str| read(&format!("{header}\n{row}\n")).map(|trace| trace.samples[0].watts);
    assert_eq!(watts("time, power.draw [W]", "2023/07/30 17:28:02.589, 78.5 W"), Ok(78.5));
    assert_eq!(watts("time_s,power_mw", "1.5,78500"), Ok(78.5));
    assert_eq!(watts("time_s,power_kw", "1.5,2"), Ok(2000.0));
    // Without a unit nothing is guessed.
    assert_eq!(watts("time_s,power", "1.5,78500"), Err(Error::NoReadings("log".to_owned())));
}

#[test]
fn scrapes_of_exporters() {
    let text = "# HELP x\nDCGM_FI_DEV_POWER_USAGE{gpu=\"0\",modelName=\"a } b\"} 312.5\n\
                DCGM_FI_DEV_POWER_USAGE{gpu=\"1\"} 0\nDCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{gpu=\"0\"} 5000\n\
                all_smi_gpu_power_consumption_watts{gpu=\"x\"} NaN\nDCGM_FI_DEV_POWER_USAGE_MAX 9\n";
    let found: Vec<(f64, Quality)> = prometheus::parse(text.as_bytes(), 1, Limits::ACCELERATOR)
        .into_iter()
        .map(|reading| (if reading.value.is_nan() { -1.0 } else { reading.value }, reading.quality))
        .collect();
    let expected =
        [(312.5, Quality::Good), (0.0, Quality::Zero), (5.0, Quality::Good), (-1.0, Quality::NotANumber)];
    assert_eq!(found, expected);
}

#[test]
fn sysfs_trees() {
    let root = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    assert!(matches!(powercap::zones(root.path()), Err(Error::Absent(_))));
    assert!(matches!(hwmon::read(root.path(), 1, Limits::SERVER), Err(Error::Absent(_))));
    put("class/powercap/intel-rapl/enabled", "1");
    put("class/powercap/intel-rapl:0/energy_uj", "2500000\n");
    put("class/powercap/intel-rapl:0/max_energy_range_uj", "262143328850\n");
    put("class/powercap/intel-rapl:0/name", "package-0\n");
    put("class/powercap/intel-rapl:0:0/energy_uj", "broken");
    let zones = powercap::zones(root.path()).unwrap();
    assert_eq!(
        (zones.len(), zones[0].name.as_str(), zones[0].is_part, zones[1].is_part),
        (2, "package-0", false, true)
    );
    assert_eq!(zones[0].joules(), Ok(2.5));
    assert!(matches!(zones[1].joules(), Err(Error::Unreadable(_))));
    put("class/hwmon/hwmon0/name", "amdgpu");
    put("class/hwmon/hwmon0/power1_average", "97000000");
    put("class/hwmon/hwmon0/power1_cap", "300000000");
    put("class/hwmon/hwmon0/temp1_input", "41000");
    put("class/hwmon/hwmon0/fan1_input", "gone");
    let readings = hwmon::read(root.path(), 1, Limits::ACCELERATOR).unwrap();
    let found: Vec<_> = readings.iter().map(|r| (r.quantity, r.value, r.quality)).collect();
    let expected = [
        (Quantity::FanSpeed, 0.0, Quality::Vanished),
        (Quantity::Power, 97.0, Quality::Good),
        (Quantity::Temperature, 41.0, Quality::Good),
    ];
    assert_eq!(found, expected);
}

#[test]
fn processor_time_of_a_name_with_brackets() {
    let stat = "7 (a) b (c)) R 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20";
    assert_eq!(cpu_time::seconds(stat), Some(3.0));
    assert_eq!(cpu_time::seconds("7 (x"), None);
}

#[test]
fn replayed_samples_are_told_and_noise_is_not() {
    let sample = |i: u64, watts: f64| PowerSample { at_ns: i, watts, celsius: None, quality: Quality::Good };
    let noise = |i: u64| 400.0 + ((i * 7_919) % 101) as f64 * 0.1 + i as f64 * 1e-4;
    let mut seen = replayed::Replayed::default();
    assert!((0..500).all(|i| !seen.is_repeated(&sample(i, noise(i)))));
    assert!((500..540).any(|i| seen.is_repeated(&sample(i, noise(i - 400)))));
    // Near miss: an idle device that repeats two numbers for ever.
    let mut seen = replayed::Replayed::default();
    assert!((0..500).all(|i| !seen.is_repeated(&sample(i, 80.0 + (i % 2) as f64))));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600), form in 0..4) {
        let head: &[u8] = match form {
            0 => b"Time,07-17-2024 09:44:23.305,Watts,",
            1 => b":::MLLOG {\"key\":\"power_reading\",\"time_ms\":1,\"value\":",
            2 => b"time,power [W]\n1.0,",
            _ => b"DCGM_FI_DEV_POWER_USAGE{",
        };
        let text = [head, &bytes].concat();
        if let Ok(trace) = read_log("x", &text, Limits::SERVER) {
            prop_assert!(trace.samples.is_sorted_by_key(|sample| sample.at_ns));
            prop_assert!(trace.samples.iter().all(|s| !s.quality.is_usable() || (s.watts > 0.0 && s.watts <= 20_000.0)));
        }
        let readings = prometheus::parse(&text, 1, Limits::SERVER);
        prop_assert!(readings.iter().all(|r| !r.quality.is_usable() || r.value.is_finite()));
        let text = String::from_utf8_lossy(&bytes);
        let _ = (log_time::parse(&text), cpu_time::seconds(&text));
    }

    #[test]
    fn no_counter_gives_more_than_its_device_draws(
        readings in proptest::collection::vec((any::<f64>(), 0_u64..10_000_000_000), 0..40), range in 1.0..1e6
    ) {
        let mut counter = Counter::new(Limits::PACKAGE, Some(range));
        for (joules, at_ns) in readings {
            if let Some(Step { from_ns, until_ns, joules: Some(joules), .. }) = counter.step(Some(joules), at_ns) {
                let most = Limits::PACKAGE.watts_max * (until_ns - from_ns).max(1_000_000) as f64 / 1e9;
                prop_assert!((0.0..=most).contains(&joules));
            }
        }
    }
}
