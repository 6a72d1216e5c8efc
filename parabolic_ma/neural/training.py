"""What all trainings share: the optimiser with its schedule, and the best state so far."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from parabolic_ma.neural.potentials import NeuralPotential
from parabolic_ma.typing import Array

__all__ = ["Best", "Data", "Optimiser", "Training"]

_CLIP = 5.0
_LAST_RATE = 1e-5


@dataclass(frozen=True, eq=False)
class Data:
    """Points of a target that is known by them."""

    train: Array
    """To fit, shape ``(n, d)``."""
    held_out: Array
    """To tell when to stop, shape ``(m, d)``."""
    weights: Array
    """Of those to fit, of sum one, shape ``(n,)``."""
    held_out_weights: Array
    """Of the others, of sum one, shape ``(m,)``."""

    def first_held_out(self, most: int) -> tuple[Array, Tensor]:
        """Return so many of the held-out points, and their weights."""
        weights = torch.from_numpy(self.held_out_weights[:most])
        return self.held_out[:most], weights / weights.sum()

    def rows(self, count: int, rng: np.random.Generator) -> Tensor:
        """Draw so many of the points to fit, by their weights; their numbers."""
        size = len(self.train)
        if np.all(self.weights == self.weights[0]):
            return torch.from_numpy(rng.integers(size, size=count))
        return torch.from_numpy(rng.choice(size, size=count, p=self.weights))


class Optimiser:
    """Adam with gradient clipping, a rate that falls linearly, and an average of the iterates.

    Parameters
    ----------
    network : nn.Module
        Trained in place.
    rate : float
        The first learning rate.
    average : float
        Memory of the exponential average of the weights, in iterations; 0 keeps none.
    """

    def __init__(self, network: nn.Module, rate: float, average: float = 0.0) -> None:
        self.network, self.rate = network, rate
        self.parameters = list(network.parameters())
        self._adam = torch.optim.Adam(self.parameters, lr=rate, betas=(0.9, 0.99))
        self._memory = average
        self.averaged = copy.deepcopy(network) if average else network
        self._count = 0

    def step(
        self, outputs: tuple[Tensor, ...], slopes: tuple[Tensor, ...], progress: float
    ) -> bool:
        """Move against the gradient of a loss, given its derivatives by the network's outputs.

        Returns
        -------
        bool
            False if the gradient was not finite; then nothing has moved.
        """
        gradients = torch.autograd.grad(outputs, self.parameters, slopes, allow_unused=True)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        norm = nn.utils.clip_grad_norm_(self.parameters, _CLIP)
        if not math.isfinite(float(norm)):
            return False
        for group in self._adam.param_groups:
            group["lr"] = self.rate * max(1.0 - progress, 0.0) + _LAST_RATE
        self._adam.step()
        self._count += 1
        if self._memory:
            # a short memory at first, so that the start is forgotten
            weight = 1.0 / min(1.0 + 0.1 * self._count, self._memory)
            with torch.no_grad():
                for own, new in zip(self.averaged.parameters(), self.parameters, strict=True):
                    own.lerp_(new, weight)
        return True


class Best:
    """The best network so far by some merit in nats or the like; smaller is better."""

    def __init__(self) -> None:
        self.merit = math.inf
        self.first = self.last = math.nan
        self._weights: dict[str, Any] | None = None

    def offer(self, network: nn.Module, merit: float) -> bool:
        """Keep a copy of the weights if the merit is the best so far."""
        self.first = merit if math.isnan(self.first) else self.first
        self.last = merit
        if not merit < self.merit:
            return False
        self.merit = merit
        self._weights = {
            name: w.detach().double().clone() for name, w in network.state_dict().items()
        }
        return True

    @property
    def lost(self) -> bool:
        """Whether the last network is far worse than the first."""
        return self.last > self.first + 1.0 + 0.1 * abs(self.first)

    def restore(self, network: nn.Module) -> None:
        """Put the best weights, if there are any, into a network."""
        if self._weights is not None:
            network.load_state_dict(self._weights)


class Training:
    """A network in training, with the best one so far."""

    network: NeuralPotential
    best: Best
    exhausted: bool
    """Whether nothing more is to be gained."""

    @property
    def diverged(self) -> bool:
        """Whether training ended far above where it began."""
        return self.best.lost

    def result(self) -> NeuralPotential:
        """Return a copy of the best network."""
        network = copy.deepcopy(self.network)
        self.best.restore(network)
        return network
