"""Numba kernels of the weighted Krylov iteration; vectors are float32, sums float64."""

from __future__ import annotations

import numpy as np
from numba import njit

from parabolic_ma.backends.numba_cpu import simd
from parabolic_ma.backends.numba_cpu.maths import exp
from parabolic_ma.backends.numba_cpu.multigrid import _left_cell, _left_lanes
from parabolic_ma.backends.numba_cpu.simd import LANES32, LANES64, load32, load64, store


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def dots(first, last, w, r, weight):
    """Return ``<w, w>``, ``<w, r>`` and ``<r, r>`` under the weight, over some rows."""
    ww = 0.0
    wr = 0.0
    rr = 0.0
    for i in range(first, last):
        wi, ri, gi = w[i], r[i], weight[i]
        a = np.float32(0.0)
        b = np.float32(0.0)
        c = np.float32(0.0)
        for j in range(w.shape[1]):
            g = gi[j] * wi[j]
            a += g * wi[j]
            b += g * ri[j]
            c += gi[j] * ri[j] * ri[j]
        ww += a
        wr += b
        rr += c
    return ww, wr, rr


@njit(cache=True, nogil=True, error_model="numpy")
def matrix_dots(first, last, rows, v, r, weight):
    """`dots` of ``w = -M v`` and r, over some rows; w is not stored."""
    ny = r.shape[1]
    whole = ny - ny % LANES32
    ww = 0.0
    wr = 0.0
    rr = 0.0
    for i in range(first, last):
        a, d, x, p, q = rows[0, i], rows[1, i], rows[2, i], rows[3, i], rows[4, i]
        s, c, n = v[i], v[i + 1], v[i + 2]
        ri, gi = r[i], weight[i]
        sum_ww = simd.splat32(np.float32(0.0))
        sum_wr = simd.splat32(np.float32(0.0))
        sum_rr = simd.splat32(np.float32(0.0))
        for j in range(0, whole, LANES32):
            right = load32(ri, j)
            w = _left_lanes(ri, a, d, x, p, q, s, c, n, j) - right
            g = load32(gi, j) * w
            sum_ww = sum_ww + g * w
            sum_wr = sum_wr + g * right
            sum_rr = sum_rr + load32(gi, j) * right * right
        ww += simd.total(sum_ww)
        wr += simd.total(sum_wr)
        rr += simd.total(sum_rr)
        for j in range(whole, ny):
            w = _left_cell(ri, a, d, x, p, q, s, c, n, j) - ri[j]
            ww += gi[j] * w * w
            wr += gi[j] * w * ri[j]
            rr += gi[j] * ri[j] * ri[j]
    return ww, wr, rr


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def axpy(alpha, x, y):
    """``y += alpha x`` in place."""
    f = np.float32(alpha)
    for i in range(x.shape[0]):
        xi, yi = x[i], y[i]
        for j in range(x.shape[1]):
            yi[j] += f * xi[j]


@njit(cache=True, nogil=True, error_model="numpy")
def largest_of(line):
    """Largest entry of a line."""
    n = line.shape[0]
    whole = n - n % LANES64
    top = -np.inf
    if whole:
        best = load64(line, 0)
        for j in range(LANES64, whole, LANES64):
            best = simd.maximum(best, load64(line, j))
        top = simd.most(best)
    for j in range(whole, n):
        top = max(top, line[j])
    return top


@njit(cache=True, nogil=True, error_model="numpy")
def largest(first, last, log_source):
    """Largest entry of some rows."""
    top = -np.inf
    for i in range(first, last):
        top = max(top, largest_of(log_source[i]))
    return top


@njit(cache=True, nogil=True, error_model="numpy")
def norm_weight(first, last, log_source, top, floor, weight):
    """``weight = exp((log_source - top) / 2) + floor`` on some rows."""
    ny = log_source.shape[1]
    whole = ny - ny % LANES32
    for i in range(first, last):
        s, w = log_source[i], weight[i]
        for j in range(0, whole, LANES32):
            a = simd.exp(0.5 * (load64(s, j) - top)) + floor
            b = simd.exp(0.5 * (load64(s, j + LANES64) - top)) + floor
            store(w, j, simd.narrow(a, b))
        for j in range(whole, ny):
            w[j] = exp(0.5 * (s[j] - top)) + floor


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def squared_gradient(first, last, v, weight, floor, h1, h2):
    """``sum |grad v|^2 (weight - floor)^2`` of some rows of a padded array, centred."""
    ny = weight.shape[1]
    total = 0.0
    g1, g2 = 0.5 / h1, 0.5 / h2
    for i in range(first, last):
        s, c, t, w = v[i], v[i + 1], v[i + 2], weight[i]
        for j in range(ny):
            a = (t[j + 1] - s[j + 1]) * g1
            b = (c[j + 2] - c[j]) * g2
            share = float(w[j]) - floor
            total += (a * a + b * b) * (share * share)
    return total


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def interior_sum(first, last, v):
    """Sum of some rows of a padded array without its ghosts."""
    total = 0.0
    for i in range(first, last):
        line = v[i + 1]
        for j in range(1, line.shape[0] - 1):
            total += line[j]
    return total


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})
def add_shifted(first, last, u, v, mean, out):
    """``out = u + (v - mean)`` on some rows."""
    for i in range(first, last):
        a, b, c = u[i], v[i], out[i]
        for j in range(a.shape[0]):
            c[j] = a[j] + (b[j] - mean)
