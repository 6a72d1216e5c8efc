"""The flow in time in two dimensions, launched."""

from __future__ import annotations

import math

from parabolic_ma.backends.cupy_cuda.launcher import Launcher, density_arguments
from parabolic_ma.typing import Array

__all__ = ["EXTREMES", "FlowKernels"]

EXTREMES = ("min", "max", "max")
"""How the figures of a rate are reduced."""


class FlowKernels(Launcher):
    """The rate of the flow and the rows of its implicit steps."""

    def flow_rate(
        self, u: Array, axis1: Array, axis2: Array, quad: Array, log_source: Array, lowest: float,
        kind: int, params: Array, table: Array, rate: Array,
    ) -> tuple[float, float, float]:  # fmt: skip
        """Write the rate; return smallest eigenvalue, diffusion and drift."""
        found = self._reduce(
            "flow_rate", u.dtype, rate.size, EXTREMES, u, axis1, axis2, quad, *rate.shape,
            log_source, lowest, *density_arguments(kind, params, table), rate,
        )  # fmt: skip
        low, diffusion, drift = self._numbers(found)
        return low, max(0.0, diffusion), drift

    def flow_coefficients(
        self, u: Array, axis1: Array, axis2: Array, quad: Array, kind: int, params: Array,
        table: Array, coefficients: Array,
    ) -> None:  # fmt: skip
        """Write the stencil of the rate's derivative."""
        shape = coefficients.shape[1:]
        self._line(
            "flow_coefficients", u.dtype, math.prod(shape), u, axis1, axis2, quad, *shape,
            *density_arguments(kind, params, table), coefficients,
        )  # fmt: skip

    def flow_rows(self, coefficients: Array, sigma: float, rows: Array) -> None:
        """Write the rows of an implicit step."""
        cells = coefficients[0].size
        self._line("flow_rows", rows.dtype, cells, coefficients, sigma, rows, cells)

    def upwind_rows(self, rows: Array, peclet: float, upwind: Array, scale: Array) -> None:
        """Write upwind rows, those of a preconditioner."""
        cells = scale.size
        self._line("upwind_rows", rows.dtype, cells, rows, peclet, upwind, scale, cells)
