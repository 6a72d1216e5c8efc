"""Half sweeps of Sinkhorn: against dense sums, Gaussian closed forms and the flow on a torus."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from agreement.torus_flow import log_mass, torus_flow

import parabolic_ma as pma
from parabolic_ma import backends
from parabolic_ma.operators.soft_conjugate import SoftConjugate, resolution
from parabolic_ma.status import InputError

NUMBA = backends.get("numba")


def grid_of(pairs: list[tuple[float, float]], shape: tuple[int, ...]) -> pma.Grid:
    return pma.Grid(pma.Box.of(pairs), shape)


def log_weights(mean: np.ndarray, cov: np.ndarray, grid: pma.Grid) -> np.ndarray:
    """Log of a Gaussian's density times cell volume."""
    z = grid.points() - mean
    values = -0.5 * np.einsum("ni,ij,nj->n", z, np.linalg.inv(cov), z)
    values -= 0.5 * np.linalg.slogdet(2.0 * np.pi * cov)[1]
    return values.reshape(grid.shape) + np.log(grid.cell_volume)


# Dense sums.


@dataclass
class Dense:
    """Points of both sides with potentials; on a torus, those summed over come with images."""

    soft: SoftConjugate
    psi: np.ndarray
    phi: np.ndarray

    def lifted(self, grid: pma.Grid, potential: np.ndarray, log_w: np.ndarray) -> tuple[Any, ...]:
        points, values = grid.points(), potential.ravel()
        shifts = range(-4, 5) if self.soft.periodic else (0,)
        parts = []
        for image in itertools.product(shifts, repeat=grid.dim):
            moved = points + np.array(image) * grid.box.widths
            rise = 0.5 * (moved**2).sum(axis=1) - 0.5 * (points**2).sum(axis=1)
            parts.append((moved, values + rise, log_w.ravel()))
        return tuple(np.concatenate(part) for part in zip(*parts, strict=True))

    def second(self) -> tuple[np.ndarray, np.ndarray]:
        """Soft conjugate of psi, and the weights' sums over y at every x."""
        s = self.soft
        y, psi, log_w = self.lifted(s.grid_y, self.psi, s.log_weights_y)
        exponents = (s.grid_x.points() @ y.T - psi) / s.epsilon + log_w
        return np.logaddexp.reduce(exponents, axis=1).reshape(s.grid_x.shape) * s.epsilon, exponents

    def first(self) -> tuple[np.ndarray, np.ndarray]:
        """Soft conjugate of phi, and the mean of x at every y."""
        s = self.soft
        x, phi, log_w = self.lifted(s.grid_x, self.phi, s.log_weights_x)
        exponents = (s.grid_y.points() @ x.T - phi) / s.epsilon + log_w
        total = np.logaddexp.reduce(exponents, axis=1)
        mean = np.exp(exponents - total[:, None]) @ x
        return (total * s.epsilon).reshape(s.grid_y.shape), mean.reshape(*s.grid_y.shape, -1)


SCENES = {
    "line": ([(10.0, 11.0)], (12,), [(-1.0, 3.0)], (7,), False),
    "circle": ([(0.5, 4.5)], (12,), [(-1.0, 3.0)], (9,), True),
    "plane": ([(10.0, 11.0), (-5.0, -2.0)], (12, 9), [(-1.0, 3.0), (2.0, 4.0)], (7, 14), False),
    "torus": ([(0.5, 4.5), (1.0, 3.0)], (12, 9), [(-1.0, 3.0), (2.0, 4.0)], (7, 14), True),
    "space": (
        [(0.0, 1.0), (0.0, 2.0), (1.0, 3.0)], (3, 4, 5),
        [(-1.0, 1.0), (0.0, 1.0), (0.0, 3.0)], (5, 2, 3), False,
    ),
}  # fmt: skip


@pytest.fixture(params=SCENES)
def dense(request: pytest.FixtureRequest, rng: np.random.Generator) -> Dense:
    box_y, shape_y, box_x, shape_x, periodic = SCENES[request.param]
    grid_y, grid_x = grid_of(box_y, shape_y), grid_of(box_x, shape_x)
    w_y, w_x = rng.standard_normal(shape_y), rng.standard_normal(shape_x)
    w_y.flat[2] = w_x.flat[1] = -np.inf
    soft = SoftConjugate.between(grid_y, w_y, grid_x, w_x, 0.3, periodic)
    psi, phi = (
        rng.standard_normal(g.shape) + 0.5 * (g.points() ** 2).sum(axis=1).reshape(g.shape)
        for g in (grid_y, grid_x)
    )
    return Dense(soft, psi, phi)


def test_dense_sums(dense: Dense, backend: str) -> None:
    kernels, soft = backends.get(backend), dense.soft
    # potentials are up to 70 and the exponents up to 70 / 0.3: some roundings of that
    close = {"rtol": 0.0, "atol": 1e-12}
    np.testing.assert_allclose(soft.to_second(kernels, dense.psi), dense.second()[0], **close)
    psi, mean = dense.first()
    np.testing.assert_allclose(soft.to_first(kernels, dense.phi), psi, **close)
    np.testing.assert_allclose(soft.barycentre(kernels, dense.phi), mean, **close)


def test_the_second_marginal(dense: Dense, backend: str) -> None:
    kernels, soft = backends.get(backend), dense.soft
    # the plan's weights at all lifts of y, added up for every x
    exponents = dense.second()[1] - dense.phi.ravel()[:, None] / soft.epsilon
    ratio = np.logaddexp.reduce(exponents, axis=1).reshape(soft.grid_x.shape)
    got = soft.log_marginal_ratio(kernels, dense.phi, dense.psi)
    np.testing.assert_allclose(got, ratio, rtol=0.0, atol=1e-11)
    # after the fit of y the first marginal is exact, so the plan has the mass of the weights on y
    psi = soft.to_first(kernels, dense.phi)
    log_rho = soft.log_weights_x + soft.log_marginal_ratio(kernels, dense.phi, psi)
    assert np.exp(log_rho).sum() == pytest.approx(np.exp(soft.log_weights_y).sum(), rel=1e-11)


def test_a_torus_has_no_seam(rng: np.random.Generator) -> None:
    """Boxes that begin elsewhere give the same map, at every temperature."""
    n = 16
    periods = [(0.0, 2.0), (0.0, 3.0)]
    moved = [(0.5, 2.5), (-6.0, -3.0)]  # by 4 cells to the right, by two periods to the left
    u, w = rng.uniform(-0.1, 0.1, (2, n, n))
    for epsilon in (0.02, 1.0, 50.0):
        images = []
        for box, roll in ((periods, 0), (moved, -4)):
            grid_y, grid_x = grid_of(periods, (n, n)), grid_of(box, (n, n))
            log_w = np.roll(w, roll, axis=0)
            soft = SoftConjugate.between(grid_y, w, grid_x, log_w, epsilon, True)
            half = 0.5 * (grid_x.points() ** 2).sum(axis=1).reshape(n, n)
            images.append(soft.barycentre(NUMBA, half + np.roll(u, roll, axis=0)))
        np.testing.assert_allclose(images[0], images[1], rtol=0.0, atol=1e-10)


# Gaussians.


@dataclass
class Quadratic:
    """(z - centre)^T matrix (z - centre) / 2 + slope (z - centre) + constant."""

    centre: np.ndarray
    matrix: np.ndarray
    slope: np.ndarray
    constant: float

    def __call__(self, points: np.ndarray) -> np.ndarray:
        z = points - self.centre
        return 0.5 * np.einsum("ni,ij,nj->n", z, self.matrix, z) + z @ self.slope + self.constant

    def gradient(self, points: np.ndarray) -> np.ndarray:
        return (points - self.centre) @ self.matrix + self.slope

    def conjugate(self, cov: np.ndarray, centre: np.ndarray, epsilon: float) -> Quadratic:
        """Soft conjugate under the Gaussian N(self.centre, cov), written about ``centre``.

        <x, n> - c - eps / 2 log det(I + S A / eps) + (x - b)^T P (x - b) / 2 with
        P = (A + eps S^-1)^-1.
        """
        P = np.linalg.inv(self.matrix + epsilon * np.linalg.inv(cov))
        log_det = np.linalg.slogdet(np.eye(len(cov)) + cov @ self.matrix / epsilon)[1]
        d = centre - self.slope
        constant = centre @ self.centre - self.constant - 0.5 * epsilon * log_det + 0.5 * d @ P @ d
        return Quadratic(centre, P, self.centre + P @ d, float(constant))


def mahalanobis(points: np.ndarray, mean: np.ndarray, cov: np.ndarray) -> np.ndarray:
    z = points - mean
    return np.sqrt(np.einsum("ni,ij,nj->n", z, np.linalg.inv(cov), z))


@pytest.mark.parametrize("epsilon", [1.0, 0.3, 0.05])
def test_a_half_sweep_of_gaussians_on_a_line(epsilon: float, backend: str) -> None:
    kernels = backends.get(backend)
    n, m = np.array([0.7]), np.array([-1.2])
    S = np.array([[1.69]])
    psi = Quadratic(n, np.array([[0.4]]), np.array([0.5]), 0.3)
    # Twelve deviations of y to either side.
    grid_y, grid_x = grid_of([(0.7 - 16.0, 0.7 + 16.0)], (400,)), grid_of([(-4.0, 4.0)], (31,))
    soft = SoftConjugate.between(
        grid_y, log_weights(n, S, grid_y), grid_x, np.zeros(31), epsilon, False
    )
    soft.require_resolution(psi.matrix[0, 0] + epsilon / S[0, 0], 0.0)  # nothing sums over x
    got = soft.to_second(kernels, psi(grid_y.points()))
    exact = psi.conjugate(S, m, epsilon)
    # Terms for x are a Gaussian of variance eps P around the gradient at x; the box must hold seven
    # of their deviations, beyond which is 3e-12 of them.
    room = 16.0 - 7.0 * np.sqrt(epsilon * exact.matrix[0, 0])
    inside = np.abs(exact.gradient(grid_x.points())[:, 0] - n[0]) < room
    assert inside.sum() > 20
    error = np.abs(got - exact(grid_x.points()))[inside]
    assert error.max() < 1e-10


@dataclass
class Plane:
    """Two Gaussians with covariances that do not commute, on boxes of nine deviations."""

    epsilon: float
    cells: int
    n = np.array([0.4, -0.3])
    m = np.array([-1.0, 2.0])
    S_n = np.array([[1.0, 0.5], [0.5, 0.8]])
    S_m = np.array([[0.7, -0.4], [-0.4, 1.2]])

    def __post_init__(self) -> None:
        self.grid_y, self.grid_x = (
            grid_of(
                [(c - 9.0 * v**0.5, c + 9.0 * v**0.5) for c, v in zip(mean, diagonal, strict=True)],
                (self.cells, self.cells),
            )
            for mean, diagonal in ((self.n, np.diag(self.S_n)), (self.m, np.diag(self.S_m)))
        )
        self.soft = SoftConjugate.between(
            self.grid_y, log_weights(self.n, self.S_n, self.grid_y),
            self.grid_x, log_weights(self.m, self.S_m, self.grid_x),
            self.epsilon, False,
        )  # fmt: skip
        self.start = Quadratic(
            self.n, np.array([[1.1, 0.3], [0.3, 0.6]]), np.array([0.5, 0.2]), -0.4
        )

    def on_y(self, function: Quadratic) -> np.ndarray:
        return function(self.grid_y.points()).reshape(self.grid_y.shape)

    def on_x(self, function: Quadratic) -> np.ndarray:
        return function(self.grid_x.points()).reshape(self.grid_x.shape)


# All but 1e-8 of the mass of a Gaussian in the plane.
RADIUS = np.sqrt(-2.0 * np.log(1e-8))


def test_twenty_sweeps_of_gaussians() -> None:
    plane = Plane(0.4, 128)
    soft = plane.soft
    psi, exact_psi = plane.on_y(plane.start), plane.start
    exact_phi = exact_psi
    phi = np.zeros(plane.grid_x.shape)
    for _ in range(20):
        phi, exact_phi = (
            soft.to_second(NUMBA, psi),
            exact_psi.conjugate(plane.S_n, plane.m, plane.epsilon),
        )
        before, P = exact_psi, exact_phi.matrix
        psi, exact_psi = (
            soft.to_first(NUMBA, phi),
            exact_phi.conjugate(plane.S_m, plane.n, plane.epsilon),
        )
        # the closed form's own recursion for the means
        wanted = exact_psi.matrix @ P @ (before.slope - plane.m)
        np.testing.assert_allclose(exact_psi.slope - plane.m, wanted, rtol=0.0, atol=1e-13)
    largest = (np.linalg.eigvalsh(q.matrix)[-1] for q in (exact_psi, exact_phi))
    soft.require_resolution(*largest)
    y, x = plane.grid_y.points(), plane.grid_x.points()
    # The boxes cut the sums at nine deviations; beyond the radius the terms of a sum lie near
    # there and the values are lower than those of the whole plane.
    near_y = mahalanobis(y, plane.n, plane.S_n) < RADIUS
    near_x = mahalanobis(x, plane.m, plane.S_m) < RADIUS
    assert np.abs(psi.ravel() - exact_psi(y))[near_y].max() < 1e-10
    assert np.abs(phi.ravel() - exact_phi(x))[near_x].max() < 1e-10
    # the sweeps nearly converged, so the second marginal is nearly fitted where there is mass
    ratio = soft.log_marginal_ratio(NUMBA, phi, psi).ravel()
    assert np.abs(ratio[mahalanobis(x, plane.m, plane.S_m) < 3.0]).max() < 1e-2
    assert np.exp(ratio + soft.log_weights_x.ravel()).sum() == pytest.approx(1.0, abs=1e-12)


def test_the_barycentre_is_the_gradient(backend: str) -> None:
    plane = Plane(0.6, 64)
    phi = plane.start.conjugate(plane.S_n, plane.m, plane.epsilon)
    psi = phi.conjugate(plane.S_m, plane.n, plane.epsilon)
    image = plane.soft.barycentre(backends.get(backend), plane.on_x(phi))
    assert image.shape == (64, 64, 2)
    y = plane.grid_y.points()
    near = mahalanobis(y, plane.n, plane.S_n) < 4.0
    h = 1e-3
    slopes = [(psi(y + h * e) - psi(y - h * e)) / (2.0 * h) for e in np.eye(2)]
    # differences of a quadratic have no error but rounding, 1e-14 over h
    error = image.reshape(-1, 2) - np.stack(slopes, axis=-1)
    assert np.abs(error[near]).max() < 1e-9
    # Jacobian on the grid by centred differences
    J = np.stack(np.gradient(image, *plane.grid_y.axes(), axis=(0, 1)), axis=-1)
    inner = near.reshape(64, 64)
    assert np.abs(J - psi.matrix)[inner].max() < 1e-7
    assert np.linalg.eigvalsh(0.5 * (J + np.swapaxes(J, -1, -2)))[inner].min() > 0.3


def test_the_map_of_a_potential_that_is_not_quadratic_is_monotone() -> None:
    """A covariance of the plan over epsilon is the Jacobian: positive, whatever phi is."""
    grid = grid_of([(-1.0, 1.0), (-1.0, 1.0)], (40, 40))
    x1, x2 = np.meshgrid(*grid.axes(), indexing="ij")
    phi = 0.5 * (x1**2 + x2**2) + 0.3 * np.cos(5.0 * x1) * np.sin(4.0 * x2)  # not convex
    zero = np.full(grid.shape, -np.log(grid.size))
    soft = SoftConjugate.between(grid, zero, grid, zero, 0.1, False)
    image = soft.barycentre(NUMBA, phi)
    J = np.stack(np.gradient(image, *grid.axes(), axis=(0, 1)), axis=-1)[1:-1, 1:-1]
    assert np.abs(J - np.swapaxes(J, -1, -2)).max() < 0.05 * np.abs(J).max()
    assert np.linalg.eigvalsh(0.5 * (J + np.swapaxes(J, -1, -2))).min() > 0.0
    # and the map is the derivative of psi: its differences, up to their error
    psi = soft.to_first(NUMBA, phi)
    slopes = np.stack(np.gradient(psi, *grid.axes()), axis=-1)[1:-1, 1:-1]
    h = grid.spacing[0]
    third = np.abs(np.gradient(np.gradient(image, h, axis=0), h, axis=0)).max()
    assert np.abs(slopes - image[1:-1, 1:-1]).max() < h**2 * max(third, 1.0)


# The flow on the torus.

PERIOD = 2.0 * np.pi
TEMPERATURES = (0.1, 0.05, 0.025, 0.0125, 0.00625, 0.003125)
# Largest errors of the potential at t = 1/2.
ERRORS = (1.69e-2, 8.71e-3, 4.41e-3, 2.22e-3, 1.11e-3, 5.57e-4)


def target(x: np.ndarray) -> np.ndarray:
    return 0.6 * np.cos(2.0 * x) - 0.4 * np.sin(x)


def reference(y: np.ndarray) -> np.ndarray:
    return -0.5 * np.cos(y) + 0.15 * np.sin(2.0 * y)


def test_sinkhorn_is_the_flow_to_first_order() -> None:
    zeros = log_mass(target, PERIOD), log_mass(reference, PERIOD)

    def f(x: np.ndarray) -> np.ndarray:
        return target(x) + zeros[0]

    def g(y: np.ndarray) -> np.ndarray:
        return reference(y) + zeros[1]

    grid = grid_of([(0.0, PERIOD)], (512,))
    y = grid.axis(0)
    flow = torus_flow(f, g, PERIOD, 0.5, modes=96, steps=1200)(y)
    coarse = torus_flow(f, g, PERIOD, 0.5, modes=80, steps=800)(y)
    assert np.abs(flow - coarse).max() < 1e-8

    cell = np.log(grid.cell_volume)
    found = []
    for epsilon in TEMPERATURES:
        soft = SoftConjugate.between(grid, cell - g(y), grid, cell - f(y), epsilon, True)
        psi = 0.5 * y**2
        for _ in range(round(0.5 / epsilon)):
            psi = soft.to_first(NUMBA, soft.to_second(NUMBA, psi))
        found.append(psi - 0.5 * y**2)
    soft.require_resolution(2.4, 2.0)
    errors = np.array([np.abs(u - flow).max() for u in found])
    extrapolated = np.array(
        [np.abs(2.0 * b - a - flow).max() for a, b in itertools.pairwise(found)]
    )
    np.testing.assert_allclose(errors, ERRORS, rtol=0.05)
    np.testing.assert_allclose((errors[:-1] / errors[1:])[-3:], 2.0, atol=0.02)
    orders = np.log2(extrapolated[:-1] / extrapolated[1:])
    assert np.all(orders > 1.7)
    assert orders[-1] == pytest.approx(2.0, abs=0.03)


# Resolution.


def test_without_curvature_there_is_nothing_to_resolve() -> None:
    assert resolution(1e-3, 0.0, 1.0) == resolution(1e-3, -1.0, 1.0) == 0.0


def test_resolution_is_the_error_of_the_sum() -> None:
    """A Gaussian sum at its worst place between the points, on the edge of what is coarse."""
    epsilon, q = 0.1, 1.7
    z = np.arange(-400, 401)
    for ratio in (0.8, 1.5, 2.0):
        h = ratio * np.sqrt(epsilon / q)
        sums = [
            np.exp(-q * (h * (z + s)) ** 2 / (2.0 * epsilon)).sum() * h for s in (0.0, 0.25, 0.5)
        ]
        error = np.abs(np.array(sums) / np.sqrt(2.0 * np.pi * epsilon / q) - 1.0).max()
        assert error == pytest.approx(resolution(epsilon, q, h), rel=0.01, abs=1e-14)


def test_a_grid_that_is_too_coarse_is_refused() -> None:
    grid_y, grid_x = grid_of([(0.0, 1.0)], (10,)), grid_of([(0.0, 1.0)], (100,))
    zeros = np.zeros(10), np.zeros(100)
    soft = SoftConjugate.between(grid_y, zeros[0], grid_x, zeros[1], 0.01, False)
    soft.require_resolution(0.6, 0.6)
    with pytest.raises(InputError, match=r"grid of y is too coarse for epsilon=0\.01: on axis 0"):
        soft.require_resolution(4.0, 4.0)
    soft.require_resolution(4.0, 4.0, largest=0.1)
    with pytest.raises(InputError, match="second derivatives of phi up to 400") as error:
        soft.require_resolution(0.5, 400.0, largest=1e-12)
    # what the text asks for is accepted
    cells = int(str(error.value).split("take at least ")[1].split()[0])
    fine = SoftConjugate.between(
        grid_y, zeros[0], grid_of([(0.0, 1.0)], (cells,)), np.zeros(cells), 0.01, False
    )
    fine.require_resolution(0.5, 400.0, largest=1e-12)
    assert cells < 280


# Refusals.


@pytest.mark.parametrize("epsilon", [0.0, -1.0, np.nan, np.inf])
def test_epsilon_is_positive(epsilon: float) -> None:
    grid = grid_of([(0.0, 1.0)], (4,))
    with pytest.raises(InputError, match="epsilon must be positive and finite"):
        SoftConjugate.between(grid, np.zeros(4), grid, np.zeros(4), epsilon, False)


def test_refusals() -> None:
    line, plane = grid_of([(0.0, 1.0)], (4,)), grid_of([(0.0, 1.0)] * 2, (4, 4))
    zero = np.zeros(4)
    with pytest.raises(InputError, match="same dimension, got 1 and 2"):
        SoftConjugate.between(line, zero, plane, np.zeros((4, 4)), 1.0, False)
    with pytest.raises(InputError, match=r"same widths, got \(1.0,\) and \(2.0,\)"):
        SoftConjugate.between(line, zero, grid_of([(0.0, 2.0)], (4,)), zero, 1.0, True)
    with pytest.raises(InputError, match=r"log_weights_x has shape \(3,\)"):
        SoftConjugate.between(line, zero, line, np.zeros(3), 1.0, False)
    for value in (np.nan, np.inf, -np.inf):
        with pytest.raises(InputError, match="log_weights_y must be numbers or minus infinity"):
            SoftConjugate.between(line, np.full(4, value), line, zero, 1.0, False)
    soft = SoftConjugate.between(line, zero, line, zero, 1.0, False)
    with pytest.raises(InputError, match=r"psi has shape \(5,\), its grid has \(4,\)"):
        soft.to_second(NUMBA, np.zeros(5))
    with pytest.raises(InputError, match="phi has shape"):
        soft.barycentre(NUMBA, np.zeros((4, 1)))
