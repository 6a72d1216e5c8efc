"""What the paper's algorithms learn at every step: a log density ratio, or a score."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from parabolic_ma.neural.potentials import LogitNetwork

__all__ = ["Discriminator", "ScoreNetwork"]

_WEIGHT_DECAY = 1e-4
_DEFAULT_NOISE = 0.1


class Discriminator:
    """Learns ``h = log(rho / mu)`` by logistic regression between samples of the two.

    Parameters
    ----------
    dim, width : int
        Of its network.
    rate : float
        Learning rate of Adam.
    """

    def __init__(self, dim: int, width: int, rate: float) -> None:
        self.network = LogitNetwork(dim, width)
        with torch.no_grad():
            self.network.output.zero_()  # h = 0: no difference known yet
        self._adam = torch.optim.AdamW(
            self.network.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=_WEIGHT_DECAY
        )

    def fit(
        self, model: Tensor, data: Tensor, iterations: int, batch: int, rng: np.random.Generator
    ) -> None:
        """Go on training on samples of the model and of the data, ``(n, d)`` and ``(m, d)``."""
        for _ in range(iterations):
            rho = model[torch.from_numpy(rng.integers(len(model), size=batch))]
            mu = data[torch.from_numpy(rng.integers(len(data), size=batch))]
            self._adam.zero_grad()
            loss = self._loss(rho, mu)
            loss.backward()
            self._adam.step()

    def _loss(self, rho: Tensor, mu: Tensor) -> Tensor:
        h = self.network
        return 0.5 * (functional.softplus(-h(rho)).mean() + functional.softplus(h(mu)).mean())

    def figures(self, rho: Tensor, mu: Tensor) -> dict[str, float]:
        """Loss and estimates of divergences on samples that it was not trained on, in nats.

        At its minimum the loss is ``log 2`` minus the Jensen-Shannon divergence.
        """
        with torch.no_grad():
            loss = float(self._loss(rho, mu))
            return {
                "logistic_loss": loss,
                "jensen_shannon": math.log(2.0) - loss,
                "kl_estimate": float(self.network(rho).mean()),
                "kl_reverse_estimate": -float(self.network(mu).mean()),
            }

    def frozen(self, dtype: torch.dtype = torch.float64) -> LogitNetwork:
        """Return a copy of the network as it is now, without gradients."""
        copy = LogitNetwork(self.network.dim, self.network.width, self.network.depth).to(dtype)
        copy.load_state_dict(self.network.state_dict())
        return copy.requires_grad_(requires_grad=False)

    def score_difference(self, v: Tensor) -> Tensor:
        """``grad h`` at ``v``, shape ``(n, d)``."""
        with torch.no_grad():
            return self.network.jet(v.to(self.network.output.dtype)).gradient


class ScoreNetwork(nn.Module):
    r"""Learns ``grad log p`` of a density known by samples: denoising score matching.

    With noise of deviation s the minimiser of :math:`E|s\,u(x + s e) + e|^2` is the score of the
    density blurred by s (P. Vincent, Neural Computation 23, 2011). Pairs of opposite noise cancel
    the largest part of its variance.

    Parameters
    ----------
    dim, width : int
        Of a perceptron with two hidden layers; its values are ``-x`` plus what it learns.
    rate : float
        Learning rate of Adam.
    noise : float
        ``s``.
    """

    def __init__(self, dim: int, width: int, rate: float, noise: float = _DEFAULT_NOISE) -> None:
        super().__init__()
        self.noise = noise
        self.layers = nn.Sequential(
            nn.Linear(dim, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, dim),
        )
        self._adam = torch.optim.Adam(self.parameters(), lr=rate, betas=(0.9, 0.99))

    def forward(self, x: Tensor) -> Tensor:
        """Score at ``x``, shape ``(n, d)``."""
        found: Tensor = self.layers(x)
        return found - x

    def fit(self, samples: Tensor, iterations: int, batch: int, rng: np.random.Generator) -> float:
        """Go on training on samples; returns the last mean loss."""
        s, last = self.noise, math.nan
        dtype = next(self.parameters()).dtype
        for _ in range(iterations):
            x = samples[torch.from_numpy(rng.integers(len(samples), size=batch))].to(dtype)
            e = torch.from_numpy(rng.standard_normal(x.shape)).to(dtype)
            self._adam.zero_grad()
            loss = sum(
                ((s * self(x + sign * s * e) + sign * e) ** 2).sum(-1).mean() for sign in (1, -1)
            )
            loss.backward()
            self._adam.step()
            last = 0.5 * float(loss.detach())
        return last

    def antisymmetry(self, x: Tensor) -> float:
        """Norm of the antisymmetric part of the Jacobian over that of the Jacobian, at ``x``.

        A score is a gradient, so its Jacobian is symmetric; what is not is error for sure.
        """
        from torch.func import jacrev, vmap

        jacobian = vmap(jacrev(lambda u: self(u[None])[0]))(x.to(next(self.parameters()).dtype))
        odd = 0.5 * (jacobian - jacobian.mT)
        return float((odd.norm() / (jacobian.norm() + 1e-30)).detach())
