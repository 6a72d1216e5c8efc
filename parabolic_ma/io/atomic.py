"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from parabolic_ma.status import InputError

__all__ = ["replacing"]


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
        If ``path`` is a folder, or its folder does not exist or cannot be written to.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise InputError(f"cannot write {path}: it is a folder; give the name of a file in it")
    if not target.parent.is_dir():
        raise InputError(
            f"cannot write {path}: the folder {target.parent} does not exist; create it first"
        )
    if not os.access(target.parent, os.W_OK):
        raise InputError(f"cannot write {path}: no permission to write to {target.parent}")
    # The ending stays last: writers choose their format by it.
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.part{target.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
