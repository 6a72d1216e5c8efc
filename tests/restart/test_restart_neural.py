"""Networks go on from results, files and interrupted runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="install the extra neural")

import parabolic_ma as pma

TARGET = pma.GaussianMixture([[1.5, 0.0], [-1.5, 0.0]], 0.6)
PROBLEMS = {
    "variational": pma.TransportProblem(pma.Gaussian([0.0, 0.0], 1.0), TARGET),
    "likelihood": pma.TransportProblem(
        pma.Gaussian([0.0, 0.0], 1.0), pma.Samples(TARGET.sample(3000, 0))
    ),
}
PROBLEMS["semidual"] = PROBLEMS["likelihood"]
Y = np.random.default_rng(3).standard_normal((200, 2))


def solver(method: str, steps: int) -> pma.NeuralFlow:
    return pma.NeuralFlow(method=method, width=8, steps=steps, threads=1)


def merit(method: str, solution: pma.Solution) -> float:
    if method == "variational":
        return solution.kl
    return float(np.nanmin(solution.history["loss_held_out"]))


class Interrupt:
    """A tracker that presses control-C after some step."""

    def start(self, run: pma.trackers.Run) -> None:
        pass

    def handle(self, run: pma.trackers.Run) -> None:
        if run.moment.step >= 4:
            raise KeyboardInterrupt

    def finish(self, solution: pma.Solution | None) -> None:
        pass


@pytest.mark.parametrize("method", PROBLEMS)
def test_an_interrupted_run_goes_on_from_its_checkpoint(method: str, tmp_path: Path) -> None:
    problem, path = PROBLEMS[method], tmp_path / "run.h5"
    left = pma.solve(problem, solver(method, 12), trackers=[Interrupt()], checkpoint=path)
    assert left.status is pma.Status.INTERRUPTED
    assert left.history.rows == 4
    kept = pma.load(path)
    assert kept.status is pma.Status.INTERRUPTED
    np.testing.assert_array_equal(kept.map(Y), left.map(Y))
    done = pma.solve(problem, solver(method, 8), initial=kept)
    assert done.converged
    # the start is among what the best is chosen from; KL is measured on other points than chosen by
    slack = 0.01 if method == "variational" else 1e-9
    assert merit(method, done) <= merit(method, left) + slack


@pytest.mark.parametrize("method", PROBLEMS)
def test_steps_by_hand_are_the_same(method: str) -> None:
    problem, chosen = PROBLEMS[method], solver(method, 5)
    state = chosen.init(problem)
    while (status := chosen.terminate(problem, state)) is None:
        state = chosen.step(problem, state)
    by_hand = chosen.finish(problem, state, status)
    np.testing.assert_array_equal(by_hand.map(Y), pma.solve(problem, chosen).map(Y))


def test_a_wider_network_starts_from_a_narrow_one() -> None:
    """By fitting its gradient, since the weights do not match."""
    problem = PROBLEMS["variational"]
    narrow = pma.solve(problem, solver("variational", 10))
    wide = pma.NeuralFlow(width=16, steps=1, threads=1)
    start = wide.finish(problem, wide.init(problem, narrow), pma.Status.CONVERGED)
    assert start.kl < narrow.kl + 0.02
