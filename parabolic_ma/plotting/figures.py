"""The figure of a solution: both densities, the deformed grid of the map, convergence."""

from __future__ import annotations

import importlib.util
import itertools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from parabolic_ma.grid import Box, Grid
from parabolic_ma.io.atomic import check_writable, replacing
from parabolic_ma.measures import GaussianMixture, GridDensity, Potential, Samples, Uniform
from parabolic_ma.plotting import palette
from parabolic_ma.status import InputError, MissingExtraError
from parabolic_ma.typing import Array

if TYPE_CHECKING:
    from parabolic_ma.solution import Solution

__all__ = ["check_picture", "plot_solution"]

FORMATS = (".png", ".pdf", ".svg", ".jpg", ".webp")

_MESH = 24  # mesh cells across the bulk of the reference
_RINGS = (0.5, 0.9, 0.99)  # masses inside the level curves that are drawn
_NEARLY_SQUARE = 0.6  # a box with sides of at least this ratio is drawn to scale

_STYLE = {
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
    target, the map with its slope, and the convergence. A line below gives the figures.

    Parameters
    ----------
    solution : Solution
        Of a problem in one or two dimensions.
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
        If the dimension is above two, or the ending is none of those above.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("Drawing a solution", "plot") from None
    dim = solution.problem.dim
    if dim > 2:
        raise InputError(
            f"the figure shows problems in one or two dimensions, this one has {dim}; "
            "plot two coordinates of solution.sample(n) instead"
        )
    if path is not None:
        check_picture(path)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(12.0, 4.6), dpi=120, facecolor="white")
        outer = figure.add_gridspec(
            1,
            3,
            width_ratios=[1.0, 1.0, 0.84] if dim == 2 else [1.25, 0.85, 0.80],
            left=0.05,
            right=0.988,
            top=0.90,
            bottom=0.205,
            wspace=0.36 if dim == 2 else 0.20,
        )
        if dim == 1:
            _draw_flow(figure.add_subplot(outer[0]), solution)
            inner = outer[1].subgridspec(2, 1, height_ratios=[2.4, 1.0], hspace=0.12)
            upper = figure.add_subplot(inner[0])
            _draw_map(upper, figure.add_subplot(inner[1], sharex=upper), solution)
        else:
            left, right = figure.add_subplot(outer[0]), figure.add_subplot(outer[1])
            _draw_densities(left, right, solution)
        _draw_convergence(figure.add_subplot(outer[2]), solution)
        _write_caption(figure, solution)
        if path is not None:
            with replacing(path) as temporary:
                figure.savefig(temporary)
    return figure


# ------------------------------------------------------------------------------ densities


def _density(measure: Any, grid: Grid) -> Array:
    """Density of ``measure`` on ``grid``, with mass 1 on it."""
    log_density = -np.asarray(measure.potential(grid.points()), dtype=float).reshape(grid.shape)
    log_density[~np.isfinite(log_density)] = -np.inf
    density = np.exp(log_density - log_density.max())
    return density / (density.sum() * grid.cell_volume)


def _level_holding(density: Array, mass: float) -> float:
    """Level whose superlevel set is the smallest one that holds the share ``mass`` of it all."""
    values = np.sort(density.ravel())[::-1]
    held = int(np.searchsorted(np.cumsum(values), mass * values.sum()))
    return float(values[min(held, values.size - 1)])


def _view(measure: Any, cells: int) -> tuple[Grid, Array]:
    """Grid to look at ``measure`` on, zoomed to nearly all of its mass, and its density there."""
    box: Box = measure.support(1e-6)
    grid = Grid(box, (cells,) * box.dim)
    density = _density(measure, grid)
    if measure.bounded:
        return grid, density
    inside = density >= _level_holding(density, 0.9985)
    lower, upper = [], []
    for k in range(box.dim):
        others = tuple(j for j in range(box.dim) if j != k)
        where = grid.axis(k)[inside.any(axis=others)]
        margin = 0.05 * (where[-1] - where[0]) + grid.spacing[k]
        lower.append(where[0] - margin)
        upper.append(where[-1] + margin)
    view = _squared(Box(tuple(lower), tuple(upper)))
    grid = Grid(view, grid.shape)
    return grid, _density(measure, grid)


def _squared(box: Box) -> Box:
    """Widen the shorter side of a nearly square box, so that the panels are of one size."""
    widest = max(box.widths)
    if min(box.widths) < _NEARLY_SQUARE * widest:
        return box
    centre = box.center
    return Box(tuple(c - 0.5 * widest for c in centre), tuple(c + 0.5 * widest for c in centre))


def _is_picture(measure: Any) -> bool:
    """Whether bright should mean much."""
    return isinstance(measure, GridDensity)


def _show_density(ax: Any, measure: Any, grid: Grid, density: Array, side: str) -> None:
    from matplotlib.colors import PowerNorm
    from matplotlib.ticker import MaxNLocator

    picture = _is_picture(measure)
    (x0, x1), (y0, y1) = grid.box
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


def _mesh(grid: Grid, density: Array, bounded: bool) -> list[Array]:
    """Lines of a regular mesh over the bulk of the reference, each ``(m, 2)``.

    A line is ``nan`` outside the smallest region that holds 99 % of the mass: it ends there.
    """
    from scipy.ndimage import map_coordinates

    box, level = grid.box, 0.0
    if not bounded:
        level = _level_holding(density, _RINGS[-1])
        rows, columns = np.nonzero(density >= level)
        x, y = grid.axes()
        box = Box((x[rows.min()], y[columns.min()]), (x[rows.max()], y[columns.max()]))
    lines = []
    for along, across in ((0, 1), (1, 0)):
        # On a box the mesh has its sides; elsewhere the outermost ring closes it.
        inset = 0.0 if bounded else 0.5
        fractions = (np.arange(_MESH + 1 - int(2 * inset)) + inset) / _MESH
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


def _rings(grid: Grid, density: Array) -> list[Array]:
    """Level curves of the reference that hold 50, 90 and 99 % of its mass, each ``(m, 2)``."""
    from contourpy import contour_generator

    contours = contour_generator(*grid.axes(), density.T)
    return [line for mass in _RINGS for line in contours.lines(_level_holding(density, mass))]


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
    grid_y, density_y = _view(problem.reference, 240)
    grid_x, density_x = _view(problem.target, 240)
    _show_density(left, problem.reference, grid_y, density_y, "reference")
    _show_density(right, problem.target, grid_x, density_x, "target")
    mesh = _mesh(grid_y, density_y, problem.reference.bounded)
    rings = [] if problem.reference.bounded else _rings(grid_y, density_y)
    sides = (
        (left, problem.reference, mesh, rings),
        (right, problem.target, _moved(solution, mesh), _moved(solution, rings)),
    )
    periods = _periods(solution)
    for ax, measure, lines, curves in sides:
        colour = "white" if _is_picture(measure) else palette.INK
        for drawn, width, alpha in ((lines, 0.5, 0.6), (curves, 1.2, 0.9)):
            repeated = drawn if ax is left else [line + p for p in periods for line in drawn]
            collection = LineCollection(
                repeated, colors=colour, linewidths=width, alpha=alpha, capstyle="round",
                joinstyle="round", zorder=2,
            )  # fmt: skip
            ax.add_collection(collection, autolim=False)
        _scatter(ax, measure)
    left.set_title(f"Reference ν: {_name(problem.reference)}", color=palette.REFERENCE)
    right.set_title(f"Target μ: {_name(problem.target)}", color=palette.TARGET)
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


def _name(measure: Any) -> str:
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


# --------------------------------------------------------------------------- one dimension


def _draw_flow(ax: Any, solution: Solution) -> None:
    """Equal masses flowing from the reference (below) to the target (above)."""
    problem = solution.problem
    grid_y, density_y = _view(problem.reference, 4000)
    grid_x, density_x = _view(problem.target, 4000)
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
    ax.text(0.0, 0.02, f"ν: {_name(problem.reference)}", transform=ax.transAxes,
            color=palette.REFERENCE, fontweight="bold")  # fmt: skip
    ax.text(0.0, 0.96, f"μ: {_name(problem.target)}", transform=ax.transAxes,
            color=palette.TARGET, fontweight="bold", va="top")  # fmt: skip


def _piece(points: Array, values: Array, start: float, end: float) -> tuple[Array, Array]:
    """The part of a curve between two abscissae, its ends interpolated."""
    inside = (points > start) & (points < end)
    x = np.concatenate([[start], points[inside], [end]])
    return x, np.interp(x, points, values)


def _draw_map(upper: Any, lower: Any, solution: Solution) -> None:
    """The map and, below it, its slope."""
    grid, density = _view(solution.problem.reference, 1200)
    y = grid.axis(0)
    level = 0.0 if solution.problem.reference.bounded else _level_holding(density, 0.9985)
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


# ----------------------------------------------------------------------------- convergence


def _draw_convergence(ax: Any, solution: Solution) -> None:
    """Residual and mass error against the steps, with the grid of each level behind them."""
    from matplotlib.ticker import MaxNLocator

    history = solution.history
    ax.set_title("Convergence, in nats")
    ax.set_xlabel("step", loc="right")
    curves = [
        ("residual", "residual", palette.INK, "-", "o"),
        ("mass_error", "mass error", palette.GOOD, "-", None),
        ("kl", "KL(ρ | μ)", palette.TARGET, "-", None),
    ]
    drawn = []
    for name, label, colour, line, marker in curves:
        values = np.abs(np.asarray(history[name], dtype=float)) if name in history else np.empty(0)
        known = np.isfinite(values) & (values > 0)
        # One value, the result's own, makes a residual but no curve.
        if np.count_nonzero(known) < (1 if name == "residual" else 2):
            continue
        steps = np.arange(1, values.size + 1)
        ax.plot(
            steps[known], values[known], line, color=colour, marker=marker, markersize=3.2,
            linewidth=1.3, label=label, zorder=3,
        )  # fmt: skip
        drawn.append(values[known])
    if not drawn:
        ax.text(0.5, 0.5, "no steps were recorded", transform=ax.transAxes, ha="center")
        ax.set(xticks=[], yticks=[])
        return
    ax.set_yscale("log")
    # What a few times was zero to rounding must not flatten the rest.
    usual = [min(v[-1], np.quantile(v, 0.1, method="higher")) for v in drawn[1:]]
    low = max(min([drawn[0].min(), *usual]), 1e-9 * drawn[0].min())
    high = max(v.max() for v in drawn)
    decades = math.log10(high / low) + 1.0
    # Room for the grids of the levels above the curves.
    ax.set_ylim(low * 10 ** (-0.06 * decades), high * 10 ** (0.14 * decades))
    ax.set_xlim(0.5, max(history.rows, 2) + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    ax.grid(axis="y", color=palette.FAINT, alpha=0.25, linewidth=0.6)
    ax.legend(
        loc="center left", bbox_to_anchor=(-0.02, -0.135), ncols=len(drawn), fontsize=8.0,
        handlelength=1.2, handletextpad=0.4, columnspacing=0.8, borderaxespad=0.0, borderpad=0.0,
    )  # fmt: skip
    if "level" in history:
        _mark_levels(ax, history["level"])


def _mark_levels(ax: Any, levels: Array) -> None:
    """Shade every other level and write its grid ("64x64" in the history) at the top."""
    starts = np.concatenate([[0], np.flatnonzero(levels[1:] != levels[:-1]) + 1, [levels.size]])
    narrow = np.diff(starts).min() < 0.1 * levels.size
    for k, (first, last) in enumerate(itertools.pairwise(starts)):
        left, right = first + 0.5, last + 0.5
        if k % 2:
            ax.axvspan(left, right, color=palette.FAINT, alpha=0.13, linewidth=0, zorder=0)
        shape = tuple(int(n) for n in str(levels[first]).split("x"))
        ax.text(
            0.5 * (left + right), 0.985, _cells(shape), transform=ax.get_xaxis_transform(),
            ha="center", va="top", fontsize=7.5, color=palette.INK,
            rotation=90 if narrow else 0,
        )  # fmt: skip


def _cells(shape: tuple[int, ...]) -> str:
    """Write the size of a grid as short as it goes."""
    if len(shape) > 1 and len(set(shape)) == 1:
        return f"${shape[0]}^{len(shape)}$"
    return "×".join(str(n) for n in shape)


def _write_caption(figure: Any, solution: Solution) -> None:
    """One line below the panels: how it ended, and the figures with their error estimates."""
    certificate = solution.certificate
    parts = [
        _with_error("log evidence", solution.log_evidence, certificate.log_evidence_error),
        _with_error("$W_2^2$", solution.w2_squared, certificate.w2_error),
        _estimate("mass error", certificate.mass_error),
        _estimate("map error", certificate.map_error),
    ]
    if solution.fields is not None:
        cells = _cells(solution.fields.potential.grid.shape)
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
