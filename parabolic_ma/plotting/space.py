"""Densities and maps in space: marginals of every two coordinates, a plane and its image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from parabolic_ma.grid import Box, Grid
from parabolic_ma.plotting import palette
from parabolic_ma.plotting.views import mesh_lines, short_name, show_density, view_of
from parabolic_ma.typing import Array

if TYPE_CHECKING:
    from parabolic_ma.solution import Solution

__all__ = ["draw_space"]

_CELLS = 64  # on each axis of the grids that the marginals are sums on
_MESH = 14
_PLANES = ((0, 1), (0, 2), (1, 2))


def draw_space(panels: list[list[Any]], solution: Solution) -> None:
    """Draw the marginals of the reference in the first row and those of the target in the second.

    On the reference lies, in each panel, a regular mesh on the plane of the two coordinates through
    the mean; on the target the image of that mesh under the map, projected.

    Parameters
    ----------
    panels : 2 x 3 of matplotlib.axes.Axes
    solution : Solution
        Of a problem in three dimensions.
    """
    from matplotlib.collections import LineCollection

    problem = solution.problem
    views = [view_of(measure, _CELLS) for measure in (problem.reference, problem.target)]
    mean = _mean(*views[0])
    for column, plane in enumerate(_PLANES):
        upper, lower = panels[0][column], panels[1][column]
        marginals = [_marginal(grid, density, plane) for grid, density in views]
        for ax, measure, (grid, density), side in (
            (upper, problem.reference, marginals[0], "reference"),
            (lower, problem.target, marginals[1], "target"),
        ):
            show_density(ax, measure, grid, density, side)
            letter = "y" if side == "reference" else "x"
            ax.set_xlabel(f"${letter}_{plane[0] + 1}$", loc="right", labelpad=1.0)
            ax.set_ylabel(f"${letter}_{plane[1] + 1}$", labelpad=1.0)
            ax.tick_params(labelsize=7.5)
        lines = mesh_lines(*marginals[0], problem.reference.bounded, _MESH)
        for ax, drawn in ((upper, lines), (lower, _moved(solution, lines, plane, mean))):
            collection = LineCollection(
                drawn, colors=palette.INK, linewidths=0.5, alpha=0.6, capstyle="round",
                joinstyle="round", zorder=2,
            )  # fmt: skip
            ax.add_collection(collection, autolim=False)
    for row, side, name in (
        (panels[0], "reference", f"Reference ν: {short_name(problem.reference)}"),
        (panels[1], "target", f"Target μ: {short_name(problem.target)}"),
    ):
        colour = palette.REFERENCE if side == "reference" else palette.TARGET
        row[0].set_title(name, color=colour)
        notes = {
            "reference": "marginals; a mesh on the plane through the mean",
            "target": "the mesh, moved by T and projected",
        }
        row[2].set_title(
            notes[side], fontsize=8.0, fontweight="normal", color=palette.FAINT, loc="right"
        )


def _marginal(grid: Grid, density: Array, plane: tuple[int, int]) -> tuple[Grid, Array]:
    """Density of two of the coordinates."""
    third = 3 - sum(plane)
    box = Box.of([list(grid.box)[k] for k in plane])
    flat = Grid(box, tuple(grid.shape[k] for k in plane))
    return flat, density.sum(axis=third) * grid.spacing[third]


def _mean(grid: Grid, density: Array) -> Array:
    """Mean of a density on a grid, shape ``(3,)``."""
    marginals = [density.sum(axis=tuple(j for j in range(3) if j != k)) for k in range(3)]
    return np.array([np.average(a, weights=m) for a, m in zip(grid.axes(), marginals, strict=True)])


def _moved(
    solution: Solution, lines: list[Array], plane: tuple[int, int], mean: Array
) -> list[Array]:
    """Images of lines on a plane through ``mean``, projected on the plane; ``nan`` stays."""
    moved = []
    for line in lines:
        known = np.isfinite(line[:, 0])
        points = np.repeat(mean[None], int(known.sum()), axis=0)
        points[:, list(plane)] = line[known]
        image = np.full_like(line, np.nan)
        image[known] = solution.map(points)[:, list(plane)]
        moved.append(image)
    return moved
