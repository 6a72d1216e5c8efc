"""Plain dictionaries to TOML text and back, with errors that name the place."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec
import numpy as np

from parabolic_ma.status import FileFormatError, InputError, MissingExtraError

__all__ = ["convert", "dump", "parse", "place"]

T = TypeVar("T")


def parse(text: str, source: str) -> dict[str, Any]:
    """Parse TOML; ``source`` names the text in the error.

    Raises
    ------
    FileFormatError
        If it is not valid TOML; says the line and column.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FileFormatError(f"{source} is not valid TOML: {error}") from None


def convert(table: Any, kind: type[T], source: str) -> T:
    """Check a table against a msgspec struct.

    Raises
    ------
    InputError
        If a key is unknown, missing, or of the wrong type; names the place as ``$.target.covs``.
    """
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise InputError(f"{source}: {error}") from None


@contextmanager
def place(source: str, where: str, fields: tuple[str, ...] = ()) -> Iterator[None]:
    """Put the place in a file before the message of an `InputError` raised inside.

    Parameters
    ----------
    source : str
        The file.
    where : str
        The table, as ``$.target``.
    fields : tuple of str
        Keys of the table: a message that begins with one of them is about that key.
    """
    try:
        yield
    except MissingExtraError:
        raise
    except InputError as error:
        message = str(error)
        first = re.match(r"\w*", message)
        exact = f"{where}.{first[0]}" if first and first[0] in fields else where
        raise InputError(f"{source}: {message} - at `{exact}`") from error


def dump(table: Mapping[str, Any]) -> str:
    """Write a dictionary as TOML: its values first, then its tables; None is left out.

    Numbers keep every digit. Tables may not be nested.
    """
    lines = [
        f"{key} = {_value(value)}"
        for key, value in table.items()
        if value is not None and not isinstance(value, Mapping)
    ]
    for key, value in table.items():
        if isinstance(value, Mapping):
            lines += ["", f"[{key}]"] if lines else [f"[{key}]"]
            lines += [f"{k} = {_value(v)}" for k, v in value.items() if v is not None]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # TOML's basic strings are JSON's, but for the delete character.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    if isinstance(value, float):
        if math.isnan(value):
            return "nan"
        if math.isinf(value):
            return "inf" if value > 0 else "-inf"
        return repr(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    raise InputError(f"a value of type {type(value).__name__} has no TOML form: {value!r}")
