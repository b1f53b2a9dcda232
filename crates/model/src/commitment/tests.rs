//! The tokenizer's bytes and digest, which every commitment covers. Must not compute what it expects.

use protocol::encoding::Decoder;

use super::*;
use crate::import::{Architecture, AttentionScale, read_gguf};
use crate::synthetic::SyntheticModel;

/// Printed by the build before the bytes became public (2026-11-25): every commitment depends on them.
const DIGESTS: [(Architecture, &str); 4] = [
    (Architecture::Llama, "656683a240445cbe825fb4525960137bbeb9a8efe8a3e4e4c2fc64106fb18d1d"),
    (Architecture::Qwen2, "eb9c250b12c41aa688311d9a2f6c66218505a22e33d6d99fd046cbf0f9c08fe8"),
    (Architecture::Qwen3, "eb9c250b12c41aa688311d9a2f6c66218505a22e33d6d99fd046cbf0f9c08fe8"),
    (Architecture::Gemma3, "fa963990009fd1e6c240f0118160f57e45a3784037e1cf3b5082d39b623508d8"),
];

fn spec(architecture: Architecture) -> TokenizerSpec {
    read_gguf(SyntheticModel::tiny(architecture).gguf().into()).unwrap().tokenizer
}

#[test]
fn tokenizer_digests_stay_as_they_are() {
    for (architecture, digest) in DIGESTS {
        assert_eq!(hex::encode(tokenizer_digest(&spec(architecture))), digest, "{architecture:?}");
    }
}

#[test]
fn the_bundle_is_an_array_and_the_template_behind_it() {
    let spec = spec(Architecture::Llama);
    let bytes = encode_tokenizer(&spec);
    assert_eq!(blake3::hash(&bytes).as_bytes(), &tokenizer_digest(&spec));
    // An array of 16 items that begins with its tag.
    assert!(bytes.starts_with(&[&[0x90, 0x71][..], b"maxwell.tokenizer", &[1]].concat()));
    assert!(bytes.ends_with(spec.chat_template.unwrap().as_bytes()));
}

#[test]
fn configurations_read_back_and_others_are_refused() {
    for architecture in [Architecture::Llama, Architecture::Qwen2, Architecture::Qwen3, Architecture::Gemma3]
    {
        let config = read_gguf(SyntheticModel::tiny(architecture).gguf().into()).unwrap().config;
        let encode = |config: &ModelConfig| {
            let mut out = Encoder::new();
            encode_config(config, &mut out);
            out.into_bytes()
        };
        let decode = |config: &ModelConfig| decode_config(&mut Decoder::new(&encode(config)));
        assert_eq!(decode(&config), Ok(config.clone()), "{architecture:?}");
        let refused = |change: &dyn Fn(&mut ModelConfig)| {
            let mut config = config.clone();
            change(&mut config);
            assert!(decode(&config).is_err(), "{config:?}");
        };
        refused(&|config| config.blocks = 0);
        refused(&|config| config.width = 1 << 16);
        refused(&|config| config.kv_heads = config.heads + 1);
        refused(&|config| config.head_dim = 7);
        refused(&|config| config.rope_dim += 2);
        refused(&|config| config.vocab = u32::MAX);
        refused(&|config| config.eps_bits = 0x7fc0_0000);
        refused(&|config| config.eps_bits = 0xbf80_0000);
        refused(&|config| config.attention_scale = AttentionScale::InverseSqrt(0));
        let bytes = encode(&config);
        for length in 0..bytes.len() {
            assert!(decode_config(&mut Decoder::new(&bytes[..length])).is_err(), "{length} bytes");
        }
    }
}
