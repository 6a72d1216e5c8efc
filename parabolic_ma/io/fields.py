"""The arrays that a solution file shows: the map on a grid of each side."""

from __future__ import annotations

from parabolic_ma.grid import Grid
from parabolic_ma.io.schema import MAP_FIELDS
from parabolic_ma.solution import Solution
from parabolic_ma.typing import Array

__all__ = ["grid_fields", "solution_fields", "tabulated_fields"]

_TABLE_CELLS = {1: 4096, 2: 256, 3: 64}
_NETWORK_CELLS = {1: 1024, 2: 256, 3: 32}  # the same for a map without a grid
_TABLE_TAIL = 1e-6


def solution_fields(solution: Solution) -> dict[str, tuple[Grid, dict[str, Array]]]:
    """Return the grids and arrays to store, by side.

    Where the solver's grid was, these are its own arrays. The reference side is always there: for
    a grid on the target side, or none, the map is evaluated on a grid of at most 256 cells a side
    (4096 in 1D, 64 in 3D) over all but 1e-6 of the reference. Above three dimensions there is
    nothing.
    """
    sides = {}
    if solution.fields is not None:
        sides[solution.side] = grid_fields(solution)
    if "reference" not in sides and solution.problem.dim in _TABLE_CELLS:
        sides["reference"] = tabulated_fields(solution)
    return sides


def grid_fields(solution: Solution) -> tuple[Grid, dict[str, Array]]:
    """Return the solver's grid and its arrays by name."""
    fields = solution.fields
    if fields is None:
        raise ValueError("the solution has no grid")
    arrays = (
        fields.potential.values(),
        fields.gradient,
        fields.log_det,
        fields.log_source,
        fields.log_inner,
    )
    names = [name for name, _ in MAP_FIELDS[solution.side]]
    return fields.potential.grid, dict(zip(names, arrays, strict=True))


def tabulated_fields(solution: Solution) -> tuple[Grid, dict[str, Array]]:
    """Evaluate the map on a grid of the reference side."""
    problem = solution.problem
    box = problem.reference.support(_TABLE_TAIL)
    if solution.fields is not None:
        cells = _TABLE_CELLS[box.dim]
        shape = tuple(min(n, cells) for n in solution.fields.potential.grid.shape)
    else:
        shape = (_NETWORK_CELLS[box.dim],) * box.dim
    grid = Grid(box, shape)
    y = grid.points()
    image = solution.map(y)
    arrays = (
        solution.map.potential(y).reshape(shape),
        image.reshape(*shape, box.dim),
        solution.map.log_abs_det_jacobian(y).reshape(shape),
        -problem.reference.potential(y).reshape(shape),
        -problem.target.potential(image).reshape(shape),
    )
    names = [name for name, _ in MAP_FIELDS["reference"]]
    return grid, dict(zip(names, arrays, strict=True))
