"""Solutions made without a solver, for the tests of everything around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import parabolic_ma as pma
from parabolic_ma.operators.grid_map import GridMap
from parabolic_ma.solution import GridFields, GridPotential

SHAPES = {1: (24,), 2: (16, 12)}
BOXES = {1: [(-6.0, 6.0)], 2: [(-6.0, 6.0), (-5.0, 5.0)]}


def grid_solution(problem: pma.TransportProblem, side: str = "reference", **changes: Any) -> Any:
    """A solution with random arrays in every field, so that none can be mistaken for another."""
    dim = problem.dim
    grid = pma.Grid(pma.Box.of(BOXES[dim]), SHAPES[dim])
    rng = np.random.default_rng(7)
    matrix = np.eye(dim) * 1.5 + 0.2
    potential = GridPotential(
        grid,
        1e-3 * rng.normal(size=grid.shape),
        matrix,
        rng.normal(size=dim),
        rng.normal(size=dim),
        "free",
    )
    arrays = [rng.normal(size=grid.shape) for _ in range(3)]
    fields = GridFields(potential, rng.normal(size=(*grid.shape, dim)), *arrays)
    values: dict[str, Any] = {
        "problem": problem,
        "side": side,
        "status": pma.Status.CONVERGED,
        "message": "residual 1e-5 after 7 steps – fine",
        "log_evidence": 0.25,
        "w2_squared": 1.5,
        "kl": 1e-6,
        "kl_reverse": 2e-6,
        "certificate": pma.Certificate(
            residual=1e-5, extension_cells=3, reasons={"map_error": "only one grid was used"}
        ),
        "history": pma.History.from_rows(
            [
                {"step": 1, "level": "8x6", "residual": 0.1, "seconds": 0.01},
                {"step": 2, "level": "16x12", "residual": 1e-5, "seconds": 0.02},
            ]
        ),
        "provenance": pma.Provenance(
            solver="a solver",
            versions={"numpy": "2"},
            command=("é", "b"),
            seed=3,
            wall_time=0.5,
            cpu_time=0.25,
            compile_time=0.125,
        ),
        "solver": pma.GridSolver(shape=grid.shape, tol=1e-3),
        "fields": fields,
    }
    if "map" not in changes:
        values["map"] = GridMap(potential, side)
    return pma.Solution(**{**values, **changes})


@pytest.fixture
def problem() -> pma.TransportProblem:
    return pma.TransportProblem(
        pma.Gaussian([0.0, 0.5], [[1.0, 0.3], [0.3, 2.0]]),
        pma.GaussianMixture([[1.0, 0.0], [-1.0, 0.5]], 0.5, [0.3, 0.7]),
    )


@pytest.fixture
def make_solution() -> Callable[..., Any]:
    return grid_solution


@pytest.fixture
def solution(problem: pma.TransportProblem) -> Any:
    return grid_solution(problem)
