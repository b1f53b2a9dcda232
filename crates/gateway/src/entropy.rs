//! Random bytes for the keys that pick and seed, and the tests that notice when their source breaks. Must never give out
//! a byte that was not tested, nor any more after a test has failed.
//!
//! Tests of NIST SP 800-90B section 4.4: repetition count and adaptive proportion, over bits and over bytes, each with a
//! false alarm in at most one of 2^40 samples or windows; and no two draws in a row may be equal. They find a source that
//! is stuck, repeats itself or is far off balance, such as one whose bits are 1 six times in ten; they can't tell a good
//! generator with a known seed from a random one, and nothing can.

use std::fmt;

/// Bytes of one draw.
pub const DRAW_BYTES: usize = 32;
/// Bytes that are tested and thrown away at the start: the standard asks for 1024 samples or more.
pub const STARTUP_BYTES: usize = 4096;
/// A false alarm has at most this probability, as a power of two, for each sample or window.
pub const ALPHA_BITS: u32 = 40;
/// Bits in a window of the adaptive proportion test.
const BIT_WINDOW: u32 = 1024;
/// Bytes in one.
const BYTE_WINDOW: u32 = 512;

/// Why there are no random bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntropyError {
    /// The source gives none.
    #[error("the system gives no random bytes: {0}")]
    Source(String),
    /// The same again and again.
    #[error("the random source is stuck: {count} equal {what} in a row; no key is drawn from it")]
    Stuck {
        /// Bits, bytes or draws.
        what: &'static str,
        /// How many.
        count: u32,
    },
    /// One value far too often.
    #[error("the random source is biased: {count} equal {what} among {window}; no key is drawn from it")]
    Biased {
        /// Bits or bytes.
        what: &'static str,
        /// How many.
        count: u32,
        /// Of how many.
        window: u32,
    },
}

/// The number of samples equal to a window's first one, itself included, that an honest source of so many bits per sample
/// reaches with a probability of at most 2^-alpha: the cutoff of SP 800-90B section 4.4.2. The first sample equals
/// itself, so the binomial is over the others.
pub fn adaptive_cutoff(window: u32, bits_per_sample: f64, alpha_bits: u32) -> u32 {
    let p = (-bits_per_sample).exp2();
    let alpha = (-f64::from(alpha_bits)).exp2();
    let others = window - 1;
    let mut ln_factorials = vec![0.0; 1];
    let mut sum = 0.0;
    for n in 1..=others {
        sum += f64::from(n).ln();
        ln_factorials.push(sum);
    }
    let term = |k: u32| {
        let ln_choose =
            ln_factorials[others as usize] - ln_factorials[k as usize] - ln_factorials[(others - k) as usize];
        (ln_choose + f64::from(k) * p.ln() + f64::from(others - k) * (1.0 - p).ln()).exp()
    };
    // From the far end, so that the small terms come first.
    let mut tail = 0.0;
    for k in (1..=others).rev() {
        tail += term(k);
        if tail > alpha {
            // A cutoff beyond the window could never be reached.
            return (k + 2).min(window);
        }
    }
    2
}

/// The cutoff of the repetition count test, section 4.4.1.
pub fn repetition_cutoff(bits_per_sample: u32, alpha_bits: u32) -> u32 {
    1 + alpha_bits.div_ceil(bits_per_sample)
}

/// Both tests over samples of one kind.
#[derive(Clone, Debug)]
struct SampleTests {
    what: &'static str,
    window: u32,
    repetition_cutoff: u32,
    adaptive_cutoff: u32,
    last: Option<u8>,
    repeated: u32,
    /// The first sample of the window.
    watched: u8,
    seen: u32,
    equal: u32,
}

impl SampleTests {
    fn new(what: &'static str, bits_per_sample: u32, window: u32, alpha_bits: u32) -> Self {
        Self {
            what,
            window,
            repetition_cutoff: repetition_cutoff(bits_per_sample, alpha_bits),
            adaptive_cutoff: adaptive_cutoff(window, f64::from(bits_per_sample), alpha_bits),
            last: None,
            repeated: 0,
            watched: 0,
            seen: 0,
            equal: 0,
        }
    }

    fn take(&mut self, sample: u8) -> Result<(), EntropyError> {
        let Self { what, window, .. } = *self;
        self.repeated = if self.last == Some(sample) { self.repeated + 1 } else { 1 };
        self.last = Some(sample);
        if self.repeated >= self.repetition_cutoff {
            return Err(EntropyError::Stuck { what, count: self.repeated });
        }
        if self.seen == 0 {
            (self.watched, self.equal) = (sample, 0);
        }
        self.seen += 1;
        self.equal += u32::from(sample == self.watched);
        if self.equal >= self.adaptive_cutoff {
            return Err(EntropyError::Biased { what, count: self.equal, window });
        }
        if self.seen == window {
            self.seen = 0;
        }
        Ok(())
    }
}

/// All tests of a source. Pure.
#[derive(Clone, Debug)]
pub struct HealthTests {
    bits: SampleTests,
    bytes: SampleTests,
}

impl HealthTests {
    /// With so many false alarms: one in 2^alpha samples or windows at most.
    pub fn new(alpha_bits: u32) -> Self {
        Self {
            bits: SampleTests::new("bits", 1, BIT_WINDOW, alpha_bits),
            bytes: SampleTests::new("bytes", 8, BYTE_WINDOW, alpha_bits),
        }
    }

    /// Looks at the next bytes.
    ///
    /// # Errors
    /// The first test that fails.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), EntropyError> {
        for byte in bytes {
            self.bytes.take(*byte)?;
            for bit in 0..8 {
                self.bits.take(byte >> bit & 1)?;
            }
        }
        Ok(())
    }
}

/// Fills bytes, or says why it can't.
pub type Source = Box<dyn FnMut(&mut [u8]) -> Result<(), String> + Send>;

/// A source that is tested before and while it is used.
pub struct Entropy {
    source: Source,
    tests: HealthTests,
    last: Option<[u8; DRAW_BYTES]>,
    failed: Option<EntropyError>,
}

impl fmt::Debug for Entropy {
    /// Leaves out what was drawn.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entropy({:?})", self.failed)
    }
}

impl Entropy {
    /// The system's source, tested.
    ///
    /// # Errors
    /// [`EntropyError`].
    pub fn system() -> Result<Self, EntropyError> {
        Self::start(Box::new(|bytes| getrandom::fill(bytes).map_err(|error| error.to_string())))
    }

    /// Another source, tested.
    ///
    /// # Errors
    /// [`EntropyError`].
    pub fn start(source: Source) -> Result<Self, EntropyError> {
        let tests = HealthTests::new(ALPHA_BITS);
        let mut entropy = Self { source, tests, last: None, failed: None };
        for _ in 0..STARTUP_BYTES / DRAW_BYTES {
            entropy.draw()?;
        }
        Ok(entropy)
    }

    /// 32 bytes.
    ///
    /// # Errors
    /// [`EntropyError`], and the same one ever after.
    pub fn draw(&mut self) -> Result<[u8; DRAW_BYTES], EntropyError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        let drawn = self.try_draw();
        self.failed = drawn.as_ref().err().cloned();
        drawn
    }

    fn try_draw(&mut self) -> Result<[u8; DRAW_BYTES], EntropyError> {
        let mut bytes = [0; DRAW_BYTES];
        (self.source)(&mut bytes).map_err(EntropyError::Source)?;
        self.tests.take(&bytes)?;
        // The repetition count of draws, whose cutoff is 2: an honest source repeats one in 2^256 times.
        if self.last == Some(bytes) {
            return Err(EntropyError::Stuck { what: "draws", count: 2 });
        }
        self.last = Some(bytes);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of a good generator with a seed.
    fn seeded(seed: u64) -> impl FnMut(&mut [u8]) + Send {
        let mut reader = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
        move |bytes| reader.fill(bytes)
    }

    fn honest(seed: u64) -> Source {
        let mut fill = seeded(seed);
        Box::new(move |bytes| {
            fill(bytes);
            Ok(())
        })
    }

    /// Each bit is 1 with a probability in 256ths.
    fn biased(seed: u64, ones: u8) -> Source {
        let mut fill = seeded(seed);
        Box::new(move |bytes| {
            for byte in bytes {
                let mut draws = [0; 8];
                fill(&mut draws);
                *byte = draws.iter().fold(0, |byte, draw| byte << 1 | u8::from(*draw < ones));
            }
            Ok(())
        })
    }

    /// Cutoffs that the jitter entropy library publishes for windows of 512, 2^-30 and 2^-60, and one bit of entropy in
    /// 1 to 15 samples: `jent_apt_cutoff_lookup` and `jent_apt_cutoff_permanent_lookup`.
    #[test]
    fn cutoffs_are_the_published_ones() {
        let thirty = [325, 422, 459, 477, 488, 494, 499, 502, 505, 507, 508, 509, 510, 511, 512];
        let sixty = [355, 447, 479, 494, 502, 507, 510, 512, 512, 512, 512, 512, 512, 512, 512];
        for (alpha_bits, cutoffs) in [(30, thirty), (60, sixty)] {
            for (samples_per_bit, cutoff) in (1..).zip(cutoffs) {
                let found = adaptive_cutoff(512, 1.0 / f64::from(samples_per_bit), alpha_bits);
                assert_eq!(found, cutoff, "one bit in {samples_per_bit} samples, 2^-{alpha_bits}");
            }
        }
        // SP 800-90B section 4.4.1: 1 + ceil(20 / 1), and 31 in the same library for 2^-30.
        assert_eq!(
            (repetition_cutoff(1, 20), repetition_cutoff(1, 30), repetition_cutoff(8, 40)),
            (21, 31, 6)
        );
    }

    #[test]
    fn a_stuck_source_gives_nothing() {
        for byte in [0, 0xff, 0x5a] {
            let stuck: Source = Box::new(move |bytes| {
                bytes.fill(byte);
                Ok(())
            });
            let error = Entropy::start(stuck).unwrap_err();
            assert!(matches!(error, EntropyError::Stuck { .. }), "{byte}: {error}");
        }
        // Good bytes, but always the same ones.
        let mut block = [0; DRAW_BYTES];
        seeded(1)(&mut block);
        let repeating: Source = Box::new(move |bytes| {
            bytes.copy_from_slice(&block);
            Ok(())
        });
        assert_eq!(Entropy::start(repeating).unwrap_err(), EntropyError::Stuck { what: "draws", count: 2 });
        let broken: Source = Box::new(|_| Err("no".to_owned()));
        assert_eq!(Entropy::start(broken).unwrap_err(), EntropyError::Source("no".to_owned()));
    }

    #[test]
    fn a_source_that_breaks_later_gives_nothing_ever_after() {
        let (mut fill, mut draws) = (seeded(2), 0);
        let breaking: Source = Box::new(move |bytes| {
            draws += 1;
            fill(bytes);
            if draws == STARTUP_BYTES / DRAW_BYTES + 3 {
                bytes.fill(7);
            }
            Ok(())
        });
        let mut entropy = Entropy::start(breaking).unwrap();
        assert!(entropy.draw().is_ok() && entropy.draw().is_ok());
        let error = entropy.draw().unwrap_err();
        assert_eq!(error, EntropyError::Stuck { what: "bytes", count: 6 });
        // The source is well again, but nobody knows why.
        assert_eq!(entropy.draw(), Err(error));
    }

    #[test]
    fn a_biased_source_is_found_at_the_start() {
        let found = |ones: u8| (0..100).filter(|seed| Entropy::start(biased(*seed, ones)).is_err()).count();
        // 1 in 64% and in 60% of the bits.
        let (strongly, clearly) = (found(164), found(154));
        println!(
            "seeds 0 to 99: bits that are 1 in 64% of cases found {strongly} times, in 60% {clearly} times"
        );
        assert_eq!(strongly, 100);
        assert!(clearly >= 95, "{clearly}");
        // Near miss: balanced ones.
        assert_eq!(found(128), 0);
        // Bits are balanced, bytes are not: one byte in four is this one.
        let mut fill = seeded(3);
        let lopsided: Source = Box::new(move |bytes| {
            fill(bytes);
            for byte in bytes {
                *byte = if *byte & 3 == 3 { 0x5a } else { *byte };
            }
            Ok(())
        });
        let error = Entropy::start(lopsided).unwrap_err();
        let of_bytes = matches!(
            error,
            EntropyError::Biased { what: "bytes", .. } | EntropyError::Stuck { what: "bytes", .. }
        );
        assert!(of_bytes, "{error}");
    }

    /// At 2^-40 no alarm can be expected in any test, so the rate is measured at 2^-12 as well.
    #[test]
    fn an_honest_source_raises_no_more_false_alarms_than_stated() {
        let mut bytes = vec![0; 1 << 16];
        for seed in 0..64 {
            seeded(seed)(&mut bytes);
            assert_eq!(HealthTests::new(ALPHA_BITS).take(&bytes), Ok(()), "seed {seed}");
        }
        let (mut alarms, mut windows) = (0_u32, 0_u32);
        for seed in 0..2_000 {
            seeded(seed)(&mut bytes[..4096]);
            // Eight windows of bytes and 32 of bits.
            windows += 40;
            alarms += u32::from(matches!(
                HealthTests::new(12).take(&bytes[..4096]),
                Err(EntropyError::Biased { .. })
            ));
        }
        let expected = f64::from(windows) / 4096.0;
        println!(
            "seeds 0 to 1999: {alarms} alarms of proportion in {windows} windows, at most {expected:.1} stated"
        );
        assert!(f64::from(alarms) <= expected + 4.0 * expected.sqrt(), "{alarms}");
    }

    #[test]
    fn the_systems_source_passes() {
        let mut entropy = Entropy::system().unwrap();
        assert_ne!(entropy.draw().unwrap(), entropy.draw().unwrap());
        assert!(honest(1)(&mut [0; 4]).is_ok());
    }
}
