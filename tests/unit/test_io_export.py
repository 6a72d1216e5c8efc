"""Exports: the same numbers in other tools' forms."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

import parabolic_ma as pma
from parabolic_ma.io import export


@pytest.fixture(params=["reference", "target"])
def side(request):
    return request.param


def test_xarray(problem, make_solution, side):
    pytest.importorskip("xarray")
    solution = make_solution(problem, side)
    data = solution.to_xarray()
    own, carried = ("psi", "T") if side == "reference" else ("phi", "S")
    assert np.array_equal(data[own], solution.fields.potential.values())
    assert np.array_equal(data[carried], solution.fields.gradient)
    assert data["T"].dims == ("y1", "y2", "component")
    assert float(data["w2_squared"]) == 1.5
    assert data["w2_squared"].attrs["units"] == "length2"
    assert data.attrs["status"] == "CONVERGED"


def test_without_xarray_the_extra_is_named(solution, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "xarray", None)
    with pytest.raises(pma.MissingExtraError, match=r"pip install 'parabolic-ma\[xarray\]'"):
        solution.to_xarray()


def test_csv(tmp_path, problem, make_solution, side):
    solution = make_solution(problem, side)
    export.to_csv(solution, tmp_path / "a.csv")
    with (tmp_path / "a.csv").open() as file:
        names = file.readline().strip().split(",")
        table = np.loadtxt(file, delimiter=",")
    letters = ("y", "psi", "T") if side == "reference" else ("x", "phi", "S")
    axis, potential, carried = letters
    assert names[:5] == [f"{axis}1", f"{axis}2", potential, f"{carried}1", f"{carried}2"]
    grid = solution.fields.potential.grid
    assert np.array_equal(table[:, :2], grid.points())
    assert np.array_equal(table[:, 2], solution.fields.potential.values().ravel())
    assert np.array_equal(table[:, 3:5], solution.fields.gradient.reshape(-1, 2))


def test_netcdf(tmp_path, solution):
    export.to_netcdf(solution, tmp_path / "a.nc")
    with h5py.File(tmp_path / "a.nc") as file:
        # Last coordinate first, as image readers expect.
        assert [d[0].name for d in file["T1"].dims] == ["/y2", "/y1"]
        assert np.array_equal(file["T1"], solution.fields.gradient[..., 0].T)
        assert file["T2"].attrs["long_name"].dtype.kind == "S"
        assert file["y1"].attrs["axis"] == b"X"


@pytest.mark.parametrize("name", ["a.nc", "b.nc"])
def test_xarray_opens_the_exports(tmp_path, solution, name):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    if name == "a.nc":
        export.to_netcdf(solution, tmp_path / name)
        with xarray.open_dataset(tmp_path / name, engine="h5netcdf") as data:
            assert np.array_equal(data["psi"], solution.fields.potential.values().T)
    else:
        export.to_arviz(solution, tmp_path / name, draws=5, chains=2, rng=3)
        with xarray.open_dataset(tmp_path / name, group="posterior", engine="h5netcdf") as data:
            assert data["theta"].dims == ("chain", "draw", "theta_dim")
            expected = solution.sample(10, 3).reshape(2, 5, 2)
            assert np.array_equal(data["theta"], expected)


def test_one_dimension_and_no_grid(tmp_path, make_solution):
    line = pma.TransportProblem(pma.Gaussian(0, 1), pma.Gaussian(1, 4))
    shift = pma.Affine([[2.0]], [1.0])
    solution = make_solution(line, side="none", fields=None, map=shift)
    export.to_csv(solution, tmp_path / "a.csv")
    with (tmp_path / "a.csv").open() as file:
        assert file.readline().startswith("y1,psi,T1,log_det,")
        table = np.loadtxt(file, delimiter=",")
    np.testing.assert_array_equal(table[:, 2], 2 * table[:, 0] + 1)
