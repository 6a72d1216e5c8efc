"""Against the exact linear program between Diracs at the cell centres (POT)."""

from __future__ import annotations

import numpy as np
import pytest

import parabolic_ma as pma
from parabolic_ma import catalog, datasets

ot = pytest.importorskip("ot", reason="POT (extra test) is not installed")


def exact_distance(first, second):
    """Return the exact squared distance of two densities' cell masses put at the centres."""
    masses = [d.values.ravel() / d.values.sum() for d in (first, second)]
    places = [d.grid.points() for d in (first, second)]
    cost = ot.dist(*places, metric="sqeuclidean")
    return float(ot.emd2(*masses, cost, numItermax=1_000_000))


def gap(first, second):
    """Return how far the discrete distance may be from that of the densities.

    Mass at the centre of a cell instead of spread over it makes h^2 / 12 an axis and measure
    (E|X + U - Y - V|^2 with U, V the places in the cells), to leading order; twice that.
    """
    return 2 * sum(h**2 / 12 for d in (first, second) for h in d.grid.spacing)


def bump(n, center, width, floor):
    points = pma.Grid(pma.Box((0.0, 0.0), (1.0, 1.0)), (n, n)).points()
    values = np.exp(-0.5 * ((points - center) ** 2).sum(axis=1) / width**2) + floor
    return pma.GridDensity(values.reshape(n, n), [(0, 1), (0, 1)])


@pytest.mark.parametrize(
    "pair",
    [
        (bump(24, (0.35, 0.4), 0.15, 0.05), bump(24, (0.6, 0.55), 0.2, 0.1)),
        (bump(24, (0.5, 0.5), 0.1, 0.02), bump(24, (0.5, 0.5), 0.3, 0.1)),
    ],
    ids=["moved", "spread"],
)
@pytest.mark.parametrize("side", ["reference", "target"])
def test_smooth_densities(pair, side):
    exact = exact_distance(*pair)
    solution = pma.solve(
        pma.TransportProblem(*pair), pma.GridSolver((96, 96), side=side), progress=False
    )
    error = gap(*pair) + 2 * solution.certificate.w2_error
    assert abs(solution.w2_squared - exact) <= error


PICTURES = {  # LP between pixel Diracs at 32 x 32
    ("camera", "astronaut"): 0.01776,
    ("astronaut", "coffee"): 0.009313,
    ("chelsea", "rocket"): 0.007868,
}


@pytest.mark.parametrize("names", PICTURES, ids="-".join)
def test_pictures(names):
    densities = [pma.GridDensity.from_image(datasets.picture(name, 32)) for name in names]
    exact = exact_distance(*densities)
    assert exact == pytest.approx(PICTURES[names], rel=1e-3)
    there, back = (
        pma.solve(p, pma.GridSolver((64, 64)), progress=False)
        for p in (pma.TransportProblem(*densities), pma.TransportProblem(*densities[::-1]))
    )
    for solution in (there, back):
        assert solution.converged
        assert abs(solution.w2_squared - exact) <= gap(*densities)
        # Conservative: the images of all cells carry the whole mass.
        assert abs(solution.certificate.mass_error) <= 1e-5
    # Two discretisations of one problem.
    estimates = there.certificate.w2_error + back.certificate.w2_error
    assert there.w2_squared == pytest.approx(back.w2_squared, abs=2 * estimates)


def test_there_and_back():
    problem = catalog.load("camera_to_astronaut")
    there, back = (
        pma.solve(p, pma.GridSolver((64, 64)), progress=False) for p in (problem, problem.swap())
    )
    assert there.converged
    assert back.converged
    assert there.w2_squared == pytest.approx(PICTURES["camera", "astronaut"], rel=0.02)
    assert there.w2_squared == pytest.approx(back.w2_squared, rel=2e-3)
