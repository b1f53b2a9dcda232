"""Writes fixtures/bpe.json: a small byte-level vocabulary, and what Hugging Face tokenizers makes of texts.

    python bpe.py MODEL.gguf > ../fixtures/bpe.json

MODEL is SmolLM2-135M-Instruct (Apache-2.0, HuggingFaceTB). The vocabulary is its control tokens, all bytes,
and its first 2000 merges; merges across the classes of characters that the pre-tokenizers keep apart, so that
a wrong cut shows; a few tokens that no merge makes, and a few user-defined ones.
Needs: gguf, tokenizers.
"""

import json
import sys

import gguf
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

from texts import texts

MERGES = 2000
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4
CLASSES = "0129", "aeStdmr", "Ġ", "ĊčĉÂłä", "'.!=;>$", "Ãðé", "_"
GPT_2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN_2 = LLAMA_3.replace("{1,3}", "")


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def byte_level(use_regex):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


# As in the tokenizer.json of a model of each kind; `default` is that of llama.cpp.
PRE_TOKENIZERS = {
    "smollm": [pre_tokenizers.Digits(individual_digits=True), byte_level(True)],
    "gpt-2": [byte_level(True)],
    "qwen2": [split(QWEN_2), byte_level(False)],
    "llama-bpe": [split(LLAMA_3), byte_level(False)],
    "default": [
        split(r"[\p{P}\$\+<=>\^~\|]+"), split(GPT_2), split(r"\p{N}+"), split("[0-9][0-9][0-9]"), byte_level(False),
    ],
}


def vocabulary(path):
    fields = gguf.GGUFReader(path).fields
    tokens, merges, types = (
        fields["tokenizer.ggml." + name].contents() for name in ("tokens", "merges", "token_type")
    )
    merges = merges[:MERGES]
    symbols = "".join(CLASSES)
    merges += [f"{left} {right}" for left in symbols for right in symbols]
    merges += ["00 0", "19 9", "12 2", "1 22", "ĊĊ Ċ", "Ġ ĊĊ", "ĊĊ ĊĊ", "Ġ ..", ".. .", "'t d", "Ġ 19", "Ċ ĠĊ"]
    merges = list(dict.fromkeys(merges))
    made = dict.fromkeys(merge.replace(" ", "") for merge in merges)
    small = [(token, kind) for token, kind in zip(tokens, types) if kind == CONTROL or len(token) == 1]
    known = {token for token, _ in small}
    small += [(token, NORMAL) for token in sorted(pre_tokenizers.ByteLevel.alphabet()) if token not in known]
    small += [(token, NORMAL) for token in made]
    small += [(token, NORMAL) for token in ("Ġunmergeable", "Ġjumps", "ä½łå¥½", "ĉĠĊĊ", "1999")]
    small += [(token, USER_DEFINED) for token in ("<tool>", "<tool>>", "\t\t\t")]
    assert len({token for token, _ in small}) == len(small), "a token is there twice"
    return small, merges


def tokenizer(pre, small, merges, added):
    vocab = {token: number for number, (token, _) in enumerate(small)}
    pairs = [tuple(merge.split(" ")) for merge in merges]
    made = Tokenizer(models.BPE(vocab=vocab, merges=pairs, ignore_merges=pre == "llama-bpe"))
    made.pre_tokenizer = pre_tokenizers.Sequence(PRE_TOKENIZERS[pre])
    for token, kind in small:
        if kind in added:
            made.add_tokens([AddedToken(token, special=kind == CONTROL, normalized=False)])
    return made


def main():
    small, merges = vocabulary(sys.argv[1])
    cases = texts(240, 1)
    expected = {}
    for pre in PRE_TOKENIZERS:
        parse = tokenizer(pre, small, merges, {CONTROL, USER_DEFINED})
        as_text = tokenizer(pre, small, merges, {USER_DEFINED})
        expected[pre] = {
            "parse": [parse.encode(text).ids for text in cases],
            # Most texts hold no control token; then both are equal.
            "as_text": {
                str(number): as_text.encode(text).ids
                for number, text in enumerate(cases)
                if as_text.encode(text).ids != parse.encode(text).ids
            },
        }
    fixture = {
        "tokens": [token for token, _ in small],
        "types": [kind for _, kind in small],
        "merges": merges,
        "texts": cases,
        "expected": expected,
    }
    json.dump(fixture, sys.stdout, ensure_ascii=True, separators=(",", ":"))
    print()


main()
