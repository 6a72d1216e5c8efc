r"""NumPy kernels of the conservative equation in one dimension.

The image of a cell is the interval between the images of its two faces, and with the distribution
function F of the inner density its mass is :math:`F(T_+) - F(T_-)`. As in `numpy_cells` the density
is the quadratic B-spline with the cell values as coefficients, so F is a cubic B-spline.
"""

from __future__ import annotations

import numpy as np

from parabolic_ma.backends.numpy_reference.cells import locate_cell
from parabolic_ma.backends.numpy_reference.common import figures, kernel
from parabolic_ma.backends.numpy_reference.newton import spline_slopes, spline_weights


@kernel
def running_sums_1d(values, h):
    """Return the coefficients of F, shape (n + 6,).

    The cell values are mirrored at the faces, three a side, and summed in units of ``h``.
    """
    return np.cumsum(np.pad(values, 3, mode="symmetric") * h)


def distribution(sums, geometry, x):
    """Return F and its derivative, the density, at points; beyond the box, at the face and zero."""
    lower, h = geometry
    cell, place, inside = locate_cell(x, lower, h, len(sums) - 6)
    patch = sums[cell[:, None] + np.arange(1, 5)]
    density = (spline_slopes(place) * patch).sum(axis=1) / h
    return (spline_weights(place) * patch).sum(axis=1), np.where(inside, density, 0.0)


@kernel
def quantiles_1d(sums, geometry, shares, out):
    """Write where F reaches increasing shares of its increase over the box: bisection."""
    lower, h = geometry
    faces = np.array([lower, lower + (len(sums) - 6) * h])
    bottom, top = distribution(sums, geometry, faces)[0]
    goals = bottom + shares * (top - bottom)
    left, right = (np.full(len(shares), face) for face in faces)
    while True:
        middle = 0.5 * (left + right)
        if not np.any((left < middle) & (middle < right)):  # neighbouring numbers
            break
        below = distribution(sums, geometry, middle)[0] < goals
        left, right = np.where(below, middle, left), np.where(below, right, middle)
    out[...] = middle


def face_images(u, axis, quad):
    """Return T at the n + 1 faces, the gradient of psi by the difference of the two cells."""
    slope, center, image = quad
    h = axis[1] - axis[0]
    faces = np.append(axis, axis[-1] + h) - 0.5 * h
    return image + slope * (faces - center) + np.diff(u) / h


@kernel
def cell_images_1d(u, axis, quad, sums, geometry, mass, length):
    """Write the inner mass and signed length of the image of every cell."""
    images = face_images(u, axis, quad)
    mass[...] = np.diff(distribution(sums, geometry, images)[0])
    length[...] = np.diff(images)


@kernel
def linearise_cells_1d(u, axis, quad, log_source, log_c, sums, geometry, dt, rows, rhs):
    r"""Assemble the conservative equation: :math:`F(T_+) - F(T_-) = c \nu h`.

    With the densities :math:`m_\pm` at the images of a cell's faces its Newton equation is

    .. math:: m_+ (v_+ - v) / h - m_- (v - v_-) / h = -(F(T_+) - F(T_-) - c \nu h).

    Times h over the mean of the two densities, with a pseudo-time term, this is a row of
    `linearise_1d` with a = 1 and :math:`p = (m_- - m_+) / (m_- + m_+)`. Densities count as at
    least 1e-14 of the largest one: equations that the inner measure does not reach stay regular.

    Returns what `linearise_1d` returns, with the mean over the cell in place of ``m psi''``, the
    mean of :math:`\psi''` over the cell, and for the extended mass that of the cells whose image
    has none.
    """
    h = axis[1] - axis[0]
    images = face_images(u, axis, quad)
    value, density = distribution(sums, geometry, images)
    density = np.maximum(density, 1e-14 * density.max())
    left, right = density[:-1], density[1:]
    mean = 0.5 * (left + right)
    mass = np.diff(value)
    nu = np.exp(log_source + log_c)

    half_sigma = 0.5 * h**2 / dt
    z = 1.0 / (1.0 + half_sigma)
    rows[0] = z
    rows[1] = 0.5 * (left - right) / mean * z
    rows[2] = nu * h * h / mean * z
    rhs[...] = (mass - nu * h) * h / mean * z

    _, *rest = figures(mass / h, nu, h, np.diff(images) / h, mass <= 0.0, rhs)
    return (float(mass.sum()), *rest)
