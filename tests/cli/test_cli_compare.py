"""The command ``parabolic-ma compare``: figures, limits and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import parabolic_ma as pma
from parabolic_ma.cli import run


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    problem = pma.TransportProblem(pma.Gaussian([0, 0], 1.0), pma.Gaussian([1, 0], 2.0))
    solution = pma.solve(problem, pma.GridSolver((32, 32)))
    solution.save(folder / "truth.h5")
    np.save(folder / "points.npy", problem.target.sample(600, 5))
    return folder


def test_figures_as_json(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = str(files / "truth.h5")
    assert run(["compare", truth, truth, "-n", "500", "--json"]) == 0
    assert '"map_rmse": 0.0' in json.dumps(json.loads(capsys.readouterr().out))


def test_limits_decide_the_exit_code(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth, points = str(files / "truth.h5"), str(files / "points.npy")
    assert run(["compare", points, truth, "-n", "500", "--max", "sliced_w2=5"]) == 0
    assert run(["compare", points, truth, "-n", "500", "--max", "sliced_w2=1e-9"]) == 1
    assert "sliced_w2" in capsys.readouterr().err
    assert run(["compare", points, truth, "-n", "500", "--max", "map_rmse=1"]) == 1
    assert "map_rmse" in capsys.readouterr().err
    assert run(["compare", points, truth, "--max", "beauty=1"]) == 2
    assert "sliced_w2" in capsys.readouterr().err  # the names that there are
