//! Only public exact evidence slashes, and a rate falls only by exact checks that cost something.

use super::{Action, AuditRate, Finding, WHOLE_PPB};

const FLOOR: u64 = 1_000_000;

fn rate() -> AuditRate {
    AuditRate::new(FLOOR, 1000)
}

#[test]
fn only_public_exact_evidence_slashes() {
    for (finding, action) in [
        (Finding::ExactPublic, Action::Slash),
        (Finding::ExactDesignated, Action::CheckInPublic),
        (Finding::Statistical(1e6), Action::Audit),
        (Finding::Statistical(f64::INFINITY), Action::Audit),
        (Finding::Statistical(f64::NAN), Action::Audit),
        (Finding::Clean { cost: u64::MAX }, Action::Audit),
    ] {
        assert_eq!(rate().update(finding), action);
    }
}

#[test]
fn statistical_evidence_raises_the_rate_with_its_size_and_never_lowers_it() {
    let mut rate = rate();
    for (log_evidence, expected) in [
        (0.0, FLOOR),
        (-50.0, FLOOR),
        (10.0_f64.ln(), 10 * FLOOR),
        (2.0_f64.ln(), 10 * FLOOR),
        (1e9, WHOLE_PPB),
    ] {
        rate.update(Finding::Statistical(log_evidence));
        assert!(rate.rate_ppb().abs_diff(expected) <= 10, "{log_evidence}: {}", rate.rate_ppb());
    }
    rate.update(Finding::Statistical(-1e9));
    assert_eq!(rate.rate_ppb(), WHOLE_PPB);
}

#[test]
fn clean_checks_lower_it_by_what_they_cost_and_not_by_their_number() {
    let mut rate = rate();
    rate.update(Finding::ExactDesignated);
    assert_eq!(rate.rate_ppb(), WHOLE_PPB);
    // A flood of tiny requests of one's own.
    for _ in 0..999 {
        rate.update(Finding::Clean { cost: 1 });
        rate.update(Finding::Clean { cost: 0 });
    }
    assert_eq!(rate.rate_ppb(), WHOLE_PPB);
    rate.update(Finding::Clean { cost: 1 });
    assert_eq!(rate.rate_ppb(), WHOLE_PPB / 2);
    rate.update(Finding::Clean { cost: 2000 });
    assert_eq!(rate.rate_ppb(), WHOLE_PPB / 8);
    rate.update(Finding::Clean { cost: u64::MAX });
    assert_eq!(rate.rate_ppb(), FLOOR);
    // What was clean before a suspicion does not count against it.
    for _ in 0..10 {
        rate.update(Finding::Clean { cost: 999 });
    }
    rate.update(Finding::ExactDesignated);
    rate.update(Finding::Clean { cost: 999 });
    assert_eq!(rate.rate_ppb(), WHOLE_PPB);
}
