"""The clock of compilations."""

from __future__ import annotations

import math
import time
from types import SimpleNamespace

import numba
import pytest

import parabolic_ma as pma
from parabolic_ma.backends.compilation import CompileTimer


def pair():
    """Two new functions, one of which calls the other: compiled when first called."""

    @numba.njit
    def inner(x):
        return 2.0 * x

    @numba.njit
    def outer(x):
        return inner(x) + 1.0

    return outer


def test_counts_what_is_compiled_once():
    calls = []
    outer = pair()
    with CompileTimer(lambda: calls.append("first")) as timer:
        assert timer.seconds == 0.0
        assert outer(1.0) == 3.0
        first = timer.seconds
        outer(2.0)
        assert timer.seconds == first > 0.0
        outer(1)  # for another type
        assert timer.seconds > first
    assert calls == ["first"]


def test_nested_compilations_count_once():
    outer = pair()
    begin = time.perf_counter()
    with CompileTimer(lambda: None) as timer:
        outer(1.0)
    assert timer.seconds <= time.perf_counter() - begin


def test_stops_listening_after_an_exception():
    timer = CompileTimer(lambda: None)
    with pytest.raises(ZeroDivisionError), timer:
        math.log(1 / 0)
    pair()(1.0)
    assert timer.seconds == 0.0


def test_a_solve_says_that_it_compiles(problem, make_solution, capsys):
    outer = pair()

    class Compiling:
        backend = "numba"

        def init(self, _problem, _initial):
            outer(1.0)
            return SimpleNamespace(rows=[], progress={"level": "8x8"})

        def step(self, _problem, state):
            return state

        def terminate(self, _problem, _state):
            return pma.Status.CONVERGED

        def finish(self, problem, _state, status):
            return make_solution(problem, status=status, provenance=pma.Provenance())

    p = pma.solve(problem, Compiling(), progress=True).provenance
    assert 0.0 < p.compile_time < p.wall_time
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith("parabolic_ma: compiling kernels") for line in lines] == [True, False]
    assert "s of compiling: " in lines[-1]
    assert pma.solve(problem, Compiling(), progress=True).provenance.compile_time == 0.0
    assert "compiling" not in capsys.readouterr().err
