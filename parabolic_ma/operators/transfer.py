"""Nested grids on one box: their shapes, densities averaged down, potentials interpolated up.

Grids are cell-centred and each fills the box, so a level may have any number of cells; halving an
odd number rounds up.
"""

from __future__ import annotations

import numpy as np

from parabolic_ma.typing import Array

__all__ = [
    "blur_log",
    "coarsened",
    "cubic_weights",
    "level_shapes",
    "overlap_weights",
    "pad",
    "prolongation_weights",
    "spline_averages",
]


def level_shapes(shape: tuple[int, ...], smallest: int) -> list[tuple[int, ...]]:
    """Return the grids of a nested iteration, coarsest first.

    All axes are halved together while every one keeps at least ``smallest`` cells.
    """
    shapes = [shape]
    while all((n + 1) // 2 >= smallest for n in shapes[0]):
        shapes.insert(0, tuple((n + 1) // 2 for n in shapes[0]))
    return shapes


def overlap_weights(fine: int, coarse: int) -> tuple[Array, Array]:
    """Return which fine cells each coarse cell overlaps, and their shares of it.

    For ``fine <= 2 * coarse`` a coarse cell overlaps at most three fine ones.

    Returns
    -------
    first : (coarse,) int64
        First fine cell.
    share : (coarse, 3) float64
        Shares of that cell and the two after it; they sum to one.
    """
    edges = np.arange(coarse + 1) * (fine / coarse)
    first = np.minimum(np.floor(edges[:-1] + 1e-9).astype(np.int64), fine - 1)
    share = np.zeros((coarse, 3))
    for k in range(3):
        lo = np.maximum(edges[:-1], first + k)
        hi = np.minimum(edges[1:], first + k + 1)
        share[:, k] = np.clip(hi - lo, 0.0, None)
    share[share < 1e-9] = 0.0
    return first, share / share.sum(axis=1, keepdims=True)


def spline_averages(values: Array) -> Array:
    """Cell averages of the quadratic B-spline with the given coefficients, mirrored at the faces.

    Weights (1/6, 2/3, 1/6) on each axis.
    """
    for axis in range(values.ndim):
        v = np.moveaxis(values, axis, 0)
        p = np.concatenate([v[:1], v, v[-1:]])
        values = np.moveaxis((p[:-2] + 4.0 * v + p[2:]) / 6.0, 0, axis)
    return np.ascontiguousarray(values)


def coarsened(values: Array, shape: tuple[int, ...]) -> Array:
    """Average cell values to a coarser grid of the same box, conserving their sum times volume."""
    for axis, target in enumerate(shape):
        while values.shape[axis] > target:
            fine = values.shape[axis]
            coarse = max(target, (fine + 1) // 2)
            first, share = overlap_weights(fine, coarse)
            index = np.minimum(first[:, None] + np.arange(3), fine - 1)
            lines = np.moveaxis(values, axis, 0)[index]
            values = np.moveaxis(np.einsum("ik,ik...->i...", share, lines), 0, axis)
    return np.ascontiguousarray(values)


def prolongation_weights(fine: int, coarse: int) -> tuple[Array, Array]:
    """Return linear interpolation from coarse to fine cell centres, in padded coarse indices.

    Returns
    -------
    first : (fine,) int64
        Index, in the coarse array padded by one, of the left neighbour.
    weight : (fine,) float64
        Its weight; the next one has the rest.
    """
    position = (np.arange(fine) + 0.5) * (coarse / fine) + 0.5
    first = np.clip(np.floor(position).astype(np.int64), 0, coarse)
    return first, 1.0 - (position - first)


def cubic_weights(fine: int, coarse: int) -> tuple[Array, Array]:
    """Return cubic Lagrange interpolation from coarse to fine cell centres.

    Returns
    -------
    first : (fine,) int64
        First of four consecutive indices into the coarse array padded by two.
    weight : (fine, 4) float64
        Their weights.
    """
    position = (np.arange(fine) + 0.5) * (coarse / fine) - 0.5
    left = np.floor(position).astype(np.int64)
    t = position - left
    weight = np.stack(
        [
            -t * (t - 1) * (t - 2) / 6,
            (t + 1) * (t - 1) * (t - 2) / 2,
            -(t + 1) * t * (t - 2) / 2,
            (t + 1) * t * (t - 1) / 6,
        ],
        axis=-1,
    )
    return left + 1, weight


def pad(values: Array, boundary: str, width: int) -> Array:
    """Return ``values`` with ``width`` ghost cells a side, smooth enough for cubic interpolation.

    ``"box"``: even reflection about the faces; ``"periodic"``: wrapped; ``"free"``: cubic
    extrapolation, so that no kink enters a prolonged potential.
    """
    if boundary == "box":
        return np.pad(values, width, mode="symmetric")
    if boundary == "periodic":
        return np.pad(values, width, mode="wrap")
    for axis in range(values.ndim):
        v = np.moveaxis(values, axis, 0)
        low, high = [v[k] for k in range(4)], [v[-1 - k] for k in range(4)]
        for rows in (low, high):
            for _ in range(width):
                rows.insert(0, 4 * rows[0] - 6 * rows[1] + 4 * rows[2] - rows[3])
        ends = np.stack(low[:width]), np.stack(high[:width][::-1])
        values = np.moveaxis(np.concatenate([ends[0], v, ends[1]]), 0, axis)
    return values


def blur_log(log_values: Array) -> Array:
    """Return the log of ``exp(log_values)`` after a binomial pass (1/4, 1/2, 1/4) on each axis."""
    for axis in range(log_values.ndim):
        v = np.moveaxis(log_values, axis, 0)
        p = np.concatenate([v[:1], v, v[-1:]])
        side = np.logaddexp(p[:-2], p[2:]) + np.log(0.25)
        log_values = np.moveaxis(np.logaddexp(side, v + np.log(0.5)), 0, axis)
    return log_values
