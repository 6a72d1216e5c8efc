r"""Inequalities of mirror descent for the Kullback-Leibler divergence, from numbers alone.

The terms may come from a grid (`parabolic_ma.analysis.theory`) or from closed forms
(`parabolic_ma.analysis.gaussian`). Notation as in `parabolic_ma.analysis.theory`; in nats.

References
----------
N. Deb and T. Liang, arXiv:2504.09279.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from parabolic_ma.status import InputError
from parabolic_ma.typing import Array

__all__ = ["EVI", "Regret", "curvature_bound", "evi_sides", "regret"]


@dataclass(frozen=True)
class EVI:
    """Both sides of an evolution variational inequality, in nats."""

    left: float
    r""":math:`\mathrm{KL}(\rho_k|\mu) - \mathrm{KL}(\pi|\mu)`."""
    right: float
    """What bounds it; see `evi_sides`."""

    @property
    def slack(self) -> float:
        """``right - left``: not negative where the inequality holds."""
        return self.right - self.left


@dataclass(frozen=True, eq=False)
class Regret:
    """Running sums after each step, shape ``(K,)``, in nats times time."""

    regret: Array
    bound: Array


def evi_sides(
    kl: float,
    kl_comparator: float,
    kl_comparator_model: float,
    bregman_difference: float,
    step: float,
    squared_velocity: float,
    min_eigenvalue: float,
) -> EVI:
    r"""The evolution variational inequality of one step from numbers.

    .. math:: \mathrm{KL}(\rho_k|\mu) - \mathrm{KL}(\pi|\mu) \le
        \frac{B(\pi|\rho_k) - B(\pi|\rho_{k+1})}{\eta_k}
        + \frac{\eta_k}{2 m_{k+1}}\int|\xi_k|^2\,d\pi_k - \mathrm{KL}(\pi|\rho_k)

    for every density :math:`\pi` on the target's space, with the smallest eigenvalue
    :math:`m_{k+1} > 0` of the Hessian *after* the step. Proof: :math:`B(\pi|\rho_{k+1}) -
    B(\pi|\rho_k) = \int(\phi_{k+1} - \phi_k)\,d\pi - \eta_k\mathrm{KL}(\rho_k|\mu)`; at
    :math:`x = \nabla\psi_k(y)` strong convexity gives :math:`\phi_{k+1}(x) \le \phi_k(x) + \eta_k
    h_k(x) + \eta_k^2|\xi_k(y)|^2 / (2 m_{k+1})`; and :math:`\int h_k\,d\pi = \mathrm{KL}(\pi|\mu) -
    \mathrm{KL}(\pi|\rho_k)`. It is an equality where the Hessian after the step is a constant
    multiple of the identity. On the target side ``phi`` takes the step and ``psi`` is its
    conjugate: the same proof has :math:`E_{\rho_k}|\nabla h_k|^2` for the integral, whatever the
    comparator, and the Hessian of :math:`\phi_{k+1}`.

    Parameters
    ----------
    kl, kl_comparator, kl_comparator_model : float
        :math:`\mathrm{KL}(\rho_k|\mu)`, :math:`\mathrm{KL}(\pi|\mu)` and
        :math:`\mathrm{KL}(\pi|\rho_k)`, in nats.
    bregman_difference : float
        :math:`B(\pi|\rho_k) - B(\pi|\rho_{k+1})`.
    step : float
        :math:`\eta_k > 0`.
    squared_velocity : float
        :math:`\int|\xi_k|^2\,d\pi_k`, or :math:`E_{\rho_k}|\nabla h_k|^2` on the target side.
    min_eigenvalue : float
        :math:`m_{k+1}`; where it is not positive nothing is claimed and ``right`` is infinite.
    """
    right = bregman_difference / step + curvature_bound(squared_velocity, min_eigenvalue) * step
    return EVI(left=kl - kl_comparator, right=right - kl_comparator_model)


def regret(
    steps: Sequence[float],
    kl: Sequence[float],
    kl_comparator: float,
    kl_comparator_model: Sequence[float],
    bregman: Sequence[float],
    squared_velocity: Sequence[float],
    min_eigenvalue: Sequence[float],
) -> Regret:
    r"""Running regret against a comparator, and the bound that the steps' inequalities sum to.

    .. math:: R_K = \sum_{k<K}\eta_k[\mathrm{KL}(\rho_k|\mu) - \mathrm{KL}(\pi|\mu)] \le
        B(\pi|\rho_0) - B(\pi|\rho_K) + \sum_{k<K}\Bigl[\frac{\eta_k^2}{2 m_{k+1}}
        \int|\xi_k|^2\,d\pi_k - \eta_k\mathrm{KL}(\pi|\rho_k)\Bigr].

    With :math:`\pi = \mu` and convexity of the divergence, :math:`R_K / \sum_{k<K}\eta_k` bounds
    the divergence of the mixture of the models. How fast it falls depends on the steps and on the
    velocities: a bound like ``1/K`` for a fixed step follows only where their sum stays bounded.

    Parameters
    ----------
    steps : sequence of float, length K
        :math:`\eta_k`.
    kl : sequence of float, length K
        :math:`\mathrm{KL}(\rho_k|\mu)`.
    kl_comparator : float
        :math:`\mathrm{KL}(\pi|\mu)`.
    kl_comparator_model : sequence of float, length K
        :math:`\mathrm{KL}(\pi|\rho_k)`.
    bregman : sequence of float, length K + 1
        :math:`B(\pi|\rho_k)`, the last after the last step; a common constant cancels, so that
        `bregman_potential` will do.
    squared_velocity : sequence of float, length K
        :math:`\int|\xi_k|^2\,d\pi_k`.
    min_eigenvalue : sequence of float, length K
        :math:`m_{k+1}`: of the Hessian after each step.
    """
    eta, divergence, to_model = (np.asarray(v, float) for v in (steps, kl, kl_comparator_model))
    gaps, speed, low = (np.asarray(v, float) for v in (bregman, squared_velocity, min_eigenvalue))
    lengths = [len(v) for v in (eta, divergence, to_model, speed, low)]
    if set(lengths) != {len(gaps) - 1}:
        raise InputError(
            f"bregman needs one value more than there are steps; got {len(gaps)} values and "
            f"{lengths} for steps, kl, kl_comparator_model, squared_velocity and min_eigenvalue"
        )
    losses = eta**2 * np.array(
        [curvature_bound(s, m) for s, m in zip(speed.tolist(), low.tolist(), strict=True)]
    )
    return Regret(
        regret=np.cumsum(eta * (divergence - kl_comparator)),
        bound=gaps[0] - gaps[1:] + np.cumsum(losses - eta * to_model),
    )


def curvature_bound(squared_velocity: float, eigenvalue: float) -> float:
    r""":math:`|\xi|^2 / (2\lambda)` for an extreme eigenvalue :math:`\lambda` of the Hessian.

    Infinite where the eigenvalue is not positive.
    """
    return squared_velocity / (2.0 * eigenvalue) if eigenvalue > 0.0 else math.inf
