"""What runs CUDA kernels: CuPy on a device, or anything else with the same few methods.

Everything above a driver is the same for all of them, so the kernels and the Python that launches
them can be exercised where there is no device, by a driver that compiles them for the host.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

from parabolic_ma.backends.cupy_cuda.source_files import source_of, text_of
from parabolic_ma.typing import Array

__all__ = ["REAL_NAMES", "CupyDriver", "Driver", "Grid", "device_count"]

Grid = tuple[int, ...]

REAL_NAMES = {"f": "float", "d": "double"}
"""C++ names of the real types, by their NumPy character."""


@cache
def device_count() -> int:
    """Count the CUDA devices that CuPy can use: none where it or the CUDA driver is missing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # CuPy warns where it finds no toolkit
            import cupy

            return int(cupy.cuda.runtime.getDeviceCount())
    except (ImportError, RuntimeError):
        return 0


class Driver(Protocol):
    """A device: its arrays, its launches, and the sizes of blocks that it likes."""

    xp: Any
    """Module with NumPy's functions on the device's arrays."""
    threads: int
    """Threads of a block on a line; a power of two."""
    small_threads: int
    """Threads of the one block that works on a whole small level."""
    plane: tuple[int, int]
    """Threads of a block on a plane, axis 1 first."""
    most_blocks: int
    """Blocks of a launch that reduces: each then goes over several parts."""

    def launch(self, name: str, real: str, grid: Grid, block: Grid, args: tuple[Any, ...]) -> None:
        """Start a kernel in its variant for a real type, ``"f"`` or ``"d"``; do not wait.

        Arguments are arrays of the device and NumPy scalars of exactly the kernel's types.
        """

    def to_numpy(self, values: Array) -> Array:
        """Copy an array to the host, which waits for what writes it."""

    def record(self, launches: Callable[[], None]) -> Callable[[], None]:
        """Return what repeats the launches of a function, faster if possible."""


class CupyDriver:
    """A CUDA device by CuPy, which is made the current one of the thread.

    Sources are compiled by NVRTC, each when its first kernel is launched; CuPy keeps the results on
    disk.

    Parameters
    ----------
    device : int
        Its number.
    """

    threads = 256
    small_threads = 1024
    plane = (32, 8)
    most_blocks = 1024

    def __init__(self, device: int) -> None:
        import cupy

        self.xp = cupy
        cupy.cuda.Device(device).use()  # arrays are made, and arithmetic is done, on this one
        self._modules: dict[tuple[str, str], Any] = {}
        self._functions: dict[tuple[str, str], Any] = {}

    def launch(self, name: str, real: str, grid: Grid, block: Grid, args: tuple[Any, ...]) -> None:
        """Start a kernel on the current stream."""
        function = self._functions.get((name, real))
        if function is None:
            function = self._functions[name, real] = self._load(name, real)
        function(grid, block, args)

    def _load(self, name: str, real: str) -> Any:
        source = source_of(name)
        if (source, real) not in self._modules:
            options = (
                "--std=c++17",
                f"-DREAL={REAL_NAMES[real]}",
                f"-DTHREADS={self.threads}",
                f"-DSMALL_THREADS={self.small_threads}",
            )
            self._modules[source, real] = self.xp.RawModule(code=text_of(source), options=options)
        return self._modules[source, real].get_function(name)

    def to_numpy(self, values: Array) -> Array:
        """Copy an array to the host."""
        return self.xp.asnumpy(values)

    def record(self, launches: Callable[[], None]) -> Callable[[], None]:
        """Return a `_Recording` of the launches."""
        return _Recording(self.xp, launches)


class _Recording:
    """Launches that become a CUDA graph.

    The first call runs them as they are, which compiles kernels and makes work arrays: neither is
    allowed while a stream is captured. The second call captures them. Where that is not supported
    every call runs them as they are.
    """

    def __init__(self, cupy: Any, launches: Callable[[], None]) -> None:
        self._cupy = cupy
        self._launches = launches
        self._warm = False
        self._graph: Any = None

    def __call__(self) -> None:
        if self._graph is None and self._warm:
            self._graph = self._captured()
        self._warm = True
        if self._graph:
            self._graph.launch()
        else:
            self._launches()

    def _captured(self) -> Any:
        """Return the graph, or False: it is not tried again."""
        stream = self._cupy.cuda.Stream(non_blocking=True)  # the default one cannot be captured
        try:
            with stream:
                stream.begin_capture()
                try:
                    self._launches()
                finally:
                    graph = stream.end_capture()
        except (AttributeError, RuntimeError):  # CuPy's errors of the runtime are RuntimeErrors
            return False
        return graph
