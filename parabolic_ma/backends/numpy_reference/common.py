"""What the NumPy kernels share."""

from __future__ import annotations

import math

import numpy as np

kernel = np.errstate(over="ignore", invalid="ignore", divide="ignore")
"""Decorator of every kernel: an iterate that diverges shows as infinities and NaNs in the results,
which the solver looks for, and not as a warning, as in the compiled backends."""


def gather(values, first, weights):
    """Weighted sums of neighbours on axis 0: ``sum_k weights[i, k] values[first[i] + k]``.

    Indices beyond the end are moved inside; their weights are zero.
    """
    index = np.minimum(first[:, None] + np.arange(weights.shape[1]), len(values) - 1)
    column = (slice(None),) + (None,) * (values.ndim - 1)
    return sum(w[column] * values[i] for w, i in zip(weights.T, index.T, strict=True))


def log_average(values, weights):
    """Return ``log(sum weights exp(values))`` over the last axis; nothing under- or overflows."""
    values = np.where(weights > 0, values, -np.inf)
    top = values.max(axis=-1)
    return top + np.log((weights * np.exp(values - top[..., None])).sum(axis=-1))


def figures(image, nu, cell, low, extended, right):
    r"""Return the seven figures of a linearisation; see ``linearise`` of the protocol.

    With the image's density i and the source's :math:`\nu`, ``cell`` = h being the size of a cell:
    the two masses, :math:`\chi = (\sum (i - \nu)^2 / (|i| + \nu)\, h)^{1/2}`, the smallest of
    ``low``, the mass of the source where ``extended``, the largest ``|right|``, and the root mean
    square of :math:`2 \tanh(F / 2) = 2 (i - \nu) / (i + \nu)`, :math:`F = \log(i / \nu)`, under
    the source; negative densities count as zero in the first and the last.
    """
    chi2 = ((image - nu) ** 2 / (np.abs(image) + nu + 1e-300)).sum() * cell
    positive = np.maximum(image, 0.0)
    bounded = 2.0 * (positive - nu) / (positive + nu + 1e-300)
    return (
        float(positive.sum() * cell),
        float(nu.sum() * cell),
        math.sqrt(chi2),
        float(low.min()),
        float(nu[extended].sum() * cell),
        float(np.abs(right).max()),
        math.sqrt((bounded**2 * nu).sum() / nu.sum()),
    )
