r"""The flow :math:`\partial_t \psi = F(\psi)` on one grid: its rate and its implicit systems.

.. math::

    F(\psi) = \log m(\nabla\psi) + \log\det\nabla^2\psi - \log\nu

with the density :math:`\nu` of the grid's side and m of the other one. On the reference side
that is the flow of :math:`\psi`; on the target's the same equation with the two measures exchanged
is the flow of the conjugate :math:`\varphi = \psi^*`.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from parabolic_ma.linear.implicit import ImplicitRows
from parabolic_ma.operators.discretise import Discretisation
from parabolic_ma.operators.monge_ampere import EXTENSION, OperatorFields, evaluate
from parabolic_ma.solution import GridPotential
from parabolic_ma.solvers.iterate import interior, padded
from parabolic_ma.typing import Array

__all__ = ["EXTENSION_MASS", "GHOSTS", "FlowEquation"]

GHOSTS = {"box": 0, "periodic": 2, "free": 3}
"""Ghost rule of each boundary. A free one needs no data: information leaves through it, and the
second derivative is that of the neighbouring cell, which is exact for quadratic potentials."""

EXTENSION_MASS = 1e-8
"""Mass of the cells on which the logarithm may be extended."""

_STEEP = -0.4  # relative change of an eigenvalue below which tangents become secants
_EXTENDED = 0.1 / EXTENSION  # entries of the inverse Hessian from which the logarithm is linear
_BULK = 25.0  # nats below the largest density: what moves farther out only leaves


class FlowEquation:
    """The rate of a potential on one grid, and implicit steps with its derivative.

    Parameters
    ----------
    kernels : module
        The backend.
    problem : Discretisation
    """

    def __init__(self, kernels: Any, problem: Discretisation) -> None:
        self.kernels = kernels
        self.problem = problem
        self.mode = GHOSTS[problem.boundary]
        self.shape = problem.grid.shape
        self.mass = np.exp(problem.log_source) * problem.grid.cell_volume
        """Of every cell under the grid side's measure."""
        inner = problem.inner
        a = problem.matrix[np.triu_indices(problem.grid.dim)]
        self._axes = [kernels.asarray(axis) for axis in problem.grid.axes()]
        self._quadratic = kernels.asarray(np.array([*a, *problem.center, *problem.image]))
        self._source = kernels.asarray(problem.log_source)
        self._lowest = float(problem.log_source.max()) - _BULK
        there = inner.on(kernels)
        self._inner = (inner.kind, there.params, there.table)

    def pad(self, values: Array) -> Array:
        """Surround values at the cell centres by ghosts."""
        return self.kernels.to_numpy(padded(self.kernels, values, self.mode))

    def fill(self, u: Array) -> Array:
        """Fill the ghosts of a padded array in place and return it."""
        fill = self.kernels.fill_ghosts_1d if u.ndim == 1 else self.kernels.fill_ghosts
        there = self.kernels.asarray(u)
        fill(there, self.mode)
        u[...] = self.kernels.to_numpy(there)
        return u

    def rate(self, u: Array) -> tuple[Array, float, float, float]:
        """Return F at the cell centres, the Hessian's smallest eigenvalue, diffusion and drift.

        One over the diffusion is the largest stable step of the explicit Euler method; one over
        the drift the largest that does not amplify what moves where there is mass.
        """
        rate = self.kernels.empty(self.shape)
        there = self.kernels.asarray(u)
        kernel = self.kernels.flow_rate_1d if u.ndim == 1 else self.kernels.flow_rate
        found = kernel(
            there, *self._axes, self._quadratic, self._source, self._lowest, *self._inner, rate
        )
        return (self.kernels.to_numpy(rate), *found)

    def parts(self, u: Array) -> OperatorFields:
        """Evaluate all that the rate is made of."""
        found = evaluate(self.kernels, self.problem, self.problem.grid, self.kernels.asarray(u))
        return OperatorFields(*(self.kernels.to_numpy(f) for f in vars(found).values()))

    def linearise(self, u: Array) -> None:
        """Take the derivative of F at ``u`` for the systems that `solve` solves."""
        kernel = (
            self.kernels.flow_coefficients_1d if u.ndim == 1 else self.kernels.flow_coefficients
        )
        there = self.kernels.asarray(u)
        kernel(there, *self._axes, self._quadratic, *self._inner, self._coefficients)

    def solve(self, sigma: float, right: Array, accuracy: float) -> tuple[Array, int]:
        r"""Solve :math:`(\sigma - F') v = r` at the last `linearise`.

        Parameters
        ----------
        sigma : float
            One over the time step, times the stepper's coefficient.
        right : ndarray, shape ``shape``
        accuracy : float
            Largest error of v.

        Returns
        -------
        v : ndarray
            Padded.
        cycles : int
            Multigrid cycles used; 0 in one dimension, where the solution is direct.
        """
        if right.ndim == 1:
            v = self.kernels.empty((len(right) + 2,))
            there = self.kernels.asarray(right)
            self.kernels.solve_flow_1d(self._coefficients, sigma, there, self.mode, v)
            return self.kernels.to_numpy(v), 0
        self._systems.assemble(sigma)
        return self._systems.solve(right, accuracy)

    def steepen(self, v: Array) -> bool:
        r"""Replace tangents of the logarithm by secants where v lowers an eigenvalue far.

        With :math:`A = H^{-1}` and the eigenvalues :math:`x_i` of :math:`A^{1/2} \nabla^2 v
        A^{1/2}`, with eigenvectors :math:`w_i`, the exact change of :math:`\log\det H` is
        :math:`\sum_i \log(1 + x_i)`, which has no value from -1 on, and the linearised one
        :math:`\sum_i x_i`. Where an :math:`x_i` is well below zero the elliptic part becomes
        :math:`A^{1/2} (\sum_i s_i w_i w_i^T) A^{1/2}`, :math:`s_i = x_i / (e^{x_i} - 1)`: what
        asked for :math:`x_i` then gives :math:`e^{x_i} - 1`.

        Returns
        -------
        bool
            Whether there was such a cell, so that the system is another one now.
        """
        if v.ndim == 1:
            a = self.kernels.to_numpy(self._coefficients[0])
            x = a * (v[2:] - 2.0 * v[1:-1] + v[:-2])
            self._coefficients[0] = self.kernels.asarray(a * _secant(x))
            return bool((x < _STEEP).any())
        leading = self.kernels.to_numpy(self._systems.coefficients[:3])
        a, d, x = leading
        # A and the differences of v in units of the spacings: those of A^{1/2} cancel in x
        bent = np.empty((2, 2, *self.shape))
        bent[0, 0] = v[2:, 1:-1] - 2.0 * v[1:-1, 1:-1] + v[:-2, 1:-1]
        bent[1, 1] = v[1:-1, 2:] - 2.0 * v[1:-1, 1:-1] + v[1:-1, :-2]
        bent[0, 1] = bent[1, 0] = 0.25 * (v[2:, 2:] - v[2:, :-2] - v[:-2, 2:] + v[:-2, :-2])
        # a trace and a determinant bound the smaller eigenvalue: most cells need no more
        trace = a * bent[0, 0] + d * bent[1, 1] + 4.0 * x * bent[0, 1]
        square = (a * d - 4.0 * x * x) * (bent[0, 0] * bent[1, 1] - bent[0, 1] ** 2)
        low = 0.5 * trace - np.sqrt(np.maximum(0.25 * trace**2 - square, 0.0))
        # where the logarithm is extended it is linear, and the tangent exact
        h1, h2 = self.problem.grid.spacing
        log_scale = np.maximum(a * h1**2, d * h2**2)
        steep = np.nonzero((low < _STEEP) & (log_scale < _EXTENDED))
        if not steep[0].size:
            return False
        matrix = np.moveaxis(
            np.array([[a[steep], 2.0 * x[steep]], [2.0 * x[steep], d[steep]]]), -1, 0
        )
        values, vectors = np.linalg.eigh(matrix)
        roots = np.sqrt(np.maximum(values, 0.0))
        root = (vectors * roots[:, None, :]) @ np.swapaxes(vectors, 1, 2)
        change = np.moveaxis(bent[:, :, steep[0], steep[1]], -1, 0)
        values, vectors = np.linalg.eigh(root @ change @ root)
        middle = (vectors * _secant(values)[:, None, :]) @ np.swapaxes(vectors, 1, 2)
        lifted = root @ middle @ root
        a[steep], d[steep], x[steep] = lifted[:, 0, 0], lifted[:, 1, 1], 0.5 * lifted[:, 0, 1]
        self._systems.coefficients[:3] = self.kernels.asarray(leading)
        return True

    @cached_property
    def _coefficients(self) -> Array:
        """Stencil of F', drifts last."""
        if len(self.shape) == 1:
            return self.kernels.empty((2, *self.shape))
        return self._systems.coefficients

    @cached_property
    def _systems(self) -> ImplicitRows:
        """Buffers of the implicit systems in two dimensions; explicit runs do without."""
        widths, a = self.problem.grid.box.widths, np.diag(self.problem.matrix)
        # along axis k the linearised operator is 1 / A_kk about the affine map
        stretched = widths[0] * np.sqrt(a[0]), widths[1] * np.sqrt(a[1])
        weight = np.exp(np.minimum(self.problem.log_source - self._lowest, 0.0))
        return ImplicitRows(self.kernels, self.shape, self.mode, stretched, weight)

    def potential(self, u: Array) -> GridPotential:
        """Return a padded correction as a potential."""
        p = self.problem
        return GridPotential(p.grid, interior(u).copy(), p.matrix, p.center, p.image, p.boundary)

    def extended_mass(self, u: Array) -> float:
        """Mass of the cells on which the logarithm is extended at a padded correction."""
        return float(self.mass[self.parts(u).extended].sum())

    def mean(self, values: Array) -> float:
        """Mean of values at the cell centres under the grid side's measure."""
        return float((self.mass * values).sum())

    def deviation(self, values: Array) -> float:
        """Root mean square of values at the cell centres under the grid side's measure."""
        return float(np.sqrt((self.mass * values**2).sum()))

    def gradient(self, values: Array) -> Array:
        """Centred differences of values at the cell centres, shape ``(*shape, d)``."""
        v = self.pad(values)
        found = np.empty((*self.shape, v.ndim))
        for k, h in enumerate(self.problem.grid.spacing):
            index = [slice(1, -1)] * v.ndim
            index[k] = slice(2, None)
            found[..., k] = v[tuple(index)]
            index[k] = slice(None, -2)
            found[..., k] -= v[tuple(index)]
            found[..., k] /= 2.0 * h
        return found


def _secant(x: Array) -> Array:
    """``x / (e^x - 1)`` where x is well below zero, else 1."""
    return np.where(x < _STEEP, x / np.expm1(np.minimum(x, _STEEP)), 1.0)
