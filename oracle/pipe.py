"""The pipe protocol both model oracles speak. All numbers little-endian.

Request on stdin:  u32 n, then n u32 token ids: one sequence, from position 0. n = 0 ends.
Answer on stdout:  u32 vocabulary, then n * vocabulary float32: raw logits of every position.
Messages go to stderr. A wrong request ends the process with exit code 1.
"""

import sys

import numpy as np


def read_exactly(stream, count):
    data = stream.read(count)
    if len(data) != count:
        sys.exit(f"stdin ended after {len(data)} of {count} bytes")
    return data


def serve(vocabulary, tokens_max, logits_of):
    """`logits_of(ids)` yields float32 blocks of (some positions, vocabulary), in order."""
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    while True:
        count = int.from_bytes(read_exactly(stdin, 4), "little")
        if count == 0:
            return
        if count > tokens_max:
            sys.exit(f"{count} tokens in one sequence; this oracle takes at most {tokens_max}")
        ids = np.frombuffer(read_exactly(stdin, 4 * count), dtype="<u4")
        if ids.max() >= vocabulary:
            sys.exit(f"token id {ids.max()} is outside the vocabulary of {vocabulary}")
        stdout.write(vocabulary.to_bytes(4, "little"))
        for block in logits_of(ids):
            stdout.write(np.ascontiguousarray(block, dtype="<f4").tobytes())
        stdout.flush()
