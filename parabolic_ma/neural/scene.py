"""A transport problem as a network sees it: measures in the coordinates of a frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from parabolic_ma.measures import Gaussian, Samples
from parabolic_ma.neural.determinant import LogDeterminant, log_determinant
from parabolic_ma.neural.frame import Frame
from parabolic_ma.neural.potentials import Jet, NeuralPotential
from parabolic_ma.problem import TransportProblem
from parabolic_ma.status import InputError
from parabolic_ma.typing import Array

__all__ = ["ModelScore", "Residual", "Scene"]


@dataclass(frozen=True, eq=False)
class Residual:
    """The residual of the equation and what it is made of, at points of the reference."""

    value: Tensor
    """``F = -f(T) + g + log det Hess psi``, shape ``(n,)``, in nats."""
    image: Array
    """``T(y)``, shape ``(n, d)``."""
    determinant: LogDeterminant
    """Of the network's own Hessian."""
    hessian: Tensor
    """Of the network, shape ``(n, d, d)``."""

    @property
    def log_evidence(self) -> float:
        """``log E e^F``: the evidence by importance sampling."""
        return float(torch.logsumexp(self.value, 0)) - float(np.log(len(self.value)))


class ModelScore(NamedTuple):
    """The score of ``rho``, shape ``(n, d)``, with the jet (of a live graph) and determinant."""

    jet: Jet
    determinant: LogDeterminant
    score: Tensor


@dataclass(frozen=True, eq=False)
class Scene:
    """The measures of a problem, evaluated at the coordinates ``z`` and ``v`` of a frame."""

    problem: TransportProblem
    frame: Frame
    by_points: bool = False
    """Whether a reference that is known by data is its points, and not the density estimate."""

    @property
    def dim(self) -> int:
        """Dimension of the space."""
        return self.problem.dim

    def draw(self, n: int, rng: np.random.Generator) -> Tensor:
        """Draw ``n`` points of the reference, as coordinates ``z``."""
        reference = self.problem.reference
        if self.by_points and isinstance(reference, Samples):
            return self.frame.encode(rng.choice(reference.points, size=n, p=reference.weights))
        return self.frame.encode(reference.sample(n, rng))

    def nodes(self, n: int, seed: int) -> Tensor:
        """Points of the reference that fill it evenly where that is known how, as ``z``.

        For a Gaussian the quantiles of a scrambled Sobol sequence, whose means converge nearly
        twice as fast as those of random points; otherwise random points.
        """
        reference = self.problem.reference
        if not isinstance(reference, Gaussian):
            return self.draw(n, np.random.default_rng(seed))
        engine = torch.quasirandom.SobolEngine(self.dim, scramble=True, seed=seed)
        uniform = engine.draw(n, dtype=torch.float64).clamp(1e-12, 1.0 - 1e-12)
        normal = torch.special.ndtri(uniform).numpy()
        y = reference.mean + normal @ np.linalg.cholesky(reference.cov).T
        return self.frame.encode(y)

    def target_slope(self, v: Tensor) -> Tensor:
        """Gradient of ``f`` by the coordinates ``v`` of the image, shape ``(n, d)``."""
        slope = self.problem.target.gradient(self.frame.decode(v))
        return torch.from_numpy(np.asarray(slope) @ self.frame.out)

    def reference_slope(self, z: Tensor) -> Tensor:
        """Gradient of ``g`` by the coordinates ``z``, shape ``(n, d)``."""
        slope = self.problem.reference.gradient(self.frame.decode_source(z))
        factor = self.frame.scale * np.linalg.inv(self.frame.axes)
        return torch.from_numpy(np.asarray(slope) @ factor.T)

    def residual(self, network: NeuralPotential, z: Tensor) -> Residual:
        """The residual of the equation for a network on the reference's side, in float64."""
        with torch.no_grad():
            jet = network.jet(z)
            found = log_determinant(jet.hessian)
            image = self.frame.decode(jet.gradient)
            f = torch.from_numpy(np.asarray(self.problem.target.potential(image)))
            y = self.frame.decode_source(z)
            g = torch.from_numpy(np.asarray(self.problem.reference.potential(y)))
            value = g - f + found.value + self.frame.log_det
        return Residual(value, image, found, jet.hessian)

    def trial(self, network: NeuralPotential, z: Tensor) -> Residual | None:
        """`residual` of a network that is being tried; None where the target has no density."""
        try:
            with np.errstate(all="ignore"):
                return self.residual(network, z)
        except InputError:
            return None

    def model_score(self, network: NeuralPotential, z: Tensor) -> ModelScore:
        r"""The score of the model at the images of ``z``, exactly, with what led to it.

        .. math:: \nabla_v \log\rho = (\nabla^2 h)^{-1} \nabla_z (\log\nu - \log\det\nabla^2 h)
        """
        z = z.detach().requires_grad_(True)
        jet = network.jet(z)
        found = log_determinant(jet.hessian.detach())
        (by_point,) = torch.autograd.grad(jet.hessian, z, found.slope, retain_graph=True)
        pull = -self.reference_slope(z.detach()).to(z.dtype) - by_point
        return ModelScore(jet, found, (found.slope @ pull[..., None])[..., 0])
