"""The Newton step in two dimensions, launched; see the protocol for what each kernel does."""

from __future__ import annotations

import math

import numpy as np

from parabolic_ma.backends.cupy_cuda.launcher import (
    FIGURES,
    Double,
    Launcher,
    density_arguments,
)
from parabolic_ma.typing import Array

__all__ = ["Figures", "NewtonKernels", "figures"]

Figures = tuple[float, float, float, float, float, float, float]


def figures(numbers: list[float]) -> Figures:
    """Return the figures of a linearisation from the reduced sums over the cells."""
    mass, total, chi2, smallest, extended, largest, residual2 = numbers
    root = math.sqrt(residual2 / total) if total > 0.0 else math.nan
    return mass, total, math.sqrt(chi2), smallest, extended, largest, root


class NewtonKernels(Launcher):
    """Kernels of the pointwise equation."""

    def inner_row(
        self, kind: int, params: Array, table: Array, x1: Array, x2: Array, logm: Array,
        f1: Array, f2: Array,
    ) -> None:  # fmt: skip
        """Write the log density and the potential's gradient at points."""
        self._line(
            "inner_row", x1.dtype, x1.size, *density_arguments(kind, params, table), x1, x2,
            x1.size, logm, f1, f2,
        )  # fmt: skip

    def linearise(
        self, u: Array, axis1: Array, axis2: Array, quad: Array, log_source: Array, log_c: float,
        kind: int, params: Array, table: Array, clip: float, dt: float, peclet: float,
        log_cap: float, rows: Array, rhs: Array, tangent: Array,
    ) -> Figures:  # fmt: skip
        """Assemble the Newton rows and return the figures."""
        results = self._reduce(
            "linearise", u.dtype, log_source.size, FIGURES, u, axis1, axis2, quad,
            *log_source.shape, log_source, log_c, *density_arguments(kind, params, table), clip,
            dt, peclet, log_cap, rows, rhs, tangent,
        )  # fmt: skip
        return figures(self._numbers(results))

    def fields(
        self, u: Array, axis1: Array, axis2: Array, quad: Array, kind: int, params: Array,
        table: Array, delta: float, gradient: Array, low: Array, high: Array, log_det: Array,
        logm: Array,
    ) -> None:  # fmt: skip
        """Write gradient, eigenvalues, log determinant and inner log density."""
        self._line(
            "fields", u.dtype, low.size, u, axis1, axis2, quad, *low.shape,
            *density_arguments(kind, params, table), delta, gradient, low, high, log_det, logm,
        )  # fmt: skip

    def convexify(
        self, u: Array, axis1: Array, axis2: Array, quad: Array, log_source: Array, log_c: float,
        kind: int, params: Array, table: Array, log_cap: float, lowest: float, highest: float,
        sweeps: int,
    ) -> None:  # fmt: skip
        """Do it on the host: every cell waits for the one before it, and it is done once a grid."""
        arrays = [self.driver.to_numpy(a) for a in (u, axis1, axis2, quad, log_source)]
        density = (kind, self.driver.to_numpy(params), self.driver.to_numpy(table))
        self._host.convexify(*arrays, log_c, *density, log_cap, lowest, highest, sweeps)
        u[...] = self.xp.asarray(arrays[0])

    def add_correction(self, u: Array, v: Array, out: Array) -> None:
        """Write ``u + v - mean v``; the mean stays on the device."""
        shape = (v.shape[0] - 2, v.shape[1] - 2)
        cells = math.prod(shape)
        total = self._reduce("sum_cells", v.dtype, cells, ("sum",), v, *shape)
        name = "add_single" if v.dtype == np.float32 else "add_double"
        self._line(name, u.dtype, u.size, u, v, total, cells, out, u.size)

    def gradient_norm(self, v: Array, weight: Array, floor: float, h1: float, h2: float) -> float:
        """Return the weighted norm of the gradient of a padded array."""
        constants = (Double(floor), Double(h1), Double(h2))
        total = self._reduce(
            "gradient_norm", v.dtype, weight.size, ("sum",), v, weight, *constants, *weight.shape
        )
        return math.sqrt(self._numbers(total)[0])
