"""Maps on a grid in space: evaluation, inversion, continuation, conjugates."""

from __future__ import annotations

import numpy as np
import pytest

from parabolic_ma.grid import Box, Grid
from parabolic_ma.maps import Affine
from parabolic_ma.operators.grid_map import GridMap
from parabolic_ma.operators.legendre import discrete_conjugate, polished_conjugate
from parabolic_ma.solution import GridPotential

BOX = Box((-1.0, 2.0, 0.0), (1.5, 6.0, 2.0))
SHAPE = (10, 13, 8)
MATRIX = np.array([[2.0, 0.6, -0.2], [0.6, 0.9, 0.1], [-0.2, 0.1, 1.3]])
CENTER = np.array([0.3, 3.5, 1.1])
IMAGE = np.array([-4.0, 1.0, 0.5])
ROUNDING = 1e-11  # roundings of numbers up to 60, times a condition number of 10


def quadratic(boundary: str) -> GridPotential:
    return GridPotential(Grid(BOX, SHAPE), np.zeros(SHAPE), MATRIX, CENTER, IMAGE, boundary)


def smooth(boundary: str, size: float = 1.0) -> GridPotential:
    """Trigonometric corrections that suit the boundary; the map is monotone by far."""
    grid = Grid(BOX, SHAPE)
    s, t, r = ((grid.points() - BOX.lower) / BOX.widths).T
    if boundary == "periodic":
        correction = 0.01 * np.cos(2 * np.pi * (s + t)) + 0.02 * np.sin(2 * np.pi * (t - r))
    else:
        correction = 0.05 * np.cos(np.pi * s) * np.cos(np.pi * t) * np.cos(np.pi * r)
        correction += 0.01 * np.cos(2 * np.pi * t)
    matrix = MATRIX if boundary == "free" else np.diag([1.5, 0.8, 1.1])
    correction = size * correction.reshape(SHAPE)
    return GridPotential(grid, correction, matrix, CENTER, IMAGE, boundary)


@pytest.mark.parametrize("boundary", ["box", "free", "periodic"])
@pytest.mark.parametrize("side", ["reference", "target"])
def test_a_quadratic_is_an_affine_map_everywhere(
    boundary: str, side: str, rng: np.random.Generator
) -> None:
    potential = quadratic(boundary)
    mapping = GridMap(potential, side)
    own = Affine(MATRIX, IMAGE - MATRIX @ CENTER)
    inverse = np.linalg.inv(MATRIX)
    exact = own if side == "reference" else Affine(inverse, -inverse @ own.b)
    y = rng.standard_normal((300, 3)) * 3
    reference = CENTER + y if side == "reference" else IMAGE + y
    target = exact(reference)
    np.testing.assert_allclose(mapping(reference), target, atol=ROUNDING)
    np.testing.assert_allclose(mapping.inverse(target), reference, atol=ROUNDING)
    np.testing.assert_allclose(
        mapping.log_abs_det_jacobian(reference),
        exact.log_abs_det_jacobian(reference),
        atol=ROUNDING,
    )
    # the potentials, of values up to 300, agree up to a constant, opposite for the two
    psi = mapping.potential(reference) - exact.potential(reference)
    phi = mapping.conjugate(target) - exact.conjugate(target)
    np.testing.assert_allclose(psi, psi[0], atol=1e-10)
    np.testing.assert_allclose(phi, -psi[0], atol=1e-10)


@pytest.mark.parametrize("boundary", ["box", "free"])
def test_continuation_outside_the_box(boundary: str, rng: np.random.Generator) -> None:
    potential = smooth(boundary)
    mapping = GridMap(potential)
    y = np.array(BOX.center) + rng.uniform(-2, 2, (400, 3)) * BOX.widths
    face = np.clip(y, BOX.lower, BOX.upper)
    beyond = y - face
    step = beyond @ potential.matrix
    np.testing.assert_allclose(mapping(y), mapping(face) + step, atol=ROUNDING)
    np.testing.assert_allclose(
        mapping.potential(y),
        mapping.potential(face) + (mapping(face) * beyond).sum(-1) + 0.5 * (step * beyond).sum(-1),
        atol=1e-10,
    )
    assert mapping.outside(y) == np.count_nonzero(np.any(beyond != 0, axis=1)) > 300
    # every point outside is found again, whatever faces, edges and corners it lies beyond
    np.testing.assert_allclose(mapping.inverse(mapping(y)), y, atol=1e-10)


def test_a_periodic_map_shifts_with_its_periods(rng: np.random.Generator) -> None:
    potential = smooth("periodic")
    mapping = GridMap(potential)
    y = np.array(BOX.lower) + rng.uniform(size=(200, 3)) * BOX.widths
    periods = rng.integers(-3, 4, (200, 3)) * BOX.widths
    x = mapping(y)
    np.testing.assert_allclose(mapping(y + periods), x + periods @ potential.matrix, atol=1e-11)
    np.testing.assert_allclose(
        mapping.inverse(x + periods @ potential.matrix), y + periods, atol=1e-11
    )
    assert mapping.outside(y + periods) == 0


@pytest.mark.parametrize("boundary", ["box", "free", "periodic"])
@pytest.mark.parametrize("outside", [False, True])
def test_the_jacobian_is_the_derivative_of_the_map(
    boundary: str, outside: bool, rng: np.random.Generator
) -> None:
    mapping = GridMap(smooth(boundary))
    reach = 3.0 if outside else 0.98
    y = np.array(BOX.center) + 0.5 * reach * rng.uniform(-1, 1, (100, 3)) * BOX.widths
    y += 1e-4  # no kink within a step
    jacobian = mapping.own_jacobian(y)
    for k in range(3):
        step = np.zeros(3)
        step[k] = 1e-5
        difference = (mapping(y + step) - mapping(y - step)) / 2e-5
        # a jump of the third derivative within the step: its size, 3, times the step; rounding
        # 1e-15 * 10 / 1e-5
        np.testing.assert_allclose(jacobian[..., k], difference, atol=5e-5)
    np.testing.assert_allclose(
        mapping.log_abs_det_jacobian(y), np.linalg.slogdet(jacobian)[1], atol=1e-12
    )


def test_points_that_are_no_numbers(rng: np.random.Generator) -> None:
    mapping = GridMap(smooth("box"))
    x = rng.standard_normal((5, 3))
    x[2, 1] = np.nan
    x[3, 0] = np.inf
    found = mapping.inverse(x)
    assert np.isnan(found[2:4]).all()
    assert np.isfinite(found[[0, 1, 4]]).all()


def test_conjugates_are_maxima(rng: np.random.Generator) -> None:
    potential = smooth("free")
    mapping = GridMap(potential)
    x = mapping(np.array(BOX.center) + 0.3 * rng.uniform(-1, 1, (50, 3)) * BOX.widths)
    phi = mapping.conjugate(x)
    nodes = potential.grid.points()
    over_nodes = (x @ nodes.T - potential.values().ravel()).max(axis=1)
    assert (phi >= over_nodes - 1e-12).all()
    # and above it by no more than a Hessian of at most 3 over half a cell's diagonal
    assert (phi <= over_nodes + 0.5 * 3.0 * 0.25 * sum(h * h for h in mapping_spacing())).all()


def mapping_spacing() -> tuple[float, ...]:
    return Grid(BOX, SHAPE).spacing


def test_the_linear_time_transform_is_the_maximum(rng: np.random.Generator) -> None:
    nodes = [np.sort(rng.standard_normal(n)) for n in (5, 7, 6)]
    slopes = [np.sort(rng.standard_normal(m)) for m in (4, 3, 5)]
    values = rng.standard_normal((5, 7, 6))
    conjugate, where = discrete_conjugate(values, nodes, slopes)
    points = np.stack(np.meshgrid(*nodes, indexing="ij"), axis=-1).reshape(-1, 3)
    for index in np.ndindex(4, 3, 5):
        x = np.array([s[i] for s, i in zip(slopes, index, strict=True)])
        wanted = points @ x - values.ravel()
        np.testing.assert_allclose(conjugate[index], wanted.max(), rtol=1e-12)
        assert values[tuple(where[index])] == values.ravel()[wanted.argmax()]


@pytest.mark.parametrize("boundary", ["free", "periodic"])
def test_polished_conjugates_are_at_the_inverse(boundary: str) -> None:
    potential = smooth(boundary)
    mapping = GridMap(potential)
    slopes = [IMAGE[k] + np.linspace(-0.4, 0.4, 4) for k in range(3)]
    conjugate, maximisers = polished_conjugate(potential, slopes)
    x = np.stack(np.meshgrid(*slopes, indexing="ij"), axis=-1).reshape(-1, 3)
    np.testing.assert_allclose(mapping.inverse(x), maximisers.reshape(-1, 3), atol=1e-9)
    np.testing.assert_allclose(mapping.conjugate(x), conjugate.ravel(), atol=1e-11)


def test_where_the_spline_is_not_convex_inverses_are_maxima(rng: np.random.Generator) -> None:
    mapping = GridMap(smooth("box", size=6.0))
    x = IMAGE + rng.uniform(-1, 1, (300, 3))
    y = mapping.inverse(x)
    inside = BOX.contains(y)
    low = np.linalg.eigvalsh(mapping.own_jacobian(y[inside]))[:, 0]
    assert (low > -1e-6).all()
    np.testing.assert_allclose(mapping(y[inside]), x[inside], atol=1e-9)
