//! The formulas against the tables of governance section 2.3, exact fractions, published bounds, simulations and laws.
//! Never against a copy of themselves.

use model::synthetic::SplitMix64;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::*;

const RUNS: u32 = 20_000;
const MINUTE: f64 = 60.0;
const HOUR: f64 = 60.0 * MINUTE;
const DAY: f64 = 24.0 * HOUR;

fn probability(value: f64) -> Probability {
    Probability::new(value).unwrap()
}

fn positive(value: f64) -> Positive {
    Positive::new(value).unwrap()
}

/// Exact replay: power 1.
fn replay(checked_share: f64) -> Sampling {
    Sampling { checked_share: probability(checked_share), power: Probability::ONE }
}

fn traffic(answers_per_second: f64, cheated_share: f64) -> Traffic {
    Traffic { answers_per_second: positive(answers_per_second), cheated_share: probability(cheated_share) }
}

#[track_caller]
fn near(value: f64, expected: f64, relative: f64) {
    assert!((value - expected).abs() <= relative * expected.abs(), "{value}, expected {expected}");
}

/// Prints as the table does.
#[track_caller]
fn prints(value: f64, places: usize, expected: &str) {
    assert_eq!(format!("{value:.places$}"), expected, "{value}");
}

// Section 2.3: the outside oracle.

#[test]
fn the_cheated_answers_needed_are_those_of_the_table() {
    let confidences = [0.9, 0.99, 0.999, 1.0 - 1e-6].map(probability);
    // The table rounds to the nearest; its last figure of 1e-5 is in millions.
    for (eps, row) in [
        (1e-5, ["230257", "460515", "690772", "1.38"]),
        (1e-4, ["23025", "46049", "69074", "138148"]),
        (1e-3, ["2301", "4603", "6904", "13809"]),
        (1e-2, ["229", "458", "687", "1375"]),
        (5e-2, ["45", "90", "135", "269"]),
    ] {
        for (confidence, expected) in confidences.into_iter().zip(row) {
            let needed = cheated_needed(replay(eps), confidence);
            match expected.contains('.') {
                true => prints(needed / 1e6, 2, expected),
                false => prints(needed, 0, expected),
            }
            // Where rounding to the nearest went down, that many are just too few.
            let whole = whole_cheated_needed(replay(eps), confidence).unwrap();
            assert!(whole as f64 - needed < 1.0 && whole as f64 >= needed);
            assert!(detection(replay(eps), whole) >= confidence.get());
            assert!(detection(replay(eps), whole - 1) < confidence.get());
        }
    }
}

#[test]
fn the_lotteries_are_those_of_the_table() {
    let lottery = Lottery::new(1000, 10).unwrap();
    prints(lottery.detection(100).unwrap(), 3, "0.653");
    // Binomial: ten cheated answers at eps = n / N; slightly worse. The table's .634 is 100 draws with replacement,
    // k / N = 1 % each; ten answers at 10 % each give .651.
    prints(detection(replay(0.01), 100), 3, "0.634");
    for (requests, cheated, draws) in
        [(1000, 10, 368), (1000, 1, 990), (10_000, 10, 3689), (100_000, 100, 4499)]
    {
        let lottery = Lottery::new(requests, cheated).unwrap();
        assert_eq!(lottery.draws_needed(probability(0.99)), Some(draws), "{lottery:?}");
    }
}

/// Cheated share, decimals, the figure and its unit in seconds.
type PrintedTime = (f64, usize, &'static str, f64);

#[test]
fn the_times_are_those_of_the_table() {
    let rows: [(f64, f64, [PrintedTime; 4]); 6] = [
        (
            400.0,
            1e-4,
            [(1.0, 0, "115", 1.0), (0.1, 0, "19", MINUTE), (0.01, 1, "3.2", HOUR), (1e-3, 0, "32", HOUR)],
        ),
        (
            400.0,
            1e-3,
            [(1.0, 1, "11.5", 1.0), (0.1, 0, "115", 1.0), (0.01, 0, "19", MINUTE), (1e-3, 1, "3.2", HOUR)],
        ),
        (
            10.0,
            1e-4,
            [(1.0, 0, "77", MINUTE), (0.1, 1, "12.8", HOUR), (0.01, 1, "5.3", DAY), (1e-3, 0, "53", DAY)],
        ),
        (
            10.0,
            1e-3,
            [(1.0, 1, "7.7", MINUTE), (0.1, 0, "77", MINUTE), (0.01, 1, "12.8", HOUR), (1e-3, 1, "5.3", DAY)],
        ),
        (
            0.2,
            1e-2,
            [(1.0, 0, "38", MINUTE), (0.1, 1, "6.4", HOUR), (0.01, 1, "2.7", DAY), (1e-3, 0, "27", DAY)],
        ),
        (
            0.2,
            1e-1,
            [(1.0, 1, "3.8", MINUTE), (0.1, 0, "38", MINUTE), (0.01, 1, "6.4", HOUR), (1e-3, 1, "2.7", DAY)],
        ),
    ];
    for (rate, eps, row) in rows {
        for (share, places, expected, unit) in row {
            let seconds = seconds_to(replay(eps), traffic(rate, share), probability(0.99));
            prints(seconds / unit, places, expected);
        }
    }
}

#[test]
fn the_bounds_are_the_rule_of_three() {
    let bound = |checked, confidence| deviating_share_bound(checked, 0, probability(confidence)).unwrap();
    assert_eq!(format!("{:.1e}", bound(10_000, 0.95)), "3.0e-4");
    for checked in [1000, 10_000, 1_000_000] {
        prints(bound(checked, 0.95) * checked as f64, 0, "3");
        prints(bound(checked, 0.999) * checked as f64, 1, "6.9");
    }
}

#[test]
fn the_covert_budget_is_that_of_finding_five() {
    assert_eq!(covert_budget(replay(1e-3), probability(0.05)), Some(51));
    // The printed formula, ln(1/0.95)/eps.
    prints(-(0.95_f64.ln()) / 1e-3, 0, "51");
}

#[test]
fn the_recompute_budget_is_that_of_the_section() {
    for (eps, scale) in [(1e-4, 1.0), (1e-3, 10.0), (1e-2, 100.0)] {
        for (rho, expected) in [(1.0, 10_000.0), (0.3, 3000.0), (0.1, 1000.0), (0.01, 100.0)] {
            near(recompute_budget(probability(eps), positive(rho), positive(1e8)), expected * scale, 1e-12);
        }
    }
    // "fleet 100k H100e at 1 resp/s each, g = 1e-4 for one week, delta = 1e-3: eps = 1.1e-6, 0.02 H100e at rho = .2"
    let eps = share_for_time(probability(0.999), Probability::ONE, traffic(1e5, 1e-4), positive(7.0 * DAY))
        .unwrap();
    assert_eq!(format!("{:.1e}", eps.get()), "1.1e-6");
    prints(recompute_budget(eps, positive(0.2), positive(1e5)), 2, "0.02");
}

// Exact fractions and published values.

#[test]
fn small_lotteries_equal_exact_fractions() {
    let choose = |n: u64, k: u64| (0..k).fold(1_u128, |c, i| c * u128::from(n - i) / u128::from(i + 1));
    for requests in 0..=24_u64 {
        for cheated in 0..=requests {
            let lottery = Lottery::new(requests, cheated).unwrap();
            for drawn in 0..=requests {
                let (all, clean) = (
                    choose(requests, drawn),
                    if drawn > requests - cheated { 0 } else { choose(requests - cheated, drawn) },
                );
                let exact = (all - clean) as f64 / all as f64;
                near(lottery.detection(drawn).unwrap(), exact, 1e-12);
                // A target that is met exactly needs no further draw, if a float can say it.
                if clean * 1000 > all {
                    let needed = lottery.draws_needed(probability(exact));
                    assert!(needed.is_some_and(|needed| needed <= drawn), "{lottery:?} {drawn}: {needed:?}");
                }
            }
        }
    }
}

#[test]
fn large_lotteries_equal_the_product() {
    for (requests, cheated, drawn) in
        [(1_000_000_000, 20_000, 30_000), (2_000_000, 20_000, 25_000), (1 << 53, 100_000_000, 90_000_000_u64)]
    {
        let lottery = Lottery::new(requests, cheated).unwrap();
        let detected = lottery.detection(drawn).unwrap();
        if drawn > 1_000_000 {
            // Poisson limit: nk/N, its next term smaller by (n + k) / 2N.
            near(detected, 1.0 - (-(drawn as f64 * cheated as f64 / requests as f64)).exp(), 1e-7);
        } else {
            let miss: f64 =
                (0..cheated).map(|i| (requests - drawn - i) as f64 / (requests - i) as f64).product();
            near(detected, 1.0 - miss, 1e-9);
        }
    }
}

/// Both ways to compute a chance must meet where they change over.
#[test]
fn the_series_continues_the_product() {
    let detected = |cheated| Lottery::new(3_000_000_000, cheated).unwrap().detection(50_000).unwrap();
    let steps: Vec<f64> = (9_998..=10_003).map(|cheated| detected(cheated + 1) - detected(cheated)).collect();
    for pair in steps.windows(2) {
        near(pair[1], pair[0], 1e-4);
    }
}

#[test]
fn bounds_with_failures_are_the_published_ones() {
    let bound = |checked, failed, confidence| {
        deviating_share_bound(checked, failed, probability(confidence)).unwrap()
    };
    // Clopper and Pearson: 10 of 100, two-sided 95 %, upper end.
    prints(bound(100, 10, 0.975), 4, "0.1762");
    prints(bound(10, 1, 0.95), 4, "0.3942");
    // Garwood, Biometrika 28, 1936: upper bounds of a Poisson mean at one-sided 95 %.
    for (failed, mean) in [(1, "4.744"), (2, "6.296"), (3, "7.754"), (5, "10.513"), (10, "16.962")] {
        prints(bound(1_000_000_000, failed, 0.95) * 1e9, 3, mean);
    }
}

/// The definition, with the tail summed from the other end in exact products.
#[test]
fn a_bound_leaves_exactly_the_doubt() {
    for (checked, failed) in [(5_u32, 2_u32), (17, 1), (30, 29), (60, 20), (200, 3)] {
        for confidence in [0.05, 0.5, 0.95, 0.999] {
            let p = deviating_share_bound(checked.into(), failed.into(), probability(confidence)).unwrap();
            let mut term = (1.0 - p).powi(checked as i32);
            let mut tail = 0.0;
            for at in 0..=failed {
                tail += term;
                term *= f64::from(checked - at) / f64::from(at + 1) * p / (1.0 - p);
            }
            near(tail, 1.0 - confidence, 1e-9);
        }
    }
}

#[test]
fn a_bound_of_many_failures_is_near_the_normal_one() {
    let (checked, failed) = (4_000_000_000_u64, MAX_FAILED);
    let bound = deviating_share_bound(checked, failed, probability(0.975)).unwrap();
    let deviation = (0.25 * 0.75 / checked as f64).sqrt();
    near((bound - 0.25) / deviation, 1.96, 1e-3);
}

// Simulations. Four standard errors: one seed of about 16,000 would fail by chance.

fn unit(random: &mut SplitMix64) -> f64 {
    (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

#[track_caller]
fn agrees(seed: u64, hits: u32, expected: f64) {
    let share = f64::from(hits) / f64::from(RUNS);
    let error = (expected * (1.0 - expected) / f64::from(RUNS)).sqrt();
    assert!((share - expected).abs() <= 4.0 * error, "seed {seed}: {share}, expected {expected} +- {error}");
}

#[test]
fn the_binomial_agrees_with_a_simulation() {
    let seed = 11;
    let mut random = SplitMix64::new(seed);
    for (eps, power, cheated) in [(0.05, 1.0, 30), (0.3, 0.4, 5), (0.9, 0.9, 1), (0.01, 0.5, 60)] {
        let sampling = Sampling { checked_share: probability(eps), power: probability(power) };
        let caught =
            |random: &mut SplitMix64| (0..cheated).any(|_| unit(random) < eps && unit(random) < power);
        let hits = (0..RUNS).filter(|_| caught(&mut random)).count() as u32;
        agrees(seed, hits, detection(sampling, cheated));
    }
}

#[test]
fn the_lottery_agrees_with_a_simulation() {
    let seed = 12;
    let mut random = SplitMix64::new(seed);
    for (requests, cheated, drawn) in [(200_u64, 5, 40), (60, 20, 2), (30, 1, 15)] {
        // Requests below `cheated` are the cheated ones.
        let mut order: Vec<u64> = (0..requests).collect();
        let mut hits = 0;
        for _ in 0..RUNS {
            for at in 0..drawn {
                let other = at + random.below(requests - at);
                order.swap(at as usize, other as usize);
            }
            hits += u32::from(order[..drawn as usize].iter().any(|request| *request < cheated));
        }
        agrees(seed, hits, Lottery::new(requests, cheated).unwrap().detection(drawn).unwrap());
    }
}

#[test]
fn the_times_agree_with_a_simulation() {
    let seed = 13;
    let mut random = SplitMix64::new(seed);
    for (eps, power, rate, share) in [(0.2, 0.5, 3.0, 0.4), (1.0, 1.0, 0.2, 0.1), (0.5, 1.0, 400.0, 1.0)] {
        let sampling = Sampling { checked_share: probability(eps), power: probability(power) };
        let server = traffic(rate, share);
        let limit = seconds_to(sampling, server, probability(0.9));
        let (mut sum, mut squares, mut in_time) = (0.0, 0.0, 0);
        for _ in 0..RUNS {
            let mut seconds = 0.0;
            loop {
                seconds += -(-unit(&mut random)).ln_1p() / rate;
                if unit(&mut random) < share && unit(&mut random) < eps && unit(&mut random) < power {
                    break;
                }
            }
            sum += seconds;
            squares += seconds * seconds;
            in_time += u32::from(seconds <= limit);
        }
        let (runs, expected) = (f64::from(RUNS), mean_seconds(sampling, server));
        let mean = sum / runs;
        let error = ((squares / runs - mean * mean) / runs).sqrt();
        assert!(
            (mean - expected).abs() <= 4.0 * error,
            "seed {seed}: {mean}, expected {expected} +- {error}"
        );
        agrees(seed, in_time, 0.9);
    }
}

/// The bound must hold in at least the promised share of samples, whatever the true share is.
#[test]
fn the_bound_holds_as_often_as_it_says() {
    let seed = 14;
    let mut random = SplitMix64::new(seed);
    for (true_share, checked, confidence) in [(0.02, 150_u64, 0.95), (0.3, 40, 0.9), (0.001, 100, 0.99)] {
        let bounds: Vec<f64> = (0..=checked)
            .map(|failed| deviating_share_bound(checked, failed, probability(confidence)).unwrap())
            .collect();
        let mut held = 0;
        for _ in 0..RUNS {
            let failed = (0..checked).filter(|_| unit(&mut random) < true_share).count();
            held += u32::from(bounds[failed] >= true_share);
        }
        let error = (confidence * (1.0 - confidence) / f64::from(RUNS)).sqrt();
        let share = f64::from(held) / f64::from(RUNS);
        assert!(share >= confidence - 4.0 * error, "seed {seed}: {share} below {confidence}");
    }
}

// Laws.

fn seeded(seed: u64) -> Config {
    Config { rng_seed: RngSeed::Fixed(seed), failure_persistence: None, ..Config::default() }
}

/// Small shares as often as large ones.
fn any_share() -> impl Strategy<Value = f64> {
    (-9.0..0.0_f64).prop_map(|exponent| 10.0_f64.powf(exponent))
}

/// Chances that leave a doubt of 1e-9 at least.
fn any_confidence() -> impl Strategy<Value = f64> {
    prop_oneof![any_share().prop_map(|share| share / 2.0), any_share().prop_map(|doubt| 1.0 - doubt)]
        .prop_filter("a chance above 0", |chance| *chance > 0.0)
}

proptest! {
    #![proptest_config(seeded(21))]

    #[test]
    fn the_share_for_some_cheats_catches_them(confidence in any_confidence(), power in any_share(), cheated in 1_u64..1 << 40) {
        if let Some(checked_share) = share_for_cheated(probability(confidence), probability(power), cheated) {
            let found = detection(Sampling { checked_share, power: probability(power) }, cheated);
            prop_assert!((found - confidence).abs() <= 1e-9 * confidence.min(1.0), "{found} for {confidence}");
        } else {
            let all = Sampling { checked_share: Probability::ONE, power: probability(power) };
            prop_assert!(detection(all, cheated) < confidence);
        }
    }

    #[test]
    fn the_cheats_needed_are_the_fewest(confidence in any_confidence(), eps in any_share(), power in any_share()) {
        let sampling = Sampling { checked_share: probability(eps), power: probability(power) };
        let whole = whole_cheated_needed(sampling, probability(confidence));
        let needed = whole.filter(|needed| *needed < 1 << 20);
        if let Some(needed) = needed {
            prop_assert!(detection(sampling, needed) >= confidence * (1.0 - 1e-11));
            prop_assert!(detection(sampling, needed - 1) < confidence);
            // Read the other way round it is the covert budget.
            let budget = covert_budget(sampling, probability(confidence)).unwrap();
            prop_assert!(budget == needed || budget + 1 == needed);
            let printed = probability(confidence).nats() / sampling.catch().get();
            prop_assert!(budget as f64 <= printed * (1.0 + 1e-11) && budget as f64 >= printed * (1.0 - sampling.catch().get()) - 1.0);
        }
    }

    #[test]
    fn the_share_for_a_time_takes_that_time(
        confidence in any_confidence(), power in any_share(), rate in any_share(), share in any_share(), exponent in 0.0..10.0_f64,
    ) {
        let (confidence, power) = (probability(confidence), probability(power));
        let (server, seconds) = (traffic(rate * 1e4, share), 10.0_f64.powf(exponent));
        if let Some(checked_share) = share_for_time(confidence, power, server, positive(seconds)) {
            let sampling = Sampling { checked_share, power };
            let taken = seconds_to(sampling, server, confidence);
            prop_assert!((taken - seconds).abs() <= 1e-9 * seconds, "{taken} for {seconds}");
            prop_assert!((mean_seconds(sampling, server) * confidence.nats() - taken).abs() <= 1e-9 * taken);
            // Leaving the number of cheats to chance never makes it easier.
            let cheated = (rate * 1e4 * share * seconds).ceil() as u64;
            let fixed = share_for_cheated(confidence, power, cheated);
            prop_assert!(fixed.is_some_and(|fixed| fixed.get() <= checked_share.get() * (1.0 + 1e-9)));
            // The floor is the larger of the two.
            let fleet = Sampling { checked_share: probability(1e-4), power };
            let floor = server_floor(fleet, server, confidence, positive(seconds));
            prop_assert_eq!(floor, Some(probability(checked_share.get().max(1e-4))));
            let checks = checks_needed(confidence, probability(share));
            let formula = checks / (power.get() * rate * 1e4 * seconds);
            prop_assert!((formula - checked_share.get()).abs() <= 1e-9 * formula);
        }
    }

    #[test]
    fn more_checks_and_more_cheats_catch_more(eps in any_share(), power in any_share(), factor in 0.1..0.9_f64, cheated in 1_u64..1 << 40) {
        let sampling = |factor: f64| Sampling { checked_share: probability(eps * factor), power: probability(power) };
        let found = detection(sampling(1.0), cheated);
        prop_assert!((0.0..=1.0).contains(&found));
        prop_assert!(detection(sampling(factor), cheated) <= found);
        prop_assert!(detection(sampling(1.0), cheated + 1) >= found);
        let needed = |factor: f64| cheated_needed(sampling(factor), probability(0.99));
        prop_assert!(needed(factor) > needed(1.0));
    }

    #[test]
    fn more_draws_catch_more_and_beat_the_binomial(requests in 1_u64..1 << 40, cheated in any_share(), drawn in any_share()) {
        let part = |share: f64| ((requests as f64 * share) as u64).min(requests - 1);
        let (cheated, drawn) = (part(cheated), part(drawn));
        let lottery = Lottery::new(requests, cheated).unwrap();
        let found = lottery.detection(drawn).unwrap();
        prop_assert!((0.0..=1.0).contains(&found));
        prop_assert!(lottery.detection(drawn + 1).unwrap() >= found * (1.0 - 1e-11));
        prop_assert!(Lottery::new(requests, cheated + 1).unwrap().detection(drawn).unwrap() >= found * (1.0 - 1e-11));
        // Draws with replacement find less.
        let with_replacement = detection(replay(cheated as f64 / requests as f64), drawn);
        prop_assert!(found >= with_replacement * (1.0 - 1e-11), "{found} {with_replacement}");
    }

    #[test]
    fn the_draws_needed_are_the_fewest(requests in 2_u64..100_000, cheated in 1_u64..1000, confidence in any_confidence()) {
        let lottery = Lottery::new(requests, cheated.min(requests)).unwrap();
        let needed = lottery.draws_needed(probability(confidence)).unwrap();
        let miss = |drawn| 1.0 - lottery.detection(drawn).unwrap();
        prop_assert!(miss(needed) <= (1.0 - confidence) + 1e-12);
        prop_assert!(miss(needed - 1) > (1.0 - confidence) - 1e-12);
    }

    #[test]
    fn a_bound_falls_with_checks_and_rises_with_failures(checked in 2_u64..1_000_000, failed in 0_u64..50, confidence in 0.01..0.9999_f64) {
        let bound = |checked, failed: u64, confidence| deviating_share_bound(checked, failed.min(checked), probability(confidence)).unwrap();
        let here = bound(checked, failed, confidence);
        prop_assert!((0.0..=1.0).contains(&here));
        prop_assert!(bound(checked + checked / 2, failed, confidence) <= here);
        prop_assert!(bound(checked, failed + 1, confidence) >= here);
        prop_assert!(bound(checked, failed, confidence + (1.0 - confidence) / 2.0) >= here);
    }
}

// Ends of the ranges, and what lies outside.

#[test]
fn nothing_checked_finds_nothing() {
    let (never, some) = (replay(0.0), probability(0.99));
    let blind = Sampling { checked_share: Probability::ONE, power: probability(0.0) };
    for sampling in [never, blind] {
        assert_eq!(detection(sampling, u64::MAX), 0.0);
        assert_eq!(cheated_needed(sampling, some), f64::INFINITY);
        assert_eq!(whole_cheated_needed(sampling, some), None);
        assert_eq!(covert_budget(sampling, probability(0.05)), None);
        assert_eq!(mean_seconds(sampling, traffic(10.0, 0.5)), f64::INFINITY);
        assert_eq!(seconds_to(sampling, traffic(10.0, 0.5), some), f64::INFINITY);
    }
    assert_eq!(share_for_cheated(some, probability(0.0), 5), None);
    assert_eq!(share_for_time(some, probability(0.0), traffic(1.0, 1.0), positive(1.0)), None);
    assert_eq!(recompute_budget(probability(0.0), positive(0.13), positive(1e8)), 0.0);
}

#[test]
fn everything_checked_finds_the_first_cheat() {
    let all = replay(1.0);
    assert_eq!((detection(all, 0), detection(all, 1), detection(all, u64::MAX)), (0.0, 1.0, 1.0));
    for confidence in [1e-9, 0.5, 0.99, 1.0] {
        assert_eq!(whole_cheated_needed(all, probability(confidence)), Some(1));
    }
    assert_eq!(covert_budget(all, probability(0.05)), Some(0));
    assert_eq!(covert_budget(all, Probability::ONE), None, "who doesn't mind being caught has no limit");
    assert_eq!(share_for_cheated(Probability::ONE, Probability::ONE, 7), Some(Probability::ONE));
    assert_eq!(share_for_cheated(probability(0.5), probability(0.5), 1), Some(Probability::ONE));
    assert_eq!(share_for_cheated(probability(0.6), probability(0.5), 1), None);
}

#[test]
fn no_cheats_are_never_found_and_no_confidence_costs_nothing() {
    let (some, none) = (replay(0.01), probability(0.0));
    assert_eq!(detection(some, 0), 0.0);
    assert_eq!(share_for_cheated(probability(0.99), Probability::ONE, 0), None);
    assert_eq!(mean_seconds(some, traffic(10.0, 0.0)), f64::INFINITY);
    assert_eq!(checks_needed(probability(0.99), none), f64::INFINITY);
    assert_eq!(
        share_for_time(probability(0.99), Probability::ONE, traffic(1e308, 0.0), positive(1e308)),
        None
    );
    for sampling in [some, replay(0.0), replay(1.0)] {
        assert_eq!(whole_cheated_needed(sampling, none), Some(0));
        assert_eq!(seconds_to(sampling, traffic(10.0, 0.0), none), 0.0);
    }
    assert_eq!(share_for_cheated(none, none, 0), Some(none));
    assert_eq!(share_for_time(none, none, traffic(1.0, 0.0), positive(1.0)), Some(none));
    assert_eq!(checks_needed(none, none), 0.0);
    assert_eq!(whole_cheated_needed(some, Probability::ONE), None);
}

#[test]
fn tiny_shares_keep_their_digits() {
    near(detection(replay(1e-12), 1), 1e-12, 1e-12);
    near(detection(replay(1e-15), 1000), 1e-12, 1e-9);
    near(mean_seconds(replay(1e-4), traffic(10.0, 1e-12)), 1e15, 1e-12);
    near(cheated_needed(replay(1e-12), probability(0.99)), 4.605_170_185_988_091e12, 1e-9);
    near(checks_needed(probability(0.95), probability(1e-12)), 2.995_732_273_553_991e12, 1e-12);
    near(Lottery::new(1 << 50, 1).unwrap().detection(1).unwrap(), 2.0_f64.powi(-50), 1e-15);
    near(deviating_share_bound(1 << 53, 0, probability(0.95)).unwrap() * 2.0_f64.powi(53), 2.995_732, 1e-6);
    near(deviating_share_bound(1 << 53, 1, probability(0.95)).unwrap() * 2.0_f64.powi(53), 4.744, 1e-4);
    assert_eq!(whole_cheated_needed(replay(1e-300), probability(0.99)), None, "beyond 2^53");
}

/// 1 - 0.9^2 = 0.19 and 1 - 0.99^2 = 0.0199, but not in floats.
#[test]
fn rounding_errors_cost_no_whole_number() {
    for (eps, confidence, whole) in
        [(0.1, 0.19, 2), (0.01, 0.0199, 2), (0.1, 0.271, 3), (0.5, 0.75, 2), (0.2, 0.2, 1)]
    {
        assert_eq!(
            whole_cheated_needed(replay(eps), probability(confidence)),
            Some(whole),
            "{eps} {confidence}"
        );
        assert_eq!(covert_budget(replay(eps), probability(confidence)), Some(whole), "{eps} {confidence}");
    }
}

#[test]
fn a_server_that_answers_too_little_has_no_floor() {
    let fleet = replay(1e-3);
    let floor =
        |rate, seconds| server_floor(fleet, traffic(rate, 0.01), probability(0.99), positive(seconds));
    // 4.6 / 0.01 = 460.5 checks.
    near(floor(10.0, 3600.0).unwrap().get(), 460.517 / 36_000.0, 1e-6);
    assert_eq!(floor(400.0, 30.0 * DAY), Some(fleet.checked_share), "the fleet's own share is more");
    assert_eq!(floor(0.1, 3600.0), None, "360 answers can't give 460 checks");
}

#[test]
fn lotteries_and_bounds_have_ends() {
    let lottery = Lottery::new(100, 3).unwrap();
    assert_eq!(lottery.detection(0), Ok(0.0));
    assert_eq!(lottery.detection(98), Ok(1.0));
    assert_eq!(lottery.draws_needed(Probability::ONE), Some(98));
    assert_eq!(lottery.draws_needed(probability(0.0)), Some(0));
    assert_eq!(Lottery::new(100, 0).unwrap().draws_needed(probability(0.01)), None);
    assert_eq!(Lottery::new(100, 100).unwrap().draws_needed(Probability::ONE), Some(1));
    assert_eq!(Lottery::new(0, 0).unwrap().detection(0), Ok(0.0));
    let bound = |checked, failed, confidence| deviating_share_bound(checked, failed, probability(confidence));
    assert_eq!(bound(0, 0, 0.95), Ok(1.0), "nothing checked, nothing known");
    assert_eq!(bound(7, 7, 0.95), Ok(1.0));
    assert_eq!((bound(7, 0, 0.0), bound(7, 2, 0.0)), (Ok(0.0), Ok(0.0)));
    assert_eq!((bound(7, 0, 1.0), bound(7, 2, 1.0)), (Ok(1.0), Ok(1.0)));
}

#[test]
fn bad_arguments_are_typed_errors() {
    for value in [f64::NAN, -1e-9, 1.000_001, f64::INFINITY, f64::NEG_INFINITY] {
        assert!(matches!(Probability::new(value), Err(Error::NotAProbability(_))), "{value}");
    }
    for value in [f64::NAN, -1.0, 0.0, -0.0, f64::INFINITY] {
        assert!(matches!(Positive::new(value), Err(Error::NotPositive(_))), "{value}");
    }
    for text in ["", "x", "1e", "0,5", "50%"] {
        assert_eq!(text.parse::<Probability>(), Err(Error::NotANumber(text.to_owned())));
        assert_eq!(text.parse::<Positive>(), Err(Error::NotANumber(text.to_owned())));
    }
    assert!(matches!("NaN".parse::<Probability>(), Err(Error::NotAProbability(_))));
    assert_eq!("2".parse::<Probability>(), Err(Error::NotAProbability(2.0)));
    assert_eq!(" 1e-3".parse::<Probability>(), Ok(probability(0.001)));
    let more = |part_name, part, whole_name, whole| Error::MoreThanAll { part_name, part, whole_name, whole };
    assert_eq!(Lottery::new(10, 11), Err(more("cheated", 11, "requests", 10)));
    assert_eq!(Lottery::new(10, 1).unwrap().detection(11), Err(more("drawn", 11, "requests", 10)));
    assert!(matches!(Lottery::new(u64::MAX, 1), Err(Error::TooMany { what: "requests", .. })));
    let bound = |checked, failed| deviating_share_bound(checked, failed, probability(0.95));
    assert_eq!(bound(10, 11), Err(more("failed", 11, "checks", 10)));
    assert!(matches!(bound(u64::MAX, 1), Err(Error::TooMany { what: "checks", .. })));
    assert!(matches!(bound(1 << 50, MAX_FAILED + 1), Err(Error::TooMany { what: "failed checks", .. })));
}
