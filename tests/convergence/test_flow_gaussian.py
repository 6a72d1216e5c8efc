"""The flow between Gaussians against its closed form: orders in time, accuracy, cost.

With a free boundary quadratic potentials stay quadratic and differences of them are exact, so that
nothing but the error in time is left, on any grid.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

import parabolic_ma as pma
from parabolic_ma.analysis.gaussian import GaussianFlow

T = 0.5
# Means differ and covariances commute neither with each other nor with the start.
CASES = {
    1: (pma.Gaussian([0.3], 0.8), pma.Gaussian([-0.4], 1.5), pma.Affine([[1.2]], [0.2])),
    2: (
        pma.Gaussian([0.3, -0.2], [[1.0, 0.3], [0.3, 0.7]]),
        pma.Gaussian([0.5, 0.4], [[0.6, -0.2], [-0.2, 1.2]]),
        pma.Affine([[1.0, 0.2], [0.2, 0.8]], [0.1, -0.3]),
    ),
}
SIDES = ("reference", "target")


@cache
def run(dim: int, side: str, shape: int, stepper: Any, steps: int | None = None) -> Any:
    """Follow the flow to ``T``, in equal steps or by error control; return it and its error."""
    reference, target, start = CASES[dim]
    schedule = None if steps is None else pma.Constant(T / steps)
    flow = pma.GridFlow(
        (shape,) * dim, stepper=stepper, schedule=schedule, t_final=T, save_at=[0.0, T], side=side
    )
    problem = pma.TransportProblem(reference, target)
    solution = pma.solve(problem, flow, initial=start)
    a, b, matrix, shift = reference, target, start.A, start.b
    if side == "target":  # the conjugate flows between the measures exchanged
        a, b, matrix = target, reference, np.linalg.inv(start.A)
        shift = -matrix @ start.b
    exact = GaussianFlow(a, b, matrix, matrix @ a.mean + shift)
    points = solution.fields.potential.grid.points()
    (_, before), (t, after) = solution.saved
    assert t == T
    # the constant of the initial potential is arbitrary, what the flow adds to it is not
    moved = after.grid_potential.values().ravel() - before.grid_potential.values().ravel()
    wanted = exact.potential(T, points) - exact.potential(0.0, points)
    return solution, float(np.abs(moved - wanted).max())


@pytest.mark.parametrize("dim", CASES)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("stepper", "order", "counts"),
    [
        (pma.SemiImplicit(order=1), 0.9, (16, 32, 64)),
        (pma.SemiImplicit(order=2), 1.9, (8, 16, 32)),
        # with a number of stages of which no step here needs more
        (pma.RKL2(least_stages=9), 1.9, (8, 16, 32)),
        (pma.ExplicitEuler(), 0.9, (200, 400)),
    ],
    ids=["implicit Euler", "implicit pair", "RKL2", "explicit Euler"],
)
def test_order_in_time(
    dim: int, side: str, stepper: Any, order: float, counts: tuple[int, ...]
) -> None:
    shape = 48 if dim == 1 else 24
    errors = [run(dim, side, shape, stepper, n)[1] for n in counts]
    observed = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (observed >= order).all(), errors
    assert (observed <= order + 0.3).all(), errors


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("dim", CASES)
def test_error_control_reaches_six_digits_everywhere_on_the_box(dim: int, side: str) -> None:
    # the tolerance is on the root mean square under the measure; where the box ends, seven
    # standard deviations out, a quadratic's error is fifty times as large (12 cells would not do:
    # the midpoint rule normalises a Gaussian to 3e-6 on them)
    atol = 5e-11 if dim == 1 else 1e-11
    stepper = pma.SemiImplicit(rtol=0.0, atol=atol)
    solution, error = run(dim, side, 48 if dim == 1 else 16, stepper)
    assert error <= 1e-6
    assert solution.converged
    loose, larger = run(dim, side, 48 if dim == 1 else 16, pma.SemiImplicit(rtol=0.0, atol=1e-6))
    assert error < 0.01 * larger
    assert loose.history.rows < 0.2 * solution.history.rows


def test_stabilised_steps_cost_a_fifth_of_explicit_ones_at_equal_error() -> None:
    explicit, error = run(2, "reference", 128, pma.ExplicitEuler(), 800)
    stabilised, smaller = run(2, "reference", 128, pma.RKL2(), 16)
    assert smaller <= error
    cost, least = (int(s.history["evaluations"][-1]) for s in (explicit, stabilised))
    assert least <= cost / 5


@pytest.mark.parametrize("order", [1, 2])
def test_implicit_steps_have_no_stability_limit(order: int) -> None:
    solution, _ = run(2, "target", 96, pma.SemiImplicit(order=order), 4)
    assert (solution.history["step_size"][1:] > 5.0 * solution.history["step_limit"][:-1]).all()
    assert (np.diff(solution.history["kl"]) < 0.0).all()
