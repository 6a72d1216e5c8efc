"""`NeuralFlow` on small problems: every method, its result, files, repetition, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="install the extra neural")

import parabolic_ma as pma
from parabolic_ma.config import parse_config

NORMAL = pma.Gaussian([0.0, 0.0], 1.0)
COV = np.array([[1.5, 0.6], [0.6, 0.7]])


def gaussian_problem() -> pma.TransportProblem:
    return pma.TransportProblem(NORMAL, pma.Gaussian([1.0, -1.0], COV))


def mixture() -> pma.GaussianMixture:
    return pma.GaussianMixture([[1.5, 0.0], [-1.5, 0.0]], 0.6)


def data_problem(n: int = 4000) -> pma.TransportProblem:
    return pma.TransportProblem(NORMAL, pma.Samples(mixture().sample(n, 0)))


def solve(problem: pma.TransportProblem, **settings: object) -> pma.Solution:
    return pma.solve(problem, pma.NeuralFlow(seed=1, threads=1, **settings), raise_on_failure=False)


def exact_map(y: np.ndarray) -> np.ndarray:
    values, axes = np.linalg.eigh(COV)
    return y @ ((axes * np.sqrt(values)) @ axes.T) + [1.0, -1.0]


def test_variational_finds_the_map_between_gaussians(rng: np.random.Generator) -> None:
    solution = solve(gaussian_problem(), steps=20)
    assert solution.converged
    y = rng.standard_normal((2000, 2))
    error = np.sqrt(np.mean(np.sum((solution.map(y) - exact_map(y)) ** 2, axis=1)))
    assert error < 0.03
    assert 0.0 < solution.kl < 1e-3
    assert solution.w2_squared == pytest.approx(
        2.0 + 2.0 + np.trace(COV) - 2 * np.sqrt(np.linalg.eigvalsh(COV)).sum(), abs=0.05
    )


def test_evidence_of_an_unnormalised_target() -> None:
    """f = 2 (x1^2 + x2^2) + 3 has the evidence pi / 2 e^-3."""
    target = pma.Potential(
        lambda x: 2.0 * np.sum(x**2, axis=1) + 3.0, 2, gradient=lambda x: 4.0 * x
    )
    solution = solve(pma.TransportProblem(NORMAL, target), steps=15)
    exact = np.log(np.pi / 2) - 3.0
    assert solution.log_evidence == pytest.approx(exact, abs=2e-3)
    certificate = solution.certificate
    assert certificate.log_evidence_lower <= exact <= certificate.log_evidence_upper
    assert certificate.log_evidence_lower > exact - 0.01


@pytest.mark.parametrize("settings", [
    {"method": "variational", "steps": 20},
    {"method": "variational", "potential": "mlp", "width": 32, "steps": 12},
    {"method": "variational", "potential": "icnn", "width": 32, "steps": 25},
    {"method": "score", "steps": 15},
    {"method": "score", "density": "exact", "steps": 15},
], ids=str)  # fmt: skip
def test_methods_agree_with_the_grid_within_their_own_error(
    settings: dict[str, object], rng: np.random.Generator
) -> None:
    problem = pma.TransportProblem(NORMAL, mixture())
    truth = pma.solve(problem, pma.GridSolver((64, 64)))
    solution = solve(problem, **settings)
    assert solution.converged, solution.message
    y = rng.standard_normal((3000, 2))
    distance = np.sqrt(np.mean(np.sum((solution.map(y) - truth.map(y)) ** 2, axis=1)))
    assert distance < solution.certificate.map_error + truth.certificate.map_error
    assert distance < 0.4
    # the Gaussian start: E[-F] of moment matching, which training must beat
    assert solution.kl < 0.13


@pytest.mark.parametrize("settings", [
    {"method": "likelihood", "steps": 15},
    {"method": "logistic", "steps": 6},
    {"method": "logistic", "form": "dual", "steps": 3},
    {"method": "logistic", "form": "composed", "steps": 2},
    {"method": "score", "steps": 6},
], ids=str)  # fmt: skip
def test_methods_that_learn_from_data_improve_on_their_start(settings: dict[str, object]) -> None:
    solution = solve(data_problem(), **settings)
    assert solution.converged, solution.message
    fresh = mixture().sample(4000, 9)
    log_model = solution.log_prob(fresh)
    if settings["method"] == "likelihood":  # 195 parameters and 3600 data leave P / 2n = 0.027
        assert np.mean(-mixture().potential(fresh) - log_model) < 2.5 * 0.027
    else:
        start = solve(data_problem(), **{**settings, "steps": 1, "step_size": 1e-9})
        assert np.mean(log_model) > np.mean(start.log_prob(fresh)) + 0.005
    if settings["method"] == "logistic":
        history = solution.history
        np.testing.assert_allclose(
            history["logistic_loss"] + history["jensen_shannon"], np.log(2.0), rtol=1e-12
        )


def test_runs_repeat_bit_for_bit_and_files_keep_the_map(tmp_path: Path) -> None:
    for problem in (gaussian_problem(), data_problem(400)):
        first, second = solve(problem, steps=3), solve(problem, steps=3)
        y = np.linspace(-1.0, 1.0, 14).reshape(7, 2)
        assert np.array_equal(first.map(y), second.map(y))
        first.save(tmp_path / "run.h5")
        loaded = pma.load(tmp_path / "run.h5")
        assert np.array_equal(loaded.map(y), first.map(y))
        assert np.array_equal(loaded.map.inverse(y), first.map.inverse(y))
        assert loaded.solver == first.solver
        assert loaded.status is first.status
        again = pma.solve(problem, pma.NeuralFlow(seed=1, threads=1, steps=1), initial=loaded)
        assert again.history.rows == 1


def test_a_neural_map_starts_from_a_grid_and_a_grid_from_a_neural_map() -> None:
    problem = pma.TransportProblem(NORMAL, mixture())
    grid = pma.solve(problem, pma.GridSolver((64, 64)))
    started = pma.solve(problem, pma.NeuralFlow(steps=1, seed=0), initial=grid)
    cold = pma.solve(problem, pma.NeuralFlow(steps=1, seed=0))
    assert started.kl < 0.5 * cold.kl
    polished = pma.solve(problem, pma.GridSolver((64, 64)), initial=started)
    assert polished.converged
    assert polished.w2_squared == pytest.approx(grid.w2_squared, abs=1e-3)


def test_any_dimension_without_naming_a_solver(tmp_path: Path) -> None:
    target = pma.Gaussian(np.arange(5.0), np.diag([1.0, 0.5, 2.0, 1.0, 1.5]))
    problem = pma.TransportProblem(pma.Gaussian(np.zeros(5), 1.0), target)
    solution = pma.solve(problem, pma.NeuralFlow(steps=2))
    solution.save(tmp_path / "five.h5")
    assert pma.load(tmp_path / "five.h5").map.dim == 5
    from parabolic_ma.driver import default_solver

    assert isinstance(default_solver(5), pma.NeuralFlow)


def test_toml_names_the_solver() -> None:
    config = parse_config(
        'catalog = "two_modes"\n[solver]\nkind = "neural"\nmethod = "score"\nsteps = 3\n'
    )
    assert config.solver == pma.NeuralFlow(method="score", steps=3)


@pytest.mark.parametrize(("settings", "text"), [
    (
        {"method": "magic"},
        "method must be one of auto, variational, likelihood, semidual, score, logistic",
    ),
    ({"potential": "deep"}, "potential must be one of auto, lse, icnn, mlp"),
    ({"steps": 0}, "steps must be at least 1"),
    ({"time_limit": -1.0}, "time_limit must be a positive number"),
    ({"held_out": 1.5}, "held_out must lie between 0 and 1"),
    ({"device": "cuda:7"}, "device='cuda:7' is not there"),
    ({"form": "dual"}, 'needs method="logistic"'),
    ({"method": "logistic", "form": "composed", "steps": 9}, "takes at most 4 steps"),
])  # fmt: skip
def test_settings_are_checked(settings: dict[str, object], text: str) -> None:
    with pytest.raises(pma.InputError, match=text):
        pma.NeuralFlow(**settings)


def test_methods_must_fit_what_is_known_of_the_target() -> None:
    with pytest.raises(pma.InputError, match="learns from data, but the target is a Gaussian"):
        solve(gaussian_problem(), method="likelihood")
    with pytest.raises(pma.InputError, match="needs the target's potential"):
        solve(data_problem(), method="variational")
    with pytest.raises(pma.InputError, match="needs at least 30"):
        solve(pma.TransportProblem(NORMAL, pma.Samples(mixture().sample(20, 0))))


def test_a_run_that_diverges_says_so_and_keeps_its_last_good_state() -> None:
    with pytest.raises(pma.ConvergenceError, match="DIVERGED") as caught:
        pma.solve(data_problem(), pma.NeuralFlow(method="logistic", steps=5, learning_rate=1e30))
    assert np.all(np.isfinite(caught.value.solution.map(np.zeros((1, 2)))))
