r"""NumPy kernels of the Newton step on the Monge-Ampere equation in two dimensions.

The unknown is :math:`\psi(y) = \tfrac12 \langle y - c, A (y - c)\rangle + \langle b, y - c\rangle
+ u(y)`; ``u`` is padded by one ghost cell a side. With source density :math:`\nu` on the grid,
inner density :math:`m` at :math:`T = \nabla\psi` and a constant :math:`c` the equation is

.. math:: \det H = t_2, \qquad t_2 = c\,\nu / m(T), \qquad H = \nabla^2 \psi.
"""

from __future__ import annotations

import math

import numpy as np

from parabolic_ma.backends.numpy_reference.common import figures, kernel

GAUSSIAN, MIXTURE, UNIFORM, TABLE = 0, 1, 2, 3
EXTENSION = 1e-10  # eigenvalue below which the logarithm is extended linearly
RAISED = 2.0  # ratio of sqrt t2 and l2 from which the operator takes sqrt t2 for the eigenvalue


def spline_weights(t):
    """Weights of the four cubic B-splines that meet at ``0 <= t < 1`` after a node; last axis 4."""
    s = 1.0 - t
    return np.stack(
        [s**3, 4.0 - 6.0 * t**2 + 3.0 * t**3, 4.0 - 6.0 * s**2 + 3.0 * s**3, t**3], axis=-1
    ) / 6.0  # fmt: skip


def spline_slopes(t):
    """Return the derivatives of `spline_weights`."""
    s = 1.0 - t
    return np.stack(
        [-(s**2) / 2.0, 1.5 * t**2 - 2.0 * t, 2.0 * s - 1.5 * s**2, t**2 / 2.0], axis=-1
    )


def locate(x, lower, spacing, cells, periodic):
    """Find the spline pieces of coordinates on one axis of a padded table.

    Returns
    -------
    index : (..., 4)
        Of the coefficients that the piece is made of.
    weights, slopes : (..., 4)
        Weights of the value and of the derivative.
    excess : (...)
        By how much the coordinate lies outside the box, with sign; 0 when ``periodic``, where
        coordinates are taken modulo the box.
    """
    s = (x - lower) / spacing
    if periodic:
        s = s % cells
    # fmin and fmax send NaN inside, where there is something to index; the excess stays NaN
    inside = np.fmin(np.fmax(s, 0.0), cells)
    first = np.floor(inside + 0.5).astype(np.int64)
    t = inside + 0.5 - first
    index = first[..., None] + np.arange(4)
    return index, spline_weights(t), spline_slopes(t) / spacing, (s - inside) * spacing


def _gaussians(params, x1, x2):
    r"""Log density and potential gradient of a Gaussian mixture.

    For each component :math:`e_k = \log w_k - \tfrac12 \langle x - m_k, P_k (x - m_k)\rangle +
    \text{const}`; the log density is :math:`\log\sum_k e^{e_k}` and the gradient of the potential
    is the average of :math:`P_k (x - m_k)` under the weights :math:`e^{e_k}`.
    """
    constant, m1, m2, p11, p12, p22 = params.reshape(-1, 6).T
    u = x1[..., None] - m1
    v = x2[..., None] - m2
    g1 = p11 * u + p12 * v
    g2 = p12 * u + p22 * v
    exponent = constant - 0.5 * (u * g1 + v * g2)
    top = exponent.max(axis=-1, keepdims=True)
    weight = np.exp(exponent - top)
    total = weight.sum(axis=-1)
    logm = top[..., 0] + np.log(total)
    return logm, (weight * g1).sum(axis=-1) / total, (weight * g2).sum(axis=-1) / total


def _table(params, table, x1, x2):
    r"""Cubic B-spline of the log density and its continuation beyond the box.

    With the nearest point :math:`o` of the box, :math:`e = x - o` and the curvature
    :math:`\kappa`: :math:`\log m = s(o) + \langle\nabla s(o), e\rangle - \tfrac\kappa2 |e|^2`;
    or periodic.
    """
    lower1, lower2, h1, h2, kappa, periodic = params
    i, wa, da, e1 = locate(x1, lower1, h1, table.shape[0] - 4, periodic)
    j, wb, db, e2 = locate(x2, lower2, h2, table.shape[1] - 4, periodic)
    patch = table[i[..., :, None], j[..., None, :]]
    value = np.einsum("...k,...l,...kl->...", wa, wb, patch)
    d1 = np.einsum("...k,...l,...kl->...", da, wb, patch)
    d2 = np.einsum("...k,...l,...kl->...", wa, db, patch)
    logm = value + d1 * e1 + d2 * e2 - 0.5 * kappa * (e1**2 + e2**2)
    return logm, -d1 + kappa * e1, -d2 + kappa * e2


def inner_potential(kind, params, table, x1, x2):
    r"""Return :math:`\log m`, :math:`\partial_1 f`, :math:`\partial_2 f`, :math:`f = -\log m`."""
    if kind in (GAUSSIAN, MIXTURE):
        return _gaussians(params, x1, x2)
    if kind == UNIFORM:
        return np.full_like(x1, params[0]), np.zeros_like(x1), np.zeros_like(x1)
    return _table(params, table, x1, x2)


@kernel
def inner_row(kind, params, table, x1, x2, logm, f1, f2):
    """Write the log density and potential gradient of the inner measure at points."""
    logm[...], f1[...], f2[...] = inner_potential(kind, params, table, x1, x2)


def differences(u, h1, h2):
    r"""Centred first and second differences of a padded array: u1, u2, u11, u12, u22.

    .. math::

        u_1 = (u_N - u_S) / 2h_1, \quad u_{11} = (u_N - 2u + u_S) / h_1^2, \quad
        u_{12} = (u_{NE} - u_{NW} - u_{SE} + u_{SW}) / 4 h_1 h_2

    and the like, N being +1 on axis 0 and E +1 on axis 1.
    """
    here = u[1:-1, 1:-1]
    north, south, east, west = u[2:, 1:-1], u[:-2, 1:-1], u[1:-1, 2:], u[1:-1, :-2]
    return (
        (north - south) / (2.0 * h1),
        (east - west) / (2.0 * h2),
        (north - 2.0 * here + south) / h1**2,
        (u[2:, 2:] - u[2:, :-2] - u[:-2, 2:] + u[:-2, :-2]) / (4.0 * h1 * h2),
        (east - 2.0 * here + west) / h2**2,
    )


def derivatives(u, axis1, axis2, quad):
    r"""Gradient and Hessian of psi at the cell centres: T1, T2, H11, H12, H22.

    :math:`T = b + A (y - c) + \nabla u`, :math:`H = A + \nabla^2 u` with the `differences` of u;
    ``quad`` = (A11, A12, A22, c1, c2, b1, b2).
    """
    a11, a12, a22, c1, c2, b1, b2 = quad
    u1, u2, u11, u12, u22 = differences(u, axis1[1] - axis1[0], axis2[1] - axis2[0])
    z1, z2 = axis1[:, None] - c1, axis2[None, :] - c2
    t1, t2 = b1 + a11 * z1 + a12 * z2 + u1, b2 + a12 * z1 + a22 * z2 + u2
    return t1, t2, a11 + u11, a12 + u12, a22 + u22


def eigenvalues(h11, h12, h22):
    r"""Return determinant and eigenvalues :math:`l_1 \le l_2` of the Hessian.

    :math:`l_{1,2} = \tau \mp \rho` with :math:`\tau = (H_{11} + H_{22}) / 2` and
    :math:`\rho^2 = (H_{11} - H_{22})^2 / 4 + H_{12}^2`; where they have one sign, :math:`l_1` is
    :math:`\det / l_2` instead, which does not cancel.
    """
    half = 0.5 * (h11 + h22)
    radius = np.sqrt((0.5 * (h11 - h22)) ** 2 + h12**2)
    det = h11 * h22 - h12**2
    high = half + radius
    return det, np.where(high > 0.5 * radius, det / high, half - radius), high


def elliptic_part(h11, h12, h22, t2, clip, log_cap):
    r"""Clip the cofactor matrix of the Hessian so that it is positive and not too anisotropic.

    It becomes :math:`L P_1 + K P_2` with the projectors :math:`P_{1,2}` on the eigenvectors of
    :math:`l_1` and :math:`l_2`, :math:`L = \max(l_2, \min(q, 2 q - 2 l_2))`,
    :math:`q = \sqrt{t_2}`, and K = l_1 clipped to [clip L, L]. Returns L, K and the entries B11,
    B12, B22 of that matrix over its trace L + K.

    The raise is for Hessians far from the solution only. :math:`\max(l_2, q)` would act at the
    solution too, where two eigenvalues are equal: Newton's residual is halved there, and
    the convergence linear.
    """
    _, low, high = eigenvalues(h11, h12, h22)
    # where H is negative and t2 underflows the operator still needs a scale
    floor = 1e-6 * math.exp(0.5 * log_cap)
    wanted = np.sqrt(t2)
    raised = np.minimum(wanted, 2.0 * wanted - RAISED * high)
    big = np.maximum(np.maximum(high, raised), floor)
    small = np.clip(low, clip * big, big)
    diff = 0.5 * (h11 - h22)
    radius = np.sqrt(diff**2 + h12**2)
    turned = radius > 0.0
    cosine = np.divide(diff, radius, out=np.zeros_like(diff), where=turned)
    sine = np.divide(h12, radius, out=np.zeros_like(diff), where=turned)
    gap = (big - small) / (big + small)
    return big, small, 0.5 * (1.0 - gap * cosine), -0.5 * gap * sine, 0.5 * (1.0 + gap * cosine)


def logarithmic_mean(det, t2):
    r"""Return :math:`(t_2 - d) / \log(t_2 / d)` where :math:`t_2 > d`, and :math:`d` elsewhere."""
    ratio = t2 / det
    return np.where(ratio > 1.0 + 1e-6, (t2 - det) / np.log(np.maximum(ratio, 1.0 + 1e-6)), det)


@kernel
def linearise(
    u, axis1, axis2, quad, log_source, log_c, kind, params, table, clip, dt, peclet, log_cap,
    rows, rhs, tangent,
):  # fmt: skip
    r"""Assemble the Newton rows and the right-hand side, and measure the residual.

    In determinant units the equation is linearised as

    .. math:: S\,B : \nabla^2 v - g \langle \nabla f, \nabla v\rangle = -(\det H - t_2)

    where the cofactor matrix of H is replaced by :math:`S B` of `elliptic_part`, S = L + K. The
    drift weight g is the logarithmic mean of det and t2 where t2 > det (see `logarithmic_mean`).
    The pseudo-time term is :math:`\sigma v` with :math:`\sigma = \max(g, L^2/10) / dt`. Every row
    is divided by half its diagonal, and second-order coefficients are raised to ``peclet`` times
    the drift:

        2 v - a (N + S) - d (E + W) - x (NE - NW - SE + SW) + p (N - S) + q (E - W) = r.

    Clips change the operator only, never the residual. ``rows`` receives a, d, x, p, q; ``rhs``
    the scaled det - t2, with det = l1 L where L was raised; ``tangent`` the scaled t2, which is
    minus the derivative of ``rhs`` with respect to ``log_c``.

    Returns
    -------
    (mass, source mass, chi, smallest eigenvalue, extended source mass, largest |rhs|, residual)
        See `figures` for chi and the residual, of ``m det`` and ``c nu``. The extended mass is
        that of the cells with an eigenvalue below ``EXTENSION``.
    """
    h1, h2 = axis1[1] - axis1[0], axis2[1] - axis2[0]
    x1, x2, h11, h12, h22 = derivatives(u, axis1, axis2, quad)
    logm, f1, f2 = inner_potential(kind, params, table, x1, x2)
    det, low, high = eigenvalues(h11, h12, h22)
    t2 = np.exp(np.minimum(log_source + log_c - logm, log_cap))

    big, small, b11, b12, b22 = elliptic_part(h11, h12, h22, t2, clip, log_cap)
    trace = big + small
    numerator = np.where(big > high, low * big, det)
    drift = logarithmic_mean(np.maximum(numerator, small * big), t2)

    # row / (trace x diagonal of B : Hess), then / half of the diagonal that upwinding leaves
    diagonal = 1.0 / (b11 / h1**2 + b22 / h2**2)
    p = drift * f1 / (2.0 * h1) * diagonal / trace
    q = drift * f2 / (2.0 * h2) * diagonal / trace
    a = np.maximum(b11 * diagonal / h1**2, peclet * np.abs(p))
    d = np.maximum(b22 * diagonal / h2**2, peclet * np.abs(q))
    half_sigma = 0.5 * np.maximum(drift, 0.1 * big**2) * diagonal / (trace * dt)
    z = 1.0 / (a + d + half_sigma)
    rows[0] = a * z
    rows[1] = d * z
    rows[2] = 0.5 * b12 * diagonal * z / (h1 * h2)
    rows[3] = p * z
    rows[4] = q * z
    excess = (numerator - t2) * diagonal * z / trace
    rhs[...] = excess
    tangent[...] = t2 * diagonal * z / trace

    image = np.exp(logm) * det
    nu = np.exp(log_source + log_c)
    return figures(image, nu, h1 * h2, low, low <= EXTENSION, excess)


@kernel
def convexify(
    u, axis1, axis2, quad, log_source, log_c, kind, params, table, log_cap, lowest, highest, sweeps
):
    r"""Lower ``u`` where H is not convex on light cells until :math:`\det H = t_2`.

    Lowering u at a centre by s leaves T as it is and adds :math:`2 s / h_k^2` to the diagonal of H,
    so that the equation there is

    .. math:: (H_{11} + 2 s / h_1^2) (H_{22} + 2 s / h_2^2) - H_{12}^2 = t_2,

    of which s is the larger root, the convex one. Cell after cell (Gauss-Seidel, row by row), only
    where ``lowest <= log_source <= highest``; ghosts are left. Ends before ``sweeps`` when a sweep
    finds nothing to do.
    """
    a11, a12, a22, c1, c2, b1, b2 = quad
    h1, h2 = axis1[1] - axis1[0], axis2[1] - axis2[0]
    r1, r2 = 2.0 / h1**2, 2.0 / h2**2
    light = np.argwhere((lowest <= log_source) & (log_source <= highest))
    for _ in range(sweeps):
        touched = False
        for i, j in light:
            u1, u2, u11, u12, u22 = differences(u[i : i + 3, j : j + 3], h1, h2)
            h11, h12, h22 = a11 + u11, a12 + u12, a22 + u22
            trace, det = h11 + h22, h11 * h22 - h12**2
            if trace > 0.0 and det > EXTENSION * trace:
                continue
            z1, z2 = axis1[i] - c1, axis2[j] - c2
            x1, x2 = b1 + a11 * z1 + a12 * z2 + u1, b2 + a12 * z1 + a22 * z2 + u2
            logm, _, _ = inner_potential(kind, params, table, x1, x2)
            t2 = np.exp(np.minimum(log_source[i, j] + log_c - logm, log_cap))
            linear = h11 * r2 + h22 * r1
            root = np.sqrt(np.maximum(linear**2 - 4.0 * r1 * r2 * (det - t2), 0.0))
            s = float((root - linear)[0, 0]) / (2.0 * r1 * r2)
            if s > 0.0:
                u[i + 1, j + 1] -= s
                touched = True
        if not touched:
            break


@kernel
def add_correction(u, v, out):
    """``out = u + v - mean v`` on padded arrays, ghosts included; the mean is the interior's."""
    out[...] = u + (v - v[1:-1, 1:-1].mean(dtype=np.float64))


@kernel
def gradient_norm(v, weight, floor, h1, h2):
    r"""Return :math:`(\sum |\nabla v|^2 (w - f)^2)^{1/2}` of a padded array, centred."""
    v = v.astype(np.float64)
    a = (v[2:, 1:-1] - v[:-2, 1:-1]) / (2.0 * h1)
    b = (v[1:-1, 2:] - v[1:-1, :-2]) / (2.0 * h2)
    return math.sqrt(((a**2 + b**2) * (weight.astype(np.float64) - floor) ** 2).sum())


def extended_log(x, delta):
    """Logarithm, continued linearly (C1) below ``delta``."""
    return np.where(x > delta, np.log(np.maximum(x, delta)), math.log(delta) - 1.0 + x / delta)


@kernel
def fields(u, axis1, axis2, quad, kind, params, table, delta, gradient, low, high, log_det, logm):
    """Write gradient, Hessian eigenvalues, extended log determinant and inner log density.

    The log determinant is the sum of the `extended_log` of the eigenvalues, so the log form of
    the residual is defined for every grid function.
    """
    gradient[..., 0], gradient[..., 1], *hessian = derivatives(u, axis1, axis2, quad)
    _, low[...], high[...] = eigenvalues(*hessian)
    log_det[...] = extended_log(low, delta) + extended_log(high, delta)
    logm[...] = inner_potential(kind, params, table, gradient[..., 0], gradient[..., 1])[0]
