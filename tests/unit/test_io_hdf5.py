"""Solution files: everything comes back, every reader opens them, nothing is left half-written."""

from __future__ import annotations

import dataclasses

import h5py
import numpy as np
import pytest

import parabolic_ma as pma
from parabolic_ma.io import hdf5
from parabolic_ma.io.schema import SCHEMA_VERSION


@pytest.fixture(params=["reference", "target"])
def side(request):
    return request.param


def points(dim, n=50):
    # On both sides of the faces of the box.
    return np.random.default_rng(1).uniform(-8, 8, size=(n, dim))


def test_maps_come_back_bit_for_bit(tmp_path, problem, make_solution, side):
    solution = make_solution(problem, side)
    solution.save(tmp_path / "a.h5")
    again = pma.load(tmp_path / "a.h5")
    y = points(2)
    for name in ("__call__", "inverse", "log_abs_det_jacobian", "potential", "conjugate"):
        first, second = (getattr(s.map, name)(y) for s in (solution, again))
        assert np.array_equal(first, second, equal_nan=True), name
    assert np.array_equal(solution.log_prob(y), again.log_prob(y), equal_nan=True)
    assert np.array_equal(solution.sample(10, rng=3), again.sample(10, rng=3))


def test_everything_else_comes_back(tmp_path, problem, make_solution, side):
    solution = make_solution(problem, side)
    solution.save(tmp_path / "a.h5")
    again = pma.load(tmp_path / "a.h5")
    for name in ("side", "status", "message", "log_evidence", "w2_squared", "kl", "kl_reverse"):
        assert getattr(again, name) == getattr(solution, name), name
    assert again.solver == solution.solver
    assert again.certificate.reasons == solution.certificate.reasons
    assert np.array_equal(
        list(again.certificate.figures().values()),
        list(solution.certificate.figures().values()),
        equal_nan=True,
    )
    assert isinstance(again.certificate.extension_cells, int)
    assert list(again.history) == list(solution.history)
    for name in solution.history:
        assert again.history[name].tolist() == solution.history[name].tolist()
    expected = dataclasses.replace(solution.provenance, problem_toml=again.provenance.problem_toml)
    assert again.provenance == expected
    for name in ("gradient", "log_det", "log_source", "log_inner"):
        assert np.array_equal(getattr(again.fields, name), getattr(solution.fields, name)), name
    for name in ("grid", "boundary"):
        mine, other = (
            getattr(again.fields.potential, name),
            getattr(solution.fields.potential, name),
        )
        assert mine == other


def test_a_second_save_gives_the_same_solution(tmp_path, solution):
    solution.save(tmp_path / "a.h5")
    pma.load(tmp_path / "a.h5").save(tmp_path / "b.h5")
    with h5py.File(tmp_path / "a.h5") as a, h5py.File(tmp_path / "b.h5") as b:
        names = []
        a.visit(names.append)
        others = []
        b.visit(others.append)
        assert names == others
        for name in names:
            if isinstance(a[name], h5py.Dataset):
                assert np.array_equal(a[name][()], b[name][()], equal_nan=a[name].dtype.kind == "f")


def test_layout_as_h5py_sees_it(tmp_path, problem, make_solution):
    make_solution(problem).save(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs["schema_version"] == 1, "older releases read it"
        assert file.attrs["status"] == b"CONVERGED"
        groups = ["problem", "solution", "history", "certificate", "provenance", "state"]
        assert list(file) == groups
        solution = file["solution"]
        assert {"psi", "T", "log_det", "y1", "y2"} <= set(solution)
        assert [d[0].name for d in solution["T"].dims] == [
            "/solution/y1",
            "/solution/y2",
            "/solution/component",
        ]
        for name, data in solution.items():
            assert data.attrs["units"], name
            assert data.attrs["long_name"], name
            assert data.attrs["units"].dtype.kind == "S", "VTK wants text of fixed length"
        text = file["problem/toml"].asstr()[()]
        assert text.startswith('[reference]\nkind = "gaussian"\nmean = [0.0, 0.5]')
        assert file["history/residual"].maxshape == (2,)
        assert file["certificate/map_error"].attrs["reason"] == b"only one grid was used"


def test_a_grid_on_the_target_side_also_shows_the_map_on_the_reference(
    tmp_path, problem, make_solution
):
    solution = make_solution(problem, "target")
    solution.save(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        group = file["solution"]
        assert {"phi", "S", "psi", "T"} <= set(group)
        assert np.array_equal(group["x1"], solution.fields.potential.grid.axis(0))
        assert np.array_equal(group["S"], solution.fields.gradient)
        y = np.array([group["y1"][3], group["y2"][5]])
        assert np.array_equal(group["T"][3, 5], solution.map(y))


@pytest.mark.parametrize("group", ["solution", "history", "certificate"])
def test_xarray_opens_it(tmp_path, problem, make_solution, side, group):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    solution = make_solution(problem, side)
    solution.save(tmp_path / "a.h5")
    with xarray.open_dataset(tmp_path / "a.h5", group=group, engine="h5netcdf") as data:
        data.load()
    if group == "solution":
        assert data["T"].dims == ("y1", "y2", "component")
        assert data["psi"].attrs["long_name"]
        own = "psi" if side == "reference" else "phi"
        assert np.array_equal(data[own], solution.fields.potential.values())
    elif group == "history":
        assert data["level"].values.tolist() == ["8x6", "16x12"]
    else:
        assert float(data["residual"]) == 1e-5


def test_one_dimension(tmp_path, make_solution, side):
    line = pma.TransportProblem(pma.Gaussian(0, 1), pma.Uniform([(-1, 1)]))
    solution = make_solution(line, side)
    solution.save(tmp_path / "a.h5")
    again = pma.load(tmp_path / "a.h5")
    y = np.linspace(-4, 4, 9)
    assert np.array_equal(again.map(y), solution.map(y))


@pytest.mark.parametrize("transport", [pma.Identity(2), pma.Affine([[2, 0.5], [0.5, 1]], [1, 2])])
def test_maps_without_a_grid(tmp_path, problem, make_solution, transport):
    solution = make_solution(problem, side="none", fields=None, map=transport, solver=None)
    solution.save(tmp_path / "a.h5")
    again = pma.load(tmp_path / "a.h5")
    assert again.map == transport
    assert again.fields is None
    assert again.solver is None


def test_a_map_without_a_file_form_is_refused(tmp_path, problem, make_solution):
    class Strange(pma.Identity):
        pass

    odd = Strange(2)
    solution = make_solution(problem, side="none", fields=None, map=odd)
    solution.save(tmp_path / "a.h5")  # a subclass is what it is a subclass of

    class Other:
        dim = 2

        def __call__(self, y):
            return y

        def potential(self, y):
            return y[:, 0]

        log_abs_det_jacobian = potential

    solution = make_solution(problem, side="none", fields=None, map=Other())
    with pytest.raises(pma.InputError, match="whose map is a Other cannot be saved"):
        solution.save(tmp_path / "b.h5")
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_a_failed_write_keeps_the_old_file(tmp_path, solution, monkeypatch):
    path = tmp_path / "a.h5"
    solution.save(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hdf5, "_write_state", full)
    with pytest.raises(OSError, match="No space left"):
        solution.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_writing_says_what_is_wrong(tmp_path, solution):
    with pytest.raises(pma.InputError, match="no does not exist; create it first"):
        solution.save(tmp_path / "no" / "a.h5")
    with pytest.raises(pma.InputError, match="it is a folder"):
        solution.save(tmp_path)


def test_reading_says_what_is_wrong(tmp_path, solution):
    with pytest.raises(pma.InputError, match="there is no file"):
        pma.load(tmp_path / "no.h5")

    (tmp_path / "text.h5").write_text("not HDF5")
    with pytest.raises(pma.FileFormatError, match="cannot be read as HDF5"):
        pma.load(tmp_path / "text.h5")

    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["data"] = [1, 2]
    with pytest.raises(pma.FileFormatError, match="not a solution saved by parabolic_ma"):
        pma.load(tmp_path / "foreign.h5")

    solution.save(tmp_path / "newer.h5")
    with h5py.File(tmp_path / "newer.h5", "a") as file:
        file.attrs["schema_version"] = SCHEMA_VERSION + 1
    later = rf"written by a later release \(schema {SCHEMA_VERSION + 1};"
    with pytest.raises(pma.FileFormatError, match=later):
        pma.load(tmp_path / "newer.h5")

    solution.save(tmp_path / "hole.h5")
    with h5py.File(tmp_path / "hole.h5", "a") as file:
        del file["state/matrix"]
    with pytest.raises(pma.FileFormatError, match=r"damaged or incomplete: .*matrix"):
        pma.load(tmp_path / "hole.h5")

    solution.save(tmp_path / "cut.h5")
    data = (tmp_path / "cut.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(data[: len(data) // 2])
    with pytest.raises(pma.FileFormatError, match=r"cannot be read as HDF5|damaged"):
        pma.load(tmp_path / "cut.h5")


def test_no_history_and_an_empty_command(tmp_path, problem, make_solution):
    solution = make_solution(problem, history=pma.History({}), provenance=pma.Provenance())
    solution.save(tmp_path / "a.h5")
    again = pma.load(tmp_path / "a.h5")
    assert again.history.rows == 0
    assert again.provenance.command == ()
    assert again.provenance.seed is None


def test_the_configuration_is_kept_verbatim(tmp_path, problem, make_solution):
    text = "# a comment\n[reference]\n"
    solution = make_solution(problem, provenance=pma.Provenance(configuration=text))
    solution.save(tmp_path / "a.h5")
    assert pma.load(tmp_path / "a.h5").provenance.configuration == text
