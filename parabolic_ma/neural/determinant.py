"""Log determinants of batches of Hessians, continued where a Hessian is not positive definite."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["LogDeterminant", "eigenvalue_range", "log_determinant"]

_FLOOR = 1e-3  # relative to the largest eigenvalue: where the logarithm goes on linearly


class LogDeterminant(NamedTuple):
    """Of a batch of symmetric matrices, without a graph."""

    value: Tensor
    """Shape ``(n,)``."""
    slope: Tensor
    """Derivative by the matrix, shape ``(n, d, d)``: the inverse where it is positive definite."""
    convex: bool
    """Whether all of them are positive definite."""


def log_determinant(hessian: Tensor) -> LogDeterminant:
    r"""Sum of the logarithms of the eigenvalues, each continued by its tangent below a floor.

    Below a thousandth of the largest eigenvalue of a matrix that is *not* positive definite the
    logarithm goes on linearly, so that the loss stays finite and its slope, a thousand over that
    eigenvalue, drives the potential back to convexity. Positive definite matrices have their true
    determinant and inverse.

    Parameters
    ----------
    hessian : Tensor, shape (n, d, d)
        Symmetric.
    """
    dim = hessian.shape[-1]
    if dim == 1:
        entry = hessian[:, 0, 0]
        if bool((entry > 0).all()):
            return LogDeterminant(torch.log(entry), 1.0 / hessian, convex=True)
    elif dim == 2:
        a, b, c = hessian[:, 0, 0], hessian[:, 0, 1], hessian[:, 1, 1]
        determinant = a * c - b * b
        if bool(((determinant > 0) & (a > 0)).all()):
            adjugate = torch.stack([c, -b, -b, a], -1).view(-1, 2, 2)
            slope = adjugate / determinant[:, None, None]
            return LogDeterminant(torch.log(determinant), slope, convex=True)
    else:
        factor, failed = torch.linalg.cholesky_ex(hessian)
        if not bool(failed.any()):
            value = 2.0 * torch.log(factor.diagonal(dim1=-2, dim2=-1)).sum(-1)
            return LogDeterminant(value, torch.cholesky_inverse(factor), convex=True)
    return _continued(hessian)


def _continued(hessian: Tensor) -> LogDeterminant:
    finite = torch.nan_to_num(hessian, nan=0.0, posinf=1e6, neginf=-1e6)
    values, axes = torch.linalg.eigh(finite)
    largest = values.abs().amax(-1, keepdim=True).clamp_min(1e-30)
    # a positive definite matrix keeps its true logarithms, however small its eigenvalues are
    positive = (values > 0).all(-1, keepdim=True)
    floor = torch.where(positive, torch.zeros_like(largest), _FLOOR * largest)
    lifted = torch.maximum(values, floor).clamp_min(1e-300)
    beyond = (values - lifted) / lifted
    value = (torch.log(lifted) + beyond).sum(-1)
    slope = (axes / lifted[:, None]) @ axes.mT
    return LogDeterminant(value, slope, convex=False)


def eigenvalue_range(hessian: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest eigenvalue of every matrix, each of shape ``(n,)``."""
    values = torch.linalg.eigvalsh(hessian)
    return values[:, 0], values[:, -1]
