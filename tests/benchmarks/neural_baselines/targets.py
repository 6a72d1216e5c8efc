"""Targets of the benchmark: an exact density, and points drawn from exactly that density.

A method is trained on `Target.draw(n, seed)` and judged on fresh points, so that its divergences
hold no error of an estimated density: both the points and `Target.measure` are the same law.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import numpy as np

import parabolic_ma as pma
from parabolic_ma import catalog
from parabolic_ma.points import generator
from parabolic_ma.typing import Array, Rng

__all__ = ["NAMES", "Target", "banana", "load", "mix1", "moons", "ring"]

_ARC = 300  # components on each of the two moons


@dataclass(frozen=True, eq=False)
class Target:
    """A normalised measure with an exact sampler.

    Attributes
    ----------
    name : str
    measure : Measure
        Its potential is minus the exact log density.
    sampler : callable
        Number of points and a generator to points ``(n, d)``.
    exact_map : callable or None
        The Brenier map of the standard normal, where it is known.
    """

    name: str
    measure: pma.Measure
    sampler: Callable[[int, np.random.Generator], Array] = field(repr=False)
    exact_map: Callable[[Array], Array] | None = field(default=None, repr=False)

    @property
    def dim(self) -> int:
        """Dimension of the space."""
        return self.measure.dim

    @property
    def reference(self) -> pma.Gaussian:
        """The standard normal, which every method starts from."""
        return pma.Gaussian(np.zeros(self.dim), 1.0)

    def draw(self, n: int, rng: Rng = None) -> Array:
        """Draw ``n`` points, shape ``(n, d)``."""
        return self.sampler(n, generator(rng))

    def log_prob(self, x: Array) -> Array:
        """Exact log density at ``(n, d)`` points, shape ``(n,)``."""
        return -self.measure.potential(x)


def ring() -> Target:
    """Eight normal components on a circle of radius 3, standard deviation 0.5."""
    measure = catalog.load("ring").target
    return Target("ring", measure, measure.sample)


def moons() -> Target:
    """Two interleaved half circles: those of scikit-learn with noise 0.1, centred, times two.

    The density is the mixture of 300 normal components on each arc. scikit-learn draws the angles
    from the same 300 when it is asked for 600 points.
    """
    angle = np.linspace(0.0, np.pi, _ARC)
    outer = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    inner = np.stack([1.0 - np.cos(angle), 0.5 - np.sin(angle)], axis=-1)
    means = 2.0 * (np.concatenate([outer, inner]) - [0.5, 0.25])
    measure = pma.GaussianMixture(means, (2.0 * 0.1) ** 2)
    return Target("moons", measure, measure.sample)


_WIDTH, _DEPTH = 1.5, 0.5  # standard deviations along and across the ridge of the banana


def _off_ridge(x: Array) -> Array:
    return x[:, 1] - 0.5 * (x[:, 0] ** 2 - _WIDTH**2)


def _banana_potential(x: Array) -> Array:
    scale = np.log(2.0 * np.pi * _WIDTH * _DEPTH)
    return 0.5 * (x[:, 0] / _WIDTH) ** 2 + 0.5 * (_off_ridge(x) / _DEPTH) ** 2 + scale


def _banana_gradient(x: Array) -> Array:
    pull = _off_ridge(x) / _DEPTH**2
    return np.stack([x[:, 0] / _WIDTH**2 - x[:, 0] * pull, pull], axis=-1)


def _banana_sample(n: int, rng: np.random.Generator) -> Array:
    points = rng.standard_normal((n, 2)) * [_WIDTH, _DEPTH]
    points[:, 1] += 0.5 * (points[:, 0] ** 2 - _WIDTH**2)
    return points


def banana() -> Target:
    """A bent ridge: x1 ~ N(0, 1.5), x2 ~ N((x1^2 - 2.25) / 2, 0.5), standard deviations."""
    measure = pma.Potential(
        _banana_potential, 2, gradient=_banana_gradient, normalized=True, log_concave=False
    )
    return Target("banana", measure, _banana_sample)


def mix1() -> Target:
    """Four normal components on the line, the catalog's ``mix1_sd``: the map is known."""
    entry = catalog.get("mix1_sd")
    measure = entry.problem().target
    return Target("mix1", measure, measure.sample, entry.exact_map)


_MAKERS = {"mix1": mix1, "ring": ring, "moons": moons, "banana": banana}
NAMES = tuple(_MAKERS)


@cache
def load(name: str) -> Target:
    """Make a target by its name, one of `NAMES`."""
    return _MAKERS[name]()
