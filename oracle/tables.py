"""Prints lengths and hashes of the correctly rounded lookup tables the integer engine must own.

Only Python integers and `decimal`: no floats, no libm, no code from the workspace. Rounding is
floor(x + 1/2) everywhere. Each table prints how close any entry comes to a rounding tie; closer than
1e-30 stops the script, so no entry depends on the working precision (errors stay below 1e-60).

    python tables.py                      # all tables, JSON on stdout
    python tables.py --rope 1000000 128 4096   # only a RoPE table: base, head_dim, positions
    python tables.py --dump DIR           # also write DIR/NAME.bin, the hashed bytes
"""

import argparse
import hashlib
import json
import struct
import sys
from decimal import MAX_EMAX, MIN_EMIN, Decimal, getcontext
from pathlib import Path

getcontext().prec = 90
getcontext().Emax = MAX_EMAX  # gelu at x = -512 needs exp(9.6 million)
getcontext().Emin = MIN_EMIN
FIXED_BITS = 320  # fixed-point fraction bits of the rotation recurrence and of pi
ONE = 1 << FIXED_BITS
TIE_LIMIT = Decimal("1e-30")
HALF = Decimal("0.5")


class Rounder:
    """Rounds by floor(x + 1/2) and remembers the smallest distance to a tie."""

    def __init__(self):
        self.nearest = HALF

    def __call__(self, x):
        floor = int(x) if x >= 0 or x == int(x) else int(x) - 1
        above = x - floor - HALF
        distance = abs(above)
        if distance < TIE_LIMIT:
            sys.exit(f"tie within {TIE_LIMIT} at {x}: raise the precision")
        self.nearest = min(self.nearest, distance)
        return floor + (above > 0)


def pi():
    """Machin 1706: pi = 16 atan(1/5) - 4 atan(1/239), in fixed point."""

    def atan_inverse(n):
        power, total, k = ONE // n, 0, 0
        while power:
            total += power // (2 * k + 1) * (-1 if k % 2 else 1)
            power //= n * n
            k += 1
        return total

    return Decimal(16 * atan_inverse(5) - 4 * atan_inverse(239)) / ONE


def cos_sin_series(theta):
    """Taylor series of cos and sin at a fixed-point angle 0 <= theta <= ONE."""
    parts, term, k = [0, 0], ONE, 0
    while term:
        parts[k % 2] += -term if k % 4 >= 2 else term
        k += 1
        term = term * theta // (k * ONE)
    return parts


def rope(base, head_dim, positions):
    """round(2^14 cos), round(2^14 sin) of pos * base^(-2i/head_dim); for pos, for i: cos, sin."""
    rounded = Rounder()
    half = head_dim // 2
    columns = []
    for i in range(half):
        inverse_frequency = (Decimal(base).ln() * Decimal(-2 * i) / Decimal(head_dim)).exp()
        c1, s1 = cos_sin_series(int(inverse_frequency * ONE))
        c, s = ONE, 0
        column = []
        for _ in range(positions):
            column.append((round_fixed(c << 14, rounded), round_fixed(s << 14, rounded)))
            c, s = (c * c1 - s * s1) >> FIXED_BITS, (s * c1 + c * s1) >> FIXED_BITS
        columns.append(column)
    values = [v for pos in range(positions) for column in columns for v in column[pos]]
    return values, "h", rounded.nearest


def round_fixed(x, rounded):
    """Rounds fixed-point x. The tie distance needs 40 bits only, unless it is small."""
    above = (x & (ONE - 1)) - (ONE >> 1)
    if abs(above) >> (FIXED_BITS - 40):
        rounded.nearest = min(rounded.nearest, Decimal(abs(above) >> (FIXED_BITS - 64)) / (1 << 64))
        return (x >> FIXED_BITS) + (above > 0)
    return rounded(Decimal(x) / ONE)


def exp_table(bits, steps_per_unit, code):
    """round((2^bits - 1) exp(-(t + 1/2 if t > 0) / steps)) for t = 0, 1, .. while nonzero."""
    rounded, values, t = Rounder(), [], 0
    while True:
        exponent = (Decimal(t) + (HALF if t else 0)) / steps_per_unit
        value = rounded((2**bits - 1) * (-exponent).exp())
        if value == 0:
            return values, code, rounded.nearest
        values.append(value)
        t += 1


def gated_table(fraction_bits, sigmoid_argument):
    """round(2^f x sigmoid(a(x))), x = g / 2^f, for g = -32768..32767."""
    rounded, values = Rounder(), []
    for g in range(-32768, 32768):
        exponential = (-sigmoid_argument(Decimal(g) / 2**fraction_bits)).exp()
        values.append(rounded(g / (1 + exponential)))
    return values, "h", rounded.nearest


def silu(fraction_bits):
    return gated_table(fraction_bits, lambda x: x)


def gelu_tanh(fraction_bits):
    """0.5 x (1 + tanh y) = x sigmoid(2 y), y = sqrt(2/pi) (x + 0.044715 x^3)."""
    scale = 2 * (2 / pi()).sqrt()
    cubic = Decimal("0.044715")
    return gated_table(fraction_bits, lambda x: scale * (x + cubic * x * x * x))


def describe(name, table, dump):
    values, code, nearest = table
    data = struct.pack(f"<{len(values)}{code}", *values)
    if dump:
        (dump / f"{name}.bin").write_bytes(data)
    picks = sorted({0, 1, 2, 3, len(values) // 4, len(values) // 2, len(values) * 3 // 4, len(values) - 1})
    return {
        "entries": len(values),
        "type": {"h": "i16 LE", "H": "u16 LE", "I": "u32 LE"}[code],
        "sha256": hashlib.sha256(data).hexdigest(),
        "nearest_tie": f"{nearest:.3e}",
        "min": min(values),
        "max": max(values),
        "sum": sum(values),
        "values": {str(i): values[i] for i in picks},
    }


def main():
    parser = argparse.ArgumentParser(description="hashes of the correctly rounded tables")
    parser.add_argument("--rope", nargs=3, type=int, metavar=("BASE", "HEAD_DIM", "POSITIONS"))
    parser.add_argument("--dump", type=Path, metavar="DIR")
    args = parser.parse_args()
    if args.rope:
        jobs = {"ROPE_{}_{}_{}".format(*args.rope): lambda: rope(*args.rope)}
    else:
        jobs = {
            "ROPE_100000_64_8192": lambda: rope(100000, 64, 8192),
            "EXP12": lambda: exp_table(12, 64, "H"),
            "EXP15": lambda: exp_table(15, 64, "H"),
            "EXP24S": lambda: exp_table(24, 256, "I"),
        }
        for f in range(6, 12):
            jobs[f"SILU_{f}"] = lambda f=f: silu(f)
        for f in range(6, 12):
            jobs[f"GELU_{f}"] = lambda f=f: gelu_tanh(f)
    print(json.dumps({name: describe(name, job(), args.dump) for name, job in jobs.items()}, indent=1))


if __name__ == "__main__":
    main()
