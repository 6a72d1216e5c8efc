"""Named transport problems with what is known about their solutions.

The potentials are functions of this module, so that a problem file can name them.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np

from parabolic_ma import datasets, manufactured, posteriors
from parabolic_ma.maps import Affine
from parabolic_ma.measures import (
    Gaussian,
    GaussianMixture,
    GridDensity,
    Potential,
    Samples,
    Uniform,
)
from parabolic_ma.problem import TransportProblem
from parabolic_ma.status import InputError
from parabolic_ma.typing import Array

__all__ = ["CatalogEntry", "description", "get", "load", "names"]

_UNIT_SQUARE = ((0.0, 1.0), (0.0, 1.0))
_RING_BOX = ((-6.0, 6.0), (-6.0, 6.0))


@dataclass(frozen=True)
class CatalogEntry:
    """A named problem.

    Attributes
    ----------
    name : str
    summary : str
        One sentence.
    make : callable
        Builds the problem; `problem` calls it.
    solver : mapping
        Arguments of ``GridSolver`` that suit the problem: its shape, and what differs from the
        defaults; empty where the default solver is taken, as for posteriors.
    log_evidence, w2_squared : float or None
        Known values; ``w2_squared`` is the integral of ``|x - T(x)|^2``, without a half.
    w2_error : float or None
        Error bar of ``w2_squared``; 0 where it is known to working precision.
    exact_map : callable or None
        The Brenier map, points ``(n, d)`` to points ``(n, d)``, where it is known.
    source : str
        Where the problem comes from.
    """

    name: str
    summary: str
    make: Callable[[], TransportProblem] = field(repr=False)
    solver: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    log_evidence: float | None = None
    w2_squared: float | None = None
    w2_error: float | None = None
    exact_map: Callable[[Array], Array] | None = field(default=None, repr=False)
    source: str = ""

    def problem(self) -> TransportProblem:
        """Build the transport problem."""
        return self.make()


def names() -> tuple[str, ...]:
    """Names of all problems, in order."""
    return tuple(_ENTRIES)


def get(name: str) -> CatalogEntry:
    """Return the entry of a name.

    Raises
    ------
    InputError
        If there is no such problem; the text lists those that there are.
    """
    if name not in _ENTRIES:
        near = difflib.get_close_matches(name.lower(), _ENTRIES, 1) if isinstance(name, str) else []
        hint = f"did you mean {near[0]!r}? It has" if near else "it has"
        raise InputError(f"the catalog has no problem {name!r}; {hint} {', '.join(_ENTRIES)}")
    return _ENTRIES[name]


def load(name: str) -> TransportProblem:
    """Build the problem of a name."""
    return get(name).problem()


def description(name: str) -> str:
    """Return the one-sentence summary of a problem."""
    return get(name).summary


# --------------------------------------------------------------------------- P1: cosine square
# psi(y) = |y|^2 / 2 + A cos(pi y1) cos(pi y2) carries each side of the square to itself, and
# the Hessian has the eigenvalues 1 - a cos(pi (y1 +- y2)), a = 0.7.
_COSINE = 0.7
_AMPLITUDE = _COSINE / math.pi**2


def cosine_square_map(y: Array) -> Array:
    """Brenier map of the cosine square, ``(n, 2)`` to ``(n, 2)``."""
    a, b = math.pi * y[:, 0], math.pi * y[:, 1]
    slope = np.stack([np.sin(a) * np.cos(b), np.cos(a) * np.sin(b)], axis=-1)
    return y - math.pi * _AMPLITUDE * slope


def cosine_square_target(x: Array) -> Array:
    """Minus log density ``1 + cos(2 pi x1) cos(2 pi x2) / 2`` on the unit square, ``(n,)``."""
    waves = np.cos(2 * math.pi * x)
    return -np.log1p(0.5 * waves[:, 0] * waves[:, 1])


def cosine_square_target_gradient(x: Array) -> Array:
    """Gradient of `cosine_square_target`, ``(n, 2)``."""
    cosines, sines = np.cos(2 * math.pi * x), np.sin(2 * math.pi * x)
    density = 1 + 0.5 * cosines[:, 0] * cosines[:, 1]
    slope: Array = math.pi * sines * cosines[:, ::-1] / density[:, None]
    return slope


def cosine_square_reference(y: Array) -> Array:
    """Minus log density that the map carries to the target: target after the map, times det."""
    plus = np.cos(math.pi * (y[:, 0] + y[:, 1]))
    minus = np.cos(math.pi * (y[:, 0] - y[:, 1]))
    log_det = np.log1p(-_COSINE * plus) + np.log1p(-_COSINE * minus)
    return np.asarray(cosine_square_target(cosine_square_map(y)) - log_det)


def _cosine_square() -> TransportProblem:
    return TransportProblem(
        reference=Potential(cosine_square_reference, 2, normalized=True, box=_UNIT_SQUARE),
        target=Potential(
            cosine_square_target,
            2,
            gradient=cosine_square_target_gradient,
            normalized=True,
            box=_UNIT_SQUARE,
        ),
    )


# --------------------------------------------------------------------------- P2: four spots
_SPOT_CENTERS = np.array([(0.30, 0.30), (0.70, 0.25), (0.25, 0.70), (0.72, 0.75)])
_SPOT_SD = 0.05
_SPOT_SHARE = 0.99


def _spot_density(x: Array) -> tuple[Array, Array]:
    """Weighted densities of the spots, ``(n, 4)``, and all of it with the background, ``(n,)``."""
    squares = np.sum((x[:, None] - _SPOT_CENTERS) ** 2, axis=-1)
    peak = _SPOT_SHARE / (4 * 2 * math.pi * _SPOT_SD**2)
    spots = peak * np.exp(-0.5 * squares / _SPOT_SD**2)
    return spots, spots.sum(axis=1) + (1 - _SPOT_SHARE)


def _spot_mass() -> float:
    """Mass in the unit square: the tails of the spots beyond it are missing."""
    scale = _SPOT_SD * math.sqrt(2)
    inside = [
        math.prod(0.5 * (math.erf((1 - c) / scale) + math.erf(c / scale)) for c in center)
        for center in _SPOT_CENTERS
    ]
    return _SPOT_SHARE * math.fsum(inside) / 4 + 1 - _SPOT_SHARE


def four_spots_target(x: Array) -> Array:
    """Minus log density of four narrow Gaussians and a background on the unit square, ``(n,)``."""
    return -np.log(_spot_density(x)[1] / _spot_mass())


def four_spots_target_gradient(x: Array) -> Array:
    """Gradient of `four_spots_target`, ``(n, 2)``."""
    spots, total = _spot_density(x)
    shares = spots / total[:, None]
    slope: Array = np.einsum("nk,nki->ni", shares, x[:, None] - _SPOT_CENTERS) / _SPOT_SD**2
    return slope


def _four_spots() -> TransportProblem:
    return TransportProblem(
        reference=Uniform(_UNIT_SQUARE),
        target=Potential(
            four_spots_target,
            2,
            gradient=four_spots_target_gradient,
            normalized=True,
            box=_UNIT_SQUARE,
            log_concave=False,
        ),
    )


# --------------------------------------------------------------------------- targets in the plane
def _standard_normal(dim: int = 2) -> Gaussian:
    return Gaussian(np.zeros(dim), 1.0)


def _ring(sd: float, turn: float) -> Callable[[], TransportProblem]:
    """Eight equal Gaussians on the circle of radius 3."""
    angles = np.arange(8) * math.pi / 4 + turn
    means = 3.0 * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    return lambda: TransportProblem(_standard_normal(), GaussianMixture(means, sd**2))


def _two_modes() -> TransportProblem:
    return TransportProblem(_standard_normal(), GaussianMixture([[3.0, 0.0], [-3.0, 0.0]], 0.8))


def u1(x: Array) -> Array:
    """Potential of an arc in two halves, ``(n,)``; its modes are at (+-2, 0)."""
    radius = np.hypot(x[:, 0], x[:, 1])
    halves = np.logaddexp(-0.5 * ((x[:, 0] - 2) / 0.6) ** 2, -0.5 * ((x[:, 0] + 2) / 0.6) ** 2)
    return 0.5 * ((radius - 2) / 0.4) ** 2 - halves


def double_well(x: Array) -> Array:
    """Potential ``(x1^2 - 4)^2 / 8 + x2^2 / 2 + x1 x2 / 2``, ``(n,)``."""
    return (x[:, 0] ** 2 - 4) ** 2 / 8 + x[:, 1] ** 2 / 2 + 0.5 * x[:, 0] * x[:, 1]


def double_well_gradient(x: Array) -> Array:
    """Gradient of `double_well`, ``(n, 2)``."""
    first = x[:, 0] * (x[:, 0] ** 2 - 4) / 2 + 0.5 * x[:, 1]
    return np.stack([first, x[:, 1] + 0.5 * x[:, 0]], axis=-1)


def funnel(x: Array) -> Array:
    """Potential of ``v = x1 ~ N(0, 1)``, ``x2 | v ~ N(0, e^v)``, up to a constant, ``(n,)``."""
    v = x[:, 0]
    return 0.5 * v**2 + 0.5 * v + 0.5 * x[:, 1] ** 2 * np.exp(-v)


def funnel_gradient(x: Array) -> Array:
    """Gradient of `funnel`, ``(n, 2)``."""
    v, precision = x[:, 0], np.exp(-x[:, 0])
    return np.stack([v + 0.5 - 0.5 * x[:, 1] ** 2 * precision, x[:, 1] * precision], axis=-1)


def banana(x: Array) -> Array:
    """Potential ``x1^2 / 2 + (x2 - x1^2 + 1)^2 / (2 * 0.3^2)``, ``(n,)``."""
    off_ridge = x[:, 1] - x[:, 0] ** 2 + 1
    return np.asarray(0.5 * x[:, 0] ** 2 + off_ridge**2 / (2 * 0.3**2))


def banana_gradient(x: Array) -> Array:
    """Gradient of `banana`, ``(n, 2)``."""
    pull = (x[:, 1] - x[:, 0] ** 2 + 1) / 0.3**2
    return np.stack([x[:, 0] - 2 * x[:, 0] * pull, pull], axis=-1)


def _from_normal(
    function: Callable[[Array], Array], gradient: Callable[[Array], Array] | None
) -> Callable[[], TransportProblem]:
    """Carry the standard normal to an unnormalised density in the plane."""
    return lambda: TransportProblem(_standard_normal(), Potential(function, 2, gradient=gradient))


# --------------------------------------------------------------------------- closed forms
_CORRELATED = np.array([[1.0, 0.8], [0.8, 1.0]])


def _square_root(matrix: Array) -> Array:
    values, axes = np.linalg.eigh(matrix)
    return np.asarray((axes * np.sqrt(values)) @ axes.T)


def _mixture_1d(variances: tuple[float, ...]) -> GaussianMixture:
    return GaussianMixture([-4.0, -2.0, 2.0, 4.0], variances, [0.1, 0.2, 0.4, 0.3])


def quantile_map(mixture: GaussianMixture) -> Callable[[Array], Array]:
    """Return the monotone map of the standard normal to a mixture on the line, by bisection.

    The distribution function is matched on the left of the median and the complementary one on its
    right, so that the map is accurate in both tails.
    """

    def evaluate(y: Array) -> Array:
        from scipy.special import ndtr

        y = np.asarray(y, dtype=np.float64)
        flat = y.reshape(-1)
        side = np.where(flat > 0, -1.0, 1.0)
        probability = ndtr(side * flat)
        means, sds = mixture.means[:, 0], np.sqrt(mixture.covs[:, 0, 0])
        quantiles = means + sds * flat[:, None]
        low, high = quantiles.min(axis=1), quantiles.max(axis=1)
        for _ in range(64):
            middle = 0.5 * (low + high)
            mass = ndtr(side[:, None] * (middle[:, None] - means) / sds) @ mixture.weights
            below = side * (mass - probability) < 0
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return np.asarray((0.5 * (low + high)).reshape(y.shape))

    return evaluate


def _mix1(variances: tuple[float, ...]) -> Callable[[], TransportProblem]:
    return lambda: TransportProblem(_standard_normal(1), _mixture_1d(variances))


# --------------------------------------------------------------------------- real data
def _old_faithful() -> TransportProblem:
    target = Samples(datasets.old_faithful())
    return TransportProblem(Gaussian.fitted(target), target)


@cache
def _experiment() -> tuple[Array, Array, Array]:
    """Log doses, numbers of animals and deaths, read once."""
    dose, animals, deaths = datasets.bioassay().T
    return dose, animals, deaths


def bioassay(x: Array) -> Array:
    """Minus log posterior of a dose-response experiment with a flat prior, up to a constant.

    Parameters
    ----------
    x : ndarray, shape (n, 2)
        Intercept and slope of the log odds of death over the log dose.

    Returns
    -------
    ndarray, shape (n,)
        Minus the log likelihood, without binomial coefficients.
    """
    dose, animals, deaths = _experiment()
    log_odds = x[:, :1] + x[:, 1:] * dose
    return np.asarray(np.sum(animals * np.logaddexp(0.0, log_odds) - deaths * log_odds, axis=1))


def bioassay_gradient(x: Array) -> Array:
    """Gradient of `bioassay`, ``(n, 2)``."""
    dose, animals, deaths = _experiment()
    excess = animals * 0.5 * (1 + np.tanh(0.5 * (x[:, :1] + x[:, 1:] * dose))) - deaths
    return np.stack([excess.sum(axis=1), excess @ dose], axis=-1)


def _bioassay() -> TransportProblem:
    # A logistic likelihood is log-concave.
    target = Potential(bioassay, 2, gradient=bioassay_gradient)
    return TransportProblem(Gaussian.fitted(target), target)


def _pictures(first: str, second: str, size: int = 64) -> Callable[[], TransportProblem]:
    return lambda: TransportProblem(
        GridDensity.from_image(datasets.picture(first, size)),
        GridDensity.from_image(datasets.picture(second, size)),
    )


# --------------------------------------------------------------------------- the list
def _settings(*shape: int, **others: Any) -> Mapping[str, Any]:
    return MappingProxyType({"shape": shape, **others})


_LIST = (
    CatalogEntry(
        "cosine_square",
        "P1: two smooth positive densities on the unit square with a known map.",
        _cosine_square,
        _settings(256, 256, side="reference", inner="point"),
        log_evidence=0.0,
        w2_squared=0.0230928822597534,
        w2_error=1e-15,
        exact_map=cosine_square_map,
        source="manufactured: psi = |y|^2 / 2 + (0.7 / pi^2) cos(pi y1) cos(pi y2)",
    ),
    CatalogEntry(
        "four_spots",
        "P2: the uniform square to four narrow spots over a background, 1577 : 1.",
        _four_spots,
        _settings(256, 256),
        log_evidence=0.0,
        w2_squared=0.020506776,
        w2_error=5e-9,
        source="extrapolated from three grids, confirmed by linear programming",
    ),
    CatalogEntry(
        "ring",
        "P3: the standard normal to a ring of eight Gaussians, sd 0.5.",
        _ring(0.5, 0.0),
        _settings(512, 512, target_box=_RING_BOX),
        log_evidence=0.0,
        w2_squared=3.2575,
        w2_error=1e-4,
        source="extrapolated, confirmed by linear programming",
    ),
    CatalogEntry(
        "ring_sharp",
        "The standard normal to a ring of eight Gaussians, sd 0.25, turned by 0.1 rad.",
        _ring(0.25, 0.1),
        _settings(256, 256, target_box=_RING_BOX),
        log_evidence=0.0,
        w2_squared=3.3398,
        w2_error=5e-4,
    ),
    CatalogEntry(
        "ring_needle",
        "The standard normal to a ring of eight Gaussians, sd 0.1, with empty gaps.",
        _ring(0.1, 0.1),
        _settings(512, 512, target_box=_RING_BOX),
        log_evidence=0.0,
        w2_squared=3.508,
        w2_error=5e-3,
    ),
    CatalogEntry(
        "two_modes",
        "The standard normal to two Gaussians with variance 0.8 at (+-3, 0).",
        _two_modes,
        _settings(256, 256),
        log_evidence=0.0,
        w2_squared=4.9854,
        w2_error=3e-4,
    ),
    CatalogEntry(
        "u1",
        "The standard normal to two half arcs, a test density of variational inference.",
        _from_normal(u1, None),
        _settings(256, 256),
        log_evidence=1.877501626109708,
        w2_squared=1.0902,
        w2_error=1e-3,
        source="D. Rezende and S. Mohamed, Variational inference with normalizing flows, 2015",
    ),
    CatalogEntry(
        "double_well",
        "The standard normal to a tilted double well.",
        _from_normal(double_well, double_well_gradient),
        _settings(256, 256),
        log_evidence=2.4144528519612304,
        w2_squared=1.94392,
        w2_error=1e-4,
    ),
    CatalogEntry(
        "funnel",
        "The standard normal to a funnel: the scale of one coordinate is the other one.",
        _from_normal(funnel, funnel_gradient),
        _settings(256, 256, target_box=((-5.5, 5.0), (-18.0, 18.0))),
        log_evidence=math.log(2 * math.pi),
        w2_squared=0.27251,
        w2_error=1e-4,
        source="R. M. Neal, Slice sampling, Annals of Statistics 31, 2003, in two dimensions",
    ),
    CatalogEntry(
        "banana",
        "The standard normal to a thin, strongly bent ridge.",
        _from_normal(banana, banana_gradient),
        _settings(512, 512, target_box=((-4.5, 4.5), (-3.5, 18.0))),
        log_evidence=0.633904262083409,
    ),
    CatalogEntry(
        "mix1_sd",
        "The standard normal to four Gaussians on the line, given by standard deviations.",
        _mix1((1.0, 0.25, 0.25, 1.0)),
        _settings(4096),
        log_evidence=0.0,
        w2_squared=4.93266065848,
        w2_error=1e-10,
        exact_map=quantile_map(_mixture_1d((1.0, 0.25, 0.25, 1.0))),
    ),
    CatalogEntry(
        "mix1_var",
        "The standard normal to four Gaussians on the line, given by variances.",
        _mix1((1.0, 0.5, 0.5, 1.0)),
        _settings(4096),
        log_evidence=0.0,
        w2_squared=5.00788010316,
        w2_error=1e-10,
        exact_map=quantile_map(_mixture_1d((1.0, 0.5, 0.5, 1.0))),
    ),
    CatalogEntry(
        "gaussian",
        "The standard normal to a Gaussian with correlation 0.8: the map is linear.",
        lambda: TransportProblem(_standard_normal(), Gaussian([0.0, 0.0], _CORRELATED)),
        _settings(64, 64, boundary="free"),
        log_evidence=0.0,
        w2_squared=4 - 2 * (math.sqrt(1.8) + math.sqrt(0.2)),
        w2_error=0.0,
        exact_map=Affine(_square_root(_CORRELATED), np.zeros(2)),
    ),
    CatalogEntry(
        "gaussian_3d",
        "Two correlated Gaussians in space: the map is linear.",
        manufactured.correlated_gaussians,
        _settings(64, 64, 64),
        log_evidence=0.0,
        w2_squared=4.252188372376626,
        w2_error=1e-9,
        exact_map=manufactured.correlated_map(),
    ),
    CatalogEntry(
        "cosine_cube",
        "Two smooth positive densities on the unit cube with a known map.",
        manufactured.cosine_cube,
        _settings(64, 64, 64, side="reference"),
        log_evidence=0.0,
        w2_squared=0.0058810149323938,
        w2_error=1e-15,
        exact_map=manufactured.cosine_cube_map,
        source="manufactured: psi = |y|^2 / 2 + (0.4 / pi^2) cos(pi y1) cos(pi y2) cos(pi y3)",
    ),
    CatalogEntry(
        "three_ridges",
        "The standard normal in space to a density with two modes and a known map.",
        manufactured.three_ridges,
        _settings(64, 64, 64, side="target"),
        log_evidence=0.0,
        w2_squared=0.1984598936506,
        w2_error=1e-13,
        exact_map=manufactured.three_ridges_map,
        source="manufactured: phi = |x|^2 / 2 - sum beta_j log cosh(w_j . x)",
    ),
    CatalogEntry(
        "old_faithful",
        "A fitted Gaussian to the eruptions of Old Faithful: duration and waiting time.",
        _old_faithful,
        _settings(256, 256),
        log_evidence=0.0,
        source="A. Azzalini and A. W. Bowman, Applied Statistics 39, 1990",
    ),
    CatalogEntry(
        "bioassay",
        "A fitted Gaussian to the unnormalised posterior of a dose-response experiment.",
        _bioassay,
        _settings(256, 256),
        log_evidence=-2.7287843,
        source="A. Racine and others, Bayesian methods in practice, Applied Statistics 35, 1986",
    ),
    CatalogEntry(
        "camera_to_astronaut",
        "One grey picture to another, both far from log-concave.",
        _pictures("camera", "astronaut"),
        _settings(64, 64),
        log_evidence=0.0,
        w2_squared=0.01748,
        w2_error=1e-4,
    ),
    CatalogEntry(
        "astronaut_to_coffee",
        "One grey picture to another, with large dark areas.",
        _pictures("astronaut", "coffee"),
        _settings(64, 64),
        log_evidence=0.0,
        w2_squared=0.009075,
        w2_error=3e-5,
    ),
    CatalogEntry(
        "chelsea_to_rocket",
        "One grey picture to another, an easy pair.",
        _pictures("chelsea", "rocket"),
        _settings(64, 64),
        log_evidence=0.0,
        w2_squared=0.0076,
        w2_error=3e-5,
    ),
)
# Without settings: the default solver is the one.
_POSTERIORS = tuple(
    CatalogEntry(
        item.name,
        item.summary,
        item.problem,
        log_evidence=item.log_evidence,
        source=item.source or "posteriordb",
    )
    for item in map(posteriors.posterior, posteriors.names())
)
_ENTRIES = {entry.name: entry for entry in (*_LIST, *_POSTERIORS)}
