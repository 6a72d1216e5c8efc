"""Files of flows: what was kept over time, the average, and who can read them."""

from __future__ import annotations

import dataclasses

import h5py
import numpy as np
import pytest

import parabolic_ma as pma
from parabolic_ma.io import hdf5, schema
from parabolic_ma.operators.grid_map import GridMap

PROBLEM = pma.TransportProblem(
    pma.Gaussian([0, 0], [[1.0, 0.2], [0.2, 0.7]]),
    pma.GaussianMixture([[1.5, 0.0], [-1.5, 0.5]], 0.5),
)
FLOW = pma.GridFlow(
    (16, 12),
    t_final=0.2,
    save_at=[0.0, 0.1, 0.2],
    comparator=pma.Gaussian([0, 0], 2.0),
    average=True,
)


@pytest.fixture(scope="module", params=["reference", "target"])
def solution(request):
    flow = dataclasses.replace(FLOW, side=request.param)
    return pma.solve(PROBLEM, flow, progress=False)


@pytest.fixture
def path(tmp_path, solution):
    solution.save(tmp_path / "a.h5")
    return tmp_path / "a.h5"


def test_layout(path, solution):
    letter = "y" if solution.side == "reference" else "x"
    with h5py.File(path) as file:
        assert list(file)[-2:] == ["saved", "average"]
        saved, average = file["saved"], file["average"]
        assert saved["t"][()].tolist() == [0.0, 0.1, 0.2]
        assert saved["correction"].shape == (3, 16, 12)
        assert saved["correction"].chunks == (1, 16, 12)
        assert saved["correction"].compression == "gzip"
        assert [d[0].name for d in saved["correction"].dims] == [
            "/saved/t",
            f"/saved/{letter}1",
            f"/saved/{letter}2",
        ]
        assert np.array_equal(saved["correction"][2], file["state/correction"])
        assert average["density"].shape == (16, 12)
        assert [d[0].name for d in average["density"].dims] == ["/average/x1", "/average/x2"]
        for group in (saved, average, file["history"]):
            for name, data in group.items():
                assert data.attrs["units"], name
                assert data.attrs["long_name"], name
        text = file["problem/solver"].asstr()[()]
        assert text.startswith('[solver]\nkind = "flow"\nshape = [16, 12]\nt_final = 0.2\n')


def test_every_column_has_its_unit(solution):
    explicit = pma.solve(PROBLEM, pma.GridSolver((16, 16)), progress=False)
    sinkhorn = pma.SinkhornFlow(32, epsilon=0.5, steps=2)
    line = pma.TransportProblem(pma.Gaussian(0, 1), pma.Gaussian(1, 1))
    soft = pma.solve(line, sinkhorn, progress=False)
    for found in (solution, explicit, soft):
        assert set(found.history) <= set(schema.HISTORY)


def test_only_files_of_flows_are_of_the_second_schema(tmp_path, solution):
    steady = dataclasses.replace(solution, saved=(), average=None, solver=pma.GridSolver((16, 12)))
    for changed, version in {
        "flow": (solution, 2),
        "steady": (steady, 1),
        "saved": (dataclasses.replace(steady, saved=solution.saved), 2),
        "average": (dataclasses.replace(steady, average=solution.average), 2),
        "status": (dataclasses.replace(steady, status=pma.Status.UNSTABLE), 2),
        "solver": (dataclasses.replace(steady, solver=solution.solver), 2),
    }.values():
        changed.save(tmp_path / "b.h5")
        with h5py.File(tmp_path / "b.h5") as file:
            assert file.attrs["schema_version"] == version
        assert pma.load(tmp_path / "b.h5").status is changed.status


def test_a_second_save_gives_the_same_file(path, tmp_path):
    pma.load(path).save(tmp_path / "b.h5")
    with h5py.File(path) as a, h5py.File(tmp_path / "b.h5") as b:
        names, others = [], []
        a.visit(names.append)
        b.visit(others.append)
        assert names == others
        for name in names:
            if isinstance(a[name], h5py.Dataset):
                assert np.array_equal(a[name][()], b[name][()], equal_nan=a[name].dtype.kind == "f")


def test_the_size_counts_what_was_kept(solution):
    alone = dataclasses.replace(solution, saved=(), average=None)
    assert hdf5._size(solution) == hdf5._size(alone) + 8 * 16 * 12 * 4


def test_what_a_file_cannot_hold(tmp_path, solution):
    class Mine(pma.SemiImplicit):
        pass

    function = pma.Potential(lambda x: 0.5 * np.sum(x**2, axis=1), 2, normalized=True)
    for changes, expected in (
        ({"stepper": Mine()}, None),
        ({"comparator": function}, dataclasses.replace(solution.solver, comparator=None)),
    ):
        solver = dataclasses.replace(solution.solver, **changes)
        dataclasses.replace(solution, solver=solver).save(tmp_path / "b.h5")
        assert pma.load(tmp_path / "b.h5").solver == expected
    odd = dataclasses.replace(solution, saved=((0.1, pma.Identity(2)),))
    with pytest.raises(pma.InputError, match="a saved map that is a Identity cannot be written"):
        odd.save(tmp_path / "c.h5")


def test_maps_of_other_grids_have_their_own_place(tmp_path, solution):
    own = solution.saved[1][1].grid_potential
    other = dataclasses.replace(own, image=own.image + 1.0)
    mixed = ((0.05, GridMap(other, solution.side)), *solution.saved[1:])
    dataclasses.replace(solution, saved=mixed).save(tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5") as file:
        assert file["saved/t"][()].tolist() == [0.1, 0.2]
        assert file["saved/grid1/t"][()].tolist() == [0.05]
    again = pma.load(tmp_path / "b.h5").saved
    y = np.random.default_rng(0).normal(size=(20, 2))
    for (t, first), (s, second) in zip(mixed, again, strict=True):
        assert t == s
        assert np.array_equal(first(y), second(y))
    # and without a grid of its own there is nothing to lean on
    bare = dataclasses.replace(
        solution, fields=None, side="none", map=pma.Identity(2), saved=mixed[:1], average=None
    )
    bare.save(tmp_path / "c.h5")
    ((_, found),) = pma.load(tmp_path / "c.h5").saved
    assert np.array_equal(found.grid_potential.correction, other.correction)


@pytest.mark.parametrize("what", ["correction", "t", "shape"])
def test_damaged_files_are_refused(path, what):
    with h5py.File(path, "a") as file:
        if what == "correction":
            del file["saved/correction"]
        elif what == "t":
            del file["saved/t"]
            file["saved/t"] = [0.1]
        else:
            del file["saved/correction"]
            file["saved/correction"] = np.zeros((3, 4, 4))
    with pytest.raises(pma.FileFormatError, match="damaged or incomplete"):
        pma.load(path)


def test_at_needs_a_saved_time(path):
    loaded = pma.load(path)
    with pytest.raises(pma.InputError, match=r"saved times: 0, 0\.1, 0\.2"):
        loaded.at(0.15)


def test_xarray(path, solution):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    data = solution.to_xarray()
    name, axes = ("psi", ("y1", "y2")) if solution.side == "reference" else ("phi", ("x1", "x2"))
    assert data[f"{name}_saved"].dims == ("time", *axes)
    assert data["time"].values.tolist() == [0.0, 0.1, 0.2]
    last = data[f"{name}_saved"].sel(time=0.2)
    assert np.array_equal(last, solution.fields.potential.values())
    assert data["average_density"].dims == ("x1", "x2")
    mass = data["average_density"].sum() * solution.average.grid.cell_volume
    assert float(mass) == pytest.approx(1.0, abs=1e-12)
    for group in ("saved", "average"):
        with xarray.open_dataset(path, group=group, engine="h5netcdf") as read:
            read.load()
        assert set(read.dims) >= ({"t"} if group == "saved" else {"x1", "x2"})
