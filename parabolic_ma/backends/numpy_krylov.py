"""NumPy kernels of the weighted Krylov iteration; vectors are float32, sums float64."""

from __future__ import annotations

import numpy as np

from parabolic_ma.backends.numpy_common import kernel


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
def mass_weight(log_source, floor, weight):
    """``weight = exp(log_source - max) + floor``, float32."""
    weight[...] = np.exp(log_source - log_source.max()) + floor
