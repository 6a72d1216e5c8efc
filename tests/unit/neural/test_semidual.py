"""The semi-dual objective: its derivative, its minimiser, its bound of the distance."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="install the extra neural")

import parabolic_ma as pma
from parabolic_ma.neural.neural_map import invert_gradient
from parabolic_ma.neural.potentials import make_potential

COV = np.array([[1.5, 0.6], [0.6, 0.7]])
SHIFT = np.array([1.0, -1.0])


def brenier(y: np.ndarray) -> np.ndarray:
    values, axes = np.linalg.eigh(COV)
    return y @ ((axes * np.sqrt(values)) @ axes.T) + SHIFT


def root_mean_square(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.sum(x**2, axis=1))))


def test_its_derivative_needs_none_of_the_conjugate() -> None:
    torch.manual_seed(3)
    network = make_potential({"kind": "lse", "dim": 2, "pieces": 6}).double()
    z, v = torch.randn(40, 2).double(), 0.5 * torch.randn(40, 2).double()

    def objective() -> tuple[torch.Tensor, torch.Tensor]:
        q = invert_gradient(network, v, torch.zeros_like(v))
        return network(z).mean() + ((v * q).sum(1) - network(q)).mean(), q

    _, q = objective()
    gradients = torch.autograd.grad(network(z).mean() - network(q).mean(), network.parameters())
    directions = [torch.randn_like(p) for p in network.parameters()]
    predicted = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True))
    values = []
    with torch.no_grad():
        for step in (1e-4, -2e-4):  # to +h, then from there to -h
            for p, d in zip(network.parameters(), directions, strict=True):
                p.add_(d, alpha=step)
            values.append(float(objective()[0]))
    # central differences: h^2 times a third derivative of order one, and rounding over h
    assert (values[0] - values[1]) / 2e-4 == pytest.approx(predicted, abs=1e-6)


def test_finds_the_map_between_gaussians_and_bounds_their_distance(
    rng: np.random.Generator,
) -> None:
    n = 8000
    data = brenier(rng.standard_normal((n, 2)))
    problem = pma.TransportProblem(pma.Gaussian([0.0, 0.0], 1.0), pma.Samples(data))
    solution = pma.solve(problem, pma.NeuralFlow(method="semidual", width=12, steps=15, threads=1))
    y = rng.standard_normal((4000, 2))
    # moments of n points are off by about sqrt(d / n) = 0.016 in each of five figures
    assert root_mean_square(solution.map(y) - brenier(y)) < 0.1
    exact = float(
        SHIFT @ SHIFT + 2.0 + np.trace(COV) - 2.0 * np.sqrt(np.linalg.eigvalsh(COV)).sum()
    )
    # the bound is a mean over held-out points: 800 data, of which |x|^2 has a deviation of about 4
    bound = solution.history["w2_squared_lower"][-1]
    assert exact - 0.5 < bound < exact + 3.0 * 4.0 / np.sqrt(800)
    assert solution.w2_squared == pytest.approx(exact, abs=0.2)


def test_points_are_enough_on_both_sides(rng: np.random.Generator) -> None:
    source = pma.Samples(rng.standard_normal((4000, 2)) * [1.0, 0.5])
    target = pma.Samples(source.points[::-1] * [2.0, 2.0] + 1.0)
    solver = pma.NeuralFlow(method="semidual", width=8, steps=10, threads=1)
    solution = pma.solve(pma.TransportProblem(source, target), solver)
    y = source.points[:2000]
    assert root_mean_square(solution.map(y) - (2.0 * y + 1.0)) < 0.1
    assert np.isnan(solution.kl)


def test_a_bounded_reference_will_do(rng: np.random.Generator) -> None:
    """From the unit interval the map is the quantile function."""
    data = pma.Samples(rng.exponential(size=(5000, 1)))
    problem = pma.TransportProblem(pma.Uniform([(0.0, 1.0)]), data)
    solution = pma.solve(problem, pma.NeuralFlow(method="semidual", steps=20, threads=1))
    p = np.linspace(0.05, 0.9, 18)[:, None]
    # a quantile of n points at density e^-q deviates by sqrt(p (1 - p) / n) e^q <= 0.05
    np.testing.assert_allclose(solution.map(p), -np.log1p(-p), atol=0.2)


def test_weights_count(rng: np.random.Generator) -> None:
    points = (
        rng.standard_normal((4000, 1)) * 0.3 + np.where(np.arange(4000) % 2, 2.0, -2.0)[:, None]
    )
    weights = np.where(np.arange(4000) % 2, 3.0, 1.0)
    problem = pma.TransportProblem(pma.Gaussian([0.0], 1.0), pma.Samples(points, weights))
    solution = pma.solve(problem, pma.NeuralFlow(method="semidual", steps=25, threads=1))
    share = np.mean(solution.sample(20_000, rng=1) > 0.0)
    assert share == pytest.approx(0.75, abs=0.04)
