r"""The kernels in three dimensions: `parabolic_ma.backends.protocol` has the conventions.

**Grids.** ``n1`` by ``n2`` by ``n3`` cells with the centres ``axis1``, ``axis2``, ``axis3`` and the
spacings h1, h2, h3. *Padded* arrays have one ghost cell a side; ghosts are filled axis by axis, the
last one first, with corners. Linear ghosts (mode 1) beyond two faces differ: the mixed difference
of the two normals vanishes there, v[0, 0] = v[2, 0] + v[0, 2] - v[2, 2] in padded indices.

**Potentials.** ``quad`` = (A11, A12, A13, A22, A23, A33, c1, c2, c3, b1, b2, b3). H is discretised
on nineteen points: the centred second difference on each axis, and for each pair of axes the
difference of the four neighbours on the diagonals of their plane.

**Densities.** As in the plane: every component of a Gaussian mixture is ten numbers, a table has
eight parameters.

**Rows.** A linear equation is held as ``rows`` (9, n1, n2, n3) float32 = (a1, a2, a3, x12, x13,
x23, p1, p2, p3) and reads, with v[+k] the neighbour at +1 on axis k,

.. math::

    2 v - \sum_k a_k (v_{+k} + v_{-k})
    - \sum_{k<m} x_{km} (v_{+k+m} - v_{+k-m} - v_{-k+m} + v_{-k-m})
    + \sum_k p_k (v_{+k} - v_{-k}) = r.

**Transfers** have an index and a weight array for every axis, in order.

`parabolic_ma.backends.of_dimension` gives these kernels under their names in the plane, and those
that know no dimension, such as `Kernels.factorise`, as they are.
"""

from __future__ import annotations

from typing import Protocol

from parabolic_ma.typing import Array

__all__ = ["Kernels3D"]


class Kernels3D(Protocol):
    """What a backend has beside `Kernels` for grids in space."""

    # The equation.

    def inner_row_3d(
        self, kind: int, params: Array, table: Array, x1: Array, x2: Array, x3: Array,
        logm: Array, f1: Array, f2: Array, f3: Array,
    ) -> None:  # fmt: skip
        """Write log m and the gradient of f at points (n,)."""

    def linearise_3d(
        self, u: Array, axis1: Array, axis2: Array, axis3: Array, quad: Array, log_source: Array,
        log_c: float, kind: int, params: Array, table: Array, clip: float, dt: float,
        peclet: float, log_cap: float, rows: Array, rhs: Array, tangent: Array,
    ) -> tuple[float, float, float, float, float, float, float]:  # fmt: skip
        r"""Linearise :math:`\det H = t_2` and measure the residual; figures as in the plane.

        Newton's equation is :math:`C : \nabla^2 v - g \langle\nabla f, \nabla v\rangle - \sigma v =
        -(d - t_2)`. C is the cofactor matrix of H, the derivative of its determinant, and d the
        determinant, wherever the spectrum :math:`l_1 \le l_2 \le l_3` is sound; the clips and what
        they are good for are in `numpy_reference.newton_3d.elliptic_part`. A determinant counts as
        negative wherever l_1 is.
        """

    def fields_3d(
        self, u: Array, axis1: Array, axis2: Array, axis3: Array, quad: Array, kind: int,
        params: Array, table: Array, delta: float, gradient: Array, low: Array, high: Array,
        log_det: Array, logm: Array,
    ) -> None:  # fmt: skip
        """Write T (n1, n2, n3, 3), the outer eigenvalues of H, log det H and log m(T).

        Logarithms of eigenvalues below ``delta`` are continued linearly.
        """

    def convexify_3d(
        self, u: Array, axis1: Array, axis2: Array, axis3: Array, quad: Array, log_source: Array,
        log_c: float, kind: int, params: Array, table: Array, log_cap: float, lowest: float,
        highest: float, sweeps: int,
    ) -> None:  # fmt: skip
        """Lower u in place where H is not convex, until det H = t2 there; ghosts are left.

        A cell is not convex when an eigenvalue of H is at most 1e-10.
        """

    def add_correction_3d(self, u: Array, v: Array, out: Array) -> None:
        """``out = u + v - mean v``, ghosts included; v padded, float32 or float64."""

    def gradient_norm_3d(
        self, v: Array, weight: Array, floor: float, h1: float, h2: float, h3: float
    ) -> float:
        r"""Return :math:`(\sum |\nabla v|^2 (w - f)^2)^{1/2}`; v padded, float32 or float64."""

    def inverse_change_3d(
        self, after: Array, before: Array, spacing: tuple[float, ...], matrix: tuple[float, ...],
        source: Array,
    ) -> float:  # fmt: skip
        r"""Return the sum of :math:`\nu |(H + s)^{-1} \nabla (a - b)|^2`.

        ``after`` = a and ``before`` = b are padded; H is the Hessian of a and the quadratic with
        the upper triangle ``matrix``; the shift s lifts its smallest eigenvalue to 1e-4 of the
        largest where it is less.
        """

    # Between grids.

    def average_log_3d(
        self, fine: Array, coarse: Array, i1: Array, w1: Array, i2: Array, w2: Array, i3: Array,
        w3: Array,
    ) -> None:  # fmt: skip
        """Write the log of the overlap average of ``exp(fine)``."""

    def interpolate_3d(
        self, coarse: Array, fine: Array, i1: Array, w1: Array, i2: Array, w2: Array, i3: Array,
        w3: Array,
    ) -> None:  # fmt: skip
        """Interpolate by four points an axis; ``coarse`` padded by two, ``fine`` may be a view."""

    # The multigrid, all float32 but for the dense matrix. Iterates are padded.

    def fill_ghosts_3d(self, v: Array, mode: int) -> None:
        """Fill the frame of a padded array in place; v is float32 or float64."""

    def residual_3d(self, rows: Array, r: Array, v: Array, out: Array) -> None:
        """Write ``r - M v`` to ``out`` (n1, n2, n3); v padded, ghosts filled."""

    def down_3d(
        self, rows: Array, r: Array, v: Array, out: Array, coarse: Array, scale: Array, i1: Array,
        w1: Array, i2: Array, w2: Array, i3: Array, w3: Array, mode: int, degree: int, low: float,
        high: float, fresh: bool,
    ) -> None:  # fmt: skip
        """Smooth ``M v = r`` into ``out`` and restrict what is left to ``coarse``."""

    def up_3d(
        self, rows: Array, r: Array, v: Array, out: Array, coarse: Array, i1: Array, w1: Array,
        i2: Array, w2: Array, i3: Array, w3: Array, mode: int, degree: int, low: float,
        high: float,
    ) -> None:  # fmt: skip
        """Add a coarse correction, interpolated linearly, to v and smooth into ``out``."""

    def coarsen_rows_3d(
        self, fine: Array, coarse: Array, scale: Array, i1: Array, w1: Array, i2: Array, w2: Array,
        i3: Array, w3: Array, ratio1: float, ratio2: float, ratio3: float, peclet: float,
        most: float, share: float,
    ) -> None:  # fmt: skip
        """Rediscretise rows on the next grid, diagonal 2; write ``coarse`` and ``scale``.

        The pseudo-time term of a row is ``2 (1 - a1 - a2 - a3)``.
        """

    def outflow_3d(self, rows: Array, most: float, share: float) -> None:
        """Raise outward drifts of face cells to ``min(share a_k, most)``, in place."""

    def dense_matrix_3d(self, rows: Array, mode: int) -> Array:
        """Return M, ghosts eliminated, with a border of ones: (n + 1, n + 1), n = n1 n2 n3."""

    def solve_dense_3d(self, matrix: Array, pivots: Array, r: Array, v: Array, mode: int) -> None:
        """Solve ``M v = r`` up to the mean of r, v of zero mean; v is written with its ghosts."""

    # The Krylov iteration: vectors float32, sums carried in float64.

    def matrix_dots_3d(
        self, rows: Array, v: Array, r: Array, weight: Array
    ) -> tuple[float, float, float]:
        """Return `dots` of ``w = -M v`` and r; v padded, ghosts filled; w is not stored."""
