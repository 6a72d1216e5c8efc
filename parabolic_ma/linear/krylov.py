"""Generalised conjugate residuals, preconditioned by multigrid cycles, in a mass-weighted norm.

The norm decides: far tails have rows as large as the bulk's and, unweighted, all of the Krylov
space would go to cells without mass. With an easy matrix one cycle meets the tolerance and the
method costs one matrix product more than the bare cycle; where the Hessian degenerates it saves
the outer Newton iteration (Eisenstat, Elman & Schultz, SIAM J. Numer. Anal. 20, 1983).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from parabolic_ma.linear.multigrid import Multigrid
from parabolic_ma.typing import Array

__all__ = ["ConjugateResiduals"]


class ConjugateResiduals:
    """Solve the finest rows of a `Multigrid` to a relative tolerance; owns the work arrays.

    Parameters
    ----------
    kernels : module
        The backend.
    multigrid : Multigrid
        Preconditioner; its ``rhs[0]`` is the right-hand side.
    matrix : callable
        ``matrix(v, out)`` writes minus the product with a padded ``v`` to ``out``.
    """

    def __init__(
        self,
        kernels: Any,
        multigrid: Multigrid,
        matrix: Callable[[Array, Array], None],
    ) -> None:
        self.kernels = kernels
        self.matrix = matrix
        self.multigrid = multigrid
        shape = multigrid.shapes[0]
        self.solution = np.empty((shape[0] + 2, shape[1] + 2), np.float32)
        self.weight = np.empty(shape, np.float32)
        self._directions: list[tuple[Array, Array]] = []  # (z, M z), kept between calls

    def solve(self, tolerance: float, cycles: int) -> tuple[int, float]:
        """Solve from zero for ``multigrid.rhs[0]``, which is overwritten by the residual.

        Returns
        -------
        cycles : int
            Cycles used.
        reduction : float
            Weighted residual norm relative to the right-hand side.
        """
        kernels, grid = self.kernels, self.multigrid
        r, z = grid.rhs[0], grid.v[0]
        self.solution[:] = 0
        first = None
        reduction = 1.0
        norms: list[float] = []
        for k in range(cycles):
            grid.solve(1)
            if k == len(self._directions):
                self._directions.append((np.empty_like(z), np.empty_like(r)))
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
                return k, reduction
            norms.append(ww)
            alpha = -wr / ww  # step along z; w carries the minus sign of the residual kernel
            left = rr - wr * wr / ww
            whole = rr + 2.0 * wr + ww  # what the whole step would leave
            if k == 0 and whole <= tolerance**2 * rr:
                # The norm sees rough errors only; a shorter step would leave its share of the
                # smooth one, which the cycle has removed.
                alpha, left = 1.0, whole
            kernels.axpy(alpha, zk, self.solution)
            kernels.axpy(alpha, wk, r)
            reduction = float(np.sqrt(max(left, 0.0) / max(first, 1e-300)))
            if reduction <= tolerance:
                return k + 1, reduction
        return cycles, reduction
