"""Numba kernels that maximise ``<x, y> - psi(y)`` for a continued spline of three variables."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from parabolic_ma.backends.numba_cpu.newton_3d import spectrum
from parabolic_ma.backends.numba_cpu.search import (
    CLIP,
    LAST_STEP,
    MAX_HALVINGS,
    MAX_STEPS,
    MERIT_ROUNDING,
    SINGULAR,
    UNSOLVED,
    accept,
    table_cell,
)
from parabolic_ma.backends.numba_cpu.spline_lines import KERNEL_OPTIONS
from parabolic_ma.backends.numba_cpu.splines_3d import LOCAL, is_outside, local_3d

__all__ = ["invert_3d", "polish_3d"]

_CREEPS = (1.0, 0.5, 0.25)  # shares of the affine step, tried in turn where Newton sticks
_CREEPING_STEPS = 60


@njit(**KERNEL_OPTIONS)
def _solve(m, f, out):
    """Write ``m^{-1} f`` for a matrix of nine numbers; return whether m is positive definite.

    By the signs of the invariants, which decide for symmetric matrices.
    """
    c00, c01, c02 = m[4] * m[8] - m[5] * m[7], m[2] * m[7] - m[1] * m[8], m[1] * m[5] - m[2] * m[4]
    c10, c11, c12 = m[5] * m[6] - m[3] * m[8], m[0] * m[8] - m[2] * m[6], m[2] * m[3] - m[0] * m[5]
    c20, c21, c22 = m[3] * m[7] - m[4] * m[6], m[1] * m[6] - m[0] * m[7], m[0] * m[4] - m[1] * m[3]
    trace, minors = m[0] + m[4] + m[8], c00 + c11 + c22
    det = m[0] * c00 + m[1] * c10 + m[2] * c20
    out[0] = (c00 * f[0] + c01 * f[1] + c02 * f[2]) / det
    out[1] = (c10 * f[0] + c11 * f[1] + c12 * f[2]) / det
    out[2] = (c20 * f[0] + c21 * f[1] + c22 * f[2]) / det
    positive = trace > 0.0 and minors > SINGULAR * trace**2
    return positive and det > SINGULAR * trace**3


@njit(**KERNEL_OPTIONS)
def _quadratic_matrix(g, m):
    m[0], m[1], m[2] = g[9], g[10], g[11]
    m[3], m[4], m[5] = g[10], g[12], g[13]
    m[6], m[7], m[8] = g[11], g[13], g[14]


@njit(**KERNEL_OPTIONS)
def _direction(g, outside, f, m, d):
    """Write the ascent direction ``-m^{-1} f`` to d; return whether the Jacobian m did as it is.

    Inside, an indefinite Hessian is shifted until it is positive; outside, a Jacobian that turns
    space over is replaced by the quadratic's matrix.
    """
    plain = _solve(m, f, d)
    if not plain:
        if outside:
            _quadratic_matrix(g, m)
        else:
            _, low, _, high = spectrum(m[0], m[1], m[2], m[4], m[5], m[8])
            shift = max(CLIP * max(abs(low), abs(high)), 1e-300) + max(-low, 0.0)
            m[0] += shift
            m[4] += shift
            m[8] += shift
        _solve(m, f, d)
    for k in range(3):
        d[k] = -d[k]
    return plain


@njit(**KERNEL_OPTIONS)
def _maximise(c, g, periodic, x, y, work):
    """Maximise ``<x, y> - psi(y)`` from y, in place, by a damped Newton iteration.

    Returns the maximum, and whether the iteration ended with a Newton step; it may also end because
    nothing better is found, mostly by rounding.
    """
    local, f, d, trial = work[:LOCAL], work[16:19], work[20:23], work[24:27]
    local_3d(c, g, periodic, y, local)
    for _ in range(MAX_STEPS):
        terms = abs(local[0]) + g[21]
        pairing = 0.0
        residual = 0.0
        for k in range(3):
            f[k] = local[1 + k] - x[k]
            residual += f[k] * f[k]
            pairing += x[k] * y[k]
            terms += abs(x[k] * y[k])
        merit = local[0] - pairing
        outside = is_outside(g, periodic, y)
        plain = _direction(g, outside, f, local[4:13], d)
        slope = f[0] * d[0] + f[1] * d[1] + f[2] * d[2]
        if plain and abs(d[0]) * g[6] + abs(d[1]) * g[7] + abs(d[2]) * g[8] < LAST_STEP:
            for k in range(3):
                y[k] += d[k]
            return -merit - 0.5 * slope, True
        step = 1.0
        moved = False
        for _ in range(MAX_HALVINGS):
            pairing = 0.0
            for k in range(3):
                trial[k] = y[k] + step * d[k]
                pairing += x[k] * trial[k]
            local_3d(c, g, periodic, trial, local)
            left = (local[1] - x[0]) ** 2 + (local[2] - x[1]) ** 2 + (local[3] - x[2]) ** 2
            if accept(
                merit, local[0] - pairing, -slope, MERIT_ROUNDING * terms, residual, left,
                outside or is_outside(g, periodic, trial), step,
            ):  # fmt: skip
                for k in range(3):
                    y[k] = trial[k]
                moved = True
                break
            step *= 0.5
        if not moved:
            return -merit, False
    return x[0] * y[0] + x[1] * y[1] + x[2] * y[2] - local[0], False


@njit(**KERNEL_OPTIONS)
def _is_solved(c, g, periodic, x, y, local):
    """Whether ``T(y) - x`` is rounding; T is left in ``local``."""
    local_3d(c, g, periodic, y, local)
    residual = 0.0
    terms = 0.0
    for k in range(3):
        residual += abs(local[1 + k] - x[k])
        terms += abs(local[1 + k]) + abs(x[k])
    return residual <= UNSOLVED * terms


@njit(**KERNEL_OPTIONS)
def _creep(c, g, x, y, work):
    """Solve ``T(y) = x`` where Newton sticks at a kink of the continued map, mostly beyond edges.

    Steps ``y -= s A^{-1} (T(y) - x)`` with the quadratic's matrix A contract for a small enough
    share s, whatever piece of the map they are on; then Newton once more. Leaves y when that fails.
    """
    local, f, d = work[:LOCAL], work[16:19], work[20:23]
    kept = work[28:31]
    for k in range(3):
        kept[k] = y[k]
    for share in _CREEPS:
        for k in range(3):
            y[k] = kept[k]
        for _ in range(_CREEPING_STEPS):
            local_3d(c, g, False, y, local)
            for k in range(3):
                f[k] = local[1 + k] - x[k]
            _quadratic_matrix(g, local[4:13])
            _solve(local[4:13], f, d)
            for k in range(3):
                y[k] -= share * d[k]
        _maximise(c, g, False, x, y, work)
        if _is_solved(c, g, False, x, y, local):
            return
    for k in range(3):
        y[k] = kept[k]


@njit(**KERNEL_OPTIONS)
def polish_3d(c, g, periodic, x, y, value):
    """Improve maximisers and values of the conjugate in place; a worse value is not taken."""
    work = np.empty(32)
    start = np.empty(3)
    for q in range(len(x)):
        for k in range(3):
            start[k] = y[q, k]
        best, _ = _maximise(c, g, periodic, x[q], start, work)
        if best >= value[q]:
            for k in range(3):
                y[q, k] = start[k]
            value[q] = best


@njit(**KERNEL_OPTIONS)
def _start(c, g, periodic, lower, scale, table, x, y, work):
    """Write the better of two starts to y, both from the table's cell around x.

    The corner whose maximiser is best for this x (safe across a jump of the inverse), and the
    interpolant of the eight (close where it is smooth), continued affinely beyond the table.
    """
    local, f, d, smooth = work[:LOCAL], work[16:19], work[20:23], work[24:27]
    i, a = table_cell(x[0], lower[0], scale[0], table.shape[0])
    j, b = table_cell(x[1], lower[1], scale[1], table.shape[1])
    k, e = table_cell(x[2], lower[2], scale[2], table.shape[2])
    f[0] = x[0] - lower[0] - i / scale[0]
    f[1] = x[1] - lower[1] - j / scale[1]
    f[2] = x[2] - lower[2] - k / scale[2]
    best = -np.inf
    smooth[:] = 0.0
    for corner in range(8):
        e1, e2, e3 = corner >> 2, corner >> 1 & 1, corner & 1
        node = table[i + e1, j + e2, k + e3]
        value = (
            node[3] + (f[0] - e1 / scale[0]) * node[0] + (f[1] - e2 / scale[1]) * node[1]
            + (f[2] - e3 / scale[2]) * node[2]
        )  # fmt: skip
        w = (a if e1 else 1.0 - a) * (b if e2 else 1.0 - b) * (e if e3 else 1.0 - e)
        for n in range(3):
            smooth[n] += w * node[n]
        if value > best:
            best = value
            y[0], y[1], y[2] = node[0], node[1], node[2]
    f[0] -= a / scale[0]  # beyond the table, otherwise zero to rounding
    f[1] -= b / scale[1]
    f[2] -= e / scale[2]
    _quadratic_matrix(g, local[4:13])
    _solve(local[4:13], f, d)
    value = 0.0
    for n in range(3):
        smooth[n] += d[n]
        value += x[n] * smooth[n]
    local_3d(c, g, periodic, smooth, local)
    if value - local[0] >= best - MERIT_ROUNDING * abs(best):
        for n in range(3):
            y[n] = smooth[n]


@njit(**KERNEL_OPTIONS)
def invert_3d(c, g, periodic, lower, scale, table, x, out):
    """Solve ``grad psi(y) = x`` at points with starts from a table of maximisers and conjugates."""
    work = np.empty(32)
    matrix = np.empty(9)
    point, shift = np.empty(3), np.zeros(3)
    for q in range(len(x)):
        # one by one: the compiler takes a sum of them less itself for zero
        if not (math.isfinite(x[q, 0]) and math.isfinite(x[q, 1]) and math.isfinite(x[q, 2])):
            out[q, :] = np.nan
            continue
        for k in range(3):
            point[k] = x[q, k]
        if periodic:
            # T(y + period) = T(y) + A period: go to where the affine part has the box
            for k in range(3):
                work[k] = point[k] - g[18 + k]
            _quadratic_matrix(g, matrix)
            _solve(matrix, work[:3], shift)
            for k in range(3):
                period = g[3 + k] - g[k]
                shift[k] = period * math.floor((shift[k] + g[15 + k] - g[k]) / period)
            for k in range(3):
                for n in range(3):
                    point[k] -= matrix[3 * k + n] * shift[n]
        y = out[q]
        _start(c, g, periodic, lower, scale, table, point, y, work)
        _, converged = _maximise(c, g, periodic, point, y, work)
        if not (converged or periodic or _is_solved(c, g, periodic, point, y, work[:LOCAL])):
            _creep(c, g, point, y, work)
        for k in range(3):
            y[k] += shift[k]
