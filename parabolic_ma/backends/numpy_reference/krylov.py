"""NumPy kernels of the weighted Krylov iteration; vectors are float32, sums float64."""

from __future__ import annotations

import numpy as np

from parabolic_ma.backends.numpy_reference.common import kernel


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
def cell_masses(log_source, area, mass):
    """``mass = exp(log_source) area``, float32."""
    mass[...] = np.exp(log_source) * area


@kernel
def norm_weight(mass, floor, weight):
    """``weight = sqrt(mass / max mass) + floor``, float32."""
    weight[...] = np.sqrt(mass / mass.max()) + floor
