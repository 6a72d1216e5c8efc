"""The Krylov iteration's sums, launched."""

from __future__ import annotations

import numpy as np

from parabolic_ma.backends.cupy_cuda.launcher import Launcher
from parabolic_ma.typing import Array

__all__ = ["KrylovKernels"]

_THREE = ("sum", "sum", "sum")


class KrylovKernels(Launcher):
    """Dot products and updates of vectors; every sum that is returned is one copy to the host."""

    def norm_weight(self, log_source: Array, floor: float, weight: Array) -> float:
        """Write the weight; return the largest log density."""
        real, n = log_source.dtype, log_source.size
        top = self._reduce("largest", real, n, ("max",), log_source, n)
        self._line("norm_weight", real, n, log_source, top, floor, weight, n)
        return self._numbers(top)[0]

    def matrix_dots(
        self, rows: Array, v: Array, r: Array, weight: Array
    ) -> tuple[float, float, float]:
        """Return `dots` of minus the product and r."""
        found = self._reduce("matrix_dots", r.dtype, r.size, _THREE, rows, v, r, weight, *r.shape)
        ww, wr, rr = self._numbers(found)
        return ww, wr, rr

    def dots(self, w: Array, r: Array, weight: Array) -> tuple[float, float, float]:
        """Return three weighted dot products."""
        weight = weight.astype(w.dtype, copy=False)
        ww, wr, rr = self._numbers(
            self._reduce("dots", w.dtype, w.size, _THREE, w, r, weight, w.size)
        )
        return ww, wr, rr

    def axpy(self, alpha: float, x: Array, y: Array) -> None:
        """``y += alpha x``, alpha rounded to float32."""
        self._line("axpy", y.dtype, y.size, float(np.float32(alpha)), x, y, y.size)
