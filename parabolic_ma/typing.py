"""Type aliases shared by the whole package."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Rng"]

Array: TypeAlias = NDArray[Any]
Rng: TypeAlias = int | np.random.Generator | None
