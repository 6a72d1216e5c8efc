r"""The strongest simple peer: centred differences, Newton's method, SciPy's sparse LU.

On the unit square, faces to matching faces, it solves

.. math::
    F(u) = \log\det D^2\psi - f(\nabla\psi) + g = \text{const}, \qquad
    \psi = \tfrac12 |y|^2 + u,

with even reflection of ``u`` about the faces, from one grid to the next of half the spacing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from parabolic_ma import catalog
from parabolic_ma.grid import Grid
from parabolic_ma.problem import TransportProblem
from parabolic_ma.splines import evaluate, prefilter
from parabolic_ma.typing import Array

__all__ = ["cosine_square", "newton"]

_COARSEST = 32
_MOST_STEPS = 20
_SYMMETRIC = {
    "permc_spec": "MMD_AT_PLUS_A",
    "diag_pivot_thresh": 0.01,
    "options": {"SymmetricMode": True},
}


def newton(
    problem: TransportProblem,
    sources: list[Array],
    n: int,
    residual: float,
    options: Mapping[str, Any],
) -> tuple[Array, Array, float, int]:
    """Solve on a grid of ``n`` by ``n`` cells, starting from the grid of half as many.

    Parameters
    ----------
    problem : TransportProblem
        Between bounded measures on the unit square.
    sources : list of ndarray
        Log density of the reference at the cell centres of every grid up to this one.
    n : int
    residual : float
        Root mean square under the reference, in nats, at which to stop.
    options : mapping
        Of ``splu``.

    Returns
    -------
    u : ndarray, shape (n * n,)
    gradient : ndarray, shape (n * n, 2)
        The map at the cell centres.
    residual : float
        Reached.
    steps : int
        On this grid.
    """
    box = problem.reference.support(1e-12)
    points = Grid(box, (n, n)).points()
    if n <= _COARSEST:
        u = np.zeros(n * n)
    else:
        coarse = newton(problem, sources[:-1], n // 2, residual, options)[0]
        table = prefilter(coarse.reshape(n // 2, n // 2), "box")
        u = evaluate(table, box.lower, (2.0 / n, 2.0 / n), points, 0)[0]
    side = np.ones(n)
    first = sparse.diags([-side[1:], side[1:]], [-1, 1], format="lil")
    first[0, 0], first[-1, -1] = -1.0, 1.0
    second = sparse.diags([side[1:], -2.0 * side, side[1:]], [-1, 0, 1], format="lil")
    second[0, 0] = second[-1, -1] = -1.0
    d1, d2, one = first.tocsr() * (n / 2), second.tocsr() * n**2, sparse.identity(n, format="csr")
    d_x, d_y = sparse.kron(d1, one, "csr"), sparse.kron(one, d1, "csr")
    d_xx, d_yy, d_xy = sparse.kron(d2, one, "csr"), sparse.kron(one, d2, "csr"), d_x @ d_y
    weight = np.exp(sources[-1])
    weight /= weight.sum()

    def measure(u: Array) -> tuple[Array, Array, Array, float]:
        """The map, the Hessian, the residual and its norm; infinite where it is not convex."""
        gradient = points + np.stack([d_x @ u, d_y @ u], axis=-1)
        hessian = np.stack([1.0 + d_xx @ u, 1.0 + d_yy @ u, d_xy @ u])
        det = hessian[0] * hessian[1] - hessian[2] ** 2
        if not (det.min() > 0.0 and hessian[0].min() > 0.0):
            return gradient, hessian, det, np.inf
        excess = np.log(det) - problem.target.potential(gradient) - sources[-1]
        excess -= weight @ excess
        return gradient, hessian, excess, float(np.sqrt(weight @ excess**2))

    gradient, hessian, excess, reached = measure(u)
    steps = 0
    while reached > residual and steps < _MOST_STEPS:
        steps += 1
        slope = problem.target.gradient(gradient)
        det = hessian[0] * hessian[1] - hessian[2] ** 2
        jacobian = (
            sparse.diags(hessian[1] / det) @ d_xx
            + sparse.diags(hessian[0] / det) @ d_yy
            - sparse.diags(2.0 * hessian[2] / det) @ d_xy
            - sparse.diags(slope[:, 0]) @ d_x
            - sparse.diags(slope[:, 1]) @ d_y
        ).tocsc()
        # Constants are in its null space: pin one value, and choose the constant of the equation
        # so that the pin has nothing to hold.
        jacobian[0, 0] *= 2.0
        factors = splu(jacobian, **options)
        a, b = factors.solve(excess), factors.solve(np.ones(n * n))
        correction, share = (a[0] / b[0]) * b - a, 1.0
        trial = measure(u + correction)
        while trial[-1] > reached and share > 1e-3:
            share *= 0.5
            trial = measure(u + share * correction)
        u = u + share * correction
        gradient, hessian, excess, reached = trial
    return u, gradient, reached, steps


def cosine_square(n: int, residual: float, tuned: bool = False) -> dict[str, float]:
    """Solve the cosine square of the catalog; the densities on the grids are not timed.

    Parameters
    ----------
    n : int
    residual : float
    tuned : bool
        Whether to use the ordering and pivoting for matrices of symmetric structure, instead of
        SciPy's defaults.

    Returns
    -------
    dict
        ``seconds`` of processor time, ``residual``, ``map_error`` (L2 of the reference, at the
        cell centres) and Newton ``steps`` on the last grid.
    """
    entry = catalog.get("cosine_square")
    problem = entry.problem()
    box = problem.reference.support(1e-12)
    sizes = [n]
    while sizes[0] > _COARSEST:
        sizes.insert(0, sizes[0] // 2)
    sources = [-problem.reference.potential(Grid(box, (m, m)).points()) for m in sizes]
    options = _SYMMETRIC if tuned else {}
    start = time.process_time()
    _, gradient, reached, steps = newton(problem, sources, n, residual, options)
    seconds = time.process_time() - start
    exact = catalog.cosine_square_map(Grid(box, (n, n)).points())
    weight = np.exp(sources[-1])
    error = np.sqrt(weight @ np.sum((gradient - exact) ** 2, axis=1) / weight.sum())
    return {
        "seconds": seconds,
        "residual": reached,
        "map_error": float(error),
        "steps": float(steps),
    }
