r"""Training on a target known by samples: ``method="likelihood"``.

The model's density at a datum x is exact, with ``y = S(x)`` the preimage under the map,

.. math:: \log\rho(x) = \log\nu(y) - \log\det\nabla^2\psi(y), \qquad \nabla\psi(y) = x .

Its derivative by the parameters needs no derivative of the inversion: with ``L(y) = log nu(y) - log
det Hess psi(y)`` and ``c = (Hess psi)^{-1} grad_y L``, held fixed,

.. math:: -d\log\rho(x) = \langle(\nabla^2\psi)^{-1}, d\nabla^2\psi(y)\rangle
          + \langle c, d\nabla\psi(y)\rangle

(implicit differentiation). Every datum keeps its preimage, and two Newton steps bring it up to date
when it is visited. One network gives the map and the exact likelihood.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from torch import Tensor

from parabolic_ma.neural.determinant import LogDeterminant, log_determinant
from parabolic_ma.neural.potentials import NeuralPotential
from parabolic_ma.neural.preimages import Preimages
from parabolic_ma.neural.scene import Scene
from parabolic_ma.neural.training import Best, Data, Optimiser

__all__ = ["LikelihoodTraining"]

_ADAM_ITERATIONS = 40  # a step
_REFRESH = 2  # Newton steps of a preimage when its datum is visited
_AVERAGE = 400.0  # iterations that the average of the weights remembers
_MOST_HELD_OUT = 2000
_PATIENCE = 10  # steps with a clearly worse held-out likelihood than the best, after which to end
_CLEARLY_WORSE = 0.02  # nats: on a plateau much is still gained as the rate falls


class LikelihoodTraining:
    """Trains a network on the reference's side on the likelihood of data.

    Parameters
    ----------
    scene : Scene
    network : NeuralPotential
        Trained in place.
    data : Data
    batch, rate, seed
        Data in a batch, first learning rate, seed of everything random.
    dtype : torch.dtype
        Of the descent.
    """

    def __init__(
        self,
        scene: Scene,
        network: NeuralPotential,
        data: Data,
        batch: int,
        rate: float,
        seed: int,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.scene = scene
        self.network = network.double()
        self._fast = copy.deepcopy(network).to(dtype)
        self._optimiser = Optimiser(self._fast, rate, average=_AVERAGE)
        self._batch = min(batch, len(data.train))
        self._rng = np.random.default_rng(seed)
        self._draw_rows = data.rows
        starts = scene.draw(1024, self._rng)
        encode = scene.frame.encode_image
        self._data = Preimages(self.network, encode(data.train), starts)
        held_out, self._held_weights = data.first_held_out(_MOST_HELD_OUT)
        self._held_out = Preimages(self.network, encode(held_out), starts)
        self._overfitted = 0
        self.best = Best()
        self.exhausted = False
        self._offer(self.network)

    def advance(self, progress: float) -> dict[str, float]:
        """Make one step at a fraction of the budget; returns its figures."""
        loss = self._descend(progress)
        self.network.load_state_dict(self._optimiser.averaged.state_dict())
        held_out = self._offer(self.network)
        near = held_out < self.best.merit + _CLEARLY_WORSE
        self._overfitted = 0 if near else self._overfitted + 1
        self.exhausted = self._overfitted >= _PATIENCE
        return {"loss": loss, "loss_held_out": held_out}

    @property
    def diverged(self) -> bool:
        """Whether training ended far above where it began."""
        return self.best.lost

    def result(self) -> NeuralPotential:
        """Return a copy of the network with the best held-out likelihood."""
        network = copy.deepcopy(self.network)
        self.best.restore(network)
        return network

    def _offer(self, network: NeuralPotential) -> float:
        z = self._held_out.visit_all(network, steps=20)
        with torch.no_grad():
            found = log_determinant(network.jet(z).hessian)
        loss = float(self._held_weights @ self._loss(z, found))
        self.best.offer(network, loss if math.isfinite(loss) else math.inf)
        return loss

    def _loss(self, z: Tensor, found: LogDeterminant) -> Tensor:
        """``-log rho`` at the images of ``z``, in nats."""
        y = self.scene.frame.decode_source(z)
        g = torch.from_numpy(np.asarray(self.scene.problem.reference.potential(y)))
        return g + found.value.double() + self.scene.frame.log_det

    def _descend(self, progress: float) -> float:
        total = 0.0
        for _ in range(_ADAM_ITERATIONS):
            z = self._data.visit(self._fast, self._draw_rows(self._batch, self._rng), _REFRESH)
            jet, determinant, score = self.scene.model_score(self._fast, z)
            slopes = (score / self._batch, determinant.slope / self._batch)
            self._optimiser.step((jet.gradient, jet.hessian), slopes, progress)
            total += float(self._loss(z, determinant).mean())
        return total / _ADAM_ITERATIONS
