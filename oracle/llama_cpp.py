"""llama.cpp beside the engine: logits over pipes, and its speed. Never a reference for quality.

Reaches the C interface inside the xllamacpp wheel by ctypes. Everything else llama.cpp decides stays
at its defaults (float16 key-value cache, activations rounded to 8 bits, automatic flash attention).

    python llama_cpp.py MODEL.gguf                     # protocol of pipe.py
    python llama_cpp.py MODEL.gguf --bench --threads 2 # one JSON line on stdout
"""

import argparse
import ctypes
import importlib.metadata
import json
import os
import statistics
import sys
import time
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int, c_int8, c_int32, c_uint32, c_void_p
from pathlib import Path

import numpy as np

import pipe

# The parameter layouts below were checked against this build only; see `Context` for the checks.
WHEEL_VERSION = "2026.10.11549"
BATCH_TOKENS = 512
PREFILL_TOKENS = 256
PROMPT_TOKENS = 32
DECODE_TOKENS = 128
RUNS = 5
LOG_WARN, LOG_ERROR = 3, 4


class Parameters(ctypes.Structure):
    """llama_model_params or llama_context_params, by value. Larger than both: the callee reads its part."""

    _fields_ = [("words", c_uint32 * 256)]


class Batch(ctypes.Structure):
    """llama_batch: one entry per token in each array."""

    _fields_ = [
        ("n_tokens", c_int32),
        ("token", POINTER(c_int32)),
        ("embd", POINTER(c_float)),
        ("pos", POINTER(c_int32)),
        ("n_seq_id", POINTER(c_int32)),
        ("seq_id", POINTER(POINTER(c_int32))),
        ("logits", POINTER(c_int8)),
    ]


# Words 0..3 of llama_context_params (n_ctx, n_batch, n_ubatch, n_seq_max) and their defaults.
CONTEXT_DEFAULTS = [512, 2048, 512, 1]
LogCallback = ctypes.CFUNCTYPE(None, c_int, c_char_p, c_void_p)
SIGNATURES = {
    "llama_backend_init": (None, []),
    "llama_log_set": (None, [LogCallback, c_void_p]),
    "llama_version": (c_char_p, []),
    "ggml_version": (c_char_p, []),
    "llama_print_system_info": (c_char_p, []),
    "llama_model_default_params": (Parameters, []),
    "llama_context_default_params": (Parameters, []),
    "llama_model_load_from_file": (c_void_p, [c_char_p, Parameters]),
    "llama_init_from_model": (c_void_p, [c_void_p, Parameters]),
    "llama_model_get_vocab": (c_void_p, [c_void_p]),
    "llama_vocab_n_tokens": (c_int32, [c_void_p]),
    "llama_tokenize": (c_int32, [c_void_p, c_char_p, c_int32, POINTER(c_int32), c_int32, c_bool, c_bool]),
    "llama_n_ctx": (c_uint32, [c_void_p]),
    "llama_n_batch": (c_uint32, [c_void_p]),
    "llama_n_ubatch": (c_uint32, [c_void_p]),
    "llama_n_threads": (c_int32, [c_void_p]),
    "llama_set_n_threads": (None, [c_void_p, c_int32, c_int32]),
    "llama_get_memory": (c_void_p, [c_void_p]),
    "llama_memory_clear": (None, [c_void_p, c_bool]),
    "llama_batch_init": (Batch, [c_int32, c_int32, c_int32]),
    "llama_decode": (c_int32, [c_void_p, Batch]),
    "llama_get_logits_ith": (POINTER(c_float), [c_void_p, c_int32]),
}


@LogCallback
def log(level, text, _user_data):
    if level in (LOG_WARN, LOG_ERROR):
        sys.stderr.write(text.decode(errors="replace"))


def load_library():
    version = importlib.metadata.version("xllamacpp")
    if version != WHEEL_VERSION:
        sys.exit(f"xllamacpp {version} found; the layouts here were checked against {WHEEL_VERSION}")
    path = importlib.metadata.distribution("xllamacpp").locate_file("xllamacpp/xllamacpp.abi3.so")
    library = ctypes.CDLL(str(Path(path)))
    for name, (result, arguments) in SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.llama_log_set(log, None)
    library.llama_backend_init()
    return library


class Context:
    """One model, one sequence. `context_tokens` bounds its length."""

    def __init__(self, path, context_tokens, threads):
        self.c = c = load_library()
        model = c.llama_model_load_from_file(os.fsencode(path), c.llama_model_default_params())
        if not model:
            sys.exit(f"llama.cpp cannot load {path}")
        self.vocab = c.llama_model_get_vocab(model)
        self.vocabulary = c.llama_vocab_n_tokens(self.vocab)
        params = c.llama_context_default_params()
        check(params.words[:4], CONTEXT_DEFAULTS, "default context parameters")
        params.words[0] = context_tokens
        params.words[1] = BATCH_TOKENS
        self.context = c.llama_init_from_model(model, params)
        if not self.context:
            sys.exit("llama.cpp cannot make a context")
        c.llama_set_n_threads(self.context, threads, threads)
        check(c.llama_n_ctx(self.context) >= context_tokens, True, "context length")
        check(c.llama_n_batch(self.context), BATCH_TOKENS, "batch size")
        check(c.llama_n_ubatch(self.context), CONTEXT_DEFAULTS[2], "physical batch size")
        check(c.llama_n_threads(self.context), threads, "threads")
        self.batch = b = c.llama_batch_init(BATCH_TOKENS, 0, 1)
        present = [bool(p) for p in (b.token, b.embd, b.pos, b.n_seq_id, b.seq_id, b.logits)]
        check(present, [True, False, True, True, True, True], "batch layout")

    def clear(self):
        self.c.llama_memory_clear(self.c.llama_get_memory(self.context), True)

    def decode(self, ids, start, all_logits):
        """Appends at most BATCH_TOKENS ids at position `start`; logits of all of them or of the last."""
        batch, last = self.batch, len(ids) - 1
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i] = token
            batch.pos[i] = start + i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = all_logits or i == last
        status = self.c.llama_decode(self.context, batch)
        if status != 0:
            sys.exit(f"llama_decode at position {start} failed with status {status}")

    def row(self, i):
        """Logits of entry i of the last batch; valid until the next decode."""
        return np.ctypeslib.as_array(self.c.llama_get_logits_ith(self.context, i), (self.vocabulary,))

    def logits(self, ids):
        """Yields float32 blocks of (positions, vocabulary) for one sequence from position 0."""
        self.clear()
        ids = [int(i) for i in ids]
        for start in range(0, len(ids), BATCH_TOKENS):
            part = ids[start : start + BATCH_TOKENS]
            self.decode(part, start, True)
            yield np.stack([self.row(i) for i in range(len(part))])

    def tokenize(self, text, special=False):
        """Token ids of `text`, without a begin token; `special` reads <|..|> as control tokens."""
        data = text.encode()
        out = (c_int32 * (len(data) + 1))()
        count = self.c.llama_tokenize(self.vocab, data, len(data), out, len(out), False, special)
        if count < 0:
            sys.exit("llama_tokenize failed")
        return list(out[:count])


def check(found, expected, what):
    if found != expected:
        sys.exit(f"{what}: found {found}, expected {expected}; this build has another layout")


def prefill_speed(context, ids):
    context.clear()
    begin = time.perf_counter()
    context.decode(ids, 0, False)
    context.row(len(ids) - 1)
    return len(ids) / (time.perf_counter() - begin)


def decode_speed(context, prompt):
    context.clear()
    context.decode(prompt, 0, False)
    token = int(context.row(len(prompt) - 1).argmax())
    begin = time.perf_counter()
    for i in range(DECODE_TOKENS):
        context.decode([token], len(prompt) + i, False)
        token = int(context.row(0).argmax())
    return DECODE_TOKENS / (time.perf_counter() - begin)


def bench(context, threads):
    """Tokens per second; the first run of each kind is a warm-up and is dropped."""
    ids = [(7919 * i + 1) % context.vocabulary for i in range(PREFILL_TOKENS)]
    load_before = os.getloadavg()[0]
    prefill = [prefill_speed(context, ids) for _ in range(RUNS + 1)][1:]
    decode = [decode_speed(context, ids[:PROMPT_TOKENS]) for _ in range(RUNS + 1)][1:]

    def summary(runs):
        runs = [round(x, 2) for x in runs]
        return {"median": statistics.median(runs), "runs": runs}

    return {
        "threads": threads,
        "prefill_tokens": PREFILL_TOKENS,
        "prefill_tok_s": summary(prefill),
        "prompt_tokens": PROMPT_TOKENS,
        "decode_tokens": DECODE_TOKENS,
        "decode_tok_s": summary(decode),
        "load_1min": [load_before, os.getloadavg()[0]],
        "build": {
            "xllamacpp": WHEEL_VERSION,
            "llama": context.c.llama_version().decode(),
            "ggml": context.c.ggml_version().decode(),
            "system": context.c.llama_print_system_info().decode().strip(" |"),
        },
    }


def main():
    parser = argparse.ArgumentParser(description="llama.cpp logits over pipes, or its speed")
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--context", type=int, default=4096, help="longest sequence, tokens")
    parser.add_argument("--bench", action="store_true", help="print speeds as JSON")
    args = parser.parse_args()
    context = Context(args.model, args.context, args.threads)
    if args.bench:
        print(json.dumps(bench(context, args.threads)), flush=True)
    else:
        pipe.serve(context.vocabulary, args.context, context.logits)


if __name__ == "__main__":
    main()
