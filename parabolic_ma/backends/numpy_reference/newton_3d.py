r"""NumPy kernels of the Newton step on the Monge-Ampere equation in three dimensions.

As in the plane, `parabolic_ma.backends.numpy_reference.newton`: ``u`` is padded by one ghost cell a
side, and with source density :math:`\nu`, inner density :math:`m` at :math:`T = \nabla\psi` and a
constant :math:`c` the equation is

.. math:: \det H = t_2, \qquad t_2 = c\,\nu / m(T), \qquad H = \nabla^2 \psi.

``quad`` = (A11, A12, A13, A22, A23, A33, c1, c2, c3, b1, b2, b3).
"""

from __future__ import annotations

import math

import numpy as np

from parabolic_ma.backends.numpy_reference.common import figures, kernel
from parabolic_ma.backends.numpy_reference.newton import (
    EXTENSION,
    GAUSSIAN,
    MIXTURE,
    UNIFORM,
    extended_log,
    locate,
    logarithmic_mean,
)

AXES = range(3)
PAIRS = ((0, 1), (0, 2), (1, 2))
_UPPER = np.triu_indices(3)
RAISED = 0.5  # of what the larger eigenvalues are at a solution, below which they are raised
_SAFE = 1e-3  # ratio of the two larger eigenvalues from which their product divides the determinant


def symmetric(entries):
    """Return the symmetric matrix of its upper triangle 11, 12, 13, 22, 23, 33; last two axes."""
    matrix = np.empty((*np.shape(entries[0]), 3, 3))
    for k, m, entry in zip(*_UPPER, entries, strict=True):
        matrix[..., k, m] = matrix[..., m, k] = entry
    return matrix


def _gaussians(params, x):
    """Log density and potential gradient of a Gaussian mixture; `newton` has the formula."""
    components = params.reshape(-1, 10)
    shifted = x[..., None, :] - components[:, 1:4]
    slopes = np.einsum("...cm,ckm->...ck", shifted, symmetric(components[:, 4:].T))
    exponent = components[:, 0] - 0.5 * (shifted * slopes).sum(axis=-1)
    top = exponent.max(axis=-1, keepdims=True)
    weight = np.exp(exponent - top)
    total = weight.sum(axis=-1)
    gradient = (weight[..., None] * slopes).sum(axis=-2) / total[..., None]
    return top[..., 0] + np.log(total), gradient


def _table(params, table, x):
    """Cubic B-spline of the log density and its continuation; `newton` has the formula."""
    lower, spacing, (kappa, periodic) = params[:3], params[3:6], params[6:]
    places = [locate(x[..., k], lower[k], spacing[k], table.shape[k] - 4, periodic) for k in AXES]
    (i, j, k), values, slopes, excess = zip(*places, strict=True)
    patch = table[i[..., :, None, None], j[..., None, :, None], k[..., None, None, :]]

    def contracted(weights):
        return np.einsum("...k,...l,...m,...klm->...", *weights, patch)

    value = contracted(values)
    slope = np.stack(
        [contracted([slopes[m] if m == k else values[m] for m in AXES]) for k in AXES], axis=-1
    )
    beyond = np.stack(excess, axis=-1)
    logm = value + (slope * beyond).sum(axis=-1) - 0.5 * kappa * (beyond**2).sum(axis=-1)
    return logm, kappa * beyond - slope


def inner_potential(kind, params, table, x):
    r"""Return :math:`\log m` and :math:`\nabla f`, :math:`f = -\log m`, at points (..., 3)."""
    if kind in (GAUSSIAN, MIXTURE):
        return _gaussians(params, x)
    if kind == UNIFORM:
        return np.full(x.shape[:-1], params[0]), np.zeros_like(x)
    return _table(params, table, x)


@kernel
def inner_row_3d(kind, params, table, x1, x2, x3, logm, f1, f2, f3):
    """Write the log density and potential gradient of the inner measure at points."""
    points = np.stack([x1, x2, x3], axis=-1)
    logm[...], gradient = inner_potential(kind, params, table, points)
    f1[...], f2[...], f3[...] = gradient.T


def neighbour(u, *steps):
    """View of a padded array at the cells moved by (axis, +-1) ``steps``."""
    moved = dict(steps)
    return u[
        tuple(slice(1 + moved.get(k, 0), n - 1 + moved.get(k, 0)) for k, n in enumerate(u.shape))
    ]


def four_points(u, k, m):
    """``u[+k+m] - u[+k-m] - u[-k+m] + u[-k-m]`` at the cells of a padded array."""
    return sum(
        a * b * neighbour(u, (k, a), (m, b)) for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))
    )


def derivatives(u, axes, quad):
    r"""Gradient (..., 3) and Hessian (..., 3, 3) of psi at the cell centres.

    With centred differences of u: :math:`(u_+ - u_-) / 2 h_k`, :math:`(u_+ - 2 u + u_-) / h_k^2`
    and the mixed four-point difference over :math:`4 h_k h_m`.
    """
    h = [axis[1] - axis[0] for axis in axes]
    matrix, center, image = symmetric(quad[:6]), quad[6:9], quad[9:]
    shifted = np.stack(
        np.meshgrid(*(a - c for a, c in zip(axes, center, strict=True)), indexing="ij"), axis=-1
    )
    gradient = shifted @ matrix + image
    hessian = np.empty((*gradient.shape, 3))
    hessian[...] = matrix
    for k in AXES:
        above, here, below = neighbour(u, (k, 1)), neighbour(u), neighbour(u, (k, -1))
        gradient[..., k] += (above - below) / (2.0 * h[k])
        hessian[..., k, k] += (above - 2.0 * here + below) / h[k] ** 2
    for k, m in PAIRS:
        mixed = four_points(u, k, m) / (4.0 * h[k] * h[m])
        hessian[..., k, m] += mixed
        hessian[..., m, k] += mixed
    return gradient, hessian


def cofactors(h):
    """Return the cofactor matrix of symmetric 3 x 3 matrices: the derivative of the determinant."""
    result = np.empty_like(h)
    for k in AXES:
        for m in AXES:
            (a, b), (c, d) = ([n for n in AXES if n != e] for e in (k, m))
            sign = (-1) ** (k + m)
            result[..., k, m] = sign * (h[..., a, c] * h[..., b, d] - h[..., a, d] * h[..., b, c])
    return result


def spectrum(hessian):
    r"""Return signed determinant, eigenvalues :math:`l_1 \le l_2 \le l_3` and eigenvectors.

    A determinant is negative wherever :math:`l_1` is: the product of two negative eigenvalues and
    a positive one is no density. Where the two larger eigenvalues are well away from zero,
    :math:`l_1` is :math:`\det / l_2 l_3`, which does not cancel.
    """
    known = np.isfinite(hessian).all(axis=(-2, -1))
    values, vectors = np.linalg.eigh(np.where(known[..., None, None], hessian, 0.0))
    values = np.where(known[..., None], values, np.nan)
    low, middle, high = np.moveaxis(values, -1, 0)
    det = (hessian[..., 0, :] * cofactors(hessian)[..., 0, :]).sum(axis=-1)
    safe = (high > 0.0) & (middle > _SAFE * high)
    low = np.where(safe, det / np.where(safe, middle * high, 1.0), low)
    return np.where(low > 0.0, det, -np.abs(det)), low, middle, high, vectors


def elliptic_part(hessian, spectral, log_t2, clip, log_cap):
    r"""Return the clipped cofactor matrix, its eigenvalues' sources and the determinant to match.

    At a solution :math:`l_3 \ge t_2^{1/3}` and :math:`l_2 \ge (t_2 / l_3)^{1/2}`. Where they are
    less than half of that they are raised to the half, :math:`L_3` and :math:`M_2`. (Raised to the
    whole, equal eigenvalues a little too small would see a third of the residual.) The operator is
    the cofactor matrix of the matrix with the eigenvectors of H and the eigenvalues :math:`L_3`,
    :math:`L_2 = \max(M_2, \epsilon L_3)` and :math:`L_1 = l_1` clipped to :math:`[\epsilon L_3,
    L_2]`; where nothing had to be changed, that of H itself.

    Where something was raised the determinant that is to become t2 is :math:`l_1 M_2 L_3`, linear
    in the one eigenvalue that has to be repaired; with :math:`L_2` for :math:`M_2` where :math:`l_1
    < 0`, as at no solution, so that a step takes away all of it.

    Returns
    -------
    matrix, (L1, L2, L3), numerator
    """
    det, low, middle, high, vectors = spectral
    # where H is negative and t2 underflows the operator still needs a scale
    floor = 1e-6 * math.exp(log_cap / 3.0)
    large = np.maximum(np.maximum(high, RAISED * np.exp(log_t2 / 3.0)), floor)
    needed = np.maximum(middle, RAISED * np.exp(0.5 * log_t2) / np.sqrt(large))
    second = np.maximum(needed, clip * large)
    needed = np.where(low < 0.0, second, needed)
    small = np.clip(low, clip * large, second)
    raised = (large > high) | (needed > middle)
    changed = raised | (second > needed) | (small != low)
    lifted = np.stack([second * large, small * large, small * second], axis=-1)
    turned = np.einsum("...ki,...i,...mi->...km", vectors, lifted, vectors)
    matrix = np.where(changed[..., None, None], turned, cofactors(hessian))
    return matrix, (small, second, large), np.where(raised, low * needed * large, det)


@kernel
def linearise_3d(
    u, axis1, axis2, axis3, quad, log_source, log_c, kind, params, table, clip, dt, peclet,
    log_cap, rows, rhs, tangent,
):  # fmt: skip
    r"""Assemble the Newton rows and the right-hand side, and measure the residual.

    In determinant units the equation is linearised as

    .. math:: C : \nabla^2 v - g \langle \nabla f, \nabla v\rangle = -(d - t_2)

    with the matrix C and the determinant d of `elliptic_part`: cof H and det H at a solution. The
    drift weight g is the logarithmic mean of d and t2 where t2 > d. The pseudo-time term is
    :math:`\sigma v` with :math:`\sigma = \max(g, L_3^2 L_2 / 10) / dt`. Every row is divided by
    half its diagonal, and second-order coefficients are raised to ``peclet`` times the drift. Clips
    change the operator only, never the residual. ``rows`` receives a1, a2, a3, x12, x13, x23, p1,
    p2, p3 of

        2 v - sum_k a_k (v[+k] + v[-k]) - sum_{k<m} x_km (v[+k+m] - v[+k-m] - v[-k+m] + v[-k-m])
            + sum_k p_k (v[+k] - v[-k]) = r,

    ``rhs`` the scaled d - t2, and ``tangent`` the scaled t2, which is minus the derivative of
    ``rhs`` with respect to ``log_c``.

    Returns
    -------
    (mass, source mass, chi, smallest eigenvalue, extended source mass, largest |rhs|, residual)
        As in the plane; determinants with the sign of `spectrum`.
    """
    axes = (axis1, axis2, axis3)
    h = np.array([axis[1] - axis[0] for axis in axes])
    x, hessian = derivatives(u, axes, quad)
    logm, slope = inner_potential(kind, params, table, x)
    spectral = spectrum(hessian)
    det, low = spectral[:2]
    log_t2 = np.minimum(log_source + log_c - logm, log_cap)
    t2 = np.exp(log_t2)

    matrix, (small, second, large), numerator = elliptic_part(
        hessian, spectral, log_t2, clip, log_cap
    )
    drift = logarithmic_mean(np.maximum(numerator, small * second * large), t2)

    p = [drift * slope[..., k] / (2.0 * h[k]) for k in AXES]
    a = [np.maximum(matrix[..., k, k] / h[k] ** 2, peclet * np.abs(p[k])) for k in AXES]
    half_sigma = 0.5 * np.maximum(drift, 0.1 * large**2 * second) / dt
    z = 1.0 / (a[0] + a[1] + a[2] + half_sigma)
    for k in AXES:
        rows[k] = a[k] * z
        rows[6 + k] = p[k] * z
    for n, (k, m) in enumerate(PAIRS):
        rows[3 + n] = matrix[..., k, m] / (2.0 * h[k] * h[m]) * z
    excess = (numerator - t2) * z
    rhs[...] = excess
    tangent[...] = t2 * z

    image = np.exp(logm) * det
    nu = np.exp(log_source + log_c)
    return figures(image, nu, float(np.prod(h)), low, low <= EXTENSION, excess)


@kernel
def convexify_3d(
    u, axis1, axis2, axis3, quad, log_source, log_c, kind, params, table, log_cap, lowest, highest,
    sweeps,
):  # fmt: skip
    r"""Lower ``u`` where H is not convex on light cells until :math:`\det H = t_2`.

    Lowering u at a centre by s leaves T as it is and adds :math:`r_k s`, :math:`r_k = 2 / h_k^2`,
    to the diagonal of H. With :math:`K = R^{-1/2} H R^{-1/2}`, R = diag r, the equation there is
    :math:`\det(K + s) = t_2 / \det R`, of which s is the largest root, the convex one, by Newton's
    method from above. Cell after cell (Gauss-Seidel, in order), only where ``lowest <= log_source
    <= highest`` and an eigenvalue of H is at most 1e-10; ghosts are left. Ends before ``sweeps``
    when a sweep finds nothing to do.
    """
    axes = (axis1, axis2, axis3)
    r = np.array([2.0 / (axis[1] - axis[0]) ** 2 for axis in axes])
    root = np.sqrt(r)
    steps = [axis[1] - axis[0] for axis in axes]
    light = np.argwhere((lowest <= log_source) & (log_source <= highest))
    for _ in range(sweeps):
        touched = False
        for cell in light:
            around = u[tuple(slice(n, n + 3) for n in cell)]
            centres = [
                axis[n] + step * np.arange(2)
                for axis, n, step in zip(axes, cell, steps, strict=True)
            ]
            x, hessian = derivatives(around, centres, quad)
            x, hessian = x[0, 0, 0], hessian[0, 0, 0]
            if spectrum(hessian)[1] > EXTENSION:
                continue
            logm, _ = inner_potential(kind, params, table, x)
            log_t2 = min(log_source[tuple(cell)] + log_c - float(logm), log_cap)
            values = np.linalg.eigvalsh(hessian / np.outer(root, root))
            s = largest_root(values, math.exp(log_t2) / r.prod())
            if s > 0.0:
                u[tuple(cell + 1)] -= s
                touched = True
        if not touched:
            break


def largest_root(values, product):
    """Return the largest s with ``prod(values + s) = product > 0``, by Newton's method from above.

    The cubic is convex and increasing beyond ``-values[0]``, the smallest, so the iteration falls
    to the root monotonically from where every factor is at least the cube root of the product.
    """
    s = float(np.cbrt(product) - values[0])
    for _ in range(60):
        a, b, c = values + s
        step = (a * b * c - product) / (a * b + a * c + b * c)
        s -= step
        if not step > 1e-15 * abs(s):
            break
    return s


@kernel
def add_correction_3d(u, v, out):
    """``out = u + v - mean v`` on padded arrays, ghosts included; the mean is the interior's."""
    out[...] = u + (v - v[1:-1, 1:-1, 1:-1].mean(dtype=np.float64))


@kernel
def gradient_norm_3d(v, weight, floor, h1, h2, h3):
    r"""Return :math:`(\sum |\nabla v|^2 (w - f)^2)^{1/2}` of a padded array, centred."""
    v = v.astype(np.float64)
    squared = sum(
        ((neighbour(v, (k, 1)) - neighbour(v, (k, -1))) / (2.0 * h)) ** 2
        for k, h in enumerate((h1, h2, h3))
    )
    return math.sqrt((squared * (weight.astype(np.float64) - floor) ** 2).sum())


@kernel
def fields_3d(
    u, axis1, axis2, axis3, quad, kind, params, table, delta, gradient, low, high, log_det, logm
):
    """Write gradient, outer Hessian eigenvalues, extended log determinant and inner log density."""
    gradient[...], hessian = derivatives(u, (axis1, axis2, axis3), quad)
    _, low[...], middle, high[...], _ = spectrum(hessian)
    log_det[...] = sum(extended_log(value, delta) for value in (low, middle, high))
    logm[...] = inner_potential(kind, params, table, gradient)[0]


@kernel
def inverse_change_3d(after, before, spacing, matrix, source):
    r"""Return the sum of :math:`\nu |(H + s)^{-1} \nabla(a - b)|^2`, H of the quadratic and a.

    The shift s is zero where the smallest eigenvalue is at least 1e-4 of the largest, and lifts it
    to that elsewhere.
    """
    moved = after - before
    change = np.stack(
        [
            (neighbour(moved, (k, 1)) - neighbour(moved, (k, -1))) / (2.0 * h)
            for k, h in enumerate(spacing)
        ],
        axis=-1,
    )
    axes = [h * np.arange(n) for h, n in zip(spacing, source.shape, strict=True)]
    _, hessian = derivatives(after, axes, np.append(matrix, np.zeros(6)))
    _, low, _, high, _ = spectrum(hessian)
    shift = np.maximum(1e-4 * np.abs(high) + 1e-300 - low, 0.0)
    hessian[..., AXES, AXES] += shift[..., None]
    adjugate = cofactors(hessian)
    det = (hessian[..., 0, :] * adjugate[..., 0, :]).sum(axis=-1)
    inverse = (adjugate @ change[..., None])[..., 0] / det[..., None]
    return float((np.exp(source) * (inverse**2).sum(axis=-1)).sum())
