"""The transport problem: which measure is carried to which."""

from __future__ import annotations

from dataclasses import dataclass

from parabolic_ma.measures.protocol import Measure
from parabolic_ma.status import InputError

__all__ = ["TransportProblem"]


@dataclass(frozen=True, eq=False)
class TransportProblem:
    r"""Find the map :math:`T = \nabla\psi`, ``psi`` convex, that carries one measure to the other.

    Parameters
    ----------
    reference : Measure
        The source :math:`\nu = e^{-g}`.
    target : Measure
        What it is carried to, :math:`\mu = e^{-f}`, possibly known up to a factor.

    Raises
    ------
    InputError
        If one of them is no measure, or their dimensions differ.
    """

    reference: Measure
    target: Measure

    def __post_init__(self) -> None:
        for role in ("reference", "target"):
            _check_measure(getattr(self, role), role)
        if self.reference.dim != self.target.dim:
            raise InputError(
                f"the reference has dimension {self.reference.dim} and the target "
                f"{self.target.dim}; a map needs measures on the same space"
            )

    @property
    def dim(self) -> int:
        """Dimension of the space."""
        return self.reference.dim

    def swap(self) -> TransportProblem:
        """Return the problem with the roles exchanged: its map is the inverse."""
        return TransportProblem(reference=self.target, target=self.reference)


def _check_measure(value: object, role: str) -> None:
    """Refuse what is no measure."""
    if isinstance(value, type):
        raise InputError(
            f"{role} must be a measure, got the class {value.__name__}; make one of it, such as "
            "Gaussian(mean, cov)"
        )
    if not isinstance(value, Measure):
        raise InputError(
            f"{role} must be a measure (Gaussian, GaussianMixture, Uniform, GridDensity, Samples "
            f"or Potential), got {type(value).__name__}; wrap points in Samples(points) and a "
            "function in Potential(function, dim)"
        )
