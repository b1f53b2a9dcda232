//! From nonce and client seed to the sampling seed, and from the seed to draws. Nothing here may hold state or
//! draw randomness of its own.

use crate::id::{ClientSeed, ID_BYTES, Nonce, Seed};

/// Domain of the seed's key derivation (BLAKE3 `derive_key` context).
pub const SEED_CONTEXT: &str = "maxwell 2026-11 sampling seed v1";
/// What precedes the position in every draw.
pub const DRAW_PREFIX: &[u8; 12] = b"maxwell draw";

/// The sampling seed: BLAKE3 `derive_key` in [`SEED_CONTEXT`] over nonce, then client seed.
///
/// The nonce's owner fixes it before the request is seen and nobody else knows it in advance, so neither an
/// old answer nor a seed searched for on purpose fits.
pub fn derive_seed(nonce: &Nonce, client_seed: &ClientSeed) -> Seed {
    let mut hasher = blake3::Hasher::new_derive_key(SEED_CONTEXT);
    // Both parts have a fixed length, so the concatenation has one reading only.
    hasher.update(nonce.as_bytes());
    hasher.update(client_seed.as_bytes());
    Seed::from_bytes(*hasher.finalize().as_bytes())
}

/// The draw for one position: the first eight bytes, little-endian, of BLAKE3 keyed by the seed over
/// [`DRAW_PREFIX`] and the position as eight little-endian bytes.
///
/// Draws are counter-based (Salmon et al., SC 2011, "Parallel random numbers: as easy as 1, 2, 3"): each is a
/// function of seed and position alone. A stateful generator would make a draw depend on how many came before
/// it, so that a checker of one position, a batch, or a rejected speculative token would need the whole history.
pub fn draw_u64(seed: &Seed, position: u64) -> u64 {
    let mut hasher = blake3::Hasher::new_keyed(seed.as_bytes());
    hasher.update(DRAW_PREFIX);
    hasher.update(&position.to_le_bytes());
    let digest: [u8; ID_BYTES] = *hasher.finalize().as_bytes();
    let [b0, b1, b2, b3, b4, b5, b6, b7, ..] = digest;
    u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7])
}
