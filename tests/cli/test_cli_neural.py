"""Networks on the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="install the extra neural")

import parabolic_ma as pma
from parabolic_ma.cli import run

QUICK = ["--steps", "3", "--threads", "1", "--width", "4"]


@pytest.fixture
def problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    points = np.random.default_rng(0).standard_normal((400, 2)) * [1.0, 2.0]
    np.savetxt("points.csv", points, delimiter=",", header="a,b", comments="")
    Path("data.toml").write_text(
        '[reference]\nkind = "gaussian"\nmean = [0, 0]\ncov = 1.0\n'
        '[target]\nkind = "samples"\npath = "points.csv"\ncolumns = ["a", "b"]\n'
        '[solver]\nkind = "grid"\nshape = [32, 32]\n'
    )
    return "data.toml"


@pytest.mark.parametrize("method", ["likelihood", "semidual", "logistic", "score"])
def test_every_method_by_an_option(
    problem: str, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--solver", "neural", "--method", method, "--seed", "5", *QUICK]
    assert run(["solve", problem, *options, "-o", "a.h5", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["status"] == "CONVERGED"
    solution = pma.load("a.h5")
    assert solution.solver == pma.NeuralFlow(method=method, steps=3, threads=1, width=4, seed=5)
    assert run(["sample", "a.h5", "-n", "50", "-o", "b.h5"]) == 0


def test_the_same_seed_the_same_result(problem: str) -> None:
    for name, seed in (("a", "5"), ("b", "5"), ("c", "6")):
        options = ["--solver", "neural", "--seed", seed, *QUICK, "-q"]
        assert run(["solve", problem, *options, "-o", f"{name}.h5"]) == 0
    y = np.random.default_rng(1).standard_normal((20, 2))
    a, b, c = (pma.load(f"{name}.h5").map(y) for name in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_the_summary_says_what_the_map_is(problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["solve", problem, "--solver", "neural", *QUICK, "-o", "a.h5"]) == 0
    assert "network        lse, 35 parameters" in capsys.readouterr().out
    assert run(["solve", problem, "--solver", "grid", "-o", "b.h5"]) == 0
    assert "grid           32x32" in capsys.readouterr().out


def test_compare_holds_a_network_against_a_grid(problem: str) -> None:
    assert run(["solve", problem, "-o", "truth.h5", "-q"]) == 0
    assert run(["solve", problem, "--solver", "neural", *QUICK, "-o", "a.h5", "-q"]) == 0
    compared = ["compare", "a.h5", "truth.h5", "-n", "400", "--max"]
    assert run([*compared, "l2_uvp=50"]) == 0
    assert run([*compared, "l2_uvp=1e-9"]) == 1


@pytest.mark.parametrize(("options", "text"), [
    (["--seed", "3"], "--seed is no setting of GridSolver.*--solver or the kind"),
    (["--solver", "neural", "--shape", "32"], "--shape is no setting of NeuralFlow"),
    (["--solver", "neural", "--method", "magic"], "method must be one of"),
    (["--solver", "neural", "--method", "variational"], "needs the target's potential"),
])  # fmt: skip
def test_refusals(
    problem: str, options: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["solve", problem, *options, "-o", "a.h5"]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert re.search(text, error), error
    assert not Path("a.h5").exists()


def test_no_grid_above_three_dimensions(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["solve", "eight_schools", "--solver", "grid"]) == 2
    assert "take --solver neural" in capsys.readouterr().err
