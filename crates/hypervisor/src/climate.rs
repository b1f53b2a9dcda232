//! What an auction is told of the heat: the hottest thermometer now, and where it is going until the end of an epoch as far as
//! meters and the heat model know. A forecast only ever makes it hotter than it is: a bad fit must not sell what is not there.

use std::collections::VecDeque;

use crate::desk::Air;
use crate::heat::{Forecast, Observed, forecast};
use crate::meters::Look;
use crate::sensors::SECOND_NS;

#[cfg(test)]
mod tests;

/// Samples of a log, one a second.
const SAMPLES_MAX: usize = 900;
/// The present power is the mean of so many seconds.
const RECENT_SECONDS: f64 = 10.0;
/// Colder than this no chassis idles: the other end of the headroom, in degrees Celsius.
const COOL: f64 = 40.0;

/// The heat of one chassis over time.
#[derive(Clone, Debug)]
pub struct Climate {
    /// Where it throttles, in degrees Celsius.
    limit: f64,
    /// How far a price looks ahead, in seconds.
    ahead: f64,
    /// What is assumed where there is no thermometer, in thousandths of a degree.
    assumed_mk: i64,
    log: VecDeque<Observed>,
    now: Option<f64>,
    forecast: Option<Forecast>,
}

impl Climate {
    /// Of a chassis that throttles at so many degrees Celsius, for prices of so many seconds. Without a thermometer it is as
    /// hot as assumed, in thousandths of a degree.
    #[must_use]
    pub const fn new(limit: f64, ahead: f64, assumed_mk: i64) -> Self {
        Self { limit, ahead, assumed_mk, log: VecDeque::new(), now: None, forecast: None }
    }

    /// Takes what the meters show. Fits the model again once a second.
    pub fn see(&mut self, look: &Look, at_ns: u64) {
        self.now = look.hottest();
        let seconds = at_ns as f64 / SECOND_NS as f64;
        let is_due = self.log.back().is_none_or(|last| seconds - last.seconds >= 1.0);
        let (Some(watts), Some(celsius), true) = (look.watts(), self.now, is_due) else { return };
        self.log.push_back(Observed { seconds, watts, celsius });
        if self.log.len() > SAMPLES_MAX {
            self.log.pop_front();
        }
        self.forecast = forecast(self.log.make_contiguous(), RECENT_SECONDS, self.limit).ok();
    }

    /// Where it is going, once that is known.
    #[must_use]
    pub const fn forecast(&self) -> Option<&Forecast> {
        self.forecast.as_ref()
    }

    /// For the next epoch.
    #[must_use]
    pub fn air(&self) -> Air {
        let Some(now) = self.now else {
            return Air { temperature_mk: self.assumed_mk, headroom_ppm: 1_000_000 };
        };
        let then = self.forecast.map_or(now, |forecast| forecast.after(self.ahead));
        let hottest = now.max(then.min(self.limit));
        let headroom = ((self.limit - hottest) / (self.limit - COOL).max(1.0)).clamp(0.0, 1.0);
        Air { temperature_mk: (hottest * 1e3) as i64, headroom_ppm: (headroom * 1e6) as u32 }
    }
}
