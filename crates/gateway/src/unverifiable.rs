//! How many answers may have no verdict. Pure: time is an argument. Must never let a server hide behind "could not be
//! checked": above the budget there is an alarm, whatever the reasons are.

use std::collections::VecDeque;

use crate::sampling::PPB;

/// Outcomes that are remembered, at most; with more in a window, the window is shorter.
const OUTCOMES_MAX: usize = 1 << 16;

/// What may stay without a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetPolicy {
    /// Share of the outcomes in a window, in parts of [`PPB`]; rounded up to whole answers.
    pub share_ppb: u64,
    /// The window.
    pub window_ms: u64,
}

impl Default for BudgetPolicy {
    /// One in a thousand over a day.
    fn default() -> Self {
        Self { share_ppb: PPB / 1000, window_ms: 86_400_000 }
    }
}

/// More answers than the budget allows have no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverBudget {
    /// Without a verdict.
    pub unverifiable: u64,
    /// All outcomes in the window.
    pub outcomes: u64,
}

/// The outcomes of one server.
#[derive(Debug)]
pub struct UnverifiableBudget {
    policy: BudgetPolicy,
    latest: VecDeque<(u64, bool)>,
    unverifiable: u64,
    is_over: bool,
}

impl UnverifiableBudget {
    /// Nothing was judged yet.
    pub fn new(policy: BudgetPolicy) -> Self {
        Self { policy, latest: VecDeque::new(), unverifiable: 0, is_over: false }
    }

    /// Takes an outcome in. Says so when the budget is overdrawn, once until it is not any more.
    pub fn add(&mut self, now_ms: u64, is_unverifiable: bool) -> Option<OverBudget> {
        self.latest.push_back((now_ms, is_unverifiable));
        self.unverifiable += u64::from(is_unverifiable);
        let begin_ms = now_ms.saturating_sub(self.policy.window_ms);
        while self.latest.len() > OUTCOMES_MAX
            || self.latest.front().is_some_and(|(at_ms, _)| *at_ms < begin_ms)
        {
            let gone = self.latest.pop_front();
            self.unverifiable -= u64::from(gone.is_some_and(|(_, is_unverifiable)| is_unverifiable));
        }
        let outcomes = u64::try_from(self.latest.len()).unwrap_or(u64::MAX);
        let allowed = (u128::from(outcomes) * u128::from(self.policy.share_ppb)).div_ceil(u128::from(PPB));
        let was_over = std::mem::replace(&mut self.is_over, u128::from(self.unverifiable) > allowed);
        let over = OverBudget { unverifiable: self.unverifiable, outcomes };
        (self.is_over && !was_over).then_some(over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: BudgetPolicy = BudgetPolicy { share_ppb: PPB / 100, window_ms: 1000 };

    /// Outcomes at the same time, the last so many of them without a verdict; the alarms.
    fn run(total: u64, unverifiable: u64) -> Vec<OverBudget> {
        let mut budget = UnverifiableBudget::new(POLICY);
        (0..total).filter_map(|number| budget.add(0, number >= total - unverifiable)).collect()
    }

    #[test]
    fn one_more_than_the_share_is_an_alarm_and_the_share_is_not() {
        assert_eq!(run(200, 2), []);
        assert_eq!(run(200, 3), [OverBudget { unverifiable: 3, outcomes: 200 }]);
        // The first of all may be one.
        assert_eq!(run(1, 1), []);
        assert_eq!(run(2, 2), [OverBudget { unverifiable: 2, outcomes: 2 }]);
        let nothing = BudgetPolicy { share_ppb: 0, window_ms: 1000 };
        assert!(UnverifiableBudget::new(nothing).add(0, true).is_some());
    }

    #[test]
    fn what_is_out_of_the_window_does_not_count() {
        let mut budget = UnverifiableBudget::new(POLICY);
        assert_eq!(budget.add(0, true), None);
        assert_eq!(budget.add(1000, true), Some(OverBudget { unverifiable: 2, outcomes: 2 }));
        // Said once.
        assert_eq!(budget.add(1000, true), None);
        let mut budget = UnverifiableBudget::new(POLICY);
        assert_eq!(budget.add(0, true), None);
        // The first is a millisecond too old.
        assert_eq!(budget.add(1001, true), None);
        assert!(budget.add(1001, true).is_some());
        // A good hour later the next overdraft is news again.
        assert_eq!(budget.add(5000, false), None);
        assert_eq!(budget.add(5000, true), None);
        assert!(budget.add(5000, true).is_some());
    }
}
