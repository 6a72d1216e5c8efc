"""Richardson extrapolation: the second-order error cancels where the map is smooth."""

from __future__ import annotations

import pytest
from convergence import problems
from convergence.problems import observed_order, spline_error

CASES = [
    (problems.rectangle(), "reference", [(n, n) for n in (64, 128, 256)]),
    (problems.ridged_reference(), "reference", [(256, 256)]),
    (problems.line("mix1_sd"), "target", [(n,) for n in (512, 1024, 2048, 4096)]),
]


@pytest.fixture(scope="module", params=CASES, ids=lambda c: f"{c[0]}, {c[1]} side")
def pairs(request):
    """Solutions without and with extrapolation, on every grid."""
    case, side, shapes = request.param
    return case, [[case.solve(n, side, richardson=flag) for flag in (False, True)] for n in shapes]


def test_it_is_clearly_better(pairs):
    # A fourth-order method gains at least as much as from a doubling of the grid.
    case, solutions = pairs
    for plain, extrapolated in solutions:
        assert spline_error(case, extrapolated) < spline_error(case, plain) / 4


def test_order(pairs):
    case, solutions = pairs
    if len(solutions) < 3:
        pytest.skip("an order needs three grids")
    # The expansion goes on with h^4; the gradient of the interpolated coarse potential is third
    # order at places that do not cancel.
    spacings = [extrapolated.fields.potential.grid.spacing[0] for _, extrapolated in solutions]
    errors = [spline_error(case, extrapolated) for _, extrapolated in solutions]
    assert observed_order(spacings, errors) > 3 - 0.2, errors


def test_its_figures_are_no_worse(pairs):
    # What is reported with the map must not be computed from less.
    case, solutions = pairs
    exact = {"mix1_sd": 4.93266065848}.get(case.name)
    if case.name == problems.rectangle().name:
        exact = 0.0230928822597534
    if exact is None:
        pytest.skip("no reference value of w2_squared")
    for plain, extrapolated in solutions:
        assert abs(extrapolated.w2_squared - exact) <= abs(plain.w2_squared - exact)
        assert abs(extrapolated.certificate.mass_error) <= abs(plain.certificate.mass_error)
