"""What the kernels are run on: every kind of density, boundary and grid."""

from __future__ import annotations

import pytest
from parity.scenes import KINDS, LENGTHS, MODES, SHAPES


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=MODES)
def boundary(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=SHAPES, ids=str)
def shape(request: pytest.FixtureRequest) -> tuple[int, int]:
    return request.param


@pytest.fixture(params=LENGTHS)
def length(request: pytest.FixtureRequest) -> int:
    return request.param
