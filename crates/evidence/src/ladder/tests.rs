//! Prices and worths decide, in this order: enough confidence, within the budget, cheap.

use super::{Check, Plan, RemainingError, Situation, plan};

const SITUATION: Situation = Situation {
    blocks: 30,
    is_committed: true,
    is_public: false,
    replay_us: 1_000_000,
    token_us: 100,
    error_bits: (60, 103),
};

fn chosen(plan: &Plan) -> (Option<Check>, bool) {
    (plan.chosen.map(|index| plan.rungs[index].check), plan.is_enough)
}

#[test]
fn the_cheapest_check_that_is_enough_is_taken() {
    let check = |situation: Situation, confidence, budget, expected| {
        assert_eq!(chosen(&plan(&situation, confidence, budget)), expected);
    };
    check(SITUATION, 0, None, (Some(Check::Statement), true));
    check(SITUATION, 30_000_000, None, (Some(Check::Parts(1)), true));
    check(SITUATION, 500_000_000, None, (Some(Check::Parts(16)), true));
    check(SITUATION, 999_999_000, None, (Some(Check::Designated), true));
    check(SITUATION, 1_000_000_000, None, (Some(Check::Replay), true));
    let public = Situation { is_public: true, ..SITUATION };
    check(public, 999_999_000, None, (Some(Check::Public), true));
    // A short claim is replayed sooner than a public audit goes over the weights.
    let short = Situation { replay_us: 2000, ..public };
    check(short, 999_999_000, None, (Some(Check::Replay), true));
    let bare = Situation { is_committed: false, ..SITUATION };
    check(bare, 500_000_000, None, (Some(Check::Designated), true));
    check(Situation { is_public: true, ..bare }, 500_000_000, None, (Some(Check::Replay), true));
}

#[test]
fn a_budget_that_is_too_small_takes_the_strongest_and_says_so() {
    let check = |budget, expected| {
        assert_eq!(chosen(&plan(&SITUATION, 999_999_000, Some(budget))), expected);
    };
    check(0, (None, false));
    check(10, (Some(Check::Statement), false));
    check(549_999, (Some(Check::Parts(30)), false));
    check(550_000, (Some(Check::Designated), true));
    assert_eq!(chosen(&plan(&SITUATION, 1_000_000_000, Some(999_999))), (Some(Check::Public), false));
}

#[test]
fn errors_give_confidence_exactly() {
    let check = |error: RemainingError, confidence, expected| {
        assert_eq!(error.gives(confidence), expected, "{error:?} {confidence}");
    };
    check(RemainingError::Share { missed: 1, of: 4 }, 750_000_000, true);
    check(RemainingError::Share { missed: 1, of: 4 }, 750_000_001, false);
    check(RemainingError::Share { missed: 0, of: 4 }, 1_000_000_000, true);
    check(RemainingError::Bits(1), 500_000_000, true);
    check(RemainingError::Bits(1), 500_000_001, false);
    check(RemainingError::Bits(29), 999_999_999, false);
    check(RemainingError::Bits(30), 999_999_999, true);
    check(RemainingError::Bits(60), 999_999_999, true);
    check(RemainingError::Bits(128), 1_000_000_000, false);
    check(RemainingError::None, 1_000_000_000, true);
}
