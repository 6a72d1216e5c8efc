"""Whole runs as TOML."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import parabolic_ma as pma
from parabolic_ma import catalog
from parabolic_ma.config import load_config, parse_config

MEASURES = """
[reference]
kind = "gaussian"
fitted = true

[target]
kind = "samples"
path = "points.csv"
"""


@pytest.fixture
def folder(tmp_path):
    np.savetxt(tmp_path / "points.csv", np.random.default_rng(0).normal(size=(20, 2)))
    return tmp_path


def test_a_whole_run(folder):
    text = MEASURES + (
        '[solver]\nkind = "grid"\nshape = [32, 48]\nside = "target"\ntol = 1e-8\n'
        '[output]\nfile = "out.h5"\nplot = "sub/out.png"\n'
    )
    (folder / "run.toml").write_text(text)
    run = load_config(folder / "run.toml")
    assert isinstance(run.problem.target, pma.Samples)
    assert run.solver == pma.GridSolver(shape=(32, 48), side="target", tol=1e-8)
    assert run.file == folder / "out.h5"
    assert run.plot == folder / "sub" / "out.png"
    assert run.text == text


def test_defaults(folder):
    run = parse_config(MEASURES, folder)
    assert run.solver == pma.GridSolver(shape=(256, 256))
    assert run.file is None
    assert run.plot is None


def test_a_catalog_problem_brings_its_settings():
    run = parse_config('catalog = "two_modes"')
    entry = catalog.get("two_modes")
    assert np.array_equal(run.problem.target.means, entry.problem().target.means)
    assert run.solver == pma.GridSolver(**entry.solver)
    run = parse_config('catalog = "two_modes"\n[solver]\nkind = "grid"\nshape = 16')
    assert run.solver == pma.GridSolver(shape=16)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('catalog = "nope"', r"has no problem 'nope'; it has .*- at `\$.catalog`"),
        (f'catalog = "two_modes"\n{MEASURES}', r"give either catalog or the tables"),
        ('[target]\nkind = "uniform"\nbox = [[0, 1]]', r"table \[reference\] is missing"),
        ('[reference]\nkind = "uniform"\nbox = [[0, 1]]', r"table \[target\] is missing"),
        (f'{MEASURES}[solver]\nkind = "gird"\nshape = 3', r"invalid value 'gird' .*\$.solver.kind"),
        (f'{MEASURES}[solver]\nkind = "grid"', r"missing key `shape` - at `\$.solver`"),
        (f'{MEASURES}[output]\npath = "x"', r"unknown key `path` - at `\$.output`"),
        (f"{MEASURES}[more]\nx = 1", r"unknown key `more`"),
        ("[reference", r"configuration is not valid TOML"),
    ],
)
def test_errors_name_the_place(folder, text, message):
    with pytest.raises(pma.InputError, match=message):
        parse_config(text, folder)


def test_errors_name_the_file(tmp_path):
    path = tmp_path / "run.toml"
    with pytest.raises(pma.InputError, match=r"run\.toml cannot be read"):
        load_config(path)
    path.write_text("x = 1")
    with pytest.raises(pma.InputError, match=r"run\.toml: unknown key `x`"):
        load_config(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(pma.InputError, match=r"run\.toml cannot be read"):
        load_config(path)


def test_code_needs_permission(tmp_path):
    (tmp_path / "run.toml").write_text(
        '[reference]\nkind = "gaussian"\nmean = [0, 0]\ncov = 1\n'
        '[target]\nkind = "potential"\nfunction = "parabolic_ma.catalog:double_well"\ndim = 2\n'
    )
    with pytest.raises(pma.InputError, match="--allow-code"):
        load_config(tmp_path / "run.toml")
    run = load_config(Path(tmp_path / "run.toml"), allow_code=True)
    assert run.problem.target.function is catalog.double_well
