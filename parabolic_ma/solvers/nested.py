"""The nested Newton iteration: cold start, one Newton step at a time, grid after grid.

Every method here takes a frozen state and returns a new one; arrays in a state are never written
again, so that the last good state can always be returned. The equation on one grid is behind the
`Equation` protocol: two-dimensional, one-dimensional or conservative.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from parabolic_ma.operators.discretise import Discretisation
from parabolic_ma.operators.transfer import blur_log
from parabolic_ma.solvers.iterate import Iterate, Measured, prolong
from parabolic_ma.status import Status
from parabolic_ma.typing import Array

__all__ = [
    "EXACT_RESIDUAL",
    "EXTENSION_MASS",
    "Equation",
    "NestedState",
    "Plan",
    "advance",
    "allowed_extension",
    "begin",
]

EXTENSION_MASS = 1e-8
"""Mass on which the extended logarithm may be active in a converged result, nothing being cut."""

EXACT_RESIDUAL = 1e-6
"""Weighted residual of an affine map that is taken for exact."""

_FIRST_TIME_STEP = 1e3
_COLD_TIME_STEP = 100.0
_TELLING_TIME_STEP = 100.0
_GROWTH = 1.5  # of chi on which a step is undone, warm
_COLD_GROWTH = 1.2
_HARMLESS = 3e-3  # chi below which growth is never undone: tails settle while the bulk is done
_MOST_REJECTIONS = 4
_COLD_GOAL = 0.06  # chi at which the next share of the defensive mixture is taken
_FIRST_DIVISOR = 15.0
_DIVISOR_GROWTH = 2.0
_LAST_SHARE = 1e-5
_MOST_COLD_FAILURES = 6
_COARSEST_GOAL = 3e-3  # chi at which the coarsest grid is left
_COARSE_STEPS = 8
_COARSE_RATIO = 0.06  # algebraic over discretisation error on all grids but the last
_FINE_RATIO = 0.1
_EASY = 5e-2  # linear reduction asked of the multigrid
_TIGHT = 1e-2  # the same where a tolerance is to be met
_SOUND = 5e-3  # chi above which a result is never called solved
_CLEARLY_CONVEX = 1e-3  # least eigenvalue that one small step cannot change the sign of
_STALL = 8  # steps without progress on the last grid


class Equation(Protocol):
    """The discrete equation on one grid."""

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    log_source: Array

    def affine(self) -> Iterate:
        """The affine start."""

    def improved(self, iterate: Iterate) -> Iterate:
        """Return a better start where one is to be had for little, else the iterate."""

    def affine_pullback(self) -> Array:
        """Log density that the affine map carries to the inner measure."""

    def linearise(self, iterate: Iterate, pseudo_time: float, log_source: Array) -> Measured:
        """Assemble the Newton system at an iterate and measure its residual."""

    def correct(
        self, iterate: Iterate, measured: Measured, tolerance: float
    ) -> tuple[Iterate, float, int, float]:
        """Return the corrected iterate, the map's change, cycles used and linear reduction."""

    def convexify(self, iterate: Iterate) -> Iterate:
        """Repair light cells where the potential is not convex."""

    def distance(self, a: Iterate, b: Iterate) -> float:
        """Root mean square distance of two maps."""

    def release(self) -> None:
        """Let go of the buffers, which are made anew when they are needed."""


@dataclass(frozen=True, eq=False)
class Plan:
    """What does not change during a run."""

    problem: Discretisation
    sources: tuple[Array, ...]
    """Normalised log density of the grid side's measure on every grid, coarsest first."""
    equation: Any
    """Makes the `Equation` of a grid from its log source."""
    kernels: Any
    tolerance: float | None
    """Weighted residual to polish to; None stops at discretisation accuracy."""
    max_steps: int
    exact: bool
    """Whether the affine map already solves the problem: then there is nothing to nest."""
    continuation: bool
    """Whether the coldest start goes through the defensive mixture."""
    halvings: int
    """Times that a step may be halved before it is undone and the time step shrinks."""
    sharp: bool
    """Whether the last two grids are polished well below their discretisation error."""


@dataclass(frozen=True)
class _Mixture:
    """Continuation in the share of the defensive mixture at the coldest start."""

    share: float
    solved: float
    """Smallest share that was solved; 1 is the affine map itself."""
    divisor: float
    safe: Iterate
    failures: int = 0


@dataclass(frozen=True, eq=False)
class NestedState:
    """Everything that the next step depends on."""

    plan: Plan
    index: int
    """Which grid, 0 being the coarsest."""
    equation: Equation
    source: Array
    """Log density that the current steps are for: blurred or mixed at a cold start."""
    iterate: Iterate
    entry: Iterate
    """As prolonged to this grid."""
    previous: Iterate | None = None
    chi: float = math.inf
    """Merit of ``previous``."""
    pseudo_time: float = _FIRST_TIME_STEP
    steps: int = 0
    """Newton steps on this grid (or for this share of the mixture)."""
    rejections: int = 0
    change: float = math.nan
    ratio: float = 0.3
    """Factor by which a step, its system solved to ``paired``, was seen to shrink the error."""
    paired: float = 0.05
    reduction: float = 0.05
    """Linear reduction of the last step."""
    algebraic: float = math.inf
    discretisation: float = math.nan
    """Estimated discretisation error of ``judged``: a third of its distance to ``entry``."""
    judged: Iterate | None = None
    best: float = math.inf
    """Smallest merit on this grid."""
    best_iterate: Iterate | None = None
    idle: int = 0
    mixture: _Mixture | None = None
    coarser: tuple[Iterate, ...] = ()
    """Results on the coarser grids, in order."""
    changes: tuple[float, ...] = ()
    """How far the map moved between successive grids, by grid."""
    rows: tuple[Mapping[str, Any], ...] = ()
    started: float = field(default_factory=time.perf_counter)
    status: Status | None = None
    cycles: int = 0
    """Multigrid cycles so far."""
    newton_steps: int = 0
    """Linear systems solved so far; a row of the history may only have measured."""

    @property
    def progress(self) -> Mapping[str, Any]:
        """The last row of the history."""
        return self.rows[-1] if self.rows else {}

    @property
    def last_grid(self) -> bool:
        """Whether this is the grid that was asked for."""
        return self.index == len(self.plan.sources) - 1


def begin(plan: Plan, initial: Iterate | None) -> NestedState:
    """Start on the coarsest grid from the affine map, or on the last one from ``initial``."""
    cold = initial is None and not plan.exact
    index = 0 if cold else len(plan.sources) - 1
    equation = plan.equation(plan.sources[index])
    start = equation.improved(equation.affine()) if initial is None else initial
    source = _source(plan, index) if cold else plan.sources[index]
    state = NestedState(plan, index, equation, source, start, start)
    if cold and plan.continuation:
        return _mix(state, _Mixture(0.5, 1.0, _FIRST_DIVISOR, start))
    return state


def advance(state: NestedState) -> NestedState:
    """Make one Newton step: measure, undo or accept, go to the next grid when this one is done."""
    if state.newton_steps >= state.plan.max_steps:
        return _ended(state, Status.MAX_STEPS)
    state, measured = _measure(state)
    if state.status is not None:
        return state
    state = _record(state, measured)
    if state.rejections > _MOST_REJECTIONS and state.mixture is None:
        return _give_up(state)
    if state.mixture is not None:
        settled = _continue_mixture(state, measured)
        if settled is not None:
            return settled
    elif _is_solved(state, measured) or _is_accurate(state):
        if not state.last_grid or _is_sound(state, measured):
            return _next_grid(state)
        state, measured = _repair(state, measured)
        if _is_sound(state, measured):
            return _next_grid(state)
    if state.mixture is None and state.last_grid and state.idle >= _STALL:
        return _ended(state, Status.STALLED)
    state = _newton_step(state, measured)
    if state.mixture is not None or not _is_accurate(state):
        return state
    # a map that was convex by far before a step this small needs no further look
    convex = measured.min_eigenvalue > _CLEARLY_CONVEX and measured.chi <= 4.0 * _SOUND
    return _next_grid(state) if convex or not state.last_grid else state


def _measure(state: NestedState) -> tuple[NestedState, Measured]:
    """Linearise at the iterate; shorten or undo the last step if chi grew."""
    measured = state.equation.linearise(state.iterate, state.pseudo_time, state.source)
    previous = state.previous
    if previous is not None:
        halvings = 0
        while not _acceptable(state, measured) and halvings < state.plan.halvings:
            halvings += 1
            middle = _midpoint(previous, state.iterate)
            state = dataclasses.replace(state, iterate=middle, change=0.5 * state.change)
            measured = state.equation.linearise(middle, state.pseudo_time, state.source)
        if _acceptable(state, measured):
            faster = max(3.0, 1.5 * state.chi / max(_merit(state, measured), 1e-300))
            state = dataclasses.replace(state, pseudo_time=min(state.pseudo_time * faster, 1e12))
        else:
            pseudo_time = min(state.pseudo_time, 10.0) / 6.0
            state = dataclasses.replace(
                state,
                iterate=previous,
                pseudo_time=pseudo_time,
                rejections=state.rejections + 1,
            )
            measured = state.equation.linearise(state.iterate, pseudo_time, state.source)
    if not measured.finite:
        state = _ended(state, Status.DIVERGED)
    return state, measured


def _merit(state: NestedState, measured: Measured) -> float:
    """What must fall: chi, which also sees images that land where no mass came from.

    Where a tolerance is to be met it is the residual itself.
    """
    polishing = state.last_grid and state.plan.tolerance is not None and state.mixture is None
    return measured.residual if polishing else measured.chi


def _acceptable(state: NestedState, measured: Measured) -> bool:
    """Whether the merit has not grown by more than may be forgiven."""
    if state.mixture is not None:
        bound = _COLD_GROWTH * state.chi
    elif state.plan.halvings:
        bound = state.chi
    elif state.plan.tolerance is None:
        bound = max(_GROWTH * state.chi, _HARMLESS)
    else:
        bound = _GROWTH * state.best
    return measured.finite and _merit(state, measured) <= bound


def _midpoint(a: Iterate, b: Iterate) -> Iterate:
    return Iterate(0.5 * (a.u + b.u), 0.5 * (a.log_c + b.log_c))


def _give_up(state: NestedState) -> NestedState:
    """Leave a grid on which no step is accepted: the next one may do better."""
    return _ended(state, Status.STALLED) if state.last_grid else _next_grid(state)


def _repair(state: NestedState, measured: Measured) -> tuple[NestedState, Measured]:
    """Convexify light cells; keep the result if it balances the masses as well as before.

    The system of the repaired iterate, or again of the old one, is left assembled.
    """
    iterate = state.equation.convexify(state.iterate)
    if iterate is state.iterate:
        return state, measured
    figures = state.equation.linearise(iterate, state.pseudo_time, state.source)
    if figures.finite and figures.chi <= 1.1 * measured.chi:
        return dataclasses.replace(state, iterate=iterate), figures
    return state, state.equation.linearise(state.iterate, state.pseudo_time, state.source)


def _ended(state: NestedState, status: Status) -> NestedState:
    """End without success, with the best iterate of this grid."""
    best = state.iterate if state.best_iterate is None else state.best_iterate
    return dataclasses.replace(state, status=status, iterate=best)


def _record(state: NestedState, measured: Measured) -> NestedState:
    row = {
        "step": len(state.rows),
        "level": "x".join(map(str, state.equation.shape)),
        "cells": math.prod(state.equation.shape),
        "step_size": state.pseudo_time,
        "residual": measured.residual,
        "residual_max": measured.largest,
        "mass_error": state.iterate.log_c + math.log(max(measured.mass, 1e-300) / measured.total)
        if measured.total > 0.0
        else math.nan,
        "min_eigenvalue": measured.min_eigenvalue,
        "map_change": state.change,
        "newton_steps": state.newton_steps,
        "cycles": state.cycles,
        "mixture": 0.0 if state.mixture is None else state.mixture.share,
        "seconds": time.perf_counter() - state.started,
    }
    merit = _merit(state, measured)
    best = merit < state.best
    return dataclasses.replace(
        state,
        rows=(*state.rows, row),
        best=min(state.best, merit),
        best_iterate=state.iterate if best else state.best_iterate,
        idle=0 if merit < 0.9 * state.best else state.idle + 1,
    )


def _newton_step(state: NestedState, measured: Measured) -> NestedState:
    polishing = state.last_grid and state.plan.tolerance is not None
    tolerance = _TIGHT if polishing else _EASY
    corrected, change, cycles, reduction = state.equation.correct(
        state.iterate, measured, tolerance
    )
    # what the last step left is what this one moves by
    ratio, paired = state.ratio, state.paired
    if state.steps > 0 and state.change > 0.0:
        ratio, paired = min(0.9, change / state.change), state.reduction
    contraction = ratio * max(1.0, reduction / paired)
    if state.plan.sharp:
        # smooth errors count here, which a step may shrink by less than it did on coarser grids
        contraction = max(contraction, reduction)
    left = change * min(0.9, contraction)
    first = state.iterate is state.entry
    moved = change if first else state.equation.distance(corrected, state.entry)
    return dataclasses.replace(
        state,
        iterate=corrected,
        previous=state.iterate,
        chi=_merit(state, measured),
        steps=state.steps + 1,
        change=change,
        ratio=ratio,
        paired=paired,
        reduction=max(reduction, 1e-3),
        cycles=state.cycles + cycles,
        newton_steps=state.newton_steps + 1,
        # a step cut short by its pseudo-time says nothing about the distance that is left
        algebraic=left if state.pseudo_time >= _TELLING_TIME_STEP else math.inf,
        discretisation=moved / 3.0,
        judged=corrected,
    )


def _is_solved(state: NestedState, measured: Measured) -> bool:
    """Whether the residual at the iterate ends the work on this grid."""
    tolerance = state.plan.tolerance
    if state.last_grid and tolerance is not None:
        return measured.residual <= tolerance
    if state.steps == 0:
        # an exact start (equal measures, Gaussians) needs no step at all
        return measured.residual <= EXACT_RESIDUAL
    if state.last_grid:
        return len(state.plan.sources) == 1 and measured.residual <= 1e-6
    if state.index == 0:
        goal = 1e-7 if state.plan.sharp and len(state.plan.sources) == 2 else _COARSEST_GOAL
        return measured.chi < goal
    return False


def _is_accurate(state: NestedState) -> bool:
    """Whether the estimated algebraic error ends the work on this grid.

    The map's distance to the one prolonged from the grid before is three times the
    discretisation error of a second-order method; the last step times the contraction estimates
    what is left of the algebraic error.
    """
    if state.last_grid:
        if state.plan.tolerance is not None or len(state.plan.sources) == 1:
            return False
    elif state.steps >= _COARSE_STEPS:
        return True
    if state.index == 0:
        return False
    ratio = _FINE_RATIO if state.last_grid else _COARSE_RATIO
    if state.plan.sharp and state.index >= len(state.plan.sources) - 2:
        ratio *= 0.02
    return state.algebraic <= ratio * state.discretisation


def _is_sound(state: NestedState, measured: Measured) -> bool:
    """Whether the potential is convex where there is mass and the masses nearly balance."""
    allowed = allowed_extension(state.plan.problem)
    return measured.extended_mass <= 0.9 * allowed and measured.chi <= _SOUND


def allowed_extension(problem: Discretisation) -> float:
    """Mass on which the extended logarithm may be active in a converged result.

    Cells next to a face that cuts off mass cannot be solved better than the cut.
    """
    return max(EXTENSION_MASS, problem.truncated_mass)


def _next_grid(state: NestedState) -> NestedState:
    """Finish, or prolong to the next grid."""
    moved = math.nan
    if state.index and state.judged is state.iterate:
        moved = 3.0 * state.discretisation
    elif state.index:
        moved = state.equation.distance(state.iterate, state.entry)
    changes = (*state.changes, moved)
    if state.last_grid:
        return dataclasses.replace(state, status=Status.CONVERGED, changes=changes)
    plan, index = state.plan, state.index + 1
    state.equation.release()
    equation = plan.equation(plan.sources[index])
    iterate = prolong(plan.kernels, state.iterate, equation.shape, plan.problem.boundary)
    return NestedState(
        plan,
        index,
        equation,
        _source(plan, index),
        equation.improved(iterate),
        iterate,
        ratio=min(0.5, state.ratio) if state.steps else 0.3,
        paired=state.paired,
        coarser=(*state.coarser, state.iterate),
        changes=changes,
        rows=state.rows,
        started=state.started,
        cycles=state.cycles,
        newton_steps=state.newton_steps,
    )


def _source(plan: Plan, index: int) -> Array:
    """The log density to solve for: blurred on the coarsest grids of a cold start.

    Without it features narrower than a coarse cell lose the iteration; on finer grids it would
    spoil the guess of the next one.
    """
    log_source = plan.sources[index]
    grids = len(plan.sources)
    passes = {0: 2, 1: 1 if grids > 4 else 0}.get(index, 0)
    if plan.problem.boundary == "free" and grids > 1 and passes:
        blurred = plan.kernels.to_numpy(log_source)
        for _ in range(passes):
            blurred = blur_log(blurred)
        log_source = plan.kernels.asarray(blurred)
    return log_source


def _mix(state: NestedState, mixture: _Mixture) -> NestedState:
    """Take up a share: mix the source with what the affine map solves exactly."""
    plan = state.plan
    pullback = state.equation.affine_pullback()
    blurred = plan.kernels.to_numpy(_source(plan, 0))
    source = plan.kernels.asarray(
        np.logaddexp(blurred + math.log1p(-mixture.share), pullback + math.log(mixture.share))
    )
    return dataclasses.replace(
        state, source=source, iterate=mixture.safe, entry=mixture.safe, previous=None,
        chi=math.inf, pseudo_time=_COLD_TIME_STEP, steps=0, rejections=0, mixture=mixture,
        best=math.inf, best_iterate=None, idle=0,
    )  # fmt: skip


def _continue_mixture(state: NestedState, measured: Measured) -> NestedState | None:
    """Go to the next share when this one is solved, back when it cannot be; else None."""
    mixture = state.mixture
    if mixture is None:
        return None
    if (state.steps >= 1 and measured.chi < _COLD_GOAL) or measured.chi < 1e-9:
        if mixture.share <= _LAST_SHARE or (measured.chi < 1e-9 and mixture.solved == 1.0):
            return _settle(state)
        share = max(mixture.share / mixture.divisor, _LAST_SHARE)
        return _mix(
            state,
            _Mixture(share, mixture.share, _DIVISOR_GROWTH * mixture.divisor, state.iterate),
        )
    most = 8 if mixture.share <= 10 * _LAST_SHARE else 4
    if state.steps < most and state.rejections <= _MOST_REJECTIONS:
        return None
    if mixture.failures >= _MOST_COLD_FAILURES:
        return _settle(state)
    return _mix(
        state,
        dataclasses.replace(
            mixture,
            share=math.sqrt(mixture.share * mixture.solved),
            divisor=max(math.sqrt(mixture.divisor), 1.5),
            failures=mixture.failures + 1,
        ),
    )


def _settle(state: NestedState) -> NestedState:
    """Leave the continuation: from here on the source itself is solved."""
    return dataclasses.replace(
        state, source=_source(state.plan, 0), entry=state.iterate, previous=None, chi=math.inf,
        pseudo_time=_FIRST_TIME_STEP, steps=0, rejections=0, mixture=None, best=math.inf,
        best_iterate=None, idle=0,
    )  # fmt: skip
