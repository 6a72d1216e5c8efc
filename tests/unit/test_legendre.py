from __future__ import annotations

import numpy as np
import pytest

from parabolic_ma.grid import Box, Grid
from parabolic_ma.operators.grid_map import GridMap
from parabolic_ma.operators.legendre import discrete_conjugate, polished_conjugate
from parabolic_ma.solution import GridPotential
from parabolic_ma.status import InputError

ROUNDING = 1e-13  # a handful of operations on numbers up to about 30


def brute_force(values: np.ndarray, nodes: list, slopes: list) -> np.ndarray:
    y = np.stack([m.ravel() for m in np.meshgrid(*nodes, indexing="ij")], axis=-1)
    x = np.stack([m.ravel() for m in np.meshgrid(*slopes, indexing="ij")], axis=-1)
    shape = tuple(map(len, slopes))
    return (x @ y.T - values.ravel()).max(axis=1).reshape(shape)


def uneven(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.sort(rng.uniform(-2, 2, n)) + 1e-3 * np.arange(n)


@pytest.mark.parametrize("shape", [(1,), (2,), (57,), (1, 5), (23, 31), (6, 7, 8)])
@pytest.mark.parametrize("kind", ["random", "convex", "holes"])
def test_equals_brute_force(shape: tuple[int, ...], kind: str, rng: np.random.Generator) -> None:
    nodes = [uneven(rng, n) for n in shape]
    slopes = [uneven(rng, n + 3) * 3 for n in shape]
    mesh = np.meshgrid(*nodes, indexing="ij")
    convex = np.cosh(sum((k + 1) * m for k, m in enumerate(mesh))) + sum(m**2 for m in mesh)
    values = rng.standard_normal(shape) if kind == "random" else convex
    if kind == "holes":
        values = np.where(rng.uniform(size=shape) < 0.3, np.inf, values)
        values.flat[0] = 1.0
    conjugate, indices = discrete_conjugate(values, nodes, slopes)
    np.testing.assert_allclose(conjugate, brute_force(values, nodes, slopes), atol=ROUNDING)
    # The indices attain the values.
    assert indices.shape == (*conjugate.shape, len(shape))
    at = values[tuple(np.moveaxis(indices, -1, 0))]
    x = np.stack(np.meshgrid(*slopes, indexing="ij"), axis=-1)
    y = np.stack([axis[indices[..., k]] for k, axis in enumerate(nodes)], axis=-1)
    np.testing.assert_allclose((x * y).sum(-1) - at, conjugate, atol=ROUNDING)


def test_nowhere_finite_is_minus_infinity() -> None:
    conjugate, _ = discrete_conjugate(
        np.full((2, 2), np.inf), [np.arange(2.0)] * 2, [np.arange(3.0)] * 2
    )
    assert np.all(conjugate == -np.inf)


@pytest.mark.parametrize(
    ("values", "nodes", "slopes", "message"),
    [
        (np.zeros(3), [np.arange(4.0)], [np.arange(2.0)], r"lengths \(4,\).*shape \(3,\)"),
        (np.zeros(3), [np.zeros(3)], [np.arange(2.0)], "nodes on axis 0 must be finite and increa"),
        (np.zeros(3), [np.arange(3.0)], [np.array([0, np.nan])], "slopes on axis 0 must be finite"),
        (np.zeros(3), [np.arange(3.0)] * 2, [np.arange(2.0)], "nodes must be 1 one-dimensional"),
        (np.array([0, np.nan]), [np.arange(2.0)], [np.arange(2.0)], "some are nan or minus"),
    ],
)
def test_errors(values: np.ndarray, nodes: list, slopes: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        discrete_conjugate(values, nodes, slopes)


def quadratic(boundary: str, dim: int) -> GridPotential:
    box = Box((-1.0, -2.0)[:dim], (1.5, 2.0)[:dim])
    matrix = np.array([[2.0, 0.6], [0.6, 0.5]])[:dim, :dim]
    shape = (12, 17)[:dim]
    center, image = np.array([0.2, -0.1])[:dim], np.array([3.0, 1.0])[:dim]
    return GridPotential(Grid(box, shape), np.zeros(shape), matrix, center, image, boundary)


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("boundary", ["box", "free", "periodic"])
def test_polished_conjugate_of_a_quadratic(boundary: str, dim: int) -> None:
    potential = quadratic(boundary, dim)
    # Far beyond the image of the box on purpose.
    slopes = [np.linspace(-9.0, 12.0, 8), np.linspace(-6.0, 7.0, 9)][:dim]
    conjugate, maximisers = polished_conjugate(potential, slopes)
    shifted = np.stack(np.meshgrid(*slopes, indexing="ij"), axis=-1) - potential.image
    inverse = np.linalg.inv(potential.matrix)
    wanted = 0.5 * np.einsum("...i,ij,...j->...", shifted, inverse, shifted)
    wanted += (shifted + potential.image) @ potential.center
    np.testing.assert_allclose(conjugate, wanted, rtol=1e-13, atol=1e-12)
    np.testing.assert_allclose(maximisers, shifted @ inverse + potential.center, atol=1e-12)


@pytest.mark.parametrize("boundary", ["box", "periodic"])
def test_polished_is_at_least_discrete_even_without_convexity(
    boundary: str, rng: np.random.Generator
) -> None:
    base = quadratic(boundary, 2)
    rough = GridPotential(
        base.grid,
        rng.standard_normal(base.grid.shape),
        np.diag([2.0, 0.5]),
        base.center,
        base.image,
        boundary,
    )
    slopes = [np.linspace(0.0, 6.0, 11), np.linspace(-1.0, 3.0, 10)]
    conjugate, maximisers = polished_conjugate(rough, slopes)
    discrete, _ = discrete_conjugate(rough.values(), rough.grid.axes(), slopes)
    assert np.all(conjugate >= discrete)
    assert np.max(conjugate - discrete) > 0.01  # random values: maxima lie between the nodes
    # And the values are attained.
    mapping = GridMap(rough)
    points = np.stack(np.meshgrid(*slopes, indexing="ij"), axis=-1)
    attained = (points * maximisers).sum(-1).ravel() - mapping.potential(maximisers.reshape(-1, 2))
    np.testing.assert_allclose(attained, conjugate.ravel(), atol=1e-12)


def test_lowering_the_potential_raises_the_conjugate() -> None:
    base = quadratic("free", 2)
    mesh = np.stack(np.meshgrid(*base.grid.axes(), indexing="ij"), axis=-1)
    dent = 0.01 * np.exp(-4 * np.sum(mesh**2, axis=-1))
    dented = GridPotential(base.grid, -dent, base.matrix, base.center, base.image, base.boundary)
    slopes = [np.linspace(2.0, 3.5, 9), np.linspace(0.5, 1.5, 9)]
    rise = polished_conjugate(dented, slopes)[0] - polished_conjugate(base, slopes)[0]
    assert rise.min() > -1e-5  # the spline of a dent two cells wide overshoots by that
    assert 0.008 < rise.max() < 0.0101  # the depth of the dent, where x is the image of its middle
