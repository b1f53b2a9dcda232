"""How far llama.cpp is from the float reference: the check that both oracles work.

Starts both over pipes, as the workspace does. Prints a greedy chat answer of each, then perplexities,
mean KL(reference || llama.cpp) and top-1 agreement on the first tokens of a text.

    python compare.py MODEL.gguf --text FILE [--tokens 512] [--sequence 512] [--float64]
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from gguf import GGUFReader

import llama_cpp

HERE = Path(__file__).parent
QUESTION = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
ANSWER_TOKENS_MAX = 16


class Oracle:
    """A child process that answers logits."""

    def __init__(self, script, *arguments):
        command = [sys.executable, HERE / script, *arguments]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def logits(self, ids):
        self.child.stdin.write(np.array([len(ids), *ids], dtype="<u4").tobytes())
        self.child.stdin.flush()
        vocabulary = int.from_bytes(self.child.stdout.read(4), "little")
        data = self.child.stdout.read(4 * vocabulary * len(ids))
        return np.frombuffer(data, dtype="<f4").reshape(len(ids), vocabulary)

    def close(self):
        self.child.stdin.write(bytes(4))
        self.child.stdin.close()
        if self.child.wait() != 0:
            sys.exit("an oracle failed")

    def greedy(self, ids, end):
        answer = []
        while len(answer) < ANSWER_TOKENS_MAX and end not in answer:
            answer.append(int(self.logits(ids + answer)[-1].argmax()))
        return answer


def log_softmax(logits):
    x = logits.astype(np.float64)
    x -= x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def compare(reference, other, other_name, sequences):
    """Every position that predicts a token of its own sequence counts once."""
    loss, kl, same, seconds = [[], []], [], [], [0.0, 0.0]
    for ids in sequences:
        rows = []
        for i, oracle in enumerate((reference, other)):
            begin = time.perf_counter()
            logits = oracle.logits(ids)
            seconds[i] += time.perf_counter() - begin
            rows.append(log_softmax(logits[:-1]))
            loss[i] += list(-rows[i][np.arange(len(ids) - 1), ids[1:]])
        p, q = rows
        kl += list((np.exp(p) * (p - q)).sum(axis=-1))
        same += list(p.argmax(axis=-1) == q.argmax(axis=-1))
    first, second = np.exp(np.mean(loss[0])), np.exp(np.mean(loss[1]))
    tokens = sum(len(ids) for ids in sequences)
    print(f"predicted tokens          {len(kl)}")
    print(f"perplexity                reference {first:.4f}, {other_name} {second:.4f} ({second / first - 1:+.3%})")
    print(f"{f'KL(reference||{other_name})':<26}mean {np.mean(kl):.3e}, p99 {np.quantile(kl, 0.99):.3e}, max {np.max(kl):.3e}")
    print(f"top-1 agreement           {np.mean(same):.2%}")
    print(f"tokens per second         reference {tokens / seconds[0]:.0f}, {other_name} {tokens / seconds[1]:.0f} (all logits, cold start)")


def main():
    parser = argparse.ArgumentParser(description="llama.cpp against the float reference")
    parser.add_argument("model")
    parser.add_argument("--text", required=True, type=Path)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--sequence", type=int, default=512, help="tokens per sequence")
    parser.add_argument("--float64", action="store_true", help="float64 reference in place of llama.cpp")
    args = parser.parse_args()
    tokenizer = llama_cpp.Context(args.model, 512, 1)
    words = GGUFReader(args.model).get_field("tokenizer.ggml.tokens").contents()
    reference = Oracle("float_reference.py", args.model)
    if args.float64:
        other, other_name = Oracle("float_reference.py", args.model, "--float64"), "float64"
    else:
        other, other_name = Oracle("llama_cpp.py", args.model, "--context", str(args.sequence)), "llama.cpp"
    question = tokenizer.tokenize(QUESTION, special=True)
    end = tokenizer.tokenize("<|im_end|>", special=True)[0]
    for name, oracle in (("reference", reference), (other_name, other)):
        answer = oracle.greedy(question, end)
        print(f"{name + ' says':<26}{''.join(words[i] for i in answer).replace('Ġ', ' ')}")
    ids = tokenizer.tokenize(args.text.read_text())[: args.tokens]
    sequences = [ids[i : i + args.sequence] for i in range(0, len(ids), args.sequence)]
    compare(reference, other, other_name, sequences)
    reference.close()
    other.close()


if __name__ == "__main__":
    main()
