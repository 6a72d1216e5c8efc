"""Numba kernels of the linear multigrid on nine-point rows in two dimensions.

Every level holds rows of diagonal 2,

    2 v - a (v[N] + v[S]) - d (v[E] + v[W]) - x (v[NE] - v[NW] - v[SE] + v[SW])
        + p (v[N] - v[S]) + q (v[E] - v[W]) = r,

N being +1 on axis 0 and E +1 on axis 1, with coefficients in one array ``rows[5, nx, ny]`` in the
order a, d, x, p, q. The pseudo-time term is implicit in ``a + d < 1``. Iterates are padded by one
ghost cell a side. Corrections are float32: rows are scaled by their diagonal first, so that they
span no decades, and the outer Newton iteration corrects what rounding leaves.
"""

from __future__ import annotations

import numpy as np
from numba import njit

EVEN, LINEAR, PERIODIC = 0, 1, 2


@njit(cache=True, nogil=True, error_model="numpy")
def fill_ghosts(v, mode):
    """Fill the frame of a padded array by even reflection (0), periodicity (2) or continuation.

    The continuation is linear (1) or quadratic (3).
    """
    nx, ny = v.shape
    if mode == 0:
        for i in range(1, nx - 1):
            v[i, 0] = v[i, 1]
            v[i, ny - 1] = v[i, ny - 2]
        for j in range(ny):
            v[0, j] = v[1, j]
            v[nx - 1, j] = v[nx - 2, j]
    elif mode == 1:
        for i in range(1, nx - 1):
            v[i, 0] = 2 * v[i, 1] - v[i, 2]
            v[i, ny - 1] = 2 * v[i, ny - 2] - v[i, ny - 3]
        for j in range(ny):
            v[0, j] = 2 * v[1, j] - v[2, j]
            v[nx - 1, j] = 2 * v[nx - 2, j] - v[nx - 3, j]
    elif mode == 3:
        for i in range(1, nx - 1):
            v[i, 0] = 3 * (v[i, 1] - v[i, 2]) + v[i, 3]
            v[i, ny - 1] = 3 * (v[i, ny - 2] - v[i, ny - 3]) + v[i, ny - 4]
        for j in range(ny):
            v[0, j] = 3 * (v[1, j] - v[2, j]) + v[3, j]
            v[nx - 1, j] = 3 * (v[nx - 2, j] - v[nx - 3, j]) + v[nx - 4, j]
    else:
        for i in range(1, nx - 1):
            v[i, 0] = v[i, ny - 2]
            v[i, ny - 1] = v[i, 1]
        for j in range(ny):
            v[0, j] = v[nx - 2, j]
            v[nx - 1, j] = v[1, j]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def residual(rows, r, v, out):
    """``out = r - M v``; ``v`` padded with filled ghosts, ``out`` and ``r`` not padded."""
    nx, ny = r.shape
    half = np.float32(2.0)
    for i in range(nx):
        a, d, x, p, q = rows[0, i], rows[1, i], rows[2, i], rows[3, i], rows[4, i]
        s, c, n = v[i], v[i + 1], v[i + 2]
        ri, oi = r[i], out[i]
        for j in range(ny):
            oi[j] = (
                ri[j]
                - half * c[j + 1]
                + a[j] * (n[j + 1] + s[j + 1])
                + d[j] * (c[j + 2] + c[j])
                + x[j] * (n[j + 2] - n[j] - s[j + 2] + s[j])
                - p[j] * (n[j + 1] - s[j + 1])
                - q[j] * (c[j + 2] - c[j])
            )


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _sweep_row(rows, r, v, step, i, keep, gain, fresh):
    """One Chebyshev step of row i: ``step = keep step + gain (r - M v)``."""
    ny = r.shape[1]
    ri, ti = r[i], step[i]
    if fresh:  # v is zero: no stencil to apply
        for j in range(ny):
            ti[j] = gain * ri[j]
        return
    a, d, x, p, q = rows[0, i], rows[1, i], rows[2, i], rows[3, i], rows[4, i]
    s, c, n = v[i], v[i + 1], v[i + 2]
    two = np.float32(2.0)
    for j in range(ny):
        ti[j] = keep * ti[j] + gain * (
            ri[j]
            - two * c[j + 1]
            + a[j] * (n[j + 1] + s[j + 1])
            + d[j] * (c[j + 2] + c[j])
            + x[j] * (n[j + 2] - n[j] - s[j + 2] + s[j])
            - p[j] * (n[j + 1] - s[j + 1])
            - q[j] * (c[j + 2] - c[j])
        )


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _add_row(v, step, i, mode):
    """Add the step of row i to the iterate and fill the ghosts at the row's two ends."""
    ny = step.shape[1]
    c, ti = v[i + 1], step[i]
    for j in range(ny):
        c[j + 1] += ti[j]
    if mode == 0:
        c[0] = c[1]
        c[ny + 1] = c[ny]
    elif mode == 1:
        c[0] = 2 * c[1] - c[2]
        c[ny + 1] = 2 * c[ny] - c[ny - 1]
    else:
        c[0] = c[ny]
        c[ny + 1] = c[1]


@njit(cache=True, nogil=True, error_model="numpy")
def _ghost_row(v, mode, top):
    """Fill the ghost row below the first (top=False) or above the last row."""
    nx = v.shape[0]
    if top:
        g, b, c = v[nx - 1], v[nx - 2], v[nx - 3]
    else:
        g, b, c = v[0], v[1], v[2]
    if mode == 0:
        for j in range(v.shape[1]):
            g[j] = b[j]
    else:
        for j in range(v.shape[1]):
            g[j] = 2 * b[j] - c[j]


@njit(cache=True, nogil=True, error_model="numpy")
def chebyshev(rows, r, v, step, mode, degree, low, high, fresh):
    """Smooth ``M v = r`` by ``degree`` Chebyshev-Jacobi sweeps; ``v`` and its ghosts in place.

    The sweeps run as a wavefront: sweep k works two rows behind sweep k - 1, so that the whole leg
    reads the rows once from memory. Row i - 1 takes its step only when row i has been computed,
    which keeps every sweep a Jacobi sweep. Periodic rows depend on each other around the box and
    are swept one after the other.

    Parameters
    ----------
    rows : (5, nx, ny) float32
    r : (nx, ny) float32
    v : (nx + 2, ny + 2) float32, ghosts filled
    step : (nx, ny) float32, work
    mode : int
        Ghost rule.
    degree : int
        Number of sweeps.
    low, high : float
        Interval of the spectrum of ``M / 2`` to damp.
    fresh : bool
        Whether ``v`` is zero on entry.
    """
    nx = r.shape[0]
    theta = 0.5 * (high + low)
    delta = 0.5 * (high - low)
    sigma = theta / delta
    keep = np.zeros(degree, np.float32)
    gain = np.zeros(degree, np.float32)
    gain[0] = 0.5 / theta
    rho = 1.0 / sigma
    for k in range(1, degree):
        rho_new = 1.0 / (2.0 * sigma - rho)
        keep[k] = rho_new * rho
        gain[k] = rho_new / delta
        rho = rho_new
    if mode == 2:
        for k in range(degree):
            for i in range(nx):
                _sweep_row(rows, r, v, step, i, keep[k], gain[k], fresh and k == 0)
            for i in range(nx):
                _add_row(v, step, i, mode)
            for j in range(v.shape[1]):
                v[0, j] = v[nx, j]
                v[nx + 1, j] = v[1, j]
        return
    for t in range(nx + 1 + 2 * (degree - 1)):
        for k in range(degree):
            i = t - 2 * k
            if i < 0 or i > nx:
                continue
            if i < nx:
                if k > 0:
                    if i == 0:
                        _ghost_row(v, mode, False)
                    if i == nx - 1:
                        _ghost_row(v, mode, True)
                _sweep_row(rows, r, v, step, i, keep[k], gain[k], fresh and k == 0)
            if i > 0:
                _add_row(v, step, i - 1, mode)
    _ghost_row(v, mode, False)
    _ghost_row(v, mode, True)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def restrict(fine, coarse, ix, wx, iy, wy, scale):
    """``coarse = scale * average(fine)`` by area overlap; ``scale`` is an array or all ones.

    ``ix[I]`` is the first fine index that coarse cell I overlaps, ``wx[I, :3]`` the shares of the
    (at most three) fine cells, which sum to one; likewise for axis 1.
    """
    nx, ny = coarse.shape
    m = fine.shape[1]
    row = np.empty(m + 2, fine.dtype)
    row[m] = 0
    row[m + 1] = 0
    for i in range(nx):
        i0 = ix[i]
        w0, w1, w2 = wx[i, 0], wx[i, 1], wx[i, 2]
        f0 = fine[i0]
        if w1 == 0:
            for j in range(m):
                row[j] = w0 * f0[j]
        elif w2 == 0:
            f1 = fine[i0 + 1]
            for j in range(m):
                row[j] = w0 * f0[j] + w1 * f1[j]
        else:
            f1 = fine[i0 + 1]
            f2 = fine[i0 + 2]
            for j in range(m):
                row[j] = w0 * f0[j] + w1 * f1[j] + w2 * f2[j]
        c, z = coarse[i], scale[i]
        for j in range(ny):
            k = iy[j]
            c[j] = z[j] * (wy[j, 0] * row[k] + wy[j, 1] * row[k + 1] + wy[j, 2] * row[k + 2])


@njit(cache=True, nogil=True, error_model="numpy")
def outflow(rows, most, share):
    """Raise the outward drift of face cells to ``share`` of the normal diffusion, at most ``most``.

    With linear ghosts the second normal difference of a face cell vanishes and only the drift
    holds it. Where that is small the face row is nearly empty and multigrid cycles amplify modes
    along the face (by 5 a cycle at 512 x 512). A strong drift belongs into the preconditioner
    only: in the matrix it would leave the faces behind, and the map with them.
    """
    e = np.float32(most)
    f = np.float32(share)
    nx, ny = rows.shape[1:]
    for j in range(ny):
        rows[3, 0, j] = min(rows[3, 0, j], -min(e, f * rows[0, 0, j]))
        rows[3, nx - 1, j] = max(rows[3, nx - 1, j], min(e, f * rows[0, nx - 1, j]))
    for i in range(nx):
        rows[4, i, 0] = min(rows[4, i, 0], -min(e, f * rows[1, i, 0]))
        rows[4, i, ny - 1] = max(rows[4, i, ny - 1], min(e, f * rows[1, i, ny - 1]))


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def coarsen_rows(fine, coarse, scale, ix, wx, iy, wy, ratio_x, ratio_y, peclet, most, share):
    """Rediscretise the rows on the next grid and rescale them to diagonal 2.

    Second-order coefficients are averaged; in units of the fine rows they scale with the inverse
    square of the spacing ratio, drifts with its inverse and the pseudo-time term not at all.
    ``scale`` receives the factor by which the restricted right-hand side must be multiplied.
    Cells whose drift is large get upwind diffusion (``peclet`` times the drift).
    """
    one = np.float32(1.0)
    nx, ny = scale.shape
    for i in range(nx):
        for j in range(ny):
            scale[i, j] = one
    for k in range(5):
        restrict(fine[k], coarse[k], ix, wx, iy, wy, scale)
    sx = np.float32(1.0 / ratio_x)
    sy = np.float32(1.0 / ratio_y)
    pec = np.float32(peclet)
    for i in range(nx):
        a, d, x, p, q = coarse[0, i], coarse[1, i], coarse[2, i], coarse[3, i], coarse[4, i]
        z = scale[i]
        for j in range(ny):
            half_sigma = max(one - a[j] - d[j], np.float32(0.0))
            p[j] *= sx
            q[j] *= sy
            aa = max(a[j] * sx * sx, pec * abs(p[j]))
            dd = max(d[j] * sy * sy, pec * abs(q[j]))
            w = one / (aa + dd + half_sigma)
            a[j] = aa * w
            d[j] = dd * w
            x[j] *= sx * sy * w
            p[j] *= w
            q[j] *= w
            z[j] = w
    if share > 0.0:
        outflow(coarse, most, share)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def prolong_add(coarse, fine, ix, wx, iy, wy):
    """Add the bilinear interpolant of a padded coarse correction to a padded fine iterate.

    Fine cell i takes ``wx[i]`` of padded coarse row ``ix[i]`` and the rest of the one after it.
    """
    nx, ny = fine.shape[0] - 2, fine.shape[1] - 2
    m = coarse.shape[1]
    row = np.empty(m, coarse.dtype)
    one = np.float32(1.0)
    for i in range(nx):
        w = wx[i]
        lo, hi = coarse[ix[i]], coarse[ix[i] + 1]
        for j in range(m):
            row[j] = w * lo[j] + (one - w) * hi[j]
        f = fine[i + 1]
        for j in range(ny):
            k = iy[j]
            f[j + 1] += wy[j] * row[k] + (one - wy[j]) * row[k + 1]


@njit(cache=True, nogil=True, error_model="numpy")
def _fold(k, n, mode, index, share):
    """Write index k, which may be a ghost, as a combination of at most two cells."""
    index[0] = k
    index[1] = k
    share[0] = 1.0
    share[1] = 0.0
    if 0 <= k < n:
        return
    edge = 0 if k < 0 else n - 1
    if mode == 0:
        index[0] = edge
    elif mode == 1:
        index[0] = edge
        index[1] = 1 if k < 0 else n - 2
        share[0] = 2.0
        share[1] = -1.0
    else:
        index[0] = n - 1 - edge
    if mode != 1:
        index[1] = index[0]


@njit(cache=True, nogil=True, error_model="numpy")
def dense_matrix(rows, mode):
    """The rows as a dense matrix with a zero-mean border, shape (n + 1, n + 1) float64.

    The border makes the matrix regular although constants are in (or, with a pseudo-time term,
    near) the null space of the rows.
    """
    nx, ny = rows.shape[1:]
    n = nx * ny
    matrix = np.zeros((n + 1, n + 1))
    ia = np.empty(2, np.int64)
    ja = np.empty(2, np.int64)
    wa = np.empty(2)
    wb = np.empty(2)
    for i in range(nx):
        for j in range(ny):
            a, d, x, p, q = (
                rows[0, i, j], rows[1, i, j], rows[2, i, j], rows[3, i, j], rows[4, i, j]
            )  # fmt: skip
            row = i * ny + j
            for di in range(-1, 2):
                for dj in range(-1, 2):
                    if di == 0 and dj == 0:
                        w = 2.0
                    elif dj == 0:
                        w = -a + di * p
                    elif di == 0:
                        w = -d + dj * q
                    else:
                        w = -x * di * dj
                    _fold(i + di, nx, mode, ia, wa)
                    _fold(j + dj, ny, mode, ja, wb)
                    for k in range(2):
                        for m in range(2):
                            matrix[row, ia[k] * ny + ja[m]] += w * wa[k] * wb[m]
    for k in range(n):
        matrix[n, k] = 1.0
        matrix[k, n] = 1.0
    return matrix


@njit(cache=True, nogil=True, error_model="numpy")
def factorise(matrix, pivots):
    """LU with partial pivoting in place; False when the matrix is singular."""
    n = matrix.shape[0]
    for k in range(n):
        best = k
        for i in range(k + 1, n):
            if abs(matrix[i, k]) > abs(matrix[best, k]):
                best = i
        pivots[k] = best
        if not abs(matrix[best, k]) > 1e-300:
            return False
        if best != k:
            for j in range(n):
                matrix[k, j], matrix[best, j] = matrix[best, j], matrix[k, j]
        inverse = 1.0 / matrix[k, k]
        for i in range(k + 1, n):
            factor = matrix[i, k] * inverse
            matrix[i, k] = factor
            if factor != 0.0:
                for j in range(k + 1, n):
                    matrix[i, j] -= factor * matrix[k, j]
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def solve_dense(matrix, pivots, r, v, mode):
    """Solve with a factorised bordered matrix; the padded result gets its ghosts."""
    n = matrix.shape[0]
    nx, ny = r.shape
    x = np.zeros(n)
    for i in range(nx):
        for j in range(ny):
            x[i * ny + j] = r[i, j]
    for k in range(n):
        b = pivots[k]
        if b != k:
            x[k], x[b] = x[b], x[k]
    for k in range(n):
        for i in range(k + 1, n):
            x[i] -= matrix[i, k] * x[k]
    for k in range(n - 1, -1, -1):
        s = x[k]
        for j in range(k + 1, n):
            s -= matrix[k, j] * x[j]
        x[k] = s / matrix[k, k]
    for i in range(nx):
        for j in range(ny):
            v[i + 1, j + 1] = x[i * ny + j]
    fill_ghosts(v, mode)
