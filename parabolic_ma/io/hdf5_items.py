"""Groups, datasets and attributes of HDF5 files, as all readers of such files understand them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from parabolic_ma.grid import Grid
from parabolic_ma.io import schema
from parabolic_ma.io.schema import Quantity, coordinate
from parabolic_ma.typing import Array

__all__ = [
    "as_text",
    "attach",
    "make_group",
    "read_attributes",
    "set_texts",
    "write_dataset",
    "write_fields",
    "write_scale",
]

_CHUNK_BYTES = 1 << 20


def make_group(parent: Any, name: str) -> Any:
    """Make a group that keeps the order of its items."""
    return parent.create_group(name, track_order=True)


def set_texts(item: Any, values: Mapping[str, str]) -> None:
    """Set attributes of fixed length: readers built on VTK ignore those of variable length."""
    for name, value in values.items():
        item.attrs[name] = np.bytes_(value.encode())


def as_text(value: Any) -> str:
    """Return text that is stored in either way."""
    return value.decode() if isinstance(value, bytes) else str(value)


def read_attributes(item: Any) -> dict[str, Any]:
    """Return the attributes of a file, group or dataset, with text as ``str``."""
    return {
        name: as_text(value) if isinstance(value, bytes | str) else value
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
        set_texts(data, {"units": quantity.units, "long_name": quantity.long_name})
    return data


def write_scale(group: Any, name: str, values: Array, quantity: Quantity) -> Any:
    """Write a coordinate, for `attach`."""
    data = write_dataset(group, name, values, quantity)
    data.make_scale(name)
    return data


def attach(data: Any, scales: list[Any]) -> None:
    """Give the axes of a dataset their coordinates."""
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
        write_scale(group, "component", index, Quantity("1", "coordinate of a vector"))
    axes = []
    for k in range(grid.dim):
        name, quantity = coordinate(side, k)
        axes.append(write_scale(group, name, grid.axis(k), quantity))
        axes[-1].attrs["lower"], axes[-1].attrs["upper"] = grid.box.lower[k], grid.box.upper[k]
    for name, values in arrays.items():
        data = write_dataset(group, name, values, quantities[name])
        attach(data, [*axes, group["component"]][: data.ndim])
