//! All of a model but its matrices: whoever verifies needs no more of it, apart from what the matrices are at one random point.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use model::Model;
use model::formats::{Formats, Site};
use model::import::ModelConfig;
use model::ops::rms_norm::output_exponent;
use model::recipe::{Recipe, RotationKind};
use model::tables::{self, RotationTable};
use model::weights::{Vector, Weights};
use protocol::id::{ModelCommitment, TemplateDigest};
use tokenizer::Tokenizer;

use crate::public::Matrix;

/// The matrices of a block, in the order of [`Outline::grids`].
pub const OF_BLOCK: [Matrix; 7] =
    [Matrix::Query, Matrix::Key, Matrix::Value, Matrix::Output, Matrix::Gate, Matrix::Up, Matrix::Down];

/// A model without its matrices.
#[derive(Clone, Debug)]
pub struct Outline {
    /// The identity.
    pub commitment: ModelCommitment,
    /// Identity of the chat template, if there is one.
    pub template: Option<TemplateDigest>,
    /// Shapes and constants.
    pub config: ModelConfig,
    /// Binary points.
    pub formats: Formats,
    /// Constants that follow from the configuration.
    pub recipe: Recipe,
    /// Ids to text.
    pub tokenizer: Arc<Tokenizer>,
    /// Of each block, the norms before attention and before the feed-forward layer.
    pub norms: Vec<[Vector; 2]>,
    /// The norm before the logits.
    pub output_norm: Vector,
    /// Of each block, the exponents of its matrices in the order of [`OF_BLOCK`].
    pub grids: Vec<[i32; OF_BLOCK.len()]>,
    /// The exponent of the matrix that gives logits.
    pub output_grid: i32,
    /// What bounds a logit.
    pub output_rows: OutputRows,
    /// Made when they are wanted.
    pub tables: Arc<Mutex<Option<Arc<Tables>>>>,
}

/// Everything that is looked up, by the model's formats.
#[derive(Debug)]
pub struct Tables {
    /// Positions that have rotations.
    positions: usize,
    /// Rotations of queries and keys.
    pub rotations: [RotationTable; 2],
    /// The softmax table.
    pub exp: Vec<u32>,
    /// The sampler's.
    pub sampler: Vec<u32>,
    /// Activation tables by the gate's exponent.
    pub activations: BTreeMap<i32, Vec<i16>>,
}

/// The largest sum of magnitudes of a row of the matrix that gives logits.
#[derive(Clone, Debug)]
pub enum OutputRows {
    /// Computed when it is wanted, which is for draws only.
    Matrix(Weights),
    /// Computed before.
    Known(u64),
}

impl OutputRows {
    /// The sum.
    #[must_use]
    pub fn largest_sum(&self) -> u64 {
        match self {
            Self::Matrix(weights) => weights.max_row_l1(),
            Self::Known(sum) => *sum,
        }
    }
}

impl Outline {
    /// Of a model at hand.
    #[must_use]
    pub fn of(model: &Model) -> Self {
        let blocks = &model.tensors.blocks;
        let grid = |block: usize, matrix: Matrix| matrix.weights(model, block).map_or(0, Weights::grid);
        Self {
            commitment: model.commitment,
            template: model.template,
            config: model.config.clone(),
            formats: model.formats.clone(),
            recipe: model.recipe.clone(),
            tokenizer: Arc::clone(&model.tokenizer),
            norms: blocks.iter().map(|block| [block.attn_norm.clone(), block.ffn_norm.clone()]).collect(),
            output_norm: model.tensors.output_norm.clone(),
            grids: (0..blocks.len()).map(|block| OF_BLOCK.map(|matrix| grid(block, matrix))).collect(),
            output_grid: model.output().grid(),
            output_rows: OutputRows::Matrix(model.output().clone()),
            tables: Arc::default(),
        }
    }

    /// The model's tables, for so many positions at least. Those that were made once are kept.
    #[must_use]
    pub fn tables(&self, positions: usize) -> Arc<Tables> {
        let mut kept = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.as_ref().filter(|tables| tables.positions >= positions) {
            Some(tables) => Arc::clone(tables),
            None => Arc::clone(kept.insert(Arc::new(self.make_tables(positions)))),
        }
    }

    fn make_tables(&self, positions: usize) -> Tables {
        let rotation = |query| self.recipe.rotation_table(RotationKind { local: false, query }, positions);
        let exponents = self.formats.blocks.iter().map(|block| block.exponent(Site::Gate));
        let activations = exponents
            .collect::<BTreeSet<i32>>()
            .into_iter()
            .map(|exponent| (exponent, tables::activation_table(self.config.activation, exponent)));
        Tables {
            positions,
            rotations: rayon::join(|| rotation(true), || rotation(false)).into(),
            exp: tables::exp_short(),
            sampler: tables::exp_sampler(),
            activations: activations.collect(),
        }
    }

    /// Exponent of the logits.
    #[must_use]
    pub fn logit_exponent(&self) -> i32 {
        output_exponent(self.config.width, &self.output_norm).saturating_add(self.output_grid)
    }
}
