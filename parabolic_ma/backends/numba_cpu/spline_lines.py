"""What cubic splines of every dimension share: filters along lines, weights, coordinates in a box.

See `parabolic_ma.splines` for the splines and their padding.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from parabolic_ma.typing import Array

# No "nnan", "ninf": a point that is not a number has to come out as one.
KERNEL_OPTIONS = {
    "cache": True,
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"contract", "reassoc", "nsz", "arcp"},
}
_BOX, _PERIODIC, _FREE = range(3)
_WARM_UP = 32  # the periodic recursions forget their start as (2 - sqrt 3)^k: 5e-19


# ---------------------------------------------------------------------------- coefficients


@njit(**KERNEL_OPTIONS)
def reciprocal_pivots(n: int, boundary: int) -> Array:
    """Return ``1 / pivot`` of the elimination of ``(1, 4, 1)`` for each row."""
    w = np.empty(n)
    if boundary == _PERIODIC:
        w[:] = 2.0 - math.sqrt(3.0)
        return w
    if boundary == _FREE:
        w[0] = 0.0  # the outer coefficients are given, their rows are the identity
        for i in range(1, n):
            w[i] = 1.0 / (4.0 - w[i - 1])
        return w
    w[0] = 1.0 / 6.0 if n == 1 else 0.2
    for i in range(1, n):
        w[i] = 1.0 / ((5.0 if i == n - 1 else 4.0) - w[i - 1])
    return w


@njit(**KERNEL_OPTIONS)
def filter_line(c, w, n, boundary):
    """Turn the values in ``c[2 : n + 2]`` into coefficients, and fill the padding."""
    if boundary == _FREE:
        first = c[2] - (2.0 * c[2] - 5.0 * c[3] + 4.0 * c[4] - c[5]) / 6.0
        last = c[n + 1] - (2.0 * c[n + 1] - 5.0 * c[n] + 4.0 * c[n - 1] - c[n - 2]) / 6.0
        value_first = c[2]
        value_last = c[n + 1]
        c[2] = first
        g = first
        for i in range(1, n - 1):
            g = 6.0 * c[i + 2] * w[i] - w[i] * g
            c[i + 2] = g
        c[n + 1] = last
        g = last
        for i in range(n - 2, 0, -1):
            g = c[i + 2] - w[i] * g
            c[i + 2] = g
        c[1] = 6.0 * value_first - 4.0 * c[2] - c[3]
        c[0] = 4.0 * c[1] - 6.0 * c[2] + 4.0 * c[3] - c[4]
        c[n + 2] = 6.0 * value_last - 4.0 * c[n + 1] - c[n]
        c[n + 3] = 4.0 * c[n + 2] - 6.0 * c[n + 1] + 4.0 * c[n] - c[n - 1]
        return
    g = 0.0
    if boundary == _PERIODIC:
        for k in range(-_WARM_UP, 0):
            g = (6.0 * c[k % n + 2] - g) * w[0]
    for i in range(n):
        g = 6.0 * c[i + 2] * w[i] - w[i] * g
        c[i + 2] = g
    g = 0.0
    if boundary == _PERIODIC:
        for k in range(_WARM_UP, 0, -1):
            g = c[(n - 1 + k) % n + 2] - w[0] * g
    for i in range(n - 1, -1, -1):
        g = c[i + 2] - w[i] * g
        c[i + 2] = g
    for k in range(2):
        c[1 - k] = c[_padding(-1 - k, n, boundary) + 2]
        c[n + 2 + k] = c[_padding(n + k, n, boundary) + 2]


@njit(**KERNEL_OPTIONS)
def _padding(i, n, boundary):
    """Node whose coefficient stands at node ``i`` beyond the ends."""
    if boundary == _PERIODIC:
        return i % n
    folded = i % (2 * n)
    return min(folded, 2 * n - 1 - folded)


@njit(**KERNEL_OPTIONS)
def filter_rows(c, w, n, boundary):
    """Do what `filter_line` does along axis 0, for all columns of ``c`` at once."""
    m = c.shape[1]
    if boundary == _FREE:
        values = np.empty((2, m))
        for j in range(m):
            values[0, j] = c[2, j]
            values[1, j] = c[n + 1, j]
        outer = np.empty((2, m))
        for j in range(m):
            outer[0, j] = c[2, j] - (2.0 * c[2, j] - 5.0 * c[3, j] + 4.0 * c[4, j] - c[5, j]) / 6.0
            outer[1, j] = (
                c[n + 1, j]
                - (2.0 * c[n + 1, j] - 5.0 * c[n, j] + 4.0 * c[n - 1, j] - c[n - 2, j]) / 6.0
            )
        c[2] = outer[0]
        c[n + 1] = outer[1]
        for i in range(1, n - 1):
            for j in range(m):
                c[i + 2, j] = 6.0 * w[i] * c[i + 2, j] - w[i] * c[i + 1, j]
        for i in range(n - 2, 0, -1):
            for j in range(m):
                c[i + 2, j] -= w[i] * c[i + 3, j]
        for j in range(m):
            c[1, j] = 6.0 * values[0, j] - 4.0 * c[2, j] - c[3, j]
            c[0, j] = 4.0 * c[1, j] - 6.0 * c[2, j] + 4.0 * c[3, j] - c[4, j]
            c[n + 2, j] = 6.0 * values[1, j] - 4.0 * c[n + 1, j] - c[n, j]
            c[n + 3, j] = 4.0 * c[n + 2, j] - 6.0 * c[n + 1, j] + 4.0 * c[n, j] - c[n - 1, j]
        return
    start = np.zeros(m)
    if boundary == _PERIODIC:
        for k in range(-_WARM_UP, 0):
            for j in range(m):
                start[j] = (6.0 * c[k % n + 2, j] - start[j]) * w[0]
    for j in range(m):
        c[2, j] = (6.0 * c[2, j] - start[j]) * w[0]
    for i in range(1, n):
        for j in range(m):
            c[i + 2, j] = 6.0 * w[i] * c[i + 2, j] - w[i] * c[i + 1, j]
    start[:] = 0.0
    if boundary == _PERIODIC:
        for k in range(_WARM_UP, 0, -1):
            for j in range(m):
                start[j] = c[(n - 1 + k) % n + 2, j] - w[0] * start[j]
    for j in range(m):
        c[n + 1, j] -= w[n - 1] * start[j]
    for i in range(n - 2, -1, -1):
        for j in range(m):
            c[i + 2, j] -= w[i] * c[i + 3, j]
    for k in range(2):
        c[1 - k] = c[_padding(-1 - k, n, boundary) + 2]
        c[n + 2 + k] = c[_padding(n + k, n, boundary) + 2]


# ---------------------------------------------------------------------------- one coordinate


@njit(**KERNEL_OPTIONS)
def place(s, n):
    """First padded index touched at node coordinate ``s``, and the fraction of the cell."""
    i = math.floor(s)
    i = max(-1, min(i, n - 5))
    return i + 1, s - i


@njit(**KERNEL_OPTIONS)
def values_at(t):
    """Weights of the four coefficients around ``t`` in [0, 1)."""
    r = 1.0 - t
    return (
        r * r * r * (1.0 / 6.0),
        2.0 / 3.0 - t * t * (1.0 - 0.5 * t),
        2.0 / 3.0 - r * r * (1.0 - 0.5 * r),
        t * t * t * (1.0 / 6.0),
    )


@njit(**KERNEL_OPTIONS)
def slopes_at(t):
    """Weights of the derivative, in units of a cell."""
    r = 1.0 - t
    return -0.5 * r * r, t * (1.5 * t - 2.0), r * (2.0 - 1.5 * r), 0.5 * t * t


@njit(**KERNEL_OPTIONS)
def curvatures_at(t):
    """Weights of the second derivative, in units of a cell."""
    r = 1.0 - t
    return r, 3.0 * t - 2.0, 3.0 * r - 2.0, t


@njit(**KERNEL_OPTIONS)
def project(y, lower, upper, periodic):
    """Put one coordinate into the box: wrapped if periodic, otherwise clamped."""
    if periodic:
        return y - (upper - lower) * math.floor((y - lower) / (upper - lower))
    return min(max(y, lower), upper)
