//! Recorded logs are read as their meters wrote them. Skips, and says so, where the recordings are not at hand.

#![expect(clippy::print_stdout, reason = "a skipped test must say so, and a measured one what it found")]

use std::path::{Path, PathBuf};

use hypervisor::heat::{Observed, fit};
use hypervisor::sensors::{Limits, PowerSample, Quality, read_log_file};

/// The recordings, beside the project's folder or where the variable says.
fn data() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/power");
    let folder = std::env::var_os("MAXWELL_POWER_DATA").map_or(beside, PathBuf::from);
    let is_there = folder.join("mlperf-inference-v4.1").is_dir();
    if !is_there {
        println!("SKIPPED: no recordings at {}; set MAXWELL_POWER_DATA", folder.display());
    }
    is_there.then_some(folder)
}

#[test]
fn logs_of_three_kinds_of_meter() {
    let Some(data) = data() else { return };
    let server = "mlperf-inference-v4.1/closed/NVIDIA/results/H200-SXM-141GBx8_TRT_MaxQ/llama2-70b-99/Offline/performance/run_1/spl.txt";
    let training = "mlperf-training-v4.0/smc-ac-power/results/1xSMC-H100-SXM-80GB/bert/power/result_5119-240510190348838227199_06/node_0.txt";
    let device = "gpu-power-sensor/plotting/data/5050/A100/gpudata.csv";
    for (file, limits, least, between) in [
        (server, Limits::SERVER, 3_600, 2_000.0..7_000.0),
        (training, Limits::SERVER, 150, 1_500.0..8_000.0),
        (device, Limits::ACCELERATOR, 700, 40.0..500.0),
    ] {
        let trace = read_log_file(&data.join(file), limits).unwrap();
        assert!(trace.samples.len() >= least && trace.refused_lines == 0, "{file}: {}", trace.samples.len());
        let good: Vec<f64> =
            trace.samples.iter().filter(|s| s.quality == Quality::Good).map(|s| s.watts).collect();
        let mean = good.iter().sum::<f64>() / good.len() as f64;
        assert!(between.contains(&mean) && good.len() * 100 >= trace.samples.len() * 95, "{file}: {mean}");
    }
}

/// A model of heat that is fitted to one log of a device forecasts another log of it from its power alone.
#[test]
fn heat_of_another_log_is_forecast() {
    let Some(data) = data() else { return };
    for device in ["3090", "A100"] {
        let read = |folder: &str| -> Vec<Observed> {
            let path = data.join(format!("gpu-power-sensor/plotting/data/{folder}/gpudata.csv"));
            let trace = read_log_file(&path, Limits::ACCELERATOR).unwrap();
            let start = trace.samples[0].at_ns;
            let observed = |sample: &PowerSample| {
                let seconds = (sample.at_ns - start) as f64 / 1e9;
                Some(Observed { seconds, watts: sample.watts, celsius: sample.celsius? })
            };
            trace.samples.iter().filter_map(observed).collect()
        };
        let fitted = read(&format!("5050/{device}"));
        let other = read(&format!("Transient_Response/{device}_TR"));
        let (lump, around) = fit(&fitted).unwrap();
        let (mut celsius, mut before) = (other[0].celsius, 0.0);
        let (mut squares, mut still) = (0.0, 0.0);
        for now in &other {
            let given = lump.watts_per_degree * (celsius - around);
            celsius += (now.watts - given) / lump.joules_per_degree * (now.seconds - before);
            before = now.seconds;
            squares += (celsius - now.celsius).powi(2) / other.len() as f64;
            still += (other[0].celsius - now.celsius).powi(2) / other.len() as f64;
        }
        let (forecast, still) = (squares.sqrt(), still.sqrt());
        println!(
            "{device}: {lump:?} around {around:.1}: off by {forecast:.2}, staying as it is by {still:.2} (rms)"
        );
        assert!(forecast < 0.7 * still, "{device}: {forecast} {still}");
    }
}
