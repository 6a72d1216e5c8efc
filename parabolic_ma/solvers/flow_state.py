"""The state of a run in time, shared by the flows on a grid, and the result made of it."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from parabolic_ma.maps import TransportMap
from parabolic_ma.measures import GridDensity
from parabolic_ma.operators.discretise import Discretisation
from parabolic_ma.operators.grid_map import GridMap
from parabolic_ma.problem import TransportProblem
from parabolic_ma.solution import (
    Certificate,
    GridFields,
    History,
    Provenance,
    Solution,
)
from parabolic_ma.solvers.certificate import Convergence, dual_value, judge
from parabolic_ma.solvers.flow_average import AverageDensity
from parabolic_ma.solvers.flow_equation import FlowEquation
from parabolic_ma.solvers.flow_record import Observed, Recorder
from parabolic_ma.solvers.grid_settings import is_number
from parabolic_ma.solvers.iterate import interior, start_from
from parabolic_ma.solvers.steppers import Point
from parabolic_ma.status import InputError, Status
from parabolic_ma.triggers import AtTimes, Every, Moment, at_times
from parabolic_ma.typing import Array

__all__ = [
    "FlowState",
    "advanced",
    "at_time",
    "first_values",
    "interrupted",
    "next_time",
    "result",
    "save_trigger",
    "start_state",
]

_FLOW = "a flow runs on one grid: compare with a finer one"
_REASONS = {"observed_order": _FLOW, "map_error": _FLOW, "w2_error": _FLOW}
_SAME_TIME = 1e-9


@dataclass(frozen=True, eq=False)
class FlowState:
    """Where a run in time stands."""

    equation: FlowEquation
    recorder: Recorder
    point: Point
    """The iterate."""
    observed: Observed
    t: float
    step: int
    scheduled: int
    """Steps of the schedule that are done."""
    next_step: float
    """Length to try next, or what is left of the schedule's step; 0: ask the schedule."""
    rows: list[Mapping[str, Any]]
    """Of the history, one for every iterate; a run appends to one list."""
    saved: tuple[tuple[float, TransportMap], ...]
    average: AverageDensity | None
    evaluations: int
    cycles: int
    status: Status | None = None
    message: str = ""
    started: float = field(default_factory=time.perf_counter)

    @property
    def progress(self) -> Mapping[str, Any]:
        """The last row of the history."""
        return self.rows[self.step]

    @cached_property
    def spread(self) -> float:
        """Standard deviation of the potential."""
        values = self.observed.iterate.potential
        return self.equation.deviation(values - self.equation.mean(values))

    @cached_property
    def speed(self) -> float:
        """Standard deviation of the rate."""
        rate = self.point.rate
        return self.equation.deviation(rate - self.equation.mean(rate))

    @property
    def moment(self) -> Moment:
        """Steps, seconds and time since the start."""
        return Moment(self.step, float(self.progress["seconds"]), self.t)


def save_trigger(given: Any) -> Every | AtTimes | None:
    """Return what says when an iterate is kept."""
    if given is None or isinstance(given, Every | AtTimes):
        return given
    return at_times(given)


def interrupted(initial: Any) -> bool:
    """Whether a run starts from one that was interrupted, perhaps after its last step."""
    return isinstance(initial, Solution) and initial.status is Status.INTERRUPTED


def _continued(initial: Any) -> Mapping[str, Any] | None:
    """Return the last row of a flow's history if ``initial`` is the result of a flow."""
    if not isinstance(initial, Solution) or "t" not in initial.history:
        return None
    history = initial.history
    if not history.rows or not math.isfinite(float(history["t"][-1])):
        return None
    return {name: history[name][-1] for name in history}


def start_state(
    equation: FlowEquation,
    recorder: Recorder,
    point: Point,
    initial: Any,
    average: AverageDensity | None,
    trigger: Every | AtTimes | None,
) -> FlowState:
    """Return the first state: at time 0, or where the flow of ``initial`` stopped."""
    observed = recorder.observe(point.u)
    last = _continued(initial)
    state = FlowState(equation, recorder, point, observed, 0.0, 0, 0, 0.0, [], (), average, 1, 0)
    if last is None:
        state.rows.append(_row(state, None, 0.0, {}))
        if trigger is not None and trigger.count(Moment(0, 0.0, 0.0)) > 0:
            state = dataclasses.replace(state, saved=((0.0, _map(equation, point.u)),))
        return state
    history = initial.history
    state.rows.extend({name: history[name][k] for name in history} for k in range(history.rows))
    return dataclasses.replace(
        state, t=float(last["t"]), step=int(last["step"]),
        scheduled=int(last.get("scheduled", 0)), next_step=float(last.get("next_step", 0.0)),
        evaluations=int(last.get("evaluations", 0)), cycles=int(last.get("cycles", 0)),
        saved=initial.saved, started=state.started - float(last["seconds"]),
    )  # fmt: skip


def advanced(
    state: FlowState,
    point: Point,
    step: float,
    t: float,
    trigger: Every | AtTimes | None,
    **changes: Any,
) -> FlowState:
    """Take up an iterate at time ``t``: record it, and keep it when it is due."""
    average = state.average
    if average is not None:
        potential = state.equation.potential(state.point.u)
        average = average.added(state.observed.parts, potential, step)
    following = dataclasses.replace(
        state, point=point, observed=state.recorder.observe(point.u), t=t, step=state.step + 1,
        average=average, **changes,
    )  # fmt: skip
    row = _row(following, state.observed, step, state.rows[state.step])
    due = False
    if trigger is not None:
        after = Moment(following.step, row["seconds"], t)
        due = trigger.count(after) > trigger.count(state.moment)
    # an interrupt may have left a row whose state was never taken up
    state.rows[following.step :] = [row]
    if due:
        kept = (*following.saved, (t, _map(state.equation, point.u)))
        following = dataclasses.replace(following, saved=kept)
    return following


def next_time(trigger: Every | AtTimes | None, t: float, t_final: float | None) -> float:
    """Return the next time that a step must not pass."""
    goals = [math.inf if t_final is None else t_final]
    if isinstance(trigger, AtTimes):
        goals += [s for s in trigger.times if s > t + _SAME_TIME * abs(t)]
    elif trigger is not None and trigger.quantity == "time":
        interval = trigger.interval
        goal = (math.floor(t / interval + _SAME_TIME) + 1) * interval
        # an interval below the spacing of numbers at t cannot be met
        goals.append(goal if goal > t * (1.0 + _SAME_TIME) else math.inf)
    return min(goals)


def _row(
    state: FlowState, before: Observed | None, step: float, last: Mapping[str, Any]
) -> dict[str, Any]:
    """Make the row of a state's iterate."""
    shape = state.equation.shape
    row = {
        "step": state.step,
        "t": state.t,
        "level": "x".join(map(str, shape)),
        "cells": math.prod(shape),
        "step_size": step if before is not None else math.nan,
        **state.recorder.row(state.observed, before, step, last),
        "step_limit": 1.0 / state.point.diffusion if state.point.diffusion > 0.0 else math.inf,
        "kl_average": math.nan,
        "scheduled": state.scheduled,
        "next_step": state.next_step,
        "evaluations": state.evaluations,
        "cycles": state.cycles,
    }
    if state.average is not None and before is not None:
        row["kl_average"] = state.average.kl()
    row["seconds"] = time.perf_counter() - state.started
    return row


def _map(equation: FlowEquation, u: Array) -> GridMap:
    """The map of a padded correction."""
    return GridMap(equation.potential(u), equation.problem.side)


def result(
    problem: TransportProblem, solver: Any, state: FlowState, status: Status, gradient: Array | None
) -> Solution:
    """Judge a state and make it a result.

    ``gradient`` replaces the centred differences, where a solver knows its map better.
    """
    equation, parts = state.equation, state.observed.parts
    discretised = equation.problem
    potential = equation.potential(state.point.u)
    nothing = Convergence(math.nan, (), math.nan, math.nan, math.nan, False)
    judgement = judge(
        equation.kernels, discretised, parts, interior(state.point.u),
        dual_value(equation.kernels, discretised, potential), nothing,
        sum(getattr(m, "floored_mass", 0.0) for m in (problem.reference, problem.target)),
    )  # fmt: skip
    certificate: Certificate = dataclasses.replace(judgement.certificate, reasons=_REASONS)
    message = state.message or (
        f"t = {state.t:.6g} after {state.step} steps, {state.evaluations} evaluations of the "
        f"rate, {state.cycles} multigrid cycles, on grid {'x'.join(map(str, equation.shape))}: "
        f"KL {judgement.kl:.2e}"
    )
    if status is Status.CONVERGED and not certificate.rounding_floor < 1.0:
        status = Status.DIVERGED
        message += (
            f"; the potential has grown to {np.abs(state.point.u).max():.1e}, and rounding leaves "
            "nothing of its shape"
        )
    average: GridDensity | None = None
    if state.average is not None and state.average.total.any():
        average = state.average.measure()
    side = discretised.side
    return Solution(
        problem=problem,
        map=GridMap(potential, side),
        side=side,
        status=status,
        message=message,
        log_evidence=judgement.log_evidence,
        w2_squared=judgement.w2_squared,
        kl=judgement.kl,
        kl_reverse=judgement.kl_reverse,
        certificate=certificate,
        history=History.from_rows(state.rows[: state.step + 1]),
        provenance=Provenance(backend=solver.backend, threads=1),
        solver=solver,
        fields=GridFields(
            potential, parts.gradient if gradient is None else gradient, parts.log_det,
            discretised.log_source, parts.log_inner,
        ),
        saved=state.saved,
        average=average,
    )  # fmt: skip


def first_values(kernels: Any, problem: Discretisation, initial: Any) -> Array:
    """Return the correction to start from: none, or that of a map.

    A map on this very grid gives its own values, so that a run can go on bit for bit.
    """
    if initial is None:
        return np.zeros(problem.grid.shape)
    transport = initial.map if isinstance(initial, Solution) else initial
    if isinstance(transport, GridMap) and transport.side == problem.side:
        potential = transport.grid_potential
        pairs = (
            (potential.matrix, problem.matrix),
            (potential.center, problem.center),
            (potential.image, problem.image),
        )
        here = potential.boundary == problem.boundary and potential.grid == problem.grid
        if here and all(np.array_equal(a, b) for a, b in pairs):
            return potential.correction
    return kernels.to_numpy(interior(start_from(kernels, problem, initial).u))


def at_time(solution: Solution, t: float) -> Solution:
    """Cut a flow's result to what it was at a saved time, all but the judgement."""
    if not is_number(t):
        raise InputError(f"t={t!r} must be a number, one of the saved times")
    for saved, transport in solution.saved:
        if abs(saved - t) <= _SAME_TIME * abs(t):
            rows = int(np.searchsorted(solution.history["t"], saved, side="right"))
            history = History({k: v[:rows] for k, v in solution.history.items()})
            kept = tuple((s, m) for s, m in solution.saved if s <= saved)
            return dataclasses.replace(
                solution, map=transport, history=history, saved=kept, average=None
            )
    times = ", ".join(f"{s:g}" for s, _ in solution.saved)
    raise InputError(f"nothing was saved at t={t:g}; saved times: {times or 'none'} (save_at=)")
