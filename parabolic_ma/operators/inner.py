"""Measures in the form that kernels evaluate: a kind, a parameter array and a spline table."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from parabolic_ma.backends import of_dimension
from parabolic_ma.grid import Box, Grid
from parabolic_ma.measures import Gaussian, GaussianMixture, GridDensity, Measure, Uniform
from parabolic_ma.splines import prefilter
from parabolic_ma.status import InputError
from parabolic_ma.typing import Array

__all__ = ["GAUSSIAN", "MIXTURE", "TABLE", "UNIFORM", "InnerDensity", "inner_density"]

GAUSSIAN, MIXTURE, UNIFORM, TABLE = 0, 1, 2, 3
_SMALLEST_TABLE = {1: 128, 2: 128, 3: 64}  # cells on each axis


@dataclass(frozen=True, eq=False)
class InnerDensity:
    """The density at the image of the gradient, ready for the kernels.

    ``params`` holds, by ``kind``:

    * GAUSSIAN, MIXTURE: for each component the log density at its mean (with the log weight), the
      mean, and the upper triangle of the precision;
    * UNIFORM: the log density;
    * TABLE: lower corner, spacing, the downward curvature with which the log density goes on
      outside the box, and 1 if it is periodic instead; ``table`` has the spline coefficients of the
      normalised log density.
    """

    kind: int
    params: Array
    table: Array
    box: Box
    """Where the density lives, or all but the tail mass of it."""
    log_normalizer: float
    """Log of the integral of ``e^{-potential}``; exactly 0 for a normalised measure."""
    measure: Measure

    def log_density(self, kernels: Any, points: Array) -> Array:
        """Normalised log density at points ``(n, d)``, shape ``(n,)``."""
        n, dim = points.shape
        value, *slopes = (kernels.empty((n,)) for _ in range(dim + 1))
        columns = [kernels.asarray(points[:, k]) for k in range(dim)]
        there = self.on(kernels)
        of_dimension(kernels, dim).inner_row(
            self.kind, there.params, there.table, *columns, value, *slopes
        )
        return kernels.to_numpy(value)

    def on(self, kernels: Any) -> InnerDensity:
        """Return the density with its arrays in those of a backend."""
        params, table = kernels.asarray(self.params), kernels.asarray(self.table)
        return dataclasses.replace(self, params=params, table=table)


def inner_density(
    measure: Measure, box: Box, shape: tuple[int, ...], periodic: bool
) -> InnerDensity:
    """Put a measure into the form of the kernels.

    Gaussians, mixtures and uniform measures are evaluated exactly; a `GridDensity` by its own
    spline; anything else is tabulated once on ``box``, with at least as many cells as ``shape``,
    and interpolated by a C2 spline of its log density (fourth order, so below the error of the
    second-order equation).
    """
    dim = measure.dim
    empty = np.zeros((5,) * dim)
    upper = np.triu_indices(dim)
    if isinstance(measure, Gaussian):
        params = np.concatenate([[-measure.log_normalizer], measure.mean, measure.precision[upper]])
        return InnerDensity(GAUSSIAN, params, empty, box, 0.0, measure)
    if isinstance(measure, GaussianMixture):
        params = np.concatenate(
            [
                np.concatenate([[k], m, p[upper]])
                for k, m, p in zip(
                    measure.log_weights_norm, measure.means, measure.precisions, strict=True
                )
            ]
        )
        return InnerDensity(MIXTURE, params, empty, box, 0.0, measure)
    if isinstance(measure, Uniform):
        return InnerDensity(
            UNIFORM, np.array([-np.log(measure.box.volume)]), empty, measure.box, 0.0, measure
        )
    if isinstance(measure, GridDensity):
        grid = measure.grid
        coefficients = -measure.coefficients
        if periodic:
            coefficients = prefilter(np.log(measure.values), "periodic")
        return _table(measure, coefficients, grid, 0.0, 0.0, periodic)
    grid = Grid(box, tuple(max(n, _SMALLEST_TABLE[dim]) for n in shape))
    log_values = -grid.tabulate(measure.potential)
    if not np.all(np.isfinite(log_values)):
        where = grid.points()[np.argmax(~np.isfinite(log_values.ravel()))]
        raise InputError(
            f"the log density is not finite at {where.tolist()}, inside the box "
            f"{list(box)}; give a smaller box, or a potential that is finite on it"
        )
    log_normalizer = 0.0
    if not measure.normalized:
        top = log_values.max()
        log_normalizer = float(top + np.log(np.exp(log_values - top).sum() * grid.cell_volume))
        log_values -= log_normalizer
    boundary = "box" if measure.bounded else "free"
    coefficients = prefilter(log_values, "periodic" if periodic else boundary)
    return _table(
        measure, coefficients, grid, log_normalizer, _face_curvature(log_values, grid), periodic
    )


def _table(
    measure: Measure,
    coefficients: Array,
    grid: Grid,
    log_normalizer: float,
    curvature: float,
    periodic: bool,
) -> InnerDensity:
    params = np.array([*grid.box.lower, *grid.spacing, curvature, float(periodic)])
    return InnerDensity(
        TABLE, params, np.ascontiguousarray(coefficients), grid.box, log_normalizer, measure
    )


def _face_curvature(log_values: Array, grid: Grid) -> float:
    """Curvature with which to go on beyond the faces: slope over the way from the centre.

    That of a Gaussian exactly, and the right size for other tails.
    """
    found = []
    for axis, (width, h) in enumerate(zip(grid.box.widths, grid.spacing, strict=True)):
        lines = np.moveaxis(log_values, axis, 0)
        slopes = (lines[1] - lines[0]) / h, (lines[-2] - lines[-1]) / h
        found += [float(np.median(slope)) / (0.5 * width) for slope in slopes]
    return max(*found, 0.0)
