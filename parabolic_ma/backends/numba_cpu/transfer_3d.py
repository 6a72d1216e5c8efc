"""Numba kernels that carry grid functions between grids of any two sizes on one box in space."""

from __future__ import annotations

import numpy as np
from numba import njit

from parabolic_ma.backends.numba_cpu.maths import exp, log


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def interpolate_3d(coarse, fine, i1, w1, i2, w2, i3, w3):
    """Tensor four-point interpolation.

    ``fine[i, j, k] = sum w1[i, a] w2[j, b] w3[k, c] coarse[i1[i] + a, i2[j] + b, i3[k] + c]``;
    ``coarse`` is padded so that every index is inside; ``fine`` is not padded.
    """
    n1, n2, n3 = fine.shape
    m2, m3 = coarse.shape[1], coarse.shape[2]
    plane = np.empty((m2, m3))
    line = np.empty(m3)
    for i in range(n1):
        for j in range(m2):
            a, b, c, d = coarse[i1[i] : i1[i] + 4, j]
            mixed = plane[j]
            for k in range(m3):
                mixed[k] = w1[i, 0] * a[k] + w1[i, 1] * b[k] + w1[i, 2] * c[k] + w1[i, 3] * d[k]
        for j in range(n2):
            a, b, c, d = plane[i2[j]], plane[i2[j] + 1], plane[i2[j] + 2], plane[i2[j] + 3]
            for k in range(m3):
                line[k] = w2[j, 0] * a[k] + w2[j, 1] * b[k] + w2[j, 2] * c[k] + w2[j, 3] * d[k]
            f = fine[i, j]
            for k in range(n3):
                m = i3[k]
                f[k] = (
                    w3[k, 0] * line[m] + w3[k, 1] * line[m + 1]
                    + w3[k, 2] * line[m + 2] + w3[k, 3] * line[m + 3]
                )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def average_log_3d(fine, coarse, i1, w1, i2, w2, i3, w3):
    """Log of the area-overlap average of ``exp(fine)``; nothing under- or overflows."""
    m1, m2, m3 = coarse.shape
    n3 = fine.shape[2]
    top = np.empty(n3)
    total = np.empty(n3)
    for i in range(m1):
        for j in range(m2):
            top[:] = -np.inf
            total[:] = 0.0
            for a in range(3):
                for b in range(3):
                    if w1[i, a] * w2[j, b] > 0:
                        line = fine[i1[i] + a, i2[j] + b]
                        for k in range(n3):
                            top[k] = max(top[k], line[k])
            for a in range(3):
                for b in range(3):
                    share = w1[i, a] * w2[j, b]
                    if share > 0:
                        line = fine[i1[i] + a, i2[j] + b]
                        for k in range(n3):
                            total[k] += share * exp(line[k] - top[k])
            for k in range(m3):
                largest = -np.inf
                for c in range(3):
                    if w3[k, c] > 0:
                        largest = max(largest, top[i3[k] + c])
                value = 0.0
                for c in range(3):
                    if w3[k, c] > 0:
                        value += w3[k, c] * total[i3[k] + c] * exp(top[i3[k] + c] - largest)
                coarse[i, j, k] = largest + log(value)
