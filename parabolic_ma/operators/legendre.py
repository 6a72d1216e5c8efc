r"""Conjugates :math:`\phi(x) = \max_y \langle x, y\rangle - \psi(y)`, always by maximisation.

Any ``y`` bounds the conjugate from below, so a value found here is a bound even where the search
missed the global maximum; a duality gap that uses it is never flattered by an inverse map that was
merely assumed to be one.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from parabolic_ma.backends.numba_cpu import inverse, splines
from parabolic_ma.solution import GridPotential
from parabolic_ma.splines import convex_coefficients
from parabolic_ma.status import InputError
from parabolic_ma.typing import Array

__all__ = ["discrete_conjugate", "maximised", "pack", "polished_conjugate"]


def discrete_conjugate(
    values: Array, nodes: Sequence[Array], slopes: Sequence[Array]
) -> tuple[Array, Array]:
    r"""Maximise :math:`\langle x, y\rangle - \psi(y)` over a tensor grid of ``y``, exactly.

    One linear-time Legendre transform along each axis: first
    :math:`V(y_1, x_2) = \max_{y_2} x_2 y_2 - \psi(y)`, then :math:`\max_{y_1} x_1 y_1 + V(y_1,
    x_2)`. Nothing is assumed of :math:`\psi`; its convex hull is found on the way.

    Parameters
    ----------
    values : array_like, shape (n_1, ..., n_d)
        :math:`\psi` at the nodes; ``inf`` leaves a node out.
    nodes : sequence of d arrays, lengths n_1, ..., n_d
        Increasing coordinates of the nodes.
    slopes : sequence of d arrays, lengths m_1, ..., m_d
        Increasing coordinates of the points ``x``.

    Returns
    -------
    conjugate : ndarray, shape (m_1, ..., m_d)
        The maxima.
    indices : ndarray of int, shape (m_1, ..., m_d, d)
        Where they are attained: indices into ``nodes``.

    Raises
    ------
    InputError
        If the number or length of the axes does not fit ``values``, an axis does not increase, or
        a value is nan or minus infinity.
    """
    current = np.asarray(values, dtype=np.float64)
    dim = current.ndim
    axes = _increasing("nodes", nodes, dim)
    targets = _increasing("slopes", slopes, dim)
    lengths = tuple(len(axis) for axis in axes)
    if lengths != current.shape:
        raise InputError(
            f"nodes have lengths {lengths}, values have shape {current.shape}; "
            "give one coordinate per value on each axis"
        )
    if not np.all(current > -np.inf):
        raise InputError("values must be numbers or inf; some are nan or minus infinity")
    found: list[Array] = []
    for axis in reversed(range(dim)):
        rows = np.moveaxis(current, axis, -1)
        shape = (*rows.shape[:-1], len(targets[axis]))
        best = np.empty(shape)
        where = np.empty(shape, dtype=np.int64)
        inverse.conjugate_rows(
            np.ascontiguousarray(rows).reshape(-1, lengths[axis]),
            axes[axis],
            targets[axis],
            best.reshape(-1, shape[-1]),
            where.reshape(-1, shape[-1]),
        )
        where = np.moveaxis(where, -1, axis)
        # The choices made on later axes belong to the node that has now been chosen on this one.
        found = [np.take_along_axis(choice, where, axis) for choice in found]
        found.append(where)
        current = -np.moveaxis(best, -1, axis)
    return np.ascontiguousarray(-current), np.ascontiguousarray(np.stack(found[::-1], axis=-1))


def polished_conjugate(
    potential: GridPotential,
    slopes: Sequence[Array],
    *,
    threads: int = 1,
    most: int | None = None,
) -> tuple[Array, Array]:
    r"""Conjugate of the C2 spline through a grid potential, continued outside its box.

    From the maximiser over the cell centres, a damped Newton iteration on :math:`\nabla\psi(y) = x`
    goes up; the larger of the two values is kept.

    Parameters
    ----------
    potential : GridPotential
        :math:`\psi`, in one, two or three dimensions.
    slopes : sequence of d arrays
        Increasing coordinates of the tensor grid of points ``x``.
    threads : int
        Most threads to use.
    most : int, optional
        Cell centres to look at on each axis, evenly chosen; all without it.

    Returns
    -------
    conjugate : ndarray, shape (m_1, ..., m_d)
        A lower bound of the conjugate, at least that over those cell centres.
    maximisers : ndarray, shape (m_1, ..., m_d, d)
        The points ``y`` that attain it.
    """
    targets = _increasing("slopes", slopes, potential.grid.dim)
    return maximised(potential, *pack(potential), targets, threads, most)


def pack(potential: GridPotential) -> tuple[Array, Array]:
    """Spline coefficients and geometry of a potential, as the kernels take them."""
    grid = potential.grid
    coefficients = splines.prefilter(potential.correction, potential.boundary)
    if grid.dim == 1 and potential.boundary != "periodic":
        curvature = float(potential.matrix[0, 0]) * grid.spacing[0] ** 2
        coefficients = convex_coefficients(coefficients, curvature)
    geometry = splines.geometry(
        np.array(grid.box.lower),
        np.array(grid.box.upper),
        np.array(grid.spacing),
        np.asarray(potential.matrix, dtype=np.float64),
        np.asarray(potential.center, dtype=np.float64),
        np.asarray(potential.image, dtype=np.float64),
        float(np.abs(potential.correction).max()),
    )
    return coefficients, geometry


def maximised(
    potential: GridPotential,
    coefficients: Array,
    geometry: Array,
    slopes: Sequence[Array],
    threads: int = 1,
    most: int | None = None,
) -> tuple[Array, Array]:
    """Do the work of `polished_conjugate` on a potential that is packed already."""
    values, nodes = _unrolled(potential, coefficients, geometry, slopes, most)
    conjugate, indices = discrete_conjugate(values, nodes, slopes)
    # Contiguous, as Newton works in place on flat views of it.
    maximisers = np.ascontiguousarray(
        np.stack([axis[indices[..., k]] for k, axis in enumerate(nodes)], axis=-1)
    )
    points = np.stack(np.meshgrid(*slopes, indexing="ij"), axis=-1)
    dim = len(slopes)
    inverse.polish(
        coefficients,
        geometry,
        potential.boundary == "periodic",
        points.reshape(-1, dim),
        maximisers.reshape(-1, dim),
        conjugate.reshape(-1),
        threads,
    )
    return conjugate, maximisers


def _unrolled(
    potential: GridPotential,
    coefficients: Array,
    geometry: Array,
    slopes: Sequence[Array],
    most: int | None,
) -> tuple[Array, list[Array]]:
    """Values and nodes to maximise over; a periodic potential is repeated as far as is needed."""
    grid = potential.grid
    if potential.boundary != "periodic":
        index = [_thinned(n, most) for n in grid.shape]
        nodes = [axis[i] for axis, i in zip(grid.axes(), index, strict=True)]
        return potential.quadratic(nodes) + potential.correction[np.ix_(*index)], nodes
    # The maximiser is A^-1 (x - b - grad u) + c, so no farther than |A^-1 grad u| from where the
    # quadratic alone has it.
    centres = grid.points()
    affine = (centres - potential.center) @ potential.matrix + potential.image
    images = splines.gradient(coefficients, geometry, True, centres)
    reach = np.abs(np.linalg.solve(potential.matrix, (images - affine).T)).max(axis=1)
    ends = np.meshgrid(*([axis[0], axis[-1]] for axis in slopes), indexing="ij")
    corners = np.stack([end.ravel() for end in ends])
    middle = np.linalg.solve(potential.matrix, corners - potential.image[:, None])
    low = middle.min(axis=1) + potential.center - reach
    high = middle.max(axis=1) + potential.center + reach
    nodes, index = [], []
    for axis, (lower, h) in enumerate(zip(grid.box.lower, grid.spacing, strict=True)):
        first = int(np.floor((low[axis] - lower) / h)) - 1
        last = int(np.ceil((high[axis] - lower) / h)) + 1
        index.append(np.arange(first, last + 1))
        nodes.append(lower + (index[axis] + 0.5) * h)
    wrapped = np.ix_(*(np.mod(i, n) for i, n in zip(index, grid.shape, strict=True)))
    return potential.quadratic(nodes) + potential.correction[wrapped], nodes


def _thinned(n: int, most: int | None) -> Array:
    """Evenly chosen numbers below n, the first and the last among them, about ``most``."""
    stride = 1 if most is None else max(1, n // most)
    return np.append(np.arange(0, n - 1, stride), n - 1)


def _increasing(name: str, axes: Sequence[Array], dim: int) -> list[Array]:
    """Check tensor axes and return them as contiguous float64 arrays."""
    arrays = [np.ascontiguousarray(axis, dtype=np.float64) for axis in axes]
    if len(arrays) != dim or any(axis.ndim != 1 or len(axis) == 0 for axis in arrays):
        shapes = [axis.shape for axis in arrays]
        raise InputError(
            f"{name} must be {dim} one-dimensional arrays, one per axis; got shapes {shapes}"
        )
    for k, axis in enumerate(arrays):
        if not (np.all(np.isfinite(axis)) and all(a < b for a, b in itertools.pairwise(axis))):
            raise InputError(f"{name} on axis {k} must be finite and increase strictly")
    return arrays
