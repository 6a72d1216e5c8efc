"""What backends on the CPU share: their arrays are NumPy's and their kernels need no recording."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from parabolic_ma.typing import Array

__all__ = ["asarray", "empty", "record", "to_numpy", "zeros"]


def empty(shape: tuple[int, ...], dtype: Any = float) -> Array:
    """Return an array with arbitrary contents."""
    return np.empty(shape, dtype)


def zeros(shape: tuple[int, ...], dtype: Any = float) -> Array:
    """Return an array of zeros."""
    return np.zeros(shape, dtype)


def asarray(values: Array) -> Array:
    """Return the values themselves, contiguous."""
    return np.ascontiguousarray(values)


def to_numpy(values: Array) -> Array:
    """Return the values themselves."""
    return values


def record(launches: Callable[[], None]) -> Callable[[], None]:
    """Return the function itself."""
    return launches
