"""The inner density in space: its logarithm and the gradient of its potential, tile by tile.

A tile is a piece of a grid line with everything that is computed on it, in one scratch array: with
constant offsets into the same array LLVM sees that the streams do not overlap and turns every loop
into SIMD code. The offsets are here; `newton_3d` uses the rest of them.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from parabolic_ma.backends.numba_cpu.maths import exp, log

OPTIONS = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}

T = 128  # cells of a tile
X1, X2, X3, LOGM, F1, F2, F3 = (k * T for k in range(7))
H11, H12, H13, H22, H23, H33 = (k * T for k in range(7, 13))
NU, M, T2, LOGT = (k * T for k in range(13, 17))
DET, LOW, MIDDLE, HIGH = (k * T for k in range(17, 21))
C11, C12, C13, C22, C23, C33 = (k * T for k in range(21, 27))
NUMERATOR, WEIGHT, SIGMA = (k * T for k in range(27, 30))
ROWS = 30 * T  # nine coefficients, then the right-hand side and its derivative
R, TAN = ROWS + 9 * T, ROWS + 10 * T
LINES, LINE = ROWS, T + 2  # nine lines of u, gone before the rows are there
SIZE = ROWS + 11 * T


@njit(**OPTIONS)
def _gaussian(b, n, params):
    """Params: log density at the mean, mean (3), precision (11, 12, 13, 22, 23, 33)."""
    constant, m1, m2, m3 = params[0], params[1], params[2], params[3]
    p11, p12, p13, p22, p23, p33 = (
        params[4], params[5], params[6], params[7], params[8], params[9]
    )  # fmt: skip
    for j in range(n):
        u = b[X1 + j] - m1
        v = b[X2 + j] - m2
        w = b[X3 + j] - m3
        g1 = p11 * u + p12 * v + p13 * w
        g2 = p12 * u + p22 * v + p23 * w
        g3 = p13 * u + p23 * v + p33 * w
        b[F1 + j] = g1
        b[F2 + j] = g2
        b[F3 + j] = g3
        b[LOGM + j] = constant - 0.5 * (u * g1 + v * g2 + w * g3)


@njit(**OPTIONS)
def _mixture(b, n, params):
    """Params: ten numbers a component as for one Gaussian, the constant with its log weight.

    One pass: when a component is larger than all before it, their sums are scaled down.
    """
    for j in range(n):
        b[T2 + j] = -1e300
        b[NU + j] = 0.0
        b[F1 + j] = 0.0
        b[F2 + j] = 0.0
        b[F3 + j] = 0.0
    for c in range(params.shape[0] // 10):
        one = params[10 * c : 10 * c + 10]
        constant, m1, m2, m3 = one[0], one[1], one[2], one[3]
        p11, p12, p13, p22, p23, p33 = one[4], one[5], one[6], one[7], one[8], one[9]
        for j in range(n):
            u = b[X1 + j] - m1
            v = b[X2 + j] - m2
            w = b[X3 + j] - m3
            g1 = p11 * u + p12 * v + p13 * w
            g2 = p12 * u + p22 * v + p23 * w
            g3 = p13 * u + p23 * v + p33 * w
            e = constant - 0.5 * (u * g1 + v * g2 + w * g3)
            top = max(b[T2 + j], e)
            old = exp(b[T2 + j] - top)
            new = exp(e - top)
            b[NU + j] = old * b[NU + j] + new
            b[F1 + j] = old * b[F1 + j] + new * g1
            b[F2 + j] = old * b[F2 + j] + new * g2
            b[F3 + j] = old * b[F3 + j] + new * g3
            b[T2 + j] = top
    for j in range(n):
        total = b[NU + j]
        b[F1 + j] /= total
        b[F2 + j] /= total
        b[F3 + j] /= total
        b[LOGM + j] = b[T2 + j] + log(total)


@njit(**OPTIONS)
def _uniform(b, n, params):
    """Params: log density."""
    for j in range(n):
        b[LOGM + j] = params[0]
        b[F1 + j] = 0.0
        b[F2 + j] = 0.0
        b[F3 + j] = 0.0


@njit(**OPTIONS)
def _place(x, lower, h, cells, wrap):
    """First coefficient of the spline's piece, its local coordinate and what the box cuts off."""
    s = (x - lower) / h
    s -= wrap * np.floor(s / cells) * cells
    # with zero as the first argument max makes 0 of a NaN, which is no index; the excess stays NaN
    inside = min(max(0.0, s), float(cells))
    first = math.floor(inside + 0.5)
    return int(first), inside + 0.5 - first, (s - inside) * h


@njit(**OPTIONS)
def _weights(t):
    s = 1.0 - t
    return (
        s * s * s / 6.0,
        (4.0 - 3.0 * t * t * (2.0 - t)) / 6.0,
        (4.0 - 3.0 * s * s * (2.0 - s)) / 6.0,
        t * t * t / 6.0,
    )


@njit(**OPTIONS)
def _slopes(t):
    s = 1.0 - t
    return -0.5 * s * s, t * (1.5 * t - 2.0), s * (2.0 - 1.5 * s), 0.5 * t * t


@njit(**OPTIONS)
def _table(b, n, params, table):
    """Cubic B-spline of the log density.

    Params: lower corner (3), spacing (3), curvature, 1 if periodic. Outside the box the log density
    continues with the slope at the face and the given downward curvature.
    """
    n1, n2, n3 = table.shape[0] - 4, table.shape[1] - 4, table.shape[2] - 4
    h1, h2, h3, kappa, wrap = params[3], params[4], params[5], params[6], params[7]
    for q in range(n):
        i, t1, e1 = _place(b[X1 + q], params[0], h1, n1, wrap)
        j, t2, e2 = _place(b[X2 + q], params[1], h2, n2, wrap)
        k, t3, e3 = _place(b[X3 + q], params[2], h3, n3, wrap)
        v1, s1 = _weights(t1), _slopes(t1)
        v2, s2 = _weights(t2), _slopes(t2)
        v3, s3 = _weights(t3), _slopes(t3)
        value = 0.0
        d1 = 0.0
        d2 = 0.0
        d3 = 0.0
        for a in range(4):
            value2 = 0.0
            slope2 = 0.0
            slope3 = 0.0
            for c in range(4):
                line = table[i + a, j + c]
                along = (
                    v3[0] * line[k]
                    + v3[1] * line[k + 1]
                    + v3[2] * line[k + 2]
                    + v3[3] * line[k + 3]
                )
                rise = (
                    s3[0] * line[k]
                    + s3[1] * line[k + 1]
                    + s3[2] * line[k + 2]
                    + s3[3] * line[k + 3]
                )
                value2 += v2[c] * along
                slope2 += s2[c] * along
                slope3 += v2[c] * rise
            value += v1[a] * value2
            d1 += s1[a] * value2
            d2 += v1[a] * slope2
            d3 += v1[a] * slope3
        d1 /= h1
        d2 /= h2
        d3 /= h3
        beyond = e1 * e1 + e2 * e2 + e3 * e3
        b[LOGM + q] = value + d1 * e1 + d2 * e2 + d3 * e3 - 0.5 * kappa * beyond
        b[F1 + q] = kappa * e1 - d1
        b[F2 + q] = kappa * e2 - d2
        b[F3 + q] = kappa * e3 - d3


@njit(**OPTIONS)
def tile_inner(b, n, kind, params, table):
    """Log density and gradient of the potential of the inner measure at a tile of points."""
    if kind == 0:
        _gaussian(b, n, params)
    elif kind == 1:
        _mixture(b, n, params)
    elif kind == 2:
        _uniform(b, n, params)
    else:
        _table(b, n, params, table)


@njit(**OPTIONS)
def tile_store(b, offset, n, out):
    """Copy n numbers of a tile to ``out``."""
    for j in range(n):
        out[j] = b[offset + j]


@njit(**OPTIONS)
def inner_row_3d(kind, params, table, x1, x2, x3, logm, f1, f2, f3):
    """Log density and gradient of the potential of the inner measure at points."""
    b = np.empty(SIZE)
    for j0 in range(0, x1.shape[0], T):
        n = min(T, x1.shape[0] - j0)
        for j in range(n):
            b[X1 + j] = x1[j0 + j]
            b[X2 + j] = x2[j0 + j]
            b[X3 + j] = x3[j0 + j]
        tile_inner(b, n, kind, params, table)
        tile_store(b, LOGM, n, logm[j0:])
        tile_store(b, F1, n, f1[j0:])
        tile_store(b, F2, n, f2[j0:])
        tile_store(b, F3, n, f3[j0:])
