"""Every compiled kernel against the NumPy one.

A kernel is run by both backends on copies of the same arguments; what it returns and *all* of its
array arguments afterwards are compared, so that the in-place contract is part of the comparison.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parity.scenes import (
    BACKENDS,
    MODES,
    NEIGHBOURS,
    ROWS,
    STENCIL,
    UNCOMPILED,
    Scene,
    compare,
    inner_measure,
    make_scene,
)

import parabolic_ma as pma
from parabolic_ma import backends
from parabolic_ma.backends.numba_cpu import maths as numba_math
from parabolic_ma.backends.numpy_reference import kernels as numpy_reference
from parabolic_ma.linear.multigrid import Multigrid
from parabolic_ma.operators.transfer import cubic_weights, overlap_weights, prolongation_weights


def test_exp_and_log(rng: np.random.Generator) -> None:
    # Horner's rule on a reduced argument: a few units in the last place
    x = np.concatenate([rng.uniform(-700.0, 700.0, 200), rng.uniform(-1.0, 1.0, 200), [0.0, -0.0]])
    np.testing.assert_allclose([numba_math.exp(v) for v in x], np.exp(x), rtol=4 * 2.0**-52)
    y = np.concatenate([np.exp(x), rng.uniform(0.5, 2.0, 200), [np.finfo(float).tiny]])
    np.testing.assert_allclose(
        [numba_math.log(v) for v in y], np.log(y), rtol=4 * 2.0**-52, atol=2.0**-53
    )
    assert numba_math.exp(-np.inf) == numba_math.exp(-700.0)
    assert np.isnan(numba_math.exp(np.nan))


# The equation.


def test_inner_row(kind: str, rng: np.random.Generator) -> None:
    density = inner_measure(kind, 2, rng)
    x = rng.uniform(-6.0, 6.0, (2, 300))  # half of it outside the box
    x[:, :4] = [[-2.0, 3.0, 0.5, 3.0], [-1.5, 1.5, 1.5, 0.0]]  # corners, faces
    compare("inner_row", density.kind, density.params, density.table, *x, *np.ones((3, 300)))


def test_inner_row_1d(kind: str, rng: np.random.Generator) -> None:
    density = inner_measure(kind, 1, rng)
    x = np.append(rng.uniform(-9.0, 9.0, 100), [-2.0, 3.0])
    compare("inner_row_1d", density.kind, density.params, density.table, x, *np.ones((2, 102)))


@pytest.mark.parametrize("kind", ["table", "periodic table"])
@pytest.mark.parametrize("dim", [1, 2])
def test_a_coordinate_that_is_no_number_is_no_index(
    kind: str, dim: int, backend: str, rng: np.random.Generator
) -> None:
    kernels = BACKENDS[backend]
    density = inner_measure(kind, dim, rng)
    row = kernels.inner_row if dim == 2 else kernels.inner_row_1d
    x = rng.uniform(-6.0, 6.0, (dim, 40))
    wanted, got = np.ones((2, 1 + dim, 40))
    row(density.kind, density.params, density.table, *x, *wanted)
    lost = np.zeros(40, bool)
    for k in range(dim):
        x[k, 7 + 20 * k] = np.nan
        lost[7 + 20 * k] = True
    row(density.kind, density.params, density.table, *x, *got)
    assert np.isnan(got[0, lost]).all()  # the log density: the solver looks at it
    np.testing.assert_array_equal(got[:, ~lost], wanted[:, ~lost])


IN_SINGLE: dict[str, Any] = {"single": ROWS, "single_figures": (3, 5)}


def linearise(scene: Scene) -> tuple[Any, ...]:
    """Arguments of the kernel; the last three are its outputs."""
    return (
        scene.u, *scene.axes, scene.quad, scene.log_source, scene.log_c, *scene.density,
        3e-3, 5.0, 2.0, np.log(1e3),
        np.ones((5, *scene.shape), np.float32), np.ones(scene.shape, np.float32),
        np.ones(scene.shape, np.float32),
    )  # fmt: skip


def test_linearise(
    kind: str, boundary: str, shape: tuple[int, int], rng: np.random.Generator
) -> None:
    scene = make_scene(kind, boundary, shape, rng)
    *_, smallest, extended, _, _ = compare("linearise", *linearise(scene), **IN_SINGLE)
    assert smallest < 0.0 < extended  # the clips have been at work


def test_linearise_where_nothing_is_clipped(rng: np.random.Generator) -> None:
    scene = make_scene("gaussian", "box", (13, 9), rng, size=0.01)
    *_, smallest, extended, _, _ = compare("linearise", *linearise(scene), **IN_SINGLE)
    assert smallest > 0.0 == extended


def test_linearise_of_the_affine_start(kind: str, rng: np.random.Generator) -> None:
    scene = make_scene(kind, "free", (13, 9), rng, size=0.0)
    scene.quad[:3] = 2.0, 0.0, 2.0  # equal eigenvalues: no eigenvector
    compare("linearise", *linearise(scene), **IN_SINGLE)


def test_linearise_1d(kind: str, boundary: str, length: int, rng: np.random.Generator) -> None:
    scene = make_scene(kind, boundary, (length,), rng, size=0.6)
    *_, smallest, extended, _, _ = compare(
        "linearise_1d", scene.u, *scene.axes, scene.quad, scene.log_source, scene.log_c,
        *scene.density, 5.0, 0.3 if boundary == "free" else 0.0, np.log(1e3),
        np.ones((3, length)), np.ones(length),
    )  # fmt: skip
    assert smallest < 0.0 < extended


def test_long_rows(rng: np.random.Generator) -> None:
    # rows are worked on in tiles of 256; the last one has one cell, at a face
    scene = make_scene("mixture", "free", (8, 257), rng)
    compare("linearise", *linearise(scene), **IN_SINGLE)
    outputs = [np.ones((*scene.shape, 2)), *np.ones((4, *scene.shape))]
    compare("fields", scene.u, *scene.axes, scene.quad, *scene.density, 1e-6, *outputs)


def test_convexify(kind: str, shape: tuple[int, int], rng: np.random.Generator) -> None:
    scene = make_scene(kind, "free", shape, rng)
    lowest, highest = np.quantile(scene.log_source, [0.05, 0.7])
    arguments = (*scene.axes, scene.quad, scene.log_source, scene.log_c, *scene.density)
    u = scene.u.copy()
    for sweeps in (1, 4):
        compare("convexify", u, *arguments, np.log(1e3), lowest, highest, sweeps)
    numpy_reference.convexify(u, *arguments, np.log(1e3), lowest, highest, 1)
    moved = (u != scene.u)[1:-1, 1:-1]
    assert moved.any()
    light = (lowest <= scene.log_source) & (scene.log_source <= highest)
    assert not moved[~light].any()


def test_fields(kind: str, shape: tuple[int, int], rng: np.random.Generator) -> None:
    scene = make_scene(kind, "free", shape, rng)
    outputs = [np.ones((*shape, 2)), *np.ones((4, *shape))]
    compare("fields", scene.u, *scene.axes, scene.quad, *scene.density, 1e-6, *outputs)


def test_fields_1d(kind: str, length: int, rng: np.random.Generator) -> None:
    scene = make_scene(kind, "free", (length,), rng, size=0.6)
    outputs = np.ones((4, length))
    compare("fields_1d", scene.u, *scene.axes, scene.quad, *scene.density, 1e-6, *outputs)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_add_correction(dtype: type, rng: np.random.Generator) -> None:
    u, v = rng.standard_normal((2, 15, 11))
    # compiled sums are float64; plain Python adds float32 numbers to a float in float32
    sums = v.size * 2.0**-24 if UNCOMPILED and dtype == np.float32 else 0.0
    compare("add_correction", u, v.astype(dtype), np.ones_like(u), absolute=sums)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradient_norm(dtype: type, rng: np.random.Generator) -> None:
    scene = make_scene("uniform", "free", (13, 9), rng)
    v = scene.u.astype(dtype)
    # differences of float32 numbers may be rounded to float32
    rounding = 4.0 * 2.0**-24 * np.abs(v).max() / min(scene.spacing) if dtype == np.float32 else 0.0
    weight = np.ones(scene.shape, np.float32)
    compare("norm_weight", scene.log_source, 1e-4, weight)
    numpy_reference.norm_weight(scene.log_source, 1e-4, weight)
    compare("gradient_norm", v, weight, 1e-4, *scene.spacing, absolute=rounding)


def test_gradient_norm_1d(rng: np.random.Generator) -> None:
    scene = make_scene("uniform", "free", (17,), rng)
    compare("gradient_norm_1d", scene.u, scene.log_source, *scene.spacing)


@pytest.mark.parametrize("pin", [0, 5, -1])
def test_solve_rows_1d(boundary: str, length: int, pin: int, rng: np.random.Generator) -> None:
    p = 3.0 * rng.standard_normal(length)
    a = np.maximum(1.0, np.abs(p))
    sigma = rng.uniform(0.0, 1e-3, length)
    t = rng.uniform(0.1, 1.0, length)
    rows = np.stack([a, p, t]) / (a + sigma)
    rhs = rng.standard_normal(length)
    v = np.full(length + 2, 7.0)
    # the condition number is some length^2 over the pinned cell's share: 1e4, so 1e-10 stands
    mode = MODES[boundary]
    delta = compare("solve_rows_1d", rows, rhs, mode, pin % length, v, absolute=1e-10)
    numpy_reference.solve_rows_1d(rows, rhs, mode, pin % length, v)
    a, p, t = rows
    left = 2.0 * v[1:-1] - a * (v[2:] + v[:-2]) + p * (v[2:] - v[:-2])
    scale = np.abs(v).max() * np.abs(rows[:2]).max()
    np.testing.assert_allclose(left, rhs - delta * t, atol=1e-12 * scale)
    assert v[1:-1][pin] == 0.0


# The conservative equation.


def conservative(kind: str, boundary: str, rng: np.random.Generator) -> tuple[Scene, Any]:
    """A scene and the running sums of its inner density on cells, with their geometry."""
    scene = make_scene(kind, boundary, (13, 9), rng, size=0.05)
    grid = pma.Grid(pma.Box.of([(-2.0, 3.0), (-1.5, 1.5)]), (10, 7))
    values = np.exp(scene.inner.log_density(numpy_reference, grid.points())).reshape(grid.shape)
    sums = numpy_reference.running_sums(values, grid.spacing[0])
    return scene, (sums, np.array([*grid.box.lower, *grid.spacing]))


def test_running_sums(rng: np.random.Generator) -> None:
    compare("running_sums", rng.uniform(size=(10, 7)), 0.3)


def test_cell_images(boundary: str, rng: np.random.Generator) -> None:
    scene, measure = conservative("table", boundary, rng)
    outputs = np.ones((2, *scene.shape))
    compare("cell_images", scene.u, *scene.axes, scene.quad, *measure, *outputs)


def test_an_image_that_is_no_number_is_no_index(backend: str, rng: np.random.Generator) -> None:
    scene, measure = conservative("table", "box", rng)
    wanted, got = np.ones((2, 2, *scene.shape))
    arguments = (*scene.axes, scene.quad, *measure)
    BACKENDS[backend].cell_images(scene.u, *arguments, *wanted)
    scene.u[6, 5] = np.nan  # of cell 5, 4: a corner of it is one of each neighbour
    BACKENDS[backend].cell_images(scene.u, *arguments, *got)
    lost = np.zeros(scene.shape, bool)
    lost[4:7, 3:6] = True
    assert np.isnan(got[:, lost]).all()
    np.testing.assert_array_equal(got[:, ~lost], wanted[:, ~lost])


def test_linearise_cells(kind: str, boundary: str, rng: np.random.Generator) -> None:
    scene, measure = conservative(kind, boundary, rng)
    arguments = linearise(scene)
    compare(
        "linearise_cells", *arguments[:6], *measure, *arguments[6:],
        np.ones((3, 3, *scene.shape), np.float32),
        # entries of ``nine`` are sums of line integrals that nearly cancel: 16 of them in units
        # of the rows
        absolute=1e-11,
    )  # fmt: skip


def test_apply_nine(rng: np.random.Generator) -> None:
    nine = rng.uniform(-1.0, 1.0, (3, 3, 13, 9)).astype(np.float32)
    v = rng.uniform(-1.0, 1.0, (15, 11)).astype(np.float32)
    compare("apply_nine", nine, v, np.ones((13, 9), np.float32), absolute=9.0 * STENCIL)


# The conservative equation in one dimension.


def conservative_1d(
    kind: str, boundary: str, length: int, rng: np.random.Generator, size: float
) -> tuple[Scene, Any]:
    """A scene, and the running sums of its inner density on cells with their geometry."""
    scene = make_scene(kind, boundary, (length,), rng, size)
    grid = pma.Grid(pma.Box.of([(-2.0, 3.0)]), (10,))
    values = np.exp(scene.inner.log_density(numpy_reference, grid.points()))
    sums = numpy_reference.running_sums_1d(values, grid.spacing[0])
    return scene, (sums, np.array([-2.0, grid.spacing[0]]))


def test_running_sums_1d(rng: np.random.Generator) -> None:
    compare("running_sums_1d", rng.uniform(size=10), 0.3)


def test_quantiles_1d(kind: str, rng: np.random.Generator) -> None:
    _, (sums, geometry) = conservative_1d(kind, "box", 17, rng, 0.0)
    shares = np.concatenate([[0.0], np.sort(rng.uniform(size=50)), [1.0]])
    # Bisection ends where the rounding of some 20 products and sums of F decides; F is at most
    # sums[-1] and rises by no less than half the least cell value around it, as weights at a place
    # add up to one.
    rounding = 2 * 20 * 2.0**-53 * sums[-1] / (0.5 * np.diff(sums).min() / geometry[1])
    compare("quantiles_1d", sums, geometry, shares, np.ones(52), absolute=rounding)


def test_cell_images_1d(kind: str, boundary: str, length: int, rng: np.random.Generator) -> None:
    scene, measure = conservative_1d(kind, boundary, length, rng, 0.6)
    compare("cell_images_1d", scene.u, *scene.axes, scene.quad, *measure, *np.ones((2, length)))


def test_an_image_on_the_line_that_is_no_number_is_no_index(
    backend: str, rng: np.random.Generator
) -> None:
    scene, measure = conservative_1d("table", "box", 17, rng, 0.02)
    wanted, got = np.ones((2, 2, 17))
    BACKENDS[backend].cell_images_1d(scene.u, *scene.axes, scene.quad, *measure, *wanted)
    scene.u[6] = np.nan  # of cell 5: both of its faces, which are those of its neighbours
    BACKENDS[backend].cell_images_1d(scene.u, *scene.axes, scene.quad, *measure, *got)
    lost = np.isin(np.arange(17), [4, 5, 6])
    assert np.isnan(got[:, lost]).all()
    np.testing.assert_array_equal(got[:, ~lost], wanted[:, ~lost])


@pytest.mark.parametrize("size", [0.02, 0.6])
def test_linearise_cells_1d(
    kind: str, boundary: str, length: int, size: float, rng: np.random.Generator
) -> None:
    scene, measure = conservative_1d(kind, boundary, length, rng, size)
    *_, smallest, extended, largest, _ = compare(
        "linearise_cells_1d", scene.u, *scene.axes, scene.quad, scene.log_source, scene.log_c,
        *measure, 5.0, np.ones((3, length)), np.ones(length),
    )  # fmt: skip
    if size < 0.1:
        assert largest < 100.0  # no row of the least density, next to which others are not seen
    else:
        assert smallest < 0.0 < extended


# Between grids.

# fine and coarse on axis 0 and on axis 1; two by two cells have a path of their own
TRANSFERS = [(13, 7, 9, 5), (16, 8, 7, 4), (9, 5, 8, 8), (16, 8, 12, 6)]


@pytest.mark.parametrize(("nx", "mx", "ny", "my"), TRANSFERS)
def test_average_log(nx: int, mx: int, ny: int, my: int, rng: np.random.Generator) -> None:
    fine = 300.0 * rng.standard_normal((nx, ny))  # exp overflows
    weights = (*overlap_weights(nx, mx), *overlap_weights(ny, my))
    compare("average_log", fine, np.ones((mx, my)), *weights)
    compare("average_log_1d", fine[:, 0].copy(), np.ones(mx), *weights[:2])


@pytest.mark.parametrize(("nx", "mx", "ny", "my"), TRANSFERS)
def test_interpolate(nx: int, mx: int, ny: int, my: int, rng: np.random.Generator) -> None:
    coarse = rng.standard_normal((mx + 4, my + 4))
    weights = (*cubic_weights(nx, mx), *cubic_weights(ny, my))
    compare("interpolate", coarse, np.ones((nx, ny)), *weights)
    compare("interpolate_1d", coarse[:, 0].copy(), np.ones(nx), *weights[:2])


def single(weights: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    return tuple(w.astype(np.float32) if w.dtype == np.float64 else w for w in weights)


# The multigrid.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fill_ghosts(boundary: str, dtype: type, rng: np.random.Generator) -> None:
    v = rng.standard_normal((15, 11)).astype(dtype)
    compare("fill_ghosts", v, MODES[boundary], absolute=4.0 * np.finfo(dtype).eps)
    compare("fill_ghosts_1d", v[:, 0].copy(), MODES[boundary], absolute=4.0 * np.finfo(dtype).eps)


@dataclass
class System:
    """Rows of a Newton step, a right-hand side and an iterate of size one."""

    rows: np.ndarray
    r: np.ndarray
    v: np.ndarray
    mode: int
    # terms of r - M v: |r| + (2 + 2 (a + d) + 4 |x| + 2 |p| + 2 |q|) |v|, with a + d <= 1,
    # |x| <= 1/2 and |p| + |q| <= (a + d) / 2 by upwinding, or 1 at free faces; linear ghosts of v
    # are at most 9
    size = 9.0 * 9.0


def make_system(boundary: str, shape: tuple[int, int], rng: np.random.Generator) -> System:
    arguments = linearise(make_scene("table", boundary, shape, rng))
    numpy_reference.linearise(*arguments)
    rows = arguments[-3]
    assert np.abs(rows[2]).max() <= 0.5
    r = rng.uniform(-1.0, 1.0, shape).astype(np.float32)
    v = np.pad(rng.uniform(-1.0, 1.0, shape), 1).astype(np.float32)
    numpy_reference.fill_ghosts(v, MODES[boundary])
    return System(rows, r, v, MODES[boundary])


def test_residual(boundary: str, shape: tuple[int, int], rng: np.random.Generator) -> None:
    s = make_system(boundary, shape, rng)
    compare("residual", s.rows, s.r, s.v, np.ones_like(s.r), absolute=s.size * STENCIL)


# shapes that are divided among threads, and those that are not; odd and even, one axis kept
LEGS = [((13, 9), (7, 5)), ((8, 16), (4, 8)), ((12, 9), (12, 5)), ((603, 260), (302, 130))]


@pytest.mark.parametrize(("fine", "coarse"), LEGS, ids=str)
@pytest.mark.parametrize("degree", [1, 2, 4])
@pytest.mark.parametrize("fresh", [False, True])
def test_down(
    boundary: str,
    fine: tuple[int, int],
    coarse: tuple[int, int],
    degree: int,
    fresh: bool,
    rng: np.random.Generator,
) -> None:
    s = make_system(boundary, fine, rng)
    if fresh:
        s.v[:] = 7.0  # is not read
    scale = rng.uniform(0.5, 2.0, coarse).astype(np.float32)
    overlaps = single(sum((overlap_weights(*n) for n in zip(fine, coarse, strict=True)), ()))
    # each sweep rounds as a residual, over theta > 1, and passes on what came before; the residual
    # of the last is averaged, times at most two
    compare(
        "down", s.rows, s.r, s.v, np.ones_like(s.v), np.ones(coarse, np.float32), scale, *overlaps,
        s.mode, degree, 0.35, 2.2, fresh, absolute=2.0 * (degree + 1) * s.size * STENCIL,
    )  # fmt: skip


@pytest.mark.parametrize(("fine", "coarse"), LEGS, ids=str)
@pytest.mark.parametrize("degree", [1, 2, 4])
def test_up(
    boundary: str,
    fine: tuple[int, int],
    coarse: tuple[int, int],
    degree: int,
    rng: np.random.Generator,
) -> None:
    s = make_system(boundary, fine, rng)
    correction = rng.uniform(-1.0, 1.0, tuple(n + 2 for n in coarse)).astype(np.float32)
    linear = single(sum((prolongation_weights(*n) for n in zip(fine, coarse, strict=True)), ()))
    compare(
        "up", s.rows, s.r, s.v, np.ones_like(s.v), correction, *linear, s.mode, degree, 0.35, 2.2,
        absolute=2.0 * (degree + 1) * s.size * STENCIL,
    )  # fmt: skip


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_nothing_depends_on_the_number_of_threads(threads: int, rng: np.random.Generator) -> None:
    one, more = (backends.get("numba", threads=n) for n in (1, threads))
    scene = make_scene("table", "free", (600, 300), rng)
    results = []
    for kernels in (one, more):
        arguments = linearise(scene)
        figures = kernels.linearise(*arguments)
        v = scene.u.astype(np.float32)
        results.append([
            figures, *arguments[-3:],
            kernels.matrix_dots(arguments[-3], v, *arguments[-2:]),
            kernels.gradient_norm(v, arguments[-2], 0.0, 0.1, 0.1),
        ])  # fmt: skip
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("most", "share"), [(0.25, 1.0), (1.0, 0.02)])
def test_outflow(most: float, share: float, rng: np.random.Generator) -> None:
    rows = make_system("free", (13, 9), rng).rows
    compare("outflow", rows, most, share, absolute=2.0 * 2.0**-24)


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


def test_dense_solve(boundary: str, rng: np.random.Generator) -> None:
    s = make_system(boundary, (8, 6), rng)
    # unit vectors have few non-zero neighbours; linear ghosts are at most 2
    matrix = compare("dense_matrix", s.rows, s.mode, absolute=8.0 * STENCIL)
    pivots = np.zeros(len(matrix), np.int64)
    assert compare("factorise", matrix, pivots)
    factors = matrix.copy()
    numpy_reference.factorise(factors, pivots)
    compare("solve_dense", factors, pivots, s.r, s.v, s.mode)
    numpy_reference.solve_dense(factors, pivots, s.r, s.v, s.mode)
    exact = np.linalg.solve(matrix, np.append(s.r, 0.0))[:-1].reshape(s.r.shape)
    np.testing.assert_allclose(s.v[1:-1, 1:-1], exact, rtol=NEIGHBOURS, atol=1e-10)


def test_factorise_reports_a_singular_matrix() -> None:
    assert not compare("factorise", np.ones((3, 3)), np.zeros(3, np.int64))


# The certificate.


@pytest.mark.parametrize(("dim", "rows", "n"), [(1, 1, 41), (2, 30, 12), (3, 24, 7), (2, 600, 300)])
def test_sums_of_the_certificate(dim: int, rows: int, n: int, rng: np.random.Generator) -> None:
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


def test_a_field_that_is_no_number_shows_in_the_residual(
    backend: str, rng: np.random.Generator
) -> None:
    fields = rng.standard_normal((6, 5, 19))
    fields[1, 2, 3] = np.nan
    squared, *_ = BACKENDS[backend].residual_sums(*fields, 0.0, -0.5, 0.1)
    assert np.isnan(squared)


def test_change_of_the_inverse(
    boundary: str, shape: tuple[int, int], rng: np.random.Generator
) -> None:
    scene = make_scene("uniform", boundary, shape, rng)
    before = scene.u + 0.1 * rng.standard_normal(scene.u.shape)
    matrix = tuple(scene.quad[:3])
    compare("inverse_change", scene.u, before, tuple(scene.spacing), matrix, scene.log_source)


# The Krylov iteration.


def test_krylov_vectors(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((2, 13, 9)).astype(np.float32)
    weight = rng.uniform(size=(13, 9)).astype(np.float32)
    # a row of nine products is summed in float32
    sizes = (weight * (np.abs(x) + np.abs(y)) ** 2).sum()
    compare("dots", x, y, weight, absolute=12.0 * 2.0**-24 * sizes)
    compare("axpy", -0.3, x, y, absolute=4.0 * 2.0**-24 * np.abs(y).max())


def test_matrix_dots(boundary: str, shape: tuple[int, int], rng: np.random.Generator) -> None:
    s = make_system(boundary, shape, rng)
    weight = rng.uniform(size=shape).astype(np.float32)
    sizes = (weight * s.size**2).sum()
    compare("matrix_dots", s.rows, s.v, s.r, weight, absolute=2.0 * STENCIL * sizes)


def test_cycles_of_multigrid_contract(
    boundary: str, backend: str, rng: np.random.Generator
) -> None:
    # by 0.37 a cycle at least: smooth rows, but for the kink of the correction at the faces
    kernels = BACKENDS[backend]
    scene = make_scene("gaussian", boundary, (40, 29), rng, size=0.01)
    multigrid = Multigrid(
        kernels,
        scene.shape,
        MODES[boundary],
        edge=(0.25, 1.0) if boundary == "free" else (0.0, 0.0),
    )
    arguments = linearise(scene)
    kernels.linearise(*arguments[:-3], multigrid.rows[0], multigrid.rhs[0], arguments[-1])
    if boundary == "free":
        kernels.outflow(multigrid.rows[0], *multigrid.edge)
    assert multigrid.setup()
    first, left = multigrid.rhs[0].copy(), np.empty_like(multigrid.rhs[0])
    for _ in range(3):
        multigrid.solve()
        kernels.residual(multigrid.rows[0], multigrid.rhs[0], multigrid.solution, left)
        multigrid.rhs[0][:] = left
    assert np.linalg.norm(left - left.mean()) < 0.05 * np.linalg.norm(first)


def test_kernels_run_uncompiled() -> None:
    """The kernels' Python source, which coverage and debuggers see, passes the same tests."""
    chosen = "not uncompiled and not multigrid"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            "-k",
            chosen,
            __file__,
        ],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
