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

from parabolic_ma.neural.determinant import log_determinant
from parabolic_ma.neural.least_squares import damped_step, parameter_jacobian
from parabolic_ma.neural.neural_map import invert_gradient
from parabolic_ma.neural.potentials import NeuralPotential
from parabolic_ma.neural.preimages import Preimages
from parabolic_ma.neural.scene import Scene
from parabolic_ma.neural.training import Best, Data, Optimiser

__all__ = ["LikelihoodTraining"]

_ADAM_ITERATIONS = 40  # a step
_SCORING_ITERATIONS = 2
_ADAM_SHARE = 0.6  # of the budget, where Fisher scoring follows
_REFRESH = 2  # Newton steps of a preimage when its datum is visited
_AVERAGE = 400.0  # iterations that the average of the weights remembers
_MOST_HELD_OUT = 2000
_MOST_SCORED = 4096
_PATIENCE = 12  # steps without a better held-out likelihood in Fisher scoring


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
    polish : bool
        Whether Fisher scoring follows.
    dtype : torch.dtype
        Of Adam's part; Fisher scoring works in float64.
    """

    def __init__(
        self,
        scene: Scene,
        network: NeuralPotential,
        data: Data,
        batch: int,
        rate: float,
        seed: int,
        polish: bool,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.scene, self.polish = scene, polish
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
        self._damping = 1e-2
        self._since_best = 0
        self._scoring = False
        self.best = Best()
        self.exhausted = False
        self._offer(self.network)

    def advance(self, progress: float) -> dict[str, float]:
        """Make one step at a fraction of the budget; returns its figures."""
        if not self.polish or progress < _ADAM_SHARE:
            loss = self._descend(progress / _ADAM_SHARE if self.polish else progress)
            self.network.load_state_dict(self._optimiser.averaged.state_dict())
        else:
            if not self._scoring:
                self.best.restore(self.network)
                self._scoring = True
            loss = self._score()
        better, held_out = self._offer(self.network)
        self._since_best = 0 if better else self._since_best + 1
        self.exhausted = self._scoring and self._since_best >= _PATIENCE
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

    def _offer(self, network: NeuralPotential) -> tuple[bool, float]:
        z = self._held_out.visit_all(network, steps=20)
        loss = float(self._held_weights @ self._loss(network, z))
        return self.best.offer(network, loss if math.isfinite(loss) else math.inf), loss

    def _loss(self, network: NeuralPotential, z: Tensor) -> Tensor:
        """``-log rho`` at the images of ``z``, in nats."""
        with torch.no_grad():
            found = log_determinant(network.jet(z).hessian)
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
            total += float(self._loss(self._fast, z).mean())
        return total / _ADAM_ITERATIONS

    def _score(self) -> float:
        """Fisher scoring: the Gauss-Newton matrix of the likelihood is that of its derivatives."""
        network, before = self.network, math.nan
        for _ in range(_SCORING_ITERATIONS):
            rows = self._draw_rows(min(_MOST_SCORED, len(self._data)), self._rng)
            wanted, z = self._data.images[rows], self._data.visit(network, rows, 20)
            _, determinant, score = self.scene.model_score(network, z)
            J = parameter_jacobian(network, z, score, determinant.slope)
            before = float(self._loss(network, z).mean())

            def merit(wanted: Tensor = wanted, z: Tensor = z) -> float:
                moved = invert_gradient(network, wanted, z, steps=10)
                loss = float(self._loss(network, moved).mean())
                return loss if math.isfinite(loss) else math.inf

            matrix, slope = J.mT @ J / len(z), J.mean(0)
            _, self._damping = damped_step(network, matrix, slope, self._damping, merit, before)
        return before
