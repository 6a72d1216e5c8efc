"""Transport problems with known maps, and how far a solution is from them.

A case knows its exact map both ways, so that errors of both sides' grids can be measured, and the
order with which they must fall. Symbols: ``nu`` the reference on ``y``, ``mu`` the target on
``x``, ``T = grad psi``, ``S = T^{-1} = grad phi``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

import parabolic_ma as pma
from parabolic_ma import catalog

TAIL = 1e-6  # mass left out of the region on which whole-space problems are judged
POLISH = 1e-7  # weighted residual, far below every discretisation error in these tests

Points = np.ndarray
PointMap = Callable[[Points], Points]


@dataclass(frozen=True, eq=False)
class Case:
    """A problem with its exact map.

    Parameters
    ----------
    name : str
    problem : callable
        Makes the transport problem.
    forward, backward : callable
        ``T`` and ``S`` on points ``(n, d)``.
    settings : dict
        Of the solver, beside its shape, side and tolerance.
    window : sequence of (lower, upper), optional
        Where points for the error integrals are laid on the reference side; the support of all but
        `TAIL` of the reference if not given.
    order : float
        Expected order of the map's error in the spacing.
    """

    name: str
    problem: Callable[[], pma.TransportProblem]
    forward: PointMap
    backward: PointMap
    settings: dict[str, Any] = field(default_factory=dict)
    window: Sequence[tuple[float, float]] | None = None
    order: float = 2.0

    def solve(
        self, shape: int | tuple[int, ...], side: str = "reference", **others: Any
    ) -> pma.Solution:
        """Solve to `POLISH` unless told otherwise, and assert that this was reached.

        A stalled Newton iteration must not pass for, or hide, a wrong order.
        """
        settings = {"tol": POLISH, "side": side, **self.settings, **others}
        solution = pma.solve(self.problem(), pma.GridSolver(shape, **settings), progress=False)
        assert solution.status is pma.Status.CONVERGED, solution.message
        return solution

    def __str__(self) -> str:
        return self.name


# ------------------------------------------------------------------------------------ errors
def bulk(weights: np.ndarray) -> np.ndarray:
    """Weights of the cells that hold all but `TAIL` of the mass, zero elsewhere, with sum 1."""
    weights = weights / weights.sum()
    order = np.argsort(weights)
    tail = np.cumsum(weights[order]) <= TAIL
    kept = weights.copy()
    kept[order[tail]] = 0.0
    return kept / kept.sum()


def root_mean_square(difference: np.ndarray, weights: np.ndarray) -> float:
    """L2 norm of vectors under weights that sum to one; what has no weight may be anything."""
    squares = np.where(weights > 0, (difference**2).sum(axis=-1), 0.0)
    return math.sqrt(float(weights @ squares))


@cache
def reference_images(case: Case) -> tuple[Points, Points, np.ndarray]:
    """Points of the error integral with their exact images and the reference's weights.

    The same for every grid: odd numbers of cells, prime to those of the grids, so that the points
    fall on all places of the cells.
    """
    problem = case.problem()
    box = pma.Box.of(case.window) if case.window else problem.reference.support(TAIL)
    sizes = {1: (20011,), 2: (133, 131), 3: (47, 43, 41)}
    points = pma.Grid(box, sizes[problem.dim]).points()
    weights = bulk(np.exp(-problem.reference.potential(points)))
    return points, case.forward(points), weights


def spline_error(case: Case, solution: pma.Solution) -> float:
    """L2(nu) error of ``solution.map`` (the gradient of a C2 spline) at points."""
    points, images, weights = reference_images(case)
    return root_mean_square(solution.map(points) - images, weights)


def nodal_error(case: Case, solution: pma.Solution) -> float:
    """L2 error of the centred differences at the cell centres, under the grid side's measure."""
    fields = solution.fields
    points = fields.potential.grid.points()
    exact = case.forward if solution.side == "reference" else case.backward
    weights = bulk(np.exp(fields.log_source).ravel())
    kept = weights > 0
    gradient = fields.gradient.reshape(points.shape)[kept]
    return root_mean_square(gradient - exact(points[kept]), weights[kept])


def observed_order(spacings: Sequence[float], errors: Sequence[float]) -> float:
    """Slope of the least squares line through the logarithms of errors over spacings."""
    return float(np.polyfit(np.log(spacings), np.log(errors), 1)[0])


# --------------------------------------------------------------------------------- closed forms
def _power(matrix: np.ndarray, power: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * values**power) @ vectors.T


def gaussian_map(reference: pma.Gaussian, target: pma.Gaussian) -> pma.Affine:
    """``T(y) = m + A (y - n)``, ``A = N^{-1/2} (N^{1/2} M N^{1/2})^{1/2} N^{-1/2}``."""
    half, back = _power(reference.cov, 0.5), _power(reference.cov, -0.5)
    A = back @ _power(half @ target.cov @ half, 0.5) @ back
    return pma.Affine(A, target.mean - A @ reference.mean)


def gaussians() -> Case:
    """Full covariances that do not commute, and means."""
    reference = pma.Gaussian([0.5, -1.0], [[1.5, -0.4], [-0.4, 0.6]])
    target = pma.Gaussian([-2.0, 1.0], [[1.0, 0.8], [0.8, 1.0]])
    exact = gaussian_map(reference, target)
    return Case("gaussians", lambda: pma.TransportProblem(reference, target), exact, exact.inverse)


def _mixture_1d(separation: float, variances: Sequence[float], weights: Sequence[float]) -> Any:
    return pma.GaussianMixture([-separation, separation], variances, weights)


FACTORS = (_mixture_1d(1.2, [0.5, 0.7], [0.4, 0.6]), _mixture_1d(0.8, [0.4, 0.9], [0.7, 0.3]))


def _quantiles_inverse(mixture: pma.GaussianMixture) -> PointMap:
    """Map of a mixture on the line to the standard normal, through the smaller tail."""
    from scipy.special import ndtr, ndtri

    means, sds = mixture.means[:, 0], np.sqrt(mixture.covs[:, 0, 0])

    def evaluate(x: np.ndarray) -> np.ndarray:
        z = (x[..., None] - means) / sds
        lower, upper = ndtr(z) @ mixture.weights, ndtr(-z) @ mixture.weights
        return np.where(lower < upper, ndtri(lower), -ndtri(upper))

    return evaluate


def product(angle: float = 0.0) -> Case:
    """``mu`` a product of two mixtures on the line, turned by ``angle``; ``nu = N(0, I)``."""
    Q = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    first, second = FACTORS
    means = [(a, b) for a in first.means[:, 0] for b in second.means[:, 0]]
    covs = [Q @ np.diag([a, b]) @ Q.T for a in first.covs[:, 0, 0] for b in second.covs[:, 0, 0]]
    weights = np.outer(first.weights, second.weights).ravel()
    there = [catalog.quantile_map(f) for f in FACTORS]
    back = [_quantiles_inverse(f) for f in FACTORS]

    def turned(maps: Sequence[PointMap]) -> PointMap:
        return lambda p: np.stack([m(c) for m, c in zip(maps, (p @ Q).T, strict=True)], -1) @ Q.T

    return Case(
        f"product turned by {angle:g}",
        lambda: pma.TransportProblem(
            pma.Gaussian([0, 0], 1.0), pma.GaussianMixture(np.array(means) @ Q.T, covs, weights)
        ),
        turned(there),
        turned(back),
    )


def quartic(x: Points) -> np.ndarray:
    """``|x|^4 / 4``."""
    return 0.25 * (x**2).sum(axis=-1) ** 2


def quartic_gradient(x: Points) -> Points:
    """``|x|^2 x``."""
    return (x**2).sum(axis=-1, keepdims=True) * x


def quartic_radius(r: np.ndarray) -> np.ndarray:
    """``R`` with equal masses of ``|y| < r`` and ``|x| < R``: ``erf(R^2/2) = 1 - e^{-r^2/2}``."""
    from scipy.special import erfcinv

    return np.sqrt(2.0 * erfcinv(np.exp(-0.5 * r**2)))


def quartic_radius_inverse(big: np.ndarray) -> np.ndarray:
    from scipy.special import erfc

    return np.sqrt(-2.0 * np.log(erfc(0.5 * big**2)))


def _radially(radius: PointMap) -> PointMap:
    def evaluate(p: Points) -> Points:
        r = np.maximum(np.hypot(p[:, 0], p[:, 1]), 1e-8)
        return p * (radius(r) / r)[:, None]

    return evaluate


def radial() -> Case:
    """``nu = N(0, I)``, ``mu`` proportional to ``exp(-|x|^4 / 4)``: evidence ``pi^{3/2}``."""
    return Case(
        "radial",
        lambda: pma.TransportProblem(
            pma.Gaussian([0, 0], 1.0), pma.Potential(quartic, 2, gradient=quartic_gradient)
        ),
        _radially(quartic_radius),
        _radially(quartic_radius_inverse),
    )


# --------------------------------------------------------------- manufactured: log cosh in space
@dataclass(frozen=True)
class LogCosh:
    """``psi(y) = alpha |y|^2 / 2 + sum_j beta_j log cosh(w_j . y + c_j)``, its slope and Hessian.

    Negative ``beta`` with ``-sum beta |w|^2 < alpha`` is convex as well.
    """

    alpha: float
    beta: np.ndarray
    w: np.ndarray
    c: np.ndarray

    def slope(self, y: Points) -> Points:
        return self.alpha * y + (self.beta * np.tanh(y @ self.w.T + self.c)) @ self.w

    def hessian(self, y: Points) -> np.ndarray:
        bend = self.beta * (1.0 - np.tanh(y @ self.w.T + self.c) ** 2)
        return self.alpha * np.eye(y.shape[1]) + np.einsum("nj,ji,jk->nik", bend, self.w, self.w)

    def inverse(self, x: Points) -> Points:
        """Solve ``slope(y) = x``."""
        return newton(self, x, x / self.alpha, 1.0)

    def pulled_back(self, other: Any) -> Callable[[Points], np.ndarray]:
        """Potential of the measure that the slope carries to ``other``."""
        return lambda y: other.potential(self.slope(y)) - np.linalg.slogdet(self.hessian(y))[1]


def newton(potential: Any, x: Points, start: Points, longest: float) -> Points:
    """Minimise ``psi(y) - x . y`` by Newton steps no longer than ``longest``, to rounding."""
    y = start
    for _ in range(200):
        gap = potential.slope(y) - x
        if np.abs(gap).max() < 1e-12 * max(1.0, np.abs(x).max()):
            return y
        step = np.linalg.solve(potential.hessian(y), gap[..., None])[..., 0]
        y = y - step / np.maximum(1.0, np.abs(step).max(axis=1, keepdims=True) / longest)
    raise AssertionError("the exact map could not be inverted")


W = np.array([[1.0, 0.0], [0.5, 0.8]])
VALLEYS = LogCosh(1.0, -np.array([0.6, 0.3]), W, np.zeros(2))
RIDGES = LogCosh(0.7, np.array([0.5, 0.3]), W, np.array([0.3, -0.5]))


def bimodal_target(dim: int = 2) -> Case:
    """``nu = N(0, I)``, ``phi`` explicit: the target has two modes."""
    valleys = VALLEYS if dim == 2 else LogCosh(1.0, np.array([-0.9]), np.eye(1), np.zeros(1))
    normal = pma.Gaussian(np.zeros(dim), 1.0)
    density = valleys.pulled_back(normal)
    return Case(
        f"bimodal target in {dim}D",
        lambda: pma.TransportProblem(normal, pma.Potential(density, dim, normalized=True)),
        valleys.inverse,
        valleys.slope,
    )


def ridged_reference() -> Case:
    """``psi`` explicit, ``mu`` a correlated Gaussian: the reference is what fits."""
    target = pma.Gaussian([0.3, -0.2], [[0.8, 0.3], [0.3, 0.5]])
    density = RIDGES.pulled_back(target)
    return Case(
        "ridged reference",
        lambda: pma.TransportProblem(pma.Potential(density, 2, normalized=True), target),
        RIDGES.slope,
        RIDGES.inverse,
    )


# ------------------------------------------------------------------ manufactured: boxes and tori
@dataclass(frozen=True)
class Waves:
    """``psi = sum_i D_i y_i^2 / 2 + sum_k A_k cos(K_k . (y - s))`` and densities for it.

    The target on the image box is a constant plus one full wave on each axis, ``crest`` being
    where it is largest.
    """

    stretch: np.ndarray
    amplitude: np.ndarray
    wave: np.ndarray
    shift: np.ndarray
    box: pma.Box
    crest: np.ndarray
    ripple: float

    @property
    def image(self) -> pma.Box:
        d = self.stretch
        return pma.Box(tuple(d * self.box.lower), tuple(d * self.box.upper))

    def slope(self, y: Points) -> Points:
        s = np.sin((y - self.shift) @ self.wave.T)
        return y * self.stretch - (s * self.amplitude) @ self.wave

    def hessian(self, y: Points) -> np.ndarray:
        c = np.cos((y - self.shift) @ self.wave.T) * self.amplitude
        return np.diag(self.stretch) - np.einsum("nj,ji,jk->nik", c, self.wave, self.wave)

    def inverse(self, x: Points) -> Points:
        """Solve ``slope(y) = x``."""
        return newton(self, x, x / self.stretch, 0.1 * min(self.box.widths))

    def target(self, x: Points) -> np.ndarray:
        """Minus log of ``(1 + ripple prod cos(2 pi (x_i - crest_i) / L_i)) / volume``."""
        phase = (x - self.crest) / self.image.widths
        waves = np.cos(2.0 * math.pi * phase)
        return -np.log1p(self.ripple * waves.prod(axis=-1)) + math.log(self.image.volume)

    def reference(self, y: Points) -> np.ndarray:
        return self.target(self.slope(y)) - np.linalg.slogdet(self.hessian(y))[1]

    def case(self, name: str, boundary: str) -> Case:
        def make(function: Callable[[Points], np.ndarray], box: pma.Box) -> pma.Potential:
            return pma.Potential(function, box.dim, normalized=True, box=box)

        return Case(
            name,
            lambda: pma.TransportProblem(
                make(self.reference, self.box), make(self.target, self.image)
            ),
            self.slope,
            self.inverse,
            {"boundary": boundary, "inner": "point"},
            window=list(self.box),
        )


def rectangle(
    lower: Sequence[float] = (0.0, 0.0),
    widths: Sequence[float] = (1.0, 1.0),
    stretch: Sequence[float] = (1.0, 1.0),
    size: float = 0.7,
) -> Case:
    """Box to box: one half wave on each side; ``size`` 0.7 on the unit square is P1.

    ``A cos a cos b = A (cos(a + b) + cos(a - b)) / 2``.
    """
    first, second = math.pi / np.array(widths)
    amplitude = 0.5 * size / first**2 * np.ones(2)
    upper = tuple(lo + w for lo, w in zip(lower, widths, strict=True))
    start = np.array(lower)
    waves = Waves(
        np.array(stretch), amplitude, np.array([[first, second], [first, -second]]), start,
        pma.Box(tuple(lower), upper), np.array(stretch) * start, 0.5,
    )  # fmt: skip
    return waves.case(f"cosines on {tuple(widths)} stretched by {tuple(stretch)}", "box")


@cache
def torus(dim: int = 2, shift: float = 0.0) -> Case:
    """Unit torus; ``shift`` moves everything, so that nothing is even about the faces."""
    wave = 2.0 * math.pi * (np.array([[1.0, 1.0], [1.0, -1.0]]) if dim == 2 else np.eye(1))
    size = np.array([0.4, 0.3]) if dim == 2 else np.array([0.5])
    amplitude = -size / (wave**2).sum(axis=1)
    box = pma.Box((0.0,) * dim, (1.0,) * dim)
    shifts = shift * np.arange(1, dim + 1)
    waves = Waves(np.ones(dim), amplitude, wave, shifts, box, 0.7 * shifts, 0.4)
    return waves.case(f"torus in {dim}D, shifted by {shift:g}", "periodic")


# -------------------------------------------------------------------------------- on the line
def line(name: str) -> Case:
    """A catalog problem from the standard normal to a mixture on the line."""
    mixture = catalog.load(name).target
    back = _quantiles_inverse(mixture)
    return Case(
        name,
        lambda: catalog.load(name),
        catalog.get(name).exact_map,
        lambda x: back(x[:, 0])[:, None],
    )
