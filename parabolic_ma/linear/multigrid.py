"""Geometric multigrid for the rows of a Newton step: F-cycles with a Chebyshev-Jacobi smoother."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from parabolic_ma.operators.transfer import overlap_weights, prolongation_weights
from parabolic_ma.typing import Array

__all__ = ["Multigrid", "coarsening"]

_COARSEST = 8  # cells a side of the grid that is solved directly
_STRETCH = 1.8  # cells wider than this times the narrowest are not widened further
_INTERVAL = (0.35, 2.2)  # of the spectrum of M / diag(M) that the smoother damps
_PECLET = 2.0  # drift over diffusion above which a row is made upwind


def coarsening(
    shape: tuple[int, int], widths: tuple[float, float] = (1.0, 1.0)
) -> list[tuple[int, int]]:
    """Return the shapes of all levels, finest first.

    Axes are halved down to about 8 cells, the one with the narrower cells first: a point smoother
    leaves errors along a weakly coupled axis, and those only a grid that keeps it fine can see.

    Parameters
    ----------
    shape : (int, int)
        Finest shape.
    widths : (float, float)
        Lengths of the two sides, in units in which the operator is about isotropic.
    """
    shapes = [shape]
    while max(shapes[-1]) > _COARSEST:
        cells = [w / n for w, n in zip(widths, shapes[-1], strict=True)]
        free = [n > _COARSEST for n in shapes[-1]]
        narrow = min(c for c, f in zip(cells, free, strict=True) if f)
        nx, ny = (
            (n + 1) // 2 if f and c < _STRETCH * narrow else n
            for n, c, f in zip(shapes[-1], cells, free, strict=True)
        )
        shapes.append((nx, ny))
    return shapes


@dataclass(frozen=True)
class _Transfer:
    """Index and weight arrays between a level and the next coarser one."""

    ix: Array
    wx: Array
    iy: Array
    wy: Array
    px: Array
    vx: Array
    py: Array
    vy: Array
    ratio: tuple[float, float]

    @classmethod
    def between(cls, fine: tuple[int, int], coarse: tuple[int, int]) -> _Transfer:
        (ix, wx), (iy, wy) = (overlap_weights(f, c) for f, c in zip(fine, coarse, strict=True))
        (px, vx), (py, vy) = (prolongation_weights(f, c) for f, c in zip(fine, coarse, strict=True))
        wx, wy, vx, vy = (w.astype(np.float32) for w in (wx, wy, vx, vy))
        return cls(ix, wx, iy, wy, px, vx, py, vy, (fine[0] / coarse[0], fine[1] / coarse[1]))


class Multigrid:
    """The levels below one nonlinear grid: buffers, transfers and cycles.

    ``rows[0]`` and ``rhs[0]`` are filled by the caller, then `setup` makes the coarse rows and
    `solve` runs cycles from zero; the correction is left, padded, in ``v[0]``.

    Parameters
    ----------
    kernels : module
        The backend.
    shape : (int, int)
        Shape of the finest level.
    mode : int
        Ghost rule of the corrections.
    widths : (float, float)
        Lengths of the sides, in units in which the operator is about isotropic.
    edge : (float, float)
        Least outward drift of face cells, alone and as a share of the diffusion; positive at a
        free boundary.
    degree : int
        Chebyshev sweeps before and after the coarse correction.
    """

    def __init__(
        self,
        kernels: Any,
        shape: tuple[int, int],
        mode: int,
        widths: tuple[float, float] = (1.0, 1.0),
        edge: tuple[float, float] = (0.0, 0.0),
        degree: int = 4,
    ) -> None:
        self.kernels = kernels
        self.shapes = coarsening(shape, widths)
        self.mode = mode
        self.edge = edge
        self.degree = degree
        self.rows = [np.empty((5, *s), np.float32) for s in self.shapes]
        self.rhs = [np.empty(s, np.float32) for s in self.shapes]
        self.v = [np.empty((s[0] + 2, s[1] + 2), np.float32) for s in self.shapes]
        self.work = [np.empty(s, np.float32) for s in self.shapes]
        # scale[k] rescales what is restricted from level k - 1; nothing is restricted to level 0
        self.scale = [np.empty(s if k else (0, 0), np.float32) for k, s in enumerate(self.shapes)]
        self.transfers = [
            _Transfer.between(f, c) for f, c in zip(self.shapes[:-1], self.shapes[1:], strict=True)
        ]
        n = self.shapes[-1][0] * self.shapes[-1][1] + 1
        self._matrix = np.zeros((n, n))
        self._pivots = np.zeros(n, np.int64)

    def setup(self) -> bool:
        """Make the coarse rows from ``rows[0]``; False when the coarsest system is singular."""
        for k, t in enumerate(self.transfers):
            self.kernels.coarsen_rows(
                self.rows[k], self.rows[k + 1], self.scale[k + 1],
                t.ix, t.wx, t.iy, t.wy, t.ratio[0], t.ratio[1], _PECLET, *self.edge,
            )  # fmt: skip
        self._matrix[:] = self.kernels.dense_matrix(self.rows[-1], self.mode)
        return bool(self.kernels.factorise(self._matrix, self._pivots))

    def solve(self, cycles: int, kind: str = "F") -> None:
        """Run cycles from a zero correction."""
        self.v[0][:] = 0
        for k in range(cycles):
            self._cycle(0, kind, fresh=k == 0)

    def _cycle(self, k: int, kind: str, fresh: bool) -> None:
        kernels = self.kernels
        if k == len(self.shapes) - 1:
            kernels.solve_dense(self._matrix, self._pivots, self.rhs[k], self.v[k], self.mode)
            return
        t = self.transfers[k]
        rows, rhs, v, work = self.rows[k], self.rhs[k], self.v[k], self.work[k]
        kernels.chebyshev(rows, rhs, v, work, self.mode, self.degree, *_INTERVAL, fresh)
        kernels.residual(rows, rhs, v, work)
        kernels.restrict(work, self.rhs[k + 1], t.ix, t.wx, t.iy, t.wy, self.scale[k + 1])
        self.v[k + 1][:] = 0
        self._cycle(k + 1, kind, fresh=True)
        if kind == "F" and k + 2 < len(self.shapes):
            self._cycle(k + 1, "V", fresh=False)
        kernels.prolong_add(self.v[k + 1], v, t.px, t.vx, t.py, t.vy)
        kernels.fill_ghosts(v, self.mode)
        kernels.chebyshev(rows, rhs, v, work, self.mode, self.degree, *_INTERVAL, False)
