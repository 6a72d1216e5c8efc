"""Networks: their jets against automatic differentiation, convexity, and being built again."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="install the extra neural")

from parabolic_ma.neural.determinant import log_determinant
from parabolic_ma.neural.least_squares import automatic_jacobian, parameter_jacobian
from parabolic_ma.neural.potentials import (
    ComposedPotential,
    LogitNetwork,
    SumPotential,
    make_potential,
    rebuild_potential,
)

KINDS = {
    "lse": {"pieces": 7},
    "mlp": {"width": 9},
    "icnn": {"width": 9},
    "logit": {"width": 9},
}


def network(kind: str, dim: int) -> torch.nn.Module:
    torch.manual_seed(3)
    return make_potential({"kind": kind, "dim": dim, **KINDS[kind]}).double()


def with_terms(cls: type, dim: int, count: int) -> torch.nn.Module:
    torch.manual_seed(4)
    built = cls(dim, 0, 8).double()
    for _ in range(count):
        built = built.extended(LogitNetwork(dim, 8).double(), 0.05)
    return built


def points(n: int, dim: int) -> torch.Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize("kind", [*KINDS, "sum"])
def test_jets_are_the_derivatives_of_the_value(kind: str, dim: int) -> None:
    potential = with_terms(SumPotential, dim, 2) if kind == "sum" else network(kind, dim)
    y = points(6, dim)
    jet = potential.jet(y)
    value = lambda u: potential.jet(u[None]).value[0]  # noqa: E731
    gradient = torch.func.vmap(torch.func.grad(value))(y)
    hessian = torch.func.vmap(torch.func.hessian(value))(y)
    torch.testing.assert_close(jet.gradient, gradient, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(jet.hessian, hessian, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(jet.value, potential(y), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["lse", "icnn"])
def test_convex_networks_are_convex_far_out(kind: str) -> None:
    potential = network(kind, 3)
    assert potential.convex
    with torch.no_grad():
        hessian = potential.jet(10.0 * points(500, 3)).hessian
    assert float(torch.linalg.eigvalsh(hessian).min()) > 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_is_built_again_from_its_architecture_and_weights(kind: str) -> None:
    potential = network(kind, 2)
    weights = {name: w.detach().numpy() for name, w in potential.state_dict().items()}
    again = rebuild_potential(potential.architecture(), weights)
    y = points(4, 2)
    assert torch.equal(again.jet(y).hessian, potential.jet(y).hessian)


def test_composition_and_sum_agree_to_second_order_in_the_step() -> None:
    """phi + a h is the conjugate of psi - a h(grad psi) up to a^2: the gap falls by four."""
    torch.manual_seed(6)
    terms = [LogitNetwork(2, 8).double() for _ in range(3)]
    z = points(40, 2)
    gaps = []
    for size in (0.02, 0.01, 0.005):
        primal, dual = ComposedPotential(2, 0, 8).double(), SumPotential(2, 0, 8).double()
        for term in terms:
            primal, dual = primal.extended(term, size), dual.extended(term, size)
        with torch.no_grad():
            x = primal.jet(z).gradient
            gaps.append(float((dual.jet(x).gradient - z).abs().max()))
    assert gaps[0] < 0.1
    assert 3.5 < gaps[0] / gaps[1] < 4.5
    assert 3.7 < gaps[1] / gaps[2] < 4.3


def test_composed_jets_are_consistent() -> None:
    potential = with_terms(ComposedPotential, 2, 2)
    z, step = points(5, 2), 1e-5
    with torch.no_grad():
        jet = potential.jet(z)
        for k in range(2):
            shift = step * torch.eye(2, dtype=torch.float64)[k]
            high, low = potential.jet(z + shift), potential.jet(z - shift)
            slope = (high.value - low.value) / (2 * step)
            torch.testing.assert_close(slope, jet.gradient[:, k], rtol=1e-7, atol=1e-8)
            bend = (high.gradient - low.gradient) / (2 * step)
            torch.testing.assert_close(bend, jet.hessian[:, :, k], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dim", [1, 2, 4])
def test_log_determinants_and_their_slopes(dim: int) -> None:
    root = points(8 * dim, dim).view(8, dim, dim)
    matrix = root @ root.mT + 0.1 * torch.eye(dim, dtype=torch.float64)
    found = log_determinant(matrix)
    assert found.convex
    torch.testing.assert_close(found.value, torch.linalg.slogdet(matrix)[1], rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(found.slope, torch.linalg.inv(matrix), rtol=1e-7, atol=1e-9)


def test_log_determinant_goes_on_where_a_matrix_is_not_positive() -> None:
    matrix = torch.diag(torch.tensor([2.0, -0.5], dtype=torch.float64))[None]
    found = log_determinant(matrix)
    assert not found.convex
    floor = 2e-3  # a thousandth of the largest eigenvalue
    expected = torch.log(torch.tensor(2.0 * floor, dtype=torch.float64)) + (-0.5 - floor) / floor
    torch.testing.assert_close(found.value[0], expected)
    assert float(found.slope[0, 1, 1]) == pytest.approx(1.0 / floor)


@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize("second", [False, True])
def test_closed_form_derivatives_are_those_of_automatic_differentiation(
    dim: int, second: bool
) -> None:
    potential, z, c = network("lse", dim), points(9, dim), points(9, dim)
    C = points(9 * dim, dim).view(9, dim, dim) if second else None
    exact = automatic_jacobian(potential, z, c, C)
    torch.testing.assert_close(
        parameter_jacobian(potential, z, c, C), exact, rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("kind", ["lse", "mlp", "icnn"])
def test_the_value_alone_is_that_of_the_jet(kind: str) -> None:
    potential, z = network(kind, 3), points(20, 3)
    torch.testing.assert_close(potential(z), potential.jet(z).value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["lse", "mlp"])
def test_parameter_jacobian_has_the_gradient_as_its_sum(kind: str) -> None:
    potential, z = network(kind, 2), points(7, 2)
    c, C = points(7, 2), points(14, 2).view(7, 2, 2)
    J = parameter_jacobian(potential, z, c, C)
    jet = potential.jet(z)
    gradients = torch.autograd.grad(
        (jet.gradient, jet.hessian), list(potential.parameters()), (c, C), allow_unused=True
    )
    flat = torch.cat(
        [
            torch.zeros_like(p).flatten() if g is None else g.flatten()
            for p, g in zip(potential.parameters(), gradients, strict=True)
        ]
    )
    torch.testing.assert_close(J.sum(0), flat, rtol=1e-9, atol=1e-10)
