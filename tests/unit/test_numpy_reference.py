"""The NumPy kernels against what they are meant to compute; the parity tests rest on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.interpolate import BSpline

import parabolic_ma as pma
from parabolic_ma.backends.numpy_reference import kernels
from parabolic_ma.operators.inner import inner_density

BOX = [(-2.0, 3.0), (-1.5, 1.5)]
MEANS = np.array([[0.5, -0.2], [-1.0, 0.4]])
COV = np.array([[1.0, 0.4], [0.4, 0.7]])


def measures(dim: int) -> dict[str, Any]:
    values = np.exp(0.5 * np.random.default_rng(3).standard_normal((11, 7)[:dim]))
    cov = COV[:dim, :dim]
    return {
        "gaussian": pma.Gaussian(MEANS[0, :dim], cov),
        "mixture": pma.GaussianMixture(MEANS[:, :dim], [cov, 0.2 * cov], [0.3, 0.7]),
        "uniform": pma.Uniform(BOX[:dim]),
        "grid density": pma.GridDensity(values, BOX[:dim]),
    }


def evaluate(
    measure: Any, points: np.ndarray, curvature: float = 0.0, periodic: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Log density and gradient of the potential, by the kernels."""
    n, dim = points.shape
    inner = inner_density(measure, pma.Box.of(BOX[:dim]), (16,) * dim, periodic)
    if curvature:
        inner.params[2 * dim] = curvature
    logm, *slopes = np.empty((1 + dim, n))
    row = kernels.inner_row if dim == 2 else kernels.inner_row_1d
    row(inner.kind, inner.params, inner.table, *points.T, logm, *slopes)
    return logm, np.stack(slopes, axis=-1)


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("name", measures(2))
def test_inner_row_is_the_measure(name: str, dim: int, rng: np.random.Generator) -> None:
    measure = measures(dim)[name]
    lower, upper = np.array(BOX[:dim]).T
    points = rng.uniform(lower, upper, (50, dim))
    logm, slopes = evaluate(measure, points)
    # sums of at most 16 terms
    np.testing.assert_allclose(logm, -measure.potential(points), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(slopes, measure.gradient(points), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dim", [1, 2])
def test_a_table_goes_on_smoothly_outside_its_box(dim: int, rng: np.random.Generator) -> None:
    measure = measures(dim)["grid density"]
    points = rng.uniform(-6.0, 6.0, (50, dim))
    step = 1e-4
    _, slopes = evaluate(measure, points, curvature=3.0)
    lower, upper = np.array(BOX[:dim]).T
    beyond = (points < lower) | (points > upper)
    assert beyond.any()
    for k in range(dim):
        shift = step * np.eye(dim)[k]
        above, _ = evaluate(measure, points + shift, curvature=3.0)
        below, _ = evaluate(measure, points - shift, curvature=3.0)
        difference = above - below
        # Beyond another face the slope there, which the log density goes on with, changes along
        # this axis: the gradient leaves that out.
        plain = ~np.delete(beyond, k, axis=1).any(axis=1)
        # the third derivative of the spline is at most some 4 values / h^3, about 200
        np.testing.assert_allclose(
            -difference[plain] / (2.0 * step), slopes[plain, k], atol=200.0 * step**2 + 1e-7
        )


@pytest.mark.parametrize("dim", [1, 2])
def test_a_periodic_table_repeats(dim: int, rng: np.random.Generator) -> None:
    measure = measures(dim)["grid density"]
    lower, upper = np.array(BOX[:dim]).T
    points = rng.uniform(lower, upper, (50, dim))
    inside = evaluate(measure, points, periodic=True)
    beyond = evaluate(measure, points + [3, -2][:dim] * (upper - lower), periodic=True)
    np.testing.assert_allclose(inside[0], beyond[0], atol=1e-12)
    np.testing.assert_allclose(inside[1], beyond[1], atol=1e-11)
    centers = measure.grid.points()
    at_centers, _ = evaluate(measure, centers, periodic=True)
    np.testing.assert_allclose(at_centers, np.log(measure.values).ravel(), atol=1e-12)


def cells(n: int, lower: float, upper: float) -> np.ndarray:
    return lower + (np.arange(n) + 0.5) * (upper - lower) / n


def test_an_affine_map_solves_its_own_pullback() -> None:
    axes = [cells(20, -1.0, 1.0), cells(16, -0.8, 0.8)]
    a = np.array([[2.0, 0.3], [0.3, 1.5]])
    inner = inner_density(measures(2)["mixture"], pma.Box.of(BOX), (16, 16), periodic=False)
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    images = points @ a + MEANS[0]
    log_source = inner.log_density(kernels, images).reshape(20, 16) + np.log(np.linalg.det(a))
    outputs = [np.ones((5, 20, 16), np.float32), *np.ones((2, 20, 16), np.float32)]
    mass, total, chi, smallest, extended, largest, residual = kernels.linearise(
        np.zeros((22, 18)), *axes, np.array([2.0, 0.3, 1.5, 0.0, 0.0, *MEANS[0]]), log_source, 0.0,
        inner.kind, inner.params, inner.table, 3e-3, 1e6, 2.0, 10.0, *outputs,
    )  # fmt: skip
    assert mass == pytest.approx(total, rel=1e-13)
    assert chi < 1e-14
    assert residual < 1e-13
    assert largest < 1e-13
    assert extended == 0.0
    assert smallest == pytest.approx(np.linalg.eigvalsh(a)[0], rel=1e-13)
    a_row, d_row, *_ = outputs[0]
    # half the diagonal is a + d plus half of the pseudo-time term, which is tiny
    np.testing.assert_allclose(a_row + d_row, 1.0, atol=1e-5)


def test_the_residual_is_the_bounded_root_mean_square_of_the_log_form() -> None:
    # the affine map onto its own pullback times exp(F), F of two values: nothing cancels
    axis = cells(20, -1.0, 1.0)
    inner = inner_density(measures(1)["mixture"], pma.Box.of(BOX[:1]), (16,), periodic=False)
    excess = np.where(np.arange(20) < 7, 0.5, -3.0)
    log_source = inner.log_density(kernels, 2.0 * axis[:, None]) + np.log(2.0) - excess
    *_, residual = kernels.linearise_1d(
        np.zeros(22), axis, np.array([2.0, 0.0, 0.0]), log_source, 0.0,
        inner.kind, inner.params, inner.table, 1e6, 0.0, 10.0, np.ones((3, 20)), np.ones(20),
    )  # fmt: skip
    wanted = np.average((2.0 * np.tanh(excess / 2.0)) ** 2, weights=np.exp(log_source)) ** 0.5
    assert residual == pytest.approx(wanted, rel=1e-12)


def test_convexify_solves_the_equation_at_a_cell() -> None:
    axes = [cells(8, -1.0, 1.0), cells(10, -0.8, 0.8)]
    quad = np.array([2.0, 0.3, 1.5, 0.0, 0.0, 0.4, -0.2])
    inner = inner_density(measures(2)["mixture"], pma.Box.of(BOX), (16, 16), periodic=False)
    density = inner.kind, inner.params, inner.table
    log_source = np.full((8, 10), -1.0)
    log_source[3, 4] = -2.0  # the only light cell
    u = np.zeros((10, 12))
    u[4, 5] = 1.0
    before = u.copy()
    kernels.convexify(u, *axes, quad, log_source, 0.1, *density, 10.0, -3.0, -1.5, 3)
    assert np.argwhere(u != before).tolist() == [[4, 5]]
    gradient, (low, high, log_det, logm) = np.empty((8, 10, 2)), np.empty((4, 8, 10))
    kernels.fields(u, *axes, quad, *density, 1e-6, gradient, low, high, log_det, logm)
    assert low[3, 4] > 0.0
    assert log_det[3, 4] == pytest.approx(-2.0 + 0.1 - logm[3, 4], rel=1e-12)


def conservative(rng: np.random.Generator) -> tuple[Any, ...]:
    """Arguments of `cell_images`: the unit square onto BOX, faces to faces."""
    axes = [cells(13, 0.0, 1.0), cells(9, 0.0, 1.0)]
    y1, y2 = np.meshgrid(*axes, indexing="ij")
    u = np.zeros((15, 11))
    u[1:-1, 1:-1] = 0.05 * np.cos(np.pi * y1) * np.cos(2 * np.pi * y2) + 0.04 * np.cos(np.pi * y2)
    kernels.fill_ghosts(u, 0)
    quad = np.array([5.0, 0.0, 3.0, 0.5, 0.5, 0.5, 0.0])
    grid = pma.Grid(pma.Box.of(BOX), (10, 7))
    values = rng.uniform(0.5, 2.0, grid.shape)
    values /= values.sum() * grid.cell_volume
    sums = kernels.running_sums(values, grid.spacing[0])
    return u, *axes, quad, sums, np.array([*grid.box.lower, *grid.spacing])


def test_images_of_cells_add_up_to_the_box(rng: np.random.Generator) -> None:
    mass, area = np.empty((2, 13, 9))
    kernels.cell_images(*conservative(rng), mass, area)
    assert mass.min() > 0.0
    assert area.min() > 0.0
    assert area.sum() == pytest.approx(15.0, rel=1e-13)
    # only the integrals along the faces are left: Gauss pieces cross knots of the spline there,
    # where its second derivative jumps, which leaves some 1e-6
    assert mass.sum() == pytest.approx(1.0, abs=1e-5)


def test_rounding_does_not_make_the_faces_leave_the_box(rng: np.random.Generator) -> None:
    # a density of one value and the affine map: no cell feels a drift, on no side of rounding
    axes = [cells(17, 0.0, 1.0), cells(11, 0.0, 1.0)]
    sources = np.zeros((17, 11))
    for _ in range(20):
        lower = rng.uniform(-3.0, 0.0, 2)
        upper = lower + rng.uniform(1.0, 5.0, 2)
        box = pma.Box.of(np.stack([lower, upper], axis=1).tolist())
        grid = pma.Grid(box, (17, 11))
        center, widths = 0.5 * (lower + upper), upper - lower
        quad = np.array([widths[0], 0.0, widths[1], 0.5, 0.5, *center])
        sums = kernels.running_sums(np.full(grid.shape, 1.0 / box.volume), grid.spacing[0])
        geometry = np.array([*box.lower, *grid.spacing])
        inner = inner_density(pma.Uniform(box), box, grid.shape, periodic=False)
        rows, nine = np.ones((5, 17, 11), np.float32), np.ones((3, 3, 17, 11), np.float32)
        kernels.linearise_cells(
            np.zeros((19, 13)), *axes, quad, sources, 0.0, sums, geometry,
            inner.kind, inner.params, inner.table, 3e-3, 1e30, 2.0, 10.0,
            rows, *np.ones((2, 17, 11), np.float32), nine,
        )  # fmt: skip
        assert np.abs(rows[3:]).max() < 1e-12


def test_nine_is_the_derivative_of_the_masses(rng: np.random.Generator) -> None:
    u, axis1, axis2, quad, *measure = conservative(rng)
    shape = (13, 9)
    inner = inner_density(measures(2)["uniform"], pma.Box.of(BOX), shape, periodic=False)
    rhs, tangent, out = np.ones((3, *shape), np.float32)
    nine = np.ones((3, 3, *shape), np.float32)
    kernels.linearise_cells(
        u, axis1, axis2, quad, np.zeros(shape), 0.0, *measure,
        inner.kind, inner.params, inner.table, 3e-3, 1e30, 2.0, 10.0,
        np.ones((5, *shape), np.float32), rhs, tangent, nine,
    )  # fmt: skip
    # tangent is the scale times the mass of a cell, here its area
    scale = tangent / ((axis1[1] - axis1[0]) * (axis2[1] - axis2[0]))
    v = rng.standard_normal(u.shape)
    kernels.fill_ghosts(v, 0)
    step = 1e-6
    masses = []
    for sign in (1.0, -1.0):
        mass, area = np.empty((2, *shape))
        kernels.cell_images(u + sign * step * v, axis1, axis2, quad, *measure, mass, area)
        masses.append(mass)
    kernels.apply_nine(nine, v.astype(np.float32), out)
    # float32 of the products; a step of 1e-6 moves images by 1e-5, second-order terms by 1e-10
    derivative = scale * (masses[0] - masses[1]) / (2.0 * step)
    np.testing.assert_allclose(out, derivative, atol=2e-6 * np.abs(nine).max() * np.abs(v).max())


def conservative_1d(rng: np.random.Generator) -> tuple[Any, ...]:
    """Arguments of `cell_images_1d`: the unit interval onto the first side of BOX."""
    axis = cells(13, 0.0, 1.0)
    u = np.zeros(15)
    u[1:-1] = 0.05 * np.cos(np.pi * axis) + 0.04 * np.cos(2 * np.pi * axis)
    kernels.fill_ghosts_1d(u, 0)
    values = rng.uniform(0.5, 2.0, 10)
    values /= values.sum() * 0.5
    return u, axis, np.array([5.0, 0.5, 0.5]), kernels.running_sums_1d(values, 0.5), (-2.0, 0.5)


def spline_distribution(sums: np.ndarray, lower: float, h: float) -> Any:
    """The integral from the lower face of the quadratic B-spline with increments of sums."""
    n = len(sums) - 6
    # coefficients of cells -1 to n, each on the three cells around it
    knots = lower + h * np.arange(-2, n + 3)
    spline = BSpline(knots, np.diff(sums)[1 : n + 3] / h, 2).antiderivative()
    return lambda x: spline(x) - spline(lower)


def test_images_of_intervals_hold_the_mass_of_the_spline(rng: np.random.Generator) -> None:
    u, axis, quad, sums, geometry = conservative_1d(rng)
    mass, length = np.empty((2, 13))
    kernels.cell_images_1d(u, axis, quad, sums, geometry, mass, length)
    assert length.min() > 0.0
    images = -2.0 + np.append(0.0, np.cumsum(length))
    assert images[-1] == pytest.approx(3.0, abs=1e-13)
    distribution = spline_distribution(sums, *geometry)
    np.testing.assert_allclose(mass, np.diff(distribution(images)), atol=1e-14)
    assert mass.sum() == pytest.approx(1.0, abs=1e-14)


def test_quantiles_invert_the_distribution_of_the_spline(rng: np.random.Generator) -> None:
    *_, sums, geometry = conservative_1d(rng)
    shares = np.linspace(0.0, 1.0, 101)
    out = np.empty(101)
    kernels.quantiles_1d(sums, geometry, shares, out)
    assert out[0] == pytest.approx(-2.0, abs=1e-14)
    assert out[-1] == pytest.approx(3.0, abs=1e-14)
    # sums of four products of numbers below two, in either
    np.testing.assert_allclose(spline_distribution(sums, *geometry)(out), shares, atol=1e-14)


def test_quantiles_of_a_cosine_are_the_faces() -> None:
    # Values 1 + a cos(pi (i + 1/2) / n) sum up to j + a sin(pi j / n) / (2 sin(pi / 2n)) before
    # face j, and the B-spline's 1/6, 4/6, 1/6 at a face multiplies the sine by (2 + cos(pi/n)) / 3.
    n, a, lower, h = 24, 0.9, -0.7, 0.25
    j = np.arange(n + 1)
    sums = kernels.running_sums_1d(1.0 + a * np.cos(np.pi * (j[:-1] + 0.5) / n), h)
    waves = np.sin(np.pi * j / n) / (2.0 * np.sin(0.5 * np.pi / n))
    shares = (j + a * waves * (2.0 + np.cos(np.pi / n)) / 3.0) / n
    out = np.empty(n + 1)
    kernels.quantiles_1d(sums, (lower, h), shares, out)
    # F is about 6 here and rounds by some 1e-15 a term; the density is at least 0.1
    np.testing.assert_allclose(out, lower + h * j, atol=1e-13)


def test_cell_rows_on_the_line_are_the_derivative_of_the_masses(rng: np.random.Generator) -> None:
    u, axis, quad, *measure = conservative_1d(rng)
    h = axis[1] - axis[0]
    rows, rhs = np.ones((3, 13)), np.ones(13)
    figures = kernels.linearise_cells_1d(
        u, axis, quad, np.zeros(13), 0.0, *measure, 1e30, rows, rhs
    )
    a, p, t = rows
    v = rng.standard_normal(15)
    kernels.fill_ghosts_1d(v, 0)
    step = 1e-7
    masses, length = np.empty((3, 13)), np.empty(13)
    for k, sign in enumerate((-1.0, 0.0, 1.0)):
        kernels.cell_images_1d(u + sign * step * v, axis, quad, *measure, masses[k], length)
    scale = t / h  # t is the scale times the mass of a cell, here its length
    derivative = scale * (masses[2] - masses[0]) / (2.0 * step)
    row = 2.0 * v[1:-1] - a * (v[2:] + v[:-2]) + p * (v[2:] - v[:-2])
    # F rounds by some 1e-16 a term: 1e-8 over the step, and images move by 4e-6, whose square
    # times the second derivative of the density is 1e-10
    np.testing.assert_allclose(-row, derivative, atol=1e-8 * scale.max())
    np.testing.assert_allclose(rhs, scale * (masses[1] - h), atol=1e-14 * scale.max())
    assert figures[:2] == pytest.approx((1.0, 1.0), abs=1e-13)
