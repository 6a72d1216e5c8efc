"""Flows on the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import parabolic_ma as pma
from parabolic_ma import cli

MEASURES = """
[reference]
kind = "gaussian"
mean = 0
cov = 1.0

[target]
kind = "gaussian_mixture"
means = [-1.0, 1.0]
covs = 0.5
"""
FLOW = """
[solver]
kind = "flow"
shape = 48
t_final = 0.2
stepper = "semi_implicit"
save_at = [0.1]
"""
GRID = """
[solver]
kind = "grid"
shape = 48
"""
SINKHORN = """
[solver]
kind = "sinkhorn"
shape = 48
epsilon = 0.2
steps = 3
save_at = {steps = 1}
"""
# With a step just within the limit at the start: the smallest eigenvalue falls, and it with it.
UNSTABLE = """
[solver]
kind = "flow"
shape = 64
t_final = 20.0

[solver.stepper]
kind = "explicit_euler"

[solver.schedule]
kind = "constant"
step = STEP
"""


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("flow.toml").write_text(MEASURES + FLOW)
    Path("grid.toml").write_text(MEASURES + GRID)
    Path("soft.toml").write_text(MEASURES + SINKHORN)


def outcome(capsys, *arguments):
    code = cli.run([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_solve(capsys):
    code, out, err = outcome(capsys, "solve", "flow.toml", "-q")
    assert code == 0
    assert out.startswith("CONVERGED")
    assert "wrote flow.h5" in err
    solution = pma.load("flow.h5")
    assert solution.solver == pma.GridFlow(48, t_final=0.2, save_at=[0.1])
    assert solution.history["t"][-1] == 0.2
    assert [t for t, _ in solution.saved] == [0.1]
    assert solution.provenance.configuration == MEASURES + FLOW


def test_options_of_a_flow(capsys):
    arguments = ("--t-final", 0.3, "--save-at", 0.05, 0.3, "--side", "target", "-q", "--json")
    code, out, _ = outcome(capsys, "solve", "flow.toml", *arguments)
    assert code == 0
    assert json.loads(out)["saved"] == [0.05, 0.3]
    solution = pma.load("flow.h5")
    assert (solution.side, solution.history["t"][-1]) == ("target", 0.3)
    Path("steps.toml").write_text(
        MEASURES + '[solver]\nkind = "flow"\nshape = 48\nsteps = 9\n'
        'schedule = {kind = "constant", step = 0.01}\n'
    )
    code, _, _ = outcome(capsys, "solve", "steps.toml", "--steps", 4, "-q")
    assert code == 0
    assert pma.load("steps.h5").history.rows == 5


def test_a_file_is_continued_at_its_time(capsys):
    assert outcome(capsys, "solve", "flow.toml", "-q")[0] == 0
    arguments = ("--initial", "flow.h5", "-o", "more.h5", "--t-final", 0.4, "--save-at", 0.3)
    code, _, _ = outcome(capsys, "solve", "flow.toml", *arguments, "-q")
    assert code == 0
    more, first = pma.load("more.h5"), pma.load("flow.h5")
    assert [t for t, _ in more.saved] == [0.1, 0.3]
    rows = first.history.rows
    assert np.array_equal(more.history["t"][:rows], first.history["t"])
    assert more.history["t"][-1] == 0.4
    code, _, err = outcome(capsys, "solve", "flow.toml", "--initial", "flow.h5", "-o", "b.h5", "-q")
    assert code == 2
    assert "give a later t_final" in err


def test_sinkhorn(capsys):
    code, _, _ = outcome(capsys, "solve", "soft.toml", "--steps", 2, "-q")
    assert code == 0
    solution = pma.load("soft.h5")
    assert solution.solver == pma.SinkhornFlow(48, epsilon=0.2, steps=2, save_at=pma.every(steps=1))
    np.testing.assert_allclose([t for t, _ in solution.saved], [0.2, 0.4])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["flow.toml", "--tol", "1e-6"],
            "--tol is no setting of GridFlow, .* --shape, .*--t-final, --steps, --save-at; --so",
        ),
        (["flow.toml", "--richardson"], "--richardson is no setting of GridFlow"),
        (["flow.toml", "--max-steps", "3"], "--max-steps is no setting of GridFlow"),
        (["grid.toml", "--t-final", "1"], "--t-final is no setting of GridSolver"),
        (["grid.toml", "--steps", "1"], "--steps is no setting of GridSolver"),
        (["soft.toml", "--t-final", "1"], "--t-final is no setting of SinkhornFlow"),
        (["flow.toml", "--t-final", "-1"], "t_final=-1.0 must be a positive number"),
        (["flow.toml", "--t-final", "x"], "[Ii]nvalid value"),
        (["flow.toml", "--save-at", "0.1", "5"], "has the time 5, after the end t_final=0.2"),
        (["flow.toml", "--save-at=-1"], "each finite and not negative"),
        (["flow.toml", "--steps", "0"], "steps=0 must be a whole number, at least 1"),
    ],
)
def test_bad_options_are_one_line_and_exit_with_2(capsys, arguments, message):
    before = sorted(Path().iterdir())
    code, out, err = outcome(capsys, "solve", *arguments, "-q")
    assert (code, out) == (2, "")
    assert re.search(message, err)
    assert "Traceback" not in err
    assert sorted(Path().iterdir()) == before


def test_a_step_that_is_too_long_from_the_start_is_bad_input(capsys):
    Path("u.toml").write_text(MEASURES + UNSTABLE.replace("STEP", "10.0"))
    code, _, err = outcome(capsys, "solve", "u.toml", "-q")
    assert code == 2
    assert "beyond the stability limit" in err


def test_a_flow_that_becomes_unstable_writes_its_file_and_exits_with_3(capsys):
    problem = pma.TransportProblem(pma.Gaussian(0.0, 1.0), pma.GaussianMixture([-1.0, 1.0], 0.5))
    solver = pma.GridFlow(64, t_final=0.1)
    limit = pma.solve(problem, solver, progress=False).history["step_limit"][0]
    Path("u.toml").write_text(MEASURES + UNSTABLE.replace("STEP", repr(0.99 * float(limit))))
    code, out, _ = outcome(capsys, "solve", "u.toml", "-q")
    assert code == 3
    assert out.startswith("UNSTABLE")
    assert pma.load("u.h5").status is pma.Status.UNSTABLE


def test_info_shows_saved_times(capsys):
    outcome(capsys, "solve", "flow.toml", "-q")
    code, out, _ = outcome(capsys, "info", "flow.h5")
    assert code == 0
    assert "Saved at t = 0.1\n" in out
    _, out, _ = outcome(capsys, "info", "flow.h5", "--json")
    assert json.loads(out)["saved"] == [0.1]


def test_many_saved_times_take_one_line(capsys):
    outcome(capsys, "solve", "flow.toml", "-q", "--save-at", *np.linspace(0.01, 0.2, 20))
    _, out, _ = outcome(capsys, "info", "flow.h5")
    (line,) = [line for line in out.splitlines() if line.startswith("Saved")]
    assert "(20 in all)" in line
    assert line.endswith(" 0.18, 0.19, 0.2")


def test_sample_and_push_at_a_time(capsys):
    outcome(capsys, "solve", "flow.toml", "-q")
    solution = pma.load("flow.h5")
    ((_, transport),) = solution.saved
    y = np.linspace(-2, 2, 7)[:, None]
    np.save("y.npy", y)
    for at, expected in ((0.1, transport), (0.2, solution.map)):
        code, _, err = outcome(capsys, "push", "flow.h5", "y.npy", "--at", at, "-o", "x.npy")
        assert code == 0
        assert "; 0 lay outside" in err
        assert np.array_equal(np.load("x.npy"), expected(y))
        outcome(capsys, "push", "flow.h5", "x.npy", "--at", at, "--inverse", "-o", "back.npy")
        np.testing.assert_allclose(np.load("back.npy"), y, atol=1e-10)
        code, _, _ = outcome(
            capsys, "sample", "flow.h5", "-n", 20, "--at", at, "--rng", 3, "-o", "s.npy"
        )
        assert code == 0
        drawn = solution.problem.reference.sample(20, np.random.default_rng(3))
        assert np.array_equal(np.load("s.npy"), expected(drawn))


@pytest.mark.parametrize("command", [("sample", "-n", "3"), ("push", "y.npy")])
def test_at_needs_a_time_that_was_saved(capsys, command):
    np.save("y.npy", np.zeros((2, 1)))
    name, *rest = command
    outcome(capsys, "solve", "flow.toml", "-q")
    code, _, err = outcome(capsys, name, "flow.h5", *rest, "--at", "0.15", "-o", "x.npy")
    assert code == 2
    assert "--at 0.15: nothing was saved at t=0.15; saved times: 0.1" in err
    outcome(capsys, "solve", "grid.toml", "-q")
    code, _, err = outcome(capsys, name, "grid.h5", *rest, "--at", "0.1", "-o", "x.npy")
    assert code == 2
    assert "saved times: none" in err
    assert not Path("x.npy").exists()
