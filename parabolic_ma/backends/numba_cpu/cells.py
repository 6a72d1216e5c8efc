"""Numba kernels of the conservative equation: the inner mass of the image of every cell.

The image of a cell is the octagon through the images of its corners and edge midpoints. The mass of
the inner density m in it is, by Green's theorem, the closed integral of ``F dY`` with
``dF/dX = m``; neighbours share edges, so the masses of all images add up to the mass of the image
of the box. The density is the quadratic B-spline with the cell values as coefficients: positive, C1
and of the right mass; F is then a cubic B-spline along X with their running sums.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from parabolic_ma.backends.numba_cpu.inner import inner_row
from parabolic_ma.backends.numba_cpu.newton import RAISED, derivatives_row

_NODES = np.array([0.5 - math.sqrt(0.15), 0.5, 0.5 + math.sqrt(0.15)])
_WEIGHTS = np.array([5.0 / 18.0, 8.0 / 18.0, 5.0 / 18.0])
_ROUNDING = 1e-9  # in cells: faces of the box lie on faces of the density's box but for rounding


@njit(cache=True, nogil=True, error_model="numpy")
def running_sums(values, h1):
    """Coefficients of F from cell values: mirrored at the faces by two, summed along axis 0."""
    n1, n2 = values.shape
    sums = np.empty((n1 + 6, n2 + 4))
    for j in range(n2 + 4):
        b = j - 2
        b = -1 - b if b < 0 else (2 * n2 - 1 - b if b >= n2 else b)
        total = 0.0
        for i in range(n1 + 6):
            a = i - 3
            a = -1 - a if a < 0 else (2 * n1 - 1 - a if a >= n1 else a)
            total += values[a, b] * h1
            sums[i, j] = total
    return sums


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _quadratic(t):
    """Weights and slopes of the quadratic B-spline; t in [0, 1) from the cell's lower face."""
    s = 1.0 - t
    return 0.5 * s * s, 0.5 + t * s, 0.5 * t * t, -s, s - t, t


@njit(cache=True, nogil=True, error_model="numpy")
def _antiderivative(sums, lo1, lo2, h1, h2, x, y):
    """F, dF/dX = m and dF/dY at a point; beyond the box the values at the face, m = 0."""
    n1 = sums.shape[0] - 6
    n2 = sums.shape[1] - 4
    s = (x - lo1) / h1
    t = (y - lo2) / h2
    inside_x = -_ROUNDING <= s <= n1 + _ROUNDING
    inside_y = -_ROUNDING <= t <= n2 + _ROUNDING
    s = min(max(s, 0.0), float(n1))
    t = min(max(t, 0.0), float(n2))
    # in this order cell 0 for NaN, and the values are NaN
    i = int(min(max(0.0, s), n1 - 1.0))
    j = int(min(max(0.0, t), n2 - 1.0))
    s -= i
    t -= j
    w0, w1, w2, d0, d1, d2 = _quadratic(t)
    # integral of the quadratic B-spline: cubic B-spline shifted by half a cell, so that on cell i
    # the coefficients i - 2 .. i + 1 of the running sums enter with the cubic weights at s
    r = 1.0 - s
    c0 = r * r * r / 6.0
    c1 = (4.0 - 6.0 * s * s + 3.0 * s * s * s) / 6.0
    c2 = (4.0 - 6.0 * r * r + 3.0 * r * r * r) / 6.0
    c3 = s * s * s / 6.0
    g0 = -0.5 * r * r
    g1 = 1.5 * s * s - 2.0 * s
    g2 = 2.0 * r - 1.5 * r * r
    g3 = 0.5 * s * s
    value = 0.0
    slope = 0.0
    cross = 0.0
    for k in range(3):
        w = w0 if k == 0 else (w1 if k == 1 else w2)
        d = d0 if k == 0 else (d1 if k == 1 else d2)
        q0 = sums[i + 1, j + 1 + k]
        q1 = sums[i + 2, j + 1 + k]
        q2 = sums[i + 3, j + 1 + k]
        q3 = sums[i + 4, j + 1 + k]
        f = c0 * q0 + c1 * q1 + c2 * q2 + c3 * q3
        value += w * f
        slope += w * (g0 * q0 + g1 * q1 + g2 * q2 + g3 * q3)
        cross += d * f
    slope /= h1
    cross /= h2
    if not inside_y:
        return value, 0.0, 0.0
    if not inside_x:
        slope = 0.0
    return value, slope, cross


@njit(cache=True, nogil=True, error_model="numpy")
def _segment(sums, lo1, lo2, h1, h2, px, py, qx, qy, out):
    """Integral of F dY from P to Q, its derivatives by P and Q, and the flux of m through it.

    Composite three-point Gauss, pieces at most half a cell long. ``out`` receives: integral,
    d/dPx, d/dPy, d/dQx, d/dQy, integral of m dY, integral of m dX.
    """
    dx = qx - px
    dy = qy - py
    cells = max(abs(dx) / h1, abs(dy) / h2)
    pieces = math.ceil(min(max(1.0, 2.0 * cells - _ROUNDING), 64.0))  # in this order 1 for NaN
    for k in range(7):
        out[k] = 0.0
    for k in range(pieces):
        for g in range(3):
            t = (k + _NODES[g]) / pieces
            w = _WEIGHTS[g] / pieces
            f, m, fy = _antiderivative(sums, lo1, lo2, h1, h2, px + t * dx, py + t * dy)
            s = 1.0 - t
            out[0] += w * f * dy
            out[1] += w * m * s * dy
            out[2] += w * (fy * s * dy - f)
            out[3] += w * m * t * dy
            out[4] += w * (fy * t * dy + f)
            out[5] += w * m * dy
            out[6] += w * m * dx


@njit(cache=True, nogil=True, error_model="numpy")
def _vertices(u, axis1, axis2, quad, corner, mid1, mid2):
    """Images of the corners and of the midpoints of the faces across axis 0 and axis 1."""
    a11, a12, a22, c1, c2, b1, b2 = quad[0], quad[1], quad[2], quad[3], quad[4], quad[5], quad[6]
    nx, ny = axis1.shape[0], axis2.shape[0]
    h1 = axis1[1] - axis1[0]
    h2 = axis2[1] - axis2[0]
    for i in range(nx + 1):
        z1 = axis1[0] + (i - 0.5) * h1 - c1
        for j in range(ny + 1):
            z2 = axis2[0] + (j - 0.5) * h2 - c2
            corner[i, j, 0] = (
                b1
                + a11 * z1
                + a12 * z2
                + (u[i + 1, j + 1] + u[i + 1, j] - u[i, j + 1] - u[i, j]) / (2.0 * h1)
            )
            corner[i, j, 1] = (
                b2
                + a12 * z1
                + a22 * z2
                + (u[i + 1, j + 1] + u[i, j + 1] - u[i + 1, j] - u[i, j]) / (2.0 * h2)
            )
    for i in range(nx + 1):
        z1 = axis1[0] + (i - 0.5) * h1 - c1
        for j in range(ny):
            z2 = axis2[j] - c2
            mid1[i, j, 0] = b1 + a11 * z1 + a12 * z2 + (u[i + 1, j + 1] - u[i, j + 1]) / h1
            mid1[i, j, 1] = (
                b2
                + a12 * z1
                + a22 * z2
                + (u[i + 1, j + 2] - u[i + 1, j] + u[i, j + 2] - u[i, j]) / (4.0 * h2)
            )
    for i in range(nx):
        z1 = axis1[i] - c1
        for j in range(ny + 1):
            z2 = axis2[0] + (j - 0.5) * h2 - c2
            mid2[i, j, 0] = (
                b1
                + a11 * z1
                + a12 * z2
                + (u[i + 2, j + 1] - u[i, j + 1] + u[i + 2, j] - u[i, j]) / (4.0 * h1)
            )
            mid2[i, j, 1] = b2 + a12 * z1 + a22 * z2 + (u[i + 1, j + 1] - u[i + 1, j]) / h2


@njit(cache=True, nogil=True, error_model="numpy")
def _octagon_area(corner, mid1, mid2, i, j):
    """Signed area of the octagon of a cell, by the shoelace formula."""
    x = (
        corner[i, j, 0], mid2[i, j, 0], corner[i + 1, j, 0], mid1[i + 1, j, 0],
        corner[i + 1, j + 1, 0], mid2[i, j + 1, 0], corner[i, j + 1, 0], mid1[i, j, 0],
    )  # fmt: skip
    y = (
        corner[i, j, 1], mid2[i, j, 1], corner[i + 1, j, 1], mid1[i + 1, j, 1],
        corner[i + 1, j + 1, 1], mid2[i, j + 1, 1], corner[i, j + 1, 1], mid1[i, j, 1],
    )  # fmt: skip
    total = 0.0
    for k in range(8):
        n = (k + 1) % 8
        total += x[k] * y[n] - x[n] * y[k]
    return 0.5 * total


@njit(cache=True, nogil=True, error_model="numpy")
def cell_images(u, axis1, axis2, quad, sums, geometry, mass, area):
    """Inner mass and signed area of the image of every cell."""
    nx, ny = mass.shape
    corner = np.empty((nx + 1, ny + 1, 2))
    mid1 = np.empty((nx + 1, ny, 2))
    mid2 = np.empty((nx, ny + 1, 2))
    _vertices(u, axis1, axis2, quad, corner, mid1, mid2)
    lo1, lo2, k1, k2 = geometry[0], geometry[1], geometry[2], geometry[3]
    out = np.empty(7)
    mass[:] = 0.0
    for i in range(nx + 1):
        for j in range(ny):
            m0, m1 = mid1[i, j, 0], mid1[i, j, 1]
            _segment(sums, lo1, lo2, k1, k2, corner[i, j, 0], corner[i, j, 1], m0, m1, out)
            total = out[0]
            _segment(sums, lo1, lo2, k1, k2, m0, m1, corner[i, j + 1, 0], corner[i, j + 1, 1], out)
            total += out[0]
            if i > 0:
                mass[i - 1, j] += total
            if i < nx:
                mass[i, j] -= total
    for i in range(nx):
        for j in range(ny + 1):
            m0, m1 = mid2[i, j, 0], mid2[i, j, 1]
            _segment(sums, lo1, lo2, k1, k2, corner[i, j, 0], corner[i, j, 1], m0, m1, out)
            total = out[0]
            _segment(sums, lo1, lo2, k1, k2, m0, m1, corner[i + 1, j, 0], corner[i + 1, j, 1], out)
            total += out[0]
            if j < ny:
                mass[i, j] += total
            if j > 0:
                mass[i, j - 1] -= total
    for i in range(nx):
        for j in range(ny):
            area[i, j] = _octagon_area(corner, mid1, mid2, i, j)


@njit(cache=True, nogil=True, error_model="numpy")
def _add_vertex(stencil, kind, di, dj, gx, gy, h1, h2):
    """Add the derivative by a vertex's two coordinates to a cell's 3 x 3 stencil.

    ``di, dj`` place the vertex at the cell's lower (0) or upper (1) face on each axis.
    """
    if kind == 0:  # corner between local indices di, di + 1 and dj, dj + 1
        x = gx / (2.0 * h1)
        y = gy / (2.0 * h2)
        stencil[di + 1, dj + 1] += x + y
        stencil[di + 1, dj] += x - y
        stencil[di, dj + 1] += y - x
        stencil[di, dj] -= x + y
    elif kind == 1:  # midpoint of a face across axis 0
        x = gx / h1
        y = gy / (4.0 * h2)
        stencil[di + 1, 1] += x
        stencil[di, 1] -= x
        stencil[di + 1, 2] += y
        stencil[di + 1, 0] -= y
        stencil[di, 2] += y
        stencil[di, 0] -= y
    else:  # midpoint of a face across axis 1
        y = gy / h2
        x = gx / (4.0 * h1)
        stencil[1, dj + 1] += y
        stencil[1, dj] -= y
        stencil[2, dj + 1] += x
        stencil[0, dj + 1] -= x
        stencil[2, dj] += x
        stencil[0, dj] -= x


@njit(cache=True, nogil=True, error_model="numpy")
def linearise_cells(
    u, axis1, axis2, quad, log_source, log_c, sums, geometry, kind, params, table, clip, dt,
    peclet, log_cap, rows, rhs, tangent, nine,
):  # fmt: skip
    """Assemble the conservative equation ``mass(image of cell) = c nu h1 h2``.

    ``rows`` gets a clipped, elliptic quasi-Newton matrix in the form of the multigrid, made of the
    octagon's mean density and the derivative of its mass by a translation; ``nine[3, 3, nx, ny]``
    the exact derivative of the masses, scaled alike: ``sum nine v = rhs`` is Newton's equation.

    Returns
    -------
    (mass, source mass, chi, smallest eigenvalue, extended source mass, largest |rhs|, residual)
    """
    nx, ny = log_source.shape
    h1 = axis1[1] - axis1[0]
    h2 = axis2[1] - axis2[0]
    lo1, lo2, k1, k2 = geometry[0], geometry[1], geometry[2], geometry[3]
    corner = np.empty((nx + 1, ny + 1, 2))
    mid1 = np.empty((nx + 1, ny, 2))
    mid2 = np.empty((nx, ny + 1, 2))
    _vertices(u, axis1, axis2, quad, corner, mid1, mid2)
    # half-edges: [face axis 0 lower/upper half], [face axis 1 lower/upper half]
    across1 = np.empty((nx + 1, ny, 2, 7))
    across2 = np.empty((nx, ny + 1, 2, 7))
    for i in range(nx + 1):
        for j in range(ny):
            m0, m1 = mid1[i, j, 0], mid1[i, j, 1]
            _segment(sums, lo1, lo2, k1, k2, corner[i, j, 0], corner[i, j, 1], m0, m1,
                     across1[i, j, 0])  # fmt: skip
            _segment(sums, lo1, lo2, k1, k2, m0, m1, corner[i, j + 1, 0], corner[i, j + 1, 1],
                     across1[i, j, 1])  # fmt: skip
    for i in range(nx):
        for j in range(ny + 1):
            m0, m1 = mid2[i, j, 0], mid2[i, j, 1]
            _segment(sums, lo1, lo2, k1, k2, corner[i, j, 0], corner[i, j, 1], m0, m1,
                     across2[i, j, 0])  # fmt: skip
            _segment(sums, lo1, lo2, k1, k2, m0, m1, corner[i + 1, j, 0], corner[i + 1, j, 1],
                     across2[i, j, 1])  # fmt: skip
    x1 = np.empty(ny)
    x2 = np.empty(ny)
    h11 = np.empty(ny)
    h12 = np.empty(ny)
    h22 = np.empty(ny)
    logm = np.empty(ny)
    f1 = np.empty(ny)
    f2 = np.empty(ny)
    stencil = np.empty((3, 3))
    total_mass = 0.0
    total = 0.0
    chi2 = 0.0
    low = np.inf
    extended = 0.0
    worst = 0.0
    residual = 0.0
    area = h1 * h2
    cap = math.exp(log_cap)
    floor = 1e-6 * math.exp(0.5 * log_cap)
    r1, r2 = 1.0 / (h1 * h1), 1.0 / (h2 * h2)
    for i in range(nx):
        derivatives_row(u, i, axis1[i], axis2, quad, h1, h2, x1, x2, h11, h12, h22)
        inner_row(kind, params, table, x1, x2, logm, f1, f2)
        for j in range(ny):
            left, right = across1[i, j], across1[i + 1, j]
            bottom, top = across2[i, j], across2[i, j + 1]
            mass = (
                bottom[0, 0] + bottom[1, 0] + right[0, 0] + right[1, 0]
                - top[0, 0] - top[1, 0] - left[0, 0] - left[1, 0]
            )  # fmt: skip
            # derivative of the mass by a translation of the image
            g1 = bottom[0, 5] + bottom[1, 5] + right[0, 5] + right[1, 5]
            g1 -= top[0, 5] + top[1, 5] + left[0, 5] + left[1, 5]
            g2 = bottom[0, 6] + bottom[1, 6] + right[0, 6] + right[1, 6]
            g2 = -(g2 - top[0, 6] - top[1, 6] - left[0, 6] - left[1, 6])
            octagon = _octagon_area(corner, mid1, mid2, i, j)
            at_center = max(math.exp(logm[j]), 1e-300)
            mean = mass / octagon if octagon > 0.0 else at_center
            mean = min(max(mean, at_center / 3.0), 3.0 * at_center)
            half = 0.5 * (h11[j] + h22[j])
            diff = 0.5 * (h11[j] - h22[j])
            rad = math.sqrt(diff * diff + h12[j] * h12[j])
            det = h11[j] * h22[j] - h12[j] * h12[j]
            l2 = half + rad
            l1 = det / l2 if l2 > 0.5 * rad else half - rad
            nu = math.exp(log_source[i, j] + log_c)
            # where the image has left the inner measure's support the row still needs a scale
            mean = max(mean, nu / cap)
            t2 = nu / mean
            wanted = math.sqrt(t2)
            big = max(l2, min(wanted, 2.0 * wanted - RAISED * l2), floor)
            small = min(max(l1, clip * big), big)
            s = big + small
            c2 = diff / rad if rad > 0.0 else 0.0
            s2 = h12[j] / rad if rad > 0.0 else 0.0
            gap = (big - small) / s
            b11 = 0.5 * (1.0 - gap * c2)
            b22 = 0.5 * (1.0 + gap * c2)
            b12 = -0.5 * gap * s2
            diag = 1.0 / (b11 * r1 + b22 * r2)
            w = diag / (s * mean * area)
            p = -w * g1 / (2.0 * h1)
            q = -w * g2 / (2.0 * h2)
            half_sigma = 0.5 * max(small * big, 0.1 * big * big) * diag / (s * dt)
            a = max(b11 * diag * r1, peclet * abs(p))
            d = max(b22 * diag * r2, peclet * abs(q))
            z = 1.0 / (a + d + half_sigma)
            rows[0, i, j] = a * z
            rows[1, i, j] = d * z
            rows[2, i, j] = 0.5 * b12 * diag * z / (h1 * h2)
            rows[3, i, j] = p * z
            rows[4, i, j] = q * z
            scale = w * z
            res = (mass - nu * area) * scale
            rhs[i, j] = res
            tangent[i, j] = nu * area * scale
            worst = max(worst, abs(res))
            # exact derivative: each vertex gets what its two half-edges contribute
            for m in range(3):
                for n in range(3):
                    stencil[m, n] = 0.0
            _add_vertex(stencil, 0, 0, 0, bottom[0, 1] - left[0, 1], bottom[0, 2] - left[0, 2],
                        h1, h2)  # fmt: skip
            _add_vertex(stencil, 2, 0, 0, bottom[0, 3] + bottom[1, 1], bottom[0, 4] + bottom[1, 2],
                        h1, h2)  # fmt: skip
            _add_vertex(stencil, 0, 1, 0, bottom[1, 3] + right[0, 1], bottom[1, 4] + right[0, 2],
                        h1, h2)  # fmt: skip
            _add_vertex(stencil, 1, 1, 0, right[0, 3] + right[1, 1], right[0, 4] + right[1, 2],
                        h1, h2)  # fmt: skip
            _add_vertex(stencil, 0, 1, 1, right[1, 3] - top[1, 3], right[1, 4] - top[1, 4],
                        h1, h2)  # fmt: skip
            _add_vertex(stencil, 2, 0, 1, -top[0, 3] - top[1, 1], -top[0, 4] - top[1, 2],
                        h1, h2)  # fmt: skip
            _add_vertex(stencil, 0, 0, 1, -top[0, 1] - left[1, 3], -top[0, 2] - left[1, 4],
                        h1, h2)  # fmt: skip
            _add_vertex(stencil, 1, 0, 0, -left[0, 3] - left[1, 1], -left[0, 4] - left[1, 2],
                        h1, h2)  # fmt: skip
            for m in range(3):
                for n in range(3):
                    nine[m, n, i, j] = -stencil[m, n] * scale
            nine[1, 1, i, j] += 2.0 * half_sigma * z
            total_mass += mass
            total += nu
            chi2 += (mass / area - nu) ** 2 / (abs(mass) / area + nu + 1e-300)
            bounded = (max(mass, 0.0) / area - nu) / (max(mass, 0.0) / area + nu + 1e-300)
            residual += 4.0 * bounded * bounded * nu
            low = min(low, l1)
            if mass <= 0.0:
                extended += nu
    return (
        total_mass, total * area, math.sqrt(chi2 * area), low, extended * area, worst,
        math.sqrt(residual / total),
    )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def apply_nine(nine, v, out):
    """``out = - sum nine v`` over the 3 x 3 neighbours; ``v`` padded, ghosts filled."""
    nx, ny = out.shape
    for i in range(nx):
        oi = out[i]
        for j in range(ny):
            oi[j] = np.float32(0.0)
        for m in range(3):
            for n in range(3):
                c, vi = nine[m, n, i], v[i + m]
                for j in range(ny):
                    oi[j] -= c[j] * vi[j + n]
