"""The Laplace approximation: mode of a potential and the inverse of its Hessian there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from parabolic_ma.points import as_floats
from parabolic_ma.status import InputError
from parabolic_ma.typing import Array

if TYPE_CHECKING:
    from parabolic_ma.measures.protocol import Measure

__all__ = ["laplace_approximation"]

_STARTS = 4  # the origin and random points, used when no start is given
_NEWTON_STEPS = 200
_HALVINGS = 40
_DECREMENT = 1e-10  # of the potential, in nats: what another Newton step would still gain
_FIRST_STEP = np.finfo(float).eps ** (1 / 3)
_STEP = 1e-3  # of a coordinate's conditional sd, once it is known
_FLAT = 1e-12  # smallest curvature used, relative, in coordinates of unit curvature


def laplace_approximation(measure: Measure, start: Any = None) -> tuple[Array, Array]:
    """Find the highest mode reached from a few starts, and the inverse of the Hessian there.

    Newton steps do not depend on the units of the coordinates; where the Hessian is indefinite,
    the absolute values of its eigenvalues lead downhill.

    Parameters
    ----------
    measure : Measure
        Anything with ``dim``, ``potential`` and ``gradient``.
    start : array_like, shape (d,), optional
        Where to begin.

    Returns
    -------
    mode : ndarray, shape (d,)
    cov : ndarray, shape (d, d)

    Raises
    ------
    InputError
        If no point with zero gradient and positive definite Hessian is found.
    """
    dim = measure.dim
    if start is None:
        draws = np.random.default_rng(0).standard_normal((_STARTS - 1, dim))
        starts = np.concatenate([np.zeros((1, dim)), draws])
    else:
        starts = np.atleast_1d(as_floats(start, "start"))[None]
        if starts.shape != (1, dim) or not np.isfinite(starts).all():
            raise InputError(
                f"start must be one finite point of shape ({dim},), got shape {starts.shape[1:]}"
            )
    found = [end for point in starts if (end := _descend(measure, point)) is not None]
    if not found:
        raise InputError(
            f"no mode was found from {len(starts)} start(s): no point with zero gradient and "
            "positive definite Hessian; give start= near a mode, give mean= and cov= yourself, or "
            "check that the density has a mode in these coordinates"
        )
    _, mode, hessian = min(found, key=lambda end: end[0])
    scale = 1 / np.sqrt(np.diag(hessian))
    cov = scale[:, None] * np.linalg.inv(hessian * np.outer(scale, scale)) * scale
    return mode, 0.5 * (cov + cov.T)


def _descend(measure: Measure, point: Array) -> tuple[float, Array, Array] | None:
    """Damped Newton steps to a minimum of the potential: value, point and Hessian there."""
    value = _value(measure, point)
    if not np.isfinite(value):
        return None
    scale = np.maximum(np.abs(point), 1.0) * _FIRST_STEP / _STEP
    hessian, smallest = None, -np.inf
    for _ in range(_NEWTON_STEPS):
        slopes = _slopes(measure, point, _STEP * scale)
        if slopes is None:
            return None
        gradient, hessian = slopes
        curvature = np.abs(np.diag(hessian))
        scale = 1 / np.sqrt(np.where(curvature > 0, curvature, 1.0))
        values, axes = np.linalg.eigh(hessian * np.outer(scale, scale))
        smallest = float(values[0])
        damped = np.maximum(np.abs(values), _FLAT)
        slope = axes.T @ (scale * gradient)
        decrement = float(np.sum(slope**2 / damped))
        if decrement < _DECREMENT * max(1.0, abs(value) * 1e-3):
            break
        step = -scale * (axes @ (slope / damped))
        length = 1.0
        for _ in range(_HALVINGS):
            trial = _value(measure, point + length * step)
            if trial <= value - 1e-4 * length * decrement:
                break
            length *= 0.5
        else:
            # Nothing falls any more within rounding: a minimum if what is promised is tiny.
            if decrement > 1e-6:
                return None
            break
        point, value = point + length * step, trial
    else:
        return None
    if hessian is None or not smallest > _FLAT or not np.isfinite(value):
        return None
    # The Hessian again with the steps that suit the mode.
    last = _slopes(measure, point, _STEP * scale)
    return (value, point, last[1]) if last is not None else None


def _value(measure: Measure, point: Array) -> float:
    """The potential at a point, infinite where it cannot be evaluated."""
    try:
        with np.errstate(all="ignore"):
            value = float(measure.potential(point[None])[0])
    except InputError:
        return np.inf
    return value if np.isfinite(value) else np.inf


def _slopes(measure: Measure, point: Array, steps: Array) -> tuple[Array, Array] | None:
    """Gradient at a point, and the Hessian by central differences of the gradient."""
    dim = len(point)
    shifts = np.diag(steps)
    points = np.concatenate([point[None], point + shifts, point - shifts])
    try:
        with np.errstate(all="ignore"):
            slopes = np.asarray(measure.gradient(points.reshape(-1, dim)))
    except InputError:
        return None
    if not np.isfinite(slopes).all():
        return None
    hessian = (slopes[1 : dim + 1] - slopes[dim + 1 :]) / (2 * steps[:, None])
    return slopes[0], 0.5 * (hessian + hessian.T)
