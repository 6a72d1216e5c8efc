"""The conservative equation on one grid: every cell's image holds the cell's mass."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np

from parabolic_ma.grid import Grid
from parabolic_ma.linear.krylov import ConjugateResiduals
from parabolic_ma.operators.discretise import Discretisation, cell_log_density
from parabolic_ma.operators.transfer import coarsened
from parabolic_ma.solvers.iterate import Iterate, Measured
from parabolic_ma.solvers.point_equation import CLIP, PECLET, PointEquation
from parabolic_ma.typing import Array

__all__ = ["CellEquation", "inner_cells"]

_EXACT_BELOW = 1e-2  # chi from which the exact derivative is used: before, it folds the map
_EXACT_CYCLES = 12
_EXACT_TOLERANCE = 2e-2
_EXACT_TIME_STEP = 100.0  # below, a step has been undone lately
_EXACT_USEFUL = 0.3  # linear reduction that an exact step must reach to be used


def inner_cells(problem: Discretisation, shape: tuple[int, ...]) -> tuple[Array, Grid]:
    """Return the inner density averaged over the cells of ``shape`` in its box, and their grid.

    Its mass is exactly one in a box that holds all of it.
    """
    inner = problem.inner
    fine = Grid(inner.box, problem.grid.shape)
    values = np.exp(cell_log_density(inner.measure, fine) - inner.log_normalizer)
    values, grid = coarsened(values, shape), Grid(inner.box, shape)
    if problem.boundary == "box":
        values /= values.sum() * grid.cell_volume
    return values, grid


class CellEquation(PointEquation):
    """The inner density integrated over the image of each cell.

    Parameters
    ----------
    kernels : module
        The backend.
    problem : Discretisation
        Its geometry; the grid may be coarser than the problem's.
    log_source : ndarray
        Normalised log density of the grid side's measure on this grid.
    """

    def __init__(self, kernels: Any, problem: Discretisation, log_source: Array) -> None:
        super().__init__(kernels, problem, log_source)
        values, grid = inner_cells(problem, self.shape)
        self.sums = kernels.running_sums(kernels.asarray(values), grid.spacing[0])
        self.geometry = kernels.asarray(np.array([*grid.box.lower, *grid.spacing]))
        self._pseudo_time = math.inf

    @cached_property
    def nine(self) -> Array:
        """The exact derivative, over the 3 x 3 neighbours of every cell."""
        return self.kernels.empty((3, 3, *self.shape), np.float32)

    @cached_property
    def _exact(self) -> ConjugateResiduals:
        return ConjugateResiduals(self.multigrid, self.weight, self._apply)

    def release(self) -> None:
        """Let go of the buffers, which are made anew when they are needed."""
        super().release()
        for name in ("nine", "_exact"):
            self.__dict__.pop(name, None)

    def _apply(self, v: Array, out: Array) -> None:
        self.kernels.apply_nine(self.nine, v, out)

    def linearise(self, iterate: Iterate, pseudo_time: float, log_source: Array) -> Measured:
        """Assemble both matrices at an iterate and measure its residual."""
        inner = self.inner
        self._pseudo_time = pseudo_time
        measured = Measured(
            *self.kernels.linearise_cells(
                iterate.u, *self.axes, self.quadratic, log_source, iterate.log_c,
                self.sums, self.geometry, inner.kind, inner.params, inner.table, CLIP, pseudo_time,
                PECLET, self.log_cap,
                self.multigrid.rows[0], self.multigrid.rhs[0], self._tangent, self.nine,
            )
        )  # fmt: skip
        self._hold_faces()
        return measured

    def _solve(self, measured: Measured, tolerance: float) -> tuple[Array, int, float]:
        """Newton's correction near the solution, the elliptic quasi-Newton one elsewhere.

        The exact matrix loses ellipticity where an image is nearly flat; then its solve stagnates,
        or its step was undone and the time step is short, and the clipped rows are safer.
        """
        if measured.chi > _EXACT_BELOW or self._pseudo_time < _EXACT_TIME_STEP:
            return super()._solve(measured, tolerance)
        rhs = self.multigrid.rhs[0].copy()
        v, used, reduction = self._exact.solve(_EXACT_TOLERANCE, _EXACT_CYCLES)
        if reduction < _EXACT_USEFUL:
            return v, used, reduction
        self.multigrid.rhs[0][:] = rhs
        v, more, reduction = super()._solve(measured, tolerance)
        return v, used + more, reduction

    def convexify(self, iterate: Iterate) -> Iterate:
        """Nothing to repair: the masses of the images are what must be positive."""
        return iterate

    def images(self, iterate: Iterate) -> tuple[Array, Array]:
        """Inner mass and signed area of the image of every cell."""
        mass, area = self.kernels.empty(self.shape), self.kernels.empty(self.shape)
        self.kernels.cell_images(
            iterate.u, *self.axes, self.quadratic, self.sums, self.geometry, mass, area
        )
        return mass, area
