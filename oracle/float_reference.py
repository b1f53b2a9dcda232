"""Float32 forward pass in numpy on dequantized GGUF weights: the reference for quality figures.

Shares no code with the workspace and none with llama.cpp. Architectures: llama, qwen2, qwen3, gemma3.
Activations are never rounded below float32. Speaks the protocol of pipe.py.

    python float_reference.py MODEL.gguf            # OPENBLAS_NUM_THREADS=2 unless set
    python float_reference.py MODEL.gguf --float64  # how far is float32 itself from exact?
"""

import argparse
import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "2")  # numpy reads it while it is imported

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

import pipe

TOKENS_MAX = 1 << 16
QUERY_BLOCK = 256  # queries per attention matmul
LOGITS_BLOCK = 256  # positions per lm_head matmul
GEMMA3_PERIOD = 6  # five sliding-window blocks, then one global
GEMMA3_LOCAL_BASE = 10000.0
GEMMA3_27B_BLOCKS = 62  # the only size that scales scores by embedding_length / head_count
TENSORS = {
    f"{name}.{kind}"
    for name in "attn_q attn_k attn_v attn_output ffn_gate ffn_up ffn_down".split()
    for kind in ("weight", "bias")
} | {
    f"{name}.weight"
    for name in "attn_norm ffn_norm attn_q_norm attn_k_norm post_attention_norm post_ffw_norm".split()
}
GLOBAL_TENSORS = {"token_embd.weight", "output.weight", "output_norm.weight", "rope_freqs.weight"}


class Config:
    """Shapes and constants from the GGUF metadata."""

    def __init__(self, reader):
        def get(key, default=None):
            field = reader.get_field(f"{arch}.{key}")
            if field is None and default is None:
                sys.exit(f"metadata key {arch}.{key} is missing")
            return default if field is None else field.contents()

        self.arch = arch = reader.get_field("general.architecture").contents()
        if arch not in ("llama", "qwen2", "qwen3", "gemma3"):
            sys.exit(f"architecture {arch} is not supported")
        for key in ("expert_count", "attention.scale", "logit_scale", "final_logit_softcapping"):
            if get(key, 0):
                sys.exit(f"metadata key {arch}.{key} is set; not supported")
        self.blocks = get("block_count")
        self.width = get("embedding_length")
        self.heads = get("attention.head_count")
        self.kv_heads = get("attention.head_count_kv", self.heads)
        self.head_dim = get("attention.key_length", self.width // self.heads)
        if get("attention.value_length", self.head_dim) != self.head_dim:
            sys.exit("value_length differs from key_length; not supported")
        self.eps = get("attention.layer_norm_rms_epsilon")
        self.rotated = get("rope.dimension_count", self.head_dim)
        self.base = get("rope.freq_base", 10000.0)
        scaling = get("rope.scaling.type", "none")
        if scaling not in ("none", "linear"):
            sys.exit(f"rope scaling {scaling} is not supported")
        self.position_scale = 1 / get("rope.scaling.factor", 1.0) if scaling == "linear" else 1.0
        self.interleaved = arch == "llama"
        self.score_scale = self.head_dim**-0.5
        self.window = None
        if arch == "gemma3":
            self.window = get("attention.sliding_window")
            self.local_base = get("rope.freq_base_swa", GEMMA3_LOCAL_BASE)
            if get("attention.sliding_window_pattern", GEMMA3_PERIOD) != GEMMA3_PERIOD:
                sys.exit("sliding_window_pattern other than 6 is not supported")
            if self.blocks == GEMMA3_27B_BLOCKS:
                self.score_scale = (self.width / self.heads) ** -0.5

    def is_local(self, block):
        return self.window is not None and block % GEMMA3_PERIOD < GEMMA3_PERIOD - 1


class Model:
    def __init__(self, path, dtype=np.float32):
        reader = GGUFReader(path)
        self.config = Config(reader)
        self.dtype = dtype
        self.weights = {}
        for tensor in reader.tensors:
            name = tensor.name
            known = name in GLOBAL_TENSORS or (name.startswith("blk.") and name.split(".", 2)[2] in TENSORS)
            if not known:
                sys.exit(f"tensor {name} is not part of the supported architectures")
            shape = [int(n) for n in reversed(tensor.shape)]
            weights = dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
            self.weights[name] = weights.reshape(shape).astype(dtype, copy=False)
        self.vocabulary = self.weights["token_embd.weight"].shape[0]

    def linear(self, x, name):
        y = x @ self.weights[f"{name}.weight"].T
        bias = self.weights.get(f"{name}.bias")
        return y if bias is None else y + bias

    def rms_norm(self, x, name):
        """Normalizes the last axis; the identity if the architecture lacks this norm."""
        weight = self.weights.get(f"{name}.weight")
        if weight is None:
            return x
        mean_square = np.mean(x * x, axis=-1, keepdims=True)
        return x / np.sqrt(mean_square + self.dtype(self.config.eps)) * weight

    def rope_table(self, count, base, position_scale):
        """cos and sin of (position, pair), computed in float64."""
        dim = self.config.rotated
        frequency = base ** (-np.arange(0, dim, 2, dtype=np.float64) / dim)
        if "rope_freqs.weight" in self.weights:
            frequency = frequency / self.weights["rope_freqs.weight"]
        angle = np.arange(count, dtype=np.float64)[:, None] * frequency * position_scale
        return np.cos(angle).astype(self.dtype)[:, None], np.sin(angle).astype(self.dtype)[:, None]

    def rotate(self, x, table):
        """RoPE on (position, head, dim): pairs (2i, 2i+1) for llama, (i, i + dim/2) for the others."""
        cos, sin = table
        dim = self.config.rotated
        if self.config.interleaved:
            first, second = slice(0, dim, 2), slice(1, dim, 2)
        else:
            first, second = slice(0, dim // 2), slice(dim // 2, dim)
        a, b = x[..., first], x[..., second]
        y = x.copy()
        y[..., first] = a * cos - b * sin
        y[..., second] = a * sin + b * cos
        return y

    def attention(self, x, block, table, window):
        c, name = self.config, f"blk.{block}"
        count = len(x)
        q = self.linear(x, f"{name}.attn_q").reshape(count, c.heads, c.head_dim)
        k = self.linear(x, f"{name}.attn_k").reshape(count, c.kv_heads, c.head_dim)
        v = self.linear(x, f"{name}.attn_v").reshape(count, c.kv_heads, c.head_dim)
        q = self.rotate(self.rms_norm(q, f"{name}.attn_q_norm"), table)
        k = self.rotate(self.rms_norm(k, f"{name}.attn_k_norm"), table)
        group = c.heads // c.kv_heads  # query heads that share one key head
        out = np.empty_like(q)
        for start in range(0, count, QUERY_BLOCK):
            stop = min(start + QUERY_BLOCK, count)
            low = 0 if window is None else max(0, start - window + 1)
            distance = np.arange(start, stop)[:, None] - np.arange(low, stop)
            hidden = (distance < 0) if window is None else (distance < 0) | (distance >= window)
            for h in range(c.kv_heads):
                heads = slice(h * group, (h + 1) * group)
                scores = q[start:stop, heads].transpose(1, 0, 2) @ k[low:stop, h].T
                scores *= self.dtype(c.score_scale)
                scores[:, hidden] = -np.inf
                scores -= scores.max(axis=-1, keepdims=True)
                np.exp(scores, out=scores)
                scores /= scores.sum(axis=-1, keepdims=True)
                out[start:stop, heads] = (scores @ v[low:stop, h]).transpose(1, 0, 2)
        return self.linear(out.reshape(count, c.heads * c.head_dim), f"{name}.attn_output")

    def activate(self, x):
        """GELU (tanh form) for gemma3, SiLU for the others."""
        if self.config.arch == "gemma3":
            inner = self.dtype(np.sqrt(2 / np.pi)) * (x + self.dtype(0.044715) * x * x * x)
            return self.dtype(0.5) * x * (1 + np.tanh(inner))
        with np.errstate(over="ignore"):  # exp(-x) = inf gives the right answer, 0
            return x / (1 + np.exp(-x))

    def feed_forward(self, x, block):
        name = f"blk.{block}"
        gate = self.activate(self.linear(x, f"{name}.ffn_gate"))
        return self.linear(gate * self.linear(x, f"{name}.ffn_up"), f"{name}.ffn_down")

    def logits(self, ids):
        """Yields float blocks of (positions, vocabulary) for one sequence from position 0."""
        c = self.config
        x = self.weights["token_embd.weight"][ids]
        if c.arch == "gemma3":
            x = x * self.dtype(np.sqrt(c.width))
        tables = {False: self.rope_table(len(ids), c.base, c.position_scale)}
        if c.window is not None:
            tables[True] = self.rope_table(len(ids), c.local_base, 1.0)
        for block in range(c.blocks):
            name, local = f"blk.{block}", c.is_local(block)
            y = self.rms_norm(x, f"{name}.attn_norm")
            y = self.attention(y, block, tables[local], c.window if local else None)
            x = x + self.rms_norm(y, f"{name}.post_attention_norm")
            y = self.feed_forward(self.rms_norm(x, f"{name}.ffn_norm"), block)
            x = x + self.rms_norm(y, f"{name}.post_ffw_norm")
        x = self.rms_norm(x, "output_norm")
        head = "output" if "output.weight" in self.weights else "token_embd"
        for start in range(0, len(x), LOGITS_BLOCK):
            yield self.linear(x[start : start + LOGITS_BLOCK], head)


def main():
    parser = argparse.ArgumentParser(description="float reference logits over pipes")
    parser.add_argument("model")
    parser.add_argument("--float64", action="store_true", help="compute in float64, answer in float32")
    args = parser.parse_args()
    model = Model(args.model, np.float64 if args.float64 else np.float32)
    print(f"{model.config.arch}, {model.config.blocks} blocks, ready", file=sys.stderr)
    pipe.serve(model.vocabulary, TOKENS_MAX, model.logits)


if __name__ == "__main__":
    main()
