"""Gaussian measures and finite mixtures of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from parabolic_ma.grid import Box
from parabolic_ma.measures.protocol import (
    check_tail_mass,
    normalized_weights,
    positive_definite,
)
from parabolic_ma.measures.quantiles import marginal_interval
from parabolic_ma.points import as_count, as_floats, as_points, brief, generator, restore
from parabolic_ma.status import InputError
from parabolic_ma.typing import Array, Rng

if TYPE_CHECKING:
    from parabolic_ma.measures.protocol import Measure

__all__ = ["Gaussian", "GaussianMixture"]

_LOG_TWO_PI = math.log(2 * math.pi)
_CHUNK = 1 << 20  # point-component pairs worked on at a time: 8 MiB an array
_SMALLEST_VARIANCE, _LARGEST_VARIANCE = 1e-100, 1e100  # with room for squares and products
_PAIRS_PROBED = 64  # components between which log-concavity is probed


@dataclass(frozen=True, eq=False, init=False)
class Gaussian:
    r"""The normal distribution.

    .. math:: f(x) = \tfrac12 (x - m)^\top C^{-1} (x - m) + \tfrac12 \log\det(2 \pi C)

    Parameters
    ----------
    mean : array_like, shape (d,)
        Mean; a number for ``d = 1``.
    cov : array_like
        A variance for every axis, the ``d`` variances, or a covariance matrix ``(d, d)``.
        Variances, not standard deviations.

    Attributes
    ----------
    mean : ndarray, shape (d,)
    cov, precision : ndarray, shape (d, d)
        Covariance and its inverse.
    log_normalizer : float
        ``log det(2 pi cov) / 2``.

    Raises
    ------
    InputError
        If the shapes do not fit, something is not finite, or the covariance is not symmetric
        positive definite.
    """

    mean: Array
    cov: Array
    precision: Array = field(init=False, repr=False)
    log_normalizer: float = field(init=False, repr=False)
    _cholesky: Array = field(init=False, repr=False)
    _whitening: Array = field(init=False, repr=False)

    bounded: ClassVar[bool] = False
    normalized: ClassVar[bool] = True
    log_concave: ClassVar[bool | None] = True

    def __init__(self, mean: ArrayLike, cov: ArrayLike) -> None:
        mean = np.atleast_1d(as_floats(mean, "mean")).copy()
        if mean.ndim != 1 or len(mean) == 0:
            raise InputError(f"mean must be a number or have shape (d,), got shape {mean.shape}")
        if not np.all(np.isfinite(mean)):
            raise InputError(f"mean must be finite, got {brief(mean)}")
        matrix = _covariance(cov, len(mean), "cov")
        cholesky, whitening, precision, log_normalizer = _factors(matrix)
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "cov", matrix)
        object.__setattr__(self, "precision", precision)
        object.__setattr__(self, "log_normalizer", log_normalizer)
        object.__setattr__(self, "_cholesky", cholesky)
        object.__setattr__(self, "_whitening", whitening)

    @classmethod
    def fitted(cls, target: Measure) -> Gaussian:
        """Return the Gaussian with the mean and covariance of a measure."""
        if not callable(getattr(target, "moments", None)):
            raise InputError(
                f"a Gaussian is fitted to a measure, got {type(target).__name__}; wrap an array of "
                "points in Samples(points)"
            )
        return cls(*target.moments())

    @classmethod
    def laplace(cls, potential: Measure, start: ArrayLike | None = None) -> Gaussian:
        """Return the Gaussian at the mode of a density, with the inverse Hessian as covariance.

        Parameters
        ----------
        potential : Measure
            A `Potential`, or another measure with a potential and its gradient.
        start : array_like, shape (d,), optional
            Where the search for the mode begins; a few starts by default.
        """
        from parabolic_ma.measures.laplace import laplace_approximation

        return cls(*laplace_approximation(potential, start))

    @property
    def dim(self) -> int:
        """Dimension of the space."""
        return len(self.mean)

    def potential(self, x: Array) -> Array:
        """Minus log density at ``x``, shape ``(n,)``, in nats."""
        points, _ = as_points(x, self.dim, "x")
        white = (points - self.mean) @ self._whitening.T
        return np.asarray(0.5 * np.einsum("nk,nk->n", white, white) + self.log_normalizer)

    def gradient(self, x: Array) -> Array:
        """Gradient of the potential, of the shape of ``x``."""
        points, form = as_points(x, self.dim, "x")
        return restore((points - self.mean) @ self.precision, form)

    def support(self, tail_mass: float) -> Box:
        """Return the box whose faces each cut off ``tail_mass / (2 d)`` of the marginal."""
        from scipy.special import ndtri

        reach = -float(ndtri(check_tail_mass(tail_mass) / (2 * self.dim)))
        half = reach * np.sqrt(np.diag(self.cov))
        return Box(tuple(self.mean - half), tuple(self.mean + half))

    def moments(self) -> tuple[Array, Array]:
        """Mean, shape ``(d,)``, and covariance, shape ``(d, d)``."""
        return self.mean.copy(), self.cov.copy()

    def sample(self, n: int, rng: Rng = None) -> Array:
        """Draw ``n`` independent points, shape ``(n, d)``."""
        shape = (as_count(n), self.dim)
        return self.mean + generator(rng).standard_normal(shape) @ self._cholesky.T


@dataclass(frozen=True, eq=False, init=False)
class GaussianMixture:
    r"""A finite mixture of Gaussians, :math:`\sum_k w_k N(m_k, C_k)`.

    Parameters
    ----------
    means : array_like, shape (K, d)
        Means; shape ``(K,)`` stands for ``d = 1``.
    covs : array_like
        Variances, not standard deviations: one number for all components and axes; shape ``(K,)``,
        one variance per component; ``(K, d, d)``, one matrix per component; or ``(d, d)``, one
        matrix for all. Two axes always mean one matrix for all: variances per component and axis
        are given as matrices, ``[numpy.diag(v) for v in variances]``.
    weights : array_like, shape (K,), optional
        Positive weights, normalised here; equal by default.

    Attributes
    ----------
    means : ndarray, shape (K, d)
    covs, precisions : ndarray, shape (K, d, d)
        Covariances and their inverses.
    weights : ndarray, shape (K,)
        Sum to one.
    log_weights_norm : ndarray, shape (K,)
        ``log w_k - log det(2 pi C_k) / 2``: the log density of a component at its mean.

    Raises
    ------
    InputError
        If the shapes do not fit, something is not finite, a weight is not positive, or a
        covariance is not symmetric positive definite.
    """

    means: Array
    covs: Array
    weights: Array
    precisions: Array = field(init=False, repr=False)
    log_weights_norm: Array = field(init=False, repr=False)
    _choleskys: Array = field(init=False, repr=False)
    _whitenings: Array = field(init=False, repr=False)

    bounded: ClassVar[bool] = False
    normalized: ClassVar[bool] = True

    def __init__(self, means: ArrayLike, covs: ArrayLike, weights: ArrayLike | None = None) -> None:
        means = as_floats(means, "means").copy()
        if means.ndim == 1:
            means = means[:, None]
        if means.ndim != 2 or means.size == 0:
            raise InputError(
                f"means must have shape (K, d), or (K,) for d = 1; got shape {means.shape}"
            )
        if not np.all(np.isfinite(means)):
            raise InputError(f"means must be finite, got {brief(means)}")
        matrices = _covariances(covs, *means.shape)
        shares = _weights(weights, len(means))
        factors = [_factors(cov) for cov in matrices]
        log_normalizers = np.array([f[3] for f in factors])
        object.__setattr__(self, "means", means)
        object.__setattr__(self, "covs", matrices)
        object.__setattr__(self, "weights", shares)
        object.__setattr__(self, "_choleskys", np.array([f[0] for f in factors]))
        object.__setattr__(self, "_whitenings", np.array([f[1] for f in factors]))
        object.__setattr__(self, "precisions", np.array([f[2] for f in factors]))
        object.__setattr__(self, "log_weights_norm", np.log(shares) - log_normalizers)

    @property
    def dim(self) -> int:
        """Dimension of the space."""
        return int(self.means.shape[1])

    @cached_property
    def log_concave(self) -> bool | None:
        """True or False where it can be proven, otherwise None.

        With equal covariances the Hessian of the potential is, in whitened coordinates, the
        identity minus the covariance of the means under the responsibilities. A variance is at
        most a quarter of the squared range, so whitened means within a distance of 2 of each other
        prove log-concavity, and for two components that is sharp. A negative eigenvalue of the
        Hessian somewhere between two means disproves it.
        """
        distinct = np.any(self.means != self.means[0], axis=1)
        equal_covs = bool(np.all(self.covs == self.covs[0]))
        if equal_covs:
            if not distinct.any():
                return True
            white = self.means[:_PAIRS_PROBED] @ self._whitenings[0].T
            squares = np.sum((white[:, None] - white[None]) ** 2, axis=-1)
            if len(self.means) <= _PAIRS_PROBED and squares.max() <= 4.0:
                return True
            if len(self.means) == 2:
                return False
        return False if self._smallest_curvature() < -1e-9 else None

    def potential(self, x: Array) -> Array:
        """Minus log density at ``x``, shape ``(n,)``, in nats."""
        points, _ = as_points(x, self.dim, "x")
        values = np.empty(len(points))
        for part in self._parts(len(points)):
            values[part] = -_log_sum_exp(self._log_components(points[part]))[0]
        return values

    def gradient(self, x: Array) -> Array:
        """Gradient of the potential, of the shape of ``x``."""
        points, form = as_points(x, self.dim, "x")
        result = np.zeros_like(points)
        for part in self._parts(len(points)):
            shares = _log_sum_exp(self._log_components(points[part]))[1]
            for k, (mean, precision) in enumerate(zip(self.means, self.precisions, strict=True)):
                result[part] += shares[:, k, None] * ((points[part] - mean) @ precision)
        return restore(result, form)

    def support(self, tail_mass: float) -> Box:
        """Return the box whose faces each cut off ``tail_mass / (2 d)`` of the marginal."""
        probability = check_tail_mass(tail_mass) / (2 * self.dim)
        sds = np.sqrt(np.diagonal(self.covs, axis1=1, axis2=2))
        ends = [
            marginal_interval(self.means[:, k], sds[:, k], self.weights, probability)
            for k in range(self.dim)
        ]
        return Box.of(ends)

    def moments(self) -> tuple[Array, Array]:
        """Mean, shape ``(d,)``, and covariance, shape ``(d, d)``."""
        mean = self.weights @ self.means
        shifted = self.means - mean
        cov = np.einsum("k,kij->ij", self.weights, self.covs)
        return mean, cov + np.einsum("k,ki,kj->ij", self.weights, shifted, shifted)

    def sample(self, n: int, rng: Rng = None) -> Array:
        """Draw ``n`` independent points, shape ``(n, d)``."""
        n, rng = as_count(n), generator(rng)
        component = rng.choice(len(self.means), size=n, p=self.weights)
        points = rng.standard_normal((n, self.dim))
        for k, (mean, cholesky) in enumerate(zip(self.means, self._choleskys, strict=True)):
            chosen = component == k
            points[chosen] = mean + points[chosen] @ cholesky.T
        return points

    def _parts(self, count: int) -> list[slice]:
        step = max(_CHUNK // len(self.means), 1)
        return [slice(start, start + step) for start in range(0, count, step)]

    def _log_components(self, points: Array) -> Array:
        """Log of the weighted component densities, shape ``(n, K)``."""
        result = np.empty((len(points), len(self.means)))
        for k, (mean, whitening) in enumerate(zip(self.means, self._whitenings, strict=True)):
            white = (points - mean) @ whitening.T
            result[:, k] = self.log_weights_norm[k] - 0.5 * np.einsum("nk,nk->n", white, white)
        return result

    def _smallest_curvature(self) -> float:
        """Smallest eigenvalue of the potential's Hessian, relative, on lines between means."""
        means = self.means[:_PAIRS_PROBED]
        i, j = np.triu_indices(len(means), 1)
        fractions = np.linspace(0.0, 1.0, 9)[:, None, None]
        points = ((1 - fractions) * means[i] + fractions * means[j]).reshape(-1, self.dim)
        scale = float(np.abs(self.precisions).max())
        smallest = math.inf
        for part in self._parts(len(points)):
            shares = _log_sum_exp(self._log_components(points[part]))[1]
            slopes = np.einsum("kij,nkj->nki", self.precisions, points[part, None] - self.means)
            mean_slope = np.einsum("nk,nki->ni", shares, slopes)
            hessians = np.einsum("nk,kij->nij", shares, self.precisions)
            hessians -= np.einsum("nk,nki,nkj->nij", shares, slopes, slopes)
            hessians += np.einsum("ni,nj->nij", mean_slope, mean_slope)
            smallest = min(smallest, float(np.linalg.eigvalsh(hessians).min()))
        return smallest / scale


def _log_sum_exp(terms: Array) -> tuple[Array, Array]:
    """Log of the sum of exponentials over axis 1, and the share of each term."""
    top = terms.max(axis=1, keepdims=True)
    shares = np.exp(terms - top)
    total = shares.sum(axis=1, keepdims=True)
    return (top + np.log(total))[:, 0], shares / total


def _factors(cov: Array) -> tuple[Array, Array, Array, float]:
    """Cholesky factor, its inverse, the precision, and ``log det(2 pi cov) / 2``."""
    variances = np.diag(cov)
    if not (variances.min() >= _SMALLEST_VARIANCE and variances.max() <= _LARGEST_VARIANCE):
        raise InputError(
            f"variances must lie between {_SMALLEST_VARIANCE:g} and {_LARGEST_VARIANCE:g}, got "
            f"{brief(variances)}; use other units"
        )
    cholesky = np.linalg.cholesky(cov)
    whitening = np.linalg.inv(cholesky)
    log_normalizer = 0.5 * len(cov) * _LOG_TWO_PI + float(np.log(np.diag(cholesky)).sum())
    return cholesky, whitening, whitening.T @ whitening, log_normalizer


def _covariance(value: Any, dim: int, name: str) -> Array:
    """Covariance matrix from a variance, ``dim`` variances or a matrix."""
    cov = as_floats(value, name)
    if cov.ndim == 2:
        return positive_definite(cov, dim, name)
    if cov.ndim > 2 or (cov.ndim == 1 and len(cov) != dim):
        raise InputError(
            f"{name} must be one variance, {dim} variances or a ({dim}, {dim}) matrix for a mean "
            f"of length {dim}; got shape {cov.shape}"
        )
    variances = np.broadcast_to(cov, (dim,))
    if not (np.all(np.isfinite(variances)) and np.all(variances > 0)):
        raise InputError(
            f"{name} must hold positive, finite variances, got {brief(cov)}; a measure without "
            "density has no potential"
        )
    return np.diag(variances)


def _covariances(value: Any, count: int, dim: int) -> Array:
    """Covariance matrices ``(count, dim, dim)`` from what `GaussianMixture` allows."""
    covs = as_floats(value, "covs")
    if covs.ndim == 0:
        return np.repeat(_covariance(covs, dim, "covs")[None], count, axis=0)
    if covs.shape == (count,):
        return np.array([_covariance(v, dim, f"covs[{k}]") for k, v in enumerate(covs)])
    if covs.shape == (dim, dim):
        return np.repeat(positive_definite(covs, dim, "covs")[None], count, axis=0)
    if covs.shape == (count, dim, dim):
        return np.array([positive_definite(c, dim, f"covs[{k}]") for k, c in enumerate(covs)])
    raise InputError(
        f"covs must be one variance, one per component ({count},), one matrix ({dim}, {dim}) or "
        f"matrices ({count}, {dim}, {dim}) for means of shape ({count}, {dim}); got {covs.shape}"
    )


def _weights(value: Any, count: int) -> Array:
    """Normalised weights, shape ``(count,)``."""
    if value is None:
        return np.full(count, 1.0 / count)
    weights = as_floats(value, "weights")
    if weights.shape != (count,):
        raise InputError(f"weights must have shape ({count},), one a mean; got {weights.shape}")
    if not (np.all(np.isfinite(weights)) and np.all(weights > 0)):
        raise InputError(f"weights must be positive and finite, got {brief(weights)}")
    return normalized_weights(weights)
