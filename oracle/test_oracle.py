"""Tests of the oracles against each other and against libm. Offline and seeded; no model file needed.

    python -m unittest -v test_oracle
"""

import math
import tempfile
import unittest
from decimal import Decimal
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, RopeScalingType

import float_reference
import llama_cpp
import tables

SEED = 1
VOCABULARY, WIDTH, HEADS, KV_HEADS, HIDDEN, BLOCKS = 96, 64, 4, 2, 96, 7
WINDOW = 8
TOKENS = 300  # more than one query block
# llama.cpp keeps float16 keys, values and GELU tables; a wrong rotation or norm is off by more than 0.1.
RELATIVE_ERROR_MAX = 1e-2


def head_dim(arch):
    return WIDTH // HEADS if arch == "qwen2" else 2 * WIDTH // HEADS


def shapes(arch):
    """Tensor shapes of one block."""
    inner, kv = HEADS * head_dim(arch), KV_HEADS * head_dim(arch)
    out = {
        "attn_norm.weight": [WIDTH],
        "ffn_norm.weight": [WIDTH],
        "attn_q.weight": [inner, WIDTH],
        "attn_k.weight": [kv, WIDTH],
        "attn_v.weight": [kv, WIDTH],
        "attn_output.weight": [WIDTH, inner],
        "ffn_gate.weight": [HIDDEN, WIDTH],
        "ffn_up.weight": [HIDDEN, WIDTH],
        "ffn_down.weight": [WIDTH, HIDDEN],
    }
    if arch == "qwen2":
        out |= {"attn_q.bias": [inner], "attn_k.bias": [kv], "attn_v.bias": [kv]}
    if arch in ("qwen3", "gemma3"):
        out |= {"attn_q_norm.weight": [head_dim(arch)], "attn_k_norm.weight": [head_dim(arch)]}
    if arch == "gemma3":
        out |= {"post_attention_norm.weight": [WIDTH], "post_ffw_norm.weight": [WIDTH]}
    return out


def write_model(path, arch):
    """A random float32 model: large enough weights that every part changes the logits."""
    random = np.random.default_rng(SEED)
    writer = GGUFWriter(path, arch)
    writer.add_context_length(512)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(BLOCKS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(head_dim(arch))
    writer.add_value_length(head_dim(arch))
    writer.add_rope_dimension_count(head_dim(arch))
    writer.add_rope_freq_base(50000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("none")
    if arch == "gemma3":
        writer.add_sliding_window(WINDOW)
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(8.0)
    tensors = {"token_embd.weight": [VOCABULARY, WIDTH], "output_norm.weight": [WIDTH]}
    if arch == "llama":
        tensors |= {"output.weight": [VOCABULARY, WIDTH], "rope_freqs.weight": [head_dim(arch) // 2]}
    for block in range(BLOCKS):
        tensors |= {f"blk.{block}.{name}": shape for name, shape in shapes(arch).items()}
    for name, shape in tensors.items():
        values = random.standard_normal(shape)
        if name.endswith("norm.weight") or name == "rope_freqs.weight":
            values = 1 + 0.3 * np.tanh(values)
        elif len(shape) == 2:
            values *= 1.5 / math.sqrt(shape[1])
        writer.add_tensor(name, values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Architectures(unittest.TestCase):
    def check(self, arch):
        ids = np.random.default_rng(SEED).integers(0, VOCABULARY, TOKENS)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tiny.gguf"
            write_model(path, arch)
            model = float_reference.Model(path)
            ours = np.concatenate(list(model.logits(ids)))
            theirs = np.concatenate(list(llama_cpp.Context(path, 512, 2).logits(ids)))
        error = np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(ours, axis=1)
        self.assertLess(error.max(), RELATIVE_ERROR_MAX, f"{arch}, seed {SEED}")

    def test_llama(self):
        self.check("llama")

    def test_qwen2(self):
        self.check("qwen2")

    def test_qwen3(self):
        self.check("qwen3")

    def test_gemma3(self):
        self.check("gemma3")


class Tables(unittest.TestCase):
    """libm is within 1 ulp, far finer than a half step, so only near-ties could differ: there are none."""

    def check(self, table, real):
        values, _code, nearest = table
        self.assertGreater(nearest, Decimal("1e-9"))
        self.assertEqual(values, [math.floor(real(i) + 0.5) for i in range(len(values))])

    def test_rope(self):
        def real(index):
            pos, rest = divmod(index, 64)
            angle = pos * 100000.0 ** (-2 * (rest // 2) / 64)
            return 2**14 * (math.sin(angle) if rest % 2 else math.cos(angle))

        self.check(tables.rope(100000, 64, 256), real)

    def test_exp(self):
        table = tables.exp_table(15, 64, "H")
        self.check(table, lambda t: (2**15 - 1) * math.exp(-(t + 0.5 * (t > 0)) / 64))
        self.assertLess((2**15 - 1) * math.exp(-(len(table[0]) + 0.5) / 64), 0.5)

    def test_silu(self):
        def real(index):
            g = index - 32768
            return g / (1 + math.exp(-g / 2**8))

        self.check(tables.silu(8), real)

    def test_gelu(self):
        def real(index):
            x = (index - 32768) / 2**11
            return 2**11 * 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

        self.check(tables.gelu_tanh(11), real)

    def test_a_tie_stops_the_script(self):
        with self.assertRaises(SystemExit):
            tables.Rounder()(Decimal("2.5"))


if __name__ == "__main__":
    unittest.main()
