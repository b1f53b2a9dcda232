//! Rejection of unreduced draws, which no hash input of reasonable cost reaches; must not test the hash itself.

use super::{GOLDILOCKS_PRIME, first_reduced};

#[test]
fn draws_at_or_above_the_prime_are_skipped() {
    let mut draws = [u64::MAX, GOLDILOCKS_PRIME, GOLDILOCKS_PRIME - 1, 5].into_iter();
    let mut next = || draws.next().expect("the list is long enough");
    assert_eq!(first_reduced(&mut next), GOLDILOCKS_PRIME - 1);
    assert_eq!(first_reduced(&mut next), 5);
}
