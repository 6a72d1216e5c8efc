r"""The quantities of the convergence theory, for the iterates of a flow on a grid.

Mirror descent for :math:`\mathrm{KL}(\rho\,|\,\mu)` with the mirror functional
:math:`\tfrac12 W_2^2(\cdot, \nu)` moves a convex potential on either side,

.. math:: \psi_{k+1} = \psi_k + \eta_k F(\psi_k), \qquad \phi_{k+1} = \phi_k + \eta_k h_k,

with :math:`F = -f(\nabla\psi) + g + \log\det\nabla^2\psi` on the reference side and
:math:`h = f + \log\det\nabla^2\phi - g(\nabla\phi) = \log(\rho/\mu)` on the target side, for
:math:`\nu = e^{-g}`, :math:`\mu = e^{-f}` and the model :math:`\rho = (\nabla\psi)_\#\nu`. Both
rates are

.. math:: E = \log m(\nabla u) + \log\det\nabla^2 u - \log s

for the potential ``u`` on the grid, the density ``s`` of the grid's own side and the density ``m``
of the other one: :math:`E = F` on the reference side and :math:`E = h` on the target side. Under
:math:`\nabla u` the other measure is pulled back to the density :math:`e^E s` on the grid. So both
the model and the target are masses of the grid's cells,

============  ===========================  ===========================
side          model :math:`\rho`           target :math:`\mu`
============  ===========================  ===========================
reference     ``weight``, from ``s``       ``pulled``, from ``e^E s``
target        ``pulled``, from ``e^E s``   ``weight``, from ``s``
============  ===========================  ===========================

and every divergence between them, which no change of variables alters, is one of cell masses.
Masses are normalised on the grid, so that no additive constant of a potential, of ``f`` or of
``g`` changes a divergence or a bound. Everything is in nats.

The formulas hold for convex potentials and smooth, positive densities. Quadrature is by the
midpoint rule; the inequalities hold up to its error and that of the differences behind the fields.

References
----------
N. Deb and T. Liang, arXiv:2504.09279, for the flow, the mirror descent and its evolution
variational inequality. The inequalities here are the ones that the short derivations in the
docstrings prove; no rate is assumed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from parabolic_ma.analysis.inequalities import EVI, Regret, curvature_bound, evi_sides, regret
from parabolic_ma.grid import Box, Grid
from parabolic_ma.measures.protocol import Measure
from parabolic_ma.status import InputError
from parabolic_ma.typing import Array

__all__ = [
    "EVI",
    "Dissipation",
    "FenchelGap",
    "Iterate",
    "Regret",
    "bregman_difference",
    "bregman_potential",
    "bregman_rate",
    "comparator_kl",
    "comparator_kl_model",
    "comparator_squared_velocity",
    "energy_dissipation",
    "evi",
    "evi_sides",
    "fenchel_gap",
    "kl",
    "kl_reverse",
    "log_evidence_bounds",
    "mass_error",
    "rate_range",
    "regret",
    "squared_velocity",
]

_SIDES = ("reference", "target")


@dataclass(frozen=True, eq=False)
class Iterate:
    """One potential of a flow on its grid, with all that the formulas need."""

    side: str
    """``"reference"``: the potential is ``psi`` on the reference's grid; ``"target"``: ``phi``."""
    grid: Grid
    periodic: bool
    """Whether the grid is a torus; the gradient less an affine map is then periodic."""
    log_source: Array
    """Log density of the grid side's measure at the cell centres, shape ``(*shape)``."""
    potential: Array
    """``psi`` or ``phi`` at the cell centres, shape ``(*shape)``; on a torus something periodic
    plus the quadratic whose gradient takes the grid's box to ``image_box``."""
    gradient: Array
    """Gradient of the potential, shape ``(*shape, d)``."""
    log_det: Array
    """Log determinant of its Hessian, shape ``(*shape)``."""
    log_inner: Array
    """Log density of the other side's measure at the gradient, shape ``(*shape)``."""
    rate_gradient: Array
    """Gradient of the rate, by the differences that gave ``gradient``, shape ``(*shape, d)``."""
    min_eigenvalue: float
    """Smallest eigenvalue of the Hessian over the grid."""
    max_eigenvalue: float
    """Largest eigenvalue of the Hessian over the grid."""
    hessian: Array | None = None
    """Hessian of the potential, shape ``(*shape, d, d)``; only `energy_dissipation` needs it, and
    not on the line, where its determinant is all of it."""
    image_box: Box | None = None
    """On a torus the box that the other side's torus fills, the grid's own by default."""

    def __post_init__(self) -> None:
        if self.side not in _SIDES:
            raise InputError(f"side must be one of {_SIDES}, got {self.side!r}")
        scalars, vectors = self.grid.shape, (*self.grid.shape, self.grid.dim)
        shapes = {"log_source": scalars, "potential": scalars, "log_det": scalars}
        shapes |= {"log_inner": scalars, "gradient": vectors, "rate_gradient": vectors}
        if self.hessian is not None:
            shapes["hessian"] = (*vectors, self.grid.dim)
        for name, shape in shapes.items():
            given = np.shape(getattr(self, name))
            if given != shape:
                raise InputError(f"{name} must have shape {shape} on this grid, got {given}")

    @cached_property
    def rate(self) -> Array:
        r"""The rate :math:`E`, :math:`F` or :math:`h`, constants included, shape ``(*shape)``."""
        return np.asarray(self.log_inner + self.log_det - self.log_source)

    @cached_property
    def log_mass(self) -> float:
        r""":math:`c = \log E_s[e^E]`, in nats.

        With both densities normalised it is 0 but for the errors of quadrature and differences;
        otherwise it is the log evidence on the reference side, and minus it on the target side.
        """
        return _log_sum(self.log_inner + self.log_det) - _log_sum(self.log_source)

    @cached_property
    def log_weight(self) -> Array:
        """Logarithm of `weight`."""
        return np.asarray(self.log_source - _log_sum(self.log_source))

    @cached_property
    def log_pulled(self) -> Array:
        """Logarithm of `pulled`."""
        log_density = self.log_inner + self.log_det
        return np.asarray(log_density - _log_sum(log_density))

    @cached_property
    def weight(self) -> Array:
        """Masses of the cells under the grid side's measure, of sum 1, shape ``(*shape)``."""
        return np.exp(self.log_weight)

    @cached_property
    def pulled(self) -> Array:
        r"""Masses :math:`e^{E - c}` ``weight``: the pulled-back other measure, of sum 1."""
        return np.exp(self.log_pulled)

    @cached_property
    def divergences(self) -> tuple[float, float]:
        r""":math:`E_s[c - E]` and :math:`E_s[(E - c) e^{E - c}]`: both divergences, by side.

        Of the grid side's measure from the pulled-back other one, and the other way round.
        """
        return (
            _divergence(self.weight, self.log_weight, self.log_pulled),
            _divergence(self.pulled, self.log_pulled, self.log_weight),
        )

    @property
    def log_model(self) -> Array:
        r"""Log masses of the model :math:`\rho` on the grid, shape ``(*shape)``."""
        return self.log_weight if self.side == "reference" else self.log_pulled

    @property
    def log_target(self) -> Array:
        r"""Log masses of the target :math:`\mu` on the grid, shape ``(*shape)``."""
        return self.log_pulled if self.side == "reference" else self.log_weight


@dataclass(frozen=True)
class FenchelGap:
    """The mean Fenchel gap of a step between its two bounds, in nats."""

    lower: float
    gap: float
    upper: float


@dataclass(frozen=True)
class Dissipation:
    """Rates of change of the two divergences along the continuous flow, in nats per unit time."""

    kl: float
    r""":math:`\mathrm d\,\mathrm{KL}(\rho_t|\mu) / \mathrm dt`."""
    kl_reverse: float
    r""":math:`\mathrm d\,\mathrm{KL}(\mu|\rho_t) / \mathrm dt`."""


def kl(iterate: Iterate) -> float:
    r""":math:`\mathrm{KL}(\rho|\mu)`: :math:`E_\nu[-F]`, or :math:`E_\rho[h]` on the target side.

    With the rate less its constant :math:`c`, as the sum over the cells' masses
    :math:`\sum_i \rho_i \log(\rho_i / \mu_i)`.
    """
    own, pulled = iterate.divergences
    return own if iterate.side == "reference" else pulled


def kl_reverse(iterate: Iterate) -> float:
    r""":math:`\mathrm{KL}(\mu|\rho)`: :math:`E_\nu[F e^F]`, on the target side :math:`E_\mu[-h]`.

    With the rate less its constant :math:`c`, as the sum over the cells' masses
    :math:`\sum_i \mu_i \log(\mu_i / \rho_i)`.
    """
    own, pulled = iterate.divergences
    return pulled if iterate.side == "reference" else own


def mass_error(iterate: Iterate) -> float:
    r""":math:`c = \log E_s[e^E]`, 0 for normalised densities and an exact evaluation.

    It needs the gradient to cover where the other side's measure has its mass.
    """
    return iterate.log_mass


def log_evidence_bounds(iterate: Iterate) -> tuple[float, float]:
    r"""Lower and upper bound of :math:`\log Z = \log\int e^{-f}` for the densities as given.

    .. math:: E_\nu[F] \le \log Z \le E_w[F], \qquad E_\rho[-h] \le \log Z \le E_\mu[-h]

    on the reference and on the target side, by Jensen's inequality, with the pulled-back target
    :math:`w = e^{F - c}\nu`. :math:`\log Z` is the constant ``c`` on the reference side and ``-c``
    on the target side; the bounds lie ``kl`` below and ``kl_reverse`` above it.
    """
    log_z = iterate.log_mass if iterate.side == "reference" else -iterate.log_mass
    return log_z - kl(iterate), log_z + kl_reverse(iterate)


def rate_range(iterate: Iterate) -> tuple[float, float]:
    r"""Smallest and largest rate :math:`E` over the grid, its constant included.

    :math:`\min E \le c \le \max E`; along the continuous flow the minimum rises and the maximum
    falls, because :math:`\partial_t E = L E` with an operator that has a maximum principle. On the
    target side minus the two bounds :math:`\log Z` from above and from below.
    """
    return float(iterate.rate.min()), float(iterate.rate.max())


def squared_velocity(iterate: Iterate) -> float:
    r""":math:`E_s[e^{E - c} |\nabla E|^2]`: the squared speed in the error term of the inequality.

    On the reference side :math:`\int |\xi_k|^2\,d\mu_k` with :math:`\xi_k = -\nabla F` and
    :math:`\mu_k = (\nabla\phi_k)_\#\mu`; on the target side the Fisher information
    :math:`E_{\rho_k}|\nabla h_k|^2`: the same sum.
    """
    return _mean(iterate.pulled, _squares(iterate.rate_gradient))


def comparator_squared_velocity(iterate: Iterate, comparator: Measure | None = None) -> float:
    r""":math:`\int |\xi_k|^2\,d\pi_k` with :math:`\pi_k = (\nabla\phi_k)_\#\pi`.

    On the target side the error term of the inequality does not depend on the comparator: there it
    is :math:`E_{\rho_k}|\nabla h_k|^2` for every one.
    """
    if iterate.side == "target":
        return squared_velocity(iterate)
    masses = np.exp(_log_comparator(iterate, comparator))
    return _mean(masses, _squares(iterate.rate_gradient))


def comparator_kl(iterate: Iterate, comparator: Measure | None = None) -> float:
    r""":math:`\mathrm{KL}(\pi|\mu)`, 0 without a comparator (:math:`\pi = \mu`).

    On the reference side :math:`E_\nu[v\,(\log\pi + f)(\nabla\psi)]` with the weights
    :math:`v = \pi(\nabla\psi)\det\nabla^2\psi / \nu`; on the target side over the grid itself. The
    masses of the comparator are normalised on the grid, which must hold nearly all of it.
    """
    log_comparator = _log_comparator(iterate, comparator)
    return _divergence(np.exp(log_comparator), log_comparator, iterate.log_target)


def comparator_kl_model(iterate: Iterate, comparator: Measure | None = None) -> float:
    r""":math:`\mathrm{KL}(\pi|\rho_k)`; without a comparator :math:`\mathrm{KL}(\mu|\rho_k)`.

    On the reference side :math:`E_\nu[v \log v]`; see `comparator_kl`.
    """
    log_comparator = _log_comparator(iterate, comparator)
    return _divergence(np.exp(log_comparator), log_comparator, iterate.log_model)


def bregman_potential(iterate: Iterate, comparator: Measure | None = None) -> float:
    r""":math:`B(\pi|\rho_k) - \tfrac12 W_2^2(\pi, \nu)`, by one sum over the grid.

    The Bregman divergence of the mirror functional :math:`\tfrac12 W_2^2(\cdot, \nu)` is the gap of
    the potentials in the dual problem,

    .. math:: B(\pi|\rho) = \int\phi\,d\pi + \int\psi\,d\nu - \max_{\text{couplings}} E\langle x, y
        \rangle .

    With half the squares taken off both potentials the last term becomes half the squared distance,
    which no iterate changes, and the rest is what is returned: on the reference side

    .. math:: E_{\pi_k}[\tfrac12|y|^2 - \psi - \tfrac12|\nabla\psi - y|^2]
        + E_\nu[\psi - \tfrac12|y|^2],

    on the target side the same with ``phi`` for ``psi``, the first mean under :math:`\rho_k` and
    the second under :math:`\pi`. Every term is periodic on a torus. Between boxes of different
    place or size the quadratic whose gradient is the affine map from box to box stands there for
    half the square, and its conjugate on the other side: another constant.

    Parameters
    ----------
    iterate : Iterate
    comparator : Measure, optional
        :math:`\pi` on the target's space; the target itself by default.
    """
    if comparator is None:
        masses = iterate.pulled if iterate.side == "reference" else iterate.weight
    else:
        masses = np.exp(_log_comparator(iterate, comparator))
    potential = iterate.potential.copy()
    conjugate = np.zeros(iterate.grid.shape)
    # the quadratic off the potential; of the conjugates at the gradient, -<z, p> + psi* and its
    # like for the quadratic, completed to a square
    for k, (scale, shift) in enumerate(zip(*_affine(iterate), strict=True)):
        z = iterate.grid.axis(k).reshape([-1 if j == k else 1 for j in range(iterate.grid.dim)])
        potential -= (0.5 * scale * z + shift) * z
        excess = iterate.gradient[..., k] - (scale * z + shift)
        conjugate -= (0.5 / scale) * excess**2
    potential -= potential.mean()  # cancels: a drifting constant costs no digits
    conjugate -= potential
    if iterate.side == "reference":
        return _mean(masses, conjugate) + _mean(iterate.weight, potential)
    return _mean(masses, potential) + _mean(iterate.pulled, conjugate)


def bregman_difference(before: Iterate, after: Iterate, comparator: Measure | None = None) -> float:
    r""":math:`B(\pi|\rho_k) - B(\pi|\rho_{k+1})`: no transport problem has to be solved for it.

    The difference is of the order of the step; rounding leaves about ``1e-16`` times the largest
    potential in it.
    """
    _check_pair(before, after)
    return bregman_potential(before, comparator) - bregman_potential(after, comparator)


def bregman_rate(iterate: Iterate) -> float:
    r""":math:`dB(\mu|\rho_t)/dt = -\mathrm{KL}(\rho_t|\mu) - \mathrm{KL}(\mu|\rho_t)`, exactly.

    :math:`B` changes by :math:`\int\dot\phi\,d\mu + \int\dot\psi\,d\nu`, with
    :math:`\dot\psi = F` and :math:`\dot\phi = h`.
    """
    return -kl(iterate) - kl_reverse(iterate)


def energy_dissipation(iterate: Iterate) -> Dissipation:
    r"""Rates of both divergences along the continuous flow.

    .. math:: \frac{d}{dt}\mathrm{KL}(\rho|\mu) = -E_\nu\langle\nabla F, (\nabla^2\psi)^{-1}\nabla F
        \rangle, \qquad \frac{d}{dt}\mathrm{KL}(\mu|\rho) = -E_w\langle\nabla F,
        (\nabla^2\psi)^{-1}\nabla F\rangle

    with :math:`w = e^{F-c}\nu`, because :math:`\partial_t F = w^{-1}\operatorname{div}(w
    (\nabla^2\psi)^{-1}\nabla F)`. On the target side :math:`h` and :math:`\phi` obey the same
    equations, and the first mean is under :math:`\rho`, the second under :math:`\mu`.

    Raises
    ------
    InputError
        If the iterate has no Hessian, in more than one dimension.
    """
    squares = _inverse_hessian_form(iterate)
    model, target = np.exp(iterate.log_model), np.exp(iterate.log_target)
    return Dissipation(-_mean(model, squares), -_mean(target, squares))


def evi(before: Iterate, after: Iterate, step: float, comparator: Measure | None = None) -> EVI:
    """Both sides of the evolution variational inequality of a step; see `evi_sides`.

    Parameters
    ----------
    before, after : Iterate
        The potential before and after an explicit step of the same side on the same grid.
    step : float
        Its length.
    comparator : Measure, optional
        Any density on the target's space; the target itself by default.
    """
    return evi_sides(
        kl=kl(before),
        kl_comparator=comparator_kl(before, comparator),
        kl_comparator_model=comparator_kl_model(before, comparator),
        bregman_difference=bregman_difference(before, after, comparator),
        step=step,
        squared_velocity=comparator_squared_velocity(before, comparator),
        min_eigenvalue=after.min_eigenvalue,
    )


def fenchel_gap(
    before: Iterate, after: Iterate, step: float, comparator: Measure | None = None
) -> FenchelGap:
    r"""The exact form of the inequality: what it loses, between two bounds.

    .. math:: \eta_k[\mathrm{KL}(\rho_k|\mu) - \mathrm{KL}(\pi|\mu) + \mathrm{KL}(\pi|\rho_k)] =
        B(\pi|\rho_k) - B(\pi|\rho_{k+1}) + E_{\pi_k}[D_k],

    with the Fenchel gap :math:`D_k(y) = \phi_{k+1}(\nabla\psi_k(y)) + \psi_{k+1}(y) - \langle y,
    \nabla\psi_k(y)\rangle`, and

    .. math:: \frac{\eta_k^2}{2 M_{k+1}}\int|\xi_k|^2\,d\pi_k \le E_{\pi_k}[D_k] \le
        \frac{\eta_k^2}{2 m_{k+1}}\int|\xi_k|^2\,d\pi_k

    with the extreme eigenvalues of the Hessian after the step, as :math:`D_k(y)` is the Bregman
    divergence of :math:`\psi_{k+1}` between ``y`` and the point whose gradient is
    :math:`\nabla\psi_k(y) = \nabla\psi_{k+1}(y) + \eta_k\xi_k(y)`. On the target side the mean and
    the velocity are under :math:`\rho_k`.

    Parameters
    ----------
    before, after, step, comparator
        As in `evi`.
    """
    left = kl(before) - comparator_kl(before, comparator) + comparator_kl_model(before, comparator)
    speed = comparator_squared_velocity(before, comparator)
    return FenchelGap(
        lower=step**2 * curvature_bound(speed, after.max_eigenvalue),
        gap=step * left - bregman_difference(before, after, comparator),
        upper=step**2 * curvature_bound(speed, after.min_eigenvalue),
    )


def _check_pair(before: Iterate, after: Iterate) -> None:
    if before.side != after.side or before.grid != after.grid:
        raise InputError(
            "both iterates must lie on one grid of one side, got "
            f"{before.side} {before.grid.shape} and {after.side} {after.grid.shape}"
        )


def _log_comparator(iterate: Iterate, comparator: Measure | None) -> Array:
    """Log masses of the comparator on the grid, of sum 1; those of the target for None."""
    if comparator is None:
        return iterate.log_target
    shape, dim = iterate.grid.shape, iterate.grid.dim
    if iterate.side == "target":
        log_density = -comparator.potential(iterate.grid.points()).reshape(shape)
    else:
        points = iterate.gradient.reshape(-1, dim)
        if iterate.periodic:
            points = _wrapped(points, iterate.image_box or iterate.grid.box)
        log_density = iterate.log_det - comparator.potential(points).reshape(shape)
    if not np.isfinite(total := _log_sum(log_density)):
        raise InputError("the comparator has no mass, or infinite mass, where the grid maps to")
    return np.asarray(log_density - total)


def _wrapped(points: Array, box: Box) -> Array:
    """Points of a torus brought back into the box that it fills."""
    lower = np.array(box.lower)
    return np.asarray(lower + np.mod(points - lower, np.array(box.widths)))


def _affine(iterate: Iterate) -> tuple[Array, Array]:
    """Scale and shift by axis of the affine map from box to box on a torus, else the identity."""
    here = iterate.grid.box
    there = (iterate.image_box if iterate.periodic else None) or here
    scale = np.array(there.widths) / np.array(here.widths)
    return scale, np.array(there.center) - scale * np.array(here.center)


def _inverse_hessian_form(iterate: Iterate) -> Array:
    """``<grad E, H^{-1} grad E>`` on the grid, shape ``(*shape)``."""
    slope = iterate.rate_gradient
    if iterate.hessian is not None:
        solved = np.linalg.solve(iterate.hessian, slope[..., None])[..., 0]
        return np.asarray(np.sum(slope * solved, axis=-1))
    if iterate.grid.dim > 1:
        raise InputError("the dissipation needs the Hessian: make the Iterate with hessian=")
    return np.asarray(slope[..., 0] ** 2 * np.exp(-iterate.log_det))


def _log_sum(log_values: Array) -> float:
    """Logarithm of the sum of exponentials, without overflow."""
    largest = float(np.max(log_values))
    if not math.isfinite(largest):
        return largest
    return largest + math.log(float(np.sum(np.exp(log_values - largest))))


def _divergence(p: Array, log_p: Array, log_q: Array) -> float:
    """``sum p log(p / q)``: cells without mass add nothing, and it is infinite where q has none."""
    if not math.isfinite(float(log_p.min())):
        present = np.isfinite(log_p)
        p, log_p, log_q = p[present], log_p[present], log_q[present]
    return _mean(p, log_p - log_q)


def _mean(masses: Array, values: Array) -> float:
    """Mean of values under masses."""
    return float(np.sum(masses * values))


def _squares(vectors: Array) -> Array:
    """Squared lengths of vectors on the last axis."""
    # one component after the other: a sum over a short last axis is slow
    total = vectors[..., 0] ** 2
    for k in range(1, vectors.shape[-1]):
        total += vectors[..., k] ** 2
    return np.asarray(total)
