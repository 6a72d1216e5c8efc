"""The CUDA sources, by name, and which kernel is in which of them."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

__all__ = ["FOLDER", "SOURCES", "kernels_of", "source_of", "text_of"]

FOLDER = Path(__file__).parent / "sources"

SOURCES = tuple(sorted(path.stem for path in FOLDER.glob("*.cu")))

_INCLUDE = re.compile(r'^#include "([^"]+)"$', re.MULTILINE)
_KERNEL = re.compile(r"^KERNEL\s+(?:__launch_bounds__\(\w+\)\s+)?(\w+)\(", re.MULTILINE)


@cache
def text_of(source: str) -> str:
    """Return a source with its headers in place: what a compiler sees, and caches by."""
    included: set[str] = set()

    def expanded(name: str) -> str:
        def header(match: re.Match[str]) -> str:
            if match[1] in included:
                return ""
            included.add(match[1])
            return expanded(match[1])

        return _INCLUDE.sub(header, (FOLDER / name).read_text(encoding="utf-8"))

    return expanded(f"{source}.cu")


def kernels_of(source: str) -> list[str]:
    """List the kernels of a source."""
    return _KERNEL.findall((FOLDER / f"{source}.cu").read_text(encoding="utf-8"))


@cache
def _places() -> dict[str, str]:
    return {kernel: source for source in SOURCES for kernel in kernels_of(source)}


def source_of(kernel: str) -> str:
    """Return which source a kernel is in."""
    return _places()[kernel]
