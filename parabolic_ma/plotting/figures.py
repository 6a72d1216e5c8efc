"""The figure of a solution: both densities, the deformed grid of the map, convergence."""

from __future__ import annotations

import importlib.util
import itertools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from parabolic_ma.grid import Grid
from parabolic_ma.io.atomic import check_writable, replacing
from parabolic_ma.measures import Samples
from parabolic_ma.plotting import palette
from parabolic_ma.plotting.convergence import cells_text, draw_convergence, flow_times
from parabolic_ma.plotting.space import draw_space
from parabolic_ma.plotting.views import (
    BULK,
    STYLE,
    is_picture,
    level_holding,
    mesh_lines,
    short_name,
    show_density,
    view_of,
)
from parabolic_ma.status import InputError, MissingExtraError
from parabolic_ma.typing import Array

if TYPE_CHECKING:
    from parabolic_ma.solution import Solution

__all__ = ["check_picture", "plot_solution"]

FORMATS = (".png", ".pdf", ".svg", ".jpg", ".webp")

_RINGS = (0.5, 0.9, BULK)  # masses inside the level curves that are drawn


def check_picture(path: str | Path) -> None:
    """Look before the work whether a picture can be drawn and written.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    InputError
        If the file cannot be written, or its ending names no format of pictures.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtraError("Drawing a solution", "plot")
    check_writable(path)
    if Path(path).suffix.lower() not in FORMATS:
        raise InputError(
            f"cannot write a picture to {str(path)!r}; the ending must be one of "
            f"{', '.join(FORMATS)}"
        )


def plot_solution(solution: Solution, path: str | Path | None = None) -> Any:
    """Draw one figure that tells what was transported where and how well it went.

    Two dimensions: the reference density with a regular mesh on the region that holds all but 1 %
    of its mass, the target density with that mesh moved by the map (each mesh cell keeps its
    mass), and the convergence. One dimension: equal masses flowing from the reference to the
    target, the map with its slope, and the convergence. Three dimensions: the marginal densities of
    every two coordinates, with a mesh on the plane through the mean of the reference and its
    projected image, and the convergence. A line below gives the figures.

    Parameters
    ----------
    solution : Solution
        Of a problem in one to three dimensions.
    path : str or Path, optional
        Where to write the picture; its ending chooses the format (.png, .pdf, .svg, .jpg,
        .webp). Written to a temporary file first and renamed, so that a file that is there is
        whole.

    Returns
    -------
    matplotlib.figure.Figure
        Belongs to no window and no global state.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    InputError
        If the dimension is above three, or the ending is none of those above.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("Drawing a solution", "plot") from None
    dim = solution.problem.dim
    if dim > 3:
        raise InputError(
            f"the figure shows problems in one to three dimensions, this one has {dim}; "
            "plot two coordinates of solution.sample(n) instead"
        )
    if path is not None:
        check_picture(path)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12.0, 6.4 if dim == 3 else 4.6), dpi=120, facecolor="white")
        outer = figure.add_gridspec(
            1,
            3,
            width_ratios={1: [1.25, 0.85, 0.80], 2: [1.0, 1.0, 0.84], 3: [1.6, 0.01, 0.62]}[dim],
            left=0.05,
            right=0.988,
            top=0.93 if dim == 3 else 0.90,
            bottom=0.15 if dim == 3 else 0.205,
            wspace=0.36 if dim == 2 else 0.20,
        )
        if dim == 1:
            _draw_flow(figure.add_subplot(outer[0]), solution)
            inner = outer[1].subgridspec(2, 1, height_ratios=[2.4, 1.0], hspace=0.12)
            upper = figure.add_subplot(inner[0])
            _draw_map(upper, figure.add_subplot(inner[1], sharex=upper), solution)
        elif dim == 2:
            left, right = figure.add_subplot(outer[0]), figure.add_subplot(outer[1])
            _draw_densities(left, right, solution)
        else:
            panels = outer[0].subgridspec(2, 3, hspace=0.42, wspace=0.30)
            draw_space([[figure.add_subplot(panels[i, j]) for j in range(3)] for i in range(2)],
                       solution)  # fmt: skip
        # beside two rows of panels room is left below for the legend
        place = outer[2].subgridspec(2, 1, height_ratios=[1.0, 0.16])[0] if dim == 3 else outer[2]
        draw_convergence(figure.add_subplot(place), solution)
        _write_caption(figure, solution)
        if path is not None:
            with replacing(path) as temporary:
                figure.savefig(temporary)
    return figure


# ------------------------------------------------------------------------------ densities


def _show_density(ax: Any, measure: Any, grid: Grid, density: Array, side: str) -> None:
    """Draw a density with its colour bar."""
    from matplotlib.ticker import MaxNLocator

    image = show_density(ax, measure, grid, density, side)
    beside = ax.inset_axes((1.025, 0.0, 0.026, 1.0))
    # Labels stay short by a power of ten in the title of the bar.
    exponent = math.floor(math.log10(density.max()))
    exponent = 0 if -1 <= exponent <= 1 else exponent
    bar = ax.figure.colorbar(
        image,
        cax=beside,
        ticks=MaxNLocator(5),
        format=lambda value, _: f"{value / 10.0**exponent:.3g}",
    )
    bar.outline.set_visible(False)
    beside.tick_params(labelsize=7.5, length=2.0)
    unit = rf" / $10^{{{exponent}}}$" if exponent else ""
    beside.set_title(
        f"density{unit}", fontsize=7.5, fontweight="normal", color=palette.FAINT, pad=7.0
    )


def _rings(grid: Grid, density: Array) -> list[Array]:
    """Level curves of the reference that hold 50, 90 and 99 % of its mass, each ``(m, 2)``."""
    from contourpy import contour_generator

    contours = contour_generator(*grid.axes(), density.T)
    return [line for mass in _RINGS for line in contours.lines(level_holding(density, mass))]


def _moved(solution: Solution, lines: list[Array]) -> list[Array]:
    """Images of lines under the map, ``nan`` kept where it was."""
    if not lines:
        return []
    stacked = np.concatenate(lines)
    images = np.full_like(stacked, np.nan)
    known = np.isfinite(stacked[:, 0])
    images[known] = solution.map(stacked[known])
    return np.split(images, np.cumsum([len(line) for line in lines])[:-1])


def _draw_densities(left: Any, right: Any, solution: Solution) -> None:
    from matplotlib.collections import LineCollection

    problem = solution.problem
    grid_y, density_y = view_of(problem.reference, 240)
    grid_x, density_x = view_of(problem.target, 240)
    _show_density(left, problem.reference, grid_y, density_y, "reference")
    _show_density(right, problem.target, grid_x, density_x, "target")
    mesh = mesh_lines(grid_y, density_y, problem.reference.bounded)
    rings = [] if problem.reference.bounded else _rings(grid_y, density_y)
    sides = (
        (left, problem.reference, mesh, rings),
        (right, problem.target, _moved(solution, mesh), _moved(solution, rings)),
    )
    periods = _periods(solution)
    for ax, measure, lines, curves in sides:
        colour = "white" if is_picture(measure) else palette.INK
        for drawn, width, alpha in ((lines, 0.5, 0.6), (curves, 1.2, 0.9)):
            repeated = drawn if ax is left else [line + p for p in periods for line in drawn]
            collection = LineCollection(
                repeated, colors=colour, linewidths=width, alpha=alpha, capstyle="round",
                joinstyle="round", zorder=2,
            )  # fmt: skip
            ax.add_collection(collection, autolim=False)
        _scatter(ax, measure)
    left.set_title(f"Reference ν: {short_name(problem.reference)}", color=palette.REFERENCE)
    right.set_title(f"Target μ: {short_name(problem.target)}", color=palette.TARGET)
    _note(left, "a regular mesh" + ("; curves hold 50, 90, 99 %" if rings else ""))
    _note(right, "the mesh, moved by T" + (" and by whole periods" if len(periods) > 1 else ""))
    for ax, name in ((left, "y"), (right, "x")):
        ax.set_xlabel(f"${name}_1$", loc="right")
        ax.set_ylabel(f"${name}_2$")


def _periods(solution: Solution) -> list[Array]:
    """Shifts under which the image of the mesh is drawn: none, but on a torus the nearest nine."""
    dim = solution.problem.dim
    if solution.fields is None or solution.fields.potential.boundary != "periodic":
        return [np.zeros(dim)]
    potential = solution.fields.potential
    period = np.diag(potential.grid.box.widths)
    if solution.side == "reference":
        period = potential.matrix @ period
    return [period @ np.array(k) for k in itertools.product((0, -1, 1), repeat=dim)]


def _note(ax: Any, text: str) -> None:
    """Write small print below the left end of a panel."""
    ax.annotate(
        text, (0.0, 0.0), xycoords="axes fraction", xytext=(0.0, -30.0),
        textcoords="offset points", fontsize=8.0, color=palette.FAINT, va="center",
    )  # fmt: skip


def _scatter(ax: Any, measure: Any) -> None:
    """Lay a few of the data points over the density estimate made of them."""
    if not isinstance(measure, Samples):
        return
    points = np.asarray(measure.points)
    points = points[:: max(1, math.ceil(len(points) / 600))]
    ax.scatter(
        points[:, 0], points[:, 1], s=6.5, color="white", edgecolors=palette.INK, linewidths=0.5,
        zorder=3,
    )  # fmt: skip


# --------------------------------------------------------------------------- one dimension


def _draw_flow(ax: Any, solution: Solution) -> None:
    """Equal masses flowing from the reference (below) to the target (above)."""
    problem = solution.problem
    grid_y, density_y = view_of(problem.reference, 4000)
    grid_x, density_x = view_of(problem.target, 4000)
    bands = 20
    mass = np.cumsum(density_y) * grid_y.cell_volume
    edges = np.interp(np.linspace(0.0, 1.0, bands + 1)[1:-1], mass, grid_y.axis(0))
    edges = np.concatenate([[grid_y.axis(0)[0]], edges, [grid_y.axis(0)[-1]]])
    images = solution.map(edges)
    colours = palette.blend(bands)
    height = 0.85
    s = np.linspace(0.0, 1.0, 60)
    bend = s * s * (3.0 - 2.0 * s)
    y, x = grid_y.axis(0), grid_x.axis(0)
    below = -height * density_y / density_y.max()
    above = 1.0 + height * density_x / density_x.max()
    for k in range(bands):
        starts, ends = edges[k : k + 2], images[k : k + 2]
        left, right = ((1 - bend) * a + bend * b for a, b in zip(starts, ends, strict=True))
        ax.fill_betweenx(s, left, right, color=colours[k], alpha=0.55, linewidth=0)
        ax.fill_between(*_piece(y, below, *starts), 0.0, color=colours[k], linewidth=0)
        ax.fill_between(*_piece(x, above, *ends), 1.0, color=colours[k], linewidth=0)
    ax.plot(y, below, color=palette.REFERENCE, linewidth=1.3)
    ax.plot(x, above, color=palette.TARGET, linewidth=1.3)
    for level in (0.0, 1.0):
        ax.axhline(level, color=palette.INK, linewidth=0.6)
    low, high = min(edges[0], images[0]), max(edges[-1], images[-1])
    ax.set(
        xlim=(low, high), ylim=(-1.08 * height, 1.0 + 1.08 * height), yticks=[], xlabel="$y$, $x$"
    )
    ax.spines["left"].set_visible(False)
    ax.set_title(f"Each band carries {100 / bands:g} % of the mass from ν to μ")
    ax.text(0.0, 0.02, f"ν: {short_name(problem.reference)}", transform=ax.transAxes,
            color=palette.REFERENCE, fontweight="bold")  # fmt: skip
    ax.text(0.0, 0.96, f"μ: {short_name(problem.target)}", transform=ax.transAxes,
            color=palette.TARGET, fontweight="bold", va="top")  # fmt: skip


def _piece(points: Array, values: Array, start: float, end: float) -> tuple[Array, Array]:
    """The part of a curve between two abscissae, its ends interpolated."""
    inside = (points > start) & (points < end)
    x = np.concatenate([[start], points[inside], [end]])
    return x, np.interp(x, points, values)


def _draw_map(upper: Any, lower: Any, solution: Solution) -> None:
    """The map and, below it, its slope."""
    grid, density = view_of(solution.problem.reference, 1200)
    y = grid.axis(0)
    level = 0.0 if solution.problem.reference.bounded else level_holding(density, 0.9985)
    y = y[density >= level]
    upper.plot(y, solution.map(y), color=palette.INK, linewidth=1.8)
    upper.set(ylabel="$x = T(y)$")
    upper.tick_params(labelbottom=False)
    upper.set_title("The map and its slope")
    slope = np.exp(solution.map.log_abs_det_jacobian(y))
    lower.fill_between(y, slope, color=palette.FAINT, alpha=0.35, linewidth=0)
    lower.plot(y, slope, color=palette.INK, linewidth=1.0)
    lower.set(xlim=(y[0], y[-1]), ylim=(0.0, 1.08 * float(slope[np.isfinite(slope)].max())))
    lower.set(xlabel="$y$", ylabel="$T'(y)$")


def _write_caption(figure: Any, solution: Solution) -> None:
    """One line below the panels: how it ended, and the figures with their error estimates."""
    certificate = solution.certificate
    parts = [
        _with_error("log evidence", solution.log_evidence, certificate.log_evidence_error),
        _with_error("$W_2^2$", solution.w2_squared, certificate.w2_error),
        _estimate("mass error", certificate.mass_error),
        _estimate("map error", certificate.map_error),
    ]
    times = flow_times(solution.history)
    if times is not None:
        parts.append(f"$t$ {times[-1]:.6g}")
    if solution.fields is not None:
        cells = cells_text(solution.fields.potential.grid.shape)
        parts.append(f"{cells} cells, {solution.side} side")
    seconds = solution.provenance.wall_time - solution.provenance.compile_time
    if math.isfinite(seconds):
        parts.append(f"{seconds:.2g} s")
    colour = palette.GOOD if solution.converged else palette.BAD
    figure.text(
        0.012, 0.045, f"{'●' if solution.converged else '▲'} {solution.status.name}", color=colour,
        fontweight="bold", fontsize=9.5,
    )  # fmt: skip
    figure.text(0.988, 0.045, "     ".join(part for part in parts if part), ha="right")


def _with_error(name: str, value: float, error: float) -> str:
    """``name value ± error`` with no more digits than the error allows."""
    if not math.isfinite(value):
        return ""
    if not (math.isfinite(error) and error > 0):
        return f"{name} {_number(value, '.6g')}"
    if abs(value) < 0.1 * error:
        return f"{name} 0 ± {_number(error, '.1g')}"
    if abs(value) < 1e-4:
        return f"{name} {_number(value, '.1e')} ± {_number(error, '.1g')}"
    digits = min(12, max(0, 1 - math.floor(math.log10(error))))
    return f"{name} {_number(value, f'.{digits}f')} ± {_number(error, '.1g')}"


def _estimate(name: str, value: float) -> str:
    return f"{name} {_number(value, '.1e')}" if math.isfinite(value) else ""


def _number(value: float, form: str) -> str:
    """Write a number with a real minus sign and powers of ten as such."""
    mantissa, _, exponent = format(value, form).partition("e")
    text = mantissa.replace("-", "−")
    return rf"{text}$\times 10^{{{int(exponent)}}}$" if exponent else text
