"""NumPy kernel of the soft conjugate."""

from __future__ import annotations

import numpy as np

from parabolic_ma.backends.numpy_reference.common import kernel

_TERMS = 2**20  # that are held at one time


@kernel
def soft_conjugate_rows(log_kernel, rows, out):
    """Write ``log sum_j exp(log_kernel[i, j] + rows[r, j])`` to ``out[r, i]``.

    The largest term is taken out of the sum, so nothing over- or underflows; a row of minus
    infinities gives minus infinity.
    """
    several = max(1, _TERMS // max(1, log_kernel.size))
    for first in range(0, len(rows), several):
        chunk = slice(first, first + several)
        exponents = log_kernel + rows[chunk, None, :]
        top = exponents.max(axis=-1)
        shift = np.where(top > -np.inf, top, 0.0)
        out[chunk] = shift + np.log(np.exp(exponents - shift[..., None]).sum(axis=-1))
