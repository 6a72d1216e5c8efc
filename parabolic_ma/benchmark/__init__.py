"""Accuracy and speed on problems with known answers, printed by ``parabolic-ma bench``.

Every case is measured on its own, on the machine at hand: one that breaks becomes a row that says
why, and the others go on. Times are seconds of processor, so that other programs disturb them
little.
"""

from __future__ import annotations

import dataclasses
import os
import platform
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import parabolic_ma
from parabolic_ma.benchmark.cases import CASES
from parabolic_ma.benchmark.rows import TIME_UNITS, Row, failed, without_success
from parabolic_ma.status import InputError

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Row", "as_json", "as_table", "names", "run"]

_LIBRARIES = ("numpy", "scipy", "numba")


def names() -> tuple[str, ...]:
    """Names of all cases, in order."""
    return tuple(CASES)


def run(
    names: Sequence[str] | None = None,
    quick: bool = False,
    report: Callable[[str], None] | None = None,
) -> list[Row]:
    """Measure the benchmark cases.

    Parameters
    ----------
    names : sequence of str, optional
        The cases to measure, in this order; all without it.
    quick : bool
        Whether to use coarse grids: goals of accuracy are scaled to them at second order, and
        times have no goal.
    report : callable, optional
        Told the name of every case before it starts.

    Returns
    -------
    list of Row
        One row a figure.

    Raises
    ------
    InputError
        For a name that is not a case.
    """
    chosen = tuple(CASES) if not names else tuple(names)
    for name in chosen:
        if name not in CASES:
            raise InputError(f"there is no benchmark {name!r}; there are {', '.join(CASES)}")
    rows: list[Row] = []
    for name in chosen:
        if report is not None:
            report(name)
        rows.extend(_measure(name, quick))
    return rows


def _measure(name: str, quick: bool) -> list[Row]:
    """Return the rows of one case, whatever happens."""
    rows: list[Row] = []
    try:
        # Row by row: what was measured before a failure is kept.
        for row in CASES[name](quick):
            rows.append(row)  # noqa: PERF402 - extend would lose the rows before an exception
    except Exception as error:  # noqa: BLE001 - whatever breaks is a result of the benchmark
        rows.append(failed(name, error))
    if any(row.met is False and row.figure.startswith("status") for row in rows):
        return [without_success(row) if row.unit in TIME_UNITS else row for row in rows]
    return rows


def as_table(rows: Sequence[Row]) -> Table:
    """Lay the rows out for a terminal.

    Parameters
    ----------
    rows : sequence of Row

    Returns
    -------
    rich.table.Table
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    met = sum(row.met is True for row in rows)
    missed = sum(row.met is False for row in rows)
    caption = " | ".join(f"{name} {value}" for name, value in _machine().items())
    table = Table(title=f"{met} goals met, {missed} missed", caption=caption, box=box.SIMPLE_HEAD)
    table.add_column("case", no_wrap=True)
    table.add_column("figure")
    table.add_column("measured", justify="right", no_wrap=True)
    table.add_column("goal", justify="right", no_wrap=True)
    table.add_column("met", no_wrap=True)
    table.add_column("note", style="dim")
    marks = {True: Text("yes", "green"), False: Text("NO", "bold red"), None: Text("")}
    last = None
    for row in rows:
        if last is not None and row.case != last:
            table.add_section()
        table.add_row(
            Text(row.case if row.case != last else ""),
            Text(row.figure),
            Text(f"{row.measured_text} {row.unit}".strip()),
            Text(row.goal),
            marks[row.met],
            Text(row.note),
        )
        last = row.case
    return table


def as_json(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the rows and the machine as plain dictionaries, for JSON."""
    return {"machine": _machine(), "rows": [dataclasses.asdict(row) for row in rows]}


def _machine() -> dict[str, str]:
    """What the figures depend on."""
    return {
        "parabolic_ma": parabolic_ma.__version__,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in _LIBRARIES},
        "processor": f"{_processor()}, {os.cpu_count()} cores",
    }


def _processor() -> str:
    """Name of the processor, where the system tells."""
    try:
        facts = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        facts = ""
    for line in facts.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()
