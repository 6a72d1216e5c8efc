"""Baseline: flow matching with minibatch optimal transport.

A. Tong and others, "Improving and generalizing flow-based generative models with minibatch optimal
transport", TMLR 2024. The map is the flow of an ordinary differential equation: near the Brenier
map for large batches, without a density.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from parabolic_ma.typing import Array

__all__ = ["FlowMatching"]


@dataclass(frozen=True)
class FlowMatching:
    """A velocity field fitted to straight lines between matched points, standardised.

    Attributes
    ----------
    seconds : float
        Processor time of training, on one thread.
    hidden
        Layers of the network.
    learning_rate, batch, average
        Of Adam, which falls to zero over the budget; the running mean of the weights is kept.
    heun_steps : int
        Of the integration from noise to data.
    """

    seconds: float = 15.0
    hidden: tuple[int, ...] = (64, 64, 64)
    learning_rate: float = 3e-3
    batch: int = 256
    average: float = 0.02
    heun_steps: int = 40

    def fit(self, points: Array, seed: int) -> Callable[[Array], Array]:
        """Return the map of the standard normal, points ``(n, d)`` to points ``(n, d)``."""
        import torch

        torch.manual_seed(seed)
        center, scale = points.mean(axis=0), points.std(axis=0)
        data = torch.tensor((points - center) / scale, dtype=torch.float32)
        velocity = _network(torch, points.shape[1], self.hidden)
        kept = torch.optim.swa_utils.AveragedModel(
            velocity, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(1.0 - self.average)
        )
        self._train(torch, velocity, kept, data)

        def transport(y: Array) -> Array:
            with torch.no_grad():
                z = torch.tensor(np.asarray(y), dtype=torch.float32)
                z = _heun(torch, kept.module, z, self.heun_steps)
            return center + scale * z.numpy().astype(np.float64)

        return transport

    def _train(self, torch: Any, velocity: Any, kept: Any, data: Any) -> None:
        from scipy.optimize import linear_sum_assignment

        optimizer = torch.optim.Adam(velocity.parameters(), lr=self.learning_rate)
        begin = time.process_time()
        while (share := (time.process_time() - begin) / self.seconds) < 1.0:
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * share))
            ends = data[torch.randint(len(data), (self.batch,))]
            starts = torch.randn_like(ends)
            cost = torch.cdist(starts, ends).square().numpy()
            ends = ends[linear_sum_assignment(cost)[1]]
            t = torch.rand(self.batch, 1)
            found = velocity(torch.cat([(1 - t) * starts + t * ends, t], dim=1))
            loss = (found - (ends - starts)).square().sum(dim=1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            kept.update_parameters(velocity)


def _network(torch: Any, dim: int, hidden: tuple[int, ...]) -> Any:
    widths = (dim + 1, *hidden)
    layers: list[Any] = []
    for inside, outside in pairwise(widths):
        layers += [torch.nn.Linear(inside, outside), torch.nn.SiLU()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(widths[-1], dim))


def _heun(torch: Any, velocity: Any, z: Any, steps: int) -> Any:
    """Integrate from time 0 to 1."""
    h = 1.0 / steps
    for k in range(steps):
        first = velocity(torch.cat([z, torch.full((len(z), 1), k * h)], dim=1))
        second = velocity(torch.cat([z + h * first, torch.full((len(z), 1), (k + 1) * h)], dim=1))
        z = z + 0.5 * h * (first + second)
    return z
