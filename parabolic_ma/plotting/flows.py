"""The figure of a flow: divergences, the variational inequality, bounds and densities in time."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from parabolic_ma.io.atomic import replacing
from parabolic_ma.plotting import palette
from parabolic_ma.plotting.convergence import flow_times
from parabolic_ma.plotting.figures import check_picture
from parabolic_ma.plotting.views import (
    STYLE,
    level_holding,
    log_scale,
    model_density,
    short_name,
    show_density,
    view_of,
)
from parabolic_ma.solvers.grid_flow import GridFlow
from parabolic_ma.solvers.steppers import ExplicitEuler
from parabolic_ma.status import InputError, MissingExtraError
from parabolic_ma.typing import Array

if TYPE_CHECKING:
    from parabolic_ma.solution import History, Solution

__all__ = ["plot_flow"]

_CELLS = {1: 800, 2: 200}  # an axis, of the densities
_TIMES = 4  # of which densities are drawn
_HELD = (0.5, 0.9)  # masses inside the contours
_NEEDED = (
    "kl", "kl_reverse", "mass_error", "step_size", "bregman_difference", "evi_left", "evi_right",
    "log_evidence_lower", "log_evidence_upper", "rate_min", "rate_max",
)  # fmt: skip


def plot_flow(solution: Solution, path: str | Path | None = None) -> Any:
    r"""Draw one figure of what a flow did, in four panels.

    * Both divergences against time, with the rate at which the Bregman divergence
      :math:`B(\mu|\rho_t)` fell in every step; along the exact flow that is their sum.
    * Both sides of the evolution variational inequality of every step, and the slack between them.
      A slack below zero is marked: the step was no step of mirror descent, or not resolved.
    * The bounds of the log evidence, and the wider ones that the smallest and the largest rate
      give.
    * The model's density at up to four of the saved times and at the end: curves in one dimension,
      in two dimensions contours that hold 50 and 90 % of the mass.

    Parameters
    ----------
    solution : Solution
        Of a flow in one or two dimensions, of at least one step.
    path : str or Path, optional
        Where to write the picture; its ending chooses the format, as for `Solution.plot`.

    Returns
    -------
    matplotlib.figure.Figure
        Belongs to no window and no global state.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    InputError
        If the solution is none of a flow, the dimension is above two, or the file cannot be
        written.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("Drawing a flow", "plot") from None
    times = _checked_times(solution)
    if path is not None:
        check_picture(path)
    history = solution.history
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.4, 8.0), dpi=120, facecolor="white")
        panels = figure.subplots(
            2, 2,
            gridspec_kw={
                "left": 0.075, "right": 0.98, "top": 0.955, "bottom": 0.065, "wspace": 0.2,
                "hspace": 0.25,
            },
        )  # fmt: skip
        _draw_divergences(panels[0, 0], history, times)
        _draw_inequality(panels[0, 1], solution)
        _draw_evidence(panels[1, 0], solution, times)
        _draw_densities(panels[1, 1], solution, float(times[-1]))
        if path is not None:
            with replacing(path) as temporary:
                figure.savefig(temporary)
    return figure


def _checked_times(solution: Solution) -> Array:
    """Return the times of a flow's iterates; refuse what cannot be drawn."""
    times = flow_times(solution.history)
    missing = [name for name in _NEEDED if name not in solution.history]
    if times is None or missing:
        lacks = "no times of at least one step" if times is None else f"no {', '.join(missing)}"
        raise InputError(
            f"plot_flow draws the result of a flow, and this solution's history has {lacks}; "
            "solve with GridFlow(...), or draw this one with solution.plot()"
        )
    dim = solution.problem.dim
    if dim not in _CELLS:
        raise InputError(
            f"the figure shows flows in one or two dimensions, this one has {dim}; plot columns of "
            "solution.history instead"
        )
    return times


def _column(history: History, name: str) -> Array:
    return np.asarray(history[name], dtype=float)


def _finish(ax: Any, title: str, label: str) -> None:
    ax.set_title(title)
    ax.set_xlabel(label, loc="right", labelpad=1.0)
    ax.grid(axis="y", color=palette.FAINT, alpha=0.25, linewidth=0.6)


def _draw_divergences(ax: Any, history: History, times: Array) -> None:
    with np.errstate(divide="ignore", invalid="ignore"):
        fall = _column(history, "bregman_difference") / _column(history, "step_size")
    # a step's decrease belongs to the middle of the step
    middle = np.concatenate([times[:1], 0.5 * (times[1:] + times[:-1])])
    curves = [
        (times, _column(history, "kl"), "KL(ρ | μ)", palette.TARGET, "-"),
        (times, _column(history, "kl_reverse"), "KL(μ | ρ)", palette.REFERENCE, "-"),
        (middle, fall, "decrease of B(μ | ρ) per time", palette.INK, ":"),
    ]
    drawn = []
    for x, y, label, colour, line in curves:
        known = np.isfinite(y) & (y > 0.0)
        if known.any():
            ax.plot(x[known], y[known], line, color=colour, linewidth=1.4, label=label)
            drawn.append(y[known])
    log_scale(ax, drawn)
    ax.set_xlim(times[0], times[-1])
    _finish(ax, "Divergences, in nats", "$t$")
    if drawn:
        ax.legend(loc="upper right", fontsize=8.5)


def _draw_inequality(ax: Any, solution: Solution) -> None:
    from matplotlib.ticker import MaxNLocator

    history = solution.history
    left, right = _column(history, "evi_left"), _column(history, "evi_right")
    with np.errstate(invalid="ignore"):
        slack = right - left
    steps = np.arange(left.size)
    drawn = []
    for values, label, style in (
        (left, "left: KL(ρ | μ)", {"color": palette.TARGET, "linewidth": 1.4}),
        (right, "right: bound", {"color": palette.REFERENCE, "linewidth": 1.4}),
        (slack, "slack", {"color": palette.FAINT, "linestyle": "none", "marker": ".", "ms": 3.0}),
        (-slack, "slack below zero, its size", {
            "color": palette.BAD, "linestyle": "none", "marker": "v", "ms": 3.5,
        }),
    ):  # fmt: skip
        known = np.isfinite(values) & (values > 0.0)
        if known.any():
            ax.plot(steps[known], values[known], label=label, **style)
            drawn.append(values[known])
    log_scale(ax, drawn, room=0.2)  # for the legend
    ax.set_xlim(0, max(left.size - 1, 1))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7, min_n_ticks=1))
    mirror = isinstance(solution.solver, GridFlow) and isinstance(
        solution.solver.stepper, ExplicitEuler
    )
    # it is proved for mirror steps, and holds for others as far as they follow the flow
    title = "Variational inequality of each step" if mirror else "As if by mirror steps: inequality"
    _finish(ax, f"{title}, in nats", "step")
    if drawn:
        ax.legend(loc="upper right", ncols=2, fontsize=8.5)


def _draw_evidence(ax: Any, solution: Solution, times: Array) -> None:
    """Bounds of log Z, from which the log evidence is taken off, linear about zero."""
    from matplotlib.ticker import FuncFormatter, NullLocator, SymmetricalLogLocator

    history, evidence = solution.history, solution.log_evidence
    lower, upper = (_column(history, f"log_evidence_{name}") for name in ("lower", "upper"))
    # what the constants of unnormalised densities add to the logarithm of the mass
    constants = lower + _column(history, "kl") - _column(history, "mass_error")
    smallest, largest = _column(history, "rate_min"), _column(history, "rate_max")
    if solution.side == "target":
        smallest, largest = -largest, -smallest
    bounds = [lower - evidence, upper - evidence]
    known = np.isfinite(bounds[0]) & np.isfinite(bounds[1])
    if not known.any():
        ax.text(0.5, 0.5, "no bound is finite", transform=ax.transAxes, ha="center")
        return
    ends = [abs(float(b[known][-1])) for b in bounds]
    linear = 10.0 ** math.ceil(math.log10(min(max(*ends, 1e-8), 0.1)))
    ax.set_yscale("symlog", linthresh=linear, linscale=1.0)
    ax.fill_between(
        times, constants + smallest - evidence, constants + largest - evidence,
        color=palette.FAINT, alpha=0.22, linewidth=0, label="smallest and largest rate",
    )  # fmt: skip
    ax.plot(times, bounds[1], color=palette.REFERENCE, linewidth=1.4, label="upper bound")
    ax.plot(times, bounds[0], color=palette.TARGET, linewidth=1.4, label="lower bound")
    ax.axhline(0.0, color=palette.INK, linewidth=0.7)
    # spikes of the rate where there is hardly any mass do not flatten the bounds
    rates = np.abs(np.concatenate([smallest, largest]) + np.tile(constants - evidence, 2))
    shown = [*rates[np.isfinite(rates)], *np.abs(bounds)[:, known].ravel()]
    top = 2.0 * max(float(np.quantile(shown, 0.9)), float(np.abs(bounds)[:, known].max()), linear)
    ax.set_ylim(-top, top)
    ax.yaxis.set_major_locator(SymmetricalLogLocator(base=10.0, linthresh=linear))
    ax.yaxis.get_major_locator().set_params(numticks=9)
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(_power))
    ax.set_xlim(times[0], times[-1])
    sign, size = ("−", abs(evidence)) if evidence < 0.0 else ("", evidence)
    _finish(ax, "Bounds of log Z, less its value", "$t$")
    ax.text(
        0.985, 0.03, f"log Z = {sign}{size:.6g}; linear between ±{_power(linear, 0)}",
        transform=ax.transAxes, ha="right", fontsize=8.0, color=palette.INK,
    )  # fmt: skip
    ax.legend(loc="upper right", fontsize=8.5)


def _power(value: float, _: Any) -> str:
    """Write a signed power of ten."""
    if value == 0.0:
        return "0"
    sign = "−" if value < 0.0 else ""
    exponent = math.log10(abs(value))
    if abs(exponent - round(exponent)) > 1e-6:
        return f"{sign}{abs(value):.3g}"
    if -1 <= round(exponent) <= 1:
        return f"{sign}{abs(value):g}"
    return rf"{sign}$10^{{{round(exponent)}}}$"


def _draw_densities(ax: Any, solution: Solution, end: float) -> None:
    """Draw the model at saved times and at the end, over the target."""
    from matplotlib.lines import Line2D

    problem = solution.problem
    view, target = view_of(problem.target, _CELLS[problem.dim])
    states = [(t, transport) for t, transport in solution.saved if t < end * (1.0 - 1e-9)]
    if states:
        chosen = np.unique(np.linspace(0, len(states) - 1, _TIMES).astype(int))
        states = [states[k] for k in chosen]
    states.append((end, solution.map))
    colours = palette.blend(max(len(states), 2))[-len(states) :]
    densities = [model_density(problem, transport, view) for _, transport in states]
    if problem.dim == 1:
        x = view.axis(0)
        ax.fill_between(x, target, color=palette.TARGET, alpha=0.25, linewidth=0)
        for density, colour in zip(densities, colours, strict=True):
            ax.plot(x, density, color=colour, linewidth=1.5)
        top = float(target.max())
        highest = max(float(density.max()) for density in densities)
        (ends,) = view.box
        ax.set(xlim=ends, ylim=(0.0, 1.08 * min(max(highest, top), 2.5 * top)))
        ax.set_xlabel("$x$", loc="right", labelpad=1.0)
    else:
        show_density(ax, problem.target, view, target, "target")
        for density, colour in zip(densities, colours, strict=True):
            levels = sorted({level_holding(density, mass) for mass in _HELD})
            ax.contour(*view.axes(), density.T, levels=levels, colors=[colour], linewidths=1.3)
        ax.set_anchor("W")
    handles = [Line2D([], [], color=colour, linewidth=1.6) for colour in colours]
    labels = [f"$t$ = {t:.4g}" for t, _ in states]
    ax.set_title(f"Model ρ over target μ: {short_name(problem.target)}")
    # a square panel leaves room beside it
    beside = problem.dim == 2 and ax.get_aspect() != "auto"
    ax.legend(
        handles, labels, loc="upper left" if beside else "upper right", fontsize=8.5,
        bbox_to_anchor=(1.02 if beside else 1.0, 1.0), borderaxespad=0.0, alignment="left",
        title="contours hold\n50 and 90 %" if problem.dim == 2 else None, title_fontsize=8.0,
    )  # fmt: skip
