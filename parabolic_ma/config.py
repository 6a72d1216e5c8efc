"""A whole run as one TOML file: the problem, the solver, where the results go.

::

    [reference]
    kind = "gaussian"
    fitted = true

    [target]
    kind = "samples"
    path = "old_faithful.csv"

    [solver]
    kind = "grid"
    shape = [256, 256]

    [output]
    file = "old_faithful.h5"
    plot = "old_faithful.png"

The solver may be a flow too, see `parabolic_ma.io.solver_toml`. Instead of the two measures,
``catalog = "name"`` takes a problem of the catalog. Paths are relative to the TOML file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from parabolic_ma import catalog
from parabolic_ma.driver import default_solver
from parabolic_ma.io.solver_toml import Solver, SolverTable, build_solver, with_kind
from parabolic_ma.io.toml import MeasureTable, ProblemTable, build_problem
from parabolic_ma.io.tomltext import convert, parse, place
from parabolic_ma.problem import TransportProblem
from parabolic_ma.solvers.grid_solver import GridSolver
from parabolic_ma.status import FileFormatError, InputError

__all__ = ["RunConfig", "catalog_config", "load_config", "parse_config"]


class _Output(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where results go."""

    file: str | None = None
    plot: str | None = None


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The TOML file as it may be."""

    reference: MeasureTable | None = None
    target: MeasureTable | None = None
    catalog: str | None = None
    solver: SolverTable | None = None
    output: _Output = _Output()


@dataclass(frozen=True)
class RunConfig:
    """A run, ready to be started."""

    problem: TransportProblem
    solver: Solver
    file: Path | None = None
    """Where the solution is written."""
    plot: Path | None = None
    """Where the picture is written."""
    text: str = ""
    """The TOML verbatim."""


def load_config(path: str | Path, *, allow_code: bool = False) -> RunConfig:
    """Read a run from a TOML file.

    Parameters
    ----------
    path : str or Path
        The file; paths in it are relative to its folder.
    allow_code : bool
        Whether a ``potential`` may import and call the Python function that it names.

    Raises
    ------
    InputError
        If the file cannot be read or used; the message names the file and the place in it.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise FileFormatError(
            f"{path} cannot be read as TOML, it is no text in UTF-8; a problem is a TOML file, and "
            "a saved solution is given with --initial (initial=load(path))"
        ) from None
    return parse_config(text, path.parent, allow_code=allow_code, source=str(path))


def catalog_config(name: str) -> RunConfig:
    """Return the run of a catalog problem, with the solver settings that suit it.

    Raises
    ------
    InputError
        If the catalog has no such problem.
    """
    entry = catalog.get(name)
    problem = entry.problem()
    if entry.solver:
        return RunConfig(problem, GridSolver(**entry.solver))
    return RunConfig(problem, default_solver(problem.dim))


def parse_config(
    text: str | Mapping[str, Any],
    folder: str | Path = ".",
    *,
    allow_code: bool = False,
    source: str = "configuration",
) -> RunConfig:
    """Make a run of TOML text or of what it parses to; see `load_config`.

    Parameters
    ----------
    text : str or mapping
        The TOML.
    folder : str or Path
        What paths are relative to.
    allow_code : bool
        As in `load_config`.
    source : str
        What to call the text in errors.
    """
    folder = Path(folder)
    verbatim = text if isinstance(text, str) else ""
    table = parse(text, source) if isinstance(text, str) else text
    document = convert(with_kind(table), _Document, source)
    run = _base(document, folder, allow_code, source)
    solver = run.solver
    if document.solver is not None:
        solver = build_solver(document.solver, source, folder, allow_code)
    return RunConfig(
        run.problem,
        solver,
        None if document.output.file is None else folder / document.output.file,
        None if document.output.plot is None else folder / document.output.plot,
        verbatim,
    )


def _base(document: _Document, folder: Path, allow_code: bool, source: str) -> RunConfig:
    """Return the problem with the solver that is used when the file has no [solver]."""
    if document.catalog is not None:
        if document.reference is not None or document.target is not None:
            raise InputError(
                f"{source}: catalog takes a whole problem; give either catalog or the tables "
                "reference and target - at `$.catalog`"
            )
        with place(source, "$.catalog"):
            return catalog_config(document.catalog)
    if document.reference is None or document.target is None:
        missing = "reference" if document.reference is None else "target"
        raise InputError(
            f"{source}: table [{missing}] is missing; a problem has [reference] and [target], or "
            f'catalog = "name" - at `$.{missing}`'
        )
    tables = ProblemTable(reference=document.reference, target=document.target)
    problem = build_problem(tables, folder, allow_code, None, source)
    return RunConfig(problem, default_solver(problem.dim))
