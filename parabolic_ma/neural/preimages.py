"""Data with their preimages under a map that is being trained."""

from __future__ import annotations

import torch
from torch import Tensor

from parabolic_ma.neural.neural_map import invert_gradient
from parabolic_ma.neural.potentials import NeuralPotential

__all__ = ["Preimages"]


class Preimages:
    """Every point keeps its preimage; a few Newton steps bring it up to date when it is visited.

    Parameters
    ----------
    network : NeuralPotential
        As it is at first.
    images : Tensor, shape (n, d)
        The points, in float64.
    starts : Tensor, shape (k, d)
        Candidates from which the first inversion starts.
    """

    def __init__(self, network: NeuralPotential, images: Tensor, starts: Tensor) -> None:
        self.images = images
        with torch.no_grad():
            heights = network(starts)
        self._found = invert_gradient(network, images, starts, heights)

    def __len__(self) -> int:
        return len(self.images)

    def visit(self, network: NeuralPotential, rows: Tensor, steps: int) -> Tensor:
        """Preimages of some of the points, in the network's numbers.

        A point of which Newton's steps leave the numbers keeps the preimage that it had.
        """
        dtype = next(network.parameters()).dtype
        old = self._found[rows].to(dtype)
        new = invert_gradient(network, self.images[rows].to(dtype), old, steps=steps)
        new = torch.where(torch.isfinite(new), new, old)
        self._found[rows] = new.double()
        return new

    def visit_all(self, network: NeuralPotential, steps: int) -> Tensor:
        """Preimages of all points; nan where they were not found."""
        new = invert_gradient(network, self.images, self._found, steps=steps)
        if bool(torch.isfinite(new).all()):
            self._found = new
        return new
