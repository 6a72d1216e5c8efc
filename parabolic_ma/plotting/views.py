"""What every picture shares: its style, where to look at a measure, and how a density is drawn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from parabolic_ma.grid import Box, Grid
from parabolic_ma.maps import TransportMap
from parabolic_ma.measures import GaussianMixture, GridDensity, Potential, Samples, Uniform
from parabolic_ma.operators.grid_map import GridMap
from parabolic_ma.plotting import palette
from parabolic_ma.problem import TransportProblem
from parabolic_ma.typing import Array

__all__ = [
    "BULK",
    "STYLE",
    "density_on",
    "is_picture",
    "level_holding",
    "log_scale",
    "mesh_lines",
    "model_density",
    "short_name",
    "show_density",
    "view_of",
]

STYLE = {
    "font.size": 9.0,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": palette.FAINT,
    "axes.labelcolor": palette.INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": palette.INK,
    "xtick.color": palette.FAINT,
    "ytick.color": palette.FAINT,
    "xtick.labelcolor": palette.INK,
    "ytick.labelcolor": palette.INK,
    "legend.frameon": False,
    "mathtext.fontset": "dejavusans",
    "svg.fonttype": "none",
}

BULK = 0.99
"""Mass of the region over which a mesh is laid."""
_NEARLY_SQUARE = 0.6  # a box with sides of at least this ratio is drawn to scale
_NORMALISER = {
    1: 4096,
    2: 256,
    3: 64,
}  # cells an axis for the integral of an unnormalised reference
_OUTSIDE = 1e-6  # of a box's width: how far rounding may put an image outside it


def density_on(measure: Any, grid: Grid) -> Array:
    """Density of ``measure`` on ``grid``, with mass 1 on it."""
    log_density = -np.asarray(measure.potential(grid.points()), dtype=float).reshape(grid.shape)
    log_density[~np.isfinite(log_density)] = -np.inf
    density = np.exp(log_density - log_density.max())
    return density / (density.sum() * grid.cell_volume)


def level_holding(density: Array, mass: float) -> float:
    """Level whose superlevel set is the smallest one that holds the share ``mass`` of it all."""
    values = np.sort(density.ravel())[::-1]
    held = int(np.searchsorted(np.cumsum(values), mass * values.sum()))
    return float(values[min(held, values.size - 1)])


def view_of(measure: Any, cells: int) -> tuple[Grid, Array]:
    """Grid to look at ``measure`` on, zoomed to nearly all of its mass, and its density there."""
    box: Box = measure.support(1e-6)
    grid = Grid(box, (cells,) * box.dim)
    density = density_on(measure, grid)
    if measure.bounded:
        return grid, density
    inside = density >= level_holding(density, 0.9985)
    lower, upper = [], []
    for k in range(box.dim):
        others = tuple(j for j in range(box.dim) if j != k)
        where = grid.axis(k)[inside.any(axis=others)]
        margin = 0.05 * (where[-1] - where[0]) + grid.spacing[k]
        lower.append(where[0] - margin)
        upper.append(where[-1] + margin)
    view = _squared(Box(tuple(lower), tuple(upper)))
    grid = Grid(view, grid.shape)
    return grid, density_on(measure, grid)


def mesh_lines(grid: Grid, density: Array, bounded: bool, cells: int = 24) -> list[Array]:
    """Lines of a regular mesh over the bulk of the reference, each ``(m, 2)``.

    A line is ``nan`` outside the smallest region that holds 99 % of the mass: it ends there.
    """
    from scipy.ndimage import map_coordinates

    box, level = grid.box, 0.0
    if not bounded:
        level = level_holding(density, BULK)
        rows, columns = np.nonzero(density >= level)
        x, y = grid.axes()
        box = Box((x[rows.min()], y[columns.min()]), (x[rows.max()], y[columns.max()]))
    lines = []
    for along, across in ((0, 1), (1, 0)):
        # On a box the mesh has its sides; elsewhere the outermost ring closes it.
        inset = 0.0 if bounded else 0.5
        fractions = (np.arange(cells + 1 - int(2 * inset)) + inset) / cells
        run = np.linspace(box.lower[along], box.upper[along], 601)
        for level_line in box.lower[across] + fractions * box.widths[across]:
            points = np.empty((run.size, 2))
            points[:, along], points[:, across] = run, level_line
            index = (points - np.array(grid.box.lower)) / np.array(grid.spacing) - 0.5
            here = map_coordinates(density, index.T, order=1, mode="nearest")
            points[here < level] = np.nan
            if np.isfinite(points[:, 0]).any():
                lines.append(points)
    return lines


def _squared(box: Box) -> Box:
    """Widen the shorter side of a nearly square box, so that the panels are of one size."""
    widest = max(box.widths)
    if min(box.widths) < _NEARLY_SQUARE * widest:
        return box
    centre = box.center
    return Box(tuple(c - 0.5 * widest for c in centre), tuple(c + 0.5 * widest for c in centre))


def is_picture(measure: Any) -> bool:
    """Whether bright should mean much."""
    return isinstance(measure, GridDensity)


def show_density(
    ax: Any, measure: Any, grid: Grid, density: Array, side: str, top: float | None = None
) -> Any:
    """Draw a density in the colours of a side and return the image.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    measure : Measure
        Whose kind decides on the colours.
    grid : Grid
    density : ndarray, shape ``grid.shape``
    side : {"reference", "target"}
    top : float, optional
        Density of the darkest colour; by default from ``density``.
    """
    from matplotlib.colors import PowerNorm

    picture = is_picture(measure)
    (x0, x1), (y0, y1) = grid.box
    if top is None:
        # A constant density in the middle of the ramp leaves the mesh visible.
        top = float(density.max()) * (2.0 if isinstance(measure, Uniform) else 1.0)
    image = ax.imshow(
        density.T,
        origin="lower",
        extent=(x0, x1, y0, y1),
        cmap=palette.photograph(side) if picture else palette.ramp(side),
        # A square root keeps the tails in sight beside sharp peaks.
        norm=PowerNorm(1.0 if picture else 0.5, vmin=0.0, vmax=top),
        interpolation="nearest" if picture else "bilinear",
        aspect="auto",
        zorder=0,
    )
    to_scale = min(grid.box.widths) >= _NEARLY_SQUARE * max(grid.box.widths)
    ax.set_aspect("equal" if to_scale else "auto", adjustable="box", anchor="C")
    ax.set_facecolor(image.cmap(0.0))
    ax.set(xlim=(x0, x1), ylim=(y0, y1))
    return image


def short_name(measure: Any) -> str:
    """Short description of a measure for a title."""
    match measure:
        case GaussianMixture():
            return f"mixture of {len(measure.weights)} Gaussians"
        case Samples():
            return f"{len(measure.points)} samples"
        case Uniform():
            return "uniform"
        case GridDensity():
            return "density on a grid"
        case Potential():
            return "density" if measure.normalized else "density up to a constant"
    return type(measure).__name__


def model_density(problem: TransportProblem, transport: TransportMap, grid: Grid) -> Array:
    """Density of the reference's image under a map, on a grid of the target's side.

    With the grid of the solver on the target's side it is explicit; otherwise every cell centre is
    inverted. Where the potential is not convex there is no density: 0.

    Parameters
    ----------
    problem : TransportProblem
    transport : TransportMap
    grid : Grid
        On the target's side; all its cell centres are evaluated.
    """
    points, reference = grid.points(), problem.reference
    periods: Box | None = None
    if isinstance(transport, GridMap) and transport.grid_potential.boundary == "periodic":
        periods = reference.support(1e-12)
    explicit = isinstance(transport, GridMap) and transport.side == "target"
    y = transport.inverse(points)
    if explicit:
        log_det = transport.own_log_abs_det_jacobian(points)  # type: ignore[attr-defined]
    else:
        log_det = -transport.log_abs_det_jacobian(y)
    if periods is not None:
        y = np.array(periods.lower) + np.mod(y - np.array(periods.lower), np.array(periods.widths))
    elif reference.bounded:
        y = _into(reference.support(1e-12), y)
    log_density = log_det - np.asarray(reference.potential(y), dtype=float)
    known = np.isfinite(log_density)
    density = np.zeros(len(points))
    density[known] = np.exp(log_density[known] - _log_mass(reference))
    return density.reshape(grid.shape)


def _into(box: Box, points: Array) -> Array:
    """Put points that rounding left just outside a box onto its faces."""
    lower, upper = np.array(box.lower), np.array(box.upper)
    inside = np.clip(points, lower, upper)
    near = np.abs(inside - points) <= _OUTSIDE * (upper - lower)
    return np.where(near, inside, points)


def _log_mass(measure: Any) -> float:
    """Logarithm of the integral of a measure's density as given."""
    if measure.normalized:
        return 0.0
    box: Box = measure.support(1e-9)
    grid = Grid(box, (_NORMALISER[box.dim],) * box.dim)
    log_density = -np.asarray(measure.potential(grid.points()), dtype=float)
    top = float(log_density.max())
    return top + math.log(float(np.exp(log_density - top).sum()) * grid.cell_volume)


def log_scale(ax: Any, curves: list[Array], room: float = 0.06) -> None:
    """Make the vertical axis logarithmic, around the positive values of the curves.

    What a few times was zero to rounding does not flatten the rest; nothing is set without a curve.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    curves : list of ndarray
        Positive values, the main curve first.
    room : float
        Share of the axis above the highest value.
    """
    if not curves:
        return
    ax.set_yscale("log")
    usual = [min(v[-1], np.quantile(v, 0.1, method="higher")) for v in curves[1:]]
    low = max(min([curves[0].min(), *usual]), 1e-9 * curves[0].min())
    high = max(v.max() for v in curves)
    decades = math.log10(high / low) + 1.0
    ax.set_ylim(low * 10 ** (-0.06 * decades), high * 10 ** (room * decades))
