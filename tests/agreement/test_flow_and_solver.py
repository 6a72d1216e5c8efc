"""Where the flow ends is what the steady solver finds: every stepper, side and boundary."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import parabolic_ma as pma

SQUARE = [(0.0, 1.0), (0.0, 1.0)]
TURN = 2.0 * np.pi


def reference(y: np.ndarray) -> np.ndarray:
    return 0.5 * np.cos(TURN * y[:, 0]) + 0.3 * np.sin(TURN * (y[:, 0] + y[:, 1]))


def target(x: np.ndarray) -> np.ndarray:
    return -np.log(1.0 + 0.4 * np.cos(TURN * x[:, 0]) * np.cos(TURN * x[:, 1]))


TORUS = pma.TransportProblem(
    pma.Potential(reference, 2, box=SQUARE), pma.Potential(target, 2, box=SQUARE)
)
SPACE = pma.TransportProblem(
    pma.Gaussian([0.0, 0.0], [[1.0, 0.3], [0.3, 0.8]]),
    pma.GaussianMixture([[1.2, 0.0], [-1.2, 0.5]], 0.6),
)
_CENTRES = (np.arange(64) + 0.5) / 64
BOX = pma.TransportProblem(
    pma.Uniform(SQUARE),
    pma.GridDensity(
        1.0 + 0.5 * np.outer(np.cos(np.pi * _CENTRES), np.cos(TURN * _CENTRES)), SQUARE
    ),
)


@pytest.mark.parametrize(
    "stepper", [pma.SemiImplicit(), pma.SemiImplicit(order=1), pma.RKL2(), pma.ExplicitEuler()],
    ids=["pair", "implicit Euler", "RKL2", "explicit Euler"],
)  # fmt: skip
@pytest.mark.parametrize("side", ["reference", "target"])
@pytest.mark.parametrize(
    ("problem", "boundary", "time"),
    [(TORUS, "periodic", 0.5), (SPACE, "free", 8.0), (BOX, "box", 1.5)],
    ids=["periodic", "free", "box"],
)
def test_the_flow_ends_at_the_steady_map(
    problem: pma.TransportProblem, boundary: Any, time: float, side: Any, stepper: Any
) -> None:
    shape = (24, 28)
    flow = pma.GridFlow(shape, stepper=stepper, t_final=time, side=side, boundary=boundary)
    ended = pma.solve(problem, flow)
    steady = pma.solve(
        problem,
        pma.GridSolver(shape, side=side, boundary=boundary, inner="point", tol=1e-9),
        raise_on_failure=False,  # rounding may end the polishing a little earlier
    )
    assert steady.certificate.residual < 1e-7
    # the flow has no kl left; both are solutions of one discrete problem but for the rules at the
    # outer half cells of a free boundary
    assert ended.kl < 1e-5
    assert ended.w2_squared == pytest.approx(
        steady.w2_squared, rel=2e-2 if boundary == "free" else 2e-3
    )
    assert ended.certificate.mass_error == pytest.approx(steady.certificate.mass_error, abs=3e-3)
