"""What is proved of the flow, checked on runs: duality, identities, inequalities, monotonicity."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

import parabolic_ma as pma
from parabolic_ma.analysis import theory

TIMES = [0.1, 0.5, 1.5]
ACCURATE = pma.SemiImplicit(rtol=1e-6, atol=1e-8)
LINE = pma.TransportProblem(
    pma.Gaussian([0.2], 0.9), pma.GaussianMixture([1.2, -1.0], [0.5, 0.4], [0.4, 0.6])
)
PLANE = pma.TransportProblem(
    pma.Gaussian([0.2, 0.0], [[0.9, 0.2], [0.2, 0.7]]),
    pma.GaussianMixture([[1.2, 0.0], [-1.0, 0.3]], [0.5, 0.4], [0.4, 0.6]),
)
BOXES = pma.TransportProblem(
    pma.Uniform([(0.0, 1.0)]),
    pma.GridDensity(1.0 + 0.5 * np.cos(np.pi * (np.arange(64) + 0.5) / 64), [(0.0, 1.0)]),
)


@cache
def run(name: str, side: str, n: int) -> pma.Solution:
    problem = {"line": LINE, "plane": PLANE, "boxes": BOXES}[name]
    flow = pma.GridFlow((n,) * problem.dim, stepper=ACCURATE, save_at=TIMES, side=side)
    return pma.solve(problem, flow, initial=pma.Identity(problem.dim))


@pytest.mark.parametrize(("name", "coarse"), [("line", 64), ("plane", 32), ("boxes", 32)])
def test_the_flows_of_both_sides_are_conjugate(name: str, coarse: int) -> None:
    """The conjugate of psi_t is the phi_t that the dual flow gives, to second order."""
    problem = {"line": LINE, "plane": PLANE, "boxes": BOXES}[name]
    x = problem.target.sample(2000, 1)
    distances = []
    for n in (coarse, 2 * coarse):
        primal, dual = (run(name, side, n) for side in ("reference", "target"))
        for (t, a), (s, b) in zip(primal.saved, dual.saved, strict=True):
            assert t == s
            potentials = a.conjugate(x) - b.conjugate(x)
            maps = a.inverse(x) - b.inverse(x)
            distances.append((np.std(potentials), np.sqrt((maps**2).mean())))
    before, after = np.array(distances).reshape(2, len(TIMES), 2)
    assert (after < 0.35 * before).all(), distances
    assert (after < 6e-3).all()


@pytest.mark.parametrize("side", ["reference", "target"])
def test_the_bregman_divergence_falls_by_both_kl_divergences(side: str) -> None:
    r""":math:`B_0 - B_T = \int KL + KL_{reverse}\,dt`, up to the discretisation."""
    defects = []
    for n in (48, 96, 192):
        h = run("line", side, n).history
        rate = h["kl"] + h["kl_reverse"]
        integral = CubicSpline(h["t"], rate).integrate(0.0, h["t"][-1])
        defects.append(abs(np.sum(h["bregman_difference"][1:]) / integral - 1.0))
    assert defects[1] < 0.3 * defects[0]
    assert defects[2] < 0.3 * defects[1]


@pytest.mark.parametrize("side", ["reference", "target"])
def test_divergences_dissipate_as_their_formula_says(side: str) -> None:
    flow = pma.GridFlow(
        256, stepper=pma.SemiImplicit(), schedule=pma.Constant(2e-3), t_final=0.3, side=side
    )
    state = flow.init(LINE, pma.Identity(1))
    previous = []
    while flow.terminate(LINE, state) is None:
        previous.append(state.observed.iterate)
        state = flow.step(LINE, state)
    before, here, after = previous[50], previous[51], previous[52]
    formula = theory.energy_dissipation(here)
    for divergence, wanted in ((theory.kl, formula.kl), (theory.kl_reverse, formula.kl_reverse)):
        measured = (divergence(after) - divergence(before)) / 4e-3
        # the difference over two steps is off by the third derivative, the formula by h^2
        assert measured == pytest.approx(wanted, rel=2e-3)
        assert measured < 0.0


@pytest.mark.parametrize("name", ["line", "plane", "boxes"])
@pytest.mark.parametrize("side", ["reference", "target"])
def test_everything_falls_that_must(name: str, side: str) -> None:
    h = run(name, side, 64).history
    for column in ("kl", "kl_reverse", "residual"):
        assert (np.diff(h[column]) < 1e-12).all(), column
    # the bounds of the evidence close in from both sides, on all cells of a box and in the mean
    if name == "boxes":
        assert (np.diff(h["rate_max"]) < 1e-12).all()
        assert (np.diff(h["rate_min"]) > -1e-12).all()
    gap = h["log_evidence_upper"] - h["log_evidence_lower"]
    assert (gap >= 0.0).all()
    assert (np.diff(gap) < 1e-12).all()
    # where the divergence itself has fallen to the error of the differences its sign is open
    falling = h["bregman_difference"][1:]
    assert (falling > -1e-6 * falling.sum()).all()


@pytest.mark.parametrize(
    ("side", "n", "box"),
    [
        ("reference", 44, {"reference_box": [(-9.5, 9.5)]}),
        ("target", 32, {"target_box": [(-8, 8)]}),
    ],
)
def test_the_inequality_is_an_equality_between_gaussians(
    side: str, n: int, box: dict[str, Any]
) -> None:
    """Hessians are constant, so that strong convexity loses nothing; boxes hold the comparator."""
    problem = pma.TransportProblem(pma.Gaussian([0.0], 1.0), pma.Gaussian([0.5], 0.64))
    flow = pma.GridFlow(
        n, stepper=pma.ExplicitEuler(), schedule=pma.Constant(0.05), steps=40, side=side,
        boundary="free", comparator=pma.Gaussian([0.3], 1.21), **box,
    )  # fmt: skip
    h = pma.solve(problem, flow, initial=pma.Identity(1)).history
    assert h.rows == 41
    assert h["kl"][0] == pytest.approx(0.25341895, abs=1e-8)
    for prefix in ("", "comparator_"):
        assert np.abs(h[f"{prefix}evi_slack"][1:]).max() <= 1e-6
        # sums of an equality: the regret is its bound
        np.testing.assert_allclose(h[f"{prefix}regret"], h[f"{prefix}regret_bound"], atol=1e-6)
    # and no equality of nothing
    assert np.abs(h["comparator_evi_left"][1:]).max() > 0.1


@pytest.mark.parametrize("side", ["reference", "target"])
def test_mirror_steps_satisfy_the_inequality(side: str) -> None:
    flow = pma.GridFlow(
        80, stepper=pma.ExplicitEuler(), t_final=1.0, side=side,
        comparator=pma.Gaussian([-0.3], 0.5),
    )  # fmt: skip
    h = pma.solve(LINE, flow, initial=pma.Identity(1)).history
    for prefix in ("", "comparator_"):
        slack, size = h[f"{prefix}evi_slack"][1:], np.abs(h[f"{prefix}evi_right"][1:])
        # the mass error is what the differences spoil; it enters through its change a step
        allowed = 5.0 * np.abs(h["mass_error"]).max()
        assert (slack >= -allowed).all()
        assert allowed < 0.05 * size.max()
        assert h[f"{prefix}regret"][-1] <= h[f"{prefix}regret_bound"][-1] + allowed


def test_average_is_the_mixture_of_the_iterates() -> None:
    """On both sides; its KL is at most the mean of the iterates' (convexity)."""
    x = np.linspace(-2.5, 2.5, 41)
    for side in ("reference", "target"):
        flow = pma.GridFlow(
            200, stepper=pma.SemiImplicit(), schedule=pma.Harmonic(0.1), steps=8, side=side,
            save_at=pma.every(steps=1), average=True,
        )  # fmt: skip
        solution = pma.solve(LINE, flow, initial=pma.Identity(1))
        maps = [pma.Identity(1), *(m for _, m in solution.saved)][: flow.steps]
        lengths = solution.history["step_size"][1:]
        density = (
            sum(
                eta
                * np.exp(
                    -LINE.reference.potential(m.inverse(x)) - m.log_abs_det_jacobian(m.inverse(x))
                )
                for eta, m in zip(lengths, maps, strict=True)
            )
            / lengths.sum()
        )
        # averages over cells of 0.07, on the reference's side of the images of its cells: h^2 / 12
        # of the relative curvature, which is at most some ten, and more in the tails
        found = np.exp(-solution.average.potential(x))
        np.testing.assert_allclose(found, density, rtol=5e-3, atol=2e-4)
        kl = solution.history["kl"][:-1]
        assert solution.history["kl_average"][-1] < (lengths @ kl) / lengths.sum()


def test_a_run_at_the_solution_goes_to_its_end_at_once() -> None:
    """What is left to move is below the tolerance; error control at rounding would never end."""
    flow = pma.GridFlow(32, stepper=pma.SemiImplicit(), t_final=1e12, side="target")
    solution = pma.solve(LINE, flow)
    assert solution.history["t"][-1] == 1e12
    assert solution.history.rows < 100
    assert solution.kl < 1e-8


@pytest.mark.parametrize("stepper", [pma.RKL2(), pma.SemiImplicit()])
def test_what_cannot_go_on_ends_soon_and_says_so(stepper: Any) -> None:
    target = pma.GaussianMixture([[-20.0, 0.0], [20.0, 0.0]], 1.0)
    problem = pma.TransportProblem(pma.Gaussian([0.0, 0.0], 1.0), target)
    schedule = pma.Constant(1e300) if isinstance(stepper, pma.RKL2) else None
    flow = pma.GridFlow((24, 24), stepper=stepper, schedule=schedule, t_final=1e301, side="target")
    with pytest.raises(pma.ConvergenceError) as caught:
        pma.solve(problem, flow)
    solution = caught.value.solution
    assert solution.status in (
        pma.Status.STALLED,
        pma.Status.LOST_CONVEXITY,
        pma.Status.DIVERGED,  # carried on until the potential's shape drowned in its size
    )
    assert solution.history.rows < 2000
    assert np.isfinite(solution.fields.potential.correction).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"save_at": [0.0]}, "no time after 0"),
        ({"t_final": 1.0, "steps": 5}, "steps= counts the steps of a schedule"),
        ({"t_final": 1.0, "comparator": 1}, "is not a measure"),
        (
            {"t_final": 1.0, "comparator": pma.Potential(lambda x: x[:, 0] ** 2, 1)},
            "must be normalised",
        ),
        ({}, "say where the flow ends"),
    ],
)
def test_settings_that_make_no_run_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(pma.InputError, match=message):
        pma.GridFlow(32, **settings)


def test_sinkhorn_goes_on_from_where_it_was_with_another_epsilon() -> None:
    first = pma.solve(LINE, pma.SinkhornFlow(128, 0.1, 5, side="reference"))
    second = pma.solve(LINE, pma.SinkhornFlow(256, 0.02, 8, side="reference"), initial=first)
    assert (np.diff(second.history["t"]) > 0.0).all()
    assert second.history["t"][-1] == pytest.approx(0.56)
