//! At the solved terms the best answer of a rational cheat is not to; a little below them it is.

use proptest::prelude::*;

use super::{Infeasible, Stakes, Terms, WHOLE_PPB};

const STAKES: Stakes = Stakes {
    gain: 600,
    reward: 1000,
    margin: 200,
    power_ppb: WHOLE_PPB,
    false_alarm_ppb: 0,
    audit_cost: 100,
};

#[test]
fn the_closed_form_by_hand() {
    // S >= 600 / 0.01 - 1000.
    assert_eq!(STAKES.least_stake(WHOLE_PPB / 100), Ok(59_000));
    assert_eq!(STAKES.least_rate(59_000), Ok(WHOLE_PPB / 100));
    // Half the power, twice as much.
    let weak = Stakes { power_ppb: WHOLE_PPB / 2, ..STAKES };
    assert_eq!(weak.least_stake(WHOLE_PPB / 100), Ok(119_000));
    // With every answer audited the reward alone is enough.
    assert_eq!(STAKES.least_stake(WHOLE_PPB), Ok(0));
    assert_eq!(STAKES.audits_cost(WHOLE_PPB / 100), 1);
    assert_eq!(STAKES.premium(59_000, 0), Ok(1));
    assert_eq!(STAKES.premium(59_000, 1_000_000), Ok(60));
}

#[test]
fn what_can_not_be_names_its_inequality() {
    let dear = Stakes { gain: 5000, ..STAKES };
    assert_eq!(dear.least_rate(1000), Err(Infeasible::Gain { stake: 4000 }));
    assert!(dear.least_rate(4000).is_ok());
    // phi = 1/1000: eps phi S = 0.01 * 0.001 * 59000 = 0.59.
    let noisy = Stakes { false_alarm_ppb: 1_000_000, margin: 1, ..STAKES };
    assert_eq!(noisy.least_stake(WHOLE_PPB / 100), Ok(59_000));
    let poor = Stakes { margin: 0, ..noisy };
    assert_eq!(poor.least_stake(WHOLE_PPB / 100), Err(Infeasible::FalseAlarms { false_alarm_ppb: 0 }));
    let noisy = Stakes { false_alarm_ppb: 10_000_000, margin: 1, ..STAKES };
    let Err(Infeasible::FalseAlarms { false_alarm_ppb }) = noisy.least_stake(WHOLE_PPB / 100) else {
        panic!("5.9 of 1 is too much");
    };
    assert!(Stakes { false_alarm_ppb, ..noisy }.least_stake(WHOLE_PPB / 100).is_ok());
    assert!(Stakes { false_alarm_ppb: false_alarm_ppb + 1, ..noisy }.least_stake(WHOLE_PPB / 100).is_err());
    for (stakes, rate) in [
        (Stakes { power_ppb: 0, ..STAKES }, 1),
        (Stakes { power_ppb: WHOLE_PPB + 1, ..STAKES }, 1),
        (Stakes { false_alarm_ppb: u64::MAX, ..STAKES }, 1),
        (STAKES, 0),
        (STAKES, WHOLE_PPB + 1),
    ] {
        assert_eq!(stakes.least_stake(rate), Err(Infeasible::Chance));
    }
    let huge = Stakes { gain: u64::MAX, ..STAKES };
    assert_eq!(huge.least_stake(1), Err(Infeasible::Overflow));
}

/// A cheat chooses on how many of its requests to cheat, knowing everything but the draws.
#[test]
fn a_rational_agent_does_not_cheat_at_the_solved_terms() {
    let mut games = 0;
    for gain in [1, 600, 999_983] {
        for power_ppb in [WHOLE_PPB, WHOLE_PPB / 3] {
            for audit_ppb in [1_000_000, 50_000_000, WHOLE_PPB] {
                let stakes = Stakes { gain, power_ppb, ..STAKES };
                let stake = stakes.least_stake(audit_ppb).expect("feasible");
                // What each share of cheated requests brings, of 100.
                let best = |terms: Terms| {
                    (0..=100).max_by_key(|cheated| (stakes.cheating_brings(terms) * cheated, -cheated))
                };
                assert_eq!(best(Terms { audit_ppb, stake }), Some(0));
                let below = stake - stake / 100 - 1.min(stake);
                if stake > 0 && below + stakes.reward > 0 {
                    assert_eq!(best(Terms { audit_ppb, stake: below }), Some(100), "{gain} {audit_ppb}");
                }
                games += 1;
            }
        }
    }
    assert_eq!(games, 18);
}

proptest! {
    #[test]
    fn rate_and_stake_are_inverse_and_never_overflow(
        gain in any::<u64>(),
        reward in any::<u64>(),
        margin in any::<u64>(),
        power_ppb in 0..=WHOLE_PPB + 5,
        false_alarm_ppb in 0..=WHOLE_PPB,
        stake in any::<u64>(),
        audit_ppb in 0..=WHOLE_PPB + 5,
    ) {
        let stakes = Stakes { gain, reward, margin, power_ppb, false_alarm_ppb, audit_cost: gain };
        let brings = |audit_ppb, stake| stakes.cheating_brings(Terms { audit_ppb, stake });
        if let Ok(rate) = stakes.least_rate(stake) {
            prop_assert!(brings(rate, stake) <= 0);
            prop_assert!(rate <= 1 || brings(rate - 1, stake) > 0);
        }
        if let Ok(stake) = stakes.least_stake(audit_ppb) {
            prop_assert!(brings(audit_ppb, stake) <= 0);
            prop_assert!(stake == 0 || brings(audit_ppb, stake - 1) > 0);
        }
        let _ = stakes.audits_cost(audit_ppb);
        let _ = stakes.premium(stake, audit_ppb);
    }
}
