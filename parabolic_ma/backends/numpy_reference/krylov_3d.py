"""NumPy kernels of the weighted Krylov iteration in space."""

from __future__ import annotations

from parabolic_ma.backends.numpy_reference.common import kernel
from parabolic_ma.backends.numpy_reference.krylov import dots
from parabolic_ma.backends.numpy_reference.multigrid_3d import apply


@kernel
def matrix_dots_3d(rows, v, r, weight):
    """`dots` of ``w = -M v`` and r, w not being stored."""
    return dots(-apply(rows, v), r, weight)
