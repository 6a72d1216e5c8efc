"""The command ``parabolic-ma solve``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

import parabolic_ma
from parabolic_ma.console import exit_code, facts, print_json, say, show
from parabolic_ma.driver import default_solver
from parabolic_ma.io.atomic import check_outputs
from parabolic_ma.status import InputError

if TYPE_CHECKING:
    from parabolic_ma.config import RunConfig

__all__ = ["solve"]


def solve(
    problem: str,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    plot: Path | None = None,
    solver: Literal["grid", "neural"] | None = None,
    shape: Annotated[list[int] | None, Parameter(consume_multiple=True, negative="")] = None,
    side: Literal["auto", "reference", "target"] | None = None,
    boundary: Literal["auto", "box", "free", "periodic"] | None = None,
    inner: Literal["auto", "point", "cell"] | None = None,
    backend: str | None = None,
    tol: float | Literal["discretisation"] | None = None,
    tail_mass: float | None = None,
    max_steps: int | None = None,
    richardson: bool | None = None,
    t_final: float | None = None,
    steps: int | None = None,
    save_at: Annotated[list[float] | None, Parameter(consume_multiple=True, negative="")] = None,
    method: str | None = None,
    potential: str | None = None,
    width: int | None = None,
    step_size: float | None = None,
    time_limit: float | None = None,
    seed: int | None = None,
    threads: int | None = None,
    initial: Path | None = None,
    checkpoint: Path | None = None,
    allow_code: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative="")] = False,
    json: Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")] = False,
) -> int:
    """Find the map of a problem and write it to a file.

    What is given here overrides the [solver] and [output] tables of the TOML file. The kind in the
    [solver] table says which solver runs, if --solver does not.

    Parameters
    ----------
    problem
        A TOML file, or the name of a catalog problem.
    output
        The HDF5 file to write; by default the problem's name with .h5 in the current folder.
    plot
        Also draw both densities, the map and the convergence to this picture.
    solver
        Take a grid or a network, instead of the solver of the file, with its usual settings.
    shape
        Cells of the grid on each axis: --shape 256 256; one number stands for all axes.
    side
        The side that the grid lies on.
    boundary
        What holds at the faces of the box.
    inner
        How the inner density is evaluated: at the image of a cell's centre, or over its image.
    backend
        Which kernels run; see parabolic-ma backends.
    tol
        Residual to polish to, instead of a tenth of the estimated discretisation error.
    tail_mass
        Mass that the boxes may leave out.
    max_steps
        Most Newton steps.
    richardson
        Extrapolate from two grids.
    t_final
        Of a flow: the time at which it ends.
    steps
        Of a flow or a network: the number of steps after which it ends.
    save_at
        Of a flow: times at which to keep the map: --save-at 0.5 1 2.
    method
        Of a network: variational, likelihood, semidual, score or logistic.
    potential
        Of a network: lse, icnn or mlp.
    width
        Of a network: pieces of a soft maximum, or units of a layer.
    step_size
        Of a network that follows the flow: its step in time.
    time_limit
        Of a network: seconds after which training ends.
    seed
        Of a network: of everything random.
    threads
        Most threads on a large grid, or of a network's training.
    initial
        A solution file to start from; that of a flow is continued at its time.
    checkpoint
        A file that always holds the best state so far.
    allow_code
        Let the TOML file name Python functions, which are run.
    quiet
        Show no progress.
    json
        Print the summary as JSON.
    """
    config = _configure(problem, allow_code=allow_code)
    dim = config.problem.dim
    given = {
        "shape": None if shape is None else tuple(shape * dim if len(shape) == 1 else shape),
        "side": side,
        "boundary": boundary,
        "inner": inner,
        "backend": backend,
        "tol": tol,
        "tail_mass": tail_mass,
        "max_steps": max_steps,
        "richardson": richardson,
        "t_final": t_final,
        "steps": steps,
        "save_at": save_at,
        "method": method,
        "potential": potential,
        "width": width,
        "step_size": step_size,
        "time_limit": time_limit,
        "seed": seed,
        "threads": threads,
    }
    changes = {k: value for k, value in given.items() if value is not None}
    chosen = _changed(_chosen(solver, config), changes, known=tuple(given))
    output = output or config.file or Path(f"{Path(problem).stem}.h5")
    plot = plot or config.plot
    # What can go wrong after the run is looked at before it.
    check_outputs([output, plot], inputs=[Path(problem)])
    check_outputs([checkpoint, plot], inputs=[Path(problem)])
    if plot is not None:
        from parabolic_ma.plotting.figures import check_picture

        check_picture(plot)
    start = None if initial is None else parabolic_ma.load(initial)
    solution = parabolic_ma.solve(
        config.problem,
        chosen,
        initial=start,
        checkpoint=checkpoint,
        progress=not quiet,
        raise_on_failure=False,
    )
    if config.text:
        provenance = dataclasses.replace(solution.provenance, configuration=config.text)
        solution = dataclasses.replace(solution, provenance=provenance)
    solution.save(output)
    say(f"wrote {output}")
    if plot is not None:
        solution.plot(plot)
        say(f"wrote {plot}")
    if json:
        print_json({"file": str(output), **facts(solution)})
    else:
        show(solution.summary())
    return exit_code(solution)


def _chosen(kind: str | None, config: RunConfig) -> Any:
    """Return the solver of the file, or the usual one of another kind."""
    kinds = {"grid": parabolic_ma.GridSolver, "neural": parabolic_ma.NeuralFlow}
    if kind is None or isinstance(config.solver, kinds[kind]):
        return config.solver
    if kind == "neural":
        return parabolic_ma.NeuralFlow()
    usual = default_solver(config.problem.dim)
    if not isinstance(usual, parabolic_ma.GridSolver):
        raise InputError(
            f"grids have one to three dimensions, the problem has {config.problem.dim}; take "
            "--solver neural"
        )
    return usual


def _changed(solver: Any, changes: Mapping[str, Any], known: tuple[str, ...]) -> Any:
    """Return a solver with other settings; refuse options that mean nothing to it."""
    own = {field.name for field in dataclasses.fields(solver)}
    for name in changes:
        if name not in own:
            allowed = ", ".join(_option(other) for other in known if other in own)
            raise InputError(
                f"{_option(name)} is no setting of {type(solver).__name__}, the solver of this "
                f"run, which has {allowed}; --solver or the kind in the [solver] table chooses "
                "another solver"
            )
    return dataclasses.replace(solver, **changes)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _configure(problem: str, *, allow_code: bool) -> RunConfig:
    """Read the TOML file, or take the problem from the catalog."""
    from parabolic_ma.config import catalog_config, load_config

    path = Path(problem)
    if path.suffix == ".toml" or path.is_file() or (problem and path.is_dir()):
        return load_config(problem, allow_code=allow_code)
    try:
        return catalog_config(problem)
    except InputError as error:
        raise InputError(f"there is no file {problem!r}, and {error}") from None
