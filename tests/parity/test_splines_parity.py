"""The numba splines against the NumPy ones."""

from __future__ import annotations

import numpy as np
import pytest

from parabolic_ma import splines
from parabolic_ma.backends.numba_cpu import splines as numba_splines
from parabolic_ma.status import InputError

# The prefilter's condition number is 3 an axis and the sums have up to 64 terms: 500 roundings.
RELATIVE = 1e-12
SHAPES = [(1,), (2,), (3,), (5,), (40,), (1, 1), (1, 6), (2, 3), (4, 5), (33, 17), (64, 40)]
SHAPES += [(1, 2, 3), (4, 5, 6), (17, 8, 11)]


def relative(got: np.ndarray, wanted: np.ndarray, scale: float) -> float:
    return float(np.abs(got - wanted).max()) / scale


@pytest.mark.parametrize("boundary", splines.BOUNDARIES)
@pytest.mark.parametrize("shape", SHAPES)
def test_splines_agree(boundary: str, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    if boundary == "free" and min(shape) < 4:
        with pytest.raises(InputError, match="at least 4 cells"):
            numba_splines.prefilter(np.zeros(shape), boundary)
        return
    dim = len(shape)
    values = rng.standard_normal(shape)
    wanted = splines.prefilter(values, boundary)
    got = numba_splines.prefilter(values, boundary)
    assert got.shape == wanted.shape
    largest = float(np.abs(wanted).max())
    assert relative(got, wanted, largest) < RELATIVE

    lower = np.array([-1.0, 2.0, 0.0])[:dim]
    spacing = np.array([0.3, 0.7, 0.5])[:dim]
    inside = lower + rng.uniform(size=(200, dim)) * spacing * shape
    faces = lower + rng.integers(0, 2, size=(8, dim)) * spacing * shape
    points = np.concatenate([inside, faces])
    expected = splines.evaluate(wanted, lower, spacing, points, order=2)
    for threads in (1, 2):
        found = numba_splines.evaluate(got, lower, spacing, points, order=2, threads=threads)
        for order, (a, b) in enumerate(zip(found, expected, strict=True)):
            # A derivative of order m is a sum of coefficients over h^m; weights are at most 4.
            assert relative(a, b, largest * (2.0 / spacing.min()) ** order) < RELATIVE


@pytest.mark.parametrize("order", [0, 1, 2])
def test_order_is_the_number_of_results(order: int) -> None:
    coefficients = numba_splines.prefilter(np.zeros((4, 4)), "box")
    found = numba_splines.evaluate(
        coefficients, np.zeros(2), np.ones(2), np.full((3, 2), 0.5), order
    )
    assert [a.shape for a in found] == [(3,), (3, 2), (3, 2, 2)][: order + 1]


def test_threads_give_the_serial_result(rng: np.random.Generator) -> None:
    coefficients = numba_splines.prefilter(rng.standard_normal((20, 30)), "periodic")
    points = rng.uniform(size=(50_001, 2))  # long enough to be split, not evenly
    lower, spacing = np.zeros(2), np.array([1 / 20, 1 / 30])
    serial = numba_splines.evaluate(coefficients, lower, spacing, points, 2)
    split = numba_splines.evaluate(coefficients, lower, spacing, points, 2, threads=3)
    for a, b in zip(serial, split, strict=True):
        np.testing.assert_array_equal(a, b)


def test_errors() -> None:
    with pytest.raises(InputError, match="boundary must be one of box, periodic, free; got 'open'"):
        numba_splines.prefilter(np.zeros(5), "open")
    with pytest.raises(InputError, match="3 dimensions at most, got 4"):
        numba_splines.prefilter(np.zeros((4, 4, 4, 4)), "box")
