"""Solutions in the forms of other tools: xarray, netCDF, csv, ArviZ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from parabolic_ma.grid import Grid
from parabolic_ma.io import schema
from parabolic_ma.io.atomic import replacing
from parabolic_ma.io.fields import solution_fields
from parabolic_ma.io.schema import Quantity, coordinate
from parabolic_ma.measures import GridDensity
from parabolic_ma.operators.grid_map import GridMap
from parabolic_ma.solution import Solution
from parabolic_ma.status import MissingExtraError
from parabolic_ma.typing import Array, Rng

__all__ = ["to_arviz", "to_csv", "to_netcdf", "to_xarray"]


def to_xarray(solution: Solution) -> Any:
    """Return the fields of a solution as an ``xarray.Dataset``.

    Parameters
    ----------
    solution : Solution
        Any solution.

    Returns
    -------
    xarray.Dataset
        ``psi, T, log_det`` and log densities on ``y1, y2``; ``phi, S`` and so on on ``x1, x2`` when
        the grid was on the target side; the figures; status and message as attributes. Of a flow
        also ``psi_saved`` or ``phi_saved`` over ``time``, and ``average_density``.

    Raises
    ------
    MissingExtraError
        If xarray is not installed.
    """
    try:
        import xarray
    except ImportError:
        raise MissingExtraError("An xarray.Dataset", "xarray") from None
    variables: dict[str, Any] = {}
    coordinates: dict[str, Any] = {}
    for side, (grid, arrays) in solution_fields(solution).items():
        names = []
        for k in range(grid.dim):
            name, quantity = coordinate(side, k)
            names.append(name)
            coordinates[name] = (name, grid.axis(k), _attributes(quantity))
        coordinates["component"] = (
            "component",
            np.arange(1, grid.dim + 1, dtype=np.int32),
            _attributes(Quantity("1", "coordinate of a vector")),
        )
        quantities = dict(schema.MAP_FIELDS[side])
        for name, values in arrays.items():
            axes = (*names, "component")[: values.ndim]
            variables[name] = (axes, values, _attributes(quantities[name]))
    variables |= _over_time(solution, coordinates)
    for name, quantity in schema.FIGURES.items():
        variables[name] = ((), float(getattr(solution, name)), _attributes(quantity))
    attributes = {"status": solution.status.name, "message": solution.message}
    return xarray.Dataset(variables, coordinates, {**attributes, "side": solution.side})


def _over_time(solution: Solution, coordinates: dict[str, Any]) -> dict[str, Any]:
    """Return what a flow kept: potentials on the result's grid, and the average iterate."""
    variables: dict[str, Any] = {}
    if solution.fields is not None:
        grid, side = solution.fields.potential.grid, solution.side
        kept = [
            (t, transport.grid_potential.values())
            for t, transport in solution.saved
            if isinstance(transport, GridMap) and transport.grid_potential.grid == grid
        ]
        if kept:
            axes = [coordinate(side, k)[0] for k in range(grid.dim)]
            name, quantity = schema.MAP_FIELDS[side][0]
            time = np.array([t for t, _ in kept])
            coordinates["time"] = ("time", time, _attributes(schema.SAVED["t"]))
            values = np.stack([potential for _, potential in kept])
            variables[f"{name}_saved"] = (("time", *axes), values, _attributes(quantity))
    average = solution.average
    if isinstance(average, GridDensity):
        axes = [coordinate("target", k)[0] for k in range(average.dim)]
        for k, axis in enumerate(axes):  # with the flow's grid on this side these are its own axes
            quantity = coordinate("target", k)[1]
            coordinates.setdefault(axis, (axis, average.grid.axis(k), _attributes(quantity)))
        density = schema.AVERAGE["density"]
        variables["average_density"] = (tuple(axes), average.values, _attributes(density))
    return variables


def _attributes(quantity: Quantity) -> dict[str, str]:
    return {"units": quantity.units, "long_name": quantity.long_name}


def _columns(solution: Solution) -> tuple[str, Grid, dict[str, Array]]:
    """Return the fields of the side that the grid was on, vectors split into components."""
    sides = solution_fields(solution)
    side = solution.side if solution.side in sides else "reference"
    grid, arrays = sides[side]
    columns: dict[str, Array] = {}
    for name, values in arrays.items():
        if values.ndim > grid.dim:
            columns |= {f"{name}{k + 1}": values[..., k] for k in range(grid.dim)}
        else:
            columns[name] = values
    return side, grid, columns


def to_netcdf(solution: Solution, path: str | Path) -> None:
    """Write the fields as a flat CF netCDF-4 file that ParaView opens as an image.

    Variables lie in the root group with the last coordinate first, vectors as components.

    Parameters
    ----------
    solution : Solution
        Any solution.
    path : str or Path
        The file, replaced whole.
    """
    side, grid, columns = _columns(solution)
    quantities = dict(schema.MAP_FIELDS[side])
    with replacing(path) as temporary, h5py.File(temporary, "w", track_order=True) as file:
        for name, text in {
            "Conventions": "CF-1.11",
            "title": "Brenier map by the parabolic Monge-Ampere equation",
            "status": solution.status.name,
        }.items():
            file.attrs[name] = np.bytes_(text)
        scales = []
        for k in reversed(range(grid.dim)):
            name, quantity = coordinate(side, k)
            data = _netcdf_variable(file, name, grid.axis(k), quantity)
            data.attrs["axis"] = np.bytes_("XYZ"[k])
            data.make_scale(name)
            scales.append(data)
        for name, values in columns.items():
            quantity = quantities.get(name) or quantities[name.rstrip("123")]
            data = _netcdf_variable(file, name, np.ascontiguousarray(values.T), quantity)
            for axis, scale in enumerate(scales):
                data.dims[axis].attach_scale(scale)


def _netcdf_variable(file: Any, name: str, values: Array, quantity: Quantity) -> Any:
    data = file.create_dataset(name, data=values)
    # Text of fixed length: VTK's reader passes over attributes of variable length.
    data.attrs["units"] = np.bytes_(quantity.units)
    data.attrs["long_name"] = np.bytes_(quantity.long_name)
    return data


def to_csv(solution: Solution, path: str | Path) -> None:
    """Write the fields as a table with a header, one row a cell, in full precision.

    Parameters
    ----------
    solution : Solution
        Any solution.
    path : str or Path
        The file, replaced whole.
    """
    side, grid, columns = _columns(solution)
    names = [coordinate(side, k)[0] for k in range(grid.dim)]
    table = np.column_stack([grid.points(), *(values.ravel() for values in columns.values())])
    with replacing(path) as temporary:
        header = ",".join([*names, *columns])
        np.savetxt(temporary, table, delimiter=",", fmt="%.17g", header=header, comments="")


def to_arviz(
    solution: Solution, path: str | Path, draws: int = 1000, chains: int = 4, rng: Rng = 0
) -> None:
    """Write samples of the model as a netCDF-4 file with a ``posterior`` group, as ArviZ reads.

    The samples are independent, so chains are only a way to arrange them.

    Parameters
    ----------
    solution : Solution
        Any solution.
    path : str or Path
        The file, replaced whole.
    draws, chains : int
        Points a chain, and chains.
    rng : int or Generator
        The source of randomness.
    """
    points = solution.sample(draws * chains, rng).reshape(chains, draws, -1)
    with replacing(path) as temporary, h5py.File(temporary, "w", track_order=True) as file:
        group = file.create_group("posterior", track_order=True)
        scales = []
        for axis, name in enumerate(("chain", "draw", "theta_dim")):
            scale = group.create_dataset(name, data=np.arange(points.shape[axis], dtype=np.int64))
            scale.make_scale(name)
            scales.append(scale)
        theta = group.create_dataset("theta", data=points)
        theta.attrs["long_name"] = np.bytes_("points of the model")
        for axis, scale in enumerate(scales):
            theta.dims[axis].attach_scale(scale)
        group.attrs["inference_library"] = np.bytes_("parabolic_ma")
