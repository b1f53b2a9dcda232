//! Seed and draws against an independent implementation.

use protocol::seed::{derive_seed, draw_u64};
use protocol::{ClientSeed, Nonce, Seed};

use crate::samples::{SEED_HEX, client_seed, counting, nonce};

#[test]
fn seed_equals_the_vector() {
    assert_eq!(derive_seed(&nonce(), &client_seed()).to_string(), SEED_HEX);
}

#[test]
fn nonce_and_client_seed_have_different_roles() {
    let swapped = derive_seed(&Nonce::from_bytes(counting(32)), &ClientSeed::from_bytes(counting(0)));
    assert_ne!(swapped.to_string(), SEED_HEX);
}

#[test]
fn draws_equal_the_vectors() {
    let seed: Seed = SEED_HEX.parse().unwrap();
    assert_eq!(draw_u64(&seed, 0), 0x706c_20aa_6c02_24e6);
    assert_eq!(draw_u64(&seed, 1), 0xc66e_f84f_2819_a55d);
    assert_eq!(draw_u64(&seed, u64::MAX), 0x425e_c4d1_a608_664f);
}
