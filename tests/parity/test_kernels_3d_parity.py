"""The kernels in space: every compiled one against the NumPy one, and what the rows stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from parity.scenes import (
    BACKENDS,
    MODES,
    STENCIL,
    UNCOMPILED,
    Scene,
    compare,
    inner_measure,
    make_scene,
)

from parabolic_ma.backends.numpy_reference import kernels as numpy_reference
from parabolic_ma.backends.numpy_reference import newton_3d as reference
from parabolic_ma.backends.numpy_reference.multigrid_3d import apply
from parabolic_ma.operators.transfer import cubic_weights, overlap_weights, prolongation_weights

# odd and even; the last axis longer than the 16 lanes of a vector, and shorter
SHAPES = ((6, 5, 19), (8, 4, 7))
CLIP = 3e-3
CAP = float(np.log(1e3))

# The operator is a polynomial in H that is divided by differences of eigenvalues, and eigenvalues
# differ between the two algorithms by a few roundings of the largest: with random Hessians on a few
# hundred cells the smallest gap is some 1e-2 of it, its square divides, and clipping divides by
# 3e-3: 10 * 2^-53 / (1e-4 * 3e-3) = 4e-9. In single precision they are rounded once more.
SPECTRAL = 1e-8


@pytest.fixture(params=SHAPES, ids=str)
def shape(request: pytest.FixtureRequest) -> tuple[int, int, int]:
    return request.param


# The equation.


def test_inner_row(kind: str, rng: np.random.Generator) -> None:
    density = inner_measure(kind, 3, rng)
    x = rng.uniform(-6.0, 6.0, (3, 300))  # half of it outside the box
    x[:, :4] = [[-2.0, 3.0, 0.5, 3.0], [-1.5, 1.5, 1.5, 0.0], [-1.0, 1.0, 0.2, -1.0]]
    compare("inner_row_3d", density.kind, density.params, density.table, *x, *np.ones((4, 300)))


@pytest.mark.parametrize("kind", ["table", "periodic table"])
def test_a_coordinate_that_is_no_number_is_no_index(
    kind: str, backend: str, rng: np.random.Generator
) -> None:
    density = inner_measure(kind, 3, rng)
    x = rng.uniform(-6.0, 6.0, (3, 40))
    wanted, got = np.ones((2, 4, 40))
    row = BACKENDS[backend].inner_row_3d
    row(density.kind, density.params, density.table, *x, *wanted)
    lost = np.zeros(40, bool)
    for k in range(3):
        x[k, 7 + 10 * k] = np.nan
        lost[7 + 10 * k] = True
    row(density.kind, density.params, density.table, *x, *got)
    assert np.isnan(got[0, lost]).all()  # the log density: the solver looks at it
    np.testing.assert_array_equal(got[:, ~lost], wanted[:, ~lost])


def linearise(scene: Scene) -> tuple[Any, ...]:
    """Arguments of the kernel; the last three are its outputs."""
    return (
        scene.u, *scene.axes, scene.quad, scene.log_source, scene.log_c, *scene.density,
        CLIP, 5.0, 2.0, CAP,
        np.ones((9, *scene.shape), np.float32), np.ones(scene.shape, np.float32),
        np.ones(scene.shape, np.float32),
    )  # fmt: skip


def test_linearise(
    kind: str, boundary: str, shape: tuple[int, int, int], rng: np.random.Generator
) -> None:
    scene = make_scene(kind, boundary, shape, rng)
    *_, smallest, extended, _, _ = compare("linearise_3d", *linearise(scene), absolute=SPECTRAL)
    assert smallest < 0.0 < extended  # the clips have been at work


def test_linearise_where_nothing_is_clipped(rng: np.random.Generator) -> None:
    scene = make_scene("gaussian", "box", (6, 5, 19), rng, size=0.01)
    *_, smallest, extended, _, _ = compare("linearise_3d", *linearise(scene))
    assert smallest > 0.0 == extended


@pytest.mark.parametrize("equal", [2, 3])
def test_linearise_of_the_affine_start(equal: int, kind: str, rng: np.random.Generator) -> None:
    # Equal eigenvalues have no eigenvectors of their own: what the clips do to the operator is then
    # for every backend to choose, and the sums and the right-hand side's numerator are not.
    scene = make_scene(kind, "free", (6, 5, 19), rng, size=0.0)
    scene.quad[:6] = np.diag([2.0, 2.0, 2.0 if equal == 3 else 1.5])[np.triu_indices(3)]
    arguments = linearise(scene)
    numbers = [np.array(k.linearise_3d(*arguments)) for k in BACKENDS.values()]
    np.testing.assert_allclose(numbers[0][[0, 1, 2, 3, 4, 6]], numbers[1][[0, 1, 2, 3, 4, 6]])
    for kernels in BACKENDS.values():
        kernels.linearise_3d(*arguments)
        rows = arguments[-3].astype(float)
        assert np.isfinite(rows).all()
        # the second-order part is elliptic: a_k >= 0 and x_km^2 <= a_k a_m / 4, in one precision
        assert (rows[:3] >= 0.0).all()
        for x, k, m in ((3, 0, 1), (4, 0, 2), (5, 1, 2)):
            assert (rows[x] ** 2 <= 0.25 * rows[k] * rows[m] * (1.0 + 1e-6)).all()


def test_long_rows(rng: np.random.Generator) -> None:
    # lines are worked on in tiles of 128; the last one has one cell, at a face
    scene = make_scene("mixture", "free", (4, 5, 129), rng)
    compare("linearise_3d", *linearise(scene), absolute=SPECTRAL)
    outputs = [np.ones((*scene.shape, 3)), *np.ones((4, *scene.shape))]
    compare("fields_3d", scene.u, *scene.axes, scene.quad, *scene.density, 1e-6, *outputs)


def test_the_rows_are_the_derivative_at_a_solution(
    backend: str, kind: str, rng: np.random.Generator
) -> None:
    kernels = BACKENDS[backend]
    scene = make_scene(kind, "box", (6, 5, 7), rng, size=0.01)
    x, hessian = reference.derivatives(scene.u, scene.axes, scene.quad)
    logm, _ = reference.inner_potential(*scene.density, x)
    log_source = logm + np.log(np.linalg.det(hessian))

    def rows_and_residual(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outputs = np.ones((9, *scene.shape)), np.ones(scene.shape), np.ones(scene.shape)
        kernels.linearise_3d(
            u, *scene.axes, scene.quad, log_source, 0.0, *scene.density, CLIP, 1e12, 0.0, CAP,
            *outputs,
        )  # fmt: skip
        return outputs[:2]

    rows, residual = rows_and_residual(scene.u)
    assert np.abs(residual).max() < 1e-13  # rounding of a determinant of size one
    v = rng.standard_normal(scene.u.shape)
    difference = (rows_and_residual(scene.u + 1e-6 * v)[1]
                  - rows_and_residual(scene.u - 1e-6 * v)[1]) / 2e-6  # fmt: skip
    wanted = -apply(rows, v)
    # the centred difference errs by the third derivative, 1e-12 / h^4 with h = 1/4, times terms of
    # size ten, and by rounding, 1e-16 / 1e-6
    np.testing.assert_allclose(difference, wanted, rtol=0, atol=1e-8 * np.abs(wanted).max())


def test_eigenvalues_of_difficult_matrices(backend: str, rng: np.random.Generator) -> None:
    # spectra with double and triple eigenvalues, of either sign and over many decades
    spectra = np.array([
        [1.0, 1.0, 1.0], [1.0, 1.0, 4.0], [1.0, 4.0, 4.0], [-1.0, -1.0, 2.0], [-2.0, 1.0, 1.0],
        [1e-6, 1.0, 1.0], [1e-6, 1e-6, 1.0], [1e-9, 1e-3, 1e3], [-3.0, -2.0, -1.0], [1.0, 2.0, 3.0],
    ])  # fmt: skip
    for wanted in spectra:
        turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
        hessian = (turn * wanted) @ turn.T
        scene = make_scene("uniform", "box", (4, 4, 4), rng, size=0.0)
        scene.quad[:6] = hessian[np.triu_indices(3)]
        low, high = np.ones((2, *scene.shape))
        others = np.ones((*scene.shape, 3)), np.ones(scene.shape), np.ones(scene.shape)
        BACKENDS[backend].fields_3d(
            scene.u, *scene.axes, scene.quad, *scene.density, 1e-12, others[0], low, high,
            others[1], others[2],
        )  # fmt: skip
        # the angle of a double eigenvalue is known to the square root of rounding only
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(low, wanted[0], rtol=0, atol=1e-7 * scale)
        np.testing.assert_allclose(high, wanted[2], rtol=0, atol=1e-7 * scale)


def test_convexify(kind: str, shape: tuple[int, int, int], rng: np.random.Generator) -> None:
    scene = make_scene(kind, "free", shape, rng)
    lowest, highest = np.quantile(scene.log_source, [0.05, 0.7])
    arguments = (*scene.axes, scene.quad, scene.log_source, scene.log_c, *scene.density)
    u = scene.u.copy()
    for sweeps in (1, 4):
        compare("convexify_3d", u, *arguments, CAP, lowest, highest, sweeps, absolute=1e-9)
    numpy_reference.convexify_3d(u, *arguments, CAP, lowest, highest, 1)
    moved = (u != scene.u)[1:-1, 1:-1, 1:-1]
    assert moved.any()
    light = (lowest <= scene.log_source) & (scene.log_source <= highest)
    assert not moved[~light].any()


def test_fields(kind: str, shape: tuple[int, int, int], rng: np.random.Generator) -> None:
    scene = make_scene(kind, "free", shape, rng)
    outputs = [np.ones((*shape, 3)), *np.ones((4, *shape))]
    compare("fields_3d", scene.u, *scene.axes, scene.quad, *scene.density, 1e-6, *outputs)


@pytest.mark.parametrize("size", [0.3, 0.01])
def test_inverse_change(size: float, rng: np.random.Generator) -> None:
    scene = make_scene("uniform", "free", (6, 5, 19), rng, size)
    before = scene.u + 0.1 * rng.standard_normal(scene.u.shape)
    matrix = tuple(float(a) for a in scene.quad[:6])
    arguments = (scene.u, before, tuple(scene.spacing), matrix, scene.log_source)
    got, wanted = (kernels.inverse_change_3d(*arguments) for kernels in BACKENDS.values())
    # Eigenvalues differ by some 1e-15 of the largest over the smallest gap, 1e-2 of it; where the
    # Hessian is not convex, 1e-4 of the largest is divided by, twice.
    assert got == pytest.approx(wanted, rel=2 * 1e-13 / 1e-4 if size > 0.1 else 1e-10)
    assert wanted > 0.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_add_correction(dtype: type, rng: np.random.Generator) -> None:
    u, v = rng.standard_normal((2, 8, 7, 9))
    # compiled sums are float64; plain Python adds float32 numbers to a float in float32
    sums = v.size * 2.0**-24 if UNCOMPILED and dtype == np.float32 else 0.0
    compare("add_correction_3d", u, v.astype(dtype), np.ones_like(u), absolute=sums)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradient_norm(dtype: type, rng: np.random.Generator) -> None:
    scene = make_scene("uniform", "free", (6, 5, 19), rng)
    v = scene.u.astype(dtype)
    # differences of float32 numbers may be rounded to float32, and squares summed over cells
    rounding = 4.0 * 2.0**-24 * np.abs(v).max() / min(scene.spacing) if dtype == np.float32 else 0.0
    weight = np.ones(scene.shape, np.float32)
    numpy_reference.norm_weight(scene.log_source, 1e-4, weight)
    compare(
        "gradient_norm_3d", v, weight, 1e-4, *scene.spacing,
        absolute=rounding * np.sqrt(weight.size),
    )  # fmt: skip


# Between grids.

# fine and coarse on each axis; halves have a path of their own
TRANSFERS = [((9, 6, 7), (5, 3, 4)), ((8, 12, 6), (4, 6, 3)), ((7, 8, 8), (7, 5, 8))]


@pytest.mark.parametrize(("fine", "coarse"), TRANSFERS)
def test_average_log(
    fine: tuple[int, ...], coarse: tuple[int, ...], rng: np.random.Generator
) -> None:
    values = 300.0 * rng.standard_normal(fine)  # exp overflows
    weights = sum((overlap_weights(*n) for n in zip(fine, coarse, strict=True)), ())
    compare("average_log_3d", values, np.ones(coarse), *weights)


@pytest.mark.parametrize(("fine", "coarse"), TRANSFERS)
def test_interpolate(
    fine: tuple[int, ...], coarse: tuple[int, ...], rng: np.random.Generator
) -> None:
    padded = rng.standard_normal([n + 4 for n in coarse])
    weights = sum((cubic_weights(*n) for n in zip(fine, coarse, strict=True)), ())
    compare("interpolate_3d", padded, np.ones(fine), *weights)


# The multigrid.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_fill_ghosts(mode: int, dtype: type, rng: np.random.Generator) -> None:
    v = rng.standard_normal((8, 7, 9)).astype(dtype)
    # numbers up to 7^3, each rounded some ten times
    compare("fill_ghosts_3d", v, mode, absolute=7.0**3 * 10.0 * np.finfo(dtype).eps)


class System:
    """Rows of a Newton step, a right-hand side and an iterate of size one."""

    # terms of r - M v: |r| + (2 + 2 sum a + 4 sum |x| + 2 sum |p|) |v|, with sum a <= 1, |x_km| <=
    # (a_k + a_m) / 4 and so in sum at most 1/2, sum |p| <= 1/2 by upwinding; linear ghosts are at
    # most 27
    size = 27.0 * 9.0

    def __init__(self, boundary: str, shape: tuple[int, ...], rng: np.random.Generator) -> None:
        arguments = linearise(make_scene("table", boundary, shape, rng))
        numpy_reference.linearise_3d(*arguments)
        self.rows = arguments[-3]
        self.mode = MODES[boundary]
        self.r = rng.uniform(-1.0, 1.0, shape).astype(np.float32)
        self.v = np.pad(rng.uniform(-1.0, 1.0, shape), 1).astype(np.float32)
        numpy_reference.fill_ghosts_3d(self.v, self.mode)


def test_residual(boundary: str, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    s = System(boundary, shape, rng)
    compare("residual_3d", s.rows, s.r, s.v, np.ones_like(s.r), absolute=s.size * STENCIL)


def single(weights: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    return tuple(w.astype(np.float32) if w.dtype == np.float64 else w for w in weights)


LEGS = [((6, 5, 19), (3, 3, 10)), ((8, 4, 32), (4, 4, 16)), ((7, 6, 5), (4, 3, 3))]


@pytest.mark.parametrize(("fine", "coarse"), LEGS, ids=str)
@pytest.mark.parametrize("degree", [1, 2, 4])
@pytest.mark.parametrize("fresh", [False, True])
def test_down(
    boundary: str,
    fine: tuple[int, ...],
    coarse: tuple[int, ...],
    degree: int,
    fresh: bool,
    rng: np.random.Generator,
) -> None:
    s = System(boundary, fine, rng)
    if fresh:
        s.v[:] = 7.0  # is not read
    scale = rng.uniform(0.5, 2.0, coarse).astype(np.float32)
    overlaps = single(sum((overlap_weights(*n) for n in zip(fine, coarse, strict=True)), ()))
    # each sweep rounds as a residual, over theta > 1, and passes on what came before; the residual
    # of the last is averaged, times at most two
    compare(
        "down_3d", s.rows, s.r, s.v, np.ones_like(s.v), np.ones(coarse, np.float32), scale,
        *overlaps, s.mode, degree, 0.35, 2.2, fresh,
        absolute=2.0 * (degree + 1) * s.size * STENCIL,
    )  # fmt: skip


@pytest.mark.parametrize(("fine", "coarse"), LEGS, ids=str)
@pytest.mark.parametrize("degree", [1, 2, 4])
def test_up(
    boundary: str,
    fine: tuple[int, ...],
    coarse: tuple[int, ...],
    degree: int,
    rng: np.random.Generator,
) -> None:
    s = System(boundary, fine, rng)
    correction = rng.uniform(-1.0, 1.0, [n + 2 for n in coarse]).astype(np.float32)
    weights = single(sum((prolongation_weights(*n) for n in zip(fine, coarse, strict=True)), ()))
    compare(
        "up_3d", s.rows, s.r, s.v, np.ones_like(s.v), correction, *weights, s.mode, degree, 0.35,
        2.2, absolute=2.0 * (degree + 1) * s.size * STENCIL,
    )  # fmt: skip


@pytest.mark.parametrize(("fine", "coarse"), LEGS, ids=str)
def test_coarsen_rows(
    boundary: str, fine: tuple[int, ...], coarse: tuple[int, ...], rng: np.random.Generator
) -> None:
    s = System(boundary, fine, rng)
    overlaps = single(sum((overlap_weights(*n) for n in zip(fine, coarse, strict=True)), ()))
    ratios = [f / c for f, c in zip(fine, coarse, strict=True)]
    # averages of 27 numbers at most 1 and a division by their sum, which is at least 1/8
    compare(
        "coarsen_rows_3d", s.rows, np.ones((9, *coarse), np.float32), np.ones(coarse, np.float32),
        *overlaps, *ratios, 2.0, 0.25, 1.0 if boundary == "free" else 0.0,
        absolute=27.0 * 8.0 * 2.0**-24,
    )  # fmt: skip


def test_outflow(rng: np.random.Generator) -> None:
    s = System("free", (6, 5, 19), rng)
    compare("outflow_3d", s.rows, 0.25, 0.5)
    numpy_reference.outflow_3d(s.rows, 0.25, 0.5)
    assert (s.rows[8, ..., -1] > 0.0).all()
    assert (s.rows[8, ..., 0] < 0.0).all()


def test_the_coarsest_grid(boundary: str, backend: str, rng: np.random.Generator) -> None:
    kernels = BACKENDS[backend]
    s = System(boundary, (4, 3, 4), rng)
    # a column of the NumPy matrix is a product in float32
    compare("dense_matrix_3d", s.rows, s.mode, absolute=s.size * STENCIL)
    matrix = kernels.dense_matrix_3d(s.rows, s.mode)
    pivots = np.zeros(len(matrix), np.int64)
    assert kernels.factorise(matrix, pivots)
    v = np.ones_like(s.v)
    kernels.solve_dense_3d(matrix, pivots, s.r, v, s.mode)
    filled = v.copy()
    numpy_reference.fill_ghosts_3d(filled, s.mode)
    np.testing.assert_allclose(v, filled, rtol=0, atol=7.0 * 10.0 * 2.0**-24 * np.abs(v).max())
    left = s.r - apply(s.rows.astype(float), v.astype(float))
    # up to a constant; v is rounded to float32 and M is at most 8 in the maximum norm
    rounding = 8.0 * 27.0 * 2.0**-24 * np.abs(v).max()
    np.testing.assert_allclose(left, left.mean(), rtol=0, atol=rounding)
    assert abs(v[1:-1, 1:-1, 1:-1].mean()) <= 2.0**-23 * np.abs(v).max()


# The Krylov iteration.


def test_dots_and_axpy(rng: np.random.Generator) -> None:
    w, r, weight = rng.uniform(-1.0, 1.0, (3, 6, 5, 19)).astype(np.float32)
    # float32 sums over a line of 19 in the compiled kernel, 570 terms of at most one
    rounding = w.size * 19.0 * 2.0**-24
    compare("dots", w, r, weight, absolute=rounding)
    compare("axpy", 0.3, w, r, absolute=2.0**-23)


def test_matrix_dots(boundary: str, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    s = System(boundary, shape, rng)
    weight = rng.uniform(0.0, 1.0, shape).astype(np.float32)
    w = apply(s.rows, s.v)
    largest = float(np.abs(w).max())
    # every product is known to the rounding of a stencil, the sums of a line to that of its length
    rounding = s.r.size * largest * (2.0 * s.size * STENCIL + shape[-1] * 2.0**-23 * largest)
    compare("matrix_dots_3d", s.rows, s.v, s.r, weight, absolute=rounding)


def test_norm_weight(rng: np.random.Generator) -> None:
    log_source = 30.0 * rng.standard_normal((6, 5, 19))
    top = compare("norm_weight", log_source, 1e-4, np.ones(log_source.shape, np.float32))
    assert top == log_source.max()
