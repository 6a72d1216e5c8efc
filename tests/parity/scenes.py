"""Grids, iterates and densities to run kernels on, and the comparison of two backends.

A kernel is run by both backends on copies of the same arguments; what it returns and *all* of its
array arguments afterwards are compared, so that the in-place contract is part of the comparison.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

import parabolic_ma as pma
from parabolic_ma import backends
from parabolic_ma.backends.numpy_reference import kernels as numpy_reference
from parabolic_ma.operators.inner import InnerDensity, inner_density

# Kernels in float64 differ by the order of sums and the fusing of products, some hundred roundings.
RELATIVE = 1e-10
# Their float32 outputs are rounded once: the two may fall on neighbouring numbers.
NEIGHBOURS = 2.0**-23
# A stencil in float32 adds some 20 products, each with a rounding or two: at most 40 half units
# of the sum of its terms' sizes, in each of the two backends.
STENCIL = 2 * 40 * 2.0**-24

numba_cpu = backends.get("numba", threads=2)
# The Newton rows are some 40 operations in float32 on eigenvalues with a ratio of at least 3e-3.
ROWS = 40 * 2.0**-24 / 3e-3

BACKENDS: dict[str, Any] = {"numba": numba_cpu, "numpy": numpy_reference}

UNCOMPILED = os.environ.get("NUMBA_DISABLE_JIT") == "1"

MODES = {"box": 0, "free": 1, "periodic": 2}
KINDS = ("gaussian", "mixture", "uniform", "table", "periodic table")
SHAPES = ((13, 9), (8, 16))  # odd and even; the first is a fine grid for the second half as large
LENGTHS = (17, 8)


def run_both(name: str, *arguments: Any) -> list[tuple[Any, Any]]:
    """Return pairs (numba, numpy) of what the kernel returns and of every array argument."""
    outcomes = []
    for kernels in (numba_cpu, numpy_reference):
        copies = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
        returned = getattr(kernels, name)(*copies)
        outcomes.append([returned, *(a for a in copies if isinstance(a, np.ndarray))])
    for before, after in zip(
        [a for a in arguments if isinstance(a, np.ndarray)], outcomes[1][1:], strict=True
    ):
        assert after.dtype == before.dtype
    return list(zip(*outcomes, strict=True))


def compare(
    name: str,
    *arguments: Any,
    absolute: float = 0.0,
    single: float = NEIGHBOURS,
    single_figures: tuple[int, ...] = (),
) -> Any:
    """Assert that both backends agree; return what the NumPy one returns.

    ``absolute`` bounds the difference where rounding is not relative to the result itself; 1e-12
    of the largest entry is always allowed, for entries that are small differences. ``single`` is
    the relative difference of float32 arrays, and of the figures at ``single_figures`` of what the
    kernel returns, where the arithmetic is in float32 too.
    """
    pairs = run_both(name, *arguments)
    for k, (got, wanted) in enumerate(pairs):
        if wanted is None:
            assert got is None
            continue
        a, b = np.asarray(got), np.asarray(wanted)
        assert a.shape == b.shape
        if b.dtype == bool:
            assert np.array_equal(a, b)
            continue
        assert np.all(np.isfinite(b))
        relative = np.full(b.shape, single if b.dtype == np.float32 else RELATIVE)
        if k == 0 and single_figures:
            relative[list(single_figures)] = single
        floor = 1e-12 * np.abs(b).max(initial=0.0) + absolute
        allowed = floor + 1.01 * relative * np.abs(b)
        assert np.all(np.abs(a - b) <= allowed), (name, k, np.abs(a - b).max())
    return pairs[0][1]


def inner_measure(kind: str, dim: int, rng: np.random.Generator) -> InnerDensity:
    """Measures on [-2, 3] (x [-1.5, 1.5] (x [-1, 1])), in the form of the kernels."""
    box = pma.Box.of([(-2.0, 3.0), (-1.5, 1.5), (-1.0, 1.0)][:dim])
    means = np.array([[0.5, -0.2, 0.3], [-1.0, 0.4, -0.1], [1.7, 0.1, 0.0]])[:, :dim]
    cov = np.array([[1.0, 0.4, 0.2], [0.4, 0.7, -0.1], [0.2, -0.1, 0.5]])[:dim, :dim]
    measure = {
        "gaussian": pma.Gaussian(means[0], cov),
        "mixture": pma.GaussianMixture(means, [cov, 0.3 * cov, 0.1 * cov], [0.2, 0.5, 0.3]),
        "uniform": pma.Uniform(box),
        "table": pma.GridDensity(np.exp(0.5 * rng.standard_normal((11, 7, 9)[:dim])), box),
    }[kind.removeprefix("periodic ")]
    density = inner_density(measure, box, (16,) * dim, periodic=kind.startswith("periodic"))
    assert density.kind == min(KINDS.index(kind), 3)
    if kind == "table":
        density.params[2 * dim] = 3.0  # curvature beyond the faces
    return density


@dataclass
class Scene:
    """One grid with an iterate that folds in places, and an inner density."""

    axes: list[np.ndarray]
    quad: np.ndarray
    u: np.ndarray
    log_source: np.ndarray
    inner: InnerDensity
    log_c = 0.07

    @property
    def shape(self) -> tuple[int, ...]:
        return self.log_source.shape

    @property
    def density(self) -> tuple[int, np.ndarray, np.ndarray]:
        return self.inner.kind, self.inner.params, self.inner.table

    @property
    def spacing(self) -> list[float]:
        return [float(a[1] - a[0]) for a in self.axes]


def make_scene(
    kind: str, boundary: str, shape: tuple[int, ...], rng: np.random.Generator, size: float = 0.3
) -> Scene:
    """``size`` is that of the correction: 0.3 folds the map on some cells, 0.01 on none."""
    dim = len(shape)
    axes = [
        lo + (np.arange(n) + 0.5) * w / n
        for n, lo, w in zip(shape, (-1.0, -0.8, -0.7), (2.0, 1.6, 1.5), strict=False)
    ]
    matrix = np.array([[2.3, 0.3, -0.2], [0.3, 1.7, 0.1], [-0.2, 0.1, 1.9]])[:dim, :dim]
    center, image = [0.1, -0.05, 0.0][:dim], [0.4, 0.1, -0.1][:dim]
    quad = np.array([*matrix[np.triu_indices(dim)], *center, *image])
    mesh = np.meshgrid(*axes, indexing="ij")
    core = np.zeros(shape)
    for _ in range(4):
        phase = sum(rng.uniform(1.0, 4.0) * m for m in mesh) + rng.uniform(0.0, 6.0)
        core += size * rng.standard_normal() * np.cos(phase)
    u = np.zeros([n + 2 for n in shape])
    u[(slice(1, -1),) * dim] = core
    fill = {1: "fill_ghosts_1d", 2: "fill_ghosts", 3: "fill_ghosts_3d"}[dim]
    getattr(numpy_reference, fill)(u, MODES[boundary])
    log_source = -sum(m**2 for m in mesh) + 0.1 * rng.standard_normal(shape)
    log_source -= np.log(np.exp(log_source).sum() * np.prod([a[1] - a[0] for a in axes]))
    return Scene(axes, quad, u, log_source, inner_measure(kind, dim, rng))
