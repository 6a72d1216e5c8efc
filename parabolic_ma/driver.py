"""`solve`: the one loop that runs every solver."""

from __future__ import annotations

import dataclasses
import math
import platform
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parabolic_ma.backends.compilation import CompileTimer
from parabolic_ma.io.toml import problem_text
from parabolic_ma.maps import TransportMap
from parabolic_ma.problem import TransportProblem
from parabolic_ma.solution import Solution
from parabolic_ma.solvers.grid_solver import GridSolver
from parabolic_ma.solvers.neural_flow import NeuralFlow
from parabolic_ma.solvers.protocol import Solver
from parabolic_ma.status import ConvergenceError, InputError, Status
from parabolic_ma.trackers import Checkpoint, Progress, Run, Tracker
from parabolic_ma.triggers import Moment

if TYPE_CHECKING:
    from parabolic_ma.solution import Provenance

__all__ = ["default_solver", "solve", "solve_many"]

_DEFAULT_SHAPES = {1: (4096,), 2: (256, 256), 3: (64, 64, 64)}
_RECORDED = ("numpy", "scipy", "numba", "h5py")
_NO_FAILURE = (Status.CONVERGED, Status.INTERRUPTED)


def default_solver(dim: int) -> Any:
    """Return the solver that is used when none is given: a grid while there is one.

    Parameters
    ----------
    dim : int
        Dimension of the problem.
    """
    return GridSolver(shape=_DEFAULT_SHAPES[dim]) if dim in _DEFAULT_SHAPES else NeuralFlow()


def solve(
    problem: TransportProblem,
    solver: Solver | None = None,
    *,
    initial: TransportMap | Solution | None = None,
    trackers: Sequence[Tracker] = (),
    checkpoint: str | Path | Checkpoint | None = None,
    progress: bool | Progress | None = None,
    raise_on_failure: bool = True,
) -> Solution:
    """Find the Brenier map of a problem.

    Parameters
    ----------
    problem : TransportProblem
        The two measures.
    solver : GridSolver, GridFlow, SinkhornFlow, NeuralFlow or another Solver, optional
        With its settings; without one, `GridSolver` with 4096 cells in 1D, 256 x 256 in 2D and
        64 x 64 x 64 in 3D, and `NeuralFlow` above.
    initial : TransportMap or Solution, optional
        Where to start: for instance the result on a coarser grid. A flow goes on from the result of
        a flow at its time.
    trackers : sequence of Tracker
        Objects with ``start``, ``handle`` and ``finish``, called in this order.
    checkpoint : str, Path or Checkpoint, optional
        A file that always holds the best state so far: written every minute and at the end.
    progress : bool or Progress, optional
        Whether to show progress on standard error; by default only on a terminal.
    raise_on_failure : bool
        Whether a run that ends without a converged result raises. An interrupted run never does:
        it returns its last good state.

    Returns
    -------
    Solution
        The map with its certificate; ``solution.status`` says how the run ended.

    Raises
    ------
    ConvergenceError
        If the run failed; its ``solution`` holds the last good state.
    InputError
        If something given cannot be used.

    Examples
    --------
    >>> import parabolic_ma as pma
    >>> problem = pma.TransportProblem(
    ...     pma.Gaussian([0, 0], 1.0), pma.Gaussian([1, 0], [[2, 0.5], [0.5, 1]])
    ... )
    >>> solution = pma.solve(problem, pma.GridSolver(shape=(64, 64)))
    >>> solution.converged
    True
    """
    _check_problem(problem)
    if solver is None:
        solver = default_solver(problem.dim)
    _check_solver(solver)
    _check_initial(initial, problem.dim)
    watchers = _watchers(trackers, checkpoint, progress)
    begin = _Clock()
    compiling = CompileTimer(partial(_say_compiling, watchers))
    provenance = _provenance(problem, solver, begin, compiling)

    def result(state: Any, status: Status) -> Solution:
        found = solver.finish(problem, state, status)
        return dataclasses.replace(found, provenance=provenance(found.provenance))

    def look(current: Any) -> Run:
        row = current.progress
        # the first row of a flow is its start, that of a steady solver its first step
        steps = getattr(current, "step", len(current.rows))
        moment = Moment(steps, begin.wall(), float(row.get("t", math.nan)))
        return Run(problem, solver, current, moment, partial(result, current, Status.INTERRUPTED))

    outcome: list[Solution] = []

    def close(watcher: Tracker) -> None:
        watcher.finish(outcome[0] if outcome else None)

    with compiling, ExitStack() as stack:
        state = solver.init(problem, initial)
        for watcher in watchers:
            stack.callback(close, watcher)
            watcher.start(look(state))
        try:
            while (status := solver.terminate(problem, state)) is None:
                state = solver.step(problem, state)
                for watcher in watchers:
                    watcher.handle(look(state))
        except KeyboardInterrupt:
            status = Status.INTERRUPTED
        outcome.append(result(state, status))
    solution = outcome[0]
    if raise_on_failure and solution.status not in _NO_FAILURE:
        raise ConvergenceError(f"{solution.status} ({solution.message})", solution)
    return solution


def solve_many(
    problems: Iterable[TransportProblem],
    solver: Solver | None = None,
    *,
    raise_on_failure: bool = True,
) -> list[Solution]:
    """Solve problems of one dimension with one solver, one after the other.

    Kernels are compiled once, and every problem uses the solver's grid shape.

    Parameters
    ----------
    problems : iterable of TransportProblem
        All of the same dimension.
    solver : GridSolver, optional
        As in `solve`.
    raise_on_failure : bool
        Whether the first problem that fails raises; otherwise every solution has its status.

    Returns
    -------
    list of Solution
        In the order of the problems.

    Raises
    ------
    InputError
        If the dimensions differ.
    ConvergenceError
        If a run failed.
    """
    if isinstance(problems, TransportProblem) or not isinstance(problems, Iterable):
        raise InputError(
            f"solve_many takes a list of problems, got {type(problems).__name__}; for one problem "
            "use solve"
        )
    problems = list(problems)
    for problem in problems:
        _check_problem(problem)
    dims = [problem.dim for problem in problems]
    if len(set(dims)) > 1:
        raise InputError(
            f"solve_many takes problems of one dimension, got dimensions {dims}; call it once for "
            "each dimension"
        )
    return [solve(p, solver, progress=False, raise_on_failure=raise_on_failure) for p in problems]


def _check_problem(problem: object) -> None:
    """Refuse what is no problem."""
    if not isinstance(problem, TransportProblem):
        raise InputError(
            f"problem must be a TransportProblem(reference, target), got {_kind(problem)}; a "
            'problem of the catalog is catalog.get("name").problem()'
        )


def _check_solver(solver: object) -> None:
    """Refuse what does not work as a solver."""
    methods = ("init", "step", "terminate", "finish")
    if isinstance(solver, type) or not all(callable(getattr(solver, m, None)) for m in methods):
        raise InputError(
            f"solver must be a solver such as GridSolver(shape=(256, 256)), got {_kind(solver)}"
        )


def _check_initial(initial: object, dim: int) -> None:
    """Refuse a start that is no map, or one of another dimension."""
    if initial is None:
        return
    transport = initial.map if isinstance(initial, Solution) else initial
    if isinstance(transport, type) or not isinstance(transport, TransportMap):
        raise InputError(
            f"initial must be a Solution or a map such as Affine(A, b), got {_kind(initial)}; a "
            "file is read by load(path)"
        )
    if transport.dim != dim:
        raise InputError(
            f"initial is a map in dimension {transport.dim} and the problem has dimension {dim}; "
            "start from a map in the same dimension"
        )


def _kind(value: object) -> str:
    """Name what was given in the place of something else."""
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


class _Clock:
    """Wall and process time since it was made."""

    def __init__(self) -> None:
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def wall(self) -> float:
        return time.perf_counter() - self._wall

    def cpu(self) -> float:
        return time.process_time() - self._cpu


def _watchers(
    trackers: Sequence[Tracker],
    checkpoint: str | Path | Checkpoint | None,
    progress: bool | Progress | None,
) -> list[Tracker]:
    """Put the trackers, the checkpoint and the progress display in one list."""
    if isinstance(trackers, Tracker) or not isinstance(trackers, Iterable):
        raise InputError(
            f"trackers is a list of trackers, got {_kind(trackers)}; put a single one into brackets"
        )
    watchers = list(trackers)
    for watcher in watchers:
        if isinstance(watcher, type) or not isinstance(watcher, Tracker):
            raise InputError(f"a tracker has the methods start, handle and finish; got {watcher!r}")
    if not (progress is None or isinstance(progress, bool | Progress)):
        raise InputError(f"progress is True, False, None or a Progress, got {progress!r}")
    if checkpoint is not None:
        watchers.append(
            checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)
        )
    if isinstance(progress, Progress):
        watchers.append(progress)
    elif progress or (progress is None and sys.stderr is not None and sys.stderr.isatty()):
        watchers.append(Progress())
    return watchers


def _say_compiling(watchers: Sequence[Tracker]) -> None:
    """Tell who shows progress why nothing moves for a while."""
    for watcher in watchers:
        if isinstance(watcher, Progress):
            watcher.compiling()


def _provenance(
    problem: TransportProblem, solver: Any, clock: _Clock, compiling: CompileTimer
) -> Any:
    """Return a function that completes a solver's own provenance with what the driver knows."""
    text = problem_text(problem)

    def complete(own: Provenance) -> Provenance:
        return dataclasses.replace(
            own,
            problem_toml=text,
            solver=repr(solver),
            backend=own.backend or str(getattr(solver, "backend", "")),
            wall_time=clock.wall(),
            cpu_time=clock.cpu(),
            compile_time=compiling.seconds,
            started=clock.started,
            host=platform.node(),
            platform=platform.platform(),
            versions=_versions(),
            command=tuple(sys.argv),
        )

    return complete


@cache
def _versions() -> dict[str, str]:
    """Versions of this package, Python and the libraries behind the numbers."""
    import parabolic_ma

    found = {"parabolic_ma": parabolic_ma.__version__, "python": platform.python_version()}
    for name in _RECORDED:
        found[name] = metadata.version(name)
    return found
