//! What can go wrong while meters and logs are read. Never a judgement: that is an [`Outcome`](crate::thermo::Outcome).

/// Why a meter or a log gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// This machine has no such meter.
    #[error("{0} is not there")]
    Absent(String),
    /// It is there, and we may not read it.
    #[error("no permission to read {0}")]
    Denied(String),
    /// It was there, and reading it failed.
    #[error("can't read {0}")]
    Unreadable(String),
    /// A file that is longer than its cap.
    #[error("{what} has more than {cap} bytes")]
    TooLong {
        /// The file.
        what: String,
        /// Its cap.
        cap: u64,
    },
    /// Not one line of a log was understood.
    #[error("no reading was understood in {0}")]
    NoReadings(String),
    /// Readings are too few, or too much alike, to fit anything to them.
    #[error("too few readings to fit {0}")]
    TooFew(&'static str),
}
