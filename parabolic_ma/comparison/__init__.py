"""How far a candidate is from a solution taken for true."""

from __future__ import annotations

from parabolic_ma.comparison.compute import compare
from parabolic_ma.comparison.result import METRICS, Comparison

__all__ = ["METRICS", "Comparison", "compare"]
