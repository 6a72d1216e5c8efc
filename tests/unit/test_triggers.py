"""When something is due."""

from __future__ import annotations

import math

import pytest

from parabolic_ma.status import InputError
from parabolic_ma.triggers import Moment, at_times, every


@pytest.mark.parametrize(
    ("trigger", "moments", "counts"),
    [
        (every(steps=3), [Moment(step=s) for s in range(8)], [0, 0, 0, 1, 1, 1, 2, 2]),
        (every(seconds=0.5), [Moment(seconds=s) for s in (0, 0.49, 0.5, 2.1)], [0, 0, 1, 4]),
        (every(time=0.1), [Moment(time=t) for t in (0.0, 0.1, 0.1 * 3, 0.35)], [0, 1, 3, 3]),
        (at_times([2, 1, 2]), [Moment(time=t) for t in (0.5, 1.0, 1.9, 2.0, 9.0)], [0, 1, 1, 2, 2]),
    ],
)
def test_counts(trigger, moments, counts):
    assert [trigger.count(m) for m in moments] == counts


def test_three_tenths_are_three_intervals():
    # 0.3 / 0.1 rounds to 2.9999999999999996
    assert every(time=0.1).count(Moment(time=0.3)) == 3


@pytest.mark.parametrize("trigger", [every(time=1.0), at_times([0.0])])
def test_without_a_time_nothing_is_due(trigger):
    assert trigger.count(Moment(step=10, seconds=10.0, time=math.nan)) == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "exactly one of steps=, seconds= and time=, got none"),
        ({"steps": 1, "time": 1.0}, r"got \['steps', 'time'\]"),
        ({"steps": 0}, "every\\(steps=0\\): the interval must be a positive number"),
        ({"seconds": math.inf}, "must be a positive number"),
        ({"time": -1.0}, "must be a positive number"),
        ({"steps": 1.5}, "a number of steps is a whole number"),
    ],
)
def test_every_says_what_is_wrong(arguments, text):
    with pytest.raises(InputError, match=text):
        every(**arguments)


@pytest.mark.parametrize("times", [[], [1.0, -1.0], [math.nan]])
def test_at_times_says_what_is_wrong(times):
    with pytest.raises(InputError, match="at least one time, each finite and not negative"):
        at_times(times)
