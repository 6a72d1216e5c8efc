"""How a run can end, and the exceptions of the package."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parabolic_ma.solution import Solution

__all__ = [
    "ConvergenceError",
    "FileFormatError",
    "InputError",
    "MissingExtraError",
    "ParabolicMAError",
    "Status",
]


class Status(enum.Enum):
    """How a run ended; the value of a member is the sentence shown to the user."""

    CONVERGED = "The tolerance was met, a flow reached its end, or a training used its budget."
    STALLED = (
        "The residual stopped falling above the tolerance. Try a finer grid, the other side "
        '(side="target" or "reference"), or inner="cell" when neither measure is log-concave; '
        "the certificate says how far the map can be trusted."
    )
    MAX_STEPS = (
        "The number of steps was used up before the tolerance was met. Raise max_steps (of a "
        "network steps), loosen tol, or start from a coarser solution with initial=."
    )
    LOST_CONVEXITY = (
        "The potential is not convex where there is mass, so its gradient is not a transport map. "
        "Use a finer grid, or put the grid on the side opposite the log-concave measure."
    )
    UNSTABLE = (
        "The next step is longer than the explicit scheme is stable for. Use "
        "ExplicitEuler(substep=True), shorter steps, a coarser grid, or SemiImplicit() or RKL2()."
    )
    OUT_OF_TIME = "The time limit was reached. Raise time_limit, or go on from the saved state."
    INTERRUPTED = "The run was interrupted; the result holds the last good state."
    DIVERGED = (
        "The iteration left the finite numbers or ended far from where it began; the result holds "
        "the last good state. On a grid use a smaller box (reference_box=, target_box=), a finer "
        "grid, or the other side; with a network a smaller learning_rate or step_size."
    )

    def __str__(self) -> str:
        return f"{self.name}: {self.value}"


class ParabolicMAError(Exception):
    """Base class of every exception that this package raises on purpose."""


class InputError(ParabolicMAError, ValueError):
    """Something given by the user cannot be used; the text says what is allowed."""


class FileFormatError(InputError):
    """A file cannot be read as what it was given for."""


class MissingExtraError(ParabolicMAError, ImportError):
    """An optional dependency is needed and not installed.

    Parameters
    ----------
    feature : str
        What was asked for, as the start of a sentence.
    extra : str
        The name of the extra that brings it.
    """

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs an optional dependency. "
            f"Install it with: pip install 'parabolic-ma[{extra}]'"
        )


class ConvergenceError(ParabolicMAError, RuntimeError):
    """A run failed; ``solution`` holds its last good state.

    Parameters
    ----------
    message : str
        What happened and what to try.
    solution : Solution
        The result as far as it got, with its certificate.
    """

    def __init__(self, message: str, solution: Solution) -> None:
        super().__init__(message)
        self.solution = solution
