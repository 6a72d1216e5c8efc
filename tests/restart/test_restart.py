"""Going on from what is there: another grid's solution, an interrupted run, a checkpoint."""

from __future__ import annotations

import numpy as np
import pytest

import parabolic_ma as pma

PROBLEMS = {
    "space": pma.TransportProblem(
        pma.Gaussian([0, 0], 1.0), pma.GaussianMixture([[1.5, 0.0], [-1.5, 0.5]], 0.5)
    ),
    "line": pma.TransportProblem(
        pma.Gaussian(0.0, 1.0), pma.GaussianMixture([-2.0, 2.0], [0.5, 0.8])
    ),
    "three axes": pma.TransportProblem(
        pma.Gaussian([0, 0, 0], 1.0), pma.GaussianMixture([[1, 0, 0.2], [-1, 0.5, 0]], 0.7)
    ),
}
SHAPES = {
    "space": [(64, 64), (128, 128)],
    "line": [256, 512],
    "three axes": [(32, 32, 32), (48, 48, 48)],
}
TOL = 1e-6


def solve(name, shape, **others):
    return pma.solve(PROBLEMS[name], pma.GridSolver(shape, tol=TOL), progress=False, **others)


@pytest.fixture(scope="module", params=list(PROBLEMS))
def started(request):
    coarse, fine = (solve(request.param, shape) for shape in SHAPES[request.param])
    return request.param, coarse, fine


def same_map(one, two):
    # Both are polished to TOL; the spectral gap of these problems is above 0.3, slopes below 3.
    y = one.problem.reference.sample(500, 0)
    return np.sqrt(np.mean((one.map(y) - two.map(y)) ** 2)) < 20 * TOL


@pytest.mark.parametrize("what", ["solution", "map"])
def test_a_coarser_solution_saves_steps(started, what):
    name, coarse, fine = started
    start = coarse if what == "solution" else coarse.map
    warm = solve(name, SHAPES[name][1], initial=start)
    assert warm.converged
    assert warm.history.rows < fine.history.rows
    assert set(warm.history["level"]) == {fine.history["level"][-1]}
    assert same_map(warm, fine)


def test_the_solution_itself_needs_next_to_nothing(started):
    name, _, fine = started
    again = solve(name, SHAPES[name][1], initial=fine)
    assert again.converged
    # The start is met to rounding: measured once, at most one step for the constant; the last row
    # is the result's.
    assert again.history.rows <= 3
    assert same_map(again, fine)


def test_a_file_is_as_good(started, tmp_path):
    name, coarse, _ = started
    coarse.save(tmp_path / "coarse.h5")
    one = solve(name, SHAPES[name][1], initial=coarse)
    two = solve(name, SHAPES[name][1], initial=pma.load(tmp_path / "coarse.h5"))
    assert one.history.rows == two.history.rows
    assert np.array_equal(one.fields.potential.correction, two.fields.potential.correction)


def test_runs_repeat_bit_for_bit(started):
    name, _, fine = started
    again = solve(name, SHAPES[name][1])
    assert np.array_equal(again.fields.potential.correction, fine.fields.potential.correction)
    assert again.log_evidence == fine.log_evidence


class Interrupt:
    """Presses Ctrl-C after some steps."""

    def __init__(self, steps):
        self.steps = steps
        self.seen = []

    def start(self, run):
        pass

    def handle(self, run):
        self.seen.append(run.progress["residual"])
        if run.moment.step >= self.steps:
            raise KeyboardInterrupt

    def finish(self, solution):
        self.result = solution


@pytest.mark.parametrize("steps", [1, 5, 12])
def test_an_interrupt_returns_the_last_good_state(started, steps, tmp_path):
    name, _, fine = started
    stop = Interrupt(steps)
    checkpoint = tmp_path / "run.h5"
    left = solve(name, SHAPES[name][1], trackers=[stop], checkpoint=checkpoint)
    assert left.status is pma.Status.INTERRUPTED
    assert stop.result is left
    assert left.history.rows == steps + 1  # the last row is the result's
    np.testing.assert_array_equal(left.history["residual"][:-1], stop.seen)
    # On the grid that was asked for, finite everywhere, a map both ways.
    assert left.fields.potential.grid.shape == fine.fields.potential.grid.shape
    y = left.problem.reference.sample(100, 0)
    assert np.all(np.isfinite(left.map(y)))
    assert np.isfinite(left.w2_squared)
    assert pma.load(checkpoint).status is pma.Status.INTERRUPTED
    # And one can go on from it, to the same result.
    done = solve(name, SHAPES[name][1], initial=pma.load(checkpoint))
    assert done.converged
    assert same_map(done, fine)


def test_steps_by_hand_are_the_same(started):
    name, _, fine = started
    problem, solver = PROBLEMS[name], pma.GridSolver(SHAPES[name][1], tol=TOL)
    state = solver.init(problem)
    while (status := solver.terminate(problem, state)) is None:
        before = state
        kept = state.iterate.u.copy()
        state = solver.step(problem, state)
        assert np.array_equal(before.iterate.u, kept), "a step wrote into the state before"
    by_hand = solver.finish(problem, state, status)
    assert np.array_equal(by_hand.fields.potential.correction, fine.fields.potential.correction)
