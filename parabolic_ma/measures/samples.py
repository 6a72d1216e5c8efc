"""Measures known by samples, with a kernel density estimate where a density is needed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from parabolic_ma.grid import Box, Grid
from parabolic_ma.measures.protocol import (
    check_tail_mass,
    normalized_weights,
    positive_definite,
)
from parabolic_ma.measures.quantiles import lower_quantile
from parabolic_ma.points import as_count, as_floats, as_points, generator, restore
from parabolic_ma.splines import evaluate, prefilter
from parabolic_ma.status import InputError
from parabolic_ma.typing import Array, Rng

__all__ = ["Samples"]

_CELLS_PER_BANDWIDTH = {1: 8, 2: 8, 3: 4}
_MAX_CELLS = {1: 1 << 14, 2: 1024, 3: 160}  # of the table, on one axis
_MARGIN = 9.0  # bandwidths between the outermost points and the faces of the table
_SMALLEST_KERNEL = 0.1  # variance left to the kernel where the table is very coarse
_TINY = 1e-280  # below this the convolution has lost its relative accuracy
_CHUNK = 1 << 21
_ROUNDING = 64 * np.finfo(float).eps  # relative spread that is rounding and nothing else
_SMALLEST_SPREAD, _LARGEST_SPREAD = 1e-50, 1e50  # so that variances are no over- or underflow
_TAIL_BINS = 16  # per bandwidth, for the marginals of `support`


@dataclass(frozen=True, eq=False)
class _Table:
    """Minus the log density in whitened coordinates, as a spline on a box."""

    grid: Grid
    coefficients: Array


@dataclass(frozen=True, eq=False, init=False)
class Samples:
    r"""A measure known by points drawn from it.

    Where a density is needed, it is the Gaussian kernel density estimate

    .. math:: p(x) = \sum_i w_i\, N(x;\, x_i, H).

    Up to three dimensions the logarithm of the estimate is tabulated once, at the first use: the
    points are put on a grid in coordinates in which ``H`` is the identity (each spread by cubic
    B-spline weights, whose variance the kernel gives up), convolved axis by axis with the kernel by
    sums of positive terms, so that the tails keep their relative accuracy, and interpolated by a
    cubic spline. Beyond the table, nine bandwidths from the outermost points, the potential goes on
    quadratically with the kernel's own curvature. The table has 8 cells per bandwidth, and the
    density is then right to a few 1e-6 where the points are; it has at most 1024 cells an axis
    (16384 in 1D), so that data spread over more than 110 bandwidths are tabulated more coarsely. In
    3D it has 4 cells per bandwidth, at most 160 an axis, and the density is right to a few 1e-4. In
    higher dimensions the sum over all points is taken directly. Far from all points the potential
    is right to half a per cent.

    Parameters
    ----------
    points : array_like, shape (n, d)
        At least two points; shape ``(n,)`` stands for ``d = 1``.
    weights : array_like, shape (n,), optional
        Non-negative weights, normalised here; equal by default.
    bandwidth : None, float or array_like (d, d)
        None: ``H`` is the sample covariance times Scott's factor ``m^{-2/(d+4)}``, ``m`` being the
        effective number of points. A number: ``H`` is its *square* times the sample covariance. A
        matrix: ``H`` itself, a covariance.

    Attributes
    ----------
    points : ndarray, shape (n, d)
    weights : ndarray, shape (n,)
        Sum to one.
    kernel_cov : ndarray, shape (d, d)
        ``H``.

    Raises
    ------
    InputError
        If there are fewer than two points, something is not finite, a weight is negative, the
        sample covariance is singular (and no bandwidth matrix given), or the bandwidth is not
        positive.

    References
    ----------
    D. W. Scott, *Multivariate Density Estimation*, 2nd ed., Wiley, 2015; B. W. Silverman, "Kernel
    density estimation using the fast Fourier transform", Applied Statistics 31, 1982.
    """

    points: Array
    weights: Array
    bandwidth: float | Array | None
    kernel_cov: Array = field(init=False, repr=False)
    _cholesky: Array = field(init=False, repr=False)
    _whitening: Array = field(init=False, repr=False)

    bounded: ClassVar[bool] = False
    normalized: ClassVar[bool] = True
    log_concave: ClassVar[bool | None] = None

    def __init__(
        self,
        points: ArrayLike,
        weights: ArrayLike | None = None,
        bandwidth: float | ArrayLike | None = None,
    ) -> None:
        values = _checked_points(points)
        shares = _checked_weights(weights, len(values))
        kernel_cov = _kernel_cov(values, shares, bandwidth)
        cholesky = np.linalg.cholesky(kernel_cov)
        object.__setattr__(self, "points", values)
        object.__setattr__(self, "weights", shares)
        object.__setattr__(self, "bandwidth", _plain_bandwidth(bandwidth))
        object.__setattr__(self, "kernel_cov", kernel_cov)
        object.__setattr__(self, "_cholesky", cholesky)
        object.__setattr__(self, "_whitening", np.linalg.inv(cholesky))

    def __repr__(self) -> str:
        return f"Samples({len(self.points)} points in {self.dim}D, kernel_cov={self.kernel_cov})"

    @property
    def dim(self) -> int:
        """Dimension of the space."""
        return int(self.points.shape[1])

    def potential(self, x: Array) -> Array:
        """Minus log density of the estimate at ``x``, shape ``(n,)``, in nats."""
        points, _ = as_points(x, self.dim, "x")
        return self._evaluate(points, want_gradient=False)[0]

    def gradient(self, x: Array) -> Array:
        """Gradient of the potential, of the shape of ``x``."""
        points, form = as_points(x, self.dim, "x")
        return restore(self._evaluate(points, want_gradient=True)[1], form)

    def support(self, tail_mass: float) -> Box:
        """Return a box whose faces each cut off at most ``tail_mass / (2 d)`` of the marginal.

        For many points the marginals are taken over bins of a sixteenth of a bandwidth with the
        points moved to the outer edges: the box is at most that much too wide.
        """
        probability = check_tail_mass(tail_mass) / (2 * self.dim)
        ends = []
        for k in range(self.dim):
            sd = math.sqrt(self.kernel_cov[k, k])
            low = _binned_quantile(self.points[:, k], self.weights, sd, probability)
            high = -_binned_quantile(-self.points[:, k], self.weights, sd, probability)
            ends.append((low, high))
        return Box.of(ends)

    def moments(self) -> tuple[Array, Array]:
        """Mean ``(d,)`` and covariance ``(d, d)``: the sample's plus the kernel's."""
        mean = self.weights @ self.points
        shifted = self.points - mean
        return mean, (shifted * self.weights[:, None]).T @ shifted + self.kernel_cov

    def sample(self, n: int, rng: Rng = None) -> Array:
        """Draw ``n`` points of the estimate, shape ``(n, d)``: a data point plus kernel noise."""
        n, rng = as_count(n), generator(rng)
        chosen = rng.choice(len(self.points), size=n, p=self.weights)
        return self.points[chosen] + rng.standard_normal((n, self.dim)) @ self._cholesky.T

    @cached_property
    def _center(self) -> Array:
        """Origin of the whitened coordinates."""
        return self.weights @ self.points

    @cached_property
    def _log_scale(self) -> float:
        """Log determinant of the whitening: what densities in z are divided by."""
        return float(np.log(np.diag(self._cholesky)).sum())

    @cached_property
    def _table(self) -> _Table:
        return _tabulate((self.points - self._center) @ self._whitening.T, self.weights)

    def _evaluate(self, points: Array, want_gradient: bool) -> tuple[Array, Array]:
        """Potential ``(n,)`` and gradient ``(n, d)`` (zeros where not wanted)."""
        z = (points - self._center) @ self._whitening.T
        if self.dim in _MAX_CELLS:
            value, slope = _evaluate_table(self._table, z, want_gradient)
        else:
            data = (self.points - self._center) @ self._whitening.T
            value, slope = _evaluate_directly(data, self.weights, z)
        return value + self._log_scale, slope @ self._whitening


def _checked_points(points: Any) -> Array:
    """Points of shape ``(n, d)`` with at least two rows, all finite."""
    values = as_floats(points, "points").copy()
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or values.shape[1] == 0:
        raise InputError(f"points must have shape (n, d), or (n,) for d = 1; got {values.shape}")
    if len(values) < 2:
        raise InputError(
            f"a density estimate needs at least two points, got {len(values)}; for a single point "
            "use Gaussian(mean, cov) with the width it should have"
        )
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            f"points must be finite; points[{row}] is {values[row].tolist()}, and {int(bad.sum())} "
            f"of {len(values)} rows are of that kind: remove them"
        )
    return values


def _checked_weights(weights: Any, count: int) -> Array:
    """Normalised weights, shape ``(count,)``."""
    if weights is None:
        return np.full(count, 1.0 / count)
    values = as_floats(weights, "weights")
    if values.shape != (count,):
        raise InputError(f"weights must have shape ({count},), one a point; got {values.shape}")
    if not (np.all(np.isfinite(values)) and np.all(values >= 0) and np.sum(values > 0) >= 2):
        raise InputError(
            "weights must be finite and not negative, and at least two of them positive; got "
            f"{int(np.sum(values > 0))} positive, {int(np.sum(values == 0))} zero, "
            f"{int(np.sum(values < 0))} negative and {int(np.sum(np.isnan(values)))} that are no "
            "number"
        )
    return normalized_weights(values)


def _plain_bandwidth(bandwidth: Any) -> float | Array | None:
    """Bandwidth as None, a float or an array."""
    if bandwidth is None:
        return None
    values = np.array(bandwidth, dtype=np.float64)
    return values if values.ndim else float(values)


def _kernel_cov(points: Array, weights: Array, bandwidth: Any) -> Array:
    """Covariance of the kernel."""
    dim = points.shape[1]
    given = None if bandwidth is None else as_floats(bandwidth, "bandwidth")
    if given is not None and given.ndim > 0:
        return positive_definite(given, dim, "the bandwidth matrix")
    effective = 1.0 / float(np.sum(weights**2))
    factor = effective ** (-1.0 / (dim + 4)) if given is None else float(given)
    if not (math.isfinite(factor) and factor > 0):
        raise InputError(
            f"bandwidth must be None, a positive factor or a ({dim}, {dim}) matrix; got {bandwidth}"
        )
    _check_spread(points)
    if len(points) <= dim:
        raise InputError(
            f"{len(points)} points in dimension {dim} have no covariance of full rank; give at "
            f"least {dim + 1} points, or bandwidth= as a covariance matrix"
        )
    shifted = points - weights @ points
    cov = (shifted * weights[:, None]).T @ shifted / (1.0 - 1.0 / effective)
    return factor**2 * positive_definite(cov, dim, "the covariance of the points")


def _check_spread(points: Array) -> None:
    """Refuse coordinates that are constant, or all but constant for their size."""
    with np.errstate(over="ignore"):
        spread, size = np.ptp(points, axis=0), np.abs(points).max(axis=0)
    if not np.all(spread < _LARGEST_SPREAD):
        raise InputError(
            f"points reach up to {size.max():g} and are spread over {spread.max():g}; the spread "
            f"must be below {_LARGEST_SPREAD:g}: use other units, or remove the outliers"
        )
    flat = np.flatnonzero(spread <= np.maximum(_ROUNDING * size, _SMALLEST_SPREAD))
    if len(flat):
        k = int(flat[0])
        raise InputError(
            f"the covariance of the points is singular: column {k} (from 0) is constant, all are "
            f"{points[0, k]:.8g}; drop that column, or give bandwidth= as a covariance matrix"
        )


def _binned_quantile(values: Array, weights: Array, sd: float, probability: float) -> float:
    """Lower quantile of a kernel estimate whose points are moved down to their bin's edge."""
    width = sd / _TAIL_BINS
    bins = np.floor((values - values.min()) / width)
    edges, inverse = np.unique(bins, return_inverse=True)
    if len(edges) < len(values):
        weights = np.bincount(inverse, weights=weights)
        values = values.min() + edges * width
    return lower_quantile(values, np.full(len(values), sd), weights, probability)


def _tabulate(z: Array, weights: Array) -> _Table:
    """Tabulate minus the log of the estimate with a unit kernel."""
    dim = z.shape[1]
    lower, upper = z.min(axis=0), z.max(axis=0)
    margin = np.maximum(_MARGIN, 4.0 * (upper - lower) / _MAX_CELLS[dim])  # room for the binning
    lower, upper = lower - margin, upper + margin
    cells = np.ceil((upper - lower) * _CELLS_PER_BANDWIDTH[dim]).astype(int)
    shape = tuple(int(n) for n in np.minimum(cells, _MAX_CELLS[dim]))
    grid = Grid(Box(tuple(lower), tuple(upper)), shape)
    log_density = _log_convolution(grid, _bin(grid, z, weights))
    return _Table(grid, prefilter(-log_density, "free"))


def _bin(grid: Grid, z: Array, weights: Array) -> Array:
    """Masses at the cell centres, each point spread over four centres an axis.

    Cubic B-spline weights are positive and reproduce cubics, so that every point is spread with the
    same variance ``h^2 / 3`` and no skewness, wherever it lies between the centres.
    """
    firsts, shares = [], []
    for k in range(grid.dim):
        s = (z[:, k] - grid.box.lower[k]) / grid.spacing[k] - 0.5
        base = np.floor(s).astype(np.intp)
        t = s - base
        r = 1.0 - t
        firsts.append(base - 1)
        shares.append(
            (r**3 / 6, 2 / 3 - t * t * (1 - t / 2), 2 / 3 - r * r * (1 - r / 2), t**3 / 6)
        )
    masses = np.zeros(grid.size)
    for offsets in product(range(4), repeat=grid.dim):
        index = np.zeros(len(z), dtype=np.intp)
        share = weights
        for k, offset in enumerate(offsets):
            index = index * grid.shape[k] + (firsts[k] + offset)
            share = share * shares[k][offset]
        masses += np.bincount(index, weights=share, minlength=grid.size)
    return masses.reshape(grid.shape)


def _log_convolution(grid: Grid, masses: Array) -> Array:
    """Log of the masses convolved with the unit Gaussian, axis by axis, shape ``grid.shape``."""
    with np.errstate(divide="ignore"):
        log_values = np.log(masses)
    for axis in range(grid.dim):
        h = grid.spacing[axis]
        # The binning has spread the points by h^2 / 3 already.
        variance = max(1.0 - h * h / 3.0, _SMALLEST_KERNEL)
        lines = np.moveaxis(log_values, axis, 0)
        log_values = np.moveaxis(_log_convolve_lines(lines, h * h / variance), 0, axis)
        log_values = log_values - 0.5 * math.log(2 * math.pi * variance)
    return log_values


def _log_convolve_lines(log_values: Array, curvature: float) -> Array:
    """Log of ``sum_j exp(log_values[j] - curvature (i - j)^2 / 2)`` along axis 0.

    Each line is scaled by its largest value and multiplied with the matrix of the kernel. Where the
    sum is so small that terms may have underflowed, the sum is replaced by its largest term: only
    in gaps of more than 35 bandwidths between points, at densities below ``e^-640``.
    """
    lines = log_values.reshape(len(log_values), -1)
    used = np.flatnonzero(np.any(lines > -np.inf, axis=0))
    rows = np.flatnonzero(np.any(lines > -np.inf, axis=1))
    first, last = int(rows[0]), int(rows[-1]) + 1
    terms = lines[first:last, used]
    top = terms.max(axis=0)
    sums = _convolve_rows(np.exp(terms - top), len(lines), first, curvature)
    small = sums < _TINY
    sums[small] = 1.0
    result = np.log(sums) + top
    rows, columns = np.nonzero(small)
    result[small] = _largest_terms(terms, rows, columns, first, curvature)
    full = np.full(lines.shape, -np.inf)
    full[:, used] = result
    return full.reshape(log_values.shape)


def _convolve_rows(values: Array, count: int, first: int, curvature: float) -> Array:
    """Rows ``0 .. count-1`` of the convolution of rows ``first ..`` with the kernel."""
    offsets = np.arange(1 - count, count)
    kernel = np.exp(-0.5 * curvature * offsets**2)
    windows = np.lib.stride_tricks.sliding_window_view(kernel, len(values))
    toeplitz = windows[first : first + count][::-1]  # [i, j] = kernel at first + j - i
    result = np.empty((count, values.shape[1]))
    step = max(_CHUNK // len(values), 1)
    for start in range(0, count, step):
        part = slice(start, start + step)
        result[part] = np.ascontiguousarray(toeplitz[part]) @ values
    return result


def _largest_terms(
    terms: Array, rows: Array, columns: Array, first: int, curvature: float
) -> Array:
    """Largest term of the sum of `_log_convolve_lines` for some of its results."""
    held = np.flatnonzero(np.any(terms > -np.inf, axis=1))
    sources = first + held
    lines = np.ascontiguousarray(terms[held].T)
    result = np.empty(len(rows))
    step = max(_CHUNK // len(held), 1)
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        exponents = -0.5 * curvature * (rows[part, None] - sources) ** 2
        result[part] = (exponents + lines[columns[part]]).max(axis=1)
    return result


def _evaluate_table(table: _Table, z: Array, want_gradient: bool) -> tuple[Array, Array]:
    """Value ``(n,)`` and slope ``(n, d)`` of the tabulated potential, continued quadratically."""
    box, spacing = table.grid.box, table.grid.spacing
    clamped = np.clip(z, box.lower, box.upper)
    results = evaluate(table.coefficients, box.lower, spacing, clamped, int(want_gradient))
    value = results[0]
    slope = results[1] if want_gradient else np.zeros_like(z)
    beyond = z - clamped
    outside = np.flatnonzero(np.any(beyond != 0, axis=1))
    if len(outside):
        delta = beyond[outside]
        start, first, second = evaluate(table.coefficients, box.lower, spacing, clamped[outside], 2)
        value[outside] = start + np.sum(first * delta + 0.5 * delta**2, axis=1)
        # Along the face the slope of the linear term counts too, so that this is its gradient.
        along = np.einsum("nij,nj->ni", second, delta)
        slope[outside] = first + np.where(delta == 0, along, delta)
    return value, slope


def _evaluate_directly(data: Array, weights: Array, z: Array) -> tuple[Array, Array]:
    """Value ``(n,)`` and slope ``(n, d)`` of the potential by the sum over all points."""
    kept = weights > 0
    data, log_weights = data[kept], np.log(weights[kept])
    offset = 0.5 * np.sum(data**2, axis=1) - log_weights
    value, slope = np.empty(len(z)), np.empty_like(z)
    step = max(_CHUNK // len(data), 1)
    for start in range(0, len(z), step):
        part = slice(start, start + step)
        terms = z[part] @ data.T - offset
        top = terms.max(axis=1, keepdims=True)
        np.exp(terms - top, out=terms)
        total = terms.sum(axis=1)
        value[part] = 0.5 * np.sum(z[part] ** 2, axis=1) - top[:, 0] - np.log(total)
        slope[part] = z[part] - terms @ data / total[:, None]
    return value + 0.5 * z.shape[1] * math.log(2 * math.pi), slope
