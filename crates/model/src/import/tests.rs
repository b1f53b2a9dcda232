//! Models of every family and format are read as written; everything else is refused by name.
#![expect(clippy::as_conversions, reason = "the numbers of a test are its own")]

use proptest::prelude::*;

use tokenizer::{TokenType, TokenizerKind};

use super::*;
use crate::gguf::{TensorType, ValueType};
use crate::synthetic::{CHAT_TEMPLATE, Encoded, GgufWriter, SyntheticModel};
use crate::weights::{BlockKind, FloatKind};

const FAMILY_TAGS: [Architecture; 4] =
    [Architecture::Llama, Architecture::Qwen2, Architecture::Qwen3, Architecture::Gemma3];

fn read(writer: &GgufWriter) -> Result<ImportedFile, Error> {
    read_gguf(Arc::new(writer.finish()))
}

fn tiny(architecture: Architecture) -> ImportedFile {
    read(&SyntheticModel::tiny(architecture).writer()).unwrap()
}

#[test]
fn configurations_are_read_as_written() {
    let llama = ModelConfig {
        architecture: Architecture::Llama,
        blocks: 2,
        width: 64,
        heads: 4,
        kv_heads: 2,
        head_dim: 16,
        ff: 128,
        vocab: 384,
        context: 128,
        rope_base_bits: 8192.0_f32.to_bits(),
        rope_dim: 16,
        rope_style: RopeStyle::Interleaved,
        rope_factor_bits: 1.0_f32.to_bits(),
        sliding: None,
        eps_bits: 2.0_f32.powi(-20).to_bits(),
        activation: Activation::Silu,
        qkv_bias: false,
        qk_norm: false,
        post_norms: false,
        scaled_embedding: false,
        attention_scale: AttentionScale::InverseSqrt(16),
        tied_embeddings: true,
    };
    let halves = ModelConfig { rope_style: RopeStyle::Halves, ..llama.clone() };
    let qwen2 = ModelConfig {
        architecture: Architecture::Qwen2,
        qkv_bias: true,
        tied_embeddings: false,
        ..halves.clone()
    };
    let qwen3 = ModelConfig { architecture: Architecture::Qwen3, qk_norm: true, ..halves.clone() };
    let gemma3 = ModelConfig {
        architecture: Architecture::Gemma3,
        blocks: 6,
        head_dim: 32,
        rope_dim: 32,
        sliding: Some(SlidingWindow { window: 16, period: 6, rope_base_bits: 10_000.0_f32.to_bits() }),
        activation: Activation::GeluTanh,
        qk_norm: true,
        post_norms: true,
        scaled_embedding: true,
        attention_scale: AttentionScale::InverseSqrt(32),
        ..halves
    };
    for expected in [llama, qwen2, qwen3, gemma3] {
        assert_eq!(tiny(expected.architecture).config, expected);
    }
}

#[test]
fn defaults_are_those_of_llama_cpp() {
    let mut writer = SyntheticModel::tiny(Architecture::Llama).writer();
    for key in ["attention.head_count_kv", "attention.key_length", "attention.value_length", "rope.freq_base"]
    {
        writer.remove(&format!("llama.{key}"));
    }
    // Without head_count_kv every head has keys of its own.
    for block in 0..2 {
        for part in ["attn_k", "attn_v"] {
            let tensor = writer.tensor_mut(&format!("blk.{block}.{part}.weight"));
            tensor.dimensions[1] = 64;
            tensor.data.resize(tensor.data.len() * 2, 0);
        }
    }
    writer.set("llama.rope.scaling.type", Encoded::text("none"));
    writer.set("llama.rope.scaling.factor", Encoded::f32_bits(4.0_f32.to_bits()));
    writer.set("llama.vocab_size", Encoded::u32(384));
    writer.set("llama.rope.dimension_count", Encoded::u32(16));
    writer.set("llama.attention.sliding_window", Encoded::u32(128));
    let config = read(&writer).unwrap().config;
    assert_eq!((config.kv_heads, config.head_dim), (4, 16));
    assert_eq!((config.query_width(), config.kv_width()), (64, 64));
    assert_eq!(config.rope_base_bits, 10_000.0_f32.to_bits());
    assert_eq!(config.rope_factor(0), Dyadic { mantissa: 1 << 23, exponent: -23 });
}

#[test]
fn gemma_windows_bases_and_factors_depend_on_the_block() {
    let mut writer = SyntheticModel::tiny(Architecture::Gemma3).writer();
    writer.set("gemma3.rope.scaling.type", Encoded::text("linear"));
    writer.set("gemma3.rope.scaling.factor", Encoded::f32_bits(8.0_f32.to_bits()));
    let config = read(&writer).unwrap().config;
    let value = |number: Dyadic| number.mantissa as f64 * 2.0_f64.powi(number.exponent);
    for block in 0..6 {
        let (window, base, factor) = if block == 5 { (None, 8192.0, 8.0) } else { (Some(16), 10_000.0, 1.0) };
        assert_eq!(config.window(block).map(|sliding| sliding.window), window, "block {block}");
        assert_eq!(value(config.rope_base(block)), base, "block {block}");
        assert_eq!(value(config.rope_factor(block)), factor, "block {block}");
    }
    assert_eq!(value(config.eps()), 2.0_f64.powi(-20));
    writer.set("gemma3.rope.freq_base_swa", Encoded::f32_bits(500.0_f32.to_bits()));
    writer.set("gemma3.attention.sliding_window_pattern", Encoded::u32(2));
    writer.set("gemma3.attention.scale", Encoded::f32_bits(0.25_f32.to_bits()));
    let config = read(&writer).unwrap().config;
    let sliding = SlidingWindow { window: 16, period: 2, rope_base_bits: 500.0_f32.to_bits() };
    assert_eq!((config.window(0), config.window(1)), (Some(sliding), None));
    assert_eq!(config.attention_scale, AttentionScale::Factor(0.25_f32.to_bits()));
    writer.set("gemma3.attention.sliding_window", Encoded::u32(0));
    assert_eq!(read(&writer).unwrap().config.sliding, None);
}

/// The 27B of Gemma 3 scales by its width (llama.cpp, LLM_TYPE_27B).
#[test]
fn sixty_two_blocks_of_gemma_scale_by_the_width() {
    let model = SyntheticModel { blocks: 62, ..SyntheticModel::tiny(Architecture::Gemma3) };
    let config = read(&model.writer()).unwrap().config;
    assert_eq!(config.attention_scale, AttentionScale::InverseSqrt(16));
}

#[test]
fn every_tensor_has_its_place() {
    for architecture in FAMILY_TAGS {
        let tensors = tiny(architecture).tensors;
        let family = architecture.family();
        assert_eq!(tensors.embedding.name(), "token_embd.weight");
        assert_eq!(tensors.output.map(|output| output.name().to_owned()).is_some(), family.name == "qwen2");
        assert_eq!(tensors.output_norm.name(), "output_norm.weight");
        for (number, block) in tensors.blocks.iter().enumerate() {
            let name = |part: &str| format!("blk.{number}.{part}");
            for (weights, part) in [
                (&block.q, "attn_q.weight"),
                (&block.k, "attn_k.weight"),
                (&block.v, "attn_v.weight"),
                (&block.o, "attn_output.weight"),
                (&block.gate, "ffn_gate.weight"),
                (&block.up, "ffn_up.weight"),
                (&block.down, "ffn_down.weight"),
            ] {
                assert_eq!(weights.name(), name(part));
            }
            for (vector, part, present) in [
                (Some(&block.attn_norm), "attn_norm.weight", true),
                (Some(&block.ffn_norm), "ffn_norm.weight", true),
                (block.q_bias.as_ref(), "attn_q.bias", family.qkv_bias),
                (block.k_bias.as_ref(), "attn_k.bias", family.qkv_bias),
                (block.v_bias.as_ref(), "attn_v.bias", family.qkv_bias),
                (block.q_norm.as_ref(), "attn_q_norm.weight", family.qk_norm),
                (block.k_norm.as_ref(), "attn_k_norm.weight", family.qk_norm),
                (block.post_attn_norm.as_ref(), "post_attention_norm.weight", family.post_norms),
                (block.post_ffn_norm.as_ref(), "post_ffw_norm.weight", family.post_norms),
            ] {
                assert_eq!(
                    vector.map(Vector::name),
                    present.then(|| name(part)).as_deref(),
                    "{}",
                    family.name
                );
            }
        }
    }
}

#[test]
fn digests_and_losses_cover_every_tensor() {
    let writer = SyntheticModel::tiny(Architecture::Qwen2).writer();
    let imported = read(&writer).unwrap();
    let expected: Vec<(String, [u8; 32])> = writer
        .tensors
        .iter()
        .map(|tensor| (String::from_utf8(tensor.name.clone()).unwrap(), blake3::hash(&tensor.data).into()))
        .collect();
    assert_eq!(imported.tensor_digests, expected);
    assert_eq!(imported.losses.len(), expected.len());
    assert!(imported.losses.iter().all(|loss| loss.exact), "norms are multiples of 2^-10, blocks exact");
}

#[test]
fn every_format_of_weights_is_read() {
    let blocks = BlockKind::ALL.map(TensorType::Block);
    let floats = [FloatKind::F32, FloatKind::F16, FloatKind::BF16].map(TensorType::Float);
    for kind in blocks.into_iter().chain(floats) {
        for version in [2, 3] {
            let model = SyntheticModel {
                head_type: kind,
                version,
                ..SyntheticModel::tiny_256(Architecture::Llama, kind)
            };
            let imported = read(&model.writer()).unwrap();
            let q = &imported.tensors.blocks[0].q;
            assert_eq!((q.rows(), q.cols()), (256, 256), "{kind:?}");
            // Blocks are exact. Floats are not, once they are small beside the largest of their row.
            let q_loss = imported.losses.iter().find(|loss| loss.tensor == "blk.0.attn_q.weight").unwrap();
            assert_eq!(q_loss.exact, matches!(kind, TensorType::Block(_)), "{kind:?}");
        }
    }
}

/// Breaks one thing in a tiny model and expects the error.
fn check(architecture: Architecture, expected: &Error, change: impl FnOnce(&mut GgufWriter)) {
    let mut writer = SyntheticModel::tiny(architecture).writer();
    change(&mut writer);
    match read(&writer) {
        Ok(_) => panic!("accepted, instead of: {expected}"),
        Err(found) => assert_eq!(&found, expected),
    }
}

/// Sets one key of a tiny Llama and expects the error.
fn check_llama_key(key: &str, value: Encoded, expected: &Error) {
    check(Architecture::Llama, expected, |writer| writer.set(key, value));
}

#[test]
fn features_that_are_not_implemented_are_refused() {
    let float = |value: f32| Encoded::f32_bits(value.to_bits());
    let cases: [(&str, Encoded, &str, &str); 14] = [
        ("general.type", Encoded::text("adapter"), "adapter", "a file that is not a whole language model"),
        ("general.quantization_version", Encoded::u32(1), "1", "a block layout other than 2"),
        (
            "split.count",
            Encoded::raw(ValueType::U16, [3, 0]),
            "3",
            "a model in several files (merge them first)",
        ),
        ("llama.expert_count", Encoded::u32(8), "8", "a mixture of experts"),
        ("llama.expert_used_count", Encoded::u32(2), "2", "a mixture of experts"),
        ("llama.rope.scaling.type", Encoded::text("yarn"), "yarn", "RoPE scaling other than linear"),
        ("llama.rope.scaling.type", Encoded::text(b"\xff\n"), "\\xff\\n", "RoPE scaling other than linear"),
        ("llama.rope.scaling.factor", float(2.0), "8388608 * 2^-22", "RoPE scaling in this family"),
        ("llama.attention.sliding_window", Encoded::u32(64), "64", "a sliding window in this family"),
        ("llama.attn_logit_softcapping", float(50.0), "13107200 * 2^-18", "soft-capping of logits"),
        ("llama.final_logit_softcapping", float(30.0), "15728640 * 2^-19", "soft-capping of logits"),
        ("llama.attention.causal", Encoded::boolean(false), "false", "attention to later positions"),
        ("tokenizer.ggml.model", Encoded::text("bert"), "bert", "a tokenizer other than gpt2 and llama"),
        (
            "llama.final_logit_softcapping",
            float(f32::NAN),
            "not finite, bits 0x7fc00000",
            "soft-capping of logits",
        ),
    ];
    for (key, value, shown, feature) in cases {
        let expected = Error::Unsupported { key: key.to_owned(), value: shown.to_owned(), feature };
        check_llama_key(key, value, &expected);
    }
    let found = "gpt-neox".to_owned();
    check_llama_key("general.architecture", Encoded::text("gpt-neox"), &Error::Architecture { found });
    for suffix in ["attention.scale", "logit_scale", "a.b"] {
        let key = format!("llama.{suffix}");
        check_llama_key(&key, Encoded::u32(0), &Error::UnknownHyperparameter { key: key.clone() });
    }
    check(Architecture::Llama, &Error::RopeFactors, |writer| {
        writer.tensor("rope_freqs.weight", &[8], TensorType::Float(FloatKind::F32), vec![0; 32]);
    });
}

#[test]
fn numbers_out_of_range_are_refused() {
    for (key, value, min, max) in [
        ("llama.block_count", 0, 1, 256),
        ("llama.block_count", 257, 1, 256),
        ("llama.embedding_length", 1 << 16, 1, 1 << 15),
        ("llama.attention.head_count", 0, 1, 256),
        ("llama.attention.head_count_kv", 5, 1, 4),
        ("llama.attention.key_length", 1024, 1, 512),
        ("llama.attention.value_length", 0, 1, 512),
        ("llama.feed_forward_length", u32::MAX, 1, 1 << 17),
        ("llama.context_length", 1 << 21, 1, 1 << 20),
        ("llama.vocab_size", 0, 1, 1 << 19),
        ("llama.rope.dimension_count", 0, 1, 512),
    ] {
        let (value_found, key_found) = (u64::from(value), key.to_owned());
        let expected = Error::ConfigRange { key: key_found, value: value_found, min, max };
        check_llama_key(key, Encoded::u32(value), &expected);
    }
    for (key, value, rule) in [
        ("llama.attention.head_count_kv", 3, "must divide head_count"),
        ("llama.attention.key_length", 15, "must be even and at most 512"),
        ("llama.attention.value_length", 8, "must equal key_length"),
        ("llama.rope.dimension_count", 8, "must equal the head length"),
        ("llama.vocab_size", 383, "must equal the rows of token_embd.weight"),
    ] {
        let expected = Error::ConfigConflict { key: key.to_owned(), value: u64::from(value), rule };
        check_llama_key(key, Encoded::u32(value), &expected);
    }
    for bits in [f32::NAN, f32::INFINITY, 0.0, -1.0].map(f32::to_bits) {
        for key in ["llama.rope.freq_base", "llama.attention.layer_norm_rms_epsilon"] {
            check_llama_key(key, Encoded::f32_bits(bits), &Error::ConfigFloat { key: key.to_owned(), bits });
        }
    }
    // The tables of rotations are made from logarithms of at least zero.
    for value in [0.5_f32, 1e-30, 1e30] {
        let (key, bits) = ("llama.rope.freq_base", value.to_bits());
        let mut writer = SyntheticModel::tiny(Architecture::Llama).writer();
        writer.set(key, Encoded::f32_bits(bits));
        let refused = read(&writer).unwrap_err().to_string();
        assert!(refused.contains("rotations by a number below 1"), "{refused}");
    }
    let rule = "must divide embedding_length if key_length is absent";
    let expected = Error::ConfigConflict { key: "llama.attention.head_count".to_owned(), value: 7, rule };
    check(Architecture::Llama, &expected, |writer| {
        writer.remove("llama.attention.key_length");
        writer.remove("llama.attention.head_count_kv");
        writer.set("llama.attention.head_count", Encoded::u32(7));
    });
    let key = "rows of token_embd.weight".to_owned();
    let expected = Error::ConfigRange { key, value: 1 << 20, min: 1, max: 1 << 19 };
    check(Architecture::Llama, &expected, |writer| {
        let embedding = writer.tensor_mut("token_embd.weight");
        (embedding.dimensions, embedding.data) = (vec![32, 1 << 20], vec![0; 34 << 20]);
    });
}

#[test]
fn wrong_types_and_missing_keys_are_refused() {
    for (key, expected) in [
        ("general.architecture", "string"),
        ("llama.block_count", "u32"),
        ("llama.rope.freq_base", "f32"),
        ("tokenizer.ggml.tokens", "array of string"),
        ("tokenizer.ggml.token_type", "array of i32"),
        ("tokenizer.ggml.scores", "array of f32"),
        ("tokenizer.ggml.merges", "array of string"),
        ("tokenizer.ggml.add_bos_token", "bool"),
        ("tokenizer.chat_template", "string"),
    ] {
        let wrong = Error::WrongType { key: key.to_owned(), expected, found: "u8" };
        check_llama_key(key, Encoded::raw(ValueType::U8, [1]), &wrong);
    }
    let key = "tokenizer.ggml.tokens";
    let wrong = Error::WrongType { key: key.to_owned(), expected: "array of string", found: "array" };
    check_llama_key(key, Encoded::i32s(&[1]), &wrong);
    for key in [
        "general.architecture",
        "llama.block_count",
        "llama.context_length",
        "llama.embedding_length",
        "llama.feed_forward_length",
        "llama.attention.head_count",
        "llama.attention.layer_norm_rms_epsilon",
        "tokenizer.ggml.model",
        "tokenizer.ggml.pre",
        "tokenizer.ggml.tokens",
        "tokenizer.ggml.token_type",
        "tokenizer.ggml.merges",
    ] {
        check(Architecture::Llama, &Error::MissingKey { key: key.to_owned() }, |writer| writer.remove(key));
    }
    let key = "tokenizer.ggml.scores";
    check(Architecture::Gemma3, &Error::MissingKey { key: key.to_owned() }, |writer| writer.remove(key));
}

#[test]
fn tensors_must_be_the_ones_of_the_family() {
    let f32 = TensorType::Float(FloatKind::F32);
    for architecture in FAMILY_TAGS {
        let names = SyntheticModel::tiny(architecture).writer().tensors.into_iter().map(|tensor| tensor.name);
        for name in names.filter(|name| name != b"output.weight") {
            let name = String::from_utf8(name).unwrap();
            check(architecture, &Error::MissingTensor { tensor: name.clone() }, |writer| {
                writer.tensors.retain(|tensor| tensor.name != name.as_bytes());
            });
        }
    }
    for name in ["blk.0.attn_q.bias", "blk.2.attn_norm.weight", "blk.0.ffn_gate_inp.weight", "zzz"] {
        check(Architecture::Llama, &Error::UnknownTensor { tensor: name.to_owned() }, |writer| {
            writer.tensor(name, &[8], f32, vec![0; 32]);
        });
    }
    let shape = |tensor: &str, expected: &[u64], found: &[u64]| Error::Shape {
        tensor: tensor.to_owned(),
        expected: expected.to_vec(),
        found: found.to_vec(),
    };
    let q = "blk.0.attn_q.weight";
    for found in [&[64, 32][..], &[32, 64], &[64, 64, 1], &[4096]] {
        check(Architecture::Llama, &shape(q, &[64, 64], found), |writer| {
            let tensor = writer.tensor_mut(q);
            tensor.dimensions = found.to_vec();
            tensor.data.truncate(found.iter().product::<u64>() as usize / 32 * 20);
        });
    }
    let norm = "output_norm.weight";
    check(Architecture::Llama, &shape(norm, &[64], &[64, 1]), |writer| {
        writer.tensor_mut(norm).dimensions = vec![64, 1];
    });
    check(Architecture::Llama, &Error::VectorType { tensor: norm.to_owned() }, |writer| {
        let tensor = writer.tensor_mut(norm);
        (tensor.kind, tensor.data) = (8, vec![0; 68]);
    });
}

#[test]
fn bad_numbers_in_weights_are_refused_by_name() {
    let q = "blk.1.attn_q.weight";
    let expected = Error::NotFinite { tensor: q.to_owned(), row: 3, block: 1 };
    check(Architecture::Llama, &expected, |writer| {
        writer.tensor_mut(q).data[7 * 20..][..2].copy_from_slice(&[0, 0x7c]);
    });
    let norm = "blk.0.ffn_norm.weight";
    let expected = Error::NotFinite { tensor: norm.to_owned(), row: 0, block: 5 };
    check(Architecture::Llama, &expected, |writer| {
        writer.tensor_mut(norm).data[20..24].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    let expected = Error::GridTooWide { tensor: q.to_owned(), grid: 24, bits: 44 };
    check(Architecture::Llama, &expected, |writer| {
        let data = &mut writer.tensor_mut(q).data;
        data[..4].copy_from_slice(&[1, 0, 0, 0]);
        // 65504 * 2^24 * 15.
        data[20..24].copy_from_slice(&[0xff, 0x7b, 0, 0]);
    });
}

#[test]
fn tokenizers_are_read_as_written() {
    let spec = tiny(Architecture::Llama).tokenizer;
    assert_eq!((spec.kind, spec.pre.as_str()), (TokenizerKind::Bpe, "smollm"));
    assert_eq!((spec.tokens.len(), spec.types.len(), spec.merges.len()), (384, 384, 20));
    assert_eq!(spec.tokens[1], b"<|im_start|>");
    assert_eq!(spec.types[1], TokenType::Control);
    assert_eq!(spec.tokens[3 + 32], "\u{120}".as_bytes(), "a space is written as U+0120");
    assert_eq!(spec.merges[2], "\u{120}t he".as_bytes());
    assert_eq!((spec.bos, spec.eos, spec.unknown, spec.padding), (Some(1), Some(2), None, Some(0)));
    assert_eq!((spec.add_bos, spec.add_eos, spec.add_space_prefix), (false, false, false));
    assert_eq!(spec.chat_template.as_deref(), Some(CHAT_TEMPLATE));
    assert!(spec.score_bits.is_empty() && spec.end_ids.is_empty());

    let spec = tiny(Architecture::Gemma3).tokenizer;
    assert_eq!(spec.kind, TokenizerKind::SentencePiece);
    assert_eq!((spec.tokens[3].as_slice(), spec.types[3]), (&b"<0x00>"[..], TokenType::Byte));
    assert_eq!(
        (spec.score_bits.len(), spec.score_bits[262], spec.score_bits[263]),
        (384, 0xbf80_0000, 0xc000_0000)
    );
    assert_eq!((spec.add_bos, spec.add_space_prefix, spec.unknown), (true, false, Some(0)));
    assert!(spec.merges.is_empty());
}

#[test]
fn tokenizer_defaults_and_ends() {
    let mut writer = SyntheticModel::tiny(Architecture::Llama).writer();
    writer.remove("tokenizer.ggml.add_bos_token");
    writer.remove("tokenizer.chat_template");
    writer.set("tokenizer.ggml.eot_token_id", Encoded::u32(7));
    writer.set("tokenizer.ggml.eom_token_id", Encoded::u32(9));
    let spec = read(&writer).unwrap().tokenizer;
    assert_eq!((spec.add_bos, spec.chat_template, spec.end_ids), (false, None, vec![7, 9]));
    writer.set("tokenizer.ggml.pre", Encoded::text("llama-bpe"));
    assert!(read(&writer).unwrap().tokenizer.add_bos);
    let mut writer = SyntheticModel::tiny(Architecture::Gemma3).writer();
    for key in ["add_bos_token", "add_space_prefix", "pre"] {
        writer.remove(&format!("tokenizer.ggml.{key}"));
    }
    let spec = read(&writer).unwrap().tokenizer;
    assert_eq!((spec.add_bos, spec.add_space_prefix, spec.pre.as_str()), (true, true, "default"));
}

#[test]
fn damaged_tokenizers_are_refused() {
    let types = Encoded::i32s(&[1, 1, 7]);
    check_llama_key("tokenizer.ggml.token_type", types, &Error::TokenType { id: 2, number: 7 });
    let types = Encoded::i32s(&[-1]);
    check_llama_key("tokenizer.ggml.token_type", types, &Error::TokenType { id: 0, number: -1 });
    let expected = Error::VocabularyLength { tokens: 2, vocab: 384 };
    check_llama_key("tokenizer.ggml.tokens", Encoded::texts(&["a", "b"]), &expected);
    for key in ["tokenizer.ggml.pre", "tokenizer.chat_template"] {
        check_llama_key(key, Encoded::text([0xff]), &Error::TextNotUtf8 { key: key.to_owned() });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Flips in the headers and the metadata of a whole model (the data behind is mostly arbitrary bytes).
    #[test]
    fn damaged_models_do_not_panic(
        architecture in 0..4_usize,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        everywhere in any::<bool>(),
    ) {
        let mut file = SyntheticModel::tiny(FAMILY_TAGS[architecture]).gguf();
        let range = if everywhere { file.len() } else { 2_000 };
        for (at, byte) in flips {
            let at = at.index(range);
            file[at] = byte;
        }
        if let Ok(imported) = read_gguf(Arc::new(file)) {
            prop_assert!(imported.tensors.embedding.max_row_l1() < 1 << 50);
        }
    }
}

/// The real model: grids and sums, the latter from the Python package `gguf` with float64 arithmetic.
#[test]
fn smollm2_is_read_exactly() {
    let home = std::env::var_os("MAXWELL_HOME").map(std::path::PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".maxwell"))).unwrap_or_default();
    let path = home.join("models/smollm2-135m/model.gguf");
    let Ok(bytes) = std::fs::read(&path) else {
        eprintln!("SKIPPED: no {}; `maxwell pull smollm2-135m` fetches it", path.display());
        return;
    };
    let imported = read_gguf(Arc::new(bytes)).unwrap();
    let config = &imported.config;
    assert_eq!((config.blocks, config.width, config.heads, config.kv_heads), (30, 576, 9, 3));
    assert_eq!((config.head_dim, config.ff, config.vocab, config.context), (64, 1536, 49_152, 8192));
    assert_eq!((config.rope_base_bits, config.eps_bits), (100_000.0_f32.to_bits(), 1e-5_f32.to_bits()));
    let blocks = &imported.tensors.blocks;
    for (weights, grid, sum, l1, max_row_l1, weighted) in [
        (
            &imported.tensors.embedding,
            21,
            -32_197_667_967_i64,
            5_876_542_068_083_u64,
            252_408_212_u64,
            18_446_694_157_107_579_323_u64,
        ),
        (&blocks[0].down, 17, 19_744_132, 16_837_255_216, 63_155_376, 12_747_300_672),
        (&blocks[0].q, 16, 3_881_253, 4_154_680_851, 25_072_912, 679_828_128),
        (&blocks[29].v, 15, -772_184, 803_363_712, 5_317_384, 17_579_803),
    ] {
        let (mut row, mut sums) = (Vec::new(), (0_i64, 0_u64));
        for r in 0..weights.rows() {
            weights.row(r, &mut row);
            sums.0 += row.iter().sum::<i64>();
            let weight = |(column, &value): (u64, &i64)| value.cast_unsigned().wrapping_mul(column);
            sums.1 = (1..).zip(&row).map(weight).fold(sums.1, u64::wrapping_add);
        }
        assert_eq!(sums, (sum, weighted), "{}", weights.name());
        assert_eq!((weights.grid(), weights.max_row_l1()), (grid, max_row_l1), "{}", weights.name());
        assert_eq!((0..weights.rows()).map(|r| weights.row_l1(r)).sum::<u64>(), l1, "{}", weights.name());
    }
    let grids = blocks.iter().flat_map(|block| {
        let BlockTensors { q, k, v, o, gate, up, down, .. } = block;
        [q, k, v, o, gate, up, down].map(Weights::grid)
    });
    assert_eq!(grids.max(), Some(18));
    assert_eq!((imported.losses.len(), imported.tensor_digests.len()), (272, 272));
    let lossy: Vec<&Loss> = imported.losses.iter().filter(|loss| !loss.exact).collect();
    assert!(lossy.iter().all(|loss| loss.tensor.contains("norm") && loss.max_error_bits <= -16), "{lossy:?}");
}
