"""What an inexperienced user may hand over, and the one sentence that answers it."""

from __future__ import annotations

import math
import os
import sys
from fractions import Fraction
from pathlib import Path

import h5py
import numpy as np
import pytest

import parabolic_ma as pma
from parabolic_ma.io.atomic import check_outputs, check_room, check_writable, replacing
from parabolic_ma.io.pointfiles import PointReader, PointWriter, read_points
from parabolic_ma.io.toml import problem_from_toml
from parabolic_ma.points import as_count, as_floats, brief, generator

PLANE = pma.Gaussian([0, 0], 1.0)
SQUARE = [(0, 1), (0, 1)]
POINTS = np.random.default_rng(3).normal(size=(30, 2))
SOLVER = pma.GridSolver(shape=(16, 16))


def quadratic(x):
    return 0.5 * np.sum(x**2, axis=1)


def failing(_x):
    raise RuntimeError("out of cheese")


def failing_on_many(x):
    if len(x) > 100:
        raise KeyError("late")
    return quadratic(x)


def refuses(make, message):
    with pytest.raises(pma.InputError, match=message) as caught:
        make()
    assert len(str(caught.value)) < 600, "one sentence, not the whole array"


# ---------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("abc", r"a must hold numbers only, got 'abc'"),
        (None, "a must hold numbers only, got None"),
        ([0, None], r"a must hold numbers only, got \[0, None\]"),
        ([[1, 2], [3]], r"lists of numbers of equal length, got \[\[1, 2\], \[3\]\]"),
        ([1j, 0], "a must hold real numbers, got complex ones"),
        (np.array(["x"] * 99), r"\.\.\. \(ndarray\)"),
        (np.ma.masked_invalid([1.0, math.nan]), "masked entries; leave them out"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), "a must hold numbers only"),
        ([10**400], "a must hold numbers only"),
    ],
)
def test_what_is_no_array_of_numbers(value, message):
    refuses(lambda: as_floats(value, "a"), message)


def test_what_counts_as_numbers():
    for value in ([True, False], np.float32([1, 0]), [Fraction(1), 0], np.ma.masked_array([1, 0])):
        result = as_floats(value, "a")
        assert result.dtype == np.float64
        np.testing.assert_array_equal(result, [1.0, 0.0])


def test_counts():
    assert [as_count(v) for v in (0, 3, 1e6, np.int64(2))] == [0, 3, 1_000_000, 2]
    for value in (-1, 1.5, "3", True, None, math.nan, math.inf):
        refuses(lambda value=value: as_count(value), "n must be a whole number, 0 or more, got")


@pytest.mark.parametrize("rng", ["a", -1, 1.5])
def test_seeds(rng):
    refuses(lambda: generator(rng), "rng must be a whole number from 0 up, .* got")


def test_brief():
    assert brief(0.0) == "0.0"
    assert brief([[1, 2], [3, 4]]) == "[[1, 2], [3, 4]]"
    assert brief(np.zeros((1000, 2))) == "[[0., 0.], [0., 0.], ..., [0., 0.], [0., 0.]]"


# --------------------------------------------------------------------------- boxes, grids, maps


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pma.Box(0, 1), r"Box.of\(\[\(lower, upper\), ...\]\) takes one pair per axis"),
        (lambda: pma.Box(("a",), ("b",)), "corners of a box are lists of numbers"),
        (lambda: pma.Box((-1e308,), (1e308,)), "length must lie between 1e-60 and 1e"),
        (lambda: pma.Box((0,), (1e-80,)), "length must lie between 1e-60 and 1e"),
        (lambda: pma.Grid(pma.Box.of([(0, 1)]), 5), "shape 5 does not fit a box with 1 axes"),
        (lambda: pma.Grid(pma.Box.of([(0, 1)]), (2.7,)), "positive whole number of cells"),
        (lambda: pma.Affine(np.eye(3), [0, 0]), r"got \(3, 3\) and \(2,\)"),
        (lambda: pma.Affine(2.0, [0, 0]), r"got \(\) and \(2,\)"),
        (lambda: pma.Affine("a", [0, 0]), "A must hold numbers only"),
        (lambda: pma.Affine(np.eye(2), [math.nan, 0]), "A and b must be finite"),
        (lambda: pma.Identity(0), "dim must be a positive integer, got 0"),
        (lambda: pma.Identity("a"), "dim must be a positive integer, got 'a'"),
        (lambda: pma.Identity(2)("a"), "y must hold numbers only"),
        (lambda: pma.Identity(2)(np.zeros((3, 2)) * 1j), "y must hold real numbers"),
    ],
)
def test_boxes_and_maps(make, message):
    refuses(make, message)


# --------------------------------------------------------------------------------- measures


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pma.Gaussian("a", 1), "mean must hold numbers only, got 'a'"),
        (lambda: pma.Gaussian([[0], [1, 2]], 1), "mean must be a number or lists of numbers"),
        (lambda: pma.Gaussian([0, 0], None), "cov must hold numbers only, got None"),
        (lambda: pma.Gaussian([0, 0], [[1, 1j], [-1j, 1]]), "cov must hold real numbers"),
        (lambda: pma.Gaussian([0, 0], [[-1, 0], [0, 1]]), r"its diagonal, .* is \[-1.0, 1.0\]"),
        (lambda: pma.Gaussian([0, 0], 1e-320), "variances must lie between 1e-100 and 1e"),
        (lambda: pma.Gaussian([0, 0], [1, 1e300]), "variances must lie between 1e-100 and 1e"),
        (lambda: pma.GaussianMixture("ab", 1), "means must hold numbers only"),
        (lambda: pma.GaussianMixture([0, 1], 1, "ab"), "weights must hold numbers only"),
        (lambda: pma.GaussianMixture(np.full((999, 2), np.nan), 1), "means must be finite"),
        (lambda: PLANE.sample(-1), "n must be a whole number, 0 or more, got -1"),
        (lambda: pma.GaussianMixture([0, 1], 1).sample(1.5), "n must be a whole number"),
        (lambda: pma.Uniform(SQUARE).sample("a"), "n must be a whole number"),
        (lambda: PLANE.support("a"), "tail_mass must lie strictly between 0 and 1, got a"),
        (lambda: pma.GridDensity("abc", SQUARE), "values must hold numbers only"),
        (lambda: pma.GridDensity([[1, 2], [3]], SQUARE), "values must be a number or lists"),
        (lambda: pma.GridDensity(np.ones((4, 4)) * 1j, SQUARE), "values must hold real numbers"),
        (lambda: pma.GridDensity(np.ones((4, 4)), SQUARE, "a"), "floor must be at least 0"),
        (lambda: pma.GridDensity(np.ones((4, 4)), SQUARE, None), "floor must be at least 0"),
        (lambda: pma.GridDensity(np.full((4, 4), 1e308), SQUARE), "too large to be summed"),
        (lambda: pma.GridDensity(-np.ones((4, 4)), SQUARE), "replace them, by 0 where there is no"),
        (lambda: pma.GridDensity(np.ones((4, 4)), SQUARE).sample(-1), "n must be a whole number"),
        (lambda: pma.GridDensity.from_image("cat.png"), "a picture must hold numbers only"),
        (lambda: pma.Samples("a.csv"), "points must hold numbers only, got 'a.csv'"),
        (lambda: pma.Samples([[1, 2], [3]]), "points must be a number or lists of numbers"),
        (lambda: pma.Samples(POINTS * 1j), "points must hold real numbers"),
        (lambda: pma.Samples(POINTS, "abc"), "weights must hold numbers only"),
        (lambda: pma.Samples(POINTS, bandwidth="scott"), "bandwidth must hold numbers only"),
        (lambda: pma.Samples(POINTS, np.zeros(30)), "got 0 positive, 30 zero, 0 negative and 0"),
        (
            lambda: pma.Samples(np.column_stack([POINTS[:, 0], np.full(30, 0.1)])),
            r"singular: column 1 \(from 0\) is constant, all are 0.1; drop that column",
        ),
        (lambda: pma.Samples(POINTS * 1e200), "spread must be below 1e.50: use other units"),
        (lambda: pma.Samples(POINTS * 1e-200), "column 0 .* is constant"),
        (lambda: pma.Samples(POINTS).sample(-1), "n must be a whole number"),
    ],
)
def test_measures(make, message):
    refuses(make, message)


def test_weights_may_be_as_large_as_a_float():
    huge = pma.Samples(POINTS, np.full(30, 1e308))
    np.testing.assert_array_equal(huge.weights, pma.Samples(POINTS).weights)
    mixture = pma.GaussianMixture([0, 1], 1, [1e308, 1e308])
    np.testing.assert_array_equal(mixture.weights, [0.5, 0.5])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pma.Potential(quadratic, None), "dim must be a positive integer, got None"),
        (lambda: pma.Potential(quadratic, math.nan), "dim must be a positive integer, got nan"),
        (lambda: pma.Potential(quadratic, 2, normalized="yes"), "normalized must be True or False"),
        (lambda: pma.Potential(quadratic, 2, log_concave="maybe"), "or None for not known, got 'm"),
        (lambda: pma.Potential(lambda x: quadratic(x) * 1j, 2), "must hold real numbers"),
        (lambda: pma.Potential(lambda _x: None, 2), "what the potential returns must hold numbers"),
        (lambda: pma.Potential(lambda: 0, 2), r"the potential raised TypeError: .* \(n, d\)"),
        (lambda: pma.Potential(lambda x: x[:, 2], 2), "the potential raised IndexError"),
        (lambda: pma.Potential(lambda _x: sys.exit(7), 2), "the potential raised SystemExit: 7"),
        (lambda: pma.Potential(quadratic, 2, failing), "gradient raised RuntimeError: out of che"),
        (lambda: pma.Potential(quadratic, 2, lambda _x: "a"), "what the gradient returns must"),
        (lambda: pma.Potential(failing_on_many, 2).support(1e-9), "raised KeyError: 'late'; it is"),
        (lambda: pma.Potential(quadratic, 2).sample(-1), "n must be a whole number"),
    ],
)
def test_potentials(make, message):
    refuses(make, message)


def test_the_users_own_exception_is_the_cause():
    with pytest.raises(pma.InputError, match="raised RuntimeError: out of cheese") as caught:
        pma.Potential(failing, 2)
    assert isinstance(caught.value.__cause__, RuntimeError)


# ------------------------------------------------------------------------------------ solve


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (("a",), {}, r"problem must be a TransportProblem\(reference, target\), got str"),
        ((None,), {}, "got NoneType"),
        ((SOLVER,), {}, "problem must be .* got GridSolver"),
        ((pma.TransportProblem,), {}, "got the class TransportProblem"),
        (("P", "grid"), {}, "solver must be a solver such as GridSolver.* got str"),
        (("P", pma.GridSolver), {}, "got the class GridSolver"),
        (("P", (16, 16)), {}, "solver must be .* got tuple"),
        (("P", SOLVER), {"initial": "a.h5"}, r"got str; a file is read by load\(path\)"),
        (("P", SOLVER), {"initial": np.eye(2)}, "initial must be a Solution or a map .* ndarray"),
        (("P", SOLVER), {"initial": pma.Identity}, "got the class Identity"),
        (
            ("P", SOLVER),
            {"initial": pma.Identity(1)},
            "dimension 1 and the problem has dimension 2",
        ),
        (("P", SOLVER), {"trackers": 3}, "trackers is a list of trackers, got int"),
        (("P", SOLVER), {"trackers": pma.Progress()}, "put a single one into brackets"),
        (("P", SOLVER), {"trackers": [pma.Progress]}, "a tracker has the methods"),
        (("P", SOLVER), {"progress": "yes"}, "progress is True, False, None or a Progress"),
        (("P", SOLVER), {"checkpoint": 3}, "a file is given by its name, a str or Path; got 3"),
        (("P", SOLVER), {"checkpoint": "."}, r"cannot write \.: it is a folder"),
    ],
)
def test_solve(problem, arguments, settings, message):
    given = [problem if a == "P" else a for a in arguments]
    refuses(lambda: pma.solve(*given, **settings), message)


def test_solve_many(problem):
    refuses(lambda: pma.solve_many(problem, SOLVER), "takes a list of problems, got TransportPro")
    refuses(lambda: pma.solve_many(3), "takes a list of problems, got int")
    refuses(lambda: pma.solve_many(["a"]), "problem must be a TransportProblem")


def test_periodic_measures_have_a_period(problem):
    solver = pma.GridSolver(shape=(16, 16), boundary="periodic")
    refuses(lambda: pma.solve(problem, solver), "the target lives on all of space; give its perio")
    half = pma.TransportProblem(PLANE, pma.Uniform(SQUARE))
    refuses(lambda: pma.solve(half, solver), "the reference lives on .* reference_box=")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pma.every(steps="a"), r"every\(steps='a'\): the interval must be a positive"),
        (lambda: pma.Progress("a"), r"every\(seconds='a'\): the interval must be a positive"),
        (lambda: pma.at_times(["a"]), r"at_times\(\) takes a list of times, got \['a'\]"),
        (lambda: pma.at_times(3), r"at_times\(\) takes a list of times, got 3"),
        (lambda: pma.catalog.get("Two_Mode"), "did you mean 'two_modes'. It has cosine_square"),
        (lambda: pma.catalog.get(None), "the catalog has no problem None; it has cosine_square"),
    ],
)
def test_triggers_and_names(make, message):
    with pytest.raises(pma.InputError, match=message):
        make()


# ------------------------------------------------------------------------------------ files


def test_files_to_write(tmp_path):
    file = tmp_path / "a.h5"
    file.write_text("old")
    refuses(lambda: check_writable(None), "a file is given by its name, a str or Path; got None")
    refuses(lambda: check_writable(""), "cannot write to '': that is no name of a file")
    refuses(lambda: check_writable("a\0b"), "that is no name of a file")
    refuses(lambda: check_writable(tmp_path), "it is a folder; give the name of a file in it")
    refuses(lambda: check_writable(tmp_path / "no" / "x"), "the folder .*no does not exist; create")
    refuses(lambda: check_writable(file / "x"), "the folder .*a.h5 does not exist")
    refuses(lambda: check_writable(os.devnull), "it is no plain file; give the name of one")
    with pytest.raises(pma.InputError, match=r"x: File name too long"):
        check_writable(tmp_path / ("x" * 300))
    file.chmod(0o444)
    refuses(lambda: check_writable(file), "the file is read-only; give another name, or allow")
    file.chmod(0o644)
    link = tmp_path / "link.h5"
    link.symlink_to(file)
    assert check_writable(link) == file
    refuses(lambda: check_outputs([file, None, link], []), r"two results go to .*link\.h5")
    refuses(lambda: check_outputs([link], [None, file]), "it is a file that is read; give another")
    refuses(lambda: check_room(file, 1 << 70), r"needs about 1\.1e\+12 GiB and .* are free in")


def test_a_long_name_leaves_room_for_the_temporary_one(tmp_path):
    file = tmp_path / ("x" * 250 + ".h5")
    with replacing(file) as temporary:
        temporary.write_text("new")
    assert file.read_text() == "new"


def write_and_fail(path, error):
    path.write_text("half")
    raise error


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), OSError("odd")])
def test_a_failed_write_says_so_and_leaves_the_old_file(tmp_path, error):
    file = tmp_path / "a.txt"
    file.write_text("old")
    with (
        pytest.raises(OSError, match=r"cannot write .*a\.txt: (No space|odd).*nothing was left"),
        replacing(file) as temporary,
    ):
        write_and_fail(temporary, error)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_names_of_solution_files(tmp_path):
    refuses(lambda: pma.load(None), "a file is given by its name, a str or Path; got None")
    refuses(lambda: pma.load(tmp_path), "is a folder; give the name of a file in it")


def change(name, value):
    def apply(file):
        del file[name]
        file[name] = value

    return apply


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: f.attrs.__setitem__("schema_version", "abc"), "its schema_version is 'abc'"),
        (lambda f: f.attrs.__setitem__("schema_version", [1, 2]), "its schema_version is array"),
        (lambda f: f.attrs.__setitem__("schema_version", -1), "its schema_version is"),
        (change("state/matrix", np.eye(3)), r"quadratic part .* \(3, 3\)"),
        (change("solution/T", np.zeros(3)), r"/solution/T has shape \(3,\) on a grid of \(16, 12"),
        (change("state/correction", np.zeros((3, 3, 3))), "does not fit a box with 2 axes"),
        (
            change(
                "problem/toml",
                '[reference]\nkind = "gaussian"\nmean = 0\ncov = 1\n'
                '[target]\nkind = "gaussian"\nmean = 0\ncov = 1\n',
            ),
            "its map has dimension 2 and its problem dimension 1",
        ),
        (change("problem/toml", "[refe"), "is not valid TOML"),
    ],
)
def test_damaged_solution_files(tmp_path, solution, damage, message):
    path = tmp_path / "s.h5"
    solution.save(path)
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(pma.FileFormatError, match=message):
        pma.load(path)


def test_bytes_at_fault_anywhere_are_one_kind_of_error(tmp_path, solution):
    solution.save(tmp_path / "s.h5")
    whole = bytearray((tmp_path / "s.h5").read_bytes())
    path = tmp_path / "damaged.h5"
    for seed in range(40):
        damaged = bytearray(whole)
        for at in np.random.default_rng(seed).integers(0, len(whole), 40):
            damaged[at] ^= 255
        path.write_bytes(damaged)
        try:
            pma.load(path)
        except pma.FileFormatError:
            continue


def test_points_files(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("a,a,b\n1,2,3\n4,5,6\n")
    refuses(lambda: PointReader(None), "a file is given by its name, a str or Path; got None")
    refuses(lambda: PointReader(table, ["a"]), "several columns 'a'; choose by numbers, from 0")
    refuses(lambda: PointReader(table, [7]), "give names, or numbers from 0 to 2")
    for suffix in ("npy", "npz"):
        false = table.with_suffix(f".{suffix}")
        false.write_bytes(table.read_bytes())
        refuses(lambda false=false: read_points(false), f"as {suffix}; it is damaged, of another k")
        with pytest.raises(pma.InputError) as caught:
            read_points(false)
        assert "allow_pickle" not in str(caught.value), "no advice to run code"
    with h5py.File(tmp_path / "many.h5", "w") as file:
        for k in range(20):
            file[f"d{k:02}"] = np.zeros((2, 2))
    refuses(lambda: read_points(tmp_path / "many.h5"), "d07 and 12 more.* say which with key=")
    refuses(lambda: PointWriter(tmp_path / "x.npy", 10**15, 2), "GiB are free in .*; write less")
    assert not (tmp_path / "x.npy").exists()


# ------------------------------------------------------------------------------------- TOML

GAUSSIAN = '[reference]\nkind = "gaussian"\nmean = [0, 0]\ncov = 1.0\n'


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            'kind = "uniform"\nbox = [[0, 1]]\nfloor = 1',
            r"unknown key `floor` .*\(allowed: kind, bo",
        ),
        ('kind = "uniform"', r"missing key `box` - at `\$.target`"),
        (
            'kind = "unifrom"',
            r"'unifrom' .*\(allowed: gaussian, .*, samples, standardised, uniform\)",
        ),
        ("kind = 3", r"at `\$.target.kind` \(allowed: gaussian, gaussian_mixture"),
        ("mean = 3", r"missing key `kind` - at `\$.target` \(allowed: gaussian, "),
        (
            'kind = "potential"\nfunction = "m:f"\ndim = 2\nframework = "jax"',
            "allowed: numpy, torch",
        ),
        ('kind = "uniform"\nbox = 3', r"Expected `list`, got `int` - at `\$.target.box`"),
        ('kind = "samples"\npoints = [[1, 2], [3]]', r"equal length.* at `\$.target.points`"),
        (
            'kind = "grid_density"\nvalues = [[1, 2], [3]]\nbox = [[0, 1], [0, 1]]',
            r"equal length.* at `\$.target.values`",
        ),
        ('kind = "samples"\npath = "."', r"path '\.' is a folder.* at `\$.target.path`"),
        ('kind = "samples"\npath = "no.csv"', "relative to the folder of the TOML file"),
    ],
)
def test_problems_in_toml(tmp_path, target, message):
    refuses(lambda: problem_from_toml(f"{GAUSSIAN}[target]\n{target}", tmp_path), message)


def test_solver_tables_name_what_is_allowed():
    from parabolic_ma.config import parse_config

    text = 'catalog = "two_modes"\n[solver]\nkind = "grid"\nshape = 16\n'
    for line, message in {
        'tol = "fine"': r"invalid value 'fine' - at `\$.solver.tol` \(allowed: discr.*, a number\)",
        'side = "refrence"': r"\(allowed: auto, reference, target\)",
        "x = 1": r"unknown key `x` - at `\$.solver` \(allowed: kind, shape, side, ",
    }.items():
        refuses(lambda line=line: parse_config(text + line), message)


@pytest.mark.parametrize(
    ("module", "name", "message"),
    [
        (
            "raise ValueError('at import')",
            "bad_module:f",
            "cannot be imported: at import; it is lo",
        ),
        ("def f(x) return", "bad_syntax:f", "cannot be imported: expected ':'"),
        ("import no_such_module_here", "bad_import:f", "No module named 'no_such_module_here'"),
        ("", "../m:f", 'must be "module:name", such as "model:potential"'),
        ("", "m", 'must be "module:name"'),
        ("", ":f", 'must be "module:name"'),
    ],
)
def test_functions_of_the_user(tmp_path, module, name, message):
    (tmp_path / f"{Path(name).name.partition(':')[0] or 'x'}.py").write_text(module)
    text = f'{GAUSSIAN}[target]\nkind = "potential"\ndim = 2\nfunction = "{name}"\n'
    refuses(lambda: problem_from_toml(text, tmp_path, allow_code=True), message)
