"""Tests of the integer oracle against the float oracle, gguf-py, libm and the laws of docs/numerics.md.

Offline and seeded; no model file needed. They must never compare the oracle with a copy of itself.

    python -m unittest -v test_integer
"""

import io
import math
import tempfile
import unittest
from collections import Counter
from fractions import Fraction
from pathlib import Path
from unittest import mock

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import dequantize, quantize

import float_reference
import integer_reference as oracle
import tables
import test_oracle

SEED = 2
TOKENS = 40
# Relative errors of a position's logits. Position 0 sees one key, so only the rounding of the sites to about 2^-11 is
# left. Elsewhere EXP has steps of 1/64, so that a weight is off by up to 1/128, and seven random blocks amplify it.
FIRST_ERROR_MAX, MEDIAN_ERROR_MAX, WORST_ERROR_MAX = 2e-3, 1e-2, 4e-2
BLOCK_KINDS = ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K")
HALVES_AT = {"Q4_1": (0, 2), "Q5_1": (0, 2), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}  # else (0,)


class QuantizedWriter(GGUFWriter):
    """Stores matrices in Q8_0."""

    def add_tensor(self, name, tensor):
        if tensor.ndim == 1:
            return super().add_tensor(name, tensor)
        kind = GGMLQuantizationType.Q8_0
        return super().add_tensor(name, quantize(tensor, kind), raw_dtype=kind)


def random_ids(count):
    return np.random.default_rng(SEED).integers(0, test_oracle.VOCABULARY, count).tolist()


def tiny(arch, writer=GGUFWriter):
    """(integer model, its calibrated formats, float64 model) of a tiny random model."""
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(test_oracle, "GGUFWriter", writer):
        path = Path(folder) / "tiny.gguf"
        test_oracle.write_model(path, arch)
        model, reference = oracle.Model(path), float_reference.Model(path, np.float64)
    calibration, _ = oracle.calibrate(model, [random_ids(64)])
    return model, formats_of(calibration.residual, calibration.blocks), reference


def formats_of(residual, blocks):
    return oracle.Formats({"formats": {"residual": residual, "blocks": blocks, "extra": None}})


def run(model, formats, ids):
    blocks, out_of_range = oracle.logits_of(model, formats, ids)
    return np.concatenate([np.empty((0, model.vocabulary), np.int64), *blocks]), out_of_range


class Logits(unittest.TestCase):
    def check(self, arch, writer=GGUFWriter):
        model, formats, reference = tiny(arch, writer)
        ids = random_ids(TOKENS)
        exact, out_of_range = run(model, formats, ids)
        self.assertIsNone(out_of_range)
        ours = exact * 2.0**-model.logits_exponent
        theirs = np.concatenate(list(reference.logits(ids)))
        error = np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)
        limits = (FIRST_ERROR_MAX, MEDIAN_ERROR_MAX, WORST_ERROR_MAX)
        for got, most in zip((error[0], np.median(error), error.max()), limits, strict=True):
            self.assertLess(got, most, f"{arch}, seed {SEED}")
        self.assertGreater(error.max(), 0)

    def test_llama(self):
        self.check("llama")

    def test_qwen2(self):
        self.check("qwen2")

    def test_qwen3(self):
        self.check("qwen3")

    def test_gemma3(self):
        self.check("gemma3")

    def test_block_quantized(self):
        self.check("llama", QuantizedWriter)

    def test_no_position_sees_a_later_one(self):
        model, formats, _ = tiny("gemma3")
        ids = random_ids(TOKENS)
        whole, _ = run(model, formats, ids)
        start, _ = run(model, formats, ids[:13])
        np.testing.assert_array_equal(start, whole[:13])

    def test_pipe_frames_are_the_same_logits(self):
        model, formats, _ = tiny("qwen2")
        ids = random_ids(5)
        request = b"".join(n.to_bytes(4, "little") for n in [len(ids), *ids, 0])
        streams = [mock.Mock(buffer=io.BytesIO(data)) for data in (request, b"")]
        with mock.patch.multiple(oracle.sys, stdin=streams[0], stdout=streams[1]):
            oracle.serve(model, formats)
        answer = streams[1].buffer.getvalue()
        self.assertEqual(int.from_bytes(answer[:4], "little"), model.vocabulary)
        self.assertEqual(answer[4:], run(model, formats, ids)[0].astype("<i8").tobytes())


class OutOfRange(unittest.TestCase):
    def check(self, model, formats, ids):
        """The position found is out of range, the ones before are not and keep their logits."""
        logits, first = run(model, formats, ids)
        self.assertEqual(len(logits), len(ids) if first is None else first)
        if first is None:
            return None
        self.assertEqual(run(model, formats, ids[: first + 1])[1], first)
        if first:
            before, none = run(model, formats, ids[:first])
            self.assertIsNone(none)
            np.testing.assert_array_equal(before, logits)
        return first

    def test_every_site_and_the_residual(self):
        model, formats, _ = tiny("qwen3")
        ids, everything = random_ids(TOKENS), set()
        for site in formats.blocks[3]:
            found = set()
            for more in range(0, 24):
                blocks = [dict(block) for block in formats.blocks]
                blocks[3][site] += more
                found.add(self.check(model, formats_of(formats.residual, blocks), ids))
            self.assertLessEqual({None, 0}, found, site)
            everything |= found
        found = {self.check(model, formats_of(fr, formats.blocks), ids) for fr in range(14, 32)}
        self.assertLessEqual({None, 0}, found, "residual")
        self.assertGreater(len(everything | found), 4)  # some in between


class Rounding(unittest.TestCase):
    def test_rsh(self):
        random = np.random.default_rng(SEED)
        for shift in [*range(-20, 64), 70]:
            x = random.integers(-(1 << 62), 1 << 62, 20) >> random.integers(0, 62, 20)
            expected = [math.floor(Fraction(int(v)) / Fraction(2) ** shift + Fraction(1, 2)) for v in x]
            self.assertEqual(oracle.rsh(x, shift).tolist(), expected, f"shift {shift}, seed {SEED}")
            self.assertEqual([oracle.rsh_int(int(v), shift) for v in x], expected)

    def test_ties_go_up(self):
        self.assertEqual(oracle.rsh(np.array([-3, -1, 1, 3]), 1).tolist(), [-1, 0, 1, 2])

    def test_nearest_sqrt(self):
        for x in [*range(200), (576 << 72), 2**99 + 1]:
            root = oracle.nearest_sqrt(x)
            self.assertTrue((2 * root - 1) ** 2 <= 4 * x or root == 0)
            self.assertLessEqual(4 * x, (2 * root + 1) ** 2)

    def test_matmul_and_dot_in_limbs(self):
        random = np.random.default_rng(SEED)
        w = random.integers(-(1 << 28), 1 << 28, (6, 50))
        for bits in (10, 23, 27):
            x = random.integers(-(1 << bits), 1 << bits, (4, 50))
            expected = x.astype(object) @ w.T.astype(object)
            self.assertEqual(oracle.matmul(x, oracle.with_norm(w.astype(float), 0)).tolist(), expected.tolist())
            self.assertEqual(oracle.dot(x, w).tolist(), expected.tolist())

    def test_norm_stays_in_16_bits_and_near_the_real_norm(self):
        random = np.random.default_rng(SEED)
        for bits in (0, 3, 12, 26):
            x = random.integers(-(1 << bits), (1 << bits) + 1, (30, 48))
            x[:10, 1:] = 0  # the extreme: one channel holds everything
            w = oracle.float_vector(np.float64(np.float32(random.standard_normal(48) * 3)))
            e = oracle.out_exponent(w)
            y = oracle.rms_norm(x, 10, w, e, 2.0**-17)
            self.assertLessEqual(oracle.peak(y), oracle.NARROW_MAX)
            real = x / 2**10 / np.sqrt((x / 2.0**10) ** 2 @ np.ones((48, 1)) / 48 + 2.0**-17)
            real *= w.values * 2.0**-w.exponent
            scale = np.sqrt((x**2).sum(axis=1, keepdims=True) + 48 * 2**3)  # its floor is off by 1 part in it
            floors = 1 / scale + scale / (math.sqrt(48) * 2**36)  # R is the floor of their quotient: off by 1 part in R
            self.assertTrue((np.abs(y * 2.0**-e - real) <= 2.0**-e + np.abs(real) * floors * 1.01).all())


class Weights(unittest.TestCase):
    def check_blocks(self, kind):
        """Short scales, so that gguf-py's float32 is exact too."""
        random = np.random.default_rng(SEED)
        size, _ = oracle.BLOCK_FORMATS[kind]
        data = random.integers(0, 256, (12 * 3, size), dtype=np.uint8)
        scales = [at for at in HALVES_AT.get(kind, (0,))]
        for at in scales:
            halves = random.integers(-63, 64, 12 * 3) / 2.0**9
            data[:, at : at + 2] = halves.astype("<f2").view(np.uint8).reshape(-1, 2)
        data = data.reshape(12, -1)
        matrix = oracle.block_matrix(kind, data)
        theirs = dequantize(data, GGMLQuantizationType[kind]).astype(np.float64)
        np.testing.assert_array_equal(matrix.values * 2.0**-matrix.grid, theirs)
        self.assertEqual(matrix.grid, 9)
        self.assertEqual(matrix.norm, np.abs(theirs * 2**9).sum(axis=1).max())

    def test_blocks(self):
        for kind in BLOCK_KINDS:
            with self.subTest(kind):
                self.check_blocks(kind)

    def test_grid_counts_scales_of_blocks_that_are_zero(self):
        data = np.zeros((1, 34), np.uint8)
        data[0, :2] = np.array([2.0**-24], "<f2").view(np.uint8)
        self.assertEqual(oracle.block_matrix("Q8_0", data).grid, 24)

    def test_float_rows(self):
        w = np.array([[1.0, -0.25], [2.0**-3, 0], [2.0**-30, 0], [32767.5 / 2**16, 0], [-32767.5 / 2**16, 0]])
        matrix = oracle.float_matrix(w)
        # Exponents 14, 17, 26 = 14 + 12, 15 and, as halves go up, 16.
        self.assertEqual(matrix.grid, 26)
        expected = [[2**26, -(2**24)], [2**23, 0], [0, 0], [16384 << 11, 0], [-32767 << 10, 0]]
        self.assertEqual(matrix.values.tolist(), expected)

    def test_vectors(self):
        self.assertEqual(oracle.float_vector(np.array([1.0, -2.0])).exponent, 13)
        self.assertEqual(oracle.float_vector(np.array([2.0**-20])).exponent, 24)
        self.assertEqual(oracle.float_vector(np.array([70000.0])).exponent, -2)


class Tables(unittest.TestCase):
    def test_rotations(self):
        cos, sin = oracle.rotations(100000.0, 64, 40, [1] * 32, 1)
        expected = np.array(tables.rope(100000, 64, 40)[0]).reshape(40, 1, 32, 2)
        np.testing.assert_array_equal(np.stack([cos, sin], axis=-1), expected)

    def test_rotations_with_factors_and_a_scale(self):
        scale = oracle.ScoreScale(128)
        self.assertEqual(scale.m, 3)
        got = oracle.rotations(1e6, 128, 50, [oracle.Decimal(8)] * 64, scale.k)
        angle = np.arange(50)[:, None, None] / 8 * 1e6 ** (-np.arange(64) / 64)
        real = 2**14 * 8 / math.sqrt(128) * np.stack([np.cos(angle), np.sin(angle)])
        self.assertLessEqual(np.abs(got - real).max(), 0.5 + 1e-9)

    def test_score_scale(self):
        for n, m in ((64, 3), (96, 3), (128, 3), (168, 3), (255, 3), (256, 4)):
            scale = oracle.ScoreScale(n)
            self.assertEqual(scale.m, m)
            self.assertAlmostEqual(float(scale.k) * 2**-m, n**-0.5, places=15)

    def test_activation(self):
        g = np.array([-40000, -32768, -3000, -77, -1, 0, 1, 500, 32767, 32768, 90000])
        for gelu, table in ((False, tables.silu), (True, tables.gelu_tanh)):
            values = table(9)[0]
            expected = [0, *(values[v + 32768] for v in g[1:-2]), 32768, 90000]
            self.assertEqual(oracle.Activation(gelu)(g, 9).tolist(), expected)

    def test_attention_weights_follow_the_window_and_the_row(self):
        """Equal scores: all weights of a row are EXP[0], so the output is the rounded mean of what is visible."""
        n = 1030
        q = np.zeros((n, 2), np.int64)
        v = np.random.default_rng(SEED).integers(-30000, 30000, (n, 2))
        for window in (None, 7):
            out = oracle.attend(q, q, v, 10, window)
            for p in (0, 5, 6, 7, 8, 1023, 1024, n - 1):
                seen = v[max(0, p + 1 - (window or n)) : p + 1]
                e = 2**12 - 1 if len(seen) <= 1024 else 2**15 - 1
                z = e * len(seen)
                self.assertEqual(out[p].tolist(), [(e * int(s) + z // 2) // z for s in seen.sum(axis=0)], f"{p}")

    def test_rows_above_1024_keys_get_15_bits(self):
        """600 steps of 1/64 below the best, a weight is 0.35 of a 12-bit unit and 2.8 of a 15-bit unit."""
        q, k, v = (np.full((1030, 1), value) for value in (1, 0, 1000))
        k[0], v[0] = 600 << 10, 0
        out = oracle.attend(q, k, v, 10, None)[:, 0]
        self.assertEqual(set(out[:1024].tolist()), {0})
        for p in range(1024, 1030):
            self.assertEqual(out[p], round(3000 * p / (32767 + 3 * p)))


class Calibrating(unittest.TestCase):
    def check(self, site, maxima, exponent, expected):
        calibration = oracle.Calibration(14, 1)
        values = np.array([[m, 0] for m in maxima])
        self.assertEqual(calibration.exponent(0, site, values, exponent), expected)

    def test_exponents(self):
        self.check("query", [1, -5], 30, 12)  # the highest allowed
        self.check("gate", [1, -5], 30, 11)
        self.check("query", [1, -5], 7, 7)  # the accumulator's own
        self.check("value", [1 << 34], 30, 9)  # 2 * 2^4 * 2^9 = 2^14; 2^15 would not be narrow
        self.check("value", [-(1 << 34)], 30, 9)

    def test_a_64th_of_the_rows_counts_only_for_the_wide_bound(self):
        self.check("down_input", [1 << 40, *[1 << 20] * 64], 30, 11)  # 2^11 * 2^11 = 2^22; 2^23 would be too wide
        self.check("down_input", [1 << 40, 1 << 40, *[1 << 20] * 63], 30, 11)  # 65 rows: two count
        self.check("down_input", [1 << 40, 1 << 40, *[1 << 20] * 62], 30, 3)
        self.check("gate", [1 << 40, *[1 << 20] * 64], 30, 3)

    def test_segments(self):
        segments = oracle.cut_segments(list(range(10, 1600)), 1)
        self.assertEqual([len(s) for s in segments], [257, 256] * 3)
        self.assertEqual([s[0] for s in segments], [1, 266, 1, 778, 1, 1290])
        self.assertEqual([len(s) for s in oracle.cut_segments(list(range(1600)), None)], [256] * 6)

    def test_the_residual_exponent_is_the_largest_that_holds(self):
        model, formats, _ = tiny("llama")
        self.assertEqual(formats.residual, 14)
        for name in ("token_embd.weight", "blk.0.ffn_down.weight"):
            matrix = model.tensors[name]
            model.tensors[name] = oracle.with_norm(matrix.values * 2**11, matrix.grid)
        calibration, passes = oracle.calibrate(model, [random_ids(64)])
        self.assertLess(calibration.residual, 14)
        self.assertLess(passes[-1]["largest"], 1 << 25)
        # One exponent more would double them, but for the rounding in between.
        self.assertGreater(max(2.01 * p["largest"] for p in passes if p["residual"] == calibration.residual), 1 << 25)


OFF = oracle.Settings(temperature=1000, top_k=0, top_p=10**6, min_p=0, penalty=1000)


class Sampling(unittest.TestCase):
    exponent = 20

    def logits(self):
        """Far enough apart that no two weights are equal."""
        return [int(l) for l in np.random.default_rng(SEED).permutation(40) * 0.15 * 2**self.exponent]

    def weights(self, **changed):
        return oracle.kept_weights(self.logits(), self.exponent, OFF._replace(**changed))

    def test_weights_are_the_softmax(self):
        for temperature in (500, 1000, 1700):
            weights = np.array(self.weights(temperature=temperature))
            real = np.exp(np.array(self.logits()) / 2**self.exponent * 1000 / temperature)
            # Steps of 1/256: a weight is off by 1/512, so a share by 1/256; plus what 24 bits round.
            np.testing.assert_allclose(weights / weights.sum(), real / real.sum(), rtol=1 / 256, atol=2**-23)

    def test_draws_follow_the_weights(self):
        draws, seed = 20000, bytes(range(32))
        weights = self.weights()
        counts = Counter(oracle.draw(weights, oracle.draw_number(seed, p)) for p in range(draws))
        for token, weight in enumerate(weights):
            share = weight / sum(weights)
            deviation = math.sqrt(draws * share * (1 - share))
            self.assertLess(abs(counts[token] - draws * share), 5 * deviation + 1, f"token {token}")

    def test_draw_ends(self):
        self.assertEqual(oracle.draw([0, 3, 5, 0], 0), 1)
        self.assertEqual(oracle.draw([0, 3, 5, 0], 2**64 - 1), 2)
        self.assertEqual(oracle.draw([3, 5], 3 * 2**61 - 1), 0)
        self.assertEqual(oracle.draw([3, 5], 3 * 2**61), 1)

    def check_kept(self, expected, **changed):
        """`expected`: how many of the heaviest are kept."""
        free, kept = self.weights(), self.weights(**changed)
        heaviest = sorted(range(len(free)), key=lambda i: -free[i])[:expected]
        self.assertEqual({i for i, w in enumerate(kept) if w}, set(heaviest))
        self.assertTrue(all(kept[i] == free[i] for i in heaviest))

    def test_what_is_kept(self):
        ordered = sorted(self.weights(), reverse=True)
        self.assertEqual(len(set(ordered)), 40)
        self.check_kept(40, top_k=0)
        self.check_kept(40, top_k=41)
        self.check_kept(7, top_k=7)
        for p in (1, 300000, 900000, 10**6):
            count = next(n for n in range(1, 41) if sum(ordered[:n]) * 10**6 >= p * sum(ordered))
            self.check_kept(count, top_p=p)
            count = next(n for n in range(1, 8) if sum(ordered[:n]) * 10**6 >= p * sum(ordered[:7]))
            self.check_kept(count, top_p=p, top_k=7)
        for p in (0, 1, 50000, 999999, 10**6):
            self.check_kept(sum(w * 10**6 >= p * ordered[0] for w in ordered), min_p=p)

    def test_ties_are_kept(self):
        weights = oracle.kept_weights([0, 5, 5, 5, -(1 << 60)], 20, OFF._replace(top_k=2))
        self.assertEqual(weights, [weights[1]] * 4 + [0])  # 5 * 2^-20 is less than a step

    def test_greedy_takes_the_lowest_id(self):
        settings = OFF._replace(temperature=0)
        self.assertEqual(oracle.next_token([1, 7, 7, 3], 20, [0], settings, b""), 1)
        self.assertEqual(oracle.next_token([1, 7, 7, 3], 20, [1], settings._replace(penalty=1300), b""), 2)

    def test_penalty(self):
        values = oracle.penalized([1000, -1000, 1000, 0], [0, 1, 1, 3], 1500)
        self.assertEqual(values, [666, -1500, 1000, 0])  # round(65536 / 1.5) = 43691: 666.67 down
        self.assertEqual(oracle.penalized([1000, -1000], [0, 1], 1000), [1000, -1000])

    def test_seed_and_position_change_the_draw(self):
        seed = oracle.sampling_seed(bytes(32), b"client")
        numbers = {oracle.draw_number(s, p) for s in (seed, bytes(32)) for p in (0, 1, 256)}
        self.assertEqual(len(numbers), 6)


if __name__ == "__main__":
    unittest.main()
