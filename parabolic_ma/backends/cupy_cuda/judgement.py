"""What judges a solution, launched; the results are on the host, one copy each."""

from __future__ import annotations

import numpy as np

from parabolic_ma.backends.cupy_cuda.launcher import Double, Launcher
from parabolic_ma.typing import Array

__all__ = ["JudgementKernels"]

_DIMENSIONS = 3  # most, in the sources
_WINDOW = 4096  # bins of a block, in the sources
_PARTS = 128  # of the cells, each with a histogram of its own
_JUDGED = ("sum", "sum", "max", *("sum",) * (4 + _DIMENSIONS))
_RESIDUALS = ("sum", "max", "min", "max", "sum")


class JudgementKernels(Launcher):
    """Sums over the cells, seen as rows (rows, n)."""

    def judge_sums(
        self, source: Array, log_det: Array, log_inner: Array, gradient: Array, leading: Array,
        last: Array, shift: Array,
    ) -> Array:  # fmt: skip
        """Return the sums; the largest logarithm first, for the others to be taken off."""
        real, cells, dim = source.dtype, source.size, gradient.shape[-1]
        top = self._reduce("largest_balanced", real, cells, ("max",), log_det, log_inner, cells)
        sums = self._reduce(
            "judge_sums", real, cells, _JUDGED, top, source, log_det, log_inner, gradient, leading,
            last, shift, cells, last.size, dim,
        )  # fmt: skip
        return self.driver.to_numpy(sums)[: 7 + dim]

    def residual_sums(
        self, source: Array, log_det: Array, log_inner: Array, low: Array, high: Array, u: Array,
        constant: float, tail: float, extension: float,
    ) -> tuple[float, float, float, float, float]:  # fmt: skip
        """Return the sums; ``u`` may be the interior of a padded array."""
        u = self.xp.ascontiguousarray(u)
        results = self._reduce(
            "residual_sums", source.dtype, source.size, _RESIDUALS, source, log_det, log_inner,
            low, high, u, Double(constant), Double(tail), Double(extension), source.size,
        )  # fmt: skip
        squared, largest, smallest, biggest, rounding = self._numbers(results)
        return squared, largest, smallest, biggest, rounding

    def mass_histogram(self, source: Array, lowest: float, step: float, bins: int) -> Array:
        """Return the masses by log density."""
        threads = self.driver.threads
        parts = min(-(-source.size // threads), _PARTS)
        partial = self._array("histograms", (_PARTS, bins), float)
        self._start(
            "mass_histogram", source.dtype, (parts, -(-bins // _WINDOW)), (threads,),
            (source, source.size, lowest, step, bins, partial),
        )  # fmt: skip
        masses = self._array("histogram", (bins,), float)
        self._line("sum_histograms", float, bins, partial, parts, bins, masses)
        return np.array(self.driver.to_numpy(masses))

    def inverse_change(
        self, after: Array, before: Array, spacing: tuple[float, float],
        matrix: tuple[float, float, float], source: Array,
    ) -> float:  # fmt: skip
        """Return the mean square by which the inverse map changes."""
        constants = (Double(c) for c in (*spacing, *matrix))
        total = self._reduce(
            "inverse_change", source.dtype, source.size, ("sum",), after, before, source,
            *constants, *source.shape,
        )  # fmt: skip
        return self._numbers(total)[0]
