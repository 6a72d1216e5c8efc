"""`GridFlow`: the parabolic Monge-Ampere equation in time, on a grid."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from parabolic_ma import backends
from parabolic_ma.grid import Box
from parabolic_ma.measures import Measure
from parabolic_ma.operators.discretise import Discretisation
from parabolic_ma.solvers.flow_average import AverageDensity
from parabolic_ma.solvers.flow_equation import FlowEquation
from parabolic_ma.solvers.flow_record import Recorder
from parabolic_ma.solvers.flow_state import (
    FlowState,
    advanced,
    at_time,
    first_values,
    interrupted,
    next_time,
    result,
    save_trigger,
    start_state,
)
from parabolic_ma.solvers.grid_settings import (
    check_count,
    check_grid_settings,
    check_no_space,
    is_number,
    lay_grid,
)
from parabolic_ma.solvers.schedules import Adaptive, Schedule
from parabolic_ma.solvers.steppers import ExplicitEuler, Point, SemiImplicit, Stepped, Stepper
from parabolic_ma.status import InputError, Status
from parabolic_ma.triggers import AtTimes, Every

if TYPE_CHECKING:
    from parabolic_ma.maps import TransportMap
    from parabolic_ma.problem import TransportProblem
    from parabolic_ma.solution import Solution

__all__ = ["GridFlow"]

_ATTEMPTS = 40  # a step may be shortened this often
_SAME = 1e-9  # relative: times and lengths that count as equal
# In units of the potential's standard deviation, over a rate of one nat:
_SHORTEST = 1e-9  # a step that has to be shorter means that the run is lost
_SHORT = 1e-5  # a step shorter than that gets nowhere,
_CRAWL = 300  # if this many of them follow each other
_FIRST = 1e-3  # of what the potential varies by: first movement under error control


@dataclass(frozen=True)
class GridFlow:
    r"""Follow :math:`\partial_t\psi = -f(\nabla\psi) + g + \log\det\nabla^2\psi` in time.

    With the grid on the target side the unknown is the conjugate, which obeys the same equation
    with the measures exchanged. Densities are normalised (an unnormalised one by quadrature), so
    that the potential has no drift at the solution. The run starts from the affine map between
    the two boxes, or from ``initial``; the result of a flow is continued at its time.

    Parameters
    ----------
    shape : int or tuple of int
        Cells on each axis, any numbers from 8 up.
    stepper : ExplicitEuler, RKL2 or SemiImplicit
        How a step is made.
    schedule : Constant, Harmonic, InverseSqrt, LogOverK or Adaptive, optional
        How long steps are. Without one the estimated error decides (`RKL2`, `SemiImplicit`), or
        the stability limit (`ExplicitEuler`).
    t_final : float, optional
        Time at which the run ends; it is met exactly.
    steps : int, optional
        Number of steps of the schedule, counted from time 0, after which the run ends. At least
        one of ``t_final``, ``steps`` and times in ``save_at`` is needed.
    save_at : sequence of float or trigger, optional
        When to keep the map in ``solution.saved``: times, which are met exactly, or a trigger such
        as ``pma.every(steps=10)``.
    comparator : Measure, optional
        A normalised measure on the target's side; the history then has both sides of the
        inequality of the theory for it too.
    average : bool, optional
        Whether to add up the average iterate, ``solution.average``. By default where it costs next
        to nothing: on the line and with the grid on the target side.
    side, boundary, backend, dtype, tail_mass, reference_box, target_box
        As for `GridSolver`. ``boundary="free"`` continues the potential quadratically, which is
        exact between Gaussians.

    Raises
    ------
    InputError
        For a setting that is not one of these.

    Notes
    -----
    One row of ``solution.history`` belongs to one iterate; its ``step_size``,
    ``bregman_difference`` and ``evi_*`` belong to the step that led to it. See
    `parabolic_ma.analysis.theory` for the formulas.

    References
    ----------
    N. Deb and T. Liang, "No-Regret Generative Modeling via Parabolic Monge-Ampère PDE",
    arXiv:2504.09279.
    """

    shape: int | tuple[int, ...]
    stepper: Stepper = field(default_factory=SemiImplicit)
    schedule: Schedule | None = None
    t_final: float | None = None
    steps: int | None = None
    save_at: Sequence[float] | Every | AtTimes | None = None
    comparator: Measure | None = None
    average: bool | None = None
    side: Literal["auto", "reference", "target"] = "auto"
    boundary: Literal["auto", "box", "periodic", "free"] = "auto"
    backend: str = "numba"
    dtype: Literal["float64"] = "float64"
    tail_mass: float = 1e-12
    reference_box: Box | Sequence[Sequence[float]] | None = None
    target_box: Box | Sequence[Sequence[float]] | None = None

    def __post_init__(self) -> None:
        check_grid_settings(self, average=(None, True, False))
        check_no_space(self)
        if self.steps is not None:
            check_count("steps", self.steps)
        _check_rule("stepper", self.stepper, "advance", "SemiImplicit()")
        if self.comparator is not None:
            _check_comparator(self.comparator)
        if self.schedule is not None:
            _check_rule("schedule", self.schedule, "step_size", "Constant(0.01)")
            if self.schedule.needs_steps and self.steps is None:
                raise InputError(
                    f"schedule={self.schedule!r} depends on the number of steps; give steps="
                )
        elif self.steps is not None and self.stepper.controlled:
            raise InputError(
                "steps= counts the steps of a schedule; give a schedule such as Constant(0.01), or "
                "t_final= alone"
            )
        if self.t_final is not None:
            if not (is_number(self.t_final) and 0.0 < self.t_final < math.inf):
                raise InputError(f"t_final={self.t_final!r} must be a positive number")
            object.__setattr__(self, "t_final", float(self.t_final))
        trigger = save_trigger(self.save_at)
        object.__setattr__(self, "save_at", trigger)
        times = getattr(trigger, "times", None)
        if self.t_final is None and self.steps is None and not times:
            raise InputError(
                "say where the flow ends: t_final=, steps=, or times to save at (save_at=)"
            )
        if self.t_final is None and self.steps is None and times and not times[-1] > 0.0:
            raise InputError(
                "save_at has no time after 0, and nothing else says where the flow ends; give "
                "t_final="
            )
        if times and self.t_final is not None and times[-1] > self.t_final:
            raise InputError(
                f"save_at has the time {times[-1]:g}, after the end t_final={self.t_final:g}"
            )

    def init(
        self, problem: TransportProblem, initial: TransportMap | Solution | None = None
    ) -> FlowState:
        """Lay the grid, evaluate the measures on it and return the first state.

        Parameters
        ----------
        problem : TransportProblem
            Of the dimension of ``shape``.
        initial : TransportMap or Solution, optional
            Where to start, at time 0; the `Solution` of a flow of this very problem is continued at
            its time, on the same grid bit for bit (the average iterate to rounding). To start anew
            give ``solution.map``.

        Raises
        ------
        InputError
            If the problem does not fit the grid, the initial map is not convex, or an explicit
            first step is beyond its stability limit.
        """
        state = self._begin(problem, initial)
        point = state.point
        if not point.convex(state.equation):
            faces = ""
            if state.equation.problem.boundary == "box":
                faces = ', that takes faces of the box to faces of the image (or boundary="free")'
            raise InputError(
                "the initial map is not the gradient of a convex function on the grid (smallest "
                f"eigenvalue {point.low:.2g}); start from another one{faces}, or use a finer grid"
            )
        if self._ended(state):
            if interrupted(initial):
                return state
            raise InputError(
                f"the initial state is at t = {state.t:g}, step {state.step}, where this flow "
                "ends; give a later t_final or more steps, or start anew from solution.map"
            )
        length, _ = self._next_length(state)
        if self._refused(state, length):
            raise InputError(
                f"a step of {length:.3g} is beyond the stability limit "
                f"{1.0 / point.diffusion:.3g} of the explicit scheme on this grid; use "
                "ExplicitEuler(substep=True), shorter steps, a coarser grid, or SemiImplicit()"
            )
        return state

    def step(self, problem: TransportProblem, state: FlowState) -> FlowState:
        """Make one step, shortened as often as its error or convexity ask for."""
        length, planned = self._next_length(state)
        if self._refused(state, length):
            message = (
                f"the next step, {length:.3g}, is beyond the stability limit "
                f"{1.0 / state.point.diffusion:.3g} at t = {state.t:.6g}"
            )
            return dataclasses.replace(state, status=Status.UNSTABLE, message=message)
        evaluations, cycles = state.evaluations, state.cycles
        tolerance = self._tolerance(state)
        still = tolerance is not None and self._still(state, tolerance)
        if still:
            length = next_time(self._trigger, state.t, self.t_final) - state.t
        elif self._crawls(state):
            message = (
                f"for {_CRAWL} steps up to t = {state.t:.6g} none was longer than "
                f"{_SHORT * state.spread:.1g}: some cell without mass holds them up"
            )
            return dataclasses.replace(state, status=Status.STALLED, message=message)
        for _ in range(_ATTEMPTS):
            if still:
                stepped = _drifted(state, length)
            else:
                stepped = self.stepper.advance(state.equation, state.point, length, tolerance)
            evaluations += stepped.evaluations
            cycles += stepped.cycles
            factor, accepted = self._judge(state, stepped, tolerance)
            if accepted:
                break
            if not self._may_shorten():
                return self._failed(state, stepped)
            length *= factor
            planned = length
            if length < _SHORTEST * state.spread:
                return self._failed(state, stepped)
        else:
            return self._failed(state, stepped)
        goal = next_time(self._trigger, state.t, self.t_final)
        t = state.t + length
        if math.isfinite(goal) and abs(t - goal) <= _SAME * goal:
            t = goal
        scheduled, following = self._plan(state, length, planned, factor)
        return advanced(
            state, stepped.point, length, t, self._trigger,
            scheduled=scheduled, next_step=following, evaluations=evaluations, cycles=cycles,
        )  # fmt: skip

    def _still(self, state: FlowState, tolerance: float) -> bool:
        """Whether what is left of the run moves the potential by less than a step's error.

        Near the solution the rate decays within a time of the order of the potential's spread.
        """
        left = next_time(self._trigger, state.t, self.t_final) - state.t
        return state.speed * min(left, 10.0 * state.spread) <= 0.1 * tolerance

    def _crawls(self, state: FlowState) -> bool:
        """Whether error control has allowed nothing but tiny steps for long."""
        if state.step < _CRAWL or not self.stepper.controlled or self.schedule is not None:
            return False
        longest = max(float(row["step_size"]) for row in state.rows[state.step - _CRAWL + 1 :])
        return longest < _SHORT * state.spread

    def terminate(self, problem: TransportProblem, state: FlowState) -> Status | None:
        """Tell how the run has ended, or None while it goes on."""
        if state.status is not None:
            return state.status
        return Status.CONVERGED if self._ended(state) else None

    def finish(self, problem: TransportProblem, state: FlowState, status: Status) -> Solution:
        """Judge a state and make it a result."""
        return result(problem, self, state, status, None)

    def at(self, solution: Solution, t: float) -> Solution:
        """Return a flow's result as it was at a saved time, to look at or to go on from."""
        state = self._begin(solution.problem, at_time(solution, t))
        found = self.finish(solution.problem, state, Status.INTERRUPTED)
        return dataclasses.replace(found, provenance=solution.provenance)

    # ------------------------------------------------------------------ inside

    @property
    def _trigger(self) -> Every | AtTimes | None:
        return save_trigger(self.save_at)

    def _begin(
        self, problem: TransportProblem, initial: TransportMap | Solution | None
    ) -> FlowState:
        """Return the first state, whatever it is like."""
        equation = self._equation(problem)
        discretised, kernels = equation.problem, equation.kernels
        point = Point.at(equation, equation.pad(first_values(kernels, discretised, initial)))
        average = None
        if self._averages(discretised):
            total = getattr(initial, "average", None)
            average = AverageDensity(kernels, discretised, problem.reference)
            if total is not None and total.grid == average.grid:
                # a measure is normalised; the sum over the iterates is the time times that
                average.total = total.values * float(initial.history["t"][-1])  # type: ignore[union-attr]
        recorder = Recorder(equation, self.comparator)
        return start_state(equation, recorder, point, initial, average, self._trigger)

    def _equation(self, problem: TransportProblem) -> FlowEquation:
        discretised = lay_grid(self, problem, moments=False)
        if self.comparator is not None and self.comparator.dim != problem.dim:
            raise InputError(
                f"the comparator has dimension {self.comparator.dim} and the problem {problem.dim}"
            )
        return FlowEquation(backends.get(self.backend), discretised)

    def _averages(self, problem: Discretisation) -> bool:
        if self.average is not None:
            return self.average
        return problem.side == "target" or problem.grid.dim == 1

    def _ended(self, state: FlowState) -> bool:
        if self.steps is not None and state.scheduled >= self.steps:
            return True
        return self._end > 0.0 and state.t >= self._end * (1.0 - _SAME)

    @property
    def _end(self) -> float:
        """Time at which the run ends; 0 if only the number of steps says so."""
        if self.t_final is not None:
            return self.t_final
        times = getattr(self._trigger, "times", None)
        return 0.0 if self.steps is not None or not times else float(times[-1])

    def _next_length(self, state: FlowState) -> tuple[float, float]:
        """Return the next step's length, cut at the next time that counts, and the planned one."""
        planned = state.next_step
        if not planned > 0.0:
            if self.schedule is not None:
                planned = self.schedule.step_size(state.scheduled, self.steps)
            elif self.stepper.controlled:
                planned = self._first_length(state)
            else:
                planned = math.inf
        length = planned
        if isinstance(self.stepper, ExplicitEuler):
            length = self._stable(self.stepper, state, planned)
        left = next_time(self._trigger, state.t, self.t_final) - state.t
        if left <= length * (1.0 + _SAME):
            return left, planned
        # two equal steps rather than a long one and a very short one
        if self.schedule is None and left < 2.0 * length:
            return 0.5 * left, planned
        return length, planned

    def _stable(self, stepper: ExplicitEuler, state: FlowState, planned: float) -> float:
        """Shorten an explicit step to the stability limit where that is allowed."""
        limit = stepper.safety / state.point.stiffness
        free = self.schedule is None or isinstance(self.schedule, Adaptive)
        if planned <= limit:
            return planned
        if free:
            return limit
        if stepper.substep:
            return planned / math.ceil(planned / limit)
        return planned

    def _first_length(self, state: FlowState) -> float:
        """Length of the first step under error control, from the size of the rate."""
        return _FIRST * state.spread / max(state.speed, 1e-12)

    def _tolerance(self, state: FlowState) -> float | None:
        """Error that a step may have, or None if that is not asked for."""
        if self.schedule is not None or not self.stepper.controlled:
            return None
        stepper: Any = self.stepper
        return float(stepper.atol + stepper.rtol * state.spread)

    def _refused(self, state: FlowState, length: float) -> bool:
        """Whether a step is explicit and beyond its stability limit."""
        explicit = isinstance(self.stepper, ExplicitEuler)
        return explicit and length * state.point.diffusion > 1.0 + _SAME

    def _may_shorten(self) -> bool:
        """Whether a step that failed may be tried again, shorter."""
        if self.schedule is not None:
            return isinstance(self.schedule, Adaptive)
        return True

    def _judge(
        self, state: FlowState, stepped: Stepped, tolerance: float | None
    ) -> tuple[float, bool]:
        """Return by how much the next length differs, and whether the step is accepted."""
        point = stepped.point
        if stepped.failed or not point.finite or not point.convex(state.equation):
            return 0.25, False
        if isinstance(self.schedule, Adaptive):
            accepted = point.low >= self.schedule.keep * state.point.low
            return (self.schedule.growth if accepted else 0.5), accepted
        if tolerance is None or stepped.error is None:
            return 1.0, True
        ratio = state.equation.deviation(stepped.error) / tolerance
        factor = 0.9 * max(ratio, 1e-10) ** (-1.0 / self.stepper.error_order)
        return min(max(factor, 0.2), 5.0), ratio <= 1.0

    def _plan(
        self, state: FlowState, length: float, planned: float, factor: float
    ) -> tuple[int, float]:
        """Return how many steps of the schedule are done, and the length of the next one."""
        if isinstance(self.schedule, Adaptive):
            return state.scheduled + 1, min(factor * length, float(self.schedule.largest))
        if self.schedule is not None:
            left = planned - length
            if left > _SAME * planned:
                return state.scheduled, left
            return state.scheduled + 1, 0.0
        if not self.stepper.controlled:
            return state.scheduled + 1, 0.0
        # a step that was cut short for a saved time says little against the planned one
        longest = length * factor
        return state.scheduled + 1, max(longest, planned) if factor >= 1.0 else longest

    def _failed(self, state: FlowState, stepped: Stepped) -> FlowState:
        """End with the last good state."""
        point = stepped.point
        if not point.finite:
            status = Status.DIVERGED
        elif stepped.failed or not point.convex(state.equation):
            status = Status.LOST_CONVEXITY
        else:
            status = Status.STALLED
        why = {
            Status.DIVERGED: "every step leaves the finite numbers",
            Status.LOST_CONVEXITY: "no step keeps the potential convex",
            Status.STALLED: "no step is accurate enough",
        }[status]
        message = (
            f"from t = {state.t:.6g} {why} (smallest eigenvalue {state.point.low:.1e}); the result "
            "is the state there"
        )
        return dataclasses.replace(state, status=status, message=message)


def _drifted(state: FlowState, length: float) -> Stepped:
    """Make a step in which nothing but the constant moves."""
    drift = state.equation.mean(state.point.rate)
    return Stepped(Point.at(state.equation, state.point.u + length * drift), None, 1, 0)


def _check_comparator(given: Any) -> None:
    """Refuse what is no normalised measure."""
    if isinstance(given, type) or not isinstance(given, Measure):
        raise InputError(
            f"comparator={given!r} is not a measure; give one such as Gaussian([0.0], 1.0)"
        )
    if not given.normalized:
        raise InputError(
            "the comparator must be normalised: its divergences are compared with the target's"
        )


def _check_rule(name: str, given: Any, method: str, example: str) -> None:
    """Refuse what is no stepper or no schedule."""
    if isinstance(given, type) or not callable(getattr(given, method, None)):
        raise InputError(f"{name}={given!r} is not a {name}; give one such as {example}")
