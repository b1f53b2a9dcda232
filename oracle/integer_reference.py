"""The outside oracle of the integer engine: docs/numerics.md in numpy and Python integers, slow and plain.

Written from that page alone: it must never read or share the workspace's code, and never round where the page does not.
Arrays hold exact integers. Each product is bounded before it is taken: below 2^53 it may run in float64, below 2^63 in
int64, beyond that the array becomes Python integers.

    python integer_reference.py MODEL.gguf --formats FORMATS.json --ids 1,504,3575
    python integer_reference.py MODEL.gguf --formats FORMATS.json --ids 1,504 --sample 20 --seed HEX --temperature 800
    python integer_reference.py MODEL.gguf --formats FORMATS.json --pipe
    python integer_reference.py MODEL.gguf --calibrate --tokenized IDS.json
"""

import argparse
import hashlib
import json
import math
import sys
from collections import namedtuple
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pipe
import tables
from float_reference import GEMMA3_27B_BLOCKS, GLOBAL_TENSORS, LOGITS_BLOCK, TENSORS, TOKENS_MAX, Config

import numpy as np  # after float_reference, which sets its thread count
from gguf import GGUFReader

INT64_LIMIT = 1 << 63
FLOAT64_LIMIT = 1 << 53  # all sums of integers below it are exact, in any order
NARROW_MAX = 32767
WIDE_LIMIT = 1 << 23
RESIDUAL_LIMIT = 1 << 27
NO_LOGIT = -(1 << 63)  # fills the rows of positions out of range in pipe mode

Vector = namedtuple("Vector", "values exponent")
Matrix = namedtuple("Matrix", "values grid norm")  # float64 holding integers (rows, columns); norm: largest row L1 norm


# Conventions


def peak(x):
    return int(np.abs(x).max())


def fitting(x, bound):
    """x as it is if integers up to `bound` fit into int64, else as Python integers."""
    return x if bound < INT64_LIMIT else x.astype(object)


def settled(x):
    """Back to int64 where the values allow."""
    return x.astype(np.int64) if x.dtype == object and peak(x) < INT64_LIMIT else x


def rsh_int(x, s):
    return (x + (1 << s >> 1)) >> s if s > 0 else x << -s


def rsh(x, s):
    """floor(x / 2^s + 1/2), elementwise."""
    if s <= 0:
        return settled(fitting(x, max(1, peak(x)) << -s) * (1 << -s))
    half = 1 << (s - 1)
    return settled((fitting(x, peak(x) + half) + half) >> s)


def half_up(fraction):
    return math.floor(fraction + Fraction(1, 2))


def nearest_sqrt(x):
    """The root rounded to nearest; no tie exists, as (r + 1/2)^2 is no integer."""
    root = math.isqrt(x)
    return root + (x - root * root > root)


def times(x, y):
    bound = peak(x) * peak(y)
    return fitting(x, bound) * fitting(y, bound)


def dot(a, b):
    """a (n, k) times b (m, k) transposed, for two activations."""
    bound = peak(a) * peak(b) * a.shape[1]
    if bound < FLOAT64_LIMIT:
        return (a.astype(np.float64) @ b.T.astype(np.float64)).astype(np.int64)
    assert bound < INT64_LIMIT
    return a @ b.T


def matmul(x, matrix):
    """x (n, columns) times the transposed matrix; x is cut in limbs where float64 would be inexact."""
    assert x.dtype == np.int64
    bound = peak(x) * matrix.norm
    if bound < FLOAT64_LIMIT:
        return (x.astype(np.float64) @ matrix.values.T).astype(np.int64)
    assert bound < INT64_LIMIT - FLOAT64_LIMIT, "an accumulator may leave 64 bits"
    limb_bits = 53 - matrix.norm.bit_length()
    assert limb_bits > 0
    high = x >> limb_bits
    return (matmul(high, matrix) << limb_bits) + matmul(x - (high << limb_bits), matrix)


# Weights


def halves(data):
    return data.copy().view("<f2").astype(np.float64)


def nibbles(data, group):
    """4-bit numbers: of each `group` bytes first all low halves, then all high halves."""
    data = data.reshape(len(data), -1, 1, group)
    return np.concatenate([data & 15, data >> 4], axis=2).reshape(len(data), -1)


def bits_of(data):
    return np.unpackbits(data, axis=1, bitorder="little")


def k_scales(data):
    """The eight 6-bit (scale, minimum) pairs in 12 bytes of a Q4_K or Q5_K block."""
    low, mid, high = data[:, 0:4], data[:, 4:8], data[:, 8:12]
    scale = np.concatenate([low & 63, (high & 15) | (low >> 6 << 4)], axis=1)
    minimum = np.concatenate([mid & 63, (high >> 4) | (mid >> 6 << 4)], axis=1)
    return scale, minimum


def unpack_q8_0(b):
    return [(halves(b[:, 0:2]), b[:, 2:].view(np.int8))]


def unpack_q4_0(b):
    return [(halves(b[:, 0:2]), nibbles(b[:, 2:], 16).astype(int) - 8)]


def unpack_q4_1(b):
    return [(halves(b[:, 0:2]), nibbles(b[:, 4:], 16)), (halves(b[:, 2:4]), 1)]


def unpack_q5_0(b):
    return [(halves(b[:, 0:2]), nibbles(b[:, 6:], 16) + 16 * bits_of(b[:, 2:6]).astype(int) - 16)]


def unpack_q5_1(b):
    return [(halves(b[:, 0:2]), nibbles(b[:, 8:], 16) + 16 * bits_of(b[:, 4:8])), (halves(b[:, 2:4]), 1)]


def unpack_q4_k(b, high=0, quants_at=16):
    scale, minimum = (np.repeat(part.astype(int), 32, axis=1) for part in k_scales(b[:, 4:16]))
    quants = nibbles(b[:, quants_at:], 32) + 16 * high
    return [(halves(b[:, 0:2]), scale * quants), (halves(b[:, 2:4]), -minimum)]


def unpack_q5_k(b):
    high = bits_of(b[:, 16:48]).reshape(-1, 32, 8).transpose(0, 2, 1)  # bit s of byte i: element i of sub-block s
    return unpack_q4_k(b, high.reshape(-1, 256), 48)


def unpack_q6_k(b):
    high = b[:, 128:192].reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1) & 3
    quants = nibbles(b[:, 0:128], 64) + 16 * high.reshape(-1, 256).astype(int) - 32
    return [(halves(b[:, 208:210]), quants * np.repeat(b[:, 192:208].view(np.int8).astype(int), 16, axis=1))]


# Per format: bytes of a block, and block bytes -> [(f16 factor, integers), ..] whose products sum to the weights.
BLOCK_FORMATS = {
    "Q8_0": (34, unpack_q8_0),
    "Q4_0": (18, unpack_q4_0),
    "Q4_1": (20, unpack_q4_1),
    "Q5_0": (22, unpack_q5_0),
    "Q5_1": (24, unpack_q5_1),
    "Q4_K": (144, unpack_q4_k),
    "Q5_K": (176, unpack_q5_k),
    "Q6_K": (210, unpack_q6_k),
}


def with_norm(values, grid):
    norm = int(np.abs(values).sum(axis=1).max())
    assert norm < FLOAT64_LIMIT
    return Matrix(values, grid, norm)


def block_matrix(kind, data):
    """The exact integers of a block-quantized tensor. data: (rows, bytes)."""
    size, unpack = BLOCK_FORMATS[kind]
    terms = unpack(np.ascontiguousarray(data).reshape(-1, size))
    factors = np.concatenate([factor.ravel() for factor, _ in terms])
    if not np.isfinite(factors).all():
        sys.exit(f"a {kind} tensor has a scale that is infinite or no number")
    grid = 0
    while (np.ldexp(factors, grid) % 1).any():
        grid += 1
    values = sum(np.ldexp(factor, grid) * quants for factor, quants in terms)  # below 2^(40 + 6 + 7): exact
    assert np.abs(values).max() < FLOAT64_LIMIT
    return with_norm(values.reshape(len(data), -1), grid)


def float_values(kind, data):
    if kind == "BF16":
        return (data.view("<u2").astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return data.astype(np.float64)


def rounded(w, exponent):
    """floor(w * 2^exponent + 1/2). Exact: w has at most 24 bits, so the sum is inexact only far from integers."""
    return np.floor(np.ldexp(w, exponent) + 0.5)


def float_matrix(w):
    top = np.abs(w).max(axis=1, keepdims=True)
    exponents = 15 - np.frexp(top)[1]  # top * 2^this is in 2^14..2^15; one more never fits
    exponents -= np.abs(rounded(w, exponents)).max(axis=1, keepdims=True) > NARROW_MAX
    if not top.any():
        return with_norm(w, 0)
    highest = exponents[top > 0].min() + 12
    exponents = np.where(top > 0, np.minimum(exponents, highest), highest)
    grid = int(exponents.max())
    return with_norm(np.ldexp(rounded(w, exponents), grid - exponents), grid)


def float_vector(w):
    exponent = 24
    while np.abs(rounded(w, exponent)).max() > NARROW_MAX:
        exponent -= 1
    return Vector(rounded(w, exponent).astype(np.int64), exponent)


class Model:
    def __init__(self, path):
        reader = GGUFReader(path)
        self.config = c = Config(reader)
        if c.rotated != c.head_dim:
            sys.exit("rotating only a part of each head is not in docs/numerics.md")
        self.tensors, self.frequency_factors = {}, [1] * (c.head_dim // 2)
        for tensor in reader.tensors:
            self.load(tensor)
        factor = reader.get_field(f"{c.arch}.rope.scaling.factor")
        self.position_factor = 1 if factor is None or c.position_scale == 1 else factor.contents()
        bos = reader.get_field("tokenizer.ggml.bos_token_id")
        self.bos = None if bos is None else int(bos.contents())
        self.vocabulary = len(self.tensors["token_embd.weight"].values)
        self.head = "output.weight" if "output.weight" in self.tensors else "token_embd.weight"
        norm = self.tensors["output_norm.weight"]
        self.logits_exponent = out_exponent(norm) + self.tensors[self.head].grid
        whole = c.arch == "gemma3" and c.blocks == GEMMA3_27B_BLOCKS
        self.scores = ScoreScale(c.width // c.heads if whole else c.head_dim)
        self.activation = Activation(gelu=c.arch == "gemma3")

    def load(self, tensor):
        name, kind = tensor.name, tensor.tensor_type.name
        if name not in GLOBAL_TENSORS and not (name.startswith("blk.") and name.split(".", 2)[2] in TENSORS):
            sys.exit(f"tensor {name} is not part of the supported architectures")
        if kind in BLOCK_FORMATS and len(tensor.shape) == 2:
            self.tensors[name] = block_matrix(kind, tensor.data)
            return
        if kind not in ("F32", "F16", "BF16"):
            sys.exit(f"tensor {name} has the type {kind}; this oracle does not know it")
        w = float_values(kind, tensor.data)
        if not np.isfinite(w).all():
            sys.exit(f"tensor {name} has a weight that is infinite or no number")
        if name == "rope_freqs.weight":
            self.frequency_factors = [Decimal(float(factor)) for factor in w]
        else:
            self.tensors[name] = float_matrix(w) if len(tensor.shape) == 2 else float_vector(w)


# Tables


class ScoreScale:
    """1 / sqrt(n) = 2^-m * k. Queries carry k, the score shift carries m."""

    def __init__(self, n):
        self.m = (n.bit_length() - 1) // 2
        self.k = Decimal(2**self.m) / Decimal(n).sqrt()


def rotations(base, head_dim, positions, factors, scale):
    """(cos, sin) as int64 (positions, 1, head_dim / 2): as tables.rope, with a factor per pair and a scale."""
    rounder, scale = tables.Rounder(), int(scale * tables.ONE)
    out = np.empty((2, positions, 1, head_dim // 2), np.int64)
    for i in range(head_dim // 2):
        frequency = (Decimal(base).ln() * Decimal(-2 * i) / head_dim).exp() / factors[i]
        c1, s1 = tables.cos_sin_series(int(frequency * tables.ONE))
        c, s = tables.ONE, 0
        for p in range(positions):
            for which, value in enumerate((c, s)):
                scaled = value * scale >> (tables.FIXED_BITS - 14)
                out[which, p, 0, i] = tables.round_fixed(scaled, rounder)
            c, s = (c * c1 - s * s1) >> tables.FIXED_BITS, (s * c1 + c * s1) >> tables.FIXED_BITS
    return out


def exp_with_end(bits, steps):
    return np.array(tables.exp_table(bits, steps, "I")[0] + [0], np.int64)  # the appended 0 serves all later entries


EXP12, EXP15, EXP24 = exp_with_end(12, 64), exp_with_end(15, 64), exp_with_end(24, 256)


class Activation:
    """ACT of every gate exponent, each entry by the method of tables.gated_table when first asked for."""

    def __init__(self, gelu):
        self.gelu, self.tables = gelu, {}
        self.scale, self.cubic = 2 * (2 / tables.pi()).sqrt(), Decimal("0.044715")
        self.rounder = tables.Rounder()

    def entry(self, g, exponent):
        x = Decimal(g) * Decimal(2) ** -exponent
        argument = self.scale * (x + self.cubic * x * x * x) if self.gelu else x
        return self.rounder(g / (1 + (-argument).exp()))

    def __call__(self, g, exponent):
        known, table = self.tables.setdefault(exponent, (np.zeros(1 << 16, bool), np.zeros(1 << 16, np.int64)))
        index = np.clip(g, -32768, 32767).astype(np.int64) + 32768
        asked = np.zeros(1 << 16, bool)
        asked[index] = True
        for i in np.flatnonzero(asked & ~known):
            table[i] = self.entry(int(i) - 32768, exponent)
        known |= asked
        return np.where(g > 32767, g, np.where(g < -32768, 0, table[index]))


# Formats


class Formats:
    """Exponents read from a file. Values out of range stop their position."""

    limited = True

    def __init__(self, document):
        document = document.get("formats", document)
        self.residual, self.blocks = document["residual"], document["blocks"]

    def exponent(self, block, site, _values, _exponent):
        return self.blocks[block][site]

    def see_residual(self, x):
        pass


class Calibration:
    """Chooses each site's exponent from the values that arrive there, in all segments at once."""

    limited = False

    def __init__(self, residual, blocks):
        self.residual, self.blocks, self.residual_maxima = residual, [{} for _ in range(blocks)], []

    def exponent(self, block, site, values, exponent):
        rows = sorted((int(m) for m in np.abs(values).reshape(len(values), -1).max(axis=1)), reverse=True)
        largest = rows[0]
        narrow = rows[-(-len(rows) // 64)] if site == "down_input" else largest
        chosen = min(11 if site == "gate" else 12, exponent)
        while (
            rsh_int(2 * narrow, exponent - chosen) > NARROW_MAX or rsh_int(2 * largest, exponent - chosen) >= WIDE_LIMIT
        ):
            chosen -= 1
        self.blocks[block][site] = chosen
        return chosen

    def see_residual(self, x):
        self.residual_maxima.append(peak(x))


def cut_segments(ids, bos):
    """At most six segments of 256 ids; segments 0, 2 and 4 begin with the BOS token, which counts."""
    segments = []
    while ids and len(segments) < 6:
        lead = [bos] if bos is not None and len(segments) % 2 == 0 else []
        take = 256 - len(lead)
        segments.append(lead + ids[:take])
        ids = ids[take:]
    return segments


def calibrate(model, segments):
    """The calibration that holds, and for each pass (FR, tokens, largest residual)."""
    residual, passes = 14, []
    for length in (32, TOKENS_MAX):
        while True:
            parts = [segment[:length] for segment in segments]
            calibration = Calibration(residual, model.config.blocks)
            Pass(model, calibration, parts).hidden()
            largest = max(calibration.residual_maxima)
            passes.append({"residual": residual, "tokens": sum(map(len, parts)), "largest": largest})
            print(passes[-1], file=sys.stderr)
            excess = largest.bit_length() - 25
            if excess <= 0:
                break
            residual -= excess
    return calibration, passes


# Operations


def out_exponent(w):
    scale, exponent = nearest_sqrt(len(w.values) << 72) * peak(w.values), 20
    while rsh_int(scale, 36 + w.exponent - exponent) > NARROW_MAX:
        exponent -= 1
    return exponent


def rms_norm(x, e_x, w, e_out, eps):
    """Normalizes the last axis of x."""
    size = x.shape[-1]
    rows = x.reshape(-1, size)
    c = nearest_sqrt(size << 72)
    eps_term = half_up(Fraction(eps) * size * Fraction(4) ** e_x)
    wide = fitting(rows, peak(rows) ** 2 * size)
    sums = (wide * wide).sum(axis=1)
    r = np.array([c // max(1, math.isqrt(int(s) + eps_term)) for s in sums], np.int64)
    # |x| * R <= C: |x| is an integer, so at most isqrt(S)
    y = fitting(rows, c * max(1, peak(w.values))) * r[:, None] * w.values
    return rsh(y, 36 + w.exponent - e_out).reshape(x.shape)


def rotate(x, cos, sin, interleaved):
    """RoPE without rounding on (position, head, dim)."""
    half = x.shape[-1] // 2
    first, second = (slice(0, None, 2), slice(1, None, 2)) if interleaved else (slice(0, half), slice(half, None))
    x = fitting(x, peak(x) << 16)
    a, b = x[..., first], x[..., second]
    y = np.empty_like(x)
    y[..., first], y[..., second] = a * cos - b * sin, a * sin + b * cos
    return y


def attend(q, k, v, shift, window):
    """One head over one segment: q, k, v (positions, dh). Scores move down by `shift` bits to the table's steps."""
    distance = np.arange(len(q))[:, None] - np.arange(len(q))
    visible = (distance >= 0) & (distance < (window or len(q)))
    scores = dot(q, k)
    best = np.where(visible, scores, -INT64_LIMIT).max(axis=1, keepdims=True)
    below = np.where(visible, best - scores, 0)
    if shift < 0:
        below = np.minimum(below, 1 << 20)  # far past the tables' ends already
        below = fitting(below, 1 << 20 - shift)
    below = below >> shift if shift >= 0 else below << -shift
    few = visible.sum(axis=1, keepdims=True) <= 1024
    weights = np.where(few, *(t[np.minimum(below, len(t) - 1).astype(np.int64)] for t in (EXP12, EXP15))) * visible
    total = weights.sum(axis=1, keepdims=True)
    return (dot(weights, v.T) + total // 2) // total


class Pass:
    """One forward pass over segments, each from position 0; rows are their positions one after another."""

    def __init__(self, model, formats, segments):
        self.model, self.formats, self.segments = model, formats, segments
        self.positions = np.concatenate([np.arange(len(s)) for s in segments])
        self.rows = len(self.positions)
        self.first_out = self.rows  # the first row out of range; meaningful with one segment
        c = model.config
        longest = max(map(len, segments))
        factors = [factor * Decimal(model.position_factor) for factor in model.frequency_factors]
        self.rotations = {False: self.rope(c.base, longest, factors)}
        if c.window is not None:
            self.rotations[True] = self.rope(c.local_base, longest, model.frequency_factors)

    def rope(self, base, longest, factors):
        """(query, key) tables, a row for each row of the pass."""
        scales = (self.model.scores.k, Decimal(1))
        dim = self.model.config.head_dim
        return [rotations(base, dim, longest, factors, k)[:, self.positions] for k in scales]

    def limited(self, x, limit):
        """Zeroes all rows from the first one out of range on: they mean nothing, and no earlier row sees them."""
        if self.formats.limited:
            out = np.flatnonzero((np.abs(x).reshape(self.rows, -1) >= limit).any(axis=1))
            self.first_out = min([self.first_out, *out[:1].tolist()])
            x[self.first_out :] = 0
        return settled(x)

    def site(self, block, name, values, e, limit=WIDE_LIMIT):
        exponent = self.formats.exponent(block, name, values, e)
        return self.limited(rsh(values, e - exponent), limit), exponent

    def norm(self, x, e_x, name, e_out=None):
        w = self.model.tensors[f"{name}.weight"]
        e_out = out_exponent(w) if e_out is None else e_out
        return rms_norm(x, e_x, w, e_out, self.model.config.eps), e_out

    def linear(self, x, e_x, name):
        matrix, bias = self.model.tensors[f"{name}.weight"], self.model.tensors.get(f"{name}.bias")
        acc, e = matmul(x, matrix), e_x + matrix.grid
        if bias is not None:
            b = rsh(bias.values, bias.exponent - e)
            bound = peak(acc) + peak(b)
            acc = fitting(acc, bound) + fitting(b, bound)
        return acc, e

    def rotated(self, block, site, h, e, heads):
        """Queries or keys of a block, (rows, heads, dh)."""
        name = f"blk.{block}.attn_{site[0]}"
        acc, e = self.linear(h, e, name)
        if f"{name}_norm.weight" in self.model.tensors:
            raw, e = self.site(block, f"{site}_raw", acc, e)
            acc, e = self.norm(raw.reshape(self.rows, heads, -1), e, f"{name}_norm")
        c = self.model.config
        cos, sin = self.rotations[c.is_local(block)][site == "key"]
        y = rotate(acc.reshape(self.rows, heads, -1), cos, sin, c.interleaved)
        return self.site(block, site, y, e + 14)

    def attention(self, block, h, e):
        c = self.model.config
        q, e_q = self.rotated(block, "query", h, e, c.heads)
        k, e_k = self.rotated(block, "key", h, e, c.kv_heads)
        v, e_v = self.site(block, "value", *self.linear(h, e, f"blk.{block}.attn_v"))
        v = v.reshape(self.rows, c.kv_heads, -1)
        shift = e_q + e_k + self.model.scores.m - 6
        out, start = np.empty_like(q), 0
        for segment in self.segments:
            rows = slice(start, start := start + len(segment))
            for head in range(c.heads):
                kv = head * c.kv_heads // c.heads
                window = c.window if c.is_local(block) else None
                out[rows, head] = attend(q[rows, head], k[rows, kv], v[rows, kv], shift, window)
        return out.reshape(self.rows, -1), e_v

    def mlp(self, block, h, e):
        name = f"blk.{block}.ffn"
        up_bits = self.model.tensors[f"{name}_up.weight"].norm.bit_length() + 15
        g, e_g = self.site(block, "gate", *self.linear(h, e, f"{name}_gate"), 1 << min(23, 62 - up_bits))
        up, e_up = self.linear(h, e, f"{name}_up")
        return self.site(block, "down_input", times(self.model.activation(g, e_g), up), e_g + e_up)

    def residual(self, x, y, e, name, post_norm):
        fr = self.formats.residual
        acc, e_acc = self.linear(y, e, name)
        y = rsh(acc, e_acc - fr)
        if f"{post_norm}.weight" in self.model.tensors:
            y, _ = self.norm(self.limited(y, RESIDUAL_LIMIT), fr, post_norm, fr)
        bound = peak(x) + peak(y)
        x = self.limited(fitting(x, bound) + fitting(y, bound), RESIDUAL_LIMIT)
        self.formats.see_residual(x)
        return x

    def embedding(self):
        table, fr = self.model.tensors["token_embd.weight"], self.formats.residual
        w = table.values[np.concatenate(self.segments).astype(int)].astype(np.int64)
        if self.model.config.arch == "gemma3":
            s = nearest_sqrt(self.model.config.width << 28)
            x = rsh(fitting(w, peak(w) * s) * s, table.grid + 14 - fr)
        else:
            x = rsh(w, table.grid - fr)
        x = self.limited(x, RESIDUAL_LIMIT)
        self.formats.see_residual(x)
        return x

    def hidden(self):
        """The residual rows after the last block, exponent FR."""
        x, fr = self.embedding(), self.formats.residual
        for block in range(self.model.config.blocks):
            name = f"blk.{block}"
            y = self.attention(block, *self.norm(x, fr, f"{name}.attn_norm"))
            x = self.residual(x, *y, f"{name}.attn_output", f"{name}.post_attention_norm")
            y = self.mlp(block, *self.norm(x, fr, f"{name}.ffn_norm"))
            x = self.residual(x, *y, f"{name}.ffn_down", f"{name}.post_ffw_norm")
        return x


def logits_of(model, formats, ids):
    """(iterator over int64 blocks of (positions, vocabulary), first position out of range or None).

    The blocks end before that position."""
    forward = Pass(model, formats, [ids])
    x = forward.hidden()
    good = forward.first_out
    h, _ = forward.norm(x, formats.residual, "output_norm")
    head = model.tensors[model.head]
    blocks = (matmul(h[i : min(i + LOGITS_BLOCK, good)], head) for i in range(0, good, LOGITS_BLOCK))
    return blocks, None if good == len(ids) else good


# Sampling

Settings = namedtuple("Settings", "temperature top_k top_p min_p penalty")  # thousandths, count, ppm, ppm, thousandths


def penalized(logits, seen, penalty):
    """Python integers; `seen` are the ids in prompt and output so far."""
    values = [int(l) for l in logits]
    shrink, grow = half_up(Fraction((1 << 16) * 1000, penalty)), half_up(Fraction((1 << 16) * penalty, 1000))
    for i in set(seen):
        values[i] = values[i] * (shrink if values[i] > 0 else grow) >> 16
    return values


def kept_weights(values, exponent, settings):
    """The draw weight of every token; 0 for those not kept. Zero top_k means no top-k."""
    factor, shift, best = half_up(Fraction((1 << 16) * 1000, settings.temperature)), exponent + 8, max(values)
    below = [(best - l) * factor >> shift if shift >= 0 else (best - l) * factor << -shift for l in values]
    exp24 = EXP24.tolist()
    end = len(exp24) - 1
    live = sorted(d for d in below if d < end)
    limit = end - 1
    if 0 < settings.top_k <= len(live):
        limit = live[settings.top_k - 1]
    live = [d for d in live if d <= limit]
    total, running = sum(exp24[d] for d in live), 0
    for d in live:
        running += exp24[d]
        if running * 10**6 >= settings.top_p * total:
            limit = min(limit, d)
            break
    while exp24[limit] * 10**6 < settings.min_p * exp24[0]:
        limit -= 1
    return [exp24[d] if d <= limit else 0 for d in below]


def draw(weights, u):
    target, running = u * sum(weights) >> 64, 0
    for token, weight in enumerate(weights):
        running += weight
        if running > target:
            return token
    raise AssertionError("u is below 2^64, so target is below the total")


def sampling_seed(nonce, client_seed):
    from blake3 import blake3  # only sampling needs it

    return blake3(nonce + client_seed, derive_key_context="maxwell 2026-11 sampling seed v1").digest()


def draw_number(seed, position):
    from blake3 import blake3

    digest = blake3(b"maxwell draw" + position.to_bytes(8, "little"), key=seed).digest()
    return int.from_bytes(digest[:8], "little")


def next_token(logits, exponent, seen, settings, seed):
    """The token at position len(seen), from the logits of the position before it."""
    values = penalized(logits, seen, settings.penalty)
    if settings.temperature == 0:
        return values.index(max(values))
    return draw(kept_weights(values, exponent, settings), draw_number(seed, len(seen)))


# Shell


def describe(model, formats, ids):
    """What --ids prints, and the last row of logits, if any is in range."""
    blocks, out_of_range = logits_of(model, formats, ids)
    positions, whole, row = [], hashlib.sha256(), None
    for block in blocks:
        for row in block.astype("<i8"):
            positions.append({"sha256": hashlib.sha256(row.tobytes()).hexdigest(), "arg_max": int(row.argmax())})
            whole.update(row.tobytes())
    text = {"logits_exponent": model.logits_exponent, "out_of_range": out_of_range, "sha256": whole.hexdigest()}
    return text | {"positions": positions}, row


def sample(model, formats, ids, count, settings, seed):
    """The next `count` tokens, fewer if a position is out of range. Each takes a whole pass."""
    out = []
    for _ in range(count):
        text, row = describe(model, formats, ids + out)
        if text["out_of_range"] is not None:
            break
        out.append(next_token(row, model.logits_exponent, ids + out, settings, seed))
    return out


def serve(model, formats):
    """The framing of pipe.py with int64 logits; rows from a position out of range on are all NO_LOGIT."""
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    while count := int.from_bytes(pipe.read_exactly(stdin, 4), "little"):
        if count > TOKENS_MAX:
            sys.exit(f"{count} tokens in one sequence; this oracle takes at most {TOKENS_MAX}")
        ids = checked_ids(model, np.frombuffer(pipe.read_exactly(stdin, 4 * count), "<u4").tolist())
        stdout.write(model.vocabulary.to_bytes(4, "little"))
        blocks, out_of_range = logits_of(model, formats, ids)
        for block in blocks:
            stdout.write(block.astype("<i8").tobytes())
        for _ in range(0 if out_of_range is None else count - out_of_range):
            stdout.write(np.full(model.vocabulary, NO_LOGIT, "<i8").tobytes())
        stdout.flush()


def checked_ids(model, ids):
    if not ids or max(ids) >= model.vocabulary or min(ids) < 0:
        sys.exit(f"need one or more token ids below {model.vocabulary}")
    return ids


def print_calibration(model, args):
    ids = json.loads(args.tokenized.read_text())
    segments = ids if isinstance(ids[0], list) else cut_segments(ids, model.bos)
    calibration, passes = calibrate(model, [checked_ids(model, segment) for segment in segments])
    out = {"residual": calibration.residual, "blocks": calibration.blocks, "passes": passes}
    out["residual_maxima"] = calibration.residual_maxima  # the embedding, then two for each block
    if args.text:
        out["text_sha256"] = hashlib.sha256(args.text.read_bytes()).hexdigest()
    print(json.dumps(out, indent=1))


def main():
    parser = argparse.ArgumentParser(description="integer logits as docs/numerics.md defines them")
    parser.add_argument("model")
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--ids", help="token ids, comma-separated: print hashes of their logits")
    mode.add_argument("--pipe", action="store_true", help="serve the framing of pipe.py with int64 logits")
    mode.add_argument("--calibrate", action="store_true", help="print the formats of the model")
    parser.add_argument("--formats", type=Path, help="JSON file of exponents; needed unless calibrating")
    parser.add_argument("--tokenized", type=Path, help="JSON: the ids of the text, or a list of segments")
    parser.add_argument("--text", type=Path, help="the calibration text, only to print its hash")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="also draw N tokens after --ids")
    parser.add_argument("--seed", type=bytes.fromhex, help="the 32-byte sampling seed, or:")
    parser.add_argument("--nonce", type=bytes.fromhex, default=b"")
    parser.add_argument("--client-seed", type=bytes.fromhex, default=b"")
    for name, unit in (("temperature", "thousandths"), ("top-k", "tokens, 0 is off"), ("min-p", "ppm")):
        parser.add_argument(f"--{name}", type=int, default=0, help=unit)
    parser.add_argument("--top-p", type=int, default=10**6, help="ppm")
    parser.add_argument("--penalty", type=int, default=1000, help="thousandths")
    args = parser.parse_args()
    model = Model(args.model)
    if args.calibrate:
        if args.tokenized is None:
            parser.error("--calibrate needs --tokenized")
        return print_calibration(model, args)
    if args.formats is None:
        parser.error("--ids and --pipe need --formats")
    formats = Formats(json.loads(args.formats.read_text()))
    if args.pipe:
        return serve(model, formats)
    ids = checked_ids(model, [int(i) for i in args.ids.split(",")])
    out, _ = describe(model, formats, ids)
    if args.sample:
        settings = Settings(args.temperature, args.top_k, args.top_p, args.min_p, args.penalty)
        seed = args.seed or sampling_seed(args.nonce, args.client_seed)
        out["drawn"] = sample(model, formats, ids, args.sample, settings, seed)
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
