"""The kernels of the flow in time by both backends, and whole runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from parity.scenes import BACKENDS, Scene, compare, make_scene

import parabolic_ma as pma
from parabolic_ma.backends.numpy_reference import kernels as numpy_reference

GHOSTS = {"box": 0, "periodic": 2, "free": 3}


def test_quadratic_ghosts_continue_quadratics(backend: str) -> None:
    kernels = BACKENDS[backend]
    x, y = np.arange(-1.0, 8.0)[:, None], np.arange(-1.0, 7.0)
    exact = 1.0 + 2.0 * x - y + 0.5 * x**2 + 0.25 * x * y - 0.75 * y**2
    got = np.zeros_like(exact)
    got[1:-1, 1:-1] = exact[1:-1, 1:-1]
    kernels.fill_ghosts(got, 3)
    np.testing.assert_allclose(got, exact, rtol=0, atol=1e-12 * np.abs(exact).max())
    line = np.zeros(9)
    line[1:-1] = exact[1:-1, 3]
    kernels.fill_ghosts_1d(line, 3)
    np.testing.assert_allclose(line, exact[:, 3], rtol=0, atol=1e-12 * np.abs(exact).max())


def rate(scene: Scene) -> tuple[Any, ...]:
    top = scene.log_source.max() - 1.0  # some cells count for the drift and some do not
    return (
        scene.u, *scene.axes, scene.quad, scene.log_source, top, *scene.density,
        np.ones(scene.shape),
    )  # fmt: skip


@pytest.mark.parametrize("size", [0.3, 0.02])
def test_flow_rate(
    kind: str, shape: tuple[int, int], size: float, rng: np.random.Generator
) -> None:
    scene = make_scene(kind, "box", shape, rng, size)
    low, diffusion, drift = compare("flow_rate", *rate(scene))
    assert (low < 0.0) == (size > 0.1)  # with and without cells that are not convex
    assert diffusion > 0.0
    assert drift >= 0.0


@pytest.mark.parametrize("size", [0.3, 0.02])
def test_flow_rate_1d(kind: str, length: int, size: float, rng: np.random.Generator) -> None:
    compare("flow_rate_1d", *rate(make_scene(kind, "box", (length,), rng, size)))


def test_flow_rows(kind: str, shape: tuple[int, int], rng: np.random.Generator) -> None:
    scene = make_scene(kind, "box", shape, rng, 0.02)
    arguments = (scene.u, *scene.axes, scene.quad, *scene.density, np.ones((5, *shape)))
    compare("flow_coefficients", *arguments)
    numpy_reference.flow_coefficients(*arguments)
    rows = np.ones((6, *shape))
    compare("flow_rows", arguments[-1], 3.0, rows)
    numpy_reference.flow_rows(arguments[-1], 3.0, rows)
    single = np.ones((5, *shape), np.float32), np.ones(shape, np.float32)
    compare("upwind_rows", rows, 2.0, *single)
    numpy_reference.upwind_rows(rows, 2.0, *single)
    assert (single[0][0] >= 1.99 * np.abs(single[0][3])).all()


def test_flow_coefficients_where_nothing_is_convex(
    shape: tuple[int, int], rng: np.random.Generator
) -> None:
    scene = make_scene("gaussian", "box", shape, rng, 0.3)
    compare(
        "flow_coefficients", scene.u, *scene.axes, scene.quad, *scene.density, np.ones((5, *shape))
    )


@pytest.mark.parametrize("boundary", GHOSTS)
@pytest.mark.parametrize("sigma", [1e-2, 30.0])
def test_flow_systems_on_the_line(
    kind: str, boundary: str, length: int, sigma: float, rng: np.random.Generator
) -> None:
    scene = make_scene(kind, "box", (length,), rng, 0.02)
    arguments = (scene.u, *scene.axes, scene.quad, *scene.density, np.ones((2, length)))
    compare("flow_coefficients_1d", *arguments)
    numpy_reference.flow_coefficients_1d(*arguments)
    right, v = rng.standard_normal(length), np.ones(length + 2)
    compare("solve_flow_1d", arguments[-1], sigma, right, GHOSTS[boundary], v)


def derivative(kernels: Any, scene: Scene, v: np.ndarray) -> np.ndarray:
    """Centred difference of the rate along ``v``."""
    kernel = kernels.flow_rate_1d if v.ndim == 1 else kernels.flow_rate
    found = []
    for sign in (1.0, -1.0):
        u, *others, out = rate(scene)
        kernel(u + sign * 1e-5 * v, *others, out)
        found.append(out)
    return (found[0] - found[1]) / 2e-5


def test_the_rows_are_the_derivative_of_the_rate(
    kind: str, backend: str, rng: np.random.Generator
) -> None:
    kernels = BACKENDS[backend]
    scene = make_scene(kind, "box", (13, 9), rng, 0.02)
    v = rng.standard_normal((15, 11))
    wanted = derivative(kernels, scene, v)
    coefficients, rows = np.empty((5, 13, 9)), np.empty((6, 13, 9))
    kernels.flow_coefficients(scene.u, *scene.axes, scene.quad, *scene.density, coefficients)
    kernels.flow_rows(coefficients, 0.0, rows)
    got = np.empty((13, 9))
    kernels.residual(rows[:5], np.zeros((13, 9)), v, got)
    # a centred difference of step 1e-5: its error is the third derivative times 1e-10 and rounding
    # of the rate over 1e-5
    np.testing.assert_allclose(got / rows[5], wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_the_rows_on_the_line_are_the_derivative_of_the_rate(
    kind: str, backend: str, rng: np.random.Generator
) -> None:
    kernels = BACKENDS[backend]
    scene = make_scene(kind, "box", (17,), rng, 0.02)
    v = rng.standard_normal(19)
    wanted = derivative(kernels, scene, v)
    a, p = coefficients = np.empty((2, 17))
    kernels.flow_coefficients_1d(scene.u, *scene.axes, scene.quad, *scene.density, coefficients)
    got = a * (v[2:] + v[:-2] - 2.0 * v[1:-1]) - p * (v[2:] - v[:-2])
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


MODES_2D = pma.GaussianMixture([[1.2, 0.0], [-1.2, 0.4]], 0.6)
RUNS = {
    "explicit, reference": ((14, 12), pma.ExplicitEuler(), MODES_2D, "reference"),
    "stabilised, target": ((16, 18), pma.RKL2(), MODES_2D, "target"),
    "implicit, target": ((16, 18), pma.SemiImplicit(rtol=1e-5), MODES_2D, "target"),
    "implicit, line": (40, pma.SemiImplicit(), pma.GaussianMixture([1.0, -1.0], 0.4), "target"),
}


@pytest.mark.parametrize("name", RUNS)
def test_whole_runs_agree(name: str) -> None:
    shape, stepper, target, side = RUNS[name]
    reference = pma.Gaussian(np.zeros(target.dim), 1.0)
    problem = pma.TransportProblem(reference, target)
    found = [
        pma.solve(
            problem,
            pma.GridFlow(shape, stepper=stepper, t_final=0.3, side=side, backend=b, tail_mass=1e-8),
        )
        for b in BACKENDS
    ]
    assert found[0].history.rows == found[1].history.rows
    a, b = (s.fields.potential.values() for s in found)
    # explicit runs differ by rounding; implicit ones by what a hundredth of their tolerance leaves
    allowed = 1e-7 if "implicit" in name and "line" not in name else 1e-11
    np.testing.assert_allclose(a, b, rtol=0, atol=allowed * np.abs(b).max())
