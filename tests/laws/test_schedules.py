"""Schedules of steps: decay no slower than proved, the lengths they promise, and how they fail."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest

import parabolic_ma as pma

STEPS = 2 ** np.arange(4, 9)
MEANS = {"log-concave": [0.4, 1.4], "bimodal": [-1.1, 1.1]}
PROBLEMS = {
    name: pma.TransportProblem(
        pma.Gaussian([0.0], 1.0), pma.GaussianMixture(means, [0.3, 0.3], [0.35, 0.65])
    )
    for name, means in MEANS.items()
}
PROBLEM = PROBLEMS["bimodal"]
IMPLICIT = pma.SemiImplicit(order=1)
ROUNDING = 1e-12  # below it a divergence of the discrete problem is not resolved
# The reference is strongly log-concave with constant 1, so that M / lambda is M.
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)
RATES = {
    "1/K": lambda k: 1.0 / k,
    "1/sqrt(K)": lambda k: k**-0.5,
    "log K/sqrt(K)": lambda k: np.log(k) / k**0.5,
    "log K/K": lambda k: np.log(k) / k,
}
CLAIMS = [
    ("Constant", "average", "1/K"),
    ("InverseSqrt", "average", "1/sqrt(K)"),
    ("InverseSqrt", "last", "log K/sqrt(K)"),
    ("Harmonic", "mean", "log K/K"),
    ("Harmonic", "last", "log K/K"),
    ("Harmonic", "bregman", "log K/K"),
    ("LogOverK", "bregman", "log K/K"),
]


@cache
def run(name: str, schedule: Any, stepper: Any = IMPLICIT, cells: int = 256, **end: Any) -> Any:
    flow = pma.GridFlow(cells, stepper, schedule, side="reference", **end)
    return pma.solve(
        PROBLEMS[name], flow, initial=pma.Identity(1), progress=False, raise_on_failure=False
    )


def limit(name: str) -> Any:
    return run(name, pma.Adaptive(), t_final=60.0)


@cache
def figures(name: str, rule: str, steps: int) -> dict[str, float]:
    """What the theorems are about, after a number of steps."""
    end = limit(name)
    # an upper bound of the Hessians of all iterates: they rise to those of the limit
    largest = float(end.history["max_eigenvalue"].max())
    schedule = {
        "Constant": pma.Constant(0.1),
        "InverseSqrt": pma.InverseSqrt(),
        "Harmonic": pma.Harmonic(largest),
        "LogOverK": pma.LogOverK(largest),
    }[rule]
    s = run(name, schedule, steps=steps)
    x, here = end.map(NODES), s.map(NODES)
    gap = s.map.conjugate(x) - s.map.conjugate(here) - NODES * (x - here)
    return {
        "average": s.history["kl_average"][-1],
        "mean": s.history["kl"][:-1].mean(),
        "last": s.kl,
        "bregman": float(np.average(gap, weights=WEIGHTS)),
    }


def slope(k: Any, values: Any) -> float:
    return float(np.polyfit(np.log(k), np.log(values), 1)[0])


@pytest.mark.parametrize("name", MEANS)
@pytest.mark.parametrize(("rule", "figure", "rate"), CLAIMS)
def test_decay_is_no_slower_than_proved(name: str, rule: str, figure: str, rate: str) -> None:
    values = np.array([figures(name, rule, int(k))[figure] for k in STEPS])
    assert np.isfinite(values).all()
    k, values = STEPS[values > ROUNDING], values[values > ROUNDING]
    assert len(k) >= 2, "all of it is rounding"
    # logarithms bend the bound: its own slope over the same numbers of steps
    assert slope(k, values) <= slope(k, RATES[rate](k))


@pytest.mark.parametrize("name", MEANS)
def test_last_divergence_is_below_the_bregman_divergence_over_the_time(name: str) -> None:
    for schedule, end in (
        (pma.Adaptive(), {"t_final": 60.0}),
        (pma.Constant(0.1), {"steps": 256}),
        (pma.InverseSqrt(), {"steps": 256}),
    ):
        h = run(name, schedule, **end).history
        start = float(limit(name).history["bregman_difference"][1:].sum())
        assert (h["kl"][1:] <= start / h["t"][1:]).all()


@pytest.mark.parametrize("name", MEANS)
def test_average_of_mirror_steps_obeys_its_bound_with_the_constants(name: str) -> None:
    r"""``KL(average) T <= B_0 - B_K + sum eta^2 / 2m |xi|^2 - sum eta KL(mu|rho)``."""
    stepper = pma.ExplicitEuler(substep=True)
    # a bound that is nearly attained: differences of second order exceed it by a little
    for cells, steps, over in ((96, 16, 1e-2), (96, 64, 1e-2), (192, 16, 2.5e-3)):
        h = run(name, pma.InverseSqrt(0.5), stepper, cells=cells, steps=steps).history
        total = h["t"][-1]
        assert total == pytest.approx(0.5 * math.sqrt(steps))
        assert h["kl_average"][-1] * total <= h["regret"][-1]
        assert h["regret"][-1] <= (1.0 + over) * h["regret_bound"][-1]


@pytest.mark.parametrize("steps", [1, 7, 20])
def test_lengths_are_those_of_the_schedule(steps: int) -> None:
    k = np.arange(steps)
    for schedule, lengths in (
        (pma.Constant(0.05), np.full(steps, 0.05)),
        (pma.Harmonic(0.3), 0.3 / (k + 1)),
        (pma.InverseSqrt(0.2), np.full(steps, 0.2 / math.sqrt(steps))),
        (pma.LogOverK(0.2), np.full(steps, 0.2 * math.log(max(steps, 2)) / steps)),
    ):
        h = run("bimodal", schedule, cells=64, steps=steps).history
        np.testing.assert_allclose(h["step_size"][1:], lengths, rtol=1e-12)
        np.testing.assert_allclose(h["t"][1:], np.cumsum(lengths), rtol=1e-12)
        np.testing.assert_array_equal(h["scheduled"], np.arange(steps + 1))


def test_last_step_of_a_schedule_is_cut_at_the_end() -> None:
    h = run("bimodal", pma.Constant(0.3), cells=64, t_final=1.0).history
    np.testing.assert_allclose(h["step_size"][1:], [0.3, 0.3, 0.3, 0.1], rtol=1e-12)
    assert h["t"][-1] == 1.0


@pytest.mark.parametrize("keep", [0.5, 0.9])
@pytest.mark.parametrize("stepper", [IMPLICIT, pma.SemiImplicit(), pma.ExplicitEuler()])
def test_adaptive_keeps_its_share_of_the_smallest_eigenvalue(keep: float, stepper: Any) -> None:
    schedule = pma.Adaptive(first=2.0, largest=0.5, keep=keep, growth=2.0)
    s = run("bimodal", schedule, stepper, cells=64, t_final=2.0)
    assert s.status is pma.Status.CONVERGED
    low, step = s.history["min_eigenvalue"], s.history["step_size"][1:]
    assert (low > 0.0).all()
    assert (low[1:] >= keep * low[:-1]).all()
    assert step.max() <= 0.5
    if isinstance(stepper, pma.ExplicitEuler):
        assert (step <= s.history["step_limit"][:-1]).all()
    assert s.history["t"][-1] == 2.0


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf, "0.1", None, True])
def test_schedules_refuse_lengths_that_are_none(bad: Any) -> None:
    for kind in (pma.Constant, pma.Harmonic, pma.InverseSqrt, pma.LogOverK):
        with pytest.raises(pma.InputError, match="must be a positive number"):
            kind(bad)
    with pytest.raises(pma.InputError, match="first"):
        pma.Adaptive(first=bad)
    if bad != math.inf:
        with pytest.raises(pma.InputError, match="largest"):
            pma.Adaptive(largest=bad)


@pytest.mark.parametrize("bad", [0.0, 1.0, 1.5, -0.5, math.nan, "half"])
def test_adaptive_refuses_shares_that_are_none(bad: Any) -> None:
    with pytest.raises(pma.InputError, match="keep"):
        pma.Adaptive(keep=bad)
    if bad not in (1.0, 1.5):
        with pytest.raises(pma.InputError, match="growth"):
            pma.Adaptive(growth=bad)


def test_flow_refuses_what_is_no_schedule_or_lacks_its_steps() -> None:
    for schedule in (0.1, pma.Constant, "harmonic"):
        with pytest.raises(pma.InputError, match="schedule"):
            pma.GridFlow(64, schedule=schedule, steps=4)  # type: ignore[arg-type]
    for schedule in (pma.InverseSqrt(), pma.LogOverK()):
        with pytest.raises(pma.InputError, match="give steps="):
            pma.GridFlow(64, schedule=schedule, t_final=1.0)
        with pytest.raises(pma.InputError, match="give steps="):
            schedule.step_size(0, None)
    with pytest.raises(pma.InputError, match="steps="):
        pma.GridFlow(64, schedule=pma.Constant(0.1), steps=0)


def test_sub_steps_take_the_time_of_their_step() -> None:
    """Parts are mirror steps, a row each; ``scheduled`` counts the steps of the schedule."""
    stepper = pma.ExplicitEuler(substep=True)
    h = run("bimodal", pma.Harmonic(0.2), stepper, cells=64, steps=6).history
    assert h["scheduled"][-1] == 6
    ends = h["t"][np.flatnonzero(np.diff(h["scheduled"])) + 1]
    np.testing.assert_allclose(ends, np.cumsum(0.2 / np.arange(1, 7)), rtol=1e-9)
    assert h.rows > 7  # a row for every part
    assert (h["step_size"][1:] <= h["step_limit"][:-1]).all()
    assert (h["kl"][1:] < h["kl"][:-1]).all()


def test_explicit_step_beyond_the_limit_is_refused_with_the_limit() -> None:
    flow = pma.GridFlow(64, pma.ExplicitEuler(), pma.Constant(0.1), steps=4, side="reference")
    with pytest.raises(pma.InputError, match="stability limit") as caught:
        flow.init(PROBLEM, pma.Identity(1))
    fine = pma.GridFlow(64, pma.ExplicitEuler(), pma.Constant(1e-4), steps=1, side="reference")
    limit = fine.init(PROBLEM, pma.Identity(1)).progress["step_limit"]
    assert f"{limit:.3g}" in str(caught.value)
    assert "substep=True" in str(caught.value)


def test_limit_that_falls_below_the_step_ends_the_run_with_the_last_good_state() -> None:
    probe = pma.GridFlow(96, pma.ExplicitEuler(), t_final=1.0, side="reference")
    limits = pma.solve(PROBLEM, probe, initial=pma.Identity(1), progress=False).history[
        "step_limit"
    ]
    step = 0.5 * float(limits[0] + limits.min())
    flow = pma.GridFlow(96, pma.ExplicitEuler(), pma.Constant(step), t_final=1.0, side="reference")
    s = pma.solve(PROBLEM, flow, initial=pma.Identity(1), progress=False, raise_on_failure=False)
    h = s.history
    assert s.status is pma.Status.UNSTABLE
    assert f"{h['step_limit'][-1]:.3g}" in s.message
    assert 0.0 < h["t"][-1] < 1.0
    assert h["step_limit"][-1] < step <= h["step_limit"][:-1].min() * (1.0 + 1e-8)
    assert (np.diff(h["kl"]) < 0.0).all()
    assert h["min_eigenvalue"][-1] > 0.0
    assert s.kl == pytest.approx(h["kl"][-1])
    with pytest.raises(pma.ConvergenceError, match="stability limit") as caught:
        pma.solve(PROBLEM, flow, initial=pma.Identity(1), progress=False)
    assert caught.value.solution.status is pma.Status.UNSTABLE


@pytest.mark.parametrize("name", MEANS)
def test_nothing_is_ever_nan(name: str) -> None:
    """Long first steps too; the first row has no step before it and no average."""
    lacks = {"step_size", "bregman_difference", "kl_average"}
    lacks |= {"evi_left", "evi_right", "evi_slack"}
    for schedule in (pma.Harmonic(30.0), pma.LogOverK(30.0), pma.InverseSqrt(10.0),
                     pma.Constant(1e3), pma.Adaptive(first=1e3)):  # fmt: skip
        for stepper in (pma.SemiImplicit(order=1), pma.SemiImplicit()):
            s = run(name, schedule, stepper, cells=64, steps=8)
            for column, values in s.history.items():
                if values.dtype.kind == "f":
                    known = values[1:] if column in lacks else values
                    assert not np.isnan(known).any(), (schedule, stepper, column)
            assert np.isfinite(s.map(NODES)).all()
