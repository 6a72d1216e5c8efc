"""Progress and checkpoints, driven by hand."""

from __future__ import annotations

import dataclasses
import io
import math
from types import SimpleNamespace

import pytest

import parabolic_ma as pma
from parabolic_ma.trackers import Run
from parabolic_ma.triggers import Moment


def run_at(step, seconds=0.0, level="32x32", snapshot=None):
    progress = {
        "step": step,
        "level": level,
        "residual": 10.0**-step,
        "step_size": 3.0,
        "min_eigenvalue": math.nan,
    }
    state = SimpleNamespace(progress=progress, rows=[progress] * step)
    solver = SimpleNamespace(max_steps=20)
    return Run(None, solver, state, Moment(step, seconds), snapshot or (lambda: None))


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_lines_when_the_level_changes_and_now_and_then(solution):
    out = io.StringIO()
    progress = pma.Progress(interval=10.0, stream=out)
    progress.start(run_at(0))
    for run in (
        run_at(1, 0.1),
        run_at(2, 0.2),
        run_at(3, 10.5),
        run_at(4, 10.6),
        run_at(5, 10.7, "64x64"),
    ):
        progress.handle(run)
    progress.finish(solution)
    lines = out.getvalue().splitlines()
    assert [line.split("step ")[1].split()[0] for line in lines[:-1]] == ["1", "3", "5"]
    assert lines[0] == (
        "parabolic_ma: 32x32  step 1  residual 1.00e-01  dt 3.00e+00  min eigenvalue -  0.1 s"
    )
    assert lines[-1].startswith("parabolic_ma: converged in")
    assert "\x1b" not in out.getvalue()


def test_a_network_shows_its_own_figures(solution):
    rows = [{"step": 1, "kl": 0.25}, {"step": 1, "loss": 3.0, "loss_held_out": 2.5}, {}]
    lines = []
    for row, live in zip(rows * 2, [False] * 3 + [True] * 3, strict=True):
        out = Terminal() if live else io.StringIO()
        progress = pma.Progress(interval=0.01, stream=out)
        run = dataclasses.replace(run_at(1, 5.0), state=SimpleNamespace(progress=row))
        progress.start(run)
        progress.handle(run)
        progress.finish(solution)
        lines.append(out.getvalue())
    assert "parabolic_ma: step 1  KL 2.50e-01  5.0 s" in lines[0]
    assert "parabolic_ma: step 1  held-out loss 2.50e+00  5.0 s" in lines[1]
    assert "KL 2.5e-01" in lines[3]
    assert "held-out 2.5e+00" in lines[4]


def test_a_live_line_on_a_terminal(solution):
    out = Terminal()
    progress = pma.Progress(stream=out)
    progress.start(run_at(0))
    progress.handle(run_at(1, level="128x64"))
    progress.finish(solution)
    text = out.getvalue()
    assert "128x64" in text
    assert "res 1.0e-01" in text
    assert "dt 3.0e+00" in text
    assert "eig -" in text
    assert "parabolic_ma: converged in" in text.splitlines()[-1]


def test_says_when_kernels_are_compiled():
    plain, terminal = io.StringIO(), Terminal()
    for out in (plain, terminal):
        progress = pma.Progress(stream=out)
        progress.start(run_at(0))
        progress.compiling()
        progress.finish(None)
        assert out.getvalue().count("parabolic_ma: compiling kernels: once") == 1


def test_nothing_is_said_of_a_run_that_raised():
    out = io.StringIO()
    progress = pma.Progress(stream=out)
    progress.start(run_at(0))
    progress.finish(None)
    assert out.getvalue() == ""


def test_checkpoint_writes_when_due_and_at_the_end(tmp_path, make_solution, problem):
    path = tmp_path / "run.h5"
    made = []

    def snapshot():
        made.append(make_solution(problem, status=pma.Status.INTERRUPTED))
        return made[-1]

    checkpoint = pma.Checkpoint(path, pma.every(steps=2))
    checkpoint.start(run_at(0))
    checkpoint.handle(run_at(1, snapshot=snapshot))
    assert not path.exists()
    checkpoint.handle(run_at(2, snapshot=snapshot))
    assert pma.load(path).status is pma.Status.INTERRUPTED
    checkpoint.handle(run_at(3, snapshot=snapshot))
    assert len(made) == 1
    checkpoint.finish(None)
    assert pma.load(path).status is pma.Status.INTERRUPTED
    checkpoint.finish(make_solution(problem))
    assert pma.load(path).status is pma.Status.CONVERGED
    assert [p.name for p in tmp_path.iterdir()] == ["run.h5"]


def test_checkpoint_says_what_is_wrong(tmp_path):
    with pytest.raises(pma.InputError, match="does not exist; create it first"):
        pma.Checkpoint(tmp_path / "no" / "run.h5")
    with pytest.raises(pma.InputError, match=r"made by pma.every\(...\)"):
        pma.Checkpoint(tmp_path / "run.h5", 10)
