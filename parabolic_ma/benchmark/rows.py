"""One line of the benchmark table, and the ways to make one."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parabolic_ma.solution import Solution

__all__ = [
    "TIME_UNITS",
    "Row",
    "at_least",
    "at_most",
    "converged",
    "failed",
    "figure",
    "without_success",
]

TIME_UNITS = ("s", "x")
"""Units of figures that mean nothing for a run that did not converge."""


@dataclass(frozen=True)
class Row:
    """A measured figure beside its goal."""

    case: str
    figure: str
    """What was measured."""
    unit: str
    measured: float | str
    goal: str
    """Such as ``"<= 3.5e-06"``; empty for a figure without one."""
    met: bool | None
    """Whether the goal is met; None without a goal."""
    note: str = ""

    @property
    def measured_text(self) -> str:
        """The figure with three digits."""
        return self.measured if isinstance(self.measured, str) else f"{self.measured:.3g}"


def figure(case: str, what: str, unit: str, measured: float, note: str = "") -> Row:
    """Make a row without a goal."""
    return Row(case, what, unit, float(measured), "", None, note)


def at_most(
    case: str, what: str, unit: str, measured: float, bound: float | None, note: str = ""
) -> Row:
    """Make a row whose goal is an upper bound; None is no goal, and nan misses every goal."""
    if bound is None:
        return figure(case, what, unit, measured, note)
    measured = float(measured)
    return Row(case, what, unit, measured, f"<= {bound:.3g}", measured <= bound, note)


def at_least(
    case: str, what: str, unit: str, measured: float, bound: float | None, note: str = ""
) -> Row:
    """Make a row whose goal is a lower bound; None is no goal, and nan misses every goal."""
    if bound is None:
        return figure(case, what, unit, measured, note)
    measured = float(measured)
    return Row(case, what, unit, measured, f">= {bound:.3g}", measured >= bound, note)


def converged(case: str, *solutions: Solution, what: str = "status") -> Row:
    """Make a row of the status of one or several runs, all of which should converge."""
    bad = [s for s in solutions if not s.converged]
    shown = bad[0] if bad else solutions[-1]
    note = shown.message
    if len(solutions) > 1:
        residuals = ", ".join(f"{s.certificate.residual:.1e}" for s in solutions)
        note = f"weighted residuals {residuals}; {note}"
    return Row(case, what, "", shown.status.name, "CONVERGED", not bad, note)


def failed(case: str, error: Exception) -> Row:
    """Make the row of a case that broke."""
    reason = " ".join(str(error).split()) or type(error).__name__
    reason = reason if len(reason) <= 200 else reason[:197] + "..."
    return Row(
        case, "run", "", "FAILED", "a result", False, f"failed: {type(error).__name__}: {reason}"
    )


def without_success(row: Row) -> Row:
    """Return a row whose goal, if it has one, is missed because a run did not converge."""
    if not row.met:
        return row
    note = f"a run did not converge; {row.note}".rstrip("; ")
    return dataclasses.replace(row, met=False, note=note)
