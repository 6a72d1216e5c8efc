r"""Training on a target known by its potential: ``method="variational"``.

The loss is exact, :math:`KL(\rho|\mu) = E_\nu[-F] + \log Z`, ``F`` being the residual of the
equation. Three stages share the budget:

1. Adam on the loss, the target tempered at first by a Gaussian of its moments: with the barriers
   low, mass finds every mode before they rise.
2. Mass balance of soft maxima: the offset of a piece moves by the log ratio of the target's mass in
   its image and its own, which importance weights ``e^F`` tell whatever the shapes are. It is the
   flow's own step ``psi + eta F`` taken on the offsets. Neither Adam nor the next stage sees a
   wrong share of far modes: an error dw costs ``dw^2`` in KL, and the borders where it could be
   mended lie where no point falls.
3. Levenberg-Marquardt on F itself, with Huber's weights: at the solution F is constant everywhere,
   so this is a least-squares problem of zero residual.

Networks with too many parameters for the third stage spend their whole budget in the first.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from torch import Tensor

from parabolic_ma.neural.determinant import log_determinant
from parabolic_ma.neural.figures import residual_figures
from parabolic_ma.neural.least_squares import damped_step, parameter_jacobian
from parabolic_ma.neural.potentials import LogSumExp, NeuralPotential
from parabolic_ma.neural.scene import Residual, Scene
from parabolic_ma.neural.training import Best, Optimiser, Training

__all__ = ["VariationalTraining"]

_ADAM_ITERATIONS = 40  # a step
_LM_ITERATIONS = 5
_ADAM_SHARE = 0.4  # of the budget
_TEMPERED_SHARE = 0.5  # of Adam's part
_FIRST_TEMPER = 0.1
_HUBER = 3.0  # nats
_VALIDATION = 4096
_BALANCE_EVERY = 15  # Levenberg-Marquardt iterations
_BALANCE_STEPS = 5
_BALANCE_RATE = 0.3
_LARGEST_WEIGHT = 3.0  # log of an importance weight over their mean
_PATIENCE = 10  # steps of the last stage at a standstill, after which it ends
_GAIN = 0.01  # least gain that counts, relative to KL
_LEAST_GAIN = 3e-5  # nats


class VariationalTraining(Training):
    """Trains a network on the reference's side on ``E[-F]``.

    Parameters
    ----------
    scene : Scene
    network : NeuralPotential
        Trained in place.
    batch, rate, seed
        Points in a batch, first learning rate, seed of everything random.
    polish : bool
        Whether the second and third stage follow.
    dtype : torch.dtype
        Of the first stage; the others work in float64.
    """

    def __init__(
        self,
        scene: Scene,
        network: NeuralPotential,
        batch: int,
        rate: float,
        seed: int,
        polish: bool,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.scene, self.polish, self._seed = scene, polish, seed
        self.network = network.double()
        self._fast = copy.deepcopy(network).to(dtype)
        self._optimiser = Optimiser(self._fast, rate)
        self._batch, self._dtype = batch, dtype
        self._rng = np.random.default_rng(seed)
        count = sum(p.numel() for p in network.parameters())
        self._node_count = max(1500, 5 * count)
        self._validation = scene.nodes(_VALIDATION, seed + 1)
        self._damping = 1e-2
        self._iterations = 0
        self._nodes = self._validation
        self._since_gain = 0
        self._reached = math.inf
        self.exhausted = False
        self.best = Best()
        self.best.offer(self.network, self._merit(self._look()))

    def advance(self, progress: float) -> dict[str, float]:
        """Make one step at a fraction of the budget; returns its figures."""
        if not self.polish or progress < _ADAM_SHARE:
            share = progress if not self.polish else progress / _ADAM_SHARE
            self._descend(share)
        else:
            if self._iterations == 0:
                self.best.restore(self.network)
                self._balance(8 * _BALANCE_STEPS)
            self._polish()
        residual = self._look()
        self.best.offer(self.network, self._merit(residual))
        figures = residual_figures(residual, self.scene)
        self._watch(figures["kl"])
        return figures

    def _watch(self, kl: float) -> None:
        """End the last stage when KL has stood still for long.

        Where it has risen the stage goes on: least squares trade the bulk for the tails first.
        """
        gain = max(_GAIN * abs(kl), _LEAST_GAIN)
        if kl < self._reached - gain:
            self._reached, self._since_gain = kl, 0
        elif self._iterations and kl < self._reached + _PATIENCE * gain:
            self._since_gain += 1
        self.exhausted = self._since_gain >= _PATIENCE

    def _look(self) -> Residual:
        return self.scene.residual(self.network, self._validation)

    @staticmethod
    def _merit(residual: Residual) -> float:
        return -float(residual.value.mean())

    def _descend(self, progress: float) -> None:
        scene, dtype = self.scene, self._dtype
        ramp = progress / _TEMPERED_SHARE
        warm = min(1.0, _FIRST_TEMPER + (1.0 - _FIRST_TEMPER) * ramp)
        spread = torch.from_numpy(scene.frame.variances)
        for _ in range(_ADAM_ITERATIONS):
            z = scene.draw(self._batch, self._rng).to(dtype)
            jet = self._fast.jet(z)
            with torch.no_grad():
                v = jet.gradient.double()
                slope = scene.target_slope(v)
                if warm < 1.0:
                    slope = warm * slope + (1.0 - warm) * v / spread
                inverse = log_determinant(jet.hessian).slope
            slopes = (slope.to(dtype) / self._batch, -inverse / self._batch)
            self._optimiser.step((jet.gradient, jet.hessian), slopes, progress)
        self.network.load_state_dict(self._fast.state_dict())

    def _polish(self) -> None:
        for _ in range(_LM_ITERATIONS):
            if self._iterations % _LM_ITERATIONS == 0:
                self._nodes = self.scene.nodes(self._node_count, self._seed + 2 + self._iterations)
            if self._iterations % _BALANCE_EVERY == _BALANCE_EVERY - 1:
                self._balance(_BALANCE_STEPS)
            self._least_squares()
            self._iterations += 1

    def _least_squares(self) -> None:
        z = self._nodes
        residual = self.scene.residual(self.network, z)
        F, constant = residual.value, self._constant(residual)
        off = F - constant
        weight = torch.where(off.abs() < _HUBER, 1.0, _HUBER / off.abs())
        with torch.no_grad():
            slope = self.scene.target_slope(self.network.jet(z).gradient)
        J = parameter_jacobian(self.network, z, -slope, residual.determinant.slope)
        weighted = J * weight.sqrt()[:, None]
        matrix = weighted.mT @ weighted / len(z)
        gradient = J.mT @ (weight * off) / len(z)

        def merit() -> float:
            trial = self.scene.trial(self.network, z)
            if trial is None or not trial.determinant.convex:
                return math.inf
            return _huber(trial.value - self._constant(trial))

        _, self._damping = damped_step(
            self.network, matrix, gradient, self._damping, merit, _huber(off)
        )

    def _constant(self, residual: Residual) -> float:
        """Log evidence: known where both measures are normalised, else by importance sampling.

        Taking the mean of F instead would let it settle at a constant that leaves mass out.
        """
        problem = self.scene.problem
        if problem.target.normalized and problem.reference.normalized:
            return 0.0
        return residual.log_evidence

    def _balance(self, steps: int) -> None:
        network = self.network
        if not isinstance(network, LogSumExp):
            return
        for _ in range(steps):
            z = self.scene.draw(2048, self._rng)
            residual = self.scene.residual(network, z)
            log_weight = residual.value - residual.log_evidence
            weight = torch.exp(log_weight.clamp(-20.0, _LARGEST_WEIGHT))
            with torch.no_grad():
                shares = network.shares(z)
                own = shares.mean(1) + 1e-4
                ratio = torch.log(((shares * weight[None, :, None]).mean(1) + 1e-4) / own)
                # psi is s^2 h, and every group bears its part
                rate = _BALANCE_RATE / (network.groups * self.scene.frame.scale**2)
                network.offsets += rate * ratio


def _huber(off: Tensor) -> float:
    size = off.abs()
    loss = torch.where(size < _HUBER, 0.5 * size**2, _HUBER * (size - 0.5 * _HUBER)).mean()
    return float(loss) if math.isfinite(float(loss)) else math.inf
