"""What every discrete equation works on: an iterate, and the measure of its residual."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from parabolic_ma.backends import of_dimension
from parabolic_ma.operators.discretise import Discretisation
from parabolic_ma.operators.transfer import cubic_weights, pad
from parabolic_ma.solution import GridPotential, Solution
from parabolic_ma.status import InputError
from parabolic_ma.typing import Array

__all__ = ["GHOSTS", "Iterate", "Measured", "interior", "padded", "prolong", "start_from"]

GHOSTS = {"box": 0, "free": 1, "periodic": 2}
"""Ghost rule of each boundary, for the steady equation."""


@dataclass(frozen=True, eq=False)
class Iterate:
    """A potential on one grid with the constant of its mass balance."""

    u: Array
    """The correction to the quadratic part, padded by one, ghosts filled."""
    log_c: float


@dataclass(frozen=True)
class Measured:
    """The residual of an iterate and what else one sweep tells about it."""

    mass: float
    """Of the inner measure under the images of the cells."""
    total: float
    """Mass of the source times the constant."""
    chi: float
    """``sqrt(sum (m det - c nu)^2 / (m |det| + c nu))``: 0 when solved, at most about 1.4."""
    min_eigenvalue: float
    extended_mass: float
    """Mass of the cells on which the log form needs its extension: not convex there."""
    largest: float
    """Largest row-scaled residual."""
    residual: float
    """Root mean square of ``2 tanh(F / 2)`` under the source, F being the log residual."""

    @property
    def finite(self) -> bool:
        """Whether every figure is a number."""
        return all(map(math.isfinite, (self.mass, self.chi, self.largest)))


def interior(padded: Array) -> Array:
    """View of a padded array without its ghosts."""
    return padded[(slice(1, -1),) * padded.ndim]


def prolong(kernels: Any, iterate: Iterate, shape: tuple[int, ...], boundary: str) -> Iterate:
    """Interpolate a potential to a finer grid: cubic, because a kink would spoil the Hessian."""
    core = interior(iterate.u)
    u = kernels.zeros(tuple(n + 2 for n in shape))
    weights = [
        kernels.asarray(w)
        for f, c in zip(shape, core.shape, strict=True)
        for w in cubic_weights(f, c)
    ]
    kernels = of_dimension(kernels, core.ndim)
    coarse = kernels.asarray(pad(core, boundary, 2))
    kernels.interpolate(coarse, interior(u), *weights)
    kernels.fill_ghosts(u, GHOSTS[boundary])
    return Iterate(u, iterate.log_c)


def start_from(kernels: Any, problem: Discretisation, initial: Any) -> Iterate:
    """Put a map's potential on the grid as the correction to the quadratic part."""
    transport = initial.map if isinstance(initial, Solution) else initial
    on_reference = problem.side == "reference"
    grid = problem.grid
    values = grid.tabulate(transport.potential if on_reference else transport.conjugate)
    plain = GridPotential(
        grid, np.zeros(grid.shape), problem.matrix, problem.center, problem.image, problem.boundary
    )
    correction = values - plain.quadratic()
    if not np.all(np.isfinite(correction)):
        raise InputError(
            "the potential of the initial map is not finite on the grid; give a map that covers "
            f"the {problem.side}'s box {list(grid.box)}"
        )
    mode = GHOSTS[problem.boundary]
    return Iterate(padded(kernels, correction - correction.mean(), mode), 0.0)


def padded(kernels: Any, values: Array, mode: int) -> Array:
    """Surround values at the cell centres by ghosts."""
    u = kernels.zeros(tuple(n + 2 for n in values.shape))
    interior(u)[...] = kernels.asarray(values)
    of_dimension(kernels, values.ndim).fill_ghosts(u, mode)
    return u
