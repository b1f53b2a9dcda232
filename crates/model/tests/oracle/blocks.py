"""Writes tests/fixtures/blocks.bin: block-quantized rows and the exact integers they stand for.

The values come from the Python package `gguf` (its own dequantize, run in float64, where every product and
sum of f16 scales and codes is exact); the grid from Python fractions. Nothing here shares code with the crate.

    pip install gguf==0.19.0 numpy && python3 blocks.py ../fixtures/blocks.bin
"""

import struct
import sys
from fractions import Fraction

import numpy
from gguf import GGMLQuantizationType as Type
from gguf import quants
from gguf.constants import GGML_QUANT_SIZES

# In the order of BlockKind::ALL, with the byte offsets of the f16 fields.
KINDS = [
    (Type.Q8_0, [0]),
    (Type.Q4_0, [0]),
    (Type.Q4_1, [0, 2]),
    (Type.Q5_0, [0]),
    (Type.Q5_1, [0, 2]),
    (Type.Q4_K, [0, 2]),
    (Type.Q5_K, [0, 2]),
    (Type.Q6_K, [208]),
]
QUANTIZERS = {Type.Q8_0, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1}


class Float64Numpy:
    """numpy, except that float32 is float64."""

    float32 = numpy.float64

    def __getattr__(self, name):
        return getattr(numpy, name)


def random_blocks(rng, kind, halves, count, exponents):
    """Random bytes; the f16 fields have exponent fields from the given list (31 would be NaN)."""
    size = GGML_QUANT_SIZES[kind][1]
    blocks = rng.integers(0, 256, (count, size), dtype=numpy.uint8)
    for block in blocks:
        for at in halves:
            sign, fraction = rng.integers(0, 2), rng.integers(0, 1024)
            bits = int(sign) << 15 | int(rng.choice(exponents)) << 10 | int(fraction)
            block[at : at + 2] = list(struct.pack("<H", bits))
    # Exact zeros, of both signs, do not count for the grid.
    if count > 2:
        blocks[1][halves[0] : halves[0] + 2] = [0, 0]
        blocks[2][halves[-1] : halves[-1] + 2] = [0, 0x80]
    return blocks.reshape(1, -1)


def find_grid(kind, halves, data):
    size = GGML_QUANT_SIZES[kind][1]
    grid = 0
    for block in data.reshape(-1, size):
        for at in halves:
            (value,) = struct.unpack("<e", block[at : at + 2].tobytes())
            grid = max(grid, Fraction(value).denominator.bit_length() - 1)
    return grid


def write_case(out, number, kind, halves, rows, cols, data):
    data = data.reshape(rows, -1)
    quants.np = Float64Numpy()
    values = quants.dequantize(data, kind)
    quants.np = numpy
    assert values.dtype == numpy.float64 and values.shape == (rows, cols)
    grid = find_grid(kind, halves, data)
    integers = [Fraction(float(value)) * 2**grid for value in values.ravel()]
    assert all(integer.denominator == 1 for integer in integers)
    raw = data.tobytes()
    out.write(struct.pack("<5I", number, rows, cols, grid, len(raw)))
    out.write(raw)
    out.write(struct.pack(f"<{rows * cols}i", *(int(integer) for integer in integers)))


def main():
    rng = numpy.random.default_rng(2026)
    with open(sys.argv[1], "wb") as out:
        for number, (kind, halves) in enumerate(KINDS):
            weights = GGML_QUANT_SIZES[kind][0]
            rows, cols = (2, 512) if weights == 256 else (3, 96)
            count = rows * cols // weights
            plain = random_blocks(rng, kind, halves, count, range(3, 9))
            write_case(out, number, kind, halves, rows, cols, plain)
            # Subnormal scales (field 0) next to larger ones: the finest grid there is.
            wide = random_blocks(rng, kind, halves, count, [0, 1, 8])
            write_case(out, number, kind, halves, rows, cols, wide)
            if kind in QUANTIZERS:
                data = rng.normal(0, 0.04, (rows, cols)).astype(numpy.float32)
                write_case(out, number, kind, halves, rows, cols, quants.quantize(data, kind))


main()
