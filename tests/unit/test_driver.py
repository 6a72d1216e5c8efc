"""The loop, with a solver that does what the test says."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

import parabolic_ma as pma
from parabolic_ma.driver import default_solver, solve, solve_many


@dataclass(frozen=True)
class Scripted:
    """Takes ``steps`` steps and ends with ``status``; ``accident`` is raised in step ``at``."""

    make: Any = field(repr=False)
    steps: int = 3
    status: pma.Status = pma.Status.CONVERGED
    accident: type[BaseException] | None = None
    at: int = 2
    backend: str = "scripted"
    seen: list[Any] = field(default_factory=list, repr=False)

    def init(self, _problem, initial):
        self.seen.append(initial)
        return SimpleNamespace(rows=[], progress={"level": "8x8"})

    def step(self, _problem, state):
        rows = [*state.rows, {"step": len(state.rows) + 1, "level": "8x8", "residual": 0.5}]
        if self.accident is not None and len(rows) == self.at:
            raise self.accident
        return SimpleNamespace(rows=rows, progress=rows[-1])

    def terminate(self, _problem, state):
        return self.status if len(state.rows) == self.steps else None

    def finish(self, problem, state, status):
        return self.make(
            problem, status=status, message=f"{len(state.rows)} steps", provenance=pma.Provenance()
        )


class Witness:
    def __init__(self):
        self.calls = []

    def start(self, run):
        self.calls.append(("start", run.moment.step))

    def handle(self, run):
        self.calls.append((run.progress["level"], run.moment.step))

    def finish(self, solution):
        self.calls.append(("finish", None if solution is None else solution.status.name))


def test_runs_to_the_end_and_records_where_it_came_from(problem, make_solution):
    solver = Scripted(make_solution)
    start = pma.Identity(2)
    result = solve(problem, solver, initial=start)
    assert result.converged
    assert result.message == "3 steps"
    assert solver.seen == [start]
    p = result.provenance
    assert p.problem_toml.startswith('[reference]\nkind = "gaussian"')
    assert p.solver.startswith("Scripted(steps=3")
    assert p.backend == "scripted"
    assert p.versions["parabolic_ma"] == pma.__version__
    assert {"python", "numpy", "scipy", "numba", "h5py"} <= set(p.versions)
    assert p.wall_time > 0
    assert p.cpu_time >= 0
    assert p.started.endswith("+00:00")
    assert p.host
    assert p.platform


def test_trackers_see_every_step(problem, make_solution):
    witness = Witness()
    solve(problem, Scripted(make_solution), trackers=[witness])
    expected = [("start", 0), ("8x8", 1), ("8x8", 2), ("8x8", 3), ("finish", "CONVERGED")]
    assert witness.calls == expected


@pytest.mark.parametrize("status", [s for s in pma.Status if s.name in {"STALLED", "DIVERGED"}])
def test_a_failed_run_raises_with_its_solution(problem, make_solution, status):
    solver = Scripted(make_solution, status=status)
    with pytest.raises(pma.ConvergenceError, match=f"{status.name}: .*3 steps") as caught:
        solve(problem, solver)
    assert caught.value.solution.status is status
    assert solve(problem, solver, raise_on_failure=False).status is status


def test_an_interrupt_returns_the_last_good_state(problem, make_solution):
    witness = Witness()
    solver = Scripted(make_solution, accident=KeyboardInterrupt, at=3)
    result = solve(problem, solver, trackers=[witness])
    assert result.status is pma.Status.INTERRUPTED
    assert result.message == "2 steps"
    assert witness.calls[-1] == ("finish", "INTERRUPTED")


def test_an_accident_reaches_the_caller_after_the_trackers_have_closed(problem, make_solution):
    witness = Witness()
    solver = Scripted(make_solution, accident=ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        solve(problem, solver, trackers=[witness])
    assert witness.calls[-1] == ("finish", None)


def test_checkpoint_holds_the_result(problem, make_solution, tmp_path):
    path = tmp_path / "run.h5"
    solve(problem, Scripted(make_solution), checkpoint=path)
    assert pma.load(path).converged
    # One that is due after every step is left behind by a run that dies.
    every_step = pma.Checkpoint(tmp_path / "dead.h5", pma.every(steps=1))
    with pytest.raises(ZeroDivisionError):
        solve(problem, Scripted(make_solution, accident=ZeroDivisionError), checkpoint=every_step)
    left = pma.load(tmp_path / "dead.h5")
    assert left.status is pma.Status.INTERRUPTED
    assert left.message == "1 steps"


def test_progress_is_shown_on_request_only(problem, make_solution, capsys):
    solve(problem, Scripted(make_solution))
    assert capsys.readouterr().err == ""
    solve(problem, Scripted(make_solution), progress=True)
    captured = capsys.readouterr()
    assert "8x8  step 1" in captured.err
    assert captured.out == ""


def test_a_tracker_without_its_methods_is_refused(problem, make_solution):
    with pytest.raises(pma.InputError, match="methods start, handle and finish; got 'bar'"):
        solve(problem, Scripted(make_solution), trackers=["bar"])


def test_solve_many_keeps_the_order(problem, make_solution):
    problems = [problem, problem.swap()]
    results = solve_many(problems, Scripted(make_solution))
    assert [r.problem for r in results] == problems
    line = pma.TransportProblem(pma.Gaussian(0, 1), pma.Gaussian(1, 1))
    with pytest.raises(pma.InputError, match=r"one dimension, got dimensions \[2, 1\]"):
        solve_many([problem, line], Scripted(make_solution))


def test_default_solvers():
    assert default_solver(1).shape == (4096,)
    assert default_solver(2).shape == (256, 256)
    assert default_solver(3).shape == (64, 64, 64)
    assert default_solver(4) == pma.NeuralFlow()
