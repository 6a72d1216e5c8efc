"""The CUDA backend: every kernel of the protocol on one device."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property
from typing import Any

from parabolic_ma.backends.cupy_cuda.cells import CellKernels
from parabolic_ma.backends.cupy_cuda.driver import CupyDriver
from parabolic_ma.backends.cupy_cuda.flow import FlowKernels
from parabolic_ma.backends.cupy_cuda.judgement import JudgementKernels
from parabolic_ma.backends.cupy_cuda.krylov import KrylovKernels
from parabolic_ma.backends.cupy_cuda.line import LineKernels
from parabolic_ma.backends.cupy_cuda.multigrid import MultigridKernels
from parabolic_ma.backends.cupy_cuda.newton import NewtonKernels
from parabolic_ma.backends.cupy_cuda.soft import SoftKernels
from parabolic_ma.backends.cupy_cuda.splines import Splines
from parabolic_ma.backends.cupy_cuda.transfer import TransferKernels
from parabolic_ma.typing import Array

__all__ = ["CudaKernels", "on_device"]


class CudaKernels(
    NewtonKernels,
    CellKernels,
    LineKernels,
    SoftKernels,
    TransferKernels,
    MultigridKernels,
    FlowKernels,
    JudgementKernels,
    KrylovKernels,
):
    """The kernels of the protocol, all arrays being the driver's.

    Axes, densities and weights count as arrays too: put them on the device once, by `asarray`. The
    real type is that of the potential: float64, or float32 where every other array is too.
    """

    def empty(self, shape: tuple[int, ...], dtype: Any = float) -> Array:
        """Return an array with arbitrary contents."""
        return self.xp.empty(shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: Any = float) -> Array:
        """Return an array of zeros."""
        return self.xp.zeros(shape, dtype)

    def asarray(self, values: Array) -> Array:
        """Return an array on the device, contiguous."""
        return self.xp.ascontiguousarray(self.xp.asarray(values))

    def to_numpy(self, values: Array) -> Array:
        """Copy an array to the host."""
        return self.driver.to_numpy(values)

    def record(self, launches: Callable[[], None]) -> Callable[[], None]:
        """Return a CUDA graph of the launches, made when it is called for the second time."""
        return self.driver.record(launches)

    @cached_property
    def splines(self) -> Splines:
        """Splines, maps and their inverses at points of the device."""
        return Splines(self.driver)


@cache
def on_device(number: int) -> CudaKernels:
    """Return the kernels of a CUDA device by CuPy, which becomes the current device."""
    return CudaKernels(CupyDriver(number))
