"""Tail quantiles of one-dimensional Gaussian mixtures, accurate far into the tails."""

from __future__ import annotations

import numpy as np

from parabolic_ma.typing import Array

__all__ = ["lower_quantile", "marginal_interval"]

_MAX_BISECTIONS = 200


def lower_quantile(means: Array, sds: Array, weights: Array, probability: float) -> float:
    """Return ``q`` with mass at most ``probability`` below it, to working precision.

    Bisection on the logarithm of the mixture's distribution function between the smallest and the
    largest of the components' own quantiles, which always enclose it. The lower end of the final
    bracket is returned, so that the bound holds in spite of rounding.

    Parameters
    ----------
    means, sds, weights : ndarray, shape (K,)
        Components; the weights sum to one.
    probability : float
        Mass wanted below the quantile, between 0 and 1.
    """
    from scipy.special import log_ndtr, logsumexp, ndtri

    if len(means) > 1:  # a component with no weight left in float64 cannot matter
        kept = weights > 0
        means, sds, weights = means[kept], sds[kept], weights[kept]
    level = np.log(probability)
    quantiles = means + sds * ndtri(probability)
    low, high = float(quantiles.min()), float(quantiles.max())
    tolerance = 1e-12 * max(abs(low), abs(high), float(sds.min()))
    for _ in range(_MAX_BISECTIONS):
        if high - low <= tolerance:
            break
        middle = 0.5 * (low + high)
        mass = logsumexp(log_ndtr((middle - means) / sds), b=weights)
        low, high = (middle, high) if mass <= level else (low, middle)
    return low


def marginal_interval(
    means: Array, sds: Array, weights: Array, probability: float
) -> tuple[float, float]:
    """Return the interval with mass ``probability`` beyond either end."""
    low = lower_quantile(means, sds, weights, probability)
    high = -lower_quantile(-means, sds, weights, probability)
    return low, high
