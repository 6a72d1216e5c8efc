"""Maps of networks: inverse, Jacobian, conjugate, frames, transforms of torch."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="install the extra neural")

import parabolic_ma as pma
from parabolic_ma.maps import to_torch
from parabolic_ma.neural.frame import Frame
from parabolic_ma.neural.neural_map import NeuralMap
from parabolic_ma.neural.potentials import make_potential

SKEWED = np.array([[2.0, 0.9], [0.9, 0.8]])


def neural_map(kind: str = "lse", side: str = "reference") -> NeuralMap:
    torch.manual_seed(1)
    size = {"pieces": 8} if kind == "lse" else {"width": 8}
    network = make_potential({"kind": kind, "dim": 2, **size}).double()
    frame = Frame.between(None, (np.array([1.0, -2.0]), SKEWED), 2)
    return NeuralMap(network.requires_grad_(requires_grad=False), frame, side)


@pytest.fixture
def y(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((200, 2))


@pytest.mark.parametrize("side", ["reference", "target"])
@pytest.mark.parametrize("kind", ["lse", "icnn"])
def test_laws_of_a_map(kind: str, side: str, y: np.ndarray) -> None:
    transport = neural_map(kind, side)
    x = transport(y)
    np.testing.assert_allclose(transport.inverse(x), y, atol=1e-9)
    product = np.sum(x * y, axis=1)
    np.testing.assert_allclose(transport.potential(y) + transport.conjugate(x), product, atol=1e-9)
    hessian = transport.hessian(y)
    np.testing.assert_allclose(hessian, hessian.swapaxes(1, 2), rtol=1e-8, atol=1e-10)
    log_det = transport.log_abs_det_jacobian(y)
    np.testing.assert_allclose(np.linalg.slogdet(hessian)[1], log_det, atol=1e-8)
    step = 1e-5
    for k in range(2):
        shift = step * np.eye(2)[k]
        slope = (transport.potential(y + shift) - transport.potential(y - shift)) / (2 * step)
        np.testing.assert_allclose(slope, x[:, k], atol=1e-7)
    assert transport(y[0]).shape == (2,)


def test_the_identity_of_a_frame_is_the_brenier_map_between_gaussians() -> None:
    source = (np.array([0.5, 0.0]), np.array([[1.0, 0.3], [0.3, 2.0]]))
    frame = Frame.between(source, (np.array([1.0, -2.0]), SKEWED), 2)
    matrix = frame.axes @ frame.axes.T  # s P I P^T / s
    np.testing.assert_allclose(matrix @ source[1] @ matrix, SKEWED, atol=1e-12)
    whitened = frame.axes.T @ source[1] @ frame.axes / frame.scale**2
    np.testing.assert_allclose(whitened, np.diag(frame.variances), atol=1e-12)
    points = np.array([[0.3, -1.0], [2.0, 0.1]])
    np.testing.assert_allclose(frame.decode_source(frame.encode(points)), points, atol=1e-12)
    np.testing.assert_allclose(frame.decode(frame.encode_image(points)), points, atol=1e-12)


def maps() -> dict[str, pma.TransportMap]:
    problem = pma.TransportProblem(pma.Gaussian([0, 0], 1.0), pma.Gaussian([1, -2], SKEWED))
    grid = pma.solve(problem, pma.GridSolver((32, 32)), raise_on_failure=False).map
    return {"affine": pma.Affine(SKEWED, [0.0, 1.0]), "grid": grid, "neural": neural_map()}


@pytest.mark.parametrize("name", ["affine", "grid", "neural"])
def test_to_torch_is_a_differentiable_transform(name: str) -> None:
    transport = maps()[name]
    transform = transport.to_torch()
    x = torch.tensor([[0.3, -0.2], [1.0, 0.4]], dtype=torch.float64, requires_grad=True)
    image = transform(x)
    assert torch.equal(image, torch.from_numpy(transport(x.detach().numpy())))
    jacobian = torch.stack(
        [torch.autograd.grad(image[0, k], x, retain_graph=True)[0][0] for k in range(2)]
    )
    log_det = transform.log_abs_det_jacobian(x, image)
    assert float(torch.linalg.slogdet(jacobian)[1].detach()) == pytest.approx(
        float(log_det[0].detach()), abs=1e-6
    )
    back = to_torch(transport).inv(image)
    torch.testing.assert_close(back, x, rtol=1e-7, atol=1e-8)
    (slope,) = torch.autograd.grad(back[0, 0], x)  # through the map and back: the identity
    torch.testing.assert_close(slope[0], torch.tensor([1.0, 0.0]).double(), rtol=1e-6, atol=1e-6)
    assert transform(x.detach().float().reshape(1, 2, 2)).shape == (1, 2, 2)
    assert transform(x.detach().float()).dtype == torch.float32


def test_to_torch_gives_the_density_of_the_model(y: np.ndarray) -> None:
    transport = neural_map()
    base = torch.distributions.MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
    moved = torch.distributions.TransformedDistribution(base, [transport.to_torch()])
    x = transport(y)
    reference = pma.Gaussian([0.0, 0.0], 1.0)
    expected = -reference.potential(y) - transport.log_abs_det_jacobian(y)
    np.testing.assert_allclose(moved.log_prob(torch.from_numpy(x)).numpy(), expected, atol=1e-8)
