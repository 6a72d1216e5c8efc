"""Networks in HDF5 files: their architecture as TOML, their weights as arrays, no pickle."""

from __future__ import annotations

import sys
import tomllib
from typing import Any

import h5py
import numpy as np

from parabolic_ma.io.hdf5_items import (
    as_text,
    make_group,
    read_attributes,
    set_texts,
    write_dataset,
)
from parabolic_ma.io.schema import Quantity
from parabolic_ma.io.tomltext import dump
from parabolic_ma.maps import TransportMap
from parabolic_ma.status import MissingExtraError

__all__ = ["is_neural", "read_network", "write_network"]

_FRAME = {
    "axes": Quantity("1", "P of the frame psi(y) = s^2 h(P^T (y - m) / s) + <b, y>"),
    "scale": Quantity("1", "s of the frame"),
    "center": Quantity("length", "m of the frame"),
    "image": Quantity("length", "b of the frame"),
    "variances": Quantity("1", "variances of both measures in the frame"),
}
_LARGEST_WEIGHTS = 1 << 28  # numbers: a file that claims more is damaged


def is_neural(transport: object) -> bool:
    """Whether a map is a network's, told without loading torch."""
    module = sys.modules.get("parabolic_ma.neural.neural_map")
    return module is not None and isinstance(transport, module.NeuralMap)


def write_network(group: Any, transport: Any) -> None:
    """Write the network of a `NeuralMap` with its frame."""
    set_texts(group, {"side": transport.side})
    write_dataset(group, "architecture", dump({"network": transport.network.architecture()}))
    frame = make_group(group, "frame")
    for name, quantity in _FRAME.items():
        write_dataset(frame, name, getattr(transport.frame, name), quantity)
    weights = make_group(group, "weights")
    for name, values in transport.network.state_dict().items():
        write_dataset(weights, name, values.detach().cpu().numpy())


def read_network(group: Any) -> TransportMap:
    """Make the map of a network that `write_network` wrote, bit for bit.

    Raises
    ------
    MissingExtraError
        If torch is not installed.
    """
    try:
        from parabolic_ma.neural.frame import Frame
        from parabolic_ma.neural.neural_map import NeuralMap
        from parabolic_ma.neural.potentials import rebuild_potential
    except ImportError:
        raise MissingExtraError("A solution whose map is a network", "neural") from None
    architecture = tomllib.loads(as_text(group["architecture"][()]))["network"]
    sizes = [int(v) for v in architecture.values() if isinstance(v, int)]
    if any(size < 0 or size > 1 << 20 for size in sizes):
        raise ValueError(f"its network has the sizes {sizes}")
    stored = {
        name: data for name, data in group["weights"].items() if isinstance(data, h5py.Dataset)
    }
    if sum(data.size for data in stored.values()) > _LARGEST_WEIGHTS:
        raise ValueError("its network has too many weights")
    weights = {name: np.array(data[()]) for name, data in stored.items()}
    network = rebuild_potential(architecture, weights)
    own = group["frame"]
    frame = Frame(
        own["axes"][()],
        float(own["scale"][()]),
        own["center"][()],
        own["image"][()],
        own["variances"][()],
    )
    if frame.axes.shape != (frame.dim, frame.dim) or frame.dim != network.dim:
        raise ValueError(f"its frame has the shape {frame.axes.shape}, its network {network.dim}")
    side = read_attributes(group)["side"]
    if side not in {"reference", "target"}:
        raise ValueError(f"its network is on the side {side!r}")
    return NeuralMap(network, frame, side)
