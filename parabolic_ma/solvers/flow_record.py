"""Rows of a flow's history: every quantity of the theorems, from grid quantities only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from parabolic_ma.analysis import theory
from parabolic_ma.measures import Measure
from parabolic_ma.operators.monge_ampere import OperatorFields
from parabolic_ma.solvers.certificate import tail_level
from parabolic_ma.solvers.flow_equation import FlowEquation
from parabolic_ma.typing import Array

__all__ = ["Observed", "Recorder"]

_PREFIX = "comparator_"


@dataclass(frozen=True, eq=False)
class Observed:
    """An iterate as the theory sees it, with the parts of the operator that it is made of."""

    parts: OperatorFields
    iterate: theory.Iterate
    against: Mapping[str, _Against]
    """What the inequalities need, by prefix of their columns."""


@dataclass(frozen=True)
class _Against:
    """An iterate held against the target, or against a comparator."""

    bregman: float
    kl: float
    """Of the comparator from the target; 0 for the target itself."""
    kl_model: float
    """Of the comparator from the model."""
    squared_velocity: float


class Recorder:
    """Observes iterates of one run and makes rows of the history.

    Parameters
    ----------
    equation : FlowEquation
    comparator : Measure, optional
        A normalised measure on the target's side to hold against the iterates.
    """

    def __init__(self, equation: FlowEquation, comparator: Measure | None) -> None:
        self.equation = equation
        self.comparator = comparator
        source = equation.problem.log_source
        self._bulk = source >= tail_level(
            equation.kernels, equation.kernels.asarray(source), equation.problem.grid.cell_volume
        )
        self._quadratic = equation.potential(
            np.zeros(tuple(n + 2 for n in source.shape))
        ).quadratic()

    def observe(self, u: Array) -> Observed:
        """Evaluate everything at a padded correction."""
        problem = self.equation.problem
        parts = self.equation.parts(u)
        rate = parts.log_inner + parts.log_det - problem.log_source
        inner = (slice(1, -1),) * u.ndim
        iterate = theory.Iterate(
            side=problem.side,
            grid=problem.grid,
            periodic=problem.boundary == "periodic",
            log_source=problem.log_source,
            potential=self._quadratic + u[inner],
            gradient=parts.gradient,
            log_det=parts.log_det,
            log_inner=parts.log_inner,
            rate_gradient=self.equation.gradient(rate),
            min_eigenvalue=float(parts.low.min()),
            max_eigenvalue=float(parts.high.max()),
            image_box=problem.inner.box if problem.boundary == "periodic" else None,
        )
        comparators = {"": None} | ({} if self.comparator is None else {_PREFIX: self.comparator})
        against = {
            prefix: _Against(
                theory.bregman_potential(iterate, comparator),
                0.0 if comparator is None else theory.comparator_kl(iterate, comparator),
                theory.comparator_kl_model(iterate, comparator)
                if comparator is not None
                else theory.kl_reverse(iterate),
                theory.comparator_squared_velocity(iterate, comparator),
            )
            for prefix, comparator in comparators.items()
        }
        return Observed(parts, iterate, against)

    def row(
        self,
        now: Observed,
        before: Observed | None,
        step: float,
        last: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Make the row of an iterate, with the quantities of the step that led to it.

        ``last`` is the row before, for the running sums.
        """
        it = now.iterate
        excess = it.rate - it.log_mass
        lower, upper = self._evidence_bounds(it)
        low, high = theory.rate_range(it)
        row = {
            "residual": self.equation.deviation(2.0 * np.tanh(0.5 * excess)),
            "residual_max": float(np.abs(excess)[self._bulk].max()),
            "kl": theory.kl(it),
            "kl_reverse": theory.kl_reverse(it),
            "mass_error": it.log_mass if it.side == "reference" else -it.log_mass,
            "log_evidence_lower": lower,
            "log_evidence_upper": upper,
            "rate_min": low,
            "rate_max": high,
            "min_eigenvalue": it.min_eigenvalue,
            "max_eigenvalue": it.max_eigenvalue,
            "velocity": math.sqrt(now.against[""].squared_velocity),
        }
        for prefix in now.against:
            row |= _inequality(prefix, now, before, step, last)
        return row

    def _evidence_bounds(self, it: theory.Iterate) -> tuple[float, float]:
        """Bounds of the problem's own log evidence, normalisers included."""
        problem = self.equation.problem
        scale = problem.inner.log_normalizer - problem.log_source_normalizer
        lower, upper = theory.log_evidence_bounds(it)
        return (
            (lower + scale, upper + scale)
            if it.side == "reference"
            else (lower - scale, upper - scale)
        )


def _inequality(
    prefix: str, now: Observed, before: Observed | None, step: float, last: Mapping[str, Any]
) -> dict[str, float]:
    """Both sides of the evolution variational inequality of the last step, and its sums."""
    difference = left = right = math.nan
    regret = bound = 0.0
    if before is not None:
        then = before.against[prefix]
        difference = then.bregman - now.against[prefix].bregman
        inequality = theory.evi_sides(
            kl=last["kl"],
            kl_comparator=then.kl,
            kl_comparator_model=then.kl_model,
            bregman_difference=difference,
            step=step,
            squared_velocity=then.squared_velocity,
            min_eigenvalue=now.iterate.min_eigenvalue,
        )
        left, right = inequality.left, inequality.right
        # a comparator that is new to a continued run starts its sums here
        regret = last.get(f"{prefix}regret", 0.0) + step * left
        bound = last.get(f"{prefix}regret_bound", 0.0) + step * right
    return {
        f"{prefix}bregman_difference": difference,
        f"{prefix}evi_left": left,
        f"{prefix}evi_right": right,
        f"{prefix}evi_slack": right - left,
        f"{prefix}regret": regret,
        f"{prefix}regret_bound": bound,
    }
