"""One grid of the nested Newton iteration, in the plane or in space: linearise, solve, correct."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np

from parabolic_ma.backends import of_dimension
from parabolic_ma.linear.krylov import ConjugateResiduals
from parabolic_ma.linear.multigrid import Multigrid
from parabolic_ma.operators.discretise import Discretisation
from parabolic_ma.solvers.iterate import GHOSTS, Iterate, Measured
from parabolic_ma.typing import Array

__all__ = ["PointEquation"]

CLIP = 3e-3  # smallest ratio of the eigenvalues that the operator (not the residual) uses
_EDGE = (0.25, 1.0)  # least outward drift of face cells in the multigrid, at a free boundary
_TRUE_EDGE = (1.0, 0.02)  # the same in the matrix: its rows must not vanish
PECLET = 2.0  # drift over diffusion above which a row is made upwind
_ISOTROPIC = 0.1  # least eigenvalue, over the affine map's, from which the smoother may be weak
_NORM_FLOOR = 1e-4  # weight of cells without mass in the linear solver's norm
_MOST_CYCLES = 8
_TIGHT = 2e-2  # linear tolerances below it may take more cycles
_MOST_CYCLES_TIGHT = 30
_LIGHT = (6.0, 30.0)  # nats below the largest density of the cells that are repaired pointwise
_SWEEPS = 20
_DETERMINANT_CAP = 1e4  # largest target determinant, relative to that of the affine map


class PointEquation:
    """``det H m(grad psi) = c nu`` on one grid, with the buffers of its linear solver.

    The inner density is taken at the image of the cell centre.

    Parameters
    ----------
    kernels : module
        The backend.
    problem : Discretisation
        Its geometry; the grid may be coarser than the problem's.
    log_source : ndarray
        Normalised log density of the grid side's measure on this grid.
    """

    def __init__(self, kernels: Any, problem: Discretisation, log_source: Array) -> None:
        self.problem = problem
        self.shape = log_source.shape
        dim = len(self.shape)
        self.kernels = of_dimension(kernels, dim)
        self.log_source = kernels.asarray(log_source)
        self.inner = problem.inner.on(kernels)
        self.ghosts = GHOSTS[problem.boundary]
        box = problem.grid.box
        self.spacing = tuple(w / n for w, n in zip(box.widths, self.shape, strict=True))
        self.axes = [
            kernels.asarray(lo + (np.arange(n) + 0.5) * h)
            for (lo, _), n, h in zip(box, self.shape, self.spacing, strict=True)
        ]
        a = problem.matrix
        self.quadratic = kernels.asarray(
            np.array([*a[np.triu_indices(dim)], *problem.center, *problem.image])
        )
        self.log_cap = math.log(_DETERMINANT_CAP * float(np.linalg.det(a)))
        # along axis k the linearised operator is 1 / A_kk about the affine map
        self._widths = tuple(w * math.sqrt(a[k, k]) for k, w in enumerate(box.widths))
        self._affine_eigenvalue = float(np.linalg.eigvalsh(a)[0])
        self.edge = _EDGE if problem.boundary == "free" else (0.0, 0.0)
        self._faces: list[Array] = []

    @cached_property
    def multigrid(self) -> Multigrid:
        """The grids below this one; its first rows and right-hand side are those of the step."""
        return Multigrid(self.kernels, self.shape, self.ghosts, self._widths, self.edge)

    @cached_property
    def _norm_parts(self) -> tuple[Array, float]:
        """Weight of every cell in the solver's norm, and the root of the largest mass of one."""
        weight = self.kernels.empty(self.shape, np.float32)
        top = self.kernels.norm_weight(self.log_source, _NORM_FLOOR, weight)
        return weight, math.exp(0.5 * top) * math.sqrt(math.prod(self.spacing))

    @property
    def weight(self) -> Array:
        """Of every cell in the linear solver's norm."""
        return self._norm_parts[0]

    @cached_property
    def linear(self) -> ConjugateResiduals:
        """Solver of the step's equations."""
        return ConjugateResiduals(self.multigrid, self.weight, self._product, self._product_dots)

    @cached_property
    def _zero(self) -> Array:
        return self.kernels.zeros(self.shape, np.float32)

    def release(self) -> None:
        """Let go of the buffers, which are made anew when they are needed."""
        for name in ("multigrid", "_norm_parts", "linear", "_zero"):
            self.__dict__.pop(name, None)

    def affine(self) -> Iterate:
        """The affine start: no correction."""
        return Iterate(self.kernels.zeros(tuple(n + 2 for n in self.shape)), 0.0)

    def improved(self, iterate: Iterate) -> Iterate:
        """Return the iterate: there is no cheap better start."""
        return iterate

    def affine_pullback(self) -> Array:
        """Log density of the inner measure pulled back by the affine map: solved by ``u = 0``."""
        a, c, b = self.problem.matrix, self.problem.center, self.problem.image
        mesh = np.meshgrid(*map(self.kernels.to_numpy, self.axes), indexing="ij")
        points = np.stack([m.ravel() for m in mesh], axis=-1)
        log_density = self.problem.inner.log_density(self.kernels, (points - c) @ a + b)
        return log_density.reshape(self.shape) + float(np.linalg.slogdet(a)[1])

    def linearise(self, iterate: Iterate, pseudo_time: float, log_source: Array) -> Measured:
        """Assemble the Newton rows at an iterate and measure its residual."""
        inner = self.inner
        measured = Measured(
            *self.kernels.linearise(
                iterate.u, *self.axes, self.quadratic, log_source, iterate.log_c,
                inner.kind, inner.params, inner.table, CLIP, pseudo_time,
                PECLET, self.log_cap,
                self.multigrid.rows[0], self.multigrid.rhs[0], self._tangent,
            )
        )  # fmt: skip
        self._hold_faces()
        self._choose_smoother(measured)
        return measured

    def _choose_smoother(self, measured: Measured) -> None:
        """Two sweeps do where the Hessian is far from degenerate and no face is free, else four."""
        isotropic = measured.min_eigenvalue > _ISOTROPIC * self._affine_eigenvalue
        bounded = self.edge[1] == 0.0
        self.multigrid.degree = 2 if isotropic and bounded else 4

    def _hold_faces(self) -> None:
        """Give the multigrid strong drifts at a free boundary; keep the matrix's own beside."""
        if self.edge[1] > 0.0:
            rows = self.multigrid.rows[0]
            self.kernels.outflow(rows, *_TRUE_EDGE)
            self._faces = [line.copy() for line in _face_drifts(rows)]
            self.kernels.outflow(rows, *self.edge)

    @property
    def _tangent(self) -> Array:
        """Where the derivative of the right-hand side waits for the cycle that overwrites it."""
        return self.multigrid.spare.reshape(-1)[: math.prod(self.shape)].reshape(self.shape)

    @contextmanager
    def _true_faces(self) -> Iterator[Array]:
        """Rows of the matrix for the while: at a free boundary the multigrid's differ."""
        rows = self.multigrid.rows[0]
        if not self.edge[1] > 0.0:
            yield rows
            return
        held = [line.copy() for line in _face_drifts(rows)]
        _set(_face_drifts(rows), self._faces)
        yield rows
        _set(_face_drifts(rows), held)

    def _product(self, v: Array, out: Array) -> None:
        """Minus the product of the matrix with a padded ``v``."""
        with self._true_faces() as rows:
            self.kernels.residual(rows, self._zero, v, out)

    def _product_dots(self, v: Array) -> tuple[float, float, float]:
        """`dots` of minus that product and the right-hand side."""
        with self._true_faces() as rows:
            return self.kernels.matrix_dots(rows, v, self.multigrid.rhs[0], self.weight)

    def correct(
        self, iterate: Iterate, measured: Measured, tolerance: float
    ) -> tuple[Iterate, float, int, float]:
        """Solve the assembled rows, add the correction and balance the masses.

        Returns
        -------
        Iterate
            The corrected potential, in new arrays.
        change : float
            Root mean square of the correction's gradient under the grid side's measure: by how
            much the map moved.
        cycles : int
            Multigrid cycles used.
        reduction : float
            Of the linear residual.
        """
        log_c = iterate.log_c
        if measured.chi < 0.5 and measured.mass > 0.0:
            # Solve for the balanced constant: what is left of the right-hand side is then in the
            # range of the rows, which constants are nearly in the null space of.
            shift = min(max(math.log(measured.mass / measured.total), -0.5), 0.5)
            log_c += shift
            self.kernels.axpy(-shift, self._tangent, self.multigrid.rhs[0])
        self.multigrid.setup()
        v, used, reduction = self._solve(measured, tolerance)
        u = self.kernels.empty(iterate.u.shape)
        self.kernels.add_correction(iterate.u, v, u)
        return Iterate(u, log_c), self._norm(v), used, reduction

    def _norm(self, v: Array) -> float:
        """Root mean square of the gradient under the grid side's measure."""
        weight, root = self._norm_parts
        return root * float(self.kernels.gradient_norm(v, weight, _NORM_FLOOR, *self.spacing))

    def _solve(self, measured: Measured, tolerance: float) -> tuple[Array, int, float]:
        """Solve the assembled rows; return the padded correction, cycles and reduction."""
        most = _MOST_CYCLES if tolerance >= _TIGHT else _MOST_CYCLES_TIGHT
        return self.linear.solve(tolerance, most)

    def convexify(self, iterate: Iterate) -> Iterate:
        """Repair light cells where the potential is not convex, each by its pointwise equation.

        Between modes the Hessian degenerates to 1e-6 and less: there a Newton step's rounding and
        linear error are of either sign.
        """
        inner = self.inner
        u = iterate.u.copy()
        top = float(self.log_source.max())
        self.kernels.convexify(
            u, *self.axes, self.quadratic, self.log_source, iterate.log_c, inner.kind,
            inner.params, inner.table, self.log_cap, top - _LIGHT[1], top - _LIGHT[0], _SWEEPS,
        )  # fmt: skip
        self.kernels.fill_ghosts(u, self.ghosts)
        return Iterate(u, iterate.log_c)

    def distance(self, a: Iterate, b: Iterate) -> float:
        """Root mean square distance of two maps under the grid side's measure."""
        return self._norm(a.u - b.u)


def _face_drifts(rows: Array) -> tuple[Array, ...]:
    """Views of the normal drifts of the cells at the faces; drifts are a row's last entries."""
    dim = rows.ndim - 1
    return tuple(rows[(k - dim, *(slice(None),) * k, face)] for k in range(dim) for face in (0, -1))


def _set(lines: tuple[Array, ...], values: list[Array]) -> None:
    for line, value in zip(lines, values, strict=True):
        line[:] = value
