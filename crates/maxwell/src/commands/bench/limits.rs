//! Measured figures against the limits that the project promises. Never rounds before it compares.

use serde_json::{Value, json};

/// What a figure must keep to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
}

/// A figure with its limit.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    /// What was measured, with its unit.
    pub(super) name: &'static str,
    /// The result.
    pub(super) value: f64,
    /// Decimal places to print.
    pub(super) places: usize,
    /// The promise.
    pub(super) limit: Limit,
}

impl Figure {
    /// Whether the promise is kept.
    pub(super) fn passes(&self) -> bool {
        match self.limit {
            Limit::AtLeast(limit) => self.value >= limit,
            Limit::AtMost(limit) => self.value <= limit,
        }
    }

    /// For people: one line.
    pub(super) fn line(&self) -> String {
        let (word, limit) = match self.limit {
            Limit::AtLeast(limit) => ("at least", limit),
            Limit::AtMost(limit) => ("at most", limit),
        };
        let verdict = if self.passes() { "pass" } else { "MISSED" };
        format!("{:<52} {:>10.*}   {word} {limit:<6} {verdict}", self.name, self.places, self.value)
    }

    /// For `--json`.
    pub(super) fn json(&self) -> Value {
        let (minimum, maximum) = match self.limit {
            Limit::AtLeast(limit) => (Some(limit), None),
            Limit::AtMost(limit) => (None, Some(limit)),
        };
        json!({ "name": self.name, "value": self.value, "minimum": minimum, "maximum": maximum, "pass": self.passes() })
    }
}

/// Middle, smallest and largest of some runs.
#[derive(Clone, Debug)]
pub(super) struct Runs(Vec<f64>);

impl Runs {
    /// Sorted.
    pub(super) fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// The median; 0 without runs.
    pub(super) fn median(&self) -> f64 {
        let count = self.0.len();
        let at = |index: usize| self.0.get(index).copied().unwrap_or(0.0);
        if count.is_multiple_of(2) {
            (at((count / 2).saturating_sub(1)) + at(count / 2)) / 2.0
        } else {
            at(count / 2)
        }
    }

    /// `median (min to max, n runs)`.
    pub(super) fn text(&self, places: usize) -> String {
        let (min, max) = (self.first(), self.last());
        format!("{:.places$} ({min:.places$} to {max:.places$}, {} runs)", self.median(), self.0.len())
    }

    /// For `--json`.
    pub(super) fn json(&self) -> Value {
        json!({ "median": self.median(), "min": self.first(), "max": self.last(), "runs": self.0.len() })
    }

    fn first(&self) -> f64 {
        self.0.first().copied().unwrap_or(0.0)
    }

    fn last(&self) -> f64 {
        self.0.last().copied().unwrap_or(0.0)
    }
}
