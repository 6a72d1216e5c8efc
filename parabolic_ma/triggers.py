"""When something happens during a run, apart from what happens.

A trigger is a frozen rule that says how often it should have fired by a given moment. Whoever uses
it keeps the last count, a plain integer, and acts when the count has grown. Nothing is lost or
repeated when several firings fall into one step or when a run is resumed.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from parabolic_ma.status import InputError

__all__ = ["AtTimes", "Every", "Moment", "Trigger", "at_times", "every"]

_ROUNDING = 1e-9  # an interval counts as over when this fraction of it is missing: 0.3 / 0.1 < 3


@dataclass(frozen=True)
class Moment:
    """Where a run stands.

    Parameters
    ----------
    step : int
        Steps taken since the start.
    seconds : float
        Wall time since the start.
    time : float
        The equation's own time ``t``; ``nan`` for a solver of the steady state.
    """

    step: int = 0
    seconds: float = 0.0
    time: float = math.nan


class Trigger(Protocol):
    """A rule that says when something is due."""

    def count(self, moment: Moment) -> int:
        """How often the trigger should have fired by ``moment``; never decreases in a run."""


@dataclass(frozen=True)
class Every:
    """Fires at regular intervals; see `every`."""

    interval: float
    quantity: str
    """``"steps"``, ``"seconds"`` or ``"time"``."""

    def count(self, moment: Moment) -> int:
        """Return the number of whole intervals that have passed."""
        value = {"steps": moment.step, "seconds": moment.seconds, "time": moment.time}[
            self.quantity
        ]
        return 0 if math.isnan(value) else math.floor(value / self.interval + _ROUNDING)


@dataclass(frozen=True)
class AtTimes:
    """Fires once at each of the given times; see `at_times`."""

    times: tuple[float, ...]

    def count(self, moment: Moment) -> int:
        """Return the number of times that have passed."""
        if math.isnan(moment.time):
            return 0
        return bisect.bisect_right(self.times, moment.time + _ROUNDING * abs(moment.time))


def every(
    *, steps: int | None = None, seconds: float | None = None, time: float | None = None
) -> Every:
    """Make a trigger that fires at regular intervals.

    Parameters
    ----------
    steps : int, optional
        Interval in steps of the solver.
    seconds : float, optional
        Interval in seconds of wall time.
    time : float, optional
        Interval in the equation's own time; a solver of the steady state has none.

    Raises
    ------
    InputError
        If not exactly one interval is given, or it is not positive and finite.

    Examples
    --------
    >>> every(steps=10).count(Moment(step=25))
    2
    """
    given = {
        name: value
        for name, value in {"steps": steps, "seconds": seconds, "time": time}.items()
        if value is not None
    }
    if len(given) != 1:
        found = sorted(given) or "none"
        raise InputError(f"every() takes exactly one of steps=, seconds= and time=, got {found}")
    ((quantity, interval),) = given.items()
    if not (isinstance(interval, int | float) and math.isfinite(interval) and interval > 0):
        raise InputError(f"every({quantity}={interval!r}): the interval must be a positive number")
    if quantity == "steps" and interval != int(interval):
        raise InputError(f"every(steps={interval!r}): a number of steps is a whole number")
    return Every(float(interval), quantity)


def at_times(times: Iterable[float]) -> AtTimes:
    """Make a trigger that fires when the equation's own time passes each of ``times``.

    Parameters
    ----------
    times : iterable of float
        In any order; repeated values count once.

    Raises
    ------
    InputError
        If there is none, or one is negative or not finite.
    """
    try:
        values = sorted({float(t) for t in times})
    except (TypeError, ValueError):
        raise InputError(f"at_times() takes a list of times, got {times!r}") from None
    if not values or not all(math.isfinite(t) and t >= 0 for t in values):
        raise InputError(
            f"at_times() takes at least one time, each finite and not negative; got {values}"
        )
    return AtTimes(tuple(values))
