"""Where training starts: the identity, the places of data, or a given map."""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from torch import Tensor

from parabolic_ma.maps import TransportMap
from parabolic_ma.neural.least_squares import fit_gradients
from parabolic_ma.neural.neural_map import NeuralMap
from parabolic_ma.neural.potentials import (
    InputConvexNetwork,
    LogSumExp,
    MultilayerNetwork,
    NeuralPotential,
    inverse_softplus,
)
from parabolic_ma.neural.scene import Scene

__all__ = ["fit_to_gradients", "set_identity", "start_at_identity", "start_from_map"]

_SOFT = 0.9  # share of the identity's curvature that the soft maxima have at first
_BATCH = 512


def start_at_identity(
    network: NeuralPotential, places: Tensor, seed: int, nodes: Tensor | None = None
) -> None:
    """Set a network to about ``|z|^2 / 2``, the identity.

    Parameters
    ----------
    network : NeuralPotential
    places : Tensor, shape (n, d)
        Points of either side, such as data, of which the soft maxima take the slopes of their
        pieces: more pieces where there is more mass.
    seed : int
        Of the choice among them.
    nodes : Tensor, shape (m, d), optional
        Points at which soft maxima are made the identity by least squares, to a KL divergence of
        1e-4: a flow follows its start, other trainings soon leave the ripples of their pieces.
    """
    if isinstance(network, LogSumExp):
        _tangents(network, places.double(), seed)
        if nodes is not None:
            n, d = nodes.shape
            root = torch.eye(d, dtype=nodes.dtype).expand(n, d, d)
            fit_gradients(network, nodes, nodes, root, damping=1e-2, steps=4)
    elif isinstance(network, InputConvexNetwork):
        generator = torch.Generator().manual_seed(seed)
        wide = 1.5 * torch.randn(4096, network.dim, generator=generator, dtype=torch.float64)
        fit_to_gradients(network, wide, wide, iterations=300, seed=seed)


def set_identity(network: NeuralPotential) -> bool:
    """Make a network the identity exactly, where its kind can be; tells whether it is.

    Pieces of a soft maximum that are all the same leave a parabola. Nothing could be trained from
    there, since they would stay the same: it is something to compare with.
    """
    with torch.no_grad():
        if isinstance(network, LogSumExp):
            network.slopes.zero_()
            network.offsets.zero_()
            network.raw_curvatures.fill_(inverse_softplus(_SOFT / network.groups))
            network.raw_quadratic.fill_(inverse_softplus(1.0 - _SOFT))
            return True
        if isinstance(network, MultilayerNetwork):
            network.output.zero_()
            network.linear.zero_()
            network.raw_quadratic.fill_(inverse_softplus(1.0))
            return True
    return False


def _tangents(network: LogSumExp, places: Tensor, seed: int) -> None:
    """Make the pieces tangents of a parabola: their soft maximum is that parabola, about."""
    from scipy.cluster.vq import kmeans2

    share = _SOFT / network.groups
    spacing = min(max(3.0 * network.pieces ** (-2.0 / network.dim), 0.1), 1.0)
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for r in range(network.groups):
            chosen = rng.choice(len(places), min(len(places), 4096), replace=False)
            sample = places[chosen].numpy()
            first = sample[rng.choice(len(sample), network.pieces, len(sample) < network.pieces)]
            with warnings.catch_warnings():  # of repeated points some clusters stay empty
                warnings.simplefilter("ignore", UserWarning)
                centers = torch.from_numpy(kmeans2(sample, first, iter=10, minit="matrix")[0])
            network.slopes[r] = share * centers
            network.offsets[r] = -0.5 * share * (centers**2).sum(-1)
        network.raw_sharpness.fill_(inverse_softplus(share * spacing))
        network.raw_curvatures.fill_(inverse_softplus(0.05))
        network.raw_quadratic.fill_(inverse_softplus(1.0 - _SOFT))


def start_from_map(
    network: NeuralPotential, scene: Scene, initial: TransportMap, rng: np.random.Generator
) -> None:
    """Set a network to the potential of any map: its weights if it is the same kind of network.

    Otherwise the gradient is fitted to the map on points of the reference.
    """
    if isinstance(initial, NeuralMap) and initial.side == "reference" and _same(initial, network):
        frame, own = initial.frame, scene.frame
        if all(
            np.allclose(getattr(frame, name), getattr(own, name), rtol=1e-12, atol=1e-12)
            for name in ("axes", "scale", "center", "image")
        ):
            network.load_state_dict(initial.network.state_dict())
            return
    y = scene.problem.reference.sample(16384, rng)
    wanted = scene.frame.encode_image(initial(y))
    seed = int(rng.integers(2**31))
    start_at_identity(network, wanted, seed)
    fit_to_gradients(network, scene.frame.encode(y), wanted, iterations=2000, seed=seed)


def _same(initial: NeuralMap, network: NeuralPotential) -> bool:
    return initial.network.architecture() == network.architecture()


def fit_to_gradients(
    network: NeuralPotential, z: Tensor, wanted: Tensor, iterations: int, seed: int
) -> float:
    """Fit ``grad h(z)`` to given vectors by least squares; returns the last mean square."""
    dtype = next(network.parameters()).dtype
    z, wanted = z.to(dtype), wanted.to(dtype)
    parameters = list(network.parameters())
    optimiser = torch.optim.Adam(parameters, lr=1e-2, betas=(0.9, 0.99))
    generator = torch.Generator().manual_seed(seed)
    error = math.inf
    for k in range(iterations):
        for group in optimiser.param_groups:
            group["lr"] = 1e-2 * (1.0 - k / iterations) + 1e-5
        rows = torch.randint(len(z), (min(_BATCH, len(z)),), generator=generator)
        jet = network.jet(z[rows])
        off = jet.gradient - wanted[rows]
        loss = (off * off).sum(-1).mean()
        # the value's own constant has no gradient
        for p, g in zip(
            parameters, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True
        ):
            p.grad = g
        optimiser.step()
        error = float(loss.detach())
    return error
