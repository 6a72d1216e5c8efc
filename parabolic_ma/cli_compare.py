"""The command ``parabolic-ma compare``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

import parabolic_ma
from parabolic_ma.console import DONE, OUTSIDE, print_json, say, show
from parabolic_ma.status import InputError

if TYPE_CHECKING:
    from parabolic_ma.comparison import Comparison

__all__ = ["compare"]


def compare(
    candidate: Path,
    truth: Path,
    /,
    *,
    limits: Annotated[
        list[str] | None, Parameter(name="--max", consume_multiple=True, negative="")
    ] = None,
    number: Annotated[float, Parameter(name=["--number", "-n"])] = 10_000,
    rng: int = 0,
    columns: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    key: str | None = None,
    json: Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")] = False,
) -> int:
    """Measure how far a solution, or a table of samples, is from a solution taken for true.

    Exit code 1 says that a figure is above its limit, or that there is no such figure.

    Parameters
    ----------
    candidate
        A solution file, or samples, one a row: csv, npy, npz or h5.
    truth
        A solution file.
    limits
        Largest value allowed of a figure: --max kl=0.01 --max c2st=0.52.
    number
        Points to draw of each side.
    rng
        Seed: the same seed gives the same figures.
    columns
        Columns of the table of samples, by name or by number from 0.
    key
        Array of the npz or dataset of the h5 file of samples.
    json
        Print JSON.
    """
    bounds = _parse_limits(limits or [])
    if not (math.isfinite(number) and number >= 2 and number == math.floor(number)):
        raise InputError(f"-n must be a whole number of points, 2 or more; got {number:g}")
    given = _read(candidate, columns, key)
    found = parabolic_ma.compare(given, parabolic_ma.load(truth), int(number), rng)
    exceeded = _exceeded(found, bounds)
    if json:
        print_json(
            {
                "candidate": str(candidate),
                "truth": str(truth),
                "kind": found.candidate,
                **found.figures(),
                "noise": dict(found.noise),
                "reasons": dict(found.reasons),
                "classifier": found.classifier,
                "n": found.n,
                "seed": found.seed,
                "max": bounds,
                "exceeded": sorted(exceeded),
            }
        )
    else:
        show(str(found))
    for message in exceeded.values():
        say(message)
    return OUTSIDE if exceeded else DONE


def _read(candidate: Path, columns: Sequence[str] | None, key: str | None) -> Any:
    """Read a solution, or an array of points."""
    from parabolic_ma.io.kinds import holds_points
    from parabolic_ma.io.pointfiles import read_points

    if key is not None or columns is not None or holds_points(candidate):
        names = None if columns is None else [int(c) if c.isdecimal() else c for c in columns]
        return read_points(candidate, names, key)
    return parabolic_ma.load(candidate)


def _parse_limits(limits: Sequence[str]) -> dict[str, float]:
    """Return the bounds of ``METRIC=VALUE``, by metric."""
    from parabolic_ma.comparison import METRICS

    bounds: dict[str, float] = {}
    for text in limits:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--max is METRIC=VALUE, such as kl=0.01; got {text!r}")
        if name not in METRICS:
            raise InputError(
                f"--max {text}: there is no figure {name!r}; there are {', '.join(METRICS)}"
            )
        if name in bounds:
            raise InputError(f"--max {name} is given twice; give one limit for a figure")
        try:
            bounds[name] = float(value)
        except ValueError:
            bounds[name] = math.nan
        if math.isnan(bounds[name]):
            raise InputError(f"--max {text}: the limit must be a number, got {value!r}")
    return bounds


def _exceeded(found: Comparison, bounds: Mapping[str, float]) -> dict[str, str]:
    """Say of every figure that does not keep its limit what it is instead."""
    messages = {}
    for name, bound in bounds.items():
        value, reason = found.figures()[name], found.reasons.get(name, "")
        if value is None:
            messages[name] = f"{name} has the limit {bound:g} and could not be computed: {reason}"
        elif value > bound:
            remark = f" ({reason})" if reason else ""
            messages[name] = f"{name} is {value:.6g}, above its limit {bound:g}{remark}"
    return messages
