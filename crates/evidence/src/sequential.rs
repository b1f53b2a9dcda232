//! Decisions that may be taken at any time: e-processes over the scores of checks that are only statistical. Whatever
//! they say, it raises the rate of audits and nothing else: see [`crate::rate`].
//!
//! Under the null (an honest server) each score x in [0, 1] has a conditional mean of at most mu0, whatever came before.
//! Then `E_n = mean over lambda of prod_t (1 + lambda (x_t - mu0))` with fixed lambda in [0, 1/mu0) is a nonnegative
//! supermartingale with mean at most 1, and `P(some E_n >= 1/alpha) <= alpha` (Ville 1939; Waudby-Smith and Ramdas 2024),
//! for any dependence, however often one looks. Nothing resets a process: that would be another chance.
//!
//! Floating point: sums of logarithms, each within 2^-50 of its own size. [`SLACK`] per observation is taken off, so that
//! rounding can only delay an alarm.

mod combine;
#[cfg(test)]
mod tests;

pub use self::combine::{average, false_discovery, product};

/// Shares of the largest bet `1/mu0` that are mixed, evenly.
const BETS: [f64; 10] =
    [0.9, 0.5, 0.25, 0.125, 0.0625, 0.031_25, 0.015_625, 0.007_812_5, 0.003_906_25, 0.001_953_125];
/// Taken off the logarithm for each observation.
pub const SLACK: f64 = 1e-12;
/// Bytes of a process.
pub const PROCESS_BYTES: usize = 8 * (4 + BETS.len()) + 1;

/// Why a number is refused.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum SequentialError {
    /// Not in [0, 1].
    #[error("a score is between 0 and 1, and this one is {0}")]
    Score(f64),
    /// Not in (0, 1).
    #[error("an honest mean and an alpha are between 0 and 1 and neither, and this one is {0}")]
    Parameter(f64),
    /// Bytes that are no process.
    #[error("these bytes are no state of a process")]
    Form,
}

/// How much a check speaks against a server: 0 nothing, 1 as much as one check can.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Score(f64);

impl Score {
    /// Refuses what is no number between 0 and 1.
    ///
    /// # Errors
    /// [`SequentialError::Score`].
    pub fn new(value: f64) -> Result<Self, SequentialError> {
        if (0.0..=1.0).contains(&value) { Ok(Self(value)) } else { Err(SequentialError::Score(value)) }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// The score of an answer that the lottery drew: nobody chose it.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Drawn(pub Score);

/// The score of an answer that was chosen because of a suspicion. It says nothing about the mean of honest answers, so
/// no process takes it.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Directed(pub Score);

/// Evidence against one server and model, for as long as they are watched.
#[derive(Clone, Debug, PartialEq)]
pub struct EProcess {
    honest_mean: f64,
    alpha: f64,
    observations: u64,
    /// ln of the wealth of each bet.
    log_wealth: [f64; BETS.len()],
    /// The largest ln E that there was.
    peak: f64,
    has_alarmed: bool,
}

impl EProcess {
    /// Begins. `honest_mean` bounds the mean score of honest answers, from calibration; `alpha` the chance that an honest
    /// server is ever accused.
    ///
    /// # Errors
    /// [`SequentialError::Parameter`].
    pub fn new(honest_mean: f64, alpha: f64) -> Result<Self, SequentialError> {
        for parameter in [honest_mean, alpha] {
            if !(parameter > 0.0 && parameter < 1.0) {
                return Err(SequentialError::Parameter(parameter));
            }
        }
        let log_wealth = [0.0; BETS.len()];
        Ok(Self { honest_mean, alpha, observations: 0, log_wealth, peak: 0.0, has_alarmed: false })
    }

    /// Takes the next score.
    pub fn observe(&mut self, Drawn(score): Drawn) {
        for (log_wealth, bet) in self.log_wealth.iter_mut().zip(BETS) {
            // Above -0.9 for every score, so the logarithm is a number.
            let growth = bet / self.honest_mean * (score.0 - self.honest_mean);
            *log_wealth += growth.ln_1p() - SLACK;
        }
        self.observations = self.observations.saturating_add(1);
        self.peak = self.peak.max(self.log_evidence());
        self.has_alarmed |= self.peak >= -self.alpha.ln();
    }

    /// ln E now.
    #[must_use]
    pub fn log_evidence(&self) -> f64 {
        average(&self.log_wealth)
    }

    /// Whether E has ever reached 1/alpha. Once it has, that stays: later good behaviour does not take it back.
    #[must_use]
    pub fn has_alarmed(&self) -> bool {
        self.has_alarmed
    }

    /// Scores so far.
    #[must_use]
    pub fn observations(&self) -> u64 {
        self.observations
    }

    /// The state, for whoever stops and starts again: a process goes on where it was.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(PROCESS_BYTES);
        for number in [self.honest_mean, self.alpha, self.peak].into_iter().chain(self.log_wealth) {
            bytes.extend_from_slice(&number.to_bits().to_le_bytes());
        }
        bytes.extend_from_slice(&self.observations.to_le_bytes());
        bytes.push(u8::from(self.has_alarmed));
        bytes
    }

    /// Reads the bytes of [`Self::encode`].
    ///
    /// # Errors
    /// [`SequentialError::Form`] for anything that no process can be.
    pub fn decode(bytes: &[u8]) -> Result<Self, SequentialError> {
        let (numbers, last) = bytes.as_chunks::<8>();
        let ([mean, alpha, peak, wealth @ .., observations], [has_alarmed @ 0..=1]) = (numbers, last) else {
            return Err(SequentialError::Form);
        };
        let float = |bytes: &[u8; 8]| f64::from_bits(u64::from_le_bytes(*bytes));
        let mut log_wealth = [0.0; BETS.len()];
        if wealth.len() != log_wealth.len() {
            return Err(SequentialError::Form);
        }
        for (log_wealth, bytes) in log_wealth.iter_mut().zip(wealth) {
            *log_wealth = float(bytes);
        }
        let mut process = Self::new(float(mean), float(alpha)).map_err(|_| SequentialError::Form)?;
        let (peak, has_alarmed) = (float(peak), *has_alarmed == 1);
        let is_sound = log_wealth.iter().all(|wealth| wealth.is_finite())
            && peak.is_finite()
            && peak >= 0.0_f64.max(average(&log_wealth))
            && has_alarmed == (peak >= -process.alpha.ln());
        if !is_sound {
            return Err(SequentialError::Form);
        }
        process.observations = u64::from_le_bytes(*observations);
        (process.log_wealth, process.peak, process.has_alarmed) = (log_wealth, peak, has_alarmed);
        Ok(process)
    }
}
