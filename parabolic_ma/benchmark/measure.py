"""How the figures are measured: processor time by part, memory, import time."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parabolic_ma import catalog
from parabolic_ma.grid import Box, Grid
from parabolic_ma.measures import GridDensity, Measure
from parabolic_ma.operators.discretise import log_sources
from parabolic_ma.problem import TransportProblem
from parabolic_ma.solution import Solution
from parabolic_ma.solvers.grid_solver import GridSolver
from parabolic_ma.solvers.nested import begin
from parabolic_ma.status import Status

__all__ = [
    "Trace",
    "best_rate",
    "best_step",
    "bytes_a_point",
    "first_use_seconds",
    "import_seconds",
    "in_child",
    "solver",
    "tabulated",
    "trace",
]

_ROWS = 64  # rows of a grid that a density is evaluated on at a time, to keep the peak low


@dataclass(frozen=True)
class Trace:
    """A solution and the processor time of its parts, in seconds, each the best of the repeats."""

    solution: Solution
    evaluation: float
    """The densities on the grids, the boxes and moments: everything before the first level."""
    levels: float
    """The source density averaged to the coarser grids, the first equation made."""
    steps: float
    """All Newton steps on all grids."""
    certificate: float
    newton: Mapping[tuple[int, ...], int]
    """Newton steps by grid, those of the cold start included, coarsest grid first."""

    @property
    def solve(self) -> float:
        """The solve alone: level set-up and all steps."""
        return self.levels + self.steps

    @property
    def total(self) -> float:
        """All of ``pma.solve`` but its bookkeeping."""
        return self.evaluation + self.solve + self.certificate

    @property
    def steps_text(self) -> str:
        """Newton steps by grid, as text."""
        return ", ".join(f"{'x'.join(map(str, grid))}: {n}" for grid, n in self.newton.items())


def solver(name: str, shape: int | tuple[int, ...], **changes: Any) -> GridSolver:
    """Return the solver of a catalog problem on another grid."""
    return GridSolver(**{**catalog.get(name).solver, "shape": shape, **changes})


def trace(problem: TransportProblem, solver: GridSolver, repeats: int = 1) -> Trace:
    """Solve a problem part by part; with repeats the first one compiles what is not compiled yet.

    Parameters
    ----------
    problem : TransportProblem
    solver : GridSolver
    repeats : int
        Runs, of which the best time of every part is kept.
    """
    runs = [_trace(problem, solver) for _ in range(repeats)]
    best = {
        part: min(getattr(run, part) for run in runs)
        for part in ("evaluation", "levels", "steps", "certificate")
    }
    return Trace(solution=runs[-1].solution, newton=runs[-1].newton, **best)


def _trace(problem: TransportProblem, solver: GridSolver) -> Trace:
    clock = time.process_time
    start = clock()
    state = solver.init(problem)
    initialised = clock()
    # The level set-up is a part of `init`: done once more to be told from the evaluation.
    plan = state.plan
    log_sources(plan.kernels, plan.problem.log_source, min(plan.sources[0].shape))
    begin(plan, None)
    levels = clock() - initialised
    newton: Counter[tuple[int, ...]] = Counter()
    steps = -clock()
    while (status := solver.terminate(problem, state)) is None:
        shape, cycles = state.equation.shape, state.cycles
        state = solver.step(problem, state)
        newton[shape] += state.cycles > cycles  # a visit that only accepts makes no step
    steps += clock()
    certificate = -clock()
    solution = solver.finish(problem, state, status)
    certificate += clock()
    return Trace(
        solution, max(initialised - start - levels, 0.0), levels, steps, certificate, newton
    )


def tabulated(problem: TransportProblem, shape: tuple[int, ...]) -> TransportProblem:
    """Put both densities of a problem on bounded boxes into tables at the centres of a grid."""
    return TransportProblem(_table(problem.reference, shape), _table(problem.target, shape))


def _table(measure: Measure, shape: tuple[int, ...]) -> GridDensity:
    box = measure.support(1e-12)
    values = np.empty(shape)
    (lower, *others), (upper, *other_uppers) = box.lower, box.upper
    height = (upper - lower) / shape[0]
    for first in range(0, shape[0], _ROWS):
        last = min(first + _ROWS, shape[0])
        part = Box((lower + first * height, *others), (lower + last * height, *other_uppers))
        points = Grid(part, (last - first, *shape[1:])).points()
        values[first:last] = np.exp(-measure.potential(points)).reshape(-1, *shape[1:])
    return GridDensity(values, box, floor=0.0)


def best_rate(function: Callable[[Any], Any], points: Any, repeats: int = 5) -> float:
    """Return the points a second of processor time, best of the repeats after a first call."""
    function(points[:10])
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function(points)
        times.append(time.process_time() - start)
    return len(points) / min(times)


def best_step(
    method: Any,
    problem: TransportProblem,
    counts: Callable[[Any, Any], bool],
    repeats: int = 3,
) -> float:
    """Return the least processor time of one step of a solver, in seconds.

    Parameters
    ----------
    method : solver
    problem : TransportProblem
    counts : callable
        Tells by the states before and after a step whether it is one to measure.
    repeats : int
        Runs, beside a first one that loads the kernels.
    """
    times = []
    for run in range(repeats + 1):
        state = method.init(problem)
        while method.terminate(problem, state) is None:
            start = time.process_time()
            following = method.step(problem, state)
            seconds = time.process_time() - start
            if run and counts(state, following):
                times.append(seconds)
            state = following
    return min(times)


def in_child(function: str, **arguments: Any) -> Any:
    """Call a function of this package in a fresh process on one thread.

    Parameters
    ----------
    function : str
        ``"module:name"``, the module being one of `parabolic_ma.benchmark`.
    **arguments
        Literals; the result must be fit for JSON.

    Raises
    ------
    RuntimeError
        If the process fails; the text is the last line of what it said.
    """
    module, _, name = function.partition(":")
    code = (
        f"import json; from parabolic_ma.benchmark import {module}; "
        f"print(json.dumps({module}.{name}(**{arguments!r})))"
    )
    return json.loads(_python(code).splitlines()[-1])


def import_seconds(repeats: int = 5) -> float:
    """Return the seconds of ``import parabolic_ma`` in a fresh interpreter, best of the repeats."""
    code = (
        "import time; start = time.perf_counter(); import parabolic_ma; "
        "print(time.perf_counter() - start)"
    )
    return min(float(_python(code)) for _ in range(repeats))


def first_use_seconds(repeats: int = 5) -> float:
    """Return the seconds of the import and a first small solve in a fresh interpreter."""
    code = (
        "import time; start = time.perf_counter(); import parabolic_ma as pma; "
        "pma.solve(pma.TransportProblem(pma.Gaussian([0, 0], 1.0), pma.Gaussian([1, 0], 0.5)), "
        "pma.GridSolver(shape=(32, 32)), progress=False); "
        "print(time.perf_counter() - start)"
    )
    return min(float(_python(code)) for _ in range(repeats))


def _python(code: str) -> str:
    """Run code in a fresh interpreter that finds this package; return what it prints."""
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **threads, "PYTHONPATH": os.pathsep.join(paths)},
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        reason = said[-1] if said else f"exit code {done.returncode}"
        raise RuntimeError(reason)
    return done.stdout


def bytes_a_point(n: int) -> dict[str, float]:
    """Measure the memory of a solve of the tabulated cosine square, in a process of its own.

    Parameters
    ----------
    n : int
        Cells on each axis.

    Returns
    -------
    dict
        Growth of the resident memory in bytes a cell, from before the solver is given the
        problem: ``"evaluation"``, ``"solve"`` and ``"certificate"`` are the peaks of these parts
        (``"exact"`` is 1 where the system can forget an earlier peak; otherwise each figure
        includes the parts before it), ``"held"`` what is held before the first step.
    """
    entry = catalog.get("cosine_square")
    small = (64, 64)
    trace(tabulated(entry.problem(), small), solver("cosine_square", small))  # kernels are loaded
    problem, method = tabulated(entry.problem(), (n, n)), solver("cosine_square", (n, n))
    exact = _forget_peak()
    base = _resident()
    peaks = {}
    state = method.init(problem)
    peaks["evaluation"], held = _peak(), _resident()
    _forget_peak()
    while (status := method.terminate(problem, state)) is None:
        state = method.step(problem, state)
    peaks["solve"] = _peak()
    _forget_peak()
    solution = method.finish(problem, state, status)
    peaks["certificate"] = _peak()
    if solution.status is not Status.CONVERGED:
        raise RuntimeError(solution.message)
    figures = {part: (peak - base) / n**2 for part, peak in peaks.items()}
    return {**figures, "held": (held - base) / n**2, "exact": float(exact)}


def _forget_peak() -> bool:
    """Start the system's record of the largest resident memory anew, where that is possible."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _resident() -> float:
    """Bytes of memory in use; nan where the system does not tell."""
    return _memory("VmRSS:")


def _peak() -> float:
    """Most bytes of memory in use so far; nan where the system does not tell."""
    return _memory("VmHWM:")


def _memory(key: str) -> float:
    try:
        facts = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return math.nan
    found = [line for line in facts.splitlines() if line.startswith(key)]
    return 1024.0 * int(found[0].split()[1]) if found else math.nan
