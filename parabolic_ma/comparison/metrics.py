"""Distances between two clouds of equally many points."""

from __future__ import annotations

import importlib.util
import math
from typing import Any

import numpy as np

from parabolic_ma.status import InputError
from parabolic_ma.typing import Array

__all__ = [
    "FEWEST_TO_CLASSIFY",
    "NEIGHBOUR",
    "PAIRS_MOST",
    "TREES",
    "c2st",
    "energy_distance",
    "sliced_w2",
]

PAIRS_MOST = 5_000
"""Most points of a cloud that the figures of pairs and the classifier look at."""
FEWEST_TO_CLASSIFY = 10
"""Fewest points of a cloud for a classifier: two in each fold."""
TREES = "gradient-boosted trees, 5-fold (scikit-learn)"
NEIGHBOUR = "nearest neighbour, leave one out"

_DIRECTIONS = 200
_FOLDS = 5
_PAIRS_AT_A_TIME = 1 << 21  # distances held at a time: 16 MiB
_ROUNDS, _RATE = 60, 0.15  # boosting: fewer and longer steps than the default, at the same accuracy


def sliced_w2(a: Array, b: Array, rng: np.random.Generator) -> float:
    r"""Sliced W2 distance, the root mean square over directions of W2 on the line.

    .. math:: SW_2^2 = E_\theta W_2^2(\langle\theta, X\rangle, \langle\theta, Y\rangle)

    Exact for the clouds on the line, where it is W2. In the plane 200 directions at equal angles
    (which integrate a smooth function of the angle to rounding), beyond that 200 random ones.

    Parameters
    ----------
    a, b : ndarray, shape (n, d)
        Clouds of equal size.
    rng : numpy.random.Generator
        For the directions.
    """
    _check(a, b)
    dim = a.shape[1]
    if dim == 1:
        directions = np.ones((1, 1))
    elif dim == 2:
        angles = math.pi * (np.arange(_DIRECTIONS) + 0.5) / _DIRECTIONS
        directions = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    else:
        directions = rng.standard_normal((_DIRECTIONS, dim))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    total = 0.0
    for direction in directions:
        total += float(np.mean((np.sort(a @ direction) - np.sort(b @ direction)) ** 2))
    return math.sqrt(total / len(directions))


def energy_distance(a: Array, b: Array) -> float:
    r"""Energy distance of two clouds, as a distance and not its square.

    .. math:: D = \sqrt{2 E|X - Y| - E|X - X'| - E|Y - Y'|}

    All points on the line; beyond it the first `PAIRS_MOST` of each cloud. Pairs of a point with
    itself count, so that D is a metric of the empirical measures and never negative; two samples of
    one law of n points have ``D^2`` of about ``2 E|X - X'| / n``.

    Parameters
    ----------
    a, b : ndarray, shape (n, d)
        Clouds of equal size.
    """
    _check(a, b)
    if a.shape[1] == 1:
        # On the line D^2 is twice the integral of the squared difference of distribution functions.
        values = np.concatenate([a[:, 0], b[:, 0]])
        order = np.argsort(values)
        rise = np.where(order < len(a), 1.0, -1.0) / len(a)
        return math.sqrt(2.0 * float(np.cumsum(rise)[:-1] ** 2 @ np.diff(values[order])))
    a, b = a[:PAIRS_MOST], b[:PAIRS_MOST]
    square = 2.0 * _mean_distance(a, b) - _mean_distance(a, a) - _mean_distance(b, b)
    return math.sqrt(max(square, 0.0))  # rounding


def c2st(a: Array, b: Array, seed: int) -> tuple[float, str]:
    """Accuracy of a classifier that is to tell two clouds apart: 1/2 for equal laws, 1 if it can.

    Gradient-boosted trees with five-fold cross-validation, or without scikit-learn the nearest
    neighbour, leaving one out, in coordinates of unit standard deviation. The first `PAIRS_MOST`
    points of each cloud.

    Parameters
    ----------
    a, b : ndarray, shape (n, d)
        Clouds of equal size, of at least `FEWEST_TO_CLASSIFY` points.
    seed : int
        Of the folds.

    Returns
    -------
    accuracy : float
    classifier : str
        Which of the two it was, `TREES` or `NEIGHBOUR`.
    """
    _check(a, b)
    if len(a) < FEWEST_TO_CLASSIFY:
        raise InputError(
            f"a classifier needs at least {FEWEST_TO_CLASSIFY} points of each kind, got {len(a)}"
        )
    a, b = a[:PAIRS_MOST], b[:PAIRS_MOST]
    points = np.concatenate([a, b])
    labels = np.repeat([0, 1], len(a))
    if importlib.util.find_spec("sklearn") is not None:
        return _by_trees(points, labels, seed), TREES
    return _by_neighbour(points, labels), NEIGHBOUR


def _by_trees(points: Array, labels: Array, seed: int) -> float:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold

    right = 0
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    for train, test in folds.split(points, labels):
        classifier: Any = HistGradientBoostingClassifier(
            max_iter=_ROUNDS, learning_rate=_RATE, early_stopping=False, random_state=seed
        )
        classifier.fit(points[train], labels[train])
        right += int(np.count_nonzero(classifier.predict(points[test]) == labels[test]))
    return right / len(points)


def _by_neighbour(points: Array, labels: Array) -> float:
    from scipy.spatial import cKDTree

    spread = points.std(axis=0)
    scaled = points / np.where(spread > 0, spread, 1.0)
    _, near = cKDTree(scaled).query(scaled, k=2)
    # With coinciding points the first of the two need not be the point itself.
    own = np.arange(len(points))
    other = np.where(near[:, 0] == own, near[:, 1], near[:, 0])
    return float(np.mean(labels[other] == labels))


def _mean_distance(a: Array, b: Array) -> float:
    """Mean Euclidean distance over all pairs, in pieces that fit into memory."""
    from scipy.spatial.distance import cdist

    rows = max(_PAIRS_AT_A_TIME // len(b), 1)
    total = sum(float(cdist(a[k : k + rows], b).sum()) for k in range(0, len(a), rows))
    return total / (len(a) * len(b))


def _check(a: Array, b: Array) -> None:
    if a.ndim != 2 or a.shape != b.shape or not len(a):
        raise InputError(
            f"two clouds of points must have the same shape (n, d) with n at least 1; got "
            f"{a.shape} and {b.shape}"
        )
