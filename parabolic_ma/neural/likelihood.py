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

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from parabolic_ma.neural.by_data import DataTraining
from parabolic_ma.neural.determinant import LogDeterminant, log_determinant

__all__ = ["LikelihoodTraining"]

_PATIENCE = 10  # steps with a clearly worse held-out likelihood than the best, after which to end
_CLEARLY_WORSE = 0.02  # nats: on a plateau much is still gained as the rate falls


class LikelihoodTraining(DataTraining):
    """Trains on the likelihood of data; see `DataTraining` for the parameters."""

    def _prepare(self) -> None:
        self._overfitted = 0

    def _iterate(self, preimages: Tensor, progress: float) -> Mapping[str, float]:
        jet, determinant, score = self.scene.model_score(self._fast, preimages)
        slopes = (score / self._batch, determinant.slope / self._batch)
        self._optimiser.step((jet.gradient, jet.hessian), slopes, progress)
        return {"loss": float(self._loss(preimages, determinant).mean())}

    def _judge(self) -> dict[str, float]:
        z = self._held_out.visit_all(self.network, steps=20)
        with torch.no_grad():
            found = log_determinant(self.network.jet(z).hessian)
        loss = float(self._held_weights @ self._loss(z, found).numpy())
        self.best.offer(self.network, loss if math.isfinite(loss) else math.inf)
        near = loss < self.best.merit + _CLEARLY_WORSE
        self._overfitted = 0 if near else self._overfitted + 1
        self.exhausted = self._overfitted >= _PATIENCE
        return {"loss_held_out": loss}

    def _loss(self, z: Tensor, found: LogDeterminant) -> Tensor:
        """``-log rho`` at the images of ``z``, in nats."""
        y = self.scene.frame.decode_source(z)
        g = torch.from_numpy(np.asarray(self.scene.problem.reference.potential(y)))
        return g + found.value.double() + self.scene.frame.log_det
