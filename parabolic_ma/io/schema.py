"""Names, units and meanings of everything in a solution file.

Lengths are those of the boxes; potentials have the unit length squared; log densities are in nats.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "AVERAGE",
    "CERTIFICATE",
    "FIGURES",
    "HISTORY",
    "MAP_FIELDS",
    "SAVED",
    "SCHEMA_VERSION",
    "Quantity",
    "coordinate",
]

# 2: the result of a flow. A release that reads only 1 would call such a file damaged, for it does
# not know the flow's settings and statuses, and would drop the saved maps. So such a file has
# version 2 and that release asks to be upgraded; all others are still written as version 1.
# 3: a map that is a network.
SCHEMA_VERSION = 3


@dataclass(frozen=True)
class Quantity:
    """Unit and meaning of a stored number or array."""

    units: str
    long_name: str


FIGURES = {
    "log_evidence": Quantity("nat", "log integral of exp(-f) minus log integral of exp(-g)"),
    "w2_squared": Quantity("length2", "squared Wasserstein-2 distance"),
    "kl": Quantity("nat", "KL divergence of the model given the target"),
    "kl_reverse": Quantity("nat", "KL divergence of the target given the model"),
}

# What is known on a grid of one side: the names of potential, map, log determinant of the map's
# Jacobian, the side's own log density, and the other side's at the image; then the axes' letter.
MAP_FIELDS = {
    "reference": (
        ("psi", Quantity("length2", "convex potential of the map, up to a constant")),
        ("T", Quantity("length", "map from the reference to the target, gradient of psi")),
        ("log_det", Quantity("nat", "log determinant of the Hessian of psi")),
        ("log_density_reference", Quantity("nat", "log density of the reference")),
        ("log_density_target_at_T", Quantity("nat", "log density of the target at T(y)")),
    ),
    "target": (
        ("phi", Quantity("length2", "convex potential of the inverse map, up to a constant")),
        ("S", Quantity("length", "map from the target to the reference, gradient of phi")),
        ("log_det_S", Quantity("nat", "log determinant of the Hessian of phi")),
        ("log_density_target", Quantity("nat", "log density of the target")),
        ("log_density_reference_at_S", Quantity("nat", "log density of the reference at S(x)")),
    ),
}

CERTIFICATE = {
    "residual": Quantity("nat", "root mean square residual under the grid side's measure"),
    "residual_max": Quantity("nat", "largest residual on all but 1e-6 of the mass"),
    "rounding_floor": Quantity("nat", "what rounding alone makes of the residual"),
    "min_eigenvalue": Quantity("1", "smallest eigenvalue of the Hessian where there is mass"),
    "max_eigenvalue": Quantity("1", "largest eigenvalue of the Hessian where there is mass"),
    "extension_mass": Quantity("1", "mass of cells on which the log extension is active"),
    "extension_cells": Quantity("1", "number of cells on which the log extension is active"),
    "floored_mass": Quantity("1", "mass that a floor under a density added"),
    "truncated_mass": Quantity("1", "mass of the two measures outside their boxes"),
    "solver_constant": Quantity("nat", "log evidence as the map's mass balance gives it"),
    "mass_error": Quantity("nat", "solver constant minus the log evidence by quadrature"),
    "log_evidence_lower": Quantity("nat", "lower bound of the log evidence"),
    "log_evidence_upper": Quantity("nat", "upper bound of the log evidence"),
    "duality_gap": Quantity("length2", "primal minus dual value, conjugate by maximisation"),
    "observed_order": Quantity("1", "order at which the maps of three grids approach each other"),
    "map_error": Quantity("length", "estimated L2 distance to the true map"),
    "log_evidence_error": Quantity("nat", "estimated error of the log evidence"),
    "w2_error": Quantity("length2", "estimated error of the squared Wasserstein-2 distance"),
}

# Both sides of the evolution variational inequality of one step, and their sums.
_INEQUALITY = {
    "bregman_difference": (
        "length2",
        "B({0} | rho_k) - B({0} | rho_k+1) of the last two iterates, B the Bregman divergence",
    ),
    "evi_left": ("nat", "left side of the evolution variational inequality of the step to {0}"),
    "evi_right": ("nat", "right side of the evolution variational inequality of the step to {0}"),
    "evi_slack": ("nat", "right side minus left side of the inequality of the step to {0}"),
    "regret": ("length2", "sum of step length times left side against {0}"),
    "regret_bound": ("length2", "sum of step length times right side against {0}"),
}

HISTORY = {
    "step": Quantity("1", "step of the solver"),
    "t": Quantity("length2", "time of the equation, in which a rate in nats moves a potential"),
    "level": Quantity("1", "grid of this step"),
    "cells": Quantity("1", "number of cells of that grid"),
    "step_size": Quantity("length2", "time step, or pseudo-time step"),
    "residual": CERTIFICATE["residual"],
    "residual_max": CERTIFICATE["residual_max"],
    "kl": FIGURES["kl"],
    "kl_reverse": FIGURES["kl_reverse"],
    "mass_error": CERTIFICATE["mass_error"],
    "log_evidence_lower": CERTIFICATE["log_evidence_lower"],
    "log_evidence_upper": CERTIFICATE["log_evidence_upper"],
    "min_eigenvalue": CERTIFICATE["min_eigenvalue"],
    "max_eigenvalue": CERTIFICATE["max_eigenvalue"],
    "map_change": Quantity("length", "distance of the maps of the last two steps"),
    "newton_steps": Quantity("1", "Newton steps so far"),
    "cycles": Quantity("1", "multigrid cycles so far"),
    "mixture": Quantity("1", "share of the other density in the homotopy"),
    "rate_min": Quantity("nat", "smallest rate F of the potential"),
    "rate_max": Quantity("nat", "largest rate F of the potential"),
    "velocity": Quantity("nat/length", "root mean square gradient of the rate, pulled back"),
    **{k: Quantity(unit, text.format("the target")) for k, (unit, text) in _INEQUALITY.items()},
    **{
        f"comparator_{k}": Quantity(unit, text.format("the comparator"))
        for k, (unit, text) in _INEQUALITY.items()
    },
    "step_limit": Quantity("length2", "longest stable step of the explicit method"),
    "kl_average": Quantity("nat", "KL divergence of the average iterate given the target"),
    "scheduled": Quantity("1", "steps of the schedule so far"),
    "next_step": Quantity("length2", "time step to try next; 0: the schedule says"),
    "evaluations": Quantity("1", "evaluations of the rate so far"),
    "marginal_kl": Quantity("nat", "KL divergence of the plan's marginal given the measure"),
    "sum_error": Quantity("1", "estimated relative error of sums that stand for integrals"),
    "loss": Quantity("nat", "mean loss of training in this step"),
    "loss_held_out": Quantity("nat", "mean minus log likelihood of data that are not trained on"),
    "log_evidence": Quantity("nat", "log evidence by importance sampling"),
    "effective_sample_size": Quantity("1", "share of points that the importance weights are worth"),
    "logistic_loss": Quantity("nat", "logistic loss on data that are not trained on"),
    "jensen_shannon": Quantity("nat", "log 2 minus the logistic loss"),
    "kl_estimate": Quantity("nat", "mean learned log density ratio under the model"),
    "kl_reverse_estimate": Quantity("nat", "minus its mean under the target"),
    "score_loss": Quantity("1", "loss of denoising score matching"),
    "antisymmetry": Quantity("1", "share of the learned score's Jacobian that is antisymmetric"),
    "projection_error": Quantity("1", "share of the flow's step that the network cannot take"),
    "seconds": Quantity("s", "wall time since the start"),
}

SAVED = {
    "t": Quantity("length2", "time of the equation at which the map was kept"),
    "correction": Quantity("length2", "potential minus its quadratic part"),
}

AVERAGE = {
    "density": Quantity("1/length^d", "average over time of the model's densities"),
    "floor": Quantity("1", "floor under the density, in parts of its largest value"),
    "floored_mass": CERTIFICATE["floored_mass"],
}


def coordinate(side: str, axis: int) -> tuple[str, Quantity]:
    """Return name and meaning of a coordinate: y on the reference side, x on the target's."""
    letter = "y" if side == "reference" else "x"
    return f"{letter}{axis + 1}", Quantity("length", f"cell centres on the {side} side")
