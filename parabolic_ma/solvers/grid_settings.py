"""Settings that every solver on a grid has: their checks, with errors that say what is allowed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from parabolic_ma import backends
from parabolic_ma.grid import Box
from parabolic_ma.operators.discretise import Discretisation, discretise
from parabolic_ma.problem import TransportProblem
from parabolic_ma.status import InputError

__all__ = [
    "check_count",
    "check_grid_settings",
    "check_no_space",
    "grid_shape",
    "is_number",
    "lay_grid",
]

_SIDES = ("auto", "reference", "target")
_BOUNDARIES = ("auto", "box", "periodic", "free")
_BYTES_A_CELL = {1: 400, 2: 330, 3: 250}


def check_grid_settings(solver: Any, **choices: tuple[Any, ...]) -> None:
    """Check and normalise the settings of a frozen solver in place.

    Parameters
    ----------
    solver : dataclass
        With shape, side, boundary, backend, dtype, tail_mass, reference_box and target_box.
    **choices : tuple
        Allowed values of further settings.

    Raises
    ------
    InputError
        For a setting that cannot be used.
    """
    object.__setattr__(solver, "shape", _shape(solver.shape))
    for name, allowed in {
        "side": _SIDES, "boundary": _BOUNDARIES, "dtype": ("float64",), **choices,
    }.items():  # fmt: skip
        given = getattr(solver, name)
        if not any(given is a or (type(given) is type(a) and given == a) for a in allowed):
            raise InputError(f"{name}={given!r} is not one of {', '.join(map(str, allowed))}")
    backends.check_name(solver.backend)
    if not (is_number(solver.tail_mass) and 0.0 < solver.tail_mass <= 1e-4):
        raise InputError(f"tail_mass={solver.tail_mass!r} must lie in (0, 1e-4]; try 1e-12")
    axes = len(grid_shape(solver))
    for name in ("reference_box", "target_box"):
        if getattr(solver, name) is not None:
            box = Box.of(getattr(solver, name))
            if box.dim != axes:
                raise InputError(
                    f"{name} has {_axes(box.dim)} and shape={solver.shape} {_axes(axes)}; give one "
                    "(lower, upper) pair per axis"
                )
            object.__setattr__(solver, name, box)


def check_count(name: str, value: Any) -> None:
    """Refuse what is no whole number of at least 1."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not (whole and value >= 1):
        raise InputError(f"{name}={value!r} must be a whole number, at least 1")


def check_fits(shape: tuple[int, ...], dim: int) -> None:
    """Refuse a grid of another dimension than the problem, or too large for the free memory."""
    if len(shape) != dim:
        raise InputError(
            f"shape={shape} has {_axes(len(shape))} and the problem dimension {dim}; give one "
            "number of cells per axis"
        )
    need = _BYTES_A_CELL[len(shape)] * math.prod(shape)
    free = _free_memory()
    if free is not None and need > free:
        raise InputError(
            f"a grid of {'x'.join(map(str, shape))} cells needs about {need / 2**30:.1f} GiB and "
            f"{free / 2**30:.1f} GiB are free; use fewer cells"
        )


def grid_shape(solver: Any) -> tuple[int, ...]:
    """Cells on each axis, as a tuple."""
    shape: int | tuple[int, ...] = solver.shape
    return shape if isinstance(shape, tuple) else (shape,)


def lay_grid(solver: Any, problem: TransportProblem, moments: bool = True) -> Discretisation:
    """Lay a solver's grid on a problem, after looking whether it fits; see `discretise`."""
    shape = grid_shape(solver)
    check_fits(shape, problem.dim)
    reference_box, target_box = (
        None if box is None else Box.of(box) for box in (solver.reference_box, solver.target_box)
    )
    return discretise(
        problem, shape, solver.side, solver.boundary, solver.tail_mass, reference_box, target_box,
        moments,
    )  # fmt: skip


def is_number(value: Any) -> bool:
    """Whether a value is a real number, and no truth value."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _shape(given: Any) -> tuple[int, ...]:
    """Return the numbers of cells as a tuple."""
    sizes = (given,) if isinstance(given, (int, np.integer)) or np.ndim(given) == 0 else given
    whole = isinstance(sizes, (tuple, list, np.ndarray)) and all(
        isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in sizes
    )
    if not whole or len(sizes) not in (1, 2, 3) or any(n < 8 for n in sizes):
        raise InputError(
            f"shape={given!r} must be one, two or three whole numbers of cells, each at least 8"
        )
    return tuple(int(n) for n in sizes)


def check_no_space(solver: Any) -> None:
    """Refuse a grid of three axes, for a solver that has one or two only."""
    if len(grid_shape(solver)) > 2:
        raise InputError(
            f"shape={solver.shape} has {_axes(len(grid_shape(solver)))}, and "
            f"{type(solver).__name__} works on one or two; GridSolver finds the map in space"
        )


def _axes(count: int) -> str:
    return "1 axis" if count == 1 else f"{count} axes"


def _free_memory() -> int | None:
    """Bytes that a program may still take, where the system tells."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None
