"""The small data sets that come with the package.

Origin, licence and checksums are in ``data/README.md``. In a source checkout the files lie at the
top of the repository, in an installed package inside it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from parabolic_ma.status import InputError
from parabolic_ma.typing import Array

__all__ = [
    "COLOUR_PICTURES",
    "PICTURES",
    "POSTERIORS",
    "bioassay",
    "colour_picture",
    "colour_samples",
    "data_path",
    "old_faithful",
    "picture",
    "posterior_data",
]

PICTURES = ("camera", "astronaut", "coffee", "chelsea", "rocket")
_PICTURE_SIZES = (32, 64, 128)
COLOUR_PICTURES = ("coffee", "chelsea")
POSTERIORS = ("kilpisjarvi_mod", "kidiq", "sblrc", "arK", "mesquite", "eight_schools")


def data_path(name: str) -> Path:
    """Return the path of a data file.

    Parameters
    ----------
    name : str
        File name, such as ``"old_faithful.csv"``.

    Raises
    ------
    InputError
        If there is no such file.
    """
    package = Path(__file__).resolve().parent
    folders = [folder for folder in (package / "data", package.parent / "data") if folder.is_dir()]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    known = sorted(path.name for folder in folders for path in folder.glob("*.[cn][sp][vz]"))
    raise InputError(f"no data file {name!r} comes with the package; there are {', '.join(known)}")


def old_faithful() -> Array:
    """Eruptions of Old Faithful, shape ``(272, 2)``: duration and waiting time in minutes."""
    return np.loadtxt(data_path("old_faithful.csv"), delimiter=",", skiprows=1)


def bioassay() -> Array:
    """A dose-response experiment, shape ``(4, 3)``: log dose, number of animals, deaths."""
    return np.loadtxt(data_path("bioassay.csv"), delimiter=",", skiprows=1)


def posterior_data(name: str) -> Array:
    """Return the data of a posterior of posteriordb, one row an observation.

    Parameters
    ----------
    name : str
        One of `POSTERIORS`; the columns are named in the first line of the file.

    Returns
    -------
    ndarray, shape (n, columns)
        For the time series ``arK``, which has one column, ``(n,)``.
    """
    if name not in POSTERIORS:
        raise InputError(f"there are no data {name!r}; posteriors are {', '.join(POSTERIORS)}")
    return np.loadtxt(data_path(f"{name}.csv"), delimiter=",", skiprows=1)


def picture(name: str, size: int = 64) -> Array:
    """Return a grey picture, rows from the top down, shape ``(size, size)``, all values positive.

    Parameters
    ----------
    name : str
        One of `PICTURES`.
    size : {32, 64, 128}
        Pixels on a side.
    """
    if name not in PICTURES or size not in _PICTURE_SIZES:
        raise InputError(
            f"there is no picture {name!r} with {size} pixels on a side; pictures are "
            f"{', '.join(PICTURES)}, sizes {', '.join(map(str, _PICTURE_SIZES))}"
        )
    with np.load(data_path("pictures.npz")) as archive:
        return np.asarray(archive[f"{name}_{size}"], dtype=np.float64)


def colour_picture(name: str) -> Array:
    """Return a picture in colour, rows from the top down, ``(128, 128, 3)``: RGB in [0, 1].

    Parameters
    ----------
    name : str
        One of `COLOUR_PICTURES`, a cup of coffee and a cat.
    """
    if name not in COLOUR_PICTURES:
        raise InputError(
            f"there is no picture {name!r} in colour; there are {', '.join(COLOUR_PICTURES)}"
        )
    with np.load(data_path("colour_pictures.npz")) as archive:
        return np.asarray(archive[name] / 255.0)


def colour_samples() -> tuple[Array, Array]:
    """Colours of two pictures, a cup of coffee and a cat, each ``(8000, 3)``: RGB in [0, 1]."""
    with np.load(data_path("colour_coffee_chelsea.npz")) as archive:
        return archive["a"] / 255.0, archive["b"] / 255.0
