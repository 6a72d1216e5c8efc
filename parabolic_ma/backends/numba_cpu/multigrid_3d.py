"""Numba kernels of the linear multigrid on nineteen-point rows in three dimensions.

The rows are

    2 v - sum_k a_k (v[+k] + v[-k]) - sum_{k<m} x_km (v[+k+m] - v[+k-m] - v[-k+m] + v[-k-m])
        + sum_k p_k (v[+k] - v[-k]) = r,

their coefficients in one array ``rows[9, n1, n2, n3]`` in the order a1, a2, a3, x12, x13, x23, p1,
p2, p3. As in the plane a leg of a cycle goes through memory once: the sweeps follow each other
through the planes of axis 0, each one plane behind the one before it, and keep three planes of
their iterates in the cache.

Arrays are worked on flat. A *line* is a row of cells along the last axis; ``width`` is the distance
of two padded lines.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from parabolic_ma.backends.numba_cpu import simd
from parabolic_ma.backends.numba_cpu.dense import _fold, solve_dense
from parabolic_ma.backends.numba_cpu.multigrid import (
    _coefficients,
    _last_overlap,
    _mix_rows,
    _reduce_row,
)
from parabolic_ma.backends.numba_cpu.simd import LANES32, load32, store

_TWO = np.float32(2.0)


# ---------------------------------------------------------------------------- ghosts


@njit(cache=True, nogil=True, error_model="numpy")
def _frame(v, base, n2, n3, mode):
    """Fill the ghosts around one plane, which begins at ``base``: ends of lines, then lines."""
    width = n3 + 2
    for j in range(1, n2 + 1):
        at = base + j * width
        if mode == 0:
            v[at] = v[at + 1]
            v[at + n3 + 1] = v[at + n3]
        elif mode == 1:
            v[at] = 2 * v[at + 1] - v[at + 2]
            v[at + n3 + 1] = 2 * v[at + n3] - v[at + n3 - 1]
        elif mode == 3:
            v[at] = 3 * (v[at + 1] - v[at + 2]) + v[at + 3]
            v[at + n3 + 1] = 3 * (v[at + n3] - v[at + n3 - 1]) + v[at + n3 - 2]
        else:
            v[at] = v[at + n3]
            v[at + n3 + 1] = v[at + 1]
    last = base + (n2 + 1) * width
    _beyond(v, base, width, width, mode, n2)
    _beyond(v, last, -width, width, mode, n2)
    if mode == 1:
        for corner, along in ((base, 1), (base + n3 + 1, -1)):
            v[corner] = _without_mixed(v, corner, width, along)
        for corner, along in ((last, 1), (last + n3 + 1, -1)):
            v[corner] = _without_mixed(v, corner, -width, along)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _without_mixed(v, ghost, one, other):
    """Ghost beyond two faces for which the mixed difference of their normals vanishes."""
    return v[ghost + 2 * one] + v[ghost + 2 * other] - v[ghost + 2 * one + 2 * other]


@njit(cache=True, nogil=True, error_model="numpy")
def _beyond(v, ghost, step, size, mode, cells):
    """Fill ``size`` ghosts from those at ``step``, 2 ``step`` and so on; periodic: ``cells``."""
    if mode == 0:
        for k in range(size):
            v[ghost + k] = v[ghost + step + k]
    elif mode == 1:
        for k in range(size):
            v[ghost + k] = 2 * v[ghost + step + k] - v[ghost + 2 * step + k]
    elif mode == 3:
        for k in range(size):
            first, second = v[ghost + step + k], v[ghost + 2 * step + k]
            v[ghost + k] = 3 * (first - second) + v[ghost + 3 * step + k]
    else:
        for k in range(size):
            v[ghost + k] = v[ghost + cells * step + k]


@njit(cache=True, nogil=True, error_model="numpy")
def _ghost_plane(v, ghost, first, second, n2, n3, mode):
    """Write the plane beyond the planes ``first`` and ``second``; even (0) or linear (1)."""
    width = n3 + 2
    size = (n2 + 2) * width
    if mode == 0:
        for k in range(size):
            v[ghost + k] = v[first + k]
        return
    for k in range(size):
        v[ghost + k] = _TWO * v[first + k] - v[second + k]
    top = (n2 + 1) * width
    for k in range(1, n3 + 1):
        for line, inner in ((k, 2 * width + k), (top + k, top - 2 * width + k)):
            v[ghost + line] = v[second + line] + v[ghost + inner] - v[second + inner]
    for j in range(width, top, width):
        for line, inner in ((j, j + 2), (j + n3 + 1, j + n3 - 1)):
            v[ghost + line] = v[second + line] + v[ghost + inner] - v[second + inner]


@njit(cache=True, nogil=True, error_model="numpy")
def _outer_planes(v, n1, n2, n3, mode):
    """Fill the first and the last plane of a padded array, whose others are filled."""
    size = (n2 + 2) * (n3 + 2)
    if mode == 1:
        _ghost_plane(v, 0, size, 2 * size, n2, n3, mode)
        _ghost_plane(v, (n1 + 1) * size, n1 * size, (n1 - 1) * size, n2, n3, mode)
    else:
        _beyond(v, 0, size, size, mode, n1)
        _beyond(v, (n1 + 1) * size, -size, size, mode, n1)


@njit(cache=True, nogil=True, error_model="numpy")
def fill_ghosts_3d(v, mode):
    """Fill the frame of a padded array by even reflection (0), periodicity (2) or continuation.

    The continuation is linear (1) or quadratic (3). Linear ghosts beyond two faces are such that
    the mixed difference of the two normals vanishes, as their second differences do.
    """
    n1, n2, n3 = v.shape[0] - 2, v.shape[1] - 2, v.shape[2] - 2
    flat = v.reshape(-1)
    size = (n2 + 2) * (n3 + 2)
    for i in range(1, n1 + 1):
        _frame(flat, i * size, n2, n3, mode)
    _outer_planes(flat, n1, n2, n3, mode)


# ---------------------------------------------------------------------------- the matrix


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _left(
    r, a1, a2, a3, x12, x13, x23, p1, p2, p3, c, north, south, east, west, top, bottom, ne, nw, se,
    sw, nt, nb, st, sb, et, eb, wt, wb,
):  # fmt: skip
    """``r - M v`` of one cell, or of a vector of cells, from the 19 values around it.

    North, east and top are +1 on the three axes.
    """
    return (
        r - _TWO * c + a1 * (north + south) + a2 * (east + west) + a3 * (top + bottom)
        + x12 * ((ne - nw) - (se - sw)) + x13 * ((nt - nb) - (st - sb))
        + x23 * ((et - eb) - (wt - wb))
        - p1 * (north - south) - p2 * (east - west) - p3 * (top - bottom)
    )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _left_lanes(rows, cells, r, at, v, s, c, n, width):
    """``r - M v`` of the cells from ``at`` on.

    ``s``, ``c``, ``n`` are the places of that cell in v, in the plane before, its own and the next.
    """
    return _left(
        load32(r, at), load32(rows, at), load32(rows, at + cells), load32(rows, at + 2 * cells),
        load32(rows, at + 3 * cells), load32(rows, at + 4 * cells), load32(rows, at + 5 * cells),
        load32(rows, at + 6 * cells), load32(rows, at + 7 * cells), load32(rows, at + 8 * cells),
        load32(v, c), load32(v, n), load32(v, s), load32(v, c + width), load32(v, c - width),
        load32(v, c + 1), load32(v, c - 1), load32(v, n + width), load32(v, n - width),
        load32(v, s + width), load32(v, s - width), load32(v, n + 1), load32(v, n - 1),
        load32(v, s + 1), load32(v, s - 1), load32(v, c + width + 1), load32(v, c + width - 1),
        load32(v, c - width + 1), load32(v, c - width - 1),
    )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _left_cell(rows, cells, r, at, v, s, c, n, width):
    """The same for one cell."""
    return _left(
        r[at], rows[at], rows[at + cells], rows[at + 2 * cells], rows[at + 3 * cells],
        rows[at + 4 * cells], rows[at + 5 * cells], rows[at + 6 * cells], rows[at + 7 * cells],
        rows[at + 8 * cells], v[c], v[n], v[s], v[c + width], v[c - width], v[c + 1], v[c - 1],
        v[n + width], v[n - width], v[s + width], v[s - width], v[n + 1], v[n - 1], v[s + 1],
        v[s - 1], v[c + width + 1], v[c + width - 1], v[c - width + 1], v[c - width - 1],
    )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def _left_plane(rows, cells, r, at, v, s, c, n, n2, n3, out, to):
    """``r - M v`` on a plane to ``out[to:]``; s, c, n are the beginnings of planes of v."""
    width = n3 + 2
    whole = n3 - n3 % LANES32
    for j in range(n2):
        here = (j + 1) * width + 1
        line = at + j * n3
        for k in range(0, whole, LANES32):
            left = _left_lanes(
                rows, cells, r, line + k, v, s + here + k, c + here + k, n + here + k, width
            )
            store(out, to + j * n3 + k, left)
        for k in range(whole, n3):
            out[to + j * n3 + k] = _left_cell(
                rows, cells, r, line + k, v, s + here + k, c + here + k, n + here + k, width
            )


@njit(cache=True, nogil=True, error_model="numpy")
def residual_3d(rows, r, v, out):
    """``out = r - M v``; ``v`` padded with filled ghosts, ``out`` and ``r`` not padded."""
    n1, n2, n3 = r.shape
    size = (n2 + 2) * (n3 + 2)
    q, x, f, o = rows.reshape(-1), v.reshape(-1), r.reshape(-1), out.reshape(-1)
    for i in range(n1):
        at = i * n2 * n3
        _left_plane(q, r.size, f, at, x, i * size, (i + 1) * size, (i + 2) * size, n2, n3, o, at)


@njit(cache=True, nogil=True, error_model="numpy")
def matrix_dots_3d(rows, v, r, weight):
    """<w, w>, <w, r> and <r, r> under the weight, of ``w = -M v``, which is not stored."""
    n1, n2, n3 = r.shape
    width = n3 + 2
    size = (n2 + 2) * width
    q, x, f, g = rows.reshape(-1), v.reshape(-1), r.reshape(-1), weight.reshape(-1)
    whole = n3 - n3 % LANES32
    ww = 0.0
    wr = 0.0
    rr = 0.0
    for i in range(n1):
        for j in range(n2):
            line = (i * n2 + j) * n3
            c = (i + 1) * size + (j + 1) * width + 1
            sum_ww = simd.splat32(np.float32(0.0))
            sum_wr = simd.splat32(np.float32(0.0))
            sum_rr = simd.splat32(np.float32(0.0))
            for k in range(0, whole, LANES32):
                right = load32(f, line + k)
                w = (
                    _left_lanes(q, r.size, f, line + k, x, c + k - size, c + k, c + k + size, width)
                    - right
                )
                shared = load32(g, line + k) * w
                sum_ww = sum_ww + shared * w
                sum_wr = sum_wr + shared * right
                sum_rr = sum_rr + load32(g, line + k) * right * right
            ww += simd.total(sum_ww)
            wr += simd.total(sum_wr)
            rr += simd.total(sum_rr)
            for k in range(whole, n3):
                right = f[line + k]
                w = (
                    _left_cell(q, r.size, f, line + k, x, c + k - size, c + k, c + k + size, width)
                    - right
                )
                ww += g[line + k] * w * w
                wr += g[line + k] * w * right
                rr += g[line + k] * right * right
    return ww, wr, rr


# ---------------------------------------------------------------------------- the sweeps


@njit(cache=True, nogil=True, error_model="numpy")
def _sweep_plane(rows, cells, r, at, v, s, c, n, before, now, n2, n3, keep, gain):
    """One Chebyshev step of a plane: ``now = c + keep (c - before) + gain (r - M c)``."""
    width = n3 + 2
    whole = n3 - n3 % LANES32
    for j in range(n2):
        here = (j + 1) * width + 1
        line = at + j * n3
        for k in range(0, whole, LANES32):
            left = _left_lanes(
                rows, cells, r, line + k, v, s + here + k, c + here + k, n + here + k, width
            )
            old = load32(v, c + here + k)
            step = keep * (old - load32(v, before + here + k)) + gain * left
            store(v, now + here + k, old + step)
        for k in range(whole, n3):
            left = _left_cell(
                rows, cells, r, line + k, v, s + here + k, c + here + k, n + here + k, width
            )
            old = v[c + here + k]
            v[now + here + k] = old + (keep * (old - v[before + here + k]) + gain * left)


@njit(cache=True, nogil=True, error_model="numpy")
def _first_plane(r, at, v, now, n2, n3, gain):
    """The first step from zero."""
    for j in range(n2):
        here = now + (j + 1) * (n3 + 2) + 1
        for k in range(n3):
            v[here + k] = gain * r[at + j * n3 + k]


@njit(cache=True, nogil=True, error_model="numpy")
def _outer_ghosts(ring, level, i, n1, n2, n3, mode):
    """Fill the ghost planes that cells of plane i need, in a ring of three planes."""
    if mode == 2:
        return
    size = (n2 + 2) * (n3 + 2)
    base = 3 * level * size
    for ghost, first, second in ((-1, 0, 1), (n1, n1 - 1, n1 - 2)):
        if abs(i - ghost) == 1:
            g, a, b = base + ghost % 3 * size, base + first % 3 * size, base + second % 3 * size
            _ghost_plane(ring, g, a, b, n2, n3, mode)


@njit(cache=True, nogil=True, error_model="numpy")
def _sweeps(t, wanted, rows, r, ring, n1, n2, n3, mode, keep, gain, fresh):
    """Let every sweep do its plane at time t: sweep s that of t - s.

    ``ring`` holds three planes of the iterate after 0, 1, .. sweeps. The last sweep is wanted on
    the cells and on ``wanted`` more planes at either end, each earlier one on a plane more; they
    exist only where the grid is periodic.
    """
    degree = gain.shape[0]
    size = (n2 + 2) * (n3 + 2)
    cells = n1 * n2 * n3
    for s in range(1, degree + 1):
        i = t - s
        more = wanted + degree - s if mode == 2 else 0
        if i < -more or i >= n1 + more:
            continue
        at = i % n1 * n2 * n3
        last = 3 * (s - 1) * size
        now = (3 * s + i % 3) * size
        if fresh and s == 1:
            _first_plane(r, at, ring, now, n2, n3, gain[0])
        else:
            _outer_ghosts(ring, s - 1, i, n1, n2, n3, mode)
            before = (3 * max(s - 2, 0) + i % 3) * size  # of no weight in the first sweep
            _sweep_plane(
                rows, cells, r, at, ring, last + (i - 1) % 3 * size, last + i % 3 * size,
                last + (i + 1) % 3 * size, before, now, n2, n3, keep[s - 1], gain[s - 1],
            )  # fmt: skip
        _frame(ring, now, n2, n3, mode)


@njit(cache=True, nogil=True, error_model="numpy")
def _copy(source, begin, target, to, size):
    for k in range(size):
        target[to + k] = source[begin + k]


@njit(cache=True, nogil=True, error_model="numpy")
def down_3d(rows, r, v, out, coarse, scale, i1, w1, i2, w2, i3, w3, mode, degree, low, high, fresh):
    """Smooth ``M v = r`` into ``out`` and restrict what is left to ``coarse``."""
    n1, n2, n3 = r.shape
    size = (n2 + 2) * (n3 + 2)
    keep, gain = _coefficients(degree, low, high)
    ring = np.zeros(3 * (degree + 1) * size, np.float32)
    q, f, x, y = rows.reshape(-1), r.reshape(-1), v.reshape(-1), out.reshape(-1)
    left = np.empty((n2, n3), np.float32)
    halved = np.zeros((coarse.shape[1], 3, n3), np.float32)  # averaged on axis 1 already
    line = np.zeros(n3 + 2, np.float32)
    top = 3 * degree * size
    done = 0
    for t in range(-degree - 1, n1 + 2 * degree + 2):
        if not fresh and (mode == 2 or -1 < t < n1):
            _copy(x, (t % n1 + 1) * size, ring, t % 3 * size, size)
        _sweeps(t, 1, q, f, ring, n1, n2, n3, mode, keep, gain, fresh)
        i = t - degree - 1
        if i < 0 or i >= n1:
            continue
        _outer_ghosts(ring, degree, i, n1, n2, n3, mode)
        _copy(ring, top + i % 3 * size, y, (i + 1) * size, size)
        _left_plane(
            q, r.size, f, i * n2 * n3, ring, top + (i - 1) % 3 * size, top + i % 3 * size,
            top + (i + 1) % 3 * size, n2, n3, left.reshape(-1), 0,
        )  # fmt: skip
        for j in range(coarse.shape[1]):
            _mix_rows(left, i2[j], w2[j], halved[j, i % 3])
        while done < coarse.shape[0] and _last_overlap(i1, w1, done) <= i:
            for j in range(coarse.shape[1]):
                _mix_rows(halved[j], i1[done], w1[done], line[:n3])
                _reduce_row(line, i3, w3, scale[done, j], coarse[done, j])
            done += 1
    _outer_planes(y, n1, n2, n3, mode)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def _corrected_plane(v, base, coarse, i, i1, w1, i2, w2, i3, w3, plane, line, ring, now, n2, n3):
    """Write plane i of v plus the coarse correction interpolated linearly, without its frame."""
    m3 = coarse.shape[2]
    one = np.float32(1.0)
    lower, upper = coarse[i1[i]].reshape(-1), coarse[i1[i] + 1].reshape(-1)
    share = w1[i]
    for k in range(lower.shape[0]):
        plane[k] = share * lower[k] + (one - share) * upper[k]
    near, far = np.float32(0.75), np.float32(0.25)
    for j in range(n2):
        share = w2[j]
        first = i2[j] * m3
        for k in range(m3):
            line[k] = share * plane[first + k] + (one - share) * plane[first + m3 + k]
        here = (j + 1) * (n3 + 2) + 1
        if n3 == 2 * (m3 - 2):
            for k in range(m3 - 2):
                a, b, c = line[k], line[k + 1], line[k + 2]
                ring[now + here + 2 * k] = v[base + here + 2 * k] + (far * a + near * b)
                ring[now + here + 2 * k + 1] = v[base + here + 2 * k + 1] + (near * b + far * c)
        else:
            for k in range(n3):
                a, b = line[i3[k]], line[i3[k] + 1]
                ring[now + here + k] = v[base + here + k] + (w3[k] * a + (one - w3[k]) * b)


@njit(cache=True, nogil=True, error_model="numpy")
def up_3d(rows, r, v, out, coarse, i1, w1, i2, w2, i3, w3, mode, degree, low, high):
    """Add the interpolated coarse correction and smooth into ``out``; v stays as it is."""
    n1, n2, n3 = r.shape
    size = (n2 + 2) * (n3 + 2)
    keep, gain = _coefficients(degree, low, high)
    ring = np.zeros(3 * (degree + 1) * size, np.float32)
    q, f, x, y = rows.reshape(-1), r.reshape(-1), v.reshape(-1), out.reshape(-1)
    plane = np.empty(coarse.shape[1] * coarse.shape[2], np.float32)
    line = np.empty(coarse.shape[2], np.float32)
    for t in range(-degree, n1 + 2 * degree):
        if mode == 2 or -1 < t < n1:
            now = t % 3 * size
            _corrected_plane(
                x, (t % n1 + 1) * size, coarse, t % n1, i1, w1, i2, w2, i3, w3, plane, line, ring,
                now, n2, n3,
            )  # fmt: skip
            _frame(ring, now, n2, n3, mode)
        _sweeps(t, 0, q, f, ring, n1, n2, n3, mode, keep, gain, False)
        i = t - degree
        if 0 <= i < n1:
            _copy(ring, (3 * degree + i % 3) * size, y, (i + 1) * size, size)
    _outer_planes(y, n1, n2, n3, mode)


# ---------------------------------------------------------------------------- coarse grids


@njit(cache=True, nogil=True, error_model="numpy")
def outflow_3d(rows, most, share):
    """Raise the outward drift of face cells to ``share`` of the normal diffusion, at most ``most``.

    With linear ghosts the second normal difference of a face cell vanishes and only the drift
    holds it.
    """
    e, f = np.float32(most), np.float32(share)
    for axis in range(3):
        if axis == 0:
            diffusion, drift = rows[0], rows[6]
        elif axis == 1:
            diffusion, drift = rows[1].transpose(1, 0, 2), rows[7].transpose(1, 0, 2)
        else:
            diffusion, drift = rows[2].transpose(2, 0, 1), rows[8].transpose(2, 0, 1)
        _, n, m = drift.shape
        for j in range(n):
            for k in range(m):
                drift[0, j, k] = min(drift[0, j, k], -min(f * diffusion[0, j, k], e))
                drift[-1, j, k] = max(drift[-1, j, k], min(f * diffusion[-1, j, k], e))


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def coarsen_rows_3d(
    fine, coarse, scale, i1, w1, i2, w2, i3, w3, ratio1, ratio2, ratio3, peclet, most, share
):
    """Rediscretise the rows on the next grid and rescale them to diagonal 2.

    Second-order coefficients are averaged; in units of the fine rows they scale with the inverse
    square of the spacing ratio, drifts with its inverse and the pseudo-time term not at all.
    ``scale`` receives the factor by which the restricted right-hand side must be multiplied.
    Cells whose drift is large get upwind diffusion (``peclet`` times the drift).
    """
    one = np.float32(1.0)
    m1, m2, m3 = scale.shape
    n3 = fine.shape[3]
    s1, s2, s3 = np.float32(1.0 / ratio1), np.float32(1.0 / ratio2), np.float32(1.0 / ratio3)
    pec = np.float32(peclet)
    line = np.zeros(n3 + 2, np.float32)
    ones = np.ones(m3, np.float32)
    mean = np.empty((9, m3), np.float32)
    for i in range(m1):
        for j in range(m2):
            for c in range(9):
                line[:] = 0
                for a in range(_last_overlap(i1, w1, i) - i1[i] + 1):
                    for b in range(_last_overlap(i2, w2, j) - i2[j] + 1):
                        w = w1[i, a] * w2[j, b]
                        row = fine[c, i1[i] + a, i2[j] + b]
                        for k in range(n3):
                            line[k] += w * row[k]
                _reduce_row(line, i3, w3, ones, mean[c])
            for k in range(m3):
                half_sigma = max(one - mean[0, k] - mean[1, k] - mean[2, k], np.float32(0.0))
                p1, p2, p3 = mean[6, k] * s1, mean[7, k] * s2, mean[8, k] * s3
                a1 = max(mean[0, k] * s1 * s1, pec * abs(p1))
                a2 = max(mean[1, k] * s2 * s2, pec * abs(p2))
                a3 = max(mean[2, k] * s3 * s3, pec * abs(p3))
                z = one / (a1 + a2 + a3 + half_sigma)
                scale[i, j, k] = z
                coarse[0, i, j, k] = a1 * z
                coarse[1, i, j, k] = a2 * z
                coarse[2, i, j, k] = a3 * z
                coarse[3, i, j, k] = mean[3, k] * s1 * s2 * z
                coarse[4, i, j, k] = mean[4, k] * s1 * s3 * z
                coarse[5, i, j, k] = mean[5, k] * s2 * s3 * z
                coarse[6, i, j, k] = p1 * z
                coarse[7, i, j, k] = p2 * z
                coarse[8, i, j, k] = p3 * z
    if share > 0.0:
        outflow_3d(coarse, most, share)


@njit(cache=True, nogil=True, error_model="numpy")
def dense_matrix_3d(rows, mode):
    """The rows as a dense matrix with a zero-mean border, shape (n + 1, n + 1) float64.

    The border makes the matrix regular although constants are in (or, with a pseudo-time term,
    near) the null space of the rows.
    """
    n1, n2, n3 = rows.shape[1:]
    n = n1 * n2 * n3
    matrix = np.zeros((n + 1, n + 1))
    index = np.empty((3, 2), np.int64)
    share = np.empty((3, 2))
    for row in range(n):
        i, j, k = row // (n2 * n3), row // n3 % n2, row % n3
        # where two faces meet linear ghosts leave no mixed difference of their normals
        at1, at2, at3 = i in (0, n1 - 1), j in (0, n2 - 1), k in (0, n3 - 1)
        x12 = 0.0 if mode == 1 and at1 and at2 else rows[3, i, j, k]
        x13 = 0.0 if mode == 1 and at1 and at3 else rows[4, i, j, k]
        x23 = 0.0 if mode == 1 and at2 and at3 else rows[5, i, j, k]
        for di in range(-1, 2):
            for dj in range(-1, 2):
                for dk in range(-1, 2):
                    moves = abs(di) + abs(dj) + abs(dk)
                    if moves == 3:
                        continue
                    if moves == 0:
                        w = 2.0
                    elif moves == 1:
                        axis = 0 if di != 0 else 1 if dj != 0 else 2
                        w = -rows[axis, i, j, k] + (di + dj + dk) * rows[6 + axis, i, j, k]
                    elif dk == 0:
                        w = -x12 * di * dj
                    elif dj == 0:
                        w = -x13 * di * dk
                    else:
                        w = -x23 * dj * dk
                    _fold(i + di, n1, mode, index[0], share[0])
                    _fold(j + dj, n2, mode, index[1], share[1])
                    _fold(k + dk, n3, mode, index[2], share[2])
                    for a in range(2):
                        for b in range(2):
                            for c in range(2):
                                column = (index[0, a] * n2 + index[1, b]) * n3 + index[2, c]
                                part = share[0, a] * share[1, b] * share[2, c]
                                matrix[row, column] += w * part
    for k in range(n):
        matrix[n, k] = 1.0
        matrix[k, n] = 1.0
    return matrix


@njit(cache=True, nogil=True, error_model="numpy")
def solve_dense_3d(matrix, pivots, r, v, mode):
    """Solve with a factorised bordered matrix; the padded result gets its ghosts."""
    n1, n2, n3 = r.shape
    plane = np.empty((n1 * n2 + 2, n3 + 2), v.dtype)
    solve_dense(matrix, pivots, r.reshape(n1 * n2, n3), plane, 0)
    for i in range(n1):
        v[i + 1, 1:-1, 1:-1] = plane[1 + i * n2 : 1 + (i + 1) * n2, 1:-1]
    fill_ghosts_3d(v, mode)
