"""NumPy kernels of the linear multigrid on nine-point rows in two dimensions.

Every level holds rows of diagonal 2,

    2 v - a (v[N] + v[S]) - d (v[E] + v[W]) - x (v[NE] - v[NW] - v[SE] + v[SW])
        + p (v[N] - v[S]) + q (v[E] - v[W]) = r,

N being +1 on axis 0 and E +1 on axis 1, with coefficients in one array ``rows[5, nx, ny]`` in the
order a, d, x, p, q. The pseudo-time term is implicit in ``a + d < 1``. Iterates are padded by one
ghost cell a side; all of it is float32.
"""

from __future__ import annotations

import numpy as np

from parabolic_ma.backends.numpy_reference.common import gather, kernel


@kernel
def fill_ghosts(v, mode):
    """Fill the frame of a padded array by even reflection (0), periodicity (2) or continuation.

    The continuation is linear (1) or quadratic (3). Axis 1 first; then whole rows, which gives the
    corners.
    """
    for a in (v.T[:, 1:-1], v):
        if mode == 0:
            a[0], a[-1] = a[1], a[-2]
        elif mode == 1:
            a[0], a[-1] = 2 * a[1] - a[2], 2 * a[-2] - a[-3]
        elif mode == 3:
            a[0], a[-1] = 3 * (a[1] - a[2]) + a[3], 3 * (a[-2] - a[-3]) + a[-4]
        else:
            a[0], a[-1] = a[-2], a[1]


def apply(rows, v):
    """Return ``M v`` of the rows; ``v`` padded with filled ghosts, the result not padded."""
    a, d, x, p, q = rows
    here = v[1:-1, 1:-1]
    north, south, east, west = v[2:, 1:-1], v[:-2, 1:-1], v[1:-1, 2:], v[1:-1, :-2]
    cross = v[2:, 2:] - v[2:, :-2] - v[:-2, 2:] + v[:-2, :-2]
    return (
        2 * here - a * (north + south) - d * (east + west) - x * cross
        + p * (north - south) + q * (east - west)
    )  # fmt: skip


@kernel
def residual(rows, r, v, out):
    """``out = r - M v``; ``v`` padded with filled ghosts, ``out`` and ``r`` not padded."""
    out[...] = r - apply(rows, v)


def chebyshev(rows, r, v, mode, degree, low, high, fresh):
    r"""Smooth ``M v = r`` by ``degree`` Chebyshev-Jacobi sweeps; ``v`` and its ghosts in place.

    With :math:`\theta = (high + low) / 2`, :math:`\delta = (high - low) / 2` and the diagonal 2,

    .. math::

        s_0 = \frac{r - M v_0}{2 \theta}, \qquad
        s_k = \rho_k \rho_{k-1} s_{k-1} + \frac{\rho_k}{\delta} (r - M v_k), \qquad
        v_{k+1} = v_k + s_k,

    :math:`\rho_0 = \delta / \theta`, :math:`\rho_k = 1 / (2 \theta / \delta - \rho_{k-1})`, damps
    best the part of the spectrum of :math:`M / 2` between ``low`` and ``high``. ``fresh`` promises
    that ``v`` is zero on entry.
    """
    theta, delta = 0.5 * (high + low), 0.5 * (high - low)
    rho = delta / theta
    step = (r if fresh else r - apply(rows, v)) * np.float32(0.5 / theta)
    v[1:-1, 1:-1] += step
    fill_ghosts(v, mode)
    for _ in range(1, degree):
        rho, previous = 1.0 / (2.0 * theta / delta - rho), rho
        step *= np.float32(rho * previous)
        step += np.float32(rho / delta) * (r - apply(rows, v))
        v[1:-1, 1:-1] += step
        fill_ghosts(v, mode)


@kernel
def down(rows, r, v, out, coarse, scale, ix, wx, iy, wy, mode, degree, low, high, fresh):
    """Smooth into ``out`` and restrict the residual, averaged by area overlap, to ``coarse``."""
    out[...] = 0.0 if fresh else v
    chebyshev(rows, r, out, mode, degree, low, high, fresh)
    coarse[...] = scale * average(r - apply(rows, out), ix, wx, iy, wy)


@kernel
def up(rows, r, v, out, coarse, ix, wx, iy, wy, mode, degree, low, high):
    """Add the bilinear interpolant of the padded coarse correction to v, smooth into ``out``."""
    out[...] = v
    wx, wy = (np.stack([w, 1 - w], axis=1) for w in (wx, wy))
    out[1:-1, 1:-1] += average(coarse, ix, wx, iy, wy)
    fill_ghosts(out, mode)
    chebyshev(rows, r, out, mode, degree, low, high, False)


def average(values, ix, wx, iy, wy):
    """Weighted sums of neighbours on both axes, from ``ix`` and ``iy`` on."""
    return gather(gather(values, ix, wx).T, iy, wy).T


@kernel
def outflow(rows, most, share):
    """Raise the outward drift of face cells to ``share`` of the normal diffusion, at most ``most``.

    With linear ghosts the second normal difference of a face cell vanishes and only the drift
    holds it: where that is small the row is nearly empty and cycles amplify modes along the face.
    """
    a, d, _, p, q = rows
    for diffusion, drift in ((a, p), (d.T, q.T)):
        drift[0] = np.minimum(drift[0], -np.minimum(share * diffusion[0], most))
        drift[-1] = np.maximum(drift[-1], np.minimum(share * diffusion[-1], most))


@kernel
def coarsen_rows(fine, coarse, scale, ix, wx, iy, wy, ratio_x, ratio_y, peclet, most, share):
    """Rediscretise the rows on the next grid and rescale them to diagonal 2.

    Coefficients are averaged. In units of the fine rows second-order ones scale with the inverse
    square of the spacing ratio, drifts with its inverse and the pseudo-time term, half of which is
    ``1 - a - d``, not at all. Second-order coefficients are raised to ``peclet`` times the drift.
    ``scale`` receives the factor by which the restricted right-hand side must be multiplied. At a
    free boundary ``share`` is positive and face cells are held by `outflow`.
    """
    a, d, x, p, q = (average(coefficient, ix, wx, iy, wy) for coefficient in fine)
    sx, sy, pec = (np.float32(s) for s in (1.0 / ratio_x, 1.0 / ratio_y, peclet))
    half_sigma = np.maximum(1 - a - d, 0)
    p, q = p * sx, q * sy
    a = np.maximum(a * sx**2, pec * np.abs(p))
    d = np.maximum(d * sy**2, pec * np.abs(q))
    scale[...] = 1 / (a + d + half_sigma)
    for k, coefficient in enumerate((a, d, x * sx * sy, p, q)):
        coarse[k] = coefficient * scale
    if share > 0.0:
        outflow(coarse, most, share)


@kernel
def dense_matrix(rows, mode):
    """The rows as a dense matrix with a zero-mean border, shape (n + 1, n + 1) float64.

    Column k is ``M e_k``, ghosts filled. The border makes the matrix regular although constants
    are in (or, with a pseudo-time term, near) the null space of the rows.
    """
    nx, ny = rows.shape[1:]
    n = nx * ny
    matrix = np.ones((n + 1, n + 1))
    matrix[n, n] = 0.0
    for k, (i, j) in enumerate(np.ndindex(nx, ny)):
        unit = np.zeros((nx + 2, ny + 2), np.float32)
        unit[i + 1, j + 1] = 1.0
        fill_ghosts(unit, mode)
        matrix[:n, k] = apply(rows, unit).ravel()
    return matrix


@kernel
def factorise(matrix, pivots):
    """LU with partial pivoting in place; False when the matrix is singular.

    ``pivots[k]`` is the row that was exchanged with row k. Afterwards ``matrix`` holds U and, below
    the diagonal, the unit lower triangle L.
    """
    for k in range(len(matrix)):
        best = k + int(np.argmax(np.abs(matrix[k:, k])))
        pivots[k] = best
        if not abs(matrix[best, k]) > 1e-300:
            return False
        matrix[[k, best]] = matrix[[best, k]]
        matrix[k + 1 :, k] /= matrix[k, k]
        matrix[k + 1 :, k + 1 :] -= np.outer(matrix[k + 1 :, k], matrix[k, k + 1 :])
    return True


def solve_factorised(matrix, pivots, r):
    """Solve with a factorised bordered matrix; the right-hand side of the mean is zero.

    The last unknown, which belongs to that of the mean, is dropped.
    """
    n = len(matrix)
    x = np.append(r.ravel().astype(np.float64), 0.0)
    for k, best in enumerate(pivots):
        x[[k, best]] = x[[best, k]]
    for k in range(n):
        x[k] -= matrix[k, :k] @ x[:k]
    for k in reversed(range(n)):
        x[k] = (x[k] - matrix[k, k + 1 :] @ x[k + 1 :]) / matrix[k, k]
    return x[:-1].reshape(r.shape)


@kernel
def solve_dense(matrix, pivots, r, v, mode):
    """Solve with a factorised bordered matrix; the padded result gets its ghosts."""
    v[1:-1, 1:-1] = solve_factorised(matrix, pivots, r)
    fill_ghosts(v, mode)
