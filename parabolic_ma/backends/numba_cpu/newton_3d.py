"""Numba kernels of the Newton step on the Monge-Ampere equation in three dimensions.

The unknown is ``psi(y) = <y - c, A (y - c)>/2 + <b, y - c> + u(y)``; ``u`` is padded by one ghost
cell a side. With source density ``nu`` on the grid, inner density ``m`` at ``T = grad psi`` and
constant ``c`` the equation is

    det H  =  t2,     t2 = c nu / m(T),     H = Hess psi.

See `linearise_3d`; `inner_3d` has the layout of a tile. ``quad`` = (A11, A12, A13, A22, A23, A33,
c1, c2, c3, b1, b2, b3).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from parabolic_ma.backends.numba_cpu.inner_3d import (
    C11,
    C12,
    C13,
    C22,
    C23,
    C33,
    DET,
    F1,
    F2,
    F3,
    H11,
    H12,
    H13,
    H22,
    H23,
    H33,
    HIGH,
    LINE,
    LINES,
    LOGM,
    LOGT,
    LOW,
    MIDDLE,
    NU,
    NUMERATOR,
    OPTIONS,
    ROWS,
    SIGMA,
    SIZE,
    T2,
    TAN,
    WEIGHT,
    X1,
    X2,
    X3,
    M,
    R,
    T,
    tile_inner,
    tile_store,
)
from parabolic_ma.backends.numba_cpu.maths import exp, log
from parabolic_ma.backends.numba_cpu.newton import EXTENSION

_RAISED = 0.5  # of what the larger eigenvalues are at a solution, below which they are raised
_SAFE = 1e-3  # ratio of the two larger eigenvalues from which their product divides the determinant
_ROOT3 = math.sqrt(3.0)


# ---------------------------------------------------------------------------- the Hessian


@njit(**OPTIONS)
def _tile_derivatives(b, n, u, i, j, k0, y1, y2, axis3, quad, h1, h2, h3):
    """Gradient and Hessian of psi on a tile of line (i, j) by centred differences."""
    z1, z2 = y1 - quad[6], y2 - quad[7]
    x1 = quad[9] + quad[0] * z1 + quad[1] * z2 - quad[2] * quad[8]
    x2 = quad[10] + quad[1] * z1 + quad[3] * z2 - quad[4] * quad[8]
    x3 = quad[11] + quad[2] * z1 + quad[4] * z2 - quad[5] * quad[8]
    r11, r22, r33 = 1.0 / (h1 * h1), 1.0 / (h2 * h2), 1.0 / (h3 * h3)
    r12, r13, r23 = 0.25 / (h1 * h2), 0.25 / (h1 * h3), 0.25 / (h2 * h3)
    g1, g2, g3 = 0.5 / h1, 0.5 / h2, 0.5 / h3
    first = axis3[0]
    step = (axis3[-1] - axis3[0]) / (axis3.shape[0] - 1)
    for a in range(3):
        for c in range(3):
            line = u[i + a, j + c]
            to = LINES + (3 * a + c) * LINE
            for k in range(n + 2):
                b[to + k] = line[k0 + k]
    for k in range(n):
        sw, s, se = LINES + k + 1, LINES + LINE + k + 1, LINES + 2 * LINE + k + 1
        w, o, e = sw + 3 * LINE, s + 3 * LINE, se + 3 * LINE
        nw, north, ne = sw + 6 * LINE, s + 6 * LINE, se + 6 * LINE
        y3 = first + step * (k0 + k)
        twice = 2.0 * b[o]
        b[H11 + k] = quad[0] + (b[north] - twice + b[s]) * r11
        b[H22 + k] = quad[3] + (b[e] - twice + b[w]) * r22
        b[H33 + k] = quad[5] + (b[o + 1] - twice + b[o - 1]) * r33
        b[H12 + k] = quad[1] + (b[ne] - b[nw] - b[se] + b[sw]) * r12
        b[H13 + k] = quad[2] + (b[north + 1] - b[north - 1] - b[s + 1] + b[s - 1]) * r13
        b[H23 + k] = quad[4] + (b[e + 1] - b[e - 1] - b[w + 1] + b[w - 1]) * r23
        b[X1 + k] = x1 + quad[2] * y3 + (b[north] - b[s]) * g1
        b[X2 + k] = x2 + quad[4] * y3 + (b[e] - b[w]) * g2
        b[X3 + k] = x3 + quad[5] * y3 + (b[o + 1] - b[o - 1]) * g3


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def spectrum(h11, h12, h13, h22, h23, h33):
    r"""Signed determinant and eigenvalues ``l1 <= l2 <= l3`` of a symmetric matrix.

    With q a third of the trace and ``6 p^2`` the squared norm of K = H - q, the eigenvalues of
    K / p are ``2 cos(t + 2 pi j / 3)`` with ``cos 3 t = r = det(K / p) / 2``. The one far from the
    other two is ``2 c`` with the sign of r, ``c = cos(arccos|r| / 3)`` in [0.86, 1]: the root of
    ``4 c^3 - 3 c = |r|`` by a polynomial and two Newton steps, which compile to SIMD code. The
    others lie at ``-c +- (3 (1 - c^2))^(1/2)`` with ``1 - c = (1 - |r|) / (2 c + 1)^2``.

    Where the two larger eigenvalues are well away from zero l1 is ``det / l2 l3``, which does not
    cancel. The determinant is negative wherever l1 is: the product of two negative eigenvalues and
    a positive one is no density.
    """
    q = (h11 + h22 + h33) / 3.0
    k11, k22, k33 = h11 - q, h22 - q, h33 - q
    off12, off13, off23 = h12 * h12, h13 * h13, h23 * h23
    p2 = (k11 * k11 + k22 * k22 + k33 * k33 + 2.0 * (off12 + off13 + off23)) / 6.0
    p = math.sqrt(p2)
    twice = 2.0 * h12 * h13 * h23
    traceless = k11 * (k22 * k33 - off23) - k22 * off13 - k33 * off12 + twice
    r = 0.5 * traceless / max(p2 * p, 1e-300)
    s = min(abs(r), 1.0)
    c = 0.8660259824 + s * (
        0.16662256395
        + s * (-0.0475536259 + s * (0.02197778557 + s * (-0.009054172 + s * 0.0019819)))
    )
    c -= (c * (4.0 * c * c - 3.0) - s) / (12.0 * c * c - 3.0)
    c -= (c * (4.0 * c * c - 3.0) - s) / (12.0 * c * c - 3.0)
    near = p * c
    wide = p * _ROOT3 * math.sqrt((1.0 - s) * (1.0 + c)) / (2.0 * c + 1.0)
    outer = q + 2.0 * near
    low, middle, high = q - near - wide, q - near + wide, outer
    if r < 0.0:
        low, middle, high = q - 2.0 * near, q + near - wide, q + near + wide
    det = h11 * (h22 * h33 - off23) - h22 * off13 - h33 * off12 + twice
    if high > 0.0 and middle > _SAFE * high:
        low = det / (middle * high)
    if not low > 0.0:
        det = -abs(det)
    return det, low, middle, high


@njit(**OPTIONS)
def _tile_spectrum(b, n):
    for k in range(n):
        det, low, middle, high = spectrum(
            b[H11 + k], b[H12 + k], b[H13 + k], b[H22 + k], b[H23 + k], b[H33 + k]
        )
        b[DET + k] = det
        b[LOW + k] = low
        b[MIDDLE + k] = middle
        b[HIGH + k] = high


@njit(**OPTIONS)
def _tile_cofactors(b, n):
    """The cofactor matrix of H: the derivative of its determinant."""
    for k in range(n):
        h11, h12, h13 = b[H11 + k], b[H12 + k], b[H13 + k]
        h22, h23, h33 = b[H22 + k], b[H23 + k], b[H33 + k]
        b[C11 + k] = h22 * h33 - h23 * h23
        b[C12 + k] = h13 * h23 - h12 * h33
        b[C13 + k] = h12 * h23 - h13 * h22
        b[C22 + k] = h11 * h33 - h13 * h13
        b[C23 + k] = h12 * h13 - h11 * h23
        b[C33 + k] = h11 * h22 - h12 * h12


@njit(**OPTIONS)
def _elliptic_cell(b, k, small, second, large):
    r"""Cofactor matrix of the matrix with the eigenvectors of H and the given eigenvalues.

    It is ``mean + alpha K + beta (K^2 - 2 p^2)``, K = H - q and 6 p^2 = tr K^2, a polynomial in H
    that takes the wanted values at the eigenvalues. The mean is always right; two eigenvalues as
    good as equal share theirs.
    """
    h11, h12, h13 = b[H11 + k], b[H12 + k], b[H13 + k]
    h22, h23, h33 = b[H22 + k], b[H23 + k], b[H33 + k]
    q = (h11 + h22 + h33) / 3.0
    h11 -= q
    h22 -= q
    h33 -= q
    c1, c2, c3 = second * large, small * large, small * second
    b2, b3 = b[MIDDLE + k] - q, b[HIGH + k] - q
    b1 = -(b2 + b3)
    least = 1e-7 * (abs(q) + abs(b1) + abs(b3)) + 1e-300
    below = (c2 - c1) / max(b2 - b1, least)
    above = (c3 - c2) / max(b3 - b2, least)
    beta = (above - below) / max(b3 - b1, least)
    alpha = below + beta * b3
    squares = h11 * h11 + h22 * h22 + h33 * h33 + 2.0 * (h12 * h12 + h13 * h13 + h23 * h23)
    mean = (c1 + c2 + c3 - beta * squares) / 3.0
    b[C11 + k] = mean + alpha * h11 + beta * (h11 * h11 + h12 * h12 + h13 * h13)
    b[C22 + k] = mean + alpha * h22 + beta * (h12 * h12 + h22 * h22 + h23 * h23)
    b[C33 + k] = mean + alpha * h33 + beta * (h13 * h13 + h23 * h23 + h33 * h33)
    b[C12 + k] = alpha * h12 + beta * (h12 * (h11 + h22) + h13 * h23)
    b[C13 + k] = alpha * h13 + beta * (h13 * (h11 + h33) + h12 * h23)
    b[C23 + k] = alpha * h23 + beta * (h23 * (h22 + h33) + h12 * h13)


@njit(**OPTIONS)
def _tile_elliptic(b, n, clip, log_cap):
    """Raise and clip the spectrum; see `elliptic_part` of the NumPy kernels."""
    # where H is negative and t2 underflows the operator still needs a scale
    floor = 1e-6 * math.exp(log_cap / 3.0)
    _tile_cofactors(b, n)
    changes = 0
    for k in range(n):
        b[M + k] = exp(b[LOGM + k])
        b[T2 + k] = exp(b[LOGT + k])
        b[WEIGHT + k] = exp(b[LOGT + k] / 3.0)
    for k in range(n):
        low, middle, high = b[LOW + k], b[MIDDLE + k], b[HIGH + k]
        large = max(high, _RAISED * b[WEIGHT + k], floor)
        needed = max(middle, _RAISED * math.sqrt(b[T2 + k] / large))
        second = max(needed, clip * large)
        if low < 0.0:
            needed = second
        small = min(max(low, clip * large), second)
        raised = large > high or needed > middle
        changes += raised or second > needed or small != low
        numerator = low * needed * large if raised else b[DET + k]
        b[NUMERATOR + k] = numerator
        b[WEIGHT + k] = max(numerator, small * second * large)
        b[SIGMA + k] = 0.1 * large * large * second
    if changes == 0:
        return
    for k in range(n):
        low, middle, high = b[LOW + k], b[MIDDLE + k], b[HIGH + k]
        large = max(high, _RAISED * exp(b[LOGT + k] / 3.0), floor)
        needed = max(middle, _RAISED * math.sqrt(b[T2 + k] / large))
        second = max(needed, clip * large)
        small = min(max(low, clip * large), second)
        if large > high or second > middle or small != low:
            _elliptic_cell(b, k, small, second, large)


@njit(**OPTIONS)
def _tile_rows(b, n, h1, h2, h3, dt, peclet):
    """The Newton row of every cell of a tile; see `linearise_3d`."""
    r11, r22, r33 = 1.0 / (h1 * h1), 1.0 / (h2 * h2), 1.0 / (h3 * h3)
    r12, r13, r23 = 0.5 / (h1 * h2), 0.5 / (h1 * h3), 0.5 / (h2 * h3)
    i1, i2, i3 = 0.5 / h1, 0.5 / h2, 0.5 / h3
    for k in range(n):
        d = b[WEIGHT + k]
        t2 = b[T2 + k]
        g = d
        if t2 > d * 1.000001:
            g = (t2 - d) / max(b[LOGT + k] - log(d), 1e-6)
        b[WEIGHT + k] = g
    for k in range(n):
        g = b[WEIGHT + k]
        c11, c22, c33 = b[C11 + k] * r11, b[C22 + k] * r22, b[C33 + k] * r33
        p1 = g * b[F1 + k] * i1
        p2 = g * b[F2 + k] * i2
        p3 = g * b[F3 + k] * i3
        a1 = max(c11, peclet * abs(p1))
        a2 = max(c22, peclet * abs(p2))
        a3 = max(c33, peclet * abs(p3))
        half_sigma = 0.5 * max(g, b[SIGMA + k]) / dt
        scale = 1.0 / (a1 + a2 + a3 + half_sigma)
        b[ROWS + k] = a1 * scale
        b[ROWS + T + k] = a2 * scale
        b[ROWS + 2 * T + k] = a3 * scale
        b[ROWS + 3 * T + k] = b[C12 + k] * r12 * scale
        b[ROWS + 4 * T + k] = b[C13 + k] * r13 * scale
        b[ROWS + 5 * T + k] = b[C23 + k] * r23 * scale
        b[ROWS + 6 * T + k] = p1 * scale
        b[ROWS + 7 * T + k] = p2 * scale
        b[ROWS + 8 * T + k] = p3 * scale
        b[R + k] = (b[NUMERATOR + k] - b[T2 + k]) * scale
        b[TAN + k] = b[T2 + k] * scale


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def _tile_sums(b, n, sums):
    """Add a tile to the sums that `linearise_3d` returns."""
    mass = 0.0
    total = 0.0
    chi2 = 0.0
    residual = 0.0
    for k in range(n):
        nu = b[NU + k]
        image = b[M + k] * b[DET + k]
        excess = image - nu
        total += nu
        chi2 += excess * excess / (abs(image) + nu + 1e-300)
        positive = max(image, 0.0)
        mass += positive
        bounded = (positive - nu) / (positive + nu + 1e-300)
        residual += 4.0 * bounded * bounded * nu
    low = sums[3]
    extended = 0.0
    worst = sums[5]
    for k in range(n):
        low = min(low, b[LOW + k])
        if b[LOW + k] <= EXTENSION:
            extended += b[NU + k]
    for k in range(n):
        worst = max(worst, abs(b[R + k]))
    sums[0] += mass
    sums[1] += total
    sums[2] += chi2
    sums[3] = low
    sums[4] += extended
    sums[5] = worst
    sums[6] += residual


@njit(**OPTIONS)
def linearise_3d(
    u, axis1, axis2, axis3, quad, log_source, log_c, kind, params, table, clip, dt, peclet,
    log_cap, rows, rhs, tangent,
):  # fmt: skip
    """Assemble the Newton rows and the right-hand side, and measure the residual.

    In determinant units the equation is linearised as ``C : Hess v - g <grad f, grad v> = -(d -
    t2)`` with the cofactor matrix C of H, clipped, and d = det H, both in the operator only raised
    where the spectrum is too small for t2; the drift weight g is the logarithmic mean of d and t2
    where t2 > d. Each row is divided by half its diagonal; ``max(g, l3^2 l2 / 10) / dt`` adds a
    pseudo-time term. ``tangent`` is minus the derivative of the right-hand side with respect to the
    logarithm of c.

    Returns
    -------
    (mass, source mass, chi, smallest eigenvalue, extended source mass, largest |rhs|, residual)
        As in the plane.
    """
    n1, n2, n3 = log_source.shape
    h1, h2, h3 = axis1[1] - axis1[0], axis2[1] - axis2[0], axis3[1] - axis3[0]
    b = np.zeros(SIZE)
    sums = np.array([0.0, 0.0, 0.0, np.inf, 0.0, 0.0, 0.0])
    for i in range(n1):
        for j in range(n2):
            source = log_source[i, j]
            for k0 in range(0, n3, T):
                n = min(T, n3 - k0)
                _tile_derivatives(b, n, u, i, j, k0, axis1[i], axis2[j], axis3, quad, h1, h2, h3)
                tile_inner(b, n, kind, params, table)
                for k in range(n):
                    e = source[k0 + k] + log_c
                    b[NU + k] = exp(e)
                    b[LOGT + k] = min(e - b[LOGM + k], log_cap)
                _tile_spectrum(b, n)
                _tile_elliptic(b, n, clip, log_cap)
                _tile_rows(b, n, h1, h2, h3, dt, peclet)
                _tile_sums(b, n, sums)
                for c in range(9):
                    tile_store(b, ROWS + c * T, n, rows[c, i, j, k0:])
                tile_store(b, R, n, rhs[i, j, k0:])
                tile_store(b, TAN, n, tangent[i, j, k0:])
    volume = h1 * h2 * h3
    return (
        sums[0] * volume, sums[1] * volume, math.sqrt(sums[2] * volume), sums[3], sums[4] * volume,
        sums[5], math.sqrt(sums[6] / sums[1]),
    )  # fmt: skip


@njit(**OPTIONS)
def fields_3d(
    u, axis1, axis2, axis3, quad, kind, params, table, delta, gradient, low, high, log_det, logm
):
    """Gradient, outer Hessian eigenvalues, extended log determinant and inner log density."""
    n1, n2, n3 = low.shape
    h1, h2, h3 = axis1[1] - axis1[0], axis2[1] - axis2[0], axis3[1] - axis3[0]
    b = np.zeros(SIZE)
    for i in range(n1):
        for j in range(n2):
            for k0 in range(0, n3, T):
                n = min(T, n3 - k0)
                _tile_derivatives(b, n, u, i, j, k0, axis1[i], axis2[j], axis3, quad, h1, h2, h3)
                tile_inner(b, n, kind, params, table)
                _tile_spectrum(b, n)
                for k in range(n):
                    l1, l2, l3 = b[LOW + k], b[MIDDLE + k], b[HIGH + k]
                    extended = log(max(l1, delta)) + min(l1 - delta, 0.0) / delta
                    extended += log(max(l2, delta)) + min(l2 - delta, 0.0) / delta
                    extended += log(max(l3, delta)) + min(l3 - delta, 0.0) / delta
                    b[T2 + k] = extended
                tile_store(b, X1, n, gradient[i, j, k0:, 0])
                tile_store(b, X2, n, gradient[i, j, k0:, 1])
                tile_store(b, X3, n, gradient[i, j, k0:, 2])
                tile_store(b, LOW, n, low[i, j, k0:])
                tile_store(b, HIGH, n, high[i, j, k0:])
                tile_store(b, T2, n, log_det[i, j, k0:])
                tile_store(b, LOGM, n, logm[i, j, k0:])


@njit(**OPTIONS)
def inverse_change_3d(after, before, spacing, matrix, source):
    """Sum of ``nu |(H + s)^(-1) grad(after - before)|^2``, H of the quadratic and ``after``.

    The shift s lifts the smallest eigenvalue to 1e-4 of the largest where it is less.
    """
    n1, n2, n3 = source.shape
    h1, h2, h3 = spacing
    r11, r22, r33 = 1.0 / (h1 * h1), 1.0 / (h2 * h2), 1.0 / (h3 * h3)
    r12, r13, r23 = 0.25 / (h1 * h2), 0.25 / (h1 * h3), 0.25 / (h2 * h3)
    a11, a12, a13, a22, a23, a33 = matrix
    total = 0.0
    for i in range(n1):
        for j in range(n2):
            c, n, s = after[i + 1, j + 1], after[i + 2, j + 1], after[i, j + 1]
            e, w = after[i + 1, j + 2], after[i + 1, j]
            ne, nw, se, sw = after[i + 2, j + 2], after[i + 2, j], after[i, j + 2], after[i, j]
            cb, nb, sb = before[i + 1, j + 1], before[i + 2, j + 1], before[i, j + 1]
            eb, wb = before[i + 1, j + 2], before[i + 1, j]
            for k in range(n3):
                twice = 2.0 * c[k + 1]
                h11 = a11 + (n[k + 1] - twice + s[k + 1]) * r11
                h22 = a22 + (e[k + 1] - twice + w[k + 1]) * r22
                h33 = a33 + (c[k + 2] - twice + c[k]) * r33
                h12 = a12 + (ne[k + 1] - nw[k + 1] - se[k + 1] + sw[k + 1]) * r12
                h13 = a13 + (n[k + 2] - n[k] - s[k + 2] + s[k]) * r13
                h23 = a23 + (e[k + 2] - e[k] - w[k + 2] + w[k]) * r23
                d1 = ((n[k + 1] - nb[k + 1]) - (s[k + 1] - sb[k + 1])) * 0.5 / h1
                d2 = ((e[k + 1] - eb[k + 1]) - (w[k + 1] - wb[k + 1])) * 0.5 / h2
                d3 = ((c[k + 2] - cb[k + 2]) - (c[k] - cb[k])) * 0.5 / h3
                _, low, _, high = spectrum(h11, h12, h13, h22, h23, h33)
                shift = max(1e-4 * abs(high) + 1e-300 - low, 0.0)
                h11 += shift
                h22 += shift
                h33 += shift
                c11, c12, c13 = h22 * h33 - h23 * h23, h13 * h23 - h12 * h33, h12 * h23 - h13 * h22
                c22, c23, c33 = h11 * h33 - h13 * h13, h12 * h13 - h11 * h23, h11 * h22 - h12 * h12
                det = h11 * c11 + h12 * c12 + h13 * c13
                x1 = c11 * d1 + c12 * d2 + c13 * d3
                x2 = c12 * d1 + c22 * d2 + c23 * d3
                x3 = c13 * d1 + c23 * d2 + c33 * d3
                total += exp(source[i, j, k]) * (x1 * x1 + x2 * x2 + x3 * x3) / (det * det)
    return total


# ---------------------------------------------------------------------------- light cells


@njit(**OPTIONS)
def _largest_root(l1, l2, l3, product):
    """Largest s with ``(l1 + s) (l2 + s) (l3 + s) = product``, by Newton's method from above."""
    s = product ** (1.0 / 3.0) - l1
    for _ in range(60):
        a, b, c = l1 + s, l2 + s, l3 + s
        step = (a * b * c - product) / (a * b + a * c + b * c)
        s -= step
        if not step > 1e-15 * abs(s):
            break
    return s


@njit(**OPTIONS)
def convexify_3d(
    u, axis1, axis2, axis3, quad, log_source, log_c, kind, params, table, log_cap, lowest, highest,
    sweeps,
):  # fmt: skip
    """Lower ``u`` where H is not convex on light cells until ``det H = t2``, by the convex root.

    Lowering the centre by s adds ``r_k s``, ``r_k = 2 / h_k^2``, to the diagonal of H and leaves
    the centred gradient: with ``K = R^(-1/2) H R^(-1/2)`` the pointwise equation is ``det(K + s) =
    t2 / det R`` (Gauss-Seidel). Only cells whose log source density lies between ``lowest`` and
    ``highest`` are touched; ghosts are not.
    """
    n1, n2, n3 = log_source.shape
    h1, h2, h3 = axis1[1] - axis1[0], axis2[1] - axis2[0], axis3[1] - axis3[0]
    r1, r2, r3 = 2.0 / (h1 * h1), 2.0 / (h2 * h2), 2.0 / (h3 * h3)
    b = np.zeros(SIZE)
    for _ in range(sweeps):
        touched = False
        for i in range(n1):
            for j in range(n2):
                for k in range(n3):
                    if not lowest <= log_source[i, j, k] <= highest:
                        continue
                    _tile_derivatives(b, 1, u, i, j, k, axis1[i], axis2[j], axis3, quad, h1, h2, h3)
                    _tile_spectrum(b, 1)
                    if b[LOW] > EXTENSION:
                        continue
                    tile_inner(b, 1, kind, params, table)
                    t2 = math.exp(min(log_source[i, j, k] + log_c - b[LOGM], log_cap))
                    _, l1, l2, l3 = spectrum(
                        b[H11] / r1, b[H12] / math.sqrt(r1 * r2), b[H13] / math.sqrt(r1 * r3),
                        b[H22] / r2, b[H23] / math.sqrt(r2 * r3), b[H33] / r3,
                    )  # fmt: skip
                    s = _largest_root(l1, l2, l3, t2 / (r1 * r2 * r3))
                    if s > 0.0:
                        u[i + 1, j + 1, k + 1] -= s
                        touched = True
        if not touched:
            break
