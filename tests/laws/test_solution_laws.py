"""What whole solutions obey, whatever the measures: equivariance, symmetry, exact constants."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import parabolic_ma as pma

TOL = 1e-8  # weighted residual that the solves are polished to
# Two solutions of one discrete problem, each polished to TOL: the map differs by the residual over
# the spectral gap (at least 0.3 for these measures) times the largest slope (at most 3), twice.
SAME_MAP = 20 * TOL
SHAPE = (32, 32)
# Shrinking a failure would take hundreds of solves.
few = settings(max_examples=6, phases=(Phase.explicit, Phase.generate))

coordinate = st.floats(-1.2, 1.2)
vectors = st.tuples(coordinate, coordinate).map(np.array)
factors = st.floats(0.25, 4.0)


@st.composite
def mixtures(draw):
    """Two overlapping Gaussians with full covariances in the plane."""
    means = np.array([draw(vectors), draw(vectors)])
    covs = []
    for _ in range(2):
        a, b = draw(st.floats(0.4, 1.2)), draw(st.floats(0.4, 1.2))
        covs.append([[a, 0.5 * draw(st.floats(-1, 1)) * np.sqrt(a * b)], [0, b]])
        covs[-1][1][0] = covs[-1][0][1]
    return pma.GaussianMixture(means, np.array(covs), [0.3, 0.7])


@st.composite
def gaussians(draw):
    return pma.Gaussian(draw(vectors), [draw(st.floats(0.5, 2.0)), draw(st.floats(0.5, 2.0))])


@st.composite
def problems(draw):
    return pma.TransportProblem(draw(gaussians()), draw(mixtures()))


def solve(problem, **settings):
    return pma.solve(
        problem, pma.GridSolver(**{"shape": SHAPE, "tol": TOL, **settings}), progress=False
    )


def some_points(problem, n=40):
    """Reference points well inside the boxes."""
    points = problem.reference.sample(n, 0)
    mean, cov = problem.reference.moments()
    return points[(((points - mean) / np.sqrt(np.diag(cov))) ** 2).sum(axis=1) < 9]


def moved(mixture, shift, factor):
    return pma.GaussianMixture(
        factor * mixture.means + shift, factor**2 * mixture.covs, mixture.weights
    )


@few
@given(problem=problems())
def test_inverse_jacobian_and_monotonicity(problem):
    solution = solve(problem)
    y = some_points(problem)
    x = solution.map(y)
    # The inverse is polished to rounding, times the condition of the Hessian.
    np.testing.assert_allclose(solution.map.inverse(x), y, atol=1e-9)
    back = solution.map.inverse(x)
    np.testing.assert_allclose(solution.map(back), x, atol=1e-9)

    step = 1e-5
    columns = [(solution.map(y + step * e) - solution.map(y - step * e)) / (2 * step)
               for e in np.eye(2)]  # fmt: skip
    jacobian = np.stack(columns, axis=-1)
    # DT is continuous and piecewise smooth: first order in the step where a knot lies between.
    np.testing.assert_allclose(
        solution.map.log_abs_det_jacobian(y), np.log(np.linalg.det(jacobian)), atol=1e-3
    )
    np.testing.assert_allclose(jacobian, jacobian.swapaxes(1, 2), atol=1e-3)

    gaps = ((x[:, None] - x[None]) * (y[:, None] - y[None])).sum(axis=-1)
    assert gaps.min() >= 0

    # log_prob is the change of variables of the map.
    np.testing.assert_allclose(
        solution.log_prob(x),
        -problem.reference.potential(y) - solution.map.log_abs_det_jacobian(y),
        atol=1e-7,
    )


@few
@given(problem=problems(), a=vectors, b=vectors, r=factors, s=factors)
def test_translation_and_scaling(problem, a, b, r, s):
    # The automatic boxes move and grow with the measures, so it is the same discrete problem.
    reference, target = problem.reference, problem.target
    other = pma.TransportProblem(
        pma.Gaussian(r * reference.mean + a, r**2 * reference.cov), moved(target, b, s)
    )
    one, two = solve(problem), solve(other)
    y = some_points(problem)
    np.testing.assert_allclose((two.map(r * y + a) - b) / s, one.map(y), atol=SAME_MAP)
    assert two.log_evidence == pytest.approx(one.log_evidence, abs=SAME_MAP)
    assert two.kl == pytest.approx(one.kl, abs=SAME_MAP)
    assert two.certificate.mass_error == pytest.approx(one.certificate.mass_error, abs=SAME_MAP)


@few
@given(problem=problems(), angle=st.integers(1, 3))
def test_quarter_turns(problem, angle):
    # A grid is only turned into itself by quarter turns.
    Q = np.linalg.matrix_power(np.array([[0.0, -1.0], [1.0, 0.0]]), angle)
    reference, target = problem.reference, problem.target
    turned = pma.TransportProblem(
        pma.Gaussian(Q @ reference.mean, Q @ reference.cov @ Q.T),
        pma.GaussianMixture(target.means @ Q.T, Q @ target.covs @ Q.T, target.weights),
    )
    y = some_points(problem)
    np.testing.assert_allclose(solve(turned).map(y @ Q.T) @ Q, solve(problem).map(y), atol=SAME_MAP)


@few
@given(problem=problems())
def test_swap_gives_the_inverse(problem):
    one, two = solve(problem, side="target"), solve(problem.swap(), side="reference")
    y = some_points(problem)
    np.testing.assert_allclose(two.map.inverse(y), one.map(y), atol=SAME_MAP)
    np.testing.assert_allclose(two.map(one.map(y)), y, atol=SAME_MAP)
    # The grid stays where it was: one of the two evidences is direct quadrature, the other is the
    # solver's constant, and the mass error is by definition their distance.
    mass_error = abs(one.certificate.mass_error)
    assert two.log_evidence == pytest.approx(-one.log_evidence, abs=mass_error + TOL)
    assert two.certificate.solver_constant == pytest.approx(
        -one.certificate.solver_constant, abs=SAME_MAP
    )
    assert two.w2_squared == pytest.approx(one.w2_squared, rel=SAME_MAP)


def test_swap_changes_the_automatic_side():
    modes = pma.GaussianMixture([[2.0, 0.0], [-2.0, 0.0]], 0.5)
    problem = pma.TransportProblem(pma.Gaussian([0.0, 0.0], 1.0), modes)
    assert solve(problem).side == "target"
    assert solve(problem.swap()).side == "reference"


def well(x):
    """A double well along one axis: no closed evidence, several nats deep."""
    return 0.25 * (x[:, 0] ** 2 - 1) ** 2 + 0.5 * x[:, 1] ** 2 + 0.3 * x[:, 0] * x[:, 1]


def convex(x):
    return 0.5 * (x**2).sum(axis=1) + np.logaddexp(x[:, 0], -x[:, 1])


@cache
def evidence(role, side, constant):
    function = well if side == ("target" if role == "target" else "reference") else convex
    unknown = pma.Potential(
        lambda x: function(x) + constant, 2, log_concave=None if function is well else True
    )
    normal = pma.Gaussian([0.2, -0.1], 1.0)
    pair = (normal, unknown) if role == "target" else (unknown, normal)
    return solve(pma.TransportProblem(*pair), side=side)


@pytest.mark.parametrize("side", ["reference", "target"])
@pytest.mark.parametrize("role", ["reference", "target"])
@few
@given(constant=st.floats(-300.0, 300.0))
def test_evidence_shifts_by_the_added_constant(role, side, constant):
    # Subtracting constants in another order costs roundings of numbers of size |constant|, which
    # the polish turns into other roundings: TOL covers the solver's own figures.
    plain, shifted = evidence(role, side, 0.0), evidence(role, side, constant)
    expected = -constant if role == "target" else constant
    rounding = 1e-12 * (1 + abs(constant))
    direct = role == "target" and side == "target"
    assert shifted.log_evidence - plain.log_evidence == pytest.approx(
        expected, abs=rounding if direct else rounding + TOL
    )
    constants = [s.certificate.solver_constant for s in (shifted, plain)]
    assert constants[0] - constants[1] == pytest.approx(expected, abs=rounding + TOL)
    for name in ("kl", "kl_reverse", "w2_squared"):
        assert getattr(shifted, name) == pytest.approx(getattr(plain, name), abs=SAME_MAP)


RNG = np.random.default_rng(5)
EQUAL = {
    "gaussian": pma.Gaussian([0.3, -1.0], [[1.0, 0.4], [0.4, 2.0]]),
    "mixture": pma.GaussianMixture([[1.0, 0.0], [-1.0, 0.5]], 0.4, [0.4, 0.6]),
    "density": pma.GridDensity(RNG.uniform(0.5, 1.5, (12, 9)), [(0, 2), (-1, 1)]),
    "uniform": pma.Uniform([(0, 2), (-1, 1)]),
    "gaussian on a line": pma.Gaussian(0.5, 2.0),
    "mixture on a line": pma.GaussianMixture([-1.0, 1.0], [0.5, 0.8]),
    "density on a line": pma.GridDensity(RNG.uniform(0.5, 1.5, 20), [(0, 3)]),
}


def newton_steps(solution):
    """Corrections that were solved for: the history's rows up to it count linear cycles."""
    return int(np.max(solution.history["cycles"])) if solution.history.rows else 0


@pytest.mark.parametrize("side", ["reference", "target"])
@pytest.mark.parametrize("name", EQUAL)
def test_equal_measures_need_no_step(name, side):
    measure = EQUAL[name]
    shape = 40 if measure.dim == 1 else (40, 32)
    solution = solve(pma.TransportProblem(measure, measure), shape=shape, side=side)
    assert solution.converged
    assert newton_steps(solution) == 0
    y = measure.sample(50, 0)
    np.testing.assert_allclose(solution.map(y), y, atol=1e-10)
    assert solution.w2_squared == pytest.approx(0.0, abs=1e-18)
    assert solution.log_evidence == pytest.approx(0.0, abs=1e-10)


@few
@given(reference=gaussians(), target=gaussians(), side=st.sampled_from(["reference", "target"]))
def test_gaussian_pairs_need_no_step(reference, target, side):
    solution = solve(pma.TransportProblem(reference, target), side=side)
    assert solution.converged
    assert newton_steps(solution) == 0
    slope = np.sqrt(np.diag(target.cov) / np.diag(reference.cov))
    y = some_points(solution.problem)
    np.testing.assert_allclose(
        solution.map(y), target.mean + slope * (y - reference.mean), atol=1e-9
    )


@pytest.mark.parametrize("n", [64, 256, 1024])
def test_map_on_the_line_increases_where_it_is_not_resolved(n):
    # a gap of the target that the map crosses within a cell
    source = pma.GaussianMixture([[0.0], [2.0]], [0.5, 0.2])
    target = pma.GaussianMixture([[-1.0], [3.0]], [0.3, 0.1])
    solution = pma.solve(
        pma.TransportProblem(source, target), pma.GridSolver(shape=n), progress=False
    )
    points = np.linspace(-2.0, 4.0, 20001)[:, None]
    images = solution.map(points)[:, 0]
    # rounding of the potential over the spacing of the points
    assert np.diff(images).min() > -1e-9
