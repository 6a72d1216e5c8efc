"""NumPy kernels of the weighted Krylov iteration; vectors are float32, sums float64."""

from __future__ import annotations

import numpy as np

from parabolic_ma.backends.numpy_reference.common import kernel
from parabolic_ma.backends.numpy_reference.multigrid import apply


@kernel
def dots(w, r, weight):
    """Return ``<w, w>``, ``<w, r>`` and ``<r, r>``, ``<x, y> = sum weight x y``."""
    w, r, weight = (x.astype(np.float64) for x in (w, r, weight))
    return tuple(float((weight * x * y).sum()) for x, y in ((w, w), (w, r), (r, r)))


@kernel
def axpy(alpha, x, y):
    """``y += alpha x`` in place."""
    y += np.float32(alpha) * x


@kernel
def norm_weight(log_source, floor, weight):
    """``weight = sqrt(nu / max nu) + floor``, float32; return the largest log density."""
    top = float(log_source.max())
    weight[...] = np.exp(0.5 * (log_source - top)) + floor
    return top


@kernel
def matrix_dots(rows, v, r, weight):
    """`dots` of ``w = -M v`` and r, w not being stored."""
    return dots(-apply(rows, v), r, weight)
