"""Backends: named sets of kernels on raw arrays, imported only when asked for."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any, cast

from parabolic_ma.backends.numba_cpu.threads import default_threads
from parabolic_ma.backends.protocol import Kernels
from parabolic_ma.status import InputError, MissingExtraError

__all__ = ["BackendInfo", "Kernels", "available", "get", "of_dimension"]

_MODULES = {
    "numba": ("parabolic_ma.backends.numba_cpu.threaded", "numba", "numba"),
    "numpy": ("parabolic_ma.backends.numpy_reference.kernels", "numpy", "numpy"),
}
_DESCRIPTIONS = {
    "numba": "compiled kernels on the CPU; the default",
    "numpy": "plain NumPy; the readable reference that the others are tested against",
}


@dataclass(frozen=True)
class BackendInfo:
    """One backend: its name, whether it can be used here, and what it is or why not."""

    name: str
    usable: bool
    description: str


def get(name: str, threads: int | None = None) -> Kernels:
    """Return the kernels of a backend as a namespace.

    Parameters
    ----------
    name : str
    threads : int, optional
        Most threads on large grids, for a backend that has them; without it, all the cores that
        this process may use. No result depends on it.

    Raises
    ------
    InputError
        If no backend has that name; the text lists those that exist.
    MissingExtraError
        If the backend's package is not installed.
    """
    if name not in _MODULES:
        raise InputError(f"backend={name!r} is not known; choose one of {', '.join(_MODULES)}")
    module, package, extra = _MODULES[name]
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(f"backend={name!r}", extra)
    if name == "numba":
        threaded = importlib.import_module("parabolic_ma.backends.numba_cpu.threaded")
        return cast("Kernels", threaded.NumbaKernels(threads or default_threads()))
    return cast("Kernels", importlib.import_module(module))


def of_dimension(kernels: Any, dim: int) -> Any:
    """Return the kernels of a dimension under their names without it.

    The kernels in the plane have plain names; those in space end in ``_3d``, and here
    ``of_dimension(kernels, 3).down`` is ``kernels.down_3d``. What has no such variant is the same
    in every dimension.
    """
    return kernels if dim == 2 else _Suffixed(kernels, f"_{dim}d")


class _Suffixed:
    def __init__(self, kernels: Any, suffix: str) -> None:
        self._kernels = kernels
        self._suffix = suffix

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._kernels, name + self._suffix, None)
        return getattr(self._kernels, name) if found is None else found


def available() -> list[BackendInfo]:
    """List every backend with whether it can be used on this machine."""
    return [
        BackendInfo(name, importlib.util.find_spec(package) is not None, _DESCRIPTIONS[name])
        for name, (_, package, _) in _MODULES.items()
    ]
