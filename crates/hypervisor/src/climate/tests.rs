//! A simulated chassis behind the meters: prices see it coming, and a machine without meters is no hotter than assumed.

use super::*;
use crate::heat::{Chassis, Heat, Load, Lump};
use crate::sensors::{Quality, Quantity, Reading};

fn reading(quantity: Quantity, value: f64, at_ns: u64) -> Reading {
    let source = "hwmon/test".to_owned();
    Reading { source, quantity, value, window_ns: 1, uncertainty: 0.0, quality: Quality::Good, at_ns }
}

fn look(watts: Option<f64>, celsius: f64, at_ns: u64) -> Look {
    let mut readings = vec![reading(Quantity::Temperature, celsius, at_ns)];
    readings.extend(watts.map(|watts| reading(Quantity::Power, watts, at_ns)));
    Look { readings, steps: Vec::new() }
}

/// A room so large that only the processor's lump warms.
const CHASSIS: Chassis =
    Chassis { case: Lump { joules_per_degree: 1e12, watts_per_degree: 1e-3 }, ..Chassis::SMALL };

#[test]
fn without_a_thermometer_it_is_as_assumed() {
    let mut climate = Climate::new(95.0, 4.0, 70_000);
    assert_eq!(climate.air(), Air { temperature_mk: 70_000, headroom_ppm: 1_000_000 });
    climate.see(&Look::default(), SECOND_NS);
    assert_eq!(climate.air().temperature_mk, 70_000);
    // A thermometer alone: what it shows, and nothing ahead.
    climate.see(&look(None, 67.5, 2 * SECOND_NS), 2 * SECOND_NS);
    assert_eq!(climate.air(), Air { temperature_mk: 67_500, headroom_ppm: 500_000 });
    assert!(climate.forecast().is_none());
}

#[test]
fn a_price_sees_the_heat_coming_and_never_cools_by_a_forecast() {
    let mut climate = Climate::new(95.0, 60.0, 70_000);
    let mut heat = Heat::at_rest(&CHASSIS);
    for second in 0..400_u32 {
        let load = Load { cpu: if second / 60 % 2 == 0 { 60.0 } else { 200.0 }, gpu: 0.0 };
        heat = heat.after(&CHASSIS, load, 1.0);
        let at_ns = u64::from(second) * SECOND_NS;
        climate.see(&look(Some(load.cpu), heat.cpu, at_ns), at_ns);
        // Looks between the seconds change nothing of the log.
        climate.see(&look(Some(load.cpu), heat.cpu, at_ns + 1), at_ns + 1);
        assert!(climate.air().temperature_mk >= (heat.cpu * 1e3) as i64);
    }
    // Ten more seconds of full power: a minute later the simulation is where the price already was.
    let load = Load { cpu: 330.0, gpu: 0.0 };
    for second in 400..412_u32 {
        heat = heat.after(&CHASSIS, load, 1.0);
        climate.see(
            &look(Some(load.cpu), heat.cpu, u64::from(second) * SECOND_NS),
            u64::from(second) * SECOND_NS,
        );
    }
    let priced = climate.air().temperature_mk as f64 / 1e3;
    let later = heat.after(&CHASSIS, load, 60.0).cpu;
    assert!(later > heat.cpu + 10.0 && (priced - later).abs() < 2.0, "{} -> {priced}, {later}", heat.cpu);
    // Never beyond the limit, where a chassis stays by throttling.
    let mut near = Climate { limit: heat.cpu + 1.0, ..climate.clone() };
    near.see(&look(Some(330.0), heat.cpu, 500 * SECOND_NS), 500 * SECOND_NS);
    assert_eq!(near.air(), Air { temperature_mk: ((heat.cpu + 1.0) * 1e3) as i64, headroom_ppm: 0 });
}

#[test]
fn the_log_is_bounded_and_bad_readings_are_left_out() {
    let mut climate = Climate::new(95.0, 4.0, 70_000);
    for second in 0..2_000_u64 {
        climate.see(&look(Some(50.0), 40.0, second * SECOND_NS), second * SECOND_NS);
    }
    assert_eq!(climate.log.len(), SAMPLES_MAX);
    let mut bad = look(Some(50.0), 900.0, 1);
    bad.readings.iter_mut().for_each(|reading| reading.quality = Quality::Vanished);
    climate.see(&bad, 3_000 * SECOND_NS);
    assert_eq!(climate.air().temperature_mk, 70_000);
}
