r"""One step of the flow in time: explicit, stabilised explicit, and linearly implicit.

A stepper is a frozen rule. `advance` makes one step of a given length and, if asked, estimates its
error; how long a step is, is for a schedule or the error control of `GridFlow` to say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from parabolic_ma.operators.monge_ampere import EXTENSION
from parabolic_ma.solvers.flow_equation import EXTENSION_MASS, FlowEquation
from parabolic_ma.solvers.grid_settings import check_count, is_number
from parabolic_ma.solvers.iterate import interior
from parabolic_ma.status import InputError
from parabolic_ma.typing import Array

__all__ = ["RKL2", "ExplicitEuler", "Point", "SemiImplicit", "Stepped", "Stepper"]

_SCHEDULED = {1: 1e-4, 2: 1e-8}
"""Accuracy of the systems under a schedule, relative to the step, by the order."""
_MOST_STAGES = 2000  # of a stabilised step
_MOST_ITERATIONS = 12  # of Newton's method in one stage
_MOST_NEGATIVE = -1e-4  # eigenvalue of a cell without mass
_MOST_SECANTS = 3  # systems for one of its corrections, beside the linearised one
_MOST_HALVINGS = 8  # of one of its corrections


@dataclass(frozen=True, eq=False)
class Point:
    """A potential with what one sweep tells about it."""

    u: Array
    """Padded correction."""
    rate: Array
    """F at the cell centres."""
    low: float
    """Smallest eigenvalue of the Hessian on the grid."""
    diffusion: float
    """One over the largest stable step of the explicit Euler method."""
    drift: float
    """One over the largest step with which it does not amplify what moves."""

    @classmethod
    def at(cls, equation: FlowEquation, u: Array) -> Point:
        """Evaluate the rate at a padded correction.

        Its ghosts must be filled anew, not carried along by linear combinations: then a potential
        that was saved without them goes on bit for bit.
        """
        return cls(u, *equation.rate(u))

    def convex(self, equation: FlowEquation) -> bool:
        """Whether the potential is convex wherever there is mass, and nearly so elsewhere.

        A cell thousands of nats below the others asks for a determinant that no number holds; the
        extended logarithm balances it at an eigenvalue just below zero.
        """
        if self.low > EXTENSION:
            return True
        return self.low > _MOST_NEGATIVE and equation.extended_mass(self.u) <= EXTENSION_MASS

    @property
    def stiffness(self) -> float:
        """One over the largest step that an explicit method should take."""
        return max(self.diffusion, self.drift)

    @property
    def finite(self) -> bool:
        """Whether the rate is a number everywhere."""
        return bool(np.isfinite(self.rate).all())


@dataclass(frozen=True, eq=False)
class Stepped:
    """What a step gave."""

    point: Point
    error: Array | None
    """Estimated error of the step at the cell centres."""
    evaluations: int
    """Of the rate."""
    cycles: int
    """Of multigrid."""
    failed: bool = False
    """Whether the step could not be made; ``point`` is then where it began."""


class Stepper(Protocol):
    """A rule for one step."""

    @property
    def controlled(self) -> bool:
        """Whether the estimated error sets the step length when no schedule does."""

    @property
    def error_order(self) -> int:
        """Power of the step length with which the estimated error of a step falls."""

    def advance(
        self, equation: FlowEquation, start: Point, step: float, tolerance: float | None
    ) -> Stepped:
        """Make one step; estimate its error if a tolerance (of the potential) is given."""


@dataclass(frozen=True)
class ExplicitEuler:
    r"""The mirror step :math:`\psi_{k+1} = \psi_k + \eta_k F(\psi_k)` of the paper.

    On the target side it is the dual mirror step :math:`\varphi_{k+1} = \varphi_k + \eta_k
    \log(\rho_k / \mu)`. The equation is parabolic: a step is stable only up to

    .. math:: \eta < \Big(2 \sum_i A_{ii} / h_i^2\Big)^{-1}, \qquad A = (\nabla^2\psi_k)^{-1},

    everywhere on the grid. A longer one is refused, with the limit, or divided into shorter ones.

    Parameters
    ----------
    substep : bool
        Divide a step beyond the stability limit into equal mirror steps within it.
    safety : float
        Fraction of the limit that is used.

    References
    ----------
    N. Deb and T. Liang, "No-Regret Generative Modeling via Parabolic Monge-Ampère PDE",
    arXiv:2504.09279.
    """

    substep: bool = False
    safety: float = 0.9

    controlled: ClassVar[bool] = False
    error_order: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if not isinstance(self.substep, bool):
            raise InputError(f"substep={self.substep!r} must be True or False")
        if not (is_number(self.safety) and 0.0 < self.safety <= 1.0):
            raise InputError(f"safety={self.safety!r} must lie in (0, 1]; try 0.9")

    def advance(
        self, equation: FlowEquation, start: Point, step: float, tolerance: float | None
    ) -> Stepped:
        """Make one step."""
        u = start.u.copy()
        interior(u)[...] += step * start.rate
        return Stepped(Point.at(equation, equation.fill(u)), None, 1, 0)


@dataclass(frozen=True)
class RKL2:
    r"""Runge-Kutta-Legendre: explicit, second order, stable for long steps.

    With s stages a step may be :math:`(s^2 + s - 2) / 4` times as long as the explicit Euler
    method's; s is chosen so. Matrix-free, no linear systems.

    Parameters
    ----------
    rtol, atol : float
        A step's estimated error (root mean square under the grid side's measure) is at most
        ``atol + rtol * s``, s being the standard deviation of the potential. Not used under a
        schedule.
    safety : float
        Fraction of the stability limit that is used.
    least_stages : int
        Fewest stages. The error falls with the second power of the step for a fixed number of
        stages, and by a factor that depends on it: more stages are more accurate.

    References
    ----------
    C. D. Meyer, D. S. Balsara and T. D. Aslam, "A stabilized Runge-Kutta-Legendre method for
    explicit super-time-stepping of parabolic and mixed equations", J. Comput. Phys. 257 (2014).
    The error estimate is that of B. P. Sommeijer, L. F. Shampine and J. G. Verwer, "RKC: an
    explicit solver for parabolic PDEs", J. Comput. Appl. Math. 88 (1998).
    """

    rtol: float = 1e-4
    atol: float = 1e-7
    safety: float = 0.9
    least_stages: int = 3

    controlled: ClassVar[bool] = True
    error_order: ClassVar[int] = 3

    def __post_init__(self) -> None:
        _check_tolerances(self.rtol, self.atol)
        check_count("least_stages", self.least_stages)
        if not (is_number(self.safety) and 0.0 < self.safety <= 1.0):
            raise InputError(f"safety={self.safety!r} must lie in (0, 1]; try 0.9")

    def stages(self, step: float, stiffness: float) -> int:
        """Fewest stages, an odd number, with which a step is stable."""
        ratio = step * stiffness / self.safety
        least = math.ceil(0.5 * (math.sqrt(9.0 + 16.0 * ratio) - 1.0))
        # an even number damps the highest modes less
        return max(3, self.least_stages, least + 1 - least % 2)

    def advance(
        self, equation: FlowEquation, start: Point, step: float, tolerance: float | None
    ) -> Stepped:
        """Make one step."""
        if not step * start.stiffness < 0.25 * self.safety * _MOST_STAGES**2:
            return Stepped(start, None, 0, 0, failed=True)
        s = self.stages(step, start.stiffness)
        w1 = 4.0 / (s * s + s - 2.0)
        b = [1.0 / 3.0] * 3 + [(j * j + j - 2.0) / (2.0 * j * (j + 1.0)) for j in range(3, s + 1)]
        first = equation.pad(step * start.rate)
        before, now = start.u, start.u + b[1] * w1 * first
        for j in range(2, s + 1):
            mu = (2.0 * j - 1.0) / j * b[j] / b[j - 1]
            nu = (1.0 - j) / j * b[j] / b[j - 2]
            slope = equation.rate(now)[0]
            if not np.isfinite(slope).all():
                return Stepped(start, None, j, 0, failed=True)
            following = mu * now + nu * before + (1.0 - mu - nu) * start.u
            following -= (1.0 - b[j - 1]) * mu * w1 * first
            interior(following)[...] += mu * w1 * step * slope
            before, now = now, equation.fill(following)
        point = Point.at(equation, now)
        error = None
        if tolerance is not None:
            error = 0.8 * interior(start.u - now) + 0.4 * step * (start.rate + point.rate)
        return Stepped(point, error, s, 0)


@dataclass(frozen=True)
class SemiImplicit:
    r"""Implicit steps, linearised: no stability limit.

    ``order=1`` solves :math:`(I / \eta - F'(\psi_k)) v = F(\psi_k)`, one elliptic system a step.
    ``order=2`` is the L-stable pair of Alexander: two implicit stages,

    .. math:: Y = a + \gamma\eta F(Y), \qquad \gamma = 1 - 1 / \sqrt 2,

    each by Newton's method from the stage before, mostly one or two systems. Either stage is an
    implicit Euler step, so that its solution is convex however fast the determinant falls; the
    linearised step is not, and where it would lower an eigenvalue of the Hessian too far the
    tangent of the logarithm is replaced by a secant. The error estimate compares with the
    quadrature of third order over the stages.

    Parameters
    ----------
    order : {1, 2}
    rtol, atol : float
        A step's estimated error (root mean square under the grid side's measure) is at most
        ``atol + rtol * s``, s being the standard deviation of the potential. Not used under a
        schedule.

    References
    ----------
    R. Alexander, "Diagonally implicit Runge-Kutta methods for stiff O.D.E.'s", SIAM J. Numer. Anal.
    14 (1977).
    """

    order: int = 2
    rtol: float = 1e-4
    atol: float = 1e-7

    controlled: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (is_number(self.order) and self.order in (1, 2)):
            raise InputError(f"order={self.order!r} must be 1 or 2")
        _check_tolerances(self.rtol, self.atol)

    @property
    def error_order(self) -> int:
        """Power of the step length with which the estimated error of a step falls."""
        return 3 if self.order == 2 else 2

    def advance(
        self, equation: FlowEquation, start: Point, step: float, tolerance: float | None
    ) -> Stepped:
        """Make one step."""
        return (self._second if self.order == 2 else self._first)(equation, start, step, tolerance)

    def _first(
        self, equation: FlowEquation, start: Point, step: float, tolerance: float | None
    ) -> Stepped:
        accuracy = self._accuracy(start, step, tolerance)
        made = _corrected(equation, start, start.rate, 1.0 / step, accuracy)
        if made.point is None:
            return Stepped(start, None, made.evaluations, made.cycles, failed=True)
        error = None
        if tolerance is not None:
            moved = interior(made.point.u - start.u)
            error = 0.5 * (step * made.point.rate - moved)
        return Stepped(made.point, error, made.evaluations, made.cycles)

    def _second(
        self, equation: FlowEquation, start: Point, step: float, tolerance: float | None
    ) -> Stepped:
        gamma = 1.0 - math.sqrt(0.5)
        tau = gamma * step
        accuracy = self._accuracy(start, step, tolerance)
        first = _stage(equation, start, interior(start.u), tau, accuracy)
        if first.point is None:
            return Stepped(start, None, first.evaluations, first.cycles, failed=True)
        base = interior(start.u) + (1.0 - gamma) * step * first.point.rate
        second = _stage(equation, first.point, base, tau, accuracy)
        evaluations = first.evaluations + second.evaluations
        cycles = first.cycles + second.cycles
        if second.point is None:
            return Stepped(start, None, evaluations, cycles, failed=True)
        if tolerance is None:
            return Stepped(second.point, None, evaluations, cycles)
        # weights of the quadrature at 0, gamma and 1 that is exact for quadratics
        w1 = 1.0 / (6.0 * gamma * (1.0 - gamma))
        w2 = (1.0 / 3.0 - 0.5 * gamma) / (1.0 - gamma)
        rates = (start.rate, first.point.rate, second.point.rate)
        weights = (1.0 - w1 - w2, w1 - (1.0 - gamma), w2 - gamma)
        raw = np.asarray(sum(w * r for w, r in zip(weights, rates, strict=True)))
        # what the implicit operator damps is no error of the step
        error, used = equation.solve(1.0 / tau, step / tau * raw, 10.0 * accuracy)
        return Stepped(second.point, interior(error), evaluations, cycles + used)

    def _accuracy(self, start: Point, step: float, tolerance: float | None) -> float:
        """What a step may be wrong by because of its systems.

        A hundredth of its tolerance; under a schedule a small part of its length.
        """
        if tolerance is not None:
            return 0.01 * tolerance
        return _SCHEDULED[self.order] * step * float(np.abs(start.rate).max())


@dataclass(frozen=True, eq=False)
class _Stage:
    """What an implicit stage or a part of it gave; no point when it came to nothing."""

    point: Point | None
    evaluations: int
    cycles: int


def _stage(
    equation: FlowEquation, start: Point, base: Array, tau: float, accuracy: float
) -> _Stage:
    """Solve ``Y = base + tau F(Y)`` by Newton's method from ``start``, never leaving convexity."""
    point, cycles, evaluations = start, 0, 0
    left = base - interior(point.u) + tau * point.rate
    for _ in range(_MOST_ITERATIONS):
        moved = _corrected(equation, point, left / tau, 1.0 / tau, 0.5 * accuracy)
        evaluations += moved.evaluations
        cycles += moved.cycles
        if moved.point is None:
            break
        point = moved.point
        left = base - interior(point.u) + tau * point.rate
        # by the maximum principle the correction that is left is no larger than this
        if equation.deviation(left) <= accuracy:
            return _Stage(point, evaluations, cycles)
    return _Stage(None, evaluations, cycles)


def _corrected(
    equation: FlowEquation, start: Point, right: Array, sigma: float, accuracy: float
) -> _Stage:
    """Add the solution of ``(sigma - F') v = right``, by secants or shortened if that is needed."""
    equation.linearise(start.u)
    v, cycles = equation.solve(sigma, right, accuracy)
    point = Point.at(equation, equation.fill(start.u + v))
    evaluations = 1
    for _ in range(_MOST_SECANTS):
        # an eigenvalue that falls to a tenth in a linear step was about to change its sign
        if point.finite and point.low > min(0.1 * start.low, EXTENSION):
            return _Stage(point, evaluations, cycles)
        if not equation.steepen(v):
            break
        v, used = equation.solve(sigma, right, accuracy)
        point = Point.at(equation, equation.fill(start.u + v))
        cycles += used
        evaluations += 1
    for _ in range(_MOST_HALVINGS):
        if point.finite and point.convex(equation):
            return _Stage(point, evaluations, cycles)
        v *= 0.5
        point = Point.at(equation, equation.fill(start.u + v))
        evaluations += 1
    return _Stage(None, evaluations, cycles)


def _check_tolerances(rtol: float, atol: float) -> None:
    """Refuse tolerances that no step can meet."""
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not (is_number(value) and 0.0 <= value < 1.0):
            raise InputError(f"{name}={value!r} must lie in [0, 1); try 1e-4")
    if rtol + atol < 1e-13:
        raise InputError("rtol + atol must be at least 1e-13; try rtol=1e-4")
