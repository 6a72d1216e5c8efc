"""The command line, ``parabolic-ma``.

Data goes to standard output, progress and summaries of written files to standard error. Exit codes:
0 converged or done, 1 a comparison outside --max, 2 bad usage or input, 3 not converged (the file
is written, and says so), 70 a fault of the program, 130 interrupted (the last good state is
written).
"""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import cyclopts
import numpy as np
from cyclopts import Parameter

import parabolic_ma
from parabolic_ma.cli_compare import compare
from parabolic_ma.cli_solve import solve
from parabolic_ma.console import BAD_INPUT, DONE, FAULT, STOPPED, facts, print_json, say, times
from parabolic_ma.io.atomic import check_outputs
from parabolic_ma.points import generator
from parabolic_ma.status import InputError, ParabolicMAError

if TYPE_CHECKING:
    from parabolic_ma.grid import Box
    from parabolic_ma.solution import Solution
    from parabolic_ma.typing import Array

__all__ = ["app", "main", "run"]

_TRACE = "PARABOLIC_MA_TRACE"  # environment variable: let faults of the program end in a traceback
_CHUNK = 1 << 20  # points worked on at a time

app = cyclopts.App(
    name="parabolic-ma",
    help="Brenier maps by the parabolic Monge-Ampère equation, with error estimates.",
    version=parabolic_ma.__version__,
)
catalog_app = cyclopts.App(name="catalog", help="Problems that come with the package.")
app.command(catalog_app)
app.command(solve)
app.command(compare)

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code; the arguments are as for `run`."""
    # A batch system that stops the job gets what an interrupt gets: files whole, the state written.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; those of the process if not given.

    Returns
    -------
    int
        The exit code.
    """
    try:
        code = app(
            arguments,
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except cyclopts.CycloptsError as error:
        say(f"error: {error}")
        say("see: parabolic-ma --help")
        return BAD_INPUT
    except (ParabolicMAError, OSError) as error:
        if isinstance(error, BrokenPipeError):  # the reader of our output, such as head, is done
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return DONE
        say(f"error: {error}")
        return BAD_INPUT
    except MemoryError as error:
        say(f"error: out of memory: {error}; use a smaller grid, or fewer points at a time")
        return BAD_INPUT
    except KeyboardInterrupt:
        say("interrupted")
        return STOPPED
    except Exception as error:  # a fault of this package: one line, and the trace for who wants it
        if os.environ.get(_TRACE):
            raise
        say(f"error: {type(error).__name__}: {error}")
        say(f"this is a fault of the program; {_TRACE}=1 shows where, please report it with that")
        return FAULT
    return code if isinstance(code, int) else DONE


@app.command
def info(file: Path, /, *, json: Json = False) -> int:
    """Say what a solution file holds.

    Parameters
    ----------
    file
        A solution file.
    json
        Print everything as JSON.
    """
    solution = parabolic_ma.load(file)
    if json:
        print_json({"file": str(file), **facts(solution)})
        return DONE
    p = solution.provenance
    print(f"{file}")
    print(solution.summary())
    print(solution.certificate)
    if solution.saved:
        print(f"Saved at t = {times(solution)}")
    print("Provenance")
    for name, value in {
        "solver": p.solver,
        "started": p.started,
        "time": f"{p.wall_time:.3g} s ({p.cpu_time:.3g} s of processor, {p.compile_time:.3g} s of "
        f"compiling), {p.threads} thread(s)",
        "machine": f"{p.host} ({p.platform})",
        "versions": ", ".join(f"{name} {version}" for name, version in p.versions.items()),
        "command": " ".join(p.command),
        "steps": solution.history.rows,
    }.items():
        print(f"  {name:<19} {value}")
    print("Problem")
    print("\n".join(f"  {line}" for line in p.problem_toml.splitlines()))
    return DONE


@app.command
def plot(file: Path, /, *, output: Annotated[Path, Parameter(name=["--output", "-o"])]) -> int:
    """Draw a solution: both densities, the deformed grid, the convergence.

    Parameters
    ----------
    file
        A solution file.
    output
        The picture; its ending chooses the format.
    """
    from parabolic_ma.plotting.figures import check_picture

    check_outputs([output], inputs=[file])
    check_picture(output)
    parabolic_ma.load(file).plot(output)
    say(f"wrote {output}")
    return DONE


@app.command
def sample(
    file: Path,
    /,
    *,
    number: Annotated[float, Parameter(name=["--number", "-n"])],
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    at: float | None = None,
    rng: int | None = None,
    threads: int = 1,
) -> int:
    """Draw points of the model, the image of the reference under the map.

    Parameters
    ----------
    file
        A solution file.
    number
        How many; 1e6 is fine.
    output
        Where to: csv, npy or h5; standard output as csv if not given.
    at
        Use the map that a flow saved at this time, instead of the last one.
    rng
        Seed: the same seed gives the same points.
    threads
        Most threads to use.
    """
    if not (math.isfinite(number) and number >= 1 and number == math.floor(number)):
        raise InputError(f"-n must be a positive whole number of points, got {number:g}")
    check_outputs([output], inputs=[file])
    solution = _load_map(file, threads, at)
    from parabolic_ma.io.pointfiles import PointWriter

    total, outside = int(number), 0
    random = generator(rng)
    with PointWriter(output, total, solution.problem.dim) as writer:
        for first in range(0, total, _CHUNK):
            y = solution.problem.reference.sample(min(_CHUNK, total - first), random)
            x = solution.map(y)
            outside += _outside(solution, y, x)
            writer.append(x)
    _summary(solution, "drew", total, outside, output)
    return DONE


@app.command
def push(
    file: Path,
    points: Path,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    inverse: Annotated[bool, Parameter(negative="")] = False,
    at: float | None = None,
    shard: str | None = None,
    columns: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    key: str | None = None,
    threads: int = 1,
) -> int:
    """Carry points through the map.

    Parameters
    ----------
    file
        A solution file.
    points
        Points of the reference (of the target with --inverse), one a row: csv, npy, npz or h5.
    output
        Where to: csv, npy or h5; standard output as csv if not given.
    inverse
        Carry points of the target back to the reference.
    at
        Use the map that a flow saved at this time, instead of the last one.
    shard
        Only part i of n, as i/n with i from 1 to n: for several processes at once.
    columns
        Columns of the table to use, by name or by number from 0.
    key
        Array of the npz or dataset of the h5 file.
    threads
        Most threads to use.
    """
    part, parts = _parse_shard(shard)
    check_outputs([output], inputs=[file, points])
    solution = _load_map(file, threads, at)
    from parabolic_ma.io.pointfiles import PointReader, PointWriter

    names = None if columns is None else [int(c) if c.isdecimal() else c for c in columns]
    reader = PointReader(points, names, key)
    dim = solution.problem.dim
    if reader.dim != dim:
        raise InputError(
            f"{points} has {reader.dim} columns and the map has dimension {dim}; choose columns "
            "with --columns"
        )
    start, stop = (reader.rows * k // parts for k in (part - 1, part))
    outside = unusable = 0
    with PointWriter(output, stop - start, dim, "y" if inverse else "x") as writer:
        for given in reader.chunks(start, stop, _CHUNK):
            carried = solution.map.inverse(given) if inverse else solution.map(given)
            y, x = (carried, given) if inverse else (given, carried)
            unusable += len(given) - int(np.count_nonzero(np.isfinite(given).all(axis=1)))
            outside += _outside(solution, y, x)
            writer.append(carried)
    _summary(solution, "carried", stop - start, outside, output)
    if unusable:
        say(f"{unusable} of them are not finite, and so are their images")
    return DONE


@app.command
def convert(
    file: Path,
    /,
    *,
    to: Literal["netcdf", "csv", "arviz"],
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    number: Annotated[float, Parameter(name=["--number", "-n"])] = 4000,
    rng: int = 0,
) -> int:
    """Write a solution in the form of other tools.

    Parameters
    ----------
    file
        A solution file.
    to
        netcdf: the fields for netCDF readers and ParaView; csv: the fields as a table; arviz:
        samples as a posterior group.
    output
        The file to write; by default next to the solution, with .nc or .csv.
    number
        Samples for arviz, in 4 chains.
    rng
        Seed of the samples.
    """
    from parabolic_ma.io import export

    output = output or file.with_suffix(".csv" if to == "csv" else ".nc")
    check_outputs([output], inputs=[file])
    solution = parabolic_ma.load(file)
    if to == "arviz":
        if not (number >= 4 and number % 4 == 0):
            raise InputError(f"-n must be a multiple of 4, for 4 chains; got {number:g}")
        export.to_arviz(solution, output, draws=int(number) // 4, chains=4, rng=rng)
    elif to == "csv":
        export.to_csv(solution, output)
    else:
        export.to_netcdf(solution, output)
    say(f"wrote {output}")
    return DONE


@app.command
def backends(*, json: Json = False) -> int:
    """List the backends, whether each can be used here, and what it is.

    Parameters
    ----------
    json
        Print JSON.
    """
    from parabolic_ma import backends as registry

    found = registry.available()
    if json:
        print_json([dataclasses.asdict(backend) for backend in found])
    else:
        for backend in found:
            print(f"{backend.name:<8} {'yes' if backend.usable else 'no':<4} {backend.description}")
    return DONE


@app.command
def bench(
    *names: str, quick: Annotated[bool, Parameter(negative="")] = False, json: Json = False
) -> int:
    """Measure accuracy and speed on the benchmark problems.

    Parameters
    ----------
    names
        The cases to measure; all of them if not given.
    quick
        Use coarse grids, with goals of accuracy to match and none for times.
    json
        Print JSON.
    """
    from parabolic_ma import benchmark

    rows = benchmark.run(names, quick, report=lambda name: say(f"bench {name}"))
    if json:
        print_json(benchmark.as_json(rows))
    else:
        from rich.console import Console

        Console(width=None if sys.stdout.isatty() else 160).print(benchmark.as_table(rows))
    return DONE


def _outside(solution: Solution, y: Array, x: Array) -> int:
    """Count the points at which the map was continued beyond the box of its grid."""
    from parabolic_ma.operators.grid_map import GridMap

    transport = solution.map
    if not isinstance(transport, GridMap) or transport.grid_potential.boundary == "periodic":
        return 0
    box: Box = transport.grid_potential.grid.box
    own = y if solution.side == "reference" else x
    return len(own) - int(np.count_nonzero(box.contains(own)))


def _summary(solution: Solution, verb: str, total: int, outside: int, output: Path | None) -> None:
    where = "" if output is None else f", wrote {output}"
    remark = ""
    if solution.fields is not None:  # a network has no box
        remark = f"; {outside} lay outside the box of the grid, where the map is continued affinely"
    say(f"{verb} {total} points{where}{remark}")


def _parse_shard(shard: str | None) -> tuple[int, int]:
    """Return i and n of ``i/n``."""
    if shard is None:
        return 1, 1
    part, _, parts = shard.partition("/")
    if part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts):
        return int(part), int(parts)
    raise InputError(f"--shard is i/n with i from 1 to n, such as 1/4; got {shard!r}")


def _load_map(file: Path, threads: int, at: float | None) -> Solution:
    """Read a solution whose map, of a flow at the time ``at``, works on several threads."""
    from parabolic_ma.operators.grid_map import GridMap

    if threads < 1:
        raise InputError(f"--threads must be at least 1, got {threads}")
    solution = parabolic_ma.load(file)
    if at is not None:
        solution = _at(solution, at)
    if isinstance(solution.map, GridMap):
        transport = dataclasses.replace(solution.map, threads=threads)
        solution = dataclasses.replace(solution, map=transport)
    return solution


def _at(solution: Solution, t: float) -> Solution:
    """Return a solution with the map that a flow had at a saved time, or at its end."""
    from parabolic_ma.solvers.flow_state import at_time

    history = solution.history
    if "t" in history and history.rows and math.isclose(float(history["t"][-1]), t, rel_tol=1e-9):
        return solution
    try:
        return at_time(solution, t)
    except InputError as error:
        raise InputError(f"--at {t:g}: {error}") from None


@catalog_app.command(name="list")
def catalog_list(*, json: Json = False) -> int:
    """List the problems of the catalog.

    Parameters
    ----------
    json
        Print JSON.
    """
    from parabolic_ma import catalog

    entries = {name: catalog.description(name) for name in catalog.names()}
    if json:
        print_json(entries)
    else:
        width = max(map(len, entries), default=0)
        for name, text in entries.items():
            print(f"{name:<{width}}  {text}")
    return DONE


@catalog_app.command(name="show")
def catalog_show(name: str, /, *, json: Json = False) -> int:
    """Show a problem of the catalog: what is known of it, and a TOML file that solves it.

    Parameters
    ----------
    name
        Its name.
    json
        Print JSON.
    """
    from parabolic_ma import catalog
    from parabolic_ma.config import catalog_config
    from parabolic_ma.io.solver_toml import solver_to_toml
    from parabolic_ma.io.tomltext import dump

    entry = catalog.get(name)
    text = dump({"catalog": name}) + "\n" + solver_to_toml(catalog_config(name).solver)
    if json:
        known = {k: getattr(entry, k) for k in ("log_evidence", "w2_squared", "w2_error")}
        print_json(
            {"name": name, "summary": entry.summary, **known, "source": entry.source, "toml": text}
        )
        return DONE
    print(f"# {entry.summary}")
    for label, value in {
        "log evidence": entry.log_evidence,
        "W2 squared": entry.w2_squared,
        "its error": entry.w2_error,
        "source": entry.source or None,
    }.items():
        if value is not None:
            print(f"# {label}: {value}")
    print(text, end="")
    return DONE
