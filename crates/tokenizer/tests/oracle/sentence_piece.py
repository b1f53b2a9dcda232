"""Writes fixtures/sentence_piece.json: small SentencePiece models of type BPE, and what becomes of texts.

    python sentence_piece.py > ../fixtures/sentence_piece.json

The models are trained here on some texts of texts.py. Plain texts are encoded by SentencePiece itself; all
texts, with control tokens, by llama.cpp, which puts a space before each text that follows a special token.
Needs: sentencepiece, and what llama_cpp.py needs.
"""

import io
import json
import random
import struct
import sys

import sentencepiece

import llama_cpp
from texts import CODE, ENGLISH, SCRIPTS, SPACES, SPECIAL, texts

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
CONTROLS = ["<|im_start|>", "<|im_end|>"]
# Found by the converter, not by SentencePiece, so it is put in afterwards.
ADDED = [("<tool>", USER_DEFINED), ("<tool>>", USER_DEFINED), ("\t\t\t", USER_DEFINED)]


def training_texts():
    rng = random.Random(2)
    atoms = ENGLISH * 4 + CODE + SCRIPTS[:4] + SPACES[:4]
    return ["".join(rng.choice(atoms) for _ in range(rng.randint(1, 4))) for _ in range(3000)]


def train(byte_fallback, vocabulary):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(training_texts()),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocabulary,
        byte_fallback=byte_fallback,
        character_coverage=0.98,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=True,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        max_sentencepiece_length=12,
        control_symbols=CONTROLS,
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def kind(model, number):
    if model.is_unknown(number):
        return UNKNOWN
    if model.is_control(number):
        return CONTROL
    if model.is_byte(number):
        return BYTE
    return UNUSED if model.is_unused(number) else NORMAL


def score_bits(score):
    return struct.unpack("<I", struct.pack("<f", score))[0]


def case(model, space, cases, with_llama_cpp, ties):
    numbers = range(model.vocab_size())
    # Scores of a trained model are all different; equal ones must be merged from the left.
    scores = [model.get_score(number) // (8 if ties else 1) for number in numbers] + [0.0] * len(ADDED)
    spec = {
        "model": "llama",
        "tokens": [model.id_to_piece(number) for number in numbers] + [name for name, _ in ADDED],
        "types": [kind(model, number) for number in numbers] + [added for _, added in ADDED],
        "scores": scores,
        "bos": model.bos_id(),
        "eos": model.eos_id(),
        "unknown": model.unk_id(),
        "add_bos": with_llama_cpp,
        "add_space_prefix": space,
    }
    found = {"with": spec}
    if space and not ties:
        plain = [number for number, text in enumerate(cases) if not any(name in text for name in SPECIAL)]
        found["sentencepiece"] = {number: model.encode(cases[number]) for number in plain}
    if with_llama_cpp:
        asked = [(text, parse) for text in cases for parse in (True, False)]
        ids = llama_cpp.encode(spec, asked)
        found["parse"], found["as_text"] = ids[0::2], ids[1::2]
    spec["score_bits"] = [score_bits(score) for score in spec.pop("scores")]
    return found


def main():
    cases = texts(180, 3)
    with_bytes, without_bytes = train(True, 700), train(False, 420)
    found = [
        case(with_bytes, True, cases, True, False),
        case(with_bytes, False, cases, True, True),
        case(without_bytes, True, cases, False, False),
    ]
    json.dump({"texts": cases, "models": found}, sys.stdout, ensure_ascii=True, separators=(",", ":"))
    print()


main()
