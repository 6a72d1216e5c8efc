"""Solvers as TOML: there and back, and errors that name the place."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

import parabolic_ma as pma
from parabolic_ma.config import parse_config
from parabolic_ma.io import solver_toml
from parabolic_ma.io.solver_toml import solver_from_toml, solver_to_toml

FLOWS = {
    "defaults": pma.GridFlow(32, t_final=1.0),
    "explicit": pma.GridFlow(
        (32, 16),
        stepper=pma.ExplicitEuler(substep=True, safety=0.5),
        schedule=pma.Constant(0.01),
        steps=7,
        side="target",
        boundary="free",
        backend="numpy",
        average=False,
        tail_mass=1e-9,
        reference_box=[(-1, 1), (-2, 2)],
    ),
    "stages": pma.GridFlow(
        32, stepper=pma.RKL2(rtol=1e-3, safety=0.8), save_at=[1 / 3, 0.1], average=True
    ),
    "harmonic": pma.GridFlow(
        32, schedule=pma.Harmonic(2.0), steps=5, save_at=pma.every(steps=2), target_box=[(0, 1)]
    ),
    "inverse": pma.GridFlow(
        32, schedule=pma.InverseSqrt(0.5), steps=5, save_at=pma.every(time=0.1)
    ),
    "log": pma.GridFlow(32, schedule=pma.LogOverK(), steps=5, save_at=pma.every(seconds=2.5)),
    "adaptive": pma.GridFlow(32, schedule=pma.Adaptive(largest=math.inf, keep=0.6), t_final=2),
    "first order": pma.GridFlow(32, stepper=pma.SemiImplicit(order=1, atol=0.0), t_final=2),
    "comparator": pma.GridFlow(32, t_final=1.0, comparator=pma.Uniform([(-1, 1)])),
    "sinkhorn": pma.SinkhornFlow((16, 24), epsilon=0.1, steps=10, save_at=[0.5], side="target"),
    "grid": pma.GridSolver((16, 24), tol=1e-9, richardson=True),
}


@pytest.mark.parametrize("name", FLOWS)
def test_there_and_back(name):
    solver = FLOWS[name]
    text = solver_to_toml(solver)
    assert solver_from_toml(text) == solver
    # Every setting that is not None is in the text, so that other defaults would not change it.
    for field in dataclasses.fields(solver):
        given = getattr(solver, field.name) is not None
        assert given == (f"{field.name} = " in text or f"[solver.{field.name}]" in text), field.name


@pytest.mark.parametrize(
    ("table", "classes"),
    [
        (solver_toml.FlowTable, pma.GridFlow),
        (solver_toml.SinkhornTable, pma.SinkhornFlow),
        (solver_toml.GridSolverTable, pma.GridSolver),
        (solver_toml.SemiImplicitTable, pma.SemiImplicit),
        (solver_toml.RKL2Table, pma.RKL2),
        (solver_toml.ExplicitEulerTable, pma.ExplicitEuler),
        (solver_toml.ConstantTable, pma.Constant),
        (solver_toml.HarmonicTable, pma.Harmonic),
        (solver_toml.InverseSqrtTable, pma.InverseSqrt),
        (solver_toml.LogOverKTable, pma.LogOverK),
        (solver_toml.AdaptiveTable, pma.Adaptive),
    ],
)
def test_tables_have_every_setting(table, classes):
    settings = {f.name for f in dataclasses.fields(classes) if f.init}
    assert set(table.__struct_fields__) == settings


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ('stepper = "rkl2"', {"stepper": pma.RKL2()}),
        ('stepper = "explicit_euler"', {"stepper": pma.ExplicitEuler()}),
        ('stepper = "semi_implicit"', {"stepper": pma.SemiImplicit()}),
        ('schedule = "adaptive"', {"schedule": pma.Adaptive()}),
        ('schedule = "inverse_sqrt"\nsteps = 4', {"schedule": pma.InverseSqrt(), "steps": 4}),
        ("save_at = [1, 0.5]", {"save_at": [0.5, 1.0]}),
        ("save_at = {steps = 3}", {"save_at": pma.every(steps=3)}),
        (
            'stepper = {kind = "rkl2"}\n[solver.schedule]\nkind = "adaptive"\nkeep = 0.6',
            {"stepper": pma.RKL2(), "schedule": pma.Adaptive(keep=0.6)},
        ),
    ],
)
def test_short_forms(lines, expected):
    found = solver_from_toml(f'[solver]\nkind = "flow"\nshape = 32\nt_final = 2\n{lines}')
    assert found == pma.GridFlow(32, t_final=2.0, **expected)


def test_the_grid_solver_needs_no_kind():
    assert solver_from_toml("[solver]\nshape = 16\ntol = 1e-6") == pma.GridSolver(16, tol=1e-6)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('stepper = "euler"', r"invalid value 'euler' - at `\$.solver.stepper` .*semi_implicit"),
        ('stepper = {kind = "euler"}', r"\$.solver.stepper.kind` .allowed: explicit_euler, rkl2"),
        ("stepper = {order = 2}", r"missing key `kind` - at `\$.solver.stepper`"),
        ('stepper = {kind = "rkl2", order = 2}', r"unknown key `order` .* kind, rtol, atol"),
        ('stepper = {kind = "semi_implicit", order = 3}', r"invalid value 3 .*stepper.order"),
        ('stepper = {kind = "rkl2", safety = 2}', r"safety=2.0 must lie .*\$.solver.stepper.safe"),
        ('schedule = "constant"', r"has no default step; .* - at `\$.solver.schedule`"),
        ('schedule = {kind = "harmonic"}', r"missing key `scale` - at `\$.solver.schedule`"),
        ('schedule = {kind = "adaptive", keep = 3}', r"keep=3.0 must lie .*schedule.keep"),
        ('schedule = "log_over_k"', r"depends on the number of steps; .*\$.solver.schedule"),
        ("t_final = -1", r"t_final=-1.0 must be a positive number - at `\$.solver.t_final`"),
        ("save_at = [2, 3]\nt_final = 1", r"save_at has the time 3.*\$.solver.save_at"),
        ("save_at = {steps = 2, time = 1}", r"takes exactly one of .*\$.solver.save_at"),
        ("save_at = {step = 2}", r"unknown key `step` .*allowed: steps, seconds, time"),
        ("tol = 1e-3", r"unknown key `tol` - at `\$.solver` .*t_final"),
        ('comparator = {kind = "gaussian", fitted = true}', r"here is none; .*comparator.fitted"),
        ('comparator = {kind = "gauss"}', r"invalid value 'gauss' .*\$.solver.comparator.kind"),
        ('comparator = {kind = "gaussian", mean = 0, cov = -1}', r"cov .*\$.solver.comparator.cov"),
        ('comparator = {kind = "potential", function = "m:f", dim = 1}', "--allow-code"),
    ],
)
def test_errors_name_the_place(lines, message):
    end = "" if "t_final" in lines else "t_final = 1\n"
    with pytest.raises(pma.InputError, match=message):
        solver_from_toml(f'[solver]\nkind = "flow"\nshape = 32\n{end}{lines}')


def test_a_sinkhorn_needs_its_epsilon():
    with pytest.raises(pma.InputError, match=r"missing key `epsilon` - at `\$.solver`"):
        solver_from_toml('[solver]\nkind = "sinkhorn"\nshape = 32\nsteps = 3')


ARRAYS = {
    "grid": pma.GridDensity(np.random.default_rng(0).random((5, 4)), [(-1, 1), (-1, 1)], 1e-3),
    "samples": pma.Samples(np.random.default_rng(1).normal(size=(9, 2))),
    "weighted": pma.Samples(np.random.default_rng(1).normal(size=(3, 2)), [1.0, 2.0, 4.0], 0.7),
    "mixture": pma.GaussianMixture([[1.0, 0.0], [0.0, 1.0], [0, 0]], 0.3, [0.3, 0.77, 0.13]),
}


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("beside", [True, False])
def test_comparators_with_arrays(name, beside):
    solver = pma.GridFlow((32, 32), t_final=1.0, comparator=ARRAYS[name])
    arrays = {} if beside else None
    text = solver_to_toml(solver, arrays)
    assert ("stored" in text) == (beside and name != "mixture")
    again = solver_from_toml(text, arrays=arrays)
    assert dataclasses.replace(again, comparator=None) == pma.GridFlow((32, 32), t_final=1.0)
    assert type(again.comparator) is type(solver.comparator)
    query = np.random.default_rng(2).uniform(-0.9, 0.9, size=(20, 2))
    first, second = (s.comparator.potential(query) for s in (solver, again))
    if name == "weighted":  # weights of points are divided by their sum once more
        np.testing.assert_allclose(second, first, rtol=1e-12)
    else:
        assert np.array_equal(second, first)
    assert solver_to_toml(again, {} if beside else None) == text


def test_what_has_no_form_in_a_file():
    function = pma.Potential(lambda x: 0.5 * x[:, 0] ** 2, 1, normalized=True)
    solver = pma.GridFlow(32, t_final=1.0, comparator=function)
    assert solver_from_toml(solver_to_toml(solver)) == pma.GridFlow(32, t_final=1.0)

    class Mine(pma.SemiImplicit):
        pass

    with pytest.raises(pma.InputError, match=r"stepper=.* has no TOML form"):
        solver_to_toml(pma.GridFlow(32, t_final=1.0, stepper=Mine()))
    with pytest.raises(pma.InputError, match="a Mine has no TOML form; GridSolver, GridFlow"):
        solver_to_toml(Mine())


PROBLEM = """
[reference]
kind = "gaussian"
mean = 0
cov = 1

[target]
kind = "gaussian"
mean = 1
cov = 2
"""


def test_a_run_with_a_flow(tmp_path):
    np.save(tmp_path / "points.npy", np.arange(10.0))
    run = parse_config(
        PROBLEM + '[solver]\nkind = "flow"\nshape = 32\nt_final = 1\n'
        '[solver.comparator]\nkind = "samples"\npath = "points.npy"\n',
        tmp_path,
    )
    assert isinstance(run.solver, pma.GridFlow)
    assert np.array_equal(run.solver.comparator.points[:, 0], np.arange(10.0))
    assert parse_config(PROBLEM + "[solver]\nshape = 16").solver == pma.GridSolver(16)
    with pytest.raises(pma.InputError, match=r"'gird' .*allowed: flow, grid, neural, sinkhorn"):
        parse_config(PROBLEM + '[solver]\nkind = "gird"\nshape = 3')
