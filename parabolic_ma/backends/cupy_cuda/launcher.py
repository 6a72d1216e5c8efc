"""What the kernels of every topic share: launches, reductions and work arrays."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from parabolic_ma import backends
from parabolic_ma.backends.cupy_cuda.driver import Driver
from parabolic_ma.typing import Array

__all__ = ["FIGURES", "Double", "Launcher", "density_arguments"]

_OPERATIONS = {"sum": 0, "max": 1, "min": 2}  # `Reduction` of the sources

FIGURES = ("sum", "sum", "sum", "min", "sum", "max", "sum")
"""How the figures of a linearisation are reduced; see `Figure` in the sources."""


class Double(float):
    """A number that a kernel takes in double precision, whatever its real type."""


class Launcher:
    """Base of the kernels: how they are launched, and where they keep what they need in between.

    Arguments of a launch are arrays of the device and Python's numbers, which get the types that
    the sources declare: ``int``, the real type for a float, double for a `Double`.

    Parameters
    ----------
    driver : Driver
        The device.
    """

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.xp = driver.xp
        self._work: dict[tuple[Any, ...], Array] = {}

    @cached_property
    def _host(self) -> Any:
        """The compiled kernels of the CPU, for what is sequential and done once in a while."""
        return backends.get("numba")

    def _line(self, name: str, real: Any, count: int, *args: Any) -> None:
        """Launch a kernel over ``count`` elements."""
        if count > 0:
            blocks = -(-count // self.driver.threads)
            self._start(name, real, (blocks,), (self.driver.threads,), args)

    def _plane(self, name: str, real: Any, shape: tuple[int, int], *args: Any) -> None:
        """Launch a kernel over a plane of cells."""
        width, height = self.driver.plane
        blocks = (-(-shape[1] // width), -(-shape[0] // height))
        self._start(name, real, blocks, (width, height), args)

    def _block(self, name: str, real: Any, threads: int, *args: Any) -> None:
        """Launch a kernel in one block."""
        self._start(name, real, (1,), (threads,), args)

    def _start(
        self, name: str, real: Any, grid: tuple[int, ...], block: tuple[int, ...], args: Any
    ) -> None:
        real = np.dtype(real)
        self.driver.launch(name, real.char, grid, block, tuple(_typed(a, real) for a in args))

    def _reduce(
        self, name: str, real: Any, count: int, operations: tuple[str, ...], *args: Any
    ) -> Array:
        """Launch a kernel that reduces over ``count`` elements; return the results, on the device.

        The kernel gets two more arguments: how each number is reduced, and where every block writes
        its own. The results are overwritten by the next reduction to as many numbers.
        """
        threads, width = self.driver.threads, len(operations)
        blocks = min(-(-count // threads), self.driver.most_blocks)
        how = sum(_OPERATIONS[op] << (2 * k) for k, op in enumerate(operations))
        partial = self._array("partial", (self.driver.most_blocks, width), float)
        self._start(name, real, (blocks,), (threads,), (*args, how, partial))
        results = self._array("reduced", (width,), float)
        self._block("combine", float, threads, partial, blocks, width, how, results)
        return results

    def _numbers(self, results: Array) -> list[float]:
        """Copy results of a reduction to the host."""
        return self.driver.to_numpy(results).tolist()

    def _array(self, use: str, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return a work array, the same one for the same use and shape.

        It is never freed: graphs of recorded launches hold its address.
        """
        key = (use, shape, np.dtype(dtype).char)
        if key not in self._work:
            self._work[key] = self.xp.empty(shape, dtype)
        return self._work[key]


def density_arguments(kind: int, params: Array, table: Array) -> tuple[Any, ...]:
    """Return what the sources' `Inner` and `InnerLine` are made of."""
    numbers = {1: 3, 2: 6}[table.ndim]  # of a Gaussian component
    return (kind, params, params.size // numbers, table, *table.shape)


def _typed(argument: Any, real: np.dtype[Any]) -> Any:
    """Give a scalar the type that a kernel expects: int, the real type, or double."""
    if isinstance(argument, Double):
        return np.float64(argument)
    if isinstance(argument, float | np.floating):
        return real.type(argument)
    if isinstance(argument, int | np.integer | np.bool_):
        return np.int32(argument)
    return argument
