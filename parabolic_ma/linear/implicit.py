r"""Implicit systems :math:`(\sigma - F') v = r` of the flow on a plane grid, to double precision.

The derivative is used as it is, at a free boundary with quadratic ghosts; only the preconditioner,
a multigrid cycle in single precision, is upwind and has linear ghosts. The outer iteration is that
of generalised conjugate residuals in double precision. The rows are scaled by their diagonals, so
that a residual has the size of the error that it leaves, in the tails as elsewhere; only cells that
carry nothing at all, where the Hessian may degenerate to any degree, are given no say.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from parabolic_ma.linear.multigrid import Multigrid
from parabolic_ma.typing import Array

__all__ = ["ImplicitRows"]

_PECLET = 2.0  # drift over diffusion above which a row of the preconditioner is made upwind
_EDGE = (0.25, 1.0)  # least outward drift of its face cells at a free boundary
_LINEAR, _QUADRATIC = 1, 3  # ghost rules
_MOST_CYCLES = 60
_KEPT = 12  # directions of the Krylov space


class ImplicitRows:
    """The systems of one grid with the buffers of their solver.

    ``coefficients`` (5, nx, ny), the stencil of F', is filled by the caller; `assemble` makes the
    rows for one sigma and `solve` solves for one right-hand side.

    Parameters
    ----------
    kernels : module
        The backend.
    shape : (int, int)
    mode : int
        Ghost rule of the solution.
    widths : (float, float)
        Lengths of the sides, in units in which the operator is about isotropic.
    weight : ndarray, shape (nx, ny)
        Of every cell in the norm, at most 1; where it is 1 the solution is to be accurate.
    """

    def __init__(
        self,
        kernels: Any,
        shape: tuple[int, ...],
        mode: int,
        widths: tuple[float, float],
        weight: Array,
    ) -> None:
        self.kernels = kernels
        self.mode = mode
        self.coefficients = kernels.empty((5, *shape))
        self._rows = kernels.empty((6, *shape))
        free = mode == _QUADRATIC
        self._edge = _EDGE if free else (0.0, 0.0)
        self._grid = Multigrid(
            kernels, shape, _LINEAR if free else mode, widths, self._edge, degree=2
        )
        self._scale = kernels.empty(shape, np.float32)
        self._weight = kernels.asarray(weight)
        self._counts = kernels.asarray(weight >= 1.0)
        self._zero = kernels.zeros(shape)
        self._directions: list[tuple[Array, Array]] = []  # (z, -M z), kept between calls
        self._sigma = np.nan

    def assemble(self, sigma: float) -> None:
        """Make the rows of ``sigma v - F'[v]`` and those of the preconditioner."""
        self._sigma = sigma
        self.kernels.flow_rows(self.coefficients, sigma, self._rows)
        fine = self._grid.rows[0]
        self.kernels.upwind_rows(self._rows, _PECLET, fine, self._scale)
        if self._edge[1] > 0.0:
            self.kernels.outflow(fine, *self._edge)
        self._grid.setup()

    def solve(self, right: Array, accuracy: float) -> tuple[Array, int]:
        r"""Solve from zero until the solution's error is small wherever it counts.

        By the maximum principle :math:`|v - v_*| \le \max|r| / \sigma` for the residual r.

        Parameters
        ----------
        right : ndarray, shape (nx, ny)
        accuracy : float
            Largest error of v.

        Returns
        -------
        v : ndarray
            Padded, ghosts filled.
        cycles : int
            Multigrid cycles used.
        """
        kernels, grid = self.kernels, self._grid
        scale = self._rows[5]
        r = kernels.asarray(right) * scale
        v = kernels.zeros(tuple(n + 2 for n in right.shape))
        norms: list[float] = []
        for cycle in range(_MOST_CYCLES):
            left = np.where(self._counts, np.abs(r / scale), 0.0)
            if not left.max() > accuracy * self._sigma:
                return kernels.to_numpy(v), cycle
            k = cycle % _KEPT
            if k == 0:
                norms.clear()
            grid.rhs[0][...] = r * self._scale
            grid.solve()
            if k == len(self._directions):
                self._directions.append((kernels.empty(v.shape), kernels.empty(r.shape)))
            z, w = self._directions[k]
            z[:] = grid.solution
            kernels.fill_ghosts(z, self.mode)
            kernels.residual(self._rows[:5], self._zero, z, w)  # w = -M z
            for j in range(k):
                zj, wj = self._directions[j]
                beta = kernels.dots(wj, w, self._weight)[1] / norms[j]
                kernels.axpy(-beta, wj, w)
                kernels.axpy(-beta, zj, z)
            ww, wr, _ = kernels.dots(w, r, self._weight)
            if not (ww > 0.0 and np.isfinite(ww) and np.isfinite(wr)):
                return kernels.to_numpy(v), cycle + 1
            norms.append(ww)
            kernels.axpy(-wr / ww, z, v)
            kernels.axpy(-wr / ww, w, r)
        return kernels.to_numpy(v), _MOST_CYCLES
