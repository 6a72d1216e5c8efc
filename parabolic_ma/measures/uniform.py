"""The uniform measure on a box."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from parabolic_ma.grid import Box
from parabolic_ma.measures.protocol import check_tail_mass
from parabolic_ma.points import as_count, as_points, generator, restore
from parabolic_ma.typing import Array, Rng

__all__ = ["Uniform", "inside"]

_FACE_TOLERANCE = 1e-9


def inside(box: Box, points: Array) -> Array:
    """Tell which points lie in a box, shape ``(n,)``.

    Points less than 1e-9 of the width beyond a face count as inside, so that rounding in a map onto
    the box does not put its boundary outside.
    """
    slack = _FACE_TOLERANCE * np.array(box.widths)
    above = points >= np.array(box.lower) - slack
    below = points <= np.array(box.upper) + slack
    return np.asarray(np.all(above & below, axis=-1))


@dataclass(frozen=True)
class Uniform:
    """The uniform distribution on a box; its potential is ``log volume`` inside, ``inf`` outside.

    Parameters
    ----------
    box : Box or sequence of (lower, upper)
        One pair of ends per axis.
    """

    box: Box

    bounded: ClassVar[bool] = True
    normalized: ClassVar[bool] = True
    log_concave: ClassVar[bool | None] = True

    def __init__(self, box: Box | Sequence[Sequence[float]]) -> None:
        object.__setattr__(self, "box", Box.of(box))

    @property
    def dim(self) -> int:
        """Dimension of the space."""
        return self.box.dim

    def potential(self, x: Array) -> Array:
        """Minus log density at ``x``, shape ``(n,)``, in nats; ``inf`` outside the box."""
        points, _ = as_points(x, self.dim, "x")
        return np.where(inside(self.box, points), math.log(self.box.volume), np.inf)

    def gradient(self, x: Array) -> Array:
        """Zero, of the shape of ``x``."""
        points, form = as_points(x, self.dim, "x")
        return restore(np.zeros_like(points), form)

    def support(self, tail_mass: float) -> Box:
        """Return the box itself, whatever the tail mass."""
        check_tail_mass(tail_mass)
        return self.box

    def moments(self) -> tuple[Array, Array]:
        """Mean, shape ``(d,)``, and covariance, shape ``(d, d)``."""
        return np.array(self.box.center), np.diag(np.array(self.box.widths) ** 2 / 12)

    def sample(self, n: int, rng: Rng = None) -> Array:
        """Draw ``n`` independent points, shape ``(n, d)``."""
        shape = (as_count(n), self.dim)
        return generator(rng).uniform(self.box.lower, self.box.upper, size=shape)
