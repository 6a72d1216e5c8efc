r"""Finding where an unnormalised density has its mass, from values of its potential alone.

The search works in coordinates :math:`u` with :math:`x_k = m_k + s_k \sinh u_k`, centred on the
modes and scaled by their spread: a uniform grid in ``u`` resolves the modes and reaches
exponentially far, so that heavy tails need few evaluations. The marginal of a coordinate is
integrated slice by slice; within a slice the other coordinates are covered by a grid that is
refined around its best cell several times over, which finds ridges much thinner than the box.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np

from parabolic_ma.grid import Box
from parabolic_ma.status import InputError
from parabolic_ma.typing import Array

__all__ = ["Landscape", "find_support", "survey"]

_STARTS = 16383
_MODES = 8
_FAR_BELOW = 30.0  # nats: modes lower than this beside the best one hold no mass
_ROUNDS = 40
_BLOCKS = 24
# Slices along an axis, cells across a slice on each other axis, and refinements, by dimension.
_SLICES = {1: (2048, 1, 1), 2: (96, 24, 4), 3: (48, 9, 5)}
_LARGEST_REACH = 40.0  # in u: 1e17 spreads of the modes

Evaluate = Callable[[Array], Array]
Slope = Callable[[Array], Array]


@dataclass(frozen=True)
class Landscape:
    """Modes of a density and the coordinates that the search uses.

    Attributes
    ----------
    modes : ndarray, shape (m, d)
    covs : ndarray, shape (m, d, d)
        Inverse Hessians of the potential at the modes.
    center, scale : ndarray, shape (d,)
        Of the stretched coordinates: mean of the modes, and the spread of their local Gaussians.
    """

    modes: Array
    covs: Array
    center: Array
    scale: Array


def survey(evaluate: Evaluate, slope: Slope, dim: int) -> Landscape:
    """Find modes from several starts, and the scales of the density around them.

    Parameters
    ----------
    evaluate : callable
        Potential at ``(n, d)`` points, shape ``(n,)``; ``inf`` where there is no mass.
    slope : callable
        Its gradient, ``(n, d)``.
    dim : int
        Dimension of the space.

    Raises
    ------
    InputError
        If the potential is infinite at all starting points.
    """
    from scipy.optimize import minimize

    rng = np.random.default_rng(0)
    radii = 10.0 ** rng.uniform(-1.5, 2.5, size=(_STARTS, 1))
    starts = np.concatenate([np.zeros((1, dim)), radii * rng.standard_normal((_STARTS, dim))])
    values = evaluate(starts)
    if not np.any(np.isfinite(values)):
        raise InputError(
            f"the potential is infinite at all of {len(starts)} points within about 300 of the "
            "origin; say where the measure lives with box=[(lower, upper), ...]"
        )

    def objective(point: Array) -> tuple[float, Array]:
        value, gradient = float(evaluate(point[None])[0]), slope(point[None])[0]
        if not (math.isfinite(value) and np.all(np.isfinite(gradient))):
            return 1e300, np.zeros(dim)
        return value, gradient

    found = []
    for start in _spread_out(starts, values):
        result = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 200})
        found.append((float(result.fun), result.x))
    lowest = min(value for value, _ in found)
    modes: list[Array] = []
    covs: list[Array] = []
    for value, mode in sorted(found, key=operator.itemgetter(0)):
        if value > lowest + _FAR_BELOW:
            break
        cov = _local_covariance(slope, mode)
        precision = np.linalg.inv(cov)
        if all((mode - other) @ precision @ (mode - other) > 1e-2 for other in modes):
            modes.append(mode)
            covs.append(cov)
    centers, local = np.array(modes), np.array(covs)
    variances = np.diagonal(local, axis1=1, axis2=2).mean(axis=0) + centers.var(axis=0)
    return Landscape(centers, local, centers.mean(axis=0), np.sqrt(variances))


def _spread_out(points: Array, values: Array) -> list[Array]:
    """The best points that are not close to a better one."""
    order = np.argsort(values)
    left = points[order[np.isfinite(values[order])]]
    chosen: list[Array] = []
    while len(left) and len(chosen) < _MODES:
        best = left[0]
        chosen.append(best)
        gaps = np.linalg.norm(left - best, axis=1)
        left = left[gaps > 0.5 * (0.1 + np.linalg.norm(best))]
    return chosen


def _local_covariance(slope: Slope, mode: Array) -> Array:
    """Inverse Hessian at a mode, by differences of the gradient, made positive definite."""
    dim = len(mode)
    steps = np.finfo(float).eps ** 0.25 * np.maximum(np.abs(mode), 1.0)
    for _ in range(2):  # the second time with steps that fit the scale found
        shifts = np.diag(steps)
        with np.errstate(all="ignore"):
            rows = (slope(mode + shifts) - slope(mode - shifts)) / (2 * steps[:, None])
        hessian = 0.5 * (rows + rows.T) if np.all(np.isfinite(rows)) else np.eye(dim)
        curvature, axes = np.linalg.eigh(hessian)
        largest = max(float(np.abs(curvature).max()), 1e-12)
        curvature = np.maximum(np.abs(curvature), 1e-12 * largest)
        cov = (axes / curvature) @ axes.T
        steps = 1e-3 * np.sqrt(1.0 / np.maximum(np.diag((axes * curvature) @ axes.T), 1e-300))
    return np.asarray(cov)


def find_support(evaluate: Evaluate, landscape: Landscape, tail_mass: float) -> Box:
    """Return a box of which each face cuts off about ``tail_mass / (2 d)``.

    Parameters
    ----------
    evaluate : callable
        Potential at ``(n, d)`` points, shape ``(n,)``, for ``d <= 3``.
    landscape : Landscape
        From `survey`.
    tail_mass : float
        Mass allowed outside.

    Raises
    ------
    InputError
        If the mass does not end: the density is not integrable, or far too heavy-tailed.
    """
    dim = len(landscape.center)
    log_tail = math.log(tail_mass / (2 * dim))
    lower, upper = np.full(dim, -2.5), np.full(dim, 2.5)
    for _ in range(_ROUNDS):
        new_lower, new_upper = lower.copy(), upper.copy()
        settled = True
        for k in range(dim):
            edges, log_mass = _marginal(evaluate, landscape, k, lower, upper)
            low = _face(edges, log_mass, log_tail)
            high = _face(-edges[::-1], log_mass[::-1], log_tail)
            width = upper[k] - lower[k]
            if (low is None and lower[k] <= -_LARGEST_REACH) or (
                high is None and upper[k] >= _LARGEST_REACH
            ):
                raise InputError(
                    f"the mass of exp(-potential) does not end on axis {k} within "
                    f"{landscape.scale[k] * math.sinh(_LARGEST_REACH):.1g} of its mode, so it may "
                    "not be integrable; give box=[(lower, upper), ...]"
                )
            new_lower[k] = max(lower[k] - 0.3 * width, -_LARGEST_REACH) if low is None else low
            new_upper[k] = min(upper[k] + 0.3 * width, _LARGEST_REACH) if high is None else -high
            settled &= low is not None and high is not None
            settled &= new_upper[k] - new_lower[k] > 0.75 * width
        if settled:
            ends = [landscape.center + landscape.scale * np.sinh(u) for u in (new_lower, new_upper)]
            return Box(tuple(ends[0]), tuple(ends[1]))
        # Keep a margin, so that a face that moved inwards can be seen to be right.
        margin = 0.06 * (new_upper - new_lower)
        lower = np.where(new_lower > lower, np.maximum(new_lower - margin, lower), new_lower)
        upper = np.where(new_upper < upper, np.minimum(new_upper + margin, upper), new_upper)
    raise InputError(
        "the box that holds the mass of exp(-potential) could not be found; give "
        "box=[(lower, upper), ...]"
    )


def _face(edges: Array, log_mass: Array, log_tail: float) -> float | None:
    """Lower face that cuts off the tail mass, or None if it lies beyond the first edge."""
    total = float(np.logaddexp.reduce(log_mass))
    beyond = _log_mass_beyond(log_mass)
    if beyond is None or not beyond - total <= log_tail:
        return None
    cut_off = np.logaddexp(np.logaddexp.accumulate(log_mass), beyond) - total
    return float(edges[int(np.argmax(cut_off > log_tail))])


def _log_mass_beyond(log_mass: Array) -> float | None:
    """Log of the mass before the first slice, or None if it does not fall towards there.

    Two blocks of slices are continued as a geometric series: exact for power laws, whose mass is
    exponential in ``u``, and an upper bound for lighter tails.
    """
    block = len(log_mass) // _BLOCKS
    first = float(np.logaddexp.reduce(log_mass[:block]))
    second = float(np.logaddexp.reduce(log_mass[block : 2 * block]))
    if first == -math.inf:
        return first
    ratio = first - second
    return None if ratio >= 0.0 else first + ratio - math.log(-math.expm1(ratio))


def _marginal(
    evaluate: Evaluate, landscape: Landscape, axis: int, lower: Array, upper: Array
) -> tuple[Array, Array]:
    """Edges of the slices along an axis, in ``u``, and the log mass of each slice."""
    dim = len(lower)
    slices, cells, levels = _SLICES[dim]
    edges = np.linspace(lower[axis], upper[axis], slices + 1)
    others = [k for k in range(dim) if k != axis]
    # The window of every slice over the other coordinates, refined around its best cell.
    start = np.tile(lower[others], (slices, 1))
    width = np.tile(upper[others] - lower[others], (slices, 1))
    index = np.array(list(product(range(cells), repeat=dim - 1)), dtype=int)
    index = index.reshape(cells ** (dim - 1), dim - 1)
    log_mass = np.full(slices, -np.inf)
    u = np.empty((slices, len(index), dim))
    u[:, :, axis] = 0.5 * (edges[:-1] + edges[1:])[:, None]
    for level in range(levels):
        u[:, :, others] = start[:, None] + (index + 0.5) * (width / cells)[:, None]
        flat = u.reshape(-1, dim)
        stretch = np.sum(np.log(landscape.scale * np.cosh(flat)), axis=1)
        values = stretch - evaluate(landscape.center + landscape.scale * np.sinh(flat))
        values = values.reshape(slices, -1) + np.sum(np.log(width / cells), axis=1)[:, None]
        if level < levels - 1:
            best = np.clip(index[np.argmax(values, axis=1)], 1, cells - 2)
            inner = np.all(np.abs(index[None] - best[:, None]) <= 1, axis=2)
            values = np.where(inner, -np.inf, values)
            start = start + (best - 1) * width / cells
            width = 3 * width / cells
        log_mass = np.logaddexp(log_mass, _log_sum(values))
    return edges, log_mass


def _log_sum(values: Array) -> Array:
    """Log of the sum of exponentials over axis 1; ``-inf`` for a row of ``-inf``."""
    top = values.max(axis=1)
    safe = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.exp(values - safe[:, None]).sum(axis=1)) + safe)
