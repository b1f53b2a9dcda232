//! Every way this crate can fail by itself. Lies of a claimant are verdicts, never errors.

/// Errors of the crate `recomputer`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// The text is not a number.
    #[error("{0:?} is not a number")]
    NotANumber(String),
    /// A probability or share is below 0, above 1 or no number.
    #[error("{0} is not between 0 and 1")]
    NotAProbability(f64),
    /// A rate, time or size is 0, negative, infinite or no number.
    #[error("{0} is not a finite number above 0")]
    NotPositive(f64),
    /// A count is beyond what is computed exactly.
    #[error("{count} {what} are too many; at most {max} are computed")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        count: u64,
        /// How many may be.
        max: u64,
    },
    /// A part is larger than its whole.
    #[error("{part} {part_name} of {whole} {whole_name} are more than there are")]
    MoreThanAll {
        /// What the part counts.
        part_name: &'static str,
        /// The part.
        part: u64,
        /// What the whole counts.
        whole_name: &'static str,
        /// The whole.
        whole: u64,
    },
}
