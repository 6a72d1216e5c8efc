"""The methods of the table; every one is given the same training points."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.neural_baselines.entropic_map import EntropicMap
from benchmarks.neural_baselines.flow_matching import FlowMatching
from benchmarks.neural_baselines.scoring import Fitted, from_distribution, from_map, from_solution
from benchmarks.neural_baselines.spline_flow import SplineFlow
from benchmarks.neural_baselines.targets import Target

import parabolic_ma as pma
from parabolic_ma.typing import Array

__all__ = ["METHODS", "Method", "settings", "train_points"]

_SETTINGS = Path(__file__).parent / "settings.toml"
_FRESH_SEED = 80_000


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Attributes
    ----------
    name : str
    group : str
        What ``--only`` chooses by, beside the name: ``"baselines"`` or ``"ours"``.
    fit : callable
        Target, training points ``(n, d)`` and seed to a `Fitted`. Its processor time is what the
        table shows. Of the target it may use the name only.
    """

    name: str
    group: str
    fit: Callable[[Target, Array, int], Fitted]


@cache
def _document() -> dict[str, Any]:
    return tomllib.loads(_SETTINGS.read_text(encoding="utf-8"))


def settings(method: str, target: str) -> dict[str, Any]:
    """Return the settings of a method for a target, from ``settings.toml``."""
    table = _document()[method]
    plain = {key: value for key, value in table.items() if not isinstance(value, dict)}
    return plain | table.get(target, {})


def train_points() -> int:
    """Number of points that every method is trained on."""
    return int(_document()["points"])


def _fresh(target: Target, _: Array, seed: int) -> Fitted:
    """Points of the target itself: the noise of every figure."""
    return Fitted(lambda n, _: target.draw(n, _FRESH_SEED + seed))


def _spline_flow(target: Target, points: Array, seed: int) -> Fitted:
    chosen = settings("spline_flow", target.name)
    chosen["hidden"] = tuple(chosen["hidden"])
    return from_distribution(SplineFlow(**chosen).fit(points, seed))


def _flow_matching(target: Target, points: Array, seed: int) -> Fitted:
    chosen = settings("flow_matching", target.name)
    chosen["hidden"] = tuple(chosen["hidden"])
    return from_map(FlowMatching(**chosen).fit(points, seed), target.dim)


def _entropic_map(target: Target, points: Array, seed: int) -> Fitted:
    chosen = settings("entropic_map", target.name)
    return from_map(EntropicMap(**chosen).fit(points, seed), target.dim)


def _ours(method: str) -> Callable[[Target, Array, int], Fitted]:
    """Fit a network of this package by one of its methods for data."""

    def fit(target: Target, points: Array, seed: int) -> Fitted:
        solver = pma.NeuralFlow(
            method=method, seed=seed, threads=1, **settings(method, target.name)
        )
        problem = pma.TransportProblem(target.reference, pma.Samples(points))
        return from_solution(pma.solve(problem, solver, raise_on_failure=False))

    return fit


METHODS = (
    Method("likelihood", "ours", _ours("likelihood")),
    Method("semidual", "ours", _ours("semidual")),
    Method("logistic", "ours", _ours("logistic")),
    Method("score", "ours", _ours("score")),
    Method("the target itself", "baselines", _fresh),
    Method("spline flow", "baselines", _spline_flow),
    Method("flow matching", "baselines", _flow_matching),
    Method("entropic map", "baselines", _entropic_map),
)
