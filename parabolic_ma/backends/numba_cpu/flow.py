"""Numba kernels of the flow in time: the rate ``F`` and its derivative, in one and two dimensions.

For ``psi(y) = <y - c, A (y - c)>/2 + <b, y - c> + u(y)`` with ``u`` padded by one ghost cell a side

    F = log m(grad psi) + log det Hess psi - log nu,
    F'[v] = tr(H^{-1} Hess v) - <grad f, grad v>,      f = -log m.

See `parabolic_ma.backends.protocol` for the arrays.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from parabolic_ma.backends.numba_cpu.inner import (
    F1,
    F2,
    H11,
    H12,
    H22,
    LOGM,
    SIZE,
    TILE,
    tile_inner,
)
from parabolic_ma.backends.numba_cpu.maths import log
from parabolic_ma.backends.numba_cpu.newton import EXTENSION, tile_derivatives
from parabolic_ma.backends.numba_cpu.newton_1d import _tridiagonal, fill_ghosts_1d, inner_row_1d


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def _tile_extremes(b, n, r1, r2, source, lowest):
    """Smallest eigenvalue, largest diffusion and drift of a tile; see `flow_rate`."""
    low = np.inf
    most = 0.0
    fastest = 0.0
    for j in range(n):
        h11, h12, h22 = b[H11 + j], b[H12 + j], b[H22 + j]
        half = 0.5 * (h11 + h22)
        diff = 0.5 * (h11 - h22)
        rad = math.sqrt(diff * diff + h12 * h12)
        det = h11 * h22 - h12 * h12
        l2 = half + rad
        l1 = half - rad
        if l2 > 0.5 * rad:
            l1 = det / l2  # no cancellation
        low = min(low, l1)
        f1, f2 = b[F1 + j], b[F2 + j]
        diffusion = 2.0 * (h22 * r1 + h11 * r2) / det
        drift = 0.5 * det * (f1 * f1 / max(h22, 1e-300) + f2 * f2 / max(h11, 1e-300))
        most = max(most, diffusion)
        if source[j] >= lowest:
            fastest = max(fastest, drift)
    return low, most, fastest


@njit(cache=True, nogil=True, error_model="numpy")
def flow_rate(u, axis1, axis2, quad, log_source, lowest, kind, params, table, rate):
    """Write the rate; return the smallest eigenvalue of H, the diffusion and the drift.

    An explicit Euler step is stable up to one over the diffusion, the largest of
    ``2 (A11 / h1^2 + A22 / h2^2)``, ``A = H^{-1}`` (the highest mode of the five-point part, which
    the cross derivative does not see), and does not amplify what moves up to one over the drift,
    the largest of ``(f1^2 / A11 + f2^2 / A22) / 2`` where the log density is at least ``lowest``
    (centred differences; Hindmarsh, Gresho & Griffiths, Int. J. Numer. Meth. Fluids 4, 1984).
    """
    nx, ny = log_source.shape
    h1 = axis1[1] - axis1[0]
    h2 = axis2[1] - axis2[0]
    r1, r2 = 1.0 / (h1 * h1), 1.0 / (h2 * h2)
    b = np.zeros(SIZE)
    low = np.inf
    most = 0.0
    fastest = 0.0
    for i in range(nx):
        source, out = log_source[i], rate[i]
        for j0 in range(0, ny, TILE):
            n = min(TILE, ny - j0)
            tile_derivatives(b, n, u, i, j0, axis1[i], axis2, quad, h1, h2)
            tile_inner(b, n, kind, params, table)
            l1, diffusion, drift = _tile_extremes(b, n, r1, r2, source[j0:], lowest)
            low = min(low, l1)
            most = max(most, diffusion)
            fastest = max(fastest, drift)
            for j in range(n):
                h11, h12, h22 = b[H11 + j], b[H12 + j], b[H22 + j]
                half = 0.5 * (h11 + h22)
                diff = 0.5 * (h11 - h22)
                rad = math.sqrt(diff * diff + h12 * h12)
                e2 = half + rad
                e1 = half - rad
                if e2 > 0.5 * rad:
                    e1 = (h11 * h22 - h12 * h12) / e2
                logs = (
                    log(max(e1, EXTENSION)) + min(e1 - EXTENSION, 0.0) / EXTENSION
                    + log(max(e2, EXTENSION)) + min(e2 - EXTENSION, 0.0) / EXTENSION
                )  # fmt: skip
                out[j0 + j] = b[LOGM + j] + logs - source[j0 + j]
    return low, most, fastest


@njit(cache=True, nogil=True, error_model="numpy")
def flow_coefficients(u, axis1, axis2, quad, kind, params, table, coefficients):
    """Write the coefficients (5, nx, ny) of the stencil of F': a, d, x, p, q, not scaled.

    ``F'[v] = a (N + S - 2 v) + d (E + W - 2 v) + x (NE - NW - SE + SW) - p (N - S) - q (E - W)``.
    """
    nx, ny = u.shape[0] - 2, u.shape[1] - 2
    h1 = axis1[1] - axis1[0]
    h2 = axis2[1] - axis2[0]
    r1, r2, r12 = 1.0 / (h1 * h1), 1.0 / (h2 * h2), 0.5 / (h1 * h2)
    g1, g2 = 0.5 / h1, 0.5 / h2
    b = np.zeros(SIZE)
    for i in range(nx):
        a, d, x = coefficients[0, i], coefficients[1, i], coefficients[2, i]
        p, q = coefficients[3, i], coefficients[4, i]
        for j0 in range(0, ny, TILE):
            n = min(TILE, ny - j0)
            tile_derivatives(b, n, u, i, j0, axis1[i], axis2, quad, h1, h2)
            tile_inner(b, n, kind, params, table)
            for j in range(n):
                h11, h12, h22 = b[H11 + j], b[H12 + j], b[H22 + j]
                half = 0.5 * (h11 + h22)
                diff = 0.5 * (h11 - h22)
                rad = math.sqrt(diff * diff + h12 * h12)
                l2 = half + rad
                l1 = half - rad
                if l2 > 0.5 * rad:
                    l1 = (h11 * h22 - h12 * h12) / l2
                # A = H^{-1} with eigenvalues of H below the extension lifted to it
                i1, i2 = 1.0 / max(l1, EXTENSION), 1.0 / max(l2, EXTENSION)
                mean = 0.5 * (i1 + i2)
                turn = 0.5 * (i1 - i2) / max(rad, 1e-300)
                a[j0 + j] = (mean - turn * diff) * r1
                d[j0 + j] = (mean + turn * diff) * r2
                x[j0 + j] = -turn * h12 * r12
                p[j0 + j] = b[F1 + j] * g1
                q[j0 + j] = b[F2 + j] * g2


@njit(cache=True, nogil=True, error_model="numpy")
def flow_rows(coefficients, sigma, rows):
    """Write the rows of ``sigma v - F'[v]`` over half their diagonal, and return nothing.

    ``rows`` (6, nx, ny): a, d, x, p, q of the protocol's rows, and what right-hand sides are
    multiplied by.
    """
    nx, ny = rows.shape[1], rows.shape[2]
    for i in range(nx):
        for j in range(ny):
            z = 2.0 / (sigma + 2.0 * (coefficients[0, i, j] + coefficients[1, i, j]))
            rows[5, i, j] = z
            for k in range(5):
                rows[k, i, j] = coefficients[k, i, j] * z


@njit(cache=True, nogil=True, error_model="numpy")
def upwind_rows(rows, peclet, upwind, scale):
    """Raise the diffusion of rows (5 or more, nx, ny) to ``peclet`` times the drift, diagonal 2.

    ``upwind`` (5, nx, ny) and ``scale`` (nx, ny) float32: the rows of a preconditioner, and what
    its right-hand sides are multiplied by.
    """
    nx, ny = scale.shape
    for i in range(nx):
        for j in range(ny):
            a, d, x = rows[0, i, j], rows[1, i, j], rows[2, i, j]
            p, q = rows[3, i, j], rows[4, i, j]
            half_sigma = 1.0 - a - d
            a = max(a, peclet * abs(p))
            d = max(d, peclet * abs(q))
            z = 1.0 / (a + d + half_sigma)
            upwind[0, i, j] = a * z
            upwind[1, i, j] = d * z
            upwind[2, i, j] = x * z
            upwind[3, i, j] = p * z
            upwind[4, i, j] = q * z
            scale[i, j] = z


@njit(cache=True, nogil=True, error_model="numpy")
def flow_rate_1d(u, axis, quad, log_source, lowest, kind, params, table, rate):
    """Do what `flow_rate` does in one dimension."""
    n = log_source.shape[0]
    h = axis[1] - axis[0]
    x = np.empty(n)
    f = np.empty(n)
    for i in range(n):
        x[i] = quad[2] + quad[0] * (axis[i] - quad[1]) + (u[i + 2] - u[i]) / (2.0 * h)
    inner_row_1d(kind, params, table, x, rate, f)
    low = np.inf
    most = 0.0
    fastest = 0.0
    base = math.log(EXTENSION) - 1.0
    for i in range(n):
        det = quad[0] + (u[i + 2] - 2.0 * u[i + 1] + u[i]) / (h * h)
        low = min(low, det)
        most = max(most, 2.0 / (det * h * h))
        if log_source[i] >= lowest:
            fastest = max(fastest, 0.5 * det * f[i] * f[i])
        logdet = math.log(det) if det > EXTENSION else base + det / EXTENSION
        rate[i] += logdet - log_source[i]
    return low, most, fastest


@njit(cache=True, nogil=True, error_model="numpy")
def flow_coefficients_1d(u, axis, quad, kind, params, table, coefficients):
    """Write a, p (2, n) of ``F'[v] = a (v[+] + v[-] - 2 v) - p (v[+] - v[-])``."""
    n = coefficients.shape[1]
    h = axis[1] - axis[0]
    x = np.empty(n)
    f = np.empty(n)
    logm = np.empty(n)
    for i in range(n):
        x[i] = quad[2] + quad[0] * (axis[i] - quad[1]) + (u[i + 2] - u[i]) / (2.0 * h)
    inner_row_1d(kind, params, table, x, logm, f)
    for i in range(n):
        det = quad[0] + (u[i + 2] - 2.0 * u[i + 1] + u[i]) / (h * h)
        coefficients[0, i] = 1.0 / (max(det, EXTENSION) * h * h)
        coefficients[1, i] = 0.5 * f[i] / h


@njit(cache=True, nogil=True, error_model="numpy")
def solve_flow_1d(coefficients, sigma, rhs, mode, v):
    """Solve ``sigma v - F'[v] = rhs`` for ``v`` (n + 2,), ghosts included.

    With quadratic ghosts (3) the first and the last equation have three entries: the inner
    equations are solved with the two outer values as parameters, which the outer two then fix.
    """
    n = rhs.shape[0]
    lower = np.empty(n)
    diagonal = np.full(n, 2.0)
    upper = np.empty(n)
    columns = np.zeros((3, n))
    for i in range(n):
        a, p = coefficients[0, i], coefficients[1, i]
        z = 2.0 / (sigma + 2.0 * a)
        lower[i] = -(a + p) * z
        upper[i] = (p - a) * z
        columns[0, i] = rhs[i] * z
    first, last = lower[0], upper[n - 1]
    if mode != 3:
        corner_low, corner_up = 0.0, 0.0
        if mode == 0:
            diagonal[0] += first
            diagonal[n - 1] += last
        else:
            corner_low, corner_up = first, last
        _tridiagonal(lower, diagonal, upper, corner_low, corner_up, columns[:1])
        for i in range(n):
            v[i + 1] = columns[0, i]
        fill_ghosts_1d(v, mode)
        return
    columns[1, 1] = -lower[1]
    columns[2, n - 2] = -upper[n - 2]
    inner = columns[:, 1 : n - 1].copy()
    _tridiagonal(lower[1 : n - 1], diagonal[1 : n - 1], upper[1 : n - 1], 0.0, 0.0, inner)
    m = n - 3
    # (2 + 3 l) v0 + (u - 3 l) v1 + l v2 = r with v1, v2 = inner[0] + v0 inner[1] + vn inner[2]
    c0, c1, c2 = 2.0 + 3.0 * first, upper[0] - 3.0 * first, first
    a11 = c0 + c1 * inner[1, 0] + c2 * inner[1, 1]
    a12 = c1 * inner[2, 0] + c2 * inner[2, 1]
    r1 = columns[0, 0] - c1 * inner[0, 0] - c2 * inner[0, 1]
    c0, c1, c2 = 2.0 + 3.0 * last, lower[n - 1] - 3.0 * last, last
    a22 = c0 + c1 * inner[2, m] + c2 * inner[2, m - 1]
    a21 = c1 * inner[1, m] + c2 * inner[1, m - 1]
    r2 = columns[0, n - 1] - c1 * inner[0, m] - c2 * inner[0, m - 1]
    det = a11 * a22 - a12 * a21
    v0 = (r1 * a22 - a12 * r2) / det
    vn = (a11 * r2 - a21 * r1) / det
    v[1] = v0
    v[n] = vn
    for i in range(1, n - 1):
        v[i + 1] = inner[0, i - 1] + v0 * inner[1, i - 1] + vn * inner[2, i - 1]
    fill_ghosts_1d(v, mode)
