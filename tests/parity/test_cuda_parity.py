"""Every CUDA kernel against the NumPy one, and Newton steps by both.

They are run on the host, compiled by its C++ compiler, see `parity.cuda_on_host`; and on a device
where there is one.
"""

from __future__ import annotations

import dataclasses
import inspect
from functools import cache
from typing import Any

import numpy as np
import pytest
from parity import scenes
from parity.cuda_on_host import DeviceArray, HostDriver, OnNumpyArrays, compiler
from parity.scenes import MODES, STENCIL, compare, inner_measure, make_scene
from parity.test_kernels_parity import (
    TRANSFERS,
    System,
    conservative,
    conservative_1d,
    linearise,
    make_system,
    single,
)

import parabolic_ma as pma
from parabolic_ma.backends.cupy_cuda.driver import device_count
from parabolic_ma.backends.cupy_cuda.kernels import CudaKernels, on_device
from parabolic_ma.backends.numpy_reference import kernels as numpy_reference
from parabolic_ma.backends.protocol import Kernels
from parabolic_ma.linear.multigrid import Multigrid
from parabolic_ma.operators.discretise import Discretisation, discretise
from parabolic_ma.operators.transfer import cubic_weights, overlap_weights, prolongation_weights
from parabolic_ma.solvers.iterate import interior
from parabolic_ma.solvers.nested import NestedState, Plan, advance, begin
from parabolic_ma.solvers.point_equation import PointEquation

INTERVAL = (0.35, 2.2)  # that sweeps damp
WEIGHT_FLOOR = 1e-4


@cache
def on_host(**options: Any) -> CudaKernels:
    small = options.pop("small", 64)
    if compiler() is None:
        pytest.skip("no g++ to compile CUDA sources for the host")
    return CudaKernels(HostDriver(**options), small)


RUNS_ON = ("host", "device") if device_count() else ("host",)


@pytest.fixture(params=RUNS_ON)
def kernels(request: pytest.FixtureRequest) -> CudaKernels:
    return on_device(0) if request.param == "device" else on_host()


@pytest.fixture(autouse=True)
def _compared(kernels: CudaKernels, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `compare` compare these kernels with NumPy's."""
    monkeypatch.setattr(scenes, "numba_cpu", OnNumpyArrays(kernels))


@pytest.mark.skipif("device" in RUNS_ON, reason="every test runs on the device")
def test_on_a_device() -> None:
    """Stand, in the report, for the tests of this file and `test_cuda_splines` on a device."""
    pytest.skip("no CUDA device")


def test_every_kernel_has_the_signature_of_the_protocol() -> None:
    for name, wanted in inspect.getmembers(Kernels, inspect.isfunction):
        if not name.startswith("_"):
            got = getattr(CudaKernels, name)
            assert list(inspect.signature(got).parameters) == list(
                inspect.signature(wanted).parameters
            )


# The equation.


def test_inner_row(kind: str, rng: np.random.Generator) -> None:
    for dim in (1, 2):
        density = inner_measure(kind, dim, rng)
        x = rng.uniform(-6.0, 6.0, (2, 100))  # half of it outside the box
        x[:, :4] = [[-2.0, 3.0, 0.5, 3.0], [-1.5, 1.5, 1.5, 0.0]]  # corners, faces
        name = "inner_row" if dim == 2 else "inner_row_1d"
        arguments = (density.kind, density.params, density.table, *x[:dim])
        compare(name, *arguments, *np.ones((dim + 1, 100)))


@pytest.mark.parametrize("dim", [1, 2])
def test_points_that_are_no_numbers(
    kernels: CudaKernels, kind: str, dim: int, rng: np.random.Generator
) -> None:
    density = inner_measure(kind, dim, rng)
    x = rng.uniform(-6.0, 6.0, (dim, 40))
    x[:, 7] = np.nan
    out = np.ones((1 + dim, 40))
    row = getattr(OnNumpyArrays(kernels), "inner_row" if dim == 2 else "inner_row_1d")
    row(density.kind, density.params, density.table, *x, *out)
    assert np.isnan(out[0, 7]) == (kind != "uniform")
    assert np.isfinite(np.delete(out, 7, axis=1)).all()


def test_linearise(
    kind: str, boundary: str, shape: tuple[int, int], rng: np.random.Generator
) -> None:
    compare("linearise", *linearise(make_scene(kind, boundary, shape, rng)))


def test_linearise_of_the_affine_start(kind: str, rng: np.random.Generator) -> None:
    scene = make_scene(kind, "free", (13, 9), rng, size=0.0)
    scene.quad[:3] = 2.0, 0.0, 2.0  # equal eigenvalues: no eigenvector
    compare("linearise", *linearise(scene))


def test_blocks_go_over_several_parts(rng: np.random.Generator) -> None:
    compare("linearise", *linearise(make_scene("mixture", "free", (40, 37), rng)))


def test_fields(kind: str, shape: tuple[int, int], rng: np.random.Generator) -> None:
    scene = make_scene(kind, "free", shape, rng)
    outputs = [np.ones((*shape, 2)), *np.ones((4, *shape))]
    compare("fields", scene.u, *scene.axes, scene.quad, *scene.density, 1e-6, *outputs)


def test_convexify(kind: str, rng: np.random.Generator) -> None:
    scene = make_scene(kind, "free", (13, 9), rng)
    lowest, highest = np.quantile(scene.log_source, [0.05, 0.7])
    compare(
        "convexify", scene.u, *scene.axes, scene.quad, scene.log_source, scene.log_c,
        *scene.density, np.log(1e3), lowest, highest, 2,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_corrections(dtype: type, rng: np.random.Generator) -> None:
    scene = make_scene("uniform", "free", (13, 9), rng)
    u, v = rng.standard_normal((2, 15, 11))
    compare("add_correction", u, v.astype(dtype), np.ones((15, 11)))
    weight = np.ones(scene.shape, np.float32)
    numpy_reference.norm_weight(scene.log_source, WEIGHT_FLOOR, weight)
    compare("gradient_norm", v.astype(dtype), weight, WEIGHT_FLOOR, *scene.spacing)


# The equation on the line.


def test_line(kind: str, boundary: str, length: int, rng: np.random.Generator) -> None:
    scene = make_scene(kind, boundary, (length,), rng, size=0.6)
    compare(
        "linearise_1d", scene.u, *scene.axes, scene.quad, scene.log_source, scene.log_c,
        *scene.density, 5.0, 0.3 if boundary == "free" else 0.0, np.log(1e3),
        np.ones((3, length)), np.ones(length),
    )  # fmt: skip
    arguments = (scene.u, *scene.axes, scene.quad, *scene.density)
    compare("fields_1d", *arguments, 1e-6, *np.ones((4, length)))
    compare("gradient_norm_1d", scene.u, scene.log_source, *scene.spacing)


def test_solve_rows_1d(boundary: str, rng: np.random.Generator) -> None:
    p = 3.0 * rng.standard_normal(17)
    rows = np.stack([np.maximum(1.0, np.abs(p)), p, rng.uniform(0.1, 1.0, 17)])
    rhs, v = rng.standard_normal(17), np.ones(19)
    compare("solve_rows_1d", rows, rhs, MODES[boundary], 5, v, absolute=1e-9)


def test_cells_on_the_line(kind: str, boundary: str, length: int, rng: np.random.Generator) -> None:
    compare("running_sums_1d", rng.uniform(size=10), 0.3)
    scene, measure = conservative_1d(kind, boundary, length, rng, 0.6)
    arguments = (scene.u, *scene.axes, scene.quad)
    compare("cell_images_1d", *arguments, *measure, *np.ones((2, length)))
    compare(
        "linearise_cells_1d", *arguments, scene.log_source, scene.log_c, *measure, 5.0,
        np.ones((3, length)), np.ones(length),
    )  # fmt: skip


def test_quantiles_1d(kind: str, rng: np.random.Generator) -> None:
    _, (sums, geometry) = conservative_1d(kind, "box", 17, rng, 0.0)
    shares = np.concatenate([[0.0], np.sort(rng.uniform(size=50)), [1.0]])
    # bisection ends where the rounding of F decides: see the test of the compiled kernel
    rounding = 2 * 20 * 2.0**-53 * sums[-1] / (0.5 * np.diff(sums).min() / geometry[1])
    compare("quantiles_1d", sums, geometry, shares, np.ones(52), absolute=rounding)


# The conservative equation.


def test_cells(kind: str, boundary: str, rng: np.random.Generator) -> None:
    compare("running_sums", rng.uniform(size=(10, 7)), 0.3)
    scene, measure = conservative(kind, boundary, rng)
    arguments = linearise(scene)
    compare("cell_images", *arguments[:4], *measure, *np.ones((2, *scene.shape)))
    nine = np.ones((3, 3, *scene.shape), np.float32)
    # entries of `nine` are sums of line integrals that nearly cancel
    compare("linearise_cells", *arguments[:6], *measure, *arguments[6:], nine, absolute=1e-11)


def test_images_that_are_no_numbers(kernels: CudaKernels, rng: np.random.Generator) -> None:
    scene, measure = conservative("table", "box", rng)
    scene.u[6, 5] = np.nan  # of cell 5, 4: a corner of it is one of each neighbour
    got = np.ones((2, *scene.shape))
    OnNumpyArrays(kernels).cell_images(scene.u, *scene.axes, scene.quad, *measure, *got)
    lost = np.zeros(scene.shape, bool)
    lost[4:7, 3:6] = True
    assert np.isnan(got[:, lost]).all()
    assert np.isfinite(got[:, ~lost]).all()


def test_apply_nine(rng: np.random.Generator) -> None:
    nine = rng.uniform(-1.0, 1.0, (3, 3, 13, 9)).astype(np.float32)
    v = rng.uniform(-1.0, 1.0, (15, 11)).astype(np.float32)
    compare("apply_nine", nine, v, np.ones((13, 9), np.float32), absolute=9.0 * STENCIL)


# Sinkhorn.


@pytest.mark.parametrize(("m", "n", "count"), [(1, 1, 1), (33, 20, 5), (16, 48, 17), (5, 6, 0)])
@pytest.mark.parametrize("size", [1.0, 800.0])
def test_soft_conjugate(
    kernels: CudaKernels, m: int, n: int, count: int, size: float, rng: np.random.Generator
) -> None:
    log_kernel, rows = size * rng.standard_normal((m, n)), size * rng.standard_normal((count, n))
    compare("soft_conjugate_rows", log_kernel, rows, np.ones((count, m)), absolute=1e-12 * size)
    if count < 4:
        return
    rows[2] = -np.inf
    rows[3, 1:] = -np.inf
    rows[1, 4] = np.nan
    out = np.ones((count, m))
    OnNumpyArrays(kernels).soft_conjugate_rows(log_kernel, rows, out)
    assert np.all(out[2] == -np.inf)
    np.testing.assert_allclose(out[3], log_kernel[:, 0] + rows[3, 0], rtol=1e-13)
    assert np.isnan(out[1]).all()
    assert np.isfinite(np.delete(out, [1, 2], axis=0)).all()


# Between grids.


@pytest.mark.parametrize(("nx", "mx", "ny", "my"), TRANSFERS)
def test_transfers(nx: int, mx: int, ny: int, my: int, rng: np.random.Generator) -> None:
    fine = 300.0 * rng.standard_normal((nx, ny))  # exp overflows
    weights = (*overlap_weights(nx, mx), *overlap_weights(ny, my))
    compare("average_log", fine, np.ones((mx, my)), *weights)
    compare("average_log_1d", fine[:, 0].copy(), np.ones(mx), *weights[:2])
    coarse = rng.standard_normal((mx + 4, my + 4))
    weights = (*cubic_weights(nx, mx), *cubic_weights(ny, my))
    compare("interpolate", coarse, np.ones((nx, ny)), *weights)
    compare("interpolate_1d", coarse[:, 0].copy(), np.ones(nx), *weights[:2])


def test_interpolation_into_a_view(kernels: CudaKernels, rng: np.random.Generator) -> None:
    weights = (*cubic_weights(16, 8), *cubic_weights(12, 6))
    coarse, wanted = rng.standard_normal((12, 10)), np.zeros((18, 14))
    numpy_reference.interpolate(coarse, interior(wanted), *weights)
    there = kernels.zeros((18, 14))
    kernels.interpolate(
        kernels.asarray(coarse), interior(there), *(kernels.asarray(w) for w in weights)
    )
    np.testing.assert_allclose(kernels.to_numpy(there), wanted, rtol=1e-13, atol=1e-14)


# The multigrid.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_fill_ghosts(mode: int, dtype: type, rng: np.random.Generator) -> None:
    v = rng.standard_normal((15, 11)).astype(dtype)
    # whole rows of ghosts are made of ghosts: corners are at most 49 of them
    rounding = 50.0 * np.finfo(dtype).eps
    compare("fill_ghosts", v, mode, absolute=rounding)
    compare("fill_ghosts_1d", v[:, 0].copy(), mode, absolute=rounding)


def test_residual(boundary: str, shape: tuple[int, int], rng: np.random.Generator) -> None:
    s = make_system(boundary, shape, rng)
    compare("residual", s.rows, s.r, s.v, np.ones_like(s.r), absolute=s.size * STENCIL)
    double = (a.astype(float) for a in (s.rows, s.r, s.v, s.r))
    compare("residual", *double)


def legs(system: System, rng: np.random.Generator) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return the arguments of `down` and of `up` but for their last ones."""
    nx, ny = system.r.shape
    mx, my = (nx + 1) // 2, (ny + 1) // 2
    overlaps = single((*overlap_weights(nx, mx), *overlap_weights(ny, my)))
    linear = single((*prolongation_weights(nx, mx), *prolongation_weights(ny, my)))
    scale = rng.uniform(0.5, 2.0, (mx, my)).astype(np.float32)
    correction = rng.uniform(-1.0, 1.0, (mx + 2, my + 2)).astype(np.float32)
    numpy_reference.fill_ghosts(correction, system.mode)
    fixed = (system.rows, system.r, system.v, np.ones_like(system.v))
    return (*fixed, np.ones_like(scale), scale, *overlaps), (*fixed, correction, *linear)


@pytest.mark.parametrize("degree", [1, 2, 4])
@pytest.mark.parametrize("small", [64, 0])
def test_cycle_legs(
    kernels: CudaKernels, boundary: str, shape: tuple[int, int], degree: int, small: int,
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Small levels in one block, and large ones a launch a sweep."""
    monkeypatch.setattr(kernels, "_small", small)
    s = make_system(boundary, shape, rng)
    down, up = legs(s, rng)
    settings = (s.mode, degree, *INTERVAL)
    # each sweep rounds as a residual, over theta > 1, and passes on what came before
    absolute = 2.0 * (degree + 1) * s.size * STENCIL
    compare("up", *up, *settings, absolute=absolute)
    compare("down", *down, *settings, False, absolute=absolute)
    s.v[:] = 0.0
    compare("down", *down, *settings, True, absolute=absolute)
    s.v[:] = np.nan  # the promise that it is zero is one not to read it
    out = OnNumpyArrays(kernels)
    out.down(*down, *settings, True)
    assert np.isfinite(down[3]).all()


@pytest.mark.parametrize(("nx", "mx", "ny", "my"), TRANSFERS)
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_coarsen_rows(
    nx: int, mx: int, ny: int, my: int, share: float, rng: np.random.Generator
) -> None:
    rows = make_system("free", (nx, ny), rng).rows
    weights = single((*overlap_weights(nx, mx), *overlap_weights(ny, my)))
    # averages of numbers below one, rescaled by at most the square of the ratio, 4
    compare(
        "coarsen_rows", rows, np.ones((5, mx, my), np.float32), np.ones((mx, my), np.float32),
        *weights, nx / mx, ny / my, 2.0, 0.25, share, absolute=4.0 * STENCIL,
    )  # fmt: skip
    compare("outflow", rows, 0.25, 0.02, absolute=2.0 * 2.0**-24)


def test_dense_solve(kernels: CudaKernels, boundary: str, rng: np.random.Generator) -> None:
    s = make_system(boundary, (8, 6), rng)
    # unit vectors have few non-zero neighbours; linear ghosts are at most 2
    matrix = compare("dense_matrix", s.rows, s.mode, absolute=8.0 * STENCIL)
    exact = np.linalg.solve(matrix, np.append(s.r, 0.0))[:-1].reshape(s.r.shape)
    run = OnNumpyArrays(kernels)
    pivots = np.zeros(len(matrix), np.int64)
    assert run.factorise(matrix, pivots)
    run.solve_dense(matrix, pivots, s.r, s.v, s.mode)
    filled = s.v.copy()
    numpy_reference.fill_ghosts(filled, s.mode)
    np.testing.assert_array_equal(s.v, filled)
    np.testing.assert_allclose(interior(s.v), exact, rtol=2.0**-23, atol=1e-9)


def test_inverses_of_matrices_that_need_pivots(
    kernels: CudaKernels, rng: np.random.Generator
) -> None:
    matrix = rng.standard_normal((70, 70))
    matrix[np.diag_indices(70)] = 0.0
    inverse = matrix.copy()
    assert OnNumpyArrays(kernels).factorise(inverse, np.zeros(70, np.int64))
    np.testing.assert_allclose(inverse @ matrix, np.eye(70), atol=1e-10)


@pytest.mark.parametrize("matrix", [np.ones((3, 3)), np.full((3, 3), np.nan)])
def test_singular_matrices_are_reported(kernels: CudaKernels, matrix: np.ndarray) -> None:
    assert not OnNumpyArrays(kernels).factorise(matrix.copy(), np.zeros(3, np.int64))


@pytest.mark.parametrize("small", [64, 16])
def test_cycles_contract(
    kernels: CudaKernels, boundary: str, small: int, rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(kernels, "_small", small)
    scene = make_scene("gaussian", boundary, (40, 29), rng, size=0.01)
    edge = (0.25, 1.0) if boundary == "free" else (0.0, 0.0)
    grid = Multigrid(kernels, scene.shape, MODES[boundary], edge=edge)
    *arguments, rows, rhs, _ = linearise(scene)
    numpy_reference.linearise(*arguments, rows, rhs, np.empty_like(rhs))
    grid.rows[0][...] = kernels.asarray(rows)
    if boundary == "free":
        kernels.outflow(grid.rows[0], *edge)
    assert grid.setup()
    grid.rhs[0][...] = kernels.asarray(rhs)
    left = kernels.empty(scene.shape, np.float32)
    for _ in range(3):  # as it is, captured, and as captured
        grid.solve()
    kernels.residual(grid.rows[0], grid.rhs[0], grid.solution, left)
    found = kernels.to_numpy(left)
    assert np.linalg.norm(found - found.mean()) < 0.4 * np.linalg.norm(rhs)


# The flow.


@pytest.mark.parametrize("size", [0.3, 0.02])
def test_flow_rate(
    kind: str, shape: tuple[int, int], size: float, rng: np.random.Generator
) -> None:
    for cells in (shape, shape[:1]):
        scene = make_scene(kind, "box", cells, rng, size)
        top = scene.log_source.max() - 1.0  # some cells count for the drift and some do not
        arguments = (scene.u, *scene.axes, scene.quad)
        name = "flow_rate" if len(cells) == 2 else "flow_rate_1d"
        compare(name, *arguments, scene.log_source, top, *scene.density, np.ones(cells))


def test_flow_rows(kind: str, shape: tuple[int, int], rng: np.random.Generator) -> None:
    scene = make_scene(kind, "box", shape, rng, 0.02)
    coefficients, rows = np.ones((5, *shape)), np.ones((6, *shape))
    arguments = (scene.u, *scene.axes, scene.quad, *scene.density, coefficients)
    compare("flow_coefficients", *arguments)
    numpy_reference.flow_coefficients(*arguments)
    compare("flow_rows", coefficients, 3.0, rows)
    numpy_reference.flow_rows(coefficients, 3.0, rows)
    compare("upwind_rows", rows, 2.0, np.ones((5, *shape), np.float32), np.ones(shape, np.float32))


@pytest.mark.parametrize("mode", [0, 2, 3])
def test_flow_systems_on_the_line(kind: str, mode: int, rng: np.random.Generator) -> None:
    scene = make_scene(kind, "box", (17,), rng, 0.02)
    arguments = (scene.u, *scene.axes, scene.quad, *scene.density, np.ones((2, 17)))
    compare("flow_coefficients_1d", *arguments)
    numpy_reference.flow_coefficients_1d(*arguments)
    compare("solve_flow_1d", arguments[-1], 30.0, rng.standard_normal(17), mode, np.ones(19))


# The certificate.


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_sums_of_the_certificate(dim: int, rng: np.random.Generator) -> None:
    rows, n = (1, 40) if dim == 1 else (30, 12)
    source, log_det, log_inner = rng.standard_normal((3, rows, n))
    log_det += 800.0  # whose exponential overflows
    gradient, leading = rng.standard_normal((rows, n, dim)), rng.standard_normal((rows, dim - 1))
    arrays = (source, log_det, log_inner, gradient, leading)
    compare("judge_sums", *arrays, rng.standard_normal(n), rng.standard_normal(dim))
    low, high, u = rng.standard_normal((3, rows, n))
    compare("residual_sums", source, log_det, log_inner, low, high, u, 799.0, -0.5, 0.1)
    for bins in (7, 5000):
        lowest, step = source.min(), np.ptp(source) / bins
        compare("mass_histogram", source, lowest, step, bins)


def test_change_of_the_inverse(boundary: str, rng: np.random.Generator) -> None:
    scene = make_scene("uniform", boundary, (13, 9), rng)
    before = scene.u + 0.1 * rng.standard_normal(scene.u.shape)
    matrix = tuple(scene.quad[:3])
    compare("inverse_change", scene.u, before, tuple(scene.spacing), matrix, scene.log_source)


# The Krylov iteration.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_krylov_vectors(dtype: type, rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((2, 13, 9)).astype(dtype)
    weight = rng.uniform(size=(13, 9)).astype(dtype)
    compare("dots", x, y, weight)
    compare("axpy", -0.3, x, y, absolute=4.0 * 2.0**-24 * np.abs(y).max())
    log_source = -30.0 * rng.uniform(size=(13, 9))
    compare("norm_weight", log_source, WEIGHT_FLOOR, np.ones((13, 9), np.float32))


def test_matrix_dots(boundary: str, rng: np.random.Generator) -> None:
    s = make_system(boundary, (13, 9), rng)
    weight = rng.uniform(size=(13, 9)).astype(np.float32)
    # the product rounds as a residual, and is squared
    w = np.abs(numpy_reference.dots(s.r, s.r, weight)[0]) + s.size * weight.sum()
    compare("matrix_dots", s.rows, s.v, s.r, weight, absolute=2.0 * s.size * STENCIL * w)


# Single precision, and what threads may not do to each other.


def test_single_precision(kind: str, rng: np.random.Generator) -> None:
    """Potentials in float32: what their second differences leave of them."""
    scene = make_scene(kind, "free", (13, 9), rng, size=0.01)
    arguments = linearise(scene)
    wanted = numpy_reference.linearise(*arguments)
    on_numpy = OnNumpyArrays(on_host())
    halves = [a.astype(np.float32) if isinstance(a, np.ndarray) else a for a in arguments]
    got = on_numpy.linearise(*halves)
    np.testing.assert_allclose(got, wanted, rtol=2e-3, atol=2e-4)
    for mine, theirs in zip(halves[-3:], arguments[-3:], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=2e-2, atol=2e-4)
    rates = np.ones((2, *scene.shape))
    top = float(scene.log_source.max())
    flow = (scene.u, *scene.axes, scene.quad, scene.log_source, top, *scene.density)
    wanted = numpy_reference.flow_rate(*flow, rates[0])
    halves = [a.astype(np.float32) if isinstance(a, np.ndarray) else a for a in flow]
    single_rate = rates[1].astype(np.float32)
    got = on_numpy.flow_rate(*halves, single_rate)
    np.testing.assert_allclose(got, wanted, rtol=2e-3)
    np.testing.assert_allclose(single_rate, rates[0], rtol=2e-3, atol=2e-3)


def test_no_thread_depends_on_the_order_of_threads(rng: np.random.Generator) -> None:
    """Blocks and threads backwards give the same numbers, to the last bit."""
    for small, threads in ((64, 32), (0, 64)):
        forwards = on_host(small=small, threads=threads)
        backwards = on_host(small=small, threads=threads, reversed_order=True)
        s = make_system("free", (20, 17), rng)
        down, up = legs(s, rng)
        settings = (s.mode, 3, *INTERVAL)
        scene, measure = conservative("mixture", "free", rng)
        arguments = linearise(scene)
        nine = np.ones((3, 3, *scene.shape), np.float32)
        calls: list[tuple[str, tuple[Any, ...]]] = [
            ("down", (*down, *settings, False)),
            ("up", (*up, *settings)),
            ("linearise", arguments),
            ("linearise_cells", (*arguments[:6], *measure, *arguments[6:], nine)),
            ("factorise", (rng.standard_normal((40, 40)), np.zeros(40, np.int64))),
            ("fill_ghosts", (s.v, 3)),
            ("soft_conjugate_rows", tuple(rng.standard_normal((3, 20, 20)))),
        ]
        for name, given in calls:
            found = []
            for kernels in (forwards, backwards):
                copies = [a.copy() if isinstance(a, np.ndarray) else a for a in given]
                returned = getattr(OnNumpyArrays(kernels), name)(*copies)
                found.append([returned, *(a for a in copies if isinstance(a, np.ndarray))])
            for one, other in zip(*found, strict=True):
                np.testing.assert_array_equal(one, other, err_msg=name)


# Everything together.


def problem_on(boundary: str, shape: tuple[int, int]) -> Discretisation:
    """A mixture under a Gaussian, or a table under a uniform density."""
    if boundary == "free":
        reference: Any = pma.Gaussian(np.zeros(2), 1.0)
        target: Any = pma.GaussianMixture([[-0.4, 0.0], [0.3, 0.2]], 0.9)
    else:
        box = [(0.0, 1.0)] * 2
        wave = 1.0 + 0.1 * np.cos(2.0 * np.pi * (np.arange(24) + 0.5) / 24)
        reference = pma.Uniform(box)
        target = pma.GridDensity(np.outer(wave, wave[::-1] ** 2), box)
    problem = pma.TransportProblem(reference, target)
    return discretise(problem, shape, "reference", boundary, 1e-8, None, None)


def solved(kernels: Any, problem: Discretisation) -> NestedState:
    """Solve on one grid from the affine map, to rounding."""
    inner = dataclasses.replace(
        problem.inner,
        params=kernels.asarray(problem.inner.params),
        table=kernels.asarray(problem.inner.table),
    )
    log_source = kernels.asarray(problem.log_source)
    there = dataclasses.replace(problem, inner=inner, log_source=log_source)

    def equation(source: Any) -> PointEquation:
        made = PointEquation(kernels, there, source)
        made.axes = [kernels.asarray(a) for a in made.axes]
        made.quadratic = kernels.asarray(made.quadratic)
        return made

    state = begin(
        Plan(
            problem=there, sources=(log_source,), equation=equation, kernels=kernels,
            tolerance=1e-10, max_steps=40, exact=True, continuation=False, halvings=0, sharp=False,
        ),
        None,
    )  # fmt: skip
    while state.status is None:
        state = advance(state)
    return state


@pytest.mark.parametrize(
    ("boundary", "shape"),
    [("free", (32, 32)), ("box", (48, 40)), ("periodic", (48, 40)), ("box", (80, 72))],
)
def test_whole_solves_agree(kernels: CudaKernels, boundary: str, shape: tuple[int, int]) -> None:
    problem = problem_on(boundary, shape)
    found = []
    for backend in (kernels, numpy_reference):
        state = solved(backend, problem)
        assert state.status is pma.Status.CONVERGED
        u = interior(backend.to_numpy(state.iterate.u))
        found.append(u - u.mean())
    np.testing.assert_allclose(*found, rtol=0.0, atol=1e-8)


def test_arrays_of_the_device_do_not_mix_with_those_of_the_host() -> None:
    there = on_host().asarray(np.ones(3))
    assert isinstance(there + 1.0, DeviceArray)
    with pytest.raises(TypeError, match="among those of the device"):
        there + np.ones(3)
    with pytest.raises(TypeError, match="among those of the device"):
        there[:] = np.ones(3)
    with pytest.raises(AssertionError, match="not on the device"):
        on_host().fill_ghosts(np.ones((5, 5)), 0)
