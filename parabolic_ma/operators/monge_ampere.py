r"""The discrete Monge-Ampere operator in its log form, for judging results.

.. math:: F(\psi) = \log m(\nabla\psi) + \log\det\nabla^2\psi - \log\nu

with the grid side's density :math:`\nu` and the other side's :math:`m`; at a solution it is a
constant, the log evidence. Centred second-order differences: three points in one dimension, nine
in two and nineteen in three.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from parabolic_ma.backends import of_dimension
from parabolic_ma.grid import Grid
from parabolic_ma.operators.discretise import Discretisation
from parabolic_ma.typing import Array

__all__ = ["EXTENSION", "OperatorFields", "evaluate", "with_images"]

EXTENSION = 1e-10
"""Eigenvalue below which the logarithm is extended linearly."""


@dataclass(frozen=True, eq=False)
class OperatorFields:
    """What the operator is made of, at every cell centre of a grid."""

    gradient: Array
    """Shape ``(*shape, d)``."""
    low: Array
    """Smallest eigenvalue of the Hessian."""
    high: Array
    """Largest eigenvalue of the Hessian."""
    log_det: Array
    """With the extended logarithm."""
    log_inner: Array
    """Log density of the inner measure at the gradient, up to its normaliser."""
    extended: Array
    """Where the extension of the logarithm is active (bool)."""


def evaluate(kernels: Any, problem: Discretisation, grid: Grid, u: Array) -> OperatorFields:
    """Evaluate the parts of the operator for a padded correction ``u`` on a grid."""
    shape, inner = grid.shape, problem.inner
    a = problem.matrix[np.triu_indices(grid.dim)]
    quadratic = kernels.asarray(np.array([*a, *problem.center, *problem.image]))
    axes = [kernels.asarray(axis) for axis in grid.axes()]
    gradient = kernels.empty((*shape, grid.dim))
    low, log_det, log_inner = (kernels.empty(shape) for _ in range(3))
    there = inner.on(kernels)
    common = (inner.kind, there.params, there.table, EXTENSION)
    if grid.dim == 1:
        kernels.fields_1d(
            u, *axes, quadratic, *common, gradient.reshape(-1), low, log_det, log_inner
        )
        return OperatorFields(gradient, low, low, log_det, log_inner, low <= EXTENSION)
    high = kernels.empty(shape)
    of_dimension(kernels, grid.dim).fields(
        u, *axes, quadratic, *common, gradient, low, high, log_det, log_inner
    )
    return OperatorFields(gradient, low, high, log_det, log_inner, low <= EXTENSION)


def with_images(
    parts: OperatorFields, mass: Array, area: Array, cell_volume: float
) -> OperatorFields:
    """Put the conservative form in place of the pointwise one.

    The log determinant becomes that of the area of a cell's image over the cell's, and the log
    inner density its mean over the image. Only an image without mass has no logarithm.
    """
    ratio = area / cell_volume
    log_ratio = np.log(np.maximum(ratio, EXTENSION))
    log_mass = np.log(np.maximum(mass, 1e-300)) - np.log(cell_volume)
    return dataclasses.replace(
        parts, log_det=log_ratio, log_inner=log_mass - log_ratio, extended=mass <= 0.0
    )
