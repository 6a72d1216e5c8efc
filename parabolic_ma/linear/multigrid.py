"""Geometric multigrid for the rows of a Newton step: F-cycles with a Chebyshev-Jacobi smoother."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from parabolic_ma.backends import of_dimension
from parabolic_ma.operators.transfer import overlap_weights, prolongation_weights
from parabolic_ma.typing import Array

__all__ = ["ROWS", "Multigrid", "coarsening"]

ROWS = {2: 5, 3: 9}
"""Coefficients of a row, by dimension."""
_COARSEST = {2: 8, 3: 4}  # cells a side of the grid that is solved directly
_STRETCH = 1.8  # cells wider than this times the narrowest are not widened further
# Of the spectrum of M / diag(M), what the smoother damps: measured in the plane and in space, where
# lower ends down to 0.2 do as well with degree 4 and worse with degree 2.
_INTERVAL = (0.35, 2.2)
_PECLET = 2.0  # drift over diffusion above which a row is made upwind


def coarsening(
    shape: tuple[int, ...], widths: tuple[float, ...] | None = None
) -> list[tuple[int, ...]]:
    """Return the shapes of all levels, finest first.

    Axes are halved down to about 8 cells, in space 4, the one with the narrower cells first: a
    point smoother leaves errors along a weakly coupled axis, and those only a grid that keeps it
    fine can see.

    Parameters
    ----------
    shape : tuple of int
        Finest shape.
    widths : tuple of float, optional
        Lengths of the sides, in units in which the operator is about isotropic.
    """
    shapes = [shape]
    coarsest = _COARSEST[len(shape)]
    while max(shapes[-1]) > coarsest:
        cells = [w / n for w, n in zip(widths or (1.0,) * len(shape), shapes[-1], strict=True)]
        free = [n > coarsest for n in shapes[-1]]
        narrow = min(c for c, f in zip(cells, free, strict=True) if f)
        shapes.append(
            tuple(
                (n + 1) // 2 if f and c < _STRETCH * narrow else n
                for n, c, f in zip(shapes[-1], cells, free, strict=True)
            )
        )
    return shapes


@dataclass(frozen=True)
class _Transfer:
    """Index and weight arrays, axis after axis, between a level and the next coarser one."""

    overlaps: tuple[Array, ...]
    linear: tuple[Array, ...]
    ratios: tuple[float, ...]

    @classmethod
    def between(cls, kernels: Any, fine: tuple[int, ...], coarse: tuple[int, ...]) -> _Transfer:
        def arrays(make: Callable[[int, int], tuple[Array, Array]]) -> tuple[Array, ...]:
            pairs = [make(f, c) for f, c in zip(fine, coarse, strict=True)]
            return tuple(
                kernels.asarray(a)
                for index, weight in pairs
                for a in (index, weight.astype(np.float32))
            )

        ratios = tuple(f / c for f, c in zip(fine, coarse, strict=True))
        return cls(arrays(overlap_weights), arrays(prolongation_weights), ratios)


class Multigrid:
    """The levels below one nonlinear grid: buffers, transfers and cycles.

    ``rows[0]`` and ``rhs[0]`` are filled by the caller, then `setup` makes the coarse rows and
    `solve` runs one F-cycle from zero; the correction is left, padded, in ``solution``.

    Parameters
    ----------
    kernels : Kernels
        The backend.
    shape : tuple of int
        Shape of the finest level, in two or three dimensions.
    mode : int
        Ghost rule of the corrections.
    widths : tuple of float, optional
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
        shape: tuple[int, ...],
        mode: int,
        widths: tuple[float, ...] | None = None,
        edge: tuple[float, float] = (0.0, 0.0),
        degree: int = 4,
    ) -> None:
        self.kernels = of_dimension(kernels, len(shape))
        self.shapes = coarsening(shape, widths)
        self.mode = mode
        self.edge = edge
        self.degree = degree

        def buffers(extra: int = 0, leading: tuple[int, ...] = ()) -> list[Array]:
            return [
                kernels.empty((*leading, *(n + extra for n in s)), np.float32) for s in self.shapes
            ]

        self.rows = buffers(leading=(ROWS[len(shape)],))
        self.rhs = buffers()
        # a leg of a cycle reads the iterate in one and writes it to the other
        self._first, self._second = buffers(extra=2), buffers(extra=2)
        # scale[k] rescales what is restricted from level k - 1; nothing is restricted to level 0
        self.scale = buffers()[1:]
        self.transfers = [
            _Transfer.between(kernels, f, c)
            for f, c in zip(self.shapes[:-1], self.shapes[1:], strict=True)
        ]
        n = math.prod(self.shapes[-1]) + 1
        self._matrix = kernels.zeros((n, n))
        self._pivots = kernels.zeros((n,), np.int64)
        self._cycles: dict[int, Callable[[], None]] = {}

    @property
    def solution(self) -> Array:
        """The padded correction on the finest level."""
        return self._first[0]

    @property
    def spare(self) -> Array:
        """A padded array of the finest level, free between cycles."""
        return self._second[0]

    def setup(self) -> bool:
        """Make the coarse rows from ``rows[0]``; False when the coarsest system is singular."""
        for k, t in enumerate(self.transfers):
            self.kernels.coarsen_rows(
                self.rows[k], self.rows[k + 1], self.scale[k], *t.overlaps, *t.ratios, _PECLET,
                *self.edge,
            )  # fmt: skip
        self._matrix[:] = self.kernels.dense_matrix(self.rows[-1], self.mode)
        return bool(self.kernels.factorise(self._matrix, self._pivots))

    def solve(self) -> None:
        """Run one F-cycle from a zero correction."""
        if self.degree not in self._cycles:
            # a strong reference would be a circle, and the buffers would wait for its collection
            grid = weakref.proxy(self)

            def launch() -> None:
                grid._cycle(0, "F", fresh=True)  # noqa: SLF001 - itself

            self._cycles[self.degree] = self.kernels.record(launch)
        self._cycles[self.degree]()

    def _cycle(self, k: int, kind: str, fresh: bool) -> None:
        """Improve ``_first[k]``, which is zero when ``fresh``."""
        v, smoothed = self._first[k], self._second[k]
        if k == len(self.shapes) - 1:
            self.kernels.solve_dense(self._matrix, self._pivots, self.rhs[k], v, self.mode)
            return
        t = self.transfers[k]
        smoother = (self.mode, self.degree, *_INTERVAL)
        self.kernels.down(
            self.rows[k], self.rhs[k], v, smoothed, self.rhs[k + 1], self.scale[k], *t.overlaps,
            *smoother, fresh,
        )  # fmt: skip
        self._cycle(k + 1, kind, fresh=True)
        if kind == "F" and k + 2 < len(self.shapes):
            self._cycle(k + 1, "V", fresh=False)
        self.kernels.up(
            self.rows[k], self.rhs[k], smoothed, v, self._first[k + 1], *t.linear, *smoother
        )
