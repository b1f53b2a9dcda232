//! Small vocabularies: all bytes, a few merges, the control tokens of ChatML.

use super::writer::{Encoded, GgufWriter};
use crate::import::Architecture;

/// ChatML.
pub const CHAT_TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + \
                                 message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}\
                                 {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// The two kinds of tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VocabularyKind {
    /// Byte-level BPE (`tokenizer.ggml.model` = gpt2).
    ByteLevel,
    /// SentencePiece BPE with byte fallback (`tokenizer.ggml.model` = llama).
    SentencePiece,
}

const CONTROL: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
/// Pairs in the order in which they merge; a leading space is written `_`.
const MERGES: [(&str, &str); 20] = [
    ("_", "t"),
    ("h", "e"),
    ("_t", "he"),
    ("_", "a"),
    ("i", "n"),
    ("r", "e"),
    ("o", "n"),
    ("e", "r"),
    ("_", "s"),
    ("n", "d"),
    ("_a", "nd"),
    ("i", "s"),
    ("_", "is"),
    ("o", "u"),
    ("_", "w"),
    ("l", "l"),
    ("a", "t"),
    ("in", "g"),
    ("_", "in"),
    ("he", "ll"),
];
/// ggml's token types.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL_TYPE: i32 = 3;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

impl VocabularyKind {
    /// The smallest vocabulary that holds all bytes, merges and control tokens.
    pub fn least_size(self) -> u32 {
        self.tokens().len() as u32
    }

    /// Tokens and their types.
    fn tokens(self) -> Vec<(String, i32)> {
        let mut tokens = Vec::new();
        let merged = MERGES.map(|(left, right)| format!("{left}{right}"));
        match self {
            VocabularyKind::ByteLevel => {
                tokens.extend(CONTROL.map(|token| (token.to_owned(), CONTROL_TYPE)));
                tokens.extend((0..=255).map(|byte| (byte_letter(byte).to_string(), NORMAL)));
                tokens.extend(merged.map(|token| (token.replace('_', "Ġ"), NORMAL)));
            }
            VocabularyKind::SentencePiece => {
                tokens.push(("<unk>".to_owned(), UNKNOWN));
                tokens.extend(["<s>", "</s>"].map(|token| (token.to_owned(), CONTROL_TYPE)));
                tokens.extend((0..=255).map(|byte| (format!("<0x{byte:02X}>"), BYTE)));
                tokens.extend(CONTROL.map(|token| (token.to_owned(), CONTROL_TYPE)));
                tokens.extend(merged.map(|token| (token.replace('_', "▁"), NORMAL)));
                tokens.push(("▁".to_owned(), NORMAL));
                tokens.extend((b'!'..=b'~').map(|letter| (char::from(letter).to_string(), NORMAL)));
            }
        }
        tokens
    }

    /// Writes the `tokenizer.*` entries, padded with unused tokens.
    pub(super) fn write(self, writer: &mut GgufWriter, architecture: Architecture, size: u32) {
        assert!(size >= self.least_size(), "a vocabulary of {size}");
        let (mut texts, mut types): (Vec<_>, Vec<_>) = self.tokens().into_iter().unzip();
        let used = texts.len();
        texts.extend((used..size as usize).map(|id| format!("<|unused{id}|>")));
        types.resize(size as usize, UNUSED);
        let mut entry = |key: &str, value| writer.entry(&format!("tokenizer.{key}"), value);
        match self {
            VocabularyKind::ByteLevel => {
                let pre = if architecture == Architecture::Llama { "smollm" } else { "qwen2" };
                let merges = MERGES.map(|(left, right)| format!("{left} {right}").replace('_', "Ġ"));
                entry("ggml.model", Encoded::text("gpt2"));
                entry("ggml.pre", Encoded::text(pre));
                entry("ggml.merges", Encoded::texts(&merges));
                entry("ggml.bos_token_id", Encoded::u32(1));
                entry("ggml.eos_token_id", Encoded::u32(2));
                entry("ggml.padding_token_id", Encoded::u32(0));
                entry("ggml.add_bos_token", Encoded::boolean(false));
            }
            VocabularyKind::SentencePiece => {
                // A merge made earlier has the higher score: -1, -2, ..; all others 0 or below them.
                let first_merge = 3 + 256 + CONTROL.len();
                let score = |id: usize| if id < first_merge { 0 } else { -((id - first_merge) as i32) - 1 };
                let scores: Vec<u32> = (0..size as usize).map(|id| f32_bits(score(id))).collect();
                entry("ggml.model", Encoded::text("llama"));
                entry("ggml.pre", Encoded::text("default"));
                entry("ggml.scores", Encoded::f32s(&scores));
                entry("ggml.bos_token_id", Encoded::u32(1));
                entry("ggml.eos_token_id", Encoded::u32(2));
                entry("ggml.unknown_token_id", Encoded::u32(0));
                entry("ggml.add_bos_token", Encoded::boolean(true));
                entry("ggml.add_space_prefix", Encoded::boolean(architecture != Architecture::Gemma3));
            }
        }
        entry("ggml.tokens", Encoded::texts(&texts));
        entry("ggml.token_type", Encoded::i32s(&types));
        entry("chat_template", Encoded::text(CHAT_TEMPLATE));
    }
}

/// GPT-2's letter for a byte: printable Latin-1 stands for itself, the other 68 for U+0100 and on.
fn byte_letter(byte: u8) -> char {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if printable(&byte) {
        return char::from(byte);
    }
    let rank = (0..byte).filter(|byte| !printable(byte)).count() as u32;
    char::from_u32(0x100 + rank).expect("U+0100 to U+0143 are letters")
}

/// The binary32 of an integer of at most 24 bits.
fn f32_bits(value: i32) -> u32 {
    match value.unsigned_abs().checked_ilog2() {
        None => 0,
        Some(top) => {
            let fraction = (value.unsigned_abs() << (23 - top)) & 0x7f_ffff;
            u32::from(value < 0) << 31 | (127 + top) << 23 | fraction
        }
    }
}
