"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from parabolic_ma.status import InputError

__all__ = ["check_outputs", "check_room", "check_writable", "replacing"]


def check_writable(path: str | Path) -> Path:
    """Return the file that writing to ``path`` replaces, symbolic links followed.

    Raises
    ------
    InputError
        If ``path`` is no path, a folder, a device or a read-only file, or its folder does not
        exist or cannot be written to.
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"a file is given by its name, a str or Path; got {path!r}")
    if not str(path) or "\0" in str(path):
        raise InputError(f"cannot write to {str(path)!r}: that is no name of a file")
    target = Path(os.path.realpath(path))
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        mode = None
    except OSError as error:
        if error.errno != errno.ENOTDIR:
            raise InputError(f"cannot write {path}: {error.strerror}") from None
        mode = None
    if mode is not None and stat.S_ISDIR(mode):
        raise InputError(f"cannot write {path}: it is a folder; give the name of a file in it")
    if not target.parent.is_dir():
        folder = target.parent if Path(path).parent.is_dir() else Path(path).parent
        raise InputError(
            f"cannot write {path}: the folder {folder} does not exist; create it first"
        )
    # A rename would put a plain file in the place of a device, and asks no file for permission.
    if mode is not None and not stat.S_ISREG(mode):
        raise InputError(f"cannot write {path}: it is no plain file; give the name of one")
    if mode is not None and not mode & 0o222:
        raise InputError(
            f"cannot write {path}: the file is read-only; give another name, or allow writing to it"
        )
    if not os.access(target.parent, os.W_OK):
        raise InputError(f"cannot write {path}: no permission to write to {target.parent}")
    return target


def check_room(path: str | Path, size: int) -> None:
    """Refuse a file of ``size`` bytes that the disk has no room for, before writing any of it.

    Raises
    ------
    InputError
        If there is no room, or for the reasons of `check_writable`.
    """
    folder = check_writable(path).parent
    free = shutil.disk_usage(folder).free
    if size > free:
        raise InputError(
            f"cannot write {path}: it needs about {size / 2**30:.3g} GiB and {free / 2**30:.3g} "
            f"GiB are free in {folder}; write less, or to another disk"
        )


def check_outputs(outputs: Sequence[Path | None], inputs: Sequence[Path | None]) -> None:
    """Look before the work at what could go wrong with its files after it.

    Parameters
    ----------
    outputs : sequence of Path or None
        Files that will be written; None is passed over.
    inputs : sequence of Path or None
        Files that are read.

    Raises
    ------
    InputError
        If one cannot be written, is given twice, or would take the place of an input.
    """
    taken = {path.resolve() for path in inputs if path is not None}
    written: set[Path] = set()
    for path in outputs:
        if path is None:
            continue
        target = check_writable(path)
        if target in taken:
            raise InputError(
                f"cannot write {path}: it is a file that is read; give another name for the result"
            )
        if target in written:
            raise InputError(f"two results go to {path}; give each a name of its own")
        written.add(target)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give the name of a temporary file that takes the place of ``path`` when the block ends well.

    The temporary file lies in the same folder, so the last step is one rename; when the block
    fails, it is removed and an older file at ``path`` is left as it was.

    Parameters
    ----------
    path : str or Path
        The file to write. A symbolic link is followed.

    Yields
    ------
    Path
        Where to write.

    Raises
    ------
    InputError
        If the file cannot be written: see `check_writable`.
    OSError
        If writing it fails: the disk is full, for instance.
    """
    target = check_writable(path)
    # The ending stays last: writers choose their format by it. A short name leaves room for it.
    temporary = target.with_name(f".{target.stem[:64]}.{secrets.token_hex(4)}.part{target.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(
            f"cannot write {path}: {reason}; nothing was left behind, and an older file of that "
            "name is as it was"
        ) from error
    finally:
        _remove(temporary)


def _remove(path: Path) -> None:
    """Remove a file if it is there; a folder that takes no file at all holds none."""
    with suppress(OSError):
        path.unlink()
