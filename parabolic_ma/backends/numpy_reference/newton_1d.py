r"""NumPy kernels of the Newton step in one dimension: :math:`\psi'' m(\psi') = c\,\nu`.

``quad`` = (A, c, b) of :math:`\psi = \tfrac12 A (y - c)^2 + b (y - c) + u`; ``u`` is padded by one
ghost cell a side.
"""

from __future__ import annotations

import math

import numpy as np

from parabolic_ma.backends.numpy_reference.common import figures, gather, kernel, log_average
from parabolic_ma.backends.numpy_reference.newton import (
    EXTENSION,
    GAUSSIAN,
    MIXTURE,
    UNIFORM,
    extended_log,
    locate,
    logarithmic_mean,
)


@kernel
def fill_ghosts_1d(u, mode):
    """Fill the two ghosts by even reflection (0), periodicity (2) or continuation.

    The continuation is linear (1) or quadratic (3).
    """
    if mode == 0:
        u[0], u[-1] = u[1], u[-2]
    elif mode == 1:
        u[0], u[-1] = 2 * u[1] - u[2], 2 * u[-2] - u[-3]
    elif mode == 3:
        u[0], u[-1] = 3 * (u[1] - u[2]) + u[3], 3 * (u[-2] - u[-3]) + u[-4]
    else:
        u[0], u[-1] = u[-2], u[1]


def inner_potential_1d(kind, params, table, x):
    r"""Return :math:`\log m` and :math:`f'`, :math:`f = -\log m`; see `newton`."""
    if kind in (GAUSSIAN, MIXTURE):
        constant, mean, precision = params.reshape(-1, 3).T
        g = precision * (x[:, None] - mean)
        exponent = constant - 0.5 * (x[:, None] - mean) * g
        top = exponent.max(axis=1, keepdims=True)
        weight = np.exp(exponent - top)
        total = weight.sum(axis=1)
        return top[:, 0] + np.log(total), (weight * g).sum(axis=1) / total
    if kind == UNIFORM:
        return np.full_like(x, params[0]), np.zeros_like(x)
    lower, h, kappa, periodic = params
    index, weights, slopes, excess = locate(x, lower, h, len(table) - 4, periodic)
    value = (weights * table[index]).sum(axis=1)
    slope = (slopes * table[index]).sum(axis=1)
    return value + slope * excess - 0.5 * kappa * excess**2, kappa * excess - slope


@kernel
def inner_row_1d(kind, params, table, x, logm, f):
    """Write the log density and potential gradient of the inner measure at points on the line."""
    logm[...], f[...] = inner_potential_1d(kind, params, table, x)


def derivatives_1d(u, axis, quad):
    """Return ``T = psi'`` and ``psi''`` at the cell centres, by centred differences."""
    h = axis[1] - axis[0]
    slope, center, image = quad
    gradient = image + slope * (axis - center) + (u[2:] - u[:-2]) / (2.0 * h)
    return gradient, slope + (u[2:] - 2.0 * u[1:-1] + u[:-2]) / h**2


@kernel
def linearise_1d(
    u, axis, quad, log_source, log_c, kind, params, table, dt, edge, log_cap, rows, rhs
):
    r"""Assemble the Newton rows and measure the residual.

    With the drift weight g of two dimensions, :math:`v'' - g f' v' = -(\psi'' - t_2)`; times
    :math:`h^2` and divided by half the diagonal that upwinding (:math:`a \ge |p|`) and the
    pseudo-time term leave,

        2 v - a (v[+] + v[-]) + p (v[+] - v[-]) = r - t delta,

    ``delta`` being the change of ``log_c``. ``rows`` receives a, p and t, ``rhs`` r. Returns what
    `linearise` returns.
    """
    h = axis[1] - axis[0]
    x, det = derivatives_1d(u, axis, quad)
    logm, slope = inner_potential_1d(kind, params, table, x)
    t2 = np.exp(np.minimum(log_source + log_c - logm, log_cap))
    floor = 1e-12 * math.exp(log_cap)
    larger = np.maximum(det, t2)
    drift = logarithmic_mean(np.maximum(det, floor), t2)
    if edge > 0.0:
        ends = [0, -1]
        drift[ends] = np.maximum(drift[ends], edge * larger[ends])

    p = 0.5 * drift * slope * h
    a = np.maximum(1.0, np.abs(p))
    half_sigma = 0.5 * np.maximum(drift, 0.1 * larger) * h**2 / dt
    z = 1.0 / (a + half_sigma)
    rows[0] = a * z
    rows[1] = p * z
    rows[2] = t2 * h**2 * z
    rhs[...] = (det - t2) * h**2 * z

    image = np.exp(logm) * det
    nu = np.exp(log_source + log_c)
    return figures(image, nu, h, det, det <= EXTENSION, rhs)


@kernel
def solve_rows_1d(rows, rhs, mode, pin, v):
    r"""Solve the assembled rows together with the constant; ``v`` padded, zero at cell ``pin``.

    Constants are in the null space of the rows M, and ``delta`` is the missing unknown: with
    :math:`M' = M + e_{pin} e_{pin}^T`, the combination :math:`v = M'^{-1} r - \delta M'^{-1} t`
    with :math:`\delta = (M'^{-1} r)_{pin} / (M'^{-1} t)_{pin}` vanishes at ``pin`` and therefore
    solves :math:`M v = r - \delta t`. Returns delta.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.linalg import splu

    a, p, t = rows
    n = len(rhs)
    cell = np.arange(n)
    entries = [(cell, cell, np.full(n, 2.0)), ([pin], [pin], [1.0])]
    # a ghost is the sum of (cell, factor) pairs that its rule makes of the interior
    low, high = {
        0: ([(0, 1.0)], [(n - 1, 1.0)]),
        1: ([(0, 2.0), (1, -1.0)], [(n - 1, 2.0), (n - 2, -1.0)]),
        2: ([(n - 1, 1.0)], [(0, 1.0)]),
    }[mode]
    left, right = -a - p, -a + p
    entries += [(cell[1:], cell[:-1], left[1:]), (cell[:-1], cell[1:], right[:-1])]
    entries += [([0], [k], [left[0] * factor]) for k, factor in low]
    entries += [([n - 1], [k], [right[-1] * factor]) for k, factor in high]
    i, j, values = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    matrix = coo_array((values, (i, j)), shape=(n, n)).tocsc()  # equal places are added up
    for_r, for_t = splu(matrix).solve(np.stack([rhs, t], axis=1)).T
    delta = float(for_r[pin] / for_t[pin])
    v[1:-1] = for_r - delta * for_t
    fill_ghosts_1d(v, mode)
    return delta


@kernel
def gradient_norm_1d(v, log_source, h):
    r"""Return :math:`(\sum |v'|^2 \nu\, h)^{1/2}` of a padded array, centred differences."""
    slope = (v[2:] - v[:-2]) / (2.0 * h)
    return math.sqrt((slope**2 * np.exp(log_source)).sum() * h)


@kernel
def average_log_1d(fine, coarse, ix, wx):
    """Write ``log(average of exp(fine))`` by area overlap, as `average_log`."""
    coarse[...] = log_average(fine[np.minimum(ix[:, None] + np.arange(3), len(fine) - 1)], wx)


@kernel
def interpolate_1d(coarse, fine, ix, wx):
    """Four-point interpolation: ``fine[i] = sum_k wx[i, k] coarse[ix[i] + k]``."""
    fine[...] = gather(coarse, ix, wx)


@kernel
def fields_1d(u, axis, quad, kind, params, table, delta, gradient, low, log_det, logm):
    """Write gradient, second derivative, its extended logarithm and the inner log density."""
    gradient[...], low[...] = derivatives_1d(u, axis, quad)
    log_det[...] = extended_log(low, delta)
    logm[...] = inner_potential_1d(kind, params, table, gradient)[0]
