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

EXTENSION = 1e-10  # eigenvalue below which the logarithm is extended linearly


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _cubic_weights(t):
    s = 1.0 - t
    return (
        s * s * s / 6.0,
        (4.0 - 6.0 * t * t + 3.0 * t * t * t) / 6.0,
        (4.0 - 6.0 * s * s + 3.0 * s * s * s) / 6.0,
        t * t * t / 6.0,
    )


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _cubic_slopes(t):
    s = 1.0 - t
    return (-0.5 * s * s, 1.5 * t * t - 2.0 * t, 2.0 * s - 1.5 * s * s, 0.5 * t * t)


@njit(cache=True, nogil=True, error_model="numpy")
def _row_gaussian(x1, x2, params, logm, f1, f2):
    """Params: constant, mean (2), precision (p11, p12, p22)."""
    k, m1, m2, p11, p12, p22 = params[0], params[1], params[2], params[3], params[4], params[5]
    for j in range(x1.shape[0]):
        u = x1[j] - m1
        v = x2[j] - m2
        g1 = p11 * u + p12 * v
        g2 = p12 * u + p22 * v
        f1[j] = g1
        f2[j] = g2
        logm[j] = k - 0.5 * (u * g1 + v * g2)


@njit(cache=True, nogil=True, error_model="numpy")
def _row_mixture(x1, x2, params, logm, f1, f2):
    """Params: six numbers a component as for one Gaussian, the constant with its log weight."""
    n = params.shape[0] // 6
    for j in range(x1.shape[0]):
        top = -np.inf
        total = 0.0
        s1 = 0.0
        s2 = 0.0
        for c in range(n):
            o = 6 * c
            u = x1[j] - params[o + 1]
            v = x2[j] - params[o + 2]
            g1 = params[o + 3] * u + params[o + 4] * v
            g2 = params[o + 4] * u + params[o + 5] * v
            e = params[o] - 0.5 * (u * g1 + v * g2)
            if e > top:
                scale = math.exp(top - e)
                total = total * scale + 1.0
                s1 = s1 * scale + g1
                s2 = s2 * scale + g2
                top = e
            else:
                w = math.exp(e - top)
                total += w
                s1 += w * g1
                s2 += w * g2
        logm[j] = top + math.log(total)
        f1[j] = s1 / total
        f2[j] = s2 / total


@njit(cache=True, nogil=True, error_model="numpy")
def _row_uniform(x1, x2, params, logm, f1, f2):
    """Params: log density."""
    for j in range(x1.shape[0]):
        logm[j] = params[0]
        f1[j] = 0.0
        f2[j] = 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _row_table(x1, x2, params, table, logm, f1, f2):
    """Cubic B-spline of the log density.

    Params: lower corner (2), spacing (2), curvature. ``table`` has two coefficients of padding a
    side; nodes are cell centres. Outside the box the log density continues with the slope at the
    face and the given downward curvature.
    """
    n1 = table.shape[0] - 4
    n2 = table.shape[1] - 4
    lo1, lo2, h1, h2, kappa = params[0], params[1], params[2], params[3], params[4]
    for j in range(x1.shape[0]):
        s1 = (x1[j] - lo1) / h1
        s2 = (x2[j] - lo2) / h2
        o1 = min(max(s1, 0.0), float(n1))
        o2 = min(max(s2, 0.0), float(n2))
        e1 = (s1 - o1) * h1
        e2 = (s2 - o2) * h2
        o1 += 1.5
        o2 += 1.5
        i1 = min(int(o1), n1 + 1)
        i2 = min(int(o2), n2 + 1)
        wa = _cubic_weights(o1 - i1)
        wb = _cubic_weights(o2 - i2)
        da = _cubic_slopes(o1 - i1)
        db = _cubic_slopes(o2 - i2)
        value = 0.0
        d1 = 0.0
        d2 = 0.0
        for k in range(4):
            t = table[i1 - 1 + k]
            b = wb[0] * t[i2 - 1] + wb[1] * t[i2] + wb[2] * t[i2 + 1] + wb[3] * t[i2 + 2]
            g = db[0] * t[i2 - 1] + db[1] * t[i2] + db[2] * t[i2 + 1] + db[3] * t[i2 + 2]
            value += wa[k] * b
            d1 += da[k] * b
            d2 += wa[k] * g
        d1 /= h1
        d2 /= h2
        logm[j] = value + d1 * e1 + d2 * e2 - 0.5 * kappa * (e1 * e1 + e2 * e2)
        f1[j] = -d1 + kappa * e1
        f2[j] = -d2 + kappa * e2


@njit(cache=True, nogil=True, error_model="numpy")
def inner_row(kind, params, table, x1, x2, logm, f1, f2):
    """Log density and gradient of the potential of the inner measure at a row of points."""
    if kind == 0:
        _row_gaussian(x1, x2, params, logm, f1, f2)
    elif kind == 1:
        _row_mixture(x1, x2, params, logm, f1, f2)
    elif kind == 2:
        _row_uniform(x1, x2, params, logm, f1, f2)
    else:
        _row_table(x1, x2, params, table, logm, f1, f2)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"})
def derivatives_row(u, i, y1, axis2, quad, h1, h2, t1, t2, h11, h12, h22):
    """Gradient and Hessian of psi on row i by centred differences.

    ``quad`` = (A11, A12, A22, c1, c2, b1, b2).
    """
    a11, a12, a22, c1, c2, b1, b2 = quad[0], quad[1], quad[2], quad[3], quad[4], quad[5], quad[6]
    s, c, n = u[i], u[i + 1], u[i + 2]
    r11, r22, r12 = 1.0 / (h1 * h1), 1.0 / (h2 * h2), 0.25 / (h1 * h2)
    g1, g2 = 0.5 / h1, 0.5 / h2
    z1 = y1 - c1
    for j in range(t1.shape[0]):
        z2 = axis2[j] - c2
        two = 2.0 * c[j + 1]
        h11[j] = a11 + (n[j + 1] - two + s[j + 1]) * r11
        h22[j] = a22 + (c[j + 2] - two + c[j]) * r22
        h12[j] = a12 + (n[j + 2] - n[j] - s[j + 2] + s[j]) * r12
        t1[j] = b1 + a11 * z1 + a12 * z2 + (n[j + 1] - s[j + 1]) * g1
        t2[j] = b2 + a12 * z1 + a22 * z2 + (c[j + 2] - c[j]) * g2


@njit(cache=True, nogil=True, error_model="numpy")
def linearise(
    u, axis1, axis2, quad, log_source, log_c, kind, params, table, clip, dt, edge, peclet,
    log_cap, rows, rhs, tangent,
):  # fmt: skip
    """Assemble the Newton rows and the right-hand side, and measure the residual.

    In determinant units the equation is linearised as ``S B : Hess v - g <f', grad v> = -(num - t2)``
    with a clipped, unit-trace ``B`` (eigenvalues ``L2 / S`` along the eigenvector of the small
    eigenvalue of H and ``K2 / S`` across, ``L2 = max(l2, sqrt t2)``, ``K2`` = l1 clipped to
    ``[clip L2, L2]``, ``S = L2 + K2``) and the drift weight ``g``, the logarithmic mean of det and
    t2 where t2 > det: then the step is the log form's where only T moves, and the mass form's
    where only the Hessian moves. Clips change the operator only, never the residual. Each row is
    divided by its diagonal; ``S / dt`` adds a pseudo-time term. ``tangent`` is minus the derivative
    of the right-hand side with respect to the logarithm of c.

    Returns
    -------
    (mass, source mass, chi, smallest eigenvalue, extended source mass, largest |rhs|)
        ``chi^2 = sum (m det - c nu)^2 / (m |det| + c nu)`` times the cell area.
    """
    nx, ny = log_source.shape
    h1 = axis1[1] - axis1[0]
    h2 = axis2[1] - axis2[0]
    x1 = np.empty(ny)
    x2 = np.empty(ny)
    h11 = np.empty(ny)
    h12 = np.empty(ny)
    h22 = np.empty(ny)
    logm = np.empty(ny)
    f1 = np.empty(ny)
    f2 = np.empty(ny)
    mass = 0.0
    total = 0.0
    chi2 = 0.0
    low = np.inf
    extended = 0.0
    worst = 0.0
    r1, r2 = 1.0 / (h1 * h1), 1.0 / (h2 * h2)
    # where H is negative and t2 underflows the operator still needs a scale
    floor = 1e-6 * math.exp(0.5 * log_cap)
    for i in range(nx):
        derivatives_row(u, i, axis1[i], axis2, quad, h1, h2, x1, x2, h11, h12, h22)
        inner_row(kind, params, table, x1, x2, logm, f1, f2)
        edge_row = i == 0 or i == nx - 1
        for j in range(ny):
            half = 0.5 * (h11[j] + h22[j])
            diff = 0.5 * (h11[j] - h22[j])
            rad = math.sqrt(diff * diff + h12[j] * h12[j])
            det = h11[j] * h22[j] - h12[j] * h12[j]
            l2 = half + rad
            l1 = det / l2 if l2 > 0.5 * rad else half - rad
            log_t2 = min(log_source[i, j] + log_c - logm[j], log_cap)
            t2 = math.exp(log_t2)
            big = max(l2, math.sqrt(t2), floor)
            small = min(max(l1, clip * big), big)
            s = big + small
            num = l1 * big if big > l2 else det
            # B = (big P1 + small P2) / s with P2 the projector on the eigenvector of l2
            c2 = diff / rad if rad > 0.0 else 0.0
            s2 = h12[j] / rad if rad > 0.0 else 0.0
            gap = (big - small) / s
            b11 = 0.5 * (1.0 - gap * c2)
            b22 = 0.5 * (1.0 + gap * c2)
            b12 = -0.5 * gap * s2
            diag = 1.0 / (b11 * r1 + b22 * r2)
            d2 = max(num, small * big)
            x = t2 / d2
            if x > 1.0 + 1e-6:
                g = (t2 - d2) / math.log(x)
            else:
                g = d2
            if edge > 0.0 and (edge_row or j == 0 or j == ny - 1):
                g = max(g, edge * big * big)
            a = b11 * diag * r1
            d = b22 * diag * r2
            w = g * diag / s
            p = w * f1[j] / (2.0 * h1)
            q = w * f2[j] / (2.0 * h2)
            half_sigma = 0.5 * max(g, 0.1 * big * big) * diag / (s * dt)
            a = max(a, peclet * abs(p))
            d = max(d, peclet * abs(q))
            z = 1.0 / (a + d + half_sigma)
            rows[0, i, j] = a * z
            rows[1, i, j] = d * z
            rows[2, i, j] = 0.5 * b12 * diag * z / (h1 * h2)
            rows[3, i, j] = p * z
            rows[4, i, j] = q * z
            res = (num - t2) * diag * z / s
            rhs[i, j] = res
            tangent[i, j] = t2 * diag * z / s
            worst = max(worst, abs(res))
            m = math.exp(logm[j])
            nu = math.exp(log_source[i, j] + log_c)
            mass += m * max(det, 0.0)
            total += nu
            chi2 += (m * det - nu) ** 2 / (m * abs(det) + nu + 1e-300)
            low = min(low, l1)
            if l1 <= EXTENSION:
                extended += nu
    area = h1 * h2
    return mass * area, total * area, math.sqrt(chi2 * area), low, extended * area, worst


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


@njit(cache=True, nogil=True, error_model="numpy")
def gradient_norm(v, log_source, h1, h2):
    """``sqrt(sum |grad v|^2 nu h1 h2)`` of a padded array, centred differences."""
    nx, ny = log_source.shape
    total = 0.0
    g1, g2 = 0.5 / h1, 0.5 / h2
    for i in range(nx):
        for j in range(ny):
            a = (v[i + 2, j + 1] - v[i, j + 1]) * g1
            b = (v[i + 1, j + 2] - v[i + 1, j]) * g2
            total += (a * a + b * b) * math.exp(log_source[i, j])
    return math.sqrt(total * h1 * h2)


@njit(cache=True, nogil=True, error_model="numpy")
def fields(u, axis1, axis2, quad, kind, params, table, delta, gradient, low, high, log_det, logm):
    """Gradient, Hessian eigenvalues, extended log determinant and inner log density on a grid.

    The logarithm of an eigenvalue below ``delta`` is replaced by its C1 linear extension, so the
    log form of the residual is defined for every grid function.
    """
    nx, ny = low.shape
    h1 = axis1[1] - axis1[0]
    h2 = axis2[1] - axis2[0]
    x1 = np.empty(ny)
    x2 = np.empty(ny)
    h11 = np.empty(ny)
    h12 = np.empty(ny)
    h22 = np.empty(ny)
    f1 = np.empty(ny)
    f2 = np.empty(ny)
    base = math.log(delta) - 1.0
    for i in range(nx):
        derivatives_row(u, i, axis1[i], axis2, quad, h1, h2, x1, x2, h11, h12, h22)
        inner_row(kind, params, table, x1, x2, logm[i], f1, f2)
        for j in range(ny):
            half = 0.5 * (h11[j] + h22[j])
            diff = 0.5 * (h11[j] - h22[j])
            rad = math.sqrt(diff * diff + h12[j] * h12[j])
            det = h11[j] * h22[j] - h12[j] * h12[j]
            l2 = half + rad
            l1 = det / l2 if l2 > 0.5 * rad else half - rad
            gradient[i, j, 0] = x1[j]
            gradient[i, j, 1] = x2[j]
            low[i, j] = l1
            high[i, j] = l2
            if l1 > delta:
                log_det[i, j] = math.log(det)
            else:
                log_det[i, j] = (base + l1 / delta) + (
                    math.log(l2) if l2 > delta else base + l2 / delta
                )
