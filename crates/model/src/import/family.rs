//! The model families as data: one row per architecture, no type and no branch per family.

/// The architectures that are implemented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say all there is to say")]
pub enum Architecture {
    Llama,
    Qwen2,
    Qwen3,
    Gemma3,
}

/// Which elements of a head are rotated together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RopeStyle {
    /// 2i and 2i + 1.
    Interleaved,
    /// i and i + head_dim / 2.
    Halves,
}

/// The function applied to the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// x / (1 + exp(-x)).
    Silu,
    /// GELU by its tanh approximation.
    GeluTanh,
}

/// What distinguishes one family from the others. Source: llama.cpp, `src/llama-model.cpp` (load_hparams,
/// load_tensors, llama_model_rope_type) and the graphs in `src/models/`.
#[derive(Debug)]
pub struct Family {
    /// Its tag.
    pub architecture: Architecture,
    /// `general.architecture`, also the prefix of its metadata keys.
    pub name: &'static str,
    /// How heads are rotated (the converter permutes llama's weights for interleaved pairs).
    pub rope_style: RopeStyle,
    /// The function applied to the gate.
    pub activation: Activation,
    /// Biases on queries, keys and values.
    pub qkv_bias: bool,
    /// RMS norms on each head of queries and keys.
    pub qk_norm: bool,
    /// RMS norms on the outputs of attention and feed-forward.
    pub post_norms: bool,
    /// Embeddings are multiplied by sqrt(width).
    pub scaled_embedding: bool,
    /// Blocks that see a sliding window only: every block but each `period`-th.
    pub sliding_period: Option<u32>,
    /// Positions may be divided by a factor (linear RoPE scaling).
    pub linear_rope: bool,
    /// `attention.scale` replaces 1/sqrt(head_dim) if the file has it.
    pub own_attention_scale: bool,
    /// A block count at which 1/sqrt(width / heads) replaces 1/sqrt(head_dim) (the 27B of Gemma 3).
    pub width_scaled_at_blocks: Option<u32>,
}

const LLAMA: Family = Family {
    architecture: Architecture::Llama,
    name: "llama",
    rope_style: RopeStyle::Interleaved,
    activation: Activation::Silu,
    qkv_bias: false,
    qk_norm: false,
    post_norms: false,
    scaled_embedding: false,
    sliding_period: None,
    linear_rope: false,
    own_attention_scale: false,
    width_scaled_at_blocks: None,
};

/// Every family.
pub const FAMILIES: [Family; 4] = [
    LLAMA,
    Family {
        architecture: Architecture::Qwen2,
        name: "qwen2",
        rope_style: RopeStyle::Halves,
        qkv_bias: true,
        ..LLAMA
    },
    Family {
        architecture: Architecture::Qwen3,
        name: "qwen3",
        rope_style: RopeStyle::Halves,
        qk_norm: true,
        ..LLAMA
    },
    Family {
        architecture: Architecture::Gemma3,
        name: "gemma3",
        rope_style: RopeStyle::Halves,
        activation: Activation::GeluTanh,
        qk_norm: true,
        post_norms: true,
        scaled_embedding: true,
        sliding_period: Some(6),
        linear_rope: true,
        own_attention_scale: true,
        width_scaled_at_blocks: Some(62),
        ..LLAMA
    },
];

impl Architecture {
    /// The row of [`FAMILIES`].
    pub fn family(self) -> &'static Family {
        FAMILIES.iter().find(|family| family.architecture == self).unwrap_or(&LLAMA)
    }
}
