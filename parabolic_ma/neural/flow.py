r"""The paper's algorithms: ``method="logistic"`` and ``method="score"``.

One step of the flow is :math:`\psi_{k+1} = \psi_k - \eta\,h_k\circ\nabla\psi_k` with ``h_k =
log(rho_k / mu)``, known by a discriminator (Algorithm 1) or by the two scores (Algorithm 2). Three
forms:

=============  =====================================================================================
``refit``      One network takes the step: it is fitted to ``grad psi_k - eta Hess psi_k grad
               h_k(grad psi_k)`` in the metric of the inverse Hessian. That is the natural gradient
               of KL in the flow's own metric, and its cost does not depend on k.
``dual``       ``phi_{k+1} = phi_k + eta h_k`` for the conjugate: the same to first order in eta,
               exact for a given h, its cost linear in k.
``composed``   The step as it is written. Its cost is about four times the last step's.
=============  =====================================================================================

References
----------
N. Deb and T. Liang, No-regret generative modeling via parabolic Monge-Ampere PDE, arXiv 2504.09279.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parabolic_ma.neural.estimators import Discriminator, ScoreNetwork
from parabolic_ma.neural.figures import residual_figures
from parabolic_ma.neural.frame import Frame
from parabolic_ma.neural.least_squares import fit_gradients
from parabolic_ma.neural.neural_map import NeuralMap
from parabolic_ma.neural.potentials import ComposedPotential, NeuralPotential, SumPotential
from parabolic_ma.neural.scene import Scene
from parabolic_ma.neural.training import Best, Data, Training

__all__ = ["FlowSettings", "FlowTraining", "refit"]

_POOL = 4096  # samples of the model that a step learns from
_HELD_OUT = 2000
_LARGEST_GAUSS_NEWTON = 1500  # parameters
_NONCONVEX_SHARE = 1e-3  # of the points, at which a dual step is shortened
_VALIDATION = 2048
_MOST_SHORTENINGS = 6
_KL_SLACK, _KL_NOISE = 0.01, 1e-3  # by which KL may rise in a step: it is an estimate


@dataclass(frozen=True)
class FlowSettings:
    """Settings of a flow with learned steps."""

    method: str
    form: str
    density: str
    """``"learned"``: the score of the model is learned too; ``"exact"``: it is computed."""
    step_size: float
    batch: int
    rate: float
    inner_steps: int
    width: int
    seed: int


class FlowTraining(Training):
    """Follows the flow from the Gaussian map, or from a given one, step by step.

    Parameters
    ----------
    scene : Scene
    network : NeuralPotential
        Of the form ``refit``; the others build their own.
    settings : FlowSettings
    data : Data, optional
        Of a target known by samples.
    """

    def __init__(
        self,
        scene: Scene,
        network: NeuralPotential,
        settings: FlowSettings,
        data: Data | None,
    ) -> None:
        self.scene, self.settings = scene, settings
        dim, width = scene.dim, settings.width
        builders: dict[str, Any] = {"dual": SumPotential, "composed": ComposedPotential}
        make = builders.get(settings.form)
        self.network = network.double() if make is None else make(dim, 0, width).double()
        self.frame: Frame = scene.frame.dual() if settings.form == "dual" else scene.frame
        self.side = "target" if settings.form == "dual" else "reference"
        self.t = 0.0
        self.exhausted = False
        self.lost_convexity = False
        self._rng = np.random.default_rng(settings.seed)
        self._damping = 1e-3
        self._data = self._held_out = torch.empty(0, dim, dtype=torch.float64)
        self._by_data = data is not None
        if data is not None:
            self._data = scene.frame.encode_image(data.train)
            self._held_out = scene.frame.encode_image(data.held_out[:_HELD_OUT])
        self._discriminator: Discriminator | None = None
        self._model_scores: ScoreNetwork | None = None
        self._target_scores: ScoreNetwork | None = None
        if settings.method == "logistic":
            self._discriminator = Discriminator(dim, width, settings.rate)
        elif self._by_data:
            self._target_scores = ScoreNetwork(dim, width, settings.rate)
            self._target_scores.fit(
                self._data.float(), 20 * settings.inner_steps, settings.batch, self._rng
            )
        if settings.method == "score" and settings.density == "learned":
            self._model_scores = ScoreNetwork(dim, width, settings.rate)
        self._validation = scene.nodes(_VALIDATION, settings.seed + 1)
        self.best = Best()
        figures = self._figures()
        self._kl = figures.get("kl", math.inf)
        self._offer(figures, self._images(self._validation))

    def advance(self, progress: float) -> dict[str, float]:
        """Make one step of the flow; returns its figures."""
        pool = self._images(self.scene.draw(_POOL, self._rng))
        row = self._learn(pool)
        size = self.settings.step_size
        if self.settings.form == "refit" or self._discriminator is None:
            size, row["projection_error"], figures = self._refit(size)
        else:
            size = self._extend(size, self._discriminator, pool)
            figures = self._figures()
        self.t += size
        self._kl = figures.get("kl", math.inf)
        self._offer(figures, pool)
        return {"t": self.t, "step_size": size, **row, **figures}

    def result(self) -> NeuralPotential:
        """Return a copy of the network as the flow left it; the best one if it has diverged."""
        network = copy.deepcopy(self.network)
        if self.diverged and self.settings.form == "refit":
            self.best.restore(network)
        return network

    def _offer(self, figures: dict[str, float], pool: Tensor) -> None:
        """Judge the present network by KL, or by the spread of its samples against the data's."""
        merit = figures.get("kl")
        if merit is None:
            merit = abs(math.log(float((pool**2).mean() / (self._data**2).mean())))
        self.best.offer(self.network, merit)

    def _map(self) -> NeuralMap:
        return NeuralMap(self.network, self.frame, self.side)

    def _images(self, z: Tensor) -> Tensor:
        """Images of points of the reference, as coordinates ``v``."""
        if self.side == "reference":
            with torch.no_grad():
                return self.network.jet(z).gradient
        y = self.scene.frame.decode_source(z)
        return self.scene.frame.encode_image(self._map()(y))

    def _learn(self, pool: Tensor) -> dict[str, float]:
        settings = self.settings
        if self._discriminator is not None:
            model, data = pool.float(), self._data.float()
            self._discriminator.fit(model, data, settings.inner_steps, settings.batch, self._rng)
            fresh = self._images(self.scene.draw(_HELD_OUT, self._rng)).float()
            return self._discriminator.figures(fresh, self._held_out.float())
        row = {}
        if self._model_scores is not None:
            loss = self._model_scores.fit(
                pool.float(), settings.inner_steps, settings.batch, self._rng
            )
            row = {"score_loss": loss, "antisymmetry": self._model_scores.antisymmetry(pool[:256])}
        elif self._target_scores is not None:
            row = {"antisymmetry": self._target_scores.antisymmetry(pool[:256])}
        return row

    def _ascent(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``grad log(mu / rho)`` at the images of ``z``, with gradient and Hessian there."""
        if self._discriminator is not None or self._model_scores is not None:
            with torch.no_grad():
                jet = self.network.jet(z)
        else:
            with torch.enable_grad():
                jet, _, score = self.scene.model_score(self.network, z)
        v, hessian = jet.gradient.detach(), jet.hessian.detach()
        with torch.no_grad():
            if self._discriminator is not None:
                return -self._discriminator.score_difference(v).double(), v, hessian
            if self._model_scores is not None:
                score = self._model_scores(v.float()).double()
            if self._target_scores is not None:
                wanted = self._target_scores(v.float()).double()
            else:
                wanted = -self.scene.target_slope(v)
            return wanted - score, v, hessian

    def _refit(self, size: float) -> tuple[float, float, dict[str, float]]:
        """Let the network take a step, a shorter one where KL is known and would rise.

        Explicit steps are stable up to 2 over the largest eigenvalue of ``Hess psi Hess f``, which
        is large where the map tears.
        """
        count = sum(p.numel() for p in self.network.parameters())
        z = self.scene.draw(max(1500, 3 * count // self.scene.dim), self._rng)
        ascent, v, hessian = self._ascent(z)
        direction = (hessian @ ascent[..., None])[..., 0] / self.scene.frame.scale**2
        start = copy.deepcopy(self.network.state_dict())
        for _ in range(_MOST_SHORTENINGS):
            error, self._damping = refit(
                self.network,
                z,
                v + size * direction,
                hessian,
                self._damping,
                self.settings,
                self._rng,
            )
            figures = self._figures()
            if figures.get("kl", 0.0) <= (1.0 + _KL_SLACK) * self._kl + _KL_NOISE:
                return size, error, figures
            self.network.load_state_dict(start)
            size *= 0.5
        return 0.0, 1.0, self._figures()

    def _extend(self, size: float, discriminator: Discriminator, pool: Tensor) -> float:
        """Add a term, with a shorter step where the potential would not stay convex."""
        term = discriminator.frozen()
        scale = self.scene.frame.scale**2
        for _ in range(_MOST_SHORTENINGS):
            new = self.network.extended(term, size / scale)
            with torch.no_grad():
                where = pool if self.settings.form == "dual" else self._validation
                values = torch.linalg.eigvalsh(new.jet(where[:1024]).hessian)[:, 0]
            if float((values <= 0.0).double().mean()) <= _NONCONVEX_SHARE:
                self.network = new
                return size
            size *= 0.5
        self.lost_convexity = True
        return 0.0

    def _figures(self) -> dict[str, float]:
        """Figures of the exact residual, where the target's potential is what defines it."""
        if self.side == "target" or self.settings.form == "composed" or self._by_data:
            return {}
        found = self.scene.trial(self.network, self._validation)
        return {"kl": math.inf} if found is None else residual_figures(found, self.scene)


def refit(
    network: NeuralPotential,
    z: Tensor,
    wanted: Tensor,
    hessian: Tensor,
    damping: float,
    settings: FlowSettings,
    rng: np.random.Generator,
) -> tuple[float, float]:
    r"""Fit ``grad h(z)`` to given vectors in the metric of the inverse Hessian.

    Few parameters take two Gauss-Newton steps, of which the first one is the Galerkin projection of
    the flow; many take Adam's.

    Returns
    -------
    error : float
        What is left of the step, relative to its length: how much of it the network cannot do.
    damping : float
        For the next call.
    """
    with torch.no_grad():
        values, axes = torch.linalg.eigh(hessian)
        root = axes / values.clamp_min(1e-6).sqrt()[:, None]  # root root^T is the inverse

    def misfit() -> float:
        with torch.no_grad():
            off = network.jet(z).gradient - wanted
            return float(((root.mT @ off[..., None]) ** 2).sum() / len(z))

    start = misfit()
    if start == 0.0:
        return 0.0, damping
    if sum(p.numel() for p in network.parameters()) > _LARGEST_GAUSS_NEWTON:
        _descend(network, z, wanted, root, settings, rng)
    else:
        damping = fit_gradients(network, z, wanted, root, damping, steps=2)
    return math.sqrt(misfit() / start), damping


def _descend(
    network: NeuralPotential,
    z: Tensor,
    wanted: Tensor,
    root: Tensor,
    settings: FlowSettings,
    rng: np.random.Generator,
) -> None:
    fast = copy.deepcopy(network).float()
    parameters = list(fast.parameters())
    adam = torch.optim.Adam(parameters, lr=settings.rate, betas=(0.9, 0.99))
    z, wanted, root = z.float(), wanted.float(), root.float()
    for _ in range(settings.inner_steps):
        rows = torch.from_numpy(rng.integers(len(z), size=settings.batch))
        jet = fast.jet(z[rows])
        off = (root[rows].mT @ (jet.gradient - wanted[rows])[..., None])[..., 0]
        gradients = torch.autograd.grad((off**2).sum(-1).mean(), parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        adam.step()
    network.load_state_dict(fast.state_dict())
