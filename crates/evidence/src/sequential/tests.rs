//! Honest servers are accused as rarely as alpha says, however often one looks; cheats are found about when the closed
//! form says; and no trick with order, restarts or chosen samples changes either.

use model::synthetic::SplitMix64;

use super::{
    Directed, Drawn, EProcess, PROCESS_BYTES, Score, SequentialError, average, false_discovery, product,
};

const MEAN: f64 = 0.02;

fn unit(random: &mut SplitMix64) -> f64 {
    (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

fn drawn(value: f64) -> Drawn {
    Drawn(Score::new(value).expect("a score"))
}

/// 20,000 honest runs of 500 checks, looked at after each: scores that are 1 with the honest chance, the worst that a
/// bounded score with this mean can be.
#[test]
fn false_alarms_stay_below_alpha() {
    let (runs, alpha) = (20_000, 0.01);
    for (name, mean) in [("exactly the bound", MEAN), ("half of it", MEAN / 2.0)] {
        let mut random = SplitMix64::new(51);
        let mut alarms = 0;
        for _ in 0..runs {
            let mut process = EProcess::new(MEAN, alpha).expect("sound");
            for _ in 0..500 {
                process.observe(drawn(if unit(&mut random) < mean { 1.0 } else { 0.0 }));
            }
            alarms += u32::from(process.has_alarmed());
        }
        let rate = f64::from(alarms) / f64::from(runs);
        println!("{name}: {alarms} of {runs} honest runs accused, alpha {alpha}");
        assert!(rate <= alpha, "{rate}");
    }
}

/// Dependent honest scores: each run of bad luck is followed by less of it, the mean given the past stays the bound.
#[test]
fn dependence_does_not_matter() {
    let (runs, alpha) = (5_000, 0.01);
    let mut random = SplitMix64::new(52);
    let mut alarms = 0;
    for _ in 0..runs {
        let mut process = EProcess::new(MEAN, alpha).expect("sound");
        let mut last = 0.0;
        for _ in 0..500 {
            // Rare and large behind a good one, frequent and small behind a bad one.
            let size = if last > 0.0 { 0.2 } else { 1.0 };
            last = if unit(&mut random) < MEAN / size { size } else { 0.0 };
            process.observe(drawn(last));
        }
        alarms += u32::from(process.has_alarmed());
    }
    println!("{alarms} of {runs} dependent honest runs accused");
    assert!(f64::from(alarms) <= alpha * f64::from(runs));
}

/// Checks until an alarm, beside `ln(bets / alpha) / E ln(1 + lambda (x - mu0))` for the best bet.
#[test]
fn power_is_what_the_closed_form_says() {
    for cheat_mean in [0.1, 0.3, 0.6] {
        let alpha: f64 = 1e-4;
        let growth = super::BETS.map(|bet| {
            let lambda = bet / MEAN;
            cheat_mean * (lambda * (1.0 - MEAN)).ln_1p() + (1.0 - cheat_mean) * (-lambda * MEAN).ln_1p()
        });
        let best = growth.into_iter().fold(0.0, f64::max);
        let expected = (super::BETS.len() as f64 / alpha).ln() / best;
        let mut random = SplitMix64::new(53);
        let mut stops: Vec<u64> = (0..1001)
            .map(|_| {
                let mut process = EProcess::new(MEAN, alpha).expect("sound");
                while !process.has_alarmed() && process.observations() < 10_000 {
                    process.observe(drawn(if unit(&mut random) < cheat_mean { 1.0 } else { 0.0 }));
                }
                process.observations()
            })
            .collect();
        stops.sort_unstable();
        let median = stops[500] as f64;
        println!("mean {cheat_mean}: alarm after {median} checks in the median, {expected:.0} expected");
        // The mixture's other bets help, and overshoot costs: within a half either way.
        assert!(median > expected * 0.5 && median < expected * 1.5 + 3.0);
    }
}

/// Whoever restarts after each bad check would never be accused; a process that is stored goes on.
#[test]
fn a_restart_forgets_nothing() {
    let mut random = SplitMix64::new(54);
    let mut whole = EProcess::new(MEAN, 1e-3).expect("sound");
    let mut restarted = whole.clone();
    for _ in 0..200 {
        let score = drawn(if unit(&mut random) < 0.2 { 1.0 } else { 0.0 });
        whole.observe(score);
        restarted = EProcess::decode(&restarted.encode()).expect("as stored");
        restarted.observe(score);
    }
    assert_eq!(whole, restarted);
    assert!(whole.has_alarmed());
    // Good behaviour afterwards lowers the evidence, and not the alarm.
    for _ in 0..100_000 {
        whole.observe(drawn(0.0));
    }
    assert!(whole.log_evidence() < 0.0 && whole.has_alarmed());
}

#[test]
fn the_order_of_scores_does_not_change_the_evidence() {
    let scores: Vec<f64> = (0..60).map(|i| f64::from(i % 7) / 7.0).collect();
    let evidence = |scores: &mut dyn Iterator<Item = &f64>| {
        let mut process = EProcess::new(0.3, 1e-9).expect("sound");
        scores.for_each(|score| process.observe(drawn(*score)));
        process.log_evidence()
    };
    let (forward, backward) = (evidence(&mut scores.iter()), evidence(&mut scores.iter().rev()));
    assert!((forward - backward).abs() < 1e-9);
}

#[test]
fn one_score_can_not_be_enough_and_none_can_overflow() {
    let mut process = EProcess::new(MEAN, 1e-6).expect("sound");
    process.observe(drawn(1.0));
    assert!(!process.has_alarmed());
    for _ in 0..1_000_000 {
        process.observe(drawn(1.0));
    }
    assert!(process.log_evidence().is_finite() && process.has_alarmed());
    let mut process = EProcess::new(1.0 - 1e-9, 1e-300).expect("sound");
    for _ in 0..1_000_000 {
        process.observe(drawn(0.0));
    }
    assert!(process.log_evidence().is_finite() && !process.has_alarmed());
}

#[test]
fn what_is_no_score_is_refused() {
    for value in [-0.1, 1.000_001, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert!(matches!(Score::new(value), Err(SequentialError::Score(_))));
        assert!(EProcess::new(value, 0.1).is_err() && EProcess::new(0.1, value).is_err());
    }
    assert!(EProcess::new(0.0, 0.1).is_err() && EProcess::new(0.1, 1.0).is_err());
    // A directed score is of another type: no process takes it.
    let Directed(score) = Directed(Score::new(1.0).expect("a score"));
    assert!((score.get() - 1.0).abs() < f64::EPSILON);
}

#[test]
fn no_other_bytes_are_a_process() {
    let mut process = EProcess::new(MEAN, 1e-3).expect("sound");
    (0..50).for_each(|i| process.observe(drawn(f64::from(i) / 50.0)));
    let bytes = process.encode();
    assert_eq!((bytes.len(), EProcess::decode(&bytes)), (PROCESS_BYTES, Ok(process)));
    for end in 0..bytes.len() {
        assert_eq!(EProcess::decode(&bytes[..end]), Err(SequentialError::Form));
    }
    let mut changed = bytes.clone();
    *changed.last_mut().expect("there") ^= 1;
    assert_eq!(EProcess::decode(&changed), Err(SequentialError::Form), "an alarm can't be taken back");
    let mut changed = bytes;
    changed[24..32].copy_from_slice(&f64::NAN.to_bits().to_le_bytes());
    assert_eq!(EProcess::decode(&changed), Err(SequentialError::Form));
}

#[test]
fn values_are_combined_as_the_rules_say() {
    let logs = [2.0_f64.ln(), 8.0_f64.ln(), 0.5_f64.ln()];
    assert!((average(&logs) - 3.5_f64.ln()).abs() < 1e-12);
    assert!((product(&logs) - 8.0_f64.ln()).abs() < 1e-12);
    assert!(average(&[]).abs() < f64::EPSILON);
    assert!((average(&[5000.0, 1.0]) - (5000.0 - 2.0_f64.ln())).abs() < 1e-9, "no overflow");
    // Four servers, alpha 0.1: one alone needs 40, two need 20 each.
    let ln = |values: &[f64]| values.iter().map(|v| v.ln()).collect::<Vec<f64>>();
    assert_eq!(false_discovery(&ln(&[1.0, 39.0, 1.0, 1.0]), 0.1), Vec::<usize>::new());
    assert_eq!(false_discovery(&ln(&[1.0, 41.0, 1.0, 1.0]), 0.1), [1]);
    assert_eq!(false_discovery(&ln(&[21.0, 21.0, 1.0, 1.0]), 0.1), [0, 1]);
    assert_eq!(false_discovery(&[], 0.1), Vec::<usize>::new());
}

/// A fleet with some cheats: of those who are suspected few are honest.
#[test]
fn a_fleet_is_suspected_rightly() {
    let mut random = SplitMix64::new(55);
    let (mut honest, mut suspected, mut found) = (0, 0, 0);
    for _ in 0..200 {
        let logs: Vec<f64> = (0..50)
            .map(|server| {
                let mean = if server < 5 { 0.2 } else { MEAN };
                let mut process = EProcess::new(MEAN, 0.05).expect("sound");
                (0..150).for_each(|_| {
                    process.observe(drawn(if unit(&mut random) < mean { 1.0 } else { 0.0 }));
                });
                process.log_evidence()
            })
            .collect();
        let taken = false_discovery(&logs, 0.05);
        suspected += taken.len();
        honest += taken.iter().filter(|server| **server >= 5).count();
        found += taken.iter().filter(|server| **server < 5).count();
    }
    println!("{suspected} suspected, {honest} of them honest, {found} of 1000 cheats found");
    assert!(honest * 20 <= suspected && found > 900);
}
