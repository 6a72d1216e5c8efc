"""A measure in other coordinates: shifted and scaled to about zero mean and unit covariance."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from parabolic_ma.grid import Box
from parabolic_ma.measures.gaussian import Gaussian, GaussianMixture
from parabolic_ma.measures.laplace import laplace_approximation
from parabolic_ma.measures.potential import Potential
from parabolic_ma.measures.protocol import Measure, check_tail_mass, positive_definite
from parabolic_ma.measures.samples import Samples
from parabolic_ma.points import as_count, as_floats, as_points, brief, restore
from parabolic_ma.status import InputError
from parabolic_ma.typing import Array, Rng

__all__ = ["Standardised"]

_QUADRATURE_AXES = 3  # a Potential integrates itself up to here


@dataclass(frozen=True, eq=False, init=False)
class Standardised:
    r"""The measure of ``z = L^{-1} (x - m)``, where ``x`` follows a measure.

    .. math:: f_z(z) = f(m + L z) - \log\det L

    The evidence is unchanged, and what is normalised stays so.

    Parameters
    ----------
    measure : Measure
        On all of space, with a density.
    mean : array_like, shape (d,), optional
        The shift ``m``.
    cov : array_like, shape (d, d), optional
        ``L`` is its Cholesky factor. Without ``mean`` and ``cov``: the moments of a `Gaussian` or
        `GaussianMixture`, otherwise the Laplace approximation: the mode and the inverse Hessian of
        the potential there.
    start : array_like, shape (d,), optional
        Where the search for the mode begins.

    Attributes
    ----------
    measure : Measure
    shift : ndarray, shape (d,)
        ``m``.
    scale : ndarray, shape (d, d)
        ``L``, lower triangular.

    Raises
    ------
    InputError
        For `Samples`, bounded measures, a mean without a covariance or the other way round, and if
        no mode is found.
    """

    measure: Measure
    shift: Array
    scale: Array
    _inverse: Array = field(init=False, repr=False)
    _log_det: float = field(init=False, repr=False)
    _image: Any = field(init=False, repr=False)
    _laplace: bool = field(init=False, repr=False)

    bounded: ClassVar[bool] = False

    def __init__(
        self,
        measure: Measure,
        mean: ArrayLike | None = None,
        cov: ArrayLike | None = None,
        *,
        start: ArrayLike | None = None,
    ) -> None:
        _check(measure)
        if (mean is None) != (cov is None):
            given, missing = ("mean", "cov") if cov is None else ("cov", "mean")
            raise InputError(f"{given} was given without {missing}; give both, or neither")
        if start is not None and mean is not None:
            raise InputError("start is for the search of the mode; give it, or mean and cov")
        laplace = mean is None and not isinstance(measure, (Gaussian, GaussianMixture))
        if mean is None:
            closed = isinstance(measure, (Gaussian, GaussianMixture))
            mean, cov = measure.moments() if closed else laplace_approximation(measure, start)
        shift = np.atleast_1d(as_floats(mean, "mean")).copy()
        if shift.shape != (measure.dim,) or not np.isfinite(shift).all():
            raise InputError(
                f"mean must be finite and have shape ({measure.dim},), got {brief(shift)}"
            )
        matrix = as_floats(cov, "cov")
        if matrix.ndim < 2:  # one variance, or one per axis
            matrix = np.diag(np.broadcast_to(matrix, (measure.dim,)))
        self._set(measure, shift, np.linalg.cholesky(positive_definite(matrix, measure.dim, "cov")))
        object.__setattr__(self, "_laplace", laplace)

    @classmethod
    def with_scale(cls, measure: Measure, shift: ArrayLike, scale: ArrayLike) -> Standardised:
        """Return the measure for a lower triangular ``L`` with positive diagonal, as it is."""
        _check(measure)
        shift, factor = as_floats(shift, "shift").copy(), as_floats(scale, "scale").copy()
        dim = measure.dim
        if shift.shape != (dim,) or factor.shape != (dim, dim):
            raise InputError(
                f"shift must have shape ({dim},) and scale ({dim}, {dim}), got {shift.shape} and "
                f"{factor.shape}"
            )
        finite = np.isfinite(shift).all() and np.isfinite(factor).all()
        if not finite or np.triu(factor, 1).any() or not np.diag(factor).min() > 0:
            raise InputError(
                f"scale must be finite and lower triangular with a positive diagonal, got "
                f"{brief(factor)}; give mean and cov to Standardised instead"
            )
        result = cls.__new__(cls)
        result._set(measure, shift, factor)  # noqa: SLF001 - an object of this class
        return result

    def _set(self, measure: Measure, shift: Array, scale: Array) -> None:
        object.__setattr__(self, "measure", measure)
        object.__setattr__(self, "shift", shift)
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "_inverse", np.linalg.inv(scale))
        object.__setattr__(self, "_log_det", float(np.log(np.diag(scale)).sum()))
        object.__setattr__(self, "_laplace", False)
        object.__setattr__(self, "_image", self._make_image())

    def _make_image(self) -> Any:
        """The same measure built directly in ``z``, where that can be done: it has the methods."""
        measure, inverse = self.measure, self._inverse
        if isinstance(measure, Gaussian):
            cov = inverse @ measure.cov @ inverse.T
            return Gaussian(self.from_original(measure.mean), 0.5 * (cov + cov.T))
        if isinstance(measure, GaussianMixture):
            covs = inverse @ measure.covs @ inverse.T
            return GaussianMixture(
                self.from_original(measure.means),
                0.5 * (covs + np.swapaxes(covs, 1, 2)),
                measure.weights,
            )
        if isinstance(measure, Potential):
            # Quadrature on a box of z: a box of x would miss the mass of a thin slanted density.
            return Potential(
                self.potential,
                self.dim,
                gradient=self.gradient,
                normalized=self.normalized,
                log_concave=self.log_concave,
            )
        return None

    @property
    def dim(self) -> int:
        """Dimension of the space."""
        return self.measure.dim

    @property
    def normalized(self) -> bool:
        """Whether ``e^{-potential}`` integrates to one: as for the measure in ``x``."""
        return self.measure.normalized

    @property
    def log_concave(self) -> bool | None:
        """Whether the density is log-concave: as for the measure in ``x``."""
        return self.measure.log_concave

    def to_original(self, z: Array) -> Array:
        """Return ``x = m + L z``, of the shape of ``z``."""
        points, form = as_points(z, self.dim, "z")
        return restore(points @ self.scale.T + self.shift, form)

    def from_original(self, x: Array) -> Array:
        """Return ``z = L^{-1} (x - m)``, of the shape of ``x``."""
        points, form = as_points(x, self.dim, "x")
        return restore((points - self.shift) @ self._inverse.T, form)

    def potential(self, x: Array) -> Array:
        """Minus log density of ``z`` at the points ``x``, shape ``(n,)``, in nats."""
        points, _ = as_points(x, self.dim, "x")
        return np.asarray(self.measure.potential(self.to_original(points)) - self._log_det)

    def gradient(self, x: Array) -> Array:
        """Gradient of the potential, of the shape of ``x``."""
        points, form = as_points(x, self.dim, "x")
        return restore(self.measure.gradient(self.to_original(points)) @ self.scale, form)

    def support(self, tail_mass: float) -> Box:
        """Return a box outside of which there is about ``tail_mass``.

        Above three axes that of the Laplace approximation, which is standard normal here.
        """
        check_tail_mass(tail_mass)
        if self._laplace and self.dim > _QUADRATURE_AXES:
            return Gaussian(np.zeros(self.dim), 1.0).support(tail_mass)
        if self._image is not None:
            box: Box = self._image.support(tail_mass)
            return box
        box = self.measure.support(tail_mass)
        center = self.from_original(np.array(box.center))
        half = np.abs(self._inverse) @ (0.5 * np.array(box.widths))
        center = np.atleast_1d(center)
        return Box(tuple(center - half), tuple(center + half))

    def moments(self) -> tuple[Array, Array]:
        """Mean, shape ``(d,)``, and covariance, shape ``(d, d)``."""
        if self._image is not None:
            mean, cov = self._image.moments()
            return mean, cov
        mean, cov = self.measure.moments()
        return (mean - self.shift) @ self._inverse.T, self._inverse @ cov @ self._inverse.T

    def sample(self, n: int, rng: Rng = None) -> Array:
        """Draw ``n`` points, shape ``(n, d)``."""
        n = as_count(n)
        if self._image is not None:
            return np.asarray(self._image.sample(n, rng))
        return self.from_original(self.measure.sample(n, rng))


def _check(measure: Any) -> None:
    """Refuse what cannot be standardised."""
    if isinstance(measure, type) or not isinstance(measure, Measure):
        name = measure.__name__ if isinstance(measure, type) else type(measure).__name__
        raise InputError(
            f"Standardised takes a measure with a density (Gaussian, GaussianMixture or "
            f"Potential), got {name}; wrap a function in Potential(function, dim)"
        )
    if isinstance(measure, Samples):
        raise InputError(
            "Samples are not standardised as a measure: standardise the points, "
            "Samples((points - points.mean(axis=0)) / points.std(axis=0))"
        )
    if measure.bounded:
        raise InputError(
            "Standardised takes a measure on all of space, got a bounded "
            f"{type(measure).__name__}; a box does not stay one in other "
            "coordinates: leave it as it is, or drop the box"
        )
