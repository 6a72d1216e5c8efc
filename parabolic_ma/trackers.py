"""What may watch a run: progress on a terminal, results written now and then, or the user's own."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO, runtime_checkable

from parabolic_ma.io.atomic import check_writable
from parabolic_ma.status import InputError
from parabolic_ma.triggers import Moment, Trigger, every

if TYPE_CHECKING:
    from parabolic_ma.problem import TransportProblem
    from parabolic_ma.solution import Solution

__all__ = ["Checkpoint", "Movie", "Progress", "Run", "Tracker"]


@dataclass(frozen=True)
class Run:
    """A running solve as a tracker sees it, after some step."""

    problem: TransportProblem
    solver: Any
    state: Any
    """The solver's own state; its ``progress`` is the last row of the history."""
    moment: Moment
    snapshot: Callable[[], Solution] = field(repr=False)
    """Finishes the current state into a solution with status INTERRUPTED; the run goes on."""

    @property
    def progress(self) -> Mapping[str, Any]:
        """The last row of the history: step, level, residual, step_size, min_eigenvalue, ..."""
        row: Mapping[str, Any] = self.state.progress
        return row


@runtime_checkable
class Tracker(Protocol):
    """Watches a run. It is called after every step and decides by itself when to act."""

    def start(self, run: Run) -> None:
        """Get ready: called once, after the solver has made its first state."""

    def handle(self, run: Run) -> None:
        """Look at the run after a step."""

    def finish(self, solution: Solution | None) -> None:
        """Clean up: called once, with the result, or None when the run ended by an exception."""


# name in the history, in a plain line, on a live line
_OF_GRIDS = (
    ("residual", "residual", "res"),
    ("step_size", "dt", "dt"),
    ("min_eigenvalue", "min eigenvalue", "eig"),
)
_OF_NETWORKS = (
    ("t", "t", "t"),
    ("kl", "KL", "KL"),
    ("loss_held_out", "held-out loss", "held-out"),
    ("logistic_loss", "logistic loss", "logistic"),
    ("score_loss", "score loss", "score"),
)


def _figures(progress: Mapping[str, Any], *, short: bool) -> str:
    """Write the figures of a step in one line; a network has no level."""
    names: tuple[tuple[str, str, str], ...] = _OF_GRIDS
    if progress and "level" not in progress:
        names = tuple(line for line in _OF_NETWORKS if line[0] in progress) or _OF_GRIDS
    digits = 1 if short else 2
    parts = [
        f"{brief if short else full} {_figure(progress.get(name), digits)}"
        for name, full, brief in names
    ]
    return "  ".join(parts)


def _figure(value: Any, digits: int) -> str:
    """Format a figure of the history for a narrow column."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.{digits}e}" if isinstance(value, float) else str(value)


class Progress:
    """Shows the step and its figures on standard error.

    Of a grid these are the level, the residual, the step size and the smallest eigenvalue; of a
    network its divergence or losses.

    On a terminal it is one live line, removed at the end. Anywhere else it is a plain line when
    the level changes and otherwise every ``interval`` seconds, so that logs stay short.

    Parameters
    ----------
    interval : float
        Seconds between plain lines.
    stream : text file, optional
        Where to write; standard error if not given.

    Raises
    ------
    InputError
        If the interval is not positive.
    """

    def __init__(self, interval: float = 30.0, stream: TextIO | None = None) -> None:
        self._trigger = every(seconds=interval)
        self._stream = stream
        self._count = 0
        self._level: Any = None
        self._live: Any = None
        self._task: Any = None

    def start(self, run: Run) -> None:
        """Open the live line on a terminal."""
        self._count, self._level = 0, None
        out = self._out()
        if not out.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Live

        self._live = Live(
            SpinnerColumn(),
            TextColumn("{task.fields[level]:>9}"),
            TextColumn("step {task.completed:<3.0f}"),
            BarColumn(bar_width=8),  # pulses: how many steps are to come is not known
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            console=Console(file=out),
            transient=True,
        )
        self._task = self._live.add_task("solve", total=None, **self._fields(run))
        self._live.start()

    def handle(self, run: Run) -> None:
        """Update the live line, or write a plain line when one is due."""
        if self._live is not None:
            self._live.update(self._task, completed=run.moment.step, **self._fields(run))
            return
        count, level = self._trigger.count(run.moment), run.progress.get("level")
        if count > self._count or level != self._level:
            self._count, self._level = count, level
            start = "" if level is None else f"{level}  "
            figures = _figures(run.progress, short=False)
            self._write(f"{start}step {run.moment.step}  {figures}  {run.moment.seconds:.1f} s")

    def compiling(self) -> None:
        """Say that kernels are being compiled, which no other line would explain."""
        line = "compiling kernels: once, about half a minute; later runs load them"
        if self._live is not None:
            self._live.console.print(f"parabolic_ma: {line}", markup=False, highlight=False)
        else:
            self._write(line)

    def finish(self, solution: Solution | None) -> None:
        """Remove the live line and say how the run ended."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        if solution is not None:
            compiling = solution.provenance.compile_time
            seconds = f"{solution.provenance.wall_time - compiling:.2f} s"
            if compiling > 0.0:
                seconds += f" and {compiling:.0f} s of compiling"
            self._write(f"{solution.status.name.lower()} in {seconds}: {solution.message}")

    def _out(self) -> TextIO:
        return self._stream if self._stream is not None else sys.stderr

    def _write(self, line: str) -> None:
        out = self._out()
        out.write(f"parabolic_ma: {line}\n")
        out.flush()

    @staticmethod
    def _fields(run: Run) -> dict[str, str]:
        level = run.progress.get("level", "")
        return {"level": str(level), "figures": _figures(run.progress, short=True)}


def _trigger(owner: str, given: Any, default: Trigger) -> Trigger:
    """Return the trigger that was given, or the default one, and refuse what is none."""
    if given is None:
        return default
    builtin = isinstance(given, type | str | list | tuple)  # those have a count of their own
    if builtin or not callable(getattr(given, "count", None)):
        raise InputError(
            f"the trigger of a {owner} is made by pma.every(...) or pma.at_times(...), "
            f"got {given!r}"
        )
    trigger: Trigger = given
    return trigger


class Checkpoint:
    """Writes the current best solution to an HDF5 file, each time replacing the last one whole.

    The file is an ordinary solution file with status INTERRUPTED until the run ends, when the final
    result takes its place. Go on from it with ``solve(problem, initial=pma.load(path))``.

    Parameters
    ----------
    path : str or Path
        The file; its folder must exist.
    trigger : Trigger, optional
        When to write; every 60 seconds if not given.

    Raises
    ------
    InputError
        If the file cannot be written, or the trigger is none.
    """

    def __init__(self, path: str | Path, trigger: Trigger | None = None) -> None:
        check_writable(path)
        self.path = Path(path)
        self.trigger = _trigger("checkpoint", trigger, every(seconds=60))
        self._count = 0

    def start(self, run: Run) -> None:
        """Count from the start of this run."""
        self._count = self.trigger.count(run.moment)

    def handle(self, run: Run) -> None:
        """Write the current state if the trigger says so."""
        count = self.trigger.count(run.moment)
        if count > self._count:
            self._count = count
            run.snapshot().save(self.path)

    def finish(self, solution: Solution | None) -> None:
        """Write the result; after an exception the last written state is kept."""
        if solution is not None:
            solution.save(self.path)


class Movie:
    """Records how the model's density approaches the target, and writes an animation of it.

    In two dimensions the model beside the target in one scale of colours, in one the model's curve
    over the target; beside them KL(rho | mu) over the run. The first and the last state are always
    frames, and the last one stays for a second. At most 300 frames are kept: of more, every second.
    The file is written when the run ends, whole or not at all, and not after an exception.

    Parameters
    ----------
    path : str or Path
        The file, ending in .gif or, where the program ffmpeg is installed, in .mp4.
    trigger : Trigger, optional
        When a frame is due; after every step if not given. A flow makes steps of very different
        lengths: ``pma.every(time=0.05)`` shows it at an even pace, if it also meets these times
        (``save_at`` of the same trigger). The steady solver has steps and seconds only, and each
        of its frames costs a judgement of the state.
    fps : float
        Frames a second.

    Raises
    ------
    InputError
        If the file cannot be written, the trigger is none, or ``fps`` is not from 1 to 50.
    MissingExtraError
        If matplotlib is not installed.

    Examples
    --------
    >>> import parabolic_ma as pma
    >>> problem = pma.TransportProblem(pma.Gaussian([0.0], 1.0), pma.Gaussian([2.0], 0.5))
    >>> movie = pma.Movie("flow.gif", pma.every(time=0.1))  # doctest: +SKIP
    >>> pma.solve(problem, pma.GridFlow(256, t_final=2.0), trackers=[movie])  # doctest: +SKIP
    """

    def __init__(self, path: str | Path, trigger: Trigger | None = None, fps: float = 12.0) -> None:
        from parabolic_ma.plotting.movie import check_movie

        check_movie(path)
        self.path = Path(path)
        self.trigger = _trigger("movie", trigger, every(steps=1))
        number = isinstance(fps, int | float) and not isinstance(fps, bool)
        if not (number and 1.0 <= fps <= 50.0):
            raise InputError(f"fps={fps!r} must be a number of frames a second, from 1 to 50")
        self.fps = float(fps)
        self._count = self._step = 0
        self._recording: Any = None

    def start(self, run: Run) -> None:
        """Take the first state as a frame."""
        from parabolic_ma.plotting.movie import Recording

        self._recording = None
        recording = Recording(run.problem)
        recording.add(run.state, run.moment, run.snapshot)
        self._recording = recording
        self._count, self._step = self.trigger.count(run.moment), run.moment.step

    def handle(self, run: Run) -> None:
        """Take a frame if the trigger says so."""
        self._step = run.moment.step
        count = self.trigger.count(run.moment)
        if count > self._count:
            self._count = count
            self._recording.add(run.state, run.moment, run.snapshot)

    def finish(self, solution: Solution | None) -> None:
        """Write the movie, with the result as its last frame."""
        recording, self._recording = self._recording, None
        if solution is None or recording is None:
            return
        recording.write(self.path, self.fps, solution, self._step)
        if recording.stride > 1:
            sys.stderr.write(
                f"parabolic_ma: {self.path.name}: more than {recording.most} frames were due, so "
                f"one in {recording.stride} of them was kept; give a trigger that fires less often "
                "to choose them\n"
            )
