from __future__ import annotations

import numpy as np
import pytest

from parabolic_ma.grid import Box, Grid
from parabolic_ma.maps import Affine, TransportMap
from parabolic_ma.operators.grid_map import GridMap
from parabolic_ma.operators.legendre import discrete_conjugate
from parabolic_ma.solution import GridPotential
from parabolic_ma.status import InputError

BOX = Box((-1.0, 2.0), (1.5, 6.0))
SHAPE = (14, 25)
MATRIX = np.array([[2.0, 0.6], [0.6, 0.5]])
CENTER = np.array([0.3, 3.5])
IMAGE = np.array([-4.0, 1.0])
ROUNDING = 1e-12  # roundings of numbers up to 40, times a condition number of 10


def quadratic(dim: int, boundary: str) -> GridPotential:
    grid = Grid(Box(BOX.lower[:dim], BOX.upper[:dim]), SHAPE[:dim])
    return GridPotential(
        grid, np.zeros(grid.shape), MATRIX[:dim, :dim], CENTER[:dim], IMAGE[:dim], boundary
    )


def smooth(boundary: str, shape: tuple[int, int] = SHAPE) -> GridPotential:
    """Trigonometric corrections that suit the boundary; the map is monotone by far."""
    grid = Grid(BOX, shape)
    points = grid.points()
    s, t = ((points - BOX.lower) / BOX.widths).T
    if boundary == "periodic":
        correction = 0.01 * np.cos(2 * np.pi * (s + t)) + 0.02 * np.sin(2 * np.pi * t)
    else:
        correction = 0.05 * np.cos(np.pi * s) * np.cos(np.pi * t) + 0.01 * np.cos(2 * np.pi * t)
    matrix = MATRIX if boundary == "free" else np.diag([1.5, 0.8])
    return GridPotential(grid, correction.reshape(shape), matrix, CENTER, IMAGE, boundary)


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("boundary", ["box", "free", "periodic"])
@pytest.mark.parametrize("side", ["reference", "target"])
def test_a_quadratic_is_an_affine_map_everywhere(
    dim: int, boundary: str, side: str, rng: np.random.Generator
) -> None:
    potential = quadratic(dim, boundary)
    mapping = GridMap(potential, side)
    assert isinstance(mapping, TransportMap)
    assert mapping.dim == dim
    A = potential.matrix
    own = Affine(A, potential.image - A @ potential.center)
    exact = own if side == "reference" else Affine(np.linalg.inv(A), -np.linalg.solve(A, own.b))
    y = rng.standard_normal((300, dim)) * 3
    reference = potential.center + y if side == "reference" else potential.image + y
    target = exact(reference)
    np.testing.assert_allclose(mapping(reference), target, atol=ROUNDING)
    np.testing.assert_allclose(mapping.inverse(target), reference, atol=ROUNDING)
    np.testing.assert_allclose(
        mapping.log_abs_det_jacobian(reference),
        exact.log_abs_det_jacobian(reference),
        atol=ROUNDING,
    )
    # The potentials, of values up to 300, agree up to a constant, opposite for the two.
    psi = mapping.potential(reference) - exact.potential(reference)
    phi = mapping.conjugate(target) - exact.conjugate(target)
    np.testing.assert_allclose(psi, psi[0], atol=1e-10)
    np.testing.assert_allclose(phi, -psi[0], atol=1e-10)


@pytest.mark.parametrize("boundary", ["box", "free"])
def test_continuation_outside_the_box(boundary: str, rng: np.random.Generator) -> None:
    potential = smooth(boundary)
    mapping = GridMap(potential)
    y = np.array(BOX.center) + rng.uniform(-2, 2, (400, 2)) * BOX.widths
    face = np.clip(y, BOX.lower, BOX.upper)
    beyond = y - face
    step = beyond @ potential.matrix
    np.testing.assert_allclose(mapping(y), mapping(face) + step, atol=ROUNDING)
    np.testing.assert_allclose(
        mapping.potential(y),
        mapping.potential(face) + (mapping(face) * beyond).sum(-1) + 0.5 * (step * beyond).sum(-1),
        atol=1e-11,
    )
    corner = np.all(beyond != 0, axis=1)
    np.testing.assert_allclose(
        mapping.log_abs_det_jacobian(y[corner]),
        np.log(np.linalg.det(potential.matrix)),
        atol=ROUNDING,
    )
    assert mapping.outside(y) == np.count_nonzero(np.any(beyond != 0, axis=1)) > 300
    assert mapping.outside(face) == 0


def test_a_periodic_map_shifts_with_its_periods(rng: np.random.Generator) -> None:
    potential = smooth("periodic")
    mapping = GridMap(potential)
    y = np.array(BOX.lower) + rng.uniform(size=(200, 2)) * BOX.widths
    periods = rng.integers(-3, 4, (200, 2)) * BOX.widths
    x = mapping(y)
    np.testing.assert_allclose(mapping(y + periods), x + periods @ potential.matrix, atol=1e-11)
    np.testing.assert_allclose(
        mapping.inverse(x + periods @ potential.matrix), y + periods, atol=1e-11
    )
    assert mapping.outside(y + periods) == 0


def test_a_box_map_sends_faces_to_faces() -> None:
    potential = smooth("box")
    along = np.linspace(BOX.lower[1], BOX.upper[1], 50)
    face = np.stack([np.full(50, BOX.upper[0]), along], axis=-1)
    wanted = 1.5 * (BOX.upper[0] - CENTER[0]) + IMAGE[0]
    np.testing.assert_allclose(GridMap(potential)(face)[:, 0], wanted, atol=ROUNDING)


def test_the_map_converges_with_third_order(rng: np.random.Generator) -> None:
    y = np.array(BOX.lower) + rng.uniform(size=(2000, 2)) * BOX.widths
    s, t = ((y - BOX.lower) / BOX.widths).T
    wanted = (y - CENTER) * [1.5, 0.8] + IMAGE
    w = np.pi / np.array(BOX.widths)
    wanted[:, 0] -= 0.05 * w[0] * np.sin(np.pi * s) * np.cos(np.pi * t)
    wanted[:, 1] -= 0.05 * w[1] * np.cos(np.pi * s) * np.sin(np.pi * t)
    wanted[:, 1] -= 0.02 * w[1] * np.sin(2 * np.pi * t)
    errors = [
        np.sqrt(np.mean((GridMap(smooth("box", (n, 2 * n)))(y) - wanted) ** 2))
        for n in (16, 32, 64)
    ]
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert errors[-1] < 1e-6
    assert np.all(orders > 2.8), orders


def test_point_forms() -> None:
    one = GridMap(quadratic(1, "free"))
    assert np.isscalar(one(0.5)) or np.ndim(one(0.5)) == 0
    assert one(np.zeros(4)).shape == one.inverse(np.zeros(4)).shape == (4,)
    assert one(np.zeros((4, 1))).shape == (4, 1)
    two = GridMap(smooth("free"))
    assert two(np.zeros(2)).shape == two.inverse(np.zeros(2)).shape == (2,)
    assert two(np.zeros((0, 2))).shape == two.inverse(np.zeros((0, 2))).shape == (0, 2)
    for function in (two.log_abs_det_jacobian, two.potential, two.conjugate):
        assert function(np.zeros((3, 2))).shape == (3,)
        assert function(np.zeros(2)).shape == (1,)
    assert two.own_jacobian(np.zeros((3, 2))).shape == (3, 2, 2)


def test_layout_of_the_input_does_not_matter(rng: np.random.Generator) -> None:
    mapping = GridMap(smooth("box"))
    y = rng.standard_normal((50, 2))
    wanted, back = mapping(y), mapping.inverse(y)
    wide = np.zeros((50, 4))
    wide[:, ::2] = y
    frozen = y.copy()
    frozen.flags.writeable = False
    for same in (np.asfortranarray(y), wide[:, ::2], frozen, y.tolist()):
        np.testing.assert_array_equal(mapping(same), wanted)
        np.testing.assert_array_equal(mapping.inverse(same), back)


def test_threads_give_the_serial_result(rng: np.random.Generator) -> None:
    y = rng.standard_normal((30_001, 2))
    potential = smooth("free")
    serial, split = GridMap(potential), GridMap(potential, threads=2)
    for name in ("__call__", "inverse", "log_abs_det_jacobian", "potential", "conjugate"):
        np.testing.assert_array_equal(getattr(serial, name)(y), getattr(split, name)(y))


def test_points_that_are_not_finite_give_nan() -> None:
    mapping = GridMap(smooth("free"))
    bad = np.array([[np.nan, 0.0], [0.0, np.inf], [0.5, 3.0]])
    found = mapping.inverse(bad)
    assert np.all(np.isnan(found[:2]))
    assert np.all(np.isfinite(found[2]))
    assert np.isnan(mapping(bad)[0]).any()


def test_double_well_inverse_is_a_maximiser() -> None:
    """Between the wells there is no preimage; the inverse stays on the better side."""
    grid = Grid(Box((-2.0,), (2.0,)), (200,))
    y = grid.axis(0)
    psi = (y * y - 1) ** 2  # the convex hull is flat on [-1, 1]
    mapping = GridMap(GridPotential(grid, psi, np.eye(1) * 0, np.zeros(1), np.zeros(1), "free"))
    x = np.array([-1e-3, 1e-3, -0.5, 0.5, -5.0, 5.0])
    found = mapping.inverse(x)
    np.testing.assert_allclose(mapping(found), x, atol=1e-10)
    assert np.all(np.sign(found) == np.sign(x))
    assert np.all(np.abs(found) > 0.999)
    discrete, _ = discrete_conjugate(psi, [y], [np.sort(x)])
    assert np.all(mapping.conjugate(np.sort(x)) >= discrete)
    # Between the wells the determinant is negative; its absolute value is what is reported.
    np.testing.assert_allclose(mapping.log_abs_det_jacobian(np.zeros(1)), np.log(4), rtol=1e-3)


def test_singular_jacobian_is_minus_infinity() -> None:
    potential = quadratic(1, "free")
    flat = GridPotential(
        potential.grid,
        np.zeros(potential.grid.shape),
        np.zeros((1, 1)),
        potential.center,
        potential.image,
        "free",
    )
    assert np.all(GridMap(flat).log_abs_det_jacobian(np.zeros(3)) == -np.inf)


def test_inverse_across_strongly_curved_faces(rng: np.random.Generator) -> None:
    """The box cuts through the bends of a sharp potential: the continued map has hard kinks."""
    grid = Grid(Box((-2.0, -2.6), (2.2, 2.0)), (256, 240))
    angles = np.arange(8) * np.pi / 4 + 0.1
    slopes = 4.0 * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    points = grid.points()
    top = 4.0 * points @ slopes.T
    psi = 0.03125 * (points**2).sum(-1) + np.log(np.exp(top).sum(-1)) / 4.0
    for off_diagonal in (0.0, 0.4):
        matrix = np.array([[0.5, off_diagonal], [off_diagonal, 0.5]])
        base = GridPotential(grid, np.zeros(grid.shape), matrix, np.zeros(2), np.zeros(2), "free")
        correction = psi.reshape(grid.shape) - base.quadratic()
        mapping = GridMap(GridPotential(grid, correction, matrix, np.zeros(2), np.zeros(2), "free"))
        y = rng.standard_normal((20_000, 2)) * 2
        assert mapping.outside(y) > 1000
        x = mapping(y)
        np.testing.assert_allclose(mapping(mapping.inverse(x)), x, atol=1e-9)


def test_errors() -> None:
    potential = quadratic(2, "free")
    with pytest.raises(InputError, match="side must be 'reference' or 'target', got 'left'"):
        GridMap(potential, "left")
    with pytest.raises(InputError, match="threads must be at least 1, got 0"):
        GridMap(potential, threads=0)
    grid = Grid(Box((0.0,) * 4, (1.0,) * 4), (4,) * 4)
    cube = GridPotential(grid, np.zeros(grid.shape), np.eye(4), np.zeros(4), np.zeros(4), "box")
    with pytest.raises(InputError, match="one to three dimensions, got a grid of 4"):
        GridMap(cube)
    with pytest.raises(InputError, match=r"\(n, 2\) or \(2,\), got \(3, 3\)"):
        GridMap(potential)(np.zeros((3, 3)))
