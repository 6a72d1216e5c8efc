"""Fixtures that every test file shares.

NumPy reports overflow, division by zero and invalid values as warnings and pytest turns warnings
into errors, so floating point accidents in array code fail the test that meets them.
"""

from __future__ import annotations

import importlib.util
import os

# Before NumPy and numba start their thread pools: results must not depend on the machine's size.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# Kernels compile on first use, so a first example may take seconds; the same examples every run.
settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ci")


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(20250412)


@pytest.fixture(params=["numpy", "numba"])
def backend(request: pytest.FixtureRequest) -> str:
    """Every CPU backend in turn, by name; one whose package is missing is skipped by name."""
    name: str = request.param
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"backend {name!r}: package not installed")
    return name
