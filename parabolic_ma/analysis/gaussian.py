r"""Closed forms between Gaussians, in any dimension.

Quadratic potentials stay quadratic under the parabolic Monge-Ampere flow, under both explicit
mirror steps and under Sinkhorn's iteration. With the reference :math:`\nu = N(n, S_n)`, the target
:math:`\mu = N(m, S_m)` and precisions :math:`\Lambda = S^{-1}`,

.. math:: \psi(y) = \tfrac12 (y - n)^\top A (y - n) + b^\top (y - n) + c

pushes the reference to :math:`\rho = N(b, A S_n A)`. Potentials are centred at the mean of their
own side's measure: ``psi`` at ``n``, ``phi`` at ``m``.

References
----------
N. Deb and T. Liang, arXiv:2504.09279, for the flow and the mirror descent.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from parabolic_ma.maps import Affine
from parabolic_ma.measures import Gaussian
from parabolic_ma.points import as_floats, as_points
from parabolic_ma.status import InputError
from parabolic_ma.typing import Array

__all__ = [
    "GaussianFlow",
    "Quadratic",
    "bregman",
    "conjugate",
    "dual_mirror_step",
    "evaluate",
    "kl",
    "mirror_step",
    "model",
    "optimal_matrix",
    "rate",
    "sinkhorn_half_step",
    "sinkhorn_step",
    "spectral_gap",
    "squared_velocity",
]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)
_FORGOTTEN = 20.0  # e^{-2 * 20} = 4e-18: what is left of the start after 20 relaxation times


class Quadratic(NamedTuple):
    r""":math:`\tfrac12 (y - n)^\top A (y - n) + b^\top (y - n) + c`, the centre being known."""

    matrix: Array
    """``A``, shape ``(d, d)``: the Hessian."""
    shift: Array
    """``b``, shape ``(d,)``: the gradient at the centre."""
    constant: float
    """``c``: the value at the centre."""


@dataclass(frozen=True, eq=False)
class GaussianFlow:
    r"""The flow :math:`\partial_t\psi = F(\psi)` from a quadratic potential, for every time.

    .. math:: \dot A = \Lambda_n - A \Lambda_m A, \qquad \dot b = -A \Lambda_m (b - m), \qquad
        \dot c = -\tfrac12 (b - m)^\top \Lambda_m (b - m)
        + \tfrac12 \log\frac{\det S_n}{\det S_m} + \log\det A

    with the solution :math:`A = Y X^{-1}`, :math:`b = m + X^{-\top}(b_0 - m)` of
    :math:`[X; Y](t) = \exp(t\,[[0, \Lambda_m], [\Lambda_n, 0]])\,[I; A_0]`. It is evaluated in
    coordinates in which only decaying exponentials occur, so that any ``t >= 0`` will do: with
    :math:`R^2 = \Lambda_m^{1/2} \Lambda_n \Lambda_m^{1/2}`, :math:`W = \Lambda_m^{-1/2} R^{1/2}`
    and :math:`A = W C W^\top`, the flow is :math:`\dot C = R - C R C`, and its Cayley transform is
    linear,

    .. math:: G = (C + I)^{-1} (C - I), \qquad G_t = e^{-R t} G_0 e^{-R t} .

    Parameters
    ----------
    reference, target : Gaussian
    matrix : array_like, shape (d, d)
        ``A`` at time 0, symmetric positive definite; it need not commute with anything. A number
        for ``d = 1``.
    shift : array_like, shape (d,)
        ``b`` at time 0: the mean of the first model.
    constant : float
        ``c`` at time 0.

    Raises
    ------
    InputError
        If the dimensions differ or ``matrix`` is not symmetric positive definite.
    """

    reference: Gaussian
    target: Gaussian
    matrix: Array
    shift: Array
    constant: float = 0.0

    def __post_init__(self) -> None:
        start = Affine(self.matrix, self.shift)
        if not self.reference.dim == self.target.dim == start.dim:
            raise InputError(
                "reference, target and potential must have one dimension, got "
                f"{self.reference.dim}, {self.target.dim} and {start.dim}"
            )
        object.__setattr__(self, "matrix", start.A)
        object.__setattr__(self, "shift", start.b)

    def quadratic(self, t: float) -> Quadratic:
        r"""``(A, b, c)`` at time ``t >= 0``.

        .. math:: A_t = W (I + G_t)(I - G_t)^{-1} W^\top, \qquad b_t = m + W X_t^{-\top} W^{-1}
            (b_0 - m), \qquad X_t = \tfrac12 e^{R t} (I - e^{-2 R t} G_0) (C_0 + I),

        .. math:: c_t = c_0 - \tfrac12 e_0^\top X_t^{-1} \sinh(R t)\, e_0
            + \int_0^t \log\det C_s\,ds, \qquad e_0 = W^{-1}(b_0 - m) .

        The integral is by Gauss-Legendre panels; its integrand is analytic up to a known distance
        from the real axis, and the error is that of rounding.
        """
        t = _time(t)
        frame = self._frame
        decay = np.exp(-frame.rates * t)
        cayley = decay[:, None] * frame.cayley * decay
        identity = np.eye(len(decay))
        root = np.linalg.solve((identity - cayley).T, (identity + cayley).T).T
        A = frame.scale @ root @ frame.scale.T
        # X^{-T} e_0 = 2 e^{-Rt} (I - G_0 e^{-2Rt})^{-1} (C_0 + I)^{-1} e_0
        start = np.linalg.solve(frame.start + identity, frame.offset)
        spread = np.linalg.solve(identity - frame.cayley * decay**2, start)
        b = self.target.mean + frame.scale @ (2.0 * decay * spread)
        # spread^T = e_0^T (C_0 + I)^{-1} (I - e^{-2Rt} G_0)^{-1}, as C_0 and G_0 are symmetric
        moved = 0.5 * float(spread @ (np.expm1(-2.0 * frame.rates * t) * frame.offset))
        c = self.constant + moved + self._integrated_log_det(t)
        return Quadratic(0.5 * (A + A.T), b, c)

    def potential(self, t: float, y: Array) -> Array:
        """``psi_t(y)`` at points ``(n, d)``, shape ``(n,)``."""
        return evaluate(self.quadratic(t), self.reference.mean, y)

    def map(self, t: float) -> Affine:
        """``grad psi_t(y) = A (y - n) + b``."""
        A, b, _ = self.quadratic(t)
        return Affine(A, b - A @ self.reference.mean)

    def model(self, t: float) -> Gaussian:
        r""":math:`\rho_t = N(b, A S_n A)`."""
        return model(self.reference, self.quadratic(t))

    @cached_property
    def _frame(self) -> _Frame:
        """What the solution is made of, in the eigenvectors of ``R``."""
        half, inverse_half = _root(self.target.precision), _root(self.target.cov)
        squares, vectors = np.linalg.eigh(half @ self.reference.precision @ half)
        rates = np.sqrt(squares)
        scale = inverse_half @ vectors * np.sqrt(rates)  # W
        unscale = (half @ vectors / np.sqrt(rates)).T  # its inverse
        start = unscale @ self.matrix @ unscale.T
        start = 0.5 * (start + start.T)
        values, axes = np.linalg.eigh(start)
        cayley = axes * ((values - 1.0) / (values + 1.0)) @ axes.T
        offset = unscale @ (self.shift - self.target.mean)
        return _Frame(rates, scale, start, cayley, offset)

    def _integrated_log_det(self, t: float) -> float:
        r""":math:`\int_0^t \log\det C_s\,ds`, with :math:`C = (I + G)(I - G)^{-1}`."""
        frame = self._frame
        size = float(np.abs(np.linalg.eigvalsh(frame.cayley)).max())
        if size == 0.0:
            return 0.0  # C is the identity for ever
        # det(I +- G_s) has no zero with Re s > -margin, as |G_s| < 1 there
        margin = -np.log(min(size, 1.0 - 1e-16)) / (2.0 * frame.rates[-1])
        end = min(t, _FORGOTTEN / float(frame.rates[0]))
        total, left = 0.0, 0.0
        while left < end:
            # not wider than the distance to the singularities, nor than a relaxation
            right = min(end, left + min(left + margin, 1.0 / frame.rates[-1]))
            nodes = 0.5 * (left + right) + 0.5 * (right - left) * _NODES
            decay = np.exp(-np.outer(nodes, frame.rates))
            cayley = decay[:, :, None] * frame.cayley * decay[:, None, :]
            logs = np.log1p(values := np.linalg.eigvalsh(cayley)) - np.log1p(-values)
            total += 0.5 * (right - left) * float(_WEIGHTS @ logs.sum(axis=-1))
            left = right
        return total


class _Frame(NamedTuple):
    """The flow in the coordinates in which :math:`R` is diagonal."""

    rates: Array  # eigenvalues of R, ascending
    scale: Array  # W
    start: Array  # C_0
    cayley: Array  # G_0
    offset: Array  # W^{-1} (b_0 - m)


def evaluate(quadratic: Quadratic, center: Array, points: Array) -> Array:
    """Values of a quadratic about ``center`` at points ``(n, d)``, shape ``(n,)``."""
    A, b, c = quadratic
    shifted = as_points(points, len(b), "points")[0] - center
    return np.asarray(0.5 * np.einsum("ni,ij,nj->n", shifted, A, shifted) + shifted @ b + c)


def conjugate(quadratic: Quadratic, center: Array, new_center: Array) -> Quadratic:
    r"""Legendre transform of a quadratic about ``center``, as a quadratic about ``new_center``.

    .. math:: \phi(x) = \langle x, n\rangle + \tfrac12 (x - b)^\top A^{-1} (x - b) - c .
    """
    A, b, c = quadratic
    return _recentred(np.linalg.inv(A), b, -c, center, new_center)


def rate(reference: Gaussian, target: Gaussian, quadratic: Quadratic) -> Quadratic:
    r""":math:`F(\psi)`, the right-hand side of the flow: :math:`(\dot A, \dot b, \dot c)`.

    .. math:: F = \tfrac12 (y - n)^\top (\Lambda_n - A \Lambda_m A) (y - n)
        - (y - n)^\top A \Lambda_m (b - m) - \tfrac12 (b - m)^\top \Lambda_m (b - m)
        + \tfrac12 \log\frac{\det S_n}{\det S_m} + \log\det A .
    """
    A, b, _ = quadratic
    pull = target.precision @ (b - target.mean)
    log_det = float(np.linalg.slogdet(A)[1])
    constant = log_det + reference.log_normalizer - target.log_normalizer
    return Quadratic(
        reference.precision - A @ target.precision @ A,
        -A @ pull,
        constant - 0.5 * float((b - target.mean) @ pull),
    )


def mirror_step(
    reference: Gaussian, target: Gaussian, quadratic: Quadratic, step: float
) -> Quadratic:
    r"""One explicit step :math:`\psi + \eta F(\psi)`; see `rate`.

    With reference and target exchanged it is the step of ``phi`` (about the target's mean), because
    the flow is symmetric under the Legendre transform. It need not stay convex: near the fixed
    point it is stable for steps below the inverse of the largest :math:`\theta_i = \mathrm{eig}_i
    (S_n S_m)^{-1/2}`.
    """
    A, b, c = quadratic
    A_rate, b_rate, c_rate = rate(reference, target, quadratic)
    return Quadratic(A + step * A_rate, b + step * b_rate, c + step * c_rate)


def dual_mirror_step(
    reference: Gaussian, target: Gaussian, quadratic: Quadratic, step: float
) -> Quadratic:
    r"""The ``psi`` after one explicit step :math:`\phi + \eta h` of its conjugate.

    .. math:: P_{k+1} = P_k + \eta (\Lambda_m - P_k \Lambda_n P_k), \qquad P = A^{-1} .
    """
    phi = conjugate(quadratic, reference.mean, target.mean)
    return conjugate(mirror_step(target, reference, phi, step), target.mean, reference.mean)


def sinkhorn_half_step(
    measure: Gaussian, quadratic: Quadratic, new_center: Array, epsilon: float
) -> Quadratic:
    r"""Soft conjugate of a quadratic about the mean of a Gaussian, about ``new_center``.

    .. math:: \epsilon\log\int e^{(\langle x, y\rangle - \psi(y))/\epsilon}\,\nu(dy) =
        \langle x, n\rangle + \tfrac12 (x - b)^\top (A + \epsilon\Lambda_n)^{-1} (x - b) - c
        - \tfrac\epsilon2 \log\det(I + S_n A / \epsilon) .

    The cost is half the squared distance; ``epsilon`` has its units.
    """
    A, b, c = quadratic
    P = np.linalg.inv(A + epsilon * measure.precision)
    log_det = float(np.linalg.slogdet(np.eye(len(b)) + measure.cov @ A / epsilon)[1])
    return _recentred(0.5 * (P + P.T), b, -c - 0.5 * epsilon * log_det, measure.mean, new_center)


def sinkhorn_step(
    reference: Gaussian, target: Gaussian, quadratic: Quadratic, epsilon: float
) -> Quadratic:
    r"""One iteration of Sinkhorn's algorithm, both half steps, from ``psi`` to ``psi``.

    .. math:: P_{k+1} = (A_k + \epsilon\Lambda_n)^{-1}, \qquad
        A_{k+1} = (P_{k+1} + \epsilon\Lambda_m)^{-1}, \qquad
        b_{k+1} - m = A_{k+1} P_{k+1} (b_k - m) .

    It is :math:`\psi + \epsilon F(\psi) + O(\epsilon^2)`: Sinkhorn's algorithm moves along the flow
    by the time ``epsilon`` an iteration.
    """
    phi = sinkhorn_half_step(reference, quadratic, target.mean, epsilon)
    return sinkhorn_half_step(target, phi, reference.mean, epsilon)


def model(reference: Gaussian, quadratic: Quadratic) -> Gaussian:
    r""":math:`\rho = (\nabla\psi)_\#\nu = N(b, A S_n A)`."""
    A, b, _ = quadratic
    return Gaussian(b, A @ reference.cov @ A)


def kl(first: Gaussian, second: Gaussian) -> float:
    r""":math:`\mathrm{KL}(N(m_1, S_1)\,|\,N(m_2, S_2))` in nats.

    .. math:: \tfrac12\Bigl[\operatorname{tr}(\Lambda_2 S_1) - d
        + (m_2 - m_1)^\top \Lambda_2 (m_2 - m_1) + \log\frac{\det S_2}{\det S_1}\Bigr]
    """
    gap = second.mean - first.mean
    quadratic = float(np.sum(second.precision * first.cov)) - first.dim
    logs = 2.0 * (second.log_normalizer - first.log_normalizer)
    return 0.5 * (quadratic + float(gap @ second.precision @ gap) + logs)


def optimal_matrix(reference: Gaussian, target: Gaussian) -> Array:
    r"""``A`` of the Brenier map, :math:`S_n^{-1/2} (S_n^{1/2} S_m S_n^{1/2})^{1/2} S_n^{-1/2}`."""
    half = _root(reference.cov)
    inverse = np.linalg.inv(half)
    A = inverse @ _root(half @ target.cov @ half) @ inverse
    return np.asarray(0.5 * (A + A.T))


def bregman(reference: Gaussian, comparator: Gaussian, quadratic: Quadratic) -> float:
    r""":math:`B(\pi|\rho)` of :math:`\tfrac12 W_2^2(\cdot, \nu)` at the model of a potential.

    .. math:: B(\pi|\rho) = \tfrac12 E_\nu\bigl[(T_\pi - T_\rho)^\top A^{-1} (T_\pi - T_\rho)\bigr]
        = \tfrac12 \operatorname{tr}(A^{-1} (A_\pi - A) S_n (A_\pi - A))
        + \tfrac12 (b_\pi - b)^\top A^{-1} (b_\pi - b)

    with the Brenier maps :math:`T(y) = A (y - n) + b` of the reference to :math:`\pi` and to
    :math:`\rho`: the mean of the Bregman divergence of :math:`\phi`, whose Hessian is
    :math:`A^{-1}`.
    """
    A, b, _ = quadratic
    gap = optimal_matrix(reference, comparator) - A
    shift = comparator.mean - b
    twice = np.sum(np.linalg.solve(A, gap) * (reference.cov @ gap).T)
    return 0.5 * float(twice + shift @ np.linalg.solve(A, shift))


def squared_velocity(
    reference: Gaussian, target: Gaussian, quadratic: Quadratic, comparator: Gaussian | None = None
) -> float:
    r""":math:`\int|\xi|^2\,d\pi_k` for a comparator, by default the target.

    With :math:`\xi = -\nabla F`, :math:`\pi_k = (\nabla\phi_k)_\#\pi` and :math:`\nabla F =
    \dot A (y - n) + \dot b`, where under :math:`\pi_k` the point ``y - n`` has the mean
    :math:`A^{-1}(m_\pi - b)` and the covariance :math:`A^{-1} S_\pi A^{-1}`.
    """
    A, b, _ = quadratic
    A_rate, b_rate, _ = rate(reference, target, quadratic)
    pi = target if comparator is None else comparator
    slope = np.linalg.solve(A, A_rate.T).T  # the derivative of grad F in x
    mean = slope @ (pi.mean - b) + b_rate
    return float(np.sum((slope @ pi.cov) * slope) + mean @ mean)


def spectral_gap(reference: Gaussian, target: Gaussian) -> float:
    r"""Slowest decay rate of the flow, :math:`\theta_{\min} = \max\mathrm{eig}(S_n S_m)^{-1/2}`.

    Per unit time: the mean relaxes at :math:`\theta_i`, ``A`` at :math:`\theta_i + \theta_j`, the
    divergences at twice the slowest of these that occurs.
    """
    half = _root(reference.cov)
    return float(np.linalg.eigvalsh(half @ target.cov @ half)[-1] ** -0.5)


def _recentred(
    matrix: Array, image: Array, constant: float, center: Array, new_center: Array
) -> Quadratic:
    """``<x, center> + (x - image)^T matrix (x - image) / 2 + constant`` about ``new_center``."""
    gap = new_center - image
    pull = matrix @ gap
    value = constant + float(center @ new_center) + 0.5 * float(gap @ pull)
    return Quadratic(matrix, pull + center, value)


def _root(matrix: Array) -> Array:
    """Square root of a symmetric positive definite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray(vectors * np.sqrt(values) @ vectors.T)


def _time(t: float) -> float:
    value = float(as_floats(t, "t"))
    if not (np.isfinite(value) and value >= 0.0):
        raise InputError(f"t must be a finite time from 0 up, got {t}")
    return value
