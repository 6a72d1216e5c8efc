"""The Numba backend as solvers see it: large grids are shared out to threads by rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from parabolic_ma.backends.numba_cpu import (
    judgement,
    kernels,
    krylov,
    multigrid,
    newton,
    transfer,
)
from parabolic_ma.backends.numba_cpu.threads import in_rows
from parabolic_ma.typing import Array

__all__ = ["NumbaKernels"]


class NumbaKernels:
    """Every kernel of the protocol; those that matter on large grids take ``threads`` of them.

    Results are the same for any number of threads.

    Parameters
    ----------
    threads : int
        Most threads to use.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        shared = [name for name in vars(NumbaKernels) if not name.startswith("_")]
        self.__all__ = [*kernels.__all__, *shared]

    def __getattr__(self, name: str) -> Any:
        return getattr(kernels, name)

    def _run(self, kernel: Any, shape: tuple[int, ...], *arguments: Any) -> list[Any]:
        return in_rows(kernel, shape[0], math.prod(shape), self.threads, *arguments)

    def linearise(
        self, u: Array, axis1: Array, axis2: Array, quad: Array, log_source: Array, log_c: float,
        kind: int, params: Array, table: Array, clip: float, dt: float, peclet: float,
        log_cap: float, rows: Array, rhs: Array, tangent: Array,
    ) -> tuple[float, ...]:  # fmt: skip
        """See the protocol."""
        parts = self._run(
            newton.linearise, log_source.shape, u, axis1, axis2, quad, log_source, log_c, kind,
            params, table, clip, dt, peclet, log_cap, rows, rhs, tangent,
        )  # fmt: skip
        return newton.combined(np.array(parts), (axis1[1] - axis1[0]) * (axis2[1] - axis2[0]))

    def fields(
        self, u: Array, axis1: Array, axis2: Array, quad: Array, kind: int, params: Array,
        table: Array, delta: float, gradient: Array, low: Array, high: Array, log_det: Array,
        logm: Array,
    ) -> None:  # fmt: skip
        """See the protocol."""
        self._run(
            newton.fields, low.shape, u, axis1, axis2, quad, kind, params, table, delta, gradient,
            low, high, log_det, logm,
        )  # fmt: skip

    def add_correction(self, u: Array, v: Array, out: Array) -> None:
        """See the protocol."""
        nx, ny = (n - 2 for n in v.shape)
        mean = sum(self._run(krylov.interior_sum, (nx, ny), v)) / (nx * ny)
        self._run(krylov.add_shifted, u.shape, u, v, mean, out)

    def gradient_norm(self, v: Array, weight: Array, floor: float, h1: float, h2: float) -> float:
        """See the protocol."""
        return math.sqrt(
            sum(self._run(krylov.squared_gradient, weight.shape, v, weight, floor, h1, h2))
        )

    def norm_weight(self, log_source: Array, floor: float, weight: Array) -> float:
        """See the protocol."""
        source, weight = _lines(log_source), _lines(weight)
        top = max(self._run(krylov.largest, source.shape, source))
        self._run(krylov.norm_weight, source.shape, source, top, floor, weight)
        return float(top)

    def dots(self, w: Array, r: Array, weight: Array) -> tuple[float, float, float]:
        """See the protocol."""
        w, r, weight = _lines(w), _lines(r), _lines(weight)
        return _sums(self._run(krylov.dots, w.shape, w, r, weight))

    def axpy(self, alpha: float, x: Array, y: Array) -> None:
        """See the protocol."""
        krylov.axpy(alpha, _lines(x), _lines(y))

    def matrix_dots(
        self, rows: Array, v: Array, r: Array, weight: Array
    ) -> tuple[float, float, float]:
        """See the protocol."""
        return _sums(self._run(krylov.matrix_dots, r.shape, rows, v, r, weight))

    def down(
        self, rows: Array, r: Array, v: Array, out: Array, coarse: Array, scale: Array, ix: Array,
        wx: Array, iy: Array, wy: Array, mode: int, degree: int, low: float, high: float,
        fresh: bool,
    ) -> None:  # fmt: skip
        """See the protocol."""
        # shared out by coarse rows, by the size of the fine grid
        in_rows(
            multigrid.down, coarse.shape[0], r.size, self.threads, rows, r, v, out, coarse, scale,
            ix, wx, iy, wy, mode, degree, low, high, fresh,
        )  # fmt: skip

    def up(
        self, rows: Array, r: Array, v: Array, out: Array, coarse: Array, ix: Array, wx: Array,
        iy: Array, wy: Array, mode: int, degree: int, low: float, high: float,
    ) -> None:  # fmt: skip
        """See the protocol."""
        self._run(
            multigrid.up, r.shape, rows, r, v, out, coarse, ix, wx, iy, wy, mode, degree, low, high
        )

    def coarsen_rows(
        self, fine: Array, coarse: Array, scale: Array, ix: Array, wx: Array, iy: Array,
        wy: Array, ratio_x: float, ratio_y: float, peclet: float, most: float, share: float,
    ) -> None:  # fmt: skip
        """See the protocol."""
        in_rows(
            multigrid.coarsen_rows, coarse.shape[1], fine[0].size, self.threads, fine, coarse,
            scale, ix, wx, iy, wy, ratio_x, ratio_y, peclet,
        )  # fmt: skip
        if share > 0.0:
            multigrid.outflow(coarse, most, share)

    def interpolate(
        self, coarse: Array, fine: Array, ix: Array, wx: Array, iy: Array, wy: Array
    ) -> None:
        """See the protocol."""
        self._run(transfer.interpolate, fine.shape, coarse, fine, ix, wx, iy, wy)

    def average_log(
        self, fine: Array, coarse: Array, ix: Array, wx: Array, iy: Array, wy: Array
    ) -> None:
        """See the protocol."""
        in_rows(
            transfer.average_log, coarse.shape[0], fine.size, self.threads, fine, coarse, ix, wx,
            iy, wy,
        )  # fmt: skip

    def judge_sums(
        self, source: Array, log_det: Array, log_inner: Array, gradient: Array, leading: Array,
        last: Array, shift: Array,
    ) -> Array:  # fmt: skip
        """See the protocol."""
        parts = np.array(
            self._run(
                judgement.judge_sums, source.shape, source, log_det, log_inner, gradient, leading,
                last, shift,
            )
        )  # fmt: skip
        top = parts[:, 2].max()
        parts[:, 3:5] *= np.exp(parts[:, 2:3] - top)
        sums: Array = parts.sum(axis=0)
        sums[2] = top
        return sums

    def residual_sums(
        self, source: Array, log_det: Array, log_inner: Array, low: Array, high: Array, u: Array,
        constant: float, tail: float, extension: float,
    ) -> tuple[float, ...]:  # fmt: skip
        """See the protocol."""
        parts = np.array(
            self._run(
                judgement.residual_sums, source.shape, source, log_det, log_inner, low, high, u,
                constant, tail, extension,
            )
        )  # fmt: skip
        total = parts.sum(axis=0)
        total[1], total[2], total[3] = parts[:, 1].max(), parts[:, 2].min(), parts[:, 3].max()
        return tuple(map(float, total))

    def mass_histogram(self, source: Array, lowest: float, step: float, bins: int) -> Array:
        """See the protocol."""
        histograms = self._run(judgement.mass_histogram, source.shape, source, lowest, step, bins)
        return np.sum(histograms, axis=0)

    def inverse_change(
        self, after: Array, before: Array, spacing: tuple[float, float],
        matrix: tuple[float, float, float], source: Array,
    ) -> float:  # fmt: skip
        """See the protocol."""
        parts = self._run(
            judgement.inverse_change, source.shape, after, before, spacing, matrix, source
        )
        return float(sum(parts))


def _lines(values: Array) -> Array:
    """See an array as its lines along the last axis: what goes cell by cell knows no dimension."""
    return values.reshape(-1, values.shape[-1])


def _sums(parts: list[Any]) -> tuple[float, float, float]:
    ww, wr, rr = (sum(column) for column in zip(*parts, strict=True))
    return ww, wr, rr
