"""What the trainings on data share: averaged Adam over data that keep their preimages."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from parabolic_ma.neural.potentials import NeuralPotential
from parabolic_ma.neural.preimages import Preimages
from parabolic_ma.neural.scene import Scene
from parabolic_ma.neural.starts import set_identity
from parabolic_ma.neural.training import Best, Data, Optimiser, Training

__all__ = ["DataTraining"]

_ITERATIONS = 40  # a step
_AVERAGE = 400.0  # iterations that the average of the weights remembers
_REFRESH = 2  # Newton steps of a preimage when its datum is visited
_MOST_HELD_OUT = 3000
_STARTS = 1024  # candidates from which the first inversion starts


class DataTraining(Training):
    """Trains a network on the reference's side, whose gradient carries it to data.

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
        self.scene, self.network = scene, network.double()
        self._fast = copy.deepcopy(network).to(dtype)
        self._optimiser = Optimiser(self._fast, rate, average=_AVERAGE)
        self._dtype, self._batch = dtype, min(batch, len(data.train))
        self._rng = np.random.default_rng(seed)
        self._draw_rows = data.rows
        starts, encode = scene.draw(_STARTS, self._rng), scene.frame.encode_image
        self._data = Preimages(self.network, encode(data.train), starts)
        held_out, weights = data.first_held_out(_MOST_HELD_OUT)
        self._held_out = Preimages(self.network, encode(held_out), starts)
        self._held_weights = weights.numpy()
        self.best = Best()
        self.exhausted = False
        self._prepare()
        start = copy.deepcopy(self.network.state_dict())
        if set_identity(self.network):  # the Gaussian map: no result on held-out data is worse
            self._judge()
            self.network.load_state_dict(start)
        self._judge()

    def advance(self, progress: float) -> dict[str, float]:
        """Make one step at a fraction of the budget; returns its figures."""
        figures: dict[str, list[float]] = {}
        for _ in range(_ITERATIONS):
            rows = self._draw_rows(self._batch, self._rng)
            found = self._data.visit(self._fast, rows, _REFRESH)
            for name, value in self._iterate(found, progress).items():
                figures.setdefault(name, []).append(value)
        self.network.load_state_dict(self._optimiser.averaged.state_dict())
        means = {name: float(np.mean(values)) for name, values in figures.items()}
        return {**means, **self._judge()}

    def _prepare(self) -> None:
        """Make what a subclass needs beside this."""

    def _iterate(self, preimages: Tensor, progress: float) -> Mapping[str, float]:
        """Make one iteration of Adam with the preimages of a batch; returns its figures."""
        raise NotImplementedError

    def _judge(self) -> dict[str, float]:
        """Offer the network to the best, by its loss on held-out data; returns its figures."""
        raise NotImplementedError
