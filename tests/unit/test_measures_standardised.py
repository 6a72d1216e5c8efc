"""Measures in standardised coordinates, and the Laplace approximation."""

from __future__ import annotations

import numpy as np
import pytest

import parabolic_ma as pma
from parabolic_ma.io.toml import problem_from_toml, problem_to_toml
from parabolic_ma.measures import Measure, MissingPotential

COV = np.array([[4.0, 1.9], [1.9, 1.0]])


def quadratic(x):
    return 0.5 * np.sum((x - 3) ** 2 / np.logspace(-4, 4, x.shape[1]), axis=1)


def bent(x):
    return 0.5 * x[:, 0] ** 2 + 0.5 * (x[:, 1] - 100 - 20 * x[:, 0]) ** 2 + 0.01 * x[:, 0] ** 4


def test_a_gaussian_becomes_the_standard_normal():
    measure = pma.Standardised(pma.Gaussian([1.0, -2.0], COV))
    z = np.random.default_rng(0).standard_normal((20, 2))
    normal = pma.Gaussian([0, 0], 1.0)
    np.testing.assert_allclose(measure.potential(z), normal.potential(z), atol=1e-12)
    np.testing.assert_allclose(measure.gradient(z), z, atol=1e-12)
    mean, cov = measure.moments()
    np.testing.assert_allclose(mean, 0, atol=1e-12)
    np.testing.assert_allclose(cov, np.eye(2), atol=1e-12)
    assert isinstance(measure, Measure)
    assert (measure.dim, measure.bounded, measure.normalized, measure.log_concave) == (
        2,
        False,
        True,
        True,
    )
    np.testing.assert_allclose(measure.from_original(measure.to_original(z)), z, atol=1e-12)
    assert measure.to_original(z[0]).shape == (2,)
    assert measure.sample(5, 0).shape == (5, 2)


def test_a_mixture_has_zero_mean_and_unit_covariance():
    measure = pma.Standardised(pma.GaussianMixture([[3.0, 0], [-3, 1]], 0.5, [0.3, 0.7]))
    mean, cov = measure.moments()
    np.testing.assert_allclose(mean, 0, atol=1e-12)
    np.testing.assert_allclose(cov, np.eye(2), atol=1e-12)


def test_laplace_finds_the_gaussian_of_a_quadratic():
    fit = pma.Gaussian.laplace(pma.Potential(quadratic, 10))
    np.testing.assert_allclose(fit.mean, 3, rtol=1e-5)
    np.testing.assert_allclose(np.diag(fit.cov), np.logspace(-4, 4, 10), rtol=1e-4)


def test_the_evidence_is_unchanged_and_the_gradient_is_that_of_the_potential():
    measure = pma.Standardised(pma.Potential(bent, 2))
    box = pma.Grid(measure.support(1e-12), (400, 400))
    mass = np.exp(-measure.potential(box.points())).sum() * box.cell_volume
    line = pma.Grid(pma.Box.of([(-12, 12)]), (4000,))
    x = line.points()[:, 0]
    exact = np.exp(-0.5 * x**2 - 0.01 * x**4).sum() * line.cell_volume * np.sqrt(2 * np.pi)
    assert mass == pytest.approx(exact, rel=1e-7)
    z = np.random.default_rng(0).standard_normal((10, 2))
    steps = 1e-5 * np.eye(2)
    slopes = [(measure.potential(z + h) - measure.potential(z - h)) / 2e-5 for h in steps]
    np.testing.assert_allclose(measure.gradient(z), np.stack(slopes, axis=-1), atol=1e-6)


def test_support_in_ten_dimensions():
    measure = pma.Standardised(pma.Potential(quadratic, 10))
    np.testing.assert_allclose(measure.support(1e-12).upper, 7.4409, rtol=1e-4)
    with pytest.raises(pma.InputError, match="up to 3 axes"):
        measure.moments()


def test_what_cannot_be_standardised_is_refused():
    with pytest.raises(pma.InputError, match="standardise the points"):
        pma.Standardised(pma.Samples(np.random.default_rng(0).standard_normal((50, 2))))
    with pytest.raises(pma.InputError, match="bounded Uniform"):
        pma.Standardised(pma.Uniform([(0, 1)]))
    with pytest.raises(pma.InputError, match="Standardised takes a measure"):
        pma.Standardised([1.0])
    with pytest.raises(pma.InputError, match="mean was given without cov"):
        pma.Standardised(pma.Gaussian(0, 1), mean=[0.0])
    with pytest.raises(pma.InputError, match="no mode was found"):
        pma.Gaussian.laplace(pma.Potential(lambda x: x.sum(axis=1), 2))
    with pytest.raises(pma.InputError, match="start must be one finite point"):
        pma.Gaussian.laplace(pma.Potential(bent, 2), start=[0.0])


@pytest.mark.parametrize("dim", [2, 10])
def test_problems_with_functions_can_be_written_and_read(dim):
    for target in (
        pma.Potential(quadratic, dim),
        pma.Standardised(pma.Potential(quadratic, dim)),
        pma.Standardised(pma.Gaussian(np.ones(dim), 2.0)),
    ):
        problem = pma.TransportProblem(pma.Gaussian(np.zeros(dim), 1.0), target)
        text, arrays = problem_to_toml(problem)
        back = problem_from_toml(text, arrays=arrays).target
        assert back.dim == dim
        assert back.normalized == target.normalized
        inner = back.measure if isinstance(back, pma.Standardised) else back
        if isinstance(inner, MissingPotential):
            assert dim > 3
            with pytest.raises(pma.InputError, match="not kept in the file"):
                back.potential(np.zeros((1, dim)))
        elif isinstance(target, pma.Standardised):
            z = np.random.default_rng(0).standard_normal((5, dim))
            np.testing.assert_allclose(back.potential(z), target.potential(z), atol=1e-5)
        again, _ = problem_to_toml(pma.TransportProblem(problem.reference, back))
        if dim > 3:
            assert again == text
        if isinstance(back, pma.Standardised):
            np.testing.assert_array_equal(back.scale, target.scale)


def test_a_problem_file_may_standardise():
    text = """
    reference = {kind = "gaussian", mean = [0, 0], cov = 1}
    [target]
    kind = "standardised"
    measure = {kind = "gaussian", mean = [1, 2], cov = [4, 9]}
    """
    target = problem_from_toml(text).target
    np.testing.assert_allclose(target.scale, np.diag([2.0, 3.0]))
