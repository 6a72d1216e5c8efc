"""Baseline: the entropic map.

A.-A. Pooladian and J. Niles-Weed, "Entropic estimation of optimal transport maps", 2021: the
barycentric projection of the entropic plan between samples, continued to all points by the dual
potential that Sinkhorn's algorithm of POT finds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from parabolic_ma.typing import Array

__all__ = ["EntropicMap"]

_CHUNK = 1 << 21  # pairs of points at a time


@dataclass(frozen=True)
class EntropicMap:
    """The entropic map of the standard normal, for the cost ``|x - y|^2 / 2``.

    Attributes
    ----------
    epsilon : float
        Regularisation.
    points : int
        Number of points on each side that Sinkhorn's algorithm is given.
    iterations : int
        Most of Sinkhorn's.
    tolerance : float
        On the marginals, at which it stops.
    """

    epsilon: float = 0.05
    points: int = 4000
    iterations: int = 1000
    tolerance: float = 1e-4

    def fit(self, points: Array, seed: int) -> Callable[[Array], Array]:
        """Return the map, points ``(n, d)`` to points ``(n, d)``.

        Raises
        ------
        FloatingPointError
            If the kernel underflows: take a larger ``epsilon``.
        """
        import ot

        rng = np.random.default_rng(seed)
        ends = points[rng.permutation(len(points))[: self.points]]
        starts = rng.standard_normal(ends.shape)
        # Functions of one side may be added to the cost: neither the plan nor the map changes.
        # With those of the Gaussian map m + A y the cost is half of
        # |A^(1/2) y - A^(-1/2) (x - m)|^2, small where the mass goes, so that the kernel need not
        # be kept as logarithms, which takes ten times as long.
        values, axes = np.linalg.eigh(np.cov(points.T).reshape(points.shape[1], -1))
        stretch = (axes * values**0.25) @ axes.T
        center = points.mean(axis=0)
        images = (ends - center) @ np.linalg.inv(stretch)
        with np.errstate(under="ignore", divide="raise", invalid="raise"):
            _, log = ot.sinkhorn(
                [],
                [],
                0.5 * ot.dist(starts @ stretch, images),
                self.epsilon,
                numItermax=self.iterations,
                stopThr=self.tolerance,
                warn=False,
                log=True,
            )
            dual = np.log(log["v"])

        def transport(y: Array) -> Array:
            y = np.asarray(y, dtype=np.float64) @ stretch
            result = np.empty_like(y)
            step = max(_CHUNK // len(ends), 1)
            for start in range(0, len(y), step):
                part = slice(start, start + step)
                terms = dual - 0.5 * ot.dist(y[part], images) / self.epsilon
                shares = np.exp(terms - terms.max(axis=1, keepdims=True))
                result[part] = shares @ ends / shares.sum(axis=1, keepdims=True)
            return result

        return transport
