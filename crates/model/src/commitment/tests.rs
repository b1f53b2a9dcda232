//! The tokenizer's bytes and digest, which every commitment covers. Must not compute what it expects.

use super::*;
use crate::import::{Architecture, read_gguf};
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
