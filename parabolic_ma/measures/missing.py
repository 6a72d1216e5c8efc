"""What a function that could not be kept in a file reads back as."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from parabolic_ma.grid import Box
from parabolic_ma.measures.protocol import check_tail_mass
from parabolic_ma.status import InputError
from parabolic_ma.typing import Array, Rng

__all__ = ["MissingPotential"]


@dataclass(frozen=True)
class MissingPotential:
    """A measure whose potential was a Python function that the file does not hold.

    Parameters
    ----------
    dim : int
        Dimension of the space.
    normalized : bool
        Whether the density was normalised.
    log_concave : bool or None
        What was known about it.
    box : Box or None
        Where it lived.
    origin : str
        What the function was called.
    """

    dim: int
    normalized: bool = False
    log_concave: bool | None = None
    box: Box | None = None
    origin: str = ""

    @property
    def bounded(self) -> bool:
        """Whether the measure lives on a box."""
        return self.box is not None

    def potential(self, x: Array) -> Array:
        """Raise an `InputError`: the function is not there."""
        self._refuse("potential")

    def gradient(self, x: Array) -> Array:
        """Raise an `InputError`: the function is not there."""
        self._refuse("gradient")

    def support(self, tail_mass: float) -> Box:
        """Return the box, if there is one."""
        check_tail_mass(tail_mass)
        if self.box is None:
            self._refuse("support")
        return self.box

    def moments(self) -> tuple[Array, Array]:
        """Raise an `InputError`: the function is not there."""
        self._refuse("moments")

    def sample(self, n: int, rng: Rng = None) -> Array:
        """Raise an `InputError`: the function is not there."""
        self._refuse("sample")

    def _refuse(self, what: str) -> NoReturn:
        name = f" {self.origin!r}" if self.origin else ""
        raise InputError(
            f"{what} is not available: the potential was a Python function{name} in {self.dim} "
            "dimensions, which is not kept in the file; give the problem again, such as "
            "TransportProblem(reference, Potential(function, dim))"
        )
