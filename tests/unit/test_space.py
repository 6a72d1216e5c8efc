"""Problems in space through the public interface: settings, measures, files."""

from __future__ import annotations

import numpy as np
import pytest

import parabolic_ma as pma
from parabolic_ma.grid import Box, Grid
from parabolic_ma.operators.inner import TABLE, inner_density
from parabolic_ma.solvers.grid_settings import check_fits

NORMAL = pma.Gaussian([0.0, 0.0, 0.0], 1.0)
CUBE = [(0.0, 1.0), (0.0, 2.0), (-1.0, 1.0)]


def waves(size: float, shape: tuple[int, int, int] = (12, 10, 14)) -> pma.GridDensity:
    """``1 + size`` times half a wave on each axis of a cuboid."""
    box = Box.of(CUBE)
    s = (Grid(box, shape).points() - box.lower) / box.widths
    density = 1.0 + size * np.cos(np.pi * s).prod(axis=1)
    return pma.GridDensity(density.reshape(shape), box)


def solve(reference, target, shape=(24, 24, 24), **settings):
    return pma.solve(pma.TransportProblem(reference, target), pma.GridSolver(shape, **settings))


# ------------------------------------------------------------------------------- grids


def test_tabulating_goes_slab_by_slab(monkeypatch):
    grid = Grid(Box((-1.0, 0.0, 2.0), (1.0, 3.0, 4.0)), (7, 5, 6))
    wanted = np.sin(grid.points() @ [1.0, 2.0, 3.0]).reshape(grid.shape)
    lengths = []

    def function(points):
        lengths.append(len(points))
        return np.sin(points @ [1.0, 2.0, 3.0])

    np.testing.assert_array_equal(grid.tabulate(function), wanted)
    assert lengths == [210]
    monkeypatch.setattr("parabolic_ma.grid._SLAB", 70)  # two planes of thirty cells
    np.testing.assert_array_equal(grid.tabulate(function), wanted)
    assert lengths[1:] == [60, 60, 60, 30]


def test_large_grids_are_refused_with_their_size():
    with pytest.raises(pma.InputError, match=r"4096x4096x4096 cells needs about \d+\.\d GiB"):
        check_fits((4096, 4096, 4096), 3)


@pytest.mark.parametrize(
    ("solver", "message"),
    [
        (lambda: pma.GridSolver((16,) * 4), "one, two or three whole numbers of cells"),
        (lambda: pma.GridSolver((16, 16, 7)), "each at least 8"),
        (lambda: pma.GridSolver((16,) * 3, inner="cell"), 'use inner="point"'),
        (lambda: pma.GridFlow((16,) * 3), "GridFlow works on one or two; GridSolver finds the map"),
        (lambda: pma.SinkhornFlow((16,) * 3, 0.1, 4), "SinkhornFlow works on one or two"),
        (
            lambda: pma.GridSolver((16,) * 3, target_box=[(0, 1), (0, 1)]),
            "target_box has 2 axes and",
        ),
    ],
)
def test_refusals(solver, message):
    with pytest.raises(pma.InputError, match=message):
        solver()


def test_the_grid_has_the_problem_s_dimension():
    with pytest.raises(pma.InputError, match="has 2 axes and the problem dimension 3"):
        solve(NORMAL, NORMAL, (16, 16))


# ------------------------------------------------------------------------------- measures


def test_what_is_no_gaussian_is_tabulated():
    potential = pma.Potential(lambda x: 0.25 * np.sum(x**2, axis=1) ** 2, 3)
    box = potential.support(1e-12)
    density = inner_density(potential, box, (16, 16, 16), periodic=False)
    assert density.kind == TABLE
    assert density.table.shape == (68, 68, 68)
    # 4 pi int r^2 e^{-r^4 / 4} dr = 4 pi 4^{3/4} Gamma(3/4) / 4, by the midpoint rule
    exact = np.log(4.0 * np.pi * 4.0**0.75 / 4.0 * 1.2254167024651776)
    assert density.log_normalizer == pytest.approx(exact, abs=1e-9)


def test_equal_measures_need_no_step():
    target = pma.GaussianMixture([[1.0, 0.0, 0.5], [-1.0, 0.3, 0.0]], 0.8)
    solution = solve(target, target)
    assert solution.history["newton_steps"][-1] == 0
    assert solution.w2_squared == pytest.approx(0.0, abs=1e-20)


def test_a_translation_is_exact():
    shift = np.array([1.0, -2.0, 0.5])
    one = pma.GaussianMixture([[1.0, 0.0, 0.5], [-1.0, 0.3, 0.0]], 0.8)
    two = pma.GaussianMixture(one.means + shift, 0.8)
    solution = solve(one, two)
    y = one.sample(100, 0)
    # moments by the midpoint rule on cells of h = 0.5 and s = 0.9: e^{-2 pi^2 s^2 / h^2} < 1e-24;
    # what the box cuts off, 1e-12
    np.testing.assert_allclose(solution.map(y), y + shift, atol=1e-9)
    assert solution.w2_squared == pytest.approx(float(shift @ shift), abs=1e-9)


@pytest.mark.parametrize("side", ["reference", "target"])
def test_densities_on_grids(side):
    # Both uniform but for half waves; the map and its inverse compose to the identity.
    solution = solve(waves(0.3), waves(-0.4), side=side)
    assert solution.converged
    assert solution.fields.potential.boundary == "box"
    y = solution.problem.reference.sample(200, 0)
    x = solution.map(y)
    assert Box.of(CUBE).contains(x).all()
    np.testing.assert_allclose(solution.map.inverse(x), y, atol=1e-9)
    assert abs(solution.certificate.mass_error) < 1e-2  # second order, h = 1/12 of the longest wave


def test_samples_have_their_moments():
    data = np.random.default_rng(0).standard_normal((400, 3)) @ np.diag([1.0, 0.7, 0.5])
    target = pma.Samples(data)
    solution = solve(pma.Gaussian.fitted(target), target, (32, 32, 32))
    points = solution.sample(20_000, 0)
    mean, cov = target.moments()
    error = 4 / np.sqrt(20_000) + solution.certificate.map_error / np.sqrt(np.diag(cov))
    assert (np.abs(points.mean(axis=0) - mean) <= error * np.sqrt(np.diag(cov))).all()


def test_a_torus():
    box = [(0.0, 1.0)] * 3
    wave = pma.Potential(
        lambda x: -np.log1p(0.4 * np.cos(2 * np.pi * x).prod(axis=1)), 3, normalized=True, box=box
    )
    solution = solve(pma.Uniform(box), wave, boundary="periodic")
    y = np.random.default_rng(0).uniform(size=(50, 3))
    periods = np.array([1.0, 0.0, -2.0])
    np.testing.assert_allclose(solution.map(y + periods), solution.map(y) + periods)
    # the target is even about the faces and the centre, and so is the map
    np.testing.assert_allclose(solution.map(-y), -solution.map(y), atol=1e-6)


def test_backends_agree():
    problem = pma.TransportProblem(waves(0.3), waves(-0.4))
    found = [
        pma.solve(problem, pma.GridSolver((16, 12, 20), tol=1e-7, backend=backend))
        for backend in ("numba", "numpy")
    ]
    a, b = (s.fields.gradient for s in found)
    # each is polished to 1e-7 in the residual, over a spectral gap above a tenth
    np.testing.assert_allclose(a, b, atol=1e-6)


# ------------------------------------------------------------------------------- files


@pytest.fixture(scope="module")
def solution():
    return solve(NORMAL, pma.GaussianMixture([[1.0, 0.0, 0.5], [-1.0, 0.3, 0.0]], 0.8))


def test_a_file_holds_it_all(solution, tmp_path):
    solution.save(tmp_path / "s.h5")
    loaded = pma.load(tmp_path / "s.h5")
    assert loaded.solver == solution.solver
    assert loaded.summary() == solution.summary()
    y = NORMAL.sample(50, 0)
    np.testing.assert_array_equal(loaded.map(y), solution.map(y))
    np.testing.assert_array_equal(loaded.map.inverse(y), solution.map.inverse(y))
    np.testing.assert_array_equal(loaded.log_prob(y), solution.log_prob(y))
    np.testing.assert_array_equal(loaded.fields.gradient, solution.fields.gradient)


def test_xarray_has_three_axes(solution):
    pytest.importorskip("xarray", reason="needs the extra xarray")
    data = solution.to_xarray()
    assert data["S"].dims == ("x1", "x2", "x3", "component")
    assert data["psi"].dims == ("y1", "y2", "y3")
    np.testing.assert_array_equal(data["phi"], solution.fields.potential.values())
    at = {"y1": 5, "y2": 7, "y3": 9}
    point = np.array([data[f"y{k}"][at[f"y{k}"]] for k in (1, 2, 3)])
    np.testing.assert_allclose(data["T"][at], solution.map(point), atol=1e-12)


def test_density_and_samples_fit(solution):
    x = solution.sample(2000, 0)
    # minus the mean log density of samples of the model is its entropy: within four standard
    # errors that of the target, of which the map's error of some hundredths takes little
    gap = solution.log_prob(x) + solution.problem.target.potential(x)
    assert abs(gap.mean()) < 4 * gap.std() / np.sqrt(2000) + 0.02
