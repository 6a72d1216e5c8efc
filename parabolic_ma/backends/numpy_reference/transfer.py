"""NumPy kernels that carry grid functions between grids of any two sizes on one box."""

from __future__ import annotations

import numpy as np

from parabolic_ma.backends.numpy_reference.common import gather, kernel, log_average


@kernel
def interpolate(coarse, fine, ix, wx, iy, wy):
    """Tensor four-point interpolation.

    ``fine[i, j] = sum_kl wx[i, k] wy[j, l] coarse[ix[i] + k, iy[j] + l]``; ``coarse`` is
    padded so that every index is inside; ``fine`` is not padded.
    """
    fine[...] = gather(gather(coarse, ix, wx).T, iy, wy).T


@kernel
def average_log(fine, coarse, ix, wx, iy, wy):
    """Write the log of the area-overlap average of ``exp(fine)``.

    Coarse cell (I, J) overlaps the fine cells ``ix[I] + (0, 1, 2)``, ``iy[J] + (0, 1, 2)`` with
    shares ``wx[I, k] wy[J, l]``; see `log_average`.
    """
    i = np.minimum(ix[:, None] + np.arange(3), fine.shape[0] - 1)
    j = np.minimum(iy[:, None] + np.arange(3), fine.shape[1] - 1)
    shape = (*coarse.shape, 9)
    values = fine[i[:, None, :, None], j[None, :, None, :]].reshape(shape)
    shares = wx[:, None, :, None] * wy[None, :, None, :]
    coarse[...] = log_average(values, shares.reshape(shape))
