"""What can be said of a grid solution without knowing the true map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parabolic_ma.grid import Grid
from parabolic_ma.operators.discretise import Discretisation
from parabolic_ma.operators.legendre import polished_conjugate
from parabolic_ma.operators.monge_ampere import EXTENSION, OperatorFields
from parabolic_ma.solution import Certificate, GridPotential
from parabolic_ma.typing import Array

__all__ = ["Convergence", "Judgement", "coarse_figures", "dual_value", "judge", "tail_level"]

_TAIL = 1e-6  # mass left out where a largest or smallest value is reported
_BINS = 2000
_CONJUGATE_CELLS = {1: 4096, 2: 256, 3: 48}  # most cells an axis for the conjugate's quadrature


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
    dual: float,
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
    dual : float
        The potential's `dual_value`; it is taken before the fields of ``parts`` fill the memory.
    convergence : Convergence
    floored_mass : float
    """
    grid, source = problem.grid, kernels.asarray(problem.log_source)
    volume = grid.cell_volume
    fields = [kernels.asarray(_rows(f)) for f in (source, parts.log_det, parts.log_inner)]
    sums = _judge_sums(kernels, problem, parts, grid)
    mean, under_inner = sums.mean, sums.under_inner
    # of normalised densities: 0 but for the discretisation, whatever constants the user added
    constant = sums.log_balanced
    extrapolated = constant
    if convergence.extrapolate:
        extrapolated += (constant - convergence.coarse_constant) / 3.0
    scale = problem.inner.log_normalizer
    # 2 tanh(F / 2) = (m det - c nu) / mean: the residual for small ones, and at most 2 where the
    # potential is not convex, so that a cell of mass 1e-9 does not decide the norm
    squared, largest, smallest, biggest, rounding = kernels.residual_sums(
        *fields, *(kernels.asarray(_rows(f)) for f in (parts.low, parts.high, u)), constant,
        tail_level(kernels, source, volume), EXTENSION,
    )  # fmt: skip

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

    w2 = sums.squared_distance
    if convergence.extrapolate:
        w2 += (w2 - convergence.coarse_w2) / 3.0
    own_change = convergence.changes[-1] if convergence.changes else math.nan
    stretch = convergence.map_change / own_change if own_change > 0.0 else 1.0
    spread = math.sqrt(sums.squared_spread)
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
        evidence_error = _quadrature_error(np.exp(problem.log_source)) + problem.truncated_mass
    w2_error = (
        abs(w2 - convergence.coarse_w2) / 3.0
        + 2.0 * math.sqrt(w2) * convergence.algebraic
        + problem.truncated_mass * sum(w * w for w in grid.box.widths)
    )
    certificate = Certificate(
        residual=math.sqrt(squared * volume),
        residual_max=largest,
        rounding_floor=_rounding_floor(grid, rounding * volume),
        min_eigenvalue=smallest,
        max_eigenvalue=biggest,
        extension_mass=float(np.exp(source[parts.extended]).sum()) * volume,
        extension_cells=int(np.count_nonzero(parts.extended)),
        floored_mass=floored_mass,
        truncated_mass=problem.truncated_mass,
        solver_constant=solver_constant,
        mass_error=mass_error,
        log_evidence_lower=lower,
        log_evidence_upper=upper,
        duality_gap=dual + 0.5 * sums.squared_distance,
        observed_order=order,
        map_error=map_error,
        log_evidence_error=evidence_error,
        w2_error=w2_error,
        reasons=reasons,
    )
    return Judgement(log_evidence, w2, kl, kl_reverse, certificate)


@dataclass(frozen=True)
class _Sums:
    """Means of the operator's parts under the two measures; densities as they are, in nats."""

    mass: float
    mean: float
    """Of the log residual F under the grid side's measure."""
    under_inner: float
    """Of F under the other side's, by the change of variables."""
    log_balanced: float
    """Log of the other side's mass under the images of the cells."""
    squared_distance: float
    """``sum |T(y) - y|^2 nu(y)`` over the cells, without the half."""
    squared_spread: float
    """Trace of the covariance of the image under the map."""


def _judge_sums(
    kernels: Any,
    problem: Discretisation,
    parts: OperatorFields,
    grid: Grid,
    log_source: Array | None = None,
) -> _Sums:
    """Take the sums on the problem's grid, or on a coarser one with its own log source."""
    source = kernels.asarray(problem.log_source) if log_source is None else log_source
    *others, last = grid.axes()
    leading = (
        np.stack([m.ravel() for m in np.meshgrid(*others, indexing="ij")], axis=-1)
        if others
        else np.zeros((1, 0))
    )
    sums = kernels.judge_sums(
        *(kernels.asarray(_rows(f)) for f in (source, parts.log_det, parts.log_inner)),
        kernels.asarray(parts.gradient).reshape(-1, grid.shape[-1], grid.dim),
        *(kernels.asarray(a) for a in (leading, last, problem.image)),
    )  # fmt: skip
    volume = grid.cell_volume
    mass, mean, top, balanced, under, moved, second, *first = sums
    return _Sums(
        mass * volume,
        mean * volume,
        under / balanced,
        top + math.log(balanced * volume),
        moved * volume,
        second * volume - float(np.sum((np.array(first) * volume) ** 2)),
    )


def coarse_figures(
    kernels: Any, problem: Discretisation, grid: Grid, parts: OperatorFields, log_source: Array
) -> tuple[float, float]:
    """Squared distance and log constant on a coarser grid."""
    sums = _judge_sums(kernels, problem, parts, grid, log_source)
    return sums.squared_distance / sums.mass, sums.log_balanced - math.log(sums.mass)


def _rows(values: Array) -> Array:
    """Values on a grid as rows of cells."""
    return values.reshape(-1, values.shape[-1])


def dual_value(kernels: Any, problem: Discretisation, potential: GridPotential) -> float:
    r"""Return :math:`\int(\psi - \tfrac12|y|^2)\,d\nu + \int(\psi^* - \tfrac12|x|^2)\,dm`.

    With half of the mean of :math:`|T(y) - y|^2` it is the duality gap :math:`\int\psi\,d\nu +
    \int\psi^*\,dm - \int\langle y, T(y)\rangle\,d\nu`, up to the error of the masses' second
    moments: by how much ``psi`` falls short of the coupling ``(y, T(y))`` in the dual problem. The
    conjugate is a computed maximum at the cell centres of a grid on the inner measure's box, so it
    sees a potential that is not the right one. The squares make for less cancellation, and each
    term is periodic where the potentials less the squares are.

    Parameters
    ----------
    kernels : module
        The backend.
    problem : Discretisation
    potential : GridPotential
        ``psi`` of the grid side.
    """
    grid = problem.grid
    most = _CONJUGATE_CELLS[grid.dim]
    image = Grid(problem.inner.box, tuple(min(n, most) for n in grid.shape))
    conjugate, _ = polished_conjugate(potential, image.axes(), most=2 * most)
    log_inner = problem.inner.log_density(kernels, image.points()).reshape(image.shape)
    inner = np.exp(log_inner - log_inner.max())
    inner /= inner.sum()
    conjugate -= 0.5 * _squares(image)
    return _mean_less_square(potential, problem.log_source) + float(np.vdot(inner, conjugate))


def _mean_less_square(potential: GridPotential, log_source: Array) -> float:
    """Mean of the potential less half of ``|y|^2``, slab by slab; the quadratic by marginals."""
    grid = potential.grid
    first, *others = grid.axes()
    total = 0.0
    for part in grid.slabs():
        weight = np.exp(log_source[part])
        total += float(np.vdot(weight, potential.correction[part]))
        total += _mean_quadratic(potential, [first[part], *others], weight)
    return total * grid.cell_volume


def _mean_quadratic(potential: GridPotential, axes: Sequence[Array], weight: Array) -> float:
    """Sum of weight times the potential's quadratic part less half of ``|y|^2``."""
    dim = len(axes)
    shifted = [axis - c for axis, c in zip(axes, potential.center, strict=True)]
    total = 0.0
    for k, (axis, z) in enumerate(zip(axes, shifted, strict=True)):
        lines = weight.sum(axis=tuple(j for j in range(dim) if j != k))
        along = (0.5 * potential.matrix[k, k] * z + potential.image[k]) * z - 0.5 * axis**2
        total += float(lines @ along)
        for m in range(k):
            if potential.matrix[k, m] != 0.0:
                plane = weight.sum(axis=tuple(j for j in range(dim) if j not in (k, m)))
                total += float(potential.matrix[k, m] * (shifted[m] @ plane @ z))
    return total


def _squares(grid: Grid) -> Array:
    """``|y|^2`` at the cell centres."""
    total = np.zeros(grid.shape)
    for k, axis in enumerate(grid.axes()):
        total += (axis**2).reshape([-1 if j == k else 1 for j in range(grid.dim)])
    return total


def tail_level(kernels: Any, source: Array, volume: float) -> float:
    """Log density below which there is a mass of ``_TAIL``, to a two-thousandth of the range."""
    lowest, highest = float(source.min()), float(source.max())
    step = max(highest - lowest, 1e-300) / _BINS
    masses = kernels.mass_histogram(_rows(source), lowest, step, _BINS) * volume
    below = int(np.searchsorted(np.cumsum(masses), _TAIL))
    return lowest + min(below, _BINS - 1) * step


def _rounding_floor(grid: Grid, squared: float) -> float:
    """Root mean square of the residual's rounding: that of u in the stencil over l_1.

    ``squared`` is the mean of ``(u / l_1)^2``.
    """
    return float(np.finfo(float).eps * sum(4.0 / h**2 for h in grid.spacing) * math.sqrt(squared))


def _quadrature_error(weight: Array) -> float:
    """Estimate the midpoint rule's relative error from the sub-lattices of twice the spacing.

    Half of the cells of an axis, evenly chosen, make a rule of about twice the spacing; a third of
    the largest disagreement between two halves bounds a second-order error.
    """
    total = float(weight.sum())
    worst = 0.0
    for axis in range(weight.ndim):
        lines = weight.sum(axis=tuple(j for j in range(weight.ndim) if j != axis))
        # even against odd cells is blind where these mirror each other about the centre of the
        # box; cells {0, 3} against {1, 2} modulo 4 see that case
        for pattern in ((1.0, -1.0, 1.0, -1.0), (1.0, -1.0, -1.0, 1.0)):
            worst = max(worst, abs(float(np.resize(pattern, len(lines)) @ lines)) / total)
    return worst / 3.0
