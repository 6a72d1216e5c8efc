"""Brenier maps by the parabolic Monge-Ampère equation, with error estimates.

>>> import parabolic_ma as pma
>>> problem = pma.TransportProblem(
...     reference=pma.Gaussian(mean=[0, 0], cov=1.0),
...     target=pma.GaussianMixture(means=[[2, 0], [-2, 0]], covs=0.5),
... )
>>> solution = pma.solve(problem, pma.GridSolver(shape=(64, 64)))
>>> solution.map([0.5, 0.0]).shape
(2,)

Names are loaded when they are used, so that importing the package is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Public name -> the module that has it.
_HOMES = {
    "Adaptive": "solvers.schedules",
    "Affine": "maps",
    "Box": "grid",
    "Certificate": "solution",
    "Checkpoint": "trackers",
    "Comparison": "comparison",
    "Constant": "solvers.schedules",
    "ConvergenceError": "status",
    "ExplicitEuler": "solvers.steppers",
    "FileFormatError": "status",
    "Gaussian": "measures",
    "GaussianMixture": "measures",
    "Grid": "grid",
    "GridDensity": "measures",
    "GridFlow": "solvers.grid_flow",
    "GridSolver": "solvers.grid_solver",
    "Harmonic": "solvers.schedules",
    "History": "solution",
    "Identity": "maps",
    "InputError": "status",
    "InverseSqrt": "solvers.schedules",
    "LogOverK": "solvers.schedules",
    "Measure": "measures",
    "MissingExtraError": "status",
    "Movie": "trackers",
    "NeuralFlow": "solvers.neural_flow",
    "ParabolicMAError": "status",
    "Potential": "measures",
    "Progress": "trackers",
    "Provenance": "solution",
    "RKL2": "solvers.steppers",
    "Samples": "measures",
    "SemiImplicit": "solvers.steppers",
    "SinkhornFlow": "solvers.sinkhorn_flow",
    "Solution": "solution",
    "Standardised": "measures",
    "Status": "status",
    "Tracker": "trackers",
    "TransportMap": "maps",
    "TransportProblem": "problem",
    "Uniform": "measures",
    "at_times": "triggers",
    "compare": "comparison",
    "every": "triggers",
    "load": "io.hdf5",
    "solve": "driver",
    "solve_many": "driver",
}
_MODULES = ("analysis", "catalog")

if TYPE_CHECKING:
    from parabolic_ma import analysis, catalog
    from parabolic_ma.comparison import Comparison, compare
    from parabolic_ma.driver import solve, solve_many
    from parabolic_ma.grid import Box, Grid
    from parabolic_ma.io.hdf5 import load
    from parabolic_ma.maps import Affine, Identity, TransportMap
    from parabolic_ma.measures import (
        Gaussian,
        GaussianMixture,
        GridDensity,
        Measure,
        Potential,
        Samples,
        Standardised,
        Uniform,
    )
    from parabolic_ma.problem import TransportProblem
    from parabolic_ma.solution import Certificate, History, Provenance, Solution
    from parabolic_ma.solvers.grid_flow import GridFlow
    from parabolic_ma.solvers.grid_solver import GridSolver
    from parabolic_ma.solvers.neural_flow import NeuralFlow
    from parabolic_ma.solvers.schedules import Adaptive, Constant, Harmonic, InverseSqrt, LogOverK
    from parabolic_ma.solvers.sinkhorn_flow import SinkhornFlow
    from parabolic_ma.solvers.steppers import RKL2, ExplicitEuler, SemiImplicit
    from parabolic_ma.status import (
        ConvergenceError,
        FileFormatError,
        InputError,
        MissingExtraError,
        ParabolicMAError,
        Status,
    )
    from parabolic_ma.trackers import Checkpoint, Movie, Progress, Tracker
    from parabolic_ma.triggers import at_times, every

__all__ = [
    "RKL2",
    "Adaptive",
    "Affine",
    "Box",
    "Certificate",
    "Checkpoint",
    "Comparison",
    "Constant",
    "ConvergenceError",
    "ExplicitEuler",
    "FileFormatError",
    "Gaussian",
    "GaussianMixture",
    "Grid",
    "GridDensity",
    "GridFlow",
    "GridSolver",
    "Harmonic",
    "History",
    "Identity",
    "InputError",
    "InverseSqrt",
    "LogOverK",
    "Measure",
    "MissingExtraError",
    "Movie",
    "NeuralFlow",
    "ParabolicMAError",
    "Potential",
    "Progress",
    "Provenance",
    "Samples",
    "SemiImplicit",
    "SinkhornFlow",
    "Solution",
    "Standardised",
    "Status",
    "Tracker",
    "TransportMap",
    "TransportProblem",
    "Uniform",
    "__version__",
    "analysis",
    "at_times",
    "catalog",
    "compare",
    "every",
    "load",
    "solve",
    "solve_many",
]


def __getattr__(name: str) -> Any:
    """Load a public name at its first use."""
    if name in _MODULES:
        value: Any = import_module(f"{__name__}.{name}")
    elif name in _HOMES:
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
