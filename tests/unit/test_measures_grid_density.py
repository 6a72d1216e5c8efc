"""Densities on a grid."""

from __future__ import annotations

import numpy as np
import pytest

from parabolic_ma.grid import Box, Grid
from parabolic_ma.measures import GridDensity, Measure
from parabolic_ma.status import InputError

BOX = [(0.0, 2.0), (-1.0, 1.0)]


def bumpy(shape=(6, 5), seed=0):
    return np.random.default_rng(seed).uniform(0.5, 2.0, size=shape)


def test_values_are_normalised_and_interpolated():
    values = bumpy()
    measure = GridDensity(values, BOX)
    assert isinstance(measure, Measure)
    assert measure.values.sum() * measure.grid.cell_volume == pytest.approx(1.0, abs=1e-14)
    found = np.exp(-measure.potential(measure.grid.points())).reshape(values.shape)
    np.testing.assert_allclose(found / values, found[0, 0] / values[0, 0], rtol=1e-12)


@pytest.mark.parametrize("shape", [(9,), (6, 5), (4, 5, 3)])
def test_every_dimension(shape):
    box = [(0.0, 1.0 + k) for k in range(len(shape))]
    measure = GridDensity(bumpy(shape), box)
    x = measure.sample(30, 1)
    step = 1e-6
    for k in range(len(shape)):
        shift = step * np.eye(len(shape))[k]
        inner = np.clip(x, 2 * step, np.array(measure.box.upper) - 2 * step)
        above, below = measure.potential(inner + shift), measure.potential(inner - shift)
        # Rounding 1e-16 / 1e-6, truncation 1e-12 times third derivatives of order 1e3.
        np.testing.assert_allclose(
            measure.gradient(inner)[:, k], (above - below) / (2 * step), atol=1e-7
        )


def test_outside_is_no_mass():
    measure = GridDensity(bumpy(), BOX)
    assert measure.potential([[3.0, 0.0]])[0] == np.inf
    assert np.isfinite(measure.potential([[2.0 + 1e-12, 1.0]])[0])
    np.testing.assert_allclose(measure.gradient([[3.0, 0.2]]), measure.gradient([[2.0, 0.2]]))
    assert measure.bounded
    assert measure.support(1e-3) == Box.of(BOX)


def test_floor_lifts_zeros_and_counts_the_mass():
    values = np.ones((10, 10))
    values[:5] = 0.0
    measure = GridDensity(values, [(0, 1), (0, 1)], floor=1e-2)
    assert measure.values.min() / measure.values.max() == pytest.approx(1e-2)
    assert measure.floored_mass == pytest.approx(0.5 / 50.5)
    assert GridDensity(bumpy(), BOX).floored_mass == 0.0


def test_samples_follow_the_cells():
    values = np.array([[1.0, 3.0], [2.0, 2.0]])
    measure = GridDensity(values, [(0, 1), (0, 1)])
    points = measure.sample(40_000, 0)
    counts = np.histogram2d(points[:, 0], points[:, 1], bins=2, range=[(0, 1), (0, 1)])[0]
    # Five standard errors of a share near a quarter.
    np.testing.assert_allclose(counts / 40_000, values / 8, atol=5 * np.sqrt(0.25 / 40_000))
    mean, cov = measure.moments()
    np.testing.assert_allclose(points.mean(axis=0), mean, atol=5 * 0.3 / 200)
    np.testing.assert_allclose(np.cov(points.T), cov, atol=5 * 0.1 / 200)


def test_pictures_are_turned_upright():
    rows = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])  # 6 is at the bottom right
    measure = GridDensity.from_image(rows)
    assert measure.values.shape == (3, 2)
    assert measure.box == Box((0.0, 0.0), (1.0, 2 / 3))
    assert measure.values[2, 0] == measure.values.max()
    assert measure.values[0, 1] == measure.values.min()
    wide = GridDensity.from_image(rows, box=[(0, 3), (0, 2)], floor=0.5)
    assert wide.box == Box((0.0, 0.0), (3.0, 2.0))
    assert wide.floor == 0.5


def test_spline_converges_to_a_smooth_density():
    x = np.random.default_rng(0).uniform(size=(200, 2))

    def potential(p):
        return -np.cos(np.pi * p[:, 0]) * np.cos(2 * np.pi * p[:, 1])

    errors = []
    for n in (16, 32):
        grid = Grid(Box.of([(0, 1), (0, 1)]), (n, n))
        measure = GridDensity(np.exp(-potential(grid.points())).reshape(n, n), grid.box)
        difference = measure.potential(x) - potential(x)
        errors.append(np.ptp(difference))
    assert errors[0] / errors[1] > 12  # fourth order: 16


def test_log_concavity():
    assert GridDensity(np.ones((4, 4)), BOX).log_concave is True
    assert GridDensity([1.0, 0.1, 1.0], [(0, 1)]).log_concave is False
    grid = Grid(Box.of([(-2, 2)]), (20,))
    assert GridDensity(np.exp(-(grid.axis(0) ** 2)), grid.box).log_concave is None


def spoilt(value):
    values = bumpy((4, 4))
    values[1, 2] = value
    return values


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: GridDensity(spoilt(np.nan), BOX),
            r"values\[1, 2\] \(at x = \(0.75, 0.25\)\) is nan, and 1 of 16 values",
        ),
        (lambda: GridDensity(spoilt(np.inf), BOX), r"values\[1, 2\] .* is inf"),
        (lambda: GridDensity(spoilt(-1.0), BOX), r"finite and not negative; values\[1, 2\]"),
        (lambda: GridDensity(np.zeros((4, 4)), BOX), "all values of the density are zero"),
        (lambda: GridDensity(np.ones(4), BOX), r"values of shape \(4,\) do not fit a box with 2"),
        (lambda: GridDensity(np.ones((4, 1)), BOX), "at least 2 cells on each"),
        (lambda: GridDensity(np.ones((4, 4)), BOX, floor=1.0), "floor must be at least 0 and be"),
        (lambda: GridDensity(spoilt(0.0), BOX, floor=0.0), "a density of zero has no logarithm"),
        (lambda: GridDensity(np.full((4, 4), 1e308), BOX), "too large to be summed"),
        (lambda: GridDensity.from_image(np.ones((4, 4, 3))), r"must have shape \(height, width\)"),
    ],
)
def test_refusals(make, message):
    with np.errstate(over="ignore"), pytest.raises(InputError, match=message):
        make()
