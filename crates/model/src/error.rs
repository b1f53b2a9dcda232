//! Every way this crate can fail, one variant per cause. A message names the place and the limit and says
//! what to do; it never repeats foreign text that was not checked to be UTF-8.

use thiserror::Error;

/// Errors of the crate `model`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    // ---- The container (GGUF).
    /// The file does not begin with the four letters of a GGUF file.
    #[error("not a GGUF file: it begins with bytes {found:02x?}, not with \"GGUF\"; give a GGUF model file")]
    NotGguf {
        /// The first bytes of the file, at most four.
        found: Vec<u8>,
    },
    /// The version number is that of a byte-swapped file.
    #[error("big-endian GGUF file; convert it to little-endian (gguf-py: gguf_convert_endian)")]
    BigEndian,
    /// A version we do not read.
    #[error("GGUF version {version}; versions 2 and 3 are read, convert the file with a current llama.cpp")]
    GgufVersion {
        /// The version in the file.
        version: u32,
    },
    /// The file ends inside something.
    #[error("the file ends at byte {len}, inside {what} at byte {offset} ({need} bytes); download it again")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Where it starts.
        offset: u64,
        /// How many bytes it needs (all of its elements at their smallest, where the rest was not read).
        need: u64,
        /// Length of the file in bytes.
        len: u64,
    },
    /// A count or length above its named cap.
    #[error("{what} at byte {offset} is {count}, the limit is {limit}; the file is damaged or hostile")]
    CountLimit {
        /// Which count.
        what: &'static str,
        /// Where the count is stored.
        offset: u64,
        /// The count in the file.
        count: u64,
        /// The cap.
        limit: u64,
    },
    /// A metadata key that is not UTF-8.
    #[error("the metadata key at byte {offset} is not UTF-8; the file is damaged or hostile")]
    KeyNotUtf8 {
        /// Where the key starts.
        offset: u64,
    },
    /// A tensor name that is not UTF-8.
    #[error("the tensor name at byte {offset} is not UTF-8; the file is damaged or hostile")]
    TensorNameNotUtf8 {
        /// Where the name starts.
        offset: u64,
    },
    /// The same metadata key twice.
    #[error("metadata key {key:?} appears twice; which one counts is undefined, so neither does")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// The same tensor name twice.
    #[error("tensor {tensor:?} appears twice; which one counts is undefined, so neither does")]
    DuplicateTensor {
        /// The tensor.
        tensor: String,
    },
    /// A number that is none of the 13 metadata types.
    #[error("metadata key {key:?}: unknown value type {number} at byte {offset}; types 0 to 12 are defined")]
    ValueType {
        /// The key.
        key: String,
        /// Where the type is stored.
        offset: u64,
        /// The number found.
        number: u32,
    },
    /// A Boolean that is neither 0 nor 1.
    #[error("metadata key {key:?}: the Boolean at byte {offset} is neither 0 nor 1; the file is damaged")]
    NotBoolean {
        /// The key.
        key: String,
        /// Where it is stored.
        offset: u64,
    },
    /// Arrays inside arrays beyond the cap.
    #[error(
        "metadata key {key:?}: arrays nested more than {limit} deep at byte {offset}; the file is hostile"
    )]
    NestedTooDeep {
        /// The key.
        key: String,
        /// Where the innermost array starts.
        offset: u64,
        /// The cap.
        limit: u32,
    },
    /// A metadata value of another type than its key demands.
    #[error("metadata key {key:?} must be of type {expected}, but is {found}; the file is damaged")]
    WrongType {
        /// The key.
        key: String,
        /// The type it must have.
        expected: &'static str,
        /// The type it has.
        found: &'static str,
    },
    /// `general.alignment` is not usable.
    #[error("general.alignment is {alignment}; it must be a power of two from {min} to {max}")]
    Alignment {
        /// The value in the file.
        alignment: u32,
        /// Smallest accepted.
        min: u32,
        /// Largest accepted.
        max: u32,
    },
    /// A tensor with no dimension or more than four.
    #[error("tensor {tensor:?} has {count} dimensions; 1 to {limit} are possible")]
    DimensionCount {
        /// The tensor.
        tensor: String,
        /// Dimensions in the file.
        count: u32,
        /// The cap.
        limit: u32,
    },
    /// A dimension of zero.
    #[error("tensor {tensor:?} has a dimension of 0; the file is damaged")]
    EmptyTensor {
        /// The tensor.
        tensor: String,
    },
    /// More bytes than 64 bits can count.
    #[error("tensor {tensor:?}: its dimensions multiply to more than 2^63 bytes; the file is hostile")]
    TensorSizeOverflow {
        /// The tensor.
        tensor: String,
    },
    /// A number format of weights that is not implemented.
    #[error(
        "tensor {tensor:?} has type {number} ({name}); supported are F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, \
         Q5_1, Q4_K, Q5_K and Q6_K: take another quantization of the model"
    )]
    TensorType {
        /// The tensor.
        tensor: String,
        /// ggml's number of the type.
        number: u32,
        /// ggml's name of the type, or "unknown".
        name: &'static str,
    },
    /// A row that does not hold a whole number of blocks.
    #[error("tensor {tensor:?}: a row of {cols} weights is not a multiple of the block of {block}")]
    RowLength {
        /// The tensor.
        tensor: String,
        /// Row length in weights.
        cols: u64,
        /// Weights per block.
        block: u64,
    },
    /// Data that does not start at a multiple of the alignment.
    #[error("tensor {tensor:?}: data offset {offset} is not a multiple of the alignment {alignment}")]
    Misaligned {
        /// The tensor.
        tensor: String,
        /// Offset within the data section.
        offset: u64,
        /// `general.alignment`.
        alignment: u64,
    },
    /// Data beyond the end of the file.
    #[error(
        "tensor {tensor:?}: {size} bytes at data offset {offset}, but the data section has {len}; the file is \
         cut short, download it again"
    )]
    OutOfBounds {
        /// The tensor.
        tensor: String,
        /// Offset within the data section.
        offset: u64,
        /// Bytes of the tensor.
        size: u64,
        /// Bytes of the data section.
        len: u64,
    },
    /// Data that starts inside the tensor before it.
    #[error(
        "tensor {tensor:?} starts at data offset {offset}, inside the tensor before it (ends {expected})"
    )]
    Overlapping {
        /// The tensor.
        tensor: String,
        /// Offset within the data section.
        offset: u64,
        /// Where it should start.
        expected: u64,
    },
    /// Bytes between two tensors that no tensor owns.
    #[error("tensor {tensor:?} starts at data offset {offset} instead of {expected}: bytes no tensor owns")]
    Gap {
        /// The tensor.
        tensor: String,
        /// Offset within the data section.
        offset: u64,
        /// Where it should start.
        expected: u64,
    },
    /// Bytes after the last tensor.
    #[error("oversized: {extra} bytes follow the last tensor beyond its padding; no tensor owns them")]
    Oversized {
        /// How many, alignment padding not counted.
        extra: u64,
    },

    // ---- Weights.
    /// A NaN or an infinity.
    #[error("tensor {tensor:?}: NaN or infinity in row {row}, block {block}; the model is damaged")]
    NotFinite {
        /// The tensor.
        tensor: String,
        /// Row, from 0.
        row: u64,
        /// Block within the row (for unblocked numbers: the column), from 0.
        block: u64,
    },
    /// Scales so far apart that integers on their common grid exceed 32 bits.
    #[error(
        "tensor {tensor:?}: grid too wide: on 2^-{grid} the largest weight needs {bits} bits, 31 is the limit; \
         take another quantization of the model"
    )]
    GridTooWide {
        /// The tensor.
        tensor: String,
        /// The grid that makes every scale an integer.
        grid: i32,
        /// Magnitude bits of the largest possible weight on it.
        bits: u32,
    },
    /// Magnitudes for which no power-of-two scale between the limits exists.
    #[error(
        "tensor {tensor:?}: its largest magnitude needs the scale 2^-{exponent}; {min} to {max} is possible"
    )]
    ScaleRange {
        /// The tensor.
        tensor: String,
        /// The exponent needed.
        exponent: i32,
        /// Smallest accepted.
        min: i32,
        /// Largest accepted.
        max: i32,
    },
    /// Values, shape and byte count do not belong together.
    #[error("tensor {tensor:?}: {rows} rows of {cols} need {expected} bytes or values, {found} were given")]
    DataLength {
        /// The tensor.
        tensor: String,
        /// Rows.
        rows: u32,
        /// Columns.
        cols: u32,
        /// What the shape needs.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// A row shift above the cap.
    #[error("tensor {tensor:?}: a row shift of {shift}, the limit is {limit}")]
    RowShift {
        /// The tensor.
        tensor: String,
        /// The shift.
        shift: u8,
        /// The cap.
        limit: u8,
    },

    // ---- Import.
    /// A family that is not implemented.
    #[error("architecture \"{found}\" is not implemented; llama, qwen2, qwen3 and gemma3 are")]
    Architecture {
        /// `general.architecture`, escaped.
        found: String,
    },
    /// A metadata key that is needed and absent.
    #[error("metadata key {key:?} is missing; the file is not a complete model, convert it again")]
    MissingKey {
        /// The key.
        key: String,
    },
    /// A number outside its range.
    #[error("{key} is {value}; {min} to {max} is possible")]
    ConfigRange {
        /// The key.
        key: String,
        /// The value in the file.
        value: u64,
        /// Smallest accepted.
        min: u64,
        /// Largest accepted.
        max: u64,
    },
    /// A number that does not go with another one.
    #[error("metadata key {key:?} is {value}, but it {rule}; the file is damaged or of an unknown kind")]
    ConfigConflict {
        /// The key.
        key: String,
        /// The value in the file or the one derived for it.
        value: u64,
        /// What should hold.
        rule: &'static str,
    },
    /// A float that must be finite and positive.
    #[error("metadata key {key:?} has the binary32 bits {bits:#010x}; it must be finite and positive")]
    ConfigFloat {
        /// The key.
        key: String,
        /// Its bit pattern.
        bits: u32,
    },
    /// A feature of the model that is not implemented.
    #[error("metadata key {key:?} = {value}: {feature} is not implemented; take another model")]
    Unsupported {
        /// The key.
        key: String,
        /// Its value, escaped.
        value: String,
        /// The feature it asks for.
        feature: &'static str,
    },
    /// A hyperparameter that nobody reads.
    #[error("metadata key {key:?} is unknown and may change what the model computes; take another model")]
    UnknownHyperparameter {
        /// The key.
        key: String,
    },
    /// A tensor that is needed and absent.
    #[error("tensor {tensor:?} is missing; the file is not a complete model of its architecture")]
    MissingTensor {
        /// The tensor.
        tensor: String,
    },
    /// A tensor that nobody reads.
    #[error("tensor {tensor:?} is unknown and would be ignored; take another model")]
    UnknownTensor {
        /// The tensor.
        tensor: String,
    },
    /// Per-frequency RoPE factors.
    #[error(
        "tensor \"rope_freqs.weight\": per-frequency RoPE scaling (Llama 3.1 and later) is not implemented; take \
         a model without it"
    )]
    RopeFactors,
    /// A tensor of another shape than the configuration demands.
    #[error(
        "tensor {tensor:?} has dimensions {found:?}, the configuration demands {expected:?} (row length first)"
    )]
    Shape {
        /// The tensor.
        tensor: String,
        /// Dimensions demanded.
        expected: Vec<u64>,
        /// Dimensions in the file.
        found: Vec<u64>,
    },
    /// A norm weight or bias in a block format.
    #[error("tensor {tensor:?} is a vector in a block format; norms and biases must be F32, F16 or BF16")]
    VectorType {
        /// The tensor.
        tensor: String,
    },
    // ---- Meaning.
    /// The tokenizer of the file.
    #[error(transparent)]
    Tokenizer(#[from] tokenizer::Error),
    /// Formats of another model.
    #[error(
        "the formats are for {formats} blocks, the model has {blocks}; delete the cached formats and import again"
    )]
    FormatsMismatch {
        /// Blocks of the model.
        blocks: usize,
        /// Blocks in the formats.
        formats: usize,
    },
    /// A product or sum could leave its proven range.
    #[error(
        "{what}: magnitudes could reach 2^{bits}, the proven limit is 2^{limit}; this quantization of the model \
         can't be run exactly, take another one"
    )]
    Bound {
        /// Tensor or operation.
        what: String,
        /// Bits it could need.
        bits: u32,
        /// Bits it may have.
        limit: u32,
    },
    /// A metadata string that must be UTF-8.
    #[error("metadata key {key:?} is not UTF-8; the file is damaged")]
    TextNotUtf8 {
        /// The key.
        key: String,
    },
    /// A token type that is none of the six.
    #[error("tokenizer.ggml.token_type of token {id} is {number}; types 1 to 6 are defined")]
    TokenType {
        /// The token.
        id: u64,
        /// The number in the file.
        number: i32,
    },
    /// Another number of tokens than the embedding has rows.
    #[error("tokenizer.ggml.tokens has {tokens} entries, the embedding {vocab} rows; they must be equal")]
    VocabularyLength {
        /// Entries of the token list.
        tokens: u64,
        /// Rows of the embedding.
        vocab: u32,
    },
}
