"""Grid functions between grids, launched."""

from __future__ import annotations

from parabolic_ma.backends.cupy_cuda.launcher import Launcher
from parabolic_ma.typing import Array

__all__ = ["TransferKernels"]


class TransferKernels(Launcher):
    """Averages to coarser grids and interpolation to finer ones."""

    def average_log(
        self, fine: Array, coarse: Array, ix: Array, wx: Array, iy: Array, wy: Array
    ) -> None:
        """Write the log of the average of ``exp(fine)`` over every coarse cell."""
        self._line(
            "average_log", fine.dtype, coarse.size, fine, fine.shape[1], coarse, ix, wx, iy, wy,
            *coarse.shape,
        )  # fmt: skip

    def interpolate(
        self, coarse: Array, fine: Array, ix: Array, wx: Array, iy: Array, wy: Array
    ) -> None:
        """Interpolate by four points an axis; ``fine`` may be a view with contiguous rows."""
        width = fine.strides[0] // fine.itemsize
        self._line(
            "interpolate", fine.dtype, fine.size, coarse, coarse.shape[1], fine, width, ix, wx,
            iy, wy, *fine.shape,
        )  # fmt: skip

    def average_log_1d(self, fine: Array, coarse: Array, ix: Array, wx: Array) -> None:
        """Do what `average_log` does on one axis."""
        self._line("average_log_1d", fine.dtype, coarse.size, fine, coarse, ix, wx, coarse.size)

    def interpolate_1d(self, coarse: Array, fine: Array, ix: Array, wx: Array) -> None:
        """Do what `interpolate` does on one axis."""
        step = fine.strides[0] // fine.itemsize
        self._line("interpolate_1d", fine.dtype, fine.size, coarse, fine, step, ix, wx, fine.size)
