r"""NumPy kernels of the conservative equation: the inner mass of the image of every cell.

The image of a cell is the octagon through the images of its corners and face midpoints. With
:math:`\partial_X F = m` the mass of the inner density m in it is, by Green's theorem,
:math:`\oint F\,dY`. Neighbours share edges, so the masses of all images add up to the mass of the
image of the box. The density is the quadratic B-spline with the cell values as coefficients:
positive, C1 and of the right mass; F is then a cubic B-spline along X with their running sums.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from parabolic_ma.backends.numpy_reference.common import figures, kernel
from parabolic_ma.backends.numpy_reference.newton import (
    derivatives,
    eigenvalues,
    elliptic_part,
    inner_potential,
    spline_slopes,
    spline_weights,
)

_NODES = np.array([0.5 - math.sqrt(0.15), 0.5, 0.5 + math.sqrt(0.15)])
_WEIGHTS = np.array([5.0, 8.0, 5.0]) / 18.0
_MOST_PIECES = 64
_ROUNDING = 1e-9  # in cells: faces of the box lie on faces of the density's box but for rounding


@kernel
def running_sums(values, h1):
    """Return the coefficients of F, shape (n1 + 6, n2 + 4).

    The cell values are mirrored at the faces, three cells on axis 0 and two on axis 1, and summed
    along axis 0 in units of ``h1``.
    """
    return np.cumsum(np.pad(values, ((3, 3), (2, 2)), mode="symmetric") * h1, axis=0)


def locate_cell(x, lower, spacing, cells):
    """Return the cell of coordinates, the place in it (0 to 1), and which are in the box.

    Beyond the box it is the place at the face; of NaN it is NaN, in the first cell.
    """
    s = (x - lower) / spacing
    inside = np.clip(s, 0.0, cells)
    cell = np.fmax(0.0, np.minimum(inside, cells - 1.0)).astype(np.int64)
    return cell, inside - cell, np.abs(s - inside) <= _ROUNDING


def antiderivative(sums, geometry, x, y):
    r"""Return F, :math:`\partial_X F = m` and :math:`\partial_Y F` at points.

    Beyond the box F has its value at the face and the density is zero. ``geometry`` = (lower
    corner, spacing) of the cells.
    """
    lower1, lower2, h1, h2 = geometry
    i, s, inside_x = locate_cell(x, lower1, h1, sums.shape[0] - 6)
    j, t, inside_y = locate_cell(y, lower2, h2, sums.shape[1] - 4)
    r = 1.0 - t
    quadratic = np.stack([0.5 * r**2, 0.5 + t * r, 0.5 * t**2], axis=-1)
    quadratic_slopes = np.stack([-r, r - t, t], axis=-1) / h2
    patch = sums[
        i[..., None, None] + np.arange(1, 5)[:, None], j[..., None, None] + np.arange(1, 4)
    ]
    along_x = np.einsum("...k,...kl->...l", spline_weights(s), patch)
    value = (along_x * quadratic).sum(axis=-1)
    density = np.einsum("...k,...kl,...l->...", spline_slopes(s) / h1, patch, quadratic)
    by_y = (along_x * quadratic_slopes).sum(axis=-1)
    return value, np.where(inside_x & inside_y, density, 0.0), np.where(inside_y, by_y, 0.0)


@dataclass(frozen=True)
class _Edges:
    """Line integrals over half-edges from P to Q; the edge's two halves are axis -1 of ``mass``."""

    mass: np.ndarray
    """Of ``F dY``."""
    by_start: np.ndarray
    """Its derivative by P, shape (..., 2, 2)."""
    by_end: np.ndarray
    """Its derivative by Q."""
    by_shift: np.ndarray
    """``m (dY, -dX)``: summed around a cell, the derivative of its mass by a translation."""

    def __getitem__(self, cells):
        return _Edges(
            self.mass[cells], self.by_start[cells], self.by_end[cells], self.by_shift[cells]
        )


def _integrate(sums, geometry, start, middle, end):
    """Integrate along the edges from start by middle to end, points of shape (..., 2).

    Composite three-point Gauss with pieces at most half a cell long, at most 64 of them.
    """
    p = np.stack([start, middle], axis=-2)
    d = np.stack([middle, end], axis=-2) - p
    lengths = np.abs(d / geometry[2:]).max(axis=-1)
    pieces = np.fmin(np.fmax(np.ceil(2.0 * lengths - _ROUNDING), 1.0), _MOST_PIECES).astype(
        np.int64
    )
    edges = _Edges(np.empty(pieces.shape), np.empty_like(d), np.empty_like(d), np.empty_like(d))
    for n in np.unique(pieces):
        these = pieces == n
        t = ((np.arange(n)[:, None] + _NODES) / n).ravel()
        s = 1.0 - t
        w = np.tile(_WEIGHTS / n, n)
        dx, dy = d[these].T
        x, y = p[these].T[..., None] + d[these].T[..., None] * t
        f, m, by_y = antiderivative(sums, geometry, x, y)
        edges.mass[these] = f @ w * dy
        edges.by_start[these] = np.stack([m @ (w * s) * dy, by_y @ (w * s) * dy - f @ w], axis=-1)
        edges.by_end[these] = np.stack([m @ (w * t) * dy, by_y @ (w * t) * dy + f @ w], axis=-1)
        edges.by_shift[these] = np.stack([m @ w * dy, -(m @ w) * dx], axis=-1)
    return edges


def _vertices(u, axis1, axis2, quad):
    """Images of the corners and of the midpoints of the faces across axis 0 and axis 1.

    Each is the gradient of psi by differences and means of the two or four nearest cells, or six
    for the derivative along a face. Shapes (nx + 1, ny + 1, 2), (nx + 1, ny, 2), (nx, ny + 1, 2).
    """
    a11, a12, a22, c1, c2, b1, b2 = quad
    h1, h2 = axis1[1] - axis1[0], axis2[1] - axis2[0]
    faces1 = np.append(axis1 - 0.5 * h1, axis1[-1] + 0.5 * h1)
    faces2 = np.append(axis2 - 0.5 * h2, axis2[-1] + 0.5 * h2)

    def image(y1, y2, du1, du2):
        z1, z2 = y1[:, None] - c1, y2[None, :] - c2
        return np.stack([b1 + a11 * z1 + a12 * z2 + du1, b2 + a12 * z1 + a22 * z2 + du2], axis=-1)

    d1, d2 = np.diff(u, axis=0) / h1, np.diff(u, axis=1) / h2
    corner = image(faces1, faces2, 0.5 * (d1[:, 1:] + d1[:, :-1]), 0.5 * (d2[1:] + d2[:-1]))
    centred1 = 0.5 * (d1[1:] + d1[:-1])
    centred2 = 0.5 * (d2[:, 1:] + d2[:, :-1])
    middle1 = image(faces1, axis2, d1[:, 1:-1], 0.5 * (centred2[1:] + centred2[:-1]))
    middle2 = image(axis1, faces2, 0.5 * (centred1[:, 1:] + centred1[:, :-1]), d2[1:-1])
    return corner, middle1, middle2


def _around(left, right, bottom, top):
    """Counterclockwise sum over a cell's four edges, whose halves are axis 2."""
    return (bottom + right - top - left).sum(axis=2)


def _images(u, axis1, axis2, quad, sums, geometry):
    """Return the mass and signed area of the image of every cell and its left, right, ... edges."""
    corner, middle1, middle2 = _vertices(u, axis1, axis2, quad)
    across1 = _integrate(sums, geometry, corner[:, :-1], middle1, corner[:, 1:])
    across2 = _integrate(sums, geometry, corner[:-1], middle2, corner[1:])
    left, right, bottom, top = across1[:-1], across1[1:], across2[:, :-1], across2[:, 1:]
    octagon = (
        corner[:-1, :-1], middle2[:, :-1], corner[1:, :-1], middle1[1:],
        corner[1:, 1:], middle2[:, 1:], corner[:-1, 1:], middle1[:-1],
    )  # fmt: skip
    area = np.zeros(octagon[0].shape[:-1])
    for p, q in zip(octagon, (*octagon[1:], octagon[0]), strict=True):  # shoelace formula
        area += 0.5 * (p[..., 0] * q[..., 1] - q[..., 0] * p[..., 1])
    mass = _around(left.mass, right.mass, bottom.mass, top.mass)
    return mass, area, (left, right, bottom, top)


@kernel
def cell_images(u, axis1, axis2, quad, sums, geometry, mass, area):
    """Write the inner mass and signed area of the image of every cell."""
    mass[...], area[...], _ = _images(u, axis1, axis2, quad, sums, geometry)


# Difference and mean of u around a place of the middle one of three cells on one axis: its lower
# face, its centre, its upper face. The image of a vertex takes the difference along its own axis.
_LOWER, _CENTER, _UPPER = 0, 1, 2
_DIFFERENCE = np.array([[-1.0, 1.0, 0.0], [-0.5, 0.0, 0.5], [0.0, -1.0, 1.0]])
_MEAN = np.array([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.5, 0.5]])


def _mass_stencil(left, right, bottom, top, h1, h2):
    """Exact derivative of the masses by ``u`` of the 3 x 3 neighbours, shape (3, 3, nx, ny).

    Each of the eight vertices gets what its two half-edges contribute, with the sign of the way
    around the cell.
    """
    first, second = (..., 0, slice(None)), (..., 1, slice(None))
    vertices = [
        (_LOWER, _LOWER, bottom.by_start[first] - left.by_start[first]),
        (_CENTER, _LOWER, bottom.by_end[first] + bottom.by_start[second]),
        (_UPPER, _LOWER, bottom.by_end[second] + right.by_start[first]),
        (_UPPER, _CENTER, right.by_end[first] + right.by_start[second]),
        (_UPPER, _UPPER, right.by_end[second] - top.by_end[second]),
        (_CENTER, _UPPER, -top.by_end[first] - top.by_start[second]),
        (_LOWER, _UPPER, -top.by_start[first] - left.by_end[second]),
        (_LOWER, _CENTER, -left.by_end[first] - left.by_start[second]),
    ]
    stencil = np.zeros((3, 3, *left.mass.shape[:2]))
    for i, j, derivative in vertices:
        stencil += np.multiply.outer(np.outer(_DIFFERENCE[i], _MEAN[j]) / h1, derivative[..., 0])
        stencil += np.multiply.outer(np.outer(_MEAN[i], _DIFFERENCE[j]) / h2, derivative[..., 1])
    return stencil


@kernel
def linearise_cells(
    u, axis1, axis2, quad, log_source, log_c, sums, geometry, kind, params, table, clip, dt,
    peclet, log_cap, rows, rhs, tangent, nine,
):  # fmt: skip
    r"""Assemble the conservative equation: mass of the image of a cell = :math:`c \nu h_1 h_2`.

    ``rows`` gets a clipped, elliptic quasi-Newton matrix in the form of the multigrid, as
    `newton.linearise` makes it, with the mean density of the octagon (at most a factor 3
    from that at the cell's image, and so large that t2 is at most the cap) in place of m and the
    derivative of its mass by a translation in place of :math:`g \nabla f`.
    ``nine[3, 3, nx, ny]`` is minus the exact derivative of the masses, scaled alike and with the
    pseudo-time term: ``sum nine v = rhs`` is Newton's equation. ``rhs`` is the scaled mass of the
    image less that of the cell, ``tangent`` the scaled mass of the cell.

    Returns
    -------
    (mass, source mass, chi, smallest eigenvalue, extended source mass, largest |rhs|, residual)
        As `newton.linearise` does, with the mean over the cell in place of ``m det``; the
        extended mass is that of the cells whose image has none.
    """
    h1, h2 = axis1[1] - axis1[0], axis2[1] - axis2[0]
    cell = h1 * h2
    mass, octagon, edges = _images(u, axis1, axis2, quad, sums, geometry)
    shift = _around(*(e.by_shift for e in edges))
    x1, x2, h11, h12, h22 = derivatives(u, axis1, axis2, quad)
    logm, _, _ = inner_potential(kind, params, table, x1, x2)
    low = eigenvalues(h11, h12, h22)[1]

    at_center = np.maximum(np.exp(logm), 1e-300)
    mean = np.where(octagon > 0.0, np.divide(mass, octagon), at_center)
    mean = np.clip(mean, at_center / 3.0, 3.0 * at_center)
    nu = np.exp(log_source + log_c)
    # where the image has left the inner measure's support the row still needs a scale
    mean = np.maximum(mean, nu / math.exp(log_cap))
    t2 = nu / mean
    big, small, b11, b12, b22 = elliptic_part(h11, h12, h22, t2, clip, log_cap)
    trace = big + small

    diagonal = 1.0 / (b11 / h1**2 + b22 / h2**2)
    weight = diagonal / (trace * mean * cell)
    p = -weight * shift[..., 0] / (2.0 * h1)
    q = -weight * shift[..., 1] / (2.0 * h2)
    half_sigma = 0.5 * np.maximum(small * big, 0.1 * big**2) * diagonal / (trace * dt)
    a = np.maximum(b11 * diagonal / h1**2, peclet * np.abs(p))
    d = np.maximum(b22 * diagonal / h2**2, peclet * np.abs(q))
    z = 1.0 / (a + d + half_sigma)
    rows[0] = a * z
    rows[1] = d * z
    rows[2] = 0.5 * b12 * diagonal * z / cell
    rows[3] = p * z
    rows[4] = q * z
    excess = (mass - nu * cell) * weight * z
    rhs[...] = excess
    tangent[...] = nu * cell * weight * z
    exact = -_mass_stencil(*edges, h1, h2) * (weight * z)
    exact[1, 1] += 2.0 * half_sigma * z
    nine[...] = exact

    _, *rest = figures(mass / cell, nu, cell, low, mass <= 0.0, excess)
    return (float(mass.sum()), *rest)


@kernel
def apply_nine(nine, v, out):
    """``out = - sum nine v`` over the 3 x 3 neighbours; ``v`` padded, ghosts filled."""
    nx, ny = out.shape
    out[...] = -sum(nine[i, j] * v[i : i + nx, j : j + ny] for i in range(3) for j in range(3))
