"""What users may hand over as numbers, and how points may be given.

Points are ``(n, d)``, ``(d,)``, or ``(n,)`` for d = 1.
"""

from __future__ import annotations

import operator
from typing import Any, Literal

import numpy as np

from parabolic_ma.status import InputError
from parabolic_ma.typing import Array, Rng

__all__ = ["PointForm", "as_count", "as_floats", "as_points", "brief", "generator", "restore"]

PointForm = Literal["many", "one", "flat"]

_MOST_SHOWN = 12  # numbers of an array that fit into a message


def brief(values: Any) -> str:
    """Write an array on one line for a message, the middle of a long one left out."""
    array = np.asarray(values)
    if array.size <= _MOST_SHOWN:
        return str(array.tolist())
    text = np.array2string(array, threshold=_MOST_SHOWN, edgeitems=2, separator=", ", precision=8)
    return " ".join(text.split())


def as_floats(values: Any, name: str) -> Array:
    """Return a float64 array of what should be real numbers.

    Parameters
    ----------
    values : array_like
        What was given.
    name : str
        What to call it in an error.

    Raises
    ------
    InputError
        For text, None, complex numbers, masked entries and lists of unequal length.
    """
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise InputError(f"{name} must hold numbers only, got masked entries; leave them out")
    try:
        array = np.asarray(values)
    except (TypeError, ValueError):
        raise InputError(
            f"{name} must be a number or lists of numbers of equal length, got {_shown(values)}"
        ) from None
    if array.dtype.kind == "O":  # whole numbers too large for 64 bits, Decimal, fractions
        try:
            array = np.array([float(v) for v in array.ravel()]).reshape(array.shape)
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"{name} must hold numbers only, got {_shown(values)}") from None
    if array.dtype.kind == "c":
        raise InputError(f"{name} must hold real numbers, got complex ones; give their real parts")
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} must hold numbers only, got {_shown(values)}")
    return np.asarray(array, dtype=np.float64)


def _shown(values: Any) -> str:
    """What was given, cut to a length that fits into a message."""
    text = " ".join(repr(values).split())
    return text if len(text) <= 80 else f"{text[:60]}... ({type(values).__name__})"


def as_count(value: Any, name: str = "n") -> int:
    """Return a whole number from 0 up; a float such as ``1e6`` counts as one.

    Raises
    ------
    InputError
        If it is anything else.
    """
    try:
        count = int(value) if isinstance(value, float) and value.is_integer() else value
        count = -1 if isinstance(count, bool) else operator.index(count)
    except TypeError:
        count = -1
    if count < 0:
        raise InputError(f"{name} must be a whole number, 0 or more, got {_shown(value)}")
    return count


def as_points(values: Array, dim: int, name: str = "points") -> tuple[Array, PointForm]:
    """Return the points as a float64 array of shape ``(n, dim)`` and the form they came in.

    Parameters
    ----------
    values : array_like
        ``(n, dim)``, one point ``(dim,)``, or for ``dim = 1`` also ``(n,)`` and a scalar.
    dim : int
        Dimension of the space.
    name : str
        What to call the argument in an error.

    Raises
    ------
    InputError
        If they are no real numbers, or the shape is none of these.
    """
    points = as_floats(values, name)
    if points.ndim == 2 and points.shape[1] == dim:
        return points, "many"
    if dim == 1 and points.ndim <= 1:
        return points.reshape(-1, 1), "flat" if points.ndim else "one"
    if points.ndim == 1 and points.shape[0] == dim:
        return points[None, :], "one"
    allowed = "(n, 1), (n,) or a number" if dim == 1 else f"(n, {dim}) or ({dim},)"
    raise InputError(f"{name} must have shape {allowed}, got {points.shape}")


def restore(points: Array, form: PointForm) -> Array:
    """Give ``(n, d)`` points the form that `as_points` reported."""
    if form == "many":
        return points
    if form == "flat":
        return points[:, 0]
    return points[0] if points.shape[1] > 1 else points[0, 0]


def generator(rng: Rng) -> np.random.Generator:
    """Return a generator for an int seed, a generator or None.

    Raises
    ------
    InputError
        If it is anything else, or a negative seed.
    """
    if isinstance(rng, np.random.Generator):
        return rng
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError):
        raise InputError(
            f"rng must be a whole number from 0 up, a numpy.random.Generator or None, got "
            f"{_shown(rng)}"
        ) from None
