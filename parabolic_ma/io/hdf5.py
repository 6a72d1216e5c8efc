"""Solutions in HDF5 files that h5py, netCDF-C and xarray open, written whole or not at all.

======================  ==========================================================================
place                   holds
======================  ==========================================================================
``/`` (attributes)      ``schema_version``, ``status``, ``converged``, ``message``, ``side``
``/problem``            ``toml``, the arrays that it refers to, ``solver`` (its settings), and
                        ``configuration`` (the file that a run was started from, verbatim)
``/solution``           ``log_evidence``, ``w2_squared``, ``kl``, ``kl_reverse``; on the axes ``y1,
                        y2``: ``psi, T, log_det`` and log densities; on ``x1, x2``: ``phi, S``
                        and so on, when the grid was on the target side
``/history``            one dataset a column
``/certificate``        one dataset a figure; a figure that is ``nan`` has its ``reason``
``/provenance``         attributes; ``versions`` and ``command``
``/state``              what the maps are rebuilt from, bit for bit
``/saved``              of a flow: times ``t`` and ``correction (t, ...)`` of the maps kept then,
                        their quadratic part being that of ``/state``; maps of another grid, from
                        which the flow went on, in ``/saved/grid1`` with their own
``/average``            of a flow: ``density`` of the average iterate, with its box
``/network``            of a neural map: ``architecture`` as TOML, ``weights``, and the ``frame``
======================  ==========================================================================

Reading never runs code: there is no pickle anywhere, and a potential that was a Python function
comes back as a table of its values.
"""

from __future__ import annotations

import dataclasses
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from parabolic_ma.io import schema
from parabolic_ma.io.atomic import check_room, replacing
from parabolic_ma.io.fields import solution_fields
from parabolic_ma.io.hdf5_items import (
    as_text,
    attach,
    make_group,
    read_attributes,
    set_texts,
    write_dataset,
    write_fields,
)
from parabolic_ma.io.hdf5_maps import (
    read_average,
    read_potential,
    read_saved,
    write_average,
    write_quadratic,
    write_saved,
)
from parabolic_ma.io.hdf5_network import is_neural, read_network, write_network
from parabolic_ma.io.schema import Quantity, coordinate
from parabolic_ma.io.solver_toml import solver_from_toml, solver_kind, solver_to_toml
from parabolic_ma.io.toml import problem_from_toml, problem_to_toml
from parabolic_ma.maps import Affine, Identity, TransportMap
from parabolic_ma.measures import GridDensity
from parabolic_ma.operators.grid_map import GridMap
from parabolic_ma.solution import (
    Certificate,
    GridFields,
    History,
    Provenance,
    Solution,
)
from parabolic_ma.status import FileFormatError, InputError, MissingExtraError, Status
from parabolic_ma.typing import Array

__all__ = ["load", "save"]

_TEXT_FIELDS = ("backend", "started", "host", "platform")
_NUMBER_FIELDS = ("threads", "wall_time", "cpu_time", "compile_time")


def save(solution: Solution, path: str | Path) -> None:
    """Write a solution to an HDF5 file.

    The file appears whole or not at all: when writing fails, nothing is left behind and an older
    file of that name stays as it was.

    Parameters
    ----------
    solution : Solution
        Any solution whose map is a grid map, a network's, `Affine` or `Identity`.
    path : str or Path
        The file; replaced if it exists.

    Raises
    ------
    InputError
        If the folder does not exist, or the map has no file form.
    """
    # HDF5 on a full disk fails once more for every object still open: look before.
    check_room(path, _size(solution))
    with replacing(path) as temporary, h5py.File(temporary, "w", track_order=True) as file:
        set_texts(
            file,
            {
                "Conventions": "CF-1.11",
                "title": "Brenier map by the parabolic Monge-Ampere equation",
                "NX_class": "NXroot",
                "default": "solution",
                "status": solution.status.name,
                "message": solution.message,
                "side": solution.side,
            },
        )
        file.attrs["schema_version"] = _schema_version(solution)
        file.attrs["converged"] = int(solution.converged)
        _write_problem(make_group(file, "problem"), solution)
        _write_solution(make_group(file, "solution"), solution)
        _write_history(make_group(file, "history"), solution.history)
        _write_certificate(make_group(file, "certificate"), solution.certificate)
        _write_provenance(make_group(file, "provenance"), solution.provenance)
        _write_state(make_group(file, "state"), solution)
        if is_neural(solution.map):
            write_network(make_group(file, "network"), solution.map)
        if solution.saved:
            write_saved(make_group(file, "saved"), solution)
        if isinstance(solution.average, GridDensity):
            write_average(make_group(file, "average"), solution.average)


def _schema_version(solution: Solution) -> int:
    """Return the oldest schema that has what a solution holds."""
    if is_neural(solution.map) or solver_kind(solution.solver) == "neural":
        return 3
    flow = (
        solution.saved
        or solution.average is not None
        or solution.status is Status.UNSTABLE
        or solver_kind(solution.solver) not in {None, "grid"}
    )
    return 2 if flow else 1


def _size(solution: Solution) -> int:
    """Bytes of the largest arrays of a solution, before compression."""
    size = 0
    if solution.fields is not None:
        grid = solution.fields.potential.grid
        size += 8 * grid.size * (grid.dim + 5)  # psi, its correction, three logarithms and the map
    size += sum(8 * m.grid_potential.grid.size for _, m in solution.saved if isinstance(m, GridMap))
    if isinstance(solution.average, GridDensity):
        size += 8 * solution.average.grid.size
    return size


def load(path: str | Path) -> Solution:
    """Read a solution from a file that `save` wrote, in this or an earlier release.

    The maps are the saved ones bit for bit. A measure whose potential was a Python function comes
    back with the table of its values (see `parabolic_ma.io.toml`). No code is run.

    Parameters
    ----------
    path : str or Path
        The file.

    Raises
    ------
    InputError
        If there is no such file.
    FileFormatError
        If it cannot be read, was not written by this package, or by a later release.
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"a file is given by its name, a str or Path; got {path!r}")
    if Path(path).is_dir():
        raise InputError(f"{path} is a folder; give the name of a file in it")
    if not Path(path).is_file():
        raise InputError(f"there is no file {path}")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise FileFormatError(
            f"{path} cannot be read as HDF5, so it is no solution saved by parabolic_ma; it may be "
            f"damaged or of another kind ({error})"
        ) from None
    with file:
        try:
            _check_schema(file, path)
            return _read(file, path)
        except (FileFormatError, MissingExtraError):
            raise
        except (
            InputError, AttributeError, ImportError, IndexError, KeyError, MemoryError, OSError,
            OverflowError, RuntimeError, TypeError, ValueError, np.linalg.LinAlgError,
        ) as error:  # fmt: skip
            # Whatever a damaged file makes of its reading; the reader itself takes no options.
            text = str(error.args[0]) if error.args else type(error).__name__
            raise FileFormatError(f"{path} is damaged or incomplete: {text}") from error


def _check_schema(file: Any, path: str | Path) -> None:
    version = file.attrs.get("schema_version")
    if version is None or "state" not in file:
        raise FileFormatError(
            f"{path} is an HDF5 file, but not a solution saved by parabolic_ma (it has no "
            "schema_version, or no state)"
        )
    if np.ndim(version) or np.asarray(version).dtype.kind not in "iu" or version < 1:
        raise FileFormatError(
            f"{path} is damaged or not saved by parabolic_ma: its schema_version is {version!r}"
        )
    if int(version) > schema.SCHEMA_VERSION:
        raise FileFormatError(
            f"{path} was written by a later release (schema {int(version)}; this release reads up "
            f"to {schema.SCHEMA_VERSION}); upgrade with: pip install -U parabolic-ma"
        )


def _read(file: Any, path: str | Path) -> Solution:
    problem_group = file["problem"]
    text = as_text(problem_group["toml"][()])
    arrays = _arrays(problem_group)
    problem = problem_from_toml(text, arrays=arrays, source=f"{path}, /problem")
    attributes = read_attributes(file)
    side = attributes["side"]
    fields = _read_fields(file, side)
    transport = _read_map(file, side, fields)
    if transport.dim != problem.dim:
        raise ValueError(
            f"its map has dimension {transport.dim} and its problem dimension {problem.dim}"
        )
    figures: dict[str, Any] = {name: float(file["solution"][name][()]) for name in schema.FIGURES}
    solver = None
    if "solver" in problem_group:
        settings = as_text(problem_group["solver"][()])
        solver = solver_from_toml(settings, f"{path}, /problem/solver", arrays=arrays)
    return Solution(
        problem=problem,
        map=transport,
        side=side,
        status=Status[attributes["status"]],
        message=attributes["message"],
        certificate=_read_certificate(file["certificate"]),
        history=_read_history(file["history"]),
        provenance=_read_provenance(file["provenance"], problem_group),
        solver=solver,
        fields=fields,
        saved=read_saved(file["saved"], side, fields) if "saved" in file else (),
        average=read_average(file["average"]) if "average" in file else None,
        **figures,
    )


def _write_problem(group: Any, solution: Solution) -> None:
    text, arrays = problem_to_toml(solution.problem)
    write_dataset(group, "toml", text)
    if solution.provenance.configuration:
        write_dataset(group, "configuration", solution.provenance.configuration)
    if solver_kind(solution.solver) is not None:
        with suppress(InputError):  # a stepper, schedule or trigger of the user has no file form
            write_dataset(group, "solver", solver_to_toml(solution.solver, arrays))
    for name, values in arrays.items():
        parent, _, leaf = name.rpartition("/")
        write_dataset(group[parent] if parent in group else make_group(group, parent), leaf, values)


def _arrays(group: Any) -> dict[str, Array]:
    """All arrays of the problem by name, such as ``target/points``."""
    found: dict[str, Array] = {}

    def keep(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and "/" in name:
            found[name] = item[()]

    group.visititems(keep)
    return found


def _write_solution(group: Any, solution: Solution) -> None:
    sides = solution_fields(solution)
    if sides:  # there is no grid above three dimensions
        shown = solution.side if solution.side in sides else "reference"
        dim = sides[shown][0].dim
        signal = "psi" if shown == "reference" else "phi"
        set_texts(group, {"NX_class": "NXdata", "signal": signal})
        group.attrs["axes"] = np.array([coordinate(shown, k)[0].encode() for k in range(dim)])
    for side, (grid, arrays) in sides.items():
        write_fields(group, side, grid, arrays)
    for name, quantity in schema.FIGURES.items():
        write_dataset(group, name, float(getattr(solution, name)), quantity)


def _read_fields(file: Any, side: str) -> GridFields | None:
    state = file["state"]
    if "correction" not in state:
        return None
    group, names = file["solution"], [name for name, _ in schema.MAP_FIELDS[side]]
    potential = read_potential(state, state["correction"][()])
    box = potential.grid.box
    gradient, log_det, log_source, log_inner = (group[name][()] for name in names[1:])
    shape = potential.grid.shape
    for name, values in zip(names[1:], (gradient, log_det, log_source, log_inner), strict=True):
        if values.shape != (shape if name != names[1] else (*shape, box.dim)):
            raise ValueError(f"/solution/{name} has shape {values.shape} on a grid of {shape}")
    return GridFields(potential, gradient, log_det, log_source, log_inner)


def _write_state(group: Any, solution: Solution) -> None:
    if solution.fields is not None:
        potential = solution.fields.potential
        write_quadratic(group, potential)
        write_dataset(
            group,
            "correction",
            potential.correction,
            Quantity("length2", "potential minus its quadratic part"),
        )
    elif isinstance(solution.map, Affine | Identity):
        identity = isinstance(solution.map, Identity)
        set_texts(group, {"map": "identity" if identity else "affine"})
        if isinstance(solution.map, Affine):
            write_dataset(group, "matrix", solution.map.A, Quantity("1", "A of T(y) = A y + b"))
            write_dataset(group, "image", solution.map.b, Quantity("length", "b of T(y) = A y + b"))
        else:
            group.attrs["dim"] = solution.map.dim
    elif is_neural(solution.map):
        set_texts(group, {"map": "neural"})
    else:
        raise InputError(
            f"a solution whose map is a {type(solution.map).__name__} cannot be saved; a file "
            "holds the maps of the grid solver, networks, Affine and Identity"
        )


def _read_map(file: Any, side: str, fields: GridFields | None) -> TransportMap:
    state = file["state"]
    if fields is not None:
        return GridMap(fields.potential, side)
    kind = read_attributes(state)["map"]
    if kind == "neural":
        return read_network(file["network"])
    if kind == "affine":
        return Affine(state["matrix"][()], state["image"][()])
    return Identity(int(state.attrs["dim"]))


def _write_history(group: Any, history: History) -> None:
    rows = history.rows
    if not rows:
        return
    row = group.create_dataset(
        "row", data=np.arange(rows, dtype=np.int64), maxshape=(None,), chunks=(max(rows, 64),)
    )
    set_texts(row, {"units": "1", "long_name": "row of the history"})
    row.make_scale("row")
    for name, values in history.items():
        data = write_dataset(group, name, values, schema.HISTORY.get(name))
        attach(data, [row])


def _read_history(group: Any) -> History:
    columns = {}
    for name, data in group.items():
        if name != "row":
            text = h5py.check_string_dtype(data.dtype) is not None
            columns[name] = np.array(data.asstr()[()].tolist()) if text else data[()]
    return History(columns)


def _write_certificate(group: Any, certificate: Certificate) -> None:
    for name, value in certificate.figures().items():
        data = write_dataset(group, name, value, schema.CERTIFICATE[name])
        if name in certificate.reasons:
            set_texts(data, {"reason": certificate.reasons[name]})


def _read_certificate(group: Any) -> Certificate:
    known = {f.name for f in dataclasses.fields(Certificate)}
    figures = {name: data[()].item() for name, data in group.items() if name in known}
    reasons = {
        name: read_attributes(data)["reason"]
        for name, data in group.items()
        if "reason" in data.attrs
    }
    return Certificate(**figures, reasons=reasons)


def _write_provenance(group: Any, provenance: Provenance) -> None:
    set_texts(group, {name: getattr(provenance, name) for name in _TEXT_FIELDS})
    for name in _NUMBER_FIELDS:
        group.attrs[name] = getattr(provenance, name)
    if provenance.seed is not None:
        group.attrs["seed"] = provenance.seed
    write_dataset(group, "solver", provenance.solver)
    if provenance.command:
        write_dataset(group, "command", np.array(provenance.command))
    set_texts(make_group(group, "versions"), provenance.versions)


def _read_provenance(group: Any, problem: Any) -> Provenance:
    attributes = read_attributes(group)
    seed = attributes.get("seed")
    command = group["command"].asstr()[()].tolist() if "command" in group else []
    configuration = as_text(problem["configuration"][()]) if "configuration" in problem else ""
    return Provenance(
        problem_toml=as_text(problem["toml"][()]),
        configuration=configuration,
        solver=as_text(group["solver"][()]),
        **{name: attributes[name] for name in _TEXT_FIELDS},
        threads=int(attributes["threads"]),
        wall_time=float(attributes["wall_time"]),
        cpu_time=float(attributes["cpu_time"]),
        compile_time=float(attributes.get("compile_time", 0.0)),
        seed=None if seed is None else int(seed),
        versions=read_attributes(group["versions"]),
        command=tuple(command),
    )
