//! What kind of load a window of power looks like, by a random forest, with "none of these" as an answer. Weak evidence:
//! never more than what held-out runs showed it to be worth, and never a verdict.

use smartcore::ensemble::random_forest_classifier::{
    RandomForestClassifier, RandomForestClassifierParameters,
};
use smartcore::linalg::basic::matrix::DenseMatrix;

use crate::Error;
use crate::features::{FEATURES, Features};

mod evaluation;
#[cfg(test)]
mod tests;

pub use self::evaluation::{Curve, Evaluation, evaluate, interval};

/// Trees; each votes once.
const TREES: u64 = 60;
/// Share of the training windows that lie within the reach of another run's.
const REACH_SHARE: f64 = 0.98;
/// Beyond the reach by this factor nothing is known.
const REACH_SLACK: f64 = 1.5;

/// Kinds of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Nothing runs.
    Idle,
    /// A language model answers.
    LlmInference,
    /// Another model answers.
    OtherInference,
    /// A model is trained.
    Training,
    /// Constant load, as of mining; only synthetic examples exist.
    ConstantLoad,
}

impl Class {
    /// All of them, in order.
    pub const ALL: [Self; 5] =
        [Self::Idle, Self::LlmInference, Self::OtherInference, Self::Training, Self::ConstantLoad];

    /// Short name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::LlmInference => "llm",
            Self::OtherInference => "other",
            Self::Training => "training",
            Self::ConstantLoad => "constant (synthetic)",
        }
    }
}

/// A window of known kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// What it is.
    pub class: Class,
    /// Of which run: windows of one run are never on both sides of an evaluation.
    pub run: String,
    /// Its numbers.
    pub features: Features,
}

/// What a window looks like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// Share of the trees for each class, in the order of [`Class::ALL`].
    pub votes: [f64; Class::ALL.len()],
    /// The likeliest; `None` if it is like nothing that was seen.
    pub class: Option<Class>,
}

type Tree = RandomForestClassifier<f64, u32, DenseMatrix<f64>, Vec<u32>>;

/// A trained forest.
#[derive(Debug)]
pub struct Classifier {
    trees: Vec<Tree>,
    centre: Features,
    scale: Features,
    seen: Vec<Features>,
    reach: f64,
}

impl Classifier {
    /// Trains one.
    ///
    /// # Errors
    /// [`Error::TooFew`] without examples of two classes.
    pub fn train(examples: &[Example], seed: u64) -> Result<Self, Error> {
        let too_few = |_| Error::TooFew("a classifier");
        let (centre, scale) = standard(examples).ok_or(Error::TooFew("a classifier"))?;
        let seen: Vec<Features> =
            examples.iter().map(|example| standardize(&example.features, &centre, &scale)).collect();
        let rows: Vec<&[f64]> = seen.iter().map(Features::as_slice).collect();
        let matrix = DenseMatrix::from_2d_array(&rows).map_err(too_few)?;
        let labels: Vec<u32> = examples.iter().map(|example| example.class as u32).collect();
        // One forest of one tree each: so each tree's vote can be counted.
        let trees = (0..TREES).map(|tree| {
            let parameters = RandomForestClassifierParameters {
                n_trees: 1,
                max_depth: Some(10),
                min_samples_leaf: 2,
                seed: seed.wrapping_mul(TREES).wrapping_add(tree),
                ..RandomForestClassifierParameters::default()
            };
            Tree::fit(&matrix, &labels, parameters).map_err(|_| Error::TooFew("a classifier"))
        });
        let trees = trees.collect::<Result<Vec<Tree>, Error>>()?;
        let reach = reach(examples, &seen) * REACH_SLACK;
        Ok(Self { trees, centre, scale, seen, reach })
    }

    /// What a window looks like.
    #[must_use]
    pub fn judge(&self, features: &Features) -> Judged {
        let row = standardize(features, &self.centre, &self.scale);
        let mut votes = [0.0; Class::ALL.len()];
        if let Ok(matrix) = DenseMatrix::from_2d_array(&[row.as_slice()]) {
            for tree in &self.trees {
                let vote = tree.predict(&matrix).ok().and_then(|labels| labels.first().copied());
                let vote = vote.and_then(|label| votes.get_mut(usize::try_from(label).ok()?));
                if let Some(vote) = vote {
                    *vote += 1.0 / self.trees.len() as f64;
                }
            }
        }
        let nearest = self.seen.iter().map(|seen| distance(seen, &row)).fold(f64::INFINITY, f64::min);
        let best = Class::ALL.into_iter().zip(votes).max_by(|a, b| a.1.total_cmp(&b.1));
        Judged { votes, class: best.map(|(class, _)| class).filter(|_| nearest <= self.reach) }
    }
}

/// Mean and deviation of each number.
fn standard(examples: &[Example]) -> Option<(Features, Features)> {
    let classes: std::collections::BTreeSet<Class> = examples.iter().map(|example| example.class).collect();
    if classes.len() < 2 {
        return None;
    }
    let count = examples.len() as f64;
    let (mut centre, mut scale) = ([0.0; FEATURES], [0.0; FEATURES]);
    for example in examples {
        centre.iter_mut().zip(example.features).for_each(|(sum, x)| *sum += x / count);
    }
    for example in examples {
        let deviations = example.features.iter().zip(&centre).map(|(x, mean)| (x - mean).powi(2) / count);
        scale.iter_mut().zip(deviations).for_each(|(sum, square)| *sum += square);
    }
    Some((centre, scale.map(|square: f64| square.sqrt().max(1e-9))))
}

fn standardize(features: &Features, centre: &Features, scale: &Features) -> Features {
    let mut row = *features;
    for ((x, mean), deviation) in row.iter_mut().zip(centre).zip(scale) {
        *x = (*x - mean) / deviation;
    }
    row
}

fn distance(a: &Features, b: &Features) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

/// How far a window lies from the nearest one of its class in another run: what is further off is like nothing seen.
fn reach(examples: &[Example], rows: &[Features]) -> f64 {
    let mut nearest: Vec<f64> = Vec::new();
    for (example, row) in examples.iter().zip(rows) {
        let others = examples
            .iter()
            .zip(rows)
            .filter(|(other, _)| other.run != example.run && other.class == example.class);
        let least = others.map(|(_, other)| distance(other, row)).fold(f64::INFINITY, f64::min);
        if least.is_finite() {
            nearest.push(least);
        }
    }
    nearest.sort_unstable_by(f64::total_cmp);
    let at = (nearest.len() as f64 * REACH_SHARE) as usize;
    nearest.get(at).or(nearest.last()).copied().unwrap_or(f64::INFINITY)
}
