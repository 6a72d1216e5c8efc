"""Transport maps: the protocol that every solver's result follows, and the closed-form ones.

A transport map is the gradient ``T = grad psi`` of a convex potential; its inverse is the gradient
``S = grad phi`` of the conjugate ``phi = psi*``. Points are ``(n, d)`` arrays, one point is
``(d,)``; for ``d = 1`` an ``(n,)`` array holds n points and an ``(n,)`` array comes back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from parabolic_ma.points import as_floats, as_points, brief, restore
from parabolic_ma.status import InputError, MissingExtraError
from parabolic_ma.typing import Array

__all__ = ["Affine", "Identity", "TransportMap", "to_torch"]


@runtime_checkable
class TransportMap(Protocol):
    """The gradient of a convex potential, with its inverse."""

    @property
    def dim(self) -> int:
        """Dimension of the space."""

    def __call__(self, y: Array) -> Array:
        """Image ``T(y)``, of the shape of ``y``."""

    def inverse(self, x: Array) -> Array:
        """Preimage ``S(x)``, of the shape of ``x``."""

    def log_abs_det_jacobian(self, y: Array) -> Array:
        """``log det Hess psi`` at ``y``, shape ``(n,)``."""

    def potential(self, y: Array) -> Array:
        """``psi(y)``, shape ``(n,)``; its additive constant is arbitrary."""

    def conjugate(self, x: Array) -> Array:
        """``phi(x) = sup_y <x, y> - psi(y)``, shape ``(n,)``."""


def to_torch(transport: TransportMap) -> Any:
    """Return any map as a ``torch.distributions.Transform`` (extra ``neural``).

    Raises
    ------
    MissingExtraError
        If torch is not installed.
    """
    try:
        from parabolic_ma.neural.transform import MapTransform
    except ImportError:
        raise MissingExtraError("A map as a transform of torch", "neural") from None
    return MapTransform(transport)


@dataclass(frozen=True)
class Identity:
    """The identity on ``R^dim``, gradient of ``|y|^2 / 2``."""

    dim: int

    def __post_init__(self) -> None:
        if isinstance(self.dim, bool) or not isinstance(self.dim, int) or self.dim < 1:
            raise InputError(f"dim must be a positive integer, got {self.dim!r}")

    def __call__(self, y: Array) -> Array:
        """Return ``y`` itself."""
        points, form = as_points(y, self.dim, "y")
        return restore(points.copy(), form)

    def inverse(self, x: Array) -> Array:
        """Return ``x`` itself."""
        return self(x)

    def log_abs_det_jacobian(self, y: Array) -> Array:
        """Zero, shape ``(n,)``."""
        points, _ = as_points(y, self.dim, "y")
        return np.zeros(len(points))

    def potential(self, y: Array) -> Array:
        """``|y|^2 / 2``, shape ``(n,)``."""
        points, _ = as_points(y, self.dim, "y")
        return 0.5 * np.sum(points**2, axis=-1)

    def conjugate(self, x: Array) -> Array:
        """``|x|^2 / 2``, shape ``(n,)``."""
        return self.potential(x)

    def to_torch(self) -> Any:
        """Return the map as a ``torch.distributions.Transform``."""
        return to_torch(self)


@dataclass(frozen=True, eq=False)
class Affine:
    """``T(y) = A y + b`` with a symmetric positive definite ``A``.

    Parameters
    ----------
    A : array_like, shape (d, d)
        Symmetric positive definite matrix (a scalar stands for d = 1).
    b : array_like, shape (d,)
        Shift.

    Raises
    ------
    InputError
        If ``A`` is not symmetric positive definite: then it is no gradient of a convex function.
    """

    A: Array
    b: Array

    def __post_init__(self) -> None:
        b = np.atleast_1d(as_floats(self.b, "b"))
        A = as_floats(self.A, "A")
        if b.ndim != 1 or A.shape not in {(len(b),) * 2, ()} or A.size != len(b) ** 2:
            raise InputError(
                f"A must have shape (d, d) and b shape (d,), numbers for d = 1; got {A.shape} and "
                f"{b.shape}"
            )
        A = A.reshape(len(b), len(b))
        if not (np.all(np.isfinite(A)) and np.all(np.isfinite(b))):
            raise InputError(f"A and b must be finite, got A = {brief(A)} and b = {brief(b)}")
        if not np.allclose(A, A.T, rtol=1e-10, atol=1e-14 * float(np.abs(A).max())):
            raise InputError(
                f"A must be symmetric, got {A.tolist()}; a map that is not the gradient of a "
                "potential is no Brenier map"
            )
        smallest = float(np.linalg.eigvalsh(A)[0])
        if not smallest > 0:
            raise InputError(f"A must be positive definite, got smallest eigenvalue {smallest:g}")
        object.__setattr__(self, "A", 0.5 * (A + A.T))
        object.__setattr__(self, "b", b)

    @property
    def dim(self) -> int:
        """Dimension of the space."""
        return len(self.b)

    def __call__(self, y: Array) -> Array:
        """Image ``A y + b``, of the shape of ``y``."""
        points, form = as_points(y, self.dim, "y")
        return restore(points @ self.A + self.b, form)

    def inverse(self, x: Array) -> Array:
        """Preimage ``A^{-1} (x - b)``, of the shape of ``x``."""
        points, form = as_points(x, self.dim, "x")
        return restore(np.linalg.solve(self.A, (points - self.b).T).T, form)

    def log_abs_det_jacobian(self, y: Array) -> Array:
        """``log det A``, shape ``(n,)``."""
        points, _ = as_points(y, self.dim, "y")
        return np.full(len(points), np.linalg.slogdet(self.A)[1])

    def potential(self, y: Array) -> Array:
        """``<y, A y> / 2 + <b, y>``, shape ``(n,)``."""
        points, _ = as_points(y, self.dim, "y")
        return 0.5 * np.einsum("ni,ij,nj->n", points, self.A, points) + points @ self.b

    def conjugate(self, x: Array) -> Array:
        """``<x - b, A^{-1} (x - b)> / 2``, shape ``(n,)``."""
        points, _ = as_points(x, self.dim, "x")
        shifted = points - self.b
        return 0.5 * np.sum(shifted * np.linalg.solve(self.A, shifted.T).T, axis=-1)

    def to_torch(self) -> Any:
        """Return the map as a ``torch.distributions.Transform``."""
        return to_torch(self)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Affine)
            and np.array_equal(self.A, other.A)
            and np.array_equal(self.b, other.b)
        )

    __hash__ = None  # type: ignore[assignment]
