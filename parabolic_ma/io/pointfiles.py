"""Points in and out of files, in pieces: csv, npy, npz and h5."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TextIO
from zipfile import BadZipFile

import numpy as np

from parabolic_ma.io.atomic import check_room, replacing
from parabolic_ma.status import FileFormatError, InputError
from parabolic_ma.typing import Array

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["READABLE", "WRITABLE", "PointReader", "PointWriter", "read_points"]

READABLE = (".csv", ".txt", ".npy", ".npz", ".h5", ".hdf5")
WRITABLE = (".csv", ".npy", ".h5", ".hdf5")
_DATASET = "points"
_WRITE_CHUNK = 1 << 16  # rows of one chunk of a dataset: 1 MiB of points in the plane


class PointReader:
    """Rows of a file, read in pieces.

    Parameters
    ----------
    path : str or Path
        A ``csv`` (or ``txt``) table with or without a header, an ``npy`` or ``npz`` array, or an
        HDF5 file.
    columns : sequence of str or int, optional
        Names from the header, or numbers from 0; all columns if not given.
    key : str, optional
        The array in an ``npz`` or the dataset in an HDF5 file; needed if there are several and
        none is called ``points``.

    Attributes
    ----------
    rows : int
        Number of points.
    dim : int
        Number of columns.

    Raises
    ------
    InputError
        If there is no such file, column or dataset.
    FileFormatError
        If the file is not a table of numbers.
    """

    def __init__(
        self,
        path: str | Path,
        columns: Sequence[str | int] | None = None,
        key: str | None = None,
    ) -> None:
        if not isinstance(path, str | os.PathLike):
            raise InputError(f"a file is given by its name, a str or Path; got {path!r}")
        self.path = Path(path)
        if self.path.suffix.lower() not in READABLE:
            raise InputError(
                f"cannot read points from {path}: the name must end in {', '.join(READABLE)}"
            )
        if not self.path.is_file():
            raise InputError(f"there is no file {path}")
        self._key = key
        self._header: list[str] = []
        text = self.path.suffix.lower() in {".csv", ".txt"}
        if key is not None and (text or self.path.suffix.lower() == ".npy"):
            raise InputError(f"key={key!r} names an array in an npz or h5 file; {path} is neither")
        shape = self._open_text() if text else self._open_array()
        self.rows = shape[0]
        self._columns = self._select(columns, shape[1])
        self.dim = len(self._columns)

    def chunks(
        self, start: int = 0, stop: int | None = None, size: int = 1 << 20
    ) -> Iterator[Array]:
        """Read rows ``start`` to ``stop`` in pieces of at most ``size``, each ``(m, dim)``."""
        stop = self.rows if stop is None else stop
        if self.path.suffix.lower() in {".csv", ".txt"}:
            yield from self._text_chunks(start, stop, size)
            return
        with ExitStack() as stack:
            source = self._array(stack)
            for first in range(start, stop, size):
                part = np.asarray(source[first : min(first + size, stop)], dtype=np.float64)
                yield part.reshape(len(part), -1)[:, self._columns]

    def _open_array(self) -> tuple[int, int]:
        with ExitStack() as stack:
            source = self._array(stack)
            shape, dtype = source.shape, source.dtype
        if dtype.kind not in "biuf":
            raise FileFormatError(f"{self.path} holds values of type {dtype}, not real numbers")
        if len(shape) not in {1, 2}:
            raise FileFormatError(
                f"{self.path} holds an array of shape {shape}; points have shape (n, d)"
            )
        return shape[0], shape[1] if len(shape) == 2 else 1

    def _array(self, stack: ExitStack) -> Any:
        """Open the array or dataset; ``stack`` closes it."""
        suffix = self.path.suffix.lower()
        try:
            if suffix == ".npy":
                return np.load(self.path, mmap_mode="r", allow_pickle=False)
            if suffix == ".npz":
                archive = stack.enter_context(np.load(self.path, allow_pickle=False))
                return archive[self._choose(list(archive.files))]
            import h5py

            file = stack.enter_context(h5py.File(self.path, "r"))
            names: list[str] = []
            file.visititems(
                lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
            )
            return file[self._choose(names)]
        except InputError:
            raise
        except (OSError, KeyError, RuntimeError, ValueError, EOFError, BadZipFile) as error:
            # NumPy takes any file it does not know for a pickle; what it advises is no good here.
            reason = "" if "pickle" in str(error) else f" ({error})"
            raise FileFormatError(
                f"cannot read {self.path} as {suffix[1:]}; it is damaged, of another kind, or "
                f"holds objects and no numbers{reason}"
            ) from None

    def _choose(self, names: list[str]) -> str:
        if self._key is not None:
            if self._key.strip("/") in names:
                return self._key.strip("/")
            raise InputError(
                f"{self.path} has no array {self._key!r}; it has {_some(names) or 'none'}"
            )
        if _DATASET in names:
            return _DATASET
        if len(names) == 1:
            return names[0]
        raise InputError(
            f"{self.path} has {len(names)} arrays ({_some(names)}); say which with key= (--key on "
            "the command line)"
        )

    def _open_text(self) -> tuple[int, int]:
        rows, first = 0, ""
        with self._text() as handle:
            for line in self._lines(handle):
                first = first or line
                rows += 1
        if not first:
            raise FileFormatError(f"{self.path} has no rows")
        self._separator = next((s for s in (",", ";", "\t") if s in first), None)
        cells = [cell.strip().strip('"') for cell in first.split(self._separator)]
        try:
            [float(cell) for cell in cells]
        except ValueError:
            self._header, rows = cells, rows - 1
        return rows, len(cells)

    def _text(self) -> TextIO:
        return self.path.open(encoding="utf-8-sig", errors="replace")

    @staticmethod
    def _lines(handle: TextIO) -> Iterator[str]:
        return (line for line in handle if line.strip() and not line.lstrip().startswith("#"))

    def _text_chunks(self, start: int, stop: int, size: int) -> Iterator[Array]:
        with self._text() as handle:
            lines = islice(self._lines(handle), bool(self._header), None)
            rows = islice(lines, start, stop)
            first = start
            while block := list(islice(rows, size)):
                yield self._parse(block, first)
                first += len(block)

    def _parse(self, block: list[str], first: int) -> Array:
        try:
            return np.loadtxt(
                block, delimiter=self._separator, usecols=self._columns, ndmin=2, quotechar='"'
            )
        except ValueError:
            pass
        for offset, line in enumerate(block):
            cells = line.split(self._separator)
            for column in self._columns:
                try:
                    float(cells[column].strip().strip('"'))
                except (ValueError, IndexError):
                    found = repr(cells[column].strip()) if column < len(cells) else "nothing"
                    where = f"data row {first + offset + 1}, column {self._label(column)}"
                    raise FileFormatError(
                        f"{self.path}, {where}: expected a number, found {found}"
                    ) from None
        raise FileFormatError(f"{self.path} is not a table of numbers")

    def _label(self, column: int) -> str:
        return self._header[column] if self._header else str(column)

    def _select(self, columns: Sequence[str | int] | None, width: int) -> list[int]:
        if columns is None:
            return list(range(width))
        chosen = []
        for column in columns:
            if isinstance(column, str) and self._header.count(column) > 1:
                raise InputError(
                    f"{self.path} has several columns {column!r}; choose by numbers, from 0"
                )
            if isinstance(column, str) and column in self._header:
                chosen.append(self._header.index(column))
            elif not isinstance(column, str) and 0 <= column < width:
                chosen.append(int(column))
            else:
                known = _some(self._header) if self._header else "no header"
                raise InputError(
                    f"{self.path} has no column {column!r}; it has {width} columns ({known}): "
                    f"give names, or numbers from 0 to {width - 1}"
                )
        return chosen


def _some(names: list[str]) -> str:
    """The first of many names."""
    most = 8
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def read_points(
    path: str | Path, columns: Sequence[str | int] | None = None, key: str | None = None
) -> Array:
    """Read all points of a file, shape ``(n, d)``; arguments and errors as in `PointReader`."""
    reader = PointReader(path, columns, key)
    parts = list(reader.chunks())
    return np.concatenate(parts) if parts else np.empty((0, reader.dim))


class PointWriter:
    """Writes points in pieces to a file that appears whole at the end, or to standard output.

    Use as a context manager.

    Parameters
    ----------
    path : str, Path or None
        Name ending in ``csv``, ``npy`` or ``h5``; None writes csv to standard output.
    rows, dim : int
        Number of points that will be written, and of coordinates.
    names : str
        Letter of the coordinates: ``"x"`` gives columns ``x1, x2, ...``.

    Raises
    ------
    InputError
        If the ending is another, or the folder does not exist.
    """

    def __init__(self, path: str | Path | None, rows: int, dim: int, names: str = "x") -> None:
        self.path = None if path is None else Path(path)
        if self.path is not None and self.path.suffix.lower() not in WRITABLE:
            raise InputError(
                f"cannot write points to {path}: the name must end in {', '.join(WRITABLE)}"
            )
        self._shape = (rows, dim)
        self._names = [f"{names}{k + 1}" for k in range(dim)]
        if self.path is not None:
            # A number takes 8 bytes, as text most often 20.
            check_room(self.path, rows * dim * (20 if self.path.suffix.lower() == ".csv" else 8))
        self._stack = ExitStack()
        self._sink: Any = None
        self._done = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._sink = self._open(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._sink = None
        self._stack.__exit__(kind, error, traceback)

    def append(self, points: Array) -> None:
        """Write ``(m, dim)`` points after the ones before."""
        if isinstance(self._sink, list):
            np.savetxt(self._sink[0], points, delimiter=",", fmt="%.17g")
        else:
            self._sink[self._done : self._done + len(points)] = points
        self._done += len(points)

    def _open(self, stack: ExitStack) -> Any:
        if self.path is None:
            return self._table(sys.stdout)
        temporary = stack.enter_context(replacing(self.path))
        suffix = self.path.suffix.lower()
        if suffix == ".csv":
            return self._table(stack.enter_context(temporary.open("w", encoding="utf-8")))
        if suffix == ".npy":
            # Opening with "w+" maps the file; the map is closed with the last reference to it.
            return np.lib.format.open_memmap(
                temporary, mode="w+", dtype=np.float64, shape=self._shape
            )
        import h5py

        file = stack.enter_context(h5py.File(temporary, "w", track_order=True))
        chunks = (max(1, min(_WRITE_CHUNK, self._shape[0])), self._shape[1])
        data = file.create_dataset(
            _DATASET, self._shape, np.float64, chunks=chunks if self._shape[0] else None
        )
        data.attrs["long_name"] = np.bytes_("points, one a row")
        data.attrs["columns"] = np.bytes_(",".join(self._names))
        return data

    def _table(self, handle: TextIO) -> list[TextIO]:
        handle.write(",".join(self._names) + "\n")
        return [handle]
