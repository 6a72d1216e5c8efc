"""Numba kernels of the inner density: its logarithm and the gradient of the potential, by tiles.

Cells are worked on in tiles, parts of a row; everything about a tile lies in one scratch array,
each quantity at an offset of its own.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from parabolic_ma.backends.numba_cpu import simd
from parabolic_ma.backends.numba_cpu.simd import LANES64, load64, store
from parabolic_ma.backends.numba_cpu.spline_cell import prefetch_cell, spline_cell

TILE = 128
X1, X2, LOGM, F1, F2 = (k * TILE for k in range(5))
H11, H12, H22 = (k * TILE for k in range(5, 8))
O1, O2, E1, E2 = (k * TILE for k in range(8, 12))
SIZE = 12 * TILE


@njit(cache=True, nogil=True, error_model="numpy")
def _tile_gaussian(b, n, params):
    """Params: log density at the mean, mean (2), precision (p11, p12, p22)."""
    k, m1, m2, p11, p12, p22 = params[0], params[1], params[2], params[3], params[4], params[5]
    for j in range(n):
        u = b[X1 + j] - m1
        v = b[X2 + j] - m2
        g1 = p11 * u + p12 * v
        g2 = p12 * u + p22 * v
        b[F1 + j] = g1
        b[F2 + j] = g2
        b[LOGM + j] = k - 0.5 * (u * g1 + v * g2)


@njit(cache=True, nogil=True, error_model="numpy")
def _tile_mixture(b, n, params):
    """Params: six numbers a component as for one Gaussian, the constant with its log weight.

    Lanes beyond the tile's end are worked on too: the scratch array has them.
    """
    count = params.shape[0] // 6
    for j in range(0, n, LANES64):
        x1, x2 = load64(b, X1 + j), load64(b, X2 + j)
        top = simd.splat64(-1e300)
        for c in range(count):
            k, m1, m2 = params[6 * c], params[6 * c + 1], params[6 * c + 2]
            p11, p12, p22 = params[6 * c + 3], params[6 * c + 4], params[6 * c + 5]
            u, v = x1 - m1, x2 - m2
            top = simd.maximum(top, k - 0.5 * (u * (p11 * u + p12 * v) + v * (p12 * u + p22 * v)))
        total = simd.splat64(0.0)
        f1 = simd.splat64(0.0)
        f2 = simd.splat64(0.0)
        for c in range(count):
            k, m1, m2 = params[6 * c], params[6 * c + 1], params[6 * c + 2]
            p11, p12, p22 = params[6 * c + 3], params[6 * c + 4], params[6 * c + 5]
            u, v = x1 - m1, x2 - m2
            g1, g2 = p11 * u + p12 * v, p12 * u + p22 * v
            w = simd.exp(k - 0.5 * (u * g1 + v * g2) - top)
            total = total + w
            f1 = f1 + w * g1
            f2 = f2 + w * g2
        store(b, F1 + j, f1 / total)
        store(b, F2 + j, f2 / total)
        store(b, LOGM + j, top + simd.log(total))


@njit(cache=True, nogil=True, error_model="numpy")
def _tile_uniform(b, n, params):
    """Params: log density."""
    for j in range(n):
        b[LOGM + j] = params[0]
        b[F1 + j] = 0.0
        b[F2 + j] = 0.0


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def _tile_table(b, n, params, table):
    """Cubic B-spline of the log density.

    Params: lower corner (2), spacing (2), curvature, 1 if periodic. ``table`` has two coefficients
    of padding a side; nodes are cell centres. Outside the box the log density continues with the
    slope at the face and the given downward curvature.
    """
    n1 = table.shape[0] - 4
    n2 = table.shape[1] - 4
    lo1, lo2, kappa, wrap = params[0], params[1], params[4], params[5]
    h1, h2 = params[2], params[3]
    r1, r2 = 1.0 / h1, 1.0 / h2
    # position in cells, clamped to the box, and what is cut off; with zero as the first argument
    # max and min make 0 of a NaN, which is no index (the rest that is cut off stays NaN)
    for j in range(n):
        s1 = (b[X1 + j] - lo1) * r1
        s2 = (b[X2 + j] - lo2) * r2
        s1 -= wrap * np.floor(s1 / n1) * n1
        s2 -= wrap * np.floor(s2 / n2) * n2
        o1 = min(max(0.0, s1), float(n1))
        o2 = min(max(0.0, s2), float(n2))
        b[E1 + j] = (s1 - o1) * h1
        b[E2 + j] = (s2 - o2) * h2
        b[O1 + j] = o1 + 0.5
        b[O2 + j] = o2 + 0.5
    for j in range(0, n, 2):
        prefetch_cell(table, np.int64(b[O1 + j]), np.int64(b[O2 + j]))
    for j in range(n):
        i1 = np.int64(b[O1 + j])
        i2 = np.int64(b[O2 + j])
        value, d1, d2 = spline_cell(table, i1, i2, b[O1 + j] - i1, b[O2 + j] - i2)
        b[LOGM + j] = value
        b[F1 + j] = d1
        b[F2 + j] = d2
    for j in range(n):
        d1 = b[F1 + j] * r1
        d2 = b[F2 + j] * r2
        e1 = b[E1 + j]
        e2 = b[E2 + j]
        b[LOGM + j] += d1 * e1 + d2 * e2 - 0.5 * kappa * (e1 * e1 + e2 * e2)
        b[F1 + j] = kappa * e1 - d1
        b[F2 + j] = kappa * e2 - d2


@njit(cache=True, nogil=True, error_model="numpy")
def tile_inner(b, n, kind, params, table):
    """Log density and gradient of the potential at a tile of points."""
    if kind == 0:
        _tile_gaussian(b, n, params)
    elif kind == 1:
        _tile_mixture(b, n, params)
    elif kind == 2:
        _tile_uniform(b, n, params)
    else:
        _tile_table(b, n, params, table)


@njit(cache=True, nogil=True, error_model="numpy")
def inner_row(kind, params, table, x1, x2, logm, f1, f2):
    """Log density and gradient of the potential of the inner measure at points."""
    b = np.zeros(SIZE)
    for j0 in range(0, x1.shape[0], TILE):
        n = min(TILE, x1.shape[0] - j0)
        for j in range(n):
            b[X1 + j] = x1[j0 + j]
            b[X2 + j] = x2[j0 + j]
        tile_inner(b, n, kind, params, table)
        for j in range(n):
            logm[j0 + j] = b[LOGM + j]
            f1[j0 + j] = b[F1 + j]
            f2[j0 + j] = b[F2 + j]
