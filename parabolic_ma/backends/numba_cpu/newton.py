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

from parabolic_ma.backends.numba_cpu.maths import exp, log

EXTENSION = 1e-10  # eigenvalue below which the logarithm is extended linearly

# Rows are worked on in tiles of one scratch array: with constant offsets into the same array LLVM
# sees that the streams do not overlap and turns every loop into SIMD code.
_T = 256
_X1, _X2, _H11, _H12, _H22, _LOGM, _F1, _F2 = (k * _T for k in range(8))
_NU, _M, _T2, _LOGT = (k * _T for k in range(8, 12))
_O1, _O2, _E1, _E2 = _NU, _M, _T2, _LOGT  # used before those are
_A, _D, _X, _P, _Q, _R, _TAN, _DET, _LOW = (k * _T for k in range(12, 21))
_S, _C, _N = 21 * _T, 23 * _T, 25 * _T  # rows of u with one more cell at either end
_SIZE = 27 * _T


@njit(cache=True, nogil=True, error_model="numpy")
def _tile_gaussian(b, n, params):
    """Params: log density at the mean, mean (2), precision (p11, p12, p22)."""
    k, m1, m2, p11, p12, p22 = params[0], params[1], params[2], params[3], params[4], params[5]
    for j in range(n):
        u = b[_X1 + j] - m1
        v = b[_X2 + j] - m2
        g1 = p11 * u + p12 * v
        g2 = p12 * u + p22 * v
        b[_F1 + j] = g1
        b[_F2 + j] = g2
        b[_LOGM + j] = k - 0.5 * (u * g1 + v * g2)


@njit(cache=True, nogil=True, error_model="numpy")
def _tile_mixture(b, n, params):
    """Params: six numbers a component as for one Gaussian, the constant with its log weight."""
    for j in range(n):
        b[_T2 + j] = -1e300
        b[_NU + j] = 0.0
        b[_F1 + j] = 0.0
        b[_F2 + j] = 0.0
    for c in range(params.shape[0] // 6):
        k, m1, m2 = params[6 * c], params[6 * c + 1], params[6 * c + 2]
        p11, p12, p22 = params[6 * c + 3], params[6 * c + 4], params[6 * c + 5]
        for j in range(n):
            u = b[_X1 + j] - m1
            v = b[_X2 + j] - m2
            e = k - 0.5 * (u * (p11 * u + p12 * v) + v * (p12 * u + p22 * v))
            b[_T2 + j] = max(b[_T2 + j], e)
    for c in range(params.shape[0] // 6):
        k, m1, m2 = params[6 * c], params[6 * c + 1], params[6 * c + 2]
        p11, p12, p22 = params[6 * c + 3], params[6 * c + 4], params[6 * c + 5]
        for j in range(n):
            u = b[_X1 + j] - m1
            v = b[_X2 + j] - m2
            g1 = p11 * u + p12 * v
            g2 = p12 * u + p22 * v
            w = exp(k - 0.5 * (u * g1 + v * g2) - b[_T2 + j])
            b[_NU + j] += w
            b[_F1 + j] += w * g1
            b[_F2 + j] += w * g2
    for j in range(n):
        total = b[_NU + j]
        b[_F1 + j] /= total
        b[_F2 + j] /= total
        b[_LOGM + j] = b[_T2 + j] + log(total)


@njit(cache=True, nogil=True, error_model="numpy")
def _tile_uniform(b, n, params):
    """Params: log density."""
    for j in range(n):
        b[_LOGM + j] = params[0]
        b[_F1 + j] = 0.0
        b[_F2 + j] = 0.0


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def _tile_table(b, n, params, table):
    """Cubic B-spline of the log density.

    Params: lower corner (2), spacing (2), curvature, 1 if periodic. ``table`` has two coefficients
    of padding a side; nodes are cell centres. Outside the box the log density continues with the
    slope at the face and the given downward curvature.
    """
    n1 = table.shape[0] - 4
    n2 = table.shape[1] - 4
    lo1, lo2, kappa, wrap = params[0], params[1], params[4], params[5]
    h1, h2 = params[2], params[3]
    r1, r2 = 1.0 / h1, 1.0 / h2
    # position in cells, clamped to the box, and what is cut off; with zero as the first argument
    # max and min make 0 of a NaN, which is no index (the rest that is cut off stays NaN)
    for j in range(n):
        s1 = (b[_X1 + j] - lo1) * r1
        s2 = (b[_X2 + j] - lo2) * r2
        s1 -= wrap * np.floor(s1 / n1) * n1
        s2 -= wrap * np.floor(s2 / n2) * n2
        o1 = min(max(0.0, s1), float(n1))
        o2 = min(max(0.0, s2), float(n2))
        b[_E1 + j] = (s1 - o1) * h1
        b[_E2 + j] = (s2 - o2) * h2
        b[_O1 + j] = o1 + 0.5
        b[_O2 + j] = o2 + 0.5
    for j in range(n):
        i1 = np.int64(b[_O1 + j])
        i2 = np.int64(b[_O2 + j])
        t = b[_O2 + j] - i2
        s = 1.0 - t
        tt = t * t
        ss = s * s
        b0 = ss * s / 6.0
        b1 = (4.0 - 3.0 * tt * (2.0 - t)) / 6.0
        b2 = (4.0 - 3.0 * ss * (2.0 - s)) / 6.0
        b3 = tt * t / 6.0
        g0 = -0.5 * ss
        g1 = t * (1.5 * t - 2.0)
        g2 = s * (2.0 - 1.5 * s)
        g3 = 0.5 * tt
        c = table[i1]
        v0 = b0 * c[i2] + b1 * c[i2 + 1] + b2 * c[i2 + 2] + b3 * c[i2 + 3]
        w0 = g0 * c[i2] + g1 * c[i2 + 1] + g2 * c[i2 + 2] + g3 * c[i2 + 3]
        c = table[i1 + 1]
        v1 = b0 * c[i2] + b1 * c[i2 + 1] + b2 * c[i2 + 2] + b3 * c[i2 + 3]
        w1 = g0 * c[i2] + g1 * c[i2 + 1] + g2 * c[i2 + 2] + g3 * c[i2 + 3]
        c = table[i1 + 2]
        v2 = b0 * c[i2] + b1 * c[i2 + 1] + b2 * c[i2 + 2] + b3 * c[i2 + 3]
        w2 = g0 * c[i2] + g1 * c[i2 + 1] + g2 * c[i2 + 2] + g3 * c[i2 + 3]
        c = table[i1 + 3]
        v3 = b0 * c[i2] + b1 * c[i2 + 1] + b2 * c[i2 + 2] + b3 * c[i2 + 3]
        w3 = g0 * c[i2] + g1 * c[i2 + 1] + g2 * c[i2 + 2] + g3 * c[i2 + 3]
        t = b[_O1 + j] - i1
        s = 1.0 - t
        tt = t * t
        ss = s * s
        a0 = ss * s / 6.0
        a1 = (4.0 - 3.0 * tt * (2.0 - t)) / 6.0
        a2 = (4.0 - 3.0 * ss * (2.0 - s)) / 6.0
        a3 = tt * t / 6.0
        b[_LOGM + j] = a0 * v0 + a1 * v1 + a2 * v2 + a3 * v3
        b[_F2 + j] = (a0 * w0 + a1 * w1 + a2 * w2 + a3 * w3) * r2
        b[_F1 + j] = 0.5 * (tt * v3 - ss * v0) + t * (1.5 * t - 2.0) * v1 + s * (2.0 - 1.5 * s) * v2
    for j in range(n):
        d1 = b[_F1 + j] * r1
        d2 = b[_F2 + j]
        e1 = b[_E1 + j]
        e2 = b[_E2 + j]
        b[_LOGM + j] += d1 * e1 + d2 * e2 - 0.5 * kappa * (e1 * e1 + e2 * e2)
        b[_F1 + j] = kappa * e1 - d1
        b[_F2 + j] = kappa * e2 - d2


@njit(cache=True, nogil=True, error_model="numpy")
def _tile_inner(b, n, kind, params, table):
    """Log density and gradient of the potential of the inner measure at a tile of points."""
    if kind == 0:
        _tile_gaussian(b, n, params)
    elif kind == 1:
        _tile_mixture(b, n, params)
    elif kind == 2:
        _tile_uniform(b, n, params)
    else:
        _tile_table(b, n, params, table)


@njit(cache=True, nogil=True, error_model="numpy")
def _load(row, j0, n, b, offset):
    for j in range(n):
        b[offset + j] = row[j0 + j]


@njit(cache=True, nogil=True, error_model="numpy")
def inner_row(kind, params, table, x1, x2, logm, f1, f2):
    """Log density and gradient of the potential of the inner measure at points."""
    b = np.empty(_SIZE)
    for j0 in range(0, x1.shape[0], _T):
        n = min(_T, x1.shape[0] - j0)
        for j in range(n):
            b[_X1 + j] = x1[j0 + j]
            b[_X2 + j] = x2[j0 + j]
        _tile_inner(b, n, kind, params, table)
        for j in range(n):
            logm[j0 + j] = b[_LOGM + j]
            f1[j0 + j] = b[_F1 + j]
            f2[j0 + j] = b[_F2 + j]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"})
def _tile_derivatives(b, n, u, i, j0, y1, axis2, quad, h1, h2):
    """Gradient and Hessian of psi on a tile of row i by centred differences.

    ``quad`` = (A11, A12, A22, c1, c2, b1, b2).
    """
    a11, a12, a22 = quad[0], quad[1], quad[2]
    z1 = y1 - quad[3]
    x1 = quad[5] + a11 * z1 - a12 * quad[4]
    x2 = quad[6] + a12 * z1 - a22 * quad[4]
    r11, r22, r12 = 1.0 / (h1 * h1), 1.0 / (h2 * h2), 0.25 / (h1 * h2)
    g1, g2 = 0.5 / h1, 0.5 / h2
    _load(u[i], j0, n + 2, b, _S)
    _load(u[i + 1], j0, n + 2, b, _C)
    _load(u[i + 2], j0, n + 2, b, _N)
    first = axis2[0]
    step = (axis2[-1] - axis2[0]) / (axis2.shape[0] - 1)
    for j in range(n):
        south, center, north = b[_S + 1 + j], b[_C + 1 + j], b[_N + 1 + j]
        west, east = b[_C + j], b[_C + 2 + j]
        y2 = first + step * (j0 + j)
        b[_H11 + j] = a11 + (north - 2.0 * center + south) * r11
        b[_H22 + j] = a22 + (east - 2.0 * center + west) * r22
        b[_H12 + j] = a12 + (b[_N + 2 + j] - b[_N + j] - b[_S + 2 + j] + b[_S + j]) * r12
        b[_X1 + j] = x1 + a12 * y2 + (north - south) * g1
        b[_X2 + j] = x2 + a22 * y2 + (east - west) * g2


@njit(cache=True, nogil=True, error_model="numpy")
def _tile_rows(b, n, h1, h2, clip, dt, peclet, log_cap):
    """The Newton row of every cell of a tile; see `linearise`."""
    r1, r2 = 1.0 / (h1 * h1), 1.0 / (h2 * h2)
    i1, i2 = 0.5 / h1, 0.5 / h2
    i12 = 0.5 / (h1 * h2)
    # where H is negative and t2 underflows the operator still needs a scale
    floor = 1e-6 * math.exp(0.5 * log_cap)
    for j in range(n):
        b[_M + j] = exp(b[_LOGM + j])
        b[_T2 + j] = exp(b[_LOGT + j])
    for j in range(n):
        h11 = b[_H11 + j]
        h22 = b[_H22 + j]
        h12 = b[_H12 + j]
        half = 0.5 * (h11 + h22)
        diff = 0.5 * (h11 - h22)
        rad = math.sqrt(diff * diff + h12 * h12)
        det = h11 * h22 - h12 * h12
        l2 = half + rad
        l1 = half - rad
        if l2 > 0.5 * rad:
            l1 = det / l2  # no cancellation
        b[_DET + j] = det
        b[_LOW + j] = l1
        t2 = b[_T2 + j]
        big = max(l2, math.sqrt(t2), floor)
        small = min(max(l1, clip * big), big)
        s = 1.0 / (big + small)
        num = det
        if big > l2:
            num = l1 * big
        # B = (big P1 + small P2) / s with P2 the projector on the eigenvector of l2
        turn = 0.5 * (big - small) * s / max(rad, 1e-300)
        b11 = 0.5 - turn * diff
        b22 = 0.5 + turn * diff
        diag = 1.0 / (b11 * r1 + b22 * r2)
        d2 = max(num, small * big)
        rise = max(b[_LOGT + j] - log(d2), 1e-6)
        g = d2
        if t2 > d2 * 1.000001:
            g = (t2 - d2) / rise
        w = g * diag * s
        p = w * b[_F1 + j] * i1
        q = w * b[_F2 + j] * i2
        half_sigma = 0.5 * max(g, 0.1 * big * big) * diag * s / dt
        a = max(b11 * diag * r1, peclet * abs(p))
        d = max(b22 * diag * r2, peclet * abs(q))
        z = 1.0 / (a + d + half_sigma)
        scale = diag * z
        b[_A + j] = a * z
        b[_D + j] = d * z
        b[_X + j] = -turn * h12 * scale * i12
        b[_P + j] = p * z
        b[_Q + j] = q * z
        b[_R + j] = (num - t2) * scale * s
        b[_TAN + j] = t2 * scale * s


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def _tile_sums(b, n, sums):
    """Add a tile to the sums that `linearise` returns."""
    mass = 0.0
    total = 0.0
    chi2 = 0.0
    for j in range(n):
        nu = b[_NU + j]
        m = b[_M + j]
        det = b[_DET + j]
        excess = m * det - nu
        mass += m * max(det, 0.0)
        total += nu
        chi2 += excess * excess / (m * abs(det) + nu + 1e-300)
    residual = 0.0
    for j in range(n):
        nu = b[_NU + j]
        image = b[_M + j] * max(b[_DET + j], 0.0)
        bounded = (image - nu) / (image + nu + 1e-300)
        residual += 4.0 * bounded * bounded * nu
    low = sums[3]
    extended = 0.0
    worst = sums[5]
    for j in range(n):
        l1 = b[_LOW + j]
        low = min(low, l1)
        if l1 <= EXTENSION:
            extended += b[_NU + j]
    for j in range(n):
        worst = max(worst, abs(b[_R + j]))
    sums[0] += mass
    sums[1] += total
    sums[2] += chi2
    sums[3] = low
    sums[4] += extended
    sums[5] = worst
    sums[6] += residual


@njit(cache=True, nogil=True, error_model="numpy")
def _store(b, offset, n, out):
    for j in range(n):
        out[j] = b[offset + j]


@njit(cache=True, nogil=True, error_model="numpy")
def linearise(
    u, axis1, axis2, quad, log_source, log_c, kind, params, table, clip, dt, peclet, log_cap,
    rows, rhs, tangent,
):  # fmt: skip
    """Assemble the Newton rows and the right-hand side, and measure the residual.

    In determinant units the equation is linearised as
    ``S B : Hess v - g <f', grad v> = -(num - t2)`` with a clipped, unit-trace ``B`` (eigenvalues
    ``L2 / S`` along the eigenvector of the small eigenvalue of H and ``K2 / S`` across,
    ``L2 = max(l2, sqrt t2)``, ``K2`` = l1 clipped to ``[clip L2, L2]``, ``S = L2 + K2``) and the
    drift weight ``g``, the logarithmic mean of det and t2 where t2 > det: then the step is the log
    form's where only T moves, and the mass form's where only the Hessian moves. Clips change the
    operator only, never the residual. Each row is divided by its diagonal; ``S / dt`` adds a
    pseudo-time term. ``tangent`` is minus the derivative of the right-hand side with respect to the
    logarithm of c.

    Returns
    -------
    (mass, source mass, chi, smallest eigenvalue, extended source mass, largest |rhs|, residual)
        ``chi^2 = sum (m det - c nu)^2 / (m |det| + c nu)`` times the cell area; the residual is the
        root mean square of ``2 tanh(F / 2)`` under the source, F the log form.
    """
    nx, ny = log_source.shape
    h1 = axis1[1] - axis1[0]
    h2 = axis2[1] - axis2[0]
    b = np.empty(_SIZE)
    sums = np.array([0.0, 0.0, 0.0, np.inf, 0.0, 0.0, 0.0])
    for i in range(nx):
        source = log_source[i]
        for j0 in range(0, ny, _T):
            n = min(_T, ny - j0)
            _tile_derivatives(b, n, u, i, j0, axis1[i], axis2, quad, h1, h2)
            _tile_inner(b, n, kind, params, table)
            for j in range(n):
                e = source[j0 + j] + log_c
                b[_NU + j] = exp(e)
                b[_LOGT + j] = min(e - b[_LOGM + j], log_cap)
            _tile_rows(b, n, h1, h2, clip, dt, peclet, log_cap)
            _tile_sums(b, n, sums)
            _store(b, _A, n, rows[0, i, j0:])
            _store(b, _D, n, rows[1, i, j0:])
            _store(b, _X, n, rows[2, i, j0:])
            _store(b, _P, n, rows[3, i, j0:])
            _store(b, _Q, n, rows[4, i, j0:])
            _store(b, _R, n, rhs[i, j0:])
            _store(b, _TAN, n, tangent[i, j0:])
    area = h1 * h2
    return (
        sums[0] * area, sums[1] * area, math.sqrt(sums[2] * area), sums[3], sums[4] * area, sums[5],
        math.sqrt(sums[6] / sums[1]),
    )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def derivatives_row(u, i, y1, axis2, quad, h1, h2, t1, t2, h11, h12, h22):
    """Gradient and Hessian of psi on row i."""
    b = np.empty(_SIZE)
    for j0 in range(0, t1.shape[0], _T):
        n = min(_T, t1.shape[0] - j0)
        _tile_derivatives(b, n, u, i, j0, y1, axis2, quad, h1, h2)
        _store(b, _X1, n, t1[j0:])
        _store(b, _X2, n, t2[j0:])
        _store(b, _H11, n, h11[j0:])
        _store(b, _H12, n, h12[j0:])
        _store(b, _H22, n, h22[j0:])


@njit(cache=True, nogil=True, error_model="numpy")
def add_correction(u, v, omega):
    """``u += omega (v - mean v)`` on padded arrays, ghosts included."""
    nx, ny = u.shape
    mean = 0.0
    for i in range(1, nx - 1):
        for j in range(1, ny - 1):
            mean += v[i, j]
    mean /= (nx - 2) * (ny - 2)
    for i in range(nx):
        for j in range(ny):
            u[i, j] += omega * (v[i, j] - mean)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def gradient_norm(v, mass, h1, h2):
    """``sqrt(sum |grad v|^2 mass)`` of a padded array, centred differences; mass per cell."""
    nx, ny = mass.shape
    total = 0.0
    g1, g2 = 0.5 / h1, 0.5 / h2
    for i in range(nx):
        s, c, t, w = v[i], v[i + 1], v[i + 2], mass[i]
        for j in range(ny):
            a = (t[j + 1] - s[j + 1]) * g1
            b = (c[j + 2] - c[j]) * g2
            total += (a * a + b * b) * w[j]
    return math.sqrt(total)


@njit(cache=True, nogil=True, error_model="numpy")
def fields(u, axis1, axis2, quad, kind, params, table, delta, gradient, low, high, log_det, logm):
    """Gradient, Hessian eigenvalues, extended log determinant and inner log density on a grid.

    The logarithm of an eigenvalue below ``delta`` is replaced by its C1 linear extension, so the
    log form of the residual is defined for every grid function.
    """
    nx, ny = low.shape
    h1 = axis1[1] - axis1[0]
    h2 = axis2[1] - axis2[0]
    b = np.empty(_SIZE)
    for i in range(nx):
        for j0 in range(0, ny, _T):
            n = min(_T, ny - j0)
            _tile_derivatives(b, n, u, i, j0, axis1[i], axis2, quad, h1, h2)
            _tile_inner(b, n, kind, params, table)
            for j in range(n):
                half = 0.5 * (b[_H11 + j] + b[_H22 + j])
                diff = 0.5 * (b[_H11 + j] - b[_H22 + j])
                rad = math.sqrt(diff * diff + b[_H12 + j] * b[_H12 + j])
                det = b[_H11 + j] * b[_H22 + j] - b[_H12 + j] * b[_H12 + j]
                l2 = half + rad
                l1 = half - rad
                if l2 > 0.5 * rad:
                    l1 = det / l2
                e1 = log(max(l1, delta)) + min(l1 - delta, 0.0) / delta
                e2 = log(max(l2, delta)) + min(l2 - delta, 0.0) / delta
                b[_LOW + j] = l1
                b[_A + j] = l2
                b[_D + j] = e1 + e2
            _store(b, _X1, n, gradient[i, j0:, 0])
            _store(b, _X2, n, gradient[i, j0:, 1])
            _store(b, _LOW, n, low[i, j0:])
            _store(b, _A, n, high[i, j0:])
            _store(b, _D, n, log_det[i, j0:])
            _store(b, _LOGM, n, logm[i, j0:])


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
    b = np.empty(_SIZE)
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
                b[_X1] = quad[5] + a11 * z1 + a12 * z2 + 0.5 * (u[i + 2, j + 1] - u[i, j + 1]) / h1
                b[_X2] = quad[6] + a12 * z1 + a22 * z2 + 0.5 * (u[i + 1, j + 2] - u[i + 1, j]) / h2
                _tile_inner(b, 1, kind, params, table)
                t2 = math.exp(min(log_source[i, j] + log_c - b[_LOGM], log_cap))
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
