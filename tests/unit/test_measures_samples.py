"""Samples and their kernel density estimate."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from parabolic_ma.grid import Grid
from parabolic_ma.measures import Gaussian, Measure, Samples
from parabolic_ma.status import InputError

# Table of 8 cells a bandwidth, h = 1/8: the spline's error h^4 / 384 f'''' and the kernel's
# h^4 / 720 He4 are below 1e-6 where fourth derivatives are of order one, 1e-4 at the valleys.
TYPICAL = 1e-5
LARGEST = 1e-3


def mixture_points(n, dim, seed=0):
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((n, dim))
    points[: n // 3] = 0.4 * points[: n // 3] + 3.0
    return points @ (np.eye(dim) + 0.3 * np.tri(dim))


def scipy_potential(points, x, weights=None, factor=None):
    return -stats.gaussian_kde(points.T, bw_method=factor, weights=weights).logpdf(x.T)


@pytest.mark.parametrize("factor", [None, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_agrees_with_the_sum_over_all_points(dim, weighted, factor):
    points = mixture_points(300, dim)
    weights = np.random.default_rng(1).uniform(0.1, 1.0, size=300) if weighted else None
    measure = Samples(points, weights, factor)
    x = measure.sample(200, 2)
    error = np.abs(measure.potential(x) - scipy_potential(points, x, weights, factor))
    # in space the table has half as many cells per bandwidth, and the spline is of fourth order
    coarser = 16.0 if dim == 3 else 1.0
    assert math.sqrt(np.mean(error**2)) < coarser * TYPICAL
    assert error.max() < coarser * LARGEST


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_gradient_agrees_with_differences(dim):
    measure = Samples(mixture_points(100, dim))
    x = np.concatenate([measure.sample(30, 2), 30.0 * measure.sample(10, 3)])
    step = 1e-5
    for k in range(dim):
        shift = step * np.eye(dim)[k]
        difference = (measure.potential(x + shift) - measure.potential(x - shift)) / (2 * step)
        # Rounding: potentials up to 1e4 far out.
        np.testing.assert_allclose(measure.gradient(x)[:, k], difference, rtol=1e-6, atol=1e-6)


def test_far_away_the_potential_grows_like_the_kernel():
    points = mixture_points(200, 2)
    measure = Samples(points)
    direction = np.array([[1.0, 0.3]])
    x = 200.0 * direction
    exact = scipy_potential_far(measure, x)
    # The continuation is quadratic about the face, with the slope there: its error is the
    # curvature along the face, relative to the distance.
    assert measure.potential(x)[0] == pytest.approx(exact, rel=2e-2)
    assert np.isfinite(measure.potential(1e6 * direction)[0])


def scipy_potential_far(measure, x):
    """Log-sum-exp over all points: scipy's own sum underflows out there."""
    precision = np.linalg.inv(measure.kernel_cov)
    shifted = x - measure.points
    terms = -0.5 * np.einsum("ni,ij,nj->n", shifted, precision, shifted)
    norm = 0.5 * np.linalg.slogdet(2 * np.pi * measure.kernel_cov)[1]
    return norm - np.logaddexp.reduce(terms + np.log(measure.weights))


def test_wide_gaps_between_points_do_not_underflow():
    points = np.array([[0.0], [1.0], [200.0], [201.0]])
    measure = Samples(points, bandwidth=[[1.0]])
    x = np.array([[50.0], [90.0], [120.0]])
    exact = [scipy_potential_far(measure, p[None]) for p in x]
    # The kernel gives up h^2 / 3 of its variance to the binning: 0.5 % of the exponent at most.
    np.testing.assert_allclose(measure.potential(x), exact, rtol=6e-3)


def test_the_estimate_integrates_to_one():
    measure = Samples(mixture_points(500, 2))
    grid = Grid(measure.support(1e-10), (200, 200))
    mass = np.exp(-measure.potential(grid.points())).sum() * grid.cell_volume
    assert mass == pytest.approx(1.0, abs=TYPICAL)


def test_moments_and_samples_are_those_of_the_estimate():
    measure = Samples(mixture_points(400, 2))
    grid = Grid(measure.support(1e-10), (200, 200))
    weights = np.exp(-measure.potential(grid.points())) * grid.cell_volume
    mean, cov = measure.moments()
    shifted = grid.points() - mean
    np.testing.assert_allclose(weights @ shifted, 0.0, atol=1e-4)
    np.testing.assert_allclose((shifted * weights[:, None]).T @ shifted, cov, rtol=1e-3)
    drawn = measure.sample(40_000, 0)
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=5 * np.sqrt(cov.max() / 40_000))
    np.testing.assert_allclose(np.cov(drawn.T), cov, atol=5 * cov.max() * np.sqrt(3 / 40_000))
    fitted = Gaussian.fitted(measure)
    np.testing.assert_allclose(fitted.cov, cov)


@pytest.mark.parametrize("n", [50, 5000])
def test_support_cuts_off_at_most_its_share(n):
    measure = Samples(mixture_points(n, 2))
    box = measure.support(1e-6)
    for k, (low, high) in enumerate(box):
        sd = math.sqrt(measure.kernel_cov[k, k])
        below = stats.norm.cdf(low, measure.points[:, k], sd).mean()
        above = stats.norm.sf(high, measure.points[:, k], sd).mean()
        # Points moved by at most 1/16 bandwidth: a factor exp(5 / 16) at five bandwidths.
        for tail in (below, above):
            assert tail <= 0.25e-6 * (1 + 1e-9)
            assert tail > 0.25e-6 * math.exp(-8 / 16)


def test_bandwidths():
    points = mixture_points(100, 2)
    cov = np.cov(points.T)
    np.testing.assert_allclose(Samples(points).kernel_cov, 100 ** (-2 / 6) * cov)
    np.testing.assert_allclose(Samples(points, bandwidth=0.5).kernel_cov, 0.25 * cov)
    matrix = np.array([[0.2, 0.1], [0.1, 0.3]])
    np.testing.assert_allclose(Samples(points, bandwidth=matrix).kernel_cov, matrix)


def test_properties():
    measure = Samples(np.arange(10.0))
    assert isinstance(measure, Measure)
    assert measure.dim == 1
    assert measure.points.shape == (10, 1)
    assert not measure.bounded
    assert measure.normalized
    assert measure.log_concave is None
    assert "10 points in 1D" in repr(measure)
    assert measure.potential(np.array([1.0, 2.0])).shape == (2,)


def test_the_table_is_made_once():
    measure = Samples(mixture_points(50, 2))
    measure.potential([[0.0, 0.0]])
    first = measure._table
    measure.gradient([[0.0, 0.0]])
    assert measure._table is first


def test_very_spread_points_are_tabulated_coarsely_but_finite():
    points = np.concatenate([np.random.default_rng(0).normal(size=(50, 2)), [[3e4, 0], [0, 3e4]]])
    measure = Samples(points, bandwidth=np.eye(2))
    assert np.isfinite(measure.potential(points)).all()


POINTS = mixture_points(20, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Samples(np.empty((0, 2))), "needs at least two points, got 0"),
        (lambda: Samples([[1.0, 2.0]]), "needs at least two points, got 1; for a single point"),
        (lambda: Samples(np.zeros((2, 2, 2))), r"points must have shape \(n, d\)"),
        (lambda: Samples([[0, 1], [np.nan, 2]]), r"points\[1\] is \[nan, 2.0\], and 1 of 2 rows"),
        (lambda: Samples([[0, 0], [1, 1], [2, 2]]), "the covariance of the points is singular"),
        (lambda: Samples(np.ones((5, 2))), "the covariance of the points is singular"),
        (lambda: Samples(POINTS, weights=[1, 2]), r"weights must have shape \(20,\), one a point"),
        (lambda: Samples(POINTS, weights=-np.ones(20)), "weights must be finite and not negative"),
        (lambda: Samples(POINTS, bandwidth=0.0), "bandwidth must be None, a positive factor or"),
        (lambda: Samples(POINTS, bandwidth=np.eye(3)), r"the bandwidth matrix must have shape"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(InputError, match=message):
        make()
