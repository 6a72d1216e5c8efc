"""How a fitted model is judged: against the exact density, on points it has not seen."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from benchmarks.neural_baselines.targets import Target

import parabolic_ma as pma
from parabolic_ma.typing import Array

__all__ = [
    "FIGURES",
    "Fitted",
    "c2st",
    "c2st_neighbours",
    "from_distribution",
    "from_map",
    "from_solution",
    "score",
    "uvp",
    "w2",
]

FIGURES = {
    "kl": "KL(mu|rho)",
    "kl_reverse": "KL(rho|mu)",
    "sliced_w2": "SW2",
    "c2st": "C2ST",
    "l2_uvp": "UVP %",
}
_TEST_SEED, _MODEL_SEED, _SLICE_SEED = 90_001, 90_002, 90_003
_SLICES = 200


@dataclass(frozen=True, eq=False)
class Fitted:
    """A model, whatever made it.

    Attributes
    ----------
    sample : callable
        Number of points and a seed to points ``(n, d)``.
    log_prob : callable or None
        Log density at points, if the model has one.
    transport : callable or None
        The map of the standard normal, if the model is a map.
    candidate : object
        What `pma.compare` takes.
    """

    sample: Callable[[int, int], Array]
    log_prob: Callable[[Array], Array] | None = None
    transport: Callable[[Array], Array] | None = None
    candidate: object = field(default=None, repr=False)


def from_distribution(law: Any) -> Fitted:
    """Take a torch distribution."""
    import torch
    from benchmarks.neural_baselines.spline_flow import sample

    def log_prob(x: Array) -> Array:
        with torch.no_grad():
            values = law.log_prob(torch.tensor(x, dtype=torch.float32))
        return np.asarray(values.numpy(), dtype=np.float64)

    return Fitted(lambda n, seed: sample(law, n, seed), log_prob, candidate=law)


def from_map(transport: Callable[[Array], Array], dim: int) -> Fitted:
    """Take a map of the standard normal that has no density."""

    def sample(n: int, seed: int) -> Array:
        return transport(np.random.default_rng(seed).standard_normal((n, dim)))

    return Fitted(sample, transport=transport, candidate=transport)


def from_solution(solution: pma.Solution) -> Fitted:
    """Take a solution whose reference is the standard normal."""
    return Fitted(solution.sample, solution.log_prob, solution.map, solution)


def score(target: Target, model: Fitted, n: int = 10_000) -> dict[str, float]:
    """Compare with the target on ``n`` fresh points; what a model does not have is left out."""
    fresh = target.draw(n, _TEST_SEED)
    drawn = model.sample(n, _MODEL_SEED)
    figures: dict[str, float] = {}
    if model.log_prob is not None:
        figures["kl"] = float(np.mean(target.log_prob(fresh) - model.log_prob(fresh)))
        figures["kl_reverse"] = float(np.mean(model.log_prob(drawn) - target.log_prob(drawn)))
    figures["sliced_w2"] = sliced_w2(drawn, fresh)
    figures["c2st"] = c2st(drawn, fresh)
    if target.exact_map is not None and model.transport is not None:
        y = target.reference.sample(n, _TEST_SEED)
        figures["l2_uvp"] = uvp(model.transport(y), target.exact_map(y))
    return figures


def uvp(images: Array, exact: Array) -> float:
    """L2 unexplained variance percentage, 100 E|T - T*|^2 / tr Cov(T*)."""
    variance = float(np.sum(np.var(exact, axis=0)))
    return 100.0 * float(np.mean(np.sum((images - exact) ** 2, axis=-1))) / variance


def sliced_w2(a: Array, b: Array) -> float:
    """Sliced W2 distance of equally many points: root mean square over directions."""
    directions = np.random.default_rng(_SLICE_SEED).standard_normal((a.shape[1], _SLICES))
    directions /= np.linalg.norm(directions, axis=0)
    gaps = np.sort(a @ directions, axis=0) - np.sort(b @ directions, axis=0)
    return math.sqrt(float(np.mean(gaps**2)))


def c2st(a: Array, b: Array) -> float:
    """Accuracy of gradient-boosted trees telling the samples apart, 5-fold; 0.5 is chance."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    points = np.concatenate([a, b])
    labels = np.repeat([0, 1], [len(a), len(b)])
    trees = HistGradientBoostingClassifier(max_iter=100, early_stopping=False, random_state=0)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return float(np.mean(cross_val_score(trees, points, labels, cv=folds)))


def c2st_neighbours(a: Array, b: Array) -> float:
    """Accuracy of the five nearest neighbours telling the samples apart, 5-fold."""
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.neighbors import KNeighborsClassifier

    points = np.concatenate([a, b])
    labels = np.repeat([0, 1], [len(a), len(b)])
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return float(np.mean(cross_val_score(KNeighborsClassifier(5), points, labels, cv=folds)))


def w2(a: Array, b: Array) -> float:
    """W2 distance of equally many points, by optimal assignment."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    squared = cdist(a, b, "sqeuclidean")
    return math.sqrt(float(squared[linear_sum_assignment(squared)].mean()))
