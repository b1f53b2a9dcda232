//! Sampling settings on the command line. Never through a float, and never outside of the protocol's limits.

use clap::Args;
use protocol::SamplingSettings;

use crate::decimal::{milli, ppm};
use crate::output::Misuse;

/// How tokens are chosen, and how many.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct SettingArguments {
    /// Most output tokens
    #[arg(short = 'n', long = "tokens", value_name = "N", default_value_t = 256)]
    tokens: u32,
    /// 0 always takes the likeliest token; higher is more varied (0.01 to 100)
    #[arg(long, value_name = "T", value_parser = milli, default_value = "0")]
    temperature: u32,
    /// Only the K likeliest tokens; 0 for all
    #[arg(long, value_name = "K", default_value_t = 0)]
    top_k: u32,
    /// Only the likeliest tokens that together reach this probability
    #[arg(long, value_name = "P", value_parser = ppm, default_value = "1")]
    top_p: u32,
    /// Only tokens at least this likely, as a share of the likeliest
    #[arg(long, value_name = "P", value_parser = ppm, default_value = "0")]
    min_p: u32,
    /// Makes tokens that occurred less likely; 1 is off (0.1 to 10)
    #[arg(long, value_name = "R", value_parser = milli, default_value = "1")]
    repetition_penalty: u32,
    /// Write on behind an end token
    #[arg(long)]
    ignore_end: bool,
}

impl SettingArguments {
    /// The settings, if all are within the protocol's limits.
    pub(crate) fn settings(self) -> Result<SamplingSettings, Misuse> {
        let settings = SamplingSettings {
            temperature_milli: self.temperature,
            top_k: self.top_k,
            top_p_ppm: self.top_p,
            min_p_ppm: self.min_p,
            repetition_penalty_milli: self.repetition_penalty,
            max_tokens: self.tokens,
            stop_at_end: !self.ignore_end,
        };
        settings.validate().map_err(|limit| Misuse(limit.to_string()))?;
        Ok(settings)
    }
}
