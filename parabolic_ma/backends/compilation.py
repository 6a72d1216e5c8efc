"""How long kernels take to compile, on a machine where no earlier run left them in the cache."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from numba.core import event

__all__ = ["CompileTimer"]

_KIND = "numba:compile"  # of the events around a compilation; loading from the cache has none


class CompileTimer(event.Listener):
    """Adds up the seconds in which numba compiles, in a ``with`` block.

    Parameters
    ----------
    on_first : callable
        Called without arguments when the first compilation begins.

    Attributes
    ----------
    seconds : float
        So far; 0 if every kernel came from numba's cache.
    """

    def __init__(self, on_first: Callable[[], None]) -> None:
        self.seconds = 0.0
        self._on_first: Callable[[], None] | None = on_first
        self._depth = 0  # a kernel compiles those that it calls
        self._begin = 0.0

    def __enter__(self) -> Self:
        event.register(_KIND, self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        event.unregister(_KIND, self)

    def on_start(self, event: event.Event) -> None:
        """Start the clock with the outermost compilation."""
        if self._on_first is not None:
            self._on_first()
            self._on_first = None
        if self._depth == 0:
            self._begin = time.perf_counter()
        self._depth += 1

    def on_end(self, event: event.Event) -> None:
        """Stop the clock with the outermost compilation."""
        self._depth -= 1
        if self._depth == 0:
            self.seconds += time.perf_counter() - self._begin
