"""The panel of convergence: against the steps of an iteration, or against the time of a flow."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from parabolic_ma.plotting import palette
from parabolic_ma.plotting.views import log_scale
from parabolic_ma.typing import Array

if TYPE_CHECKING:
    from parabolic_ma.solution import History, Solution

__all__ = ["cells_text", "draw_convergence", "flow_times"]

_STEPS = (
    ("residual", "residual", palette.INK, "-", "o"),
    ("mass_error", "mass error", palette.GOOD, "-", None),
    ("kl", "KL(ρ | μ)", palette.TARGET, "-", None),
)
_TIMES = (
    ("kl", "KL(ρ | μ)", palette.TARGET, "-", None),
    ("kl_reverse", "KL(μ | ρ)", palette.REFERENCE, "-", None),
    ("kl_average", "KL(mean of ρ | μ)", palette.INK, "--", None),
    ("mass_error", "mass error", palette.GOOD, ":", None),
    ("kl_estimate", "KL(ρ | μ), learned", palette.TARGET, ":", None),
    ("kl_reverse_estimate", "KL(μ | ρ), learned", palette.REFERENCE, ":", None),
    ("jensen_shannon", "JS, learned", palette.INK, "-", None),
)
_LOSSES = (
    ("loss", "training", palette.FAINT),
    ("loss_held_out", "held-out data", palette.TARGET),
)


def flow_times(history: History) -> Array | None:
    """Return the times of a flow's iterates, or None of what is no flow."""
    if "t" not in history:
        return None
    times = np.asarray(history["t"], dtype=float)
    return times if times.size > 1 and np.isfinite(times).all() else None


def draw_convergence(ax: Any, solution: Solution) -> None:
    """Draw the divergences of a flow against its time, or the residual of an iteration by step.

    Behind the steps of an iteration is the grid of each level.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    solution : Solution
    """
    ax.set_title("Convergence, in nats")
    times = flow_times(solution.history)
    if "loss_held_out" in solution.history:
        _draw_losses(ax, solution.history)
    elif times is None:
        _draw_steps(ax, solution.history)
    else:
        _draw_times(ax, solution.history, times)


def cells_text(shape: tuple[int, ...]) -> str:
    """Write the size of a grid as short as it goes."""
    if len(shape) > 1 and len(set(shape)) == 1:
        return f"${shape[0]}^{len(shape)}$"
    return "×".join(str(n) for n in shape)


def _draw_curves(
    ax: Any, history: History, abscissae: Array, curves: tuple[Any, ...]
) -> list[Array]:
    """Draw columns of the history that have values, and return those that were drawn."""
    drawn: list[Array] = []
    for name, label, colour, line, marker in curves:
        values = np.abs(np.asarray(history[name], dtype=float)) if name in history else np.empty(0)
        known = np.isfinite(values) & (values > 0)
        # One value, the result's own, makes a residual but no curve.
        if np.count_nonzero(known) < (1 if name == "residual" else 2):
            continue
        ax.plot(
            abscissae[known], values[known], line, color=colour, marker=marker, markersize=3.2,
            linewidth=1.3, label=label, zorder=3,
        )  # fmt: skip
        drawn.append(values[known])
    if not drawn:
        ax.text(0.5, 0.5, "no steps were recorded", transform=ax.transAxes, ha="center")
        ax.set(xticks=[], yticks=[])
        return drawn
    ax.grid(axis="y", color=palette.FAINT, alpha=0.25, linewidth=0.6)
    return drawn


def _draw_times(ax: Any, history: History, times: Array) -> None:
    ax.set_xlabel("$t$", loc="right")
    drawn = _draw_curves(ax, history, times, _TIMES)
    if not drawn:
        return
    log_scale(ax, drawn)
    ax.set_xlim(times[0], times[-1])
    ax.legend(
        loc="upper left", bbox_to_anchor=(-0.02, -0.085), ncols=2, fontsize=8.0,
        handlelength=1.6, handletextpad=0.4, columnspacing=0.8, labelspacing=0.25,
        borderaxespad=0.0, borderpad=0.0,
    )  # fmt: skip


def _draw_losses(ax: Any, history: History) -> None:
    """Draw what is minimised over data, on a linear scale: it may be negative."""
    from matplotlib.ticker import MaxNLocator

    ax.set_title("Loss")
    ax.set_xlabel("step", loc="right")
    drawn = []
    for name, label, colour in _LOSSES:
        if name in history:
            drawn.append(np.asarray(history[name], dtype=float))
            ax.plot(np.arange(1, history.rows + 1), drawn[-1], color=colour, label=label, zorder=3)
    # the first steps would leave no room for the rest
    low = min(float(np.nanmin(values)) for values in drawn)
    high = max(float(np.nanquantile(values, 0.8)) for values in drawn)
    room = max(high - low, 1e-3)
    ax.set_ylim(low - 0.1 * room, high + 0.4 * room)
    ax.set_xlim(0.5, max(history.rows, 2) + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    ax.grid(axis="y", color=palette.FAINT, alpha=0.25, linewidth=0.6)
    ax.legend(loc="upper right", fontsize=8.0)


def _draw_steps(ax: Any, history: History) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.set_xlabel("step", loc="right")
    drawn = _draw_curves(ax, history, np.arange(1, history.rows + 1), _STEPS)
    if not drawn:
        return
    log_scale(ax, drawn, room=0.14)  # for the grids of the levels above the curves
    ax.set_xlim(0.5, max(history.rows, 2) + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
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
            0.5 * (left + right), 0.985, cells_text(shape), transform=ax.get_xaxis_transform(),
            ha="center", va="top", fontsize=7.5, color=palette.INK,
            rotation=90 if narrow else 0,
        )  # fmt: skip
