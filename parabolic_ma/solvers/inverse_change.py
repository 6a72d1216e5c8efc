"""How far the inverse of a grid's own map moved when its potential changed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from parabolic_ma.backends import of_dimension
from parabolic_ma.operators.discretise import Discretisation
from parabolic_ma.typing import Array

__all__ = ["inverse_change"]


def inverse_change(kernels: Any, problem: Discretisation, after: Array, before: Array) -> float:
    r"""Root mean square of ``H^{-1} d``, d being the change of the map's gradient.

    With ``S`` the grid's own map and ``T`` its inverse, a change d of S at x changes T at
    ``y = S(x)`` by ``-H(x)^{-1} d(x)``, and x is distributed as y's image, so the mean is that
    under the other side's measure. The smallest eigenvalue of H is lifted to a ten-thousandth of
    the largest one.

    Parameters
    ----------
    kernels : module
        The backend.
    problem : Discretisation
    after, before : ndarray
        The two potentials' corrections, padded.
    """
    grid, source = problem.grid, kernels.asarray(problem.log_source)
    if grid.dim == 1:
        h = grid.spacing[0]
        curvature = problem.matrix[0, 0] + np.diff(after, 2) / h**2
        change = (after[2:] - before[2:] - after[:-2] + before[:-2]) / (2.0 * h)
        moved = change / np.maximum(curvature, 1e-4 * np.abs(curvature) + 1e-300)
        total = float((np.exp(source) * moved**2).sum())
    else:
        upper = tuple(float(a) for a in problem.matrix[np.triu_indices(grid.dim)])
        total = of_dimension(kernels, grid.dim).inverse_change(
            after, before, grid.spacing, upper, source
        )
    return math.sqrt(total * grid.cell_volume)
