"""The comparison of a candidate with the truth."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parabolic_ma.comparison.candidates import Candidate, understand
from parabolic_ma.comparison.metrics import (
    FEWEST_TO_CLASSIFY,
    c2st,
    energy_distance,
    sliced_w2,
)
from parabolic_ma.comparison.result import Comparison
from parabolic_ma.comparison.truth import Truth
from parabolic_ma.points import as_count, generator
from parabolic_ma.solution import Solution
from parabolic_ma.status import InputError
from parabolic_ma.typing import Array, Rng

__all__ = ["compare"]


def compare(candidate: Any, truth: Solution, n: int = 10_000, rng: Rng = 0) -> Comparison:
    """Measure how far a candidate is from the truth, each figure with its noise level.

    Parameters
    ----------
    candidate : object
        A `Solution`; a `TransportMap` or a function of points ``(n, d)`` to points, applied to the
        truth's reference; an array of samples ``(m, d)``; or a torch distribution, or a torch
        module that gives one when called without arguments, as the flows of zuko do.
    truth : Solution
        What it is compared with, usually on a fine grid.
    n : int
        Points drawn of each side. Given samples are used up to this number, a random choice of
        them if there are more; with fewer, as many points of the truth are drawn.
    rng : int, numpy.random.Generator or None
        The same seed gives the same figures.

    Returns
    -------
    Comparison
        What could be computed, and why the rest could not.

    Raises
    ------
    InputError
        If the candidate is none of these, lives in another dimension, or ``n`` is below 2.

    Notes
    -----
    Samples of the truth are the target's own if it is a `Gaussian`, a `GaussianMixture` or
    `Uniform`, else images under the truth's map, so that they are as good as that map. The truth's
    density is the target's, ``-f(x)`` minus the logarithm of its integral: nothing if the target is
    normalised, else the truth's log evidence. With neither measure normalised only candidates over
    the truth's own reference have KL divergences; from their difference the common factor drops
    out.

    Points of the truth's map at which the target has no density, by rounding at the boundary, are
    left out of ``kl``; their number is in the reasons. The classifier, and beyond one dimension the
    energy distance, use at most 5000 points of each side.
    """
    if not isinstance(truth, Solution):
        raise InputError(
            f"truth must be a Solution, what solve(problem) returns or load(path) reads; got "
            f"{type(truth).__name__}"
        )
    count = as_count(n)
    if count < 2:
        raise InputError(f"n must be at least 2 points, got {count}; 10000 is the usual number")
    # One stream for each purpose, so that no figure depends on whether another can be computed.
    streams = [np.random.default_rng(int(s)) for s in generator(rng).integers(2**63, size=6)]
    real = Truth(truth)
    other = understand(candidate, real, streams[0])
    count = count if other.available is None else min(count, other.available)
    points, fresh = real.draw(count, streams[1]), real.draw(count, streams[2])
    drawn, log_q = other.draw(count, streams[3])

    found = _Findings()
    _compare_maps(found, other, real, points, streams[4].integers(2**63))
    _compare_densities(found, other, real, points, drawn, log_q)
    classifier = _compare_clouds(found, points, fresh, drawn, int(streams[5].integers(2**31)))
    seed = int(rng) if isinstance(rng, int | np.integer) else None
    return Comparison(
        **found.figures,
        noise=found.noise,
        reasons=found.reasons,
        candidate=other.kind,
        classifier=classifier,
        n=count,
        seed=seed,
    )


@dataclass
class _Findings:
    """Figures as they are found."""

    figures: dict[str, float] = field(default_factory=dict)
    noise: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def absent(self, reason: str, *names: str) -> None:
        """Say why there are no such figures."""
        self.reasons.update(dict.fromkeys(names, reason))


def _compare_maps(
    found: _Findings, other: Candidate, real: Truth, points: Array, seed: Any
) -> None:
    names = ("map_rmse", "l2_uvp")
    if other.transport is None:
        found.absent(other.reasons["map"], *names)
        return
    y = real.reference.sample(len(points), np.random.default_rng(int(seed)))
    square = np.sum((other.transport(y) - real.solution.map(y)) ** 2, axis=1)
    bad = len(square) - int(np.count_nonzero(np.isfinite(square)))
    if bad:
        found.absent(f"the maps are not finite at {bad} of {len(square)} points", *names)
        return
    percent = 100.0 / real.total_variance(points)
    mean = float(np.mean(square))
    found.figures.update(map_rmse=math.sqrt(mean), l2_uvp=percent * mean)
    certificate = real.solution.certificate
    error = certificate.map_error
    if math.isnan(error):
        why = certificate.reasons.get("map_error", "its certificate has none")
        found.absent(f"the error of the truth's map is not known: {why}", *map(_noise, names))
        return
    found.noise.update(map_rmse=error, l2_uvp=percent * error**2)


def _compare_densities(
    found: _Findings,
    other: Candidate,
    real: Truth,
    points: Array,
    drawn: Array,
    log_q: Array | None,
) -> None:
    if other.log_density is None or log_q is None:
        found.absent(other.reasons["density"], "kl", "kl_reverse")
        return
    density = other.log_density
    _divergence(found, "kl", "candidate", lambda: (real.log_density(points), density(points)))
    _divergence(found, "kl_reverse", "truth", lambda: (log_q, real.log_density(drawn)))


def _divergence(
    found: _Findings, name: str, second: str, densities: Callable[[], tuple[Array, Array]]
) -> None:
    """KL by the mean of the log ratio over samples of the first law, and its standard error."""
    try:
        log_p, log_q = densities()
    except InputError as error:  # a potential that was not kept in the file
        found.absent(str(error), name)
        return
    n = len(log_p)
    # Plus infinity is no density either: a map that is singular there.
    bad = int(np.count_nonzero(~((log_p < np.inf) & (log_q < np.inf))))
    if bad:
        found.absent(f"a log density is not a number at {bad} of {n} points", name)
        return
    own = log_p > -np.inf
    log_p, log_q = log_p[own], log_q[own]
    left_out = n - len(log_p)
    if len(log_p) < 2:
        found.absent(f"the density is zero at {left_out} of {n} of the law's own points", name)
        return
    missed = int(np.count_nonzero(log_q == -np.inf))
    if missed:
        found.figures[name] = math.inf
        found.absent(f"the {second}'s density is zero at {missed} of {n} points", name)
        found.absent("the divergence is infinite", _noise(name))
        return
    ratio = log_p - log_q
    found.figures[name] = float(np.mean(ratio))
    found.noise[name] = float(np.std(ratio, ddof=1)) / math.sqrt(len(ratio))
    if left_out:
        found.absent(f"without {left_out} of {n} points outside the law's own support", name)


def _compare_clouds(found: _Findings, points: Array, fresh: Array, drawn: Array, seed: int) -> str:
    """Compare samples, and samples of the truth with each other; return the classifier's name."""
    bad = len(drawn) - int(np.count_nonzero(np.isfinite(drawn).all(axis=1)))
    if bad:
        found.absent(
            f"{bad} of {len(drawn)} points of the candidate are not finite",
            *("sliced_w2", "energy_distance", "c2st"),
        )
        return ""
    # Both times the same directions, so that figure and noise differ by the clouds alone.
    found.figures["sliced_w2"] = sliced_w2(points, drawn, np.random.default_rng(seed))
    found.noise["sliced_w2"] = sliced_w2(points, fresh, np.random.default_rng(seed))
    found.figures["energy_distance"] = energy_distance(points, drawn)
    found.noise["energy_distance"] = energy_distance(points, fresh)
    if len(points) < FEWEST_TO_CLASSIFY:
        found.absent(
            f"a classifier needs at least {FEWEST_TO_CLASSIFY} points, got {len(points)}", "c2st"
        )
        return ""
    found.figures["c2st"], classifier = c2st(points, drawn, seed)
    found.noise["c2st"], _ = c2st(points, fresh, seed)
    return classifier


def _noise(name: str) -> str:
    """Under which a reason for a missing noise level is kept."""
    return f"{name} noise"
