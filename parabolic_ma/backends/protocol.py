r"""The kernels that every backend has: formula, shapes, dtypes, what is written in place.

Kernels get raw arrays and raise nothing; accidents of arithmetic show as infinities and NaNs in the
results. Unless said otherwise arrays are C-contiguous float64 and everything named as an output is
written in place, completely.

**Grids.** A grid of ``nx`` by ``ny`` cells has the centres ``axis1`` (nx,) and ``axis2`` (ny,) and
the spacings h1, h2. *Padded* arrays have one ghost cell a side, shape ``(nx + 2, ny + 2)``. The
ghost rule ``mode`` is 0 (even reflection about the face), 1 (linear continuation), 2 (periodic) or
3 (quadratic continuation; at least three cells an axis).
N, S are the neighbours at +1, -1 on axis 0 and E, W those on axis 1.

**Potentials.** :math:`\psi(y) = \tfrac12 \langle y - c, A (y - c)\rangle + \langle b, y - c\rangle
+ u(y)` with ``u`` padded and ``quad`` = (A11, A12, A22, c1, c2, b1, b2), or (A, c, b) in one
dimension. T is its gradient, H its Hessian, by centred differences.

**Densities.** The grid side's density is :math:`\nu` = exp(``log_source``), on the cells. The inner
density :math:`m = e^{-f}` is given by ``kind`` and two arrays:

* 0 and 1, Gaussian and mixture: ``params`` holds for every component the log density at its mean
  (with the log weight), the mean, and the upper triangle of the precision;
* 2, uniform: ``params`` holds the log density;
* 3, table: ``params`` holds lower corner, spacing, curvature :math:`\kappa`, and 1 if periodic or
  else 0; ``table`` the coefficients of the cubic spline of the log density, padded by two a side
  (see `parabolic_ma.splines`). Beyond the box, with its nearest point o and e = x - o, the log
  density is :math:`s(o) + \langle\nabla s(o), e\rangle - \tfrac\kappa2 |e|^2`.

**Rows.** A linear equation is held as ``rows`` (5, nx, ny) float32 = (a, d, x, p, q) and reads

    2 v - a (N + S) - d (E + W) - x (NE - NW - SE + SW) + p (N - S) + q (E - W) = r.

Everything of the multigrid is float32; ``M v`` is the left-hand side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from parabolic_ma.typing import Array

__all__ = ["Kernels"]


class Kernels(Protocol):
    """A backend: these functions on its own kind of arrays."""

    # Arrays: NumPy's on the CPU, those of a device elsewhere.

    def empty(self, shape: tuple[int, ...], dtype: Any = float) -> Array:
        """Return an array of this backend with arbitrary contents."""

    def zeros(self, shape: tuple[int, ...], dtype: Any = float) -> Array:
        """Return an array of zeros of this backend."""

    def asarray(self, values: Array) -> Array:
        """Return a NumPy array's values in an array of this backend; itself on the CPU."""

    def to_numpy(self, values: Array) -> Array:
        """Return an array of this backend as a NumPy array; itself on the CPU."""

    def record(self, launches: Callable[[], None]) -> Callable[[], None]:
        """Return what repeats the kernels that ``launches`` calls, on the same arrays, faster.

        On a device a graph of them; on the CPU ``launches`` itself. It must not look at results.
        """

    # The equation in two dimensions.

    def inner_row(
        self, kind: int, params: Array, table: Array, x1: Array, x2: Array,
        logm: Array, f1: Array, f2: Array,
    ) -> None:  # fmt: skip
        """Write log m and the gradient of f at points (n,) to ``logm``, ``f1``, ``f2`` (n,)."""

    def linearise(
        self, u: Array, axis1: Array, axis2: Array, quad: Array, log_source: Array, log_c: float,
        kind: int, params: Array, table: Array, clip: float, dt: float, peclet: float,
        log_cap: float, rows: Array, rhs: Array, tangent: Array,
    ) -> tuple[float, float, float, float, float, float, float]:  # fmt: skip
        r"""Linearise :math:`\det H = t_2`, :math:`t_2 = c\,\nu / m(T)`, and measure the residual.

        Newton's equation is :math:`\mathrm{cof} H : \nabla^2 v - g \langle\nabla f, \nabla v\rangle
        - \sigma v = -(\det H - t_2)` with clipped cofactors, the drift weight g between det and t2
        and a pseudo-time term; `numpy_reference.newton.linearise` has the details.

        Parameters
        ----------
        clip : float
            Smallest ratio of the eigenvalues of the operator; the residual is not clipped.
        dt : float
            Pseudo-time step.
        peclet : float
            Second-order coefficients are at least this times the drift.
        log_cap : float
            Largest log t2.
        rows, rhs, tangent : (5, nx, ny), (nx, ny), (nx, ny) float32
            Outputs: the rows, the residual in their units, and t2 in their units: minus the
            derivative of ``rhs`` with respect to ``log_c``.

        Returns
        -------
        mass : float
            Sum of m max(det, 0) h1 h2.
        total : float
            Sum of c nu h1 h2.
        chi : float
            Square root of the sum of (m det - c nu)^2 / (m |det| + c nu) h1 h2.
        smallest : float
            Smallest eigenvalue of H.
        extended : float
            Sum of c nu h1 h2 over the cells with an eigenvalue of H below 1e-10.
        largest : float
            Largest ``|rhs|``.
        residual : float
            Root mean square of 2 tanh(F / 2) = 2 (i - c nu) / (i + c nu) under the source, with
            i = m max(det, 0) and F = log(i / (c nu)).
        """

    def fields(
        self, u: Array, axis1: Array, axis2: Array, quad: Array, kind: int, params: Array,
        table: Array, delta: float, gradient: Array, low: Array, high: Array, log_det: Array,
        logm: Array,
    ) -> None:  # fmt: skip
        """Write T (nx, ny, 2), the eigenvalues of H, the log determinant and log m(T) (nx, ny).

        Logarithms of eigenvalues below ``delta`` are continued linearly: log delta - 1 + l / delta.
        """

    def convexify(
        self, u: Array, axis1: Array, axis2: Array, quad: Array, log_source: Array, log_c: float,
        kind: int, params: Array, table: Array, log_cap: float, lowest: float, highest: float,
        sweeps: int,
    ) -> None:  # fmt: skip
        """Lower u in place where H is not convex, until det H = t2 there; ghosts are left.

        At most ``sweeps`` Gauss-Seidel sweeps, row by row, over the cells where ``lowest <=
        log_source <= highest``; a cell is not convex when det H is at most 1e-10 tr H.
        """

    def add_correction(self, u: Array, v: Array, out: Array) -> None:
        """``out = u + v - mean v``, ghosts included; v padded, float32 or float64."""

    def gradient_norm(self, v: Array, weight: Array, floor: float, h1: float, h2: float) -> float:
        r"""Return :math:`(\sum |\nabla v|^2 (w - f)^2)^{1/2}`; v padded, float32 or float64.

        ``weight`` = w comes from `norm_weight`, ``floor`` = f: the summand's weight is the mass of
        a cell over the largest.
        """

    # The certificate: arrays as rows of cells (rows, n), in any number of dimensions.

    def judge_sums(
        self, source: Array, log_det: Array, log_inner: Array, gradient: Array, leading: Array,
        last: Array, shift: Array,
    ) -> Array:  # fmt: skip
        r"""Return seven sums over the cells and d more, of :math:`w = \nu` and b = m det.

        Sum of w; of w F, F = log b - log nu; the largest log b, t; the sums of b exp(-t) and of
        b F exp(-t); those of :math:`w |T - y|^2` and :math:`w |T - s|^2`; and of w (T - s).

        Parameters
        ----------
        source, log_det, log_inner : (rows, n)
        gradient : (rows, n, d)
            T.
        leading : (rows, d - 1)
            Coordinates y of the rows on all axes but the last.
        last : (n,)
            Coordinates on the last axis.
        shift : (d,)
            s.
        """

    def residual_sums(
        self, source: Array, log_det: Array, log_inner: Array, low: Array, high: Array, u: Array,
        constant: float, tail: float, extension: float,
    ) -> tuple[float, float, float, float, float]:  # fmt: skip
        """Return what is known of the residual F once its constant is taken off.

        The sum of w (2 tanh(F / 2))^2; where ``source >= tail`` the largest |F|, the smallest
        ``low``, the largest ``high`` and the sum of w (u / max(low, extension))^2.
        """

    def mass_histogram(self, source: Array, lowest: float, step: float, bins: int) -> Array:
        """Return sums of exp(source) by ``(source - lowest) / step``, a NumPy array (bins,)."""

    def inverse_change(
        self, after: Array, before: Array, spacing: tuple[float, float],
        matrix: tuple[float, float, float], source: Array,
    ) -> float:  # fmt: skip
        r"""Return the sum of :math:`\nu |H^{-1} \nabla (a - b)|^2` on a plane grid.

        ``after`` = a and ``before`` = b are padded; H is the Hessian of a and the quadratic with
        ``matrix`` = (A11, A12, A22), the small eigenvalue lifted to 1e-4 of the large one.
        """

    # The conservative equation: inner mass of the image of every cell.

    def running_sums(self, values: Array, h1: float) -> Array:
        """Return sums along axis 0, in units of h1, of mirrored values: (n1 + 6, n2 + 4).

        ``values`` (n1, n2) is the inner density on cells; three are mirrored at each face of axis
        0 and two of axis 1. The result holds the spline coefficients of F, dF/dX = m.
        """

    def cell_images(
        self, u: Array, axis1: Array, axis2: Array, quad: Array, sums: Array, geometry: Array,
        mass: Array, area: Array,
    ) -> None:  # fmt: skip
        """Write mass and signed area (nx, ny) of the octagons that are the images of the cells.

        ``sums`` comes from `running_sums`; ``geometry`` is the lower corner and the spacing of the
        inner density's cells.
        """

    def linearise_cells(
        self, u: Array, axis1: Array, axis2: Array, quad: Array, log_source: Array, log_c: float,
        sums: Array, geometry: Array, kind: int, params: Array, table: Array, clip: float,
        dt: float, peclet: float, log_cap: float, rows: Array, rhs: Array, tangent: Array,
        nine: Array,
    ) -> tuple[float, float, float, float, float, float, float]:  # fmt: skip
        """Linearise ``mass of the image of a cell = c nu h1 h2`` and measure the residual.

        As `linearise`, with the mean density of the image in place of m(T). ``nine`` (3, 3, nx,
        ny) float32 receives the exact derivative, scaled like the rows: ``sum nine v = rhs`` over
        the 3 x 3 neighbours. The extended mass is that of cells whose image has none.
        """

    def apply_nine(self, nine: Array, v: Array, out: Array) -> None:
        """Write ``-sum nine v`` to ``out`` (nx, ny); v padded, ghosts filled; all float32."""

    # The equation in one dimension.

    def fill_ghosts_1d(self, u: Array, mode: int) -> None:
        """Fill the two ghosts of ``u`` (n + 2,) in place."""

    def inner_row_1d(
        self, kind: int, params: Array, table: Array, x: Array, logm: Array, f: Array
    ) -> None:
        """Write log m and f' at points (n,) to ``logm`` and ``f`` (n,)."""

    def linearise_1d(
        self, u: Array, axis: Array, quad: Array, log_source: Array, log_c: float, kind: int,
        params: Array, table: Array, dt: float, edge: float, log_cap: float, rows: Array,
        rhs: Array,
    ) -> tuple[float, float, float, float, float, float, float]:  # fmt: skip
        """Linearise ``psi'' = t2`` and measure the residual; arguments and results as `linearise`.

        ``rows`` (3, n) receives a, p, t and ``rhs`` (n,) r, all float64, of the equations
        ``2 v - a (v[+] + v[-]) + p (v[+] - v[-]) = r - t delta``; delta is the change of ``log_c``.
        """

    def solve_rows_1d(self, rows: Array, rhs: Array, mode: int, pin: int, v: Array) -> float:
        """Solve the equations of `linearise_1d` for v and delta; return delta.

        ``v`` (n + 2,) is written with its ghosts and is zero at cell ``pin``.
        """

    def gradient_norm_1d(self, v: Array, log_source: Array, h: float) -> float:
        r"""Return :math:`(\sum v'^2 \nu h)^{1/2}` of a padded array."""

    def fields_1d(
        self, u: Array, axis: Array, quad: Array, kind: int, params: Array, table: Array,
        delta: float, gradient: Array, low: Array, log_det: Array, logm: Array,
    ) -> None:  # fmt: skip
        """Write T, psi'', its logarithm as in `fields`, and log m(T), all (n,)."""

    def average_log_1d(self, fine: Array, coarse: Array, ix: Array, wx: Array) -> None:
        """Do what `average_log` does on one axis."""

    def interpolate_1d(self, coarse: Array, fine: Array, ix: Array, wx: Array) -> None:
        """Do what `interpolate` does on one axis."""

    # The conservative equation in one dimension.

    def running_sums_1d(self, values: Array, h: float) -> Array:
        """Return sums, in units of h, of mirrored values: (n + 6,).

        ``values`` (n,) is the inner density on cells; three are mirrored at each face. The result
        holds the spline coefficients of the distribution function F.
        """

    def quantiles_1d(self, sums: Array, geometry: Array, shares: Array, out: Array) -> None:
        """Write where F reaches ``shares`` (k,) of its increase over the box to ``out`` (k,).

        ``shares`` must not decrease. ``sums`` comes from `running_sums_1d`; ``geometry`` is the
        lower face and the spacing of the inner density's cells.
        """

    def cell_images_1d(
        self, u: Array, axis: Array, quad: Array, sums: Array, geometry: Array, mass: Array,
        length: Array,
    ) -> None:  # fmt: skip
        """Write mass and signed length (n,) of the intervals that are the images of the cells.

        The image of a face is psi' by the difference of its two cells.
        """

    def linearise_cells_1d(
        self, u: Array, axis: Array, quad: Array, log_source: Array, log_c: float, sums: Array,
        geometry: Array, dt: float, rows: Array, rhs: Array,
    ) -> tuple[float, float, float, float, float, float, float]:  # fmt: skip
        """Linearise ``mass of the image of a cell = c nu h``, exactly, and measure the residual.

        Rows as `linearise_1d`, figures as `linearise_cells`; densities beyond the inner measure's
        box count as 1e-14 of the largest at a face's image.
        """

    # Sinkhorn: the soft conjugate along one axis.

    def soft_conjugate_rows(self, log_kernel: Array, rows: Array, out: Array) -> None:
        r"""Write :math:`\log \sum_j e^{K_{ij} + a_{rj}}` to ``out[r, i]``, by largest terms.

        ``log_kernel`` = K (m, n) is finite, ``rows`` = a (R, n) may hold minus infinities, ``out``
        is (R, m).
        """

    # Between grids. Index and weight arrays: see `parabolic_ma.operators.transfer`.

    def average_log(
        self, fine: Array, coarse: Array, ix: Array, wx: Array, iy: Array, wy: Array
    ) -> None:
        """Write ``log sum_kl wx[I, k] wy[J, l] exp(fine[ix[I] + k, iy[J] + l])``, k, l < 3.

        Terms of zero weight are left out: their indices may lie outside.
        """

    def interpolate(
        self, coarse: Array, fine: Array, ix: Array, wx: Array, iy: Array, wy: Array
    ) -> None:
        """Write ``sum_kl wx[i, k] wy[j, l] coarse[ix[i] + k, iy[j] + l]``, k, l < 4.

        ``coarse`` is padded by two a side; ``fine`` is not padded and may be a view.
        """

    # The multigrid, all float32 but for the dense matrix. Iterates are padded.

    def fill_ghosts(self, v: Array, mode: int) -> None:
        """Fill the frame of a padded array in place: axis 1 first, then whole rows, with corners.

        ``v`` is float32 or float64.
        """

    def residual(self, rows: Array, r: Array, v: Array, out: Array) -> None:
        """Write ``r - M v`` to ``out`` (nx, ny); v padded, ghosts filled."""

    def down(
        self, rows: Array, r: Array, v: Array, out: Array, coarse: Array, scale: Array, ix: Array,
        wx: Array, iy: Array, wy: Array, mode: int, degree: int, low: float, high: float,
        fresh: bool,
    ) -> None:  # fmt: skip
        """Smooth ``M v = r`` and restrict what is left: the way down of a multigrid cycle.

        Parameters
        ----------
        rows, r, v : (5, nx, ny), (nx, ny), (nx + 2, ny + 2)
            The equations and the iterate, ghosts filled.
        out : (nx + 2, ny + 2)
            Output: v after ``degree`` Chebyshev-Jacobi sweeps, ghosts filled.
        coarse, scale : (mx, my)
            Output: ``scale * average(r - M out)`` by area overlap; and that factor.
        ix, wx, iy, wy
            Overlaps; see `parabolic_ma.operators.transfer.overlap_weights`.
        mode : int
            Ghost rule.
        low, high : float
            The sweeps damp the spectrum of M / 2 in this interval.
        fresh : bool
            Promises that v is zero: it is not read.
        """

    def up(
        self, rows: Array, r: Array, v: Array, out: Array, coarse: Array, ix: Array, wx: Array,
        iy: Array, wy: Array, mode: int, degree: int, low: float, high: float,
    ) -> None:  # fmt: skip
        """Add a coarse correction and smooth: the way up. Write ``out``, v stays as it is.

        ``coarse`` (mx + 2, my + 2), ghosts filled, is interpolated linearly: fine cell i takes
        ``wx[i]`` of coarse row ``ix[i]`` and the rest of the next one. The rest as in `down`.
        """

    def coarsen_rows(
        self, fine: Array, coarse: Array, scale: Array, ix: Array, wx: Array, iy: Array,
        wy: Array, ratio_x: float, ratio_y: float, peclet: float, most: float, share: float,
    ) -> None:  # fmt: skip
        """Rediscretise rows on the next grid, diagonal 2; write ``coarse`` and ``scale``.

        Averages of a, d, x scale with the inverse square of the spacing ratios, p, q with the
        inverse, the pseudo-time term ``2 (1 - a - d)`` not at all; a and d are at least ``peclet``
        times the absolute values of p and q. ``scale`` is what the restricted right-hand sides are
        multiplied by. `outflow` is applied where ``share`` is positive.
        """

    def outflow(self, rows: Array, most: float, share: float) -> None:
        """Raise outward drifts of face cells to ``min(share (a, d), most)``, in place.

        With linear ghosts nothing else holds a face cell.
        """

    def dense_matrix(self, rows: Array, mode: int) -> Array:
        """Return M, ghosts eliminated, with a border of ones: (n + 1, n + 1), n = nx ny."""

    def factorise(self, matrix: Array, pivots: Array) -> bool:
        """LU with partial pivoting in place; False when singular.

        ``pivots`` (n + 1,) int64 receives the row exchanged with each row.
        """

    def solve_dense(self, matrix: Array, pivots: Array, r: Array, v: Array, mode: int) -> None:
        """Solve ``M v = r`` up to the mean of r, v of zero mean; v is written with its ghosts."""

    # The flow in time.

    def flow_rate(
        self, u: Array, axis1: Array, axis2: Array, quad: Array, log_source: Array, lowest: float,
        kind: int, params: Array, table: Array, rate: Array,
    ) -> tuple[float, float, float]:  # fmt: skip
        """Write F = log m(T) + log det H - log nu (nx, ny), logarithms extended as in `fields`.

        Returns the smallest eigenvalue of H; the diffusion, over which one is the largest stable
        step of the explicit Euler method; and the drift where ``log_source >= lowest``, over which
        one is the largest step that does not amplify what moves.
        """

    def flow_coefficients(
        self, u: Array, axis1: Array, axis2: Array, quad: Array, kind: int, params: Array,
        table: Array, coefficients: Array,
    ) -> None:  # fmt: skip
        """Write the stencil of F' (5, nx, ny): a, d, x, p, q, not scaled.

        ``F'[v] = a (N + S - 2 v) + d (E + W - 2 v) + x (NE - NW - SE + SW) - p (N - S) - q (E -
        W)``.
        """

    def flow_rows(self, coefficients: Array, sigma: float, rows: Array) -> None:
        """Write the rows of ``sigma v - F'[v]`` and the factor of right-hand sides: (6, nx, ny)."""

    def upwind_rows(self, rows: Array, peclet: float, upwind: Array, scale: Array) -> None:
        """Write rows whose a, d are at least ``peclet`` times ``|p|``, ``|q|``, of diagonal 2.

        ``upwind`` (5, nx, ny) and ``scale`` (nx, ny), the factor of right-hand sides, are float32.
        """

    def flow_rate_1d(
        self, u: Array, axis: Array, quad: Array, log_source: Array, lowest: float, kind: int,
        params: Array, table: Array, rate: Array,
    ) -> tuple[float, float, float]:  # fmt: skip
        """Do what `flow_rate` does in one dimension."""

    def flow_coefficients_1d(
        self, u: Array, axis: Array, quad: Array, kind: int, params: Array, table: Array,
        coefficients: Array,
    ) -> None:  # fmt: skip
        """Write the stencil of F' (2, n): a, p of ``a (v[+] + v[-] - 2 v) - p (v[+] - v[-])``."""

    def solve_flow_1d(
        self, coefficients: Array, sigma: float, rhs: Array, mode: int, v: Array
    ) -> None:
        """Solve ``sigma v - F'[v] = rhs`` for v (n + 2,), ghosts included; mode 0, 2 or 3."""

    # The Krylov iteration: vectors float32 or float64, sums carried in float64. All but
    # `matrix_dots` take arrays of any number of dimensions.

    def norm_weight(self, log_source: Array, floor: float, weight: Array) -> float:
        """Write ``sqrt(nu / max nu) + floor`` to ``weight``, float32; return max log nu."""

    def matrix_dots(
        self, rows: Array, v: Array, r: Array, weight: Array
    ) -> tuple[float, float, float]:
        """Return `dots` of ``w = -M v`` and r; v padded, ghosts filled; w is not stored."""

    def dots(self, w: Array, r: Array, weight: Array) -> tuple[float, float, float]:
        """Return <w, w>, <w, r>, <r, r> with <x, y> = sum of weight x y."""

    def axpy(self, alpha: float, x: Array, y: Array) -> None:
        """``y += alpha x`` in place, alpha rounded to float32."""
