"""Ranges of rows shared out to threads: the kernels let go of the interpreter's lock.

How the rows are divided depends on the grid alone and partial results are combined in their order,
so that no figure depends on the number of threads or on which of them was faster.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

__all__ = ["default_threads", "in_pieces", "in_rows"]

_PIECE = 1 << 15  # cells: handing out less costs more than it saves
_MOST_PIECES = 8


def default_threads() -> int:
    """Cores that this process may use; ``NUMBA_NUM_THREADS`` and ``OMP_NUM_THREADS`` limit them."""
    counts = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()]
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
        given = os.environ.get(name, "")
        if given.isdigit() and int(given) > 0:
            counts.append(int(given))
    return min(filter(None, counts), default=1)


@lru_cache(maxsize=8)
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, "parabolic_ma")


def in_rows(
    kernel: Callable[..., Any], rows: int, cells: int, threads: int, *arguments: Any
) -> list[Any]:
    """Call ``kernel(first, last, *arguments)`` for ranges of rows; return the results in order.

    Parameters
    ----------
    kernel : callable
        Writes nothing that another range reads.
    rows : int
        Number of rows to divide.
    cells : int
        Size of the grid, which decides whether it is divided at all.
    threads : int
        Most threads to use, the caller's included.
    """
    count = min(_MOST_PIECES, cells // _PIECE, rows // 8)
    if count < 2:
        return [kernel(0, rows, *arguments)]
    bounds = [rows * k // count for k in range(count + 1)]
    return in_pieces(lambda k: kernel(bounds[k], bounds[k + 1], *arguments), count, threads)


def in_pieces(call: Callable[[int], Any], count: int, threads: int) -> list[Any]:
    """Return ``call(k)`` for all k below ``count``, worked on by up to ``threads`` threads."""
    results: list[Any] = [None] * count
    pieces = itertools.count()  # taking the next number is atomic

    def work() -> None:
        while (k := next(pieces)) < count:
            results[k] = call(k)

    others = min(threads, count) - 1
    helpers = [_pool(others).submit(work) for _ in range(others)]
    work()
    for helper in helpers:
        # one that has not come to begin, on a busy machine, is not waited for
        if not helper.cancel():
            helper.result()
    return results
