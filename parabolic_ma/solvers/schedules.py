r"""Step lengths :math:`\eta_k` of the mirror iteration.

What is proved follows from the inequality of `parabolic_ma.analysis.theory.evi`; B is the Bregman
divergence of the target from the model, m the smallest eigenvalue of the Hessians and :math:`G^2`
the largest :math:`\int |\xi_k|^2`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol

from parabolic_ma.solvers.grid_settings import is_number
from parabolic_ma.status import InputError

__all__ = ["Adaptive", "Constant", "Harmonic", "InverseSqrt", "LogOverK", "Schedule"]

_SMALLEST = 1e-100  # of a step: its reciprocal must be a number


class Schedule(Protocol):
    """A rule for the lengths of the steps."""

    @property
    def needs_steps(self) -> bool:
        """Whether the lengths depend on how many steps there are going to be."""

    def step_size(self, k: int, steps: int | None) -> float:
        """Length of step ``k``, counted from 0, of ``steps`` in all."""


@dataclass(frozen=True)
class Constant:
    r"""Steps of one length.

    The average iterate satisfies :math:`KL(\bar\rho_K | \mu) \le B_0 / (\eta K) + \eta G^2 / 2m`.

    Parameters
    ----------
    step : float
    """

    step: float

    needs_steps: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_positive("step", self.step)

    def step_size(self, k: int, steps: int | None) -> float:
        """Return the step."""
        return float(self.step)


@dataclass(frozen=True)
class Harmonic:
    r""":math:`\eta_k = A / (k + 1)`.

    With a reference that is strongly log-concave with constant :math:`\lambda`, Hessians at most M
    and :math:`A \ge M / \lambda`, :math:`B_K` and the mean of :math:`KL(\rho_k | \mu)` over k, with
    equal weights, fall as :math:`\log K / K`. The average iterate of a run weighs by the steps: it
    forgets its start only as :math:`1 / \log K`.

    Parameters
    ----------
    scale : float
        A.
    """

    scale: float

    needs_steps: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_positive("scale", self.scale)

    def step_size(self, k: int, steps: int | None) -> float:
        """Return ``A / (k + 1)``."""
        return float(self.scale) / (k + 1)


@dataclass(frozen=True)
class InverseSqrt:
    r""":math:`\eta_k = s / \sqrt K`, K being the number of steps.

    KL of the average iterate falls as :math:`1 / \sqrt K`, of the last one as :math:`\log K /
    \sqrt K`.

    Parameters
    ----------
    scale : float
        s.
    """

    scale: float = 1.0

    needs_steps: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_positive("scale", self.scale)

    def step_size(self, k: int, steps: int | None) -> float:
        """Return ``s / sqrt(K)``."""
        return float(self.scale) / math.sqrt(_known(steps))


@dataclass(frozen=True)
class LogOverK:
    r""":math:`\eta_k = s \log K / K`, K being the number of steps.

    With :math:`s \ge M / \lambda` as in `Harmonic`, :math:`B_K = O(\log K / K)`.

    Parameters
    ----------
    scale : float
        s.
    """

    scale: float = 1.0

    needs_steps: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_positive("scale", self.scale)

    def step_size(self, k: int, steps: int | None) -> float:
        """Return ``s log(K) / K``."""
        count = _known(steps)
        # log 1 = 0 would be no step at all
        return float(self.scale) * math.log(max(count, 2)) / count


@dataclass(frozen=True)
class Adaptive:
    r"""As long as convexity and stability allow.

    A step is halved until the smallest eigenvalue of the Hessian keeps at least ``keep`` of its
    value, which bounds the constant :math:`1 / m_{k+1}` of the theorems; the next one is tried
    ``growth`` times as long. With `ExplicitEuler` a step stays within the stability limit too.

    Parameters
    ----------
    first : float
        Length of the first step to try.
    largest : float
        Length that no step exceeds.
    keep : float
        Share of the smallest eigenvalue to keep.
    growth : float
    """

    first: float = 0.1
    largest: float = math.inf
    keep: float = 0.5
    growth: float = 1.5

    needs_steps: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_positive("first", self.first)
        if not (is_number(self.largest) and self.largest == math.inf):
            _check_positive("largest", self.largest)
        if not (is_number(self.keep) and 0.0 < self.keep < 1.0):
            raise InputError(f"keep={self.keep!r} must lie strictly between 0 and 1; try 0.5")
        if not (is_number(self.growth) and 1.0 <= self.growth <= 10.0):
            raise InputError(f"growth={self.growth!r} must lie in [1, 10]; try 1.5")

    def step_size(self, k: int, steps: int | None) -> float:
        """Return the first step to try."""
        return min(float(self.first), float(self.largest))


def _known(steps: int | None) -> int:
    if steps is None:
        raise InputError("the schedule depends on the number of steps; give steps=")
    return steps


def _check_positive(name: str, value: float) -> None:
    if not (is_number(value) and _SMALLEST <= value < math.inf):
        raise InputError(f"{name}={value!r} must be a positive number, at least {_SMALLEST:g}")
