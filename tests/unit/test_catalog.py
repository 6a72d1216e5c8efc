"""The catalog of problems, and the data that comes with the package."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pytest

from parabolic_ma import catalog, datasets
from parabolic_ma.grid import Box, Grid
from parabolic_ma.measures import Measure
from parabolic_ma.status import InputError

# The others are posteriors, tested in test_posteriors.
GRIDDED = [name for name in catalog.names() if catalog.get(name).solver]


@pytest.mark.parametrize("name", catalog.names())
def test_every_problem_can_be_built(name):
    entry = catalog.get(name)
    problem = entry.problem()
    assert entry.name == name
    assert entry.summary.endswith(".")
    assert catalog.description(name) == entry.summary
    assert not entry.solver or len(entry.solver["shape"]) == problem.dim
    for measure in (problem.reference, problem.target):
        assert isinstance(measure, Measure)
        gradient = measure.gradient(np.array([measure.support(1e-3).center]))
        assert gradient.shape == (1, problem.dim)
        assert np.isfinite(gradient).all()
    assert (entry.w2_squared is None) == (entry.w2_error is None)


@pytest.mark.parametrize("name", [n for n in GRIDDED if catalog.get(n).log_evidence])
def test_unnormalised_targets_have_the_evidence_stated(name):
    problem = catalog.load(name)
    # The funnel and the banana need a fine grid: widths 0.03 and 0.3 / 8 where they are thin.
    tail, cells = (1e-7, (600, 4000)) if name in {"funnel", "banana"} else (1e-10, (400, 400))
    grid = Grid(problem.target.support(tail), cells)
    log_evidence = np.log(np.exp(-problem.target.potential(grid.points())).sum() * grid.cell_volume)
    assert log_evidence == pytest.approx(catalog.get(name).log_evidence, abs=1e-6)


@pytest.mark.parametrize("name", ["cosine_square", "four_spots"])
def test_densities_on_the_square_are_normalised(name):
    problem = catalog.load(name)
    for measure in (problem.reference, problem.target):
        # Even about the faces, so the midpoint rule is accurate; the spots' tails at the faces
        # (5 standard deviations) leave h^2 f' / 24 of order 1e-8.
        grid = Grid(Box.of([(0, 1), (0, 1)]), (400, 400))
        mass = np.exp(-measure.potential(grid.points())).sum() * grid.cell_volume
        assert mass == pytest.approx(1.0, abs=1e-7)


@pytest.mark.parametrize("name", [n for n in catalog.names() if catalog.get(n).exact_map])
def test_known_maps_carry_the_reference_to_the_target(name):
    entry = catalog.get(name)
    problem = entry.problem()
    y = problem.reference.sample(50, 0)
    if problem.reference.bounded:
        y = 0.02 + 0.96 * y
    step = 1e-5
    columns = [
        (entry.exact_map(y + step * e) - entry.exact_map(y - step * e)) / (2 * step)
        for e in np.eye(problem.dim)
    ]
    jacobian = np.stack(columns, axis=-1)
    np.testing.assert_allclose(jacobian, np.swapaxes(jacobian, 1, 2), atol=1e-7)
    _, log_det = np.linalg.slogdet(jacobian)
    balance = (
        -problem.target.potential(entry.exact_map(y)) + problem.reference.potential(y) + log_det
    )
    # Differences of the map: step^2 T''' / 6, with T''' up to 1e4 in the gaps of the mixtures.
    np.testing.assert_allclose(balance, 0.0, atol=1e-4)


@pytest.mark.parametrize(
    "name", [n for n in catalog.names() if catalog.get(n).exact_map and n != "gaussian"]
)
def test_known_distances_are_those_of_the_known_maps(name):
    entry = catalog.get(name)
    problem = entry.problem()
    cells = {1: (20_000,), 2: (200, 200), 3: (56, 56, 56)}[problem.dim]
    grid = Grid(problem.reference.support(1e-12), cells)
    y = grid.points()
    density = np.exp(-problem.reference.potential(y)) * grid.cell_volume
    found = np.sum(np.sum((entry.exact_map(y) - y) ** 2, axis=1) * density)
    # Midpoint rule: exact on the even square; h^2 times the kinks' jumps of slope (1e3) in 1D; in
    # space the map between the two modes is analytic in a narrow strip only: 2e-4 with 40 cells on
    # an axis, and its power 56 / 40.
    accuracy = {1: 1e-4, 2: 1e-12, 3: 2e-5}[problem.dim]
    assert found == pytest.approx(entry.w2_squared, rel=accuracy)


@pytest.mark.parametrize("name", ["double_well", "funnel", "banana", "bioassay"])
def test_given_gradients_agree_with_differences(name):
    target = catalog.load(name).target
    x = np.random.default_rng(0).normal(size=(20, 2))
    difference = target._differences(x)
    # Rounding eps f / h = 1e-16 * 1e4 / 6e-6 at the steepest, relative to slopes of 1e3.
    np.testing.assert_allclose(target.gradient(x), difference, rtol=1e-6, atol=1e-6)


def test_rings_are_turned_but_the_first():
    first = catalog.load("ring").target.means[0]
    turned = catalog.load("ring_sharp").target.means[0]
    np.testing.assert_allclose(first, [3, 0])
    np.testing.assert_allclose(turned, [3 * np.cos(0.1), 3 * np.sin(0.1)])


def test_unknown_name():
    with pytest.raises(InputError, match="the catalog has no problem 'moon'; it has cosine_square"):
        catalog.get("moon")


def test_settings_are_read_only():
    with pytest.raises(TypeError):
        catalog.get("ring").solver["shape"] = (8, 8)


def test_data_sets():
    assert datasets.old_faithful().shape == (272, 2)
    assert datasets.bioassay().shape == (4, 3)
    for name in datasets.PICTURES:
        for size in (32, 64, 128):
            picture = datasets.picture(name, size)
            assert picture.shape == (size, size)
            assert picture.min() > 0
    first, second = datasets.colour_samples()
    assert first.shape == second.shape == (8000, 3)
    assert first.max() <= 1.0
    for name in datasets.COLOUR_PICTURES:
        picture = datasets.colour_picture(name)
        assert picture.shape == (128, 128, 3)
        assert 0.0 <= picture.min() < picture.max() <= 1.0


def test_checksums_are_those_of_the_notice():
    notice = datasets.data_path("README.md").read_text()
    rows = re.findall(r"^\| `(\S+)` \|.*`([0-9a-f]{64})` \|$", notice, re.MULTILINE)
    assert len(rows) == 11
    for name, checksum in rows:
        assert hashlib.sha256(datasets.data_path(name).read_bytes()).hexdigest() == checksum


def test_unknown_data():
    with pytest.raises(
        InputError, match=r"no data file 'moon.npz' .* there are arK.csv, bioassay.csv, col"
    ):
        datasets.data_path("moon.npz")
    with pytest.raises(InputError, match="there is no picture 'moon' with 64 pixels on a side"):
        datasets.picture("moon")
    with pytest.raises(InputError, match="there is no picture 'moon' in colour"):
        datasets.colour_picture("moon")
