"""Points per second of a grid solution's map, both ways, on one thread."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from parabolic_ma.grid import Box, Grid
from parabolic_ma.operators.grid_map import GridMap
from parabolic_ma.solution import GridPotential
from parabolic_ma.typing import Array

__all__ = ["bimodal", "gaussian", "grid_potential", "identity", "ring", "run"]


def identity(y: Array) -> Array:
    """The potential of the identity."""
    return 0.5 * np.sum(y * y, axis=-1)


def gaussian(y: Array) -> Array:
    """The potential of a Gaussian's map with standard deviations 3 and 0.2, turned by 0.5."""
    turn = np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
    matrix = turn @ np.diag([3.0, 0.2]) @ turn.T
    return 0.5 * np.einsum("...i,ij,...j->...", y, matrix, y)


def bimodal(beta: float) -> Callable[[Array], Array]:
    """Conjugate potential of a nearly degenerate bimodal target: smallest Hessian ``1 - beta``."""

    def potential(y: Array) -> Array:
        t = 0.8 * y[..., 0] + 0.6 * y[..., 1]
        log_cosh = np.logaddexp(t, -t) - np.log(2.0)
        return identity(y) - beta * log_cosh

    return potential


def ring(y: Array) -> Array:
    """Potential of a Gaussian spread over a ring of eight modes: a soft maximum of eight planes."""
    angles = np.arange(8) * np.pi / 4 + 0.1
    slopes = 4.0 * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    top = 4.0 * (y @ slopes.T)
    peak = top.max(axis=-1)
    return 0.0625 * identity(y) + (peak + np.log(np.exp(top - peak[..., None]).sum(-1))) / 4.0


def grid_potential(
    psi: Callable[[Array], Array], shape: tuple[int, ...], box: Box, boundary: str = "free"
) -> GridPotential:
    """Put a function on a grid, with half the identity as the quadratic part."""
    grid = Grid(box, shape)
    center = np.array(box.center)
    matrix = 0.5 * np.eye(grid.dim)
    points = grid.points()
    shifted = points - center
    correction = psi(points) - 0.25 * np.sum(shifted * shifted, axis=-1)
    image = np.zeros(grid.dim)
    return GridPotential(grid, correction.reshape(shape), matrix, center, image, boundary)


def run(size: int = 512, count: int = 1_000_000) -> dict[str, float]:
    """Measure millions of points a second, for unsorted Gaussian points in float64.

    Parameters
    ----------
    size : int
        Cells on each axis.
    count : int
        Points mapped at a time.

    Returns
    -------
    dict
        ``"CASE own"``, ``"CASE inverse"`` (millions of points a second, best of three) and
        ``"CASE table"`` (seconds for the table of starts) for every case.
    """
    points = np.random.default_rng(0).standard_normal((count, 2))
    cases = {
        "identity": identity,
        "gaussian": gaussian,
        "bimodal 0.9": bimodal(0.9),
        "bimodal 0.99": bimodal(0.99),
        "ring": ring,
    }
    figures = {}
    for name, psi in cases.items():
        box = Box((-6.0, -6.0), (6.0, 6.0))
        mapping = GridMap(grid_potential(psi, (size, size), box))
        mapping.inverse(mapping(points[:10]))  # compiled, or read from the cache
        fresh = GridMap(mapping.grid_potential)
        start = time.process_time()
        fresh.inverse(points[:1])
        figures[f"{name} table"] = time.process_time() - start
        images = mapping(points)
        for label, function, argument in (
            ("own", mapping, points),
            ("inverse", mapping.inverse, images),
        ):
            seconds = min(_seconds(function, argument) for _ in range(3))
            figures[f"{name} {label}"] = count / seconds / 1e6
    return figures


def _seconds(function: Callable[[Array], Array], argument: Array) -> float:
    start = time.process_time()
    function(argument)
    return time.process_time() - start


if __name__ == "__main__":
    for label, figure in run().items():
        print(f"{label:24s} {figure:8.3f}")
