r"""Maps at points of the device: splines, the gradient map of a potential and its inverse.

The functions are those of `parabolic_ma.backends.numba_cpu.splines` and ``inverse``, with arrays of
the device; `Splines` has them all under their names. Point sets are one launch, a thread a point.
"""

from __future__ import annotations

import numpy as np

from parabolic_ma.backends.cupy_cuda.driver import Driver
from parabolic_ma.backends.cupy_cuda.launcher import Launcher
from parabolic_ma.splines import BOUNDARIES
from parabolic_ma.status import InputError
from parabolic_ma.typing import Array

__all__ = ["Splines"]


class Splines(Launcher):
    """Splines on a grid's potential; ``c``, ``g`` and ``periodic`` are that potential.

    Parameters
    ----------
    driver : Driver
        The device.
    """

    def __init__(self, driver: Driver) -> None:
        super().__init__(driver)
        self._pivots: dict[tuple[int, str, str], Array] = {}

    def prefilter(self, values: Array, boundary: str) -> Array:
        """Return the coefficients of the spline through values at cell centres.

        Raises
        ------
        InputError
            For an unknown boundary, or fewer than four cells on an axis with ``"free"``.
        """
        if boundary not in BOUNDARIES:
            raise InputError(f"boundary must be one of {', '.join(BOUNDARIES)}; got {boundary!r}")
        if boundary == "free" and min(values.shape) < 4:
            raise InputError(
                f'a spline with a "free" boundary needs at least 4 cells on every axis, got shape '
                f"{values.shape}; use more cells"
            )
        c = self.xp.zeros(tuple(n + 4 for n in values.shape), values.dtype)
        c[(slice(2, -2),) * values.ndim] = values
        # lines along the last axis first; then the others, with those lines' padding
        strides = [s // c.itemsize for s in c.strides]
        for axis in reversed(range(c.ndim)):
            n, lines = values.shape[axis], c.size // c.shape[axis]
            across = strides[0] if axis == c.ndim - 1 and c.ndim == 2 else 1
            self._line(
                "prefilter_lines", c.dtype, lines, c, lines, across, strides[axis], n,
                BOUNDARIES.index(boundary), self._reciprocal_pivots(n, boundary, c.dtype),
            )  # fmt: skip
        return c

    def _reciprocal_pivots(self, n: int, boundary: str, real: np.dtype) -> Array:
        """Return ``1 / pivot`` of the elimination of (1, 4, 1) for each row of a line."""
        key = (n, boundary, real.char)
        if key not in self._pivots:
            w = np.full(n, 2.0 - np.sqrt(3.0))  # periodic, and what the others tend to
            if boundary == "box":
                w[0] = 1.0 / 6.0 if n == 1 else 0.2
            elif boundary == "free":
                w[0] = 0.0  # the outer coefficients are given, their rows are the identity
            if boundary != "periodic":
                for i in range(1, n):
                    last = boundary == "box" and i == n - 1
                    w[i] = 1.0 / ((5.0 if last else 4.0) - w[i - 1])
            self._pivots[key] = self.xp.asarray(w.astype(real))
        return self._pivots[key]

    def evaluate(
        self, coefficients: Array, lower: Array, spacing: Array, points: Array, order: int = 1
    ) -> tuple[Array, ...]:
        """Return value, gradient and Hessian of a spline at points (k, d), up to ``order``."""
        count, dim = points.shape
        found = [self.xp.empty((count,) + (dim,) * k, points.dtype) for k in range(3)]
        self._line(
            f"evaluate_{dim}d", points.dtype, count, coefficients, *coefficients.shape, lower,
            1.0 / spacing, points, count, *found,
        )  # fmt: skip
        return tuple(found[: order + 1])

    def potential(self, c: Array, g: Array, periodic: bool, points: Array) -> Array:
        """Return ``psi`` at points (k, d), continued outside the box."""
        return self._local(c, g, periodic, points, 0)

    def gradient(self, c: Array, g: Array, periodic: bool, points: Array) -> Array:
        """Return ``T = grad psi`` at points (k, d), of their shape."""
        return self._local(c, g, periodic, points, 1)

    def jacobian(self, c: Array, g: Array, periodic: bool, points: Array) -> Array:
        """Return the Jacobian of `gradient`, shape (k, d, d)."""
        return self._local(c, g, periodic, points, 2)

    def _local(self, c: Array, g: Array, periodic: bool, points: Array, order: int) -> Array:
        count, dim = points.shape
        out = self.xp.empty((count,) + (dim,) * order, points.dtype)
        self._line(
            f"local_{dim}d", points.dtype, count, c, *c.shape, g, periodic, order, points, count,
            out,
        )  # fmt: skip
        return out

    def conjugate_rows(
        self, values: Array, nodes: Array, slopes: Array, best: Array, where: Array
    ) -> None:
        """Write ``max_j slopes[k] nodes[j] - values[r, j]`` and its j for every row r."""
        hulls = self.xp.empty(values.shape, np.int32)
        self._line(
            "conjugate_rows", values.dtype, len(values), values, nodes, slopes, *values.shape,
            slopes.size, hulls, best, where,
        )  # fmt: skip

    def polish(
        self, c: Array, g: Array, periodic: bool, x: Array, maximisers: Array, values: Array
    ) -> None:
        """Improve the conjugate at ``x`` in place: its maximisers (k, d) and values (k,)."""
        count, dim = x.shape
        self._line(
            f"polish_{dim}d", x.dtype, count, c, *c.shape, g, periodic, x, count, maximisers,
            values,
        )  # fmt: skip

    def invert(
        self, c: Array, g: Array, periodic: bool, lower: Array, spacing: Array, table: Array,
        x: Array,
    ) -> Array:  # fmt: skip
        """Solve ``grad psi(y) = x`` at points (k, d) with starts from a table of conjugates."""
        count, dim = x.shape
        out = self.xp.empty(x.shape, x.dtype)
        self._line(
            f"invert_{dim}d", x.dtype, count, c, *c.shape, g, periodic, lower, 1.0 / spacing,
            table, *table.shape[:-1], x, count, out,
        )  # fmt: skip
        return out
