"""Exponential and logarithm that LLVM turns into SIMD code: no calls, no branches, no tables.

Both follow the classical reductions (exp to [-ln 2 / 2, ln 2 / 2] with Horner's Taylor polynomial;
log to [sqrt 1/2, sqrt 2] with the series in (m - 1) / (m + 1)) and read or write the exponent bits
directly. Relative error a few units in the last place, tested against the C library. They must be
compiled without reassociation, which would cancel the rounding constants.
"""

from __future__ import annotations

import math

import numpy as np
from llvmlite import ir
from numba import config, njit, types
from numba.extending import intrinsic

MAGIC = 6755399441055744.0  # 1.5 * 2^52: adding it rounds to an integer in the low bits
LOG2E = 1.4426950408889634
LN2_HIGH = 0.6931471803691238
LN2_LOW = 1.9082149292705877e-10
EXP_TERMS = tuple(1.0 / math.factorial(k) for k in range(13, -1, -1))
"""Of Taylor's series, highest power first."""
LOG_TERMS = tuple(1.0 / k for k in range(21, 0, -2))
"""Of the series of artanh, highest power first."""


@intrinsic
def bits_of(typingctx, x):
    """The bits of a float64 as an int64."""

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.IntType(64))

    return types.int64(types.float64), codegen


@intrinsic
def float_of(typingctx, x):
    """The float64 with the given bits."""

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), codegen


if config.DISABLE_JIT:  # intrinsics exist in compiled code only

    def bits_of(x):
        """The bits of a float64 as an integer."""
        return int(np.float64(x).view(np.int64))

    def float_of(bits):
        """The float64 with the given bits; sums of 64-bit integers wrap around."""
        return float(np.uint64(bits % 2**64).view(np.float64))


@njit(cache=True, error_model="numpy", inline="always")
def exp(x):
    """``e^x``; below -700 and above 700 the value at the bound."""
    x = min(max(x, -700.0), 700.0)
    t = x * LOG2E + MAGIC
    k = t - MAGIC
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    p = EXP_TERMS[0]
    for term in EXP_TERMS[1:]:
        p = p * r + term
    return float_of(bits_of(p) + (bits_of(t) << 52))


@njit(cache=True, error_model="numpy", inline="always")
def log(x):
    """Natural logarithm of a positive normal number."""
    # shift the exponent so that the mantissa falls into [sqrt 1/2, sqrt 2)
    b = bits_of(x) - 0x3FE6A09E667F3BCD
    e = b >> 52
    m = float_of((b & 0x000FFFFFFFFFFFFF) + 0x3FE6A09E667F3BCD)
    k = float_of(e + 0x4338000000000000) - MAGIC
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    p = LOG_TERMS[0]
    for term in LOG_TERMS[1:]:
        p = p * z + term
    return k * LN2_HIGH + (2.0 * s * p + k * LN2_LOW)
