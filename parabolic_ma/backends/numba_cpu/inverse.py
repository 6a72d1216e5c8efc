r"""Numba kernels that maximise ``<x, y> - psi(y)``: on a grid, and of the continued spline.

The maximiser is the inverse of the gradient map, :math:`\nabla\psi(y) = x`, and the maximum is the
conjugate :math:`\phi(x)`. Potentials are given as in `parabolic_ma.backends.numba_cpu.splines`:
coefficients ``c``, geometry ``g``, periodic or not.

References
----------
Y. Lucet, "Faster than the fast Legendre transform, the linear-time Legendre transform", Numerical
Algorithms 16, 1997.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from parabolic_ma.backends.numba_cpu.inverse_3d import invert_3d, polish_3d
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
from parabolic_ma.backends.numba_cpu.splines import KERNEL_OPTIONS, in_chunks, local_1d, local_2d
from parabolic_ma.typing import Array

__all__ = ["conjugate_rows", "invert", "polish"]


# ---------------------------------------------------------------------------- discrete


@njit(**KERNEL_OPTIONS)
def conjugate_rows(values, nodes, slopes, best, where):
    """Write ``max_j slopes[k] nodes[j] - values[r, j]`` and its ``j`` for every row ``r``.

    Linear in the sizes: the lower convex hull of a row, then one merge of its slopes with
    ``slopes``. ``nodes`` and ``slopes`` increase; infinite values are left out of the maximum, a
    row of them gives minus infinity and index 0.
    """
    rows, n = values.shape
    hull = np.empty(n, np.int64)
    rises = np.empty(n)
    for r in range(rows):
        top = -1
        for j in range(n):
            f = values[r, j]
            if not f < np.inf:
                continue
            while top >= 1:
                b = hull[top]
                a = hull[top - 1]
                left = (values[r, b] - values[r, a]) * (nodes[j] - nodes[b])
                if left < (f - values[r, b]) * (nodes[b] - nodes[a]):
                    break
                top -= 1
            top += 1
            hull[top] = j
        if top < 0:
            best[r] = -np.inf
            where[r] = 0
            continue
        for k in range(top):
            a = hull[k]
            b = hull[k + 1]
            rises[k] = (values[r, b] - values[r, a]) / (nodes[b] - nodes[a])
        k = 0
        for m in range(len(slopes)):
            while k < top and rises[k] <= slopes[m]:
                k += 1
            j = hull[k]
            best[r, m] = slopes[m] * nodes[j] - values[r, j]
            where[r, m] = j


# ---------------------------------------------------------------------------- Newton


@njit(**KERNEL_OPTIONS)
def _maximise_1d(c, g, periodic, x, y):
    """Maximise ``x y - psi(y)`` from a start; return the maximiser and the maximum."""
    psi, t, h = local_1d(c, g, periodic, y)
    for _ in range(MAX_STEPS):
        f = t - x
        merit = psi - x * y
        plain = h > SINGULAR * g[3]
        slope = h if plain else max(abs(h), CLIP * g[3])
        d = -f / slope
        if plain and abs(d) * g[2] < LAST_STEP:
            return y + d, -merit - 0.5 * f * d
        rounding = MERIT_ROUNDING * (abs(psi) + abs(x * y) + g[6])
        step = 1.0
        moved = False
        for _ in range(MAX_HALVINGS):
            trial = y + step * d
            psi, t, h = local_1d(c, g, periodic, trial)
            if accept(merit, psi - x * trial, -f * d, rounding, f * f, (t - x) ** 2, False, step):
                y = trial
                moved = True
                break
            step *= 0.5
        if not moved:
            return y, -merit
    return y, x * y - psi


@njit(**KERNEL_OPTIONS)
def _direction(g, outside, f0, f1, j00, j01, j10, j11):
    """Newton direction, and whether the Jacobian was used as it is.

    Inside, an indefinite Hessian has its eigenvalues replaced by their absolute values, bounded
    below; outside, a Jacobian that turns space over is replaced by the quadratic's matrix.
    """
    det = j00 * j11 - j01 * j10
    trace = j00 + j11
    plain = trace > 0.0 and det > SINGULAR * trace * trace
    if not plain:
        if outside:
            j00, j01, j10, j11 = g[6], g[7], g[7], g[8]
        else:
            half = 0.5 * (j00 - j11)
            radius = math.sqrt(half * half + j01 * j01)
            low = abs(0.5 * trace - radius)
            high = abs(0.5 * trace + radius)
            least = max(CLIP * max(low, high), 1e-300)
            low = max(low, least)
            high = max(high, least)
            mean = 0.5 * (low + high)
            turn = 0.5 * (high - low) / radius if radius > 0.0 else 0.0
            j00 = mean + turn * half
            j11 = mean - turn * half
            j01 *= turn
            j10 = j01
        det = j00 * j11 - j01 * j10
    return -(j11 * f0 - j01 * f1) / det, -(j00 * f1 - j10 * f0) / det, plain


@njit(**KERNEL_OPTIONS)
def _is_outside(g, periodic, y0, y1):
    return not periodic and (y0 < g[0] or y0 > g[2] or y1 < g[1] or y1 > g[3])


@njit(**KERNEL_OPTIONS)
def _maximise_2d(c, g, periodic, x0, x1, y0, y1):
    """Maximise ``<x, y> - psi(y)`` from a start.

    Returns the maximiser (2), the maximum, and whether the iteration ended with a Newton step; it
    may also end because nothing better is found, mostly by rounding.
    """
    psi, t0, t1, j00, j01, j10, j11 = local_2d(c, g, periodic, y0, y1)
    for _ in range(MAX_STEPS):
        f0 = t0 - x0
        f1 = t1 - x1
        pairing = x0 * y0 + x1 * y1
        merit = psi - pairing
        outside = _is_outside(g, periodic, y0, y1)
        d0, d1, plain = _direction(g, outside, f0, f1, j00, j01, j10, j11)
        slope = f0 * d0 + f1 * d1
        if plain and abs(d0) * g[4] + abs(d1) * g[5] < LAST_STEP:
            return y0 + d0, y1 + d1, -merit - 0.5 * slope, True
        rounding = MERIT_ROUNDING * (abs(psi) + abs(x0 * y0) + abs(x1 * y1) + g[13])
        residual = f0 * f0 + f1 * f1
        step = 1.0
        moved = False
        for _ in range(MAX_HALVINGS):
            z0 = y0 + step * d0
            z1 = y1 + step * d1
            psi, t0, t1, j00, j01, j10, j11 = local_2d(c, g, periodic, z0, z1)
            if accept(
                merit,
                psi - x0 * z0 - x1 * z1,
                -slope,
                rounding,
                residual,
                (t0 - x0) ** 2 + (t1 - x1) ** 2,
                outside or _is_outside(g, periodic, z0, z1),
                step,
            ):
                y0 = z0
                y1 = z1
                moved = True
                break
            step *= 0.5
        if not moved:
            return y0, y1, -merit, False
    return y0, y1, x0 * y0 + x1 * y1 - psi, False


@njit(**KERNEL_OPTIONS)
def _root_on_face(c, g, axis, face, x0, x1):
    """Solve for the point of a face that the ray to ``x`` leaves from.

    Beyond the face ``T(y) = T(p) + A[:, axis] r`` with ``r`` the distance; eliminating ``r`` leaves
    one equation for the coordinate ``s`` of ``p`` along the face, which increases where the map
    keeps its orientation. Returns ``s``, ``r`` and whether the face has a root.
    """
    normal = g[8] if axis else g[6]
    ratio = g[7] / normal
    low, high = (g[0], g[2]) if axis else (g[1], g[3])
    s = 0.5 * (low + high)
    change = high - low
    for k in range(2 + MAX_STEPS):
        at = low if k == 0 else high if k == 1 else s
        if axis:
            _, t1, t0, j11, _, j01, _ = local_2d(c, g, False, at, face)
            f = (t1 - x0) - ratio * (t0 - x1)
            r = (x1 - t0) / normal
        else:
            _, t0, t1, _, j01, _, j11 = local_2d(c, g, False, face, at)
            f = (t1 - x1) - ratio * (t0 - x0)
            r = (x0 - t0) / normal
        if k < 2:
            if (f > 0.0) == (k == 0) and f != 0.0:
                return s, r, False
            continue
        if f > 0.0:
            high = s
        else:
            low = s
        # Newton while it stays in the bracket and its steps halve, otherwise bisection.
        slope = j11 - ratio * j01
        step = -f / slope if slope > 0.0 else high - low
        if not (low <= s + step <= high and abs(step) <= 0.5 * abs(change)):
            step = 0.5 * (low + high) - s
        if s + step == s:
            break
        s += step
        change = step
    return s, r, True


@njit(**KERNEL_OPTIONS)
def _solve_outside_2d(c, g, x0, x1):
    """Solve the continued map's equation beyond the faces and corners one by one."""
    det = g[6] * g[8] - g[7] * g[7]
    for end0 in range(2):
        p0 = g[2] if end0 else g[0]
        for end1 in range(2):
            p1 = g[3] if end1 else g[1]
            _, t0, t1, _, _, _, _ = local_2d(c, g, False, p0, p1)
            r0 = (g[8] * (x0 - t0) - g[7] * (x1 - t1)) / det
            r1 = (g[6] * (x1 - t1) - g[7] * (x0 - t0)) / det
            if (r0 >= 0.0) == (end0 == 1) and (r1 >= 0.0) == (end1 == 1):
                return p0 + r0, p1 + r1, True
    for axis in range(2):
        for end in range(2):
            face = g[2 * end + axis]
            s, r, found = _root_on_face(c, g, axis, face, x0, x1)
            if found and (r >= 0.0) == (end == 1):
                return (s, face + r, True) if axis else (face + r, s, True)
    return x0, x1, False


@njit(**KERNEL_OPTIONS)
def _residual_2d(c, g, periodic, x0, x1, y0, y1):
    """Size of ``T(y) - x`` and of its terms."""
    _, t0, t1, _, _, _, _ = local_2d(c, g, periodic, y0, y1)
    return abs(t0 - x0) + abs(t1 - x1), abs(t0) + abs(t1) + abs(x0) + abs(x1)


@njit(**KERNEL_OPTIONS)
def _polish_1d(c, g, periodic, x, y, value):
    for k in range(len(x)):
        z, best = _maximise_1d(c, g, periodic, x[k, 0], y[k, 0])
        if best >= value[k]:
            y[k, 0] = z
            value[k] = best


@njit(**KERNEL_OPTIONS)
def _polish_2d(c, g, periodic, x, y, value):
    for k in range(len(x)):
        z0, z1, best, _ = _maximise_2d(c, g, periodic, x[k, 0], x[k, 1], y[k, 0], y[k, 1])
        if best >= value[k]:
            y[k, 0] = z0
            y[k, 1] = z1
            value[k] = best


# ---------------------------------------------------------------------------- queries


@njit(**KERNEL_OPTIONS)
def _invert_1d(c, g, periodic, lower, scale, table, x, out):
    period = g[1] - g[0]
    for k in range(len(x)):
        x0 = x[k, 0]
        if not math.isfinite(x0):
            out[k, 0] = np.nan
            continue
        shift = 0.0
        if periodic:
            z = (x0 - g[5]) / g[3] + g[4]
            shift = period * math.floor((z - g[0]) / period)
            x0 -= g[3] * shift
        i, a = table_cell(x0, lower[0], scale[0], len(table))
        node = lower[0] + i / scale[0]
        best = -np.inf
        y = 0.0
        for e in range(2):
            value = table[i + e, 1] + (x0 - node - e / scale[0]) * table[i + e, 0]
            if value > best:
                best = value
                y = table[i + e, 0]
        z = (1.0 - a) * table[i, 0] + a * table[i + 1, 0]
        z += (x0 - node - a / scale[0]) / g[3]
        if x0 * z - local_1d(c, g, periodic, z)[0] >= best - MERIT_ROUNDING * abs(best):
            y = z
        out[k, 0] = _maximise_1d(c, g, periodic, x0, y)[0] + shift


@njit(**KERNEL_OPTIONS)
def _invert_2d(c, g, periodic, lower, scale, table, x, out):
    det = g[6] * g[8] - g[7] * g[7]
    period0 = g[2] - g[0]
    period1 = g[3] - g[1]
    h0 = 1.0 / scale[0]
    h1 = 1.0 / scale[1]
    for k in range(len(x)):
        x0 = x[k, 0]
        x1 = x[k, 1]
        if not (math.isfinite(x0) and math.isfinite(x1)):
            out[k, 0] = np.nan
            out[k, 1] = np.nan
            continue
        shift0 = 0.0
        shift1 = 0.0
        if periodic:
            r0 = x0 - g[11]
            r1 = x1 - g[12]
            z0 = (g[8] * r0 - g[7] * r1) / det + g[9]
            z1 = (g[6] * r1 - g[7] * r0) / det + g[10]
            shift0 = period0 * math.floor((z0 - g[0]) / period0)
            shift1 = period1 * math.floor((z1 - g[1]) / period1)
            x0 -= g[6] * shift0 + g[7] * shift1
            x1 -= g[7] * shift0 + g[8] * shift1
        i, a = table_cell(x0, lower[0], scale[0], table.shape[0])
        j, b = table_cell(x1, lower[1], scale[1], table.shape[1])
        # Two starts, of which the better one is taken: the corner whose maximiser is best for
        # this x (safe across a jump of the inverse), and the bilinear one (close where smooth).
        r0 = x0 - lower[0] - i * h0
        r1 = x1 - lower[1] - j * h1
        best = -np.inf
        y0 = 0.0
        y1 = 0.0
        z0 = 0.0
        z1 = 0.0
        for e0 in range(2):
            w0 = a if e0 else 1.0 - a
            for e1 in range(2):
                t0 = table[i + e0, j + e1, 0]
                t1 = table[i + e0, j + e1, 1]
                value = table[i + e0, j + e1, 2] + (r0 - e0 * h0) * t0 + (r1 - e1 * h1) * t1
                w = w0 * (b if e1 else 1.0 - b)
                z0 += w * t0
                z1 += w * t1
                if value > best:
                    best = value
                    y0 = t0
                    y1 = t1
        r0 -= a * h0  # beyond the table, otherwise zero to rounding
        r1 -= b * h1
        z0 += (g[8] * r0 - g[7] * r1) / det
        z1 += (g[6] * r1 - g[7] * r0) / det
        value = x0 * z0 + x1 * z1 - local_2d(c, g, periodic, z0, z1)[0]
        if value >= best - MERIT_ROUNDING * abs(best):
            y0 = z0
            y1 = z1
        y0, y1, _, converged = _maximise_2d(c, g, periodic, x0, x1, y0, y1)
        if not (converged or periodic):
            # Newton can stick at a kink of the continued map: then go through its pieces.
            residual, terms = _residual_2d(c, g, periodic, x0, x1, y0, y1)
            if residual > UNSOLVED * terms:
                z0, z1, found = _solve_outside_2d(c, g, x0, x1)
                if found:
                    y0 = z0
                    y1 = z1
        out[k, 0] = y0 + shift0
        out[k, 1] = y1 + shift1


# ---------------------------------------------------------------------------- entry points


def polish(
    c: Array,
    g: Array,
    periodic: bool,
    x: Array,
    maximisers: Array,
    values: Array,
    threads: int = 1,
) -> None:
    """Improve the conjugate at ``x`` in place: ``maximisers`` ``(k, d)`` and ``values`` ``(k,)``.

    A point keeps what it had when Newton ends at a smaller value.
    """
    kernel = (_polish_1d, _polish_2d, polish_3d)[x.shape[1] - 1]
    in_chunks(lambda *part: kernel(c, g, periodic, *part), threads, x, maximisers, values)


def invert(
    c: Array,
    g: Array,
    periodic: bool,
    lower: Array,
    spacing: Array,
    table: Array,
    x: Array,
    threads: int = 1,
) -> Array:
    """Solve ``grad psi(y) = x`` at points ``(k, d)`` with starts from a table.

    Parameters
    ----------
    c, g, periodic
        The potential.
    lower, spacing : ndarray, shape (d,)
        First node and node distances of the table.
    table : ndarray, shape (m_1, ..., m_d, d + 1)
        At every node the maximiser and the conjugate.
    x : ndarray, shape (k, d)
        Where to invert. Points that are not finite give nan.
    threads : int
        Most threads to use; short point sets use one.

    Returns
    -------
    ndarray, shape (k, d)
        The solutions; where the spline is not convex, local maximisers of ``<x, y> - psi(y)``
        no worse than the best of the surrounding nodes' maximisers.
    """
    kernel = (_invert_1d, _invert_2d, invert_3d)[x.shape[1] - 1]
    out = np.empty_like(x, order="C")
    scale = 1.0 / spacing
    in_chunks(lambda p, o: kernel(c, g, periodic, lower, scale, table, p, o), threads, x, out)
    return out
