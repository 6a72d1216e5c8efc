"""NumPy kernels that carry grid functions between grids of any two sizes on one box in space."""

from __future__ import annotations

import numpy as np

from parabolic_ma.backends.numpy_reference.common import kernel, log_average
from parabolic_ma.backends.numpy_reference.multigrid_3d import average


@kernel
def interpolate_3d(coarse, fine, i1, w1, i2, w2, i3, w3):
    """Tensor four-point interpolation.

    ``fine[i, j, k] = sum_abc w1[i, a] w2[j, b] w3[k, c] coarse[i1[i] + a, i2[j] + b, i3[k] + c]``;
    ``coarse`` is padded so that every index is inside; ``fine`` is not padded.
    """
    fine[...] = average(coarse, i1, w1, i2, w2, i3, w3)


@kernel
def average_log_3d(fine, coarse, i1, w1, i2, w2, i3, w3):
    """Write the log of the overlap average of ``exp(fine)``; see `log_average`."""
    index = [
        np.minimum(first[:, None] + np.arange(3), n - 1)
        for first, n in zip((i1, i2, i3), fine.shape, strict=True)
    ]
    for plane, i, share in zip(coarse, index[0], w1, strict=True):
        values = fine[
            i[None, None, :, None, None],
            index[1][:, None, None, :, None],
            index[2][None, :, None, None, :],
        ]
        shares = (
            share[None, None, :, None, None]
            * w2[:, None, None, :, None]
            * w3[None, :, None, None, :]
        )
        shape = (*plane.shape, 27)
        plane[...] = log_average(values.reshape(shape), shares.reshape(shape))
