"""Boxes and cell-centred uniform grids."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from parabolic_ma.status import InputError

if TYPE_CHECKING:
    from parabolic_ma.typing import Array

__all__ = ["Box", "Grid"]

_NARROWEST, _WIDEST = 1e-60, 1e60  # so that volumes and squared lengths stay finite and positive
_SLAB = 1 << 18  # cells


@dataclass(frozen=True)
class Box:
    """An axis-aligned box ``[lower_1, upper_1] x ... x [lower_d, upper_d]``.

    Parameters
    ----------
    lower, upper : sequence of float
        Corners, each of length ``d``; every side must have positive, finite length.

    Raises
    ------
    InputError
        If the corners differ in length, are not finite, or a side has no length.
    """

    lower: tuple[float, ...]
    upper: tuple[float, ...]

    def __post_init__(self) -> None:
        try:
            lower = tuple(float(v) for v in self.lower)
            upper = tuple(float(v) for v in self.upper)
        except (TypeError, ValueError):
            raise InputError(
                f"the corners of a box are lists of numbers, got lower={self.lower!r} and "
                f"upper={self.upper!r}; Box.of([(lower, upper), ...]) takes one pair per axis"
            ) from None
        if len(lower) != len(upper) or not lower:
            raise InputError(
                f"a box needs one (lower, upper) pair per axis, got {len(lower)} lower and "
                f"{len(upper)} upper values"
            )
        for axis, (lo, hi) in enumerate(zip(lower, upper, strict=True)):
            if not (math.isfinite(lo) and math.isfinite(hi) and lo < hi):
                raise InputError(
                    f"axis {axis} of the box is ({lo}, {hi}); both ends must be finite and the "
                    "lower one below the upper one"
                )
            if not _NARROWEST <= hi - lo <= _WIDEST:
                raise InputError(
                    f"axis {axis} of the box is ({lo}, {hi}); its length must lie between "
                    f"{_NARROWEST:g} and {_WIDEST:g}: use other units"
                )
        object.__setattr__(self, "lower", lower)
        object.__setattr__(self, "upper", upper)

    @classmethod
    def of(cls, value: Box | Sequence[Sequence[float]]) -> Box:
        """Make a box from a box or from ``[(lower, upper), ...]``, one pair per axis."""
        if isinstance(value, Box):
            return value
        try:
            pairs = [(float(lo), float(hi)) for lo, hi in value]
        except (TypeError, ValueError):
            raise InputError(
                f"a box is given as [(lower, upper), ...], one pair per axis; got {value!r}"
            ) from None
        return cls(tuple(lo for lo, _ in pairs), tuple(hi for _, hi in pairs))

    def __iter__(self) -> Iterator[tuple[float, float]]:
        return iter(zip(self.lower, self.upper, strict=True))

    @property
    def dim(self) -> int:
        """Number of axes."""
        return len(self.lower)

    @property
    def widths(self) -> tuple[float, ...]:
        """Length of each side."""
        return tuple(hi - lo for lo, hi in self)

    @property
    def center(self) -> tuple[float, ...]:
        """Middle of the box."""
        return tuple(0.5 * (lo + hi) for lo, hi in self)

    @property
    def volume(self) -> float:
        """Product of the side lengths."""
        return math.prod(self.widths)

    def contains(self, points: Array) -> Array:
        """Tell for points of shape ``(n, d)`` which lie inside, shape ``(n,)`` of bool."""
        return np.all((points >= np.array(self.lower)) & (points <= np.array(self.upper)), axis=-1)

    def scaled(self, factor: float) -> Box:
        """Return the box blown up about its centre by ``factor``."""
        half = [0.5 * factor * w for w in self.widths]
        return Box(
            tuple(c - r for c, r in zip(self.center, half, strict=True)),
            tuple(c + r for c, r in zip(self.center, half, strict=True)),
        )

    def union(self, other: Box) -> Box:
        """Return the smallest box that holds both."""
        return Box(
            tuple(min(a, b) for a, b in zip(self.lower, other.lower, strict=True)),
            tuple(max(a, b) for a, b in zip(self.upper, other.upper, strict=True)),
        )


@dataclass(frozen=True)
class Grid:
    """The centres of ``shape`` equal cells that fill ``box``.

    ``values[i, j]`` on a grid belongs to the centre of cell ``(i, j)``, axis 0 being the first
    coordinate.

    Parameters
    ----------
    box : Box
        The region that the cells fill.
    shape : tuple of int
        Number of cells on each axis.
    """

    box: Box
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        try:
            shape = tuple(operator.index(n) for n in self.shape)
        except TypeError:
            shape = ()
        if len(shape) != self.box.dim or any(n < 1 for n in shape):
            raise InputError(
                f"shape {self.shape} does not fit a box with {self.box.dim} axes; give one "
                "positive whole number of cells per axis"
            )
        object.__setattr__(self, "shape", shape)

    @property
    def dim(self) -> int:
        """Number of axes."""
        return self.box.dim

    @property
    def size(self) -> int:
        """Number of cells."""
        return math.prod(self.shape)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Cell width on each axis."""
        return tuple(w / n for w, n in zip(self.box.widths, self.shape, strict=True))

    @property
    def cell_volume(self) -> float:
        """Volume of one cell: the quadrature weight of every centre (midpoint rule)."""
        return math.prod(self.spacing)

    def axis(self, k: int) -> Array:
        """Coordinates of the cell centres on axis ``k``, shape ``(shape[k],)``."""
        return self.box.lower[k] + (np.arange(self.shape[k]) + 0.5) * self.spacing[k]

    def axes(self) -> tuple[Array, ...]:
        """Coordinates of the cell centres on every axis."""
        return tuple(self.axis(k) for k in range(self.dim))

    def points(self) -> Array:
        """All cell centres in C order, shape ``(size, d)``."""
        mesh = np.meshgrid(*self.axes(), indexing="ij")
        return np.stack([m.ravel() for m in mesh], axis=-1)

    def slabs(self) -> Iterator[slice]:
        """Ranges of the first axis, of some hundred thousand cells each, to keep memory low."""
        thickness = max(1, _SLAB * self.shape[0] // self.size)
        for start in range(0, self.shape[0], thickness):
            yield slice(start, min(start + thickness, self.shape[0]))

    def tabulate(self, function: Callable[[Array], Array]) -> Array:
        """Evaluate a function at all cell centres, slab by slab: fine grids in space are large.

        Parameters
        ----------
        function : callable
            Takes points ``(n, d)`` and returns ``(n,)`` values.

        Returns
        -------
        ndarray
            Of the grid's shape, float64.
        """
        values = np.empty(self.shape)
        first, *others = self.axes()
        for slab in self.slabs():
            mesh = np.meshgrid(first[slab], *others, indexing="ij")
            part = values[slab]
            points = np.stack([m.ravel() for m in mesh], axis=-1)
            part[...] = np.asarray(function(points)).reshape(part.shape)
        return values
