"""NumPy kernels that judge a solution; arrays are rows of cells, whatever the dimension."""

from __future__ import annotations

import numpy as np

from parabolic_ma.backends.numpy_reference.common import kernel
from parabolic_ma.backends.numpy_reference.newton import eigenvalues


@kernel
def judge_sums(source, log_det, log_inner, gradient, leading, last, shift):
    """Return mass, E[F], the logarithm's shift, image mass, F under it, and moments of the map."""
    w = np.exp(source)
    log_balanced = log_inner + log_det
    top = log_balanced.max()
    balanced = np.exp(log_balanced - top)
    excess = log_balanced - source
    moved, second, first = 0.0, 0.0, []
    for k in range(gradient.shape[-1]):
        x = gradient[..., k]
        y = last if k == gradient.shape[-1] - 1 else leading[:, k, None]
        moved += (w * (x - y) ** 2).sum()
        second += (w * (x - shift[k]) ** 2).sum()
        first.append((w * (x - shift[k])).sum())
    return np.array([
        w.sum(), (w * excess).sum(), top, balanced.sum(), (balanced * excess).sum(), moved, second,
        *first,
    ])  # fmt: skip


@kernel
def residual_sums(source, log_det, log_inner, low, high, u, constant, tail, extension):
    """Return the squared residual, its largest value, extreme eigenvalues and rounding."""
    w = np.exp(source)
    f = log_inner + log_det - source - constant
    bounded = 2.0 * np.tanh(0.5 * f)
    bulk = source >= tail
    error = u / np.maximum(low, extension)
    return (
        float((w * bounded**2).sum()),
        float(np.abs(f)[bulk].max(initial=0.0)),
        float(low[bulk].min(initial=np.inf)),
        float(high[bulk].max(initial=-np.inf)),
        float((w * error**2)[bulk].sum()),
    )


@kernel
def mass_histogram(source, lowest, step, bins):
    """Return the mass by log density: bin ``(source - lowest) / step``."""
    index = np.minimum(((source - lowest) / step).astype(int), bins - 1)
    return np.bincount(index.ravel(), np.exp(source).ravel(), bins)


@kernel
def inverse_change(after, before, spacing, matrix, source):
    r"""Return the sum of ``nu |H^{-1} grad(after - before)|^2``, H of the quadratic and ``after``.

    With d split along the two eigenvectors, :math:`\langle d, H d\rangle = l_1 |d_1|^2 + l_2
    |d_2|^2`.
    """
    (h1, h2), (a11, a12, a22) = spacing, matrix
    moved = after - before
    d1 = (moved[2:, 1:-1] - moved[:-2, 1:-1]) / (2.0 * h1)
    d2 = (moved[1:-1, 2:] - moved[1:-1, :-2]) / (2.0 * h2)
    here = after[1:-1, 1:-1]
    h11 = a11 + (after[2:, 1:-1] - 2.0 * here + after[:-2, 1:-1]) / h1**2
    h22 = a22 + (after[1:-1, 2:] - 2.0 * here + after[1:-1, :-2]) / h2**2
    cross = after[2:, 2:] - after[2:, :-2] - after[:-2, 2:] + after[:-2, :-2]
    h12 = a12 + cross / (4.0 * h1 * h2)
    _, low, high = eigenvalues(h11, h12, h22)
    squared = d1**2 + d2**2
    bent = h11 * d1**2 + 2.0 * h12 * d1 * d2 + h22 * d2**2
    gap = np.where(high - low > 1e-12 * np.abs(high), high - low, np.inf)
    along_high = np.clip((bent - low * squared) / gap, 0.0, squared)
    floor = 1e-4 * np.abs(high) + 1e-300
    low, high = np.maximum(low, floor), np.maximum(high, floor)
    return float((np.exp(source) * ((squared - along_high) / low**2 + along_high / high**2)).sum())
