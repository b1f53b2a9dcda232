//! NVIDIA accelerators through NVML, loaded at run time: a machine without the library gets a typed "not there". Reads
//! only; it must never set anything on a device.

use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::{Clock, PcieUtilCounter, TemperatureSensor};
use nvml_wrapper::error::NvmlError;

use super::{Limits, Quality, Quantity, Reading, judge_watts};
use crate::Error;

/// Most devices that are looked at.
const DEVICES_MAX: u32 = 64;

/// The library, found and started.
#[derive(Debug)]
pub struct Library(Nvml);

impl Library {
    /// Loads it.
    pub fn open() -> Result<Self, Error> {
        Nvml::init().map(Self).map_err(|error| of_nvml(&error))
    }

    /// Readings of every device; what a device does not know is left out, what fails is there as `Vanished`.
    pub fn read(&self, at_ns: u64) -> Result<Vec<Reading>, Error> {
        let count = self.0.device_count().map_err(|error| of_nvml(&error))?;
        let limits = Limits::ACCELERATOR;
        let mut readings = Vec::new();
        for index in 0..count.min(DEVICES_MAX) {
            let device = self.0.device_by_index(index).map_err(|error| of_nvml(&error))?;
            let mut push = |name: &str, quantity, per_unit: f64, value: Result<f64, NvmlError>| {
                let (value, quality) = match value {
                    Ok(raw) if quantity == Quantity::Power => {
                        (raw * per_unit, judge_watts(raw * per_unit, limits))
                    }
                    Ok(raw) => (raw * per_unit, Quality::Good),
                    Err(NvmlError::NotSupported) => return,
                    Err(_) => (0.0, Quality::Vanished),
                };
                readings.push(Reading {
                    source: format!("nvml/{index}/{name}"),
                    quantity,
                    value,
                    window_ns: limits.update_ns,
                    uncertainty: limits.relative_sigma * value.abs(),
                    quality,
                    at_ns,
                });
            };
            push("energy", Quantity::Energy, 1e-3, device.total_energy_consumption().map(|mj| mj as f64));
            push("power", Quantity::Power, 1e-3, device.power_usage().map(f64::from));
            push(
                "temperature",
                Quantity::Temperature,
                1.0,
                device.temperature(TemperatureSensor::Gpu).map(f64::from),
            );
            push("clock", Quantity::Clock, 1e6, device.clock_info(Clock::SM).map(f64::from));
            push(
                "busy",
                Quantity::Utilization,
                1e-2,
                device.utilization_rates().map(|rates| f64::from(rates.gpu)),
            );
            push(
                "bus_sent",
                Quantity::BusRate,
                1024.0,
                device.pcie_throughput(PcieUtilCounter::Send).map(f64::from),
            );
            // What each process does to the device; a driver without it leaves it out.
            for sample in device.process_utilization_stats(None).unwrap_or_default() {
                let name = format!("process/{}", sample.pid);
                push(&name, Quantity::Utilization, 1e-2, Ok(f64::from(sample.sm_util)));
            }
            push(
                "bus_got",
                Quantity::BusRate,
                1024.0,
                device.pcie_throughput(PcieUtilCounter::Receive).map(f64::from),
            );
        }
        Ok(readings)
    }
}

fn of_nvml(error: &NvmlError) -> Error {
    let name = "the NVML library".to_owned();
    if matches!(error, NvmlError::NoPermission) {
        Error::Denied(name)
    } else if matches!(
        error,
        NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound | NvmlError::DriverNotLoaded
    ) {
        Error::Absent(name)
    } else {
        Error::Unreadable(name)
    }
}
