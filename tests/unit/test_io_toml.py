"""Problems as TOML: there and back, and errors that name the place."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

import parabolic_ma as pma
from parabolic_ma.io.solver_toml import GridSolverTable, solver_from_toml, solver_to_toml
from parabolic_ma.io.toml import problem_from_toml, problem_to_toml
from parabolic_ma.io.tomltext import dump, parse

UNIT = '[reference]\nkind = "gaussian"\nmean = [0, 0]\ncov = 1\n'
LINE = '[reference]\nkind = "gaussian"\nmean = 0\ncov = 1\n'
POINTS = np.random.default_rng(5).normal(size=(40, 2)) @ np.array([[1.0, 0.4], [0.0, 0.6]])
QUERY = np.random.default_rng(6).uniform(-0.9, 0.9, size=(30, 2))


def target(text, head=UNIT, **arguments):
    return problem_from_toml(f"{head}[target]\n{text}", **arguments).target


MEASURES = {
    "gaussian": pma.Gaussian([0.1, 1 / 3], [[1.0, 0.2], [0.2, 0.7]]),
    "mixture": pma.GaussianMixture([[1.0, 0.0], [0.0, 1.0]], [0.3, 0.5], [0.1, 0.9]),
    "uniform": pma.Uniform([(-1, 1), (-2, 2)]),
    "grid": pma.GridDensity(np.random.default_rng(0).random((5, 4)), [(-1, 1), (-1, 1)], 1e-3),
    "samples": pma.Samples(POINTS),
    "weighted": pma.Samples(POINTS, np.arange(1.0, 41.0), 0.7),
    "matrix": pma.Samples(POINTS, None, [[0.1, 0.02], [0.02, 0.2]]),
}


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("swapped", [False, True])
def test_there_and_back(name, swapped):
    problem = pma.TransportProblem(pma.Gaussian([0, 0], 1.0), MEASURES[name])
    problem = problem.swap() if swapped else problem
    text, arrays = problem_to_toml(problem)
    again = problem_from_toml(text, arrays=arrays)
    side = "reference" if swapped else "target"
    first, second = getattr(problem, side), getattr(again, side)
    assert type(second) is type(first)
    # Weights and densities are normalised again: equal to rounding.
    np.testing.assert_allclose(second.potential(QUERY), first.potential(QUERY), rtol=1e-12)
    # Writing what was read gives the same text.
    assert problem_to_toml(again)[0] == text


def test_a_function_comes_back_as_its_table():
    def f(x):
        return 0.5 * np.sum(x**2, axis=1) + 0.1 * np.cos(x[:, 0])

    measure = pma.Potential(f, 2, normalized=False)
    text, arrays = problem_to_toml(pma.TransportProblem(pma.Gaussian([0, 0], 1.0), measure))
    assert 'kind = "tabulated"' in text
    assert "test_a_function_comes_back_as_its_table.<locals>.f" in text
    again = problem_from_toml(text, arrays=arrays).target
    assert isinstance(again, pma.Potential)
    x = np.random.default_rng(1).uniform(-4, 4, size=(200, 2))
    # A cubic spline of spacing h = 15/256 on a function whose fourth derivatives are at most 0.1
    # is right to 5/384 h^4 0.1 = 1.5e-8 an axis.
    assert np.abs(again.potential(x) - f(x)).max() < 1e-7
    slope = np.stack([x[:, 0] - 0.1 * np.sin(x[:, 0]), x[:, 1]], axis=1)
    assert np.abs(again.gradient(x) - slope).max() < 1e-5
    # Outside the table the potential does not fall.
    far = np.array([[20.0, 0.0], [0.0, 30.0], [-25.0, -25.0]])
    assert np.all(again.potential(far) > f(x).max())
    # A table of the table is the same table.
    _, second = problem_to_toml(pma.TransportProblem(pma.Gaussian([0, 0], 1.0), again))
    assert np.array_equal(second["target/potential"], arrays["target/potential"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mean = 1\ncov = 4", pma.Gaussian(1, 4)),
        ("mean = [1]\ncov = [4.0]", pma.Gaussian(1, 4)),
    ],
)
def test_numbers_in_one_dimension(text, expected):
    found = target(f'kind = "gaussian"\n{text}', LINE)
    assert found.mean == expected.mean
    assert found.cov == expected.cov


def test_fitted():
    problem = problem_from_toml(
        '[reference]\nkind = "gaussian"\nfitted = true\n[target]\nkind = "gaussian_mixture"\n'
        "means = [[2, 0], [-2, 0]]\ncovs = 0.5"
    )
    # variance between the components 4, within 0.5
    np.testing.assert_allclose(problem.reference.cov, [[4.5, 0], [0, 0.5]], atol=1e-14)


@pytest.mark.parametrize("suffix", ["csv", "npy", "npz", "h5"])
def test_samples_from_files(tmp_path, suffix):
    path = tmp_path / f"p.{suffix}"
    if suffix == "csv":
        table = np.column_stack([POINTS, np.arange(1, 41)])
        np.savetxt(path, table, delimiter=",", fmt="%.17g", header="a,b,w", comments="")
        extra = 'columns = ["a", "b"]\nweights = "w"'
    elif suffix == "npy":
        np.save(path, POINTS)
        extra = ""
    elif suffix == "npz":
        np.savez(path, first=POINTS, second=POINTS)
        extra = 'key = "second"'
    else:
        with h5py.File(path, "w") as file:
            file["a/b"] = POINTS
        extra = 'key = "a/b"\nbandwidth = 0.5'
    found = target(f'kind = "samples"\npath = "p.{suffix}"\n{extra}', base_dir=tmp_path)
    assert np.array_equal(found.points, POINTS)
    assert (found.weights[-1] > found.weights[0]) == (suffix == "csv")
    assert found.bandwidth == (0.5 if suffix == "h5" else None)


@pytest.mark.parametrize("suffix", ["npy", "npz", "h5", "png", "values"])
def test_grid_densities(tmp_path, suffix):
    values = np.arange(1.0, 13.0).reshape(4, 3)
    box = "box = [[0, 4], [0, 3]]"
    path = tmp_path / f"d.{suffix}"
    place = f'path = "d.{suffix}"\n'
    if suffix == "npy":
        np.save(path, values)
    elif suffix == "npz":
        np.savez(path, only=values)
    elif suffix == "h5":
        with h5py.File(path, "w") as file:
            file["only"] = values
    elif suffix == "png":
        image = pytest.importorskip("PIL.Image")
        rows = (values.T[::-1]).astype(np.uint8)
        image.fromarray(rows).save(path)
        place = 'image = "d.png"\n'
    else:
        place = f"values = {values.tolist()}\n"
    found = target(f'kind = "grid_density"\n{place}{box}\nfloor = 1e-4', base_dir=tmp_path)
    np.testing.assert_allclose(found.values, values / values.sum(), rtol=1e-14)
    assert found.floor == 1e-4


def test_code_runs_only_where_it_is_allowed(tmp_path):
    (tmp_path / "my_model_for_toml.py").write_text(
        "import numpy as np\n"
        "def f(x):\n    return np.sum(x**2, axis=1)\n"
        "def g(x):\n    return 2 * x\n"
        "number = 3\n"
    )
    text = (
        'kind = "potential"\nfunction = "my_model_for_toml:f"\ngradient = "my_model_for_toml:g"\n'
    )
    with pytest.raises(pma.InputError, match=r"--allow-code.*at `\$.target.function`"):
        target(text + "dim = 2", base_dir=tmp_path)
    found = target(text + "dim = 2", base_dir=tmp_path, allow_code=True)
    assert found.potential(np.array([[1.0, 2.0]])) == 5.0
    for name, message in {
        "my_model_for_toml": 'function must be "module:name"',
        "my_model_for_toml:nothing": "cannot be imported: .*no attribute 'nothing'",
        "no_such_module_at_all:f": "cannot be imported: No module",
        "my_model_for_toml:number": "is not a function, it is a int",
    }.items():
        with pytest.raises(pma.InputError, match=message):
            target(
                f'kind = "potential"\nfunction = "{name}"\ndim = 2',
                base_dir=tmp_path,
                allow_code=True,
            )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('kind = "gausian"', r"invalid value 'gausian' - at `\$.target.kind`"),
        ("mean = 1", r"missing key `kind` - at `\$.target`"),
        ('kind = "gaussian"\nmena = 1', r"unknown key `mena` - at `\$.target`"),
        ('kind = "gaussian"\nmean = [0, 0]\ncov = "1"', r"`str` - at `\$.target.cov`"),
        ('kind = "gaussian"\nmean = [0, 0]\ncov = -1', r"- at `\$.target.cov`"),
        ('kind = "gaussian"\nmean = [0, 0]', r"needs mean and cov, or fitted = true"),
        ('kind = "gaussian"\nmean = [0, 0]\nfitted = true', r"drop them - at `\$.target.fitted`"),
        ('kind = "gaussian"\nmean = 0\ncov = 1', r"problem: .*- at `\$`"),
        ('kind = "gaussian_mixture"\nmeans = [[0, 0]]', r"missing key `covs`"),
        (
            'kind = "gaussian_mixture"\nmeans = [[0, 0]]\ncovs = [[1, 2], [3, "x"]]',
            r"`\$.target.covs\[...\]\[...\]`|`\$.target.covs",
        ),
        ('kind = "uniform"\nbox = [[1, 0], [0, 1]]', r"at `\$.target"),
        ('kind = "uniform"\nbox = [[0, 1, 2]]', r"`\$.target.box\[0\]`"),
        ('kind = "samples"', r"exactly one of points, path, stored; got none - at `\$.target`"),
        ('kind = "samples"\npath = "no.csv"', r"names no file .*- at `\$.target.path`"),
        ('kind = "samples"\nstored = "x"', r"only has a meaning inside a solution file"),
        ('kind = "samples"\npoints = [[0, 0]]', r"at least two points.*at `\$.target"),
        (
            'kind = "samples"\npoints = [[0, 0], [1, 2], [2, 0]]\nweights = "w"',
            r"weights names a column .*- at `\$.target.weights`",
        ),
        ('kind = "grid_density"\nvalues = [[1, 2], [3, 4]]', r"needs box = "),
        ('kind = "grid_density"\nbox = [[0, 1]]', r"exactly one of values, path, image, stored"),
        (
            'kind = "grid_density"\nvalues = [[1, 2], [3, -4]]\nbox = [[0, 1], [0, 1]]',
            r"values\[1, 1\].*at `\$.target",
        ),
        ('kind = "potential"\nfunction = "m:f"\ndim = 2', r"--allow-code"),
    ],
)
def test_errors_name_the_place(text, message):
    with pytest.raises(pma.InputError, match=message):
        target(text)


def test_errors_of_whole_documents():
    with pytest.raises(pma.FileFormatError, match=r"problem is not valid TOML: .*line 2"):
        problem_from_toml("a = 1\nb = = 2\n")
    with pytest.raises(pma.InputError, match="missing key `target`"):
        problem_from_toml(UNIT)
    with pytest.raises(pma.InputError, match="unknown key `extra`"):
        problem_from_toml(f"extra = 1\n{UNIT}")
    both = '[reference]\nkind = "gaussian"\nfitted = true\n'
    with pytest.raises(pma.InputError, match="both measures are fitted to each other"):
        problem_from_toml(both + both.replace("reference", "target"))


def test_errors_of_files(tmp_path):
    (tmp_path / "bad.npy").write_bytes(b"nothing")
    (tmp_path / "bad.txt").write_text("1 2")
    (tmp_path / "bad.png").write_bytes(b"nothing")
    np.savez(tmp_path / "two.npz", a=np.ones((2, 2)), b=np.ones((2, 2)))
    box = "box = [[0, 1], [0, 1]]"
    for line, message in {
        'path = "bad.npy"': "bad.npy cannot be read",
        'path = "bad.txt"': "must end in .npy, .npz, .h5 or .hdf5",
        'path = "two.npz"': "key is needed: .* holds a, b",
        'path = "two.npz"\nkey = "c"': "key 'c' is not in .*, which holds a, b",
        'image = "bad.png"': "bad.png cannot be read",
    }.items():
        with pytest.raises(pma.InputError, match=message):
            target(f'kind = "grid_density"\n{line}\n{box}', base_dir=tmp_path)


def test_solver_there_and_back():
    solver = pma.GridSolver(
        shape=(32, 48), side="target", tol=1e-9, reference_box=[(-1, 1), (-2, 2)], richardson=True
    )
    assert solver_from_toml(solver_to_toml(solver)) == solver
    assert solver_from_toml(solver_to_toml(pma.GridSolver(shape=64))) == pma.GridSolver(shape=64)


def test_the_solver_table_has_every_setting():
    import dataclasses

    settings = {f.name for f in dataclasses.fields(pma.GridSolver) if f.init}
    assert set(GridSolverTable.__struct_fields__) == settings


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('side = "left"', r"invalid value 'left' - at `\$.solver.side`"),
        ("shape = []", r"length >= 1 - at `\$.solver.shape`"),
        ("shape = [8, 0]", r"`int` >= 1 - at `\$.solver.shape\[1\]`"),
        ('tol = "small"', r"\$.solver.tol"),
        ("steps = 3", r"unknown key `steps` - at `\$.solver`"),
    ],
)
def test_solver_errors_name_the_place(line, message):
    shape = "" if line.startswith("shape") else "shape = [32, 32]\n"
    with pytest.raises(pma.InputError, match=message):
        solver_from_toml(f'[solver]\nkind = "grid"\n{shape}{line}')


def test_dump_round_trips_awkward_values():
    table = {
        "text": 'quote " backslash \\ newline \n tab \t é \x7f',
        "numbers": [0.1, 1e-300, 1e22, float("inf"), -3, True],
        "array": np.array([[1, 2], [3, 4]]),
        "nothing": None,
        "sub": {"x": np.float64(1 / 3)},
    }
    again = parse(dump(table), "test")
    assert again == {
        "text": table["text"],
        "numbers": table["numbers"],
        "array": [[1, 2], [3, 4]],
        "sub": {"x": 1 / 3},
    }
    with pytest.raises(pma.InputError, match="type object has no TOML form"):
        dump({"x": object()})
