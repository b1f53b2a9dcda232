//! Names for the parts of an execution trace: which operation of which block a number belongs to. Nothing here may
//! hold a number of a trace or believe one.

use std::fmt;

/// What is recorded of a block, in the order in which a block computes it, and behind the last block what leads to the
/// logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TraceOperation {
    /// The residual stream that enters the block.
    Residual,
    /// Accumulators of the query matrix, before a bias.
    Query,
    /// Accumulators of the key matrix, before a bias.
    Key,
    /// Accumulators of the value matrix, before a bias.
    Value,
    /// Products of a query with the keys that it sees, head after head.
    Scores,
    /// Sums of the values, weighed by the scores, before the division.
    Weighted,
    /// Accumulators of the attention's output matrix.
    Output,
    /// Accumulators of the gate matrix.
    Gate,
    /// Accumulators of the up matrix.
    Up,
    /// Accumulators of the down matrix.
    Down,
    /// Accumulators of the output matrix, behind the last block.
    Logits,
}

impl TraceOperation {
    /// Those of a block, in order.
    pub const BLOCK: [Self; 10] = [
        Self::Residual,
        Self::Query,
        Self::Key,
        Self::Value,
        Self::Scores,
        Self::Weighted,
        Self::Output,
        Self::Gate,
        Self::Up,
        Self::Down,
    ];
    /// Those behind the last block.
    pub const HEAD: [Self; 2] = [Self::Residual, Self::Logits];

    /// Stable machine name.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Residual => "residual",
            Self::Query => "query",
            Self::Key => "key",
            Self::Value => "value",
            Self::Scores => "scores",
            Self::Weighted => "weighted",
            Self::Output => "output",
            Self::Gate => "gate",
            Self::Up => "up",
            Self::Down => "down",
            Self::Logits => "logits",
        }
    }
}

impl fmt::Display for TraceOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Where in a trace something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TracePlace {
    /// The token, counted from 0 over prompt and output.
    pub position: u32,
    /// The transformer block; the number of blocks for what is behind the last one.
    pub block: u32,
    /// The operation.
    pub operation: TraceOperation,
}

impl fmt::Display for TracePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "position {}, block {}, {}", self.position, self.block, self.operation)
    }
}

/// What is wrong there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TraceFault {
    /// Too few or too many numbers: an operation left out, or keys that were not looked at.
    Length,
    /// A number that no input of this model can give.
    Bound,
    /// Not the product of the model's matrix with its input, or of queries with keys, or of weights with values.
    Product,
    /// Not what the operations before it give.
    Carried,
    /// Not what the claim is committed to.
    Commitment,
}

impl TraceFault {
    /// Stable machine name.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Bound => "bound",
            Self::Product => "product",
            Self::Carried => "carried",
            Self::Commitment => "commitment",
        }
    }
}

impl fmt::Display for TraceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "there are too few or too many numbers",
            Self::Bound => "there is a number that no input gives",
            Self::Product => "the numbers are not the product of their operands",
            Self::Carried => "the numbers are not what the operations before give",
            Self::Commitment => "the numbers are not those that the claim is committed to",
        })
    }
}
