"""Numba kernels of the weighted Krylov iteration; vectors are float32, sums float64."""

from __future__ import annotations

import numpy as np
from numba import njit

from parabolic_ma.backends.numba_cpu.maths import exp


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def dots(w, r, weight):
    """Return ``<w, w>``, ``<w, r>`` and ``<r, r>`` under the weight."""
    ww = 0.0
    wr = 0.0
    rr = 0.0
    for i in range(w.shape[0]):
        wi, ri, gi = w[i], r[i], weight[i]
        a = np.float32(0.0)
        b = np.float32(0.0)
        c = np.float32(0.0)
        for j in range(w.shape[1]):
            g = gi[j] * wi[j]
            a += g * wi[j]
            b += g * ri[j]
            c += gi[j] * ri[j] * ri[j]
        ww += a
        wr += b
        rr += c
    return ww, wr, rr


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def axpy(alpha, x, y):
    """``y += alpha x`` in place."""
    f = np.float32(alpha)
    for i in range(x.shape[0]):
        xi, yi = x[i], y[i]
        for j in range(x.shape[1]):
            yi[j] += f * xi[j]


@njit(cache=True, nogil=True, error_model="numpy")
def cell_masses(log_source, area, mass):
    """``mass = exp(log_source) area``, float32."""
    nx, ny = log_source.shape
    for i in range(nx):
        s, m = log_source[i], mass[i]
        for j in range(ny):
            m[j] = exp(s[j]) * area


@njit(cache=True, nogil=True, error_model="numpy")
def norm_weight(mass, floor, weight):
    """``weight = sqrt(mass / max mass) + floor``."""
    top = np.float32(0.0)
    nx, ny = mass.shape
    for i in range(nx):
        for j in range(ny):
            top = max(top, mass[i, j])
    r = np.float32(1.0) / top
    f = np.float32(floor)
    for i in range(nx):
        m, w = mass[i], weight[i]
        for j in range(ny):
            w[j] = np.sqrt(m[j] * r) + f
