//! A proof's bytes: little-endian, every list after its length, every field element in its one form. What does not read back to the
//! same bytes is refused, and no length is believed before as many bytes are there.

use proof_system::commitment::{Digest, OpenedColumn, Opening};
use proof_system::field::extension::EXT_BYTES;
use proof_system::field::{Base, Ext};
use proof_system::lookup::{FractionTreeProof, LayerProof};

use crate::proof::{OpenedWeights, Proof};
use crate::public::{Draw, WIDE, Widths};

/// First bytes of a proof.
pub const MAGIC: &[u8] = b"maxwell proof 2\n";
/// No proof is longer.
pub const MAX_PROOF_BYTES: usize = 1 << 28;

/// Why bytes are no proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Something else, or of another version.
    #[error("these bytes do not begin as a proof of this version does")]
    Magic,
    /// Longer than any.
    #[error("a proof has {MAX_PROOF_BYTES} bytes at most")]
    Size,
    /// It ends too early.
    #[error("the proof ends at byte {offset}, within {what}")]
    Truncated {
        /// Where.
        offset: usize,
        /// What was being read.
        what: &'static str,
    },
    /// It goes on.
    #[error("the proof goes on after byte {offset}")]
    Trailing {
        /// Where it should end.
        offset: usize,
    },
    /// Neither yes nor no.
    #[error("byte {offset} is neither 0 nor 1")]
    Flag {
        /// Where.
        offset: usize,
    },
    /// A number that has another form.
    #[error("the field element at byte {offset} is not in its canonical form")]
    Element {
        /// Where.
        offset: usize,
    },
}

impl Proof {
    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend(self.widths.unsigned);
        for rows in &self.widths.wide {
            count(&mut out, rows.len());
            out.extend(rows.iter().flat_map(|row| row.to_le_bytes()));
        }
        count(&mut out, self.widths.draws.len());
        for draw in &self.widths.draws {
            out.extend(draw.peak.to_le_bytes());
            out.extend([draw.total, draw.before, draw.weight].iter().flat_map(|sum| sum.to_le_bytes()));
        }
        out.extend(self.root);
        out.extend(self.work.to_le_bytes());
        count(&mut out, self.trees.len());
        for tree in &self.trees {
            elements(&mut out, &tree.top);
            count(&mut out, tree.layers.len());
            for layer in &tree.layers {
                count(&mut out, layer.rounds.len());
                layer.rounds.iter().for_each(|round| elements(&mut out, round));
                elements(&mut out, &layer.children);
            }
        }
        encode_opened(&mut out, &self.messages, &self.opening);
        out.push(u8::from(self.weights.is_some()));
        if let Some(opened) = &self.weights {
            encode_opened(&mut out, &opened.messages, &opened.opening);
        }
        out
    }

    /// Reads a proof; the inverse of [`Proof::encode`] on exactly its bytes. A proof that decodes may still prove nothing.
    ///
    /// # Errors
    /// [`Malformed`], with the byte.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_PROOF_BYTES {
            return Err(Malformed::Size);
        }
        let rest = bytes.strip_prefix(MAGIC).ok_or(Malformed::Magic)?;
        let mut input = Input { rest, length: bytes.len() };
        let unsigned = input.array("the ranges")?;
        let mut wide: [Vec<u32>; WIDE.len()] = Default::default();
        for rows in &mut wide {
            *rows = input.list(4, "wide rows", |input| Ok(u32::from_le_bytes(input.array("wide rows")?)))?;
        }
        let draws = input.list(28, "a draw", draw)?;
        let root: Digest = input.array("the commitment")?;
        let work = u64::from_le_bytes(input.array("the proof of work")?);
        let trees = input.list(4 * EXT_BYTES, "a lookup tree", tree)?;
        let (messages, opening) = opened(&mut input)?;
        let offset = input.offset();
        let weights = match input.array("whether weights are opened")? {
            [0] => None,
            [1] => {
                let (messages, opening) = opened(&mut input)?;
                Some(OpenedWeights { messages, opening })
            }
            _ => return Err(Malformed::Flag { offset }),
        };
        if !input.rest.is_empty() {
            return Err(Malformed::Trailing { offset: input.offset() });
        }
        let widths = Widths { unsigned, wide, draws };
        Ok(Self { widths, root, work, trees, messages, opening, weights })
    }
}

fn encode_opened(out: &mut Vec<u8>, messages: &[Ext], opening: &Opening) {
    count(out, messages.len());
    elements(out, messages);
    count(out, opening.row.len());
    elements(out, &opening.row);
    out.extend(opening.work.to_le_bytes());
    count(out, opening.columns.len());
    for column in &opening.columns {
        count(out, column.elements.len());
        out.extend(column.elements.iter().flat_map(|element| element.value().to_le_bytes()));
        count(out, column.path.len());
        out.extend(column.path.iter().flatten());
    }
}

fn opened(input: &mut Input<'_>) -> Result<(Vec<Ext>, Opening), Malformed> {
    let messages = input.list(EXT_BYTES, "a message", Input::element)?;
    let row = input.list(EXT_BYTES, "the combined row", Input::element)?;
    let work = u64::from_le_bytes(input.array("the proof of work of an opening")?);
    let columns = input.list(8, "an opened column", column)?;
    Ok((messages, Opening { row, work, columns }))
}

fn count(out: &mut Vec<u8>, count: usize) {
    out.extend(u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

fn elements(out: &mut Vec<u8>, elements: &[Ext]) {
    out.extend(elements.iter().flat_map(|element| element.to_bytes()));
}

fn tree(input: &mut Input<'_>) -> Result<FractionTreeProof, Malformed> {
    let top = input.elements()?;
    let layers = input.list(4 * EXT_BYTES, "a layer of a lookup tree", |input| {
        let rounds = input.list(2 * EXT_BYTES, "a round of a lookup tree", Input::elements)?;
        Ok(LayerProof { rounds, children: input.elements()? })
    })?;
    Ok(FractionTreeProof { top, layers })
}

fn draw(input: &mut Input<'_>) -> Result<Draw, Malformed> {
    let peak = u32::from_le_bytes(input.array("a draw")?);
    let mut sum = || Ok(u64::from_le_bytes(input.array("a draw")?));
    Ok(Draw { peak, total: sum()?, before: sum()?, weight: sum()? })
}

fn column(input: &mut Input<'_>) -> Result<OpenedColumn, Malformed> {
    let elements = input.list(8, "an opened column", |input| {
        let offset = input.offset();
        let value = u64::from_le_bytes(input.array("an opened column")?);
        Base::from_canonical(value).ok_or(Malformed::Element { offset })
    })?;
    let path = input.list(32, "a path", |input| input.array("a path"))?;
    Ok(OpenedColumn { elements, path })
}

/// What is still to be read.
struct Input<'b> {
    rest: &'b [u8],
    length: usize,
}

impl Input<'_> {
    fn offset(&self) -> usize {
        self.length.saturating_sub(self.rest.len())
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let (first, rest) =
            self.rest.split_first_chunk().ok_or(Malformed::Truncated { offset: self.length, what })?;
        self.rest = rest;
        Ok(*first)
    }

    fn element(&mut self) -> Result<Ext, Malformed> {
        let offset = self.offset();
        Ext::from_bytes(self.array("a field element")?).ok_or(Malformed::Element { offset })
    }

    fn elements<const N: usize>(&mut self) -> Result<[Ext; N], Malformed> {
        let mut elements = [Ext::ZERO; N];
        for element in &mut elements {
            *element = self.element()?;
        }
        Ok(elements)
    }

    /// A list of items that take `least` bytes each at least.
    fn list<T>(
        &mut self,
        least: usize,
        what: &'static str,
        read: impl Fn(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = usize::try_from(u32::from_le_bytes(self.array(what)?)).unwrap_or(usize::MAX);
        if count.saturating_mul(least) > self.rest.len() {
            return Err(Malformed::Truncated { offset: self.length, what });
        }
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(read(self)?);
        }
        Ok(items)
    }
}
