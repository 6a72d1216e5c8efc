"""Backends: named sets of kernels on raw arrays, imported only when asked for."""

from __future__ import annotations

import importlib
import importlib.util
import re
from dataclasses import dataclass
from typing import Any, cast

from parabolic_ma.backends.numba_cpu.threads import default_threads
from parabolic_ma.backends.protocol import Kernels
from parabolic_ma.status import InputError, MissingExtraError

__all__ = ["BackendInfo", "Kernels", "available", "check_name", "get", "of_dimension"]

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
    check_name(name)
    if name not in _MODULES:
        return _on_device(name)
    module, package, extra = _MODULES[name]
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(f"backend={name!r}", extra)
    if name == "numba":
        threaded = importlib.import_module("parabolic_ma.backends.numba_cpu.threaded")
        return cast("Kernels", threaded.NumbaKernels(threads or default_threads()))
    return cast("Kernels", importlib.import_module(module))


def check_name(name: Any) -> None:
    """Refuse what is no backend's name; whether this machine has it is seen when it is used."""
    if not (isinstance(name, str) and (name in _MODULES or re.fullmatch(r"cupy(:\d+)?", name))):
        known = ", ".join((*_MODULES, "cupy:0"))
        raise InputError(
            f"backend={name!r} is not known; choose one of {known} (or another CUDA device)"
        )


def _on_device(name: str) -> Kernels:
    """Return the kernels of a CUDA device: ``"cupy:0"``, or ``"cupy"``, is the first."""
    if importlib.util.find_spec("cupy") is None:
        raise MissingExtraError(f"backend={name!r}", "gpu-cu12")
    count = _cuda_devices()
    number = name.partition(":")[2] or "0"
    if int(number) >= count:
        devices = ", ".join(f"cupy:{k}" for k in range(count)) or "none: CUDA finds no device"
        raise InputError(f"backend={name!r} is not a CUDA device of this machine; it has {devices}")
    module = importlib.import_module("parabolic_ma.backends.cupy_cuda.kernels")
    return cast("Kernels", module.on_device(int(number)))


def _cuda_devices() -> int:
    if importlib.util.find_spec("cupy") is None:
        return 0
    return int(importlib.import_module("parabolic_ma.backends.cupy_cuda.driver").device_count())


def of_dimension(kernels: Any, dim: int) -> Any:
    """Return the kernels of a dimension under their names without it.

    The kernels in the plane have plain names; those in space end in ``_3d``, and here
    ``of_dimension(kernels, 3).down`` is ``kernels.down_3d``. What has no such variant is the same
    in every dimension.

    Raises
    ------
    InputError
        If the backend has no kernels in space.
    """
    if dim == 3 and not hasattr(kernels, "linearise_3d"):
        raise InputError(
            'this backend works in one and two dimensions; for three take backend="numba"'
        )
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
    on_cpu = [
        BackendInfo(name, importlib.util.find_spec(package) is not None, _DESCRIPTIONS[name])
        for name, (_, package, _) in _MODULES.items()
    ]
    count = _cuda_devices()
    devices = [BackendInfo(f"cupy:{k}", True, f"CUDA kernels, device {k}") for k in range(count)]
    missing = BackendInfo(
        "cupy:0", False, "CUDA kernels; CuPy (the extra gpu-cu12) finds no device"
    )
    return on_cpu + (devices or [missing])
