"""The one place that knows how points may be given: ``(n, d)``, ``(d,)``, or ``(n,)`` for d = 1."""

from __future__ import annotations

from typing import Literal

import numpy as np

from parabolic_ma.status import InputError
from parabolic_ma.typing import Array, Rng

__all__ = ["PointForm", "as_points", "generator", "restore"]

PointForm = Literal["many", "one", "flat"]


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
        If the shape is none of these.
    """
    points = np.asarray(values, dtype=np.float64)
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
    """Return a generator for an int seed, a generator or None."""
    return rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)
