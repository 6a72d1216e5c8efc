"""Potentials on a grid in HDF5 files, and what a flow kept of them over time."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np

from parabolic_ma.grid import Box, Grid
from parabolic_ma.io import schema
from parabolic_ma.io.hdf5_items import (
    attach,
    make_group,
    read_attributes,
    set_texts,
    write_dataset,
    write_scale,
)
from parabolic_ma.io.schema import Quantity, coordinate
from parabolic_ma.maps import TransportMap
from parabolic_ma.measures import GridDensity
from parabolic_ma.operators.grid_map import GridMap
from parabolic_ma.solution import GridFields, GridPotential, Solution
from parabolic_ma.status import InputError
from parabolic_ma.typing import Array

__all__ = [
    "read_average",
    "read_potential",
    "read_saved",
    "write_average",
    "write_quadratic",
    "write_saved",
]


def read_potential(group: Any, correction: Array) -> GridPotential:
    """Put the quadratic part that a group holds and a correction together."""
    box = Box(tuple(group["lower"][()].tolist()), tuple(group["upper"][()].tolist()))
    shapes = {name: group[name].shape for name in ("matrix", "center", "image")}
    if shapes != {"matrix": (box.dim, box.dim), "center": (box.dim,), "image": (box.dim,)}:
        raise ValueError(
            f"the quadratic part of the map has shapes {shapes} in dimension {box.dim}"
        )
    return GridPotential(
        grid=Grid(box, correction.shape),
        correction=correction,
        matrix=group["matrix"][()],
        center=group["center"][()],
        image=group["image"][()],
        boundary=read_attributes(group)["boundary"],
    )


def write_quadratic(group: Any, potential: GridPotential) -> None:
    """Write all of a potential but its correction."""
    set_texts(group, {"map": "grid", "boundary": potential.boundary})
    length = Quantity("length", "corner of the box of the solver's grid")
    write_dataset(group, "lower", np.array(potential.grid.box.lower), length)
    write_dataset(group, "upper", np.array(potential.grid.box.upper), length)
    write_dataset(group, "matrix", potential.matrix, Quantity("1", "Hessian of the quadratic part"))
    write_dataset(
        group, "center", potential.center, Quantity("length", "centre of the quadratic part")
    )
    write_dataset(group, "image", potential.image, Quantity("length", "image of the centre"))


def write_saved(group: Any, solution: Solution) -> None:
    """Write the maps that a flow kept, those of one grid and quadratic part together."""
    own = None if solution.fields is None else GridMap(solution.fields.potential, solution.side)
    rest: list[tuple[float, GridMap]] = []
    for t, transport in solution.saved:
        if not isinstance(transport, GridMap):
            raise InputError(
                f"a saved map that is a {type(transport).__name__} cannot be written; a file holds "
                "the grid maps of flows"
            )
        rest.append((t, transport))
    number = 0
    while rest:
        like = own if number == 0 and own is not None else rest[0][1]
        stack = [(t, m) for t, m in rest if _same_quadratic(m, like)]
        rest = [(t, m) for t, m in rest if not _same_quadratic(m, like)]
        if like is own:
            place = group  # its quadratic part is that of /state
        else:
            place = make_group(group, f"grid{number}")
            set_texts(place, {"side": like.side})
            write_quadratic(place, like.grid_potential)
        if stack:
            _write_stack(place, like.side, [(t, m.grid_potential) for t, m in stack])
        number += 1


def _same_quadratic(one: GridMap, two: GridMap) -> bool:
    a, b = one.grid_potential, two.grid_potential
    return (one.side, a.grid, a.boundary) == (two.side, b.grid, b.boundary) and all(
        np.array_equal(getattr(a, name), getattr(b, name)) for name in ("matrix", "center", "image")
    )


def _write_stack(group: Any, side: str, kept: Sequence[tuple[float, GridPotential]]) -> None:
    """Write maps of one grid as one array over time, compressed one by one."""
    grid = kept[0][1].grid
    scales = [write_scale(group, "t", np.array([t for t, _ in kept]), schema.SAVED["t"])]
    for k in range(grid.dim):
        name, quantity = coordinate(side, k)
        scales.append(write_scale(group, name, grid.axis(k), quantity))
    data = group.create_dataset(
        "correction",
        shape=(len(kept), *grid.shape),
        dtype=float,
        chunks=(1, *grid.shape),
        compression="gzip",
        compression_opts=1,
        shuffle=True,
    )
    for k, (_, potential) in enumerate(kept):
        data[k] = potential.correction
    quantity = schema.SAVED["correction"]
    set_texts(data, {"units": quantity.units, "long_name": quantity.long_name})
    attach(data, scales)


def read_saved(
    group: Any, side: str, fields: GridFields | None
) -> tuple[tuple[float, TransportMap], ...]:
    """Return the maps that a flow kept, by time."""
    kept: list[tuple[float, TransportMap]] = []
    for own in (group, *(item for item in group.values() if isinstance(item, h5py.Group))):
        if "t" not in own:
            continue
        times, corrections = own["t"][()].tolist(), own["correction"]
        if len(times) != len(corrections):
            raise ValueError(f"{own.name} has {len(times)} times and {len(corrections)} maps")
        own_side = side if own is group else read_attributes(own)["side"]
        for k, t in enumerate(times):
            if own is not group:
                potential = read_potential(own, corrections[k])
            elif fields is not None and corrections.shape[1:] == fields.potential.grid.shape:
                potential = dataclasses.replace(fields.potential, correction=corrections[k])
            else:
                raise ValueError(f"maps in {own.name} do not fit the grid of /state")
            kept.append((t, GridMap(potential, own_side)))
    return tuple(sorted(kept, key=lambda pair: pair[0]))


def write_average(group: Any, average: GridDensity) -> None:
    """Write the average iterate, on axes of the target's side."""
    scales = []
    for k in range(average.dim):
        name, quantity = coordinate("target", k)
        scales.append(write_scale(group, name, average.grid.axis(k), quantity))
        scales[k].attrs["lower"], scales[k].attrs["upper"] = (
            average.box.lower[k],
            average.box.upper[k],
        )
    for name, quantity in schema.AVERAGE.items():
        value = average.values if name == "density" else getattr(average, name)
        write_dataset(group, name, value, quantity)
    attach(group["density"], scales)


def read_average(group: Any) -> GridDensity:
    """Return the average iterate bit for bit: its values are not normalised a second time."""
    values = group["density"][()]
    axes = [group[coordinate("target", k)[0]].attrs for k in range(values.ndim)]
    box = [(float(axis["lower"]), float(axis["upper"])) for axis in axes]
    average = GridDensity(values, box, float(group["floor"][()]))
    object.__setattr__(average, "values", values)
    object.__setattr__(average, "floored_mass", float(group["floored_mass"][()]))
    return average
