"""The CUDA kernels without a device: their sources compiled for the host, on arrays of NumPy.

`HostDriver` takes the place of CuPy's. It checks what CuPy cannot: that arguments have the types
that a kernel declares. Its arrays are kept apart from NumPy's as those of a device would be.
"""

from __future__ import annotations

import atexit
import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from parabolic_ma.backends.cupy_cuda.driver import REAL_NAMES
from parabolic_ma.backends.cupy_cuda.kernels import CudaKernels
from parabolic_ma.backends.cupy_cuda.source_files import kernels_of, source_of, text_of

__all__ = ["DeviceArray", "HostDriver", "OnNumpyArrays", "compiler"]

_VIEWS = {"interpolate", "interpolate_1d"}  # kernels one of whose arrays need not be contiguous


def compiler() -> str | None:
    """Return the host's C++ compiler, if there is one."""
    return shutil.which("g++")


class DeviceArray(np.ndarray):
    """An array that does not mix with NumPy's, as arrays of a device do not."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        _apart((*inputs, *options.get("out", ())))
        plain = [np.asarray(a) if isinstance(a, DeviceArray) else a for a in inputs]
        if "out" in options:
            options["out"] = tuple(np.asarray(a) for a in options["out"])
        return _on_device(getattr(ufunc, method)(*plain, **options))

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        _apart(args)
        return _on_device(super().__array_function__(function, types, args, options))

    def __setitem__(self, place: Any, values: Any) -> None:
        _apart((self, values))
        super().__setitem__(place, values)


def _apart(arguments: Any) -> None:
    for argument in arguments:
        plain = isinstance(argument, np.ndarray) and not isinstance(argument, DeviceArray)
        if plain and argument.ndim:
            raise TypeError("an array of NumPy among those of the device")


def _on_device(values: Any) -> Any:
    return values.view(DeviceArray) if isinstance(values, np.ndarray) else values


class _Module:
    """NumPy's functions, with results on the device."""

    ndarray = DeviceArray

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(np, name)

        def call(*args: Any, **options: Any) -> Any:
            if name not in {"asarray", "ascontiguousarray"}:
                _apart(args)
            return _on_device(function(*args, **options))

        return call


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="cuda_on_host_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def _library(source: str, real: str, threads: int, small_threads: int) -> ctypes.CDLL:
    """Compile a source; once a process and variant."""
    stem = _folder() / f"{source}_{real}_{threads}_{small_threads}"
    entries = "\n".join(f"ENTRY({name})" for name in kernels_of(source))
    text = f'#include "cuda_on_host.hpp"\n{text_of(source)}\n{entries}\n'
    stem.with_suffix(".cpp").write_text(text, encoding="utf-8")
    subprocess.run(
        [
            "g++", "-std=c++17", "-O1", "-shared", "-fPIC", "-w",
            # arrays that blocks share are static: every library has its own
            "-fvisibility=hidden", "-fno-gnu-unique",
            f"-I{Path(__file__).parent}", f"-DREAL={REAL_NAMES[real]}", f"-DTHREADS={threads}",
            f"-DSMALL_THREADS={small_threads}", "-o", stem.with_suffix(".so"),
            stem.with_suffix(".cpp"),
        ],
        check=True,
    )  # fmt: skip
    return ctypes.CDLL(str(stem.with_suffix(".so")))


class HostDriver:
    """A driver that runs every thread of a launch on the host, one after the other.

    Parameters
    ----------
    reversed_order : bool
        Run blocks and threads backwards: results are the same unless threads get into each other's
        way.
    threads, small_threads, most_blocks : int
        Sizes of launches, smaller than a device's, as a thread that waits costs more here.
    """

    def __init__(
        self,
        reversed_order: bool = False,
        threads: int = 32,
        small_threads: int = 64,
        most_blocks: int = 8,
    ) -> None:
        self.xp = _Module()
        self.threads = threads
        self.small_threads = small_threads
        self.plane = (8, 4)
        self.most_blocks = most_blocks
        self.launched: set[tuple[str, str]] = set()
        self._reversed = reversed_order

    def launch(
        self, name: str, real: str, grid: tuple[int, ...], block: tuple[int, ...], args: Any
    ) -> None:
        """Run a kernel."""
        library = _library(source_of(name), real, self.threads, self.small_threads)
        signature = getattr(library, f"signature_{name}")
        signature.restype = ctypes.c_char_p
        letters = signature().decode()
        assert "".join(map(_letter, args)) == letters, f"{name}: {_types(args)} for {letters}"
        held = [_argument(name, a) for a in args]
        pointers = (ctypes.c_void_p * len(held))(*(ctypes.addressof(a) for a in held))
        sizes = [(ctypes.c_int * 3)(*size, *(1,) * (3 - len(size))) for size in (grid, block)]
        failed = getattr(library, f"launch_{name}")(pointers, *sizes, int(self._reversed))
        assert not failed, f"{name}: not every thread of a block reaches __syncthreads"
        self.launched.add((name, real))

    def to_numpy(self, values: np.ndarray) -> np.ndarray:
        """Copy."""
        assert isinstance(values, DeviceArray)
        return np.array(values, subok=False)

    def record(self, launches: Callable[[], None]) -> Callable[[], None]:
        """Return the launches: there is nothing to capture."""
        return launches


_SCALARS = {"f": ctypes.c_float, "d": ctypes.c_double, "i": ctypes.c_int, "l": ctypes.c_longlong}


def _letter(argument: Any) -> str:
    """Return the code of an argument's type, upper case for an array."""
    if isinstance(argument, np.ndarray):
        return argument.dtype.char.upper()
    return argument.dtype.char if isinstance(argument, np.generic) else "?"


def _types(args: Any) -> str:
    return "".join(map(_letter, args))


def _argument(name: str, argument: Any) -> Any:
    """Return what holds an argument for a launch."""
    if isinstance(argument, np.ndarray):
        assert isinstance(argument, DeviceArray), f"{name}: an array that is not on the device"
        assert argument.flags.c_contiguous or name in _VIEWS, f"{name}: not contiguous"
        return ctypes.c_void_p(argument.ctypes.data)
    return _SCALARS[argument.dtype.char](argument.item())


class OnNumpyArrays:
    """Kernels of a device with NumPy's arrays for arguments, which are copied there and back."""

    def __init__(self, kernels: CudaKernels) -> None:
        self.kernels = kernels

    def __getattr__(self, name: str) -> Callable[..., Any]:
        kernel = getattr(self.kernels, name)

        def run(*arguments: Any) -> Any:
            there = [
                self.kernels.asarray(a.copy()) if isinstance(a, np.ndarray) else a
                for a in arguments
            ]
            returned = kernel(*there)
            for mine, theirs in zip(arguments, there, strict=True):
                if isinstance(mine, np.ndarray):
                    mine[...] = self.kernels.to_numpy(theirs)
            if isinstance(returned, self.kernels.xp.ndarray):
                return self.kernels.to_numpy(returned)
            return returned

        return run
