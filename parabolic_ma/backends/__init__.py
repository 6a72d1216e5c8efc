"""Backends: named sets of kernels on raw arrays, imported only when asked for."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import cast

from parabolic_ma.backends.protocol import Kernels
from parabolic_ma.status import InputError, MissingExtraError

__all__ = ["BackendInfo", "Kernels", "available", "get"]

_MODULES = {
    "numba": ("parabolic_ma.backends.numba_cpu.kernels", "numba", "numba"),
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


def get(name: str) -> Kernels:
    """Return the kernels of a backend as a namespace.

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
    return cast("Kernels", importlib.import_module(module))


def available() -> list[BackendInfo]:
    """List every backend with whether it can be used on this machine."""
    return [
        BackendInfo(name, importlib.util.find_spec(package) is not None, _DESCRIPTIONS[name])
        for name, (_, package, _) in _MODULES.items()
    ]
