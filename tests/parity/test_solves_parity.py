"""Whole solves by the compiled kernels against those by the NumPy ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import parabolic_ma as pma

WHOLE: dict[str, tuple[Any, ...]] = {
    "1d free": ((128,), "free"),
    "2d free": ((32, 32), "free"),
    "2d free, two sizes": ((48, 40), "free"),
    "1d box": ((128,), "box"),
    "1d box, cells": ((128,), "box", "cell"),
    "2d box": ((48, 40), "box"),
    "2d box, cells": ((48, 40), "box", "cell"),
    "2d periodic": ((48, 40), "periodic"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_solves_agree(name: str) -> None:
    shape, boundary, *inner = WHOLE[name]
    dim = len(shape)
    box = [(0.0, 1.0)] * dim
    y = (np.arange(24) + 0.5) / 24
    wave = 1.0 + 0.5 * np.cos(2.0 * np.pi * y)
    if boundary == "free":
        reference: Any = pma.Gaussian(np.zeros(dim), 1.0)
        target: Any = pma.GaussianMixture([[-1.2, 0.0][:dim], [1.0, 0.5][:dim]], 0.5)
    else:
        reference = pma.Uniform(box)
        target = pma.GridDensity(wave if dim == 1 else np.outer(wave, wave[::-1] ** 2), box)
    problem = pma.TransportProblem(reference, target)
    points = reference.sample(300, 1)
    maps = []
    for backend in ("numba", "numpy"):
        settings = {"boundary": boundary, "inner": inner[0] if inner else "point"}
        solver = pma.GridSolver(shape, backend=backend, tol=1e-8, **settings)
        solution = pma.solve(problem, solver)
        assert solution.provenance.backend == backend
        maps.append(solution.map(points))
    # Both stop below 1e-8 of weighted residual in the log density; the displacement that repairs it
    # on boxes of size one, or under unit Gaussians, is smaller than that.
    np.testing.assert_allclose(maps[0], maps[1], rtol=0.0, atol=1e-8)
