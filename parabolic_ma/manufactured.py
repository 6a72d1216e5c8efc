r"""Transport problems in space whose Brenier maps are known in closed form.

Each is made from a potential: with :math:`\psi` and the target's :math:`f` chosen, the reference is
:math:`g = f(\nabla\psi) - \log\det\nabla^2\psi`; or with :math:`\phi` and :math:`g` chosen the
target is :math:`f = g(\nabla\phi) - \log\det\nabla^2\phi`. Both are normalised by themselves. The
functions are public, so that a problem file can name them.
"""

from __future__ import annotations

import math

import numpy as np

from parabolic_ma.maps import Affine
from parabolic_ma.measures import Gaussian, Potential
from parabolic_ma.problem import TransportProblem
from parabolic_ma.typing import Array

__all__ = [
    "correlated_gaussians",
    "correlated_map",
    "cosine_cube",
    "cosine_cube_map",
    "three_ridges",
    "three_ridges_map",
]

_UNIT_CUBE = ((0.0, 1.0),) * 3

# --------------------------------------------------------------------------- two Gaussians
_REFERENCE = Gaussian([0.5, -1.0, 0.2], [[1.5, -0.4, 0.2], [-0.4, 0.6, 0.1], [0.2, 0.1, 0.9]])
_TARGET = Gaussian([-0.5, 0.3, 1.0], [[1.0, 0.6, 0.3], [0.6, 0.8, -0.1], [0.3, -0.1, 0.5]])


def correlated_gaussians() -> TransportProblem:
    """Two normal distributions whose covariances do not commute."""
    return TransportProblem(_REFERENCE, _TARGET)


def _power(matrix: Array, power: float) -> Array:
    values, axes = np.linalg.eigh(matrix)
    return np.asarray((axes * values**power) @ axes.T)


def correlated_map() -> Affine:
    """``T(y) = m + A (y - n)``, ``A = N^{-1/2} (N^{1/2} M N^{1/2})^{1/2} N^{-1/2}``."""
    half, back = _power(_REFERENCE.cov, 0.5), _power(_REFERENCE.cov, -0.5)
    A = back @ _power(half @ _TARGET.cov @ half, 0.5) @ back
    return Affine(A, _TARGET.mean - A @ _REFERENCE.mean)


# --------------------------------------------------------------------------- cosines on a cube
# psi(y) = |y|^2 / 2 + (a / pi^2) cos(pi y1) cos(pi y2) cos(pi y3) carries faces to themselves.
_COSINE = 0.4


def cosine_cube_map(y: Array) -> Array:
    """Brenier map of the cosine cube, ``(n, 3)`` to ``(n, 3)``."""
    c, s = np.cos(math.pi * y), np.sin(math.pi * y)
    others = c[:, [1, 0, 0]] * c[:, [2, 2, 1]]
    return np.asarray(y - _COSINE / math.pi * s * others)


def cosine_cube_target(x: Array) -> Array:
    """Minus log of ``1 + prod cos(2 pi x_k) / 2`` on the unit cube, ``(n,)``."""
    return np.asarray(-np.log1p(0.5 * np.cos(2 * math.pi * x).prod(axis=1)))


def cosine_cube_target_gradient(x: Array) -> Array:
    """Gradient of `cosine_cube_target`, ``(n, 3)``."""
    c, s = np.cos(2 * math.pi * x), np.sin(2 * math.pi * x)
    others = c[:, [1, 0, 0]] * c[:, [2, 2, 1]]
    return np.asarray(math.pi * s * others / (1 + 0.5 * c.prod(axis=1))[:, None])


def cosine_cube_reference(y: Array) -> Array:
    """Minus log density that the map carries to the target."""
    c, s = np.cos(math.pi * y), np.sin(math.pi * y)
    hessian = np.empty((len(y), 3, 3))
    for k in range(3):
        hessian[:, k, k] = 1 - _COSINE * c.prod(axis=1)
        for m in range(k):
            hessian[:, k, m] = hessian[:, m, k] = _COSINE * s[:, k] * s[:, m] * c[:, 3 - k - m]
    log_det = np.linalg.slogdet(hessian)[1]
    return np.asarray(cosine_cube_target(cosine_cube_map(y)) - log_det)


def cosine_cube() -> TransportProblem:
    """Two smooth positive densities on the unit cube."""
    return TransportProblem(
        reference=Potential(cosine_cube_reference, 3, normalized=True, box=_UNIT_CUBE),
        target=Potential(
            cosine_cube_target,
            3,
            gradient=cosine_cube_target_gradient,
            normalized=True,
            box=_UNIT_CUBE,
        ),
    )


# --------------------------------------------------------------------------- ridges in space
# phi(x) = |x|^2 / 2 - sum_j beta_j log cosh(w_j . x), convex as sum_j beta_j |w_j|^2 < 1.
_BETA = np.array([0.45, 0.25, 0.2])
_W = np.array([[1.0, 0.0, 0.0], [0.5, 0.8, 0.0], [0.0, 0.3, 0.9]])


def _three_ridges_inverse(x: Array) -> Array:
    """Gradient of phi."""
    return np.asarray(x - (_BETA * np.tanh(x @ _W.T)) @ _W)


def _three_ridges_hessian(x: Array) -> Array:
    bend = _BETA * (1 - np.tanh(x @ _W.T) ** 2)
    return np.asarray(np.eye(3) - np.einsum("nj,jk,jm->nkm", bend, _W, _W))


def three_ridges_map(y: Array) -> Array:
    """Brenier map of the standard normal, ``(n, 3)`` to ``(n, 3)``: Newton's method on phi."""
    x = np.array(y, dtype=float)
    for _ in range(60):
        gap = _three_ridges_inverse(x) - y
        step = np.linalg.solve(_three_ridges_hessian(x), gap[..., None])[..., 0]
        x -= step / np.maximum(1.0, np.abs(step).max(axis=1, keepdims=True))
        if np.abs(step).max(initial=0.0) < 1e-13:
            break
    return x


def three_ridges_target(x: Array) -> Array:
    """Minus log density that the gradient of phi carries to the standard normal, ``(n,)``."""
    y = _three_ridges_inverse(x)
    log_det = np.linalg.slogdet(_three_ridges_hessian(x))[1]
    return np.asarray(0.5 * np.sum(y**2, axis=1) + 1.5 * math.log(2 * math.pi) - log_det)


def three_ridges() -> TransportProblem:
    """The standard normal in space to a density with two modes."""
    return TransportProblem(
        Gaussian([0.0, 0.0, 0.0], 1.0), Potential(three_ridges_target, 3, normalized=True)
    )
