"""Frames of the model's density while a run goes on, and the animation made of them."""

from __future__ import annotations

import importlib
import importlib.util
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from parabolic_ma.io.atomic import check_writable, replacing
from parabolic_ma.operators.grid_map import GridMap
from parabolic_ma.plotting import palette
from parabolic_ma.plotting.convergence import flow_times
from parabolic_ma.plotting.views import (
    STYLE,
    is_picture,
    log_scale,
    model_density,
    short_name,
    show_density,
    view_of,
)
from parabolic_ma.solvers.flow_state import FlowState
from parabolic_ma.status import InputError, MissingExtraError
from parabolic_ma.typing import Array

if TYPE_CHECKING:
    from parabolic_ma.problem import TransportProblem
    from parabolic_ma.solution import Solution
    from parabolic_ma.triggers import Moment

__all__ = ["FORMATS", "Recording", "check_movie"]

FORMATS = (".gif", ".mp4")

_MOST = 300  # frames
_CELLS = {1: 800, 2: 200}  # an axis, of the view
_SIZE = (9.6, 3.84)  # inches
_DPI = 100
_RAMP = 160  # colours of densities in a GIF's palette
_WHITE = 255  # last index of a GIF's palette: the one of white
_SAMPLED = 8  # frames from which the palette is made


def check_movie(path: str | Path) -> None:
    """Look before the run whether a movie can be drawn and written.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    InputError
        If the file cannot be written, its ending names no format of movies, or it is .mp4 and
        there is no ffmpeg.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtraError("Recording a movie", "plot")
    check_writable(path)
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        raise InputError(
            f"cannot write a movie to {str(path)!r}; the ending must be one of {', '.join(FORMATS)}"
        )
    if ending == ".mp4":
        import matplotlib as mpl

        program = mpl.rcParams["animation.ffmpeg_path"]
        if shutil.which(program) is None:
            raise InputError(
                f"cannot write {str(path)!r}: .mp4 is written by the program ffmpeg, and "
                f"{program!r} was not found; install it, or give a name that ends in .gif"
            )


@dataclass(frozen=True, eq=False)
class _Frame:
    step: int
    t: float
    """``nan`` for a solver of the steady state."""
    level: str
    kl: float
    density: Array
    """On the view, float32."""


class Recording:
    """Keeps frames of one run, all seen on the target's view, and makes the movie of them.

    Parameters
    ----------
    problem : TransportProblem
        In one or two dimensions.

    Raises
    ------
    InputError
        If the dimension is above two.
    """

    def __init__(self, problem: TransportProblem) -> None:
        if problem.dim not in _CELLS:
            raise InputError(
                f"a movie shows problems in one or two dimensions, this one has {problem.dim}; "
                "leave the movie out and plot two coordinates of solution.sample(n) instead"
            )
        self.problem = problem
        self.view, self.target = view_of(problem.target, _CELLS[problem.dim])
        self.frames: list[_Frame] = []
        self.stride = 1
        """Only every so many of the frames that were due is kept."""
        self.most = _MOST
        self._due = 0

    def add(self, state: Any, moment: Moment, snapshot: Callable[[], Solution]) -> None:
        """Take up a frame that is due.

        Parameters
        ----------
        state : object
            The solver's; the model of a flow is read from it.
        moment : Moment
        snapshot : callable
            Makes a solution of the state of any other solver.
        """
        self._due += 1
        if (self._due - 1) % self.stride:
            return
        row = state.progress
        if isinstance(state, FlowState):
            side = state.equation.problem.side
            transport: Any = GridMap(state.equation.potential(state.point.u), side)
            kl = float(row["kl"])
        else:
            found = snapshot()
            transport, kl = found.map, found.kl
        self._keep(moment.step, moment.time, str(row.get("level", "")), kl, transport)
        # room is left for the last state
        if len(self.frames) >= self.most:
            self.frames = self.frames[::2]
            self.stride *= 2

    def write(self, path: str | Path, fps: float, solution: Solution, step: int) -> None:
        """Make the movie, the result being its last frame, held for a second.

        Parameters
        ----------
        path : str or Path
        fps : float
            Frames a second.
        solution : Solution
        step : int
            Of the solver, at which the run ended.
        """
        last = self.frames[-1] if self.frames else None
        if last is not None and last.step == step:
            self.frames.pop()
        times = flow_times(solution.history)
        t = math.nan if times is None else float(times[-1])
        level = str(solution.history["level"][-1]) if "level" in solution.history else ""
        self._keep(step, t, level, solution.kl, solution.map)
        scene = _Scene(self, solution)
        with replacing(path) as temporary:
            write = _write_gif if temporary.suffix.lower() == ".gif" else _write_mp4
            write(temporary, scene, self.frames, fps)

    def _keep(self, step: int, t: float, level: str, kl: float, transport: Any) -> None:
        density = model_density(self.problem, transport, self.view).astype(np.float32)
        self.frames.append(_Frame(step, t, level, kl, density))


class _Scene:
    """The picture behind all frames, and what moves in it."""

    def __init__(self, recording: Recording, solution: Solution) -> None:
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.recording = recording
        self.problem = solution.problem
        self.ramp = np.empty((0, 3), dtype=np.uint8)
        """Colours of densities, evenly from none to the highest."""
        self._decimals = _decimals(recording.frames[-1].t)
        with mpl.rc_context(STYLE):
            self.figure = Figure(figsize=_SIZE, dpi=_DPI, facecolor="white")
            self.canvas = FigureCanvasAgg(self.figure)
            left = self._draw_line() if self.problem.dim == 1 else self._draw_plane()
            self._title = left.set_title(" ", color=palette.INK)
            self._draw_divergence(solution)
            self._moving = [self._density, *left.spines.values(), self._title, self._dot]
            for artist in self._moving:
                artist.set_animated(True)
            self.canvas.draw()
            self._behind = self.canvas.copy_from_bbox(self.figure.bbox)

    def _axes(self, left: float, width: float) -> Any:
        """Panel with its horizontal place in pixels."""
        across, up = _SIZE[0] * _DPI, _SIZE[1] * _DPI
        return self.figure.add_axes((left / across, 40 / up, width / across, 310 / up))

    def _draw_plane(self) -> Any:
        left, right = self._axes(34, 310), self._axes(376, 310)
        view, target = self.recording.view, self.recording.target
        image = show_density(right, self.problem.target, view, target, "target")
        # one scale in all frames, for both: a model that starts above the target is not all flat
        top = self._top(float(image.norm.vmax), 1.0 if is_picture(self.problem.target) else 2.0)
        image.norm.vmax = top
        self.ramp = (
            (255.0 * image.cmap(np.linspace(0.0, 1.0, _RAMP))[:, :3]).round().astype(np.uint8)
        )
        right.set_title(f"Target μ: {short_name(self.problem.target)}", color=palette.TARGET)
        right.tick_params(labelleft=False)
        self._density = show_density(
            left, self.problem.target, view, np.zeros(view.shape), "target", top
        )
        return left

    def _draw_line(self) -> Any:
        ax = self._axes(44, 630)
        x, target = self.recording.view.axis(0), self.recording.target
        ax.fill_between(x, target, color=palette.TARGET, alpha=0.3, linewidth=0)
        ax.plot(x, target, color=palette.TARGET, linewidth=1.0)
        (self._density,) = ax.plot(x, np.zeros_like(x), color=palette.REFERENCE, linewidth=2.0)
        ((x0, x1),) = self.recording.view.box
        ax.set(xlim=(x0, x1), ylim=(0.0, 1.08 * self._top(float(target.max()), 2.5)))
        ax.text(
            0.99, 0.975, f"target μ: {short_name(self.problem.target)}", transform=ax.transAxes,
            ha="right", va="top", color=palette.TARGET, fontweight="bold",
        )  # fmt: skip
        return ax

    def _top(self, target: float, most: float) -> float:
        """Highest density of the scale, which the model may exceed rather than flatten the rest."""
        highest = max(float(frame.density.max()) for frame in self.recording.frames)
        return min(max(highest, target), most * target)

    def _draw_divergence(self, solution: Solution) -> None:
        """KL over the whole run, for the dot to run along."""
        from matplotlib.ticker import MaxNLocator

        ax = self._axes(746, 200)
        ax.set_title("KL(ρ | μ), nats")
        times = flow_times(solution.history)
        if times is None:
            x = np.array([frame.step for frame in self.recording.frames], dtype=float)
            y = np.array([frame.kl for frame in self.recording.frames])
            ax.set_xlabel("step", loc="right", labelpad=0.0)
        else:
            x, y = times, np.asarray(solution.history["kl"], dtype=float)
            ax.set_xlabel("$t$", loc="right", labelpad=0.0)
        known = np.isfinite(y) & (y > 0.0)
        (self._dot,) = ax.plot([], [], "o", color=palette.TARGET, markersize=6.5, zorder=4)
        if known.any():
            ax.plot(x[known], y[known], color=palette.INK, linewidth=1.2, zorder=3)
            log_scale(ax, [y[known]])
        first, last = float(x[0]), float(x[-1])
        margin = 0.03 * (last - first) or 0.5
        ax.set_xlim(first - margin, last + margin)
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=times is None, steps=[1, 2, 5, 10]))
        ax.grid(axis="y", color=palette.FAINT, alpha=0.25, linewidth=0.6)
        self._against_time = times is not None

    def show(self, frame: _Frame) -> None:
        """Move everything to where it is in a frame."""
        if self.problem.dim == 1:
            self._density.set_ydata(frame.density)
        else:
            self._density.set_data(frame.density.T)
        where = f"step {frame.step}"
        if self._against_time:
            where = f"t = {frame.t:.{self._decimals}f}"
        elif frame.level:
            where += f", grid {frame.level.replace('x', '×')}"
        self._title.set_text(f"Model ρ, {where}")
        visible = math.isfinite(frame.kl) and frame.kl > 0.0
        x = frame.t if self._against_time else frame.step
        self._dot.set_data([x] if visible else [], [frame.kl] if visible else [])

    def draw(self, frame: _Frame) -> Array:
        """Draw a frame over the picture behind it."""
        self.show(frame)
        self.canvas.restore_region(self._behind)
        for artist in self._moving:
            artist.axes.draw_artist(artist)
        return np.asarray(self.canvas.buffer_rgba())[..., :3].copy()


def _decimals(last: float) -> int:
    """Decimals with which the times of a run that ends at ``last`` are written."""
    return max(0, 3 - math.floor(math.log10(last))) if math.isfinite(last) and last > 0.0 else 3


def _write_gif(path: Path, scene: _Scene, frames: list[_Frame], fps: float) -> None:
    """Write an animation of one palette, so that equal densities have equal colours throughout."""
    # by its name, because it comes with matplotlib and may be absent
    image: Any = importlib.import_module("PIL.Image")
    plain = image.Dither.NONE
    sampled = np.unique(np.linspace(0, len(frames) - 1, _SAMPLED).astype(int))
    mosaic = np.concatenate([scene.draw(frames[k]) for k in sampled])
    ramp = scene.ramp.ravel().tolist()
    count = _WHITE - len(scene.ramp)
    found = image.fromarray(mosaic).quantize(count, dither=plain).getpalette()[: 3 * count]
    palette_image = image.new("P", (1, 1))
    palette_image.putpalette(ramp + found + [255] * (768 - len(ramp) - len(found)))

    def indexed(frame: _Frame) -> Any:
        drawn = scene.draw(frame)
        indices = image.fromarray(drawn).quantize(palette=palette_image, dither=plain)
        white = image.fromarray(255 * (drawn.min(axis=-1) == 255).astype(np.uint8))
        indices.paste(_WHITE, mask=white)  # the nearest colour is only nearly found
        return indices

    drawn = [indexed(frame) for frame in frames]
    drawn[0].save(
        path, format="GIF", save_all=True, append_images=drawn[1:], loop=0, optimize=False,
        duration=[round(1000 / fps)] * (len(drawn) - 1) + [1000],
    )  # fmt: skip


def _write_mp4(path: Path, scene: _Scene, frames: list[_Frame], fps: float) -> None:
    from matplotlib.animation import FFMpegWriter

    rate: Any = fps
    writer = FFMpegWriter(fps=rate, codec="h264")
    with writer.saving(scene.figure, str(path), dpi=_DPI):
        for frame in frames + frames[-1:] * (math.ceil(fps) - 1):
            scene.show(frame)
            writer.grab_frame()
