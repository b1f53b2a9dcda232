//! Cuts a text into the words that byte-pair encoding works on, as the models in use were trained. It must
//! never drop a byte, and never take more than linear time.

use fancy_regex::Regex;

use crate::Error;

/// One way to cut, under the names that GGUF files use for it.
struct PreTokenizer {
    names: &'static [&'static str],
    /// Each one cuts the words of the one before it: a match is a word, and so is what lies between matches.
    cuts: &'static [Cut],
    /// Whether a word that is a token stays whole, whatever the merges say.
    ignore_merges: bool,
}

/// One regular expression.
///
/// The published expressions end in `\s+(?!\S)|\s+`: of the white space before a word all but the last
/// character. Looking ahead needs an engine that backtracks, so the expressions here end in `\s+`, and
/// [`Splitter`] gives the last character back.
struct Cut {
    pattern: &'static str,
    /// Whether white space up to a line break is a word of its own (`\s*[\r\n]+`), which gives nothing back.
    line_breaks: bool,
}

const GPT_2: Cut =
    Cut { pattern: r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+", line_breaks: false };

/// Published with each model in `tokenizer.json`, and in llama.cpp (`llm_tokenizer_bpe`) by these names.
const PRE_TOKENIZERS: &[PreTokenizer] = &[
    PreTokenizer { names: &["gpt-2"], cuts: &[GPT_2], ignore_merges: false },
    PreTokenizer {
        names: &["smollm"],
        cuts: &[Cut { pattern: r"\p{N}", line_breaks: false }, GPT_2],
        ignore_merges: false,
    },
    PreTokenizer {
        names: &["qwen2", "deepseek-r1-qwen"],
        cuts: &[Cut {
            pattern: r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+",
            line_breaks: true,
        }],
        ignore_merges: false,
    },
    PreTokenizer {
        names: &["llama-bpe", "llama3", "llama-v3"],
        cuts: &[Cut {
            pattern: r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+",
            line_breaks: true,
        }],
        ignore_merges: true,
    },
    PreTokenizer {
        names: &["default"],
        cuts: &[
            Cut { pattern: r"[\p{P}\$\+<=>\^~\|]+", line_breaks: false },
            GPT_2,
            Cut { pattern: r"\p{N}+", line_breaks: false },
            Cut { pattern: r"[0-9][0-9][0-9]", line_breaks: false },
        ],
        ignore_merges: false,
    },
];

/// The values of `tokenizer.ggml.pre` that are implemented.
pub fn known_pre_tokenizers() -> impl Iterator<Item = &'static str> {
    PRE_TOKENIZERS.iter().flat_map(|pre| pre.names).copied()
}

/// Cuts texts in one of the known ways.
#[derive(Debug)]
pub(crate) struct Splitter {
    cuts: Vec<(Regex, bool)>,
    /// Whether a word that is a token stays whole, whatever the merges say.
    pub(crate) ignore_merges: bool,
}

impl Splitter {
    pub(crate) fn new(name: &str) -> Result<Self, Error> {
        let Some(pre) = PRE_TOKENIZERS.iter().find(|pre| pre.names.contains(&name)) else {
            let name = name.chars().take(MAX_QUOTED_CHARS).collect();
            let known = known_pre_tokenizers().collect::<Vec<_>>().join(", ");
            return Err(Error::UnknownPreTokenizer { name, known });
        };
        let regex = |cut: &Cut| Regex::new(cut.pattern).expect("the patterns are constants of this file");
        let cuts = pre.cuts.iter().map(|cut| (regex(cut), cut.line_breaks)).collect();
        Ok(Self { cuts, ignore_merges: pre.ignore_merges })
    }

    /// Calls `word` with each word of `text`, in order. Together they are the text.
    pub(crate) fn split(
        &self,
        text: &str,
        word: &mut impl FnMut(&str) -> Result<(), Error>,
    ) -> Result<(), Error> {
        split_by(&self.cuts, text, word)
    }
}

/// Longest part of a foreign name that an error quotes.
const MAX_QUOTED_CHARS: usize = 64;

fn split_by(
    cuts: &[(Regex, bool)],
    text: &str,
    word: &mut dyn FnMut(&str) -> Result<(), Error>,
) -> Result<(), Error> {
    let Some(((regex, line_breaks), finer)) = cuts.split_first() else {
        return if text.is_empty() { Ok(()) } else { word(text) };
    };
    let mut done = 0;
    while done < text.len() {
        let found =
            regex.find_from_pos(text, done).map_err(|error| Error::Split { message: error.to_string() })?;
        let Some(found) = found.filter(|found| !found.as_str().is_empty()) else { break };
        let matched = &found.as_str()[..kept_bytes(found.as_str(), found.end() == text.len(), *line_breaks)];
        split_by(finer, &text[done..found.start()], word)?;
        split_by(finer, matched, word)?;
        done = found.start() + matched.len();
    }
    split_by(finer, &text[done..], word)
}

/// How much of a match is its word: all, unless it is white space before something else; then all but the last
/// character, if that leaves any.
fn kept_bytes(matched: &str, at_end: bool, line_breaks: bool) -> usize {
    let Some(last) = matched.chars().next_back() else { return 0 };
    let at_line_break = line_breaks && matches!(last, '\r' | '\n');
    let rest = matched.len() - last.len_utf8();
    if at_end
        || rest == 0
        || at_line_break
        || !last.is_whitespace()
        || matched.chars().any(|c| !c.is_whitespace())
    {
        return matched.len();
    }
    rest
}
