"""The equation on one grid in one dimension."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from parabolic_ma.operators.discretise import Discretisation
from parabolic_ma.solvers.cell_equation import inner_cells
from parabolic_ma.solvers.iterate import GHOSTS, Iterate, Measured
from parabolic_ma.typing import Array

__all__ = ["LineCellEquation", "LineEquation"]

_EDGE = 0.3
_DETERMINANT_CAP = 1e6


class LineEquation:
    """``psi'' m(psi') = c nu`` by centred differences, each Newton system solved directly.

    Parameters
    ----------
    kernels : module
        The backend.
    problem : Discretisation
        Its geometry; the grid may be coarser than the problem's.
    log_source : ndarray, shape (n,)
        Normalised log density of the grid side's measure on this grid.
    """

    def __init__(self, kernels: Any, problem: Discretisation, log_source: Array) -> None:
        self.kernels = kernels
        self.problem = problem
        self.shape = log_source.shape
        self.log_source = kernels.asarray(log_source)
        self.inner = problem.inner.on(kernels)
        self.ghosts = GHOSTS[problem.boundary]
        (lo, hi), n = next(iter(problem.grid.box)), self.shape[0]
        self.spacing = ((hi - lo) / n,)
        self.axis = kernels.asarray(lo + (np.arange(n) + 0.5) * self.spacing[0])
        slope = float(problem.matrix[0, 0])
        self.quadratic = kernels.asarray(np.array([slope, problem.center[0], problem.image[0]]))
        self.log_cap = math.log(_DETERMINANT_CAP * slope)
        self.pin = int(self.log_source.argmax())
        self._rows = kernels.empty((3, n))
        self._rhs = kernels.empty((n,))

    def affine(self) -> Iterate:
        """The affine start: no correction."""
        return Iterate(self.kernels.zeros((self.shape[0] + 2,)), 0.0)

    def improved(self, iterate: Iterate) -> Iterate:
        """Return the iterate: there is no cheap better start."""
        return iterate

    def affine_pullback(self) -> Array:
        """Log density of the inner measure pulled back by the affine map."""
        slope, center, image = self.kernels.to_numpy(self.quadratic)
        points = (image + slope * (self.kernels.to_numpy(self.axis) - center))[:, None]
        return self.problem.inner.log_density(self.kernels, points) + math.log(slope)

    def linearise(self, iterate: Iterate, pseudo_time: float, log_source: Array) -> Measured:
        """Assemble the Newton rows at an iterate and measure its residual."""
        inner = self.inner
        return Measured(
            *self.kernels.linearise_1d(
                iterate.u, self.axis, self.quadratic, log_source, iterate.log_c,
                inner.kind, inner.params, inner.table, pseudo_time,
                _EDGE if self.problem.boundary == "free" else 0.0, self.log_cap,
                self._rows, self._rhs,
            )
        )  # fmt: skip

    def correct(
        self, iterate: Iterate, measured: Measured, tolerance: float
    ) -> tuple[Iterate, float, int, float]:
        """Solve the assembled rows and add the correction; the linear solve is exact."""
        v = self.kernels.empty(iterate.u.shape)
        delta = self.kernels.solve_rows_1d(self._rows, self._rhs, self.ghosts, self.pin, v)
        change = self.kernels.gradient_norm_1d(v, self.log_source, *self.spacing)
        log_c = iterate.log_c + min(max(delta, -0.5), 0.5)
        return Iterate(iterate.u + v, log_c), change, 1, 0.0

    def convexify(self, iterate: Iterate) -> Iterate:
        """Nothing to repair: each system is solved exactly."""
        return iterate

    def release(self) -> None:
        """Nothing large to let go of."""

    def distance(self, a: Iterate, b: Iterate) -> float:
        """Root mean square distance of two maps under the grid side's measure."""
        return float(self.kernels.gradient_norm_1d(a.u - b.u, self.log_source, *self.spacing))


class LineCellEquation(LineEquation):
    """The conservative form: the images of the cells hold the cells' masses.

    Parameters
    ----------
    kernels : module
        The backend.
    problem : Discretisation
        Its geometry; the grid may be coarser than the problem's.
    log_source : ndarray, shape (n,)
        Normalised log density of the grid side's measure on this grid.
    """

    def __init__(self, kernels: Any, problem: Discretisation, log_source: Array) -> None:
        super().__init__(kernels, problem, log_source)
        values, grid = inner_cells(problem, self.shape)
        self.sums = kernels.running_sums_1d(kernels.asarray(values), grid.spacing[0])
        self.geometry = kernels.asarray(np.array([grid.box.lower[0], grid.spacing[0]]))

    def linearise(self, iterate: Iterate, pseudo_time: float, log_source: Array) -> Measured:
        """Assemble the Newton rows at an iterate and measure its residual."""
        return Measured(
            *self.kernels.linearise_cells_1d(
                iterate.u, self.axis, self.quadratic, log_source, iterate.log_c,
                self.sums, self.geometry, pseudo_time, self._rows, self._rhs,
            )
        )  # fmt: skip

    def improved(self, iterate: Iterate) -> Iterate:
        """Return the solution itself: T at the faces is the quantile of the mass to their left."""
        n, h = self.shape[0], self.spacing[0]
        kernels = self.kernels
        masses = np.cumsum(np.exp(kernels.to_numpy(self.log_source)))
        found = kernels.empty((n - 1,))
        shares = kernels.asarray(masses[:-1] / masses[-1])
        kernels.quantiles_1d(self.sums, self.geometry, shares, found)
        slope, center, image = kernels.to_numpy(self.quadratic)
        faces = kernels.to_numpy(self.axis)[:-1] + 0.5 * h
        u = np.zeros(n + 2)
        u[2:-1] = np.cumsum(h * (kernels.to_numpy(found) - image - slope * (faces - center)))
        u -= u[1:-1].mean()
        u = kernels.asarray(u)
        kernels.fill_ghosts_1d(u, self.ghosts)
        return Iterate(u, iterate.log_c)

    def images(self, iterate: Iterate) -> tuple[Array, Array]:
        """Inner mass and signed length of the image of every cell."""
        mass, length = self.kernels.empty(self.shape), self.kernels.empty(self.shape)
        self.kernels.cell_images_1d(
            iterate.u, self.axis, self.quadratic, self.sums, self.geometry, mass, length
        )
        return mass, length
