"""Coordinates in which a network works: both measures centred, of one covariance, of scale one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from parabolic_ma.typing import Array

__all__ = ["Frame"]

_FLATTEST = 1e-12  # smallest eigenvalue of a covariance, relative to the largest


@dataclass(frozen=True, eq=False)
class Frame:
    r"""Affine coordinates on both sides that keep a gradient a gradient.

    With ``z = P^T (y - m) / s`` and ``x = s P v + b`` the function

    .. math:: \psi(y) = s^2 h(z) + \langle b, y\rangle

    has the gradient ``s P grad h(z) + b`` and the Hessian ``P Hess h P^T``: convex if h is, for any
    invertible P. With ``P P^T = A``, the matrix of the Brenier map between the two Gaussians of the
    same moments, z and v have the same covariance, diagonal and of geometric mean one, and the
    identity ``h = |z|^2 / 2`` *is* that map: what is left to learn is the rest.
    """

    axes: Array
    """``P``, shape ``(d, d)``."""
    scale: float
    """``s``."""
    center: Array
    """``m``, shape ``(d,)``."""
    image: Array
    """``b``, shape ``(d,)``."""
    variances: Array
    """Of z and v: the diagonal of their common covariance, shape ``(d,)``."""

    @classmethod
    def between(
        cls, source: tuple[Array, Array] | None, image: tuple[Array, Array] | None, dim: int
    ) -> Frame:
        """Return the frame of the means and covariances of the two sides; None is ``(0, I)``."""
        standard = (np.zeros(dim), np.eye(dim))
        mean, cov = standard if source is None else source
        image_mean, image_cov = standard if image is None else image
        root = _power(cov, 0.5)
        back = _power(cov, -0.5)
        gaussian_map = back @ _power(root @ image_cov @ root, 0.5) @ back
        factor = _power(gaussian_map, 0.5)
        # turned so that the common covariance P^T C P is diagonal
        variances, turn = np.linalg.eigh(factor @ cov @ factor)
        scale = math.exp(0.5 * float(np.log(variances).mean()))
        spread = variances / scale**2
        return cls(factor @ turn, scale, np.asarray(mean), np.asarray(image_mean), spread)

    @property
    def dim(self) -> int:
        """Dimension of the space."""
        return len(self.center)

    def dual(self) -> Frame:
        """Return the frame of the inverse map: its z is this one's v, and the other way round."""
        axes = np.linalg.inv(self.axes).T
        return Frame(axes, self.scale, self.image, self.center, self.variances)

    @property
    def log_det(self) -> float:
        """Log determinant of ``P P^T``: the map's log Jacobian less that of ``grad h``."""
        return 2.0 * float(np.linalg.slogdet(self.axes)[1])

    @property
    def out(self) -> Array:
        """``s P``: what a covector at the image is multiplied by from the right to reach v."""
        return self.scale * self.axes

    def encode(self, y: Array) -> Tensor:
        """Return ``z`` of points ``y``, in float64."""
        return torch.from_numpy(np.ascontiguousarray((y - self.center) @ self.axes / self.scale))

    def decode(self, v: Tensor) -> Array:
        """Return the images ``x`` of gradients ``v``."""
        return v.double().numpy() @ self.out.T + self.image

    def encode_image(self, x: Array) -> Tensor:
        """Return ``v`` of images ``x``: the inverse of `decode`."""
        return torch.from_numpy(np.linalg.solve(self.out, (x - self.image).T).T.copy())

    def decode_source(self, z: Tensor) -> Array:
        """Return the points ``y`` of coordinates ``z``: the inverse of `encode`."""
        scaled = self.scale * z.double().numpy()
        return np.asarray(np.linalg.solve(self.axes.T, scaled.T).T + self.center)


def _power(matrix: Array, exponent: float) -> Array:
    """Power of a symmetric positive definite matrix; its spectrum is bounded from below."""
    values, axes = np.linalg.eigh(0.5 * (matrix + matrix.T))
    values = np.maximum(values, _FLATTEST * values[-1])
    return np.asarray((axes * values**exponent) @ axes.T)
