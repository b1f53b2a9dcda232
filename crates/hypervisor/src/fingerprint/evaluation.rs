//! How good a fingerprint is: each run is judged by a classifier that never saw any of its windows.

use std::collections::BTreeSet;

use super::{Class, Classifier, Example, Judged};
use crate::Error;

/// 95 %.
const Z: f64 = 1.96;

/// What came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Windows by their class and by what they were taken for; the last column is "none of these".
    pub confusion: [[u32; Class::ALL.len() + 1]; Class::ALL.len()],
    /// Class and votes of each window.
    pub judged: Vec<(Class, Judged)>,
    /// Runs.
    pub runs: usize,
}

/// One point of a ROC curve for each threshold, and the area below.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// False positive and true positive rate, rising.
    pub points: Vec<(f64, f64)>,
    /// Area under the curve.
    pub area: f64,
}

/// Leaves each run out once.
///
/// # Errors
/// [`Error::TooFew`] where a run's class has no other run.
pub fn evaluate(examples: &[Example], seed: u64) -> Result<Evaluation, Error> {
    let runs: BTreeSet<&str> = examples.iter().map(|example| example.run.as_str()).collect();
    let mut confusion = [[0; Class::ALL.len() + 1]; Class::ALL.len()];
    let mut judged = Vec::new();
    for run in &runs {
        let (test, train): (Vec<&Example>, Vec<&Example>) =
            examples.iter().partition(|example| example.run == *run);
        let train: Vec<Example> = train.into_iter().cloned().collect();
        let classifier = Classifier::train(&train, seed)?;
        for example in test {
            let result = classifier.judge(&example.features);
            let column = result.class.map_or(Class::ALL.len(), |class| class as usize);
            let cell = confusion.get_mut(example.class as usize).and_then(|row| row.get_mut(column));
            if let Some(cell) = cell {
                *cell += 1;
            }
            judged.push((example.class, result));
        }
    }
    Ok(Evaluation { confusion, judged, runs: runs.len() })
}

impl Evaluation {
    /// Share of a class's windows that were taken for it, averaged over the classes: chance is one in the number of them.
    #[must_use]
    pub fn balanced_accuracy(&self) -> f64 {
        let shares: Vec<f64> = self
            .confusion
            .iter()
            .enumerate()
            .filter_map(|(class, row)| {
                let total: u32 = row.iter().sum();
                (total > 0).then(|| f64::from(row.get(class).copied().unwrap_or(0)) / f64::from(total))
            })
            .collect();
        shares.iter().sum::<f64>() / shares.len().max(1) as f64
    }

    /// ROC of one class against some others, by its share of the votes.
    #[must_use]
    pub fn curve(&self, positive: Class, negatives: &[Class]) -> Curve {
        let vote = |judged: &Judged| judged.votes.get(positive as usize).copied().unwrap_or(0.0);
        let of = |wanted: &dyn Fn(Class) -> bool| -> Vec<f64> {
            self.judged.iter().filter(|(class, _)| wanted(*class)).map(|(_, judged)| vote(judged)).collect()
        };
        let (yes, no) = (of(&|class| class == positive), of(&|class| negatives.contains(&class)));
        let rate = |scores: &[f64], threshold: f64| {
            scores.iter().filter(|score| **score >= threshold).count() as f64 / scores.len().max(1) as f64
        };
        let points: Vec<(f64, f64)> = (0..=61)
            .map(|step| 1.0 - f64::from(step) / 60.0 + 1e-9)
            .map(|threshold| (rate(&no, threshold), rate(&yes, threshold)))
            .collect();
        let area = points.iter().zip(points.iter().skip(1));
        let area = area.map(|((x0, y0), (x1, y1))| (x1 - x0) * (y0 + y1) / 2.0).sum();
        Curve { points, area }
    }

    /// The most that "it looks like `class`" may count, in nats: the likelihood ratio that these runs support at 95 %, and
    /// never below 0.
    #[must_use]
    pub fn cap_nats(&self, class: Class) -> f64 {
        let (mut hit, mut of_class, mut false_hit, mut others) = (0, 0, 0, 0);
        for (row, counts) in self.confusion.iter().enumerate() {
            let (found, total) =
                (counts.get(class as usize).copied().unwrap_or(0), counts.iter().sum::<u32>());
            if row == class as usize {
                (hit, of_class) = (hit + found, of_class + total);
            } else {
                (false_hit, others) = (false_hit + found, others + total);
            }
        }
        let (least, _) = interval(hit, of_class);
        let (_, most) = interval(false_hit, others);
        (least / most.max(f64::MIN_POSITIVE)).ln().max(0.0)
    }
}

/// Wilson's interval of a share, 95 %. Windows of one run are alike, so the true one is wider.
#[must_use]
pub fn interval(hits: u32, of: u32) -> (f64, f64) {
    if of == 0 {
        return (0.0, 1.0);
    }
    let (n, p) = (f64::from(of), f64::from(hits) / f64::from(of));
    let centre = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((centre - half).max(0.0), (centre + half).min(1.0))
}
