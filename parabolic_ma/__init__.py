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
    "Affine": "maps",
    "Box": "grid",
    "Certificate": "solution",
    "Checkpoint": "trackers",
    "ConvergenceError": "status",
    "FileFormatError": "status",
    "Gaussian": "measures",
    "GaussianMixture": "measures",
    "Grid": "grid",
    "GridDensity": "measures",
    "GridSolver": "solvers.grid_solver",
    "History": "solution",
    "Identity": "maps",
    "InputError": "status",
    "Measure": "measures",
    "MissingExtraError": "status",
    "ParabolicMAError": "status",
    "Potential": "measures",
    "Progress": "trackers",
    "Provenance": "solution",
    "Samples": "measures",
    "Solution": "solution",
    "Status": "status",
    "Tracker": "trackers",
    "TransportMap": "maps",
    "TransportProblem": "problem",
    "Uniform": "measures",
    "at_times": "triggers",
    "every": "triggers",
    "load": "io.hdf5",
    "solve": "driver",
    "solve_many": "driver",
}
_MODULES = ("catalog",)

if TYPE_CHECKING:
    from parabolic_ma import catalog
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
        Uniform,
    )
    from parabolic_ma.problem import TransportProblem
    from parabolic_ma.solution import Certificate, History, Provenance, Solution
    from parabolic_ma.solvers.grid_solver import GridSolver
    from parabolic_ma.status import (
        ConvergenceError,
        FileFormatError,
        InputError,
        MissingExtraError,
        ParabolicMAError,
        Status,
    )
    from parabolic_ma.trackers import Checkpoint, Progress, Tracker
    from parabolic_ma.triggers import at_times, every

__all__ = [
    "Affine",
    "Box",
    "Certificate",
    "Checkpoint",
    "ConvergenceError",
    "FileFormatError",
    "Gaussian",
    "GaussianMixture",
    "Grid",
    "GridDensity",
    "GridSolver",
    "History",
    "Identity",
    "InputError",
    "Measure",
    "MissingExtraError",
    "ParabolicMAError",
    "Potential",
    "Progress",
    "Provenance",
    "Samples",
    "Solution",
    "Status",
    "Tracker",
    "TransportMap",
    "TransportProblem",
    "Uniform",
    "__version__",
    "at_times",
    "catalog",
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
