"""A potential given by a table: what a Python function becomes when it is stored in a file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from parabolic_ma.grid import Box, Grid
from parabolic_ma.splines import evaluate, prefilter
from parabolic_ma.typing import Array

__all__ = ["TabulatedPotential", "tabulate"]

_CELLS = {1: 4096, 2: 256}
_TAIL_MASS = 1e-12


@dataclass(frozen=True, eq=False)
class TabulatedPotential:
    """The cubic spline through values at the cell centres of a box.

    Outside the box the value at the nearest point of it is continued linearly, and never falls on
    the way out, so that ``exp(-f)`` stays bounded.

    Parameters
    ----------
    values : ndarray, shape (n_1, ..., n_d)
        The potential at the cell centres, in nats.
    box : Box
        The region that the cells fill.
    """

    values: Array
    box: Box

    @cached_property
    def _coefficients(self) -> Array:
        return prefilter(self.values, "free")

    def __call__(self, x: Array) -> Array:
        """Potential at points ``(n, d)``, shape ``(n,)``."""
        inside, beyond = self._split(x)
        value, gradient = self._evaluate(inside)
        return value + np.maximum(np.sum(gradient * beyond, axis=1), 0.0)

    def gradient(self, x: Array) -> Array:
        """Gradient at points ``(n, d)``, of the same shape; that of the nearest point outside."""
        inside, beyond = self._split(x)
        _, gradient = self._evaluate(inside)
        rising = np.sum(gradient * beyond, axis=1) >= 0
        outward = beyond != 0
        return np.where(outward & ~rising[:, None], 0.0, gradient)

    def _split(self, x: Array) -> tuple[Array, Array]:
        """Nearest points of the box, and what is left."""
        inside = np.clip(x, self.box.lower, self.box.upper)
        return inside, x - inside

    def _evaluate(self, points: Array) -> tuple[Array, Array]:
        spacing = Grid(self.box, self.values.shape).spacing
        value, gradient = evaluate(self._coefficients, self.box.lower, spacing, points, order=1)
        return value, gradient


def tabulate(measure: object, box: Box | None) -> TabulatedPotential:
    """Tabulate a measure's potential on its box, or on the support of all but 1e-12 of its mass.

    Infinite values become the largest finite one.

    Parameters
    ----------
    measure : Measure
        Anything with ``dim``, ``potential`` and ``support``.
    box : Box or None
        The measure's own box, if it has one.
    """
    box = measure.support(_TAIL_MASS) if box is None else box  # type: ignore[attr-defined]
    grid = Grid(box, (_CELLS.get(box.dim, 64),) * box.dim)
    values = np.asarray(measure.potential(grid.points()))  # type: ignore[attr-defined]
    values = np.nan_to_num(values, nan=np.inf, posinf=np.inf, neginf=np.inf)
    finite = values[np.isfinite(values)]
    values = np.where(np.isfinite(values), values, finite.max() if len(finite) else 0.0)
    return TabulatedPotential(values.reshape(grid.shape), box)
