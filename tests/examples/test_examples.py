"""Every example script and every example problem runs at reduced size."""

from __future__ import annotations

import ast
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import parabolic_ma as pma
from parabolic_ma.cli import run

pytest.importorskip("matplotlib", reason="the examples draw: install the extra plot")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("[0-9]*.py"))
PROBLEMS = sorted(EXAMPLES.glob("*.toml"))
CELLS = {
    "04_picture_to_picture": 32,
    "picture_to_picture": 32,
    "06_schedules": 64,
    "07_evolution_inequality": 96,
    "08_sinkhorn_limit": 384,  # the smallest epsilon needs them
    "09_metastability": 200,
    "10_flow_ring": 32,
    "16_colour_transfer": 40,
    # of networks: steps
    "11_grid_and_network": 4,
    "12_old_faithful_network": 8,
    "old_faithful_network": 8,
    "13_eight_schools": 10,
    "14_two_moons": 5,
    "15_your_own_flow": 6,
}
# Scripts that compare many runs: no problem stands for one, and they keep no solution.
STUDIES = {
    *("schedules", "evolution_inequality", "sinkhorn_limit", "metastability"),
    *("grid_and_network", "eight_schools", "two_moons", "your_own_flow", "colour_transfer"),
}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import matplotlib as mpl

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    with mpl.rc_context():  # a script may set its own style
        yield


def name_of(script: Path) -> str:
    return re.sub(r"^\d+_", "", script.stem)


def test_there_is_an_example_of_every_kind() -> None:
    assert len(SCRIPTS) >= 10
    names = {name_of(p) for p in SCRIPTS}
    assert len(names) == len(SCRIPTS)
    assert names > STUDIES
    assert {p.stem for p in PROBLEMS} == names - STUDIES


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)
def test_script(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(script), str(CELLS.get(script.stem, 64))])
    space = runpy.run_path(str(script), run_name="__main__")
    name = name_of(script)
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    if name not in STUDIES:
        assert space["solution"].status is pma.Status.CONVERGED
        assert pma.load(tmp_path / f"{name}.h5").w2_squared == space["solution"].w2_squared
    check = CHECKS.get(name)
    if check is not None:
        check(space)


def check_flow_ring(space: dict[str, Any]) -> None:
    assert Path("flow_ring.gif").read_bytes().startswith(b"GIF89a")
    assert space["solution"].history["t"][-1] == 4.0


def check_evolution_inequality(space: dict[str, Any]) -> None:
    assert np.abs(space["slack"]).max() < 1e-14


def check_sinkhorn_limit(space: dict[str, Any]) -> None:
    first, second = np.array(space["errors"]), np.array(space["second"])
    assert (first[:-1] / first[1:] > 1.95).all()
    assert (second[:-1] / second[1:] > 2.9).all()


def check_metastability(space: dict[str, Any]) -> None:
    np.testing.assert_allclose(space["gaps"], [5.6e-5, 0.428], rtol=0.02)
    np.testing.assert_allclose(space["slopes"], space["gaps"], rtol=0.02)
    assert space["kl"][-1] < 2e-4
    assert space["stuck"][48] > 0.68


def check_grid_and_network(space: dict[str, Any]) -> None:
    first = np.array(space["first"][1])
    assert (first[:-1] / first[1:] > 3.5).all(), "the grid's error falls by four"
    assert space["second"][1][-1] < 0.5


def check_eight_schools(space: dict[str, Any]) -> None:
    certificate = space["bounds"]
    exact = space["schools"].log_evidence
    assert certificate.log_evidence_lower < exact < certificate.log_evidence_upper
    # importance sampling, of which the error is the standard one
    error = abs(space["solution"].log_evidence - exact)
    assert error < 5.0 * certificate.log_evidence_error < 0.5


def check_two_moons(space: dict[str, Any]) -> None:
    np.testing.assert_allclose(space["codes"].mean(axis=0), 0.0, atol=0.1)
    np.testing.assert_allclose(np.cov(space["codes"].T), np.eye(2), atol=0.15)


def check_your_own_flow(space: dict[str, Any]) -> None:
    found = space["found"]
    assert found["zuko NSF"].l2_uvp is None
    assert found["likelihood"].l2_uvp < 2.0
    assert found["likelihood"].kl < found["normal fit"].kl
    # two samples of the truth: a fair coin of 10 000 throws, four deviations
    assert abs(found["data again"].c2st - 0.5) < 4.0 * 0.005


def check_colour_transfer(space: dict[str, Any]) -> None:
    assert space["solution"].converged
    # Moved colours have the other palette's mean, but for the blur: a third of a deviation.
    for found, wanted in ((space["moved"][0], space["cat"]), (space["moved"][1], space["coffee"])):
        assert (np.abs(found.mean(axis=0) - wanted.mean(axis=0)) < 0.3 * wanted.std(axis=0)).all()


CHECKS = {
    "colour_transfer": check_colour_transfer,
    "grid_and_network": check_grid_and_network,
    "eight_schools": check_eight_schools,
    "two_moons": check_two_moons,
    "your_own_flow": check_your_own_flow,
    "flow_ring": check_flow_ring,
    "evolution_inequality": check_evolution_inequality,
    "sinkhorn_limit": check_sinkhorn_limit,
    "metastability": check_metastability,
}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)
def test_script_is_short_and_in_cells(script: Path) -> None:
    text = script.read_text()
    assert len(text.splitlines()) < 60
    assert text.count("# %%") >= 3
    assert ast.get_docstring(ast.parse(text))


def test_bioassay_finds_the_known_evidence_and_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["03_bioassay.py", "256"])
    space = runpy.run_path(str(EXAMPLES / "03_bioassay.py"))
    solution = space["solution"]
    certificate = solution.certificate
    assert solution.side == "target"
    # There the evidence is plain quadrature; the known value ends with its eighth digit.
    error = abs(solution.log_evidence + 2.7287843)
    assert error < certificate.log_evidence_error + 5e-8 < 1e-3
    # |E T_h - E T| and, by Minkowski, the difference of the standard deviations are at most the
    # L2 distance of the maps, which the certificate estimates: within 3 % of the larger deviation.
    assert np.linalg.norm(space["mean"] - [1.314707, 11.635556]) < certificate.map_error
    assert np.linalg.norm(space["sd"] - [1.102076, 5.773096]) < certificate.map_error
    assert certificate.map_error < 0.03 * 5.773096


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.stem)
def test_problem(problem: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = str(CELLS.get(problem.stem, 64))
    network = "network" in problem.stem
    size = ["--steps", cells] if network else ["--shape", cells, cells]
    options = ["--allow-code", *size, "-o", "out.h5", "--plot", "out.png"]
    code = run(["solve", str(problem), *options])
    assert code == 0, capsys.readouterr().err
    loaded = pma.load("out.h5")
    if network:
        assert loaded.history.rows == int(cells)
    else:
        assert loaded.fields.potential.grid.shape == (int(cells), int(cells))
    assert Path("out.png").stat().st_size > 10_000
