"""Cubic splines of three variables, and the gradient map of a quadratic plus a spline.

Coefficients and geometry are those of `parabolic_ma.backends.numba_cpu.splines`. What is known at a
point stands in one array, the *local* one: ``psi, T (3), Jacobian of T (9, row by row)``.
"""

from __future__ import annotations

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

__all__ = [
    "LOCAL",
    "evaluate_3d",
    "gradient_3d",
    "jacobian_3d",
    "local_3d",
    "potential_3d",
    "prefilter_3d",
]

LOCAL = 13
"""Length of a local array."""


@njit(**KERNEL_OPTIONS)
def prefilter_3d(values, boundary):
    """Spline coefficients, axis after axis, the last one first."""
    n1, n2, n3 = values.shape
    c = np.empty((n1 + 4, n2 + 4, n3 + 4))
    pivots2, pivots3 = reciprocal_pivots(n2, boundary), reciprocal_pivots(n3, boundary)
    for i in range(n1):
        for j in range(n2):
            line = c[i + 2, j + 2]
            for k in range(n3):
                line[k + 2] = values[i, j, k]
            filter_line(line, pivots3, n3, boundary)
        filter_rows(c[i + 2], pivots2, n2, boundary)
    filter_rows(c.reshape(n1 + 4, -1), reciprocal_pivots(n1, boundary), n1, boundary)
    return c


@njit(**KERNEL_OPTIONS)
def _dot(w, line, k):
    return w[0] * line[k] + w[1] * line[k + 1] + w[2] * line[k + 2] + w[3] * line[k + 3]


@njit(**KERNEL_OPTIONS)
def _slope(c, s1, s2, s3, h1, h2, h3):
    """Value and gradient at node coordinates; ``h`` is 1 over the spacing."""
    i, t1 = place(s1, c.shape[0])
    j, t2 = place(s2, c.shape[1])
    k, t3 = place(s3, c.shape[2])
    x, dx = values_at(t1), slopes_at(t1)
    y, dy = values_at(t2), slopes_at(t2)
    z, dz = values_at(t3), slopes_at(t3)
    u, u1, u2, u3 = 0.0, 0.0, 0.0, 0.0
    for a in range(4):
        v, v2, v3 = 0.0, 0.0, 0.0
        for b in range(4):
            line = c[i + a, j + b]
            along = _dot(z, line, k)
            v += y[b] * along
            v2 += dy[b] * along
            v3 += y[b] * _dot(dz, line, k)
        u += x[a] * v
        u1 += dx[a] * v
        u2 += x[a] * v2
        u3 += x[a] * v3
    return u, h1 * u1, h2 * u2, h3 * u3


@njit(**KERNEL_OPTIONS)
def _spline(c, s1, s2, s3, h1, h2, h3):
    """Value, gradient (3) and Hessian (11, 12, 13, 22, 23, 33)."""
    i, t1 = place(s1, c.shape[0])
    j, t2 = place(s2, c.shape[1])
    k, t3 = place(s3, c.shape[2])
    x, dx, ex = values_at(t1), slopes_at(t1), curvatures_at(t1)
    y, dy, ey = values_at(t2), slopes_at(t2), curvatures_at(t2)
    z, dz, ez = values_at(t3), slopes_at(t3), curvatures_at(t3)
    u, u1, u2, u3 = 0.0, 0.0, 0.0, 0.0
    u11, u12, u13, u22, u23, u33 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for a in range(4):
        v, v2, v3, v22, v23, v33 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for b in range(4):
            line = c[i + a, j + b]
            along, rise = _dot(z, line, k), _dot(dz, line, k)
            v += y[b] * along
            v2 += dy[b] * along
            v22 += ey[b] * along
            v3 += y[b] * rise
            v23 += dy[b] * rise
            v33 += y[b] * _dot(ez, line, k)
        u += x[a] * v
        u1 += dx[a] * v
        u11 += ex[a] * v
        u2 += x[a] * v2
        u12 += dx[a] * v2
        u22 += x[a] * v22
        u3 += x[a] * v3
        u13 += dx[a] * v3
        u23 += x[a] * v23
        u33 += x[a] * v33
    return (
        u, h1 * u1, h2 * u2, h3 * u3, h1 * h1 * u11, h1 * h2 * u12, h1 * h3 * u13, h2 * h2 * u22,
        h2 * h3 * u23, h3 * h3 * u33,
    )  # fmt: skip


@njit(**KERNEL_OPTIONS)
def evaluate_3d(c, lower, scale, points, value, gradient, hessian):
    """Spline, gradient and Hessian at points of the box; ``scale`` is 1 over the spacing."""
    for q in range(len(points)):
        u, u1, u2, u3, u11, u12, u13, u22, u23, u33 = _spline(
            c,
            (points[q, 0] - lower[0]) * scale[0] - 0.5,
            (points[q, 1] - lower[1]) * scale[1] - 0.5,
            (points[q, 2] - lower[2]) * scale[2] - 0.5,
            scale[0],
            scale[1],
            scale[2],
        )
        value[q] = u
        gradient[q, 0], gradient[q, 1], gradient[q, 2] = u1, u2, u3
        hessian[q, 0, 0], hessian[q, 1, 1], hessian[q, 2, 2] = u11, u22, u33
        hessian[q, 0, 1] = hessian[q, 1, 0] = u12
        hessian[q, 0, 2] = hessian[q, 2, 0] = u13
        hessian[q, 1, 2] = hessian[q, 2, 1] = u23


@njit(**KERNEL_OPTIONS)
def _quadratic(g, y1, y2, y3):
    """``A (y - c)`` and the offset ``y - c``."""
    r1, r2, r3 = y1 - g[15], y2 - g[16], y3 - g[17]
    return (
        g[9] * r1 + g[10] * r2 + g[11] * r3,
        g[10] * r1 + g[12] * r2 + g[13] * r3,
        g[11] * r1 + g[13] * r2 + g[14] * r3,
        r1,
        r2,
        r3,
    )


@njit(**KERNEL_OPTIONS)
def _image(c, g, periodic, y1, y2, y3):
    """``psi, T (3)`` of the continued potential at one point."""
    p1 = project(y1, g[0], g[3], periodic)
    p2 = project(y2, g[1], g[4], periodic)
    p3 = project(y3, g[2], g[5], periodic)
    u, u1, u2, u3 = _slope(
        c, (p1 - g[0]) * g[6] - 0.5, (p2 - g[1]) * g[7] - 0.5, (p3 - g[2]) * g[8] - 0.5,
        g[6], g[7], g[8],
    )  # fmt: skip
    q1, q2, q3, r1, r2, r3 = _quadratic(g, y1, y2, y3)
    psi = (0.5 * q1 + g[18]) * r1 + (0.5 * q2 + g[19]) * r2 + (0.5 * q3 + g[20]) * r3 + u
    if not periodic:
        psi += u1 * (y1 - p1) + u2 * (y2 - p2) + u3 * (y3 - p3)
    return psi, q1 + g[18] + u1, q2 + g[19] + u2, q3 + g[20] + u3


@njit(**KERNEL_OPTIONS)
def local_3d(c, g, periodic, y, out):
    """Write ``psi, T (3), Jacobian (9)`` of the continued potential at one point to ``out``.

    Outside the box the Jacobian is that of the map: column ``k`` has no curvature of ``u`` when
    coordinate ``k`` is clamped.
    """
    p1 = project(y[0], g[0], g[3], periodic)
    p2 = project(y[1], g[1], g[4], periodic)
    p3 = project(y[2], g[2], g[5], periodic)
    u, u1, u2, u3, u11, u12, u13, u22, u23, u33 = _spline(
        c, (p1 - g[0]) * g[6] - 0.5, (p2 - g[1]) * g[7] - 0.5, (p3 - g[2]) * g[8] - 0.5,
        g[6], g[7], g[8],
    )  # fmt: skip
    q1, q2, q3, r1, r2, r3 = _quadratic(g, y[0], y[1], y[2])
    psi = (0.5 * q1 + g[18]) * r1 + (0.5 * q2 + g[19]) * r2 + (0.5 * q3 + g[20]) * r3 + u
    if not periodic:
        psi += u1 * (y[0] - p1) + u2 * (y[1] - p2) + u3 * (y[2] - p3)
    in1 = 1.0 if periodic or p1 == y[0] else 0.0
    in2 = 1.0 if periodic or p2 == y[1] else 0.0
    in3 = 1.0 if periodic or p3 == y[2] else 0.0
    out[0] = psi
    out[1], out[2], out[3] = q1 + g[18] + u1, q2 + g[19] + u2, q3 + g[20] + u3
    out[4], out[5], out[6] = g[9] + in1 * u11, g[10] + in2 * u12, g[11] + in3 * u13
    out[7], out[8], out[9] = g[10] + in1 * u12, g[12] + in2 * u22, g[13] + in3 * u23
    out[10], out[11], out[12] = g[11] + in1 * u13, g[13] + in2 * u23, g[14] + in3 * u33


@njit(**KERNEL_OPTIONS)
def potential_3d(c, g, periodic, points, out):
    """``psi`` at points."""
    for q in range(len(points)):
        out[q] = _image(c, g, periodic, points[q, 0], points[q, 1], points[q, 2])[0]


@njit(**KERNEL_OPTIONS)
def gradient_3d(c, g, periodic, points, out):
    """T at points."""
    for q in range(len(points)):
        _, out[q, 0], out[q, 1], out[q, 2] = _image(
            c, g, periodic, points[q, 0], points[q, 1], points[q, 2]
        )


@njit(**KERNEL_OPTIONS)
def jacobian_3d(c, g, periodic, points, out):
    """Jacobian of T at points."""
    local = np.empty(LOCAL)
    for q in range(len(points)):
        local_3d(c, g, periodic, points[q], local)
        for k in range(9):
            out[q, k // 3, k % 3] = local[4 + k]


@njit(**KERNEL_OPTIONS)
def is_outside(g, periodic, y):
    """Whether a point lies outside the box of the grid."""
    inside = g[0] <= y[0] <= g[3] and g[1] <= y[1] <= g[4] and g[2] <= y[2] <= g[5]
    return not (periodic or inside)
