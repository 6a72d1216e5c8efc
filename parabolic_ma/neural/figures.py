"""Figures of a network's residual: what a row of the history and a certificate are made of."""

from __future__ import annotations

import math

import torch

from parabolic_ma.neural.scene import Residual, Scene

__all__ = ["effective_sample_size", "log_constant", "residual_figures"]


def log_constant(scene: Scene, residual: Residual) -> float:
    """Log evidence: 0 where both measures are normalised, otherwise by importance sampling."""
    if scene.problem.target.normalized and scene.problem.reference.normalized:
        return 0.0
    return residual.log_evidence


def effective_sample_size(residual: Residual) -> float:
    """Fraction of the points that the importance weights ``e^F`` are worth."""
    F = residual.value
    log_ratio = 2.0 * torch.logsumexp(F, 0) - torch.logsumexp(2.0 * F, 0)
    return float(torch.exp(log_ratio)) / len(F)


def residual_figures(residual: Residual, scene: Scene) -> dict[str, float]:
    """Figures of the residual on points of the reference, in nats."""
    F = residual.value
    constant = log_constant(scene, residual)
    weight = torch.softmax(F, 0)
    upper = float((weight * F).sum())
    lower = float(F.mean())
    bounded = 2.0 * torch.tanh(0.5 * (F - constant))
    values = torch.linalg.eigvalsh(torch.nan_to_num(residual.hessian))
    return {
        "residual": math.sqrt(float((bounded**2).mean())),
        "kl": constant - lower,
        "kl_reverse": upper - constant,
        "mass_error": residual.log_evidence - constant,
        "log_evidence_lower": lower,
        "log_evidence_upper": upper,
        "log_evidence": residual.log_evidence,
        "effective_sample_size": effective_sample_size(residual),
        "min_eigenvalue": float(values[:, 0].min()),
        "max_eigenvalue": float(values[:, -1].max()),
    }
