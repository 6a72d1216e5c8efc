"""What every solver offers: four functions of the problem and an explicit state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from parabolic_ma.maps import TransportMap
from parabolic_ma.problem import TransportProblem
from parabolic_ma.status import Status

if TYPE_CHECKING:
    from parabolic_ma.solution import Solution

__all__ = ["Solver"]


class Solver(Protocol):
    """Settings of a method, with the steps of its run; states are the solver's own."""

    def init(
        self, problem: TransportProblem, initial: TransportMap | Solution | None = None
    ) -> Any:
        """Return the first state."""

    def step(self, problem: TransportProblem, state: Any) -> Any:
        """Return the next state."""

    def terminate(self, problem: TransportProblem, state: Any) -> Status | None:
        """Tell how the run has ended, or None while it goes on."""

    def finish(self, problem: TransportProblem, state: Any, status: Status) -> Solution:
        """Make a result of a state."""
