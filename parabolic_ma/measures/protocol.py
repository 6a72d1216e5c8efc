"""What every measure offers, and the checks that the measures share."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np

from parabolic_ma.grid import Box
from parabolic_ma.points import as_floats, brief
from parabolic_ma.status import InputError
from parabolic_ma.typing import Array, Rng

__all__ = ["Measure", "check_tail_mass", "normalized_weights", "positive_definite"]


@runtime_checkable
class Measure(Protocol):
    """A probability measure with density ``e^{-potential}``, up to a constant if unnormalised.

    Points are ``(n, d)`` arrays, one point is ``(d,)``, and for ``d = 1`` an ``(n,)`` array holds n
    points. Potentials are in nats.
    """

    @property
    def dim(self) -> int:
        """Dimension of the space."""

    @property
    def bounded(self) -> bool:
        """Whether the measure lives on a box, outside of which the density is zero."""

    @property
    def normalized(self) -> bool:
        """Whether ``e^{-potential}`` integrates to one."""

    @property
    def log_concave(self) -> bool | None:
        """Whether the density is log-concave: True and False are proven, None is not known."""

    def potential(self, x: Array) -> Array:
        """Minus log density at ``x``, shape ``(n,)``; ``inf`` outside the box of a bounded one."""

    def gradient(self, x: Array) -> Array:
        """Gradient of the potential, of the shape of ``x``."""

    def support(self, tail_mass: float) -> Box:
        """Return a box outside of which there is at most ``tail_mass``."""

    def moments(self) -> tuple[Array, Array]:
        """Mean, shape ``(d,)``, and covariance, shape ``(d, d)``."""

    def sample(self, n: int, rng: Rng = None) -> Array:
        """Draw ``n`` independent points, shape ``(n, d)``."""


def check_tail_mass(tail_mass: float) -> float:
    """Return the tail mass as a float between 0 and 1, both excluded."""
    if not (isinstance(tail_mass, (int, float, np.number)) and 0.0 < tail_mass < 1.0):
        raise InputError(f"tail_mass must lie strictly between 0 and 1, got {tail_mass}; try 1e-12")
    return float(tail_mass)


def normalized_weights(weights: Array) -> Array:
    """Return finite, non-negative weights divided by their sum, however large they are."""
    with np.errstate(over="ignore"):
        total = weights.sum()
    if not np.isfinite(total):
        weights = weights / weights.max()
        total = weights.sum()
    return np.asarray(weights / total)


def positive_definite(matrix: Any, dim: int, name: str) -> Array:
    """Return a symmetric positive definite matrix of shape ``(dim, dim)``, symmetrised.

    Parameters
    ----------
    matrix : array_like
        The candidate.
    dim : int
        Its size.
    name : str
        What to call it in an error.

    Raises
    ------
    InputError
        If it has another shape, is not finite, not symmetric, or not positive definite to working
        precision.
    """
    values = as_floats(matrix, name)
    if values.shape != (dim, dim):
        raise InputError(f"{name} must have shape ({dim}, {dim}), got {values.shape}")
    if not np.all(np.isfinite(values)):
        raise InputError(f"{name} must be finite, got {brief(values)}")
    if not np.allclose(values, values.T, rtol=1e-8, atol=1e-12 * float(np.abs(values).max())):
        raise InputError(f"{name} must be symmetric, got {brief(values)}")
    values = 0.5 * (values + values.T)
    # Scaled to unit diagonal first: axes in different units are not a near singularity.
    diagonal = np.diag(values)
    if not diagonal.min() > 0:
        raise InputError(
            f"{name} is singular or not positive definite: its diagonal, the variances, is "
            f"{brief(diagonal)} and must be positive; drop coordinates that are constant, or add a "
            "small variance"
        )
    scale = np.sqrt(diagonal)
    smallest = float(np.linalg.eigvalsh(values / np.outer(scale, scale))[0])
    if not smallest > 8 * dim * np.finfo(float).eps:
        raise InputError(
            f"{name} is singular or not positive definite (smallest eigenvalue of its correlation "
            f"matrix {smallest:.3g}): {brief(values)}; drop coordinates that depend on others, "
            "or add a small variance to the diagonal"
        )
    return values
