r"""Training on samples of both sides: ``method="semidual"``.

Kantorovich's semi-dual problem has the Brenier potential as its minimiser,

.. math:: \min_\psi J(\psi), \qquad J(\psi) = E_\nu[\psi] + E_\mu[\psi^*] .

No density enters: points of both measures are enough, and modes that lie far apart cost nothing
extra. J is convex in psi, and by the envelope theorem its derivative needs none of the conjugate,

.. math:: dJ = E_\nu[d\psi(y)] - E_\mu[d\psi(y^*(x))], \qquad \nabla\psi(y^*(x)) = x .

The maximisers :math:`y^*` are exact: every datum keeps its own, and two Newton steps bring it up to
date when it is visited. ``W2^2 >= E|y|^2 + E|x|^2 - 2 J`` for every psi.

References
----------
B. Amos, On amortizing convex conjugates for optimal transport, ICLR 2023: the same objective with
networks for the maximisers.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from torch import Tensor

from parabolic_ma.neural.potentials import NeuralPotential
from parabolic_ma.neural.preimages import Preimages
from parabolic_ma.neural.scene import Scene
from parabolic_ma.neural.training import Best, Data, Optimiser
from parabolic_ma.typing import Array

__all__ = ["SemidualTraining"]

_ITERATIONS = 40  # a step
_AVERAGE = 400.0  # iterations that the average of the weights remembers
_MOST_HELD_OUT = 3000
_HELD_OUT_SOURCE = 8192
_REFRESH = 2  # Newton steps of a preimage when its datum is visited


class SemidualTraining:
    """Trains a network on the reference's side on Kantorovich's semi-dual objective.

    Parameters
    ----------
    scene : Scene
    network : NeuralPotential
        Trained in place.
    data : Data
    batch, rate, seed
        Points of either side in a batch, first learning rate, seed of everything random.
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
        self.scene, self.network = scene, network.double()
        self._fast = copy.deepcopy(network).to(dtype)
        self._optimiser = Optimiser(self._fast, rate, average=_AVERAGE)
        self._dtype, self._batch = dtype, min(batch, len(data.train))
        self._rng = np.random.default_rng(seed)
        self._draw_rows = data.rows
        starts = scene.draw(1024, self._rng)
        encode = scene.frame.encode_image
        self._data = Preimages(self.network, encode(data.train), starts)
        held_out, weights = data.first_held_out(_MOST_HELD_OUT)
        self._held_out = Preimages(self.network, encode(held_out), starts)
        self._held_weights = weights.numpy()
        self._held_source = scene.draw(_HELD_OUT_SOURCE, self._rng)
        self.best = Best()
        self.exhausted = False
        self._offer()

    def advance(self, progress: float) -> dict[str, float]:
        """Make one step at a fraction of the budget; returns its figures."""
        each = torch.full((self._batch,), 1.0 / self._batch, dtype=self._dtype)
        for _ in range(_ITERATIONS):
            rows = self._draw_rows(self._batch, self._rng)
            found = self._data.visit(self._fast, rows, _REFRESH)
            z = self.scene.draw(self._batch, self._rng).to(self._dtype)
            self._optimiser.step((self._fast(z), self._fast(found)), (each, -each), progress)
        self.network.load_state_dict(self._optimiser.averaged.state_dict())
        return self._offer()

    @property
    def diverged(self) -> bool:
        """Whether training ended far above where it began."""
        return self.best.lost

    def result(self) -> NeuralPotential:
        """Return a copy of the network with the smallest objective on held-out points."""
        network = copy.deepcopy(self.network)
        self.best.restore(network)
        return network

    def _offer(self) -> dict[str, float]:
        network, frame = self.network, self.scene.frame
        q = self._held_out.visit_all(network, steps=20)
        x, near = frame.decode(self._held_out.images), frame.decode_source(q)
        y = frame.decode_source(self._held_source)
        conjugate = np.sum(x * near, axis=1) - _potential(self.scene, network, q, near)
        dual = _potential(self.scene, network, self._held_source, y).mean()
        dual += self._held_weights @ conjugate
        self.best.offer(network, dual if math.isfinite(dual) else math.inf)
        lower = (y**2).sum(1).mean() + self._held_weights @ (x**2).sum(1) - 2.0 * dual
        return {"loss_held_out": float(dual), "w2_squared_lower": float(lower)}


def _potential(scene: Scene, network: NeuralPotential, z: Tensor, y: Array) -> Array:
    """``psi`` at points that are given as both."""
    with torch.no_grad():
        return np.asarray(scene.frame.scale**2 * network(z).numpy() + y @ scene.frame.image)
