"""The kernel of the soft conjugate: both backends, and exponents that no float64 can hold."""

from __future__ import annotations

import numpy as np
import pytest

from parabolic_ma import backends
from parabolic_ma.backends.numba_cpu import kernels as numba_cpu
from parabolic_ma.backends.numba_cpu import soft as numba_soft
from parabolic_ma.backends.numpy_reference import kernels as numpy_reference

# Exponents are sums of two numbers, rounded to 2^-53 of their size, and so are the results.
RELATIVE = 1e-12


def run(kernels, log_kernel: np.ndarray, rows: np.ndarray) -> np.ndarray:
    out = np.full((len(rows), len(log_kernel)), np.nan)
    before = log_kernel.copy(), rows.copy()
    kernels.soft_conjugate_rows(log_kernel, rows, out)
    np.testing.assert_array_equal(log_kernel, before[0])
    np.testing.assert_array_equal(rows, before[1])
    return out


def compare(log_kernel: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Assert that both agree to rounding in the size of the exponents; return what they say."""
    got, wanted = run(numba_cpu, log_kernel, rows), run(numpy_reference, log_kernel, rows)
    assert not np.any(np.isnan(wanted))
    size = 1.0 + np.abs(log_kernel).max() + np.abs(rows[np.isfinite(rows)]).max(initial=0.0)
    np.testing.assert_allclose(got, wanted, rtol=RELATIVE, atol=4 * 2.0**-52 * size)
    return wanted


def gaussian(m: int, n: int, epsilon: float) -> np.ndarray:
    x, y = np.linspace(-3.0, 3.0, m), np.linspace(-2.5, 3.5, n)
    return -((x[:, None] - y) ** 2) / (2.0 * epsilon)


@pytest.mark.parametrize("epsilon", [1.0, 0.1, 0.01, 0.001, 1e-5])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 7), (7, 1), (33, 20), (70, 65), (64, 128)])
def test_gaussian_kernels(m: int, n: int, epsilon: float, rng: np.random.Generator) -> None:
    y = np.linspace(-2.5, 3.5, n)
    rows = 0.4 * np.cos(2.0 * y) / epsilon + rng.standard_normal((5, n))
    compare(gaussian(m, n, epsilon), rows)


def test_every_size_of_block(rng: np.random.Generator) -> None:
    """Lines that differ by more and more nats: blocks shrink to single lines."""
    slopes = np.geomspace(0.1, 1e4, 200)
    line = np.linspace(-1.0, 1.0, 50)
    log_kernel = np.cumsum(slopes)[:, None] * line
    sizes = {numba_soft._block(log_kernel, i, np.empty(64))[0] for i in range(160)}
    assert sizes >= {1, 2, 4, 8, 16, 32}
    compare(log_kernel, rng.standard_normal((3, 50)))


@pytest.mark.parametrize("size", [1.0, 30.0, 800.0, 1e4])
def test_kernels_without_structure(size: float, rng: np.random.Generator) -> None:
    compare(size * rng.standard_normal((40, 30)), size * rng.standard_normal((12, 30)))


@pytest.mark.parametrize("epsilon", [1.0, 0.002])
def test_missing_points(backend: str, epsilon: float, rng: np.random.Generator) -> None:
    log_kernel = gaussian(40, 30, epsilon)
    rows = rng.standard_normal((9, 30))
    rows[rng.uniform(size=rows.shape) < 0.6] = -np.inf
    rows[2] = -np.inf
    rows[3] = -np.inf
    rows[3, 17] = -5.0
    compare(log_kernel, rows)
    out = run(backends.get(backend), log_kernel, rows)
    assert np.all(out[2] == -np.inf)
    np.testing.assert_allclose(out[3], log_kernel[:, 17] - 5.0, rtol=1e-13)
    assert np.all(np.isfinite(np.delete(out, 2, axis=0)))
    # the rest of a row is as if the missing points were not there
    keep = np.isfinite(rows[0])
    short = run(backends.get(backend), log_kernel[:, keep].copy(), rows[:1, keep].copy())
    np.testing.assert_allclose(out[0], short[0], rtol=RELATIVE)


def test_ranges_of_hundreds_of_nats(backend: str) -> None:
    """Terms that matter on one line are 800 nats below the largest on another."""
    log_kernel = np.linspace(-1.0, 1.0, 60)[:, None] * np.linspace(-400.0, 400.0, 30)
    rows = np.array([np.linspace(0.0, -800.0, 30), np.linspace(-800.0, 0.0, 30), np.zeros(30)])
    out = run(backends.get(backend), log_kernel, rows)
    exact = np.logaddexp.reduce(log_kernel[None] + rows[:, None], axis=-1)
    np.testing.assert_allclose(out, exact, rtol=RELATIVE, atol=1e-12)
    compare(log_kernel, rows)


def test_constants_pass_through(backend: str, rng: np.random.Generator) -> None:
    log_kernel, rows = gaussian(20, 30, 0.05), rng.standard_normal((4, 30))
    out = run(backends.get(backend), log_kernel, rows)
    shifted = run(backends.get(backend), log_kernel - 3000.0, rows + 1e5)
    np.testing.assert_allclose(shifted, out + 97000.0, rtol=1e-15)


def test_what_is_no_number_stays_in_its_row(backend: str, rng: np.random.Generator) -> None:
    log_kernel, rows = gaussian(40, 30, 0.05), rng.standard_normal((6, 30))
    clean = run(backends.get(backend), log_kernel, rows)
    rows[4, 11] = np.nan
    out = run(backends.get(backend), log_kernel, rows)
    assert np.all(np.isnan(out[4]))
    np.testing.assert_array_equal(np.delete(out, 4, axis=0), np.delete(clean, 4, axis=0))


def test_no_rows(backend: str) -> None:
    assert run(backends.get(backend), gaussian(5, 6, 0.1), np.empty((0, 6))).shape == (0, 5)
