"""`compare` against closed forms between Gaussians."""

from __future__ import annotations

import numpy as np
import pytest

import parabolic_ma as pma

COV = np.array([[2.0, 0.5], [0.5, 1.0]])
N = 4000


@pytest.fixture(scope="module")
def truth() -> pma.Solution:
    """The standard normal to N((1, 0), COV): the map is linear, so that a coarse grid is exact."""
    problem = pma.TransportProblem(pma.Gaussian([0, 0], 1.0), pma.Gaussian([1.0, 0.0], COV))
    return pma.solve(problem, pma.GridSolver((64, 64)))


def root() -> np.ndarray:
    values, axes = np.linalg.eigh(COV)
    return (axes * np.sqrt(values)) @ axes.T


def test_truth_against_itself(truth: pma.Solution) -> None:
    found = pma.compare(truth, truth, n=N)
    assert found.map_rmse == 0.0
    assert found.l2_uvp == 0.0
    assert abs(found.kl) < 1e-10
    assert abs(found.kl_reverse) < 1e-10
    assert found.sliced_w2 < 3.0 * found.noise["sliced_w2"]
    assert found.c2st == pytest.approx(0.5, abs=5.0 * 0.5 / np.sqrt(2 * N))


def test_a_shifted_identity(truth: pma.Solution) -> None:
    """T = y + (1, 0): distances and divergences of N(m, I) and N(m, COV) in closed form."""
    found = pma.compare(pma.Affine(np.eye(2), [1.0, 0.0]), truth, n=N)
    squared = float(np.sum((root() - np.eye(2)) ** 2))  # E |(A - I) y|^2
    # the mean of a quadratic form in N points: relative deviation at most sqrt(2 / N) times 4
    assert found.map_rmse**2 == pytest.approx(squared, rel=4 * np.sqrt(2 / N))
    assert found.l2_uvp == pytest.approx(100 * squared / np.trace(COV), rel=4 * np.sqrt(2 / N))
    log_det = np.log(np.linalg.det(COV))
    kl = 0.5 * (np.trace(COV) - 2 - log_det)
    kl_reverse = 0.5 * (np.trace(np.linalg.inv(COV)) - 2 + log_det)
    assert abs(found.kl - kl) < 4 * found.noise["kl"]
    assert abs(found.kl_reverse - kl_reverse) < 4 * found.noise["kl_reverse"]


def test_samples_far_away_are_told_apart(truth: pma.Solution) -> None:
    far = truth.problem.target.sample(1000, 1) + np.array([10.0, 0.0])
    found = pma.compare(far, truth, n=1000)
    assert found.c2st > 0.99
    # a shift by s along one axis: the mean square over directions of s^2 cos^2 is s^2 / 2
    assert found.sliced_w2 == pytest.approx(10.0 / np.sqrt(2), rel=0.1)
    assert found.map_rmse is None
    assert found.reasons["map_rmse"]
    assert found.kl is None


def test_it_repeats(truth: pma.Solution) -> None:
    one, two = (pma.compare(pma.Identity(2), truth, n=500, rng=3) for _ in range(2))
    assert one.figures() == two.figures()
    assert "sliced_w2" in str(one)


def test_a_torch_distribution(truth: pma.Solution) -> None:
    torch = pytest.importorskip("torch", reason="install the extra neural")
    law = torch.distributions.MultivariateNormal(
        torch.tensor([1.0, 0.0]).double(), torch.from_numpy(COV)
    )
    found = pma.compare(law, truth, n=1000)
    assert abs(found.kl) < 1e-6
    assert found.map_rmse is None


def test_what_is_no_candidate_is_refused(truth: pma.Solution) -> None:
    with pytest.raises(pma.InputError):
        pma.compare("a file", truth)
    with pytest.raises(pma.InputError):
        pma.compare(truth, "a file")
    with pytest.raises(pma.InputError):
        pma.compare(pma.Identity(3), truth)
