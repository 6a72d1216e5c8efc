"""Uniform tensor cubic B-splines."""

from __future__ import annotations

import numpy as np
import pytest

from parabolic_ma.grid import Box, Grid
from parabolic_ma.splines import BOUNDARIES, convex_coefficients, evaluate, prefilter
from parabolic_ma.status import InputError

# A few hundred operations on numbers of order one, condition of the filter below 3 per axis.
ROUNDING = 1e-12


def grid_1d(n: int) -> Grid:
    return Grid(Box.of([(-1.0, 2.0)]), (n,))


def at(grid: Grid, values: np.ndarray, boundary: str, points: np.ndarray, order: int = 2):
    return evaluate(prefilter(values, boundary), grid.box.lower, grid.spacing, points, order)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("shape", [(7,), (5, 8), (4, 6, 5)])
def test_interpolates_the_values_at_the_nodes(boundary, shape):
    grid = Grid(Box.of([(0.5 * k, k + 2.0) for k in range(len(shape))]), shape)
    values = np.random.default_rng(0).normal(size=shape)
    coefficients = prefilter(values, boundary)
    assert coefficients.shape == tuple(n + 4 for n in shape)
    (found,) = evaluate(coefficients, grid.box.lower, grid.spacing, grid.points(), 0)
    np.testing.assert_allclose(found, values.ravel(), atol=ROUNDING)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("boundary", ["box", "periodic"])
def test_small_grids_solve_the_interpolation_equations(boundary, n):
    values = np.random.default_rng(n).normal(size=n)
    c = prefilter(values, boundary)
    np.testing.assert_allclose((c[1:-3] + 4 * c[2:-2] + c[3:-1]) / 6, values, atol=ROUNDING)
    if boundary == "periodic":
        np.testing.assert_allclose(c[:4], c[n : n + 4], atol=ROUNDING)
    else:
        np.testing.assert_allclose(c[:2], c[3:1:-1], atol=ROUNDING)


def test_free_boundary_reproduces_cubics_up_to_the_faces():
    grid = Grid(Box.of([(-1.0, 2.0), (0.0, 1.0)]), (6, 5))
    points = np.array([[-1.0, 0.0], [2.0, 1.0], [0.3, 0.99], [-0.97, 0.5], [1.1, 0.2]])

    # The end rule makes the one-sided difference exact on cubics, h^2 u'' included.
    def cubic(p):
        x, y = p[:, 0], p[:, 1]
        return (x**3 - 2 * x) * (1 + y**2) + y**3

    x, y = points[:, 0], points[:, 1]
    value, gradient, hessian = at(grid, cubic(grid.points()).reshape(6, 5), "free", points)
    np.testing.assert_allclose(value, cubic(points), atol=1e-11)
    expected = np.stack([(3 * x**2 - 2) * (1 + y**2), (x**3 - 2 * x) * 2 * y + 3 * y**2], -1)
    np.testing.assert_allclose(gradient, expected, atol=1e-10)
    np.testing.assert_allclose(hessian[:, 0, 0], 6 * x * (1 + y**2), atol=1e-9)
    np.testing.assert_allclose(hessian[:, 0, 1], (3 * x**2 - 2) * 2 * y, atol=1e-9)
    np.testing.assert_allclose(hessian, np.swapaxes(hessian, 1, 2))


@pytest.mark.parametrize(
    ("boundary", "function", "derivative"),
    [
        ("box", lambda x: np.cos(np.pi * (x + 1) / 3), lambda x: np.sin(np.pi * (x + 1) / 3)),
        ("periodic", lambda x: np.sin(2 * np.pi * x / 3), lambda x: np.cos(2 * np.pi * x / 3)),
        ("free", np.exp, np.exp),
    ],
)
def test_orders_of_accuracy(boundary, function, derivative):
    scale = {"box": -np.pi / 3, "periodic": 2 * np.pi / 3, "free": 1.0}[boundary]
    points = np.linspace(-1, 2, 501)[:, None]
    errors = []
    for n in (20, 40, 80):
        grid = grid_1d(n)
        value, gradient = at(grid, function(grid.axis(0)), boundary, points, 1)
        errors.append(
            [
                np.abs(value - function(points[:, 0])).max(),
                np.abs(gradient[:, 0] - scale * derivative(points[:, 0])).max(),
            ]
        )
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    # Cubic splines: fourth order in the value and third in the slope (nodes superconverge).
    assert orders[:, 0].min() > 3.7
    assert orders[:, 1].min() > 2.7


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_derivatives_agree_with_differences_of_the_spline(boundary):
    grid = Grid(Box.of([(0.0, 1.0), (0.0, 2.0), (-1.0, 1.0)]), (5, 6, 4))
    values = np.random.default_rng(3).normal(size=grid.shape)
    points = np.random.default_rng(4).uniform(size=(20, 3)) * 0.9 * grid.box.widths
    points += np.array(grid.box.lower) + 0.05
    _, gradient, hessian = at(grid, values, boundary, points)
    step = 1e-5
    for axis in range(3):
        shift = step * np.eye(3)[axis]
        above = at(grid, values, boundary, points + shift)
        below = at(grid, values, boundary, points - shift)
        # Differences of a C2 function across a knot: error step * third derivative (about 1e3).
        np.testing.assert_allclose(gradient[:, axis], (above[0] - below[0]) / (2 * step), atol=1e-5)
        np.testing.assert_allclose(hessian[:, axis], (above[1] - below[1]) / (2 * step), atol=1e-1)


def test_box_spline_is_even_about_its_faces():
    grid = grid_1d(6)
    values = np.random.default_rng(5).normal(size=6)
    _, slope, _ = at(grid, values, "box", np.array([[-1.0], [2.0]]))
    np.testing.assert_allclose(slope, 0.0, atol=1e-11)


def test_periodic_spline_joins_smoothly():
    grid = grid_1d(6)
    values = np.random.default_rng(6).normal(size=6)
    for derivative in at(grid, values, "periodic", np.array([[-1.0], [2.0]])):
        np.testing.assert_allclose(derivative[0], derivative[1], atol=1e-10)


def test_evaluation_in_chunks_is_the_same():
    grid = Grid(Box.of([(0.0, 1.0)] * 3), (4, 4, 4))
    coefficients = prefilter(np.random.default_rng(7).normal(size=grid.shape), "box")
    points = np.random.default_rng(8).uniform(size=(70_000, 3))
    whole, _ = evaluate(coefficients, grid.box.lower, grid.spacing, points, 1)
    (tail,) = evaluate(coefficients, grid.box.lower, grid.spacing, points[-10:], 0)
    np.testing.assert_allclose(whole[-10:], tail, atol=ROUNDING)


def test_unknown_boundary_is_refused():
    with pytest.raises(InputError, match="boundary must be one of box, periodic, free; got 'open'"):
        prefilter(np.zeros(5), "open")


def test_free_boundary_needs_four_cells():
    with pytest.raises(InputError, match=r"at least 4 cells on every axis, got shape \(8, 3\)"):
        prefilter(np.zeros((8, 3)), "free")


@pytest.mark.parametrize("boundary", ["box", "free"])
@pytest.mark.parametrize("quadratic", [0.0, 0.5])
def test_limited_spline_is_convex_where_its_values_are(boundary, quadratic):
    n, h = 64, 1.0 / 64
    grid = Grid(Box([0.0], [1.0]), (n,))
    y = grid.axes()[0]
    # the slope jumps by 4; the values less the quadratic part are what the spline goes through
    values = 2.0 * np.abs(y - 0.503) + 0.3 * (y - 0.5) ** 2 - 0.5 * quadratic * y**2
    points = np.linspace(3 * h, 1.0 - 3 * h, 4001)[:, None]
    plain = prefilter(values, boundary)
    limited = convex_coefficients(plain, quadratic * h**2)

    def derivatives(coefficients):
        _, first, second = evaluate(coefficients, grid.box.lower, grid.spacing, points, 2)
        return first[:, 0] + quadratic * points[:, 0], second[:, 0, 0] + quadratic

    assert derivatives(plain)[1].min() < -1.0  # the spline through the values rings
    first, second = derivatives(limited)
    assert second.min() > -1e-9  # rounding of the values over h^2
    # from the jump and from the faces, where a "box" spline turns to its zero normal derivative
    far = np.abs(np.abs(points[:, 0] - 0.503) - 0.25) < 0.25 - 8 * h
    exact = 2.0 * np.sign(points[:, 0] - 0.503) + 0.6 * (points[:, 0] - 0.5)
    # ringing falls by 2 - sqrt(3) a cell
    assert np.abs(first - exact)[far].max() < 4.0 * (2.0 - np.sqrt(3.0)) ** 7


def test_convex_spline_is_left_alone():
    coefficients = prefilter(np.linspace(-1.0, 1.0, 32) ** 2, "free")
    assert convex_coefficients(coefficients, 0.0) is coefficients
