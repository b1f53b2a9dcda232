//! Which answers are recomputed: a coin that nobody can foresee without the key, and everybody can check with it.
//! Drawn after the answer is committed. Never sees what the server says an answer cost.
//!
//! An answer with digest h is picked if the first eight bytes of HMAC-SHA256(K_sample, h) are below its rate times
//! 2^64. The rate grows with the answer's tokens, so that long answers are not audited less per token (Poisson
//! sampling with probability proportional to size), and has a floor. K_sample is committed before the epoch and
//! revealed after it; K_seed, from which nonces come, never is.

use hmac::{Hmac, KeyInit, Mac};
use protocol::checkpoint::{Beacon, EpochTerms, Leaf};
use protocol::{ClaimDigest, Nonce};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Parts in a whole, for rates.
pub const PPB: u64 = 1_000_000_000;
/// Tokens of an answer that is picked with exactly the rate of the policy.
pub const REFERENCE_TOKENS: u64 = 256;
/// The least rate that a gateway starts with: one answer in ten thousand. No configuration goes below it.
pub const RATE_MIN_PPB: u64 = 100_000;
/// blake3 `derive_key` context of the commitment to an audit key.
pub const COMMITMENT_CONTEXT: &str = "maxwell 2026-11 audit key commitment v1";
/// blake3 `derive_key` context of the commitment to the key from which nonces come.
pub const SEED_COMMITMENT_CONTEXT: &str = "maxwell 2026-11 seed key commitment v1";
/// blake3 `derive_key` context of the key from which nonces come.
const NONCE_CONTEXT: &str = "maxwell 2026-11 gateway nonce v1";

/// How much is audited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditPolicy {
    /// Rate of an answer of [`REFERENCE_TOKENS`], in parts of [`PPB`].
    pub rate_ppb: u64,
    /// No answer has a lower rate.
    pub floor_ppb: u64,
}

/// Less would be recomputed than any policy may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an audit of {rate_ppb} in a thousand million is below the least, {RATE_MIN_PPB}")]
pub struct RateTooLow {
    /// Rate or floor.
    pub rate_ppb: u64,
}

impl AuditPolicy {
    /// Neither rate nor floor is below [`RATE_MIN_PPB`].
    ///
    /// # Errors
    /// [`RateTooLow`].
    pub fn check(&self) -> Result<(), RateTooLow> {
        let rate_ppb = self.rate_ppb.min(self.floor_ppb);
        if rate_ppb < RATE_MIN_PPB { Err(RateTooLow { rate_ppb }) } else { Ok(()) }
    }

    /// The rate of an answer of so many tokens, prompt included, at most [`PPB`]. Rounded down.
    pub fn rate_ppb(&self, tokens: u64) -> u64 {
        let weighted = u128::from(self.rate_ppb) * u128::from(tokens) / u128::from(REFERENCE_TOKENS);
        let weighted = u64::try_from(weighted).unwrap_or(PPB);
        weighted.max(self.floor_ppb).min(PPB)
    }
}

/// What is published about an audit key before its epoch.
pub fn audit_key_commitment(key: &[u8; 32]) -> [u8; 32] {
    blake3::derive_key(COMMITMENT_CONTEXT, key)
}

/// What is published about K_seed: that it stays the same, and nothing else.
pub fn seed_key_commitment(key: &[u8; 32]) -> [u8; 32] {
    blake3::derive_key(SEED_COMMITMENT_CONTEXT, key)
}

/// The policy for answers of one of an epoch's models. `None` if it has no such model.
pub fn policy_of(terms: &EpochTerms, model: u32) -> Option<AuditPolicy> {
    let floor = terms.models.get(usize::try_from(model).ok()?)?;
    Some(AuditPolicy { rate_ppb: terms.rate_ppb, floor_ppb: floor.floor_ppb })
}

/// Whether the second lottery picks an answer: the same coin, weighted in the same way, under the beacon's key.
pub fn beacon_picks(beacon: &Beacon, terms: &EpochTerms, leaf: &Leaf) -> bool {
    policy_of(terms, leaf.model).is_some_and(|policy| {
        AuditSampler::new(beacon.lottery_key(), policy).picks(&leaf.claim, leaf.cost_tokens)
    })
}

/// Draws the coins of one epoch.
pub struct AuditSampler {
    key: Zeroizing<[u8; 32]>,
    policy: AuditPolicy,
}

impl AuditSampler {
    /// With the epoch's key.
    pub fn new(key: [u8; 32], policy: AuditPolicy) -> Self {
        Self { key: Zeroizing::new(key), policy }
    }

    /// What is published before the epoch.
    pub fn commitment(&self) -> [u8; 32] {
        audit_key_commitment(&self.key)
    }

    /// The key, to be revealed after the epoch.
    pub fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// Whether the answer with this digest and so many tokens is recomputed.
    pub fn picks(&self, claim: &ClaimDigest, tokens: u64) -> bool {
        // coin / 2^64 < rate / PPB, in integers.
        u128::from(self.coin(claim)) * u128::from(PPB) < u128::from(self.policy.rate_ppb(tokens)) << 64
    }

    fn coin(&self, claim: &ClaimDigest) -> u64 {
        let mut mac = Hmac::<Sha256>::new_from_slice(&*self.key).expect("HMAC takes keys of any length");
        mac.update(claim.as_bytes());
        let bytes: [u8; 32] = mac.finalize().into_bytes().into();
        let [a, b, c, d, e, f, g, h, ..] = bytes;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

/// Derives nonces: fixed before the server sees a request, and unknown to everybody until then.
pub struct NonceSource {
    key: Zeroizing<[u8; 32]>,
}

impl NonceSource {
    /// With K_seed.
    pub fn new(key: [u8; 32]) -> Self {
        Self { key: Zeroizing::new(blake3::derive_key(NONCE_CONTEXT, &key)) }
    }

    /// The nonce of a tag.
    pub fn nonce(&self, tag: u64) -> Nonce {
        Nonce::from_bytes(*blake3::keyed_hash(&self.key, &tag.to_le_bytes()).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u64) -> ClaimDigest {
        ClaimDigest::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes())
    }

    /// Computed with Python: `hmac.new(bytes(range(32)), bytes([7]) * 32, "sha256").digest()[:8]`.
    #[test]
    fn coin_is_hmac_sha256() {
        let key = std::array::from_fn(|i| i as u8);
        let sampler = AuditSampler::new(key, AuditPolicy { rate_ppb: 0, floor_ppb: 0 });
        assert_eq!(sampler.coin(&ClaimDigest::from_bytes([7; 32])), EXPECTED_COIN);
    }

    const EXPECTED_COIN: u64 = 0x4739c539ce943412;

    #[test]
    fn picks_follow_the_rate() {
        for (rate_ppb, tokens, expected) in
            [(100_000_000, 256, 0.1), (100_000_000, 512, 0.2), (100_000_000, 1, 0.01), (PPB, 256, 1.0)]
        {
            let policy = AuditPolicy { rate_ppb, floor_ppb: 10_000_000 };
            let sampler = AuditSampler::new([5; 32], policy);
            let count = 20_000_u32;
            let picked = (0..u64::from(count)).filter(|i| sampler.picks(&digest(*i), tokens)).count() as f64;
            let error = (f64::from(count) * expected * (1.0 - expected)).sqrt();
            assert!((picked - f64::from(count) * expected).abs() <= 4.0 * error, "{picked} at {expected}");
        }
    }

    #[test]
    fn a_policy_below_the_minimum_is_refused() {
        let check = |rate_ppb, floor_ppb| AuditPolicy { rate_ppb, floor_ppb }.check();
        assert_eq!(check(RATE_MIN_PPB, RATE_MIN_PPB), Ok(()));
        assert_eq!(check(PPB, RATE_MIN_PPB - 1), Err(RateTooLow { rate_ppb: RATE_MIN_PPB - 1 }));
        assert_eq!(check(0, PPB), Err(RateTooLow { rate_ppb: 0 }));
    }

    #[test]
    fn a_rate_of_zero_picks_nothing_and_keys_differ() {
        let none = AuditSampler::new([1; 32], AuditPolicy { rate_ppb: 0, floor_ppb: 0 });
        assert!((0..1000).all(|i| !none.picks(&digest(i), 1 << 40)));
        let policy = AuditPolicy { rate_ppb: PPB / 2, floor_ppb: 0 };
        let (a, b) = (AuditSampler::new([1; 32], policy), AuditSampler::new([2; 32], policy));
        assert!((0..1000).any(|i| a.picks(&digest(i), 256) != b.picks(&digest(i), 256)));
        assert_ne!(a.commitment(), b.commitment());
    }

    #[test]
    fn nonces_never_repeat() {
        let source = NonceSource::new([3; 32]);
        let mut nonces: Vec<Nonce> = (0..1000).map(|tag| source.nonce(tag)).collect();
        nonces.sort();
        nonces.dedup();
        assert_eq!(nonces.len(), 1000);
        assert_ne!(NonceSource::new([4; 32]).nonce(0), source.nonce(0));
    }
}
