"""The benchmark on coarse grids: its structure and its figures of accuracy, never a time.

This folder measures; nothing in it asserts a time.

* ``parabolic-ma bench`` prints the table of goals and figures, ``--json`` for other programs; the
  cases are in ``parabolic_ma/benchmark/cases.py``. With all cases it takes about a minute.
* ``bench_map.py`` measures the evaluation of maps, on shapes that are hard to invert.
* ``NOTES.md`` keeps what was measured, where and when, beside what was expected.
"""

from __future__ import annotations

import math

import pytest
from rich.console import Console

from parabolic_ma import benchmark, catalog
from parabolic_ma.benchmark import cases, rows, splu_newton
from parabolic_ma.benchmark.measure import bytes_a_point, solver, tabulated, trace
from parabolic_ma.status import InputError

# Cases that are in their asymptotic range on the coarse grids, with figures that measure accuracy.
ACCURATE = {
    "cosine_square": ("map error 64x64", "map error 128x128", "least order at a doubling"),
    "four_spots": ("status", "W2^2 error 128x128"),
    "gaussian": ("status", "map error 64x64"),
    "ring": ("status", "mass error 128x128", "W2^2 error"),
    "double_well": ("status", "mass error 64x64", "order of the mass error"),
    "mix1_sd": ("status", "map error n = 1024", "least order at a doubling"),
}
TIMED = {"s", "x", "bytes/point", "Mpoints/s"}


@pytest.fixture(scope="module")
def measured() -> list[benchmark.Row]:
    """All cases on coarse grids."""
    return benchmark.run(quick=True)


def test_every_case_gives_rows_and_none_breaks(measured: list[benchmark.Row]) -> None:
    assert list(dict.fromkeys(row.case for row in measured)) == list(benchmark.names())
    assert [row for row in measured if row.note.startswith("failed:")] == []


def test_rows_say_what_and_how_much(measured: list[benchmark.Row]) -> None:
    keys = [(row.case, row.figure) for row in measured]
    assert len(keys) == len(set(keys))
    for row in measured:
        assert row.figure
        assert (row.goal == "") == (row.met is None)
        assert isinstance(row.measured, str) or math.isfinite(row.measured), row
        assert row.measured_text


def test_times_have_no_goal_on_coarse_grids(measured: list[benchmark.Row]) -> None:
    timed = [row for row in measured if row.unit in TIMED]
    assert len(timed) >= 10
    assert {row.met for row in timed} == {None}
    assert min(row.measured for row in timed) >= 0.0


@pytest.mark.parametrize("case", ACCURATE)
def test_accuracy(measured: list[benchmark.Row], case: str) -> None:
    found = {row.figure: row for row in measured if row.case == case}
    for figure in ACCURATE[case]:
        assert found[figure].met is True, found[figure]


def test_a_case_that_breaks_is_a_row_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_quick: bool):
        yield rows.figure("broken", "before", "", 1.0)
        raise ZeroDivisionError("on purpose")

    def fine(_quick: bool):
        yield rows.at_most("fine", "error", "", 1.0, 2.0)

    monkeypatch.setattr(benchmark, "CASES", {"broken": broken, "fine": fine})
    told: list[str] = []
    found = benchmark.run(report=told.append)
    assert told == ["broken", "fine"]
    assert [row.met for row in found] == [None, False, True]
    assert found[1].note == "failed: ZeroDivisionError: on purpose"


def test_a_time_of_a_run_that_failed_meets_no_goal(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(_quick: bool):
        yield rows.Row("slow", "status, one way", "", "STALLED", "CONVERGED", False)
        yield rows.at_most("slow", "solve", "s", 1.0, 2.0, "quick")
        yield rows.at_most("slow", "error", "", 1.0, 2.0)
        yield rows.figure("slow", "other", "s", 1.0)

    monkeypatch.setattr(benchmark, "CASES", {"slow": slow})
    found = benchmark.run()
    assert [row.met for row in found] == [False, False, True, None]
    assert found[1].note == "a run did not converge; quick"


def test_unknown_case_is_refused_before_anything_is_measured() -> None:
    with pytest.raises(InputError, match="no benchmark 'p1'; there are cosine_square, "):
        benchmark.run(["import", "p1"])


def test_not_a_number_misses_every_goal() -> None:
    assert rows.at_most("c", "f", "", math.nan, 1.0).met is False
    assert rows.at_least("c", "f", "", math.nan, 1.0).met is False
    assert rows.at_most("c", "f", "", math.nan, None).met is None


def test_the_table_shows_goals_misses_and_the_machine() -> None:
    shown = [
        rows.at_most("ring", "error", "", 3e-4, 2e-4, "too large"),
        rows.at_least("ring", "rate", "Mpoints/s", 6.0, 5.0),
    ]
    console = Console(width=160)
    with console.capture() as capture:
        console.print(benchmark.as_table(shown))
    text = capture.get()
    for part in ("1 goals met, 1 missed", "0.0003", "<= 0.0002", "NO", "too large", "numba"):
        assert part in text
    assert benchmark.as_json(shown)["rows"][1]["met"] is True


def test_the_peer_solves_the_same_problem() -> None:
    """Second order: 0.131 / n^2 is what centred differences reach on this problem."""
    for n in (32, 64):
        peer = splu_newton.cosine_square(n, residual=1e-8, tuned=n == 64)
        assert peer["residual"] <= 1e-8
        assert peer["map_error"] == pytest.approx(0.131 / n**2, rel=0.1)


def test_the_parts_of_a_run_add_up() -> None:
    shape = (64, 64)
    problem = tabulated(catalog.load("cosine_square"), shape)
    run = trace(problem, solver("cosine_square", shape), repeats=2)
    assert run.solution.converged
    assert list(run.newton) == [(32, 32), (64, 64)]
    assert run.total == run.evaluation + run.levels + run.steps + run.certificate
    # Tables at the cell centres are the densities themselves there, to the spline's rounding.
    exact = catalog.cosine_square_map
    assert cases._map_errors(run.solution, exact)[0] < 6e-5


def test_memory_is_measured_in_bytes_a_cell() -> None:
    memory = bytes_a_point(64)
    assert set(memory) == {"evaluation", "held", "solve", "certificate", "exact"}
