"""Measures given by a function."""

from __future__ import annotations

import builtins
import math

import numpy as np
import pytest
from scipy import stats

from parabolic_ma import catalog
from parabolic_ma.grid import Box
from parabolic_ma.measures import GaussianMixture, Measure, Potential
from parabolic_ma.status import InputError, MissingExtraError


def quadratic(x):
    return 0.5 * np.sum((x - 1.0) ** 2, axis=1)


def test_potential_gradient_and_forms():
    measure = Potential(quadratic, 2)
    assert isinstance(measure, Measure)
    assert measure.potential([0.0, 0.0]).shape == (1,)
    x = np.random.default_rng(0).normal(size=(10, 2))
    np.testing.assert_allclose(measure.potential(x), quadratic(x))
    # Central differences are exact on quadratics up to rounding eps f / h = 1e-16 / 6e-6.
    np.testing.assert_allclose(measure.gradient(x), x - 1.0, atol=1e-9)
    given = Potential(quadratic, 2, gradient=lambda p: p - 1.0)
    np.testing.assert_array_equal(given.gradient(x), x - 1.0)
    assert Potential(lambda p: p[:, 0] ** 2, 1).gradient(np.array([1.0, 2.0])).shape == (2,)


def test_many_points_are_evaluated_in_batches():
    sizes = []

    def function(x):
        sizes.append(len(x))
        return quadratic(x)

    measure = Potential(function, 2)
    sizes.clear()
    x = np.random.default_rng(0).normal(size=(40_000, 2))
    np.testing.assert_array_equal(measure.potential(x), quadratic(x))
    assert max(sizes) <= 16384


def test_a_function_that_works_in_place_does_no_harm():
    def function(x):
        x -= 1.0
        return 0.5 * np.sum(x**2, axis=1)

    x = np.zeros((3, 2))
    np.testing.assert_array_equal(Potential(function, 2).potential(x), [1.0, 1.0, 1.0])
    np.testing.assert_array_equal(x, 0.0)


def test_torch_functions_are_differentiated():
    torch = pytest.importorskip("torch", reason="needs the extra neural")
    measure = Potential(lambda x: torch.exp(x[:, 0]) + x[:, 1] ** 2, 2, framework="torch")
    x = np.array([[0.3, -1.0], [1.0, 2.0]])
    np.testing.assert_allclose(measure.potential(x), np.exp(x[:, 0]) + x[:, 1] ** 2, rtol=1e-14)
    expected = np.stack([np.exp(x[:, 0]), 2 * x[:, 1]], -1)
    np.testing.assert_allclose(measure.gradient(x), expected, rtol=1e-14)
    given = Potential(
        lambda x: (x**2).sum(1), 2, gradient=lambda x: 2 * x, framework="torch"
    ).gradient(x)
    np.testing.assert_allclose(given, 2 * x)


def test_torch_missing(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "torch":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtraError, match=r"pip install 'parabolic-ma\[neural\]'"):
        Potential(lambda x: (x**2).sum(1), 2, framework="torch")


def test_on_a_box():
    measure = Potential(lambda x: np.log(x[:, 0]), 1, box=[(1.0, 2.0)], normalized=True)
    assert measure.bounded
    assert measure.normalized
    assert measure.support(1e-12) == Box((1.0,), (2.0,))
    np.testing.assert_allclose(measure.potential([1.5, 3.0]), [math.log(1.5), np.inf])
    # At a face the difference is one-sided: first order in a step of 6e-7.
    np.testing.assert_allclose(measure.gradient([1.0, 1.5, 2.0]), [1, 1 / 1.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(measure.gradient([5.0]), [0.5], atol=1e-6)
    # Density 1 / x on [1, 2]: mean 1 / log 2.
    assert measure.moments()[0][0] == pytest.approx(1 / math.log(2), abs=1e-6)


TARGETS = {
    "normal": (lambda x: 0.5 * x[:, 0] ** 2, 1, stats.norm()),
    "narrow and far": (lambda x: 0.5 * ((x[:, 0] - 100) / 1e-3) ** 2, 1, stats.norm(100, 1e-3)),
    "skewed": (lambda x: x[:, 0] + np.exp(-x[:, 0]), 1, stats.gumbel_r()),
    "half-line": (lambda x: np.where(x[:, 0] > 0, x[:, 0], np.inf), 1, stats.expon()),
    "heavy": (lambda x: 2.5 * np.log1p(x[:, 0] ** 2 / 4), 1, stats.t(4)),
    "heavier": (lambda x: np.log1p(x[:, 0] ** 2), 1, stats.cauchy()),
}


@pytest.mark.parametrize("tail_mass", [1e-12, 1e-3])
@pytest.mark.parametrize(("function", "dim", "exact"), TARGETS.values(), ids=TARGETS)
def test_support_on_the_line(function, dim, exact, tail_mass):
    ((low, high),) = Potential(function, dim).support(tail_mass)
    share = tail_mass / 2
    # 2048 slices over the support: one slice is at most 0.03 sd, times a hazard of 8 per sd.
    # The tail beyond the first window is bounded from above, so the box may be a little too wide.
    assert 0.5 * share < exact.sf(high) < 1.1 * share
    if exact.support()[0] == 0.0:
        assert low == pytest.approx(0.0, abs=1e-2)
    else:
        assert 0.5 * share < exact.cdf(low) < 1.1 * share


def test_support_of_several_modes_in_the_plane():
    mixture = GaussianMixture([[-6, 0], [0, 5], [7, -1]], [0.04, 1.0, 0.25])
    box, exact = Potential(mixture.potential, 2).support(1e-10), mixture.support(1e-10)
    # 96 slices: faces within two of them.
    for found, wanted in ((box.lower, exact.lower), (box.upper, exact.upper)):
        np.testing.assert_allclose(found, wanted, atol=2.5 * max(exact.widths) / 96)


@pytest.mark.parametrize("name", ["funnel", "banana"])
def test_support_of_bent_and_narrowing_targets(name):
    target = catalog.load(name).target
    box = target.support(1e-8)
    rng = np.random.default_rng(0)
    z = rng.standard_normal((200_000, 2))
    second = z[:, 1] * np.exp(z[:, 0] / 2) if name == "funnel" else z[:, 0] ** 2 - 1 + 0.3 * z[:, 1]
    points = np.stack([z[:, 0], second], -1)
    assert box.contains(points).all()  # expected outside: 0.002 points
    # The first coordinate is normal in both: its face is known.
    face = -stats.norm.ppf(1e-8 / 4)
    np.testing.assert_allclose([box.lower[0], box.upper[0]], [-face, face], rtol=0.06)


def test_support_in_three_dimensions():
    measure = Potential(lambda x: 0.5 * np.sum((x / [0.1, 1.0, 10.0]) ** 2, axis=1), 3)
    reach = -stats.norm.ppf(1e-6 / 6)
    np.testing.assert_allclose(
        measure.support(1e-6).upper, reach * np.array([0.1, 1.0, 10.0]), rtol=0.1
    )


def test_support_in_many_dimensions_comes_from_the_modes():
    measure = Potential(quadratic, 5)
    reach = -stats.norm.ppf(1e-6 / 10)
    np.testing.assert_allclose(measure.support(1e-6).lower, 1.0 - reach, rtol=1e-4)


def test_support_takes_few_calls():
    calls = []

    def function(x):
        calls.append(len(x))
        return quadratic(x)

    measure = Potential(function, 2)
    box = measure.support(1e-12)
    assert len(calls) < 300
    assert sum(calls) < 100_000
    before = len(calls)
    assert measure.support(1e-12) is box
    assert len(calls) == before


def test_moments_of_a_posterior_by_quadrature():
    mean, cov = catalog.load("bioassay").target.moments()
    # Known to seven figures; the midpoint rule on a smooth density is at rounding.
    np.testing.assert_allclose(mean, [1.314707, 11.635556], atol=1e-6)
    np.testing.assert_allclose(np.sqrt(np.diag(cov)), [1.102076, 5.773096], atol=1e-6)


def test_samples_follow_the_density():
    measure = Potential(lambda x: 0.5 * ((x[:, 0] - 1) / 2) ** 2, 1)
    points = measure.sample(20_000, 0)
    assert points.shape == (20_000, 1)
    # Kolmogorov-Smirnov at five sigma.
    assert stats.kstest(points[:, 0], stats.norm(1, 2).cdf).statistic < 2.3 / math.sqrt(20_000)


def test_log_concavity_is_what_the_user_says():
    assert Potential(quadratic, 2).log_concave is None
    assert Potential(quadratic, 2, log_concave=True).log_concave is True


def bad_at(value):
    return lambda x: np.where(x[:, 0] > 2.0, value, quadratic(x))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Potential(3, 2), r"function must be callable on \(n, d\) points, got 3"),
        (lambda: Potential(quadratic, 2, gradient=1), "gradient must be callable"),
        (lambda: Potential(quadratic, 0), "dim must be a positive integer, got 0"),
        (lambda: Potential(quadratic, 2.5), "dim must be a positive integer, got 2.5"),
        (lambda: Potential(quadratic, 2, framework="jax"), "framework must be one of numpy, torch"),
        (lambda: Potential(quadratic, 2, box=[(0, 1)]), "box has 1 axes, but dim is 2"),
        (
            lambda: Potential(lambda x: x**2, 2),
            r"given \(7, 2\) it returned \(7, 2\)",
        ),
        (lambda: Potential(lambda _: np.float64(1.0), 2), r"given \(7, 2\) it returned \(\)"),
        (lambda: Potential(lambda _: "no", 2), "returns must hold numbers only, got .no."),
        (lambda: Potential(quadratic, 2, gradient=quadratic), "the gradient must map points of"),
        (
            lambda: Potential(bad_at(np.nan), 2).potential([[0, 0], [3, 0]]),
            r"the potential is nan at x = \[3.0, 0.0\], and unusable at 1 of 2 points",
        ),
        (lambda: Potential(bad_at(np.inf), 2).potential([[3, 0]]), r"is inf at x = \[3.0, 0.0\]"),
        (lambda: Potential(bad_at(np.nan), 2).support(1e-6), "the potential is nan at x = "),
        (
            lambda: Potential(quadratic, 2, gradient=lambda x: x * np.nan).gradient([[1, 2]]),
            r"the gradient of the potential is \[nan, nan\] at x = \[1.0, 2.0\]",
        ),
        (lambda: Potential(lambda x: np.full(len(x), np.inf), 2).support(0.1), "infinite at all"),
        (lambda: Potential(lambda x: 0 * x[:, 0], 1).support(0.1), "may not be integrable"),
        (lambda: Potential(lambda x: x[:, 0], 1).support(0.1), "integrable|could not be found"),
        (lambda: Potential(quadratic, 4).moments(), "by quadrature up to 3 axes; this one has 4"),
        (lambda: Potential(quadratic, 2).support(1.0), "tail_mass must lie strictly between"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(InputError, match=message):
        make()
