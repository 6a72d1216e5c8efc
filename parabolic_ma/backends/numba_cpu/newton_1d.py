"""Numba kernels of the Newton step in one dimension: tridiagonal rows, solved directly."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from parabolic_ma.backends.numba_cpu.newton import EXTENSION

_ROUNDING = 1e-9  # in cells: faces of the box lie on faces of the density's box but for rounding


@njit(cache=True, nogil=True, error_model="numpy")
def fill_ghosts_1d(u, mode):
    """Fill the two ghosts by even reflection (0), periodicity (2) or continuation.

    The continuation is linear (1) or quadratic (3).
    """
    n = u.shape[0]
    if mode == 0:
        u[0] = u[1]
        u[n - 1] = u[n - 2]
    elif mode == 1:
        u[0] = 2 * u[1] - u[2]
        u[n - 1] = 2 * u[n - 2] - u[n - 3]
    elif mode == 3:
        u[0] = 3 * (u[1] - u[2]) + u[3]
        u[n - 1] = 3 * (u[n - 2] - u[n - 3]) + u[n - 4]
    else:
        u[0] = u[n - 2]
        u[n - 1] = u[1]


@njit(cache=True, nogil=True, error_model="numpy")
def inner_row_1d(kind, params, table, x, logm, f):
    """Log density and gradient of the potential of the inner measure at points on the line."""
    n = x.shape[0]
    if kind <= 1:
        count = params.shape[0] // 3
        for j in range(n):
            top = -np.inf
            total = 0.0
            slope = 0.0
            for c in range(count):
                u = x[j] - params[3 * c + 1]
                g = params[3 * c + 2] * u
                e = params[3 * c] - 0.5 * u * g
                if e > top:
                    scale = math.exp(top - e)
                    total = total * scale + 1.0
                    slope = slope * scale + g
                    top = e
                else:
                    w = math.exp(e - top)
                    total += w
                    slope += w * g
            logm[j] = top + math.log(total)
            f[j] = slope / total
    elif kind == 2:
        for j in range(n):
            logm[j] = params[0]
            f[j] = 0.0
    else:
        cells = table.shape[0] - 4
        lo, h, kappa, wrap = params[0], params[1], params[2], params[3]
        for j in range(n):
            s = (x[j] - lo) / h
            s -= wrap * np.floor(s / cells) * cells
            o = min(max(0.0, s), float(cells))  # in this order 0 for NaN, which is no index
            e = (s - o) * h
            o += 1.5
            i = min(int(o), cells + 1)
            t = o - i
            r = 1.0 - t
            value = (
                r * r * r * table[i - 1]
                + (4.0 - 6.0 * t * t + 3.0 * t * t * t) * table[i]
                + (4.0 - 6.0 * r * r + 3.0 * r * r * r) * table[i + 1]
                + t * t * t * table[i + 2]
            ) / 6.0
            d = (
                -0.5 * r * r * table[i - 1]
                + (1.5 * t * t - 2.0 * t) * table[i]
                + (2.0 * r - 1.5 * r * r) * table[i + 1]
                + 0.5 * t * t * table[i + 2]
            ) / h
            logm[j] = value + d * e - 0.5 * kappa * e * e
            f[j] = -d + kappa * e


@njit(cache=True, nogil=True, error_model="numpy")
def linearise_1d(
    u, axis, quad, log_source, log_c, kind, params, table, dt, edge, log_cap, rows, rhs
):
    """Assemble the Newton rows ``2 v - a (v[+] + v[-]) + p (v[+] - v[-]) = r - t delta``.

    In one dimension ``psi'' = t2`` is linear in the second derivative; the drift weight is the
    logarithmic mean as in two dimensions. ``rows`` receives a, p and t, the derivative with
    respect to the logarithm of the constant. Returns what `linearise` returns.
    """
    n = log_source.shape[0]
    h = axis[1] - axis[0]
    a11, center, image = quad[0], quad[1], quad[2]
    x = np.empty(n)
    logm = np.empty(n)
    f = np.empty(n)
    for i in range(n):
        x[i] = image + a11 * (axis[i] - center) + (u[i + 2] - u[i]) / (2.0 * h)
    inner_row_1d(kind, params, table, x, logm, f)
    mass = 0.0
    total = 0.0
    chi2 = 0.0
    low = np.inf
    extended = 0.0
    worst = 0.0
    residual = 0.0
    floor = 1e-12 * math.exp(log_cap)
    for i in range(n):
        det = a11 + (u[i + 2] - 2.0 * u[i + 1] + u[i]) / (h * h)
        t2 = math.exp(min(log_source[i] + log_c - logm[i], log_cap))
        d2 = max(det, floor)
        ratio = t2 / d2
        g = (t2 - d2) / math.log(ratio) if ratio > 1.0 + 1e-6 else d2
        if edge > 0.0 and (i == 0 or i == n - 1):
            g = max(g, edge * max(det, t2))
        p = 0.5 * g * f[i] * h
        half_sigma = 0.5 * max(g, 0.1 * max(det, t2)) * h * h / dt
        a = max(1.0, abs(p))
        z = 1.0 / (a + half_sigma)
        rows[0, i] = a * z
        rows[1, i] = p * z
        rows[2, i] = t2 * h * h * z
        rhs[i] = (det - t2) * h * h * z
        worst = max(worst, abs(rhs[i]))
        nu = math.exp(log_source[i] + log_c)
        m = math.exp(logm[i])
        mass += m * max(det, 0.0)
        total += nu
        chi2 += (m * det - nu) ** 2 / (m * abs(det) + nu + 1e-300)
        bounded = (m * max(det, 0.0) - nu) / (m * max(det, 0.0) + nu + 1e-300)
        residual += 4.0 * bounded * bounded * nu
        low = min(low, det)
        if det <= EXTENSION:
            extended += nu
    return (
        mass * h, total * h, math.sqrt(chi2 * h), low, extended * h, worst,
        math.sqrt(residual / total),
    )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def running_sums_1d(values, h):
    """Running integral of the quadratic B-spline with mirrored coefficients, padded by three."""
    n = values.shape[0]
    sums = np.empty(n + 6)
    total = 0.0
    for i in range(n + 6):
        a = i - 3
        a = -1 - a if a < 0 else (2 * n - 1 - a if a >= n else a)
        total += values[a] * h
        sums[i] = total
    return sums


@njit(cache=True, nogil=True, error_model="numpy")
def _cumulative(sums, lo, h, x):
    """The running integral and the density at a point; beyond the box, at the face and zero."""
    n = sums.shape[0] - 6
    s = (x - lo) / h
    inside = -_ROUNDING <= s <= n + _ROUNDING
    s = min(max(s, 0.0), float(n))
    i = int(min(max(0.0, s), n - 1.0))  # in this order cell 0 for NaN, and the value is NaN
    s -= i
    r = 1.0 - s
    q0, q1, q2, q3 = sums[i + 1], sums[i + 2], sums[i + 3], sums[i + 4]
    value = (
        r * r * r * q0 + (4.0 - 6.0 * s * s + 3.0 * s * s * s) * q1
        + (4.0 - 6.0 * r * r + 3.0 * r * r * r) * q2 + s * s * s * q3
    ) / 6.0  # fmt: skip
    density = (
        -0.5 * r * r * q0 + (1.5 * s * s - 2.0 * s) * q1 + (2.0 * r - 1.5 * r * r) * q2
        + 0.5 * s * s * q3
    ) / h  # fmt: skip
    return value, density if inside else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def quantiles_1d(sums, geometry, shares, out):
    """Where the running integral reaches increasing shares of its increase over the box.

    Bisection to rounding, each search starting from the one before.
    """
    lo, h = geometry[0], geometry[1]
    n = sums.shape[0] - 6
    bottom, _ = _cumulative(sums, lo, h, lo)
    top, _ = _cumulative(sums, lo, h, lo + n * h)
    start = lo
    for i in range(shares.shape[0]):
        goal = bottom + shares[i] * (top - bottom)
        left, right = start, lo + n * h
        for _ in range(200):
            middle = 0.5 * (left + right)
            if middle <= left or middle >= right:
                break
            if _cumulative(sums, lo, h, middle)[0] < goal:
                left = middle
            else:
                right = middle
        out[i] = 0.5 * (left + right)
        start = left


@njit(cache=True, nogil=True, error_model="numpy")
def cell_images_1d(u, axis, quad, sums, geometry, mass, length):
    """Inner mass and signed length of the image of every cell."""
    n = mass.shape[0]
    h = axis[1] - axis[0]
    last = 0.0
    last_x = 0.0
    for i in range(n + 1):
        x = quad[2] + quad[0] * (axis[0] + (i - 0.5) * h - quad[1]) + (u[i + 1] - u[i]) / h
        value, _ = _cumulative(sums, geometry[0], geometry[1], x)
        if i > 0:
            mass[i - 1] = value - last
            length[i - 1] = x - last_x
        last = value
        last_x = x


@njit(cache=True, nogil=True, error_model="numpy")
def linearise_cells_1d(u, axis, quad, log_source, log_c, sums, geometry, dt, rows, rhs):
    """The conservative equation ``F(T_right) - F(T_left) = c nu h`` and its exact derivative.

    ``T`` at a face is the difference quotient of its two cells; F is the inner measure's
    distribution function. Rows, right-hand side and figures as in `linearise_1d`.
    """
    n = log_source.shape[0]
    h = axis[1] - axis[0]
    value = np.empty(n + 1)
    density = np.empty(n + 1)
    image = np.empty(n + 1)
    top = 0.0
    for i in range(n + 1):
        image[i] = quad[2] + quad[0] * (axis[0] + (i - 0.5) * h - quad[1]) + (u[i + 1] - u[i]) / h
        value[i], density[i] = _cumulative(sums, geometry[0], geometry[1], image[i])
        top = max(top, density[i])
    mass = 0.0
    total = 0.0
    chi2 = 0.0
    low = np.inf
    extended = 0.0
    worst = 0.0
    residual = 0.0
    for i in range(n):
        nu = math.exp(log_source[i] + log_c)
        m = value[i + 1] - value[i]
        left = max(density[i], 1e-14 * top)
        right = max(density[i + 1], 1e-14 * top)
        slope = 0.5 * (left + right)
        half_sigma = 0.5 * h * h / dt
        z = 1.0 / (1.0 + half_sigma)
        scale = h * z / slope
        rows[0, i] = z
        rows[1, i] = 0.5 * (left - right) / slope * z
        rows[2, i] = nu * h * scale
        rhs[i] = (m - nu * h) * scale
        worst = max(worst, abs(rhs[i]))
        mass += m
        total += nu
        chi2 += (m / h - nu) ** 2 / (abs(m) / h + nu + 1e-300)
        bounded = (max(m, 0.0) / h - nu) / (max(m, 0.0) / h + nu + 1e-300)
        residual += 4.0 * bounded * bounded * nu
        low = min(low, (image[i + 1] - image[i]) / h)
        if m <= 0.0:
            extended += nu
    return (
        mass, total * h, math.sqrt(chi2 * h), low, extended * h, worst,
        math.sqrt(residual / total),
    )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def _tridiagonal(lower, diagonal, upper, corner_low, corner_up, columns):
    """Solve for several right-hand sides in place; corners make the matrix cyclic.

    ``corner_low`` is the entry of the first row in the last column, ``corner_up`` that of the last
    row in the first column (Sherman-Morrison; both zero for an open line).
    """
    n = diagonal.shape[0]
    k = columns.shape[0]
    cyclic = corner_low != 0.0 or corner_up != 0.0
    d = diagonal.copy()
    extra = np.zeros(n)
    gamma = 0.0
    if cyclic:
        gamma = -d[0]
        d[0] -= gamma
        d[n - 1] -= corner_low * corner_up / gamma
        extra[0] = gamma
        extra[n - 1] = corner_up
    for i in range(1, n):
        w = lower[i] / d[i - 1]
        d[i] -= w * upper[i - 1]
        for m in range(k):
            columns[m, i] -= w * columns[m, i - 1]
        extra[i] -= w * extra[i - 1]
    for m in range(k):
        columns[m, n - 1] /= d[n - 1]
    extra[n - 1] /= d[n - 1]
    for i in range(n - 2, -1, -1):
        for m in range(k):
            columns[m, i] = (columns[m, i] - upper[i] * columns[m, i + 1]) / d[i]
        extra[i] = (extra[i] - upper[i] * extra[i + 1]) / d[i]
    if cyclic:
        share = corner_low / gamma
        scale = 1.0 + extra[0] + share * extra[n - 1]
        for m in range(k):
            factor = (columns[m, 0] + share * columns[m, n - 1]) / scale
            for i in range(n):
                columns[m, i] -= factor * extra[i]


@njit(cache=True, nogil=True, error_model="numpy")
def solve_rows_1d(rows, rhs, mode, pin, v):
    """Solve the assembled rows together with the constant; ``v`` padded, zero at cell ``pin``.

    Constants are in the null space of the rows, and the logarithm ``delta`` of the constant is the
    missing unknown: with one added to the diagonal at ``pin``, the combination of the solutions
    for ``r`` and for ``t`` that vanishes there solves the original rows exactly. Returns delta.
    """
    n = rhs.shape[0]
    lower = np.empty(n)
    diagonal = np.empty(n)
    upper = np.empty(n)
    columns = np.empty((2, n))
    for i in range(n):
        lower[i] = -rows[0, i] - rows[1, i]
        upper[i] = -rows[0, i] + rows[1, i]
        diagonal[i] = 2.0
        columns[0, i] = rhs[i]
        columns[1, i] = rows[2, i]
    first, last = lower[0], upper[n - 1]
    corner_low = 0.0
    corner_up = 0.0
    if mode == 0:
        diagonal[0] += first
        diagonal[n - 1] += last
    elif mode == 1:
        diagonal[0] += 2.0 * first
        upper[0] -= first
        diagonal[n - 1] += 2.0 * last
        lower[n - 1] -= last
    else:
        corner_low = first
        corner_up = last
    diagonal[pin] += 1.0
    _tridiagonal(lower, diagonal, upper, corner_low, corner_up, columns)
    delta = columns[0, pin] / columns[1, pin]
    for i in range(n):
        v[i + 1] = columns[0, i] - delta * columns[1, i]
    fill_ghosts_1d(v, mode)
    return delta


@njit(cache=True, nogil=True, error_model="numpy")
def gradient_norm_1d(v, log_source, h):
    """``sqrt(sum |v'|^2 nu h)`` of a padded array, centred differences."""
    total = 0.0
    for i in range(log_source.shape[0]):
        a = (v[i + 2] - v[i]) / (2.0 * h)
        total += a * a * math.exp(log_source[i])
    return math.sqrt(total * h)


@njit(cache=True, nogil=True, error_model="numpy")
def average_log_1d(fine, coarse, ix, wx):
    """Log of the area-overlap average of ``exp(fine)``."""
    for i in range(coarse.shape[0]):
        top = -np.inf
        for k in range(3):
            if wx[i, k] > 0:
                top = max(top, fine[ix[i] + k])
        total = 0.0
        for k in range(3):
            if wx[i, k] > 0:
                total += wx[i, k] * math.exp(fine[ix[i] + k] - top)
        coarse[i] = top + math.log(total)


@njit(cache=True, nogil=True, error_model="numpy")
def interpolate_1d(coarse, fine, ix, wx):
    """Four-point interpolation: ``fine[i] = sum wx[i, k] coarse[ix[i] + k]``."""
    for i in range(fine.shape[0]):
        k = ix[i]
        fine[i] = (
            wx[i, 0] * coarse[k] + wx[i, 1] * coarse[k + 1]
            + wx[i, 2] * coarse[k + 2] + wx[i, 3] * coarse[k + 3]
        )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def fields_1d(u, axis, quad, kind, params, table, delta, gradient, low, log_det, logm):
    """Gradient, second derivative, extended logarithm and inner log density on a grid."""
    n = low.shape[0]
    h = axis[1] - axis[0]
    f = np.empty(n)
    base = math.log(delta) - 1.0
    for i in range(n):
        gradient[i] = quad[2] + quad[0] * (axis[i] - quad[1]) + (u[i + 2] - u[i]) / (2.0 * h)
        det = quad[0] + (u[i + 2] - 2.0 * u[i + 1] + u[i]) / (h * h)
        low[i] = det
        log_det[i] = math.log(det) if det > delta else base + det / delta
    inner_row_1d(kind, params, table, gradient, logm, f)
