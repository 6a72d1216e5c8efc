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
import msgspec.inspect
import numpy as np

from parabolic_ma.status import FileFormatError, InputError, MissingExtraError

__all__ = ["convert", "dump", "parse", "place"]

T = TypeVar("T")

# What msgspec says, in the words of TOML.
_WORDS = {
    "Object contains unknown field": "unknown key",
    "Object missing required field": "missing key",
    "Invalid enum value": "invalid value",
    "Invalid value": "invalid value",
    " | null": "",
    "object": "table",
    "array": "list",
}


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
        If a key is unknown, missing, or of the wrong type; names the place as ``$.target.covs``,
        and the keys or values that are allowed there.
    """
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        message = str(error)
        allowed = _allowed(message, table, kind)
        for theirs, ours in _WORDS.items():
            message = message.replace(theirs, ours)
        raise InputError(f"{source}: {message}{allowed}") from None


def _allowed(message: str, table: Any, kind: Any) -> str:
    """Name the keys or values that are allowed at the place that a message of msgspec is about."""
    place = re.search(r"`\$([^`]*)`$", message)
    steps = re.findall(r"\.(\w+)", place[1] if place else "")
    node = msgspec.inspect.type_info(kind)
    for step in steps:
        structs = _structs(node, table)
        if len(structs) > 1 or (structs and step == structs[0].tag_field):
            return _kinds(structs)  # the tag itself is wrong
        fields = {f.encode_name: f.type for f in structs[0].fields} if structs else {}
        if step not in fields:
            return ""
        node, table = fields[step], table.get(step) if isinstance(table, Mapping) else None
    structs = _structs(node, table)
    if "unknown field" in message and len(structs) == 1:
        tag = structs[0].tag_field
        names = [f.encode_name for f in structs[0].fields if f.encode_name != "stored"]
        return _choice([*([tag] if tag else []), *names])
    if "missing required field `kind`" in message:
        return _kinds(structs)
    values = [str(v) for n in _alternatives(node) for v in getattr(n, "values", ())]
    if any(isinstance(n, msgspec.inspect.FloatType) for n in _alternatives(node)):
        values.append("a number")
    return _choice(values) if "Invalid enum value" in message else ""


def _alternatives(node: Any) -> tuple[Any, ...]:
    """The types of a union, or the type itself, without what stands for nothing given."""
    return tuple(getattr(node, "types", (node,)))


def _structs(node: Any, table: Any) -> list[Any]:
    """The tables that may be meant: the one that ``kind`` names, or all of them."""
    found = [n for n in _alternatives(node) if isinstance(n, msgspec.inspect.StructType)]
    named = [n for n in found if isinstance(table, Mapping) and n.tag == table.get(n.tag_field)]
    return named if len(found) > 1 and named else found


def _kinds(structs: list[Any]) -> str:
    """The kinds of table that a user may write; the others stand in solution files only."""
    return _choice(sorted(str(s.tag) for s in structs if s.tag != "tabulated"))


def _choice(names: list[str]) -> str:
    return f" (allowed: {', '.join(names)})"


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

    Numbers keep every digit. A table within a table is written inline.
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
    if isinstance(value, Mapping):
        pairs = (f"{k} = {_value(v)}" for k, v in value.items() if v is not None)
        return "{" + ", ".join(pairs) + "}"
    raise InputError(f"a value of type {type(value).__name__} has no TOML form: {value!r}")
