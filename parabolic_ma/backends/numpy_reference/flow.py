r"""NumPy kernels of the flow in time: the rate F and its derivative, in one and two dimensions.

.. math::

    F = \log m(\nabla\psi) + \log\det\nabla^2\psi - \log\nu, \qquad
    F'[v] = \mathrm{tr}(H^{-1} \nabla^2 v) - \langle\nabla f, \nabla v\rangle, \quad f = -\log m.
"""

from __future__ import annotations

import numpy as np

from parabolic_ma.backends.numpy_reference.common import kernel
from parabolic_ma.backends.numpy_reference.newton import (
    EXTENSION,
    derivatives,
    eigenvalues,
    extended_log,
    inner_potential,
)
from parabolic_ma.backends.numpy_reference.newton_1d import (
    derivatives_1d,
    fill_ghosts_1d,
    inner_potential_1d,
)


@kernel
def flow_rate(u, axis1, axis2, quad, log_source, lowest, kind, params, table, rate):
    r"""Write the rate; return the smallest eigenvalue of H, the diffusion and the drift.

    With :math:`A = H^{-1}` the diffusion is the largest of :math:`2 (A_{11} / h_1^2 + A_{22} /
    h_2^2)`; one over it is the stability limit of an explicit Euler step. The drift is the largest
    of :math:`(f_1^2 / A_{11} + f_2^2 / A_{22}) / 2` where the log density is at least ``lowest``.
    """
    h1, h2 = axis1[1] - axis1[0], axis2[1] - axis2[0]
    x1, x2, h11, h12, h22 = derivatives(u, axis1, axis2, quad)
    logm, f1, f2 = inner_potential(kind, params, table, x1, x2)
    det, low, high = eigenvalues(h11, h12, h22)
    rate[...] = logm + extended_log(low, EXTENSION) + extended_log(high, EXTENSION) - log_source
    diffusion = 2.0 * (h22 / h1**2 + h11 / h2**2) / det
    drift = 0.5 * det * (f1**2 / np.maximum(h22, 1e-300) + f2**2 / np.maximum(h11, 1e-300))
    fastest = np.where(log_source >= lowest, drift, 0.0).max()
    return float(low.min()), float(max(0.0, diffusion.max())), float(fastest)


@kernel
def flow_coefficients(u, axis1, axis2, quad, kind, params, table, coefficients):
    r"""Write the coefficients (5, nx, ny) of the stencil of F': a, d, x, p, q, not scaled.

    :math:`a = A_{11} / h_1^2`, :math:`d = A_{22} / h_2^2`, :math:`x = A_{12} / (2 h_1 h_2)`,
    :math:`p = f_1 / (2 h_1)`, :math:`q = f_2 / (2 h_2)` with :math:`A = H^{-1}`, eigenvalues of H
    below ``EXTENSION`` lifted to it:

        F'[v] = a (N + S - 2 v) + d (E + W - 2 v) + x (NE - NW - SE + SW) - p (N - S) - q (E - W).
    """
    h1, h2 = axis1[1] - axis1[0], axis2[1] - axis2[0]
    x1, x2, h11, h12, h22 = derivatives(u, axis1, axis2, quad)
    _, f1, f2 = inner_potential(kind, params, table, x1, x2)
    _, low, high = eigenvalues(h11, h12, h22)
    inverse = 1.0 / np.maximum(low, EXTENSION), 1.0 / np.maximum(high, EXTENSION)
    half = 0.5 * (h11 - h22)
    turn = 0.5 * (inverse[0] - inverse[1]) / np.maximum(np.sqrt(half**2 + h12**2), 1e-300)
    mean = 0.5 * (inverse[0] + inverse[1])
    coefficients[0] = (mean - turn * half) / h1**2
    coefficients[1] = (mean + turn * half) / h2**2
    coefficients[2] = -turn * h12 / (2.0 * h1 * h2)
    coefficients[3] = f1 / (2.0 * h1)
    coefficients[4] = f2 / (2.0 * h2)


@kernel
def flow_rows(coefficients, sigma, rows):
    """Write the rows of ``sigma v - F'[v]`` over half their diagonal.

    ``rows`` (6, nx, ny): a, d, x, p, q of the protocol's rows, and what right-hand sides are
    multiplied by.
    """
    rows[5] = 2.0 / (sigma + 2.0 * (coefficients[0] + coefficients[1]))
    rows[:5] = coefficients * rows[5]


@kernel
def upwind_rows(rows, peclet, upwind, scale):
    """Raise the diffusion of rows to ``peclet`` times the drift; the diagonal is 2 again.

    ``upwind`` (5, nx, ny) and ``scale`` (nx, ny) float32: the rows of a preconditioner, and what
    its right-hand sides are multiplied by.
    """
    a, d, x, p, q = rows[:5]
    half_sigma = 1.0 - a - d
    a, d = np.maximum(a, peclet * np.abs(p)), np.maximum(d, peclet * np.abs(q))
    z = 1.0 / (a + d + half_sigma)
    upwind[...] = np.stack([a, d, x, p, q]) * z
    scale[...] = z


@kernel
def flow_rate_1d(u, axis, quad, log_source, lowest, kind, params, table, rate):
    r"""Write the rate; return the smallest second derivative, the diffusion and the drift.

    The largest of :math:`2 / (\psi'' h^2)`, and of :math:`\psi'' f'^2 / 2` where the log density
    is at least ``lowest``.
    """
    h = axis[1] - axis[0]
    x, det = derivatives_1d(u, axis, quad)
    logm, f = inner_potential_1d(kind, params, table, x)
    rate[...] = logm + extended_log(det, EXTENSION) - log_source
    drift = np.where(log_source >= lowest, 0.5 * det * f**2, 0.0)
    return float(det.min()), float(max(0.0, (2.0 / (det * h**2)).max())), float(drift.max())


@kernel
def flow_coefficients_1d(u, axis, quad, kind, params, table, coefficients):
    """Write a, p (2, n) of ``F'[v] = a (v[+] + v[-] - 2 v) - p (v[+] - v[-])``."""
    h = axis[1] - axis[0]
    x, det = derivatives_1d(u, axis, quad)
    _, f = inner_potential_1d(kind, params, table, x)
    coefficients[...] = 1.0 / (np.maximum(det, EXTENSION) * h**2), 0.5 * f / h


@kernel
def solve_flow_1d(coefficients, sigma, rhs, mode, v):
    """Solve ``sigma v - F'[v] = rhs`` for ``v`` (n + 2,), ghosts included.

    The matrix of the padded unknown has the equations in the middle and the ghost rule at both
    ends.
    """
    a, p = coefficients
    n = len(rhs)
    matrix = np.zeros((n + 2, n + 2))
    inner = np.arange(1, n + 1)
    matrix[inner, inner] = sigma + 2.0 * a
    matrix[inner, inner + 1] = -a + p
    matrix[inner, inner - 1] = -a - p
    for ghost, step in ((0, 1), (n + 1, -1)):
        matrix[ghost, ghost] = 1.0
        if mode == 0:
            matrix[ghost, ghost + step] = -1.0
        elif mode == 2:
            matrix[ghost, ghost + step * n] = -1.0
        else:
            for k, weight in ((1, -3.0), (2, 3.0), (3, -1.0)):
                matrix[ghost, ghost + step * k] = weight
    v[...] = np.linalg.solve(matrix, np.concatenate([[0.0], rhs, [0.0]]))
    fill_ghosts_1d(v, mode)
