"""What the commands share: exit codes, and how to print for people and for programs."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from parabolic_ma.status import Status

if TYPE_CHECKING:
    from parabolic_ma.solution import Solution

__all__ = [
    "BAD_INPUT",
    "DONE",
    "FAULT",
    "NOT_CONVERGED",
    "OUTSIDE",
    "STOPPED",
    "exit_code",
    "facts",
    "print_json",
    "say",
    "show",
    "times",
]

DONE, OUTSIDE, BAD_INPUT, NOT_CONVERGED, FAULT, STOPPED = 0, 1, 2, 3, 70, 130


def facts(solution: Solution) -> dict[str, Any]:
    """Everything about a solution but its arrays, for JSON."""
    p = solution.provenance
    return {
        "status": solution.status.name,
        "converged": solution.converged,
        "message": solution.message,
        "side": solution.side,
        "shape": None if solution.fields is None else solution.fields.potential.grid.shape,
        "log_evidence": solution.log_evidence,
        "w2_squared": solution.w2_squared,
        "kl": solution.kl,
        "kl_reverse": solution.kl_reverse,
        "certificate": solution.certificate.figures(),
        "reasons": dict(solution.certificate.reasons),
        "steps": solution.history.rows,
        "saved": [t for t, _ in solution.saved],
        "provenance": {**dataclasses.asdict(p), "versions": dict(p.versions)},
    }


def exit_code(solution: Solution) -> int:
    """Exit code of a run by its status."""
    codes = {Status.CONVERGED: DONE, Status.INTERRUPTED: STOPPED}
    return codes.get(solution.status, NOT_CONVERGED)


def show(text: str) -> None:
    """Print what was asked for, on standard output."""
    print(text)


def times(solution: Solution) -> str:
    """List the times at which a flow kept its map, in one line."""
    found = [f"{t:.6g}" for t, _ in solution.saved]
    if len(found) > 12:
        found = [*found[:6], f"... ({len(found)} in all) ...", *found[-3:]]
    return ", ".join(found)


def say(text: str) -> None:
    """Print a line for people, on standard error."""
    print(f"parabolic-ma: {text}", file=sys.stderr, flush=True)


def _plain(value: Any) -> Any:
    """Turn arrays into lists and figures that JSON has no word for into null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def print_json(value: Any) -> None:
    """Print a value for programs, on standard output."""
    print(json.dumps(_plain(value), indent=2))
