r"""Numba twins of `parabolic_ma.splines`, and the gradient map of a quadratic plus a spline.

The kernels see raw arrays only. A potential is the spline coefficients of its correction ``u`` and
a flat float64 array, the *geometry*:

* ``d = 1``: ``lower, upper, 1/h, A, c, b, s``;
* ``d = 2``: ``lower (2), upper (2), 1/h (2), A11, A12, A22, c (2), b (2), s``;
* ``d = 3``: ``lower (3), upper (3), 1/h (3), A11, A12, A13, A22, A23, A33, c (3), b (3), s``,

for :math:`\psi(y) = \tfrac12 \langle y - c, A (y - c)\rangle + \langle b, y - c\rangle + u(y)`,
``s`` being a bound of the terms of :math:`\psi` in the box, which its rounding goes with.
With :math:`\pi` the projection onto the box (or, periodic, the wrap into it), everything outside
the box follows from one rule, :math:`T(y) = A (y - c) + b + \nabla u(\pi y)`: the correction is
continued linearly along the normal, so the map goes on affinely, with slope ``A``, from the face.

Python functions at the end of the module allocate and split long point sets over threads (the
kernels release the interpreter lock); everything above them is compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from parabolic_ma.backends.numba_cpu.spline_lines import (
    KERNEL_OPTIONS,
    curvatures_at,
    filter_line,
    filter_rows,
    place,
    project,
    reciprocal_pivots,
    slopes_at,
    values_at,
)
from parabolic_ma.backends.numba_cpu.splines_3d import (
    evaluate_3d,
    gradient_3d,
    jacobian_3d,
    potential_3d,
    prefilter_3d,
)
from parabolic_ma.backends.numba_cpu.threads import in_pieces
from parabolic_ma.splines import BOUNDARIES
from parabolic_ma.status import InputError
from parabolic_ma.typing import Array

__all__ = [
    "KERNEL_OPTIONS",
    "evaluate",
    "geometry",
    "gradient",
    "in_chunks",
    "jacobian",
    "local_1d",
    "local_2d",
    "potential",
    "prefilter",
]

_SERIAL_BELOW = 20_000  # points; below, handing out work costs more than it saves


# ---------------------------------------------------------------------------- coefficients


@njit(**KERNEL_OPTIONS)
def _prefilter_1d(values, boundary):
    n = len(values)
    c = np.empty(n + 4)
    c[2 : n + 2] = values
    filter_line(c, reciprocal_pivots(n, boundary), n, boundary)
    return c


@njit(**KERNEL_OPTIONS)
def _prefilter_2d(values, boundary):
    n, m = values.shape
    c = np.empty((n + 4, m + 4))
    w = reciprocal_pivots(m, boundary)
    for i in range(n):
        row = c[i + 2]
        for j in range(m):
            row[j + 2] = values[i, j]
        filter_line(row, w, m, boundary)
    filter_rows(c, reciprocal_pivots(n, boundary), n, boundary)
    return c


# ---------------------------------------------------------------------------- splines at points


@njit(**KERNEL_OPTIONS)
def _row(c, i, j, w):
    return w[0] * c[i, j] + w[1] * c[i, j + 1] + w[2] * c[i, j + 2] + w[3] * c[i, j + 3]


@njit(**KERNEL_OPTIONS)
def _spline_1d(c, s, scale):
    """Value and two derivatives at node coordinate ``s``, ``scale`` being ``1/h``."""
    i, t = place(s, len(c))
    v = values_at(t)
    d = slopes_at(t)
    e = curvatures_at(t)
    return (
        v[0] * c[i] + v[1] * c[i + 1] + v[2] * c[i + 2] + v[3] * c[i + 3],
        scale * (d[0] * c[i] + d[1] * c[i + 1] + d[2] * c[i + 2] + d[3] * c[i + 3]),
        scale * scale * (e[0] * c[i] + e[1] * c[i + 1] + e[2] * c[i + 2] + e[3] * c[i + 3]),
    )


@njit(**KERNEL_OPTIONS)
def _spline_2d(c, s0, s1, scale0, scale1):
    """Value, gradient (2) and Hessian (11, 12, 22); what a caller ignores is not computed."""
    i, t0 = place(s0, c.shape[0])
    j, t1 = place(s1, c.shape[1])
    v = values_at(t1)
    d = slopes_at(t1)
    e = curvatures_at(t1)
    x = values_at(t0)
    p = slopes_at(t0)
    q = curvatures_at(t0)
    v0, d0, e0 = _row(c, i, j, v), _row(c, i, j, d), _row(c, i, j, e)
    v1, d1, e1 = _row(c, i + 1, j, v), _row(c, i + 1, j, d), _row(c, i + 1, j, e)
    v2, d2, e2 = _row(c, i + 2, j, v), _row(c, i + 2, j, d), _row(c, i + 2, j, e)
    v3, d3, e3 = _row(c, i + 3, j, v), _row(c, i + 3, j, d), _row(c, i + 3, j, e)
    return (
        x[0] * v0 + x[1] * v1 + x[2] * v2 + x[3] * v3,
        scale0 * (p[0] * v0 + p[1] * v1 + p[2] * v2 + p[3] * v3),
        scale1 * (x[0] * d0 + x[1] * d1 + x[2] * d2 + x[3] * d3),
        scale0 * scale0 * (q[0] * v0 + q[1] * v1 + q[2] * v2 + q[3] * v3),
        scale0 * scale1 * (p[0] * d0 + p[1] * d1 + p[2] * d2 + p[3] * d3),
        scale1 * scale1 * (x[0] * e0 + x[1] * e1 + x[2] * e2 + x[3] * e3),
    )


@njit(**KERNEL_OPTIONS)
def _evaluate_1d(c, lower, scale, points, value, gradient, hessian):
    for k in range(len(points)):
        u, g, h = _spline_1d(c, (points[k, 0] - lower[0]) * scale[0] - 0.5, scale[0])
        value[k] = u
        gradient[k, 0] = g
        hessian[k, 0, 0] = h


@njit(**KERNEL_OPTIONS)
def _evaluate_2d(c, lower, scale, points, value, gradient, hessian):
    for k in range(len(points)):
        s0 = (points[k, 0] - lower[0]) * scale[0] - 0.5
        s1 = (points[k, 1] - lower[1]) * scale[1] - 0.5
        u, g0, g1, h00, h01, h11 = _spline_2d(c, s0, s1, scale[0], scale[1])
        value[k] = u
        gradient[k, 0] = g0
        gradient[k, 1] = g1
        hessian[k, 0, 0] = h00
        hessian[k, 0, 1] = h01
        hessian[k, 1, 0] = h01
        hessian[k, 1, 1] = h11


# ---------------------------------------------------------------------------- the gradient map


@njit(**KERNEL_OPTIONS)
def local_1d(c, g, periodic, y):
    """``psi, T, dT/dy`` of the continued potential at one point."""
    p = project(y, g[0], g[1], periodic)
    u, slope, curvature = _spline_1d(c, (p - g[0]) * g[2] - 0.5, g[2])
    r = y - g[4]
    inside = periodic or p == y
    beyond = 0.0 if inside else y - p
    return (
        (0.5 * g[3] * r + g[5]) * r + u + slope * beyond,
        g[3] * r + g[5] + slope,
        g[3] + (curvature if inside else 0.0),
    )


@njit(**KERNEL_OPTIONS)
def local_2d(c, g, periodic, y0, y1):
    """``psi, T (2), Jacobian (11, 12, 21, 22)`` of the continued potential at one point.

    Outside the box the Jacobian is that of the map: column ``k`` has no curvature of ``u`` when
    coordinate ``k`` is clamped.
    """
    p0 = project(y0, g[0], g[2], periodic)
    p1 = project(y1, g[1], g[3], periodic)
    s0 = (p0 - g[0]) * g[4] - 0.5
    s1 = (p1 - g[1]) * g[5] - 0.5
    u, u0, u1, h00, h01, h11 = _spline_2d(c, s0, s1, g[4], g[5])
    r0 = y0 - g[9]
    r1 = y1 - g[10]
    q0 = g[6] * r0 + g[7] * r1
    q1 = g[7] * r0 + g[8] * r1
    inside0 = periodic or p0 == y0
    inside1 = periodic or p1 == y1
    beyond0 = 0.0 if inside0 else y0 - p0
    beyond1 = 0.0 if inside1 else y1 - p1
    return (
        (0.5 * q0 + g[11]) * r0 + (0.5 * q1 + g[12]) * r1 + u + u0 * beyond0 + u1 * beyond1,
        q0 + g[11] + u0,
        q1 + g[12] + u1,
        g[6] + (h00 if inside0 else 0.0),
        g[7] + (h01 if inside1 else 0.0),
        g[7] + (h01 if inside0 else 0.0),
        g[8] + (h11 if inside1 else 0.0),
    )


@njit(**KERNEL_OPTIONS)
def _potential_1d(c, g, periodic, points, out):
    for k in range(len(points)):
        out[k] = local_1d(c, g, periodic, points[k, 0])[0]


@njit(**KERNEL_OPTIONS)
def _potential_2d(c, g, periodic, points, out):
    for k in range(len(points)):
        out[k] = local_2d(c, g, periodic, points[k, 0], points[k, 1])[0]


@njit(**KERNEL_OPTIONS)
def _gradient_1d(c, g, periodic, points, out):
    for k in range(len(points)):
        out[k, 0] = local_1d(c, g, periodic, points[k, 0])[1]


@njit(**KERNEL_OPTIONS)
def _gradient_2d(c, g, periodic, points, out):
    for k in range(len(points)):
        _, t0, t1, _, _, _, _ = local_2d(c, g, periodic, points[k, 0], points[k, 1])
        out[k, 0] = t0
        out[k, 1] = t1


@njit(**KERNEL_OPTIONS)
def _jacobian_1d(c, g, periodic, points, out):
    for k in range(len(points)):
        out[k, 0, 0] = local_1d(c, g, periodic, points[k, 0])[2]


@njit(**KERNEL_OPTIONS)
def _jacobian_2d(c, g, periodic, points, out):
    for k in range(len(points)):
        _, _, _, j00, j01, j10, j11 = local_2d(c, g, periodic, points[k, 0], points[k, 1])
        out[k, 0, 0] = j00
        out[k, 0, 1] = j01
        out[k, 1, 0] = j10
        out[k, 1, 1] = j11


# ---------------------------------------------------------------------------- entry points


def in_chunks(kernel: Callable[..., Any], threads: int, *arrays: Array) -> None:
    """Run ``kernel(*parts)`` on equal parts of arrays of one length, on up to ``threads`` threads.

    Short point sets run as one part on the calling thread.
    """
    count = len(arrays[0])
    parts = 1 if count < _SERIAL_BELOW else min(threads, count // (_SERIAL_BELOW // 2))
    if parts <= 1:
        kernel(*arrays)
        return
    edges = np.linspace(0, count, parts + 1).astype(int)

    def part(k: int) -> None:
        kernel(*(array[edges[k] : edges[k + 1]] for array in arrays))

    in_pieces(part, parts, threads)


def geometry(
    lower: Array,
    upper: Array,
    spacing: Array,
    matrix: Array,
    center: Array,
    image: Array,
    largest: float,
) -> Array:
    """Pack what the kernels need beside the coefficients, in the order of the module's text.

    ``largest`` is the largest magnitude of the correction.
    """
    triangle = matrix[np.triu_indices(len(lower))]
    reach = np.maximum(np.abs(lower - center), np.abs(upper - center))
    bound = largest + reach @ (0.5 * np.abs(matrix) @ reach + np.abs(image))
    parts = [lower, upper, 1.0 / spacing, triangle, center, image, bound]
    return np.concatenate([np.asarray(part, dtype=np.float64).ravel() for part in parts])


def prefilter(values: Array, boundary: str) -> Array:
    """Return spline coefficients as `parabolic_ma.splines.prefilter` does, in linear time.

    Parameters
    ----------
    values : ndarray, shape (n_1, ..., n_d), d <= 3
        Values at the cell centres.
    boundary : {"box", "periodic", "free"}
        What happens at the faces.

    Returns
    -------
    ndarray, shape (n_1 + 4, ..., n_d + 4)
        Coefficients; index ``i + 2`` belongs to node ``i``.

    Raises
    ------
    InputError
        For an unknown boundary, fewer than four cells on an axis with ``"free"``, or more than
        three axes.
    """
    if boundary not in BOUNDARIES:
        raise InputError(f"boundary must be one of {', '.join(BOUNDARIES)}; got {boundary!r}")
    values = np.ascontiguousarray(values, dtype=np.float64)
    if boundary == "free" and min(values.shape) < 4:
        raise InputError(
            f'a spline with a "free" boundary needs at least 4 cells on every axis, got shape '
            f"{values.shape}; use more cells"
        )
    kernel = _by_dimension(values.ndim, _prefilter_1d, _prefilter_2d, prefilter_3d)
    return kernel(values, BOUNDARIES.index(boundary))


def evaluate(
    coefficients: Array,
    lower: Array,
    spacing: Array,
    points: Array,
    order: int = 1,
    threads: int = 1,
) -> tuple[Array, ...]:
    """Evaluate a spline as `parabolic_ma.splines.evaluate` does.

    Parameters
    ----------
    coefficients : ndarray, shape (n_1 + 4, ..., n_d + 4)
        From `prefilter`.
    lower, spacing : array_like, shape (d,)
        Lower corner of the box and cell widths.
    points : ndarray, shape (k, d)
        Points between the faces of the box.
    order : {0, 1, 2}
        Highest derivative wanted.
    threads : int
        Most threads to use; short point sets use one.

    Returns
    -------
    tuple of ndarray
        Value ``(k,)``, gradient ``(k, d)`` and Hessian ``(k, d, d)`` up to ``order``.
    """
    points = np.asarray(points, dtype=np.float64)
    count, dim = points.shape
    results = (np.empty(count), np.empty((count, dim)), np.empty((count, dim, dim)))
    kernel = _by_dimension(dim, _evaluate_1d, _evaluate_2d, evaluate_3d)
    corner = np.asarray(lower, dtype=np.float64)
    scale = 1.0 / np.asarray(spacing, dtype=np.float64)
    in_chunks(lambda *parts: kernel(coefficients, corner, scale, *parts), threads, points, *results)
    return results[: order + 1]


def potential(c: Array, g: Array, periodic: bool, points: Array, threads: int = 1) -> Array:
    """``psi`` at points ``(k, d)``, continued outside the box, shape ``(k,)``."""
    kernel = _by_dimension(points.shape[1], _potential_1d, _potential_2d, potential_3d)
    out = np.empty(len(points))
    in_chunks(lambda p, o: kernel(c, g, periodic, p, o), threads, points, out)
    return out


def gradient(c: Array, g: Array, periodic: bool, points: Array, threads: int = 1) -> Array:
    """``T = grad psi`` at points ``(k, d)``, continued outside the box, shape ``(k, d)``."""
    kernel = _by_dimension(points.shape[1], _gradient_1d, _gradient_2d, gradient_3d)
    out = np.empty_like(points, order="C")
    in_chunks(lambda p, o: kernel(c, g, periodic, p, o), threads, points, out)
    return out


def jacobian(c: Array, g: Array, periodic: bool, points: Array, threads: int = 1) -> Array:
    """Jacobian of `gradient`, shape ``(k, d, d)``; symmetric inside the box."""
    count, dim = points.shape
    kernel = _by_dimension(dim, _jacobian_1d, _jacobian_2d, jacobian_3d)
    out = np.empty((count, dim, dim))
    in_chunks(lambda p, o: kernel(c, g, periodic, p, o), threads, points, out)
    return out


def _by_dimension(dim: int, *kernels: Callable[..., Any]) -> Callable[..., Any]:
    """Choose the kernel for ``dim``."""
    if not 1 <= dim <= len(kernels):
        raise InputError(
            f"spline kernels exist for {len(kernels)} dimensions at most, got {dim}; use "
            "parabolic_ma.splines"
        )
    return kernels[dim - 1]
