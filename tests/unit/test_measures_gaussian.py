"""Gaussians, mixtures of them, and the uniform measure."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from parabolic_ma.grid import Box, Grid
from parabolic_ma.measures import Gaussian, GaussianMixture, Measure, Uniform
from parabolic_ma.status import InputError

MEASURES = {
    "1d": Gaussian(0.5, 4.0),
    "2d": Gaussian([1.0, -2.0], [[2.0, 0.6], [0.6, 1.0]]),
    "diagonal": Gaussian([0.0, 1.0, 2.0], [1.0, 4.0, 9.0]),
    "mixture 1d": GaussianMixture([-4, -2, 2, 4], [1, 0.25, 0.25, 1], [0.1, 0.2, 0.4, 0.3]),
    "mixture": GaussianMixture(
        [[0, 0], [3, 1]], [[[1, 0.5], [0.5, 2]], [[0.3, 0], [0, 0.2]]], [1, 3]
    ),
}


def log_density(measure, x):
    """Scipy's log density."""
    if isinstance(measure, Gaussian):
        return stats.multivariate_normal(measure.mean, measure.cov).logpdf(x)
    terms = [
        np.log(w) + stats.multivariate_normal(m, c).logpdf(x)
        for w, m, c in zip(measure.weights, measure.means, measure.covs, strict=True)
    ]
    return np.logaddexp.reduce(terms, axis=0)


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_potential_is_minus_the_log_density(measure):
    x = np.random.default_rng(0).normal(scale=4.0, size=(50, measure.dim))
    # Sums of a few terms of order 100: rounding 1e-13.
    np.testing.assert_allclose(measure.potential(x), -log_density(measure, x), rtol=1e-12)


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_gradient_agrees_with_central_differences(measure):
    x = np.random.default_rng(1).normal(scale=2.0, size=(20, measure.dim))
    step = 1e-5
    for k in range(measure.dim):
        shift = step * np.eye(measure.dim)[k]
        difference = (measure.potential(x + shift) - measure.potential(x - shift)) / (2 * step)
        # Rounding eps * f / step = 1e-16 * 100 / 1e-5, truncation step^2 f''' / 6 below it.
        np.testing.assert_allclose(measure.gradient(x)[:, k], difference, atol=1e-8)


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_samples_have_the_moments(measure):
    n = 40_000
    points = measure.sample(n, 0)
    mean, cov = measure.moments()
    assert points.shape == (n, measure.dim)
    sds = np.sqrt(np.diag(cov))
    # Five standard errors of a mean; of a covariance, kurtosis at most 5 (error sqrt(5 / n)).
    assert np.all(np.abs(points.mean(axis=0) - mean) < 5 * sds / math.sqrt(n))
    error = np.abs(np.cov(points.T).reshape(cov.shape) - cov) / np.outer(sds, sds)
    assert np.all(error < 5 * math.sqrt(5 / n))


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_moments_are_those_of_the_density(measure):
    cells = {1: 2000, 2: 200, 3: 40}[measure.dim]
    grid = Grid(measure.support(1e-9), (cells,) * measure.dim)
    weights = np.exp(-measure.potential(grid.points())) * grid.cell_volume
    # The midpoint rule is spectrally accurate here; the box cuts off 1e-9 at 6 sd.
    assert weights.sum() == pytest.approx(1.0, abs=2e-9)
    mean, cov = measure.moments()
    shifted = grid.points() - mean
    np.testing.assert_allclose(weights @ shifted, 0.0, atol=1e-7)
    np.testing.assert_allclose((shifted * weights[:, None]).T @ shifted, cov, atol=1e-6)


@pytest.mark.parametrize("tail_mass", [1e-12, 1e-4, 0.1])
@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_each_face_of_the_support_cuts_off_its_share(measure, tail_mass):
    box = measure.support(tail_mass)
    share = tail_mass / (2 * measure.dim)
    if isinstance(measure, Gaussian):
        weights, means, covs = [1.0], [measure.mean], [measure.cov]
    else:
        weights, means, covs = measure.weights, measure.means, measure.covs
    for k, (low, high) in enumerate(box):
        below = sum(
            w * stats.norm.cdf(low, m[k], math.sqrt(c[k, k]))
            for w, m, c in zip(weights, means, covs, strict=True)
        )
        above = sum(
            w * stats.norm.sf(high, m[k], math.sqrt(c[k, k]))
            for w, m, c in zip(weights, means, covs, strict=True)
        )
        # Bisection to 1e-12 of the scale, times the hazard rate of at most 8 per sd.
        assert below == pytest.approx(share, rel=1e-9)
        assert above == pytest.approx(share, rel=1e-9)


def test_forms_of_points():
    line, plane = MEASURES["1d"], MEASURES["2d"]
    assert line.potential(np.zeros(3)).shape == (3,)
    assert line.gradient(np.zeros(3)).shape == (3,)
    assert plane.potential([0.0, 0.0]).shape == (1,)
    assert plane.gradient([0.0, 0.0]).shape == (2,)
    with pytest.raises(InputError, match=r"x must have shape \(n, 2\) or \(2,\), got \(4, 3\)"):
        plane.potential(np.zeros((4, 3)))


def test_attributes_and_protocol():
    mixture = MEASURES["mixture"]
    assert mixture.means.shape == (2, 2)
    assert mixture.covs.shape == mixture.precisions.shape == (2, 2, 2)
    np.testing.assert_allclose(mixture.weights, [0.25, 0.75])
    expected = np.log(mixture.weights) - 0.5 * np.log(np.linalg.det(2 * np.pi * mixture.covs))
    np.testing.assert_allclose(mixture.log_weights_norm, expected)
    gaussian = MEASURES["2d"]
    np.testing.assert_allclose(gaussian.precision @ gaussian.cov, np.eye(2), atol=1e-14)
    for measure in (gaussian, mixture, Uniform([(0, 1)])):
        assert isinstance(measure, Measure)
        assert measure.normalized
    assert not gaussian.bounded
    assert gaussian.log_concave


def test_forms_of_covariances_of_a_mixture():
    means = [[0, 0], [1, 1], [2, 0]]
    matrix = np.array([[1.0, 0.2], [0.2, 2.0]])
    np.testing.assert_array_equal(GaussianMixture(means, 0.5).covs, [0.5 * np.eye(2)] * 3)
    np.testing.assert_array_equal(GaussianMixture(means, matrix).covs, [matrix] * 3)
    per_component = GaussianMixture(means, [1, 2, 3]).covs
    np.testing.assert_array_equal(per_component, [v * np.eye(2) for v in (1, 2, 3)])


def test_fitted_gaussian_has_the_moments():
    fitted = Gaussian.fitted(MEASURES["mixture"])
    np.testing.assert_allclose(fitted.mean, [2.25, 0.75])
    np.testing.assert_allclose(fitted.cov, MEASURES["mixture"].moments()[1])


def test_log_concavity_of_mixtures_is_proven_or_disproven():
    assert GaussianMixture([[1, 2]], 1.0).log_concave is True
    assert GaussianMixture([[0, 0], [0, 0]], 2.0).log_concave is True
    # Two equal variances are log-concave up to a distance of exactly 2 standard deviations.
    assert GaussianMixture([0.0, 2.0 - 1e-9], 1.0).log_concave is True
    assert GaussianMixture([0.0, 2.0 + 1e-9], 1.0).log_concave is False
    assert GaussianMixture([[0, 0], [1, 0], [0, 1]], 1.0).log_concave is True
    assert GaussianMixture([[0, 0], [6, 0], [0, 6]], 1.0).log_concave is False
    # The same mean and different widths: heavier tails than a Gaussian, undecided between means.
    assert GaussianMixture([0.0, 0.1], [1.0, 1.1]).log_concave is None


def test_far_tails_do_not_underflow():
    mixture = GaussianMixture([[0, 0], [1, 0]], 0.01)
    assert mixture.potential([[100.0, 0.0]])[0] == pytest.approx(
        0.5 * 99**2 / 0.01 - mixture.log_weights_norm[1]
    )


def test_uniform():
    measure = Uniform([(0, 2), (-1, 1)])
    np.testing.assert_allclose(measure.potential([[1, 0], [3, 0]]), [math.log(4), np.inf])
    # Rounding at a face does not put a point outside.
    assert np.isfinite(measure.potential([[2 + 1e-12, 0]])[0])
    np.testing.assert_array_equal(measure.gradient([[1.0, 0.0]]), [[0, 0]])
    assert measure.support(0.5) == Box((0.0, -1.0), (2.0, 1.0))
    mean, cov = measure.moments()
    np.testing.assert_allclose(mean, [1, 0])
    np.testing.assert_allclose(cov, np.eye(2) / 3)
    points = measure.sample(1000, np.random.default_rng(0))
    assert measure.box.contains(points).all()
    assert measure.bounded
    assert measure.log_concave


def test_seeds():
    measure = MEASURES["mixture"]
    np.testing.assert_array_equal(measure.sample(5, 3), measure.sample(5, np.random.default_rng(3)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gaussian([[0, 0]], 1.0), r"mean must be a number or have shape \(d,\), got shape"),
        (lambda: Gaussian([0, math.nan], 1.0), "mean must be finite"),
        (lambda: Gaussian([0, 0], 0.0), "cov must hold positive, finite variances, got 0.0"),
        (lambda: Gaussian([0, 0], [1, math.inf]), "cov must hold positive, finite variances"),
        (lambda: Gaussian([0, 0], [1, 2, 3]), "cov must be one variance, 2 variances or a"),
        (lambda: Gaussian([0, 0], np.eye(3)), r"cov must have shape \(2, 2\), got \(3, 3\)"),
        (lambda: Gaussian([0, 0], [[1, 0.5], [0, 1]]), "cov must be symmetric"),
        (lambda: Gaussian([0, 0], [[1, 1], [1, 1]]), "cov is singular or not positive definite"),
        (lambda: Gaussian([0, 0], [[1, math.nan], [math.nan, 1]]), "cov must be finite"),
        (lambda: Gaussian.fitted(np.zeros((3, 2))), "a Gaussian is fitted to a measure, got ndarr"),
        (lambda: GaussianMixture([], 1.0), r"means must have shape \(K, d\), or \(K,\) for d = 1"),
        (lambda: GaussianMixture([0, math.inf], 1.0), "means must be finite"),
        (lambda: GaussianMixture([[0, 0], [1, 1]], [1, -1]), r"covs\[1\] must hold positive"),
        (lambda: GaussianMixture([[0, 0]] * 3, np.ones((3, 2))), "covs must be one variance, one"),
        (lambda: GaussianMixture([[0, 0]] * 2, np.ones((2, 2, 2))), r"covs\[0\] is singular"),
        (lambda: GaussianMixture([0, 1], 1, [1]), r"weights must have shape \(2,\), one a mean"),
        (lambda: GaussianMixture([0, 1], 1, [1, 0]), "weights must be positive and finite"),
        (lambda: Gaussian(0, 1).support(0.0), "tail_mass must lie strictly between 0 and 1, got 0"),
        (lambda: Uniform([(1, 0)]), r"axis 0 of the box is \(1.0, 0.0\)"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(InputError, match=message):
        make()
