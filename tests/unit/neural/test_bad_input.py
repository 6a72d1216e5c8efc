"""What `NeuralFlow` says to input that it cannot use."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="install the extra neural")

import parabolic_ma as pma

NORMAL = pma.Gaussian([0.0, 0.0], 1.0)
SQUARE = pma.Uniform([(0.0, 1.0), (0.0, 1.0)])
POINTS = np.random.default_rng(0).standard_normal((1000, 2))


def solve(reference: pma.Measure, target: pma.Measure, **settings: object) -> pma.Solution:
    return pma.solve(pma.TransportProblem(reference, target), pma.NeuralFlow(threads=1, **settings))


def with_nan() -> np.ndarray:
    points = POINTS.copy()
    points[3, 1] = np.nan
    return points


def constant() -> np.ndarray:
    points = POINTS.copy()
    points[:, 1] = 2.0
    return points


@pytest.mark.parametrize(("points", "text"), [
    (with_nan, r"points must be finite; points\[3\]"),
    (constant, "column 1 .* is constant"),
    (lambda: POINTS[:, :1].repeat(2, axis=1), "singular"),
    (lambda: POINTS[:30].reshape(6, 10), "6 points in dimension 10 have no covariance"),
    (lambda: POINTS[:20], "the target has 20 points in dimension 2; .* needs at least 30"),
])  # fmt: skip
def test_data_that_cannot_be_fitted(points: Callable[[], np.ndarray], text: str) -> None:
    data = points()
    reference = pma.Gaussian(np.zeros(data.shape[1]), 1.0)
    with pytest.raises(pma.InputError, match=text):
        solve(reference, pma.Samples(data), steps=2)


def test_repeated_points_are_data_too() -> None:
    data = pma.Samples(np.repeat(POINTS[:20], 50, axis=0))
    assert solve(NORMAL, data, steps=3).converged


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "mps", "tpu"])
def test_a_device_that_is_not_there(device: str) -> None:
    with pytest.raises(pma.InputError, match=r'not there.*give device="cpu"'):
        pma.NeuralFlow(device=device)


def test_densities_that_are_zero_where_a_network_goes() -> None:
    with pytest.raises(pma.InputError, match=r'reference on all of space.*method="semidual"'):
        solve(SQUARE, pma.Samples(POINTS), method="likelihood", steps=2)
    with pytest.raises(pma.InputError, match=r"target on all of space.*GridSolver"):
        solve(NORMAL, SQUARE, steps=2)


def wall(x: np.ndarray, height: float) -> np.ndarray:
    return np.where(x[:, 0] > 1.5, height, 0.5 * np.sum(x**2, axis=1))


@pytest.mark.parametrize("height", [np.inf, np.nan])
def test_a_potential_that_is_no_number_where_there_is_mass(height: float) -> None:
    target = pma.Potential(lambda x: wall(x, height), 2)
    with pytest.raises(pma.InputError, match="it must be a finite number wherever the measure"):
        solve(NORMAL, target, steps=2)


@pytest.mark.parametrize("framework", ["numpy", "torch"])
def test_a_potential_without_a_gradient_is_differentiated(framework: str) -> None:
    target = pma.Potential(lambda x: 0.5 * (x**2).sum(1), 2, framework=framework)
    assert solve(NORMAL, target, steps=3).kl < 0.01


@pytest.mark.parametrize(("target", "settings"), [
    (pma.Samples(POINTS), {"learning_rate": 1e6, "potential": "mlp", "width": 8, "batch": 64}),
    (pma.Samples(POINTS), {"method": "logistic", "step_size": 1e6}),
])  # fmt: skip
def test_a_run_that_ends_far_from_its_start_has_diverged(
    target: pma.Measure, settings: dict[str, object]
) -> None:
    with pytest.raises(pma.ConvergenceError, match="DIVERGED") as caught:
        solve(NORMAL, target, steps=6, **settings)
    best = caught.value.solution
    assert best.status is pma.Status.DIVERGED
    assert np.isfinite(best.sample(100, rng=0)).all()


def test_a_target_that_fails_on_the_way_ends_the_run_with_its_last_good_state() -> None:
    """As a posterior that overflows where a long step led."""
    calls = 0

    def gradient(x: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        return x if calls < 60 else np.full_like(x, np.nan)

    target = pma.Potential(lambda x: 0.5 * np.sum(x**2, axis=1), 2, gradient=gradient)
    with pytest.raises(pma.ConvergenceError, match="DIVERGED") as caught:
        solve(NORMAL, target, steps=20)
    assert caught.value.solution.kl < 1.0


def test_a_map_that_is_far_from_its_target_at_the_end_has_not_converged() -> None:
    """The scale of a potential above three dimensions is not known beforehand."""
    target = pma.Potential(lambda x: 0.125 * np.sum((x - 4.0) ** 2, axis=1), 5)
    reference = pma.Gaussian(np.zeros(5), 1.0)
    with pytest.raises(pma.ConvergenceError, match=r"MAX_STEPS.* effective samples") as caught:
        solve(reference, target, steps=2)
    assert caught.value.solution.status is pma.Status.MAX_STEPS
    with pytest.raises(pma.ConvergenceError, match="OUT_OF_TIME"):
        solve(reference, target, time_limit=0.01)


@pytest.mark.parametrize("method", ["likelihood", "semidual"])
def test_normal_data_get_the_normal_fit_at_least(method: str) -> None:
    """The Gaussian map is among what held-out data choose from: 800 points tell no more."""
    rng = np.random.default_rng(5)
    cov = 1.5 * np.eye(5) + 0.4
    data = rng.multivariate_normal(np.arange(5.0), cov, 800)
    fresh = rng.multivariate_normal(np.arange(5.0), cov, 4000)
    solution = solve(pma.Gaussian(np.zeros(5), 1.0), pma.Samples(data), method=method, steps=2)
    exact = pma.Gaussian(np.arange(5.0), cov)
    # 20 parameters of 800 points cost 20 / 1600 nats on average, and a few times that at most
    assert -solution.log_prob(fresh).mean() < exact.potential(fresh).mean() + 0.05


def test_points_without_an_answer_are_nan() -> None:
    target = pma.Gaussian([1.0, 0.0], [[2.0, 0.5], [0.5, 1.0]])
    found = solve(NORMAL, target, steps=2)
    bad = np.array([[np.nan, 0.0], [np.inf, 0.0], [0.0, 0.0]])
    assert np.isnan(found.map.inverse(bad)[:2]).all()
    assert np.isfinite(found.map.inverse(bad)[2]).all()
    assert np.isnan(found.log_prob(bad)[:2]).all()
    far = np.array([[1e9, 0.0], [0.0, -1e12]])
    there = found.map(found.map.inverse(far))
    assert (np.isnan(there) | (abs(there - far) < 1e-5 * abs(far).max())).all()


def test_no_points_are_no_points() -> None:
    found, none = solve(NORMAL, NORMAL, steps=1), np.zeros((0, 2))
    assert found.map(none).shape == found.map.inverse(none).shape == found.sample(0).shape == (0, 2)
    assert found.log_prob(none).shape == (0,)


def test_a_run_without_a_step_is_out_of_time() -> None:
    with pytest.raises(pma.ConvergenceError, match="OUT_OF_TIME"):
        solve(NORMAL, NORMAL, time_limit=1e-9)


@pytest.mark.parametrize(("settings", "text"), [
    ({"seed": 2**70}, "seed must be at most"),
    ({"method": "likelihood", "density": "exact"}, 'density="exact" belongs to method="score"'),
    ({"held_out": 0.999, "steps": 1}, r"held_out=0.999 leaves 1 of 1000 points to learn from"),
])  # fmt: skip
def test_settings_that_cannot_work(settings: dict[str, object], text: str) -> None:
    with pytest.raises(pma.InputError, match=text):
        solve(NORMAL, pma.Samples(POINTS), **settings)
