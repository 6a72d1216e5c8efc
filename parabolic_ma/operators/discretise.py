"""From a transport problem to arrays: which side, which boxes, which boundary, which grids."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from parabolic_ma.backends import of_dimension
from parabolic_ma.grid import Box, Grid
from parabolic_ma.measures import GridDensity, Measure
from parabolic_ma.operators.inner import InnerDensity, inner_density
from parabolic_ma.operators.transfer import (
    coarsened,
    cubic_weights,
    level_shapes,
    overlap_weights,
    pad,
)
from parabolic_ma.problem import TransportProblem
from parabolic_ma.status import InputError
from parabolic_ma.typing import Array

__all__ = [
    "Discretisation",
    "affine_residual",
    "cell_log_density",
    "choose_side",
    "discretise",
    "interpolated",
    "log_sources",
]

_LARGEST_CUT = 1e-4  # mass that a box given by the user may cut off
_SAMPLED_CELLS = 64  # on each axis, to see whether the affine map is exact


@dataclass(frozen=True, eq=False)
class Discretisation:
    """Everything about a problem that the iteration needs, on one side's grid."""

    side: str
    boundary: str
    grid: Grid
    log_source: Array
    """Log density of the grid side's measure at the cell centres, normalised on the grid."""
    log_source_normalizer: float
    """Log of the integral of ``e^{-potential}``: exactly 0 for a normalised measure, else by the
    midpoint rule over the box."""
    inner: InnerDensity
    matrix: Array
    """Of the quadratic part, shape ``(d, d)``."""
    center: Array
    image: Array
    truncated_mass: float
    """Mass outside the boxes."""


def choose_side(problem: TransportProblem) -> str:
    """Return the side for the grid: opposite the one log-concave measure, else the reference.

    Heavy-tailed targets get the grid on the reference side, where the map is smooth.
    """
    reference, target = problem.reference.log_concave, problem.target.log_concave
    if bool(reference) != bool(target):
        if target:
            return "reference"
        return "reference" if _heavy_tailed(problem.target) else "target"
    return "reference"


def _heavy_tailed(measure: Measure) -> bool:
    if measure.bounded:
        return False
    wide, bulk = measure.support(1e-9), measure.support(0.1)
    return any(w > 20.0 * b for w, b in zip(wide.widths, bulk.widths, strict=True))


def discretise(
    problem: TransportProblem,
    shape: tuple[int, ...],
    side: str,
    boundary: str,
    tail_mass: float,
    reference_box: Box | None,
    target_box: Box | None,
    moments: bool = True,
) -> Discretisation:
    """Lay the grid and evaluate the grid side's measure on it, once.

    The quadratic part is the affine map from box to box; with ``moments`` and a free boundary it is
    that between the Gaussians with the two measures' moments.

    Raises
    ------
    InputError
        For boxes that cut off mass, potentials that are not finite, or settings that do not fit.
    """
    if side == "auto":
        side = choose_side(problem)
    on_reference = side == "reference"
    source, inner = problem.reference, problem.target
    source_box, inner_box = reference_box, target_box
    if not on_reference:
        source, inner, source_box, inner_box = inner, source, inner_box, source_box
    names = ("reference", "target") if on_reference else ("target", "reference")
    if boundary == "auto":
        boundary = "box" if inner.bounded or inner_box is not None else "free"
    elif boundary == "free" and inner.bounded:
        raise InputError(
            f'boundary="free" is for measures on all of space, and the {names[1]} '
            f'({type(inner).__name__}) lives on a box; use boundary="box"'
        )
    if boundary == "periodic":
        _check_periods((source, inner), (source_box, inner_box), names)
    box, cut = _box(source, source_box, tail_mass, names[0])
    image_box, image_cut = _box(inner, inner_box, tail_mass, names[1])
    grid = Grid(box, shape)
    log_source, log_normalizer = _evaluate(source, grid, names[0])
    if source.normalized:
        log_normalizer = 0.0
    density = inner_density(inner, image_box, shape, boundary == "periodic")
    if boundary == "free" and moments:
        matrix, center, image = _moment_matched(grid, log_source, inner)
    else:
        ratios = [b / a for a, b in zip(box.widths, density.box.widths, strict=True)]
        if boundary == "box" and inner_box is not None:
            ratios = [b / a for a, b in zip(box.widths, image_box.widths, strict=True)]
        target_center = image_box.center
        matrix, center, image = np.diag(ratios), np.array(box.center), np.array(target_center)
    return Discretisation(
        side, boundary, grid, log_source, log_normalizer, density, matrix, center, image,
        cut + (image_cut if boundary != "free" else 0.0),
    )  # fmt: skip


def _check_periods(
    measures: tuple[Measure, Measure], boxes: tuple[Box | None, Box | None], names: tuple[str, str]
) -> None:
    """Refuse measures on all of space, which have no period."""
    for measure, box, name in zip(measures, boxes, names, strict=True):
        if not measure.bounded and box is None:
            raise InputError(
                f'boundary="periodic" is for measures on a torus, and the {name} lives on all of '
                f'space; give its period as {name}_box=, or use boundary="free"'
            )


def _box(measure: Measure, given: Box | None, tail_mass: float, name: str) -> tuple[Box, float]:
    """Return the box of a measure and the mass outside it."""
    automatic = measure.support(tail_mass)
    if given is None:
        return automatic, 0.0 if measure.bounded else tail_mass
    if given.dim != measure.dim:
        raise InputError(
            f"{name}_box has {given.dim} axes and the {name} has {measure.dim}; give one "
            "(lower, upper) pair per axis"
        )
    cut = _mass_outside(measure, given, automatic)
    if cut > _LARGEST_CUT:
        raise InputError(
            f"{name}_box={list(given)} cuts off about {cut:.2g} of the {name}'s mass; at most "
            f"{_LARGEST_CUT:g} is allowed. All but {tail_mass:g} of it lies in {list(automatic)}: "
            "give a larger box, or none"
        )
    return given, cut


def _mass_outside(measure: Measure, box: Box, wide: Box) -> float:
    """Share of the mass outside ``box``, by the midpoint rule on a grid over both boxes."""
    union = box.union(wide)
    cells = {1: 4096, 2: 384, 3: 64}[measure.dim]
    grid = Grid(union, (cells,) * measure.dim)
    points = grid.points()
    log_density = -measure.potential(points)
    weight = np.exp(log_density - np.max(log_density))
    return float(weight[~box.contains(points)].sum() / weight.sum())


def _evaluate(measure: Measure, grid: Grid, name: str) -> tuple[Array, float]:
    """Log density on the grid, normalised there, and the log of its integral before that."""
    log_values = cell_log_density(measure, grid)
    bad = ~np.isfinite(log_values)
    if bad.any():
        where = grid.points()[np.argmax(bad.ravel())]
        raise InputError(
            f"the {name}'s density is zero or not finite at {where.tolist()}, inside its box "
            f"{list(grid.box)}; give {name}_box= inside its support, or a positive density"
        )
    top = float(log_values.max())
    log_normalizer = top + math.log(float(np.exp(log_values - top).sum()) * grid.cell_volume)
    return log_values - log_normalizer, log_normalizer


def interpolated(kernels: Any, log_source: Array, shape: tuple[int, ...], boundary: str) -> Array:
    """Log density at the cell centres of a coarser grid, by cubic interpolation."""
    coarse = kernels.empty(shape)
    weights = [
        kernels.asarray(w)
        for c, f in zip(shape, log_source.shape, strict=True)
        for w in cubic_weights(c, f)
    ]
    fine = kernels.asarray(pad(log_source, boundary, 2))
    of_dimension(kernels, len(shape)).interpolate(fine, coarse, *weights)
    return coarse


def cell_log_density(measure: Measure, grid: Grid) -> Array:
    """Log density at the cell centres; a `GridDensity` is averaged to a coarser grid of its box."""
    if isinstance(measure, GridDensity) and measure.box == grid.box:
        if measure.grid.shape == grid.shape:
            return np.log(measure.values)
        if all(n <= m for n, m in zip(grid.shape, measure.grid.shape, strict=True)):
            return np.log(coarsened(measure.values, grid.shape))
    return -grid.tabulate(measure.potential)


def _moment_matched(grid: Grid, log_source: Array, inner: Measure) -> tuple[Array, Array, Array]:
    """Return the affine map between the Gaussians with the two measures' moments."""
    weights = np.exp(log_source) * grid.cell_volume
    axes = grid.axes()
    marginals = [
        weights.sum(axis=tuple(j for j in range(grid.dim) if j != k)) for k in range(grid.dim)
    ]
    mean = np.array([a @ m for a, m in zip(axes, marginals, strict=True)])
    cov = np.diag([((a - c) ** 2) @ m for a, c, m in zip(axes, mean, marginals, strict=True)])
    for i in range(grid.dim):
        for j in range(i + 1, grid.dim):
            plane = weights.sum(axis=tuple(k for k in range(grid.dim) if k not in (i, j)))
            cov[i, j] = cov[j, i] = (axes[i] - mean[i]) @ plane @ (axes[j] - mean[j])
    inner_mean, inner_cov = inner.moments()
    root = _matrix_power(cov, 0.5)
    inverse_root = _matrix_power(cov, -0.5)
    matrix = inverse_root @ _matrix_power(root @ inner_cov @ root, 0.5) @ inverse_root
    return 0.5 * (matrix + matrix.T), mean, np.asarray(inner_mean, dtype=float)


def _matrix_power(matrix: Array, power: float) -> Array:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * values**power) @ vectors.T


def log_sources(kernels: Any, log_source: Array, smallest: int) -> list[Array]:
    """Average a normalised log density to every grid of the nested iteration, coarsest first.

    The shorter side of the coarsest grid has at least ``smallest`` cells.
    """
    levels = [kernels.asarray(log_source)]
    for shape in reversed(level_shapes(log_source.shape, smallest)[:-1]):
        coarse = kernels.empty(shape)
        weights = [
            kernels.asarray(w)
            for f, c in zip(levels[0].shape, shape, strict=True)
            for w in overlap_weights(f, c)
        ]
        of_dimension(kernels, len(shape)).average_log(levels[0], coarse, *weights)
        levels.insert(0, coarse)
    return levels


def affine_residual(kernels: Any, problem: Discretisation) -> float:
    """Weighted log residual of the affine map, from a sample of the cells.

    It vanishes between Gaussians and between equal measures.
    """
    grid = problem.grid
    strides = [max(1, n // _SAMPLED_CELLS) for n in grid.shape]
    sampled = tuple(slice(s // 2, None, s) for s in strides)
    axes = [a[s] for a, s in zip(grid.axes(), sampled, strict=True)]
    points = np.stack([m.ravel() for m in np.meshgrid(*axes, indexing="ij")], axis=-1)
    images = (points - problem.center) @ problem.matrix + problem.image
    log_source = problem.log_source[sampled].ravel()
    weight = np.exp(log_source - log_source.max())
    excess = problem.inner.log_density(kernels, images) - log_source
    excess -= np.average(excess, weights=weight)
    return float(np.sqrt(np.average(excess**2, weights=weight)))
