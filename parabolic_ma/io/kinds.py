"""Which kind of file a name stands for."""

from __future__ import annotations

from pathlib import Path

from parabolic_ma.io.pointfiles import READABLE

__all__ = ["holds_points"]

_HDF5 = (".h5", ".hdf5")


def holds_points(path: str | Path) -> bool:
    """Whether a file is to be read as points, and not as a solution.

    The ending decides; an HDF5 file is a solution if it says which schema it follows. A file that
    cannot be opened counts as a solution, whose reader says what is wrong with it.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _HDF5:
        return suffix in READABLE
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return "schema_version" not in file.attrs
    except OSError:
        return False
