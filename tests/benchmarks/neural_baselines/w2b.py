"""The Wasserstein-2 benchmark with known continuous maps, from files that are not shipped.

A. Korotin and others, "Do neural optimal transport solvers work? A continuous Wasserstein-2
benchmark", NeurIPS 2021. A folder holds ``w2b_train_D.npz`` (``source`` and ``target``: independent
samples of the two measures) and ``w2b_dev_D.npz`` (``x`` and its image ``Tx`` by the exact map, for
judging only), D = 2, 4, 8.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmarks.neural_baselines.scoring import uvp

import parabolic_ma as pma
from parabolic_ma.analysis.gaussian import optimal_matrix
from parabolic_ma.typing import Array

__all__ = ["DIMENSIONS", "Benchmark", "linear_map", "load"]

DIMENSIONS = (2, 4, 8)


@dataclass(frozen=True, eq=False)
class Benchmark:
    """Samples to train on, and pairs to judge by.

    Attributes
    ----------
    source, target : ndarray, shape (n, d)
        Independent samples, not matched.
    x, images : ndarray, shape (m, d)
        Points of the source and the exact map there.
    law : GaussianMixture
        The source's law.
    """

    source: Array
    target: Array
    x: Array
    images: Array
    law: pma.GaussianMixture

    @property
    def problem(self) -> pma.TransportProblem:
        """The problem of the source's law, which the file states, and the target's samples."""
        return pma.TransportProblem(self.law, pma.Samples(self.target))

    def l2_uvp(self, transport: Callable[[Array], Array]) -> float:
        """Percentage of the target's variance that a map leaves unexplained."""
        return uvp(transport(self.x), self.images)


def load(folder: str | Path, dim: int) -> Benchmark:
    """Read the benchmark of one dimension from a folder."""
    with (
        np.load(Path(folder) / f"w2b_train_{dim}.npz") as train,
        np.load(Path(folder) / f"w2b_dev_{dim}.npz") as dev,
    ):
        arrays = (train["source"], train["target"], dev["x"], dev["Tx"])
        law = pma.GaussianMixture(train["gmm_means"], train["gmm_covs"], train["gmm_weights"])
        return Benchmark(*(np.asarray(a, dtype=np.float64) for a in arrays), law)


def linear_map(source: Array, target: Array) -> Callable[[Array], Array]:
    """Return the Brenier map between the normal distributions fitted to two samples."""
    fits = [pma.Gaussian(a.mean(axis=0), np.cov(a.T)) for a in (source, target)]
    matrix = optimal_matrix(*fits)
    return pma.Affine(matrix, fits[1].mean - matrix @ fits[0].mean)
