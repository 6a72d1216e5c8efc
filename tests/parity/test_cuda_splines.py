"""Maps on a CUDA device against those of the CPU; see `parity.test_cuda_parity`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from parity.test_cuda_parity import RUNS_ON, on_host

import parabolic_ma as pma
from parabolic_ma import splines
from parabolic_ma.backends.cupy_cuda.kernels import CudaKernels, on_device
from parabolic_ma.backends.numba_cpu import inverse as cpu_inverse
from parabolic_ma.backends.numba_cpu import splines as cpu_splines
from parabolic_ma.operators.grid_map import GridMap
from parabolic_ma.operators.legendre import pack
from parabolic_ma.solution import GridPotential
from parabolic_ma.status import InputError

RELATIVE = 1e-12  # the prefilter's condition number is 3 an axis and the sums have 16 terms
SHAPES = [(1,), (2,), (5,), (40,), (1, 6), (4, 5), (33, 17)]


@pytest.fixture(params=RUNS_ON)
def kernels(request: pytest.FixtureRequest) -> CudaKernels:
    return on_device(0) if request.param == "device" else on_host()


@pytest.mark.parametrize("boundary", splines.BOUNDARIES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_splines_agree(
    kernels: CudaKernels, boundary: str, shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    values = rng.standard_normal(shape)
    if boundary == "free" and min(shape) < 4:
        with pytest.raises(InputError, match="at least 4 cells"):
            kernels.splines.prefilter(kernels.asarray(values), boundary)
        return
    wanted = splines.prefilter(values, boundary)
    got = kernels.splines.prefilter(kernels.asarray(values), boundary)
    largest = np.abs(wanted).max()
    np.testing.assert_allclose(kernels.to_numpy(got), wanted, rtol=0, atol=RELATIVE * largest)

    dim = len(shape)
    lower, spacing = np.array([-1.0, 2.0])[:dim], np.array([0.3, 0.7])[:dim]
    points = lower + rng.uniform(size=(50, dim)) * spacing * shape
    expected = splines.evaluate(wanted, lower, spacing, points, order=2)
    there = (kernels.asarray(a) for a in (lower, spacing, points))
    found = kernels.splines.evaluate(got, *there, order=2)
    for order, (a, b) in enumerate(zip(found, expected, strict=True)):
        scale = largest * (2.0 / spacing.min()) ** order
        np.testing.assert_allclose(kernels.to_numpy(a), b, rtol=0, atol=RELATIVE * scale)


def test_unknown_boundaries_are_refused() -> None:
    with pytest.raises(InputError, match="boundary must be one of box, periodic, free"):
        on_host().splines.prefilter(np.zeros(5), "open")


def potential(boundary: str, dim: int, rng: np.random.Generator) -> GridPotential:
    """A convex potential on a grid of [-1, 1] x [-0.8, 0.8]."""
    grid = pma.Grid(pma.Box.of([(-1.0, 1.0), (-0.8, 0.8)][:dim]), (24, 20)[:dim])
    waves = [np.cos(np.pi * a / (1.0, 0.8)[k]) for k, a in enumerate(grid.axes())]
    correction = 0.02 * rng.standard_normal() * (waves[0] if dim == 1 else np.outer(*waves))
    matrix = np.array([[1.5, 0.2], [0.2, 1.2]])[:dim, :dim]
    center, image = np.array([0.1, -0.05])[:dim], np.array([0.4, 0.1])[:dim]
    return GridPotential(grid, correction, matrix, center, image, boundary)


Case = tuple[CudaKernels, GridMap, tuple[Any, ...], tuple[Any, ...]]


@pytest.fixture(params=["box", "periodic", "free"])
def case(
    kernels: CudaKernels, request: pytest.FixtureRequest, rng: np.random.Generator
) -> Callable[[int], Case]:
    """Make a potential of a dimension: its map, and its parts on the host and on the device."""

    def make(dim: int) -> Case:
        on_grid = potential(request.param, dim, rng)
        c, g = pack(on_grid)
        periodic = request.param == "periodic"
        there = (kernels.asarray(c), kernels.asarray(g), periodic)
        return kernels, GridMap(on_grid), (c, g, periodic), there

    return make


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("what", ["potential", "gradient", "jacobian"])
def test_maps_agree(
    case: Callable[[int], Case], dim: int, what: str, rng: np.random.Generator
) -> None:
    kernels, _, here, there = case(dim)
    points = rng.uniform(-3.0, 3.0, (200, dim))  # most of them outside
    wanted = getattr(cpu_splines, what)(*here, points)
    got = getattr(kernels.splines, what)(*there, kernels.asarray(points))
    np.testing.assert_allclose(kernels.to_numpy(got), wanted, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dim", [1, 2])
def test_inverses_agree(case: Callable[[int], Case], dim: int, rng: np.random.Generator) -> None:
    kernels, transport, here, there = case(dim)
    x = rng.uniform(-4.0, 4.0, (200, dim))
    table = transport._table
    wanted = cpu_inverse.invert(*here, *table, x.copy())
    got = kernels.splines.invert(*there, *(kernels.asarray(a) for a in table), kernels.asarray(x))
    np.testing.assert_allclose(kernels.to_numpy(got), wanted, rtol=0, atol=1e-9)
    back = kernels.to_numpy(kernels.splines.gradient(*there, got))
    np.testing.assert_allclose(back, x, rtol=0, atol=1e-9)
    x[3] = np.nan
    got = kernels.splines.invert(*there, *(kernels.asarray(a) for a in table), kernels.asarray(x))
    assert np.isnan(kernels.to_numpy(got)[3]).all()


@pytest.mark.parametrize("dim", [1, 2])
def test_polished_conjugates_agree(
    case: Callable[[int], Case], dim: int, rng: np.random.Generator
) -> None:
    kernels, _, here, there = case(dim)
    x, y = rng.uniform(-1.0, 1.0, (2, 60, dim))
    value = np.einsum("ij,ij->i", x, y) - cpu_splines.potential(*here, y)
    moved = [kernels.asarray(a.copy()) for a in (x, y, value)]
    kernels.splines.polish(*there, *moved)
    cpu_inverse.polish(*here, x, y, value)
    np.testing.assert_allclose(kernels.to_numpy(moved[2]), value, rtol=0, atol=1e-12)
    np.testing.assert_allclose(kernels.to_numpy(moved[1]), y, rtol=0, atol=1e-6)


def test_discrete_conjugates_agree(kernels: CudaKernels, rng: np.random.Generator) -> None:
    values = rng.standard_normal((7, 30))
    values[rng.uniform(size=values.shape) < 0.3] = np.inf
    values[4] = np.inf
    nodes, slopes = np.sort(rng.uniform(-1.0, 1.0, 30)), np.linspace(-20.0, 20.0, 41)
    best, where = np.empty((7, 41)), np.empty((7, 41), np.int64)
    there = [kernels.asarray(a) for a in (values, nodes, slopes, best, where)]
    kernels.splines.conjugate_rows(*there)
    cpu_inverse.conjugate_rows(values, nodes, slopes, best, where)
    np.testing.assert_allclose(kernels.to_numpy(there[3]), best, rtol=1e-13)
    np.testing.assert_array_equal(kernels.to_numpy(there[4]), where)
    assert (best[4] == -np.inf).all()
