"""The linear multigrid in two dimensions, launched.

Nothing in a cycle waits for the device or allocates after the first time, so that a cycle can be
captured in a graph. Levels of at most `SMALL` cells a side are one launch on each way.
"""

from __future__ import annotations

import numpy as np

from parabolic_ma.backends.cupy_cuda.driver import Driver
from parabolic_ma.backends.cupy_cuda.launcher import Launcher
from parabolic_ma.typing import Array

__all__ = ["SMALL", "MultigridKernels", "damping"]

SMALL = 64
"""Most cells a side of a level that one block works on; the sources' `SMALL`."""


def damping(degree: int, low: float, high: float) -> list[tuple[float, float]]:
    """Return what every Chebyshev sweep keeps of the last step and takes of the residual."""
    theta, delta = 0.5 * (high + low), 0.5 * (high - low)
    rho = delta / theta
    sweeps = [(0.0, 0.5 / theta)]
    for _ in range(1, degree):
        rho, previous = 1.0 / (2.0 * theta / delta - rho), rho
        sweeps.append((rho * previous, rho / delta))
    return sweeps


class MultigridKernels(Launcher):
    """Smoothing, transfers and the coarsest solve.

    Parameters
    ----------
    driver : Driver
        The device.
    small : int
        Levels of at most so many cells a side are worked on by one block; at most `SMALL`.
    """

    def __init__(self, driver: Driver, small: int = SMALL) -> None:
        super().__init__(driver)
        self._small = small
        self._sweeps: dict[tuple[int, float, float, str], tuple[list[tuple[float, float]], Array]]
        self._sweeps = {}

    def fill_ghosts(self, v: Array, mode: int) -> None:
        """Fill the frame of a padded array."""
        nx, ny = v.shape[0] - 2, v.shape[1] - 2
        self._line("fill_ghosts", v.dtype, 2 * (nx + ny + 2), v, nx, ny, mode)

    def residual(self, rows: Array, r: Array, v: Array, out: Array) -> None:
        """Write ``r - M v``."""
        self._plane("residual", r.dtype, r.shape, rows, r, v, out, *r.shape)

    def down(
        self, rows: Array, r: Array, v: Array, out: Array, coarse: Array, scale: Array, ix: Array,
        wx: Array, iy: Array, wy: Array, mode: int, degree: int, low: float, high: float,
        fresh: bool,
    ) -> None:  # fmt: skip
        """Smooth and restrict the residual."""
        real, overlaps = r.dtype, (ix, wx, iy, wy)
        sweeps, on_device = self._damping(degree, low, high, real)
        if self._is_small(r):
            self._block(
                "down_small", real, self.driver.small_threads, rows, r, v, out, *r.shape, coarse,
                scale, *overlaps, *coarse.shape, mode, degree, on_device, fresh,
            )  # fmt: skip
            return
        step, (first, *others) = self._array("step", r.shape, real), self._stations(out, degree)
        keep, gain = sweeps[0]
        if fresh:
            self._plane("sweep_fresh", real, r.shape, r, step, first, *r.shape, gain)
        else:
            self._plane("sweep", real, r.shape, v, rows, r, step, first, *r.shape, mode, keep, gain)
        self._go_on(rows, r, step, first, others, mode, sweeps)
        self.fill_ghosts(out, mode)
        self._plane(
            "restrict_residual", real, coarse.shape, rows, r, out, *r.shape, coarse, scale,
            *overlaps, *coarse.shape,
        )  # fmt: skip

    def up(
        self, rows: Array, r: Array, v: Array, out: Array, coarse: Array, ix: Array, wx: Array,
        iy: Array, wy: Array, mode: int, degree: int, low: float, high: float,
    ) -> None:  # fmt: skip
        """Add the coarse correction, on the way of the first sweep, and smooth."""
        real, prolonged = r.dtype, (v, coarse, coarse.shape[1], ix, wx, iy, wy)
        sweeps, on_device = self._damping(degree, low, high, real)
        if self._is_small(r):
            self._block(
                "up_small", real, self.driver.small_threads, *prolonged, rows, r, out, *r.shape,
                mode, degree, on_device,
            )  # fmt: skip
            return
        step, (first, *others) = self._array("step", r.shape, real), self._stations(out, degree)
        self._plane(
            "sweep_prolonged", real, r.shape, *prolonged, rows, r, step, first, *r.shape, mode,
            *sweeps[0],
        )  # fmt: skip
        self._go_on(rows, r, step, first, others, mode, sweeps)
        self.fill_ghosts(out, mode)

    def _go_on(
        self, rows: Array, r: Array, step: Array, first: Array, others: list[Array], mode: int,
        sweeps: list[tuple[float, float]],
    ) -> None:  # fmt: skip
        """Run all sweeps but the first, from array to array."""
        for source, target, factors in zip([first, *others], others, sweeps[1:], strict=False):
            self._plane(
                "sweep", r.dtype, r.shape, source, rows, r, step, target, *r.shape, mode, *factors
            )

    def _stations(self, out: Array, degree: int) -> list[Array]:
        """Return what the sweeps write: a spare array and ``out`` by turns, ``out`` at last."""
        spare = self._array("spare", out.shape, out.dtype)
        return [out if (degree - k) % 2 else spare for k in range(degree)]

    def _is_small(self, r: Array) -> bool:
        return max(r.shape) <= self._small

    def _damping(
        self, degree: int, low: float, high: float, real: np.dtype
    ) -> tuple[list[tuple[float, float]], Array]:
        """Return the `damping`, here and on the device."""
        key = (degree, low, high, real.char)
        if key not in self._sweeps:
            sweeps = damping(degree, low, high)
            self._sweeps[key] = sweeps, self.xp.asarray(np.array(sweeps, real))
        return self._sweeps[key]

    def coarsen_rows(
        self, fine: Array, coarse: Array, scale: Array, ix: Array, wx: Array, iy: Array,
        wy: Array, ratio_x: float, ratio_y: float, peclet: float, most: float, share: float,
    ) -> None:  # fmt: skip
        """Rediscretise rows on the next grid."""
        self._line(
            "coarsen_rows", fine.dtype, scale.size, fine, *fine.shape[1:], coarse, scale, ix, wx,
            iy, wy, *scale.shape, 1.0 / ratio_x, 1.0 / ratio_y, peclet,
        )  # fmt: skip
        if share > 0.0:
            self.outflow(coarse, most, share)

    def outflow(self, rows: Array, most: float, share: float) -> None:
        """Raise outward drifts of face cells."""
        nx, ny = rows.shape[1:]
        self._line("outflow", rows.dtype, nx + ny, rows, nx, ny, most, share)

    def dense_matrix(self, rows: Array, mode: int) -> Array:
        """Return the bordered dense matrix."""
        n = rows[0].size + 1
        matrix = self.xp.empty((n, n))
        self._line("dense_matrix", rows.dtype, n, rows, *rows.shape[1:], mode, matrix)
        return matrix

    def factorise(self, matrix: Array, pivots: Array) -> bool:
        """Replace the matrix by its inverse; False when it is singular.

        A product with the inverse is one launch, whereas every step of a substitution waits for
        the one before.
        """
        regular = self._array("regular", (1,), np.int32)
        n = len(matrix)
        self._block("invert_dense", float, self.driver.threads, matrix, pivots, n, regular)
        return bool(self.driver.to_numpy(regular)[0])

    def solve_dense(self, matrix: Array, pivots: Array, r: Array, v: Array, mode: int) -> None:
        """Multiply by the inverse that `factorise` left."""
        self._block("solve_dense", r.dtype, self.driver.threads, matrix, r, v, *r.shape, mode)
