r"""Uniform tensor cubic B-splines through values at cell centres.

With node coordinate :math:`s = (x - \text{lower}) / h - \tfrac12`, so that node ``i`` (the centre
of cell ``i``) is at ``s = i``, the spline on one axis is

.. math:: u(s) = \sum_{i=-2}^{n+1} c_i\, B(s - i), \qquad B(0) = \tfrac46,\ B(\pm 1) = \tfrac16,

twice continuously differentiable, fourth order accurate. Coefficient arrays are padded by two on
each side of every axis: an array for ``n`` nodes has length ``n + 4`` there, and index ``i + 2``
belongs to node ``i``. That is exactly what an evaluation anywhere between the two faces of the box,
``-1/2 <= s <= n - 1/2``, can touch.

References
----------
M. Unser, "Splines: a perfect fit for signal and image processing", IEEE Signal Processing
Magazine 16(6), 1999.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from parabolic_ma.status import InputError
from parabolic_ma.typing import Array

__all__ = ["BOUNDARIES", "convex_coefficients", "evaluate", "prefilter"]

BOUNDARIES = ("box", "periodic", "free")
_PAD = 2
_CHUNK = 1 << 21  # coefficients gathered at a time: 16 MiB


def prefilter(values: Array, boundary: str) -> Array:
    """Return the coefficients of the cubic spline through values at the cell centres.

    Parameters
    ----------
    values : ndarray, shape (n_1, ..., n_d)
        Values at the cell centres.
    boundary : {"box", "periodic", "free"}
        What the spline does at the faces, half a cell beyond the outer nodes. ``"box"``: even
        reflection about the face (half-sample symmetry), so its normal derivative vanishes there.
        ``"periodic"``: the faces are identified. ``"free"``: the second derivative at the outer
        node is the one-sided second-order difference ``(2, -5, 4, -1) / h^2``, and the outer cubic
        piece is continued to the face; exact for cubics, needs four cells on every axis.

    Returns
    -------
    ndarray, shape (n_1 + 4, ..., n_d + 4)
        Coefficients; index ``i + 2`` belongs to node ``i``.

    Raises
    ------
    InputError
        For an unknown boundary, or fewer than four cells on an axis with ``"free"``.
    """
    if boundary not in BOUNDARIES:
        raise InputError(f"boundary must be one of {', '.join(BOUNDARIES)}; got {boundary!r}")
    coefficients = np.asarray(values, dtype=np.float64)
    if boundary == "free" and min(coefficients.shape) < 4:
        raise InputError(
            f'a spline with a "free" boundary needs at least 4 cells on every axis, got shape '
            f"{coefficients.shape}; use more cells"
        )
    filters = {"box": _filter_box, "periodic": _filter_periodic, "free": _filter_free}
    for axis in range(coefficients.ndim):
        lines = np.moveaxis(coefficients, axis, 0)
        coefficients = np.moveaxis(filters[boundary](lines), 0, axis)
    return np.ascontiguousarray(coefficients)


def convex_coefficients(coefficients: Array, curvature: float) -> Array:
    r"""Limit a cubic spline on the line so that it is convex wherever its values are.

    The spline through convex values rings beside a jump of their slope. Its second differences
    :math:`d_i` are those of the values, :math:`e_i = (d_{i-1} + 4 d_i + d_{i+1}) / 6`, less an
    anti-diffusive flux, :math:`d_i = e_i - (d_{i+1} - d_i) / 6 + (d_i - d_{i-1}) / 6`. As in
    flux-corrected transport [1]_ a flux is cut to what the node that it leaves can give, so that
    no :math:`d_i` is negative, and the slopes away from the jump stay what they were.

    Parameters
    ----------
    coefficients : ndarray, shape (n + 4,)
        From `prefilter`.
    curvature : float
        Second difference of a quadratic that is added to the spline: its second derivative times
        the spacing squared.

    Returns
    -------
    ndarray, shape (n + 4,)
        The same array where the spline is convex already.

    References
    ----------
    .. [1] J. P. Boris and D. L. Book, "Flux-corrected transport I", J. Comput. Phys. 11 (1973).
    """
    bent = np.diff(coefficients, 2) + curvature
    if bent.min() >= 0.0:
        return coefficients
    flux = np.diff(bent) / 6.0
    into_right, into_left = np.maximum(flux, 0.0), np.maximum(-flux, 0.0)
    values = bent + np.diff(flux, prepend=0.0, append=0.0)
    outgoing = np.append(into_right, 0.0) + np.append(0.0, into_left)
    share = np.maximum(values, 0.0) / np.maximum(outgoing, np.finfo(float).tiny)
    share = np.minimum(share, 1.0)
    # the flux as it is taken off: from node i to i + 1 it lowers d_i and lifts d_{i+1}
    lost = (1.0 - share[:-1]) * into_right - (1.0 - share[1:]) * into_left
    change = np.diff(lost, prepend=0.0, append=0.0)
    return coefficients + np.concatenate([[0.0, 0.0], np.cumsum(np.cumsum(change))])


def evaluate(
    coefficients: Array,
    lower: Sequence[float] | Array,
    spacing: Sequence[float] | Array,
    points: Array,
    order: int = 1,
) -> tuple[Array, ...]:
    """Evaluate a spline and its derivatives at points of the box.

    Parameters
    ----------
    coefficients : ndarray, shape (n_1 + 4, ..., n_d + 4)
        From `prefilter`.
    lower : sequence of float, length d
        Lower corner of the box; node ``i`` lies at ``lower + (i + 1/2) * spacing``.
    spacing : sequence of float, length d
        Cell widths.
    points : ndarray, shape (n, d)
        Points between the faces of the box. What lies beyond is for the caller to clamp: here the
        outermost cubic piece would be continued.
    order : {0, 1, 2}
        Highest derivative wanted.

    Returns
    -------
    tuple of ndarray
        Value ``(n,)``; with ``order >= 1`` the gradient ``(n, d)``; with ``order >= 2`` the Hessian
        ``(n, d, d)``.
    """
    points = np.asarray(points, dtype=np.float64)
    count, dim = points.shape
    value = np.empty(count)
    gradient = np.empty((count, dim))
    hessian = np.empty((count, dim, dim))
    results = (value, gradient, hessian)[: order + 1]
    chunk = max(_CHUNK >> (2 * dim), 1)
    for start in range(0, count, chunk):
        part = slice(start, min(start + chunk, count))
        derivatives = _derivatives(coefficients, lower, spacing, points[part], order)
        value[part] = derivatives[(0,) * dim]
        for k in range(dim if order >= 1 else 0):
            gradient[part, k] = derivatives[_index(dim, k)]
        for k, m in product(range(dim if order >= 2 else 0), repeat=2):
            hessian[part, k, m] = derivatives[_index(dim, k, m)]
    return results


def _index(dim: int, *axes: int) -> tuple[int, ...]:
    """Multi-index of the derivative along the given axes."""
    return tuple(axes.count(axis) for axis in range(dim))


def _derivatives(
    coefficients: Array,
    lower: Sequence[float] | Array,
    spacing: Sequence[float] | Array,
    points: Array,
    order: int,
) -> dict[tuple[int, ...], Array]:
    """All partial derivatives up to a total order, by multi-index, each of shape ``(n,)``."""
    count, dim = points.shape
    weights = []
    flat = np.zeros((count, 1), dtype=np.intp)
    for axis in range(dim):
        length = coefficients.shape[axis]
        s = (points[:, axis] - lower[axis]) / spacing[axis] - 0.5
        base = np.clip(np.floor(s).astype(np.intp), -1, length - 2 * _PAD - 1)
        weights.append(_weights(s - base, spacing[axis], order))
        # The four coefficients base-1 .. base+2 sit at indices base+1 .. base+4.
        touched = base[:, None] + np.arange(_PAD - 1, _PAD + 3)
        flat = (flat[:, :, None] * length + touched[:, None, :]).reshape(count, -1)
    block = coefficients.reshape(-1)[flat].reshape((count,) + (4,) * dim)
    blocks: dict[tuple[int, ...], Array] = {(): block}
    for axis in reversed(range(dim)):
        blocks = {
            (m, *index): np.einsum("n...a,na->n...", array, weights[axis][m])
            for index, array in blocks.items()
            for m in range(order + 1 - sum(index))
        }
    return blocks


def _weights(t: Array, h: float, order: int) -> list[Array]:
    """Weights of the four coefficients around ``t`` in [0, 1) for derivatives 0 .. order."""
    r = 1.0 - t
    weights = [
        np.stack(
            [
                r**3 / 6,
                2 / 3 - t * t * (2 - t) / 2,
                2 / 3 - r * r * (2 - r) / 2,
                t**3 / 6,
            ],
            axis=-1,
        )
    ]
    if order >= 1:
        first = [-r * r / 2, t * (3 * t - 4) / 2, r * (4 - 3 * r) / 2, t * t / 2]
        weights.append(np.stack(first, axis=-1) / h)
    if order >= 2:
        weights.append(np.stack([r, 3 * t - 2, 3 * r - 2, t], axis=-1) / h**2)
    return weights


def _solve(diagonal: Array, right: Array) -> Array:
    """Solve tridiagonal systems with off-diagonals 1 along axis 0, by elimination."""
    n = len(right)
    pivots = diagonal.copy()
    x = right.copy()
    for i in range(1, n):
        pivots[i] -= 1.0 / pivots[i - 1]
        x[i] -= x[i - 1] / pivots[i - 1]
    x[-1] /= pivots[-1]
    for i in range(n - 2, -1, -1):
        x[i] = (x[i] - x[i + 1]) / pivots[i]
    return x


def _filter_box(u: Array) -> Array:
    """Coefficients along axis 0 with ``c[-1-i] = c[i]`` at both faces."""
    n = len(u)
    diagonal = np.full(n, 4.0)
    diagonal[0] += 1.0
    diagonal[-1] += 1.0
    c = _solve(diagonal, 6.0 * u)
    return c[_reflected(np.arange(-_PAD, n + _PAD), n)]


def _reflected(index: Array, n: int) -> Array:
    """Map indices to ``0 .. n-1`` by even reflection about the faces."""
    folded = np.mod(index, 2 * n)
    return np.asarray(np.minimum(folded, 2 * n - 1 - folded))


def _filter_periodic(u: Array) -> Array:
    """Coefficients along axis 0 with ``c[i+n] = c[i]``."""
    n = len(u)
    wrapped = np.mod(np.arange(-_PAD, n + _PAD), n)
    if n < 3:  # the two corner entries fall on entries that exist already
        circulant = 4 * np.eye(n) + np.roll(np.eye(n), 1, axis=1) + np.roll(np.eye(n), -1, axis=1)
        return np.tensordot(np.linalg.inv(circulant), 6.0 * u, axes=1)[wrapped]
    # Sherman-Morrison: the corners are a rank-one change, (1, 0, .., 0, 1) on both sides.
    diagonal = np.full(n, 4.0)
    diagonal[0] -= 1.0
    diagonal[-1] -= 1.0
    corner = np.zeros(n)
    corner[0] = corner[-1] = 1.0
    response = _solve(diagonal, corner)
    c = _solve(diagonal, 6.0 * u)
    amplitude = (c[0] + c[-1]) / (1.0 + response[0] + response[-1])
    c -= response.reshape((n,) + (1,) * (u.ndim - 1)) * amplitude
    return c[wrapped]


def _filter_free(u: Array) -> Array:
    """Coefficients along axis 0 with the one-sided second difference at the outer nodes."""
    n = len(u)
    c = np.empty((n + 2 * _PAD, *u.shape[1:]))
    # u_0 = c_0 + (c_-1 - 2 c_0 + c_1) / 6, and the bracket is h^2 u''.
    c[_PAD] = u[0] - (2 * u[0] - 5 * u[1] + 4 * u[2] - u[3]) / 6
    c[-_PAD - 1] = u[-1] - (2 * u[-1] - 5 * u[-2] + 4 * u[-3] - u[-4]) / 6
    right = 6.0 * u[1:-1]
    right[0] -= c[_PAD]
    right[-1] -= c[-_PAD - 1]
    c[_PAD + 1 : -_PAD - 1] = _solve(np.full(n - 2, 4.0), right)
    # The equation at the outer node gives c_-1; c_-2 continues the outer cubic piece.
    c[1] = 6.0 * u[0] - 4 * c[2] - c[3]
    c[0] = 4 * c[1] - 6 * c[2] + 4 * c[3] - c[4]
    c[-2] = 6.0 * u[-1] - 4 * c[-3] - c[-4]
    c[-1] = 4 * c[-2] - 6 * c[-3] + 4 * c[-4] - c[-5]
    return c
