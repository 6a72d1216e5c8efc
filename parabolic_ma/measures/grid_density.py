"""Densities given on a grid: pictures, histograms, tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from parabolic_ma.grid import Box, Grid
from parabolic_ma.measures.protocol import check_tail_mass
from parabolic_ma.measures.uniform import inside
from parabolic_ma.points import as_count, as_floats, as_points, generator, restore
from parabolic_ma.splines import evaluate, prefilter
from parabolic_ma.status import InputError
from parabolic_ma.typing import Array, Rng

__all__ = ["GridDensity", "sample_cells"]


def sample_cells(grid: Grid, masses: Array, n: int, rng: np.random.Generator) -> Array:
    """Draw points from masses spread evenly over the cells of a grid, shape ``(n, d)``."""
    cumulative = np.cumsum(masses, dtype=np.float64)
    chosen = np.searchsorted(cumulative, rng.uniform(0.0, cumulative[-1], size=n), side="right")
    index = np.stack(np.unravel_index(np.minimum(chosen, grid.size - 1), grid.shape), axis=-1)
    return np.array(grid.box.lower) + (index + rng.uniform(size=(n, grid.dim))) * grid.spacing


@dataclass(frozen=True, eq=False, init=False)
class GridDensity:
    """A density given at the cell centres of a grid, in one, two or three dimensions.

    Zeros are lifted to ``floor`` times the largest value, then the values are normalised so that
    their sum times the cell volume is one. Between the centres the *logarithm* of the density is
    the tensor cubic B-spline through its values at the centres, with even reflection about the
    faces of the box: positive and twice continuously differentiable, its normal derivative zero
    at the faces. Outside the box the density is zero.

    Parameters
    ----------
    values : array_like, shape (n_1, ..., n_d)
        Densities up to a factor, ``values[i, j]`` at the centre of cell ``(i, j)``, axis 0 being
        the first coordinate. At least two cells an axis.
    box : Box or sequence of (lower, upper)
        The region that the cells fill.
    floor : float
        Smallest density allowed, as a fraction of the largest; 0 leaves the values alone, which
        then must all be positive.

    Attributes
    ----------
    values : ndarray
        Normalised densities, after lifting.
    grid : Grid
    floored_mass : float
        Share of the mass that the floor added.

    Raises
    ------
    InputError
        If a value is negative, infinite or not a number (the text says where), if all are zero, or
        the shape does not fit the box.
    """

    values: Array
    box: Box
    floor: float
    floored_mass: float = field(init=False)
    grid: Grid = field(init=False, repr=False)

    bounded: ClassVar[bool] = True
    normalized: ClassVar[bool] = True

    def __init__(
        self, values: ArrayLike, box: Box | Sequence[Sequence[float]], floor: float = 1e-6
    ) -> None:
        box = Box.of(box)
        values = as_floats(values, "values")
        if values.ndim != box.dim or values.ndim > 3 or min(values.shape, default=0) < 2:
            raise InputError(
                f"values of shape {values.shape} do not fit a box with {box.dim} axes; give one, "
                "two or three axes, as many as the box has, with at least 2 cells on each"
            )
        grid = Grid(box, values.shape)
        _check_values(values, grid)
        if not (isinstance(floor, (int, float, np.number)) and 0.0 <= floor < 1.0):
            raise InputError(f"floor must be at least 0 and below 1, got {floor}; try 1e-6")
        floor = float(floor)
        lifted = np.maximum(values, floor * values.max())
        if not lifted.min() > 0:
            raise InputError(
                "a density of zero has no logarithm: give floor > 0 (try 1e-6) or positive values"
            )
        total = lifted.sum()
        object.__setattr__(self, "values", lifted / (total * grid.cell_volume))
        object.__setattr__(self, "box", box)
        object.__setattr__(self, "floor", floor)
        object.__setattr__(self, "floored_mass", float((lifted - values).sum() / total))
        object.__setattr__(self, "grid", grid)

    @classmethod
    def from_image(
        cls,
        rows: ArrayLike,
        box: Box | Sequence[Sequence[float]] | None = None,
        floor: float = 1e-6,
    ) -> GridDensity:
        """Make a density of a grey picture.

        Parameters
        ----------
        rows : array_like, shape (height, width)
            Grey values, rows from the top down: the first coordinate runs to the right and the
            second one up, so that ``values[i, j] = rows[height - 1 - j, i]``.
        box : Box or sequence of (lower, upper), optional
            By default the longer side is 1, the pixels are square and the lower left corner is
            the origin.
        floor : float
            As in `GridDensity`.
        """
        picture = as_floats(rows, "a picture")
        if picture.ndim != 2 or min(picture.shape) < 2:
            raise InputError(
                f"a picture must have shape (height, width), at least (2, 2), got {picture.shape}; "
                "turn colours into grey first"
            )
        height, width = picture.shape
        longer = max(height, width)
        return cls(
            picture[::-1].T,
            Box.of([(0.0, width / longer), (0.0, height / longer)] if box is None else box),
            floor,
        )

    @property
    def dim(self) -> int:
        """Dimension of the space."""
        return self.box.dim

    @cached_property
    def log_concave(self) -> bool | None:
        """False if three neighbours disprove it, True for a constant density, otherwise None."""
        log_values = np.log(self.values)
        spread = float(np.ptp(log_values))
        if spread <= 1e-14:
            return True
        bends = [
            float(np.diff(log_values, 2, axis=axis).max())
            for axis in range(self.dim)
            if self.grid.shape[axis] > 2
        ]
        return False if max(bends, default=0.0) > 1e-10 * max(spread, 1.0) else None

    @cached_property
    def coefficients(self) -> Array:
        """Spline coefficients of minus the log density, shape ``(n_1 + 4, ..., n_d + 4)``."""
        return prefilter(-np.log(self.values), "box")

    def potential(self, x: Array) -> Array:
        """Minus log density at ``x``, shape ``(n,)``, in nats; ``inf`` outside the box."""
        points, _ = as_points(x, self.dim, "x")
        (value,) = self._evaluate(points, 0)
        return np.where(inside(self.box, points), value, np.inf)

    def gradient(self, x: Array) -> Array:
        """Gradient of the potential, of the shape of ``x``; that of the nearest point outside."""
        points, form = as_points(x, self.dim, "x")
        return restore(self._evaluate(points, 1)[1], form)

    def support(self, tail_mass: float) -> Box:
        """Return the box itself, whatever the tail mass."""
        check_tail_mass(tail_mass)
        return self.box

    def moments(self) -> tuple[Array, Array]:
        """Mean ``(d,)`` and covariance ``(d, d)``, each cell's mass spread evenly over it."""
        masses = self.values.ravel() * self.grid.cell_volume
        centers = self.grid.points()
        mean = masses @ centers
        shifted = centers - mean
        within = np.diag(np.array(self.grid.spacing) ** 2 / 12)
        return mean, (shifted * masses[:, None]).T @ shifted + within

    def sample(self, n: int, rng: Rng = None) -> Array:
        """Draw ``n`` points, shape ``(n, d)``: a cell by its mass, then evenly in it."""
        return sample_cells(self.grid, self.values, as_count(n), generator(rng))

    def _evaluate(self, points: Array, order: int) -> tuple[Array, ...]:
        clamped = np.clip(points, self.box.lower, self.box.upper)
        return evaluate(self.coefficients, self.box.lower, self.grid.spacing, clamped, order)


def _check_values(values: Array, grid: Grid) -> None:
    """Refuse what is no density, saying where."""
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        center = ", ".join(f"{grid.axis(k)[i]:.6g}" for k, i in enumerate(index))
        raise InputError(
            f"a density must be finite and not negative; values[{', '.join(map(str, index))}] (at "
            f"x = ({center})) is {values[index]}, and {int(bad.sum())} of {values.size} values are "
            "of that kind: replace them, by 0 where there is no mass"
        )
    if not values.max() > 0:
        raise InputError("all values of the density are zero; it needs some mass")
    with np.errstate(over="ignore"):
        total = float(values.sum())
    if not math.isfinite(total):
        raise InputError("the values are too large to be summed; divide them by their maximum")
