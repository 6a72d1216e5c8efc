"""The conservative equation in two dimensions, launched: images of cells and their masses."""

from __future__ import annotations

from parabolic_ma.backends.cupy_cuda.launcher import FIGURES, Launcher, density_arguments
from parabolic_ma.backends.cupy_cuda.newton import Figures, figures
from parabolic_ma.typing import Array

__all__ = ["CellKernels"]

_EDGE_VALUES = 7  # of the sources


class CellKernels(Launcher):
    """Kernels that integrate the inner density over the images of cells."""

    def running_sums(self, values: Array, h1: float) -> Array:
        """Return the running sums of the mirrored values; once a grid."""
        mirrored = self.xp.pad(values, ((3, 3), (2, 2)), mode="symmetric")
        return self.xp.cumsum(mirrored * h1, axis=0)

    def cell_images(
        self, u: Array, axis1: Array, axis2: Array, quad: Array, sums: Array, geometry: Array,
        mass: Array, area: Array,
    ) -> None:  # fmt: skip
        """Write mass and signed area of the images."""
        edges = self._edges(u, axis1, axis2, quad, sums, geometry)
        self._line(
            "cell_images", u.dtype, mass.size, u, axis1, axis2, quad, *mass.shape, edges, mass,
            area,
        )  # fmt: skip

    def linearise_cells(
        self, u: Array, axis1: Array, axis2: Array, quad: Array, log_source: Array, log_c: float,
        sums: Array, geometry: Array, kind: int, params: Array, table: Array, clip: float,
        dt: float, peclet: float, log_cap: float, rows: Array, rhs: Array, tangent: Array,
        nine: Array,
    ) -> Figures:  # fmt: skip
        """Assemble both matrices and return the figures."""
        edges = self._edges(u, axis1, axis2, quad, sums, geometry)
        results = self._reduce(
            "linearise_cells", u.dtype, log_source.size, FIGURES, u, axis1, axis2, quad,
            *log_source.shape, log_source, log_c, edges, *density_arguments(kind, params, table),
            clip, dt, peclet, log_cap, rows, rhs, tangent, nine,
        )  # fmt: skip
        return figures(self._numbers(results))

    def _edges(
        self, u: Array, axis1: Array, axis2: Array, quad: Array, sums: Array, geometry: Array
    ) -> Array:
        """Integrate along both halves of every edge: each is shared by two cells."""
        nx, ny = u.shape[0] - 2, u.shape[1] - 2
        halves = 2 * ((nx + 1) * ny + nx * (ny + 1))
        edges = self._array("edges", (halves, _EDGE_VALUES), u.dtype)
        self._line(
            "half_edges", u.dtype, halves, u, axis1, axis2, quad, nx, ny, sums, geometry,
            *sums.shape, edges,
        )  # fmt: skip
        return edges

    def apply_nine(self, nine: Array, v: Array, out: Array) -> None:
        """Write minus the product of the exact derivative with ``v``."""
        self._plane("apply_nine", out.dtype, out.shape, nine, v, out, *out.shape)
