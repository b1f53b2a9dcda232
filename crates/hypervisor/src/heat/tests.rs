//! The laws of heat, and a fit that finds what made the log.

use super::*;
use crate::Error;

const SMALL: Chassis = Chassis::SMALL;

/// Where nothing changes any more, by the balance alone: all power leaves through the case.
fn settled(load: Load, fan: f64) -> Heat {
    let out = SMALL.case.watts_per_degree + fan * SMALL.fan_watts_per_degree;
    let case = SMALL.room + (load.cpu + load.gpu + fan * SMALL.fan_watts) / out;
    Heat {
        cpu: case + load.cpu / SMALL.cpu.watts_per_degree,
        gpu: case + load.gpu / SMALL.gpu.watts_per_degree,
        case,
    }
}

#[test]
fn a_load_settles_where_its_heat_leaves() {
    for load in [Load { cpu: 10.0, gpu: 5.0 }, Load { cpu: 60.0, gpu: 300.0 }] {
        let heat = (0..10).fold(Heat::at_rest(&SMALL), |heat, _| heat.after(&SMALL, load, 3600.0));
        let expected = settled(load, heat.fan(&SMALL));
        for (found, expected) in
            [(heat.cpu, expected.cpu), (heat.gpu, expected.gpu), (heat.case, expected.case)]
        {
            assert!((found - expected).abs() < 0.05, "{heat:?} {expected:?}");
        }
    }
}

#[test]
fn without_a_load_everything_cools_to_the_room() {
    let hot = Heat { cpu: 90.0, gpu: 80.0, case: 60.0 };
    let cooled = (0..20).fold(hot, |heat, _| heat.after(&SMALL, Load::default(), 3600.0));
    assert!((cooled.gpu - SMALL.room).abs() < 0.1 && cooled.case >= SMALL.room - 1e-6);
}

#[test]
fn one_lump_warms_by_the_exponential() {
    // One lump against a room that stays: T = T_room + P / G (1 - exp(-t G / C)).
    let chassis = Chassis { case: Lump { joules_per_degree: 1e12, watts_per_degree: 1e-3 }, ..SMALL };
    let heat = Heat::at_rest(&chassis).after(&chassis, Load { cpu: 0.0, gpu: 100.0 }, 120.0);
    let expected = 24.0 + 100.0 / 10.0 * (1.0 - (-120.0_f64 * 10.0 / 700.0).exp());
    assert!((heat.gpu - expected).abs() < 0.1, "{} {expected}", heat.gpu);
}

#[test]
fn headroom_ends_at_the_limit() {
    let rest = Heat::at_rest(&SMALL);
    assert_eq!(rest.headroom_ppm(&SMALL), 1_000_000);
    assert_eq!(rest.seconds_to_limit(&SMALL, Load { cpu: 20.0, gpu: 50.0 }), None);
    let load = Load { cpu: 150.0, gpu: 450.0 };
    let seconds = rest.seconds_to_limit(&SMALL, load).unwrap();
    let (short, there) = (rest.after(&SMALL, load, seconds - 5.0), rest.after(&SMALL, load, seconds + 1.0));
    assert!(short.gpu < SMALL.gpu_limit && there.gpu >= SMALL.gpu_limit);
    assert_eq!(there.headroom_ppm(&SMALL), 0);
}

#[test]
fn a_fit_finds_what_made_the_log() {
    let chassis = Chassis { case: Lump { joules_per_degree: 1e12, watts_per_degree: 1e-3 }, ..SMALL };
    let mut heat = Heat::at_rest(&chassis);
    let log: Vec<Observed> = (0..600_u32)
        .map(|second| {
            let watts = if second / 100 % 2 == 0 { 250.0 } else { 60.0 };
            heat = heat.after(&chassis, Load { cpu: 0.0, gpu: watts }, 1.0);
            // A sensor of whole degrees.
            Observed { seconds: f64::from(second), watts, celsius: heat.gpu.round() }
        })
        .collect();
    let (lump, around) = fit(&log).unwrap();
    assert!((lump.joules_per_degree / 700.0 - 1.0).abs() < 0.1, "{lump:?}");
    assert!(
        (lump.watts_per_degree / 10.0 - 1.0).abs() < 0.1 && (around - 24.0).abs() < 2.0,
        "{lump:?} {around}"
    );
}

#[test]
fn logs_that_say_nothing_are_refused() {
    let flat = |count: u32| -> Vec<Observed> {
        (0..count).map(|s| Observed { seconds: f64::from(s), watts: 50.0, celsius: 40.0 }).collect()
    };
    assert_eq!(fit(&flat(5)), Err(Error::TooFew("a model of heat")));
    assert_eq!(fit(&flat(500)), Err(Error::TooFew("a model of heat")));
    assert_eq!(fit(&[]), Err(Error::TooFew("a model of heat")));
}

#[test]
fn a_forecast_is_where_the_lump_goes() {
    let chassis = Chassis { case: Lump { joules_per_degree: 1e12, watts_per_degree: 1e-3 }, ..SMALL };
    let log_at = |watts_at_the_end: f64| -> (Vec<Observed>, Heat) {
        let mut heat = Heat::at_rest(&chassis);
        let log = (0..400_u32).map(|second| {
            let watts =
                if second < 350 { f64::from(second / 50 % 2) * 200.0 + 60.0 } else { watts_at_the_end };
            heat = heat.after(&chassis, Load { cpu: 0.0, gpu: watts }, 1.0);
            Observed { seconds: f64::from(second), watts, celsius: heat.gpu }
        });
        (log.collect(), heat)
    };
    // 10 W per degree around 24: 700 W would end at 94, 300 W at 54.
    let (log, heat) = log_at(700.0);
    let hot = forecast(&log, 20.0, 83.0).unwrap();
    assert!((hot.settles_at - 94.0).abs() < 2.0 && (hot.watts_at_limit - 590.0).abs() < 20.0, "{hot:?}");
    let simulated = heat.seconds_to_limit(&chassis, Load { cpu: 0.0, gpu: 700.0 }).unwrap();
    assert!((hot.seconds_to_limit.unwrap() - simulated).abs() < 0.1 * simulated + 2.0, "{hot:?} {simulated}");
    let cool = forecast(&log_at(300.0).0, 20.0, 83.0).unwrap();
    assert!(cool.seconds_to_limit.is_none() && (cool.settles_at - 54.0).abs() < 2.0, "{cool:?}");
    assert_eq!(forecast(&log, 20.0, 30.0).unwrap().seconds_to_limit, Some(0.0), "it is there already");
}
