"""Generalised conjugate residuals, preconditioned by multigrid cycles, in a mass-weighted norm.

The norm decides: far tails have rows as large as the bulk's and, unweighted, all of the Krylov
space would go to cells without mass. With an easy matrix one cycle meets the tolerance and the
method costs one matrix product more than the bare cycle; where the Hessian degenerates it saves
the outer Newton iteration (Eisenstat, Elman & Schultz, SIAM J. Numer. Anal. 20, 1983).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from parabolic_ma.linear.multigrid import Multigrid
from parabolic_ma.typing import Array

__all__ = ["ConjugateResiduals"]


class ConjugateResiduals:
    """Solve the finest rows of a `Multigrid` to a relative tolerance; owns the work arrays.

    Parameters
    ----------
    multigrid : Multigrid
        Preconditioner; its ``rhs[0]`` is the right-hand side.
    weight : ndarray
        Of every cell in the norm.
    matrix : callable
        ``matrix(v, out)`` writes minus the product with a padded ``v`` to ``out``.
    matrix_dots : callable, optional
        ``matrix_dots(v)`` returns the `dots` of minus the product and the right-hand side: it
        tells, without storing the product, whether one cycle has done.
    """

    def __init__(
        self,
        multigrid: Multigrid,
        weight: Array,
        matrix: Callable[[Array, Array], None],
        matrix_dots: Callable[[Array], tuple[float, float, float]] | None = None,
    ) -> None:
        self.kernels = multigrid.kernels
        self.multigrid = multigrid
        self.weight = weight
        self.matrix = matrix
        self.matrix_dots = matrix_dots
        self._solution: Array | None = None
        self._directions: list[tuple[Array, Array]] = []  # (z, M z), kept between calls

    def solve(self, tolerance: float, cycles: int) -> tuple[Array, int, float]:
        """Solve from zero for ``multigrid.rhs[0]``, which may be overwritten by the residual.

        Returns
        -------
        solution : ndarray
            Padded; overwritten by the next solve.
        cycles : int
            Cycles used.
        reduction : float
            Weighted residual norm relative to the right-hand side.
        """
        grid = self.multigrid
        grid.solve()
        if self.matrix_dots is not None:
            ww, wr, rr = self.matrix_dots(grid.solution)
            whole = rr + 2.0 * wr + ww
            if np.isfinite(whole) and 0.0 < whole <= tolerance**2 * rr:
                return grid.solution, 1, math.sqrt(whole / rr)
        return self._iterate(tolerance, cycles)

    def _iterate(self, tolerance: float, cycles: int) -> tuple[Array, int, float]:
        """Go on after the first cycle."""
        kernels, grid = self.kernels, self.multigrid
        r, z = grid.rhs[0], grid.solution
        if self._solution is None:
            self._solution = kernels.empty(z.shape, np.float32)
        solution = self._solution
        solution[:] = 0
        first = None
        reduction = 1.0
        norms: list[float] = []
        for k in range(cycles):
            if k > 0:
                grid.solve()
            if k == len(self._directions):
                self._directions.append(
                    (kernels.empty(z.shape, np.float32), kernels.empty(r.shape, np.float32))
                )
            zk, wk = self._directions[k]
            zk[:] = z
            self.matrix(z, wk)  # w = -M z
            for j in range(k):
                zj, wj = self._directions[j]
                beta = kernels.dots(wj, wk, self.weight)[1] / norms[j]
                kernels.axpy(-beta, wj, wk)
                kernels.axpy(-beta, zj, zk)
            ww, wr, rr = kernels.dots(wk, r, self.weight)
            if first is None:
                first = rr
            if not (ww > 0.0 and np.isfinite(ww) and np.isfinite(wr)):
                return solution, k, reduction
            norms.append(ww)
            alpha = -wr / ww  # step along z; w carries the minus sign of the residual kernel
            left = rr - wr * wr / ww
            whole = rr + 2.0 * wr + ww  # what the whole step would leave
            if k == 0 and whole <= tolerance**2 * rr:
                # The norm sees rough errors only; a shorter step would leave its share of the
                # smooth one, which the cycle has removed.
                alpha, left = 1.0, whole
            kernels.axpy(alpha, zk, solution)
            kernels.axpy(alpha, wk, r)
            reduction = float(np.sqrt(max(left, 0.0) / max(first, 1e-300)))
            if reduction <= tolerance:
                return solution, k + 1, reduction
        return solution, cycles, reduction
