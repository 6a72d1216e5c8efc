"""Numba kernels in space that pass over whole arrays: sums, norms and corrections."""

from __future__ import annotations

import math

from numba import njit

_OPTIONS = {
    "cache": True,
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"contract", "reassoc", "nsz"},
}


@njit(**_OPTIONS)
def gradient_norm_3d(v, weight, floor, h1, h2, h3):
    """``(sum |grad v|^2 (weight - floor)^2)^(1/2)`` of a padded array, centred."""
    n1, n2, n3 = weight.shape
    total = 0.0
    g1, g2, g3 = 0.5 / h1, 0.5 / h2, 0.5 / h3
    for i in range(n1):
        for j in range(n2):
            s, n, c = v[i, j + 1], v[i + 2, j + 1], v[i + 1, j + 1]
            e, w, shares = v[i + 1, j + 2], v[i + 1, j], weight[i, j]
            for k in range(n3):
                a = (n[k + 1] - s[k + 1]) * g1
                b = (e[k + 1] - w[k + 1]) * g2
                d = (c[k + 2] - c[k]) * g3
                share = shares[k] - floor
                total += (a * a + b * b + d * d) * (share * share)
    return math.sqrt(total)


@njit(**_OPTIONS)
def add_correction_3d(u, v, out):
    """``out = u + v - mean v`` on padded arrays, ghosts included; the mean is the interior's."""
    n1, n2, n3 = v.shape
    total = 0.0
    for i in range(1, n1 - 1):
        for j in range(1, n2 - 1):
            line = v[i, j]
            for k in range(1, n3 - 1):
                total += line[k]
    mean = total / ((n1 - 2) * (n2 - 2) * (n3 - 2))
    for i in range(n1):
        for j in range(n2):
            a, b, c = u[i, j], v[i, j], out[i, j]
            for k in range(n3):
                c[k] = a[k] + (b[k] - mean)
