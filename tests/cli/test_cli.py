"""The command line: what it prints where, what it writes, and its exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import parabolic_ma as pma
from parabolic_ma import benchmark, cli
from parabolic_ma.operators.grid_map import GridMap
from parabolic_ma.solution import GridFields, GridPotential

PROBLEM = """
[reference]
kind = "gaussian"
mean = [0, 0]
cov = 1.0

[target]
kind = "gaussian"
mean = [1, -1]
cov = [[2.0, 0.6], [0.6, 1.0]]

[solver]
kind = "grid"
shape = [32, 32]
"""


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=["reference", "target"])
def side(request):
    return request.param


def write_solution(side="reference", boundary="free", **changes):
    """A file with an affine map on a grid: T(y) = 2 y + (1, 0), or its inverse on that side."""
    grid = pma.Grid(pma.Box.of([(-4, 4), (-4, 4)]), (8, 8))
    own = pma.Affine(2.0 * np.eye(2), [1.0, 0.0])
    matrix, image = own.A, own.b
    if side == "target":
        matrix, image = 0.5 * np.eye(2), np.array([-0.5, 0.0])
    potential = GridPotential(grid, np.zeros((8, 8)), matrix, np.zeros(2), image, boundary)
    zeros = np.zeros((8, 8))
    values = {
        "problem": pma.TransportProblem(pma.Gaussian([0, 0], 1.0), pma.Gaussian([1, 0], 4.0)),
        "map": GridMap(potential, side),
        "side": side,
        "status": pma.Status.CONVERGED,
        "message": "fine",
        "log_evidence": 0.0,
        "w2_squared": 3.0,
        "kl": 0.0,
        "kl_reverse": float("nan"),
        "certificate": pma.Certificate(residual=1e-9),
        "history": pma.History({"step": [1, 2], "residual": [0.1, 1e-9]}),
        "provenance": pma.Provenance(solver="GridSolver(...)", problem_toml="[reference]\n"),
        "fields": GridFields(potential, np.zeros((8, 8, 2)), zeros, zeros, zeros),
    }
    pma.Solution(**{**values, **changes}).save("s.h5")
    return "s.h5"


def outcome(capsys, *arguments):
    code = cli.run([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


# ------------------------------------------------------------------------------------- solve


def test_solve_writes_prints_and_exits_with_0(capsys):
    Path("p.toml").write_text(PROBLEM)
    code, out, err = outcome(capsys, "solve", "p.toml", "-o", "out.h5")
    assert code == 0
    assert out.startswith("CONVERGED: The tolerance was met")
    assert "wrote out.h5" in err
    assert re.search(r"32x32 +step \d+ +residual", err), "plain lines of progress"
    solution = pma.load("out.h5")
    assert solution.converged
    assert solution.provenance.configuration == PROBLEM
    assert solution.solver.shape == (32, 32)
    y = np.array([[0.3, -0.4]])
    root = np.array(pma.Gaussian([0, 0], [[2.0, 0.6], [0.6, 1.0]]).cov)
    values, axes = np.linalg.eigh(root)
    exact = np.array([1.0, -1.0]) + y @ (axes * np.sqrt(values)) @ axes.T
    # h = 14/32 over the support: second order leaves about (h/7)^2 of the correction.
    np.testing.assert_allclose(solution.map(y), exact, atol=5e-2)


def test_options_override_the_file(capsys):
    Path("p.toml").write_text(PROBLEM)
    arguments = ("--shape", "36", "40", "--side", "target", "--tol", "1e-6", "-q", "--json")
    code, out, err = outcome(capsys, "solve", "p.toml", *arguments)
    assert code == 0
    facts = json.loads(out)
    assert facts["shape"] == [36, 40]
    assert facts["side"] == "target"
    assert facts["file"] == "p.h5"
    assert "step" not in err
    assert pma.load("p.h5").solver.tol == 1e-6


def test_a_run_that_does_not_converge_writes_its_file_and_exits_with_3(capsys):
    Path("p.toml").write_text(PROBLEM)
    code, out, _ = outcome(
        capsys, "solve", "p.toml", "-o", "o.h5", "--max-steps", 1, "--tol", 1e-13, "-q"
    )
    assert code == 3
    assert out.startswith(("MAX_STEPS", "STALLED"))
    assert not pma.load("o.h5").converged
    with h5py.File("o.h5") as file:
        assert file.attrs["converged"] == 0
        assert file.attrs["status"] in {b"MAX_STEPS", b"STALLED"}


def test_an_interrupted_run_writes_its_file_and_exits_with_130(capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(pma.GridSolver, "step", interrupted)
    Path("p.toml").write_text(PROBLEM)
    code, out, _ = outcome(capsys, "solve", "p.toml", "-o", "o.h5", "-q")
    assert code == 130
    assert out.startswith("INTERRUPTED")
    assert pma.load("o.h5").status is pma.Status.INTERRUPTED


def test_catalog_problems_start_from_a_file_and_draw(capsys):
    pytest.importorskip("matplotlib")
    code, _, _ = outcome(capsys, "solve", "two_modes", "--shape", 32, "-q")
    assert code == 0
    arguments = ("--shape", 48, "--initial", "two_modes.h5", "--checkpoint", "c.h5", "-q")
    code, _, err = outcome(
        capsys, "solve", "two_modes", "-o", "b.h5", "--plot", "b.png", *arguments
    )
    assert code == 0
    assert "wrote b.png" in err
    assert Path("b.png").read_bytes().startswith(b"\x89PNG")
    assert pma.load("c.h5").converged


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "catalog has no problem 'nothing'"),
        (["no.toml"], r"no\.toml cannot be read"),
        (["bad.toml"], r"bad\.toml: unknown key `x` .allowed: reference, target"),
        (["p.toml", "-o", "no/out.h5"], "the folder no does not exist"),
        (["p.toml", "--plot", "no/out.png"], "the folder no does not exist"),
        (["p.toml", "-o", "."], "it is a folder"),
        (["p.toml", "--initial", "no.h5"], r"there is no file no\.h5"),
        (["p.toml", "--shape", "x"], "[Ii]nvalid value"),
        (["p.toml", "--side", "left"], "[Ii]nvalid value"),
        (["p.toml", "--sidee", "left"], "Unknown option"),
        (["code.toml"], "--allow-code"),
        ([], "requires an argument"),
    ],
)
def test_bad_input_is_one_clear_line_and_exits_with_2(capsys, arguments, message):
    Path("p.toml").write_text(PROBLEM)
    Path("bad.toml").write_text("x = 1")
    code_toml = PROBLEM.replace(
        'kind = "gaussian"\nmean = [1, -1]\ncov = [[2.0, 0.6], [0.6, 1.0]]',
        'kind = "potential"\nfunction = "m:f"\ndim = 2',
    )
    Path("code.toml").write_text(code_toml)
    before = sorted(Path().iterdir())
    code, out, err = outcome(capsys, "solve", *arguments)
    assert code == 2
    assert out == ""
    assert re.search(message, err)
    assert "Traceback" not in err
    assert err.startswith("parabolic-ma: error: ")
    assert sorted(Path().iterdir()) == before, "nothing half-written"


# -------------------------------------------------------------------------------- info, plot


def test_info(capsys):
    code, out, _ = outcome(capsys, "info", write_solution())
    assert code == 0
    assert "CONVERGED" in out
    assert "rounding_floor" in out
    assert "GridSolver(...)" in out
    assert 'kind = "gaussian"' in out


def test_info_json_has_null_for_what_is_not_known(capsys):
    code, out, _ = outcome(capsys, "info", write_solution(), "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["certificate"]["residual"] == 1e-9
    assert facts["certificate"]["map_error"] is None
    assert facts["kl_reverse"] is None
    assert facts["shape"] == [8, 8]


@pytest.mark.parametrize("command", [("info",), ("plot", "-o", "x.png"), ("sample", "-n", "3")])
def test_files_that_are_no_solutions(capsys, command):
    Path("text.h5").write_text("text")
    with h5py.File("other.h5", "w") as file:
        file["x"] = 1
    name, *rest = command
    for path, message in {
        "no.h5": "there is no file",
        "text.h5": "cannot be read as HDF5",
        "other.h5": "not a solution saved by parabolic_ma",
    }.items():
        code, _, err = outcome(capsys, name, path, *rest)
        assert code == 2
        assert message in err


def test_plot_needs_matplotlib(capsys, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *a: None if n == "matplotlib" else find(n, *a)
    )
    code, _, err = outcome(capsys, "plot", write_solution(), "-o", "x.png")
    assert code == 2
    assert "pip install 'parabolic-ma[plot]'" in err


# ------------------------------------------------------------------------------ sample, push


@pytest.mark.parametrize("suffix", ["csv", "npy", "h5"])
def test_sample_is_the_solutions_own(capsys, monkeypatch, side, suffix):
    monkeypatch.setattr(cli, "_CHUNK", 300)
    path = write_solution(side)
    code, out, err = outcome(capsys, "sample", path, "-n", "1e3", "-o", f"x.{suffix}", "--rng", 5)
    assert (code, out) == (0, "")
    from parabolic_ma.io.pointfiles import read_points

    x = read_points(f"x.{suffix}")
    rng = np.random.default_rng(5)
    solution = pma.load(path)
    expected = np.concatenate([solution.sample(n, rng) for n in (300, 300, 300, 100)])
    assert np.array_equal(x, expected)
    own = expected if side == "target" else solution.map.inverse(expected)
    outside = np.count_nonzero(np.any(np.abs(own) > 4, axis=1))
    assert f"drew 1000 points, wrote x.{suffix}; {outside} lay outside the box" in err
    assert (outside > 0) == (side == "target")


def test_sample_to_standard_output(capsys):
    _, out, _ = outcome(capsys, "sample", write_solution(), "-n", 2, "--rng", 0)
    header, *rows = out.splitlines()
    assert header == "x1,x2"
    expected = pma.load("s.h5").sample(2, rng=0)
    assert np.array_equal([[float(v) for v in row.split(",")] for row in rows], expected)


@pytest.mark.parametrize("number", ["0", "2.5", "-1", "inf", "nan"])
def test_sample_refuses_other_numbers(capsys, number):
    code, _, err = outcome(capsys, "sample", write_solution(), f"-n={number}", "-o", "x.npy")
    assert code == 2
    assert "positive whole number of points" in err
    assert not Path("x.npy").exists()


def test_push_there_and_back_in_shards(capsys, monkeypatch, side):
    monkeypatch.setattr(cli, "_CHUNK", 4)
    path = write_solution(side)
    y = np.random.default_rng(3).uniform(-6, 6, size=(23, 2))
    np.save("y.npy", y)
    parts = []
    for i in (1, 2, 3):
        code, _, err = outcome(
            capsys, "push", path, "y.npy", "-o", f"x{i}.npy", "--shard", f"{i}/3"
        )
        assert code == 0
        parts.append(np.load(f"x{i}.npy"))
    x = np.concatenate(parts)
    assert np.array_equal(x, pma.load(path).map(y))
    np.save("x.npy", x)
    arguments = ("-o", "back.h5", "--inverse", "--threads", "2")
    code, _, err = outcome(capsys, "push", path, "x.npy", *arguments)
    assert code == 0
    with h5py.File("back.h5") as file:
        # The inverse is polished to rounding; values are below 20.
        np.testing.assert_allclose(file["points"], y, atol=1e-10)
    own = y if side == "reference" else x
    outside = np.count_nonzero(np.any(np.abs(own) > 4, axis=1))
    assert f"carried 23 points, wrote back.h5; {outside} lay outside the box" in err


def test_push_columns_of_a_table(capsys):
    Path("t.csv").write_text("name_a,b,c\n9,0.5,1\n9,-0.5,2\n")
    code, out, _ = outcome(capsys, "push", write_solution(), "t.csv", "--columns", "c", "b")
    assert code == 0
    assert out.splitlines() == ["x1,x2", "3,1", "5,-1"]


def test_nothing_lies_outside_a_periodic_box(capsys):
    np.save("y.npy", np.full((3, 2), 100.0))
    _, _, err = outcome(capsys, "push", write_solution(boundary="periodic"), "y.npy", "-o", "x.npy")
    assert "; 0 lay outside" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["y.npy", "--shard", "0/2"], "--shard is i/n with i from 1 to n"),
        (["y.npy", "--shard", "3/2"], "--shard is i/n with i from 1 to n"),
        (["y.npy", "--shard", "half"], "--shard is i/n with i from 1 to n"),
        (["three.npy"], "has 3 columns and the map has dimension 2; choose columns"),
        (["no.npy"], "there is no file no.npy"),
        (["y.npy", "-o", "x.xlsx"], "the name must end in"),
        (["y.npy", "--threads", "0"], "--threads must be at least 1, got 0"),
        (["bad.csv"], "data row 2, column 1: expected a number, found 'x'"),
    ],
)
def test_push_says_what_is_wrong(capsys, arguments, message):
    np.save("y.npy", np.zeros((4, 2)))
    np.save("three.npy", np.zeros((4, 3)))
    Path("bad.csv").write_text("1,2\n3,x\n")
    output = [] if "-o" in arguments else ["-o", "out.npy"]
    code, _, err = outcome(capsys, "push", write_solution(), *arguments, *output)
    assert code == 2
    assert message in err
    assert not Path("out.npy").exists()


# ------------------------------------------------------------------------- convert and lists


def test_convert(capsys):
    path = write_solution()
    assert outcome(capsys, "convert", path, "--to", "csv")[0] == 0
    assert Path("s.csv").read_text().startswith("y1,y2,psi,T1,T2,log_det,")
    assert outcome(capsys, "convert", path, "--to", "netcdf", "-o", "f.nc")[0] == 0
    with h5py.File("f.nc") as file:
        assert file["psi"].shape == (8, 8)
    assert outcome(capsys, "convert", path, "--to", "arviz", "-o", "d.nc", "-n", 40)[0] == 0
    with h5py.File("d.nc") as file:
        assert file["posterior/theta"].shape == (4, 10, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "csv", "-o", "s.h5"], "it is a file that is read"),
        (["--to", "arviz", "-n", "3"], "multiple of 4, for 4 chains; got 3"),
        (["--to", "excel"], "Invalid value"),
        ([], "requires an argument"),
    ],
)
def test_convert_says_what_is_wrong(capsys, arguments, message):
    code, _, err = outcome(capsys, "convert", write_solution(), *arguments)
    assert code == 2
    assert message in err


def test_catalog(capsys):
    code, out, _ = outcome(capsys, "catalog", "list")
    assert code == 0
    assert any(line.startswith("old_faithful ") for line in out.splitlines())
    code, out, _ = outcome(capsys, "catalog", "list", "--json")
    assert set(json.loads(out)) == set(pma.catalog.names())
    code, _, err = outcome(capsys, "catalog", "show", "nothing")
    assert code == 2
    assert "catalog has no problem 'nothing'; it has" in err


def test_what_catalog_show_prints_is_a_problem_file(capsys):
    from parabolic_ma.config import load_config

    for name in pma.catalog.names():
        _, out, _ = outcome(capsys, "catalog", "show", name)
        Path("p.toml").write_text(out)
        settings = pma.catalog.get(name).solver
        if settings:  # above two dimensions it is the default solver
            assert load_config("p.toml").solver == pma.GridSolver(**settings)
    _, out, _ = outcome(capsys, "catalog", "show", name, "--json")
    assert json.loads(out)["toml"].startswith(f'catalog = "{name}"')


def test_backends(capsys):
    _, out, _ = outcome(capsys, "backends")
    assert re.search(r"^numpy +yes", out, re.MULTILINE)
    _, out, _ = outcome(capsys, "backends", "--json")
    assert "numba" in {backend["name"] for backend in json.loads(out)}


def test_bench_prints_the_rows_as_a_table_or_as_json(capsys, monkeypatch):
    seen = []

    def measured(names, quick, report):
        seen.append((names, quick))
        report("ring")
        return [
            benchmark.Row("ring", "W2^2 error", "", 1.25e-4, "<= 0.0002", True),
            benchmark.Row("ring", "solve", "s", float("nan"), "", None, "a note"),
        ]

    monkeypatch.setattr(benchmark, "run", measured)
    code, out, err = outcome(capsys, "bench")
    assert code == 0
    assert "0.000125" in out
    assert "a note" in out
    assert "bench ring" in err
    code, out, _ = outcome(capsys, "bench", "ring", "import", "--quick", "--json")
    assert code == 0
    rows = json.loads(out)["rows"]
    assert [row["measured"] for row in rows] == [1.25e-4, None]
    assert seen == [((), False), (("ring", "import"), True)]


def test_bench_refuses_an_unknown_case(capsys):
    code, out, err = outcome(capsys, "bench", "no_such_case")
    assert (code, out) == (2, "")
    assert "no_such_case" in err
    assert "cosine_square" in err


# --------------------------------------------------------------------------- as a process


def test_as_a_module():
    root = Path(pma.__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "parabolic_ma", "--version"],
        capture_output=True,
        text=True,
        check=False,
        cwd=root,
    )
    assert (done.returncode, done.stdout.strip()) == (0, pma.__version__)


def test_main_exits_with_the_code():
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["info", "no.h5"])
    assert exit_info.value.code == 2


def test_help_describes_every_option(capsys):
    assert outcome(capsys, "--help")[0] == 0
    code, out, _ = outcome(capsys, "solve", "--help")
    assert code == 0
    for option in ("--output", "--plot", "--shape", "--allow-code", "--tol", "--initial", "--json"):
        assert option in out
