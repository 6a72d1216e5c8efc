"""The refitted, the dual and the composed form of a flow whose steps are known.

Each step is the same log ratio ``h(v) = q |v|^2 / 2 + <b, v>`` of two normal densities, so that
every potential stays a parabola, which all three can represent: what tells them apart is the
discretisation in time alone.
"""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="install the extra neural")

from parabolic_ma.neural.flow import FlowSettings, refit
from parabolic_ma.neural.potentials import (
    ComposedPotential,
    LogitNetwork,
    SumPotential,
    make_potential,
)

STEPS, SLOPE = 4, 0.8
SHIFT = torch.tensor([0.3, -0.2], dtype=torch.float64)
POINTS = torch.randn(200, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
SETTINGS = FlowSettings("logistic", "refit", "learned", 0.1, 100, 1e-3, 10, 4, 0)


def ratio() -> LogitNetwork:
    network = LogitNetwork(2, 4).double()
    with torch.no_grad():
        network.output.zero_()
        network.symmetric.copy_(0.5 * SLOPE * torch.eye(2, dtype=torch.float64))
        network.linear.copy_(SHIFT)
    return network


def refitted(size: float) -> torch.Tensor:
    """The map after all steps of the form that keeps one network."""
    network = make_potential({"kind": "mlp", "dim": 2, "width": 4}).double()
    with torch.no_grad():
        network.output.zero_()  # the identity
    h, rng, damping = ratio(), np.random.default_rng(0), 1e-6
    for _ in range(STEPS):
        with torch.no_grad():
            jet = network.jet(POINTS)
            step = jet.hessian @ h.jet(jet.gradient).gradient[..., None]
        wanted = jet.gradient - size * step[..., 0]
        _, damping = refit(network, POINTS, wanted, jet.hessian, damping, SETTINGS, rng)
    with torch.no_grad():
        return network.jet(POINTS).gradient


def composed(size: float) -> torch.Tensor:
    potential = ComposedPotential(2, 0, 4).double()
    for _ in range(STEPS):
        potential = potential.extended(ratio(), size)
    with torch.no_grad():
        return potential.jet(POINTS).gradient


def dual_back(size: float, x: torch.Tensor) -> torch.Tensor:
    """Where the inverse map of the additive form brings points."""
    potential = SumPotential(2, 0, 4).double()
    for _ in range(STEPS):
        potential = potential.extended(ratio(), size)
    with torch.no_grad():
        return potential.jet(x).gradient


def test_the_refitted_form_is_the_composition_where_its_network_can_follow() -> None:
    # two Gauss-Newton steps on a softplus, of a step of 0.125: its fourth power is 2.4e-4
    torch.testing.assert_close(refitted(0.125), composed(0.125), rtol=0.0, atol=2.4e-4)


def test_the_composition_is_that_of_affine_maps() -> None:
    """``T' = T - size c (q T + b)`` for ``T = c y + m``, by hand."""
    size, c, m = 0.125, 1.0, torch.zeros(2, dtype=torch.float64)
    for _ in range(STEPS):
        c, m = c - size * c * SLOPE * c, m - size * c * (SLOPE * m + SHIFT)
    torch.testing.assert_close(composed(size), c * POINTS + m, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("form", [refitted, composed])
def test_the_dual_form_agrees_to_second_order_in_the_step(form) -> None:
    gaps = [float((dual_back(s, form(s)) - POINTS).abs().max()) for s in (1 / 16, 1 / 32, 1 / 64)]
    ratios = [gaps[0] / gaps[1], gaps[1] / gaps[2]]
    # a gap of a s^2 + b s^3: the ratio is 4 + O(s)
    assert 3.2 < ratios[0] < 4.8, gaps
    assert 3.6 < ratios[1] < 4.4, gaps
