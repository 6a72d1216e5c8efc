"""NumPy kernels of the linear multigrid on nineteen-point rows in three dimensions.

As in the plane, with the rows

    2 v - sum_k a_k (v[+k] + v[-k]) - sum_{k<m} x_km (v[+k+m] - v[+k-m] - v[-k+m] + v[-k-m])
        + sum_k p_k (v[+k] - v[-k]) = r,

their coefficients in one array ``rows[9, n1, n2, n3]`` in the order a1, a2, a3, x12, x13, x23, p1,
p2, p3. The pseudo-time term is implicit in ``a1 + a2 + a3 < 1``.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from parabolic_ma.backends.numpy_reference.common import gather, kernel
from parabolic_ma.backends.numpy_reference.multigrid import solve_factorised
from parabolic_ma.backends.numpy_reference.newton_3d import AXES, PAIRS, four_points, neighbour


@kernel
def fill_ghosts_3d(v, mode):
    r"""Fill the frame of a padded array, the last axis first; modes as in the plane.

    Linear ghosts (mode 1) beyond two faces are such that the mixed difference of the two normals
    vanishes, as their second differences do. Otherwise the equation of a cell where two faces meet
    would be quadratic in its value, :math:`A_{11} A_{22} - u_{12}^2 = \ldots`, with no root or two.
    """
    for axis in reversed(AXES):
        cells = tuple(slice(1, -1) if k < axis else slice(None) for k in AXES)
        a = np.moveaxis(v[cells], axis, 0)
        if mode == 0:
            a[0], a[-1] = a[1], a[-2]
        elif mode == 1:
            a[0], a[-1] = 2 * a[1] - a[2], 2 * a[-2] - a[-3]
        elif mode == 3:
            a[0], a[-1] = 3 * (a[1] - a[2]) + a[3], 3 * (a[-2] - a[-3]) + a[-4]
        else:
            a[0], a[-1] = a[-2], a[1]
    if mode == 1:
        for k, m in PAIRS:
            for one, other in product((0, -1), repeat=2):
                edge = _beyond_faces(v, (k, one), (m, other))
                edge[...] = (
                    _beyond_faces(v, (k, _SECOND[one]), (m, other))
                    + _beyond_faces(v, (k, one), (m, _SECOND[other]))
                    - _beyond_faces(v, (k, _SECOND[one]), (m, _SECOND[other]))
                )
        for j, k in product((0, -1), repeat=2):
            line = v[:, j, k]
            line[0], line[-1] = 2 * line[1] - line[2], 2 * line[-2] - line[-3]


_SECOND = {0: 2, -1: -3}  # cell next to the one next to a ghost


def _beyond_faces(v, *places):
    """View of the cells along the third axis at (axis, index) ``places`` of the other two."""
    at = dict(places)
    return v[tuple(at.get(axis, slice(1, -1)) for axis in AXES)]


def apply(rows, v):
    """Return ``M v`` of the rows; ``v`` padded with filled ghosts, the result not padded."""
    result = 2 * neighbour(v)
    for k in AXES:
        above, below = neighbour(v, (k, 1)), neighbour(v, (k, -1))
        result = result - rows[k] * (above + below) + rows[6 + k] * (above - below)
    for n, (k, m) in enumerate(PAIRS):
        result = result - rows[3 + n] * four_points(v, k, m)
    return result


@kernel
def residual_3d(rows, r, v, out):
    """``out = r - M v``; ``v`` padded with filled ghosts, ``out`` and ``r`` not padded."""
    out[...] = r - apply(rows, v)


def chebyshev(rows, r, v, mode, degree, low, high, fresh):
    """Smooth ``M v = r`` by Chebyshev-Jacobi sweeps as in the plane; ``v`` and ghosts in place."""
    theta, delta = 0.5 * (high + low), 0.5 * (high - low)
    rho = delta / theta
    step = (r if fresh else r - apply(rows, v)) * np.float32(0.5 / theta)
    inside = neighbour(v)
    inside += step
    fill_ghosts_3d(v, mode)
    for _ in range(1, degree):
        rho, previous = 1.0 / (2.0 * theta / delta - rho), rho
        step *= np.float32(rho * previous)
        step += np.float32(rho / delta) * (r - apply(rows, v))
        inside += step
        fill_ghosts_3d(v, mode)


def average(values, *transfer):
    """Weighted sums of neighbours on every axis; ``transfer`` = index and weights, axis by axis."""
    for axis in AXES:
        index, weight = transfer[2 * axis : 2 * axis + 2]
        values = np.moveaxis(gather(np.moveaxis(values, axis, 0), index, weight), 0, axis)
    return values


@kernel
def down_3d(rows, r, v, out, coarse, scale, i1, w1, i2, w2, i3, w3, mode, degree, low, high, fresh):
    """Smooth into ``out`` and restrict the residual, averaged by overlap, to ``coarse``."""
    out[...] = 0.0 if fresh else v
    chebyshev(rows, r, out, mode, degree, low, high, fresh)
    coarse[...] = scale * average(r - apply(rows, out), i1, w1, i2, w2, i3, w3)


@kernel
def up_3d(rows, r, v, out, coarse, i1, w1, i2, w2, i3, w3, mode, degree, low, high):
    """Add the trilinear interpolant of the padded coarse correction to v, smooth into ``out``."""
    out[...] = v
    w1, w2, w3 = (np.stack([w, 1 - w], axis=1) for w in (w1, w2, w3))
    inside = neighbour(out)
    inside += average(coarse, i1, w1, i2, w2, i3, w3)
    fill_ghosts_3d(out, mode)
    chebyshev(rows, r, out, mode, degree, low, high, False)


@kernel
def outflow_3d(rows, most, share):
    """Raise the outward drift of face cells to ``share`` of the normal diffusion, at most ``most``.

    With linear ghosts the second normal difference of a face cell vanishes and only the drift
    holds it.
    """
    for k in AXES:
        diffusion, drift = np.moveaxis(rows[k], k, 0), np.moveaxis(rows[6 + k], k, 0)
        drift[0] = np.minimum(drift[0], -np.minimum(share * diffusion[0], most))
        drift[-1] = np.maximum(drift[-1], np.minimum(share * diffusion[-1], most))


@kernel
def coarsen_rows_3d(
    fine, coarse, scale, i1, w1, i2, w2, i3, w3, ratio1, ratio2, ratio3, peclet, most, share
):
    """Rediscretise the rows on the next grid and rescale them to diagonal 2, as in the plane."""
    averaged = [average(coefficient, i1, w1, i2, w2, i3, w3) for coefficient in fine]
    s = [np.float32(1.0 / ratio) for ratio in (ratio1, ratio2, ratio3)]
    half_sigma = np.maximum(1 - averaged[0] - averaged[1] - averaged[2], 0)
    p = [averaged[6 + k] * s[k] for k in AXES]
    a = [np.maximum(averaged[k] * s[k] ** 2, np.float32(peclet) * np.abs(p[k])) for k in AXES]
    x = [averaged[3 + n] * s[k] * s[m] for n, (k, m) in enumerate(PAIRS)]
    scale[...] = 1 / (a[0] + a[1] + a[2] + half_sigma)
    for k, coefficient in enumerate((*a, *x, *p)):
        coarse[k] = coefficient * scale
    if share > 0.0:
        outflow_3d(coarse, most, share)


@kernel
def dense_matrix_3d(rows, mode):
    """The rows as a dense matrix with a zero-mean border, shape (n + 1, n + 1) float64."""
    shape = rows.shape[1:]
    n = int(np.prod(shape))
    matrix = np.ones((n + 1, n + 1))
    matrix[n, n] = 0.0
    for k, cell in enumerate(np.ndindex(shape)):
        unit = np.zeros([length + 2 for length in shape], np.float32)
        unit[tuple(i + 1 for i in cell)] = 1.0
        fill_ghosts_3d(unit, mode)
        matrix[:n, k] = apply(rows, unit).ravel()
    return matrix


@kernel
def solve_dense_3d(matrix, pivots, r, v, mode):
    """Solve with a factorised bordered matrix; the padded result gets its ghosts."""
    neighbour(v)[...] = solve_factorised(matrix, pivots, r)
    fill_ghosts_3d(v, mode)
