"""What can be said of a neural map without knowing the true one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parabolic_ma.neural.figures import residual_figures
from parabolic_ma.neural.neural_map import NeuralMap
from parabolic_ma.neural.potentials import NeuralPotential
from parabolic_ma.neural.scene import Residual, Scene
from parabolic_ma.solution import Certificate

__all__ = ["Judgement", "judge", "linearised_map_error"]

_POINTS = 16384
_FEWEST_POINTS = 1024
_HESSIAN_ENTRIES = 1 << 22  # of all points together: 32 MiB
_GALERKIN_POINTS = 4096
_FEATURES = 150  # on each side
_LARGEST_WEIGHT = 10.0  # of an importance weight, in the linearised problem
_SAFETY = 2.0  # the linearised distance was 0.4 to 1.8 times the true one
_RIDGE = 1e-4  # relative to the diagonal: as much as the means over the points are noise
_TAIL = 1e-6
_NO_GRID = "has a meaning on a grid only"


@dataclass(frozen=True)
class Judgement:
    """Figures of a solution, its certificate, and the share of points that are not convex."""

    log_evidence: float
    w2_squared: float
    kl: float
    kl_reverse: float
    effective_sample_size: float
    nonconvex: float
    certificate: Certificate


def judge(scene: Scene, transport: NeuralMap, seed: int, *, known_density: bool) -> Judgement:
    """Measure a map on fresh points of the reference.

    Parameters
    ----------
    scene : Scene
    transport : NeuralMap
    seed : int
        Of the points.
    known_density : bool
        Whether the target's potential is what defines it; of data it is an estimate only, and the
        residual is not computed.
    """
    reasons = dict.fromkeys(
        ("rounding_floor", "extension_cells", "floored_mass", "truncated_mass", "observed_order"),
        _NO_GRID,
    )
    reasons["duality_gap"] = "needs the target's mean of a conjugate; compare with a grid solution"
    z = scene.nodes(_point_count(scene.dim), seed)
    y = scene.frame.decode_source(z)
    x = transport(y)
    squared = np.sum((x - y) ** 2, axis=-1)
    w2 = float(squared.mean())
    w2_error = float(squared.std()) / math.sqrt(len(squared))
    values = np.linalg.eigvalsh(transport.hessian(y))
    smallest, largest = values[:, 0], values[:, -1]
    nonconvex = float(np.mean(~(smallest > 0.0)))
    bulk = max(int(_TAIL * len(smallest)), 0)
    figures: dict[str, Any] = {
        "min_eigenvalue": float(np.sort(smallest)[bulk]),
        "max_eigenvalue": float(np.sort(largest)[-1 - bulk]),
        "extension_mass": nonconvex,
    }
    if not known_density or transport.side == "target":
        why = (
            "the target is known by data: look at loss_held_out in the history, or compare"
            if not known_density
            else "the network is on the target's side"
        )
        for name in ("residual", "residual_max", "solver_constant", "mass_error", "map_error"):
            reasons[name] = why
        for name in ("log_evidence_lower", "log_evidence_upper", "log_evidence_error"):
            reasons[name] = why
        certificate = Certificate(**figures, w2_error=w2_error, reasons=reasons)
        nan = math.nan
        return Judgement(0.0, w2, nan, nan, nan, nonconvex, certificate)
    residual = scene.residual(transport.network, z)
    row = residual_figures(residual, scene)
    exact = scene.problem.target.normalized and scene.problem.reference.normalized
    constant = 0.0 if exact else residual.log_evidence
    weight = torch.exp(residual.value - residual.log_evidence)
    evidence_error = float(weight.std()) / math.sqrt(len(weight))
    ordered = torch.sort((residual.value - constant).abs()).values
    map_error = _SAFETY * linearised_map_error(
        scene, transport.network, residual, z, constant, seed
    )
    certificate = Certificate(
        residual=row["residual"],
        residual_max=float(ordered[-1 - bulk]),
        solver_constant=residual.log_evidence,
        mass_error=residual.log_evidence - constant,
        log_evidence_lower=row["log_evidence_lower"],
        log_evidence_upper=row["log_evidence_upper"],
        map_error=map_error,
        log_evidence_error=evidence_error,
        w2_error=w2_error + 2.0 * math.sqrt(w2) * map_error,
        reasons=reasons,
        **figures,
    )
    return Judgement(
        constant,
        w2,
        row["kl"],
        row["kl_reverse"],
        row["effective_sample_size"],
        nonconvex,
        certificate,
    )


def _point_count(dim: int) -> int:
    return min(_POINTS, max(_FEWEST_POINTS, _HESSIAN_ENTRIES // dim**2))


def linearised_map_error(
    scene: Scene,
    network: NeuralPotential,
    residual: Residual,
    z: Tensor,
    constant: float,
    seed: int,
) -> float:
    r"""Estimate the L2 distance to the true map by one Newton step in a space of features.

    The correction :math:`u` of the conjugate, a function of the image x, solves the linearised
    equation, of which the weak form is symmetric and positive definite for every convex potential:

    .. math:: E_w\langle\nabla\chi, \nabla^2\psi\,\nabla u\rangle = E_w[\chi\,(F - \log Z)]
              \quad\text{for all } \chi(x), \qquad w = e^F \nu .

    Galerkin's method solves it in random ridge functions of x, where the correction is smooth
    across the borders between modes, with the coordinates and their products. The corrected map
    sends ``y - grad u`` to x, so the distance of the present map's value there to x is the error,
    borders that move included. It sees what no parameter of the network can mend, and is blind to
    what these features do not resolve.
    """
    z = z[:_GALERKIN_POINTS]
    F = residual.value[: len(z)] - constant
    hessian = residual.hessian[: len(z)]
    weight = torch.exp(F).clamp_max(_LARGEST_WEIGHT)
    weight = weight / weight.sum()
    generator = torch.Generator().manual_seed(seed)
    v = scene.frame.encode_image(residual.image[: len(z)])
    values, slopes = _ridges(v, generator)
    flux = weight[:, None, None] * (slopes @ hessian)
    scale = scene.frame.scale
    matrix = flux.permute(1, 0, 2).flatten(1) @ slopes.permute(1, 0, 2).flatten(1).mT / scale**2
    centred = values - weight @ values
    right = centred.mT @ (weight * (F - weight @ F))
    spread = matrix.diagonal().clamp_min(1e-30).sqrt()
    matrix = matrix / spread[:, None] / spread
    matrix += _RIDGE * torch.eye(len(matrix), dtype=matrix.dtype)
    try:
        coefficients = torch.linalg.solve(matrix, right / spread) / spread
    except torch.linalg.LinAlgError:  # not convex at so many points that the form is singular
        return math.nan
    back = torch.einsum("k,nki->ni", coefficients, slopes) / scale**2
    with torch.no_grad():
        moved = scene.frame.decode(network.jet(z - back).gradient)
    off = torch.from_numpy(np.sum((moved - residual.image[: len(z)]) ** 2, axis=-1))
    return math.sqrt(float(weight @ off))


def _ridges(points: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Coordinates, their products, and random ridge functions with their gradients."""
    n, d = points.shape
    unit = torch.eye(d, dtype=points.dtype)
    i, j = torch.triu_indices(d, d)
    products = points[:, i] * points[:, j]
    product_slopes = points[:, i, None] * unit[j] + points[:, j, None] * unit[i]
    direction = torch.randn(_FEATURES, d, generator=generator, dtype=points.dtype)
    direction /= direction.norm(dim=1, keepdim=True)
    steepness = torch.exp(torch.rand(_FEATURES, generator=generator, dtype=points.dtype) * 2.5)
    direction *= steepness[:, None]
    # borders through random points, so that every feature bends where there is mass
    through = points[torch.randint(n, (_FEATURES,), generator=generator)]
    offset = (direction * through).sum(-1)
    bend = torch.tanh(points @ direction.mT - offset)
    bend_slopes = (1.0 - bend**2)[..., None] * direction
    values = torch.cat([points, products, bend], 1)
    return values, torch.cat([unit.expand(n, -1, -1), product_slopes, bend_slopes], 1)
