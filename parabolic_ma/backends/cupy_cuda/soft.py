"""The soft conjugate, launched."""

from __future__ import annotations

from parabolic_ma.backends.cupy_cuda.launcher import Launcher
from parabolic_ma.typing import Array

__all__ = ["SoftKernels"]

_TILE = 16  # of the sources


class SoftKernels(Launcher):
    """Sums of exponentials against a kernel given by its logarithm."""

    def soft_conjugate_rows(self, log_kernel: Array, rows: Array, out: Array) -> None:
        """Write the log of the sums over the terms of every row and line."""
        lines, n = log_kernel.shape
        count = len(rows)
        if count:
            blocks = (-(-lines // _TILE), -(-count // _TILE))
            arguments = (log_kernel, rows, out, lines, n, count)
            self._start("soft_conjugate_rows", out.dtype, blocks, (_TILE, _TILE), arguments)
