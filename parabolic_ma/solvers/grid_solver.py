"""`GridSolver`: the Brenier map on a grid, the ground truth of this package."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from parabolic_ma import backends
from parabolic_ma.grid import Box, Grid
from parabolic_ma.operators.discretise import (
    Discretisation,
    affine_residual,
    interpolated,
    log_sources,
)
from parabolic_ma.operators.grid_map import GridMap
from parabolic_ma.operators.monge_ampere import evaluate, with_images
from parabolic_ma.operators.transfer import spline_averages
from parabolic_ma.solution import GridFields, GridPotential, History, Provenance, Solution
from parabolic_ma.solvers.cell_equation import CellEquation
from parabolic_ma.solvers.certificate import (
    Convergence,
    Judgement,
    coarse_figures,
    dual_value,
    judge,
)
from parabolic_ma.solvers.grid_settings import (
    check_count,
    check_grid_settings,
    grid_shape,
    is_number,
    lay_grid,
)
from parabolic_ma.solvers.inverse_change import inverse_change
from parabolic_ma.solvers.iterate import Iterate, interior, prolong, start_from
from parabolic_ma.solvers.line_equation import LineCellEquation, LineEquation
from parabolic_ma.solvers.nested import (
    EXACT_RESIDUAL,
    NestedState,
    Plan,
    advance,
    allowed_extension,
    begin,
)
from parabolic_ma.solvers.point_equation import PointEquation
from parabolic_ma.status import InputError, Status
from parabolic_ma.typing import Array

if TYPE_CHECKING:
    from parabolic_ma.maps import TransportMap
    from parabolic_ma.problem import TransportProblem

__all__ = ["GridSolver"]

_INNER = ("auto", "point", "cell")
_COARSEST = {1: 32, 2: 32, 3: 16}  # cells on the shorter side of the first grid, by dimension
_COARSEST_CELLS = 16  # the same for the conservative equation
_HALVINGS = 5


@dataclass(frozen=True)
class GridSolver:
    """Solve the Monge-Ampere equation by a full multigrid Newton iteration on a uniform grid.

    Parameters
    ----------
    shape : int or tuple of int
        Cells on each of one to three axes, any numbers from 8 up. Cells more than twice as long as
        wide slow the iteration down.
    side : {"auto", "reference", "target"}
        Where the grid and the unknown live. ``"auto"`` takes the side opposite a log-concave
        measure: then the discrete problem has no spurious solutions.
    boundary : {"auto", "box", "periodic", "free"}
        ``"box"``: faces go to matching faces; ``"free"``: outflow, for measures on all of space;
        ``"periodic"``: both measures live on a torus.
    backend : {"numba", "numpy", "cupy:0", ...}
        Which kernels to use: compiled for the processor, the readable reference, or those of a
        CUDA device (one and two dimensions).
    dtype : {"float64"}
        Of the potential; corrections are computed in float32 and added in this precision.
    tol : "discretisation" or float
        ``"discretisation"`` stops when the estimated algebraic error of the map is a tenth of the
        estimated discretisation error; a number is a weighted residual (nats) to polish to.
    tail_mass : float
        Mass that an automatic box may leave outside.
    reference_box, target_box : Box or sequence of (lower, upper), optional
        Boxes to use instead of the automatic ones.
    richardson : bool
        Extrapolate the potentials of the last two grids: fourth order where the map is smooth.
    inner : {"auto", "point", "cell"}
        Where the density of the other side is taken: at the image of a cell's centre, or
        integrated over the image of the cell, which conserves mass. ``"auto"`` takes the cell when
        neither measure is log-concave (in the plane: and the boundary is a box; in space never).
    max_steps : int
        Newton steps over all grids.
    threads : int, optional
        Most threads on plane grids of a hundred thousand cells and more; without it, all the cores
        that the process may use. No result depends on it.

    Raises
    ------
    InputError
        For a setting that is not one of these.
    """

    shape: int | tuple[int, ...]
    side: Literal["auto", "reference", "target"] = "auto"
    boundary: Literal["auto", "box", "periodic", "free"] = "auto"
    backend: str = "numba"
    dtype: Literal["float64"] = "float64"
    tol: Literal["discretisation"] | float = "discretisation"
    tail_mass: float = 1e-12
    reference_box: Box | Sequence[Sequence[float]] | None = None
    target_box: Box | Sequence[Sequence[float]] | None = None
    richardson: bool = False
    inner: Literal["auto", "point", "cell"] = "auto"
    max_steps: int = 200
    threads: int | None = None

    def __post_init__(self) -> None:
        check_grid_settings(self, inner=_INNER, richardson=(True, False))
        if self.inner == "cell" and len(grid_shape(self)) == 3:
            raise InputError(
                f'inner="cell" is for one and two axes, and shape={self.shape} has three: images '
                'of cells in space are no polygons; use inner="point"'
            )
        if not (isinstance(self.tol, str) and self.tol == "discretisation"):
            if not (is_number(self.tol) and 0.0 < self.tol < 1.0):
                raise InputError(
                    f'tol={self.tol!r} must be "discretisation" or a weighted residual between 0 '
                    "and 1"
                )
            object.__setattr__(self, "tol", float(self.tol))
        check_count("max_steps", self.max_steps)
        if self.threads is not None:
            check_count("threads", self.threads)

    def init(
        self, problem: TransportProblem, initial: TransportMap | Solution | None = None
    ) -> NestedState:
        """Lay the grids, evaluate the measures on them and return the first state.

        Parameters
        ----------
        problem : TransportProblem
            Of the dimension of ``shape``.
        initial : TransportMap or Solution, optional
            Where to start on the last grid; without it, the affine map on the coarsest.

        Raises
        ------
        InputError
            If the problem does not fit the grid, or the grid does not fit into memory.
        """
        kernels = backends.get(self.backend, self.threads)
        discretised = lay_grid(self, problem)
        cells = self._inner(problem, discretised.boundary) == "cell"
        exact = affine_residual(kernels, discretised) < EXACT_RESIDUAL
        sources = log_sources(
            kernels, discretised.log_source, _COARSEST_CELLS if cells else _COARSEST[problem.dim]
        )
        if not cells:
            # Grids that are compared, or extrapolated, must differ by nothing but their spacing:
            # centre values, not cell averages, on the last three of them.
            first = 0 if self.richardson else 1
            for k in range(max(first, len(sources) - 3), len(sources) - 1):
                sources[k] = interpolated(
                    kernels, discretised.log_source, sources[k].shape, discretised.boundary
                )
        if cells:
            # the conservative equation sees the inner density as a B-spline, so the source too
            averaged = [
                np.log(spline_averages(np.exp(kernels.to_numpy(source)))) for source in sources
            ]
            sources = [kernels.asarray(source) for source in averaged]
            discretised = dataclasses.replace(discretised, log_source=averaged[-1])
        plan = Plan(
            problem=discretised,
            sources=tuple(sources),
            equation=self._equation(problem, kernels, discretised),
            kernels=kernels,
            tolerance=None if self.tol == "discretisation" else float(self.tol),
            max_steps=self.max_steps,
            exact=exact,
            continuation=discretised.boundary == "free" and not (cells and problem.dim == 1),
            halvings=_HALVINGS if cells else 0,
            sharp=self.richardson,
        )
        start = None if initial is None else start_from(kernels, discretised, initial)
        return begin(plan, start)

    def step(self, problem: TransportProblem, state: NestedState) -> NestedState:
        """Make one Newton step."""
        return advance(state)

    def terminate(self, problem: TransportProblem, state: NestedState) -> Status | None:
        """Tell how the run has ended, or None while it goes on."""
        return state.status

    def finish(self, problem: TransportProblem, state: NestedState, status: Status) -> Solution:
        """Judge a state and make it a result; a grid not reached yet is prolonged to."""
        plan = state.plan
        kernels, discretised = plan.kernels, plan.problem
        state.equation.release()  # the fields of the operator take their place
        changes = state.changes if state.last_grid else (*state.changes, math.nan)
        coarser = list(state.coarser)
        iterate = state.iterate
        if not state.last_grid:
            coarser.append(iterate)
            iterate = prolong(kernels, iterate, discretised.grid.shape, discretised.boundary)
        conservative = self._inner(problem, discretised.boundary) == "cell"
        extrapolate = self.richardson and bool(coarser) and status is Status.CONVERGED
        coarse_w2, coarse_constant, map_change = math.nan, math.nan, math.nan
        core = kernels.to_numpy(interior(iterate.u))
        if coarser:
            coarse_w2, coarse_constant = _coarse_figures(
                plan, coarser[-1], len(coarser) - 1, conservative
            )
            map_change = changes[-1]
            inverse = discretised.side == "target" and state.last_grid
            if inverse or extrapolate:
                before = prolong(kernels, coarser[-1], core.shape, discretised.boundary)
            if inverse:
                map_change = inverse_change(kernels, discretised, iterate.u, before.u)
            if extrapolate:
                core = core + (core - kernels.to_numpy(interior(before.u))) / (
                    _ratio(coarser[-1], core) ** 2 - 1.0
                )
        potential = GridPotential(
            discretised.grid, core, discretised.matrix, discretised.center, discretised.image,
            discretised.boundary,
        )  # fmt: skip
        dual = dual_value(kernels, discretised, potential)
        parts = evaluate(kernels, discretised, discretised.grid, iterate.u)
        if conservative:
            equation: Any = state.equation if state.last_grid else plan.equation(plan.sources[-1])
            mass, area = equation.images(iterate)
            parts = with_images(parts, mass, area, discretised.grid.cell_volume)
        convergence = Convergence(
            _algebraic(state, status), changes, map_change, coarse_w2, coarse_constant, extrapolate
        )
        judgement = judge(
            kernels, discretised, parts, interior(iterate.u), dual, convergence,
            sum(getattr(m, "floored_mass", 0.0) for m in (problem.reference, problem.target)),
        )  # fmt: skip
        transport = GridMap(potential, discretised.side)
        gradient = kernels.to_numpy(parts.gradient)
        if extrapolate:
            gradient = transport.own(discretised.grid.points()).reshape(gradient.shape)
        status, message = self._verdict(state, status, judgement.certificate)
        return Solution(
            problem=problem,
            map=transport,
            side=discretised.side,
            status=status,
            message=message,
            log_evidence=judgement.log_evidence,
            w2_squared=judgement.w2_squared,
            kl=judgement.kl,
            kl_reverse=judgement.kl_reverse,
            certificate=judgement.certificate,
            history=History.from_rows([*state.rows, _last_row(state, judgement)]),
            provenance=Provenance(backend=self.backend, threads=getattr(kernels, "threads", 1)),
            solver=self,
            fields=GridFields(
                potential, gradient, kernels.to_numpy(parts.log_det), discretised.log_source,
                kernels.to_numpy(parts.log_inner),
            ),
        )  # fmt: skip

    def _inner(self, problem: TransportProblem, boundary: str) -> str:
        """Return "point" or "cell": the cell when neither measure is log-concave.

        In the plane it takes a box: with outflow the images of the outer cells leave the inner
        density's table, and the conservative iteration was seen to stall where the pointwise one
        converges. In space there is no other than the pointwise one.
        """
        if self.inner != "auto":
            return self.inner
        convex = problem.reference.log_concave or problem.target.log_concave
        smooth = problem.dim == 2 and boundary != "box"
        return "point" if convex or smooth or problem.dim == 3 else "cell"

    def _equation(
        self, problem: TransportProblem, kernels: Any, discretised: Discretisation
    ) -> Any:
        """Return what makes the equation of a grid from its log source."""
        kinds = {
            (1, "point"): LineEquation,
            (1, "cell"): LineCellEquation,
            (2, "point"): PointEquation,
            (2, "cell"): CellEquation,
            (3, "point"): PointEquation,
        }
        kind = kinds[problem.dim, self._inner(problem, discretised.boundary)]
        return lambda source: kind(kernels, discretised, source)

    def _verdict(self, state: NestedState, status: Status, certificate: Any) -> tuple[Status, str]:
        """Decide with the certificate at hand, and say in numbers what happened."""
        grid = "x".join(map(str, state.equation.shape))
        steps = f"{state.newton_steps} Newton steps, {state.cycles} multigrid cycles"
        message = f"{steps}, on grid {grid}: weighted residual {certificate.residual:.2e}"
        near_rounding = certificate.residual <= 10.0 * certificate.rounding_floor
        if status is Status.STALLED and near_rounding:
            status = Status.CONVERGED
            message += f" (rounding floor {certificate.rounding_floor:.1e})"
        if not math.isfinite(certificate.residual):
            return Status.DIVERGED, message
        if status is Status.CONVERGED and certificate.extension_mass > allowed_extension(
            state.plan.problem
        ):
            message += f", not convex on cells with mass {certificate.extension_mass:.1e}"
            return Status.LOST_CONVEXITY, message
        return status, message


def _last_row(state: NestedState, judgement: Judgement) -> dict[str, Any]:
    """Row of the history for the result itself, with the figures that only it has."""
    certificate = judgement.certificate
    return {
        "step": len(state.rows),
        "t": math.nan,
        "level": state.rows[-1]["level"] if state.rows else "",
        "cells": math.prod(state.plan.problem.grid.shape),
        "step_size": state.pseudo_time,
        "residual": certificate.residual,
        "residual_max": certificate.residual_max,
        "kl": judgement.kl,
        "kl_reverse": judgement.kl_reverse,
        "mass_error": certificate.mass_error,
        "log_evidence_lower": certificate.log_evidence_lower,
        "log_evidence_upper": certificate.log_evidence_upper,
        "min_eigenvalue": certificate.min_eigenvalue,
        "max_eigenvalue": certificate.max_eigenvalue,
        "bregman_difference": math.nan,
        "map_change": state.change,
        "newton_steps": state.newton_steps,
        "cycles": state.cycles,
        "mixture": 0.0,
        "seconds": time.perf_counter() - state.started,
    }


def _algebraic(state: NestedState, status: Status) -> float:
    """Estimated distance of the map to the solved discrete problem, nan where there is none."""
    if state.steps == 0:
        return 0.0
    if math.isfinite(state.algebraic):
        return state.algebraic
    return state.change if status is Status.CONVERGED else math.nan


def _ratio(coarse: Iterate, fine: Array) -> float:
    """Ratio of the spacings of two grids: 2, up to the rounding of odd sizes."""
    sizes = zip(fine.shape, interior(coarse.u).shape, strict=True)
    return math.prod(f / c for f, c in sizes) ** (1.0 / fine.ndim)


def _coarse_figures(
    plan: Plan, iterate: Iterate, index: int, conservative: bool
) -> tuple[float, float]:
    """Squared distance and log constant on a coarser grid."""
    grid = Grid(plan.problem.grid.box, interior(iterate.u).shape)
    parts = evaluate(plan.kernels, plan.problem, grid, iterate.u)
    source = plan.sources[index]
    distance, constant = coarse_figures(plan.kernels, plan.problem, grid, parts, source)
    if conservative:
        balanced = plan.equation(source).images(iterate)[0].sum()
        constant = math.log(balanced / (np.exp(source).sum() * grid.cell_volume))
    return distance, constant
