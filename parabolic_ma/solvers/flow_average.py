r"""The average iterate of a flow, :math:`\bar\rho_K = \sum_k \eta_k \rho_k / \sum_k \eta_k`.

A mixture of densities, not a density of averaged maps: KL is convex in its first argument, so that
what is proved of the average of :math:`KL(\rho_k | \mu)` holds for :math:`KL(\bar\rho_K | \mu)`.
"""

from __future__ import annotations

import copy

import numpy as np
from scipy.ndimage import map_coordinates

from parabolic_ma.backends.numba_cpu import inverse, splines
from parabolic_ma.grid import Grid
from parabolic_ma.measures import GridDensity, Measure
from parabolic_ma.operators.discretise import Discretisation
from parabolic_ma.operators.grid_map import GridMap
from parabolic_ma.operators.legendre import pack
from parabolic_ma.operators.monge_ampere import OperatorFields
from parabolic_ma.solution import GridPotential
from parabolic_ma.typing import Array

__all__ = ["AverageDensity"]

_SMALLEST = 1e-300  # of the largest density: where all iterates underflow


class AverageDensity:
    """Adds up model densities on a grid of the target's side.

    With the grid of the flow on the target's side that is the same grid and the densities are
    explicit. Otherwise the preimages of fixed points are followed from step to step.

    Parameters
    ----------
    kernels : module
        The backend.
    problem : Discretisation
    reference : Measure
        The problem's reference.
    total : ndarray, optional
        Sum of step length times density so far.
    """

    def __init__(
        self,
        kernels: object,
        problem: Discretisation,
        reference: Measure,
        total: Array | None = None,
    ) -> None:
        self.problem = problem
        self.reference = reference
        self.on_target = problem.side == "target"
        box = problem.grid.box if self.on_target else problem.inner.box
        self.grid = Grid(box, problem.grid.shape)
        self.total = np.zeros(self.grid.shape) if total is None else total
        if self.on_target:
            self._log_target = problem.log_source
        else:
            points = self.grid.points()
            log_target = problem.inner.log_density(kernels, points).reshape(self.grid.shape)
            top = log_target.max()
            mass = np.exp(log_target - top).sum() * self.grid.cell_volume
            self._log_target = log_target - top - np.log(mass)
            self._points = points
            self._preimages: Array | None = None

    def added(self, parts: OperatorFields, potential: GridPotential, step: float) -> AverageDensity:
        """Return the sum with an iterate that holds for a time ``step``, of mass one."""
        if self.on_target:
            log_density = parts.log_inner + parts.log_det
            density = np.exp(log_density - log_density.max())
        elif self.grid.dim == 1:
            density = self._pushed(potential)
        else:
            density = self._pulled(parts, potential)
        following = copy.copy(self)
        following.total = self.total + (step / (density.sum() * self.grid.cell_volume)) * density
        return following

    def kl(self) -> float:
        """KL of the average from the target, both normalised on the grid."""
        density = self.total / self.total.sum()
        positive = density > 0.0
        target = self._log_target + np.log(self.grid.cell_volume)
        return float((density[positive] * (np.log(density[positive]) - target[positive])).sum())

    def measure(self) -> GridDensity:
        """The average as a measure."""
        return GridDensity(self.total, self.grid.box, floor=_SMALLEST)

    def _pushed(self, potential: GridPotential) -> Array:
        """Cell averages of the model on the line: the masses between the images of the faces."""
        grid = potential.grid
        (lower,), (upper,) = grid.box.lower, grid.box.upper
        faces = np.linspace(lower, upper, grid.shape[0] + 1)
        images = np.maximum.accumulate(GridMap(potential).own(faces))
        shares = np.concatenate([[0.0], np.cumsum(np.exp(self.problem.log_source))])
        ((start, end),) = self.grid.box
        edges = np.linspace(start, end, self.grid.shape[0] + 1)
        if potential.boundary == "periodic":
            # the map moves by the width of the target's torus when y goes once around
            width, total = edges[-1] - edges[0], shares[-1]
            turns = np.arange(-2, 3)[:, None]
            images = (images[:-1] + turns * width).ravel()
            shares = (shares[:-1] + turns * total).ravel()
        return np.diff(np.interp(edges, images, shares))

    def _pulled(self, parts: OperatorFields, potential: GridPotential) -> Array:
        r"""Model density :math:`\nu(y) / \det\nabla^2\psi(y)` at the images ``x`` of the points.

        The determinant is that of the differences, which is positive where the potential is
        convex; the spline's own may vanish beside a jump of the map.
        """
        coefficients, geometry = pack(potential)
        periodic = potential.boundary == "periodic"
        if self._preimages is None:
            shifted = self._points - potential.image
            start = np.linalg.solve(potential.matrix, shifted.T).T + potential.center
            self._preimages = np.ascontiguousarray(start)
        y = self._preimages
        # the value at the start bounds the maximum from below, whatever the start is
        values = np.einsum("ij,ij->i", self._points, y) - splines.potential(
            coefficients, geometry, periodic, y
        )
        inverse.polish(coefficients, geometry, periodic, self._points, y, values)
        grid = potential.grid
        lower, spacing = np.array(grid.box.lower), np.array(grid.spacing)
        if periodic:
            y = lower + np.mod(y - lower, np.array(grid.box.widths))
        index = ((y - lower) / spacing - 0.5).T
        mode = "grid-wrap" if periodic else "nearest"
        log_det = map_coordinates(parts.log_det, index, order=1, mode=mode)
        log_density = -self.reference.potential(y) - log_det
        return np.asarray(np.exp(log_density - log_density.max())).reshape(self.grid.shape)
