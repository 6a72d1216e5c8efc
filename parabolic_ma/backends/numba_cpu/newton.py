"""Numba kernels of the Newton step on the Monge-Ampere equation in two dimensions.

The unknown is ``psi(y) = <y - c, A (y - c)>/2 + <b, y - c> + u(y)``; ``u`` is padded by one ghost
cell a side. With source density ``nu`` on the grid, inner density ``m`` at ``T = grad psi`` and
constant ``c`` the equation is

    det H  =  t2,     t2 = c nu / m(T),     H = Hess psi,

linear in the one eigenvalue that degenerates. See `linearise`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from parabolic_ma.backends.numba_cpu import simd
from parabolic_ma.backends.numba_cpu.inner import (
    F1,
    F2,
    H11,
    H12,
    H22,
    LOGM,
    SIZE,
    TILE,
    X1,
    X2,
    tile_inner,
)
from parabolic_ma.backends.numba_cpu.simd import LANES32, LANES64, load64, store

EXTENSION = 1e-10  # eigenvalue below which the logarithm is extended linearly
RAISED = 2.0  # ratio of sqrt t2 and l2 from which the operator takes sqrt t2 for the eigenvalue

# Behind the inner density's part of the scratch array comes the source; the rows of a tile are in
# an array of their own, in float32.
_E = SIZE
_SCRATCH = SIZE + TILE
_A, _D, _X, _P, _Q, _R, _TAN = (k * TILE for k in range(7))


@njit(cache=True, nogil=True, error_model="numpy")
def tile_derivatives(b, n, u, i, j0, y1, axis2, quad, h1, h2):
    """Gradient and Hessian of psi on a tile of row i by centred differences.

    ``quad`` = (A11, A12, A22, c1, c2, b1, b2).
    """
    a11, a12, a22 = quad[0], quad[1], quad[2]
    z1 = y1 - quad[3]
    x1 = quad[5] + a11 * z1 - a12 * quad[4]
    x2 = quad[6] + a12 * z1 - a22 * quad[4]
    r11, r22, r12 = 1.0 / (h1 * h1), 1.0 / (h2 * h2), 0.25 / (h1 * h2)
    g1, g2 = 0.5 / h1, 0.5 / h2
    south, center, north = u[i], u[i + 1], u[i + 2]
    first = axis2[0]
    step = (axis2[-1] - axis2[0]) / (axis2.shape[0] - 1)
    whole = n - n % LANES64
    lane = simd.ramp64()
    for j in range(0, whole, LANES64):
        k = j0 + j
        sw, s, se = load64(south, k), load64(south, k + 1), load64(south, k + 2)
        w, c, e = load64(center, k), load64(center, k + 1), load64(center, k + 2)
        nw, t, ne = load64(north, k), load64(north, k + 1), load64(north, k + 2)
        y2 = first + step * (lane + float(k))
        store(b, H11 + j, a11 + (t - 2.0 * c + s) * r11)
        store(b, H22 + j, a22 + (e - 2.0 * c + w) * r22)
        store(b, H12 + j, a12 + (ne - nw - se + sw) * r12)
        store(b, X1 + j, x1 + a12 * y2 + (t - s) * g1)
        store(b, X2 + j, x2 + a22 * y2 + (e - w) * g2)
    for j in range(whole, n):
        k = j0 + j + 1
        y2 = first + step * (k - 1.0)
        b[H11 + j] = a11 + (north[k] - 2.0 * center[k] + south[k]) * r11
        b[H22 + j] = a22 + (center[k + 1] - 2.0 * center[k] + center[k - 1]) * r22
        b[H12 + j] = a12 + (north[k + 1] - north[k - 1] - south[k + 1] + south[k - 1]) * r12
        b[X1 + j] = x1 + a12 * y2 + (north[k] - south[k]) * g1
        b[X2 + j] = x2 + a22 * y2 + (center[k + 1] - center[k - 1]) * g2


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _logarithmic_mean(x):
    """``(x - 1) / log x`` for x >= 1, float32; by its series close to one."""
    d = x - 1.0
    series = 1.0 + d * (0.5 - d * (1.0 / 12.0 - d * (1.0 / 24.0)))
    return simd.greater(d, 0.1, d / simd.log32(simd.maximum(x, 1.05)), series)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _row(h11, h12, h22, det, t2, f1, f2, clip, peclet, ratio, floor, sigma, width):
    """The Newton row of sixteen cells, in float32; see `linearise`.

    Eigenvalues are in units of the affine map's, lengths in units of h1; ``ratio`` is the square
    of h1 / h2, ``width`` its root and ``sigma`` half of h1^2 / dt. Returns the row, the factor of
    the residual and the eigenvalues that it consists of.
    """
    half = 0.5 * (h11 + h22)
    diff = 0.5 * (h11 - h22)
    rad = simd.root(diff * diff + h12 * h12)
    l2 = half + rad
    # no cancellation in the small eigenvalue
    safe = simd.greater(l2, 0.5 * rad, l2, 1.0)
    l1 = simd.greater(l2, 0.5 * rad, det / safe, half - rad)
    wanted = simd.root(t2)
    raised = simd.minimum(wanted, 2.0 * wanted - RAISED * l2)
    big = simd.maximum(simd.maximum(l2, raised), floor)
    small = simd.minimum(simd.maximum(l1, clip * big), big)
    s = 1.0 / (big + small)
    # B = (big P1 + small P2) s with P2 the projector on the eigenvector of l2
    turn = 0.5 * (big - small) * s / simd.maximum(rad, 1e-30)
    b11 = 0.5 - turn * diff
    b22 = 0.5 + turn * diff
    diag = 1.0 / (b11 + b22 * ratio)
    num = simd.greater(big, 1.000001 * l2, l1 * big, det)
    d2 = simd.maximum(num, small * big)
    g = d2 * _logarithmic_mean(simd.maximum(t2 / d2, 1.0))
    w = g * diag * s
    p = w * f1
    q = w * width * f2
    half_sigma = simd.maximum(g, 0.1 * big * big) * diag * s * sigma
    a = simd.maximum(b11 * diag, peclet * simd.absolute(p))
    d = simd.maximum(b22 * diag * ratio, peclet * simd.absolute(q))
    z = 1.0 / (a + d + half_sigma)
    scale = diag * z
    x = -(turn * h12) * scale * (0.5 * width)
    return a * z, d * z, x, p * z, q * z, scale * s, l1, l2, big


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _add_sums(sums, nu, m, det):
    """Add eight cells to the running sums of `linearise`."""
    mass, total, chi2, residual = sums
    excess = m * det - nu
    bounded = excess / (m * simd.absolute(det) + nu + 1e-300)
    positive = simd.maximum(det, 0.0)
    return (
        mass + m * positive,
        total + nu,
        chi2 + excess * bounded,
        residual + simd.greater(det, 0.0, bounded * bounded, 1.0) * nu,
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _tile_rows(b, o, n, h1, h2, clip, dt, peclet, log_cap, sums):
    """Turn a tile's derivatives and densities into rows, in ``o``, and add to the sums.

    Beyond the tile's end the arrays hold cells of no mass, harmless to work on.
    """
    # where H is negative and t2 underflows the operator still needs a scale
    unit = math.exp(0.5 * log_cap) * 1e-2
    inverse = 1.0 / unit
    square = inverse * inverse
    cap = math.exp(log_cap) * square
    floor = np.float32(1e-4)
    clip32, peclet32 = np.float32(clip), np.float32(peclet)
    width = np.float32(h1 / h2)
    ratio = np.float32((h1 / h2) ** 2)
    sigma = np.float32(0.5 * unit * h1 * h1 / dt)
    drift = 0.5 * unit * h1
    length = unit * h1 * h1
    zero = simd.splat64(0.0)
    running = (zero, zero, zero, zero)
    extended = zero
    lowest = simd.splat32(np.float32(np.inf))
    worst = simd.splat32(np.float32(0.0))
    for j in range(0, n, LANES32):
        k = j + LANES64
        nu_a, nu_b = simd.exp(load64(b, _E + j)), simd.exp(load64(b, _E + k))
        logm_a, logm_b = load64(b, LOGM + j), load64(b, LOGM + k)
        raw_a, raw_b = simd.exp(load64(b, _E + j) - logm_a), simd.exp(load64(b, _E + k) - logm_b)
        t2_a, t2_b = simd.minimum(cap, raw_a * square), simd.minimum(cap, raw_b * square)
        h11_a, h11_b = load64(b, H11 + j) * inverse, load64(b, H11 + k) * inverse
        h12_a, h12_b = load64(b, H12 + j) * inverse, load64(b, H12 + k) * inverse
        h22_a, h22_b = load64(b, H22 + j) * inverse, load64(b, H22 + k) * inverse
        det_a = h11_a * h22_a - h12_a * h12_a
        det_b = h11_b * h22_b - h12_b * h12_b
        det = simd.narrow(det_a, det_b)
        a, d, x, p, q, factor, l1, l2, big = _row(
            simd.narrow(h11_a, h11_b), simd.narrow(h12_a, h12_b), simd.narrow(h22_a, h22_b),
            det, simd.narrow(t2_a, t2_b),
            simd.narrow(load64(b, F1 + j) * drift, load64(b, F1 + k) * drift),
            simd.narrow(load64(b, F2 + j) * drift, load64(b, F2 + k) * drift),
            clip32, peclet32, ratio, floor, sigma, width,
        )  # fmt: skip
        # the bracket of the residual in float64: det, or l1 times what l2 is raised to
        raised = l1 * big
        limit = 1.000001 * l2
        num_a = simd.greater(simd.low(big), simd.low(limit), simd.low(raised), det_a)
        num_b = simd.greater(simd.high(big), simd.high(limit), simd.high(raised), det_b)
        r = simd.narrow(
            (num_a - t2_a) * simd.low(factor) * length, (num_b - t2_b) * simd.high(factor) * length
        )
        t = simd.narrow(t2_a * simd.low(factor) * length, t2_b * simd.high(factor) * length)
        store(o, _A + j, a)
        store(o, _D + j, d)
        store(o, _X + j, x)
        store(o, _P + j, p)
        store(o, _Q + j, q)
        store(o, _R + j, r)
        store(o, _TAN + j, t)
        worst = simd.maximum(worst, simd.absolute(r))
        lowest = simd.minimum(lowest, l1)
        m_a, m_b = simd.exp(logm_a) * (unit * unit), simd.exp(logm_b) * (unit * unit)
        running = _add_sums(running, nu_a, m_a, det_a)
        running = _add_sums(running, nu_b, m_b, det_b)
        limit32 = EXTENSION * inverse
        extended = extended + simd.greater(simd.low(l1), limit32, zero, nu_a)
        extended = extended + simd.greater(simd.high(l1), limit32, zero, nu_b)
    sums[0] += simd.total(running[0])
    sums[1] += simd.total(running[1])
    sums[2] += simd.total(running[2])
    sums[3] = min(sums[3], simd.least(lowest) * unit)
    sums[4] += simd.total(extended)
    sums[5] = max(sums[5], simd.most(worst))
    sums[6] += 4.0 * simd.total(running[3])


@njit(cache=True, nogil=True, error_model="numpy")
def _store(b, offset, n, out):
    for j in range(n):
        out[j] = b[offset + j]


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_up(b, n):
    """Continue a tile to a whole number of vectors, by its last cell without the mass."""
    last = n - 1
    log_t2 = min(max(b[_E + last] - b[LOGM + last], -700.0), 700.0)
    for j in range(n, n + (-n) % LANES32):
        b[H11 + j] = b[H11 + last]
        b[H12 + j] = b[H12 + last]
        b[H22 + j] = b[H22 + last]
        b[F1 + j] = b[F1 + last]
        b[F2 + j] = b[F2 + last]
        b[_E + j] = -1e4
        b[LOGM + j] = -1e4 - log_t2


@njit(cache=True, nogil=True, error_model="numpy")
def linearise(
    begin, end, u, axis1, axis2, quad, log_source, log_c, kind, params, table, clip, dt, peclet,
    log_cap, rows, rhs, tangent,
):  # fmt: skip
    """Assemble the Newton rows of some rows of cells and measure the residual; see `combined`.

    In determinant units the equation is linearised as
    ``S B : Hess v - g <f', grad v> = -(num - t2)`` with a clipped, unit-trace ``B`` (eigenvalues
    ``L2 / S`` along the eigenvector of the small eigenvalue of H and ``K2 / S`` across,
    ``L2 = max(l2, min(q, 2 q - 2 l2))``, q = sqrt t2, ``K2`` = l1 clipped to ``[clip L2, L2]``,
    ``S = L2 + K2``) and the drift weight ``g``, the logarithmic mean of det and t2 where t2 > det:
    then the step is the log form's where only T moves, and the mass form's where only the Hessian
    moves. L2 is raised only where the target is far off: at two equal eigenvalues any raise halves
    the residual, and Newton's method converges linearly. Clips change the operator only, never the
    residual. Each row is divided by its diagonal; ``S / dt`` adds a pseudo-time term. ``tangent``
    is minus the derivative of the right-hand side with respect to the logarithm of c.

    Returns
    -------
    mass, source mass, chi^2, smallest eigenvalue, extended source mass, largest |rhs|, residual^2
        Sums over the cells, without their area; ``chi^2 = sum (m det - c nu)^2 / (m |det| + c
        nu)``; ``residual^2`` the sum of ``(2 tanh(F / 2))^2 c nu``, F the log form.
    """
    ny = log_source.shape[1]
    h1 = axis1[1] - axis1[0]
    h2 = axis2[1] - axis2[0]
    b = np.zeros(_SCRATCH)
    o = np.zeros(7 * TILE, np.float32)
    sums = np.array([0.0, 0.0, 0.0, np.inf, 0.0, 0.0, 0.0])
    for i in range(begin, end):
        source = log_source[i]
        for j0 in range(0, ny, TILE):
            n = min(TILE, ny - j0)
            tile_derivatives(b, n, u, i, j0, axis1[i], axis2, quad, h1, h2)
            tile_inner(b, n, kind, params, table)
            for j in range(n):
                b[_E + j] = source[j0 + j] + log_c
            _fill_up(b, n)
            _tile_rows(b, o, n, h1, h2, clip, dt, peclet, log_cap, sums)
            _store(o, _A, n, rows[0, i, j0:])
            _store(o, _D, n, rows[1, i, j0:])
            _store(o, _X, n, rows[2, i, j0:])
            _store(o, _P, n, rows[3, i, j0:])
            _store(o, _Q, n, rows[4, i, j0:])
            _store(o, _R, n, rhs[i, j0:])
            _store(o, _TAN, n, tangent[i, j0:])
    return sums[0], sums[1], sums[2], sums[3], sums[4], sums[5], sums[6]


def combined(parts, area):
    """Return the figures of the whole grid, as in the protocol, from those of its parts (k, 7)."""
    mass, total, chi2, _, extended, _, residual2 = (float(x) for x in parts.sum(axis=0))
    return (
        mass * area,
        total * area,
        math.sqrt(chi2 * area),
        float(parts[:, 3].min()),
        extended * area,
        float(parts[:, 5].max()),
        math.sqrt(residual2 / total) if total > 0.0 else math.nan,
    )


@njit(cache=True, nogil=True, error_model="numpy")
def derivatives_row(u, i, y1, axis2, quad, h1, h2, t1, t2, h11, h12, h22):
    """Gradient and Hessian of psi on row i."""
    b = np.zeros(SIZE)
    for j0 in range(0, t1.shape[0], TILE):
        n = min(TILE, t1.shape[0] - j0)
        tile_derivatives(b, n, u, i, j0, y1, axis2, quad, h1, h2)
        _store(b, X1, n, t1[j0:])
        _store(b, X2, n, t2[j0:])
        _store(b, H11, n, h11[j0:])
        _store(b, H12, n, h12[j0:])
        _store(b, H22, n, h22[j0:])


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _extended_log(x, delta):
    """Logarithm of eight numbers, continued linearly (C1) below ``delta``."""
    return simd.log(simd.maximum(x, delta)) + simd.minimum(0.0, x - delta) / delta


@njit(cache=True, nogil=True, error_model="numpy")
def _tile_eigenvalues(b, n, delta):
    """Replace the second derivatives of a tile by eigenvalues and the extended log determinant."""
    for j in range(0, n, LANES64):
        h11, h12, h22 = load64(b, H11 + j), load64(b, H12 + j), load64(b, H22 + j)
        half = 0.5 * (h11 + h22)
        diff = 0.5 * (h11 - h22)
        rad = simd.root(diff * diff + h12 * h12)
        high = half + rad
        safe = simd.greater(high, 0.5 * rad, high, 1.0)
        low = simd.greater(high, 0.5 * rad, (h11 * h22 - h12 * h12) / safe, half - rad)
        store(b, H11 + j, low)
        store(b, H22 + j, high)
        store(b, H12 + j, _extended_log(low, delta) + _extended_log(high, delta))


@njit(cache=True, nogil=True, error_model="numpy")
def fields(
    first, last, u, axis1, axis2, quad, kind, params, table, delta, gradient, low, high, log_det,
    logm,
):  # fmt: skip
    """Gradient, Hessian eigenvalues, extended log determinant and inner log density on some rows.

    The logarithm of an eigenvalue below ``delta`` is replaced by its C1 linear extension, so the
    log form of the residual is defined for every grid function.
    """
    ny = low.shape[1]
    h1 = axis1[1] - axis1[0]
    h2 = axis2[1] - axis2[0]
    b = np.zeros(SIZE)
    for i in range(first, last):
        for j0 in range(0, ny, TILE):
            n = min(TILE, ny - j0)
            tile_derivatives(b, n, u, i, j0, axis1[i], axis2, quad, h1, h2)
            tile_inner(b, n, kind, params, table)
            _tile_eigenvalues(b, n, delta)
            for j in range(n):
                gradient[i, j0 + j, 0] = b[X1 + j]
                gradient[i, j0 + j, 1] = b[X2 + j]
            _store(b, H11, n, low[i, j0:])
            _store(b, H22, n, high[i, j0:])
            _store(b, H12, n, log_det[i, j0:])
            _store(b, LOGM, n, logm[i, j0:])


@njit(cache=True, nogil=True, error_model="numpy")
def convexify(
    u, axis1, axis2, quad, log_source, log_c, kind, params, table, log_cap, lowest, highest, sweeps
):
    """Lower ``u`` where H is not convex on light cells until ``det H = t2``, by the convex root.

    ``det H`` is quadratic in the value at the centre, and the centred gradient does not contain
    it, so the pointwise equation is solved exactly (Gauss-Seidel). Only cells whose log source
    density lies between ``lowest`` and ``highest`` are touched; ghosts are not.
    """
    nx, ny = log_source.shape
    h1 = axis1[1] - axis1[0]
    h2 = axis2[1] - axis2[0]
    r1, r2, r12 = 1.0 / (h1 * h1), 1.0 / (h2 * h2), 0.25 / (h1 * h2)
    a11, a12, a22 = quad[0], quad[1], quad[2]
    b = np.zeros(SIZE)
    for _ in range(sweeps):
        touched = False
        for i in range(nx):
            for j in range(ny):
                if not lowest <= log_source[i, j] <= highest:
                    continue
                c = 2.0 * u[i + 1, j + 1]
                h11 = a11 + (u[i + 2, j + 1] - c + u[i, j + 1]) * r1
                h22 = a22 + (u[i + 1, j + 2] - c + u[i + 1, j]) * r2
                h12 = a12 + (u[i + 2, j + 2] - u[i + 2, j] - u[i, j + 2] + u[i, j]) * r12
                if h11 + h22 > 0.0 and h11 * h22 - h12 * h12 > EXTENSION * (h11 + h22):
                    continue
                z1 = axis1[i] - quad[3]
                z2 = axis2[j] - quad[4]
                b[X1] = quad[5] + a11 * z1 + a12 * z2 + 0.5 * (u[i + 2, j + 1] - u[i, j + 1]) / h1
                b[X2] = quad[6] + a12 * z1 + a22 * z2 + 0.5 * (u[i + 1, j + 2] - u[i + 1, j]) / h2
                tile_inner(b, 1, kind, params, table)
                t2 = math.exp(min(log_source[i, j] + log_c - b[LOGM], log_cap))
                # (h11 + 2 s r1) (h22 + 2 s r2) - h12^2 = t2, the root with positive trace
                q2 = 4.0 * r1 * r2
                q1 = 2.0 * (h11 * r2 + h22 * r1)
                q0 = h11 * h22 - h12 * h12 - t2
                s = (-q1 + math.sqrt(max(q1 * q1 - 4.0 * q2 * q0, 0.0))) / (2.0 * q2)
                if s > 0.0:
                    u[i + 1, j + 1] -= s
                    touched = True
        if not touched:
            break
