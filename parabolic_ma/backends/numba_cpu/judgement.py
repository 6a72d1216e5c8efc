"""Numba kernels that judge a solution: what the certificate needs, in passes over its fields.

Arrays are seen as rows of cells, whatever the dimension: (rows, n), the gradient (rows, n, d).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from parabolic_ma.backends.numba_cpu import simd
from parabolic_ma.backends.numba_cpu.krylov import largest_of
from parabolic_ma.backends.numba_cpu.maths import exp
from parabolic_ma.backends.numba_cpu.simd import LANES64, load64

_FAST = {"contract", "reassoc", "nsz"}


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _add_gradient(weight, gradient, leading, last, shift, sums):
    """Add a row's squared displacements and moments to ``sums``, from the sixth on."""
    n, dim = gradient.shape
    for k in range(dim):
        first = 0.0
        second = 0.0
        moved = 0.0
        for j in range(n):
            x = gradient[j, k]
            y = last[j] if k == dim - 1 else leading[k]
            w = weight[j]
            moved += w * (x - y) * (x - y)
            first += w * (x - shift[k])
            second += w * (x - shift[k]) * (x - shift[k])
        sums[5] += moved
        sums[6] += second
        sums[7 + k] += first


@njit(cache=True, nogil=True, error_model="numpy")
def judge_sums(first, last_row, source, log_det, log_inner, gradient, leading, last, shift):
    """Sums of `judge_sums` of the protocol over some rows, the third being a logarithm's shift."""
    n = source.shape[1]
    whole = n - n % LANES64
    sums = np.zeros(7 + gradient.shape[2])
    sums[2] = -np.inf
    weight = np.empty(n)
    balanced = np.empty(n)
    for i in range(first, last_row):
        s, det, inner = source[i], log_det[i], log_inner[i]
        for j in range(n):
            balanced[j] = inner[j] + det[j]
        top = max(sums[2], largest_of(balanced))
        if top > sums[2]:
            rescale = math.exp(sums[2] - top)
            sums[3] *= rescale
            sums[4] *= rescale
            sums[2] = top
        total = simd.splat64(0.0)
        mean = simd.splat64(0.0)
        mass = simd.splat64(0.0)
        under = simd.splat64(0.0)
        for j in range(0, whole, LANES64):
            a, b = load64(s, j), load64(balanced, j)
            w = simd.exp(a)
            e = simd.exp(b - top)
            total = total + w
            mean = mean + w * (b - a)
            mass = mass + e
            under = under + e * (b - a)
            simd.store(weight, j, w)
        sums[0] += simd.total(total)
        sums[1] += simd.total(mean)
        sums[3] += simd.total(mass)
        sums[4] += simd.total(under)
        for j in range(whole, n):
            w = exp(s[j])
            e = exp(balanced[j] - top)
            weight[j] = w
            sums[0] += w
            sums[1] += w * (balanced[j] - s[j])
            sums[3] += e
            sums[4] += e * (balanced[j] - s[j])
        _add_gradient(weight, gradient[i], leading[i], last, shift, sums)
    return sums


@njit(cache=True, nogil=True, error_model="numpy")
def residual_sums(first, last, source, log_det, log_inner, low, high, u, constant, tail, extension):
    """Sums of `residual_sums` of the protocol over some rows."""
    n = source.shape[1]
    whole = n - n % LANES64
    zero = simd.splat64(0.0)
    squared, rounding, largest = zero, zero, zero
    smallest_low, largest_high = simd.splat64(np.inf), simd.splat64(-np.inf)
    rest = np.array([0.0, 0.0, np.inf, -np.inf, 0.0])
    for i in range(first, last):
        s, det, inner, l1, l2, v = source[i], log_det[i], log_inner[i], low[i], high[i], u[i]
        for j in range(0, whole, LANES64):
            a, lowest = load64(s, j), load64(l1, j)
            w = simd.exp(a)
            f = simd.absolute(load64(inner, j) + load64(det, j) - a - constant)
            t = simd.exp(-f)
            bounded = 2.0 * (1.0 - t) / (1.0 + t)
            squared = squared + w * bounded * bounded
            bulk = simd.greater(tail, a, zero, 1.0 + zero)
            largest = simd.maximum(f * bulk, largest)
            smallest_low = simd.minimum(simd.greater(tail, a, np.inf + zero, lowest), smallest_low)
            largest_high = simd.maximum(
                simd.greater(tail, a, -np.inf + zero, load64(l2, j)), largest_high
            )
            error = load64(v, j) / simd.maximum(lowest, extension)
            rounding = rounding + bulk * w * error * error
        for j in range(whole, n):
            w = exp(s[j])
            f = abs(inner[j] + det[j] - s[j] - constant)
            t = exp(-f)
            bounded = 2.0 * (1.0 - t) / (1.0 + t)
            rest[0] += w * bounded * bounded
            if s[j] >= tail:
                error = v[j] / max(l1[j], extension)
                rest[1] = max(rest[1], f)
                rest[2] = min(rest[2], l1[j])
                rest[3] = max(rest[3], l2[j])
                rest[4] += w * error * error
    return (
        rest[0] + simd.total(squared),
        max(rest[1], simd.most(largest)),
        min(rest[2], simd.least(smallest_low)),
        max(rest[3], simd.most(largest_high)),
        rest[4] + simd.total(rounding),
    )


@njit(cache=True, nogil=True, error_model="numpy")
def mass_histogram(first, last, source, lowest, step, bins):
    """Mass of some rows by log density: bin ``(source - lowest) / step``."""
    n = source.shape[1]
    whole = n - n % LANES64
    counts = np.zeros(bins)
    mass = np.empty(n)
    inverse = 1.0 / step
    for i in range(first, last):
        s = source[i]
        for j in range(0, whole, LANES64):
            simd.store(mass, j, simd.exp(load64(s, j)))
        for j in range(whole, n):
            mass[j] = exp(s[j])
        for j in range(n):
            counts[min(int((s[j] - lowest) * inverse), bins - 1)] += mass[j]
    return counts


@njit(cache=True, nogil=True, error_model="numpy")
def inverse_change(first, last, after, before, spacing, matrix, source):
    """Sum of ``nu |H^{-1} grad(after - before)|^2`` over some rows of a plane grid.

    ``H`` is the Hessian of the quadratic plus ``after``; its small eigenvalue is lifted to a
    ten-thousandth of the large one, and both are positive.
    """
    h1, h2 = spacing
    a11, a12, a22 = matrix
    r11, r22, r12 = 1.0 / (h1 * h1), 1.0 / (h2 * h2), 0.25 / (h1 * h2)
    g1, g2 = 0.5 / h1, 0.5 / h2
    total = 0.0
    for i in range(first, last):
        s, c, t = after[i], after[i + 1], after[i + 2]
        sb, cb, tb = before[i], before[i + 1], before[i + 2]
        nu = source[i]
        for j in range(nu.shape[0]):
            d1 = ((t[j + 1] - tb[j + 1]) - (s[j + 1] - sb[j + 1])) * g1
            d2 = ((c[j + 2] - cb[j + 2]) - (c[j] - cb[j])) * g2
            h11 = a11 + (t[j + 1] - 2.0 * c[j + 1] + s[j + 1]) * r11
            h22 = a22 + (c[j + 2] - 2.0 * c[j + 1] + c[j]) * r22
            h12 = a12 + (t[j + 2] - t[j] - s[j + 2] + s[j]) * r12
            half = 0.5 * (h11 + h22)
            diff = 0.5 * (h11 - h22)
            rad = math.sqrt(diff * diff + h12 * h12)
            high = half + rad
            low = half - rad
            if high > 0.5 * rad:
                low = (h11 * h22 - h12 * h12) / high
            floor = 1e-4 * abs(high) + 1e-300
            # <d, H d> = l1 |d1|^2 + l2 |d2|^2 splits d into its parts along the eigenvectors
            squared = d1 * d1 + d2 * d2
            bent = h11 * d1 * d1 + 2.0 * h12 * d1 * d2 + h22 * d2 * d2
            along_high = 0.0
            if high - low > 1e-12 * abs(high):
                along_high = min(max((bent - low * squared) / (high - low), 0.0), squared)
            low = max(low, floor)
            high = max(high, floor)
            total += exp(nu[j]) * (
                (squared - along_high) / (low * low) + along_high / (high * high)
            )
    return total
