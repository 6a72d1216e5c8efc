"""The truth's side of a comparison: its samples, its density, its reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from parabolic_ma.measures.gaussian import Gaussian, GaussianMixture
from parabolic_ma.measures.protocol import Measure
from parabolic_ma.measures.uniform import Uniform
from parabolic_ma.problem import TransportProblem
from parabolic_ma.solution import Solution
from parabolic_ma.status import InputError
from parabolic_ma.typing import Array

__all__ = ["Constants", "Truth", "same_measure"]

_PROBES = 200  # points of each measure at which two are held against each other
_AGREEMENT = 1e-9  # of potentials, relative to their size: rounding


@dataclass(frozen=True)
class Constants:
    """Logarithms of the integrals of both unnormalised densities, ``e^{-g}`` and ``e^{-f}``."""

    reference: float
    target: float
    absolute: bool
    """False if neither measure is normalised: then both are known up to one common number, which
    the difference of two log densities over the same reference does not contain."""

    @classmethod
    def of(cls, problem: TransportProblem, log_evidence: float) -> Constants:
        """Tell both from the log evidence, their difference."""
        if problem.target.normalized:
            known = problem.reference.normalized
            return cls(0.0 if known else -log_evidence, 0.0, absolute=True)
        return cls(0.0, log_evidence, absolute=problem.reference.normalized)


@dataclass(frozen=True, eq=False)
class Truth:
    """A solution taken for true.

    Parameters
    ----------
    solution : Solution
        Its target has the density; its map the samples, unless the target draws its own exactly.
    """

    solution: Solution

    @property
    def dim(self) -> int:
        """Dimension of the space."""
        return self.solution.problem.dim

    @property
    def reference(self) -> Measure:
        """The measure that the truth's map carries."""
        return self.solution.problem.reference

    @property
    def constants(self) -> Constants:
        """The normalising constants of both measures."""
        return Constants.of(self.solution.problem, self.solution.log_evidence)

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Draw points of the target: its own samples if it is closed form, else by the map."""
        target = self.solution.problem.target
        if isinstance(target, Gaussian | GaussianMixture | Uniform):
            return target.sample(n, rng)
        return self.solution.sample(n, rng)

    def log_density(self, x: Array) -> Array:
        """Log density of the target, shape ``(n,)``; see `Constants` for its constant."""
        return np.asarray(-self.solution.problem.target.potential(x) - self.constants.target)

    def total_variance(self, points: Array) -> float:
        """Trace of the target's covariance; that of samples if the target cannot tell it."""
        try:
            return float(np.trace(self.solution.problem.target.moments()[1]))
        except InputError:
            return float(points.var(axis=0, ddof=1).sum())


def same_measure(a: Measure, b: Measure, rng: np.random.Generator) -> bool:
    """Whether two measures have one density: potentials that differ by a constant.

    They are held against each other on samples of both, since a measure that was read from a file
    is another object than the one that was written.
    """
    if a is b:
        return True
    if a.dim != b.dim:
        return False
    try:
        points = np.concatenate([m.sample(_PROBES, rng) for m in (a, b)])
        values, others = a.potential(points), b.potential(points)
    except InputError:  # a function that was not kept in the file
        return False
    finite = np.isfinite(values)
    if not np.array_equal(finite, np.isfinite(others)):
        return False
    difference = values[finite] - others[finite]
    return bool(np.ptp(difference) <= _AGREEMENT * (1.0 + np.abs(values[finite]).max()))
