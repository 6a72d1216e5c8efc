"""The registry of backends, and that each has all kernels."""

from __future__ import annotations

import importlib.util
import inspect
from typing import Any

import pytest

from parabolic_ma import backends
from parabolic_ma.backends.protocol import Kernels
from parabolic_ma.backends.protocol_3d import Kernels3D
from parabolic_ma.status import InputError, MissingExtraError

KERNELS = {
    name: function
    for protocol in (Kernels, Kernels3D)
    for name, function in vars(protocol).items()
    if inspect.isfunction(function) and name[0] != "_"
}


def parameters(function: Any) -> list[str]:
    """Names; of compiled kernels, those of their source."""
    return list(inspect.signature(getattr(function, "py_func", function)).parameters)


def test_a_backend_has_exactly_the_kernels_of_the_protocol(backend: str) -> None:
    assert set(backends.get(backend).__all__) == set(KERNELS)


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_has_the_signature_and_words_of_the_protocol(name: str, backend: str) -> None:
    kernel = getattr(backends.get(backend), name)
    assert parameters(kernel) == parameters(KERNELS[name])[1:]  # but self
    assert kernel.__doc__
    assert KERNELS[name].__doc__


def test_unknown_backend() -> None:
    with pytest.raises(InputError, match="backend='fortran' is not known; choose one of numba, "):
        backends.get("fortran")


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="backend='numba'"):
        backends.get("numba")
    assert not any(b.usable for b in backends.available())


def test_available() -> None:
    found = {b.name: b for b in backends.available()}
    assert next(iter(found)) == "numba"  # the default comes first
    assert found["numpy"].usable
    assert all(b.description for b in found.values())


def test_a_backend_without_kernels_in_space_says_so() -> None:
    class Plane:
        down = None

    with pytest.raises(InputError, match='for three take backend="numba"'):
        backends.of_dimension(Plane(), 3)
    assert backends.of_dimension(Plane(), 2).down is None
