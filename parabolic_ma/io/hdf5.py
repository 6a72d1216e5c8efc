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
======================  ==========================================================================

Reading never runs code: there is no pickle anywhere, and a potential that was a Python function
comes back as a table of its values.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from parabolic_ma.grid import Box, Grid
from parabolic_ma.io import schema
from parabolic_ma.io.atomic import check_room, replacing
from parabolic_ma.io.fields import solution_fields
from parabolic_ma.io.schema import Quantity, coordinate
from parabolic_ma.io.toml import (
    problem_from_toml,
    problem_to_toml,
    solver_from_toml,
    solver_to_toml,
)
from parabolic_ma.maps import Affine, Identity, TransportMap
from parabolic_ma.operators.grid_map import GridMap
from parabolic_ma.solution import (
    Certificate,
    GridFields,
    GridPotential,
    History,
    Provenance,
    Solution,
)
from parabolic_ma.solvers.grid_solver import GridSolver
from parabolic_ma.status import FileFormatError, InputError, MissingExtraError, Status
from parabolic_ma.typing import Array

__all__ = ["load", "read_attributes", "save", "write_dataset", "write_fields"]

_CHUNK_BYTES = 1 << 20
_TEXT_FIELDS = ("backend", "started", "host", "platform")
_NUMBER_FIELDS = ("threads", "wall_time", "cpu_time", "compile_time")


def save(solution: Solution, path: str | Path) -> None:
    """Write a solution to an HDF5 file.

    The file appears whole or not at all: when writing fails, nothing is left behind and an older
    file of that name stays as it was.

    Parameters
    ----------
    solution : Solution
        Any solution whose map is a grid map, `Affine` or `Identity`.
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
        _text_attributes(
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
        file.attrs["schema_version"] = schema.SCHEMA_VERSION
        file.attrs["converged"] = int(solution.converged)
        _write_problem(_group(file, "problem"), solution)
        _write_solution(_group(file, "solution"), solution)
        _write_history(_group(file, "history"), solution.history)
        _write_certificate(_group(file, "certificate"), solution.certificate)
        _write_provenance(_group(file, "provenance"), solution.provenance)
        _write_state(_group(file, "state"), solution)


def _size(solution: Solution) -> int:
    """Bytes of the largest arrays of a solution, before compression."""
    if solution.fields is None:
        return 0
    grid = solution.fields.potential.grid
    return 8 * grid.size * (grid.dim + 5)  # psi, its correction, three logarithms and the map


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
    text = _text(problem_group["toml"][()])
    arrays = _arrays(problem_group)
    problem = problem_from_toml(text, arrays=arrays, source=f"{path}, /problem")
    attributes = read_attributes(file)
    side = attributes["side"]
    fields = _read_fields(file, side)
    transport = _read_map(file["state"], side, fields)
    if transport.dim != problem.dim:
        raise ValueError(
            f"its map has dimension {transport.dim} and its problem dimension {problem.dim}"
        )
    figures: dict[str, Any] = {name: float(file["solution"][name][()]) for name in schema.FIGURES}
    solver = None
    if "solver" in problem_group:
        solver = solver_from_toml(_text(problem_group["solver"][()]), f"{path}, /problem/solver")
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
        **figures,
    )


def _group(parent: Any, name: str) -> Any:
    return parent.create_group(name, track_order=True)


def _text_attributes(item: Any, values: Mapping[str, str]) -> None:
    """Set attributes of fixed length: readers built on VTK ignore those of variable length."""
    for name, value in values.items():
        item.attrs[name] = np.bytes_(value.encode())


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def read_attributes(item: Any) -> dict[str, Any]:
    """Return the attributes of a file, group or dataset, with text as ``str``."""
    return {
        name: _text(value) if isinstance(value, bytes | str) else value
        for name, value in item.attrs.items()
    }


def write_dataset(group: Any, name: str, values: Any, quantity: Quantity | None = None) -> Any:
    """Write an array (compressed), a number or a text, with unit and meaning."""
    array = np.asarray(values)
    if array.dtype.kind in "US":
        data = group.create_dataset(name, data=array.astype(object), dtype=h5py.string_dtype())
    elif array.nbytes > _CHUNK_BYTES // 16:
        data = group.create_dataset(
            name, data=array, chunks=True, compression="gzip", compression_opts=1, shuffle=True
        )
    else:
        data = group.create_dataset(name, data=array)
    if quantity is not None:
        _text_attributes(data, {"units": quantity.units, "long_name": quantity.long_name})
    return data


def _scale(group: Any, name: str, values: Array, quantity: Quantity) -> Any:
    data = write_dataset(group, name, values, quantity)
    data.make_scale(name)
    return data


def _attach(data: Any, scales: list[Any]) -> None:
    for axis, scale in enumerate(scales):
        data.dims[axis].attach_scale(scale)


def write_fields(group: Any, side: str, grid: Grid, arrays: Mapping[str, Array]) -> None:
    """Write the arrays of one side with its coordinates as dimension scales.

    Parameters
    ----------
    group : h5py.Group
        Where; a scale ``component`` for vectors is made if it is not there.
    side : {"reference", "target"}
        Says what the axes are called.
    grid : Grid
        Where the arrays live.
    arrays : mapping of str to ndarray
        Of shape ``grid.shape``, or ``(*grid.shape, d)`` for maps.
    """
    quantities = dict(schema.MAP_FIELDS[side])
    if "component" not in group:
        index = np.arange(1, grid.dim + 1, dtype=np.int32)
        _scale(group, "component", index, Quantity("1", "coordinate of a vector"))
    axes = []
    for k in range(grid.dim):
        name, quantity = coordinate(side, k)
        axes.append(_scale(group, name, grid.axis(k), quantity))
        axes[-1].attrs["lower"], axes[-1].attrs["upper"] = grid.box.lower[k], grid.box.upper[k]
    for name, values in arrays.items():
        data = write_dataset(group, name, values, quantities[name])
        _attach(data, [*axes, group["component"]][: data.ndim])


def _write_problem(group: Any, solution: Solution) -> None:
    text, arrays = problem_to_toml(solution.problem)
    write_dataset(group, "toml", text)
    if solution.provenance.configuration:
        write_dataset(group, "configuration", solution.provenance.configuration)
    if isinstance(solution.solver, GridSolver):
        write_dataset(group, "solver", solver_to_toml(solution.solver))
    for name, values in arrays.items():
        parent, _, leaf = name.rpartition("/")
        write_dataset(group[parent] if parent in group else _group(group, parent), leaf, values)


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
    shown = solution.side if solution.side in sides else "reference"
    dim = sides[shown][0].dim
    _text_attributes(
        group,
        {"NX_class": "NXdata", "signal": "psi" if shown == "reference" else "phi"},
    )
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
    box = Box(tuple(state["lower"][()].tolist()), tuple(state["upper"][()].tolist()))
    shapes = {name: state[name].shape for name in ("matrix", "center", "image")}
    if shapes != {"matrix": (box.dim, box.dim), "center": (box.dim,), "image": (box.dim,)}:
        raise ValueError(
            f"the quadratic part of the map has shapes {shapes} in dimension {box.dim}"
        )
    potential = GridPotential(
        grid=Grid(box, state["correction"].shape),
        correction=state["correction"][()],
        matrix=state["matrix"][()],
        center=state["center"][()],
        image=state["image"][()],
        boundary=read_attributes(state)["boundary"],
    )
    gradient, log_det, log_source, log_inner = (group[name][()] for name in names[1:])
    shape = potential.grid.shape
    for name, values in zip(names[1:], (gradient, log_det, log_source, log_inner), strict=True):
        if values.shape != (shape if name != names[1] else (*shape, box.dim)):
            raise ValueError(f"/solution/{name} has shape {values.shape} on a grid of {shape}")
    return GridFields(potential, gradient, log_det, log_source, log_inner)


def _write_state(group: Any, solution: Solution) -> None:
    if solution.fields is not None:
        potential = solution.fields.potential
        _text_attributes(group, {"map": "grid", "boundary": potential.boundary})
        length = Quantity("length", "corner of the box of the solver's grid")
        write_dataset(group, "lower", np.array(potential.grid.box.lower), length)
        write_dataset(group, "upper", np.array(potential.grid.box.upper), length)
        write_dataset(
            group,
            "correction",
            potential.correction,
            Quantity("length2", "potential minus its quadratic part"),
        )
        write_dataset(
            group, "matrix", potential.matrix, Quantity("1", "Hessian of the quadratic part")
        )
        write_dataset(
            group, "center", potential.center, Quantity("length", "centre of the quadratic part")
        )
        write_dataset(group, "image", potential.image, Quantity("length", "image of the centre"))
    elif isinstance(solution.map, Affine | Identity):
        identity = isinstance(solution.map, Identity)
        _text_attributes(group, {"map": "identity" if identity else "affine"})
        if isinstance(solution.map, Affine):
            write_dataset(group, "matrix", solution.map.A, Quantity("1", "A of T(y) = A y + b"))
            write_dataset(group, "image", solution.map.b, Quantity("length", "b of T(y) = A y + b"))
        else:
            group.attrs["dim"] = solution.map.dim
    else:
        raise InputError(
            f"a solution whose map is a {type(solution.map).__name__} cannot be saved; a file "
            "holds the maps of the grid solver, Affine and Identity"
        )


def _read_map(state: Any, side: str, fields: GridFields | None) -> TransportMap:
    if fields is not None:
        return GridMap(fields.potential, side)
    if read_attributes(state)["map"] == "affine":
        return Affine(state["matrix"][()], state["image"][()])
    return Identity(int(state.attrs["dim"]))


def _write_history(group: Any, history: History) -> None:
    rows = history.rows
    if not rows:
        return
    row = group.create_dataset(
        "row", data=np.arange(rows, dtype=np.int64), maxshape=(None,), chunks=(max(rows, 64),)
    )
    _text_attributes(row, {"units": "1", "long_name": "row of the history"})
    row.make_scale("row")
    for name, values in history.items():
        data = write_dataset(group, name, values, schema.HISTORY.get(name))
        _attach(data, [row])


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
            _text_attributes(data, {"reason": certificate.reasons[name]})


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
    _text_attributes(group, {name: getattr(provenance, name) for name in _TEXT_FIELDS})
    for name in _NUMBER_FIELDS:
        group.attrs[name] = getattr(provenance, name)
    if provenance.seed is not None:
        group.attrs["seed"] = provenance.seed
    write_dataset(group, "solver", provenance.solver)
    if provenance.command:
        write_dataset(group, "command", np.array(provenance.command))
    _text_attributes(_group(group, "versions"), provenance.versions)


def _read_provenance(group: Any, problem: Any) -> Provenance:
    attributes = read_attributes(group)
    seed = attributes.get("seed")
    command = group["command"].asstr()[()].tolist() if "command" in group else []
    configuration = _text(problem["configuration"][()]) if "configuration" in problem else ""
    return Provenance(
        problem_toml=_text(problem["toml"][()]),
        configuration=configuration,
        solver=_text(group["solver"][()]),
        **{name: attributes[name] for name in _TEXT_FIELDS},
        threads=int(attributes["threads"]),
        wall_time=float(attributes["wall_time"]),
        cpu_time=float(attributes["cpu_time"]),
        compile_time=float(attributes.get("compile_time", 0.0)),
        seed=None if seed is None else int(seed),
        versions=read_attributes(group["versions"]),
        command=tuple(command),
    )
