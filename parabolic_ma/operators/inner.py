"""Measures in the form that kernels evaluate: a kind, a parameter array and a spline table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from parabolic_ma.grid import Box, Grid
from parabolic_ma.measures import Gaussian, GaussianMixture, GridDensity, Measure, Uniform
from parabolic_ma.splines import prefilter
from parabolic_ma.status import InputError
from parabolic_ma.typing import Array

__all__ = ["GAUSSIAN", "MIXTURE", "TABLE", "UNIFORM", "InnerDensity", "inner_density"]

GAUSSIAN, MIXTURE, UNIFORM, TABLE = 0, 1, 2, 3
_SMALLEST_TABLE = 128  # cells on each axis


@dataclass(frozen=True, eq=False)
class InnerDensity:
    """The density at the image of the gradient, ready for the kernels.

    ``params`` holds, by ``kind``:

    * GAUSSIAN, MIXTURE: for each component the log density at its mean (with the log weight), the
      mean, and the upper triangle of the precision;
    * UNIFORM: the log density;
    * TABLE: lower corner, spacing, and the downward curvature with which the log density goes on
      outside the box; ``table`` has the spline coefficients of the log density.
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
        """Log density at points ``(n, d)``, up to ``log_normalizer``, shape ``(n,)``."""
        n, dim = points.shape
        value = np.empty(n)
        slopes = [np.empty(n) for _ in range(dim)]
        columns = [np.ascontiguousarray(points[:, k]) for k in range(dim)]
        row = kernels.inner_row if dim == 2 else kernels.inner_row_1d
        row(self.kind, self.params, self.table, *columns, value, *slopes)
        return value


def inner_density(measure: Measure, box: Box, shape: tuple[int, ...]) -> InnerDensity:
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
        params = np.concatenate(
            [[-measure.log_normalizer], measure.mean, measure.precision[upper]]
        )
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
        return _table(measure, -measure.coefficients, measure.grid, 0.0)
    grid = Grid(box, tuple(max(n, _SMALLEST_TABLE) for n in shape))
    log_values = -measure.potential(grid.points()).reshape(grid.shape)
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
    boundary = "free" if not measure.bounded else "box"
    return _table(measure, prefilter(log_values, boundary), grid, log_normalizer)


def _table(
    measure: Measure, coefficients: Array, grid: Grid, log_normalizer: float
) -> InnerDensity:
    # Beyond the face the density falls like a Gaussian whose sd is an eighth of the box.
    curvature = (8.0 / min(grid.box.widths)) ** 2
    params = np.array([*grid.box.lower, *grid.spacing, curvature])
    return InnerDensity(
        TABLE, params, np.ascontiguousarray(coefficients), grid.box, log_normalizer, measure
    )
