"""Numba kernels that carry grid functions between grids of any two sizes on one box."""

from __future__ import annotations

import numpy as np
from numba import njit

from parabolic_ma.backends.numba_cpu.maths import exp, log


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def interpolate(first, last, coarse, fine, ix, wx, iy, wy):
    """Tensor four-point interpolation.

    ``fine[i, j] = sum wx[i, k] wy[j, l] coarse[ix[i] + k, iy[j] + l]``.

    ``coarse`` is padded so that every index is inside; ``fine`` is not padded.
    """
    ny = fine.shape[1]
    m = coarse.shape[1]
    row = np.empty(m)
    halved = ny == 2 * (m - 4)
    for i in range(first, last):
        k = ix[i]
        w0, w1, w2, w3 = wx[i, 0], wx[i, 1], wx[i, 2], wx[i, 3]
        c0, c1, c2, c3 = coarse[k], coarse[k + 1], coarse[k + 2], coarse[k + 3]
        for j in range(m):
            row[j] = w0 * c0[j] + w1 * c1[j] + w2 * c2[j] + w3 * c3[j]
        f = fine[i]
        if halved:  # the same weights for all even cells, mirrored for odd ones
            a0, a1, a2, a3 = wy[0, 0], wy[0, 1], wy[0, 2], wy[0, 3]
            for j in range(m - 4):
                f[2 * j] = a0 * row[j] + a1 * row[j + 1] + a2 * row[j + 2] + a3 * row[j + 3]
                f[2 * j + 1] = a3 * row[j + 1] + a2 * row[j + 2] + a1 * row[j + 3] + a0 * row[j + 4]
            continue
        for j in range(ny):
            n = iy[j]
            f[j] = (
                wy[j, 0] * row[n] + wy[j, 1] * row[n + 1]
                + wy[j, 2] * row[n + 2] + wy[j, 3] * row[n + 3]
            )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def _average_log_pairs(first, last, fine, coarse):
    """`average_log` where every coarse cell is two by two fine ones."""
    ny = coarse.shape[1]
    top = np.empty(ny)
    total = np.empty(ny)
    for i in range(first, last):
        a, b, c = fine[2 * i], fine[2 * i + 1], coarse[i]
        for j in range(ny):
            k = 2 * j
            top[j] = max(a[k], a[k + 1], b[k], b[k + 1])
        for j in range(ny):
            k = 2 * j
            t = top[j]
            total[j] = exp(a[k] - t) + exp(a[k + 1] - t) + exp(b[k] - t) + exp(b[k + 1] - t)
        for j in range(ny):
            c[j] = top[j] + log(0.25 * total[j])


@njit(cache=True, nogil=True, error_model="numpy")
def average_log(first, last, fine, coarse, ix, wx, iy, wy):
    """Log of the area-overlap average of ``exp(fine)`` on some coarse rows, without overflow."""
    nx, ny = coarse.shape
    if fine.shape[0] == 2 * nx and fine.shape[1] == 2 * ny:
        _average_log_pairs(first, last, fine, coarse)
        return
    for i in range(first, last):
        for j in range(ny):
            top = -np.inf
            for k in range(3):
                if wx[i, k] > 0:
                    for m in range(3):
                        if wy[j, m] > 0:
                            top = max(top, fine[ix[i] + k, iy[j] + m])
            total = 0.0
            for k in range(3):
                if wx[i, k] > 0:
                    for m in range(3):
                        if wy[j, m] > 0:
                            e = fine[ix[i] + k, iy[j] + m] - top
                            total += wx[i, k] * wy[j, m] * exp(e)
            coarse[i, j] = top + log(total)
