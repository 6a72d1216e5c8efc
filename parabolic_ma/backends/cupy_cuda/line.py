"""The equations in one dimension, launched.

What goes along the line from cell to cell (the tridiagonal solves, once a Newton or time step) runs
on the host: on a device one thread would do it, slower than the copy.
"""

from __future__ import annotations

import math
from typing import Any

from parabolic_ma.backends.cupy_cuda.flow import EXTREMES
from parabolic_ma.backends.cupy_cuda.launcher import (
    FIGURES,
    Double,
    Launcher,
    density_arguments,
)
from parabolic_ma.backends.cupy_cuda.newton import Figures, figures
from parabolic_ma.typing import Array

__all__ = ["LineKernels"]


class LineKernels(Launcher):
    """Kernels of the pointwise and the conservative equation and of the flow on the line."""

    def fill_ghosts_1d(self, u: Array, mode: int) -> None:
        """Fill the two ghosts."""
        self._line("fill_ghosts_1d", u.dtype, 2, u, u.size - 2, mode)

    def inner_row_1d(
        self, kind: int, params: Array, table: Array, x: Array, logm: Array, f: Array
    ) -> None:
        """Write the log density and the potential's derivative at points."""
        self._line(
            "inner_row_1d", x.dtype, x.size, *density_arguments(kind, params, table), x, x.size,
            logm, f,
        )  # fmt: skip

    def linearise_1d(
        self, u: Array, axis: Array, quad: Array, log_source: Array, log_c: float, kind: int,
        params: Array, table: Array, dt: float, edge: float, log_cap: float, rows: Array,
        rhs: Array,
    ) -> Figures:  # fmt: skip
        """Assemble the Newton rows and return the figures."""
        n = log_source.size
        results = self._reduce(
            "linearise_1d", u.dtype, n, FIGURES, u, axis, quad, n, log_source, log_c,
            *density_arguments(kind, params, table), dt, edge, log_cap, rows, rhs,
        )  # fmt: skip
        return figures(self._numbers(results))

    def solve_rows_1d(self, rows: Array, rhs: Array, mode: int, pin: int, v: Array) -> float:
        """Solve on the self._host."""
        found = self.driver.to_numpy(v).copy()
        delta = self._host.solve_rows_1d(
            self.driver.to_numpy(rows), self.driver.to_numpy(rhs), mode, pin, found
        )
        v[...] = self.xp.asarray(found)
        return float(delta)

    def gradient_norm_1d(self, v: Array, log_source: Array, h: float) -> float:
        """Return the norm of the derivative under the source."""
        n = log_source.size
        total = self._reduce("gradient_norm_1d", v.dtype, n, ("sum",), v, log_source, Double(h), n)
        return math.sqrt(self._numbers(total)[0])

    def fields_1d(
        self, u: Array, axis: Array, quad: Array, kind: int, params: Array, table: Array,
        delta: float, gradient: Array, low: Array, log_det: Array, logm: Array,
    ) -> None:  # fmt: skip
        """Write gradient, second derivative, its logarithm and the inner log density."""
        n = low.size
        self._line(
            "fields_1d", u.dtype, n, u, axis, quad, n, *density_arguments(kind, params, table),
            delta, gradient, low, log_det, logm,
        )  # fmt: skip

    # The conservative equation.

    def running_sums_1d(self, values: Array, h: float) -> Array:
        """Return the running sums of the mirrored values; once a grid."""
        return self.xp.cumsum(self.xp.pad(values, 3, mode="symmetric") * h)

    def quantiles_1d(self, sums: Array, geometry: Array, shares: Array, out: Array) -> None:
        """Bisect for every share on its own."""
        self._line(
            "quantiles_1d", sums.dtype, out.size, sums, geometry, sums.size - 6, shares, out.size,
            out,
        )  # fmt: skip

    def cell_images_1d(
        self, u: Array, axis: Array, quad: Array, sums: Array, geometry: Array, mass: Array,
        length: Array,
    ) -> None:  # fmt: skip
        """Write mass and signed length of the images."""
        n = mass.size
        self._line(
            "cell_images_1d", u.dtype, n, u, axis, quad, n, sums, geometry, sums.size - 6, mass,
            length,
        )  # fmt: skip

    def linearise_cells_1d(
        self, u: Array, axis: Array, quad: Array, log_source: Array, log_c: float, sums: Array,
        geometry: Array, dt: float, rows: Array, rhs: Array,
    ) -> Figures:  # fmt: skip
        """Assemble the Newton rows; the faces first, as the largest of their densities counts."""
        n, real = log_source.size, u.dtype
        faces = self._array("faces", (3, n + 1), real)
        top = self._reduce(
            "face_values_1d", real, n + 1, ("max",), u, axis, quad, n, sums, geometry,
            sums.size - 6, faces,
        )  # fmt: skip
        results = self._reduce(
            "linearise_cells_1d", real, n, FIGURES, faces, top, axis, n, log_source, log_c, dt,
            rows, rhs,
        )  # fmt: skip
        return figures(self._numbers(results))

    # The flow.

    def flow_rate_1d(
        self, u: Array, axis: Array, quad: Array, log_source: Array, lowest: float, kind: int,
        params: Array, table: Array, rate: Array,
    ) -> tuple[float, float, float]:  # fmt: skip
        """Write the rate; return smallest second derivative, diffusion and drift."""
        n = rate.size
        found = self._reduce(
            "flow_rate_1d", u.dtype, n, EXTREMES, u, axis, quad, n, log_source, lowest,
            *density_arguments(kind, params, table), rate,
        )  # fmt: skip
        low, diffusion, drift = self._numbers(found)
        return low, max(0.0, diffusion), drift

    def flow_coefficients_1d(
        self, u: Array, axis: Array, quad: Array, kind: int, params: Array, table: Array,
        coefficients: Array,
    ) -> None:  # fmt: skip
        """Write the stencil of the rate's derivative."""
        n = coefficients.shape[1]
        self._line(
            "flow_coefficients_1d", u.dtype, n, u, axis, quad, n,
            *density_arguments(kind, params, table), coefficients,
        )  # fmt: skip

    def solve_flow_1d(
        self, coefficients: Array, sigma: float, rhs: Array, mode: int, v: Array
    ) -> None:
        """Solve on the self._host."""
        arguments: list[Any] = [self.driver.to_numpy(a) for a in (coefficients, rhs, v)]
        found = arguments[2].copy()
        self._host.solve_flow_1d(arguments[0], sigma, arguments[1], mode, found)
        v[...] = self.xp.asarray(found)
