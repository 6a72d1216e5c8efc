"""What the inversions of every dimension share: tolerances, the acceptance of a step, tables."""

from __future__ import annotations

from numba import njit

from parabolic_ma.backends.numba_cpu.spline_lines import KERNEL_OPTIONS

MAX_STEPS = 100
MAX_HALVINGS = 40
LAST_STEP = 1e-7  # in cells: Newton squares it, so what is left after it is below rounding
MERIT_ROUNDING = 1e-14  # of the terms of the merit; smaller changes of it say nothing
UNSOLVED = 1e-11  # of the terms of the equation: a residual that is no rounding
ARMIJO = 1e-4
CLIP = 1e-4  # of the larger eigenvalue, where the Hessian is not positive definite
SINGULAR = 1e-14  # of the squared trace: below, a determinant counts as not positive


@njit(**KERNEL_OPTIONS)
def accept(merit, trial_merit, decrease, rounding, residual, trial_residual, outside, t):
    """Judge a step by the convex merit; by the residual where the merit cannot tell.

    That is within rounding of the merit, and outside the box, where the continued map need not be
    the gradient of the continued potential.
    """
    if trial_merit <= merit - ARMIJO * t * decrease and decrease > 0.0:
        return True
    if trial_merit <= merit + rounding and trial_residual < residual:
        return True
    return outside and trial_residual < (1.0 - ARMIJO * t) ** 2 * residual


@njit(**KERNEL_OPTIONS)
def table_cell(x, lower, scale, n):
    """Cell of a uniform table and the position in it, clamped to the table."""
    s = (x - lower) * scale
    s = min(max(s, 0.0), n - 1.0)
    i = max(0, min(int(s), n - 2))
    return i, s - i
