"""Solvers as TOML, the ``[solver]`` table.

=============  =====================================================================================
``kind``       keys beside ``shape``, ``side``, ``boundary``, ``backend``, ``dtype``, ``tail_mass``,
               ``reference_box``, ``target_box``
=============  =====================================================================================
``grid``       ``tol``, ``richardson``, ``inner``, ``max_steps``, ``threads``; the kind if none is
               given
``flow``       ``stepper``, ``schedule``, ``t_final``, ``steps``, ``save_at``, ``comparator``,
               ``average``
``sinkhorn``   ``epsilon``, ``steps``, ``save_at``
``neural``     no grid; ``method``, ``potential``, ``steps``, ``time_limit``, ``seed`` and the other
               settings of `NeuralFlow`
=============  =====================================================================================

A stepper or schedule is a table with its ``kind`` and settings, or the kind alone where the
defaults will do; ``save_at`` is a list of times, or an interval; a comparator is a measure as in
`parabolic_ma.io.toml`::

    [solver]
    kind = "flow"
    shape = [64, 64]
    t_final = 2.0
    stepper = "rkl2"  # or "semi_implicit", "explicit_euler"
    save_at = [0.5, 1.0]

    [solver.schedule]
    kind = "constant"  # or "harmonic", "inverse_sqrt", "log_over_k", "adaptive"
    step = 0.01

    [solver.comparator]
    kind = "gaussian"
    mean = [0, 0]
    cov = 1.0

An interval is ``save_at = {steps = 10}``, or one in ``seconds`` or ``time``. A comparator that is
a `Potential` or a measure of another package has no form in a file: it is left out, and the solver
that is read back has none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from parabolic_ma.grid import Box
from parabolic_ma.io.toml import (
    Count,
    MeasureTable,
    Pairs,
    Table,
    build_measure,
    measure_arrays,
    measure_table,
)
from parabolic_ma.io.tomltext import convert, dump, parse, place
from parabolic_ma.measures import Gaussian, GaussianMixture, GridDensity, Samples, Uniform
from parabolic_ma.status import InputError
from parabolic_ma.triggers import AtTimes, Every, every
from parabolic_ma.typing import Array

if TYPE_CHECKING:
    from parabolic_ma.solvers.grid_flow import GridFlow
    from parabolic_ma.solvers.grid_solver import GridSolver
    from parabolic_ma.solvers.neural_flow import NeuralFlow
    from parabolic_ma.solvers.schedules import Schedule
    from parabolic_ma.solvers.sinkhorn_flow import SinkhornFlow
    from parabolic_ma.solvers.steppers import Stepper

__all__ = [
    "FlowTable",
    "GridSolverTable",
    "NeuralTable",
    "SinkhornTable",
    "Solver",
    "SolverTable",
    "build_solver",
    "solver_from_toml",
    "solver_kind",
    "solver_to_toml",
    "with_kind",
]

Solver: TypeAlias = "GridSolver | GridFlow | SinkhornFlow | NeuralFlow"

# The kind of a table -> the module and name of the class that it stands for.
_SOLVERS = {
    "grid": ("grid_solver", "GridSolver"),
    "flow": ("grid_flow", "GridFlow"),
    "sinkhorn": ("sinkhorn_flow", "SinkhornFlow"),
    "neural": ("neural_flow", "NeuralFlow"),
}
_STEPPERS = {
    "semi_implicit": ("steppers", "SemiImplicit"),
    "rkl2": ("steppers", "RKL2"),
    "explicit_euler": ("steppers", "ExplicitEuler"),
}
_SCHEDULES = {
    "constant": ("schedules", "Constant"),
    "harmonic": ("schedules", "Harmonic"),
    "inverse_sqrt": ("schedules", "InverseSqrt"),
    "log_over_k": ("schedules", "LogOverK"),
    "adaptive": ("schedules", "Adaptive"),
}
_PACKAGE = "parabolic_ma.solvers"
_COMPARATORS = (Gaussian, GaussianMixture, GridDensity, Samples, Uniform)


class SemiImplicitTable(Table, frozen=True, tag="semi_implicit"):
    """The settings of `SemiImplicit`."""

    order: Literal[1, 2] | UnsetType = UNSET
    rtol: float | UnsetType = UNSET
    atol: float | UnsetType = UNSET


class RKL2Table(Table, frozen=True, tag="rkl2"):
    """The settings of `RKL2`."""

    rtol: float | UnsetType = UNSET
    atol: float | UnsetType = UNSET
    safety: float | UnsetType = UNSET
    least_stages: Count | UnsetType = UNSET


class ExplicitEulerTable(Table, frozen=True, tag="explicit_euler"):
    """The settings of `ExplicitEuler`."""

    substep: bool | UnsetType = UNSET
    safety: float | UnsetType = UNSET


class ConstantTable(Table, frozen=True, tag="constant"):
    """The settings of `Constant`."""

    step: float


class HarmonicTable(Table, frozen=True, tag="harmonic"):
    """The settings of `Harmonic`."""

    scale: float


class InverseSqrtTable(Table, frozen=True, tag="inverse_sqrt"):
    """The settings of `InverseSqrt`."""

    scale: float | UnsetType = UNSET


class LogOverKTable(Table, frozen=True, tag="log_over_k"):
    """The settings of `LogOverK`."""

    scale: float | UnsetType = UNSET


class AdaptiveTable(Table, frozen=True, tag="adaptive"):
    """The settings of `Adaptive`."""

    first: float | UnsetType = UNSET
    largest: float | UnsetType = UNSET
    keep: float | UnsetType = UNSET
    growth: float | UnsetType = UNSET


class EveryTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The one argument of `every`."""

    steps: Count | UnsetType = UNSET
    seconds: float | UnsetType = UNSET
    time: float | UnsetType = UNSET


StepperTable: TypeAlias = (
    Literal["semi_implicit", "rkl2", "explicit_euler"]
    | SemiImplicitTable
    | RKL2Table
    | ExplicitEulerTable
)
ScheduleTable: TypeAlias = (
    Literal["constant", "harmonic", "inverse_sqrt", "log_over_k", "adaptive"]
    | ConstantTable
    | HarmonicTable
    | InverseSqrtTable
    | LogOverKTable
    | AdaptiveTable
)
Times: TypeAlias = list[float] | EveryTable


class _GridTable(Table, frozen=True):
    """What every solver on a grid is told; what is not set keeps the solver's default."""

    shape: Count | Annotated[list[Count], msgspec.Meta(min_length=1)]
    side: Literal["auto", "reference", "target"] | UnsetType = UNSET
    boundary: Literal["auto", "box", "free", "periodic"] | UnsetType = UNSET
    backend: str | UnsetType = UNSET
    tail_mass: float | UnsetType = UNSET
    reference_box: Pairs | UnsetType = UNSET
    target_box: Pairs | UnsetType = UNSET


class GridSolverTable(_GridTable, frozen=True, tag="grid"):
    """The settings of `GridSolver`."""

    dtype: Literal["float64", "float32"] | UnsetType = UNSET
    tol: float | Literal["discretisation"] | UnsetType = UNSET
    richardson: bool | UnsetType = UNSET
    inner: Literal["auto", "point", "cell"] | UnsetType = UNSET
    max_steps: Count | UnsetType = UNSET
    threads: Count | UnsetType = UNSET


class FlowTable(_GridTable, frozen=True, tag="flow"):
    """The settings of `GridFlow`."""

    dtype: Literal["float64"] | UnsetType = UNSET
    stepper: StepperTable | UnsetType = UNSET
    schedule: ScheduleTable | UnsetType = UNSET
    t_final: float | UnsetType = UNSET
    steps: Count | UnsetType = UNSET
    save_at: Times | UnsetType = UNSET
    comparator: MeasureTable | UnsetType = UNSET
    average: bool | UnsetType = UNSET


class SinkhornTable(_GridTable, frozen=True, kw_only=True, tag="sinkhorn"):
    """The settings of `SinkhornFlow`."""

    epsilon: float
    dtype: Literal["float64"] | UnsetType = UNSET
    steps: Count
    save_at: Times | UnsetType = UNSET


class NeuralTable(Table, frozen=True, tag="neural"):
    """The settings of `NeuralFlow`."""

    method: str | UnsetType = UNSET
    potential: str | UnsetType = UNSET
    steps: Count | UnsetType = UNSET
    step_size: float | UnsetType = UNSET
    batch: Count | UnsetType = UNSET
    time_limit: float | UnsetType = UNSET
    seed: int | UnsetType = UNSET
    device: str | UnsetType = UNSET
    threads: Count | UnsetType = UNSET
    form: str | UnsetType = UNSET
    density: str | UnsetType = UNSET
    width: Count | UnsetType = UNSET
    learning_rate: float | UnsetType = UNSET
    inner_steps: Count | UnsetType = UNSET
    held_out: float | UnsetType = UNSET


SolverTable: TypeAlias = GridSolverTable | FlowTable | SinkhornTable | NeuralTable


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text that holds nothing but the ``[solver]`` table."""

    solver: SolverTable


def with_kind(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a parsed text whose ``[solver]`` table, if there is one, has a kind."""
    table = document.get("solver")
    if not isinstance(table, Mapping) or "kind" in table:
        return dict(document)
    return {**document, "solver": {"kind": "grid", **table}}


def build_solver(
    table: SolverTable,
    source: str,
    folder: Path | None = None,
    allow_code: bool = False,
    arrays: Mapping[str, Array] | None = None,
) -> Solver:
    """Make the solver of a checked table.

    Parameters
    ----------
    table : SolverTable
        Its settings.
    source : str
        What to call the text in errors.
    folder : Path, optional
        What a comparator's paths are relative to; the current folder if not given.
    allow_code : bool
        Whether a comparator may name Python functions.
    arrays : mapping of str to ndarray, optional
        Arrays kept beside the text, as in `problem_from_toml`.

    Raises
    ------
    InputError
        If a setting cannot be used; the message ends with the place, as ``$.solver.t_final``.
    """
    settings = _given(table)
    if isinstance(settings.get("shape"), list):
        settings["shape"] = tuple(settings["shape"])
    for name, classes in (("stepper", _STEPPERS), ("schedule", _SCHEDULES)):
        if name in settings:
            with place(
                source, f"$.solver.{name}", getattr(settings[name], "__struct_fields__", ())
            ):
                settings[name] = _rule(settings[name], classes)
    if isinstance(settings.get("save_at"), EveryTable):
        with place(source, "$.solver.save_at"):
            settings["save_at"] = every(**_given(settings["save_at"]))
    if "comparator" in settings:
        settings["comparator"] = build_measure(
            settings["comparator"],
            Path() if folder is None else folder,
            allow_code,
            arrays,
            source,
            "$.solver.comparator",
        )
    with place(source, "$.solver", table.__struct_fields__):
        solver: Solver = _class(_SOLVERS[_kind(table)])(**settings)
        return solver


def _given(table: msgspec.Struct) -> dict[str, Any]:
    """Return the settings that a table has."""
    return {
        name: value
        for name in table.__struct_fields__
        if (value := getattr(table, name)) is not UNSET
    }


def _kind(table: msgspec.Struct) -> str:
    return str(table.__struct_config__.tag)


def _class(home: tuple[str, str]) -> Any:
    """Import a class of the solvers when it is needed."""
    module, name = home
    return getattr(import_module(f"{_PACKAGE}.{module}"), name)


def _rule(table: Any, classes: Mapping[str, tuple[str, str]]) -> Stepper | Schedule:
    """Make a stepper or a schedule of its table or of its kind alone."""
    if isinstance(table, str):
        needed = {"constant": "step", "harmonic": "scale"}.get(table)
        if needed is not None:
            raise InputError(
                f'"{table}" has no default {needed}; give it: {{kind = "{table}", {needed} = 0.01}}'
            )
        rule: Stepper | Schedule = _class(classes[table])()
    else:
        rule = _class(classes[_kind(table)])(**_given(table))
    return rule


def solver_from_toml(
    text: str, source: str = "solver", *, arrays: Mapping[str, Array] | None = None
) -> Solver:
    """Make the solver that `solver_to_toml` wrote.

    Parameters
    ----------
    text : str
        The ``[solver]`` table.
    source : str
        What to call the text in errors.
    arrays : mapping of str to ndarray, optional
        Arrays kept beside the text, by the names in ``stored``.
    """
    document = convert(with_kind(parse(text, source)), _Document, source)
    return build_solver(document.solver, source, arrays=arrays or {})


def solver_kind(solver: Any) -> str | None:
    """Return the ``kind`` of a solver's table, or None for one that has none."""
    return _named(solver, _SOLVERS)


def _named(value: Any, classes: Mapping[str, tuple[str, str]]) -> str | None:
    """Return the kind that stands for the class of a value."""
    own = (type(value).__module__, type(value).__name__)
    for kind, (module, name) in classes.items():
        if own == (f"{_PACKAGE}.{module}", name):
            return kind
    return None


def solver_to_toml(solver: Any, arrays: dict[str, Array] | None = None) -> str:
    """Write every setting of a solver as the ``[solver]`` table.

    Parameters
    ----------
    solver : GridSolver, GridFlow, SinkhornFlow or NeuralFlow
        The solver.
    arrays : dict of str to ndarray, optional
        Where to put the arrays of a comparator, which the text then names, as in a solution file.
        Without it the text holds their numbers.

    Returns
    -------
    str
        `solver_from_toml` makes the solver again. A comparator that is a `Potential`, or no measure
        of this package, is left out.

    Raises
    ------
    InputError
        If the solver, or a rule in it, is not one of this package.
    """
    kind = solver_kind(solver)
    if kind is None:
        raise InputError(
            f"a {type(solver).__name__} has no TOML form; GridSolver, GridFlow, SinkhornFlow and "
            "NeuralFlow have one"
        )
    settings: dict[str, Any] = {"kind": kind}
    tables: dict[str, dict[str, Any]] = {}
    for field in dataclasses.fields(solver):
        value = getattr(solver, field.name)
        where = f"solver.{field.name}"
        match field.name:
            case "stepper" | "schedule" if value is not None:
                tables[where] = _rule_table(value, field.name)
            case "save_at" if isinstance(value, Every):
                tables[where] = _every_table(value)
            case "save_at" if value is not None:
                settings[field.name] = _times(value)
            case "comparator":
                if isinstance(value, _COMPARATORS):
                    tables[where] = _comparator_table(value, arrays)
            case _:
                settings[field.name] = list(value) if isinstance(value, Box) else value
    return dump({"solver": settings, **tables})


def _rule_table(rule: Any, name: str) -> dict[str, Any]:
    """Describe a stepper or a schedule."""
    kind = _named(rule, _STEPPERS if name == "stepper" else _SCHEDULES)
    if kind is None:
        raise InputError(f"{name}={rule!r} has no TOML form; only those of parabolic_ma have one")
    return {"kind": kind, **{f.name: getattr(rule, f.name) for f in dataclasses.fields(rule)}}


def _every_table(trigger: Every) -> dict[str, Any]:
    whole = trigger.quantity == "steps"
    return {trigger.quantity: int(trigger.interval) if whole else trigger.interval}


def _times(given: Any) -> list[float]:
    """Return the times of a trigger, or of a plain sequence."""
    if isinstance(given, AtTimes):
        return list(given.times)
    if isinstance(given, (list, tuple)):
        return [float(t) for t in given]
    raise InputError(f"save_at={given!r} has no TOML form; times and pma.every(...) have one")


def _comparator_table(measure: Any, arrays: dict[str, Array] | None) -> dict[str, Any]:
    """Describe a comparator, its arrays beside the text or in it."""
    table = measure_table("comparator", measure)
    own = measure_arrays("comparator", measure)
    if arrays is not None:
        arrays |= own
    elif own:
        stored = table.pop("stored")
        table[stored.rpartition("/")[2]] = own[stored]
        if table.get("weights") is not None:
            table["weights"] = own[table["weights"]]
    return table
