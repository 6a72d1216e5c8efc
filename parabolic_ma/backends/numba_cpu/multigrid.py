"""Numba kernels of the linear multigrid on nine-point rows in two dimensions.

Every level holds rows of diagonal 2,

    2 v - a (v[N] + v[S]) - d (v[E] + v[W]) - x (v[NE] - v[NW] - v[SE] + v[SW])
        + p (v[N] - v[S]) + q (v[E] - v[W]) = r,

N being +1 on axis 0 and E +1 on axis 1, with coefficients in one array ``rows[5, nx, ny]`` in the
order a, d, x, p, q. The pseudo-time term is implicit in ``a + d < 1``. Iterates are padded by one
ghost cell a side. Corrections are float32: rows are scaled by their diagonal first, so that they
span no decades, and the outer Newton iteration corrects what rounding leaves.

A leg of a cycle goes through memory once: the sweeps follow each other down the rows, each one row
behind the one before it, and keep three rows of their iterates in the cache. A range of rows can be
done by itself, for it makes the rows around it again that it needs: that is what threads share.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from parabolic_ma.backends.numba_cpu.simd import LANES32, load32, store

_TWO = np.float32(2.0)


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


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _left(r, a, d, x, p, q, sw, s, se, w, c, e, nw, n, ne):
    """``r - M v`` of one cell, or of a vector of cells, from the 3 x 3 values around it."""
    return (
        r - _TWO * c + a * (n + s) + d * (e + w) + x * ((ne - nw) - (se - sw))
        - p * (n - s) - q * (e - w)
    )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _left_lanes(r, a, d, x, p, q, s, c, n, j):
    """``r - M v`` of the cells from j on; ``s``, ``c``, ``n`` are padded rows."""
    return _left(
        load32(r, j), load32(a, j), load32(d, j), load32(x, j), load32(p, j), load32(q, j),
        load32(s, j), load32(s, j + 1), load32(s, j + 2),
        load32(c, j), load32(c, j + 1), load32(c, j + 2),
        load32(n, j), load32(n, j + 1), load32(n, j + 2),
    )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _left_cell(r, a, d, x, p, q, s, c, n, j):
    """The same for cell j alone."""
    return _left(
        r[j], a[j], d[j], x[j], p[j], q[j],
        s[j], s[j + 1], s[j + 2], c[j], c[j + 1], c[j + 2], n[j], n[j + 1], n[j + 2],
    )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def _left_row(r, a, d, x, p, q, s, c, n, out):
    ny = r.shape[0]
    whole = ny - ny % LANES32
    for j in range(0, whole, LANES32):
        store(out, j, _left_lanes(r, a, d, x, p, q, s, c, n, j))
    for j in range(whole, ny):
        out[j] = _left_cell(r, a, d, x, p, q, s, c, n, j)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _residual_double(rows, r, v, out):
    nx, ny = r.shape
    for i in range(nx):
        a, d, x, p, q = rows[0, i], rows[1, i], rows[2, i], rows[3, i], rows[4, i]
        s, c, n = v[i], v[i + 1], v[i + 2]
        ri, oi = r[i], out[i]
        for j in range(ny):
            oi[j] = _left_cell(ri, a, d, x, p, q, s, c, n, j)


@njit(cache=True, nogil=True, error_model="numpy")
def _residual_single(rows, r, v, out):
    for i in range(r.shape[0]):
        _left_row(
            r[i], rows[0, i], rows[1, i], rows[2, i], rows[3, i], rows[4, i],
            v[i], v[i + 1], v[i + 2], out[i],
        )  # fmt: skip


def residual(rows, r, v, out):
    """``out = r - M v``; ``v`` padded with filled ghosts, ``out`` and ``r`` not padded."""
    (_residual_single if rows.dtype == np.float32 else _residual_double)(rows, r, v, out)


@njit(cache=True, nogil=True, error_model="numpy")
def _sweep_row(r, a, d, x, p, q, s, c, n, before, step, v, keep, gain):
    """One Chebyshev step of a row: ``step = keep before + gain (r - M c)``, ``v = c + step``."""
    ny = r.shape[0]
    whole = ny - ny % LANES32
    for j in range(0, whole, LANES32):
        t = keep * load32(before, j) + gain * _left_lanes(r, a, d, x, p, q, s, c, n, j)
        store(step, j, t)
        store(v, j + 1, load32(c, j + 1) + t)
    for j in range(whole, ny):
        t = keep * before[j] + gain * _left_cell(r, a, d, x, p, q, s, c, n, j)
        step[j] = t
        v[j + 1] = c[j + 1] + t


@njit(cache=True, nogil=True, error_model="numpy")
def _first_row(r, step, v, gain):
    """The first step from zero."""
    for j in range(r.shape[0]):
        t = gain * r[j]
        step[j] = t
        v[j + 1] = t


@njit(cache=True, nogil=True, error_model="numpy")
def _row_ends(v, mode):
    """Fill the ghosts at the two ends of a padded row."""
    ny = v.shape[0] - 2
    if mode == 0:
        v[0] = v[1]
        v[ny + 1] = v[ny]
    elif mode == 1:
        v[0] = _TWO * v[1] - v[2]
        v[ny + 1] = _TWO * v[ny] - v[ny - 1]
    else:
        v[0] = v[ny]
        v[ny + 1] = v[1]


@njit(cache=True, nogil=True, error_model="numpy")
def _ghost_row(ghost, first, second, mode):
    """Write the ghost row beyond the rows ``first`` and ``second``; even or linear."""
    for j in range(ghost.shape[0]):
        ghost[j] = first[j] if mode == 0 else _TWO * first[j] - second[j]


@njit(cache=True, nogil=True, error_model="numpy")
def _outer_ghosts(ring, i, nx, mode):
    """Fill the ghost rows that cells of row i need, in a ring of three rows."""
    if mode == 2:
        return
    if i == 0:
        _ghost_row(ring[2], ring[0], ring[1], mode)
    if i == nx - 1:
        _ghost_row(ring[nx % 3], ring[(nx - 1) % 3], ring[(nx - 2) % 3], mode)


@njit(cache=True, nogil=True, error_model="numpy")
def _sweeps(t, start, stop, rows, r, v, step, mode, keep, gain, fresh):
    """Let every sweep do its row at time t: sweep s that of t - s.

    ``v[s]`` is a ring of three rows of the iterate after s sweeps, ``step[s]`` one of two steps.
    The last sweep is wanted on the rows from ``start`` to ``stop``, each earlier one on a row more
    at either end.
    """
    nx = r.shape[0]
    degree = gain.shape[0]
    for s in range(1, degree + 1):
        i = t - s
        lower, upper = start - (degree - s), stop + (degree - s)
        if mode != 2:
            lower, upper = max(lower, 0), min(upper, nx)
        if i < lower or i >= upper:
            continue
        k = i % nx
        now = v[s, i % 3]
        if fresh and s == 1:
            _first_row(r[k], step[1, i % 2], now, gain[0])
        else:
            c = v[s - 1]
            _outer_ghosts(c, i, nx, mode)
            _sweep_row(
                r[k], rows[0, k], rows[1, k], rows[2, k], rows[3, k], rows[4, k],
                c[(i - 1) % 3], c[i % 3], c[(i + 1) % 3], step[s - 1, i % 2], step[s, i % 2], now,
                keep[s - 1], gain[s - 1],
            )  # fmt: skip
        _row_ends(now, mode)


@njit(cache=True, nogil=True, error_model="numpy")
def _coefficients(degree, low, high):
    """Factors of the last step and of the residual in every Chebyshev step."""
    theta = 0.5 * (high + low)
    delta = 0.5 * (high - low)
    keep = np.zeros(degree, np.float32)
    gain = np.zeros(degree, np.float32)
    gain[0] = 0.5 / theta
    rho = delta / theta
    for k in range(1, degree):
        rho_new = 1.0 / (2.0 * theta / delta - rho)
        keep[k] = rho_new * rho
        gain[k] = rho_new / delta
        rho = rho_new
    return keep, gain


@njit(cache=True, nogil=True, error_model="numpy")
def _rings(degree, ny):
    """Work arrays of the sweeps: iterates and steps, zero at first."""
    v = np.zeros((degree + 1, 3, ny + 2), np.float32)
    step = np.zeros((degree + 1, 2, ny), np.float32)
    return v, step


@njit(cache=True, nogil=True, error_model="numpy")
def _outer_rows(out, first, last, mode):
    """Fill the ghost rows of a padded array that belong to the rows from ``first`` to ``last``."""
    nx = out.shape[0] - 2
    if first == 0:
        if mode == 2:
            out[nx + 1] = out[1]
        else:
            _ghost_row(out[0], out[1], out[2], mode)
    if last == nx:
        if mode == 2:
            out[0] = out[nx]
        else:
            _ghost_row(out[nx + 1], out[nx], out[nx - 1], mode)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def _reduce_row(row, iy, wy, scale, coarse):
    """``coarse = scale * average(row)``; ``row`` has two cells more than there are."""
    ny, m = row.shape[0] - 2, coarse.shape[0]
    half = np.float32(0.5)
    if ny == 2 * m:
        for j in range(m):
            coarse[j] = scale[j] * (half * (row[2 * j] + row[2 * j + 1]))
    elif ny == m:
        for j in range(m):
            coarse[j] = scale[j] * row[j]
    else:
        for j in range(m):
            k = iy[j]
            coarse[j] = scale[j] * (
                wy[j, 0] * row[k] + wy[j, 1] * row[k + 1] + wy[j, 2] * row[k + 2]
            )


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def _mix_rows(lines, i, w, row):
    """Weighted sum of rows i, i + 1, i + 2 of ``lines``, counted modulo their number."""
    n, ny = lines.shape
    a, b, c = lines[i % n], lines[(i + 1) % n], lines[(i + 2) % n]
    if w[2] == 0:
        for j in range(ny):
            row[j] = w[0] * a[j] + w[1] * b[j]
    else:
        for j in range(ny):
            row[j] = w[0] * a[j] + w[1] * b[j] + w[2] * c[j]


@njit(cache=True, nogil=True, error_model="numpy")
def _last_overlap(ix, wx, i):
    """Last fine cell that coarse cell i overlaps."""
    return ix[i] + (2 if wx[i, 2] > 0 else 1 if wx[i, 1] > 0 else 0)


@njit(cache=True, nogil=True, error_model="numpy")
def down(
    first, last, rows, r, v, out, coarse, scale, ix, wx, iy, wy, mode, degree, low, high, fresh
):
    """Smooth, write the iterate and its restricted residual: coarse rows ``first`` to ``last``."""
    nx, ny = r.shape
    keep, gain = _coefficients(degree, low, high)
    ring, step = _rings(degree, ny)
    left = np.zeros((4, ny), np.float32)
    row = np.zeros(ny + 2, np.float32)
    begin = ix[first]
    end = nx if last == coarse.shape[0] else ix[last]
    stop = _last_overlap(ix, wx, last - 1) + 1  # of the residual
    i = first
    for t in range(begin - 1 - degree, stop + degree + 1):
        if not fresh and (mode == 2 or -1 < t < nx):
            ring[0, t % 3] = v[t % nx + 1]
        _sweeps(t, begin - 1, stop + 1, rows, r, ring, step, mode, keep, gain, fresh)
        j = t - degree - 1
        if j < begin or j >= stop:
            continue
        c = ring[degree]
        _outer_ghosts(c, j, nx, mode)
        if j < end:
            out[j + 1] = c[j % 3]
        _left_row(
            r[j], rows[0, j], rows[1, j], rows[2, j], rows[3, j], rows[4, j],
            c[(j - 1) % 3], c[j % 3], c[(j + 1) % 3], left[j % 4],
        )  # fmt: skip
        while i < last and _last_overlap(ix, wx, i) <= j:
            _mix_rows(left, ix[i], wx[i], row[:ny])
            _reduce_row(row, iy, wy, scale[i], coarse[i])
            i += 1
    _outer_rows(out, begin, end, mode)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def _corrected_row(v, coarse, i, ix, wx, iy, wy, line, out):
    """Write row i of v plus the coarse correction interpolated linearly, without ends."""
    ny, m = out.shape[0] - 2, coarse.shape[1]
    w = wx[i]
    rest = np.float32(1.0) - w
    lower, upper, f = coarse[ix[i]], coarse[ix[i] + 1], v[i + 1]
    for j in range(m):
        line[j] = w * lower[j] + rest * upper[j]
    near, far = np.float32(0.75), np.float32(0.25)
    if ny == 2 * (m - 2):
        for j in range(m - 2):
            a, b, c = line[j], line[j + 1], line[j + 2]
            out[2 * j + 1] = f[2 * j + 1] + (far * a + near * b)
            out[2 * j + 2] = f[2 * j + 2] + (near * b + far * c)
    else:
        for j in range(ny):
            k = iy[j]
            share = wy[j]
            out[j + 1] = f[j + 1] + share * line[k] + (np.float32(1.0) - share) * line[k + 1]


@njit(cache=True, nogil=True, error_model="numpy")
def up(first, last, rows, r, v, out, coarse, ix, wx, iy, wy, mode, degree, low, high):
    """Add the coarse correction and smooth: rows ``first`` to ``last`` of ``out``."""
    nx, ny = r.shape
    keep, gain = _coefficients(degree, low, high)
    ring, step = _rings(degree, ny)
    line = np.empty(coarse.shape[1], np.float32)
    for t in range(first - degree, last + degree):
        if mode == 2 or -1 < t < nx:
            now = ring[0, t % 3]
            _corrected_row(v, coarse, t % nx, ix, wx, iy, wy, line, now)
            _row_ends(now, mode)
        _sweeps(t, first, last, rows, r, ring, step, mode, keep, gain, False)
        j = t - degree
        if first <= j < last:
            out[j + 1] = ring[degree, j % 3]
    _outer_rows(out, first, last, mode)


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


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def coarsen_rows(first, last, fine, coarse, scale, ix, wx, iy, wy, ratio_x, ratio_y, peclet):
    """Rediscretise the rows on the next grid, diagonal 2: coarse rows ``first`` to ``last``.

    Second-order coefficients are averaged; in units of the fine rows they scale with the inverse
    square of the spacing ratio, drifts with its inverse and the pseudo-time term not at all.
    ``scale`` receives the factor by which the restricted right-hand side must be multiplied.
    Cells whose drift is large get upwind diffusion (``peclet`` times the drift).
    """
    one = np.float32(1.0)
    ny = coarse.shape[2]
    sx = np.float32(1.0 / ratio_x)
    sy = np.float32(1.0 / ratio_y)
    pec = np.float32(peclet)
    row = np.zeros(fine.shape[2] + 2, np.float32)
    ones = np.ones(ny, np.float32)
    means = np.empty((5, ny), np.float32)
    for i in range(first, last):
        for k in range(5):
            lines = fine[k, ix[i] : _last_overlap(ix, wx, i) + 1]
            _mix_rows(lines, 0, wx[i], row[: fine.shape[2]])
            _reduce_row(row, iy, wy, ones, means[k])
        z = scale[i]
        for j in range(ny):
            a, d, p, q = means[0, j], means[1, j], means[3, j] * sx, means[4, j] * sy
            half_sigma = max(one - a - d, np.float32(0.0))
            aa = max(a * sx * sx, pec * abs(p))
            dd = max(d * sy * sy, pec * abs(q))
            w = one / (aa + dd + half_sigma)
            z[j] = w
            means[0, j] = aa * w
            means[1, j] = dd * w
            means[2, j] *= sx * sy * w
            means[3, j] = p * w
            means[4, j] = q * w
        for k in range(5):
            coarse[k, i] = means[k]
