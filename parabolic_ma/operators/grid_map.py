"""The transport map of a grid solution, at any points and both ways."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from parabolic_ma.backends.numba_cpu import inverse, splines
from parabolic_ma.maps import to_torch
from parabolic_ma.operators.legendre import maximised, pack
from parabolic_ma.points import PointForm, as_points, restore
from parabolic_ma.solution import GridPotential
from parabolic_ma.status import InputError
from parabolic_ma.typing import Array

__all__ = ["GridMap"]

_SIDES = ("reference", "target")
_TABLE_NODES = {1: 1 << 14, 2: 512, 3: 64}  # most nodes on an axis of the table of starts


@dataclass(frozen=True, eq=False)
class GridMap:
    r"""The gradient of the C2 cubic spline through a grid potential, and its inverse.

    The *own* direction is the gradient of the grid's potential, an evaluation of the spline; the
    other one solves for the preimage by a damped Newton iteration, started from a table of
    conjugates that the first use of that direction builds and keeps.

    Outside a box that is not periodic, with ``P`` the projection onto it and ``A`` the matrix of
    the quadratic part, the map goes on as :math:`T(y) = T(Py) + A (y - Py)`, affinely and
    monotonically from the face, and the potential as :math:`\psi(Py) + \langle T(Py), y -
    Py\rangle + \tfrac12 \langle y - Py, A (y - Py)\rangle`. A periodic map satisfies
    :math:`T(y + k) = T(y) + A k` for every period ``k``.

    Parameters
    ----------
    grid_potential : GridPotential
        The potential on the grid, in one, two or three dimensions.
    side : {"reference", "target"}
        Where the grid lies. ``"reference"``: calling the map is the own direction. ``"target"``:
        the potential is the conjugate one, and `inverse` is the own direction.
    threads : int
        Most threads to use on long point sets.

    Raises
    ------
    InputError
        For an unknown side, no thread, or a grid of more than three dimensions.

    Notes
    -----
    Where the spline is not convex, which happens in gaps that carry no mass, the inverse is a local
    maximiser of :math:`\langle x, y\rangle - \psi(y)`, and the logarithm of the Jacobian's
    determinant is that of its absolute value (minus infinity for zero). Points that are not finite
    are mapped to nan.
    """

    grid_potential: GridPotential
    side: str = "reference"
    threads: int = 1

    def __post_init__(self) -> None:
        if self.side not in _SIDES:
            raise InputError(f"side must be 'reference' or 'target', got {self.side!r}")
        if self.threads < 1:
            raise InputError(f"threads must be at least 1, got {self.threads}")
        if self.dim not in _TABLE_NODES:
            raise InputError(f"a grid map has one to three dimensions, got a grid of {self.dim}")

    @property
    def dim(self) -> int:
        """Dimension of the space."""
        return self.grid_potential.grid.dim

    # ------------------------------------------------------------------ reference to target

    def __call__(self, y: Array) -> Array:
        """Image ``T(y)`` of reference points, of the shape of ``y``."""
        return self.own(y) if self.side == "reference" else self.own_inverse(y)

    def inverse(self, x: Array) -> Array:
        """Preimage ``S(x)`` of target points, of the shape of ``x``."""
        return self.own_inverse(x) if self.side == "reference" else self.own(x)

    def log_abs_det_jacobian(self, y: Array) -> Array:
        """``log |det DT(y)|`` at reference points, shape ``(n,)``."""
        if self.side == "reference":
            return self.own_log_abs_det_jacobian(y)
        return -self.own_log_abs_det_jacobian(self.own_inverse(y))

    def potential(self, y: Array) -> Array:
        """``psi(y)`` at reference points, shape ``(n,)``."""
        return self.own_potential(y) if self.side == "reference" else self.own_conjugate(y)

    def conjugate(self, x: Array) -> Array:
        """``phi(x)`` at target points, shape ``(n,)``."""
        return self.own_conjugate(x) if self.side == "reference" else self.own_potential(x)

    # ------------------------------------------------------------------ the grid's own direction

    def hessian(self, y: Array) -> Array:
        """Jacobian of the map, ``Hess psi`` at ``y``, shape ``(n, d, d)``."""
        points, _ = as_points(y, self.dim, "y")
        if self.side == "reference":
            return self.own_jacobian(points)
        return np.linalg.inv(self.own_jacobian(self(points)))

    def to_torch(self) -> Any:
        """Return the map as a ``torch.distributions.Transform``."""
        return to_torch(self)

    def own(self, points: Array) -> Array:
        """Gradient of the grid's potential at points of the grid's side, of their shape."""
        values, form = self._points(points)
        images = splines.gradient(*self._kernel_potential, values, self.threads)
        return restore(images, form)

    def own_inverse(self, points: Array) -> Array:
        """Solve ``own(y) = points`` for ``y``, of the shape of ``points``."""
        values, form = self._points(points)
        return restore(self._solve(values), form)

    def own_jacobian(self, points: Array) -> Array:
        """Jacobian of `own` at points of the grid's side, shape ``(n, d, d)``."""
        values, _ = self._points(points)
        return splines.jacobian(*self._kernel_potential, values, self.threads)

    def own_log_abs_det_jacobian(self, points: Array) -> Array:
        """``log |det|`` of `own_jacobian`, shape ``(n,)``; minus infinity where it is singular."""
        jacobian = self.own_jacobian(points)
        rows = [jacobian[:, k] for k in range(self.dim)]
        if self.dim == 1:
            determinant = rows[0][:, 0]
        elif self.dim == 2:
            determinant = rows[0][:, 0] * rows[1][:, 1] - rows[0][:, 1] * rows[1][:, 0]
        else:
            determinant = np.sum(rows[0] * np.cross(rows[1], rows[2]), axis=-1)
        with np.errstate(divide="ignore"):
            return np.log(np.abs(determinant))

    def own_potential(self, points: Array) -> Array:
        """The grid's potential at points of the grid's side, shape ``(n,)``."""
        values, _ = self._points(points)
        return splines.potential(*self._kernel_potential, values, self.threads)

    def own_conjugate(self, points: Array) -> Array:
        """``max_y <x, y> - psi(y)`` at points ``x`` of the other side, shape ``(n,)``.

        It is the value at `own_inverse`, so a lower bound whatever the spline is like.
        """
        values, _ = self._points(points)
        maximisers = self._solve(values)
        value = splines.potential(*self._kernel_potential, maximisers, self.threads)
        paired: Array = np.einsum("ij,ij->i", values, maximisers)
        return paired - value

    def outside(self, points: Array) -> int:
        """Count the points of the grid's side where the continuation is used; 0 if periodic."""
        values, _ = self._points(points)
        if self._periodic:
            return 0
        return int(np.count_nonzero(~self.grid_potential.grid.box.contains(values)))

    # ------------------------------------------------------------------ inside

    @property
    def _periodic(self) -> bool:
        return self.grid_potential.boundary == "periodic"

    @cached_property
    def _kernel_potential(self) -> tuple[Array, Array, bool]:
        """Coefficients, geometry and periodicity, as every kernel takes them first."""
        return (*pack(self.grid_potential), self._periodic)

    @cached_property
    def _table(self) -> tuple[Array, Array, Array]:
        """First node, node distances, and maximiser and conjugate at every node."""
        coefficients, geometry, _ = self._kernel_potential
        lower, upper = self._image_box()
        most = _TABLE_NODES[self.dim]
        counts = [min(max(2 * n, 32), most) for n in self.grid_potential.grid.shape]
        axes = [np.linspace(lo, hi, m) for lo, hi, m in zip(lower, upper, counts, strict=True)]
        conjugate, maximisers = maximised(
            self.grid_potential, coefficients, geometry, axes, self.threads
        )
        spacing = (upper - lower) / (np.array(counts) - 1)
        return lower, spacing, np.concatenate([maximisers, conjugate[..., None]], axis=-1)

    def _image_box(self) -> tuple[Array, Array]:
        """Corners of a box that holds the image of the grid's box."""
        grid = self.grid_potential.grid
        # A periodic point is reduced to where the affine part alone sends the box.
        if self._periodic:
            corners = np.meshgrid(*map(np.array, grid.box), indexing="ij")
            shifted = np.stack([c.ravel() for c in corners], axis=-1) - self.grid_potential.center
            images = shifted @ self.grid_potential.matrix + self.grid_potential.image
        else:
            # in space a part of the centres has to do; the faces are there in any case
            stride = max(1, max(grid.shape) // _TABLE_NODES[3]) if self.dim == 3 else 1
            axes = [
                np.concatenate([[lo], grid.axis(k)[::stride], [hi]])
                for k, (lo, hi) in enumerate(grid.box)
            ]
            mesh = np.meshgrid(*axes, indexing="ij")
            images = self.own(np.stack([m.ravel() for m in mesh], axis=-1))
        lower, upper = images.min(axis=0), images.max(axis=0)
        # A flat direction (no convexity at all) still gives a table.
        margin = np.maximum(upper - lower, 1e-12 * np.maximum(np.abs(lower), 1.0)) * 1e-9
        return lower - margin, upper + margin

    def _solve(self, points: Array) -> Array:
        """Solve ``own(y) = points`` for points ``(n, d)``."""
        return inverse.invert(*self._kernel_potential, *self._table, points, self.threads)

    def _points(self, points: Array) -> tuple[Array, PointForm]:
        """Points as a contiguous, writable array: the one layout the kernels are compiled for."""
        values, form = as_points(points, self.dim)
        return np.require(values, requirements=["C", "W"]), form
