r"""Second-order steps of networks with few parameters.

Every loss of this package depends on the parameters through the map and its Jacobian only, and its
derivative at a point is that of

.. math:: r(\theta) = \langle c, \nabla h_\theta(z)\rangle + \langle C, \nabla^2 h_\theta(z)\rangle

with constants c and C: for the residual of the equation ``c = -grad f`` and ``C`` the inverse
Hessian. Gauss-Newton steps therefore need one thing, the derivatives of r at every point.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from parabolic_ma.neural.potentials import LogSumExp, NeuralPotential

__all__ = [
    "automatic_jacobian",
    "damped_step",
    "fit_gradients",
    "parameter_jacobian",
    "parameters_vector",
    "set_parameters",
]

_CHUNK_BYTES = 64 << 20


class _JetOf(nn.Module):
    """Makes the jet of one point the call of a module, which is what `functional_call` calls."""

    def __init__(self, network: NeuralPotential) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient and Hessian at one point, shapes ``(d,)`` and ``(d, d)``."""
        jet = self.network.jet(z[None])
        return jet.gradient[0], jet.hessian[0]


def parameter_jacobian(
    network: NeuralPotential, z: Tensor, c: Tensor, C: Tensor | None = None
) -> Tensor:
    """Derivatives of ``<c, grad h> + <C, Hess h>`` by the parameters, one row a point.

    Parameters
    ----------
    network : NeuralPotential
        ``h``, with P parameters.
    z, c : Tensor, shape (n, d)
    C : Tensor, shape (n, d, d), optional

    Returns
    -------
    Tensor, shape (n, P)
    """
    if isinstance(network, LogSumExp):  # in closed form, ten times faster
        return _in_parts(network.parameter_jacobian, z, c, C, network.pieces * z.shape[1])
    return automatic_jacobian(network, z, c, C)


def automatic_jacobian(
    network: NeuralPotential, z: Tensor, c: Tensor, C: Tensor | None = None
) -> Tensor:
    """`parameter_jacobian` by automatic differentiation, for any network."""
    call = _JetOf(network)
    parameters = {name: p.detach() for name, p in call.named_parameters()}
    count = sum(p.numel() for p in parameters.values())

    def contracted(values: dict[str, Tensor], z: Tensor, c: Tensor, C: Tensor | None) -> Tensor:
        gradient, hessian = functional_call(call, values, (z,))
        total = (c * gradient).sum()
        return total if C is None else total + (C * hessian).sum()

    by_point = vmap(grad(contracted), in_dims=(None, 0, 0, None if C is None else 0))

    def rows(z: Tensor, c: Tensor, C: Tensor | None) -> Tensor:
        found = by_point(parameters, z, c, C)
        return torch.cat([g.reshape(g.shape[0], -1) for g in found.values()], 1)

    return _in_parts(rows, z, c, C, count)


def _in_parts(
    rows: Callable[..., Tensor], z: Tensor, c: Tensor, C: Tensor | None, numbers: int
) -> Tensor:
    """Take the rows of so many points at a time that their numbers fit in a cache."""
    size = max(_CHUNK_BYTES // (8 * numbers), 1)
    parts = [slice(k, k + size) for k in range(0, len(z), size)]
    return torch.cat([rows(z[k], c[k], None if C is None else C[k]) for k in parts])


def parameters_vector(network: nn.Module) -> Tensor:
    """All parameters in one vector, without a graph."""
    return nn.utils.parameters_to_vector(network.parameters()).detach().clone()


def set_parameters(network: nn.Module, vector: Tensor) -> None:
    """Put the parameters of a vector into a network."""
    with torch.no_grad():
        nn.utils.vector_to_parameters(vector, network.parameters())


def damped_step(
    network: NeuralPotential,
    matrix: Tensor,
    slope: Tensor,
    damping: float,
    merit: Callable[[], float],
    before: float,
    tries: int = 8,
) -> tuple[float, float]:
    """Take one Levenberg-Marquardt step, with more damping until the merit falls.

    The damping has a part that is the same for all parameters: pieces that no point sees have a
    derivative of 1e-60, and a damping relative to that would let them go anywhere.

    Parameters
    ----------
    network : NeuralPotential
        Changed in place; as it was if no step was found.
    matrix, slope : Tensor
        Gauss-Newton matrix and gradient.
    damping : float
    merit : callable
        The merit of the network as it is; infinite where it is not convex.
    before : float
        Its value at the start.
    tries : int
        Most attempts.

    Returns
    -------
    merit, damping : float
        Afterwards.
    """
    start = parameters_vector(network)
    diagonal = matrix.diagonal()
    scale = diagonal + 1e-3 * diagonal.mean() + 1e-30
    for _ in range(tries):
        try:
            step = torch.linalg.solve(matrix + damping * torch.diag(scale), slope)
        except torch.linalg.LinAlgError:  # singular to working precision
            damping = min(5.0 * damping, 1e6)
            continue
        set_parameters(network, start - step)
        after = merit()
        if after < before:
            return after, max(0.3 * damping, 1e-8)
        damping = min(5.0 * damping, 1e6)
    set_parameters(network, start)
    return before, damping


def fit_gradients(
    network: NeuralPotential, z: Tensor, wanted: Tensor, root: Tensor, damping: float, steps: int
) -> float:
    """Fit ``grad h(z)`` to given vectors by damped Gauss-Newton steps.

    Parameters
    ----------
    network : NeuralPotential
        Changed in place.
    z, wanted : Tensor, shape (n, d)
    root : Tensor, shape (n, d, d)
        The norm is that of ``root^T off``.
    damping : float
    steps : int

    Returns
    -------
    float
        The damping for a next call.
    """

    def misfit() -> Tensor:
        with torch.no_grad():
            off = network.jet(z).gradient - wanted
            return (root.mT @ off[..., None])[..., 0]

    def merit() -> float:
        if not network.convex:
            with torch.no_grad():
                if float(torch.linalg.eigvalsh(network.jet(z).hessian).min()) <= 0.0:
                    return math.inf
        error = float((misfit() ** 2).sum(-1).mean())
        return error if math.isfinite(error) else math.inf

    for _ in range(steps):
        off = misfit()
        J = torch.cat([parameter_jacobian(network, z, root[:, :, a]) for a in range(z.shape[1])])
        matrix, slope = J.mT @ J / len(z), J.mT @ off.mT.flatten() / len(z)
        before = float((off**2).sum(-1).mean())
        _, damping = damped_step(network, matrix, slope, damping, merit, before)
        damping = min(max(damping, 1e-6), 1e3)
    return damping
