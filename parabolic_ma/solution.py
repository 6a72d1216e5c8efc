"""Results: plain frozen data, the same for every solver."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from parabolic_ma.points import as_points, generator
from parabolic_ma.status import InputError, Status
from parabolic_ma.typing import Array, Rng

if TYPE_CHECKING:
    from parabolic_ma.grid import Grid
    from parabolic_ma.maps import TransportMap
    from parabolic_ma.measures import Measure
    from parabolic_ma.problem import TransportProblem

__all__ = ["Certificate", "GridFields", "GridPotential", "History", "Provenance", "Solution"]


@dataclass(frozen=True)
class Certificate:
    """What is known about the quality of a result, without knowing the true map.

    A figure that a method cannot give is ``nan``, and ``reasons`` says why. Every residual is that
    of the log form ``F = -f(grad psi) + g + log det Hess psi`` after the solver's constant is taken
    off.
    """

    residual: float = math.nan
    """Root mean square of ``2 tanh(F / 2)`` under the grid side's measure: of the residual in nats
    where it is small, and bounded by 2 on cells where the potential is not convex."""
    residual_max: float = math.nan
    """Largest residual on the region that holds all but 1e-6 of the mass, in nats."""
    rounding_floor: float = math.nan
    """What rounding alone makes of ``residual``, in nats."""
    min_eigenvalue: float = math.nan
    """Smallest eigenvalue of the Hessian where there is mass (all but 1e-6)."""
    max_eigenvalue: float = math.nan
    """Largest eigenvalue of the Hessian where there is mass (all but 1e-6)."""
    extension_mass: float = math.nan
    """Mass of the cells on which the extension of the logarithm is active."""
    extension_cells: int = -1
    """Number of those cells."""
    floored_mass: float = math.nan
    """Mass that a floor under a density added."""
    truncated_mass: float = math.nan
    """Mass of the two measures outside their boxes (estimate)."""
    solver_constant: float = math.nan
    """The solver's own constant: log evidence as the map's mass balance gives it."""
    mass_error: float = math.nan
    """``solver_constant`` minus the log evidence by quadrature: a test of the map."""
    log_evidence_lower: float = math.nan
    """``E[F]`` under the reference: a lower bound of the log evidence."""
    log_evidence_upper: float = math.nan
    """``E[F]`` under the pulled-back target: an upper bound of the log evidence."""
    duality_gap: float = math.nan
    """``E psi + E phi - E <y, T(y)>`` with ``phi`` computed by maximisation."""
    observed_order: float = math.nan
    """Order at which the maps of the last three grids approach each other."""
    map_error: float = math.nan
    """Estimated L2(reference) distance to the true map."""
    log_evidence_error: float = math.nan
    """Estimated error of ``log_evidence``."""
    w2_error: float = math.nan
    """Estimated error of ``w2_squared``."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why a figure is ``nan``, by name."""

    def figures(self) -> dict[str, float]:
        """All figures by name, in order."""
        return {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "reasons"
        }

    def __str__(self) -> str:
        lines = []
        for name, value in self.figures().items():
            known = not (isinstance(value, float) and math.isnan(value))
            text = (
                f"{value:.6g}" if known else f"not known ({self.reasons.get(name, 'not computed')})"
            )
            lines.append(f"  {name:<19} {text}")
        return "Certificate\n" + "\n".join(lines)


class History(Mapping[str, Array]):
    """Columns of equal length, one row a step.

    Parameters
    ----------
    columns : mapping of str to array_like
        Name to values.
    """

    def __init__(self, columns: Mapping[str, Any]) -> None:
        self._columns = {name: np.asarray(values) for name, values in columns.items()}

    @classmethod
    def from_rows(cls, rows: list[Mapping[str, float]]) -> History:
        """Make columns of rows; a value that a row lacks becomes ``nan``."""
        names = list(dict.fromkeys(name for row in rows for name in row))
        return cls({name: np.array([row.get(name, math.nan) for row in rows]) for name in names})

    def __getitem__(self, name: str) -> Array:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self._columns.values()))) if self._columns else 0

    def __repr__(self) -> str:
        return f"History({self.rows} rows: {', '.join(self._columns)})"


@dataclass(frozen=True)
class Provenance:
    """Where a result came from: enough to make it again."""

    problem_toml: str = ""
    """The problem as TOML; arrays are kept beside it in the file."""
    solver: str = ""
    """The solver with every setting, as ``repr``."""
    backend: str = ""
    threads: int = 1
    seed: int | None = None
    wall_time: float = math.nan
    """Seconds."""
    cpu_time: float = math.nan
    """Seconds of user and system time of the process."""
    compile_time: float = 0.0
    """Seconds of both that went into compiling kernels: 0 once they are in the cache."""
    started: str = ""
    """UTC, ISO 8601."""
    host: str = ""
    platform: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    configuration: str = ""
    """The configuration file that the run was started from, verbatim; empty without one."""


@dataclass(frozen=True, eq=False)
class GridPotential:
    r"""A convex potential on one side's grid, split into a quadratic and a correction.

    .. math::
        \psi(y) = \tfrac12 \langle y - c, A (y - c)\rangle + \langle b, y - c\rangle + u(y)

    so that the correction ``u`` has simple boundary rules: even reflection (``"box"``), linear
    continuation (``"free"``) or periodicity (``"periodic"``).
    """

    grid: Grid
    correction: Array
    """``u`` at the cell centres, shape ``grid.shape``."""
    matrix: Array
    """``A``, shape ``(d, d)``, symmetric positive definite."""
    center: Array
    """``c``, shape ``(d,)``."""
    image: Array
    """``b``, shape ``(d,)``: where the quadratic part sends ``c``."""
    boundary: str

    def quadratic(self, axes: Sequence[Array] | None = None) -> Array:
        """The quadratic part at the cell centres, or on the tensor grid of other ``axes``."""
        axes = self.grid.axes() if axes is None else axes
        shifted = [
            (axis - c).reshape([-1 if j == k else 1 for j in range(self.grid.dim)])
            for k, (axis, c) in enumerate(zip(axes, self.center, strict=True))
        ]
        value = np.zeros([len(axis) for axis in axes])
        for k, z in enumerate(shifted):
            value += (0.5 * self.matrix[k, k] * z + self.image[k]) * z
            for m in range(k):
                value += (self.matrix[k, m] * z) * shifted[m]
        return value

    def values(self) -> Array:
        """``psi`` at the cell centres, shape ``grid.shape``."""
        return self.quadratic() + self.correction


@dataclass(frozen=True, eq=False)
class GridFields:
    """The arrays behind a grid solution, all at the cell centres of ``potential.grid``."""

    potential: GridPotential
    """Of the side that the grid is on: psi for "reference", phi for "target"."""
    gradient: Array
    """The grid's own map by centred differences, shape ``(*shape, d)``."""
    log_det: Array
    """Log determinant of the discrete Hessian (extended logarithm), shape ``shape``."""
    log_source: Array
    """Log density of the grid side's measure, normalised on the box, in nats."""
    log_inner: Array
    """Log density of the other side's measure at ``gradient``, in nats."""


@dataclass(frozen=True, eq=False)
class Solution:
    """What a solver found. Every field is final; figures are in nats and the box's length units."""

    problem: TransportProblem
    map: TransportMap
    """``T`` from the reference to the target."""
    side: str
    """``"reference"`` or ``"target"``: where the grid was; ``"none"`` without a grid."""
    status: Status
    message: str
    """What happened in this run, in numbers."""
    log_evidence: float
    w2_squared: float
    kl: float
    """KL(rho | mu), rho being the image of the reference under the map."""
    kl_reverse: float
    """KL(mu | rho)."""
    certificate: Certificate
    history: History
    provenance: Provenance
    solver: Any = None
    fields: GridFields | None = None
    saved: tuple[tuple[float, TransportMap], ...] = ()
    """Of a flow: times and the maps that were kept then; see `at`."""
    average: Measure | None = None
    """Of a flow: the average iterate, the mixture of the model's densities over time."""

    @property
    def converged(self) -> bool:
        """Whether the status is CONVERGED."""
        return self.status is Status.CONVERGED

    def log_prob(self, x: Array) -> Array:
        """Log density of the model ``rho = T # nu`` at ``x``, shape ``(n,)``, in nats.

        Normalised when the reference is.
        """
        points, form = as_points(x, self.problem.dim, "x")
        y = self.map.inverse(points)
        log_density = -self.problem.reference.potential(y) - self.map.log_abs_det_jacobian(y)
        return log_density if form != "one" else log_density[0]

    def sample(self, n: int, rng: Rng = None) -> Array:
        """Draw ``n`` points of the model: images of reference samples, shape ``(n, d)``."""
        return self.map(self.problem.reference.sample(n, generator(rng)))

    def at(self, t: float) -> Solution:
        """Return the result of a flow as it was at a saved time, to look at or to go on from.

        Going on, ``solve(problem, flow, initial=solution.at(t))``, gives bit for bit what the run
        gave; only the average iterate begins anew at ``t``.

        Raises
        ------
        InputError
            If nothing was saved at this time, or the solver was no flow.
        """
        if not callable(getattr(self.solver, "at", None)):
            raise InputError("only the result of a flow has times: GridFlow(..., save_at=[...])")
        found: Solution = self.solver.at(self, t)
        return found

    def save(self, path: str | Path) -> None:
        """Write everything to an HDF5 file, atomically."""
        from parabolic_ma.io.hdf5 import save

        save(self, path)

    def to_xarray(self) -> Any:
        """Return the fields as an ``xarray.Dataset`` (extra ``xarray``)."""
        from parabolic_ma.io.export import to_xarray

        return to_xarray(self)

    def plot(self, path: str | Path | None = None) -> Any:
        """Draw both densities, the deformed grid and the convergence (extra ``plot``)."""
        from parabolic_ma.plotting.figures import plot_solution

        return plot_solution(self, path)

    def _unknown(self) -> str:
        """What the map is made of: a grid, a network, or neither."""
        if self.fields is not None:
            shape = "x".join(map(str, self.fields.potential.grid.shape))
            return f"grid           {shape} on the {self.side} side"
        network = getattr(self.map, "network", None)
        if network is None:
            return f"map            {type(self.map).__name__}"
        count = sum(p.numel() for p in network.parameters())
        return f"network        {network.kind}, {count} parameters"

    def summary(self) -> str:
        """Describe the result in a few lines."""
        errors = self.certificate
        return "\n".join(
            [
                f"{self.status}",
                f"  {self.message}",
                f"  {self._unknown()}",
                f"  log evidence   {self.log_evidence:.9g} +- {errors.log_evidence_error:.2g}",
                f"  W2 squared     {self.w2_squared:.9g} +- {errors.w2_error:.2g}",
                f"  KL, reversed   {self.kl:.3e}, {self.kl_reverse:.3e}",
                f"  map error      {errors.map_error:.2e} (estimate)",
                f"  mass error     {errors.mass_error:.2e}",
            ]
        )
