"""Sinkhorn's iteration as a solver: closed forms, the flow that it tends to, its own laws."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from agreement.torus_flow import log_mass, torus_flow

import parabolic_ma as pma
from parabolic_ma.analysis import gaussian

PERIOD = 2.0 * np.pi
CELLS = 512
# Half the range of psi^k - psi_t at t = 0.5, for each epsilon, computed once by another program.
KNOWN = {0.025: 4.11e-3, 0.0125: 2.07e-3, 0.00625: 1.04e-3, 0.003125: 5.19e-4}


def raw_target(x: np.ndarray) -> np.ndarray:
    return 0.6 * np.cos(2.0 * x) - 0.4 * np.sin(x)


def raw_reference(y: np.ndarray) -> np.ndarray:
    return -0.5 * np.cos(y) + 0.15 * np.sin(2.0 * y)


def on_torus(potential: Callable[[np.ndarray], np.ndarray]) -> pma.Potential:
    return pma.Potential(lambda x: potential(np.asarray(x)[:, 0]), 1, box=[(0.0, PERIOD)])


TORUS = pma.TransportProblem(on_torus(raw_reference), on_torus(raw_target))


def periodic_part(solution: pma.Solution) -> np.ndarray:
    potential = solution.fields.potential
    return potential.values() - 0.5 * potential.grid.axis(0) ** 2


@cache
def exact() -> np.ndarray:
    log_f, log_g = log_mass(raw_target, PERIOD), log_mass(raw_reference, PERIOD)
    u = torus_flow(
        lambda x: raw_target(x) + log_f, lambda y: raw_reference(y) + log_g, PERIOD, 0.5, 96, 1200
    )
    return u((np.arange(CELLS) + 0.5) * PERIOD / CELLS)


def half_range(values: np.ndarray) -> float:
    return 0.5 * float(values.max() - values.min())


def test_sinkhorn_tends_to_the_flow_on_the_torus() -> None:
    errors, parts = [], []
    for epsilon in KNOWN:
        flow = pma.SinkhornFlow(
            CELLS, epsilon, round(0.5 / epsilon), side="reference", boundary="periodic"
        )
        solution = pma.solve(TORUS, flow, initial=pma.Identity(1))
        assert solution.history["t"][-1] == pytest.approx(0.5, rel=1e-12)
        assert solution.history["sum_error"][-1] < 1e-12
        parts.append(periodic_part(solution))
        errors.append(half_range(parts[-1] - exact()))
    np.testing.assert_allclose(errors, list(KNOWN.values()), rtol=0.05)
    np.testing.assert_allclose(np.divide(errors[:-1], errors[1:]), 2.0, atol=0.02)
    # two epsilons give the flow to second order
    extrapolated = [half_range(2.0 * b - a - exact()) for a, b in itertools.pairwise(parts)]
    np.testing.assert_allclose(np.divide(extrapolated[:-1], extrapolated[1:]), 4.0, atol=0.3)


def test_the_flow_of_finite_differences_is_the_limit_too() -> None:
    errors = []
    for cells in (128, 256):
        flow = pma.GridFlow(
            cells, stepper=pma.SemiImplicit(rtol=0.0, atol=1e-8), t_final=0.5, side="reference",
            boundary="periodic",
        )  # fmt: skip
        found = periodic_part(pma.solve(TORUS, flow, initial=pma.Identity(1)))
        y = (np.arange(cells) + 0.5) * PERIOD / cells
        fine = (np.arange(CELLS) + 0.5) * PERIOD / CELLS
        wanted = np.interp(y, fine, exact(), period=PERIOD)
        errors.append(half_range(found - wanted))
    # the linear interpolation of the exact one is off by (2 pi / 512)^2 / 8 times its bend
    assert errors[1] < 0.4 * errors[0]
    assert errors[1] < 5e-4


@pytest.mark.parametrize("side", ["reference", "target"])
def test_sinkhorn_between_gaussians_has_a_closed_form(side: str) -> None:
    """Covariances that commute with nothing, and means, on 128 x 128 cells."""
    reference = pma.Gaussian([0.3, -0.2], [[1.0, 0.3], [0.3, 0.7]])
    target = pma.Gaussian([0.5, 0.4], [[0.6, -0.2], [-0.2, 1.2]])
    start = pma.Affine([[1.0, 0.2], [0.2, 0.8]], [0.1, -0.3])
    epsilon, steps = 0.4, 10
    # boxes of nine standard deviations: what they cut off enters through the log of the sums
    boxes = {}
    for name, measure in (("reference", reference), ("target", target)):
        reach = 9.0 * np.sqrt(np.diag(measure.cov))
        boxes[f"{name}_box"] = list(zip(measure.mean - reach, measure.mean + reach, strict=True))
    flow = pma.SinkhornFlow(
        (128, 128), epsilon, steps, side=side, boundary="free", save_at=[0.0, steps * epsilon],
        **boxes,
    )  # fmt: skip
    problem = pma.TransportProblem(reference, target)
    solution = pma.solve(problem, flow, initial=start)
    a, b, matrix, shift = reference, target, start.A, start.b
    if side == "target":
        a, b, matrix = target, reference, np.linalg.inv(start.A)
        shift = -matrix @ start.b
    quadratic = gaussian.Quadratic(matrix, matrix @ a.mean + shift, 0.0)
    points = solution.fields.potential.grid.points()
    (_, first), (_, last) = solution.saved
    constant = first.grid_potential.values().ravel() - gaussian.evaluate(quadratic, a.mean, points)
    for _ in range(steps):
        quadratic = gaussian.sinkhorn_step(a, b, quadratic, epsilon)
    wanted = gaussian.evaluate(quadratic, a.mean, points) + constant.mean()
    inside = a.potential(points) < a.potential(a.mean[None])[0] + 0.5 * 36.7  # all but 1e-8
    assert np.abs(last.grid_potential.values().ravel() - wanted)[inside].max() <= 1e-8
    # the map at the cell centres is the barycentre, the gradient of that quadratic
    image = solution.fields.gradient.reshape(-1, 2)
    slope = (points - a.mean) @ quadratic.matrix + quadratic.shift
    assert np.abs(image - slope)[inside].max() <= 1e-7


def test_divergences_fall_and_the_state_goes_on_bit_for_bit() -> None:
    problem = pma.TransportProblem(
        pma.Gaussian([0.0], 1.0), pma.GaussianMixture([0.5, -1.5], [0.34, 0.5])
    )
    flow = pma.SinkhornFlow(256, 0.05, 12, side="target", save_at=[0.3])
    solution = pma.solve(problem, flow)
    history = solution.history
    for column in ("kl", "kl_reverse", "marginal_kl"):
        values = history[column][1 if column == "marginal_kl" else 0 :]
        assert (np.diff(values) < 0.0).all(), column
    middle = solution.at(0.3)
    assert middle.history["step"][-1] == 6
    again = pma.solve(problem, flow, initial=middle)
    np.testing.assert_array_equal(
        again.fields.potential.correction, solution.fields.potential.correction
    )
    for column in history:
        if column != "seconds":
            np.testing.assert_array_equal(again.history[column], history[column], column)


def test_a_grid_too_coarse_for_epsilon_is_refused() -> None:
    problem = pma.TransportProblem(pma.Gaussian([0.0], 1.0), pma.Gaussian([1.0], 0.5))
    with pytest.raises(pma.InputError, match=r"too coarse for epsilon=0\.001.*more cells"):
        pma.solve(problem, pma.SinkhornFlow(64, 1e-3, 5))
    with pytest.raises(pma.InputError, match="epsilon"):
        pma.SinkhornFlow(64, -1.0, 5)
    with pytest.raises(pma.InputError, match="steps"):
        pma.SinkhornFlow(64, 0.1, 0)
