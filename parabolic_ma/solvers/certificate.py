"""What can be said of a grid solution without knowing the true map."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from parabolic_ma.grid import Grid
from parabolic_ma.operators.discretise import Discretisation
from parabolic_ma.operators.legendre import polished_conjugate
from parabolic_ma.operators.monge_ampere import EXTENSION, OperatorFields
from parabolic_ma.solution import Certificate, GridPotential
from parabolic_ma.typing import Array

__all__ = ["Convergence", "Judgement", "duality_gap", "judge", "tail_level"]

_TAIL = 1e-6  # mass left out where a largest or smallest value is reported
_CONJUGATE_CELLS = {1: 4096, 2: 256}  # most cells an axis for the conjugate's quadrature


@dataclass(frozen=True)
class Convergence:
    """What the nested iteration knows about its own errors."""

    algebraic: float
    """Estimated distance of the grid's own map to the solved discrete problem; nan if not known."""
    changes: tuple[float, ...]
    """Distances of the grid's own maps on successive grids, coarsest first."""
    map_change: float
    """Distance of the last two maps under the reference, whichever side the grid is on."""
    coarse_w2: float
    """``w2_squared`` on the grid before the last."""
    coarse_constant: float
    """Log constant on the grid before the last."""
    extrapolate: bool
    """Whether the second-order term is to be taken off the distance and the constant."""


@dataclass(frozen=True)
class Judgement:
    """Figures of a solution and its certificate."""

    log_evidence: float
    w2_squared: float
    kl: float
    kl_reverse: float
    certificate: Certificate


def judge(
    kernels: Any,
    problem: Discretisation,
    parts: OperatorFields,
    u: Array,
    potential: GridPotential,
    convergence: Convergence,
    floored_mass: float,
) -> Judgement:
    """Measure a solution on its grid.

    Parameters
    ----------
    kernels : module
        The backend.
    problem : Discretisation
    parts : OperatorFields
        The operator at the solution.
    u : ndarray
        The correction at the cell centres, without ghosts.
    potential : GridPotential
    convergence : Convergence
    floored_mass : float
    """
    grid, source = problem.grid, problem.log_source
    weight = np.exp(source) * grid.cell_volume
    excess = parts.log_inner + parts.log_det - source
    # by its logarithm: a map far off may leave nothing of the other density but underflow
    log_balanced = parts.log_inner + parts.log_det
    top = float(log_balanced.max())
    balanced = np.exp(log_balanced - top)
    # of normalised densities: 0 but for the discretisation, whatever constants the user added
    constant = top + math.log(float(balanced.sum()) * grid.cell_volume)
    extrapolated = constant
    if convergence.extrapolate:
        extrapolated += (constant - convergence.coarse_constant) / 3.0
    scale = problem.inner.log_normalizer
    mean = float(np.vdot(weight, excess))
    # 2 tanh(F / 2) = (m det - c nu) / mean: the residual for small ones, and at most 2 where the
    # potential is not convex, so that a cell of mass 1e-9 does not decide the norm
    bounded = 2.0 * np.tanh(0.5 * (excess - constant))
    residual = float(np.sqrt(np.vdot(weight, bounded**2)))
    bulk = source >= tail_level(source, weight)
    under_inner = float(np.vdot(balanced, excess)) / float(balanced.sum())

    on_reference = problem.side == "reference"
    quadrature = problem.log_source_normalizer - scale
    if on_reference:
        solver_constant = extrapolated + scale - problem.log_source_normalizer
        log_evidence, by_quadrature = solver_constant, -quadrature
        kl, kl_reverse = constant - mean, under_inner - constant
        lower, upper = (v + scale - problem.log_source_normalizer for v in (mean, under_inner))
    else:
        solver_constant = problem.log_source_normalizer - scale - extrapolated
        log_evidence = by_quadrature = quadrature
        kl, kl_reverse = under_inner - constant, constant - mean
        lower, upper = (problem.log_source_normalizer - scale - v for v in (under_inner, mean))
    mass_error = solver_constant - by_quadrature

    w2 = squared_distance(grid, parts.gradient, weight)
    if convergence.extrapolate:
        w2 += (w2 - convergence.coarse_w2) / 3.0
    own_change = convergence.changes[-1] if convergence.changes else math.nan
    stretch = convergence.map_change / own_change if own_change > 0.0 else 1.0
    spread = math.sqrt(squared_spread(parts.gradient, weight))
    reasons: dict[str, str] = {}
    order = math.nan
    known = [c for c in convergence.changes if math.isfinite(c) and c > 0.0]
    if len(known) >= 2:
        order = math.log2(known[-2] / known[-1])
    else:
        reasons["observed_order"] = "needs three nested grids: use a finer one"
    # second order: the last two maps differ by three times the error of the finer one; mass that
    # the boxes cut off is misplaced by about the spread of the image
    map_error = math.hypot(
        convergence.map_change / 3.0, convergence.algebraic * stretch
    ) + spread * math.sqrt(problem.truncated_mass)
    if not math.isfinite(convergence.map_change):
        reasons["map_error"] = reasons["w2_error"] = "needs two nested grids: use a finer one"
    elif not math.isfinite(convergence.algebraic):
        reasons["map_error"] = reasons["w2_error"] = "the iteration had not settled"
    if on_reference:
        # the quadrature of the inner density is a second value of the same number
        evidence_error = problem.truncated_mass + np.fmax(
            abs(constant - convergence.coarse_constant) / 3.0, abs(mass_error)
        )
    else:
        evidence_error = _quadrature_error(weight) + problem.truncated_mass
    w2_error = (
        abs(w2 - convergence.coarse_w2) / 3.0
        + 2.0 * math.sqrt(w2) * convergence.algebraic
        + problem.truncated_mass * sum(w * w for w in grid.box.widths)
    )
    certificate = Certificate(
        residual=residual,
        residual_max=float(np.abs(excess - constant)[bulk].max()),
        rounding_floor=_rounding_floor(grid, u, parts.low, weight * bulk),
        min_eigenvalue=float(parts.low[bulk].min()),
        max_eigenvalue=float(parts.high[bulk].max()),
        extension_mass=float(weight[parts.extended].sum()),
        extension_cells=int(np.count_nonzero(parts.extended)),
        floored_mass=floored_mass,
        truncated_mass=problem.truncated_mass,
        solver_constant=solver_constant,
        mass_error=mass_error,
        log_evidence_lower=lower,
        log_evidence_upper=upper,
        duality_gap=duality_gap(kernels, problem, potential, parts.gradient),
        observed_order=order,
        map_error=map_error,
        log_evidence_error=evidence_error,
        w2_error=w2_error,
        reasons=reasons,
    )
    return Judgement(log_evidence, w2, kl, kl_reverse, certificate)


def squared_distance(grid: Grid, gradient: Array, weight: Array) -> float:
    """``sum |T(y) - y|^2 nu(y)`` over the cells, without the half."""
    total = 0.0
    for k, axis in enumerate(grid.axes()):
        along = axis.reshape([-1 if j == k else 1 for j in range(grid.dim)])
        total += float(np.vdot(weight, (gradient[..., k] - along) ** 2))
    return total


def squared_spread(gradient: Array, weight: Array) -> float:
    """Trace of the covariance of the image under the map."""
    total = 0.0
    for k in range(gradient.shape[-1]):
        mean = float(np.vdot(weight, gradient[..., k]))
        total += float(np.vdot(weight, (gradient[..., k] - mean) ** 2))
    return total


def inverse_change(difference: Array, bent: Array, low: Array, high: Array, weight: Array) -> float:
    r"""Root mean square of ``H^{-1} d``: how far the inverse map moves when the map moves by d.

    With ``S`` the grid's own map and ``T`` its inverse, a change d of S at x changes T at
    ``y = S(x)`` by ``-H(x)^{-1} d(x)``, and x is distributed as y's image, so the mean is that
    under the other side's measure.

    Parameters
    ----------
    difference : ndarray, shape (*shape, d)
        ``d``, in one or two dimensions.
    bent : ndarray, shape (*shape, d)
        ``H d``.
    low, high : ndarray, shape (*shape)
        Eigenvalues of H; the small one is lifted to a ten-thousandth of the large one.
    weight : ndarray, shape (*shape)
    """
    squared = np.sum(difference**2, axis=-1)
    floor = 1e-4 * np.abs(high) + 1e-300
    # d splits into its parts along the two eigenvectors: <d, H d> = l1 |d1|^2 + l2 |d2|^2
    gap = np.where(high - low > 1e-12 * np.abs(high), high - low, np.inf)
    along_high = np.clip((np.sum(difference * bent, axis=-1) - low * squared) / gap, 0.0, squared)
    along_low = squared - along_high
    moved = along_low / np.maximum(low, floor) ** 2 + along_high / np.maximum(high, floor) ** 2
    return math.sqrt(float(np.vdot(weight, moved)))


def duality_gap(
    kernels: Any, problem: Discretisation, potential: GridPotential, gradient: Array
) -> float:
    r"""Return :math:`\int\psi\,d\nu + \int\psi^*\,dm - \int\langle y, T(y)\rangle\,d\nu`.

    The conjugate is a computed maximum at the cell centres of a grid on the inner measure's box,
    so the gap sees a potential that is not the right one: it is the sub-optimality of ``psi`` in
    the dual problem against the coupling ``(y, T(y))``.

    Parameters
    ----------
    kernels : module
        The backend.
    problem : Discretisation
    potential : GridPotential
        ``psi`` of the grid side.
    gradient : ndarray, shape (*shape, d)
        The map of the coupling at the cell centres.
    """
    grid = problem.grid
    weight = np.exp(problem.log_source) * grid.cell_volume
    most = _CONJUGATE_CELLS[grid.dim]
    image = Grid(problem.inner.box, tuple(min(n, most) for n in grid.shape))
    conjugate, _ = polished_conjugate(potential, image.axes())
    log_inner = problem.inner.log_density(kernels, image.points()).reshape(image.shape)
    inner = np.exp(log_inner - log_inner.max())
    inner /= inner.sum()
    # Half of |y|^2 and |x|^2 taken off both potentials completes the square: less cancellation,
    # and each term is periodic where the potentials less the squares are.
    values = potential.values() - 0.5 * _squares(grid)
    conjugate -= 0.5 * _squares(image)
    return (
        float(np.vdot(weight, values))
        + float(np.vdot(inner, conjugate))
        + 0.5 * squared_distance(grid, gradient, weight)
    )


def _squares(grid: Grid) -> Array:
    """``|y|^2`` at the cell centres."""
    total = np.zeros(grid.shape)
    for k, axis in enumerate(grid.axes()):
        total += (axis**2).reshape([-1 if j == k else 1 for j in range(grid.dim)])
    return total


def tail_level(source: Array, weight: Array) -> float:
    """Log density below which there is a mass of ``_TAIL``."""
    masses, edges = np.histogram(source, bins=2000, weights=weight)
    below = int(np.searchsorted(np.cumsum(masses), _TAIL))
    return float(edges[min(below, len(edges) - 2)])


def _rounding_floor(grid: Grid, u: Array, low: Array, weight: Array) -> float:
    """Root mean square of the residual's rounding: that of u in the stencil over l_1."""
    stencil = sum(4.0 / h**2 for h in grid.spacing)
    error = np.finfo(float).eps * stencil * np.abs(u) / np.maximum(low, EXTENSION)
    return float(np.sqrt(np.vdot(weight, error**2)))


def _quadrature_error(weight: Array) -> float:
    """Estimate the midpoint rule's relative error from the sub-lattices of twice the spacing.

    Half of the cells of an axis, evenly chosen, make a rule of about twice the spacing; a third of
    the largest disagreement between two halves bounds a second-order error.
    """
    total = float(weight.sum())
    worst = 0.0
    for axis in range(weight.ndim):
        lines = np.moveaxis(weight, axis, 0)
        # even against odd cells is blind where these mirror each other about the centre of the
        # box; cells {0, 3} against {1, 2} modulo 4 see that case
        for pattern in ((1.0, -1.0, 1.0, -1.0), (1.0, -1.0, -1.0, 1.0)):
            signs = np.resize(pattern, len(lines))
            worst = max(worst, abs(float(np.tensordot(signs, lines, 1).sum())) / total)
    return worst / 3.0
