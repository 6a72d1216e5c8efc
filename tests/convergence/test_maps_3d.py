"""Second order of the map in space on every kind of problem with a known one.

As in the plane: each case is solved on three grids, far below its discretisation error, and the
solver asserts that by itself (`Case.solve`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from convergence.problems import (
    Case,
    LogCosh,
    Waves,
    bulk,
    gaussian_map,
    nodal_error,
    observed_order,
    root_mean_square,
    spline_error,
)
from scipy.stats import ortho_group

import parabolic_ma as pma

# With errors a h^2 (1 + b h^2), |b h^2| at most a third on the coarsest of grids that span a factor
# r = 2 to 4: the slope of the logarithms is wrong by at most log(4/3) / log(4), 0.3 for r = 2.
ORDER = 1.7

TARGET = pma.Gaussian([0.3, -0.2, 0.1], [[0.8, 0.3, 0.1], [0.3, 0.5, -0.1], [0.1, -0.1, 0.6]])
W = np.array([[1.0, 0.0, 0.0], [0.5, 0.8, 0.0], [0.0, 0.3, 0.9]])
VALLEYS = LogCosh(1.0, -np.array([0.45, 0.25, 0.2]), W, np.zeros(3))
RIDGES = LogCosh(0.7, np.array([0.5, 0.3, 0.2]), W, np.array([0.3, -0.5, 0.2]))
NORMAL = pma.Gaussian([0, 0, 0], 1.0)


def bimodal_target() -> Case:
    """``phi`` explicit: the target has two modes, and the grid is on its side."""
    density = VALLEYS.pulled_back(NORMAL)
    return Case(
        "bimodal target",
        lambda: pma.TransportProblem(NORMAL, pma.Potential(density, 3, normalized=True)),
        VALLEYS.inverse,
        VALLEYS.slope,
    )


def ridged_reference() -> Case:
    """``psi`` explicit, ``mu`` a correlated Gaussian: the reference is what fits."""
    density = RIDGES.pulled_back(TARGET)
    return Case(
        "ridged reference",
        lambda: pma.TransportProblem(pma.Potential(density, 3, normalized=True), TARGET),
        RIDGES.slope,
        RIDGES.inverse,
    )


def cuboid(
    widths: tuple[float, float, float], stretch: tuple[float, float, float], size: float
) -> Case:
    """Box to box, one half wave on each side.

    ``cos a cos b cos c`` is a quarter of the sum of ``cos(a +- b +- c)``.
    """
    first, second, third = math.pi / np.array(widths)
    signs = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
    waves = np.array([[first, s * second, t * third] for s, t in signs])
    box = pma.Box((1.0, -2.0, 0.5), tuple(np.array([1.0, -2.0, 0.5]) + widths))
    amplitude = 0.25 * size / first**2 * np.ones(4)
    start = np.array(box.lower)
    crest = np.array(stretch) * start
    case = Waves(np.array(stretch), amplitude, waves, start, box, crest, 0.5)
    return case.case(f"cosines on {widths} stretched by {stretch}", "box")


def torus() -> Case:
    """Unit torus, moved so that nothing is even about the faces."""
    waves = 2.0 * math.pi * np.array([[1.0, 1.0, 0.0], [1.0, -1.0, 1.0], [0.0, 0.0, 1.0]])
    amplitude = -np.array([0.25, 0.2, 0.2]) / (waves**2).sum(axis=1)
    box = pma.Box((0.0,) * 3, (1.0,) * 3)
    shifts = np.array([0.13, 0.26, 0.31])
    return Waves(np.ones(3), amplitude, waves, shifts, box, 0.7 * shifts, 0.4).case(
        "torus", "periodic"
    )


@dataclass(frozen=True)
class Study:
    """One case on several grids."""

    case: Case
    side: str
    shapes: tuple[tuple[int, int, int], ...]

    def __str__(self) -> str:
        return f"{self.case}, {self.side} side"


def cubes(*sizes: int) -> tuple[tuple[int, int, int], ...]:
    return tuple((n, n, n) for n in sizes)


STUDIES = [
    Study(bimodal_target(), "target", cubes(32, 48, 64)),
    Study(ridged_reference(), "reference", cubes(32, 48, 64)),
    Study(cuboid((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), 0.4), "reference", cubes(16, 32, 64)),
    Study(cuboid((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), 0.2), "target", cubes(16, 32, 64)),
    Study(  # cells of three different widths, sizes that are no powers of two, and odd
        cuboid((2.0, 1.0, 1.5), (0.7, 1.3, 1.0), 0.1),
        "reference",
        ((24, 15, 20), (36, 23, 30), (48, 32, 41)),
    ),
    Study(torus(), "reference", cubes(16, 32, 64)),
    Study(torus(), "target", cubes(24, 32, 64)),
]


@pytest.fixture(scope="module", params=STUDIES, ids=str)
def measured(request):
    """Spacings, errors of the map and of the nodal gradient, mass errors; of one study."""
    study = request.param
    solutions = [study.case.solve(shape, study.side) for shape in study.shapes]
    return (
        [max(s.fields.potential.grid.spacing) for s in solutions],
        [spline_error(study.case, s) for s in solutions],
        [nodal_error(study.case, s) for s in solutions],
        [abs(s.certificate.mass_error) for s in solutions],
    )


def test_order_of_the_map(measured):
    spacings, errors, _, _ = measured
    order = observed_order(spacings, errors)
    assert order > ORDER, f"order {order:.2f}, errors {errors}"


def test_order_of_the_nodal_gradient(measured):
    spacings, _, errors, _ = measured
    order = observed_order(spacings, errors)
    assert order > ORDER, f"order {order:.2f}, errors {errors}"


def test_the_mass_error_falls_as_fast(measured):
    # It may pass through zero: a second-order bound through the largest of its values, no slope.
    spacings, _, _, masses = measured
    scaled = [m / h**2 for m, h in zip(masses, spacings, strict=True)]
    assert scaled[-1] <= 1.5 * max(scaled[:-1]), f"mass errors {masses}"


@pytest.mark.parametrize("side", ["reference", "target"])
@pytest.mark.parametrize("shape", [(32, 32, 32), (30, 35, 31)])
def test_gaussians_are_exact(side, shape):
    # An affine map has no discretisation error. Its matrix comes from moments by the midpoint rule,
    # whose error is e^{-2 pi^2 s^2 / h^2} for the least standard deviation s = 0.63 and the widest
    # cells, h = 0.43: 1e-18. The boxes cut off 1e-12, at a distance of seven: variances lose 1e-10.
    turn = ortho_group.rvs(3, random_state=1)
    reference = pma.Gaussian([0.5, -1.0, 0.2], turn @ np.diag([1.5, 0.6, 0.4]) @ turn.T)
    exact = gaussian_map(reference, TARGET)
    case = Case("gaussians", lambda: pma.TransportProblem(reference, TARGET), exact, exact.inverse)
    solution = case.solve(shape, side)
    assert spline_error(case, solution) < 1e-10
    assert nodal_error(case, solution) < 1e-10
    assert abs(solution.log_evidence) < 1e-9  # quadrature to the tail mass, 1e-12, on either side
    points = reference.sample(300, 0)
    np.testing.assert_allclose(
        solution.map.log_abs_det_jacobian(points), np.linalg.slogdet(exact.A)[1], atol=1e-10
    )


def test_the_estimated_error_is_the_error():
    # From two grids, right to a factor 3 as in the plane.
    case = ridged_reference()
    solution = case.solve((64, 64, 64), tol="discretisation")
    error = nodal_error(case, solution)
    assert error / 3.0 < solution.certificate.map_error < 3.0 * error


def test_the_duality_gap_is_of_second_order():
    # The conjugate is a computed maximum on 24 and 48 cells an axis: the gap is that of the
    # quadratures and of the map, h^2 times a constant; a factor of 4, within a third.
    case = cuboid((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), 0.4)
    gaps = [case.solve((n, n, n)).certificate.duality_gap for n in (24, 48)]
    assert gaps[0] / gaps[1] == pytest.approx(4.0, rel=1.0 / 3.0)


def test_a_cycle_takes_most_of_an_error():
    # One F-cycle on the rows of a solution; the study of the smoother found 0.09 with degree 2 and
    # 0.02 with degree 4 for smooth maps. Rough and smooth errors, of zero mean.
    case = cuboid((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), 0.4)
    solver = pma.GridSolver((32, 32, 32), side="reference")
    problem = case.problem()
    state = solver.init(problem)
    while solver.terminate(problem, state) is None:
        state = solver.step(problem, state)
    equation = state.equation
    equation.linearise(state.iterate, 1e9, state.source)
    grid, kernels = equation.multigrid, equation.kernels
    s = (np.indices(equation.shape) + 0.5) / 32
    rough = np.random.default_rng(0).standard_normal(equation.shape)
    error = np.cos(np.pi * s[0]) * np.cos(2 * np.pi * s[1]) + np.cos(np.pi * s[2]) + 0.02 * rough
    v = np.zeros([n + 2 for n in equation.shape], np.float32)
    v[1:-1, 1:-1, 1:-1] = error
    kernels.fill_ghosts(v, grid.mode)
    zero = np.zeros(equation.shape, np.float32)
    for degree, reduction in ((2, 0.2), (4, 0.05)):
        right, left = np.empty_like(zero), np.empty_like(zero)
        kernels.residual(grid.rows[0], zero, -v, right)  # M v
        grid.degree = degree
        grid.setup()
        grid.rhs[0][...] = right
        grid.solve()
        kernels.residual(grid.rows[0], right, grid.solution, left)
        assert np.linalg.norm(left) < reduction * np.linalg.norm(right)


def test_richardson_extrapolates():
    case = cuboid((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), 0.4)
    plain = case.solve((32, 32, 32))
    sharp = case.solve((32, 32, 32), tol="discretisation", richardson=True)
    # fourth order: h^2 = 1e-3 times constants of order ten
    assert nodal_error(case, sharp) < 0.1 * nodal_error(case, plain)


def test_a_table_stands_for_its_density():
    # The same problem with the inner density tabulated, by a spline of fourth order.
    case = bimodal_target()
    problem = case.problem()
    tabulated = pma.TransportProblem(
        pma.Potential(NORMAL.potential, 3, normalized=True, log_concave=True), problem.target
    )
    settings = {"shape": (32, 32, 32), "side": "target", "tol": 1e-6}
    exact, table = (pma.solve(p, pma.GridSolver(**settings)) for p in (problem, tabulated))
    points = problem.target.sample(400, 1)
    # a Gaussian's log density is a quadratic, which splines reproduce: what differs is the
    # polishing, 1e-6 in the residual, and the tails beyond the table
    np.testing.assert_allclose(table.map.inverse(points), exact.map.inverse(points), atol=1e-4)


def test_inverse_round_trips():
    solution = ridged_reference().solve((32, 32, 32), tol="discretisation")
    y = solution.problem.reference.sample(500, 0)
    x = solution.map(y)
    np.testing.assert_allclose(solution.map.inverse(x), y, atol=1e-9)
    step = 1e-5
    jacobian = np.stack(
        [
            (solution.map(y + step * e) - solution.map(y - step * e)) / (2.0 * step)
            for e in np.eye(3)
        ],
        axis=-1,
    )
    # third derivatives of size ten over a step, and rounding 1e-14 / 1e-5
    np.testing.assert_allclose(
        solution.map.log_abs_det_jacobian(y), np.linalg.slogdet(jacobian)[1], atol=1e-4
    )


def test_many_modes_converge():
    # Eight modes: the target side's grid, from the coarsest start on.
    means = 1.5 * np.array([(a, b, c) for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)])
    target = pma.GaussianMixture(means, 0.3)
    solution = pma.solve(
        pma.TransportProblem(NORMAL, target), pma.GridSolver(shape=(64, 64, 64), tol=1e-4)
    )
    assert solution.side == "target"
    fields = solution.fields
    # each factor is the map of one axis: the problem is a product of three
    line = pma.solve(
        pma.TransportProblem(pma.Gaussian([0.0], 1.0), pma.GaussianMixture([-1.5, 1.5], 0.3)),
        pma.GridSolver(shape=4096, side="target"),
    )
    points = fields.potential.grid.points()
    weights = bulk(np.exp(fields.log_source).ravel())
    exact = np.stack([line.map.inverse(points[:, k]) for k in range(3)], axis=-1)
    gradient = fields.gradient.reshape(points.shape)
    # second order, h = 0.16 for features of width 0.55: (h / 0.55)^2 / 6 of maps of size one
    assert root_mean_square(gradient - exact, weights) < 0.02
