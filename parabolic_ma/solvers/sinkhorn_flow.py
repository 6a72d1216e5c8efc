r"""`SinkhornFlow`: Sinkhorn's iteration on a grid, a flow in the time :math:`t = k\varepsilon`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from parabolic_ma import backends
from parabolic_ma.grid import Box, Grid
from parabolic_ma.operators.soft_conjugate import SoftConjugate, resolution
from parabolic_ma.solvers.flow_equation import FlowEquation
from parabolic_ma.solvers.flow_record import Observed, Recorder
from parabolic_ma.solvers.flow_state import (
    FlowState,
    advanced,
    at_time,
    first_values,
    interrupted,
    result,
    save_trigger,
    start_state,
)
from parabolic_ma.solvers.grid_settings import (
    check_count,
    check_grid_settings,
    check_no_space,
    is_number,
    lay_grid,
)
from parabolic_ma.solvers.iterate import interior
from parabolic_ma.solvers.steppers import Point
from parabolic_ma.status import InputError, Status
from parabolic_ma.triggers import AtTimes, Every
from parabolic_ma.typing import Array

if TYPE_CHECKING:
    from parabolic_ma.maps import TransportMap
    from parabolic_ma.problem import TransportProblem
    from parabolic_ma.solution import Solution

__all__ = ["SinkhornFlow", "SinkhornState"]

_COARSE = 1e-2  # relative error of the sums above which a run is refused


@dataclass(frozen=True, eq=False)
class SinkhornState:
    """Where Sinkhorn's iteration stands."""

    flow: FlowState
    soft: SoftConjugate
    other: Array | None = None
    """The other side's potential, from the last half sweep."""

    @property
    def step(self) -> int:
        """Sweeps since time 0."""
        return self.flow.step

    @property
    def rows(self) -> list[Mapping[str, Any]]:
        """Of the history."""
        return self.flow.rows

    @property
    def progress(self) -> Mapping[str, Any]:
        """The last row of the history."""
        return self.flow.progress

    @property
    def observed(self) -> Observed:
        """The iterate and what is known of it."""
        return self.flow.observed


@dataclass(frozen=True)
class SinkhornFlow:
    r"""Sinkhorn's iteration for the cost :math:`\tfrac12 |x - y|^2`, in Brenier's variables.

    One step is a full sweep,

    .. math::

        \varphi^{k+1}(x) = \varepsilon \log \int e^{(\langle x, y\rangle - \psi^k(y)) /
        \varepsilon} \nu(dy), \qquad
        \psi^{k+1}(y) = \varepsilon \log \int e^{(\langle x, y\rangle - \varphi^{k+1}(x)) /
        \varepsilon} \mu(dx),

    in the log domain, axis by axis, the integrals being sums over two grids of the same shape. As
    :math:`\varepsilon` falls, :math:`\psi^k = \psi_{k\varepsilon} + O(\varepsilon)`, the solution
    of the parabolic equation (`GridFlow`); :math:`2\psi(\varepsilon) - \psi(2\varepsilon)` is of
    second order. The map is the entropic one, :math:`\nabla\psi^k(y) = E[X | y]`.

    Parameters
    ----------
    shape : int or tuple of int
        Cells on each axis, of both grids.
    epsilon : float
        Regularisation, in units of :math:`\langle x, y\rangle`; for the cost :math:`|x - y|^2` it
        would be twice that.
    steps : int
        Full sweeps.
    save_at : sequence of float or trigger, optional
        When to keep the map in ``solution.saved``: the first sweep at or after a time.
    side, boundary, backend, dtype, tail_mass, reference_box, target_box
        As for `GridSolver`. The potential of ``side`` is the one that is followed: with
        ``side="target"`` a sweep begins with the half that gives the reference's.

    Raises
    ------
    InputError
        For a setting that is not one of these.

    References
    ----------
    R. J. Berman, "The Sinkhorn algorithm, parabolic optimal transport and geometric Monge-Ampère
    equations", Numer. Math. 145 (2020); N. Deb, Y.-H. Kim, S. Pal and G. Schiebinger, "Wasserstein
    mirror gradient flow as the limit of the Sinkhorn algorithm", arXiv:2307.16421.
    """

    shape: int | tuple[int, ...]
    epsilon: float
    steps: int
    save_at: Sequence[float] | Every | AtTimes | None = None
    side: Literal["auto", "reference", "target"] = "auto"
    boundary: Literal["auto", "box", "periodic", "free"] = "auto"
    backend: str = "numba"
    dtype: Literal["float64"] = "float64"
    tail_mass: float = 1e-12
    reference_box: Box | Sequence[Sequence[float]] | None = None
    target_box: Box | Sequence[Sequence[float]] | None = None

    def __post_init__(self) -> None:
        check_grid_settings(self)
        check_no_space(self)
        if not (is_number(self.epsilon) and 0.0 < self.epsilon < math.inf):
            raise InputError(f"epsilon={self.epsilon!r} must be a positive number")
        object.__setattr__(self, "epsilon", float(self.epsilon))
        check_count("steps", self.steps)
        object.__setattr__(self, "save_at", save_trigger(self.save_at))

    def init(
        self, problem: TransportProblem, initial: TransportMap | Solution | None = None
    ) -> SinkhornState:
        """Lay the two grids and return the first state.

        Parameters
        ----------
        problem : TransportProblem
            Of the dimension of ``shape``.
        initial : TransportMap or Solution, optional
            Where to start, at time 0; the `Solution` of a flow is continued at its time.

        Raises
        ------
        InputError
            If the problem does not fit the grid, or the grid is too coarse for ``epsilon``.
        """
        state = self._begin(problem, initial)
        if self.terminate(problem, state) is not None and not interrupted(initial):
            raise InputError(
                f"the initial state is at step {state.flow.step}, where this run ends; give more "
                "steps, or start anew from solution.map"
            )
        error = self._sum_error(state.soft, state.flow)
        if error > _COARSE:
            low = state.observed.iterate.min_eigenvalue
            high = state.observed.iterate.max_eigenvalue
            raise InputError(
                f"the grid is too coarse for epsilon={self.epsilon:g}: the sums have a relative "
                f"error of about {error:.1g} where second derivatives are {low:.3g} to {high:.3g}; "
                "use more cells or a larger epsilon (spacing at most 0.8 sqrt(epsilon / second "
                "derivative))"
            )
        return state

    def step(self, problem: TransportProblem, state: SinkhornState) -> SinkhornState:
        """Make one full sweep."""
        flow, soft = state.flow, state.soft
        equation, before = flow.equation, flow.observed.iterate.potential
        other = soft.to_second(equation.kernels, before)
        values = soft.to_first(equation.kernels, other)
        quadratic = before - interior(flow.point.u)
        point = Point.at(equation, equation.pad(values - quadratic))
        if not point.finite:
            failed = dataclasses.replace(flow, status=Status.DIVERGED)
            return dataclasses.replace(state, flow=failed)
        following = advanced(
            flow, point, self.epsilon, flow.t + self.epsilon, self._trigger,
            scheduled=flow.step + 1, evaluations=flow.evaluations + 1,
        )  # fmt: skip
        # before the second half sweep the plan's own marginal is nu e^r, the other one is exact
        r = (values - before) / self.epsilon
        following.rows[-1] = {
            **following.rows[-1],
            "marginal_kl": float((equation.mass * np.exp(r) * r).sum()),
            "sum_error": self._sum_error(soft, following),
        }
        return dataclasses.replace(state, flow=following, other=other)

    def terminate(self, problem: TransportProblem, state: SinkhornState) -> Status | None:
        """Tell how the run has ended, or None while it goes on."""
        if state.flow.status is not None:
            return state.flow.status
        return Status.CONVERGED if state.flow.step >= self.steps else None

    def finish(self, problem: TransportProblem, state: SinkhornState, status: Status) -> Solution:
        """Judge a state and make it a result; the map at the cell centres is the barycentre."""
        gradient = None
        if state.other is not None:
            gradient = state.soft.barycentre(state.flow.equation.kernels, state.other)
        return result(problem, self, state.flow, status, gradient)

    def at(self, solution: Solution, t: float) -> Solution:
        """Return a run's result as it was at a saved time, to look at or to go on from."""
        state = self._begin(solution.problem, at_time(solution, t))
        found = self.finish(solution.problem, state, Status.INTERRUPTED)
        return dataclasses.replace(found, provenance=solution.provenance)

    # ------------------------------------------------------------------ inside

    @property
    def _trigger(self) -> Every | AtTimes | None:
        return save_trigger(self.save_at)

    def _begin(
        self, problem: TransportProblem, initial: TransportMap | Solution | None
    ) -> SinkhornState:
        kernels = backends.get(self.backend)
        discretised = lay_grid(self, problem, moments=False)
        equation = FlowEquation(kernels, discretised)
        box = discretised.inner.box
        other = Grid(box, discretised.grid.shape)
        log_inner = discretised.inner.log_density(kernels, other.points()).reshape(other.shape)
        log_mass = log_inner + math.log(other.cell_volume)
        soft = SoftConjugate.between(
            discretised.grid,
            discretised.log_source + math.log(discretised.grid.cell_volume),
            other,
            log_mass - math.log(float(np.exp(log_mass).sum())),
            self.epsilon,
            discretised.boundary == "periodic",
        )
        point = Point.at(equation, equation.pad(first_values(kernels, discretised, initial)))
        recorder = Recorder(equation, None)
        flow = start_state(equation, recorder, point, initial, None, self._trigger)
        return SinkhornState(flow, soft)

    def _sum_error(self, soft: SoftConjugate, flow: FlowState) -> float:
        """Estimated relative error of the sums that stand for integrals."""
        it = flow.observed.iterate
        # the second derivatives of a conjugate are the inverses of the potential's
        curvatures = (
            (soft.grid_y, it.max_eigenvalue),
            (soft.grid_x, 1.0 / max(it.min_eigenvalue, 1e-12)),
        )
        return max(resolution(self.epsilon, q, h) for grid, q in curvatures for h in grid.spacing)
