"""Mistakes on the command line: one line, the right exit code, no traceback, no file lost."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

import parabolic_ma as pma
from parabolic_ma import cli

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
shape = [16, 16]
"""
POTENTIAL = PROBLEM.replace(
    'kind = "gaussian"\nmean = [1, -1]\ncov = [[2.0, 0.6], [0.6, 1.0]]',
    'kind = "potential"\nfunction = "hostile:NAME"\ndim = 2',
)
FUNCTIONS = """
import numpy as np
def boom(x): raise RuntimeError("in my code")
def late(x):
    if len(x) > 100: raise KeyError("late")
    return 0.5 * np.sum(x**2, axis=1)
def exits(x): raise SystemExit(7)
def shape(x): return x
def nan(x): return np.where(x[:, 0] > 0.5, np.nan, 0.5 * np.sum(x**2, axis=1))
"""


@pytest.fixture(scope="module")
def solved(tmp_path_factory):
    """A folder with a problem, its solution and a table of points."""
    folder = tmp_path_factory.mktemp("solved")
    (folder / "p.toml").write_text(PROBLEM)
    (folder / "points.csv").write_text("a,b\n0,0\n1,1\n")
    problem = pma.TransportProblem(pma.Gaussian([0, 0], 1.0), pma.Gaussian([1, 0], 2.0))
    pma.solve(problem, pma.GridSolver(shape=(16, 16))).save(folder / "s.h5")
    return folder


@pytest.fixture(autouse=True)
def folder(solved, monkeypatch, tmp_path):
    for file in solved.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def outcome(capsys, *arguments):
    code = cli.run([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("solve p.toml -o p.toml", r"cannot write p\.toml: it is a file that is read"),
        ("solve p.toml -o x.png --plot x.png", r"two results go to x\.png"),
        ("solve p.toml --plot x.xyz", "the ending must be one of .png"),
        ("solve p.toml --plot x", "the ending must be one of .png"),
        ("solve p.toml --checkpoint .", "it is a folder"),
        ("solve p.toml -o /dev/null", "it is no plain file"),
        ("solve p.toml --shape 200000 200000", r"200000x200000 cells needs about \d+\.\d GiB"),
        ("solve p.toml --shape 16 16 16 16", "one, two or three whole numbers of cells"),
        ("solve p.toml --shape 0", "each at least 8"),
        ("solve p.toml --tol 0", "tol=0.0 must be"),
        ("solve p.toml --tol nan", "tol=nan must be"),
        ("solve p.toml --tol fine", "[Ii]nvalid value"),
        ("solve p.toml --boundary periodic", "lives on all of space"),
        ("solve mix1_sd --shape 64 --initial s.h5", "dimension 2 and the problem has dimension 1"),
        ("solve p.toml --initial p.toml", r"p\.toml cannot be read as HDF5, so it is no solution"),
        ("solve s.h5", r"s\.h5 cannot be read as TOML, .* --initial"),
        ("solve .", r"\. cannot be read: Is a directory"),
        ("solve two_mode", "there is no file 'two_mode', and .* did you mean 'two_modes'"),
        ("info .", "is a folder"),
        ("info p.toml", "cannot be read as HDF5"),
        ("plot s.h5", "--output requires an argument"),
        ("plot s.h5 -o a.xyz", "the ending must be one of .png"),
        ("plot s.h5 -o s.h5", "it is a file that is read"),
        ("sample s.h5 -n 0", "-n must be a positive whole number of points, got 0"),
        ("sample s.h5 -n -1", "got -1"),
        ("sample s.h5 -n 1.5", "got 1.5"),
        ("sample s.h5 -n 5 -o s.h5", "it is a file that is read"),
        ("sample s.h5 -n 1e15 -o x.npy", "GiB are free"),
        ("sample s.h5 -n 1e30 -o x.h5", "GiB are free"),
        ("sample s.h5 -n 5 --rng -1", "rng must be a whole number from 0 up"),
        ("push s.h5 points.csv -o points.csv", "it is a file that is read"),
        ("push s.h5 points.csv --columns 0 9", "numbers from 0 to 1"),
        ("push s.h5 points.csv --shard 0/3", "--shard is i/n"),
        ("push s.h5 s.h5", "arrays .* and .* more.*--key"),
        ("convert s.h5 --to arviz -n 4e14", "out of memory"),
        ("convert s.h5 --to csv -o s.h5", "it is a file that is read"),
    ],
)
def test_one_line_and_exit_code_2(capsys, folder, arguments, message):
    before = contents(folder)
    code, out, err = outcome(capsys, *arguments.split())
    assert code == 2
    assert out == ""
    assert err.startswith("parabolic-ma: error: ")
    assert re.search(message, err), err
    assert "Traceback" not in err
    assert contents(folder) == before, "no file made, and none lost"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("boom", "the potential raised RuntimeError: in my code"),
        ("late", "the potential raised KeyError: 'late'"),
        ("exits", "the potential raised SystemExit: 7"),
        ("shape", r"it returned \(7, 2\)"),
        ("nan", r"the potential is nan at x = \[.*\], and unusable at"),
        ("none", "cannot be imported: module 'hostile' has no attribute 'none'"),
    ],
)
def test_code_of_the_user(capsys, name, message):
    Path("hostile.py").write_text(FUNCTIONS)
    Path("h.toml").write_text(POTENTIAL.replace("NAME", name))
    code, _, err = outcome(capsys, "solve", "h.toml", "-q", "--allow-code")
    assert code == 2
    assert re.search(message, err), err
    assert not Path("h.h5").exists()


def test_a_read_only_file_stays(capsys):
    Path("s.h5").chmod(0o444)
    code, _, err = outcome(capsys, "solve", "p.toml", "-q", "-o", "s.h5")
    assert code == 2
    assert "the file is read-only; give another name" in err


def test_a_start_may_be_replaced_by_what_it_leads_to(capsys):
    code, _, _ = outcome(capsys, "solve", "p.toml", "-q", "--initial", "s.h5", "-o", "s.h5")
    assert code == 0
    assert pma.load("s.h5").problem.target.mean.tolist() == [1.0, -1.0]


def test_the_tolerance_may_be_named(capsys):
    code, _, _ = outcome(capsys, "solve", "p.toml", "-q", "--tol", "discretisation")
    assert code == 0
    assert pma.load("p.h5").solver.tol == "discretisation"


def test_push_says_how_many_points_are_no_points(capsys):
    Path("points.csv").write_text("a,b\n0,0\n1,nan\n")
    code, out, err = outcome(capsys, "push", "s.h5", "points.csv")
    assert code == 0
    assert out.splitlines()[-1] == "nan,nan"
    assert "1 of them are not finite, and so are their images" in err


def test_a_fault_of_the_program_is_one_line_unless_its_trace_is_wanted(capsys, monkeypatch):
    def fault(*_):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(pma.GridSolver, "init", fault)
    code, _, err = outcome(capsys, "solve", "p.toml", "-q")
    assert code == 70
    assert "error: ZeroDivisionError: oh" in err
    assert "this is a fault of the program; PARABOLIC_MA_TRACE=1 shows where" in err
    assert not Path("p.h5").exists()
    monkeypatch.setenv("PARABOLIC_MA_TRACE", "1")
    with pytest.raises(ZeroDivisionError):
        cli.run(["solve", "p.toml", "-q"])


def test_a_terminated_run_writes_its_file(folder, monkeypatch):
    def terminated(*_):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(pma.GridSolver, "step", terminated)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as caught:
            cli.main(["solve", "two_modes", "--shape", "16", "-q", "-o", "t.h5"])
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert caught.value.code == 130
    assert pma.load("t.h5").status is pma.Status.INTERRUPTED
    assert not [p for p in folder.iterdir() if ".part" in p.name]
