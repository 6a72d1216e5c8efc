"""Numba kernels of the coarsest grid of the multigrid: a dense system, solved directly."""

from __future__ import annotations

import numpy as np
from numba import njit

from parabolic_ma.backends.numba_cpu.multigrid import fill_ghosts


@njit(cache=True, nogil=True, error_model="numpy")
def _fold(k, n, mode, index, share):
    """Write index k, which may be a ghost, as a combination of at most two cells."""
    index[0] = k
    index[1] = k
    share[0] = 1.0
    share[1] = 0.0
    if 0 <= k < n:
        return
    edge = 0 if k < 0 else n - 1
    if mode == 0:
        index[0] = edge
    elif mode == 1:
        index[0] = edge
        index[1] = 1 if k < 0 else n - 2
        share[0] = 2.0
        share[1] = -1.0
    else:
        index[0] = n - 1 - edge
    if mode != 1:
        index[1] = index[0]


@njit(cache=True, nogil=True, error_model="numpy")
def dense_matrix(rows, mode):
    """The rows as a dense matrix with a zero-mean border, shape (n + 1, n + 1) float64.

    The border makes the matrix regular although constants are in (or, with a pseudo-time term,
    near) the null space of the rows.
    """
    nx, ny = rows.shape[1:]
    n = nx * ny
    matrix = np.zeros((n + 1, n + 1))
    ia = np.empty(2, np.int64)
    ja = np.empty(2, np.int64)
    wa = np.empty(2)
    wb = np.empty(2)
    for i in range(nx):
        for j in range(ny):
            a, d, x, p, q = (
                rows[0, i, j], rows[1, i, j], rows[2, i, j], rows[3, i, j], rows[4, i, j]
            )  # fmt: skip
            row = i * ny + j
            for di in range(-1, 2):
                for dj in range(-1, 2):
                    if di == 0 and dj == 0:
                        w = 2.0
                    elif dj == 0:
                        w = -a + di * p
                    elif di == 0:
                        w = -d + dj * q
                    else:
                        w = -x * di * dj
                    _fold(i + di, nx, mode, ia, wa)
                    _fold(j + dj, ny, mode, ja, wb)
                    for k in range(2):
                        for m in range(2):
                            matrix[row, ia[k] * ny + ja[m]] += w * wa[k] * wb[m]
    for k in range(n):
        matrix[n, k] = 1.0
        matrix[k, n] = 1.0
    return matrix


@njit(cache=True, nogil=True, error_model="numpy")
def factorise(matrix, pivots):
    """LU with partial pivoting in place; False when the matrix is singular."""
    n = matrix.shape[0]
    for k in range(n):
        best = k
        for i in range(k + 1, n):
            if abs(matrix[i, k]) > abs(matrix[best, k]):
                best = i
        pivots[k] = best
        if not abs(matrix[best, k]) > 1e-300:
            return False
        if best != k:
            for j in range(n):
                matrix[k, j], matrix[best, j] = matrix[best, j], matrix[k, j]
        inverse = 1.0 / matrix[k, k]
        for i in range(k + 1, n):
            factor = matrix[i, k] * inverse
            matrix[i, k] = factor
            if factor != 0.0:
                for j in range(k + 1, n):
                    matrix[i, j] -= factor * matrix[k, j]
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def solve_dense(matrix, pivots, r, v, mode):
    """Solve with a factorised bordered matrix; the padded result gets its ghosts."""
    n = matrix.shape[0]
    nx, ny = r.shape
    x = np.zeros(n)
    for i in range(nx):
        for j in range(ny):
            x[i * ny + j] = r[i, j]
    for k in range(n):
        b = pivots[k]
        if b != k:
            x[k], x[b] = x[b], x[k]
    for k in range(n):
        for i in range(k + 1, n):
            x[i] -= matrix[i, k] * x[k]
    for k in range(n - 1, -1, -1):
        s = x[k]
        for j in range(k + 1, n):
            s -= matrix[k, j] * x[j]
        x[k] = s / matrix[k, k]
    for i in range(nx):
        for j in range(ny):
            v[i + 1, j + 1] = x[i * ny + j]
    fill_ghosts(v, mode)
