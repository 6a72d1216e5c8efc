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

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from parabolic_ma.neural.by_data import DataTraining
from parabolic_ma.typing import Array

__all__ = ["SemidualTraining"]

_HELD_OUT_SOURCE = 8192


class SemidualTraining(DataTraining):
    """Trains on Kantorovich's semi-dual objective; see `DataTraining` for the parameters."""

    def _prepare(self) -> None:
        self._held_source = self.scene.draw(_HELD_OUT_SOURCE, self._rng)
        self._each = torch.full((self._batch,), 1.0 / self._batch, dtype=self._dtype)

    def _iterate(self, preimages: Tensor, progress: float) -> Mapping[str, float]:
        z = self.scene.draw(self._batch, self._rng).to(self._dtype)
        outputs = (self._fast(z), self._fast(preimages))
        self._optimiser.step(outputs, (self._each, -self._each), progress)
        return {}

    def _judge(self) -> dict[str, float]:
        frame = self.scene.frame
        q = self._held_out.visit_all(self.network, steps=20)
        x, near = frame.decode(self._held_out.images), frame.decode_source(q)
        y = frame.decode_source(self._held_source)
        conjugate = np.sum(x * near, axis=1) - self._psi(q, near)
        dual = float(self._psi(self._held_source, y).mean() + self._held_weights @ conjugate)
        self.best.offer(self.network, dual if math.isfinite(dual) else math.inf)
        lower = (y**2).sum(1).mean() + self._held_weights @ (x**2).sum(1) - 2.0 * dual
        return {"loss_held_out": dual, "w2_squared_lower": float(lower)}

    def _psi(self, z: Tensor, y: Array) -> Array:
        """The potential at points that are given as both."""
        frame = self.scene.frame
        with torch.no_grad():
            return np.asarray(frame.scale**2 * self.network(z).numpy() + y @ frame.image)
