"""Closed forms between Gaussians against differential equations, quadrature and each other."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from parabolic_ma.analysis import gaussian as forms
from parabolic_ma.maps import Affine
from parabolic_ma.measures import Gaussian
from parabolic_ma.status import InputError

# DOP853 at these tolerances leaves about ten times rtol in numbers of order one to ten.
ODE = {"method": "DOP853", "rtol": 1e-13, "atol": 1e-14}
ODE_ERROR = 1e-11
EPS = np.finfo(float).eps


def spread(rng, dim):
    """A well-conditioned covariance with no zero entry."""
    root = rng.standard_normal((dim, dim))
    return root @ root.T / dim + 0.4 * np.eye(dim)


def problem(dim, seed):
    """Reference, target and a start that does not commute with either."""
    rng = np.random.default_rng(seed)
    reference = Gaussian(rng.standard_normal(dim), spread(rng, dim))
    target = Gaussian(rng.standard_normal(dim), spread(rng, dim))
    start = forms.Quadratic(spread(rng, dim), rng.standard_normal(dim), 0.7)
    return reference, target, start


def by_ode(reference, target, start, t):
    """``(A, b, c)`` from the differential equations that `GaussianFlow` states."""
    dim = reference.dim

    def slope(_, state):
        A, b = state[: dim * dim].reshape(dim, dim), state[dim * dim : -1]
        gap = b - target.mean
        ratio = np.linalg.slogdet(reference.cov)[1] - np.linalg.slogdet(target.cov)[1]
        c_rate = -0.5 * gap @ target.precision @ gap + 0.5 * ratio + np.linalg.slogdet(A)[1]
        A_rate = reference.precision - A @ target.precision @ A
        return np.concatenate([A_rate.ravel(), -A @ target.precision @ gap, [c_rate]])

    state = np.concatenate([start.matrix.ravel(), start.shift, [start.constant]])
    end = solve_ivp(slope, (0.0, t), state, **ODE).y[:, -1]
    return end[: dim * dim].reshape(dim, dim), end[dim * dim : -1], end[-1]


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("t", [0.3, 2.5])
def test_flow_solves_its_differential_equations(dim, t):
    reference, target, start = problem(dim, dim)
    found = forms.GaussianFlow(reference, target, *start).quadratic(t)
    for mine, theirs in zip(found, by_ode(reference, target, start, t), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=ODE_ERROR)


@pytest.mark.parametrize("seed", range(3))
def test_flow_is_the_matrix_exponential(seed):
    reference, target, start = problem(3, seed)
    t, zero = 1.1, np.zeros((3, 3))
    block = np.block([[zero, target.precision], [reference.precision, zero]])
    X, Y = np.split(expm(t * block) @ np.vstack([np.eye(3), start.matrix]), 2)
    A, b, _ = forms.GaussianFlow(reference, target, *start).quadratic(t)
    # rounding, enlarged by the conditions of X, at most 1e3 here
    tol = 1e3 * EPS * np.linalg.cond(X)
    np.testing.assert_allclose(A, Y @ np.linalg.inv(X), rtol=0, atol=tol)
    moved = target.mean + np.linalg.solve(X.T, start.shift - target.mean)
    np.testing.assert_allclose(b, moved, rtol=0, atol=tol)


def test_scalar_flow_is_the_tangent_of_an_angle():
    """From below the fixed point ``a = a_* tanh(r t + artanh(a_0 / a_*))``."""
    s, sigma, a_0, t = 1.3, 0.6, 0.2, 1.0
    flow = forms.GaussianFlow(Gaussian(0.0, s**2), Gaussian(0.4, sigma**2), a_0, -0.5)
    a_star, r = sigma / s, 1.0 / (s * sigma)
    A, b, _ = flow.quadratic(t)
    np.testing.assert_allclose(
        A[0, 0], a_star * np.tanh(r * t + np.arctanh(a_0 / a_star)), rtol=50 * EPS
    )
    moved = 0.4 - 0.9 / (np.cosh(r * t) + a_0 / a_star * np.sinh(r * t))
    np.testing.assert_allclose(b[0], moved, rtol=50 * EPS)


@pytest.mark.parametrize("t", [0.01, 3.0, 12.0])
def test_flow_from_far_away_keeps_its_constant(t):
    """A start 1e4 times too steep: the logarithm's integrand is nearly singular at time 0."""
    reference, target = Gaussian(0.0, 1.0), Gaussian(0.0, 1.0)
    a_0 = 1e4
    c = forms.GaussianFlow(reference, target, a_0, 0.0).quadratic(t).constant
    # int log coth(s + e) ds with coth e = a_0, in dilogarithms
    q = (a_0 - 1.0) / (a_0 + 1.0)
    decay = q * np.exp(-2.0 * t)
    from scipy.special import spence  # spence(1 - z) is the dilogarithm of z

    exact = 0.5 * (spence(1 + decay) - spence(1 + q) - spence(1 - decay) + spence(1 - q))
    assert c == pytest.approx(exact, abs=1e-13)


def test_flow_ends_at_the_brenier_map():
    reference, target, start = problem(3, 5)
    gap = forms.spectral_gap(reference, target)
    flow = forms.GaussianFlow(reference, target, *start)
    A, b, c = flow.quadratic(1e4 / gap)  # the matrix exponential itself would overflow
    assert abs(c - flow.quadratic(1e3 / gap).constant) < 1e-11
    np.testing.assert_allclose(b, target.mean, rtol=0, atol=100 * EPS)
    np.testing.assert_allclose(A, forms.optimal_matrix(reference, target), rtol=0, atol=1e3 * EPS)
    image = flow.model(1e4 / gap)
    np.testing.assert_allclose(image.cov, target.cov, rtol=0, atol=1e3 * EPS)


def test_slowest_mode_decays_at_the_spectral_gap():
    reference, target, start = problem(3, 6)
    gap = forms.spectral_gap(reference, target)
    flow = forms.GaussianFlow(reference, target, *start)
    # late enough that the other modes, e^{-(theta_2 - theta_1) t} smaller, are below 1e-6
    thetas = np.sort(np.linalg.eigvals(reference.cov @ target.cov).real) ** -0.5
    t = 14.0 / (np.partition(thetas, 1)[1] - thetas.min())
    assert gap == pytest.approx(thetas.min(), rel=1e-12)
    size = [np.linalg.norm(flow.quadratic(s).shift - target.mean) for s in (t, t + 0.5)]
    # the mean's distance after t is still far above rounding of the mean itself
    assert size[1] > 1e6 * EPS
    assert np.log(size[0] / size[1]) / 0.5 == pytest.approx(gap, rel=1e-5)


@pytest.mark.parametrize("t", [0.0, 0.4])
def test_potential_solves_the_equation(t, rng):
    """``d psi / dt = -f(grad psi) + g + log det Hess psi`` at points, the time by differences."""
    reference, target, start = problem(2, 8)
    flow = forms.GaussianFlow(reference, target, *start)
    y = reference.sample(20, rng)
    t = t + 2e-3
    h = 1e-3
    stencil = zip((-2, -1, 1, 2), (1, -8, 8, -1), strict=True)
    slope = sum(w * flow.potential(t + k * h, y) for k, w in stencil) / (12 * h)
    map_ = flow.map(t)
    rate = reference.potential(y) - target.potential(map_(y)) + map_.log_abs_det_jacobian(y)
    # five points: h^4 / 30 = 3e-14 times a fifth derivative of at most 1e4 here
    np.testing.assert_allclose(slope, rate, rtol=0, atol=1e-9)


def test_map_is_the_gradient_of_the_potential(rng):
    reference, target, start = problem(2, 9)
    flow = forms.GaussianFlow(reference, target, *start)
    y, h = reference.sample(5, rng), 0.1
    for k, step in enumerate(h * np.eye(2)):
        # central differences of a quadratic are exact
        slope = (flow.potential(0.7, y + step) - flow.potential(0.7, y - step)) / (2 * h)
        np.testing.assert_allclose(flow.map(0.7)(y)[:, k], slope, rtol=0, atol=1e-12)
    assert isinstance(flow.map(0.7), Affine)


def test_flow_refuses_what_is_no_flow():
    reference, target = Gaussian([0, 0], 1.0), Gaussian([0, 0], 2.0)
    with pytest.raises(InputError, match="positive definite"):
        forms.GaussianFlow(reference, target, -np.eye(2), [0, 0])
    with pytest.raises(InputError, match="one dimension"):
        forms.GaussianFlow(reference, Gaussian(0.0, 1.0), np.eye(2), [0, 0])
    with pytest.raises(InputError, match="finite time"):
        forms.GaussianFlow(reference, target, np.eye(2), [0, 0]).quadratic(-1.0)


def test_mirror_step_is_the_equation_at_points(rng):
    reference, target, start = problem(2, 10)
    y = reference.sample(20, rng)
    after = forms.mirror_step(reference, target, start, 0.3)
    A, b, _ = start
    gradient = (y - reference.mean) @ A + b
    rate = reference.potential(y) - target.potential(gradient) + np.linalg.slogdet(A)[1]
    np.testing.assert_allclose(
        forms.evaluate(after, reference.mean, y),
        forms.evaluate(start, reference.mean, y) + 0.3 * rate,
        rtol=0,
        atol=1e-12,
    )


def test_dual_step_adds_the_log_ratio_to_the_conjugate(rng):
    reference, target, start = problem(2, 11)
    step = 0.05
    x = target.sample(20, rng)
    before = forms.conjugate(start, reference.mean, target.mean)
    after = forms.conjugate(
        forms.dual_mirror_step(reference, target, start, step), reference.mean, target.mean
    )
    log_ratio = target.potential(x) - forms.model(reference, start).potential(x)
    np.testing.assert_allclose(
        forms.evaluate(after, target.mean, x),
        forms.evaluate(before, target.mean, x) + step * log_ratio,
        rtol=0,
        atol=1e-12,
    )


@pytest.mark.parametrize("one_step", [forms.mirror_step, forms.dual_mirror_step])
def test_explicit_steps_follow_the_flow_to_first_order(one_step):
    reference, target, start = problem(2, 12)
    exact = forms.GaussianFlow(reference, target, *start).quadratic(0.5)

    def error(steps):
        now = start
        for _ in range(steps):
            now = one_step(reference, target, now, 0.5 / steps)
        return max(np.abs(np.subtract(u, v)).max() for u, v in zip(now, exact, strict=True))

    # halving the step halves the error up to a second term, a few per cent at these steps
    assert error(400) / error(800) == pytest.approx(2.0, rel=0.05)


def test_steps_are_stable_up_to_the_inverse_of_the_fastest_mode():
    s, sigma = 1.3, 0.6
    reference, target = Gaussian(0.0, s**2), Gaussian(0.0, sigma**2)
    a_star = sigma / s

    def distance(step):
        now = forms.Quadratic(np.array([[1.01 * a_star]]), np.zeros(1), 0.0)
        for _ in range(600):
            now = forms.mirror_step(reference, target, now, step)
        return abs(now.matrix[0, 0] - a_star)

    # the multiplier of the matrix is 1 - 2 step / (s sigma): 0.98 and 1.02 in size
    assert distance(0.99 * s * sigma) < 1e-5 * a_star
    assert distance(1.01 * s * sigma) > 0.01 * a_star


def test_conjugate_is_the_maximum_and_its_own_inverse(rng):
    reference, target, start = problem(2, 13)
    phi = forms.conjugate(start, reference.mean, target.mean)
    back = forms.conjugate(phi, target.mean, reference.mean)
    for u, v in zip(back, start, strict=True):
        np.testing.assert_allclose(u, v, rtol=0, atol=1e-12)
    y = reference.sample(200, rng)
    x = (y - reference.mean) @ start.matrix + start.shift
    # Fenchel: phi(x) + psi(y) - <x, y> is 0 at the gradient and positive elsewhere
    gap = (
        forms.evaluate(phi, target.mean, x)
        + forms.evaluate(start, reference.mean, y)
        - np.sum(x * y, axis=1)
    )
    np.testing.assert_allclose(gap, 0.0, rtol=0, atol=1e-11)
    elsewhere = (
        gap
        - np.sum(x * (y[::-1] - y), axis=1)
        + (
            forms.evaluate(start, reference.mean, y[::-1])
            - forms.evaluate(start, reference.mean, y)
        )
    )
    assert elsewhere.min() > 0.0


def soft_maximum(measure, quadratic, x, epsilon):
    """``epsilon log int exp((x y - psi) / epsilon) d measure`` on the line by the midpoint rule."""
    mean, deviation = measure.mean[0], np.sqrt(measure.cov[0, 0])
    # the integrand is a Gaussian inside: 12 deviations of the measure around where it is largest
    h = deviation / 400
    y = mean + h * np.arange(-8000, 8001)
    exponent = (
        np.multiply.outer(x, y) - forms.evaluate(quadratic, measure.mean, y)
    ) / epsilon - measure.potential(y)
    top = exponent.max(axis=1)
    return epsilon * (top + np.log(np.exp(exponent - top[:, None]).sum(axis=1) * h))


@pytest.mark.parametrize("epsilon", [0.05, 0.4])
def test_sinkhorn_half_steps_are_integrals(epsilon):
    reference, target = Gaussian(0.3, 1.69), Gaussian(-0.6, 0.36)
    start = forms.Quadratic(np.array([[0.2]]), np.array([0.5]), 1.1)
    x = np.linspace(-2.0, 1.0, 5)
    phi = forms.sinkhorn_half_step(reference, start, target.mean, epsilon)
    # the midpoint rule is spectrally exact here; rounding of exponents up to some hundred
    np.testing.assert_allclose(
        forms.evaluate(phi, target.mean, x),
        soft_maximum(reference, start, x, epsilon),
        rtol=0,
        atol=1e-12,
    )
    psi = forms.sinkhorn_half_step(target, phi, reference.mean, epsilon)
    np.testing.assert_allclose(
        forms.evaluate(psi, reference.mean, x),
        soft_maximum(target, phi, x, epsilon),
        rtol=0,
        atol=1e-12,
    )
    both = forms.sinkhorn_step(reference, target, start, epsilon)
    assert np.array_equal(both.matrix, psi.matrix)
    assert both.constant == psi.constant


def test_sinkhorn_moves_the_mean_by_the_product_of_both_matrices():
    reference, target, start = problem(3, 14)
    epsilon = 0.2
    phi = forms.sinkhorn_half_step(reference, start, target.mean, epsilon)
    after = forms.sinkhorn_step(reference, target, start, epsilon)
    moved = after.matrix @ phi.matrix @ (start.shift - target.mean)
    np.testing.assert_allclose(after.shift - target.mean, moved, rtol=0, atol=1e-12)


def test_sinkhorn_iterations_approach_the_flow_at_time_epsilon_each():
    reference, target = Gaussian(0.0, 1.69), Gaussian(0.0, 0.36)
    start = forms.Quadratic(np.array([[0.2]]), np.zeros(1), 0.0)
    exact = forms.GaussianFlow(reference, target, *start).quadratic(1.0).matrix[0, 0]

    def error(iterations):
        now = start
        for _ in range(iterations):
            now = forms.sinkhorn_step(reference, target, now, 1.0 / iterations)
        return abs(now.matrix[0, 0] - exact)

    # figures computed before by other code, to half a unit of their last digit
    assert error(10) == pytest.approx(2.48e-2, abs=5e-5)
    assert error(40) == pytest.approx(6.31e-3, abs=5e-6)
    assert error(320) / error(640) == pytest.approx(2.0, rel=0.01)


def test_sinkhorn_ends_at_its_biased_fixed_point():
    s2, sigma2, epsilon = 1.69, 0.36, 0.1
    reference, target = Gaussian(0.0, s2), Gaussian(0.0, sigma2)
    now = forms.Quadratic(np.array([[0.2]]), np.zeros(1), 0.0)
    for _ in range(300):
        now = forms.sinkhorn_step(reference, target, now, epsilon)
    half = epsilon / (2 * s2)
    fixed = -half + np.sqrt(half**2 + sigma2 / s2)
    assert now.matrix[0, 0] == pytest.approx(fixed, rel=1e-12)


def test_divergence_is_the_mean_of_the_log_ratio():
    first, second = Gaussian(0.4, 0.7), Gaussian(-0.3, 1.9)
    x = np.linspace(-12, 13, 4001)
    density = np.exp(-first.potential(x))
    exact = np.sum(density * (second.potential(x) - first.potential(x))) * (x[1] - x[0])
    assert forms.kl(first, second) == pytest.approx(exact, abs=1e-12)
    reference, target, start = problem(3, 15)
    pushed = forms.model(reference, start)
    # the divergence is that of the pulled-back measures: Hermite nodes integrate squares exactly
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    grid = np.stack(np.meshgrid(nodes, nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 3)
    mass = np.prod(np.stack(np.meshgrid(*[weights] * 3, indexing="ij")), axis=0).ravel()
    y = reference.mean + grid @ np.linalg.cholesky(reference.cov).T
    minus_rate = -forms.evaluate(forms.rate(reference, target, start), reference.mean, y)
    assert forms.kl(pushed, target) == pytest.approx(mass @ minus_rate / mass.sum(), abs=1e-12)


def test_bregman_is_the_gap_of_the_dual_problem():
    """``B = int phi d pi + int psi d nu - max E<x, y>``, the means of quadratics in closed form."""
    reference, comparator, quadratic = problem(3, 16)
    phi = forms.conjugate(quadratic, reference.mean, comparator.mean)
    means = (
        0.5 * np.sum(phi.matrix * comparator.cov)
        + phi.constant
        + 0.5 * np.sum(quadratic.matrix * reference.cov)
        + quadratic.constant
    )
    A = forms.optimal_matrix(reference, comparator)
    coupling = np.sum(A * reference.cov) + reference.mean @ comparator.mean
    found = forms.bregman(reference, comparator, quadratic)
    assert found == pytest.approx(means - coupling, abs=1e-11)
    assert found > 0.1  # far from zero, so that the comparison means something
    optimal = forms.Quadratic(A, comparator.mean, 0.0)
    assert abs(forms.bregman(reference, comparator, optimal)) < 1e-14


@pytest.mark.parametrize("with_comparator", [False, True])
def test_squared_velocity_is_a_mean_of_squares(with_comparator):
    reference, target = Gaussian(0.2, 1.2), Gaussian(-0.5, 0.5)
    pi = Gaussian(0.3, 0.9) if with_comparator else target
    quadratic = forms.Quadratic(np.array([[0.7]]), np.array([0.1]), 0.0)
    x = np.linspace(-12, 12, 4001)
    y = reference.mean + (x - 0.1) / 0.7
    slope = reference.gradient(y) - 0.7 * target.gradient(x)
    exact = np.sum(np.exp(-pi.potential(x)) * slope**2) * (x[1] - x[0])
    found = forms.squared_velocity(reference, target, quadratic, pi if with_comparator else None)
    assert found == pytest.approx(exact, rel=1e-11)
