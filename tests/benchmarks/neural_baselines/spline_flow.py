"""Baseline: a neural spline flow by maximum likelihood.

C. Durkan, A. Bekasov, I. Murray and G. Papamakarios, "Neural spline flows", NeurIPS 2019, in the
implementation of zuko: exact densities, but its map is triangular and not the Brenier map.
"""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from parabolic_ma.typing import Array

__all__ = ["SplineFlow"]

_CHECKS = 40  # evaluations of the held-out likelihood in a run


@dataclass(frozen=True)
class SplineFlow:
    """zuko's NSF, trained by Adam on standardised points.

    The learning rate warms up, stays, and falls to zero over the budget. A tenth of the points is
    held out, and the weights with the best held-out likelihood are kept; training ends early after
    ``patience`` evaluations without a better one.

    Attributes
    ----------
    seconds : float
        Processor time of training, on one thread.
    transforms, hidden, bins
        The network.
    learning_rate, weight_decay, batch, clip
        Of Adam; ``clip`` bounds the norm of the gradient.
    average : float
        Rate of the running mean of the weights that is evaluated and kept; 0 keeps the weights.
    patience : int
        In evaluations, of which there are 40.
    """

    seconds: float = 15.0
    transforms: int = 3
    hidden: tuple[int, ...] = (64, 64)
    bins: int = 8
    learning_rate: float = 3e-3
    weight_decay: float = 0.0
    batch: int = 512
    clip: float = 5.0
    average: float = 0.0
    patience: int = 40

    def fit(self, points: Array, seed: int) -> Any:
        """Return the fitted law, a torch distribution on the space of the points."""
        import torch
        import zuko
        from torch.distributions import AffineTransform, TransformedDistribution

        torch.manual_seed(seed)
        center, scale = points.mean(axis=0), points.std(axis=0)
        data = torch.tensor((points - center) / scale, dtype=torch.float32)
        data = data[torch.randperm(len(data))]
        held, data = data[: len(data) // 10], data[len(data) // 10 :]
        flow = zuko.flows.NSF(
            points.shape[1],
            transforms=self.transforms,
            hidden_features=self.hidden,
            bins=self.bins,
        )
        self._train(torch, flow, data, held)
        shift = AffineTransform(
            torch.tensor(center, dtype=torch.float32),
            torch.tensor(scale, dtype=torch.float32),
            event_dim=1,
        )
        return TransformedDistribution(flow(), [shift])

    def _train(self, torch: Any, flow: Any, data: Any, held: Any) -> None:
        optimizer = torch.optim.Adam(
            flow.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )
        mean = copy.deepcopy(flow)
        best, best_weights, since = math.inf, flow.state_dict(), 0
        begin, checked = time.process_time(), 0
        while (share := (time.process_time() - begin) / self.seconds) < 1.0:
            if share * _CHECKS > checked:
                checked = int(share * _CHECKS) + 1
                candidate = mean if self.average else flow
                with torch.no_grad():
                    loss = -float(candidate().log_prob(held).mean())
                since += 1
                if loss < best:
                    weights = candidate.state_dict()
                    best, best_weights, since = loss, copy.deepcopy(weights), 0
                if since > self.patience:
                    break
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate * _schedule(share)
            rows = torch.randint(len(data), (self.batch,))
            optimizer.zero_grad()
            loss = -flow().log_prob(data[rows]).mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(flow.parameters(), self.clip)
            optimizer.step()
            if self.average:
                with torch.no_grad():
                    for kept, new in zip(mean.parameters(), flow.parameters(), strict=True):
                        kept.lerp_(new, self.average)
        flow.load_state_dict(best_weights)
        flow.requires_grad_(requires_grad=False)


def _schedule(share: float) -> float:
    """Factor of the learning rate when a share of the budget is used up."""
    return min(1.0, 20.0 * share + 0.05) * 0.5 * (1.0 + math.cos(math.pi * share))


def sample(law: Any, n: int, seed: int) -> Array:
    """Draw ``n`` points of a torch distribution by a seed of their own."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return np.asarray(law.sample((n,)).numpy(), dtype=np.float64)
