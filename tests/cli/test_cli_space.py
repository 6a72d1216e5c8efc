"""The command line on a problem in space."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import parabolic_ma as pma
from parabolic_ma.cli import run


@pytest.fixture(autouse=True)
def solved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["solve", "cosine_cube", "--shape", "16", "-o", "out.h5"]) == 0


def test_one_number_stands_for_all_axes() -> None:
    assert pma.load("out.h5").fields.potential.grid.shape == (16, 16, 16)


def test_a_grid_of_its_own_shape() -> None:
    assert run(["solve", "cosine_cube", "--shape", "16", "12", "20", "-o", "other.h5"]) == 0
    assert pma.load("other.h5").fields.potential.grid.shape == (16, 12, 20)


def test_points_go_there_and_back() -> None:
    assert run(["sample", "out.h5", "-n", "200", "-o", "x.npy"]) == 0
    assert run(["push", "out.h5", "x.npy", "-o", "y.npy", "--inverse"]) == 0
    assert run(["push", "out.h5", "y.npy", "-o", "z.npy"]) == 0
    np.testing.assert_allclose(np.load("z.npy"), np.load("x.npy"), atol=1e-10)


def test_other_formats() -> None:
    assert run(["convert", "out.h5", "--to", "csv", "-o", "out.csv"]) == 0
    header, *rows = Path("out.csv").read_text().splitlines()
    assert header.startswith("y1,y2,y3,")
    assert len(rows) == 16**3
    assert run(["convert", "out.h5", "--to", "netcdf", "-o", "out.nc"]) == 0


def test_a_picture() -> None:
    pytest.importorskip("matplotlib", reason="pictures need the extra plot")
    assert run(["plot", "out.h5", "-o", "out.png"]) == 0
    assert Path("out.png").read_bytes().startswith(b"\x89PNG")


def test_conservative_cells_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["solve", "cosine_cube", "--inner", "cell"]) == 2
    assert 'use inner="point"' in " ".join(capsys.readouterr().err.split())
