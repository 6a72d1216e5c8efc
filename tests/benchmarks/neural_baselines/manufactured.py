r"""Problems whose Brenier map is known in any dimension.

With the convex potential

.. math:: \phi(x) = \tfrac12 |x|^2 - \sum_j \beta_j \log\cosh(w_j \cdot x)

the gradient :math:`S = \nabla\phi` carries :math:`f := g(S) - \log\det\nabla^2\phi` to the standard
normal ``g``, so that ``e^{-f}`` is normalised and the map of the problem is :math:`T = S^{-1}`.
Along every ``w_j`` the density has two humps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import parabolic_ma as pma
from parabolic_ma.typing import Array

__all__ = ["LogCosh", "log_cosh", "problem"]


@dataclass(frozen=True, eq=False)
class LogCosh:
    """The potential and everything that follows from it, for points ``(n, d)``.

    Attributes
    ----------
    directions : ndarray, shape (m, d)
        The ``w_j``, as rows.
    betas : ndarray, shape (m,)
    """

    directions: Array
    betas: Array

    @property
    def min_eigenvalue(self) -> float:
        """Least eigenvalue of the Hessian, which it has at the origin."""
        return float(
            np.linalg.eigvalsh(self.hessian(np.zeros((1, self.directions.shape[1]))))[0, 0]
        )

    def conjugate(self, x: Array) -> Array:
        """``phi``, shape ``(n,)``."""
        u = np.abs(x @ self.directions.T)
        log_cosh = u + np.log1p(np.exp(-2.0 * u)) - math.log(2.0)
        return np.asarray(0.5 * np.sum(x * x, axis=1) - log_cosh @ self.betas)

    def inverse(self, x: Array) -> Array:
        """``S = grad phi``, of the shape of ``x``."""
        return np.asarray(x - (np.tanh(x @ self.directions.T) * self.betas) @ self.directions)

    def hessian(self, x: Array) -> Array:
        """Hessian of ``phi``, shape ``(n, d, d)``."""
        bend = self.betas * (1.0 - np.tanh(x @ self.directions.T) ** 2)
        humps = np.einsum("nj,ji,jk->nik", bend, self.directions, self.directions, optimize=True)
        return np.asarray(np.eye(x.shape[1]) - humps)

    def potential(self, x: Array) -> Array:
        """``f``, minus the log density, shape ``(n,)``."""
        image = self.inverse(x)
        normal = 0.5 * np.sum(image**2, axis=1) + 0.5 * x.shape[1] * math.log(2.0 * math.pi)
        return np.asarray(normal - np.linalg.slogdet(self.hessian(x))[1])

    def gradient(self, x: Array) -> Array:
        """Gradient of ``f``, of the shape of ``x``.

        The derivative of ``log det H`` along ``e_k`` is ``tr(H^-1 dH/dx_k)``, and every hump has
        ``(sech^2)' = -2 sech^2 tanh``.
        """
        hessian = self.hessian(x)
        rise = np.tanh(x @ self.directions.T)
        bend = self.betas * (1.0 - rise**2)
        solved = np.linalg.solve(
            hessian, np.broadcast_to(self.directions.T, (len(x), *self.directions.T.shape))
        )
        size = np.einsum("jd,ndj->nj", self.directions, solved)  # w_j . H^-1 w_j
        turn = (2.0 * bend * rise * size) @ self.directions
        return np.asarray(np.einsum("nik,nk->ni", hessian, self.inverse(x)) - turn)

    def transport(self, y: Array) -> Array:
        """Return ``T = S^-1`` at ``y``, by Newton's method to rounding.

        ``S`` is strongly monotone, so that a Newton direction always lessens ``|S(x) - y|``.
        """
        y = np.asarray(y, dtype=np.float64)
        x = y.copy()
        residual = self.inverse(x) - y
        for _ in range(100):
            size = np.linalg.norm(residual, axis=1)
            # 1e-14 of the points' size: what rounding leaves.
            open_rows = np.flatnonzero(size > 1e-14 * (1.0 + np.linalg.norm(y, axis=1)))
            if not len(open_rows):
                break
            part, old = x[open_rows], size[open_rows]
            step = np.linalg.solve(self.hessian(part), residual[open_rows, :, None])[..., 0]
            length = np.ones((len(part), 1))
            for _ in range(30):
                trial = part - length * step
                left = self.inverse(trial) - y[open_rows]
                worse = np.linalg.norm(left, axis=1) > old
                if not worse.any():
                    break
                length[worse] *= 0.5
            better = np.linalg.norm(left, axis=1) < old
            x[open_rows[better]] = trial[better]
            residual[open_rows[better]] = left[better]
            if not better.any():
                break
        return x


def log_cosh(dim: int, seed: int = 0, least: float = 0.3) -> LogCosh:
    """Make a potential in ``dim`` dimensions whose Hessian's least eigenvalue is ``least``.

    In the plane there are two fixed directions. Otherwise there are as many directions as
    dimensions, far from orthogonal, with lengths between 0.8 and 1.25. The smaller ``least``, the
    deeper the valleys between the humps and the steeper the map across them.
    """
    if dim == 2:
        betas = np.array([0.6, 0.3]) * (1.0 - least) / 0.7  # to 0.003 of the least eigenvalue
        return LogCosh(np.array([[1.0, 0.0], [0.5, 0.8]]), betas)
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    directions = axes + 0.35 * rng.standard_normal((dim, dim)) / math.sqrt(dim)
    directions *= (rng.uniform(0.8, 1.25, dim) / np.linalg.norm(directions, axis=1))[:, None]
    betas = rng.uniform(0.6, 1.0, dim) / np.sum(directions**2, axis=1)
    largest = np.linalg.eigvalsh((directions.T * betas) @ directions)[-1]
    return LogCosh(directions, betas * (1.0 - least) / largest)


def problem(
    dim: int, seed: int = 0, least: float = 0.3
) -> tuple[pma.TransportProblem, Callable[[Array], Array]]:
    """Return the problem of the standard normal and its exact map, ``(n, d)`` to ``(n, d)``."""
    made = log_cosh(dim, seed, least)
    target = pma.Potential(
        made.potential, dim, gradient=made.gradient, normalized=True, log_concave=False
    )
    return pma.TransportProblem(pma.Gaussian(np.zeros(dim), 1.0), target), made.transport
